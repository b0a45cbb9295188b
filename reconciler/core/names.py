"""Which names endpoints, their directories and pools may have.

globus-compute-endpoint's own rule (`Endpoint.validate_endpoint_name`), as data, and what would not
survive its command line: a name that reads as a UUID or as an option.
"""

from __future__ import annotations

import re
from uuid import UUID

MAX_LENGTH = 128
MAX_BYTES = 200
"""A file's name may have 255 bytes: this leaves 33 for an entry of the trash, and 55 for a batch script of Parsl's."""
TOKENS = "storage.db"
"""The file in the config directory in which globus-compute-endpoint and we keep logins."""
_FORBIDDEN = re.compile(r"""[\\/\s'"]""")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_USUAL_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WHAT = {"/": "a slash", "\\": "a backslash", "'": "a quote", '"': "a quote"}


def is_uuid(text: str) -> bool:
    """Say whether Python, and so globus-compute-endpoint, reads `text` as a UUID."""
    if _USUAL_UUID.fullmatch(text):
        return True
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def canonical_uuid(text: str) -> str | None:
    """Return the UUID in `text` in its usual form, or None."""
    if _USUAL_UUID.fullmatch(text):  # as it nearly always is; a plan looks at thousands
        return text
    return str(UUID(text)) if is_uuid(text) else None


def usual_form(text: str) -> str:
    """Return what names an endpoint or identity as it is compared: a UUID in its usual form, else in lower case."""
    return canonical_uuid(text) or text.lower()


def upstream_fault(name: str) -> str | None:
    """Return why globus-compute-endpoint cannot work with an endpoint of this name, or None when it can."""
    return _text_fault(name) or ("it looks like a UUID" if is_uuid(name) else None)


def name_fault(name: str) -> str | None:
    """Return why `name` cannot be an endpoint's name or directory in a manifest, or None when it can."""
    if fault := _text_fault(name):
        return fault
    if name.startswith("-"):
        return "it begins with a hyphen and would be read as an option"
    if not name.isprintable():
        return "it contains an unprintable character"
    if name.startswith("uep."):
        return "`uep.` is reserved for the directories of user endpoints"
    if name == TOKENS:
        return "the config directory's store of logins is called so"
    return upstream_fault(name) or _size_fault(name)


def pool_name_fault(name: str, *, local: bool = False) -> str | None:
    """Return why `name` cannot name a pool (Parsl makes it a label and a directory), or None.

    Args:
        local: the workers are Parsl's own, and it puts the name into a shell's command line without quotes.
    """
    if fault := _text_fault(name) or (None if name.isprintable() else "it contains an unprintable character"):
        return fault
    if name == "_parsl_internal":
        return "Parsl uses it itself"
    if local and (found := _UNSAFE.search(name)):
        return f"it contains `{found[0]}`, and Parsl puts a local pool's name into a shell's command line"
    return _size_fault(name)


def _size_fault(name: str) -> str | None:
    size = len(name.encode())
    return f"it has {size} bytes; the limit is {MAX_BYTES}, as files are named after it" if size > MAX_BYTES else None


def _text_fault(name: str) -> str | None:
    if not name:
        return "it is empty"
    if len(name) > MAX_LENGTH:
        return f"it has {len(name)} characters; the limit is {MAX_LENGTH}"
    if found := _FORBIDDEN.search(name):
        return f"it contains {_WHAT.get(found[0], 'white space')}"
    return "it begins with a dot" if name.startswith(".") else None
