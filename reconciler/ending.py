"""Ending a daemon of this node: it is asked to, and one that takes no notice loses its PID file."""

from __future__ import annotations

from reconciler.core.live import Process
from reconciler.ports import Clock, EndpointHost

UNHEEDED_AFTER = 15.0
"""Seconds after which a daemon that has not begun to shut down did not notice its signal: it looks every second."""

TAKEN_AGAIN_AFTER = 2.0
"""Seconds after which its PID file is looked for again: a daemon that touches it at that very moment brings it back."""

LEAVE = 20.0
"""Seconds that user endpoints get to end after their daemon was killed: as many as it would give them itself."""


def end_daemon(host: EndpointHost, clock: Clock, directory_name: str, process: Process, seconds: float) -> bool:
    """Ask a daemon to shut down and wait; say whether it has ended within `seconds`.

    SIGTERM sets a flag that upstream's main thread looks at each time when its wait for a command times out. With
    CPython before 3.13 that wait has no end any more when the signal is handled after the timeout has passed (the
    process was suspended, or had no processor): `_queue.SimpleQueue.get` goes on with what is left, a negative
    number. No further signal helps. Another thread looks for the PID file every 15 s; where that is gone it
    signals once more, and after 20 s kills the daemon, which had stopped to work anyway.

    A daemon that shuts down ends its user endpoints first. Those of one that was killed see that their parent is
    gone, and end then: they are waited for, too, as a new daemon may be told to start the same ones at once, and
    one that is not gone yet makes the tasks fail that wait for it.
    """
    host.signal_stop(directory_name, process)
    patience, taken = UNHEEDED_AFTER, False
    while not host.wait_stopped(directory_name, process, min(seconds, patience)):
        seconds -= patience
        if seconds <= 0:
            return False
        taken |= host.take_pid_file(directory_name, process)
        patience = TAKEN_AGAIN_AFTER
    if taken:
        _await_user_endpoints(host, clock, directory_name)
    return True


def _await_user_endpoints(host: EndpointHost, clock: Clock, directory_name: str) -> None:
    deadline = clock.monotonic() + LEAVE
    while clock.monotonic() < deadline:
        directory = host.directory(directory_name)
        if directory is None or not directory.user_endpoints:
            return
        clock.sleep(0.5)
