"""Errands: one thing asked for by name, planned like everything else. Pure."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.actions import Adopt, Forget, Note, Refusal, Restart, Start, StopElsewhere
from reconciler.core.adoption import ids_to_ask, plan_adoption
from reconciler.core.changes import Cause, FieldChange, FileChange
from reconciler.core.daemon import DaemonState, judge_daemon
from reconciler.core.daemon_steps import Steps, marked, plan_daemon
from reconciler.core.desired import CONFIG, Desired, DesiredEndpoint
from reconciler.core.draft import Draft
from reconciler.core.elsewhere import Away, Sighting
from reconciler.core.elsewhere_steps import not_here, start_after, stop_elsewhere
from reconciler.core.known import Blocked, Gone, Ground, Known
from reconciler.core.leavers import ids_to_end
from reconciler.core.live import Damaged, LiveDirectory, LiveState, Process, Unknown
from reconciler.core.marker import MARKER, Marker
from reconciler.core.ownership import find_ground
from reconciler.core.pins import environment_for, pinned
from reconciler.core.preconditions import DaemonIs, Idle, Precondition
from reconciler.core.renaming import find_renaming
from reconciler.core.retention import expired
from reconciler.core.scope import Errand, Scope
from reconciler.core.steps import steps_for
from reconciler.core.taking import ids_to_take
from reconciler.core.traces import Homes, homes_of
from reconciler.core.trash import ids_to_ask as ids_in_trash
from reconciler.core.trash import names_to_come_back, plan_purges
from reconciler.core.undeletion import plan_undelete
from reconciler.core.witnesses import check_owner, say_claim, witnesses


def plan_errand(errand: Errand, desired: Desired, live: LiveState, known: Known, draft: Draft) -> None:
    """Add to `draft` what does the errand, or what stands against it."""
    if known.lock is None and _has_markers(live, known):
        draft.refusals += [
            Refusal(
                name,
                "there is no lockfile, and directories here carry this stack's marker",
                "restore the lockfile, or run `chiltepin apply` first: it rebuilds it from the markers",
            )
            for name in errand.names or tuple(desired.endpoints)
        ]
        return
    homes = homes_of(live, known)
    names = [n for n in errand.names if not _is_out_of_place(n, errand, desired, live, known, homes, draft)]
    if errand.names and not names:
        return
    if errand.kind == "adopt":
        plan_adoption(errand, desired, live, known, draft)
    elif errand.kind == "purge":
        plan_purges(errand, names, live, known, draft)
    for name in names:
        if errand.kind == "restart":
            _restart(desired.endpoints[name], errand, desired, live, known, draft)
        elif errand.kind == "forget":
            _forget(name, desired, live, known, draft)
        elif errand.kind == "unprotect":
            _unprotect(name, desired, live, known, draft)
        elif errand.kind == "undelete":
            plan_undelete(name, errand, desired, live, known, draft)


def ids_in_question(scope: Scope, desired: Desired, live: LiveState, known: Known) -> set[str]:
    """Return the UUIDs about which the service must be asked one by one, for what `scope` asks."""
    if isinstance(live.registrations, Unknown):
        return set()
    if scope.errand and scope.errand.kind in ("undelete", "purge"):
        return ids_in_trash(scope.errand.names or None, live, known)
    if scope.errand and scope.errand.kind == "adopt":
        chosen = {scope.errand.id} if scope.errand.id else set()
        return chosen | ids_to_ask(scope.errand.names, desired, live, known)
    if scope.destroy:
        return ids_to_end(desired, live, known, scope) if scope.purge else set()
    found = ids_to_take(scope, desired, live, known)
    if not scope.errand:
        found = found | _ids_of_the_deleted(desired, live, known)
    return found | _ids_not_listed(scope, desired, live, known)


def _ids_not_listed(scope: Scope, desired: Desired, live: LiveState, known: Known) -> set[str]:
    """Return the UUIDs of declared endpoints that the list lacks: are they gone, or another identity's?"""
    listed = live.registrations.keys() if not isinstance(live.registrations, Unknown) else set()
    found: set[str] = set()
    for name, endpoint in desired.endpoints.items():
        if endpoint.state == "unmanaged" or not scope.covers(name):
            continue
        directory = live.directories.get(endpoint.directory)
        marker = directory.marker if directory and isinstance(directory.marker, Marker) else None
        ids = set(witnesses(directory, marker, known.entry(name), endpoint.id).values()) - listed
        # Whoever is named by its claim as another identity is told so without a question.
        if ids and (name in scope.reregister or isinstance(find_ground(endpoint, live, known), Gone)):
            found |= ids
    return found


