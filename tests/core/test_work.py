"""What a daemon is busy with, in words."""

from __future__ import annotations

import pytest

from reconciler.core.work import Work

FULL = Work(2, 3, ("17", "18"), ("its batch jobs could not be counted: squeue failed",))


@pytest.mark.parametrize(
    ("work", "why", "waited", "losses"),
    [
        (
            Work(1),
            "1 user endpoint is alive below it, and tasks may be running",
            "1 user endpoint",
            "1 user endpoint and any task of it",
        ),
        (
            Work(2, 1),
            "2 user endpoints are alive below it, 1 task is outstanding",
            "1 task",
            "2 user endpoints and 1 task (as last reported)",
        ),
        (Work(jobs=("17",)), "1 batch job is in the queue (17)", "1 batch job", "1 batch job (17)"),
        (Work(uncounted=("no answer",)), "no answer", "no answer", "no answer"),
        (
            FULL,
            (
                "2 user endpoints are alive below it, 3 tasks are outstanding, 2 batch jobs are in the queue (17, 18), "
                "its batch jobs could not be counted: squeue failed"
            ),
            "3 tasks",
            (
                "2 user endpoints, 3 tasks (as last reported) and 2 batch jobs (17, 18); "
                "its batch jobs could not be counted: squeue failed"
            ),
        ),
    ],
)
def test_whatever_is_there_makes_it_busy_and_is_said(work: Work, why: str, waited: str, losses: str) -> None:
    assert not work.is_idle
    assert (work.why_busy(), work.waited_for(), work.losses()) == (why, waited, losses)


def test_idle_is_only_what_is_certainly_nothing() -> None:
    assert Work().is_idle
    assert Work().why_busy() == ""
