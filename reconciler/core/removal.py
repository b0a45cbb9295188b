"""What leaves: endpoints removed from the manifest, and everything on `destroy`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from reconciler.core.actions import (
    Cause,
    ClearStalePid,
    DaemonIs,
    Delete,
    EndpointAction,
    Forget,
    Idle,
    NoDaemon,
    Note,
    Precondition,
    Purge,
    Refusal,
    Stop,
)
from reconciler.core.daemon import Daemon, DaemonState, judge_daemon
from reconciler.core.daemon_steps import marked
from reconciler.core.desired import Desired
from reconciler.core.elsewhere_steps import stop_elsewhere
from reconciler.core.host_named import with_host
from reconciler.core.live import LiveDirectory, LiveState, Unknown
from reconciler.core.marker import Claim, Marker
from reconciler.core.ownership import Blocked, Known, check_claim, check_ids, check_owner
from reconciler.core.scope import Scope
from reconciler.core.trash import own_entries, purges

UNREACHABLE = 69
"""Exit code of a refusal for want of the service's word."""


@dataclass
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
    for name, directory in leaving:
        declared = desired.endpoints.get(name)
        _remove(name, directory, live, known, scope, removal, declared.restart if declared else None)
    if scope.destroy and scope.purge:
        _purge_trash(live, known, scope, removal)
    return removal


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
    used = {e.directory for e in wanted.values()}
    unmanaged = _unmanaged(desired, known, scope)
    if not scope.destroy:
        unmanaged |= {moved.old for moved in desired.moved}  # renamed, not removed
    if known.lock:
        for name, entry in known.lock.endpoints.items():
            if name in wanted or name in desired.elsewhere or not _is_here(entry.claim, known) or name in unmanaged:
                continue
            if scope.covers(name):
                yield name, entry.claim.directory
    for directory in live.directories.values():
        marker = directory.marker
        if not isinstance(marker, Marker) or (marker.stack, marker.lineage) != (known.stack, known.lineage):
            continue
        if marker.endpoint in wanted or marker.endpoint in desired.elsewhere or directory.name in used:
            continue
        claim = with_host(marker, directory, known.site.claim(directory.name), live).claim
        if scope.covers(marker.endpoint) and marker.endpoint not in unmanaged and _is_here(claim, known):
            yield marker.endpoint, directory.name


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
    name: str,
    directory_name: str,
    live: LiveState,
    known: Known,
    scope: Scope,
    removal: Removal,
    restart: str | None,
) -> None:
    """Plan the end of one endpoint; `restart` is the policy that the manifest still declares, if it does."""
    directory = live.directories.get(directory_name)
    entry = known.entry(name)
    cause = Cause.DESTROY if scope.destroy else Cause.REMOVED
    if directory is None:
        _remove_lost(name, directory_name, cause, live, known, scope, removal)
        return
    marker = directory.marker
    if not isinstance(marker, Marker) and entry and entry.state == "unmanaged":
        removal.names.add(name)
        removal.actions.append(Forget(endpoint=name, directory=directory_name, cause=cause, id=entry.id))
        return
    if not isinstance(marker, Marker):
        removal.refusals.append(
            Refusal(
                name,
                f"{live.config_dir}/{directory_name} has no readable marker, so it is not deleted",
                f"run `chiltepin forget {name}` to let go of it, or delete it by hand",
            )
        )
        return
    marker = with_host(marker, directory, known.site.claim(directory_name), live)
    refusal = (
        _foreign(name, directory, marker, known, live.config_dir, declared=restart is not None)
        or check_ids(name, directory, marker, entry)
        or _protected(name, declared=marker.protect or (entry is not None and entry.protect))
    )
    if refusal:
        removal.refusals.append(refusal)
        return
    daemon = judge_daemon(directory, marker, live)
    refusal = _out_of_reach(name, daemon, live)
    if refusal:
        removal.refusals.append(refusal)
        return
    actions = _end(directory, marker, cause, daemon, interrupt=(restart or marker.restart) == "now")
    endpoint_id = directory.endpoint_id if isinstance(directory.endpoint_id, str) else marker.id
    removal.actions += actions
    removal.markers[name] = marker
    removal.names.add(name)
    if scope.destroy and scope.purge:
        if isinstance(live.registrations, Unknown):
            removal.notes.append(Note(name, "its registration is kept: the service could not be reached"))
        else:
            removal.actions.append(Purge(endpoint=name, directory=directory_name, cause=cause, id=endpoint_id))


