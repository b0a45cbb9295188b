"""User endpoints on the previous template: said, and nothing is done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.desired import TEMPLATE
from reconciler.core.live import LiveDirectory
from reconciler.core.statuses import status_rows
from reconciler.core.user_endpoints import on_previous_template
from tests.core.builders import applied, edited, endpoint, settled, with_user_endpoints


def below(*since: float | None, written: float | None = 100.0) -> LiveDirectory:
    """Return a directory with user endpoints of these ages, and files of that age."""
    directory = with_user_endpoints(applied(endpoint()), len(since))
    found = tuple(replace(u, since=age) for u, age in zip(directory.user_endpoints, since, strict=True))
    return replace(directory, user_endpoints=found, documents_age=written)


@pytest.mark.parametrize(
    ("directory", "count"),
    [
        (below(200.0, 101.5, 50.0), 2),
        (below(100.5), 0),  # a rounding
        (below(None), 0),  # on another node
        (below(200.0, written=None), 0),
        (below(), 0),
    ],
)
def test_those_that_started_before_the_files_were_written(directory: LiveDirectory, count: int) -> None:
    assert on_previous_template(directory) == count


def test_plan_and_status_say_it_and_nothing_is_planned() -> None:
    scene = settled(endpoint()).has(below(200.0, 300.0))
    assert scene.plan().is_empty
    assert "main: 2 user endpoints still on the previous template, until they end" in scene.text()
    (row,) = status_rows(scene.desired, scene.live, scene.known.lock)
    assert row.on_previous_template == 2
    assert row.notes == ("2 user endpoints still on the previous template, until they end",)


def test_a_template_that_is_about_to_change_and_a_restart_that_ends_them() -> None:
    changed = edited(below(200.0), TEMPLATE, b"engine: {}\n")
    scene = settled(endpoint()).has(changed)
    assert "main: 1 user endpoint stays on the previous template until it ends" in scene.text()
    assert "previous template" not in scene.wants(endpoint(config={"debug": False}, restart="now")).text()
