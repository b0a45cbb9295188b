"""Starting one daemon with globus-compute-endpoint, and knowing that it is up.

`start --detach` returns before the daemon has written its PID file and its UUID, so that both are
waited for. Nothing is started beside a daemon or a start command that already runs: upstream would let
two of them share one UUID, and each would get some of the tasks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING

from reconciler.adapters import faults, files, process
from reconciler.adapters.own_dir import RUNS, open_own
from reconciler.adapters.process import Daemon
from reconciler.core.frozen import dataclass
from reconciler.core.live import (
    LiveDirectory,
)
from reconciler.core.machine import EndpointTool
from reconciler.core.redact import last_lines, redact
from reconciler.errors import EndpointCommandError, TimedOut
from reconciler.ports import Clock, Started

if TYPE_CHECKING:
    from reconciler.adapters.nursery import Brood, Nursery

TIME_LIMIT = 120.0
"""Seconds that a start may take in all: imports from a cold parallel file system take most of it."""

ENDING_LIMIT = 45.0
"""Seconds that a daemon without a PID file may take to end (it looks every 15 s, then shuts down)."""

_SHORTEST, _LONGEST = 0.02, 0.25
_PATIENCE_AFTER_EXIT = 3.0
_LINES = 30

_CODES: dict[int, tuple[str, str]] = {
    65: ("the service found the registration invalid", "correct what it names, then apply again"),
    69: (
        "the service does not know this endpoint, has a conflict, or has it locked after a remote stop",
        "wait some minutes and apply again; if its registration is gone: `chiltepin apply --reregister NAME`",
    ),
    70: (
        "the service answered with another UUID, or with an incomplete reply",
        "look at `chiltepin logs NAME`, then apply again",
    ),
    73: (
        "a PID file is fresh: another instance runs, perhaps on another login node",
        "stop that one first, or wait until its PID file is 90 seconds old",
    ),
    75: (
        "the network failed",
        "check the network and the proxy settings until `chiltepin status` gets through, then apply again",
    ),
    77: ("Globus Auth refused the login", "run `chiltepin login`, then apply again"),
    78: ("endpoint_setup failed, or the identity mapping is invalid", "correct it, then apply again"),
}
_OTHER = ("it failed", "read the output above, and `chiltepin logs NAME`")


@dataclass(frozen=True)
class Start:
    """One start: what is started, where, and how long it may take.

    Attributes:
        read: reads the endpoint's directory again, processes included.
        log: the end of the endpoint's log, redacted.
        nursery: starts daemons faster than the command does, when there are many.
    """

    config_dir: str
    name: str
    endpoint_id: str | None
    tool: EndpointTool
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    clock: Clock
    read: Callable[[], LiveDirectory | None]
    log: Callable[[], str]
    limit: float = TIME_LIMIT
    nursery: Nursery | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """The command line."""
        chosen = ("--endpoint-uuid", self.endpoint_id) if self.endpoint_id else ()
        return (self.tool.command, "-c", self.config_dir, "start", "--detach", *chosen, self.name)

    def failed(
        self, why: str, remedy: str, *, code: int | None = None, output: str = "", late: bool = False
    ) -> EndpointCommandError:
        """Return the error of this start, with what the daemon said last."""
        said = last_lines(redact(output, self.secrets), _LINES) or self.log()
        return (TimedOut if late else EndpointCommandError)(
            f"endpoint {self.name} did not come up",
            command=self.command,
            code=code,
            output=said,
            where=f"{self.config_dir}/{self.name}",
            why=why,
            remedy=remedy.replace("NAME", self.name),
        )


def run(start: Start) -> Started:
    """Start the daemon, or wait for the one that is there or on its way.

    Raises:
        EndpointCommandError: it did not come up within the limit.
        FileSystemError: its output could not be kept.
    """
    deadline = start.clock.monotonic() + start.limit
    _wait_for_ending(start)
    found = _up(start)
    if found is None and _running(start):
        found = _wait(start, None, deadline)
    if found is not None:
        return replace(found, was_under_way=True)
    return _spawn_and_wait(start, deadline)


def _running(start: Start) -> tuple[Daemon, ...]:
    """Return the processes of this endpoint, starting ones included."""
    directory = start.read()
    pids = {p.pid for p in directory.processes} if directory is not None else set()
    found = (process.daemon_at(pid) for pid in sorted(pids))
    return tuple(d for d in found if d is not None)


def _wait_for_ending(start: Start) -> None:
    """Let a daemon that is shutting down, or whose PID file is gone, end first.

    It looks for its PID file every 15 seconds; a start before that would recreate the file, and both
    would live.
    """
    deadline = start.clock.monotonic() + ENDING_LIMIT
    while ending := _ending(start):
        if start.clock.monotonic() > deadline:
            raise start.failed(
                f"an earlier daemon, process {ending[0].process.pid}, does not end",
                f"end it (`kill {ending[0].process.pid}`), then apply again",
            )
        start.clock.sleep(_LONGEST)


def _ending(start: Start) -> tuple[Daemon, ...]:
    directory = start.read()
    if directory is None:
        return ()
    running = [d for d in (process.daemon_at(p.pid) for p in directory.processes) if d is not None]
    orphaned = directory.pid_file is None
    # A daemon that has just titled itself has its PID file already: without one it is on its way out.
    return tuple(d for d in running if d.stopping or (orphaned and not d.starting))


def _up(start: Start) -> Started | None:
    """Return the daemon when process, PID file and UUID are there and fit together.

    Raises:
        EndpointCommandError: it runs under another UUID than the one that is wanted.
    """
    directory = start.read()
    if directory is None or directory.pid_file is None or directory.pid_file.pid is None:
        return None
    named = directory.pid_file.pid
    its = next((p for p in directory.processes if p.pid == named or named in (p.inner_pids or ())), None)
    daemon = process.daemon_at(its.pid) if its is not None else None
    if daemon is None or daemon.starting or daemon.stopping or daemon.endpoint_id is None:
        return None
    if start.endpoint_id is not None and daemon.endpoint_id != start.endpoint_id.lower():
        raise start.failed(
            f"it runs under the UUID {daemon.endpoint_id}, not {start.endpoint_id}",
            f"stop it (`globus-compute-endpoint -c {quote(start.config_dir)} stop NAME`), then run `chiltepin plan`",
        )
    if directory.endpoint_id != daemon.endpoint_id:
        return None
    faults.reached("start.up")
    return Started(daemon.process, daemon.endpoint_id)


def _spawn_and_wait(start: Start, deadline: float) -> Started:
    """Run the command with its output in a private file, and wait for the daemon."""
    faults.reached("start.begin")
    output = f"{start.name[:100]}-{files.token()}"
    where = f"{start.config_dir}/.chiltepin/{RUNS}/{output}"
    with files.translating("keep the output of the start command", where), open_own(start.config_dir, RUNS) as runs:
        fd = os.open(output, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=runs.fd)
        try:
            child = _child(start, where, fd)
            faults.reached("start.spawned")
            started = _wait(start, child, deadline)
            child.reap()
            return started
        finally:
            os.close(fd)
            files.discard(runs, output)  # whether the daemon is up does not hang on it


def _child(start: Start, path: str, output: int) -> _Child | Brood:
    """Run the command: in the nursery if there is one that can, else by itself."""
    # A title is one line of words: with a blank in a path, a start under way could not be told apart by it.
    plain = not any(c.isspace() for part in start.command for c in part)
    if plain and start.nursery is not None and start.nursery.serves(start.tool, start.environment):
        brood = start.nursery.start(start.command, path, output)
        if brood is not None:
            return brood
    return _Child(start.command, start.environment, output)


class _Child:
    """The start command while it runs; its output goes to the open file `output`."""

    def __init__(self, command: Iterable[str], environment: Mapping[str, str], output: int) -> None:
        import subprocess  # noqa: PLC0415  # a plan never starts anything

        line = tuple(command)
        self._output = output
        self._timeout = subprocess.TimeoutExpired
        try:
            self._process = subprocess.Popen(
                line,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
            )
        except OSError as e:
            raise EndpointCommandError(
                "globus-compute-endpoint cannot be run",
                command=line,
                where=line[0],
                why=e.strerror or str(e),
                remedy=files.scarcity(e) or "see that this file is there and can be executed, then apply again",
            ) from e

    def code(self) -> int | None:
        """Return its exit code, None while it runs."""
        return self._process.poll()

    def said(self) -> str:
        """Return its output so far."""
        size = os.fstat(self._output).st_size
        return os.pread(self._output, 65536, max(0, size - 65536)).decode("utf-8", "replace")

    def reap(self) -> None:
        """Wait for its end, which is near once the daemon is up."""
        try:
            self._process.wait(5)
        except self._timeout:  # it stays ours to reap when this process ends
            return

    def end(self) -> None:
        """End it; a daemon that has already detached is in a session of its own and goes on."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except self._timeout:
            self._process.kill()
            self._process.wait()


