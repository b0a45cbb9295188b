"""What a manifest would change, judged by the lock alone: for pull requests, with no access to any host. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from reconciler.core.changes import FieldChange
from reconciler.core.desired import Desired, DesiredEndpoint
from reconciler.core.frozen import dataclass
from reconciler.core.lines import Line, Style
from reconciler.core.lock import Lock, LockedEndpoint, lock_entry
from reconciler.core.pool_changes import PoolChange, pool_changes
from reconciler.core.pool_sharing import locked_pools, seen_from
from reconciler.core.report import show

Kind = Literal["add", "change", "move", "remove"]
_OTHER = "other content"


@dataclass(frozen=True)
class LockChange:
    """One endpoint or pool that the lock would gain, change or lose.

    Attributes:
        what: "endpoint" or "pool".
        host: the endpoint's host in the manifest, or in the lock when it leaves; of a pool, the host for which it
            changes, None when it changes for all in the same way.
        fields: what differs; of files their labels or digests, for the lock holds no more.
        old: what the lock calls it, of one that has moved.
    """

    what: Literal["endpoint", "pool"]
    name: str
    kind: Kind
    host: str | None = None
    id: str | None = None
    fields: tuple[FieldChange, ...] = ()
    old: str | None = None


def compare_with_lock(views: Sequence[Desired], lock: Lock | None) -> tuple[LockChange, ...]:
    """Compare a manifest with the lock.

    Args:
        views: the manifest as each of its hosts sees it (one view without hosts); with fewer than all of
            its hosts, only their endpoints are compared.
        lock: the lockfile, None when there is none.
    """
    others = {name for view in views for name in view.elsewhere} - {n for view in views for n in view.endpoints}
    known = {name: entry for name, entry in lock.endpoints.items() if name not in others} if lock else {}
    declared = {name: (endpoint, view.host.name) for view in views for name, endpoint in view.endpoints.items()}
    found: list[LockChange] = []
    moved: set[str] = set()
    for name, (endpoint, host) in declared.items():
        entry = known.get(name)
        old = next((n for n in views[0].formerly(name) if n in known), None) if entry is None else None
        if old is not None:
            moved.add(old)
            fields = tuple(_endpoint_fields(endpoint, host, known[old]))
            found.append(LockChange("endpoint", name, "move", host, known[old].id, fields, old))
        elif entry is None:
            found.append(LockChange("endpoint", name, "add", host, endpoint.id))
        elif fields := tuple(_endpoint_fields(endpoint, host, entry)):
            found.append(LockChange("endpoint", name, "change", host, entry.id, fields))
    for name, entry in sorted(known.items()):
        if name not in declared and name not in moved:
            found.append(LockChange("endpoint", name, "remove", entry.claim.host, entry.id))
    return (*found, *_changed_pools(views, lock))


def _changed_pools(views: Sequence[Desired], lock: Lock | None) -> Iterator[LockChange]:
    """Yield the pools that change by name, once for each host that changes them unless all do it in the same way."""
    known = lock.pools if lock else {}
    changed: dict[str, list[tuple[str | None, PoolChange]]] = {}
    for view in views:
        host = view.host.name
        for each in pool_changes(seen_from(host, known), seen_from(host, locked_pools(view, lock))):
            changed.setdefault(each.name, []).append((host, each))
    for name in sorted(changed):
        found = changed[name]
        owner = next((v.host.name for v in views if name in v.pools and v.pools[name].endpoint in v.endpoints), None)
        if owner is not None:
            found = [(None, change) for host, change in found if host == owner]
        elif len(found) == len(views) and all(change == found[0][1] for _, change in found):
            found = [(None, found[0][1])]
        for host, change in found:
            yield LockChange("pool", name, change.kind, host, fields=change.fields)


def _endpoint_fields(endpoint: DesiredEndpoint, host: str | None, entry: LockedEndpoint) -> Iterator[FieldChange]:
    for name, before, after in (
        ("host", entry.claim.host, host),
        ("directory", entry.claim.directory, endpoint.directory),
    ):
        if before != after:
            yield FieldChange(name, before, after)
    wanted = lock_entry(endpoint, entry.claim, endpoint.id or entry.id)
    for name in ("id", "state", "protect"):
        old, new = getattr(entry, name), getattr(wanted, name)
        if old != new:
            yield FieldChange(name, old, new)
    old_digests, new_digests = (e.digests.model_dump(by_alias=True) for e in (entry, wanted))
    for name, old in old_digests.items():
        new = new_digests[name]
        if old != new:
            yield FieldChange(name, old, new)


def _change(item: FieldChange) -> str:
    """Return a change in words. A digest says nothing to a reader; a label such as builtin@1 does."""
    old, new = (_OTHER if str(side).startswith("sha256:") else show(side) for side in (item.old, item.new))
    return _OTHER if old == new == _OTHER else f"{old} -> {new}"


_SIGN: Mapping[Kind, tuple[str, Style]] = {
    "add": ("+", "add"),
    "change": ("~", "change"),
    "move": ("=>", "change"),
    "remove": ("-", "remove"),
}


_COUNTED: tuple[tuple[Kind, str], ...] = (
    ("add", "to add"),
    ("change", "to change"),
    ("move", "to rename"),
    ("remove", "to remove"),
)


def comparison_lines(changes: Sequence[LockChange], *, stack: str) -> Iterator[Line]:
    """Yield the comparison as text."""
    if not changes:
        yield Line(f"No changes: the lock of stack {stack} has all of this manifest.", "head")
        return
    yield Line(f"Against the lock of stack {stack}:", "head")
    yield Line("")
    for change in changes:
        sign, style = _SIGN[change.kind]
        host = f" on {change.host}" if change.host else ""
        known = f"  {change.id}" if change.id and change.kind != "change" else ""
        name = f"{change.old} has moved to {change.name}" if change.old else change.name
        yield Line(f"  {sign} {change.what} {name}{host}{known}", style)
        for item in change.fields:
            yield Line(f"      {item.path}: {_change(item)}", "change")
    yield Line("")
    counts = [f"{number} {word}" for kind, word in _COUNTED if (number := sum(c.kind == kind for c in changes))]
    yield Line(f"Against the lock: {', '.join(counts)}.", "head")
