"""The options of config.yaml: which exist in which version, their types, and a manifest's `config` against them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, Literal

from reconciler.core.frozen import dataclass
from reconciler.core.manifest.findings import nearest, suggestion
from reconciler.core.manifest.parsed import Path
from reconciler.core.names import is_uuid

Kind = Literal["invalid", "unsupported", "warning"]


@dataclass(frozen=True)
class Option:
    """One option: the types it takes, and since when it is deprecated (in words), if it is.

    Types: str, int, float, bool, null, list, list[str], list[uuid], dict, uuid, path, any.
    """

    types: tuple[str, ...] = ("any",)
    deprecated: str | None = None


@dataclass(frozen=True)
class OptionTable:
    """The options of one version of globus-compute-endpoint.

    Attributes:
        version: the version that this table describes.
        options: by name.
        all_known: of every option known to any version, the versions that know it.
        exact: False when this is the nearest table to an installed version that has none of its own:
            unknown options are then warnings.
    """

    version: str
    options: Mapping[str, Option]
    all_known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exact: bool = True


@dataclass(frozen=True)
class OptionFinding:
    """What is wrong with an option.

    Attributes:
        path: below `config`.
        at_value: the value is wrong, not the option.
        kind: "invalid" in every version; "unsupported" by this version only; "warning".
    """

    path: Path
    kind: Kind
    message: str
    hint: str | None = None
    at_value: bool = False


@dataclass(frozen=True)
class _Gone:
    """An option that no supported version takes any more, or that the manifest sets elsewhere."""

    why: str
    instead: str


_TEMPLATE = "write it into the endpoint's `template`, which describes the user endpoints"
GONE: Mapping[str, _Gone] = {
    "engine": _Gone("`engine` in config.yaml is gone since 4.10.1", _TEMPLATE),
    "executors": _Gone("`executors` is gone since 4.6", _TEMPLATE),
    "multi_user": _Gone("`multi_user` is gone since 4.10.1: every endpoint serves user endpoints", "remove it"),
    "detach_endpoint": _Gone("`detach_endpoint` is gone since 4.10.1", "remove it; daemons are always detached"),
    "force_mu_allow_same_user": _Gone("`force_mu_allow_same_user` is gone since 4.10.1", "remove it"),
    "user_config_template_path": _Gone("the template's path is not set in `config`", "use `template: PATH`"),
    "user_config_schema_path": _Gone("the schema's path is not set in `config`", "use `schema: PATH`"),
    **{
        name: _Gone(f"`{name}` is an option of user endpoints, not of config.yaml", _TEMPLATE)
        for name in (
            "endpoint_setup",
            "endpoint_teardown",
            "heartbeat_threshold",
            "idle_heartbeats_hard",
            "idle_heartbeats_soft",
            "log_dir",
            "paths",
            "provider",
            "scaling_enabled",
            "stderr",
            "stdout",
            "worker_init",
        )
    },
}


_DAY = 86_400
_MEANT = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_SCALAR = re.compile(r"true|false|[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
"""What quotes alone keep from being a number or a boolean."""
_PERIODS: Mapping[str, tuple[float, str]] = {
    "heartbeat_period": (0.001, f"more than 0 and at most {_DAY:,} seconds"),
    "mu_child_ep_grace_period_s": (0, f"from 0 to {_DAY:,} seconds"),
}
"""Of an option that is a time, the least value and its range in words; at most it is a day."""


def option_tables(documents: Iterable[Mapping[str, Any]]) -> dict[str, OptionTable]:
    """Return the tables in `documents` (as shipped in JSON) by version, each knowing all others' names."""
    read = list(documents)
    known: dict[str, tuple[str, ...]] = {}
    for document in sorted(read, key=lambda doc: _order(str(doc["version"]))):
        for name in document["options"]:
            known[name] = (*known.get(name, ()), str(document["version"]))
    return {
        str(document["version"]): OptionTable(
            version=str(document["version"]),
            options={
                name: Option(tuple(entry.get("types", ("any",))), entry.get("deprecated"))
                for name, entry in document["options"].items()
            },
            all_known=known,
        )
        for document in read
    }


def table_for(tables: Mapping[str, OptionTable], version: str | None) -> OptionTable | None:
    """Return the table for an installed `version`: of the same minor version, else the newest, not exact.

    Args:
        version: None when nothing is installed.
    """
    if not tables:
        return None
    by_age = sorted(tables, key=_order)
    same = [name for name in by_age if version and name.split(".")[:2] == version.split(".")[:2]]
    newest = same[-1] if same else by_age[-1]
    chosen = tables[version if version is not None and version in tables else newest]
    if same:
        return chosen
    return OptionTable(chosen.version, chosen.options, chosen.all_known, exact=False)


