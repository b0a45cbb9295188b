"""Which endpoints leave: what is ours, of this host, and not wanted any more; and what only looks like it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.changes import Cause
from reconciler.core.desired import Desired, DesiredEndpoint
from reconciler.core.frozen import dataclass
from reconciler.core.host_named import with_host
from reconciler.core.known import Known
from reconciler.core.live import LiveDirectory, LiveState, Unknown
from reconciler.core.marker import Claim, Marker
from reconciler.core.scope import Scope
from reconciler.core.traces import has_lost_its_directory
from reconciler.core.trash import ids_to_ask as ids_in_trash
from reconciler.core.witnesses import ids_named


@dataclass(frozen=True)
class Leaver:
    """An endpoint that leaves, and the name of its directory; `declared` is its block, where the manifest has one.

    `is_lost`: that directory is not there, or another's by now: only the lock still knows the endpoint.
    """

    name: str
    directory: str
    is_lost: bool
    cause: Cause
    declared: DesiredEndpoint | None


def leavers(desired: Desired, live: LiveState, known: Known, scope: Scope) -> tuple[Leaver, ...]:
    """Return the endpoints of this stack on this host that should not be there, by name."""
    cause = Cause.DESTROY if scope.destroy else Cause.REMOVED
    found = sorted(set(_leaving(desired, live, known, scope)))
    return tuple(Leaver(name, directory, lost, cause, desired.block_of(name)) for name, directory, lost in found)


def left_behind(desired: Desired, live: LiveState, known: Known, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield (endpoint, why) of directories with our marker that are nobody's home: nothing is done about them."""
    for directory, marker in _unwanted(desired, live, known, scope):
        why = _left_behind(directory, marker, live, known)
        if why:
            yield marker.endpoint, why


def ids_to_end(desired: Desired, live: LiveState, known: Known, scope: Scope) -> set[str]:
    """Return the UUIDs that a `destroy --purge` deregisters, of those that show no process here."""
    found = ids_in_trash(None, live, known)
    for name, directory_name, is_lost in _leaving(desired, live, known, scope):
        directory = None if is_lost else live.directories[directory_name]
        if directory is None or not directory.processes:
            found |= ids_named(directory, known.entry(name))
        candidates = live.candidates.get(name, ())
        found |= set() if isinstance(candidates, Unknown) else {registration.id for registration in candidates}
    return found


def _leaving(desired: Desired, live: LiveState, known: Known, scope: Scope) -> Iterator[tuple[str, str, bool]]:
    """Yield (name, directory, whether that is lost) of endpoints of this stack on this host that should leave."""
    wanted = {} if scope.destroy else desired.endpoints
    used = _used(desired, live, scope)
    unmanaged = _unmanaged(desired, known, scope)
    if not scope.destroy:
        unmanaged |= {moved.old for moved in desired.moved}  # renamed, not removed
    if known.lock:
        for name, entry in known.lock.endpoints.items():
            if name in wanted or name in desired.elsewhere or not _is_here(entry.claim, known) or name in unmanaged:
                continue
            is_lost = has_lost_its_directory(name, known.lock, desired, live.directories)
            if (is_lost or entry.claim.directory not in used) and _covers(scope, name, desired):
                yield name, entry.claim.directory, is_lost
    for directory, marker in _unwanted(desired, live, known, scope):
        if _left_behind(directory, marker, live, known):
            continue
        claim = with_host(marker, directory, known.site.claim(directory.name), live).claim
        covered = _covers(scope, marker.endpoint, desired)
        if covered and marker.endpoint not in unmanaged and _is_here(claim, known):
            yield marker.endpoint, directory.name, False


def _unwanted(desired: Desired, live: LiveState, known: Known, scope: Scope) -> Iterator[tuple[LiveDirectory, Marker]]:
    """Yield the directories with our marker of which the manifest speaks neither by name nor by directory."""
    wanted = {} if scope.destroy else desired.endpoints
    used = _used(desired, live, scope)
    for directory in live.directories.values():
        marker = directory.marker
        if not isinstance(marker, Marker) or (marker.stack, marker.lineage) != (known.stack, known.lineage):
            continue
        if not (marker.endpoint in wanted or marker.endpoint in desired.elsewhere or directory.name in used):
            yield directory, marker


def _used(desired: Desired, live: LiveState, scope: Scope) -> set[str]:
    """Return the directories here in which endpoints are to stay: what stands in one does not leave with it.

    Whatever the block of such a directory is called by now, it says so itself what is in its way.
    """
    ends = {e.name for e in desired.endpoints.values() if scope.destroy and _covers(scope, e.name, desired)}
    staying = (e for e in desired.endpoints.values() if e.state == "unmanaged" or e.name not in ends)
    return {e.directory for e in staying if e.directory in live.directories}


def _covers(scope: Scope, name: str, desired: Desired) -> bool:
    """Whether a run is about an endpoint, by any of the names that it has until a rename in the manifest is done."""
    declared = desired.block_of(name)
    names = {name, *((declared.name, *desired.formerly(declared.name)) if declared else ())}
    return not names & scope.exclude and (not scope.targets or bool(names & scope.targets))


def _left_behind(directory: LiveDirectory, marker: Marker, live: LiveState, known: Known) -> str | None:
    """Say why a directory with our marker is not the endpoint's home, if it is not: nothing is done about it."""
    claimed, entry = marker.claim.directory, known.entry(marker.endpoint)
    if claimed != directory.name and (claimed in live.directories or (known.lock and entry is None)):
        return f"{directory.name} is a copy of what was {claimed}: nothing is done about it"
    if entry is not None and not _is_here(entry.claim, known, unnamed=True):  # of which host it is says the marker
        return f"the lock has it at another place, so nothing is done about {directory.name} here"
    return None


def _unmanaged(desired: Desired, known: Known, scope: Scope) -> frozenset[str]:
    """Return the endpoints that a destroy leaves alone: `state: unmanaged`, in the manifest or else in the lock."""
    if not scope.destroy:
        return frozenset()
    found = {name for name, endpoint in desired.endpoints.items() if endpoint.state == "unmanaged"}
    found |= {old for name in found for old in desired.formerly(name)}
    for name, entry in known.lock.endpoints.items() if known.lock else ():
        if entry.state == "unmanaged" and name not in desired.endpoints:
            found.add(name)
    return frozenset(found)


def _is_here(claim: Claim, known: Known, *, unnamed: bool = False) -> bool:
    """Whether a claim is of this place; with `unnamed` also one from before the manifest had hosts."""
    hosts = {known.site.host, None} if unnamed else {known.site.host}
    return claim.host in hosts and claim.config_dir == known.site.config_dir
