"""What the service says of a daemon that was killed is not taken for a word about the one after it."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from reconciler.core.elsewhere import MISSED_WITHIN
from reconciler.core.live import Process, Status
from reconciler.errors import ExitCode, FileSystemError
from tests.core.builders import desired, endpoint
from tests.fakes import CONNECTS_AFTER, GREETS_AFTER, MISSES_AFTER, READY, Daemon, FakeHost, FakeService, World
from tests.lab import Lab

MAIN = endpoint()


LOSES_IT = "_on_connection_closed ResultPublisher<✗; o:0; t:0> Unable to sustain connection; retrying ..."
UNKNOWN = "run (GlobusAPIError) 401\n    Failed to determine identity set; try `whoami` command?"


@pytest.fixture
def lab() -> Lab:
    """A lab whose daemon was killed a moment ago: the service has not missed it."""
    found = Lab(desired(MAIN))
    assert found.apply().code == ExitCode.OK
    (daemon,) = found.world.daemons
    found.world.end(daemon, cleanly=False)
    assert found.world.online(daemon.id or "")
    return found


def test_an_apply_waits_until_the_new_daemon_is_connected(lab: Lab) -> None:
    began = lab.world.now
    assert lab.apply().code == ExitCode.OK
    assert CONNECTS_AFTER < lab.world.now - began < MISSES_AFTER
    lab.assert_converged()


def test_one_that_does_not_connect_is_told_of_by_each_apply(lab: Lab) -> None:
    lab.world.connects_after = math.inf
    result = lab.apply()
    (daemon,) = lab.world.daemons
    assert lab.world.online(daemon.id or "")
    assert result.code == ExitCode.PARTIAL
    (failed,) = (o for o in result.run.outcomes if o.kind == "failed")
    assert "its log did not say yet that it is connected" in (failed.reason or "")
    assert lab.apply().code == ExitCode.PARTIAL
    lab.world.now += MISSES_AFTER
    assert lab.apply().code == ExitCode.PARTIAL
    daemon.connects = lab.world.now
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.world.daemons == [daemon]


def test_one_that_runs_already_is_heard_itself_too(lab: Lab) -> None:
    """It was started by hand, or by `--wait started`, just before: no intent of a start is open."""
    (entry,) = lab.desired.endpoints
    daemon = lab.world.spawn(entry, lab.ids()[entry])
    lab.world.bring_up(daemon)
    daemon.connects = math.inf
    result = lab.apply()
    assert result.code == ExitCode.PARTIAL
    assert [u.reason for u in result.run.unconfirmed] != []
    daemon.connects = lab.world.now
    assert lab.apply().code == ExitCode.OK


def test_one_that_ends_right_after_its_connection_is_not_taken_for_online(lab: Lab) -> None:
    def dies() -> None:
        for daemon in [d for d in lab.world.daemons if d.is_ready]:
            lab.world.end(daemon, cleanly=False)
            lab.world.slept = lambda: None

    lab.world.slept = dies
    result = lab.apply()
    assert result.code == ExitCode.PARTIAL
    assert "the daemon ended" in str([o.reason for o in result.run.outcomes])
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


@pytest.mark.parametrize("message", [LOSES_IT, UNKNOWN])
def test_one_that_loses_its_connection_before_its_first_heartbeat_is_not_taken_for_online(
    lab: Lab, message: str
) -> None:
    def loses() -> None:
        for daemon in [d for d in lab.world.daemons if d.is_ready and d.connects not in (None, math.inf)]:
            daemon.connects = math.inf
            lab.world.says(daemon, message)

    lab.world.slept = loses
    assert lab.apply().code == ExitCode.PARTIAL
    assert lab.apply().code == ExitCode.PARTIAL
    (daemon,) = lab.world.daemons
    lab.world.slept = lambda: None
    lab.world.says(daemon, READY)
    daemon.connects = lab.world.now + GREETS_AFTER
    assert (lab.apply().code == ExitCode.OK) is (message == LOSES_IT)
    assert lab.world.daemons == [daemon]


@pytest.mark.parametrize("inner", [None, (101,)])
def test_what_the_one_before_it_said_is_not_believed_for_long(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, inner: tuple[int, ...] | None
) -> None:
    """Its own session begins a moment after it is up; until then another one's with its PID is the last one there."""
    (old,) = re.findall(r"MainProcess-(\d+) .*Ready", lab.world.logs["main"])
    lab.world.connects_after = 6.0
    process, bring_up = Daemon.process, World.bring_up

    def is_not_told_apart(daemon: Daemon) -> Process:
        return replace(process.__get__(daemon), inner_pids=inner and (int(old),))

    def begins_later(world: World, daemon: Daemon) -> None:
        log = world.logs["main"]
        bring_up(world, daemon)
        came, world.logs["main"], up = world.logs["main"][len(log) :], log, world.now

        def begins() -> None:
            if world.now > up + 0.05:
                world.logs["main"] = log + came
                world.slept = lambda: None

        world.slept = begins

    monkeypatch.setattr(Daemon, "process", property(is_not_told_apart))
    monkeypatch.setattr(World, "bring_up", begins_later)
    assert lab.apply().code == ExitCode.OK
    assert "begins" in lab.world.logs["main"].splitlines()[-2]


@pytest.mark.parametrize("how", ["fails", "is rotated"])
def test_what_its_log_said_last_stands_while_the_log_cannot_be_read(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    lab.world.connects_after = math.inf
    log_tail, began = FakeHost.log_tail, lab.world.now

    def is_gone_at_the_deadline(host: FakeHost, name: str, lines: int) -> str:
        if lab.world.now - began < 8.0:
            return log_tail(host, name, lines)
        if how == "fails":
            raise FileSystemError("stale file handle", where="endpoint.log")
        return ""

    monkeypatch.setattr(FakeHost, "log_tail", is_gone_at_the_deadline)
    assert lab.apply().code == ExitCode.PARTIAL


def test_where_the_log_cannot_be_read_the_service_is_believed_in_the_end(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise FileSystemError("permission denied", where="endpoint.log")

    monkeypatch.setattr(FakeHost, "log_tail", fails)
    began = lab.world.now
    assert lab.apply().code == ExitCode.OK
    assert lab.world.now - began > CONNECTS_AFTER


def test_its_log_is_read_until_it_is_connected_and_no_longer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is one more question to the service, when it has had the time for its first heartbeat."""
    lab.world.connects_after = GREETS_AFTER  # it is connected as soon as it is up
    read, asked = list[str](), list[str]()
    log_tail, status = FakeHost.log_tail, FakeService.status

    def counts(host: FakeHost, name: str, lines: int) -> str:
        read.append(name)
        return log_tail(host, name, lines)

    def counts_too(service: FakeService, endpoint_id: str) -> Status | None:
        asked.append(endpoint_id)
        return status(service, endpoint_id)

    monkeypatch.setattr(FakeHost, "log_tail", counts)
    assert lab.sight()
    read.clear()
    monkeypatch.setattr(FakeService, "status", counts_too)
    assert lab.apply().code == ExitCode.OK
    assert len(read) == 3  # once to see how the one before ended, once more after its first heartbeat
    assert len(asked) == 2


def test_nothing_is_read_of_a_daemon_that_is_older_than_the_service_is_late(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab.apply().code == ExitCode.OK
    (daemon,) = lab.world.daemons
    daemon.since -= MISSED_WITHIN + 1
    monkeypatch.setattr(FakeHost, "log_tail", lambda *_: pytest.fail("its log was read"))
    began = lab.world.now
    assert lab.apply().code == ExitCode.OK
    assert lab.world.now == began
