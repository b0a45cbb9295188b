"""Template, schema and identity mapping: the whole-text files that an endpoint's block names."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Literal

from reconciler.core.desired import TextFile
from reconciler.core.frozen import dataclass
from reconciler.core.manifest.allowance import Allowance
from reconciler.core.manifest.schema_trial import schema_fault
from reconciler.errors import ReconcilerError

BUILTIN = "builtin"
NONE = "none"
MAX_BYTES = 1_000_000
"""Size of one of these files, in bytes; the service takes less."""

Kind = Literal["template", "schema", "identity_mapping"]
_NAMES: Mapping[Kind, str] = {
    "template": "template",
    "schema": "schema",
    "identity_mapping": "identity mapping",
}


@dataclass(frozen=True)
class Fault:
    """Why a file cannot be used; `hint` says what to do."""

    message: str
    hint: str | None = None


@dataclasses.dataclass
class NamedFiles:
    """Reads and checks the files that a manifest names, each once.

    Attributes:
        read_file: returns the bytes of a path relative to the manifest; raises ReconcilerError.
        templates: built-in templates by name: `builtin`, `builtin@1`, ...
        schemas: built-in schemas, likewise.
        allow_outside: whether paths may leave the manifest's directory.
    """

    read_file: Callable[[str], bytes]
    templates: Mapping[str, TextFile]
    schemas: Mapping[str, TextFile]
    allow_outside: bool = False
    _seen: dict[tuple[Kind, str], TextFile | Fault] = field(default_factory=dict)

    def get(self, kind: Kind, name: str) -> TextFile | Fault:
        """Return the file called `name` in the manifest, or why it cannot be used."""
        found = self._seen.get((kind, name))
        if found is None:
            found = self._seen[kind, name] = self._find(kind, name)
        return found

    def _find(self, kind: Kind, name: str) -> TextFile | Fault:
        shipped = {"template": self.templates, "schema": self.schemas}.get(kind, {})
        if name in shipped:
            return shipped[name]
        if kind != "identity_mapping" and (name == BUILTIN or name.startswith("builtin@")):
            return Fault(f"there is no {_NAMES[kind]} `{name}`", f"available: {', '.join(sorted(shipped))}")
        if not self.allow_outside and (why := outside(name)):
            hint = "keep it beside the manifest, or pass --allow-outside"
            return Fault(f"the {_NAMES[kind]}'s path {why}", hint)
        try:
            data = self.read_file(name)
        except ReconcilerError as error:
            reason = f"{error.what}: {error.why}" if error.why else error.what
            return Fault(f"the {_NAMES[kind]} `{name}` cannot be read: {reason}", error.remedy)
        return _checked(kind, name, data)


def outside(path: str) -> str | None:
    """Return why `path`, taken literally, leaves the manifest's directory; None when it does not."""
    if path.startswith(("/", "~")):
        return "is outside the manifest's directory"
    depth = 0
    for part in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return "leaves the manifest's directory by `..`"
    return None


def _checked(kind: Kind, name: str, data: bytes) -> TextFile | Fault:
    if len(data) > MAX_BYTES:
        return Fault(f"the {_NAMES[kind]} `{name}` has {len(data):,} bytes; the limit is {MAX_BYTES:,}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return Fault(f"{name}:{line}: byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8")
    check = {"template": _template_fault, "schema": _schema_fault, "identity_mapping": _json_fault}[kind]
    return check(name, text) or TextFile(name, text)


def _template_fault(name: str, text: str) -> Fault | None:
    import jinja2  # noqa: PLC0415  50 ms that a manifest with built-in templates does not pay

    try:
        jinja2.Environment().parse(text)  # noqa: S701  parsed, never rendered
    except jinja2.TemplateSyntaxError as error:
        return Fault(f"{name}:{error.lineno}: not a valid Jinja template: {error.message}", _jinja_hint(text, error))
    except RecursionError:
        return Fault(f"{name}: not a valid Jinja template: nested too deeply")
    except Exception as error:  # noqa: BLE001  whatever a foreign text makes of Jinja is the text's fault
        return Fault(f"{name}: not a valid Jinja template: {' '.join(str(error).split())[:200]}")
    return None


def _jinja_hint(text: str, error: Any) -> str | None:
    lines = text.splitlines()
    line = lines[error.lineno - 1] if 0 < error.lineno <= len(lines) else ""
    if re.search(r"\$\{#", line) or "comment" in str(error.message).lower():
        return "`{#` begins a comment in Jinja; write `{{ '{#' }}` for the shell's `${#`"
    return None


def _json_fault(name: str, text: str) -> Fault | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return Fault(f"{name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}")
    except RecursionError:
        return Fault(f"{name}: not valid JSON: nested too deeply")
    except ValueError:  # Python's limit on the digits of an integer
        return Fault(f"{name}: not usable JSON: a number has too many digits")
    return None


def _schema_fault(name: str, text: str) -> Fault | None:
    if fault := _json_fault(name, text):
        return fault
    schema = json.loads(text)
    hint = None if isinstance(schema, dict) else "write `schema: none` for no schema"
    why = schema_fault(schema)
    return None if why is None else Fault(f"{name}: {why}", hint)


def template_fault(template: TextFile, options: Mapping[str, Any], allowance: Allowance) -> str | None:
    """Return why a template, rendered with the options that a pool sends, makes no configuration."""
    from reconciler.core.manifest import template_trial  # noqa: PLC0415  Jinja costs 50 ms

    return template_trial.rendering_fault(template.text, options, allowance)
