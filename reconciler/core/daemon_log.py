"""What a daemon's log tells of it: how its last session ended, and whether it is connected to the service. Pure.

Read off globus-compute-endpoint 4.13 to 4.19: each session begins with a line of its own, after one with date, level,
and the process that writes.
"""

from __future__ import annotations

import re
from typing import Literal

from reconciler.core.live import Process

LINES = 200
"""Lines of a daemon's log in which its end is looked for; they also hold what it said last."""

LINES_OF_A_START = 1000
"""Lines of a daemon's log in which is looked for what it said at its start."""

_WHO = "(?:Core Endpoint|Endpoint Manager|Endpoint)"
_BEGINS = re.compile(rf"(?<!=)=+ {_WHO} begins: ")
_LAST_WORD = rf"(?<!-)-{{5,}} {_WHO} ends: "
_ENDS = re.compile(rf"Shutdown complete\.|{_LAST_WORD}")
_TOLD = "PID file removed by another process; initiating shutdown"
"""What it says when somebody told it to end so: as `stop_elsewhere` does, or `ending.py`, or a user."""
_GAVE_UP = "Unhandled exception; shutting down"
_HEADER = r"^\d{4}-\d\d-\d\d \S+ [A-Z]+ \S+-(?P<pid>\d{1,18}) "
"""How each message begins, with the PID that the daemon has for itself."""
_STARTS = re.compile(_HEADER + rf".*\n\s*{_BEGINS.pattern}", re.MULTILINE)
_SAYS_IT_ENDED = re.compile(rf"{_HEADER}.*(?:Shutdown complete\.|\n\s*{_LAST_WORD})", re.MULTILINE)
_LINE = re.compile(_HEADER, re.MULTILINE)
_READY = "(?P<ready>Ready to send results to exchange)"
_NOT_ANY_MORE = "ResultPublisher<[^<>]*> (?:Unable to sustain|Channel closed)"
_PUBLISHER = re.compile(rf"{_HEADER}.*(?:{_READY}|{_NOT_ANY_MORE})", re.MULTILINE)
"""What the publisher of its heartbeats says when it may publish, and when it may not any more."""
_UNKNOWN_TO_ITSELF = re.compile(
    rf"{_HEADER}.*\n(?:(?!\d{{4}}-).*\n)*?    Failed to determine identity set", re.MULTILINE
)
"""What it says, on the last line of a message, when it ends before its first heartbeat."""

Ending = Literal["shut down", "gave up", "cut off", "unknown"]


def ending(log: str) -> Ending:
    """Return how the last session in a daemon's log ended.

    It says that it shuts down for whatever reason, an error of its own included: then it gave up; and that it lost
    its PID file, also where it then cannot shut down any more and is killed. Without that word it was cut off,
    provided that the log speaks of a session at all.
    """
    begun = list(_BEGINS.finditer(log))
    session = log[begun[-1].end() :] if begun else log
    if _GAVE_UP in session:
        return "gave up"
    if _ENDS.search(session) or _TOLD in session:
        return "shut down"
    return "cut off" if begun else "unknown"


def have_ended(log: str, recorded: int | None = None) -> bool:
    """Whether all daemons of a log say that they have ended: that they were told to is not enough.

    Several may write into it at the same time, from several nodes: all that began in it, and whoever wrote last.
    One that was killed says nothing.

    Args:
        log: its last lines.
        recorded: PID of one that must have said so besides. What it wrote last need not be seen on this node yet.
    """
    begun = {int(found["pid"]): found.start() for found in _STARTS.finditer(log)}
    for pid in (last_writer(log), recorded):
        if pid is not None:
            begun.setdefault(pid, 0)
    ended = {int(found["pid"]): found.start() for found in _SAYS_IT_ENDED.finditer(log)}
    return bool(begun) and all(ended.get(pid, -1) >= began for pid, began in begun.items())


def last_writer(log: str) -> int | None:
    """Return the PID, as it has it for itself, of whoever wrote the last message of a log."""
    pid = None
    for found in _LINE.finditer(log):
        pid = int(found["pid"])
    return pid


def says_connected(log: str, process: Process) -> bool | None:
    """Whether a daemon's log says that it is connected; None where it says nothing of `process`.

    Args:
        log: its last lines. Where the beginning of a session is not among them, it is that of all of them.
        process: the daemon. Another one may have begun, or gone on, since it has.
    """
    begun = [found for found in _STARTS.finditer(log) if _is_of(process, found)]
    if not begun and _BEGINS.search(log):
        return None
    session = log[begun[-1].end() :] if begun else log
    if any(_is_of(process, found) for found in _UNKNOWN_TO_ITSELF.finditer(session)):
        return False
    said = [found for found in _PUBLISHER.finditer(session) if _is_of(process, found)]
    if not said:
        return False if begun else None
    return said[-1]["ready"] is not None


def _is_of(process: Process, line: re.Match[str]) -> bool:
    return process.may_be(int(line["pid"]))
