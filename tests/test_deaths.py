"""Daemons that keep dying, over fakes: three deaths that nothing explains end the restarts."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.scope import Errand
from reconciler.errors import ExitCode
from tests.core.builders import desired, endpoint
from tests.lab import YES, Lab, Result

HOUR = 3600.0


def running(*endpoints: Any) -> Lab:
    lab = Lab(desired(*(endpoints or (endpoint(),))))
    assert lab.apply().code == ExitCode.OK
    return lab


def kill(lab: Lab, *, cleanly: bool = False) -> None:
    """End the daemon of `main` from outside."""
    (daemon,) = lab.world.daemons_of("main")
    lab.world.end(daemon, cleanly=cleanly)


def dies(lab: Lab, times: int, *, every: float = HOUR) -> Result:
    """Kill it so often, and apply after each time; return the last result."""
    for _ in range(times):
        lab.world.now += every
        kill(lab)
        lab.world.now += 60
        result = lab.apply()
    return result


def test_the_third_death_within_a_day_is_the_last() -> None:
    lab = running(endpoint(), endpoint("two"))
    assert dies(lab, 2).code == ExitCode.OK
    result = dies(lab, 1)
    assert result.code == ExitCode.REFUSED
    assert lab.world.daemons_of("main") == []
    assert len(lab.world.daemons_of("two")) == 1
    before = lab.snapshot()
    lab.world.now += 30 * 24 * HOUR  # time alone mends nothing
    assert lab.apply().code == ExitCode.REFUSED
    assert lab.snapshot() == before
    assert any("the last line of its log" in line for line in result.sight.plan.refusals[0].evidence)


@pytest.mark.parametrize("how", ["another node", "another node, gave up", "reboot", "another directory"])
def test_what_keeps_dying_is_not_started_where_its_last_death_was_not_seen(how: str) -> None:
    lab = running()
    dies(lab, 2)
    lab.world.now += HOUR
    if how.endswith("gave up"):
        lab.world.log("main", "Unhandled exception; shutting down endpoint master")
    kill(lab, cleanly=how.endswith("gave up"))
    lab.world.now += 60
    if how != "another directory":
        assert lab.apply().code == ExitCode.REFUSED
    lab.world.now += 200
    if how == "reboot":
        lab.world.reboot()
    elif how == "another directory":
        lab.wants(endpoint(directory="other"))
    else:
        lab.world.node = "ufe02"
    for _ in range(2):
        assert lab.apply().code == ExitCode.REFUSED
        assert lab.world.daemons == []
    assert lab.apply(retry=True).code == ExitCode.OK
    lab.assert_converged()


def test_retry_starts_it_and_counts_from_the_start() -> None:
    lab = running()
    dies(lab, 3)
    assert lab.apply(retry=True).code == ExitCode.OK
    lab.assert_converged()
    assert dies(lab, 2).code == ExitCode.OK
    assert dies(lab, 1).code == ExitCode.REFUSED


def test_restart_by_name_is_as_good_as_retry() -> None:
    lab = running()
    dies(lab, 3)
    assert lab.apply(errand=Errand("restart", ("main",))).code == ExitCode.OK
    lab.assert_converged()


def test_retry_of_others_is_limited_by_target() -> None:
    lab = running(endpoint(), endpoint("two"))
    dies(lab, 3)
    assert lab.apply(retry=True, targets=frozenset({"two"})).code == ExitCode.OK
    assert lab.apply().code == ExitCode.REFUSED


def test_rare_deaths_are_lived_with() -> None:
    lab = running()
    for _ in range(6):
        assert dies(lab, 1, every=12.5 * HOUR).code == ExitCode.OK
    lab.assert_converged()


@pytest.mark.parametrize("how", ["by hand", "reboot", "stopped and declared running again"])
def test_explained_ends_do_not_count(how: str) -> None:
    lab = running()
    for _ in range(5):
        lab.world.now += 60
        if how == "reboot":
            lab.world.reboot()
        elif how == "by hand":
            kill(lab, cleanly=True)
        else:
            lab.wants(endpoint(state="stopped"))
            assert lab.apply().code == ExitCode.OK
            lab.wants(endpoint())
        lab.world.now += 100
        assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_a_daemon_that_gives_up_by_itself_keeps_dying_too() -> None:
    lab = running()
    for _ in range(3):
        lab.world.log("main", "Unhandled exception; shutting down endpoint master")
        kill(lab, cleanly=True)
        code = lab.apply().code
    assert code == ExitCode.REFUSED


def test_a_clock_that_jumps_loses_deaths_and_stops_nobody_for_good() -> None:
    lab = running()
    dies(lab, 2)
    lab.world.now += 400 * 24 * HOUR  # set to next year
    assert dies(lab, 1).code == ExitCode.OK
    lab.world.now -= 400 * 24 * HOUR  # and back
    assert dies(lab, 1).code == ExitCode.OK
    assert dies(lab, 1).code == ExitCode.OK
    assert dies(lab, 1).code == ExitCode.REFUSED
    assert lab.apply(retry=True).code == ExitCode.OK


def test_deaths_outlive_crashes_of_the_apply() -> None:
    at = 0
    while True:
        at += 1
        lab = running()
        dies(lab, 1)
        lab.world.now += HOUR
        kill(lab)
        lab.world.now += 100
        crashed = lab.crash(at, starts_go_on=True)
        lab.world.now += 100
        assert lab.apply().code == ExitCode.OK, at
        assert dies(lab, 1).code == ExitCode.REFUSED, at
        if not crashed:
            return


def test_a_changed_manifest_is_written_while_it_waits_for_somebody() -> None:
    lab = running()
    dies(lab, 3)
    lab.wants(endpoint(config={"debug": False}))
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    assert result.outcomes == {("main", "WriteFile"): "done"}
    assert lab.apply(retry=True).code == ExitCode.OK
    lab.assert_converged()


def test_what_keeps_dying_can_be_deleted() -> None:
    lab = running(endpoint(), endpoint("two"))
    dies(lab, 3)
    lab.wants(endpoint("two"))
    lab.world.now += 100
    assert lab.apply(YES).code == ExitCode.OK
    assert list(lab.world.folders) == ["two"]
