"""What leaves: endpoints removed from the manifest, and everything on `destroy`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import field, replace

from reconciler.core.actions import ClearStalePid, Delete, EndpointAction, Forget, Note, Purge, Refusal, Stop
from reconciler.core.changes import Cause
from reconciler.core.daemon import Daemon, DaemonState, judge_daemon, say_doubled
from reconciler.core.daemon_steps import marked
from reconciler.core.desired import Desired, DesiredEndpoint
from reconciler.core.elsewhere import Away, refuse_abroad
from reconciler.core.elsewhere_steps import stop_elsewhere
from reconciler.core.frozen import dataclass
from reconciler.core.host_named import with_host
from reconciler.core.known import Blocked, Known
from reconciler.core.leaving import UNREACHABLE, id_of, made_before_it_left, protected, record_id
from reconciler.core.live import LiveDirectory, LiveState, TrashEntry, Unknown
from reconciler.core.marker import Claim, Marker
from reconciler.core.pid_file import is_fresh
from reconciler.core.preconditions import DaemonIs, Idle, NoDaemon, Offline, PidFileIs, Precondition
from reconciler.core.scope import Scope
from reconciler.core.trash import ids_to_ask as ids_in_trash
from reconciler.core.trash import own_entries, purges, without_id
from reconciler.core.witnesses import check_claim, check_ids, check_owner, witnesses


@dataclasses.dataclass
class Removal:
    """The actions that delete, and what stands against them; `gone` are the names the lock will drop."""

    actions: list[EndpointAction] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    markers: dict[str, Marker] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    @property
    def gone(self) -> frozenset[str]:
        """Names that leave the lock when the actions are done."""
        return frozenset(self.names)


@dataclass(frozen=True)
class _Leaver:
    """An endpoint that leaves, and the name of its directory; `declared` is its block, where the manifest has one."""

    name: str
    directory: str
    cause: Cause
    declared: DesiredEndpoint | None


def removals(desired: Desired, live: LiveState, known: Known, scope: Scope) -> Removal:
    """Return Stop, Delete (and on `destroy --purge` Purge) for what is ours and not wanted any more."""
    removal = Removal()
    leaving = sorted(set(_leaving(desired, live, known, scope)))
    if leaving and known.lock is None:
        removal.refusals += [_without_lock(name, scope) for name, _ in leaving]
        return removal
    if leaving and not scope.destroy and not desired.declared:
        removal.refusals += [
            Refusal(
                name,
                "the manifest's `endpoints` section is empty: that deletes nothing",
                "use `chiltepin destroy` to delete everything, or restore the section",
            )
            for name, _ in leaving
        ]
        return removal
    for directory, marker in _unwanted(desired, live, known, scope):
        why = _left_behind(directory, marker, live, known)
        removal.notes += [Note(marker.endpoint, why)] if why else []
    cause = Cause.DESTROY if scope.destroy else Cause.REMOVED
    for name, place in leaving:
        leaver = _Leaver(name, place, cause, _declared(name, desired))
        if place in live.directories:
            _remove(leaver, live.directories[place], live, known, scope, removal)
        else:
            _remove_lost(leaver, live, known, scope, removal)
    if scope.destroy and scope.purge:
        _purge_trash(desired, live, known, scope, removal)
    return removal


def ids_to_end(desired: Desired, live: LiveState, known: Known, scope: Scope) -> set[str]:
    """Return the UUIDs that a `destroy --purge` deregisters, of those that show no process here."""
    found = ids_in_trash(None, live, known)
    for name, directory_name in _leaving(desired, live, known, scope):
        directory = live.directories.get(directory_name)
        if directory is None or not directory.processes:
            marker = directory.marker if directory and isinstance(directory.marker, Marker) else None
            found |= set(witnesses(directory, marker, known.entry(name)).values())
        candidates = live.candidates.get(name, ())
        found |= set() if isinstance(candidates, Unknown) else {registration.id for registration in candidates}
    return found


def _declared(name: str, desired: Desired) -> DesiredEndpoint | None:
    """Return the block of an endpoint, also one under the name that it is to have."""
    return desired.endpoints.get(name) or next(
        (endpoint for new, endpoint in desired.endpoints.items() if name in desired.formerly(new)), None
    )


def _without_lock(name: str, scope: Scope) -> Refusal:
    remedy = "run `chiltepin apply` first: it rebuilds" if scope.destroy else "look at what this run writes into"
    return Refusal(
        name,
        "it is not deleted in this run: without a lockfile nothing tells that it is this manifest's own",
        f"{remedy} the lockfile, then run this again",
    )


def _leaving(desired: Desired, live: LiveState, known: Known, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield (name, directory) of endpoints of this stack on this host that should not be there."""
    wanted = {} if scope.destroy else desired.endpoints
    unmanaged = _unmanaged(desired, known, scope)
    if not scope.destroy:
        unmanaged |= {moved.old for moved in desired.moved}  # renamed, not removed
    if known.lock:
        for name, entry in known.lock.endpoints.items():
            if name in wanted or name in desired.elsewhere or not _is_here(entry.claim, known) or name in unmanaged:
                continue
            if scope.covers(name):
                yield name, entry.claim.directory
    for directory, marker in _unwanted(desired, live, known, scope):
        if _left_behind(directory, marker, live, known):
            continue
        claim = with_host(marker, directory, known.site.claim(directory.name), live).claim
        if scope.covers(marker.endpoint) and marker.endpoint not in unmanaged and _is_here(claim, known):
            yield marker.endpoint, directory.name