def _ids_of_the_deleted(desired: Desired, live: LiveState, known: Known) -> set[str]:
    """Return the UUIDs of deleted endpoints that are declared again, and of those whose retention ends here."""
    again = names_to_come_back(desired, live)
    registrations = live.registrations if not isinstance(live.registrations, Unknown) else {}
    # Of what ends, only whose registration is not listed matters: is it gone, or another identity's?
    ended = {item.id for item in expired(desired, live, known) if item.id} - set(registrations)
    markers = [(item.id, item.marker) for item in live.trash if item.marker]
    back = {i for i, m in markers if i and m.stack == known.stack and m.endpoint in again}
    return ended | back


def known_names(desired: Desired, live: LiveState, known: Known) -> set[str]:
    """Return the endpoints that manifest, lock or a marker of this stack name, also one in the trash."""
    marked_here = {d.marker.endpoint for d in live.directories.values() if _is_ours(d, known)}  # type: ignore[union-attr]
    marked_here |= {i.marker.endpoint for i in live.trash if i.marker and i.marker.stack == known.stack}
    return {*desired.endpoints, *desired.elsewhere, *(known.lock.endpoints if known.lock else ()), *marked_here}


def _is_ours(directory: LiveDirectory, known: Known) -> bool:
    return isinstance(directory.marker, Marker) and directory.marker.stack == known.stack


def _has_markers(live: LiveState, known: Known) -> bool:
    return any(_is_ours(directory, known) for directory in live.directories.values())


def _is_out_of_place(
    name: str, errand: Errand, desired: Desired, live: LiveState, known: Known, homes: Homes, draft: Draft
) -> bool:
    """Refuse what another host must do, and what needs a block in the manifest that is not there."""
    host = desired.elsewhere.get(name)
    if host is not None:
        draft.refusals.append(Refusal(name, f"it is an endpoint of host {host}", "run this there"))
        return True
    renaming = (
        find_renaming(desired.endpoints[name], desired, live, known, homes) if name in desired.endpoints else None
    )
    if isinstance(renaming, Blocked):
        draft.blocked.append(renaming)
    elif isinstance(renaming, Refusal):
        draft.refusals.append(renaming)
    elif renaming is not None:
        what = "its directory has another name" if renaming.old == name else f"it is still called `{renaming.old}`"
        draft.refusals.append(Refusal(name, f"{what} here", "`chiltepin apply` renames it first"))
    if renaming is not None:
        return True
    if errand.kind in ("restart", "adopt") and name not in desired.endpoints:
        draft.refusals.append(Refusal(name, "the manifest does not declare it", "write its block first"))
        return True
    return False


# --- restart


