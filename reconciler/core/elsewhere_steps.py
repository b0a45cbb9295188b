"""What is planned for a daemon on another node of this home directory.

It is as good as one here, and stays where it is. It is stopped by its PID file, never by a signal; it is moved
only when it must be restarted anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from shlex import quote

from reconciler.core.actions import Note, Start, StopElsewhere
from reconciler.core.changes import Cause, FileChange
from reconciler.core.desired import CONFIG, DesiredEndpoint
from reconciler.core.elsewhere import (
    Away,
    Sighting,
    may_run_here,
    refuse_abroad,
    remedy_run_on,
    say_doubt,
    say_lingering,
    say_run_on,
    say_where,
)
from reconciler.core.known import Blocked, Ground
from reconciler.core.live import LiveDirectory, LiveState, Unknown
from reconciler.core.machine import HostFacts
from reconciler.core.marker import DaemonRecord, Marker
from reconciler.core.pins import environment_for
from reconciler.core.preconditions import Idle, MarkedAs, NoDaemon, PidFileIs, Precondition
from reconciler.core.running import Running
from reconciler.core.step_list import Steps, marked

Reason = Callable[[DaemonRecord], "tuple[Cause, tuple[str, ...]] | None"]
"""Says why a daemon with this record needs a restart, if it does."""

Hold = tuple["str | None", "str | None"]
"""Why an action is not done in this run, and what to do instead."""


def plan_elsewhere(
    endpoint: DesiredEndpoint,
    ground: Ground,
    directory: LiveDirectory,
    sighting: Sighting,
    live: LiveState,
    steps: Steps,
    *,
    run_on: tuple[str, ...],
    reason: Reason,
) -> None:
    """Add to `steps` what is to be done about a daemon on another node."""
    _Planner(endpoint, ground, directory, sighting, live, steps, run_on, reason).plan()


@dataclass
class _Planner:
    endpoint: DesiredEndpoint
    ground: Ground
    directory: LiveDirectory
    sighting: Sighting
    live: LiveState
    steps: Steps
    run_on: tuple[str, ...]
    reason: Reason

    def plan(self) -> None:
        if self.sighting.away is Away.ABROAD:
            refusal = refuse_abroad(self.endpoint.name, self.ground.id or "", self.sighting, self.live.host)
            self.steps.refusals.append(refusal)
        elif self.endpoint.state != "running":
            if self._can_ask():
                interrupt = self.endpoint.restart == "now"
                self.steps.actions.append(self._stop(Cause.DECLARED_STOPPED, interrupt=interrupt))
        elif self.sighting.away in (Away.DOUBTFUL, Away.LINGERS):
            if self._can_ask():
                self._wait()
        elif self.directory.pid_file is None:
            self._replace(Cause.NOT_RUNNING, ())
        else:
            self._leave_or_replace()

    def _wait(self) -> None:
        """Nothing is started beside a PID file that was touched a moment ago, or what the service still sees."""
        lingers = self.sighting.away is Away.LINGERS
        self.steps.actions.append(
            Start(
                endpoint=self.endpoint.name,
                directory=self.directory.name,
                cause=Cause.NOT_RUNNING,
                preconditions=(marked(self.ground.marker), NoDaemon()),
                hold=say_lingering(self.sighting) if lingers else say_doubt(self.sighting),
                instead="run it again in two minutes",
                id=self.ground.id,
                environment=environment_for(self.ground.marker, self.live),
            )
        )

    def _leave_or_replace(self) -> None:
        """What config.yaml says holds on every node, and asks for a restart. The environment is each node's own."""
        self._note(f"its daemon runs {say_where(self.sighting)}")
        record = self.sighting.record or found_elsewhere(self.sighting, self.directory)
        reason = self.reason(record) if record else None
        if reason is not None and reason[0] is Cause.ENVIRONMENT:
            move = f"`chiltepin restart {quote(self.endpoint.name)}` moves it here"
            self._note(f"{'; '.join(reason[1])}: as seen from this node, so it is not restarted for it; {move}")
        elif reason is not None:
            self._replace(*reason)
            return
        if self.ground.id:
            self.steps.running.append(Running(self.endpoint.name, self.directory.name, self.ground.id, None))

    def _replace(self, cause: Cause, details: tuple[str, ...]) -> None:
        """Stop it there, and only when it has ended start it here, if this node may run daemons."""
        if not self._can_ask():
            return
        is_ending = self.directory.pid_file is None
        hold, instead = not_here(self.run_on, self.live.host)
        if self.endpoint.restart == "never" and not is_ending:
            hold, instead = "the manifest says `restart: never`", None
        stop = replace(
            self._stop(cause, interrupt=is_ending or self.endpoint.restart == "now"),
            changes=tuple(FileChange(text, "note", cause) for text in details),
            hold=hold,
            instead=instead,
        )
        self.steps.actions += [stop, start_after(stop, self.ground, self.live)]

    def _stop(self, cause: Cause, *, interrupt: bool) -> StopElsewhere:
        return stop_elsewhere(self.directory, self.ground.marker, self.sighting, cause, interrupt=interrupt)

    def _can_ask(self) -> bool:
        """Only the service can say that it has ended."""
        if isinstance(self.live.registrations, Unknown):
            self.steps.blocked.append(Blocked(self.endpoint.name, self.live.registrations.reason))
            return False
        return True

    def _note(self, text: str) -> None:
        self.steps.notes.append(Note(self.endpoint.name, text))


