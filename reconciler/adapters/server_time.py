"""The file server's time: ages of files on a shared home are differences of two times of one clock, the server's.

Login nodes disagree about the time. A PID file is touched by a daemon on any of them, and the file server
says when. So a file of ours is touched in the same tree, and what the server says of that is "now". Where
nothing of ours is there yet, a file without a name is made, which local file systems can do. Where neither is
possible (read-only, and a network file system), the age is not known; it is never told by the local clock.
"""

from __future__ import annotations

import os

from reconciler.adapters import files
from reconciler.adapters.names import OWN_DIRECTORY
from reconciler.ports import Clock

PROBE = "clock"
"""The file in `.chiltepin` that is touched; it is empty, and may be removed at any time."""

GOOD_FOR = 10.0
"""Seconds for which the local clock's pace is trusted after a probe: looking again costs a request to the server."""


class ServerTime:
    """The time of the file server that holds one config directory.

    Args:
        config_dir: an absolute path; it need not exist.
        clock: its monotonic time only.
    """

    def __init__(self, config_dir: str, clock: Clock) -> None:
        self._path = config_dir
        self._clock = clock
        self._last: tuple[float, float] | None = None  # the server's time, and the monotonic one then

    def age(self, modified: float) -> float | None:
        """Return the seconds since a time of the file server, or None when its present time cannot be told."""
        now = self.now()
        return None if now is None else now - modified

    def now(self) -> float | None:
        """Return the file server's time in seconds since the epoch, or None when it cannot be told."""
        monotonic = self._clock.monotonic()
        last = self._last
        if last is not None and 0 <= monotonic - last[1] < GOOD_FOR:
            return last[0] + monotonic - last[1]
        found = self._touch()
        if found is None:
            found = self._without_a_name()
        if found is not None:
            self._last = (found, monotonic)
        return found

    def _touch(self) -> float | None:
        """Touch our file, where `.chiltepin` is there and can be written."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with files.opened(self._path) as root, files.entered(root, OWN_DIRECTORY) as own:
                fd = os.open(PROBE, flags, files.PRIVATE_FILE, dir_fd=own.fd)
        except OSError:  # not there, or not to be written: there is another way
            return None
        return _touched(fd)

    def _without_a_name(self) -> float | None:
        """Make a file that has no name and is gone when it is closed; NFS and Lustre have none such."""
        flags = getattr(os, "O_TMPFILE", 0)
        if not flags:
            return None
        try:
            fd = os.open(self._path, flags | os.O_WRONLY | os.O_CLOEXEC, files.PRIVATE_FILE)
        except OSError:  # no such directory, read-only, or a file system that cannot
            return None
        return _touched(fd)


def _touched(fd: int) -> float | None:
    """Touch an open file as a daemon touches its PID file: the server, not this node, puts the time in."""
    try:
        os.utime(fd)
        return os.fstat(fd).st_mtime
    except OSError:  # a full quota, or a server that went away
        return None
    finally:
        os.close(fd)
