"""The variables an expression may use: where each comes from, and which of them are secrets.

Precedence, strongest first: `--var`, `CHILTEPIN_VAR_*`, the host's `variables`, `variables`. A value
from the command line or the environment is never rendered itself; a value in the manifest may use
other variables. Text from outside takes the type that the manifest's own value, or the default, has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from reconciler.core.frozen import dataclass
from reconciler.core.manifest.model import Variables, VariableSource
from reconciler.core.manifest.parsed import Path

PREFIX = "CHILTEPIN_VAR_"
RESERVED = frozenset(("env", "host"))
"""Names that expressions have anyway."""
_SHOWN = 60
"""Characters of a value that a message shows."""


class VariableError(Exception):
    """A variable has no usable value; str() says why, `path` is its declaration if it has one."""

    def __init__(self, message: str, path: Path | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint


@dataclass(frozen=True)
class Source:
    """Where a variable's value comes from.

    Attributes:
        value: the value, or text to be rendered when `literal` is false.
        path: its declaration in the manifest.
        env: the environment variable that its declaration names.
        outside: whether it depends on the environment or the command line.
        missing: the environment variable that is not set, when there is no value.
    """

    value: Any = field(repr=False)
    sensitive: bool = False
    literal: bool = True
    path: Path | None = None
    env: str | None = None
    missing: str | None = None
    outside: bool = False


@dataclass(frozen=True)
class VariableTable:
    """All variables as one host sees them, and the environment's names that hold secrets."""

    sources: Mapping[str, Source]
    env: Mapping[str, str] = field(repr=False)
    secret_env: frozenset[str]
    host: str


def variable_table(
    layers: Mapping[Path, Variables], env: Mapping[str, str], cli: Mapping[str, str], host: str
) -> VariableTable:
    """Return the variables of one host.

    Args:
        layers: `variables` sections by their path, weakest first.
        env: the process's environment.
        cli: values of `--var`.
        host: what `{{ host }}` stands for.
    """
    declared: dict[str, tuple[Path | None, Any]] = {}
    secrets: set[str] = set()
    secret_env: set[str] = set()
    for path, section in layers.items():
        for name, entry in section.items():
            declared[name] = ((*path, name), entry)
            if isinstance(entry, VariableSource) and entry.sensitive:
                secrets.add(name)
                secret_env.update({entry.env} if entry.env else ())
                secret_env.add(PREFIX + name)
    given = {key[len(PREFIX) :]: value for key, value in env.items() if key.startswith(PREFIX)} | dict(cli)
    sources: dict[str, Source] = {}
    undeclared: tuple[Path | None, Any] = (None, None)
    for name in (*declared, *(name for name in given if name not in declared)):
        place, entry = declared.get(name, undeclared)
        sensitive = name in secrets
        if name in given:
            by = f"--var {name}" if name in cli else PREFIX + name
            value = _typed(name, given[name], entry, place, by, sensitive=sensitive)
            sources[name] = Source(value, sensitive, path=place, outside=True)
        else:
            sources[name] = _declared(name, entry, place, env, sensitive=sensitive)
    return VariableTable(sources, env, frozenset(secret_env), host)


def _declared(name: str, entry: Any, path: Path | None, env: Mapping[str, str], *, sensitive: bool) -> Source:
    if not isinstance(entry, VariableSource):
        return Source(entry, sensitive, literal=False, path=path)
    if entry.env is None:
        return Source(entry.value, sensitive, literal=False, path=path)
    if entry.env in env:
        value = _typed(name, env[entry.env], entry, path, entry.env, sensitive=sensitive)
        return Source(value, sensitive, path=path, env=entry.env, outside=True)
    if "default" in entry.model_fields_set:
        return Source(entry.default, sensitive, literal=False, path=path, outside=True)
    return Source(None, sensitive, path=path, missing=entry.env)


def _typed(name: str, text: str, entry: Any, path: Path | None, by: str, *, sensitive: bool) -> Any:
    """Give `text` from outside the type of the manifest's own value, so that `--var nodes=4` is a number."""
    model = (entry.default if entry.env else entry.value) if isinstance(entry, VariableSource) else entry
    shown = "another value" if sensitive else repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
    given = f", as here; {by} gives {shown}"
    if isinstance(model, bool):
        if text in ("true", "false"):
            return text == "true"
        raise VariableError(f"the variable `{name}` must be true or false{given}", path)
    if isinstance(model, int | float):
        try:
            return type(model)(text)
        except ValueError:
            wanted = "a whole number" if isinstance(model, int) else "a number"
            raise VariableError(f"the variable `{name}` must be {wanted}{given}", path) from None
    return text


def check_variable(name: str, entry: Any) -> tuple[str, str | None] | None:
    """Return message and hint when a declaration makes no sense; never its value."""
    if name in RESERVED:
        return f"`{name}` is a name that expressions have anyway", "choose another name"
    if not name.isidentifier():
        return f"`{name}` cannot be used in an expression", "use letters, digits and `_`"
    if not isinstance(entry, VariableSource):
        return None
    has_env, has_value = entry.env is not None, "value" in entry.model_fields_set
    if has_env == has_value:
        return f"`{name}` needs either `env` or `value`", "e.g. {env: SITE_TOKEN, sensitive: true}"
    if entry.sensitive and (has_value or entry.default not in (None, "")):
        return f"`{name}` is sensitive and must not be written in the manifest", "use `{env: NAME, sensitive: true}`"
    if has_value and "default" in entry.model_fields_set:
        return f"`{name}` has a value and a default", "keep `value`"
    return None