def check_config(config: Mapping[str, Any], table: OptionTable | None) -> list[OptionFinding]:
    """Return what is wrong with the merged and rendered `config` of one endpoint.

    Args:
        table: of the installed version; None checks only what holds in every version.
    """
    findings: list[OptionFinding] = []
    for name, value in config.items():
        if gone := GONE.get(name):
            findings.append(OptionFinding((name,), "invalid", gone.why, gone.instead))
        elif table is None:
            continue
        elif option := table.options.get(name):
            findings.extend(_check_value(name, value, option))
        else:
            findings.append(_unknown(name, table))
    return findings


def why_refused(name: str, table: OptionTable) -> str | None:
    """Return why no daemon comes up with an option, whatever its value; None when nothing is against it.

    Args:
        table: of the installed version itself.
    """
    if name in table.options:
        return None
    return GONE[name].why if name in GONE else _unknown(name, table).message


def _check_value(name: str, value: Any, option: Option) -> Iterable[OptionFinding]:
    if option.deprecated:
        yield OptionFinding((name,), "warning", f"`{name}` is deprecated: {option.deprecated}")
    if any(_fits(value, kind) for kind in option.types):
        least, words = _PERIODS.get(name, (None, ""))
        if least is not None and isinstance(value, int | float) and not least <= value <= _DAY:
            yield OptionFinding((name,), "invalid", f"`{name}` must be {words}", at_value=True)
        return
    kinds = [kind for kind in option.types if kind != "null" and not (kind == "int" and "float" in option.types)]
    wanted = " or ".join(_TYPE_WORDS.get(kind, kind) for kind in kinds)
    hint = None
    if isinstance(value, str) and {"bool", "int", "float"} & set(option.types) and _SCALAR.fullmatch(value.strip()):
        hint = "write it without quotes"
    elif isinstance(value, str) and "bool" in option.types and (meant := _MEANT.get(value.lower())):
        hint = f"write {meant}"
    elif isinstance(value, int | float) and {"str", "uuid", "path"} & set(option.types):
        hint = "quote it"
    elif isinstance(value, str) and any(kind.startswith("list") for kind in option.types):
        hint = f"write `[{value}]`"
    yield OptionFinding((name,), "invalid", f"`{name}` must be {wanted}", hint, at_value=True)


def _unknown(name: str, table: OptionTable) -> OptionFinding:
    if versions := table.all_known.get(name):
        newer = _order(versions[0]) > _order(table.version)
        span = f"since {versions[0]}" if newer else f"up to {versions[-1]} only"
        message = f"globus-compute-endpoint {table.version} does not know `{name}`, which exists {span}"
        hint = "upgrade globus-compute-endpoint, or leave the option out" if newer else "leave the option out"
        return OptionFinding((name,), "unsupported" if table.exact else "warning", message, hint)
    close = nearest(name, table.options)
    if not table.exact:
        meant = f"did you mean `{close}`?" if close else None
        return OptionFinding((name,), "warning", f"`{name}` is no option known to this program", meant)
    if close:
        return OptionFinding((name,), "invalid", f"unknown option `{name}`", f"did you mean `{close}`?")
    message = f"globus-compute-endpoint {table.version} does not know the option `{name}`"
    return OptionFinding((name,), "unsupported", message, suggestion(name, sorted(table.options)))


_TYPE_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "uuid": "a UUID",
    "path": "a path",
    "list": "a list",
    "list[str]": "a list of texts",
    "list[uuid]": "a list of UUIDs",
    "dict": "a mapping",
}


def _fits(value: Any, kind: str) -> bool:
    if kind in ("str", "path"):
        return isinstance(value, str)
    if kind == "uuid":
        return isinstance(value, str) and is_uuid(value)
    if kind in ("int", "float"):
        return isinstance(value, int if kind == "int" else (int, float)) and not isinstance(value, bool)
    if kind.startswith("list["):
        return isinstance(value, list) and all(_fits(item, kind[5:-1]) for item in value)
    simple: Mapping[str, type] = {"bool": bool, "null": type(None), "list": list, "dict": dict}
    return isinstance(value, simple[kind]) if kind in simple else kind == "any"


def _order(version: str) -> list[int]:
    return [int(part) if part.isdigit() else 0 for part in version.split(".")]
