"""Signals that hit only the process that was meant, and waiting for its end."""

from __future__ import annotations

import errno
import os
import select
import signal
import time

from reconciler.adapters.process import lives, now_of, unless_it_is_us
from reconciler.core.live import Process


def _pidfd(pid: int) -> int | None:
    """Open a pidfd; None when this kernel (before 5.3) or this Python build has none.

    Raises:
        ProcessLookupError: there is no such process.
        FileSystemError: it cannot be had now.
    """
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        return int(opener(pid))
    except OSError as e:
        if e.errno in {errno.ENOSYS, errno.EPERM}:  # an old kernel, or a container's system call filter
            return None
        unless_it_is_us(e, pid)
        raise


def terminate(process: Process, name: str) -> bool:
    """Send SIGTERM to exactly this process; say whether it was there.

    It must be this user's daemon of endpoint `name`, or a start command, with the PID and start time
    of `process`. The pidfd is opened first and everything compared afterwards: from then on the PID cannot
    pass to another process without the descriptor noticing. A kernel without pidfds gets a plain signal
    right after the comparison.

    Raises:
        FileSystemError: it could not be looked at; nothing was sent.
    """
    try:
        fd = _pidfd(process.pid)
    except ProcessLookupError:
        return False
    try:
        now = now_of(process)
        if now is None or not (now.starting or now.name == name):
            return False
        if fd is None:
            os.kill(process.pid, signal.SIGTERM)
        else:
            signal.pidfd_send_signal(fd, signal.SIGTERM)
    except ProcessLookupError:
        return False
    finally:
        if fd is not None:
            os.close(fd)
    return True


def wait_gone(process: Process, seconds: float) -> bool:
    """Wait until exactly this process has ended (a zombie has), at most `seconds`; say whether it has.

    Raises:
        FileSystemError: it can be looked at no more.
    """
    try:
        fd = _pidfd(process.pid)
    except ProcessLookupError:
        return True
    try:
        if fd is not None and lives(process.pid, process.start_time):
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            return bool(poll.poll(max(0.0, seconds) * 1000))
    finally:
        if fd is not None:
            os.close(fd)
    deadline = time.monotonic() + seconds
    while alive := lives(process.pid, process.start_time):
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    return not alive
