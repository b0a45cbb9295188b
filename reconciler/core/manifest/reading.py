"""Values with positions to a `Manifest`: validation, and its errors in words with their place."""

from __future__ import annotations

import copy
import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from reconciler.core.invalid import ManifestInvalid
from reconciler.core.manifest import model as m
from reconciler.core.manifest.findings import Findings, suggestion
from reconciler.core.manifest.parsed import Parsed, Path
from reconciler.errors import UPGRADE

_ROUNDS = 3
"""How often what is wrong is taken out to see whether the rest can be checked further."""


def read_manifest(parsed: Parsed) -> m.Manifest:
    """Return the validated manifest.

    Raises:
        ManifestInvalid: with every key and value that does not fit the models.
    """
    manifest, findings = read_leniently(parsed)
    findings.finish()
    assert manifest is not None  # noqa: S101  without errors there is one
    return manifest


def read_leniently(parsed: Parsed) -> tuple[m.Manifest | None, Findings]:
    """Return the manifest without the parts that are wrong, and what is wrong.

    The manifest is None when too little of it is left to look further.
    """
    findings = Findings(parsed, parsed.problems)
    root = parsed.root
    if not _is_readable(root, findings):
        return None, findings
    values = {key: value for key, value in root.items() if not key.startswith("x-")}
    pruned = False
    for _ in range(_ROUNDS):
        try:
            return m.Manifest.model_validate(values), findings
        except ValidationError as error:
            found = list(_errors(error, values))
            if not pruned:
                values, pruned = copy.deepcopy(values), True
                for path, item in found:
                    _report(findings, path, item)
            for path, item in found:
                _prune(values, path, item["type"])
    return None, findings


