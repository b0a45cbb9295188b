"""What differs between the lock's pools and the manifest's, option by option. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from reconciler.core.changes import ABSENT, FieldChange
from reconciler.core.frozen import dataclass
from reconciler.core.secrecy import concealed

PoolChangeKind = Literal["add", "change", "remove"]


@dataclass(frozen=True)
class PoolChange:
    """One pool that comes, changes or goes; `fields` are the options that differ, of one that changes."""

    name: str
    kind: PoolChangeKind
    fields: tuple[FieldChange, ...] = ()


def pool_changes(
    known: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]]
) -> tuple[PoolChange, ...]:
    """Return the changes that lead from the pools of a lock to those that are wanted, by name.

    Args:
        known: the lock's `pools` section: every option of every pool, resolved.
        wanted: the same of the manifest.
    """
    found: list[PoolChange] = []
    for name in sorted({*wanted, *known}):
        old, new = known.get(name), wanted.get(name)
        if old is None:
            found.append(PoolChange(name, "add"))
        elif new is None:
            found.append(PoolChange(name, "remove"))
        elif old != new:
            found.append(PoolChange(name, "change", _fields(old, new)))
    return tuple(found)


def _fields(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    pairs = ((key, known.get(key, ABSENT), wanted.get(key, ABSENT)) for key in sorted({*known, *wanted}))
    return tuple(FieldChange(key, *concealed((key,), old, new)) for key, old, new in pairs if old != new)
