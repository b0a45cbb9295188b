"""User endpoints that are alive, and the files that they were started with. Pure."""

from __future__ import annotations

from reconciler.core.live import LiveDirectory

_GRAIN = 1.0
"""Seconds by which two ages may differ by rounding alone."""


def on_previous_template(directory: LiveDirectory) -> int:
    """Return how many user endpoints started before template, schema or user environment was last written.

    They read these files when they start, and keep what they read. Of those that run on another node it is not known.
    """
    age = directory.documents_age
    if age is None:
        return 0
    return sum(u.since is not None and u.since > age + _GRAIN for u in directory.user_endpoints)


def say_previous(count: int) -> str:
    """Return e.g. `2 user endpoints still on the previous template, until they end`."""
    return f"{count} user endpoint{'s' if count > 1 else ''} still on the previous template, until {_they(count)}"


def say_soon_previous(count: int) -> str:
    """Return the same for a template that is about to be written."""
    verb = "stay" if count > 1 else "stays"
    return f"{count} user endpoint{'s' if count > 1 else ''} {verb} on the previous template until {_they(count)}"


def _they(count: int) -> str:
    return "they end" if count > 1 else "it ends"
