"""Named points at which a test can make the process die, to prove that a rerun converges.

`CHILTEPIN_FAULT=POINT` kills the process with SIGKILL when it first reaches POINT, `POINT:N` the N-th
time. Without the variable `reached` costs one comparison. The variable is read once, at import.
"""

from __future__ import annotations

import os
import signal
import threading

from reconciler.errors import UsageError

VARIABLE = "CHILTEPIN_FAULT"

FAULT_POINTS: tuple[str, ...] = (
    "create.begin",  # nothing was done yet
    "create.built",  # complete, aside in .chiltepin/new
    "create.renamed",  # in place
    "rename.done",  # the directory has its new name, its marker still the old one
    "backup.written",
    "write.temp",  # the new content is on disk under a temporary name
    "write.renamed",
    "remove.done",
    "marker.temp",
    "marker.written",
    "pid.cleared",
    "pid.withdrawn",  # the PID file of a daemon on another node is gone; it notices within 15 s
    "pid.taken",  # the PID file of a daemon that missed its signal is gone; it notices within 15 s
    "start.begin",
    "start.spawned",  # the start command runs
    "start.up",  # process, PID file and UUID are there
    "stop.signalled",
    "stop.gone",
    "trash.begin",  # the trash entry exists, empty
    "trash.moved",  # the endpoint's directory is in it
    "trash.done",  # its user endpoints' directories, too
    "restore.begin",
    "restore.moved",  # the endpoint's directory is back, its user endpoints' are not
    "purge.begin",
    "purge.hidden",  # it is in the list no more, and still on the disk
    "purge.done",
    "lock.temp",
    "lock.written",
    "pools.temp",
    "pools.written",
    "journal.appending",  # half of the line is written
    "journal.appended",
    "lease.acquired",
    "lease.released",
)
"""Every point that adapters pass, in no particular order; names are stable."""

_REQUEST = os.environ.get(VARIABLE, "")


class _Countdown:
    """Which point kills, and after how many passes (thread-safe: endpoints are worked on in parallel)."""

    def __init__(self, request: str) -> None:
        self.point, _, count = request.partition(":")
        if self.point not in FAULT_POINTS or not (count or "1").isdigit() or count == "0":
            raise UsageError(
                f"{VARIABLE} names no fault point",
                where=f"{VARIABLE}={request}",
                why=f"known points: {', '.join(FAULT_POINTS)}",
                remedy=f"unset {VARIABLE}; it exists for tests only",
            )
        self._left = int(count or "1")
        self._mutex = threading.Lock()

    def passes(self) -> bool:
        """Count one pass and say whether it was the last."""
        with self._mutex:
            self._left -= 1
            return self._left == 0


_countdown: _Countdown | None = None


def check() -> None:
    """Refuse an unknown point before anything is done.

    Raises:
        UsageError: the variable is set to something that is no point.
    """
    global _countdown  # noqa: PLW0603  # parsed once per process, like the variable itself
    if _REQUEST and _countdown is None:
        _countdown = _Countdown(_REQUEST)


def armed(point: str) -> bool:
    """Say whether this process is going to die at `point` (so that a torn write can be staged)."""
    if not _REQUEST:
        return False
    check()
    return _countdown is not None and _countdown.point == point


def reached(point: str) -> None:
    """Die here when this is the point that was asked for; otherwise do nothing."""
    if _REQUEST and armed(point) and _countdown is not None and _countdown.passes():
        os.kill(os.getpid(), signal.SIGKILL)
