"""Whether the service sees the daemons that run: waited for after a start, and observed of those that ran already."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from reconciler.conduct import Conduct
from reconciler.core.daemon_log import LINES_OF_A_START, says_connected
from reconciler.core.elsewhere import MISSED_WITHIN
from reconciler.core.exit_codes import code_of_error
from reconciler.core.live import Process
from reconciler.core.running import Running, Unconfirmed
from reconciler.errors import EndpointCommandError, FileSystemError, NoMoreThreads, ReconcilerError
from reconciler.ports import Clock, Outside
from reconciler.threads import for_each

MAX_ASKING = 8
"""How many daemons are asked for at the service at the same time; its limit of requests is the tighter bound."""

GREETS = 2.0
"""Seconds, by estimate, from its connection to a daemon's first heartbeat: first it asks who its identities are."""

GREETS_WITHIN = 30.0
"""Age in seconds, by estimate, at which a daemon that is connected has sent it, or has given up."""


def await_online(
    outside: Outside,
    clock: Clock,
    directory_name: str,
    endpoint_id: str,
    *,
    pid: int | None,
    age: float = 0.0,
    seconds: float,
    stop: threading.Event | None = None,
) -> None:
    """Wait until the service says that the daemon of an endpoint is online.

    It goes on saying so of a daemon that was killed until it has missed some of its heartbeats. So a word that was
    there when we came says nothing of a daemon here that is younger than that: its log has to say that it is
    connected, or the service something else in between. The log of one on another node is that node's to judge.

    Args:
        pid: of the daemon; when it ends there is nothing to wait for. None for one on another node.
        age: of the daemon, in seconds, when it was looked at last.
        seconds: how long to wait.
        stop: when set, nothing is waited for any more.

    Raises:
        EndpointCommandError: the daemon ended, or the service does not see it in time.
        ServiceUnreachable: the service could not be asked.
    """
    deadline = clock.monotonic() + seconds
    word = _Word(outside, clock, directory_name, is_its=pid is None or age > MISSED_WITHIN)
    pause = 0.1
    while True:
        is_late = clock.monotonic() > deadline
        is_online = word.says_online(endpoint_id)
        if is_online and word.is_its:
            return
        process = _still_there(outside, directory_name, pid) if pid is not None else None
        if is_online and process is not None:
            is_heard = word.is_of(process)
            if is_heard or (is_late and is_heard is None):
                return
        if stop and stop.is_set():
            raise EndpointCommandError(f"{_not_yet(is_online)} when the wait was interrupted")
        if is_late and not word.greets_in:
            who = f"PID {pid}" if pid is not None else "on another node"
            raise EndpointCommandError(
                f"the daemon ({who}) runs, and after {seconds:.0f} s {_not_yet(is_online)}",
                where=directory_name,
                remedy="look at its log for AMQP errors (port 5671 or 443 must be open), then apply again; where"
                " it says nothing, the daemon may hang: restart it",
            )
        clock.sleep(word.greets_in or pause)
        pause = min(pause * 1.5, 2.0)


def _not_yet(is_online: bool) -> str:
    if is_online:
        return "its log did not say yet that it is connected (online may be said of the daemon before it)"
    return "the service did not see it yet"


class _Word:
    """What the service says, and whether that is about the daemon in question, or about the one before it.

    Attributes:
        is_its: whether "online" can be about no other any more.
    """

    def __init__(self, outside: Outside, clock: Clock, directory_name: str, *, is_its: bool) -> None:
        self._outside = outside
        self._clock = clock
        self._directory = directory_name
        self.is_its = is_its
        self._greeted: float | None = None

    @property
    def greets_in(self) -> float:
        """Seconds until a daemon that is connected has sent its first heartbeat; 0 for one that is not connected."""
        return max(0.0, self._greeted - self._clock.monotonic()) if self._greeted is not None else 0.0

    def says_online(self, endpoint_id: str) -> bool:
        """Ask the service; once it says something else, its next "online" is about this daemon."""
        has_greeted = self._greeted is not None and not self.greets_in
        is_online = self._outside.service.status(endpoint_id) == "online"
        self.is_its = self.is_its or has_greeted or not is_online
        return is_online

    def is_of(self, process: Process) -> bool | None:
        """Whether its "online" is about `process`; None where the log says nothing about that."""
        if self._greeted is None:
            try:
                log = self._outside.host.log_tail(self._directory, LINES_OF_A_START)
            except FileSystemError:  # a log that cannot be read says nothing
                return None
            is_connected = says_connected(log, process)
            if not is_connected or process.age >= GREETS_WITHIN:
                return is_connected
            self._greeted = self._clock.monotonic() + GREETS
        return False


def _still_there(outside: Outside, directory_name: str, pid: int) -> Process:
    directory = outside.host.directory(directory_name)
    found = next((p for p in directory.processes if p.pid == pid), None) if directory else None
    if found is None:
        raise EndpointCommandError(
            "the daemon ended before the service saw it",
            where=directory_name,
            remedy="the end of its log says why; mend that and apply again",
        )
    return found


def unseen(running: Sequence[Running], outside: Outside, clock: Clock, conduct: Conduct) -> tuple[Unconfirmed, ...]:
    """Return those of the daemons in `running` that the service does not see, each with the reason."""

    def ask(daemon: Running) -> Unconfirmed | None:
        try:
            await_online(
                outside,
                clock,
                daemon.directory,
                daemon.id,
                pid=daemon.process.pid if daemon.process else None,
                age=daemon.process.age if daemon.process else 0.0,
                seconds=conduct.online_timeout,
                stop=conduct.stop,
            )
        except ReconcilerError as e:
            return _unconfirmed(daemon, e)
        return None

    try:
        return tuple(found for found in for_each(running, ask, MAX_ASKING) if found)
    except NoMoreThreads as e:
        return tuple(_unconfirmed(daemon, e) for daemon in running)


def _unconfirmed(daemon: Running, error: ReconcilerError) -> Unconfirmed:
    reason = f"{error.what}: {error.why}" if error.why else error.what
    return Unconfirmed(daemon.endpoint, reason, error.remedy, code_of_error(error))
