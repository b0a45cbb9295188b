"""globus-compute-endpoint's rules about daemon.pid: it is touched while its daemon lives, on whichever node."""

from __future__ import annotations

LOOKED_AT_EVERY = 15.0
"""Seconds between two looks of a daemon at its PID file: it touches it, or ends when it is gone."""

LISTED_AS_RUNNING = 30.0
"""Seconds since the last touch up to which `list` and `stop` take a PID file as that of a live daemon."""

START_REFUSES = 90.0
"""Seconds since the last touch up to which `start` does: three heartbeat periods, 30 s each unless configured."""


def is_fresh(age: float | None) -> bool:
    """Whether a PID file of that age (None: it cannot be told) is known to belong to a live daemon.

    A touch in the future was not a daemon's: only another clock than the file server's makes one.
    """
    return age is not None and -LISTED_AS_RUNNING <= age <= LISTED_AS_RUNNING


def is_stale(age: float | None) -> bool:
    """Whether a PID file of that age is known to belong to no live daemon."""
    return age is not None and age > START_REFUSES


__all__ = ["LISTED_AS_RUNNING", "LOOKED_AT_EVERY", "START_REFUSES", "is_fresh", "is_stale"]
