"""Daemons that keep dying. Pure.

A death is explained by a stop that we are on record for, by a shutdown that the daemon's log tells of, or by a
reboot of its node. Three others within 24 h, and the next start waits for somebody who looks: a daemon that is
killed for its memory, or crashes on what it finds, would be started by cron for ever, and each time lose tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from shlex import quote

from reconciler.core.actions import Refusal
from reconciler.core.boot import would_show
from reconciler.core.daemon_log import ending
from reconciler.core.live import LiveDirectory, LiveState
from reconciler.core.machine import Moment
from reconciler.core.marker import Death, Marker

LIMIT = 3
"""So many deaths."""

WINDOW = 24 * 3600.0
"""Within so many seconds of each other."""

_SHOWN = 8


def ended_here(directory: LiveDirectory, marker: Marker, live: LiveState) -> bool:
    """Whether the daemon on record ran on this node since its last boot, and is gone."""
    record = marker.daemon
    if record is None or directory.processes:
        return False
    return would_show(record, live.host)


def unexplained(directory: LiveDirectory, marker: Marker, live: LiveState) -> Death | None:
    """Return the death of the daemon on record if nothing explains it."""
    if marker.daemon is None or marker.daemon.ended is not None or not ended_here(directory, marker, live):
        return None
    pending = live.pending.get(marker.endpoint)
    if pending is not None and pending.action in ("Stop", "Delete"):
        return None
    how = ending(live.log_ends.get(directory.name, ""))
    # Whatever ends regularly removes its PID file: without one only a log that says otherwise is evidence.
    is_explained = how == "shut down" or (directory.pid_file is None and how == "unknown")
    if is_explained:
        return None
    seen = [directory.pid_file.modified] if directory.pid_file else []
    seen += [directory.logged] if directory.logged is not None else []
    return Death(at=round(max(seen, default=0.0), 3), pid=marker.daemon.pid)


def found_ended(marker: Marker, now: Moment) -> Marker:
    """Return the marker of an endpoint whose daemon is found to have died.

    Its record stays: while the service has not missed that daemon yet, it proves that none is left. When one of
    another boot ended is not known; for this one it was long ago.
    """
    record = marker.daemon
    if record is None or record.ended is not None:
        return marker
    # Never later than now: who looks in the same tenth of a second finds that it has ended.
    ended = math.floor(now.seconds * 10) / 10 if record.boot_id == now.boot_id else 0.0
    return marker.but(daemon=record.model_copy(update={"ended": ended}))


def deaths_of(directory: LiveDirectory, marker: Marker, live: LiveState) -> tuple[Death, ...]:
    """Return the deaths on record, with the one that is not on record yet."""
    last = unexplained(directory, marker, live)
    return marker.deaths if last is None else (*marker.deaths, last)[-LIMIT:]


def too_many(deaths: tuple[Death, ...]) -> bool:
    """Whether it keeps dying.

    The deaths are compared with each other only, never with the present time: what was enough stays enough
    until somebody looks, and a clock that was set can lose a death, but not stop a healthy daemon for long.
    """
    last = [death.at for death in deaths[-LIMIT:]]
    return len(last) == LIMIT and max(last) - min(last) <= WINDOW


def keeps_dying(name: str, directory: LiveDirectory, deaths: tuple[Death, ...], logs: Mapping[str, str]) -> Refusal:
    """Refuse to start a daemon again, with the evidence."""
    lines = [line for line in logs.get(directory.name, "").splitlines() if line.strip()]
    return Refusal(
        name,
        f"its daemon died {LIMIT} times within 24 h and nothing says why, so it is not started again",
        f"look at `chiltepin logs {quote(name)}`; when the cause is mended: `chiltepin apply --retry`",
        evidence=(*(_say(death) for death in deaths), *(f"| {line}" for line in lines[-_SHOWN:])),
    )


def _say(death: Death) -> str:
    at = datetime.fromtimestamp(death.at, timezone.utc) if 0 < death.at < 1e11 else None
    return f"died {at:%Y-%m-%d %H:%M:%S} UTC, PID {death.pid}" if at else f"died, PID {death.pid}"


def recent_deaths(directory: LiveDirectory, marker: Marker, live: LiveState) -> tuple[Death, ...]:
    """Return the deaths that are still of interest: a daemon that has lived on for a day since is well."""
    deaths = deaths_of(directory, marker, live)
    if not directory.processes or directory.pid_file is None:
        return deaths
    now = directory.pid_file.modified  # touched by the living daemon a moment ago, by the same clock
    return tuple(death for death in deaths if abs(now - death.at) <= WINDOW)


def remark(deaths: tuple[Death, ...], *, alive: bool) -> str | None:
    """Return what there is to say about a daemon that dies, or None."""
    if not deaths:
        return None
    if too_many(deaths) and not alive:
        return f"its daemon died {LIMIT} times within 24 h; it is not started again until `chiltepin apply --retry`"
    times = "once" if len(deaths) == 1 else f"{len(deaths)} times"
    return f"its daemon died {times} and nothing says why; after {LIMIT} times within 24 h it is not started again"


__all__ = [
    "LIMIT",
    "WINDOW",
    "deaths_of",
    "ended_here",
    "found_ended",
    "keeps_dying",
    "recent_deaths",
    "remark",
    "too_many",
    "unexplained",
]