def validate_block(
    model: type[BaseModel], values: Mapping[str, Any], rendered: Container[Path] = ()
) -> list[tuple[Path, str, str | None]]:
    """Check a merged block, expressions' values where `rendered` says; return (path in it, message, hint) of faults."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        return [
            (path, message, _OF_EXPRESSION if path in rendered and item["type"] in _TYPED else hint)
            for path, item in _errors(error, values)
            for message, hint in [_words(path, item, model)]
        ]
    return []


def _is_readable(root: Any, findings: Findings) -> bool:
    if not isinstance(root, dict):
        message = "the file is empty" if root is None else "a manifest is a mapping with `version` and `stack`"
        hint = "remove it; then `chiltepin init` writes a first manifest" if root is None else None
        findings.error((), message, hint)
        return False
    version = root.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version > m.FORMAT_VERSION:
        message = f"version {version} is newer than this program reads ({m.FORMAT_VERSION})"
        findings.error(("version",), message, UPGRADE)
        return False
    if version == m.FORMAT_VERSION and type(version) is not int:  # which `true` and `1.0` are equal to
        findings.error(("version",), f"`version` must be the whole number {m.FORMAT_VERSION}", _MISSING["version"])
    endpoints = root.get("endpoints")
    if isinstance(endpoints, dict) and len(endpoints) > m.MAX_ENDPOINTS:
        message = f"{len(endpoints):,} endpoints; the limit is {m.MAX_ENDPOINTS:,}"
        findings.error(("endpoints",), message, "split the manifest into several stacks", key=True)
        return False
    return True


def _errors(error: ValidationError, values: Any) -> Iterable[tuple[Path, Mapping[str, Any]]]:
    """Yield pydantic's errors, one per place: of a union's, the one that got furthest."""
    found: dict[Path, Mapping[str, Any]] = {}
    for item in error.errors(include_url=False):
        found.setdefault(_real_path(item["loc"], values, item["type"]), cast("Mapping[str, Any]", item))
    parents = {path[:length] for path in found for length in range(len(path))}
    for path, error_item in found.items():
        # Problems inside a value say more than "none of the alternatives fits" about the value itself.
        if path not in parents or not path:
            yield path, error_item


def _real_path(location: Iterable[str | int], values: Any, kind: str) -> Path:
    """Strip the names of union members from pydantic's location; a host's `match` entry is one place."""
    path: list[str | int] = []
    node = values
    steps = list(location)
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            if not (last and kind == "missing"):
                continue
        path.append(step)
        if len(path) == 4 and path[0] == "hosts" and path[2] == "match":
            break
    return tuple(path)


def _report(findings: Findings, path: Path, item: Mapping[str, Any]) -> None:
    message, hint = _words(path, item, model_at(path[:-1]))
    findings.broken.update(path[:length] for length in range(1, len(path)))
    if item["type"] == "missing":
        findings.error(path[:-1], message, hint, key=True)
        return
    findings.error(path, message, hint, key=item["type"] == "extra_forbidden")


def _words(path: Path, item: Mapping[str, Any], model: type[BaseModel] | None) -> tuple[str, str | None]:
    """Return message and hint for one of pydantic's errors."""
    kind, value = item["type"], item["input"]
    name = str(next((step for step in reversed(path) if isinstance(step, str)), "the manifest"))
    secret = "user_environment" in path or "variables" in path
    shown = "" if secret else f", not {show(value)}"
    if len(path) == 4 and path[0] == "hosts" and path[2] == "match":
        return "this matches no host", "write a host name pattern, {env: VAR=VALUE} or {cluster: NAME}"
    if kind == "extra_forbidden":
        return f"unknown key `{name}`", suggestion(name, known_keys(model), "known keys", most=99) if model else None
    if kind == "missing":
        return f"`{name}` is missing", _MISSING.get(name)
    if kind == "string_too_short":
        return f"`{name}` is empty", _EMPTY.get(name)
    if kind == "string_pattern_mismatch" and name == "stack":
        return f"`stack` is 1 to 64 letters, digits, `.`, `_` and `-`{shown}", None
    if path[0] == "variables" and kind == "string_type" and len(path) <= 3 and name not in known_keys(m.VariableSource):
        return f"`{name}` must be text, a number, true, false, a list of these, or {{env: NAME}}", None
    if words := _type_words(name, item, shown, secret=secret):
        message, hint = words
        if path in _OF_ENTRIES and not secret and re.fullmatch(r"[A-Za-z][\w.-]{0,63}", text := str(item["input"])):
            hint = f"end the name of an entry with a colon: `{text}:`"
        if isinstance(path[-1], int):
            message = message.replace(f"`{name}` must", f"each entry of `{name}` must", 1)
        return message, hint
    return f"`{name}` does not fit: {str(item['msg']).lower()}", None


def _type_words(name: str, item: Mapping[str, Any], shown: str, *, secret: bool) -> tuple[str, str | None] | None:
    """Return message and hint when the value is of a wrong type or out of bounds."""
    kind, value = item["type"], item["input"]
    context: Mapping[str, Any] = item.get("ctx", {})
    if kind == "literal_error":
        choices = _choices(str(context.get("expected", "")))
        meant = _MEANT.get((name, str(value)))
        hint = f"did you mean `{meant}`?" if meant else suggestion(str(value), choices, "one of")
        return f"`{name}` must be one of {', '.join(choices)}{shown}", hint
    if kind == "string_type" and name == "id" and value is not None:
        return f"`{name}` must be a UUID{shown}", ID_HINT
    if kind == "string_type" and (unit := _UNITS.get(name)) and isinstance(value, int):
        return f"`{name}` must be text{shown}", f"write its unit, too: {value}{unit}"
    if kind == "string_type":
        return f"`{name}` must be text{shown}", _quote(value, secret=secret)
    if kind in _TYPED:
        return _number_words(name, kind, value, shown)
    if kind == "list_type":
        one = isinstance(value, str) and "\n" not in value and not secret
        return f"`{name}` must be a list{shown}", f"one line per entry: `- {value}`" if one else None
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"`{name}` must be a mapping{shown}", None
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"`{name}` must be {words} {context[key]:g}{shown}", None
    return None