def _wait(start: Start, child: _Child | Brood | None, deadline: float) -> Started:
    """Wait until the daemon is up, or it is certain that it will not be."""
    pause = _SHORTEST
    nothing_since: float | None = None
    while True:
        code = child.code() if child is not None else None
        if child is not None and code not in {None, 0}:
            raise _exit_error(start, child, code)
        if (found := _up(start)) is not None:
            return found
        now = start.clock.monotonic()
        if (child is None or code == 0) and not _running(start):
            nothing_since = now if nothing_since is None else nothing_since
            if now - nothing_since > _PATIENCE_AFTER_EXIT:
                raise start.failed("its process ended at once", "read the log above; `chiltepin logs NAME` shows more")
        else:
            nothing_since = None
        if now > deadline:
            if child is not None and code is None:
                child.end()
            raise start.failed(
                f"it was not up after {start.limit:.0f} seconds",
                "look at the log (`chiltepin logs NAME`), then apply again",
                output=child.said() if child is not None else "",
                late=True,
            )
        start.clock.sleep(pause)
        pause = min(_LONGEST, pause * 1.5)


def _exit_error(start: Start, child: _Child | Brood, code: int | None) -> EndpointCommandError:
    """Explain an exit code, with the command's output."""
    said = child.said()
    why, remedy = _CODES.get(code or 0, _OTHER)
    if code == 1 and said.rstrip().endswith("Aborted!"):
        why, remedy = "it asked for a login, and there is nobody to answer", "run `chiltepin login`, then apply again"
    return start.failed(f"globus-compute-endpoint start ended with code {code}: {why}", remedy, code=code, output=said)
