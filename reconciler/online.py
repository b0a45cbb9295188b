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

_CERTAIN_LATER = f"{MISSED_WITHIN / 60:.0f} minutes after its start what the service says can be about no other"


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
        if is_late and not word.is_greeting:
            who = f"PID {pid}" if pid is not None else "on another node"
            raise EndpointCommandError(
                f"the daemon ({who}) runs, and after {seconds:.0f} s {_not_yet(is_online)}",
                where=directory_name,
                remedy="look at its log for AMQP errors (port 5671 or 443 must be open), then apply again; "
                + (_CERTAIN_LATER if is_online else "where it says nothing, the daemon may hang: restart it"),
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
        self._has_greeted = False
        self._said: bool | None = None

    @property
    def is_greeting(self) -> bool:
        """Whether the daemon says that it is connected, and is to be asked about once more."""
        return self._greeted is not None

    @property
    def greets_in(self) -> float:
        """Seconds until a daemon that is connected has sent its first heartbeat; 0 for one that is not connected."""
        return max(0.0, self._greeted - self._clock.monotonic()) if self._greeted is not None else 0.0

    def says_online(self, endpoint_id: str) -> bool:
        """Ask the service; once it says something else, its next "online" is about this daemon."""
        self._has_greeted = self.is_greeting and not self.greets_in
        is_online = self._outside.service.status(endpoint_id) == "online"
        if not is_online:
            self.is_its = True
            self._greeted = None
        return is_online

    def is_of(self, process: Process) -> bool | None:
        """Whether its "online" is about `process`; None where the log says nothing about that.

        The log is read again once the daemon has had the time to greet: it may have lost its connection since, or
        what was read was of a daemon before it that is not to be told from it.
        """
        if self.greets_in:
            return False
        is_connected = self._says_connected(process)
        if not is_connected:
            self._greeted = None
            return is_connected
        if self._has_greeted or process.age >= GREETS_WITHIN:
            return True
        if self._greeted is None:
            self._greeted = self._clock.monotonic() + GREETS
        return False

    def _says_connected(self, process: Process) -> bool | None:
        """What the log says; where it says nothing now, as while it cannot be read, what it said before."""
        try:
            said = says_connected(self._outside.host.log_tail(self._directory, LINES_OF_A_START), process)
        except FileSystemError:
            said = None
        self._said = self._said if said is None else said
        return self._said


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