_MISSING = {"version": "begin the file with `version: 1`", "stack": "name what this file manages, e.g. `stack: demo`"}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
}
_OF_ENTRIES = (("endpoints",), ("pools",), ("hosts",))
_UNITS = {"keep": "d", "max": "GB"}
"""Of what is a time or a size, the unit that is most likely meant."""
_MEANT = {("mpi_launcher", "mpirun"): "mpiexec"}
"""What is meant by a word that is nearer to another one."""
ID_HINT = "e.g. 5f1c7ad2-3f0a-4a4e-9d7e-0f1e2d3c4b5a"
_EMPTY = {"schema": "write `none` for no schema"}


_OF_EXPRESSION = "the expression's value must have that type; `| int` makes a number of text"
_TYPED = ("bool_type", "int_type", "float_type")


def _number_words(name: str, kind: str, value: Any, shown: str) -> tuple[str, str | None]:
    wanted = {"bool_type": "true or false", "int_type": "a whole number", "float_type": "a number"}[kind]
    hint = None
    if isinstance(value, str):
        if kind == "bool_type" and value.strip().lower() in ("true", "false", "yes", "no", "on", "off", "1", "0"):
            hint = f"write {str(value.strip().lower() in ('true', 'yes', 'on', '1')).lower()}, without quotes"
        elif kind != "bool_type" and value.strip().lstrip("+-").replace(".", "", 1).isdigit():
            hint = f"write {value.strip()}, without quotes"
        elif "{{" in value:
            hint = _OF_EXPRESSION
    return f"`{name}` must be {wanted}{shown}", hint


def _quote(value: Any, *, secret: bool) -> str | None:
    if value is None:
        return "leave the key out, or give it a value"
    if isinstance(value, bool | int | float):
        return "quote it" if secret else f'quote it: "{str(value).lower() if isinstance(value, bool) else value}"'
    return None


def _choices(expected: str) -> list[str]:
    return [word.strip(" '") for word in expected.replace(" or ", ", ").split(",") if word.strip(" '")]


def show(value: Any) -> str:
    """Return a short description of `value` for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 60 else "a long text"
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else str(type(value))


def known_keys(model: type[BaseModel]) -> list[str]:
    """Return the keys that a block of this model may have, as written in the manifest."""
    return [info.alias or name for name, info in model.model_fields.items()]


_SECTIONS: Mapping[str, type[BaseModel]] = {
    "hosts": m.HostBlock,
    "endpoints": m.EndpointBlock,
    "pools": m.PoolBlock,
    "variables": m.VariableSource,
    "moved": m.MovedBlock,
}


def model_at(path: Path) -> type[BaseModel] | None:
    """Return the model of the block at `path`, or None where anything goes."""
    if not path:
        return m.Manifest
    if path[0] == "hosts" and len(path) > 2:
        return model_at(path[2:]) if path[2] in ("defaults", "variables") else None
    if path == ("defaults",):
        return m.Defaults
    if path[0] == "defaults" and len(path) == 2:
        return m.PoolBlock if path[1] == "pool" else m.EndpointDefaults if path[1] == "endpoint" else None
    if path == ("trash",):
        return m.TrashBlock
    return _SECTIONS.get(str(path[0])) if len(path) == 2 else None


def _prune(values: Any, path: Path, kind: str) -> None:
    """Take what is wrong out of `values`, so that the rest can be validated."""
    if kind == "missing" and len(path) == 1:
        values[path[0]] = {"version": m.FORMAT_VERSION, "stack": "unnamed"}.get(str(path[0]))
        return
    if path in (("version",), ("stack",)):
        values[path[0]] = m.FORMAT_VERSION if path[0] == "version" else "unnamed"
        return
    steps = path[:-1] if kind == "missing" else path
    node = values
    try:
        for step in steps[:-1]:
            node = node[step]
        if isinstance(node, list):
            node[:] = []  # removing one entry would shift the others' positions
        else:
            del node[steps[-1]]
    except (KeyError, IndexError, TypeError):
        return  # an alias: taken out already at another place


def require(manifest: m.Manifest | None, findings: Findings) -> m.Manifest:
    """Return `manifest`.

    Raises:
        ManifestInvalid: when there is none.
    """
    if manifest is None:
        raise ManifestInvalid(findings.problems)
    return manifest
