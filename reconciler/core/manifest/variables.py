"""The variables an expression may use: where each comes from, and which of them are secrets.

Precedence, strongest first: `--var`, `CHILTEPIN_VAR_*`, the host's `variables`, `variables`. A value
from the command line or the environment is never rendered itself; a value in the manifest may use
other variables. Text from outside takes the type that the manifest's own value, or the default, has;
where that is no text, an environment variable that is set to nothing counts as not set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from reconciler.core.frozen import dataclass
from reconciler.core.manifest.model import Variables, VariableSource
from reconciler.core.manifest.parsed import Path
from reconciler.core.secret_names import is_secret_value

PREFIX = "CHILTEPIN_VAR_"
RESERVED = frozenset(("env", "host"))
"""Names that expressions have anyway."""
_SHOWN = 60
"""Characters of a value that a message shows."""
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Misfit:
    """A value from outside that does not have the type of the manifest's own.

    Attributes:
        message: what is wrong; never the value of a secret.
        path: the variable's declaration.
        hint: what would do.
    """

    message: str
    path: Path
    hint: str | None = None


@dataclass(frozen=True)
class Source:
    """Where a variable's value comes from.

    Attributes:
        value: the value, or text to be rendered when `literal` is false.
        path: its declaration in the manifest.
        env: the environment variable that its declaration names, whatever gives the value.
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
    """All variables as one host sees them, and the environment's names that hold secrets.

    Attributes:
        misfits: values that are refused. The manifest's own stand in for them: the rest can still be checked.
    """

    sources: Mapping[str, Source]
    env: Mapping[str, str] = field(repr=False)
    secret_env: frozenset[str]
    host: str
    misfits: tuple[Misfit, ...] = ()


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
    sources: dict[str, Source] = {}
    misfits: list[Misfit] = []
    undeclared = (key[len(PREFIX) :] for key in env if key.startswith(PREFIX))
    for name in dict.fromkeys((*declared, *undeclared, *cli)):
        place, entry = declared.get(name, (None, None))
        sensitive = name in secrets
        own = _of_manifest(entry, place, sensitive=sensitive)
        sources[name] = own
        names_env = entry.env if isinstance(entry, VariableSource) else None
        found = _from_outside(name, names_env, env, cli, text=not isinstance(own.value, int | float))
        if found is None:
            continue
        by, given = found
        try:
            value = _typed(given, own.value)
        except ValueError:
            misfits.append(_misfit(name, own, by, given))
        else:
            sources[name] = Source(value, sensitive, path=place, env=names_env, outside=True)
    return VariableTable(sources, env, frozenset(secret_env), host, tuple(misfits))


def _of_manifest(entry: Any, path: Path | None, *, sensitive: bool) -> Source:
    """Return what the manifest itself gives a variable: where nothing comes from outside."""
    if not isinstance(entry, VariableSource):
        return Source(entry, sensitive, literal=False, path=path)
    if entry.env is None:
        return Source(entry.value, sensitive, literal=False, path=path)
    if "default" in entry.model_fields_set:
        return Source(entry.default, sensitive, literal=False, path=path, env=entry.env, outside=True)
    return Source(None, sensitive, path=path, env=entry.env, missing=entry.env)


def telling_name(name: str, source: Source, value: Any) -> str | None:
    """Return the name that says that this value of a variable is a secret: its own, or that of the environment's."""
    return next((each for each in (source.env, name) if each and is_secret_value(each, value)), None)


def _from_outside(
    name: str, names_env: str | None, env: Mapping[str, str], cli: Mapping[str, str], *, text: bool
) -> tuple[str, str] | None:
    """Return what gives a variable its value, and the value; None when nothing outside the manifest does.

    Args:
        names_env: the environment variable that its declaration names.
        text: whether it is text, which may be empty.
    """
    if name in cli:
        return f"--var {name}", cli[name]
    for variable in (PREFIX + name, names_env or ""):
        value = env.get(variable)
        if value or (text and value is not None):
            return variable, value
    return None


def _typed(text: str, model: Any) -> Any:
    """Give `text` from outside the type of the manifest's own value, so that `--var nodes=4` is a number.

    Raises:
        ValueError: it is none of that type.
    """
    if isinstance(model, bool):
        if text.lower() not in _TRUTH:
            raise ValueError(text)
        return _TRUTH[text.lower()]
    return type(model)(text) if isinstance(model, int | float) else text


def _misfit(name: str, own: Source, by: str, text: str) -> Misfit:
    is_secret = own.sensitive or telling_name(name, own, text) is not None
    shown = "another value" if is_secret else repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
    wanted, hint = "a number", None
    if isinstance(own.value, bool):
        wanted, hint = "true or false", "give true or false, in any letter case, or 1 or 0"
    elif isinstance(own.value, int):
        wanted = "a whole number"
    return Misfit(f"the variable `{name}` must be {wanted}, as here; {by} gives {shown}", own.path or (), hint)


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