def _restart(
    endpoint: DesiredEndpoint, errand: Errand, desired: Desired, live: LiveState, known: Known, draft: Draft
) -> None:
    name = endpoint.name
    if endpoint.state != "running":
        draft.refusals.append(
            Refusal(
                name,
                f"the manifest says `state: {endpoint.state}`, so it is not restarted",
                "write `state: running`, then `chiltepin apply`",
            )
        )
        return
    ground = find_ground(endpoint, live, known)
    if isinstance(ground, Refusal):
        draft.refusals.append(ground)
        return
    if isinstance(ground, Blocked) or isinstance(live.registrations, Unknown):
        reason = ground.reason if isinstance(ground, Blocked) else live.registrations.reason  # type: ignore[union-attr]
        draft.blocked.append(Blocked(name, reason))
        return
    directory, endpoint_id = ground.directory, ground.id
    if directory is None or endpoint_id is None:
        what = "its directory is not there" if directory is None else "it was never registered"
        draft.refusals.append(Refusal(name, what, "`chiltepin apply` makes and starts it"))
        return
    ground = pinned(endpoint, ground, live)
    if isinstance(ground, Refusal):
        draft.refusals.append(ground)
        return
    steps = Steps()
    if ground.repair:  # what a repair is needed for comes first, as in every apply
        whole = steps_for(endpoint, ground, live, desired.host.run_on).actions
        steps.actions += [action for action in whole if isinstance(action, Adopt)]
    daemon = judge_daemon(directory, ground.marker, live)
    if daemon.state is DaemonState.RUNNING and daemon.process:
        environment = environment_for(ground.marker, live, renew=True)
        restart = _asked_restart(endpoint, ground, endpoint_id, directory, daemon.process, errand, draft)
        steps.actions.append(replace(restart, environment=environment))
    elif daemon.sighting and daemon.sighting.away is Away.RUNS and directory.pid_file is not None:
        steps.actions += _asked_move(endpoint, ground, directory, daemon.sighting, errand, desired, live)
    else:
        config = directory.files.get(CONFIG)
        digest = config.digest if config else ""
        # Asking for it by name is as good as --retry.
        plan_daemon(endpoint, ground, live, steps, digest, desired.host.run_on, retry=True)
    if not any(action.kind in ("Start", "Restart") for action in steps.actions) and not steps.refusals:
        why = "; ".join(note.text for note in steps.notes) or "it cannot be restarted here"
        draft.refusals.append(Refusal(name, why, "run this where it runs"))
        return
    draft.actions += steps.actions
    draft.refusals += steps.refusals
    draft.blocked += steps.blocked
    draft.markers[name] = ground.marker
    entry = known.entry(name)
    if entry is not None:
        draft.entries[name] = entry


def _asked_restart(
    endpoint: DesiredEndpoint,
    ground: Ground,
    endpoint_id: str,
    directory: LiveDirectory,
    process: Process,
    errand: Errand,
    draft: Draft,
) -> Restart:
    guards: list[Precondition] = [marked(ground.marker), DaemonIs(process)]
    if endpoint.restart != "now" and not errand.interrupt:
        guards.append(Idle())
        if directory.user_endpoints:
            text = f"`chiltepin restart {endpoint.name} --interrupt` does not wait, and ends the tasks"
            draft.notes.append(Note(endpoint.name, text))
    return Restart(
        endpoint=endpoint.name,
        directory=directory.name,
        cause=Cause.CONSENT,
        preconditions=tuple(guards),
        interrupts=len(directory.user_endpoints),
        process=process,
        id=endpoint_id,
    )


def _asked_move(
    endpoint: DesiredEndpoint,
    ground: Ground,
    directory: LiveDirectory,
    sighting: Sighting,
    errand: Errand,
    desired: Desired,
    live: LiveState,
) -> tuple[StopElsewhere, Start]:
    """Return the actions that move a daemon from another node to this one."""
    interrupt = endpoint.restart == "now" or errand.interrupt
    hold, instead = not_here(desired.host.run_on, live.host)
    stop = stop_elsewhere(directory, ground.marker, sighting, Cause.CONSENT, interrupt=interrupt)
    stop = replace(stop, hold=hold, instead=instead)
    return stop, start_after(stop, ground, live)


# --- forget


