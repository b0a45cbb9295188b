"""What leaves: endpoints removed from the manifest, and everything on `destroy`."""

from __future__ import annotations

import dataclasses
from dataclasses import field, replace
from shlex import quote

from reconciler.core.actions import ClearStalePid, Delete, EndpointAction, Forget, Note, Purge, Refusal, Stop
from reconciler.core.changes import Cause
from reconciler.core.daemon import Daemon, DaemonState, judge_daemon
from reconciler.core.daemon_steps import marked
from reconciler.core.desired import Desired
from reconciler.core.elsewhere_steps import stop_elsewhere
from reconciler.core.host_named import with_host
from reconciler.core.known import Blocked, Known
from reconciler.core.leavers import Leaver, leavers, left_behind
from reconciler.core.leaving import (
    UNREACHABLE,
    foreign,
    id_of,
    made_before_it_left,
    needed,
    not_said,
    out_of_reach,
    protected,
    record_id,
    seen_elsewhere,
    still_in_use,
    with_block,
)
from reconciler.core.letting_go import let_go
from reconciler.core.live import LiveDirectory, LiveState, TrashEntry, Unknown
from reconciler.core.lock import LockedEndpoint
from reconciler.core.marker import Marker
from reconciler.core.preconditions import DaemonIs, Idle, NoDaemon, Offline, PidFileIs, Precondition
from reconciler.core.scope import Scope
from reconciler.core.trash import not_purged_without_lock, own_entries, purges
from reconciler.core.witnesses import check_claim, check_entry, check_ids

_MISSING = "its directory is missing"


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


def removals(desired: Desired, live: LiveState, known: Known, scope: Scope) -> Removal:
    """Return Stop, Delete (and on `destroy --purge` Purge) for what is ours and not wanted any more."""
    removal = Removal()
    leaving = leavers(desired, live, known, scope)
    if leaving and known.lock is None:
        removal.refusals += [_without_lock(leaver.name, scope) for leaver in leaving]
        return removal
    if leaving and not scope.destroy and not desired.declared:
        removal.refusals += [
            Refusal(
                leaver.name,
                "the manifest's `endpoints` section is empty: that deletes nothing",
                "use `chiltepin destroy` to delete everything, or restore the section",
            )
            for leaver in leaving
        ]
        return removal
    removal.notes += [Note(name, why) for name, why in left_behind(desired, live, known, scope)]
    for leaver in leaving:
        if leaver.is_lost:
            _remove_lost(leaver, live, known, scope, removal)
        else:
            _remove(leaver, live.directories[leaver.directory], live, known, scope, removal)
    if scope.destroy and scope.purge:
        _purge_trash(desired, live, known, scope, removal)
    return removal


def _without_lock(name: str, scope: Scope) -> Refusal:
    remedy = "run `chiltepin apply` first: it rebuilds" if scope.destroy else "look at what this run writes into"
    return Refusal(
        name,
        "it is not deleted in this run: without a lockfile nothing tells that it is this manifest's own",
        f"{remedy} the lockfile, then run this again",
    )


def _remove(
    leaver: Leaver, directory: LiveDirectory, live: LiveState, known: Known, scope: Scope, removal: Removal
) -> None:
    """Plan the end of one endpoint."""
    name, cause, declared = leaver.name, leaver.cause, leaver.declared
    entry = known.entry(name)
    marker = directory.marker
    if entry and entry.state == "unmanaged":
        _let_go(leaver, entry, directory, live, known, removal)
        return
    if not isinstance(marker, Marker):
        removal.refusals.append(
            Refusal(
                name,
                f"{live.config_dir}/{directory.name} has no readable marker, so it is not deleted",
                f"run `chiltepin forget {quote(name)}` to let go of it, or delete it by hand",
            )
        )
        return
    marker = with_host(marker, directory, known.site.claim(directory.name), live)
    refusal = (
        foreign(name, directory, marker, known, live.config_dir, declared=declared is not None)
        or with_block(
            name,
            check_entry(name, entry, known.site.claim(directory.name)) or check_ids(name, directory, marker, entry),
            declared=declared is not None,
        )
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
        needed(name, endpoint_id, leaver, known)
        or out_of_reach(name, directory.name, daemon, live, endpoint_id)
        or seen_elsewhere(name, directory, daemon, endpoint_id, live, scope)
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


def _let_go(
    leaver: Leaver,
    entry: LockedEndpoint,
    directory: LiveDirectory | None,
    live: LiveState,
    known: Known,
    removal: Removal,
) -> None:
    """Plan that what was left alone already is forgotten, along with a marker that is still ours."""
    marker = directory.marker if directory else None
    ours = (known.stack, known.lineage, leaver.name)
    is_ours = isinstance(marker, Marker) and (marker.stack, marker.lineage, marker.endpoint) == ours
    removal.names.add(leaver.name)
    removal.actions.append(let_go(leaver.name, entry, directory if is_ours else None, live, leaver.cause))


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


def _remove_lost(leaver: Leaver, live: LiveState, known: Known, scope: Scope, removal: Removal) -> None:
    """Its directory is not there, or another's: only the lock (and, with purge, the service) still knows it."""
    name, directory_name, cause = leaver.name, leaver.directory, leaver.cause
    entry = known.entry(name)
    if entry is None:
        return
    if entry.state == "unmanaged":
        _let_go(leaver, entry, None, live, known, removal)
        return
    here = f"its directory {directory_name} is another's by now" if directory_name in live.directories else _MISSING
    refusal = with_block(
        name,
        check_claim(name, entry.claim, known.site.claim(directory_name), "the lock"),
        declared=leaver.declared is not None,
    ) or protected(name, entry, leaver.declared)
    purge = scope.destroy and scope.purge and not isinstance(live.registrations, Unknown)
    if refusal is None and entry.id and isinstance(live.registrations, Unknown):
        refusal = not_said(name, here, entry.id)
    if refusal is None and entry.id:
        refusal = still_in_use(name, entry.id, live, here)
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
    if known.lock is None:
        removal.refusals += not_purged_without_lock(items)
        return
    # A directory of the same UUID that leaves in this run ends its registration already, once it is stopped.
    ended = {a.id for a in removal.actions if isinstance(a, Purge) and a.id}
    for _, found in purges(items, Cause.DESTROY, live, known, removal.names, ended):
        if isinstance(found, Blocked) and not isinstance(live.registrations, Unknown):
            again = "run this again when the service answers"
            removal.refusals.append(Refusal(found.endpoint, found.reason, again, exit_code=UNREACHABLE))
        elif isinstance(found, Blocked):
            removal.notes.append(Note(found.endpoint, "its registration is kept: the service could not be reached"))
        elif isinstance(found, Refusal):
            removal.refusals.append(found)
        else:
            removal.actions.append(found)
