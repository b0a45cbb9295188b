"""The actions on one endpoint's daemon: start, stop, restart, or leave alone and say why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeGuard

from reconciler.core.actions import Action, Adopt, ClearStalePid, Note, Restart, Start, Stop, WriteFile
from reconciler.core.changes import Cause, FileChange
from reconciler.core.daemon import (
    Daemon,
    DaemonState,
    changed_versions,
    is_recorded,
    is_starting,
    judge_daemon,
    refuse_doubled,
)
from reconciler.core.deaths import deaths_of, found_ended, keeps_dying, too_many
from reconciler.core.desired import CONFIG, DesiredEndpoint
from reconciler.core.elsewhere import MAY_BE_LEFT, may_be_left
from reconciler.core.elsewhere_steps import not_here, plan_elsewhere
from reconciler.core.environment import changed, not_at_hand
from reconciler.core.known import Blocked, Ground
from reconciler.core.live import (
    LiveState,
    Process,
    Unknown,
)
from reconciler.core.machine import EndpointTool
from reconciler.core.marker import DaemonRecord, Death
from reconciler.core.pins import environment_for
from reconciler.core.preconditions import DaemonIs, Idle, NoDaemon, PidFileIs, Precondition
from reconciler.core.running import Running
from reconciler.core.started import found_daemon
from reconciler.core.step_list import Steps, marked

CUT_OFF_STOP = "a run that was to end its daemon was cut off: if it ends, an apply starts it again"
OTHER_START = "a start is under way, with other configuration or environment than is wanted now"


def awaits_absence(action: Action) -> TypeGuard[Start]:
    """Whether it is a start that waits until no daemon on another node can be left."""
    return isinstance(action, Start) and action.hold == MAY_BE_LEFT


def behind_other_starts(actions: Iterable[Action]) -> tuple[Start | Stop, ...]:
    """Return what waits for the end of a start that is under way, and brings up what is not wanted any more.

    A start command is no daemon yet: it forks, and the daemon has another PID.
    """
    return tuple(
        action
        for action in actions
        if (isinstance(action, Start) and action.hold == OTHER_START)
        or (isinstance(action, Stop) and is_starting(action.process))
    )


def plan_daemon(
    endpoint: DesiredEndpoint,
    ground: Ground,
    live: LiveState,
    steps: Steps,
    config: str,
    run_on: tuple[str, ...],
    *,
    retry: bool = False,
) -> None:
    """Add to `steps` what brings the daemon to its desired state.

    Args:
        config: digest that config.yaml has once the writes in `steps` are done.
        run_on: the nodes on which daemons may be started; empty means any.
        retry: whether one that keeps dying is started once more.
    """
    _DaemonPlanner(endpoint, ground, live, steps, config, run_on, retry).plan()


@dataclass
class _DaemonPlanner:
    endpoint: DesiredEndpoint
    ground: Ground
    live: LiveState
    steps: Steps
    config: str
    run_on: tuple[str, ...]
    retry: bool

    def plan(self) -> None:
        directory = self.ground.directory
        daemon = judge_daemon(directory, self.ground.marker, self.live) if directory else Daemon(DaemonState.STOPPED)
        doubled = refuse_doubled(self.endpoint.name, self.endpoint.directory, daemon, self.live)
        if doubled:
            self.steps.refusals.append(doubled)
        elif daemon.state is DaemonState.ELSEWHERE and directory and daemon.sighting:
            away, reason = daemon.sighting, self._restart_reason
            plan_elsewhere(
                self.endpoint, self.ground, directory, away, self.live, self.steps, run_on=self.run_on, reason=reason
            )
        elif daemon.state is DaemonState.UNDECIDED:
            status = self.live.statuses.get(self.ground.id or "")
            why = status.reason if isinstance(status, Unknown) else "its daemon may run on another node"
            self.steps.blocked.append(Blocked(self.endpoint.name, why))
        elif self.endpoint.state == "running":
            self._plan_running(daemon)
        else:
            self._plan_stopped(daemon)

    def _plan_running(self, daemon: Daemon) -> None:
        if daemon.state is DaemonState.RUNNING and daemon.process:
            intent = self.live.pending.get(self.endpoint.name)
            if intent is not None and intent.ends == daemon.process.identity:
                self._note(CUT_OFF_STOP)
            self._plan_restart(daemon.process)
            if self._unconfirmed() and self._may_start():
                self._start(Cause.INTERRUPTED, waits=True)
            elif self.ground.id and not any(isinstance(a, Restart) for a in self.steps.actions):
                name, directory = self.endpoint.name, self.endpoint.directory
                self.steps.running.append(Running(name, directory, self.ground.id, daemon.process))
            return
        if not_here(self.run_on, self.live.host)[0] and not daemon.process:
            # What the nodes of `run_on` have to do: here it is only reported.
            self._start(self._cause_of_start(daemon), hold=not_here(self.run_on, self.live.host))
            return
        if not self._may_start():
            return
        if self._keeps_dying():
            self._record_death(daemon)
            return
        if daemon.state is DaemonState.STOPPING and daemon.process:
            self._stop(daemon.process, Cause.NOT_RUNNING)
        elif daemon.state is DaemonState.DEAD:
            self._clear()
        hold = not_here(self.run_on, self.live.host) if daemon.state is DaemonState.STOPPING else (None, None)
        if daemon.state is DaemonState.STARTING and daemon.process and self._is_outdated(daemon.process):
            hold = OTHER_START, "run it again in a minute: then it is restarted"
        there = self.ground.directory
        ends = daemon.state in (DaemonState.STOPPED, DaemonState.STOPPING) and not hold[0]
        if ends and there and may_be_left(there, self.ground.marker, self.live):
            hold = MAY_BE_LEFT, "run it again in 20 s"
        # What a cut-off start began may not be seen yet, and be up by the time of the action: then it is waited for.
        waits = daemon.state is DaemonState.STARTING or self._was_begun()
        self._start(self._cause_of_start(daemon), waits=waits, hold=hold)

    def _is_outdated(self, process: Process) -> bool:
        """Whether a start that is under way brings up a daemon that must be restarted at once."""
        found = found_daemon(process, self.endpoint.name, self.ground.directory, self.live)
        return self._restart_reason(found) is not None

    def _cause_of_start(self, daemon: Daemon) -> Cause:
        known = {DaemonState.STARTING: Cause.INTERRUPTED, DaemonState.DEAD: Cause.DIED}
        if daemon.state in known:
            return known[daemon.state]
        if self.ground.directory is None:
            return self.ground.cause if self.ground.id else Cause.NEW
        return Cause.NOT_RUNNING

    def _deaths(self) -> tuple[Death, ...]:
        """Return what the marker is to say about deaths: those on record, and one that is not on record yet."""
        directory = self.ground.directory
        return deaths_of(directory, self.ground.marker, self.live) if directory else self.ground.marker.deaths

    def _keeps_dying(self) -> bool:
        directory, deaths = self.ground.directory, self._deaths()
        if directory is None or directory.processes or self.retry or not too_many(deaths):
            return False
        self.steps.refusals.append(keeps_dying(self.endpoint.name, directory, deaths, self.live.log_ends))
        return True

    def _record_death(self, daemon: Daemon) -> None:
        """Write down the death that was one too many: on another node, or after a reboot, nobody could tell of it."""
        directory, marker, deaths = self.ground.directory, self.ground.marker, self._deaths()
        if daemon.state is DaemonState.DEAD:
            self._clear()
        elif directory is not None and deaths != marker.deaths:
            change = FileChange("its daemon died again", "note", Cause.DIED)
            adopt = Adopt(
                endpoint=self.endpoint.name,
                directory=directory.name,
                cause=Cause.DIED,
                preconditions=(marked(marker), NoDaemon()),
                changes=(change,),
                marker=found_ended(marker, self.live.moment).but(deaths=deaths),
            )
            # It writes the marker as a whole: what is written into it besides comes after it.
            first = self.steps.actions[0] if self.steps.actions else None
            if isinstance(first, Adopt):
                both = found_ended(first.marker, self.live.moment).but(deaths=deaths)
                self.steps.actions[0] = replace(first, changes=(*first.changes, change), marker=both)
            else:
                self.steps.actions.insert(0, adopt)

    def _unconfirmed(self) -> bool:
        """Whether it was started, is not restarted now, and no apply has seen it online since."""
        return self._was_begun() and not any(isinstance(a, Restart) for a in self.steps.actions)

    def _was_begun(self) -> bool:
        """Whether an earlier apply began a start, and none has seen its end."""
        intent = self.live.pending.get(self.endpoint.name)
        return intent is not None and intent.begins_daemon

    def _may_start(self) -> bool:
        """Starting registers: without the service it is left alone."""
        if isinstance(self.live.registrations, Unknown):
            self.steps.blocked.append(Blocked(self.endpoint.name, self.live.registrations.reason))
            return False
        return True

    def _start(self, cause: Cause, *, waits: bool = False, hold: tuple[str | None, str | None] = (None, None)) -> None:
        guards: list[Precondition] = []
        if self.ground.directory is not None:
            guards.append(marked(self.ground.marker))
        if not waits:
            guards.append(NoDaemon())
        deaths = () if self.retry else self._deaths()
        self.steps.actions.append(
            Start(
                endpoint=self.endpoint.name,
                directory=self.endpoint.directory,
                cause=cause,
                preconditions=tuple(guards),
                hold=hold[0],
                instead=hold[1],
                id=self.ground.id,
                environment=environment_for(self.ground.marker, self.live),
                deaths=deaths if deaths != self.ground.marker.deaths else None,
            )
        )
        self._note_lost_variables(self.ground.marker.daemon)

    def _plan_stopped(self, daemon: Daemon) -> None:
        if daemon.process:
            self._stop(daemon.process, Cause.DECLARED_STOPPED)
        elif daemon.state is DaemonState.DEAD:
            self._clear()

    def _stop(self, process: Process, cause: Cause) -> None:
        directory = self.ground.directory
        if directory is None:
            return
        guards: list[Precondition] = [marked(self.ground.marker), DaemonIs(process)]
        if self.endpoint.restart != "now" and cause is Cause.DECLARED_STOPPED:
            guards.append(Idle())
        self.steps.actions.append(
            Stop(
                endpoint=self.endpoint.name,
                directory=self.endpoint.directory,
                cause=cause,
                preconditions=tuple(guards),
                interrupts=len(directory.user_endpoints),
                process=process,
            )
        )

    def _clear(self) -> None:
        directory = self.ground.directory
        if directory is None or directory.pid_file is None:
            return
        unchanged = PidFileIs(directory.pid_file.pid, directory.pid_file.modified)
        self.steps.actions.append(
            ClearStalePid(
                endpoint=self.endpoint.name,
                directory=self.endpoint.directory,
                cause=Cause.DIED,
                preconditions=(marked(self.ground.marker), NoDaemon(), unchanged),
                pid_file=directory.pid_file,
                deaths=deaths if (deaths := self._deaths()) != self.ground.marker.deaths else None,
            )
        )

    def _plan_restart(self, process: Process) -> None:
        directory, marker = self.ground.directory, self.ground.marker
        if directory is None or self.ground.id is None:
            return
        record = marker.daemon
        if not is_recorded(record, process, self.live.host):
            record = found_daemon(process, self.endpoint.name, directory, self.live)
        reason = self._restart_reason(record) if record else None
        if reason is None:
            return
        cause, details = reason
        if isinstance(self.live.registrations, Unknown):
            self.steps.blocked.append(Blocked(self.endpoint.name, self.live.registrations.reason))
            return
        guards: list[Precondition] = [marked(self.ground.marker), DaemonIs(process)]
        if self.endpoint.restart != "now":
            guards.append(Idle())
        hold, instead = not_here(self.run_on, self.live.host)
        if self.endpoint.restart == "never":
            hold, instead = "the manifest says `restart: never`", None
        self.steps.actions.append(
            Restart(
                endpoint=self.endpoint.name,
                directory=self.endpoint.directory,
                cause=cause,
                preconditions=tuple(guards),
                changes=tuple(FileChange(text, "note", cause) for text in details),
                interrupts=len(directory.user_endpoints),
                hold=hold,
                instead=instead,
                process=process,
                id=self.ground.id,
                environment=environment_for(self.ground.marker, self.live),
            )
        )
        self._note_lost_variables(record)

    def _restart_reason(self, record: DaemonRecord) -> tuple[Cause, tuple[str, ...]] | None:
        if record.config and record.config != self.config:
            written = next((a.cause for a in self.steps.actions if isinstance(a, WriteFile) and a.file == CONFIG), None)
            return written or Cause.OTHER_CONFIGURATION, ("config.yaml is not the one it started with",)
        tool = self.live.tool
        found: tuple[str, ...] = ()
        if isinstance(tool, EndpointTool):
            found += changed_versions(record, tool.versions, tool.prefix)
        found += changed(record.environment, self.ground.marker.environment, self.live.environment)
        return (Cause.ENVIRONMENT, found) if found else None

    def _note_lost_variables(self, record: DaemonRecord | None) -> None:
        lost = not_at_hand(record.environment, self.ground.marker.environment, self.live.environment) if record else ()
        if lost:
            self._note(
                f"its daemon had {', '.join(lost)}, not kept because a password is in it: set it here too, or it"
                " starts without"
            )

    def _note(self, text: str) -> None:
        self.steps.notes.append(Note(self.endpoint.name, text))


__all__ = ["Steps", "marked", "plan_daemon"]