def _forget(name: str, desired: Desired, live: LiveState, known: Known, draft: Draft) -> None:
    declared = desired.endpoints.get(name)
    if declared is not None and declared.state != "unmanaged":
        draft.refusals.append(
            Refusal(
                name,
                "the manifest declares it, so that the next apply would take it in again",
                f"remove its block, or write `state: unmanaged` in it, then `chiltepin forget {name}`",
            )
        )
        return
    entry = known.entry(name)
    directory = _directory_of(name, declared, live, known)
    marker = directory.marker if directory else None
    guards: tuple[Precondition, ...] = ()
    if isinstance(marker, Marker):
        guards = (marked(marker),)
        draft.markers[name] = marker
    elif entry is None or declared is not None:
        draft.notes.append(Note(name, "nothing here is managed under this name"))
        return
    here = known.site.claim(entry.claim.directory) if entry else None
    if entry and entry.claim != here and marker is None:
        draft.notes.append(Note(name, f"a marker that is elsewhere stays: {say_claim(entry.claim)}"))
    found = directory.endpoint_id if directory and isinstance(directory.endpoint_id, str) else None
    draft.actions.append(
        Forget(
            endpoint=name,
            directory=directory.name if directory else entry.claim.directory if entry else name,
            cause=Cause.CONSENT,
            preconditions=guards,
            changes=_removed_marker(live, directory) if marker is not None else (),
            id=(entry.id if entry else None) or found,
            marked=marker is not None,
        )
    )
    if declared is None:
        draft.gone.add(name)
    elif entry is not None:
        draft.entries[name] = entry.model_copy(update={"state": "unmanaged", "protect": declared.protect})


def _removed_marker(live: LiveState, directory: LiveDirectory | None) -> tuple[FileChange, ...]:
    where = f"{live.config_dir}/{directory.name}/{MARKER}" if directory else MARKER
    return (FileChange(f"removes {where}", "note", Cause.CONSENT),)


def _directory_of(name: str, declared: DesiredEndpoint | None, live: LiveState, known: Known) -> LiveDirectory | None:
    """Return the directory that carries this lock's marker of `name`, or a damaged one where the lock has it."""
    home = next(iter(homes_of(live, known).get(name, ())), None)
    if home is not None:
        return live.directories[home]
    entry = known.entry(name)
    where = declared.directory if declared else entry.claim.directory if entry else None
    found = live.directories.get(where) if where else None
    damaged = found is not None and isinstance(found.marker, Damaged) and not found.marker.newer
    return found if damaged and entry and entry.claim == known.site.claim(found.name) else None  # type: ignore[union-attr]


# --- unprotect


def _unprotect(name: str, desired: Desired, live: LiveState, known: Known, draft: Draft) -> None:
    declared = desired.endpoints.get(name)
    if declared is not None and declared.protect:
        draft.refusals.append(
            Refusal(
                name,
                "the manifest says `protect: true`",
                f"write `protect: false` in its block, or remove it; then `chiltepin unprotect {name}`",
            )
        )
        return
    entry = known.entry(name)
    directory = _directory_of(name, declared, live, known)
    marker = directory.marker if directory else None
    if directory is not None and isinstance(marker, Marker):
        refusal = check_owner(name, directory, marker, known, live.config_dir)
        if refusal:
            draft.refusals.append(refusal)
            return
        if marker.protect:
            free = marker.but(protect=False)
            change = FileChange(MARKER, "change", Cause.CONSENT, (FieldChange("protect", True, False),))
            draft.actions.append(
                Adopt(
                    endpoint=name,
                    directory=directory.name,
                    cause=Cause.CONSENT,
                    preconditions=(marked(marker),),
                    changes=(change,),
                    marker=free,
                )
            )
            draft.markers[name] = free
    if entry is not None and entry.protect:
        draft.entries[name] = entry.model_copy(update={"protect": False})
    if name not in draft.markers and name not in draft.entries:
        draft.notes.append(Note(name, "it is not protected"))
