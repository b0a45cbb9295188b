"""Waiting for what an earlier apply, or somebody by hand, has begun on daemons, before anything is planned.

A plan sees the daemons of one moment. What is about to change by itself is let happen first: then one apply is enough,
and what it says of the daemons stays true.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from reconciler.core.actions import Start, Stop
from reconciler.core.daemon import SHUTTING_DOWN, is_starting
from reconciler.core.elsewhere import ABSENT_FOR, is_left_unsaid
from reconciler.core.live import LiveDirectory
from reconciler.core.pid_file import is_fresh
from reconciler.observe import log_end
from reconciler.ports import Clock, Outside

START_LIMIT = 60.0
"""Seconds for which a start that somebody else began is waited for; most take three."""

STOP_LIMIT = 15.0
"""Seconds after its intent in which a daemon shows that a stop has reached it: it looks once a second."""

_LOOKS_EVERY = 0.5

ABSENCE_LIMIT = ABSENT_FOR + _LOOKS_EVERY
"""Seconds after which no daemon is left whose PID file stayed away."""

Told = Callable[[str, Collection[str]], None]
"""Hears what is waited for (in words), and of which endpoints."""

GoesOn = Callable[[LiveDirectory], bool]


def await_cut_off_stops(outside: Outside, clock: Clock, told: Told) -> None:
    """Wait until daemons that a killed run was ending show it; one that does not in time was not asked to end.

    A daemon that was sent its signal looks for a second as if it went on.

    Raises:
        StateFileError: the journal is damaged.
    """
    intents = [entry for entry in outside.store.unfinished() if entry.event == "intent"]
    ends = {entry.directory: entry for entry in intents if entry.ends}
    # By the clock of whoever wrote it: as long as that is not wrong, or not another node's, nobody waits for nothing.
    latest = max((entry.at for entry in ends.values()), default=0.0) + STOP_LIMIT
    left = min(latest - clock.now(), STOP_LIMIT)
    if left <= 0:
        return

    def goes_on(directory: LiveDirectory) -> bool:
        named = ends[directory.name].ends
        titles = [p.title for p in directory.processes if p.identity == named]
        if directory.processes:
            return any(SHUTTING_DOWN not in title for title in titles)
        # That of another node is seen by its PID file alone, which it removes.
        return directory.pid_file is not None and is_fresh(directory.pid_file.age)

    going = _those(ends, goes_on, outside)
    if going:
        told("a stop that was cut off", sorted(ends[name].endpoint for name in going))
        _await(going, goes_on, left, outside, clock)


def await_starts(actions: Iterable[Start | Stop], outside: Outside, clock: Clock, told: Told) -> None:
    """Wait until the starts that `actions` are behind are over, whether or not they bring up a daemon."""
    names = {action.directory: action.endpoint for action in actions}
    told("a start that is under way", list(names.values()))
    _await(set(names), lambda directory: any(is_starting(p) for p in directory.processes), START_LIMIT, outside, clock)


def await_absence(
    names: Mapping[str, str],
    outside: Outside,
    clock: Clock,
    told: Told | None = None,
    seconds: float = ABSENCE_LIMIT,
) -> None:
    """Wait until no daemon on another node can be left whose PID file is gone.

    Args:
        names: endpoints by directory.
        seconds: how long at most.
    """

    def goes_on(directory: LiveDirectory) -> bool:
        return is_left_unsaid(directory, log_end(outside.host, directory.name))

    if told:
        told("the end of a daemon on another node, if there is one", list(names.values()))
    _await(set(names), goes_on, seconds, outside, clock)


def _await(going: set[str], goes_on: GoesOn, seconds: float, outside: Outside, clock: Clock) -> None:
    deadline = clock.monotonic() + seconds
    while going and clock.monotonic() < deadline:
        clock.sleep(_LOOKS_EVERY)
        going = _those(going, goes_on, outside)


def _those(names: Iterable[str], goes_on: GoesOn, outside: Outside) -> set[str]:
    """Return the names of those directories, as they are now, for which it goes on."""
    found = [outside.host.directory(name) for name in sorted(names)]
    return {directory.name for directory in found if directory is not None and goes_on(directory)}


__all__ = ["ABSENCE_LIMIT", "await_absence", "await_cut_off_stops", "await_starts"]
