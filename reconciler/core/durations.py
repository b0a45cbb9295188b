"""Durations in words for people: the largest two units, or one where that says enough."""

from __future__ import annotations


def say_duration(seconds: float) -> str:
    """Return e.g. `27m`, `1h 5m` or `40s`."""
    rest = max(0, round(seconds))
    if rest < 60:
        return f"{rest}s"
    minutes = (rest + 30) // 60
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}m"
    return f"{hours}h {minutes}m" if minutes else f"{hours}h"