def not_here(run_on: tuple[str, ...], host: HostFacts) -> Hold:
    """Return why no daemon is started on this node, and what to do instead; (None, None) when one may be."""
    return (None, None) if may_run_here(run_on, host) else (say_run_on(run_on, host), remedy_run_on(run_on))


def config_of(directory: LiveDirectory) -> str:
    """Return the digest of config.yaml as it is, empty when it is not there."""
    config = directory.files.get(CONFIG)
    return config.digest if config else ""


def stop_elsewhere(
    directory: LiveDirectory, marker: Marker, sighting: Sighting | None, cause: Cause, *, interrupt: bool
) -> StopElsewhere:
    """Return the action that stops a daemon on another node.

    Args:
        sighting: what is known of it.
        interrupt: whether it need not be idle.
    """
    pid_file = directory.pid_file
    guards: list[Precondition] = [marked(marker), NoDaemon(), PidFileIs(pid_file.pid if pid_file else None)]
    if not interrupt:
        guards.append(Idle())
    return StopElsewhere(
        endpoint=marker.endpoint,
        directory=directory.name,
        cause=cause,
        preconditions=tuple(guards),
        interrupts=len(directory.user_endpoints),
        id=marker.id or (directory.endpoint_id if isinstance(directory.endpoint_id, str) else None),
        node=sighting.node if sighting else None,
        pid_file=pid_file,
    )


def start_after(stop: StopElsewhere, ground: Ground, live: LiveState) -> Start:
    """Return the start that moves a daemon to this node, once it was stopped on another."""
    guards = tuple(p for p in stop.preconditions if isinstance(p, MarkedAs | NoDaemon))
    return Start(
        endpoint=stop.endpoint,
        directory=stop.directory,
        cause=stop.cause,
        preconditions=guards,
        hold=stop.hold,
        instead=stop.instead,
        id=ground.id,
        environment=environment_for(ground.marker, live),
    )


def found_elsewhere(sighting: Sighting | None, directory: LiveDirectory) -> DaemonRecord | None:
    """Return a record for a daemon on another node that nobody recorded; None when there is nothing to record.

    So a change of config.yaml that waits for its restart is not forgotten. Boot, start time, environment and
    versions stay unknown. What the registration says was started on this node is not recorded: it has no process
    here, so that it is about to be known as dead.
    """
    pid_file = directory.pid_file
    if sighting is None or sighting.away is not Away.RUNS:
        return None
    if sighting.record is not None or sighting.is_registered_here or pid_file is None or pid_file.pid is None:
        return None
    return DaemonRecord(
        host=sighting.node or "",
        boot_id="",
        pid=pid_file.pid,
        start_time=0,
        prefix="",
        versions={},
        config=config_of(directory),
    )
