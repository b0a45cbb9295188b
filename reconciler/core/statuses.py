"""The status table: what is declared, what is there, one row an endpoint. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.daemon import DaemonState, judge_daemon, say_doubled
from reconciler.core.deaths import recent_deaths, remark
from reconciler.core.desired import Desired
from reconciler.core.frozen import dataclass
from reconciler.core.known import Known
from reconciler.core.live import LiveDirectory, LiveState, Unknown
from reconciler.core.lock import Lock
from reconciler.core.marker import Marker
from reconciler.core.retention import expired
from reconciler.core.user_endpoints import on_previous_template, say_previous

_UNUSABLE = {"legacy": "legacy", "link": "a link", "other": "no endpoint", "unreadable": "unreadable"}


@dataclass(frozen=True)
class StatusRow:
    """One endpoint.

    Attributes:
        declared: running, stopped, unmanaged, or `-` when it is not in the manifest.
        state: the daemon's state (`elsewhere`: on another node of this home), `absent` without a directory, or
            `-` on another host.
        node: where the daemon runs, as far as known.
        since: when one on another node was started, in seconds since the epoch by that node's clock.
        service: online, offline, gone, unknown, or None when it was not asked.
        pid: the daemon's process on this host.
        age: seconds since the daemon started.
        user_endpoints: how many are alive.
        on_previous_template: how many of them started before template, schema or environment was last written.
        deaths: how often its daemon died of late and nothing says why.
        notes: what is worth knowing, in words.
        managed: whether the directory carries this stack's marker.
        stack: the stack whose marker it carries; None without one.
    """

    endpoint: str
    host: str | None
    declared: str
    state: str
    id: str | None
    service: str | None = None
    pid: int | None = None
    age: float | None = None
    user_endpoints: int = 0
    on_previous_template: int = 0
    deaths: int = 0
    notes: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    managed: bool = False
    stack: str | None = None
    node: str | None = None
    since: float | None = None


@dataclass(frozen=True)
class TrashRow:
    """One deleted endpoint of this stack.

    Attributes:
        age: seconds since it was deleted; None when that is not known.
        size: bytes on disk; None when nobody asked.
        expired: whether its retention has ended.
        ours: whether it is of this lock's lineage.
    """

    endpoint: str
    entry: str
    id: str | None
    age: float | None
    size: int | None = None
    expired: bool = False
    ours: bool = True


def trash_rows(desired: Desired, live: LiveState, known: Known) -> tuple[TrashRow, ...]:
    """Return what is in the trash of this stack, oldest first."""
    ended = {item.name for item in expired(desired, live, known)}
    return tuple(
        TrashRow(
            endpoint=item.marker.endpoint,
            entry=item.name,
            id=item.id,
            age=item.age,
            size=item.size,
            expired=item.name in ended,
            ours=item.marker.lineage == known.lineage,
        )
        for item in live.trash
        if item.marker and item.marker.stack == known.stack
    )


def status_rows(desired: Desired, live: LiveState, lock: Lock | None) -> tuple[StatusRow, ...]:
    """Return the rows: the manifest's endpoints in its order, those of other hosts, then what else is there."""
    return tuple(_rows(desired, live, lock))


def _rows(desired: Desired, live: LiveState, lock: Lock | None) -> Iterator[StatusRow]:
    seen: set[str] = set()
    for name, endpoint in desired.endpoints.items():
        seen.add(endpoint.directory)
        directory = live.directories.get(endpoint.directory)
        yield _row(name, desired.host.name, endpoint.state, directory, desired, live, lock)
    for name, host in desired.elsewhere.items():
        entry = lock.endpoints.get(name) if lock else None
        yield StatusRow(
            name,
            host,
            entry.state if entry else "running",
            "-",
            entry.id if entry else None,
            _service(entry.id if entry else None, live),
            pools=_pools(name, desired),
        )
    for directory in live.directories.values():
        if directory.name not in seen and directory.kind in ("endpoint", "legacy"):
            yield _row(directory.name, desired.host.name, "-", directory, desired, live, lock)


def _row(
    name: str,
    host: str | None,
    declared: str,
    directory: LiveDirectory | None,
    desired: Desired,
    live: LiveState,
    lock: Lock | None,
) -> StatusRow:
    entry = lock.endpoints.get(name) if lock else None
    locked_id = entry.id if entry else None
    if directory is None:
        return StatusRow(
            name, host, declared, "absent", locked_id, _service(locked_id, live), pools=_pools(name, desired)
        )
    marker = directory.marker if isinstance(directory.marker, Marker) else None
    daemon = judge_daemon(directory, marker, live)
    local_id = directory.endpoint_id if isinstance(directory.endpoint_id, str) else None
    endpoint_id = local_id or (marker.id if marker else None) or locked_id
    managed = marker is not None and marker.stack == desired.stack
    deaths = recent_deaths(directory, marker, live) if marker and managed else ()
    previous = on_previous_template(directory)
    notes = (
        say_previous(previous) if previous else None,
        remark(deaths, alive=bool(directory.processes)),
        say_doubled(daemon, directory.name)[0] if daemon.state is DaemonState.DOUBLED else None,
    )
    return StatusRow(
        endpoint=name,
        host=host,
        declared=declared,
        state=_UNUSABLE.get(directory.kind, daemon.state.value),
        id=endpoint_id,
        service=_service(endpoint_id, live),
        pid=daemon.process.pid if daemon.process else None,
        age=daemon.process.age if daemon.process else None,
        user_endpoints=len(directory.user_endpoints),
        on_previous_template=previous,
        deaths=len(deaths),
        notes=tuple(note for note in notes if note),
        pools=_pools(name, desired),
        managed=managed,
        stack=marker.stack if marker else None,
        node=live.host.name if daemon.process else daemon.sighting.node if daemon.sighting else None,
        since=daemon.sighting.since if daemon.sighting else None,
    )


def _pools(name: str, desired: Desired) -> tuple[str, ...]:
    return tuple(sorted(pool.name for pool in desired.pools.values() if pool.endpoint == name))


def _service(endpoint_id: str | None, live: LiveState) -> str | None:
    if endpoint_id is None:
        return None
    if isinstance(live.registrations, Unknown):
        return "unknown"
    if endpoint_id not in live.registrations:
        return "gone"
    status = live.statuses.get(endpoint_id)
    if isinstance(status, Unknown):
        return "unknown"
    return status