def _foreign(
    name: str, directory: LiveDirectory, marker: Marker, known: Known, config_dir: str, *, declared: bool
) -> Refusal | None:
    """Refuse what is another manifest's by now. Without a block, only the lock has it still: that can be let go."""
    refusal = check_owner(name, directory, marker, known, config_dir)
    if refusal is None or declared or (marker.stack, marker.lineage) == (known.stack, known.lineage):
        return refusal
    remedy = f"`chiltepin forget {name}` takes it out of this manifest's lockfile, and changes nothing else"
    return replace(refusal, remedy=remedy)


def _protected(name: str, *, declared: bool) -> Refusal | None:
    if not declared:
        return None
    return Refusal(
        name,
        "it is protected (`protect: true`), also after its block is gone",
        f"run `chiltepin unprotect {name}` first",
    )


def _out_of_reach(name: str, daemon: Daemon, live: LiveState) -> Refusal | None:
    silent = isinstance(live.registrations, Unknown)
    if daemon.state is DaemonState.UNDECIDED or (daemon.state is DaemonState.ELSEWHERE and silent):
        return Refusal(
            name,
            "its daemon may run on another node, and the service could not be asked",
            "run this again when the service answers",
            exit_code=UNREACHABLE,
        )
    if daemon.state is DaemonState.DOUBLED:
        pids = ", ".join(str(p.pid) for p in (daemon.process, *daemon.others) if p)
        return Refusal(name, f"several daemons run under its name: PIDs {pids}", "stop all but one by their PIDs")
    return None


def _end(
    directory: LiveDirectory, marker: Marker, cause: Cause, daemon: Daemon, *, interrupt: bool
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
        actions.append(
            ClearStalePid(
                endpoint=name,
                directory=directory.name,
                cause=cause,
                preconditions=(marked(marker), NoDaemon()),
                pid_file=directory.pid_file,
            )
        )
    endpoint_id = directory.endpoint_id if isinstance(directory.endpoint_id, str) else marker.id
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


def _remove_lost(
    name: str,
    directory_name: str,
    cause: Cause,
    live: LiveState,
    known: Known,
    scope: Scope,
    removal: Removal,
) -> None:
    """Its directory is not there: only the lock (and, with purge, the service) still knows it."""
    entry = known.entry(name)
    if entry is None:
        return
    refusal = check_claim(name, entry.claim, known.site.claim(directory_name), "the lock") or _protected(
        name, declared=entry.protect
    )
    purge = scope.destroy and scope.purge and not isinstance(live.registrations, Unknown)
    online = entry.id is not None and live.statuses.get(entry.id) == "online"
    if refusal is None and entry.id and (purge or online):
        refusal = _still_in_use(name, entry.id, live)
    if refusal:
        removal.refusals.append(refusal)
        return
    removal.names.add(name)
    if purge and entry.id:
        removal.actions.append(Purge(endpoint=name, directory=directory_name, cause=cause, id=entry.id))
    else:
        removal.actions.append(Forget(endpoint=name, directory=directory_name, cause=cause, id=entry.id))


def _still_in_use(name: str, endpoint_id: str, live: LiveState) -> Refusal | None:
    """Refuse to deregister an endpoint without a directory unless the service says that it is offline."""
    if isinstance(live.registrations, Unknown) or endpoint_id not in live.registrations:
        return None
    status = live.statuses.get(endpoint_id)
    if status == "offline":
        return None
    if status == "online":
        return Refusal(
            name,
            f"its directory is missing, but {endpoint_id} is online: it runs elsewhere",
            "stop it there first, and run this again",
        )
    return Refusal(
        name,
        f"its directory is missing, and the service could not say whether {endpoint_id} is online",
        "run this again when the service answers",
        exit_code=UNREACHABLE,
    )


def _purge_trash(live: LiveState, known: Known, scope: Scope, removal: Removal) -> None:
    items = [i for i in own_entries(live, known) if i.marker and scope.covers(i.marker.endpoint)]
    for _, found in purges(items, Cause.DESTROY, live, known, removal.names):
        if isinstance(found, Blocked):
            removal.notes.append(Note(found.endpoint, "its registration is kept: the service could not be reached"))
        elif isinstance(found, Refusal):
            removal.refusals.append(found)
        else:
            # A directory of the same UUID that leaves in this run ends its registration already.
            ended = {a.id for a in removal.actions if isinstance(a, Purge)}
            removal.actions.append(replace(found, id=None) if found.id in ended else found)