def _unwanted(desired: Desired, live: LiveState, known: Known, scope: Scope) -> Iterator[tuple[LiveDirectory, Marker]]:
    """Yield the directories with our marker of which the manifest speaks neither by name nor by directory."""
    wanted = {} if scope.destroy else desired.endpoints
    used = {e.directory for e in wanted.values()}
    for directory in live.directories.values():
        marker = directory.marker
        if not isinstance(marker, Marker) or (marker.stack, marker.lineage) != (known.stack, known.lineage):
            continue
        if not (marker.endpoint in wanted or marker.endpoint in desired.elsewhere or directory.name in used):
            yield directory, marker


def _left_behind(directory: LiveDirectory, marker: Marker, live: LiveState, known: Known) -> str | None:
    """Say why a directory with our marker is not the endpoint's home, if it is not: nothing is done about it."""
    claimed, entry = marker.claim.directory, known.entry(marker.endpoint)
    if claimed != directory.name and (claimed in live.directories or (known.lock and entry is None)):
        return f"{directory.name} is a copy of what was {claimed}: nothing is done about it"
    if entry is not None and entry.claim.host not in (None, known.site.host):
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


def _is_here(claim: Claim, known: Known) -> bool:
    return (claim.host, claim.config_dir) == (known.site.host, known.site.config_dir)


def _remove(
    leaver: _Leaver, directory: LiveDirectory, live: LiveState, known: Known, scope: Scope, removal: Removal
) -> None:
    """Plan the end of one endpoint."""
    name, cause, declared = leaver.name, leaver.cause, leaver.declared
    entry = known.entry(name)
    marker = directory.marker
    if not isinstance(marker, Marker) and entry and entry.state == "unmanaged":
        removal.names.add(name)
        removal.actions.append(Forget(endpoint=name, directory=directory.name, cause=cause, id=entry.id))
        return
    if not isinstance(marker, Marker):
        removal.refusals.append(
            Refusal(
                name,
                f"{live.config_dir}/{directory.name} has no readable marker, so it is not deleted",
                f"run `chiltepin forget {name}` to let go of it, or delete it by hand",
            )
        )
        return
    marker = with_host(marker, directory, known.site.claim(directory.name), live)
    refusal = (
        _foreign(name, directory, marker, known, live.config_dir, declared=declared is not None)
        or check_ids(name, directory, marker, entry)
        or protected(name, marker, entry, declared)
    )
    if refusal:
        removal.refusals.append(refusal)
        return
    daemon = judge_daemon(directory, marker, live)
    endpoint_id = id_of(name, directory, marker, live, known)
    if isinstance(endpoint_id, Refusal):
        removal.refusals.append(endpoint_id)
        return
    refusal = (
        _needed(name, endpoint_id, leaver, known)
        or _out_of_reach(name, directory.name, daemon, live, endpoint_id)
        or _seen_elsewhere(name, directory, daemon, endpoint_id, live, scope)
    )
    if refusal:
        removal.refusals.append(refusal)
        return
    removal.markers[name] = marker
    if isinstance(directory.endpoint_id, str) or endpoint_id == marker.id:
        actions: list[EndpointAction] = []
    else:  # what is in the trash must say which registration is its own
        actions = [record_id(directory, marker, endpoint_id)]
        marker = marker.but(id=endpoint_id)
    actions += _end(directory, marker, cause, daemon, endpoint_id, interrupt=(declared or marker).restart == "now")
    removal.actions += actions
    removal.names.add(name)
    if scope.destroy and scope.purge:
        if isinstance(live.registrations, Unknown):
            removal.notes.append(Note(name, "its registration is kept: the service could not be reached"))
        else:
            # What was stopped here a moment ago the service may still call online.
            purge = Purge(endpoint=name, directory=directory.name, cause=cause, id=endpoint_id)
            guards = (Offline(endpoint_id),) if endpoint_id and not daemon.process else ()
            removal.actions.append(replace(purge, preconditions=guards))


