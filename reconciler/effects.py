"""The effect of each kind of action, through the ports."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.conduct import Conduct, Place
from reconciler.core.actions import (
    Adopt,
    ClearStalePid,
    Create,
    Delete,
    EndpointAction,
    Forget,
    Purge,
    Rename,
    Reregister,
    Restart,
    Start,
    Stop,
    StopElsewhere,
    Undelete,
    WriteFile,
)
from reconciler.core.boot import origin
from reconciler.core.daemon import way_out
from reconciler.core.desired import ENDPOINT_JSON
from reconciler.core.environment import given
from reconciler.core.frozen import dataclass
from reconciler.core.live import LiveState, Process
from reconciler.core.machine import EndpointTool
from reconciler.core.marker import MARKER, DaemonRecord
from reconciler.core.plan import Plan
from reconciler.core.started import begun_with, daemon_record, for_the_journal, under_way
from reconciler.elsewhere import stop_elsewhere
from reconciler.ending import end_daemon
from reconciler.errors import EndpointCommandError
from reconciler.online import await_online
from reconciler.ports import Clock, NewFile, Outside

CALLS_OF_A_START = 4
"""Requests that a starting daemon sends by itself: twice the version, the registration, and userinfo aside."""


@dataclass(frozen=True)
class Effect:
    """What an action brought about.

    Attributes:
        endpoint_id: the UUID, of a start.
        daemon: the daemon, of a start.
        writes_marker: whether the marker must be written now.
        keeps_marker: whether a copy of the old one is kept.
    """

    endpoint_id: str | None = None
    daemon: DaemonRecord | None = None
    writes_marker: bool = False
    keeps_marker: bool = False


class Effects:
    """Performs actions; no decision is taken here."""

    def __init__(self, plan: Plan, live: LiveState, outside: Outside, clock: Clock, conduct: Conduct) -> None:
        self._plan = plan
        self._live = live
        self._outside = outside
        self._clock = clock
        self._conduct = conduct
        places = {(a.endpoint, a.directory) for a in plan.actions}
        # By endpoint, the UUIDs of its name that were owned before its first start (also one that was cut off).
        self.known_before: dict[str, frozenset[str]] = {
            name: frozenset(entry.data.get("known", ()))
            for name, entry in live.pending.items()
            if entry.is_first_start and (name, entry.directory) in places
        }
        self._places = threading.Semaphore(conduct.parallelism)
        self._begun: dict[str, Mapping[str, Any]] = {}
        """By endpoint, what a Start or Restart of this run starts it with."""
        self._moved: dict[str, str] = {}
        """By endpoint, the entry of the trash that a Delete of this run made."""
        self._handlers: dict[type, Callable[[Any], Effect]] = {
            Create: self._create,
            WriteFile: self._write_file,
            ClearStalePid: self._clear,
            Start: self._start,
            Stop: self._stop,
            StopElsewhere: self._stop_elsewhere,
            Restart: self._restart,
            Adopt: lambda action: Effect(writes_marker=True, keeps_marker=action.backup),
            Delete: self._delete,
            Undelete: self._undelete,
            Purge: self._purge,
            Rename: self._rename,
            Reregister: self._reregister,
            Forget: self._forget,
        }

    def intent(self, action: EndpointAction) -> dict[str, Any]:
        """Return what the journal must hold before `action`, so that a later run can judge what became of it."""
        data: dict[str, Any] = {"stack": self._plan.desired.stack, "directory": action.directory}
        if isinstance(action, Start | Restart):
            data |= {"id": action.id, **origin(self._live.host), **for_the_journal(self._begins(action))}
            if action.id is None:
                owned = self._outside.service.owned()
                data["known"] = sorted(r.id for r in owned.values() if r.name == action.directory)
                self.known_before.setdefault(action.endpoint, frozenset(data["known"]))
        if isinstance(action, Stop | Restart):
            data["ends"] = [*action.process.identity]
        elif isinstance(action, StopElsewhere):
            data |= {"id": action.id, "node": action.node}
        elif isinstance(action, WriteFile):
            data["file"] = action.file
        elif isinstance(action, Rename):
            data |= {"id": action.id, "old": action.old, "source": action.source}
        elif isinstance(action, Delete | Undelete | Purge | Reregister | Forget):
            data["id"] = action.id
            if isinstance(action, Undelete | Purge):
                data["entry"] = action.trash_entry
        return data

    def _begins(self, action: Start | Restart) -> Mapping[str, Any]:
        """Return what the daemon that `action` brings up is started with: perhaps by a start that is under way."""
        directory = self._outside.host.directory(action.directory)
        environment = given(action.environment, self._live.environment)
        begun = begun_with(self._live.tool, environment, directory)
        self._begun[action.endpoint] = begun
        is_under_way = isinstance(action, Start) and directory is not None and directory.processes
        return self._under_way(action) if is_under_way else begun

    def _under_way(self, action: Start | Restart) -> Mapping[str, Any]:
        return under_way(action.endpoint, self._live.directories.get(action.directory), self._live)

    def place(self, action: EndpointAction) -> Place:
        """Return the place that `action` must wait for before anything else is asked or done."""
        return Place(self._places if isinstance(action, Start | Restart) else None)

    def perform(self, action: EndpointAction) -> Effect:
        """Do it.

        Raises:
            ReconcilerError: it was not done, or not to the end.
        """
        return self._handlers[type(action)](action)

    def _create(self, action: Create) -> Effect:
        files = {name: NewFile(content, mode) for name, (content, mode) in action.files.items()}
        self._outside.host.create(action.directory, files, action.marker)
        return Effect()

    def _write_file(self, action: WriteFile) -> Effect:
        host = self._outside.host
        if action.content is None:
            host.remove_file(action.directory, action.file)
        else:
            new = NewFile(action.content, action.mode)
            host.write_file(action.directory, action.file, new, backup=action.backup)
        return Effect(writes_marker=True)

    def _clear(self, action: ClearStalePid) -> Effect:
        self._outside.host.clear_pid_file(action.directory, action.pid_file)
        return Effect(writes_marker=True)

    def _start(self, action: Start) -> Effect:
        return self._bring_up(action)

    def _bring_up(self, action: Start | Restart) -> Effect:
        host, service = self._outside.host, self._outside.service
        tool = self._live.tool
        if not isinstance(tool, EndpointTool):
            tool = host.tool()
        with service.reserve(CALLS_OF_A_START):
            started = host.start(action.directory, action.id, tool, action.environment)
        if host.directory(action.directory) is None:
            raise EndpointCommandError("its directory vanished while it started", where=action.directory)
        begun = self._under_way(action) if started.was_under_way else self._begun[action.endpoint]
        record = daemon_record(started.process, self._live.host, begun, self._clock.now())
        return Effect(started.endpoint_id, record, writes_marker=True)

    def confirm(self, action: EndpointAction, effect: Effect) -> None:
        """Wait until the service says that a daemon which was started is online.

        Raises:
            ReconcilerError: it does not, or could not be asked. The daemon was up, and is on record.
        """
        if effect.daemon and effect.endpoint_id and self._conduct.wait_online:
            await_online(
                self._outside,
                self._clock,
                action.directory,
                effect.endpoint_id,
                pid=effect.daemon.pid,
                seconds=self._conduct.online_timeout,
            )

    def _stop(self, action: Stop) -> Effect:
        self._take_down(action.directory, action.process)
        return Effect(writes_marker=True)

    def _take_down(self, directory_name: str, process: Process) -> None:
        host, seconds = self._outside.host, self._conduct.stop_timeout
        if not end_daemon(host, self._clock, directory_name, process, seconds):
            raise EndpointCommandError(
                f"the daemon (PID {process.pid}) did not end within {seconds:.0f} s",
                where=directory_name,
                remedy=way_out(host.directory(directory_name), process, "apply again"),
            )

    def _stop_elsewhere(self, action: StopElsewhere) -> Effect:
        stop_elsewhere(action, self._outside, self._clock, self._conduct.elsewhere_timeout)
        return Effect(writes_marker=True)

    def _restart(self, action: Restart) -> Effect:
        self._take_down(action.directory, action.process)
        return self._bring_up(action)

    def _rename(self, action: Rename) -> Effect:
        if action.source is not None and action.moves:
            self._outside.host.rename(action.source, action.directory)
        return Effect(writes_marker=action.marker is not None)

    def _reregister(self, action: Reregister) -> Effect:
        if action.is_there:
            self._outside.host.remove_file(action.directory, ENDPOINT_JSON)
        return Effect(writes_marker=action.is_there)

    def _forget(self, action: Forget) -> Effect:
        if action.marked:
            self._outside.host.remove_file(action.directory, MARKER)
        return Effect()

    def _delete(self, action: Delete) -> Effect:
        self._moved[action.endpoint] = self._outside.host.to_trash(action.directory)
        return Effect()

    def _undelete(self, action: Undelete) -> Effect:
        self._outside.host.restore(action.trash_entry, action.directory)
        return Effect()

    def _purge(self, action: Purge) -> Effect:
        """Deregister first: what is left of a purge that was cut off is an entry of the trash, not a registration."""
        service, entry = self._outside.service, action.trash_entry
        if action.id:
            service.delete(action.id)
        entry = entry or self._moved.get(action.endpoint)
        if entry:
            self._outside.host.purge(entry)
        return Effect()
