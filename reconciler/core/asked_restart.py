"""The errand `restart`: one daemon is restarted, or moved here, because somebody asks for it by name. Pure."""

from __future__ import annotations

from dataclasses import replace
from shlex import quote

from reconciler.core.actions import Adopt, Note, Refusal, Restart, Start, StopElsewhere
from reconciler.core.changes import Cause
from reconciler.core.daemon import DaemonState, judge_daemon
from reconciler.core.daemon_steps import Steps, marked, plan_daemon
from reconciler.core.desired import CONFIG, Desired, DesiredEndpoint
from reconciler.core.draft import Draft
from reconciler.core.elsewhere import Away, Sighting
from reconciler.core.elsewhere_steps import not_here, start_after, stop_elsewhere
from reconciler.core.known import Blocked, Ground, Known
from reconciler.core.live import LiveDirectory, LiveState, Process, Unknown
from reconciler.core.ownership import find_ground
from reconciler.core.pins import environment_for, pinned
from reconciler.core.preconditions import DaemonIs, Idle, Precondition
from reconciler.core.scope import Errand
from reconciler.core.steps import steps_for
from reconciler.core.unfit_options import refuse_declared, refuse_unfit, without_start


def plan_restart(
    endpoint: DesiredEndpoint, errand: Errand, desired: Desired, live: LiveState, known: Known, draft: Draft
) -> None:
    """Add to `draft` the restart of a daemon that runs, the start of one that does not, or why not."""
    name = endpoint.name
    if declared := _refuse_declared(endpoint, desired):
        draft.refusals.append(declared)
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
    if unfit := refuse_unfit(endpoint, directory, f"{live.config_dir}/{directory.name}", desired.options, steps):
        without_start(steps, unfit)
        draft.notes = [note for note in draft.notes if note.endpoint != name]  # on how the restart is done
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


def _refuse_declared(endpoint: DesiredEndpoint, desired: Desired) -> Refusal | None:
    """Refuse what the manifest itself stands against."""
    if endpoint.state != "running":
        return Refusal(
            endpoint.name,
            f"the manifest says `state: {endpoint.state}`, so it is not restarted",
            "write `state: running`, then `chiltepin apply`",
        )
    return refuse_declared(endpoint.name, desired)


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
            text = f"`chiltepin restart {quote(endpoint.name)} --interrupt` does not wait, and ends the tasks"
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
