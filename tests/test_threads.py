"""A login node that gives no more threads: fewer do the work, and without any it is said and nothing lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler import threads
from reconciler.adapters import lease
from reconciler.cli import live
from reconciler.cli.console import Console
from reconciler.cli.live import LiveProgress, PlainProgress
from reconciler.errors import ExitCode, NoMoreThreads
from tests.core.builders import desired, endpoint
from tests.lab import YES, Lab

LIMIT = "can't start new thread"


@contextmanager
def at_most(allowed: int, name: str) -> Iterator[list[str]]:
    """Let the system give no more than `allowed` threads whose names begin with `name`; yield those that it gave."""
    given: list[str] = []
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith(name):
            if len(given) == allowed:
                raise RuntimeError(LIMIT)
            given.append(thread.name)
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", limited)
        yield given


@pytest.mark.parametrize("allowed", [1, 3, 100])
def test_fewer_threads_do_all_of_the_work(allowed: int) -> None:
    begun: list[int] = []

    def square(number: int) -> int:
        begun.append(number)
        return number * number

    with at_most(allowed, "worker") as given:
        assert threads.for_each(range(20), square, 8) == [n * n for n in range(20)]
    assert sorted(begun) == list(range(20))
    assert len(given) == min(allowed, 8)
    assert threads.for_each([], square, 8) == []


def test_without_any_nothing_is_begun() -> None:
    begun: list[int] = []
    with at_most(0, "worker"), pytest.raises(NoMoreThreads, match="no more threads") as caught:
        threads.for_each([1, 2], begun.append, 8)
    assert begun == []
    assert "ulimit -u" in (caught.value.remedy or "")


def test_a_bug_in_one_is_raised_when_all_are_done() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 0:
            raise ZeroDivisionError
        done.append(number)

    with pytest.raises(ZeroDivisionError):
        threads.for_each(range(10), work, 2)
    assert sorted(done) == list(range(1, 10))


def test_several_are_worked_on_at_the_same_time() -> None:
    together = threading.Barrier(4)
    threads.for_each(range(4), lambda _: together.wait(20), 4)


def test_an_apply_without_threads_begins_nothing_and_keeps_what_it_knows() -> None:
    lab = Lab(desired(endpoint()))
    assert lab.apply().code == ExitCode.OK
    lab.wants(endpoint(config={"debug": False}), endpoint("two"))
    before = {name: dict(folder.files) for name, folder in lab.world.folders.items()}
    ids = lab.ids()
    assert ids["main"] is not None
    with at_most(0, "worker"):
        result = lab.apply()
    assert result.code == ExitCode.PARTIAL
    failed = [o for o in result.run.outcomes if o.kind == "failed"]
    assert {o.action.endpoint for o in failed} == {"main", "two"}
    assert all("no more threads" in o.reason and "ulimit -u" in (o.remedy or "") for o in failed)
    assert {name: dict(folder.files) for name, folder in lab.world.folders.items()} == before
    assert lab.ids()["main"] == ids["main"]
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_nothing_is_deleted_without_threads() -> None:
    lab = Lab(desired(endpoint(), endpoint("two")))
    assert lab.apply().code == ExitCode.OK
    lab.wants(endpoint(config={"debug": False}))
    with at_most(0, "worker"):
        assert lab.apply(YES).code == ExitCode.PARTIAL
    assert set(lab.world.folders) == {"main", "two"}


def test_daemons_that_cannot_be_asked_about_are_unconfirmed() -> None:
    lab = Lab(desired(endpoint()))
    assert lab.apply().code == ExitCode.OK
    with at_most(0, "worker"):
        result = lab.apply()
    assert [u.endpoint for u in result.run.unconfirmed] == ["main"]
    assert "no more threads" in result.run.unconfirmed[0].reason


def test_a_plan_without_threads_says_so() -> None:
    with at_most(0, "registrations"), pytest.raises(NoMoreThreads, match="no more threads"):
        Lab(desired(endpoint())).sight()


def test_a_lease_that_nothing_would_renew_is_given_back(tmp_path: Path) -> None:
    with at_most(0, "chiltepin-lease"), pytest.raises(NoMoreThreads), lease.held(str(tmp_path), "run", time.time()):
        pytest.fail("nothing may be done under it")
    assert list(tmp_path.iterdir()) == []


def test_progress_is_plain_where_no_thread_keeps_it_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.sys.stderr, "isatty", lambda: True)
    with at_most(0, "live-view"), live.progress(Console("always"), 4) as listener:
        assert isinstance(listener, PlainProgress)
    with live.progress(Console("always"), 4) as listener:
        assert isinstance(listener, LiveProgress)
