"""What an endpoint is found as that has, or had, another name: the lock's entry, and its directory. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote

from reconciler.core.actions import Refusal
from reconciler.core.desired import Desired, DesiredEndpoint
from reconciler.core.frozen import dataclass
from reconciler.core.known import Known
from reconciler.core.live import LiveDirectory, LiveState
from reconciler.core.lock import Lock, LockedEndpoint
from reconciler.core.marker import Marker
from reconciler.core.witnesses import ids_named

Homes = Mapping[str, Sequence[str]]
"""By the name in their markers, the directories that carry our marker of an endpoint."""


def homes_of(live: LiveState, known: Known) -> Homes:
    """Return where our endpoints are; a copy beside the one that was marked does not count."""
    found: dict[str, dict[str, str]] = {}
    for directory in live.directories.values():
        marker = directory.marker
        if isinstance(marker, Marker) and (marker.stack, marker.lineage) == (known.stack, known.lineage):
            found.setdefault(marker.endpoint, {})[directory.name] = marker.claim.directory
    homes: dict[str, list[str]] = {}
    at_home = {d.endpoint_id for d in live.directories.values() if d.is_at_home and d.endpoint_id is not None}
    for name, places in found.items():
        own = [here for here, claimed in places.items() if here == claimed]
        # Renamed by hand, or by a rename that was cut off; but not a copy of what has another name by now.
        moved = [here for here in places if live.directories[here].endpoint_id not in at_home]
        if own or moved:
            homes[name] = own or moved
    return homes


def has_lost_its_directory(name: str, lock: Lock, desired: Desired, directories: Mapping[str, LiveDirectory]) -> bool:
    """Whether the directory that the lock has of endpoint `name` is not there, or another's by now and nothing its own.

    It is another's when our marker in it names another endpoint, when its UUID is that of another lock entry or block,
    or when another block has it as `unmanaged`. All else is the lock's: made anew by hand, or marked by another stack
    or lineage, it may be where its daemon runs, and whoever acts on it is to be told what is there.
    """
    there = directories.get(lock.endpoints[name].claim.directory)
    if there is None:
        return True
    if _names(there, name, lock) or not _is_anothers(there, name, lock, desired):
        return False
    return not any(_names(directory, name, lock) for directory in directories.values())


def _names(directory: LiveDirectory, name: str, lock: Lock) -> bool:
    """Whether a directory carries the marker of what the lock calls `name`, or its UUID."""
    marker = directory.marker
    is_marked = isinstance(marker, Marker) and _is_of(marker, lock) and marker.endpoint == name
    return is_marked or lock.endpoints[name].id in ids_named(directory)


def _is_anothers(directory: LiveDirectory, name: str, lock: Lock, desired: Desired) -> bool:
    """Whether something shows that a directory which does not name `name` is another endpoint's."""
    marker, ids = directory.marker, ids_named(directory)
    if isinstance(marker, Marker) and _is_of(marker, lock):
        return True
    own = desired.block_of(name)
    blocks = [block for block in desired.endpoints.values() if block is not own]
    if any(block.id in ids for block in blocks) or any(entry.id in ids for entry in lock.endpoints.values()):
        return True
    # What has no UUID on record cannot be told from what is there.
    is_told = bool(ids and lock.endpoints[name].id) or isinstance(marker, Marker)
    return is_told and any(block.state == "unmanaged" and block.directory == directory.name for block in blocks)


def _is_of(marker: Marker, lock: Lock) -> bool:
    return (marker.stack, marker.lineage) == (lock.stack, lock.lineage)


@dataclass(frozen=True)
class Traces:
    """What the endpoint is found as: the lock's entry, and the directory that carries its marker or UUID."""

    old: str
    entry: LockedEndpoint | None
    source: LiveDirectory | None


def find_traces(
    endpoint: DesiredEndpoint, former: tuple[str, ...], live: LiveState, known: Known, homes: Homes
) -> Traces | Refusal | None:
    """Find an endpoint under its `former` names; None when nothing is to be renamed."""
    name = endpoint.name
    olds = [n for n in former if known.entry(n) or homes.get(n)]
    old = olds[0] if olds else name
    entry, present = known.entry(old), known.entry(name)
    doubled = olds and (
        len(olds) > 1
        or (homes.get(old) and homes.get(name))
        or (entry and present and entry.id not in (None, present.id))
    )
    places = homes.get(old) or homes.get(name, ())
    if doubled or (olds and len(places) > 1):
        return _refuse_several(endpoint, (name, *olds), homes, known)
    source = live.directories[places[0]] if len(places) == 1 else None
    if olds:
        entry = present if present and present.id else entry
        return Traces(old, entry, source or _by_the_lock(endpoint, entry, live))
    if source is None or not isinstance(source.marker, Marker) or source.marker.claim.directory == endpoint.directory:
        return None
    moves = source.name != endpoint.directory and source.name == source.marker.claim.directory
    moved = source.name == endpoint.directory and source.marker.claim.directory not in live.directories
    if endpoint.directory in live.directories and not moved:
        return None  # it is judged as what it is
    return Traces(name, entry, source) if moves or moved else None


def _by_the_lock(endpoint: DesiredEndpoint, entry: LockedEndpoint | None, live: LiveState) -> LiveDirectory | None:
    """Return the directory that the lock has, or that carries its UUID, where a marker does not say otherwise."""
    if entry is None:
        return None
    for place in (entry.claim.directory, endpoint.directory):
        directory = live.directories.get(place)
        if directory is not None and not isinstance(directory.marker, Marker) and directory.endpoint_id == entry.id:
            return directory
    return None


def _refuse_several(endpoint: DesiredEndpoint, names: tuple[str, ...], homes: Homes, known: Known) -> Refusal:
    evidence: list[str] = []
    for name in names:
        entry = known.entry(name)
        evidence += [f"{name} in the lock: {entry.id or 'never registered'}"] if entry else []
        evidence += [f"{name} in the directory {place}" for place in homes.get(name, ())]
    return Refusal(
        endpoint.name,
        f"several endpoints would be called `{endpoint.name}` by `moved`",
        "keep one of them in `moved`; let the other go by its own name (remove its entry, and give it a block again),"
        f" or `chiltepin forget {quote(names[-1])}`",
        tuple(evidence),
    )
