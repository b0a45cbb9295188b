"""Durations in words."""

from __future__ import annotations

import pytest

from reconciler.core.durations import say_duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "0s"), (0.4, "0s"), (59, "59s"), (60, "1m"), (27 * 60 - 10, "27m"), (3600, "1h"), (3900, "1h 5m")],
)
def test_durations(seconds: float, said: str) -> None:
    assert say_duration(seconds) == said
