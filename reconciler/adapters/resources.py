"""The data files of this package: the built-in template with its schema, and the option tables.

Everything is read on first use and kept. Nothing of Globus Compute is imported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TypedDict

from reconciler.errors import UsageError

_TEMPLATE = re.compile(r"builtin-([1-9][0-9]*)\.yaml\.j2")


class _Types(TypedDict):
    types: list[str]


class Option(_Types, total=False):
    """One option of config.yaml.

    `types` names the kinds of value it takes, sorted: any, bool, dict, float, int, list, list[str], null,
    path (text), str, uuid (text). `doc`, which may be missing, says in one line what the option is for.
    """

    doc: str


class OptionTable(TypedDict):
    """What config.yaml of one minor version of globus-compute-endpoint accepts; `version` was asked."""

    version: str
    options: dict[str, Option]


def available_versions() -> tuple[int, ...]:
    """Return the versions of the built-in template, oldest first; a version never changes once released."""
    names = (_TEMPLATE.fullmatch(entry.name) for entry in (files("reconciler") / "templates").iterdir())
    return tuple(sorted(int(name[1]) for name in names if name))


def builtin_template(version: int | None = None) -> tuple[str, str]:
    """Return label (`builtin@1`) and text of the built-in user endpoint template.

    Args:
        version: which one; None means the newest.

    Raises:
        UsageError: there is no such version.
    """
    return _builtin(version, "yaml.j2")


def builtin_schema(version: int | None = None) -> tuple[str, str]:
    """Return label and text of the JSON Schema that belongs to `builtin_template(version)`.

    Raises:
        UsageError: there is no such version.
    """
    return _builtin(version, "schema.json")


def _builtin(version: int | None, suffix: str) -> tuple[str, str]:
    known = available_versions()
    if version is None:
        version = known[-1]
    if version not in known:
        raise UsageError(
            f"there is no built-in template of version {version}",
            remedy="use `builtin`, or one of " + ", ".join(f"`builtin@{number}`" for number in known),
        )
    return f"builtin@{version}", _read(f"templates/builtin-{version}.{suffix}")


@cache
def _read(path: str) -> str:
    return files("reconciler").joinpath(*path.split("/")).read_text(encoding="utf-8")


@cache
def option_tables() -> Mapping[str, OptionTable]:
    """Return every option table by minor version, e.g. "4.19"."""
    directory = files("reconciler") / "adapters" / "options"
    minors = sorted(entry.name.removesuffix(".json") for entry in directory.iterdir() if entry.name.endswith(".json"))
    return MappingProxyType({minor: json.loads(_read(f"adapters/options/{minor}.json")) for minor in minors})


def option_table(installed_version: str) -> OptionTable | None:
    """Return the table for a version such as "4.19.0"; None when its minor version is not known here.

    Any patch, pre-release or local build of a minor version has that minor version's table. None means that
    nothing can be said about an option, neither that it exists nor that it does not.
    """
    minor = re.match(r"\d+\.\d+(?!\d)", installed_version)
    return option_tables().get(minor[0]) if minor else None