def _needed(name: str, endpoint_id: str | None, leaver: _Leaver, known: Known) -> Refusal | None:
    """Refuse to delete what has the UUID of an endpoint that stays: a rename that was taken back half way."""
    others = [o for o, e in known.lock.endpoints.items() if o != name and e.id == endpoint_id] if known.lock else []
    if endpoint_id is None or leaver.cause is Cause.DESTROY or not others:
        return None
    return Refusal(
        name,
        f"{leaver.directory} has the UUID {endpoint_id} of {others[0]}: was it renamed?",
        f"rename it: `moved: [{{from: {name}, to: {others[0]}}}]`; or `chiltepin forget {name}` lets go of it",
    )


def _seen_elsewhere(
    name: str, directory: LiveDirectory, daemon: Daemon, endpoint_id: str | None, live: LiveState, scope: Scope
) -> Refusal | None:
    """Refuse to deregister what the service sees and this run does not stop.

    A daemon on a node of this home touches its PID file: the loss of that ends it.
    """
    touched = directory.pid_file is not None and is_fresh(directory.pid_file.age)
    stops = daemon.process is not None or (daemon.state is DaemonState.ELSEWHERE and touched)
    if stops or endpoint_id is None or not (scope.destroy and scope.purge):
        return None
    return _still_in_use(name, endpoint_id, live, "its daemon does not run here")


def _foreign(
    name: str, directory: LiveDirectory, marker: Marker, known: Known, config_dir: str, *, declared: bool
) -> Refusal | None:
    """Refuse what is another manifest's by now. Without a block, only the lock has it still: that can be let go."""
    refusal = check_owner(name, directory, marker, known, config_dir)
    if refusal is None or declared or (marker.stack, marker.lineage) == (known.stack, known.lineage):
        return refusal
    remedy = f"`chiltepin forget {name}` takes it out of this manifest's lockfile, and changes nothing else"
    return replace(refusal, remedy=remedy)


def _out_of_reach(
    name: str, directory: str, daemon: Daemon, live: LiveState, endpoint_id: str | None
) -> Refusal | None:
    silent = isinstance(live.registrations, Unknown)
    if daemon.state is DaemonState.UNDECIDED or (daemon.state is DaemonState.ELSEWHERE and silent):
        return Refusal(
            name,
            "its daemon may run on another node, and the service could not be asked",
            "run this again when the service answers",
            exit_code=UNREACHABLE,
        )
    if daemon.sighting and daemon.sighting.away is Away.ABROAD:
        return refuse_abroad(name, endpoint_id or "", daemon.sighting, live.host)
    if daemon.state is DaemonState.DOUBLED:
        return Refusal(name, *say_doubled(daemon, f"{live.config_dir}/{directory}/daemon.pid"))
    return None


def _end(
    directory: LiveDirectory, marker: Marker, cause: Cause, daemon: Daemon, endpoint_id: str | None, *, interrupt: bool
) -> list[EndpointAction]:
    """Return Stop (where it runs) and Delete."""
    name = marker.endpoint
    actions: list[EndpointAction] = []
    if daemon.process:
        guards: list[Precondition] = [marked(marker), DaemonIs(daemon.process)]
        if not interrupt:
            guards.append(Idle())
        actions.append(
            Stop(
                endpoint=name,
                directory=directory.name,
                cause=cause,
                preconditions=tuple(guards),
                interrupts=len(directory.user_endpoints),
                process=daemon.process,
            )
        )
    elif daemon.state is DaemonState.ELSEWHERE:
        actions.append(stop_elsewhere(directory, marker, daemon.sighting, cause, interrupt=interrupt))
    elif daemon.state is DaemonState.DEAD and directory.pid_file:
        unchanged = PidFileIs(directory.pid_file.pid, directory.pid_file.modified)
        actions.append(
            ClearStalePid(
                endpoint=name,
                directory=directory.name,
                cause=cause,
                preconditions=(marked(marker), NoDaemon(), unchanged),
                pid_file=directory.pid_file,
            )
        )
    actions.append(
        Delete(
            endpoint=name,
            directory=directory.name,
            cause=cause,
            preconditions=(marked(marker), NoDaemon()),
            id=endpoint_id,
        )
    )
    return actions


