"""A daemon's main thread hangs: no signal reaches it, and the loss of its PID file does (`reconciler/ending.py`)."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler import by_hand
from reconciler.conduct import Conduct
from reconciler.core.marker import Marker
from reconciler.core.scope import Errand
from reconciler.ending import LEAVE, UNHEEDED_AFTER, end_daemon
from reconciler.errors import ExitCode
from tests import fakes
from tests.core.builders import desired, endpoint
from tests.fakes import MISSES_AFTER, Crash, Daemon, FakeClock, FakeHost
from tests.lab import YES, Lab
from tests.test_cut_off_stops import ENDS as ENDS_OF_MAIN
from tests.test_cut_off_stops import MAIN, MPI

ENDS = {**ENDS_OF_MAIN, "a restart": {"endpoints": (endpoint(restart="now", config={}),)}}


def deaf() -> Lab:
    """Return a lab with a daemon whose main thread hangs."""
    lab = Lab(desired(MAIN, pools=MPI))
    assert lab.apply().code == ExitCode.OK
    lab.world.daemons[0].deaf = True
    return lab


def carry_out(lab: Lab, endpoints: tuple[Any, ...], errand: Errand | None = None) -> ExitCode:
    lab.wants(*endpoints, pools=MPI if endpoints else ())
    return (lab.apply(YES, errand=errand) if errand else lab.apply(YES)).code


@pytest.mark.parametrize("races", [0, 1], ids=["", "it touched the file at that moment"])
@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS)
def test_it_is_ended_by_its_pid_file(case: dict[str, Any], races: int) -> None:
    lab = deaf()
    (before,) = lab.world.daemons
    lab.world.touches_that_race = races
    began = lab.world.now
    assert carry_out(lab, **case) == ExitCode.OK
    assert before not in lab.world.daemons
    assert lab.world.now - began <= Conduct.stop_timeout
    assert {d.id for d in lab.world.daemons} <= {before.id}
    lab.assert_converged()


def test_a_daemon_that_shuts_down_keeps_its_pid_file() -> None:
    """It ends its user endpoints: without its PID file it would be killed on the way."""
    lab = deaf()
    (daemon,) = lab.world.daemons
    process = daemon.process
    daemon.phase = "stopping"
    assert not end_daemon(FakeHost(lab.world), FakeClock(lab.world), "main", process, 60)
    assert lab.world.folders["main"].pid == daemon.pid
    assert lab.world.daemons == [daemon]


def test_the_pid_file_of_another_daemon_stays() -> None:
    lab = deaf()
    process = lab.world.daemons[0].process
    lab.world.folders["main"].pid = 4_000_000
    assert not end_daemon(FakeHost(lab.world), FakeClock(lab.world), "main", process, 60)
    assert lab.world.folders["main"].pid == 4_000_000


def test_one_that_is_given_less_time_keeps_it() -> None:
    lab = deaf()
    (daemon,) = lab.world.daemons
    assert not end_daemon(FakeHost(lab.world), FakeClock(lab.world), "main", daemon.process, UNHEEDED_AFTER)
    assert lab.world.folders["main"].pid == daemon.pid


def seen(lab: Lab) -> int:
    """Return how many user endpoints the host sees."""
    directory = lab.world.read("main")
    assert directory is not None
    return len(directory.user_endpoints)


def test_its_user_endpoints_are_waited_for() -> None:
    """A new daemon that is told to start one that is still ending makes the tasks fail that wait for it."""
    lab = deaf()
    (before,) = lab.world.daemons
    lab.world.user_endpoints["main"] = 2
    there: list[int] = []
    spawn = lab.world.spawn

    def spawned(name: str, endpoint_id: str | None) -> Daemon:
        there.append(seen(lab))
        return spawn(name, endpoint_id)

    lab.world.spawn = spawned  # type: ignore[method-assign]
    assert carry_out(lab, (endpoint(restart="now", config={}),)) == ExitCode.OK
    assert before not in lab.world.daemons
    assert there == [0]


def test_user_endpoints_that_stay_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "LINGERS_FOR", 1000.0)
    lab = deaf()
    (daemon,) = lab.world.daemons
    lab.world.user_endpoints["main"] = 1
    began = lab.world.now
    assert end_daemon(FakeHost(lab.world), FakeClock(lab.world), "main", daemon.process, 60)
    assert seen(lab) == 1
    assert lab.world.now - began <= 60 + LEAVE + 1


def test_by_hand() -> None:
    lab = deaf()
    by_hand.stop(lab.world.outside, FakeClock(lab.world), "main", seconds=60)
    assert lab.world.daemons == []
    assert lab.world.folders["main"].pid is None


@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS)
def test_killed_anywhere_on_the_way(case: dict[str, Any]) -> None:
    """What a killed run began goes on: the next apply that finds the daemon at its end waits or says so."""
    for at in range(1, 200):
        lab = deaf()
        faults = lab.world.faults
        faults.passed.clear()
        faults.crash_at = at
        try:
            carry_out(lab, **case)
        except Crash:
            lab.world.after_crash(starts_go_on=True)
        else:
            assert "take_pid_file:after" in faults.passed
            return
        code = carry_out(lab, **case)
        # 4: it said no goodbye, and the service has not missed it yet.
        assert code in {ExitCode.OK, ExitCode.DEFERRED, ExitCode.REFUSED}
        marker = lab.world.folders["main"].marker if "main" in lab.world.folders else None
        assert not isinstance(marker, Marker) or marker.deaths == ()  # it did not die of itself
        if code != ExitCode.OK:
            lab.world.now += MISSES_AFTER
            assert carry_out(lab, **case) == ExitCode.OK
        assert len(lab.world.daemons) == (0 if case["endpoints"] in ((), ENDS["a stop"]["endpoints"]) else 1)
        assert len(lab.world.registrations) == 1
        lab.assert_converged()
    raise AssertionError("it does not end")
