"""A run is killed while it ends a daemon: whether the signal was sent shows a second later."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.scope import Errand
from reconciler.errors import ExitCode
from reconciler.online import GREETS, GREETS_WITHIN
from reconciler.under_way import STOP_LIMIT
from tests.core.builders import desired, endpoint, pool
from tests.fakes import Crash, FakeClock
from tests.lab import YES, Lab

MAIN = endpoint(restart="now")
MPI = (pool("mpi"),)
ENDS: dict[str, dict[str, Any]] = {
    "a stop": {"endpoints": (endpoint(state="stopped", restart="now"),)},
    "a restart by hand": {"endpoints": (MAIN,), "errand": Errand("restart", ("main",))},
    "a delete": {"endpoints": ()},
}


def killed_at(point: str, endpoints: tuple[Any, ...], errand: Errand | None = None) -> Lab:
    """Return a lab with a daemon, in which a run that was to end it was killed when it passed `point`."""
    for at in range(1, 100):
        lab = Lab(desired(MAIN, pools=MPI))
        assert lab.apply().code == ExitCode.OK
        FakeClock(lab.world).sleep(GREETS_WITHIN)
        lab.wants(*endpoints, pools=MPI if endpoints else ())
        faults = lab.world.faults
        faults.passed.clear()
        faults.crash_at = at
        with pytest.raises(Crash):
            lab.apply(YES, errand=errand) if errand else lab.apply(YES)
        if faults.passed[-1] == point:
            lab.world.after_crash(starts_go_on=True)
            lab.wants(MAIN, pools=MPI)
            return lab
    raise AssertionError(f"no run passes {point}")


@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS)
def test_a_daemon_that_was_sent_its_signal_is_not_taken_for_one_that_goes_on(case: dict[str, Any]) -> None:
    """One apply is enough: the next plan is empty, and stays so when the daemon has noticed."""
    lab = killed_at("stop:after", **case)
    before = lab.world.daemons[0].pid
    assert lab.apply().code == ExitCode.OK
    assert [d.pid for d in lab.world.daemons] != [before]
    lab.assert_converged()


@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS)
def test_a_daemon_that_was_not_sent_it_goes_on(case: dict[str, Any]) -> None:
    lab = killed_at("stop:before", **case)
    before = lab.world.daemons[0].pid
    began = lab.world.now
    assert lab.apply().code == ExitCode.OK
    assert [d.pid for d in lab.world.daemons] == [before]
    assert STOP_LIMIT - 1 <= lab.world.now - began <= STOP_LIMIT + 1
    lab.assert_converged()


def test_what_was_cut_off_long_ago_is_not_waited_for() -> None:
    lab = killed_at("stop:before", **ENDS["a stop"])
    FakeClock(lab.world).sleep(STOP_LIMIT)
    began = lab.world.now
    assert lab.apply().code == ExitCode.OK
    assert lab.world.now == began
    lab.assert_converged()


def test_a_clock_that_was_set_back_does_not_prolong_the_wait() -> None:
    lab = killed_at("stop:before", **ENDS["a stop"])
    lab.world.now -= 3600
    began = lab.world.now
    assert lab.apply().code == ExitCode.OK
    assert lab.world.now - began <= STOP_LIMIT + GREETS + 1


def test_a_plan_says_that_a_stop_was_cut_off() -> None:
    lab = killed_at("stop:after", **ENDS["a stop"])
    assert [note.text for note in lab.sight().plan.notes] == [
        "a run that was to end its daemon was cut off: if it ends, an apply starts it again"
    ]
    assert lab.apply().code == ExitCode.OK
    assert lab.sight().plan.notes == ()


def test_a_daemon_that_ends_on_another_node_is_waited_for_too() -> None:
    lab = killed_at("stop:after", **ENDS["a stop"])
    lab.world.node = "ufe02"
    assert lab.apply().code == ExitCode.OK
    assert [d.node for d in lab.world.daemons] == ["ufe02"]
    lab.assert_converged()