def _remove_lost(leaver: _Leaver, live: LiveState, known: Known, scope: Scope, removal: Removal) -> None:
    """Its directory is not there: only the lock (and, with purge, the service) still knows it."""
    name, directory_name, cause = leaver.name, leaver.directory, leaver.cause
    entry = known.entry(name)
    if entry is None:
        return
    refusal = check_claim(name, entry.claim, known.site.claim(directory_name), "the lock") or protected(
        name, entry, leaver.declared
    )
    purge = scope.destroy and scope.purge and not isinstance(live.registrations, Unknown)
    if refusal is None and entry.id and isinstance(live.registrations, Unknown):
        refusal = _not_said(name, "its directory is missing", entry.id)
    if refusal is None and entry.id:
        refusal = _still_in_use(name, entry.id, live, "its directory is missing")
    if refusal:
        removal.refusals.append(refusal)
        return
    endpoint_id = entry.id or made_before_it_left(name, live, known)
    if isinstance(endpoint_id, Refusal):
        removal.refusals.append(endpoint_id)
        return
    if endpoint_id and not entry.id and not purge:
        removal.notes.append(Note(name, f"its first start was cut off and has registered {endpoint_id}, which stays"))
    removal.names.add(name)
    if purge and endpoint_id:
        purged = Purge(endpoint=name, directory=directory_name, cause=cause, id=endpoint_id)
        removal.actions.append(replace(purged, preconditions=(Offline(endpoint_id),)))
    else:
        removal.actions.append(Forget(endpoint=name, directory=directory_name, cause=cause, id=endpoint_id))


def _still_in_use(name: str, endpoint_id: str, live: LiveState, here: str) -> Refusal | None:
    """Refuse to deregister an endpoint without a process here unless the service says that it is offline."""
    if isinstance(live.registrations, Unknown) or endpoint_id not in live.registrations:
        return None
    status = live.statuses.get(endpoint_id)
    if status == "offline":
        return None
    if status == "online":
        return Refusal(
            name,
            f"{here}, but {endpoint_id} is online: it runs elsewhere",
            "stop it there first; if it died a moment ago, wait until the service says offline and run this again",
        )
    return _not_said(name, here, endpoint_id)


def _not_said(name: str, here: str, endpoint_id: str) -> Refusal:
    return Refusal(
        name,
        f"{here}, and the service could not say whether {endpoint_id} is online",
        "run this again when the service answers",
        exit_code=UNREACHABLE,
    )


def _purge_trash(desired: Desired, live: LiveState, known: Known, scope: Scope, removal: Removal) -> None:
    items: list[TrashEntry] = []
    for item in own_entries(live, known):
        if item.marker is None or not scope.covers(item.marker.endpoint):
            continue
        declared = desired.endpoints.get(item.marker.endpoint)
        if declared is not None and declared.directory not in live.directories:  # it is what would come back
            refusal = protected(declared.name, declared)
            removal.refusals += [refusal] if refusal else []
            if refusal:
                continue
        items.append(item)
    for _, found in purges(items, Cause.DESTROY, live, known, removal.names):
        if isinstance(found, Blocked) and not isinstance(live.registrations, Unknown):
            again = "run this again when the service answers"
            removal.refusals.append(Refusal(found.endpoint, found.reason, again, exit_code=UNREACHABLE))
        elif isinstance(found, Blocked):
            removal.notes.append(Note(found.endpoint, "its registration is kept: the service could not be reached"))
        elif isinstance(found, Refusal):
            removal.refusals.append(found)
        else:
            # A directory of the same UUID that leaves in this run ends its registration already.
            ended = {a.id for a in removal.actions if isinstance(a, Purge)}
            removal.actions.append(without_id(found) if found.id in ended else found)
