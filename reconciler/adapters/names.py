"""Which names in the config directory can be endpoints: globus-compute-endpoint's rule, and ours."""

from __future__ import annotations

import re

OWN_DIRECTORY = ".chiltepin"
"""Our directory in the config directory: lease, journal, backups, trash."""

_FORBIDDEN = re.compile(r"[\\/\s'\"\x00-\x1f\x7f]")
_UUID = re.compile(r"[0-9A-Fa-f]{8}-?(?:[0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}")
_USER_ENDPOINT = re.compile(r"uep\.([0-9A-Fa-f-]{36})\.([0-9A-Fa-f-]{36})")


def is_uuid(text: str) -> bool:
    """Say whether `text` reads as a UUID (with or without hyphens)."""
    return _UUID.fullmatch(text) is not None


def name_problem(name: str) -> str | None:
    """Return why globus-compute-endpoint cannot work with an endpoint of this name, or None."""
    if not 1 <= len(name) <= 128:
        return "an endpoint's name has 1 to 128 characters"
    if name.startswith("."):
        return "an endpoint's name may not begin with a dot"
    if _FORBIDDEN.search(name):
        return "an endpoint's name may not hold whitespace, slashes, backslashes or quotes"
    if is_uuid(name):
        return "an endpoint's name may not look like a UUID"
    return None


def user_endpoint(name: str) -> tuple[str, str] | None:
    """Split `uep.ENDPOINT.USER_ENDPOINT` into the two UUIDs; None for any other name."""
    match = _USER_ENDPOINT.fullmatch(name)
    return (match[1].lower(), match[2].lower()) if match else None
