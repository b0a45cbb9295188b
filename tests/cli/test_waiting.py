"""What an apply says while it waits for tasks, on a terminal and elsewhere."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from reconciler.cli.carry import _print_end
from reconciler.cli.console import Console
from reconciler.cli.live import LiveProgress, PlainProgress
from reconciler.core.actions import EndpointAction
from reconciler.core.progress import Outcome, Run
from reconciler.core.work import Work
from tests.core.builders import endpoint, settled


@pytest.fixture
def restart() -> EndpointAction:
    """The restart of an endpoint `main`."""
    scene = settled(endpoint()).wants(endpoint(config={"debug": False}))
    return scene.plan().actions[-1]


def test_a_line_a_minute_and_one_when_it_changes(restart: EndpointAction, capsys: pytest.CaptureFixture[str]) -> None:
    progress = PlainProgress(Console("never"), 4)
    for left in range(1800, 1600, -10):
        progress.wait(restart, Work(1, 2 if left > 1620 else 1), float(left))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "  waiting for 2 tasks of main, 30m left",
        "  waiting for 2 tasks of main, 29m left",
        "  waiting for 2 tasks of main, 28m left",
        "  waiting for 1 task of main, 27m left",
    ]


def test_the_end_says_what_to_do_about_what_was_deferred(
    restart: EndpointAction, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(outcomes=(Outcome(restart, "deferred", reason="busy", remedy="run it again"),))
    _print_end(Console("never"), SimpleNamespace(where="ufe01"), run)  # type: ignore[arg-type]
    assert capsys.readouterr().err == ("main: Restart deferred; next: run it again\nApplied on ufe01: 1 deferred.\n")


def test_quiet_says_nothing(restart: EndpointAction, capsys: pytest.CaptureFixture[str]) -> None:
    PlainProgress(Console("never", quiet=True), 4).wait(restart, Work(1), 60.0)
    assert capsys.readouterr().err == ""


def test_the_live_table_shows_it_until_it_ends(restart: EndpointAction) -> None:
    progress = LiveProgress(Console("never"), 4)
    progress.wait(restart, Work(1, 2), 1800.0)
    (cell,) = progress.table().columns[1].cells
    assert str(cell) == "waiting for 2 tasks of main, 30m left"
    progress.end(Outcome(restart, "deferred", reason="busy"))
    assert progress.table().row_count == 0
