"""Ending a daemon of this node: it is asked to, and one that takes no notice loses its PID file."""

from __future__ import annotations

from reconciler.core.live import Process
from reconciler.core.pid_file import LOOKED_AT_EVERY
from reconciler.ports import EndpointHost

UNHEEDED_AFTER = 15.0
"""Seconds after which a daemon that has not begun to shut down did not notice its signal: it looks every second."""

_BROUGHT_BACK = LOOKED_AT_EVERY + 1
"""Seconds after which a daemon that touched its PID file at that very moment, and so brought it back, has gone on."""


def end_daemon(host: EndpointHost, directory_name: str, process: Process, seconds: float) -> bool:
    """Ask a daemon to shut down and wait; say whether it has ended within `seconds`.

    SIGTERM sets a flag that upstream's main thread looks at each time when its wait for a command times out. With
    CPython before 3.13 that wait has no end any more when the signal is handled after the timeout has passed (the
    process was suspended, or had no processor): `_queue.SimpleQueue.get` goes on with what is left, a negative
    number. No further signal helps. Another thread looks for the PID file every 15 s; where that is gone it
    signals once more, and after 20 s kills the daemon, which had stopped to work anyway. User endpoints watch
    their parent, and end when it has, as they do at every stop.
    """
    host.signal_stop(directory_name, process)
    patience = UNHEEDED_AFTER
    while not host.wait_stopped(directory_name, process, min(seconds, patience)):
        seconds -= patience
        if seconds <= 0:
            return False
        host.take_pid_file(directory_name, process)
        patience = _BROUGHT_BACK
    return True
