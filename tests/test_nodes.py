"""Login nodes that share a home, over fakes: daemons on other nodes, run_on, and a lease that passes on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from reconciler import by_hand
from reconciler.core.actions import Start
from reconciler.core.desired import DesiredEndpoint, HostView, Moved
from reconciler.core.elsewhere import ABSENT_FOR
from reconciler.core.marker import Marker
from reconciler.core.pid_file import LISTED_AS_RUNNING, LOOKED_AT_EVERY
from reconciler.core.saved_plan import save_plan
from reconciler.core.scope import Errand, Scope
from reconciler.errors import EndpointCommandError, ExitCode, FileSystemError, ServiceUnreachable, TimedOut
from tests.core.builders import desired, endpoint, pool
from tests.fakes import CONNECTS_AFTER, MISSES_AFTER, Daemon, FakeClock, FakeHost, FakeService
from tests.lab import YES, Lab

DEBUG_OFF = endpoint(config={"debug": False})
DOWN = ServiceUnreachable("no answer")
BOTH = pytest.mark.parametrize("starts_go_on", [True, False], ids=["starts go on", "starts die"])


def on_ufe01() -> Lab:
    """Return a lab in which the daemon runs on ufe01, and the user is on ufe02 now."""
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    lab.world.node = "ufe02"
    return lab


def start_by_hand(lab: Lab, endpoint_id: str | None, node: str = "ufe03") -> Daemon:
    """Somebody starts the endpoint on another node by hand."""
    here, lab.world.node = lab.world.node, node
    new = lab.world.spawn("main", endpoint_id)
    lab.world.register(new)
    lab.world.bring_up(new)
    lab.world.node = here
    return new


def move_to_ufe03(lab: Lab) -> Daemon:
    """Somebody stops it where it runs, and starts it on ufe03, by hand."""
    (old,) = lab.world.daemons_of("main")
    lab.world.end(old, cleanly=True)
    return start_by_hand(lab, old.id)


def loses_its_pid_file(lab: Lab, daemon: Daemon) -> None:
    """The daemon has no connection, so that the service does not see it, and somebody removes its PID file."""
    daemon.connects = math.inf
    lab.world.folders["main"].pid = None


def left_on_ufe01() -> tuple[Lab, Daemon]:
    """Return a lab whose user is on ufe02, and the daemon on ufe01, which has just lost its PID file."""
    lab = on_ufe01()
    (daemon,) = lab.world.daemons_of("main")
    loses_its_pid_file(lab, daemon)
    return lab, daemon


def found_ended_on_ufe01() -> Lab:
    """Return a lab whose user is on ufe02, where an apply found that the daemon had died, and could not start it."""
    lab = on_ufe01()
    (daemon,) = lab.world.daemons_of("main")
    lab.world.end(daemon, cleanly=False)
    lab.world.missed.clear()
    lab.world.now += 120
    lab.world.faults.fail("start", EndpointCommandError("no"))
    assert lab.apply().outcomes == {("main", "ClearStalePid"): "done", ("main", "Start"): "failed"}
    lab.world.faults.revive()
    return lab


def node_of(lab: Lab) -> str:
    """Return where the one daemon runs."""
    (daemon,) = lab.world.daemons_of("main")
    assert daemon.phase == "up"
    return daemon.node


def requests(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by each single question that the service is asked from now on."""
    asked: list[str] = []
    for name in ("status", "get"):
        original = getattr(FakeService, name)

        def note(self: FakeService, endpoint_id: str, *, name: str = name, original: object = original) -> object:
            asked.append(name)
            return original(self, endpoint_id)  # type: ignore[operator]

        monkeypatch.setattr(FakeService, name, note)
    return asked


# --- running on another node


def test_running_on_another_node_is_satisfied(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = on_ufe01()
    lab.assert_converged()
    assert node_of(lab) == "ufe01"
    asked = requests(lab, monkeypatch)
    (note,) = lab.sight().plan.notes
    assert note.text.startswith("its daemon runs on ufe01, another node of this home directory, since ")
    assert asked == [], "the record and a fresh PID file say it all"
    assert lab.apply().code == ExitCode.OK
    assert asked == ["status"], "an apply observes that it is online"


def test_running_on_another_node_but_not_seen_by_the_service() -> None:
    lab = on_ufe01()
    lab.world.sees_daemons = False
    before = lab.snapshot()
    result = lab.apply()
    assert result.code == ExitCode.PARTIAL
    assert [u.endpoint for u in result.run.unconfirmed] == ["main"]
    assert lab.snapshot() == before


def test_started_by_hand_on_another_node_becomes_ours_where_it_is() -> None:
    lab = on_ufe01()
    new = move_to_ufe03(lab)
    lab.world.now += CONNECTS_AFTER
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    marker = lab.world.folders["main"].marker
    assert isinstance(marker, Marker)
    assert marker.daemon is not None
    assert (node_of(lab), marker.daemon.host, marker.daemon.pid) == ("ufe03", "ufe03", new.pid)


def test_another_node_that_crashed_is_replaced_when_that_is_certain() -> None:
    lab = on_ufe01()
    (daemon,) = lab.world.daemons_of("main")
    lab.world.end(daemon, cleanly=False)
    lab.world.missed.clear()  # the service has noticed at once
    assert lab.apply().code == ExitCode.PARTIAL, "its PID file is fresh, and the service does not see it"
    assert lab.world.daemons_of("main") == []
    lab.world.now += 50
    assert lab.apply().code == ExitCode.DEFERRED, "it may hang for a moment"
    assert lab.world.daemons_of("main") == []
    lab.world.now += 50
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert node_of(lab) == "ufe02"


def test_another_node_while_the_service_is_down() -> None:
    lab = on_ufe01()
    (daemon,) = lab.world.daemons_of("main")
    lab.world.end(daemon, cleanly=False)
    lab.world.now += 1000
    lab.world.service_down = True
    assert lab.apply().code == ExitCode.UNREACHABLE
    assert lab.world.daemons_of("main") == []


def test_a_reboot_of_this_node_is_no_other_node() -> None:
    """It waits until the service has missed the old daemon, and starts then: it might be another machine."""
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    lab.world.reboot()
    lab.world.now += LISTED_AS_RUNNING + 1
    assert lab.world.online(lab.ids()["main"] or "")
    result = lab.apply()
    assert (result.code, result.outcomes) == (ExitCode.DEFERRED, {("main", "Start"): "deferred"})
    lab.world.service_down = True
    assert lab.apply().code == ExitCode.UNREACHABLE
    assert lab.world.daemons == []
    lab.world.service_down = False
    lab.world.now += MISSES_AFTER
    result = lab.apply()
    assert result.outcomes == {("main", "ClearStalePid"): "done", ("main", "Start"): "done"}
    lab.assert_converged()


# --- a PID file that was removed on another node, where the service does not see the daemon


@pytest.mark.parametrize("by_hand", [False, True], ids=["on record", "started by hand"])
@pytest.mark.parametrize("home", ["ufe01", "ufe02"])
def test_a_daemon_that_has_just_lost_its_pid_file_is_not_doubled(by_hand: bool, home: str) -> None:
    """It has no connection, and lives until it looks for the file: a new one would bring that back."""
    lab = on_ufe01()
    (daemon,) = lab.world.daemons_of("main")
    if by_hand:
        lab.world.node = home
        daemon = move_to_ufe03(lab)
    loses_its_pid_file(lab, daemon)
    (start,) = lab.sight().plan.actions
    assert isinstance(start, Start)
    assert "a daemon on another node lives until it looks for it" in (start.hold or "")
    assert lab.world.daemons_of("main") == [daemon]
    result = lab.apply()
    assert (result.code, result.outcomes) == (ExitCode.OK, {("main", "Start"): "done"})
    (new,) = lab.world.daemons_of("main")
    assert new.pid != daemon.pid
    lab.assert_converged()


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_kept_plan_holds_although_a_daemon_might_have_been_left(seconds: float) -> None:
    """Whether one is left passes with the seconds, and is looked at again by the apply."""
    lab, daemon = left_on_ufe01()
    kept = save_plan(lab.sight().plan, Scope(), frozenset(), "00" * 16)
    lab.world.now += seconds
    result = lab.apply(reviewed=kept)
    assert (result.code, result.outcomes) == (ExitCode.OK, {("main", "Start"): "done"})
    assert daemon not in lab.world.daemons
    lab.assert_converged()


def test_one_whose_log_says_that_it_ended_is_not_waited_for() -> None:
    lab = on_ufe01()
    (daemon,) = lab.world.daemons_of("main")
    lab.world.end(daemon, cleanly=True)
    began = lab.world.now
    assert lab.apply().outcomes == {("main", "Start"): "done"}
    assert lab.world.now - began < LOOKED_AT_EVERY
    lab.assert_converged()


def test_without_a_log_that_can_be_read_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> str:
        raise FileSystemError("permission denied", where="endpoint.log")

    lab = on_ufe01()
    (daemon,) = lab.world.daemons_of("main")
    lab.world.end(daemon, cleanly=True)
    monkeypatch.setattr(FakeHost, "log_tail", fails)
    began = lab.world.now
    assert lab.apply().outcomes == {("main", "Start"): "done"}
    assert lab.world.now - began > LOOKED_AT_EVERY
    lab.assert_converged()


def test_where_the_service_does_not_tell_of_the_last_start_it_is_waited_for() -> None:
    lab = on_ufe01()
    lab.world.node = "ufe01"
    daemon = move_to_ufe03(lab)
    loses_its_pid_file(lab, daemon)
    lab.world.faults.fail("get", DOWN)
    (start,) = lab.sight().plan.actions
    assert isinstance(start, Start)
    assert "a daemon on another node lives until it looks for it" in (start.hold or "")
    lab.world.faults.revive()


@pytest.mark.parametrize("first", ["the older", "the newer"])
@pytest.mark.parametrize("by_hand_too", [False, True], ids=["apply", "endpoint start"])
def test_of_two_both_have_to_say_that_they_ended(first: str, by_hand_too: bool) -> None:
    """Each looks for the PID file at another moment; and the service may say offline for what the first one said."""
    lab = on_ufe01()
    (old,) = lab.world.daemons_of("main")
    new = start_by_hand(lab, old.id)
    lab.world.folders["main"].pid = None
    ends, goes_on = (old, new) if first == "the older" else (new, old)
    lab.world.end(ends, cleanly=True)
    lab.world.missed.clear()
    goes_on.connects = math.inf
    if by_hand_too:
        by_hand.start(lab.world.outside, FakeClock(lab.world), "main", patience=60.0)
    else:
        assert lab.apply().code == ExitCode.OK
    assert [d.node for d in lab.world.daemons_of("main")] == ["ufe02"]
    lab.assert_converged()


def test_of_two_the_one_of_another_node_may_be_left_while_the_one_here_ends() -> None:
    """The remedy for two that run at once: their PID file is removed, and each looks for it at another moment."""
    lab = Lab(desired(endpoint()))
    assert lab.apply().code == ExitCode.OK
    (old,) = lab.world.daemons_of("main")
    new = start_by_hand(lab, old.id)
    assert lab.sight().plan.refusals
    lab.world.folders["main"].pid = None
    new.connects = math.inf
    assert [(a.kind, bool(a.hold)) for a in lab.sight().plan.actions if isinstance(a, Start)] == [("Start", True)]
    assert lab.apply().code == ExitCode.OK
    assert node_of(lab) == lab.world.node
    assert not {old.pid, new.pid} & {d.pid for d in lab.world.daemons}
    lab.assert_converged()


def test_what_loses_its_pid_file_here_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last start was here, so that nobody else is left: it is ended, and started again."""
    lab = Lab(desired(endpoint()))
    assert lab.apply().code == ExitCode.OK
    lab.world.folders["main"].pid = None
    asked = requests(lab, monkeypatch)
    assert [(a.kind, a.hold) for a in lab.sight().plan.actions if isinstance(a, Start)] == [("Start", None)]
    assert asked.count("get") <= 1
    began = lab.world.now
    assert lab.apply().code == ExitCode.OK
    assert lab.world.now - began < LOOKED_AT_EVERY
    lab.assert_converged()


def test_lines_of_a_log_that_are_not_seen_yet_end_no_wait() -> None:
    """What a node appends to an open file is seen by others only after a while."""
    lab = on_ufe01()
    (first,) = lab.world.daemons_of("main")
    lab.world.end(first, cleanly=True)
    seen = lab.world.logs["main"]
    assert lab.apply().code == ExitCode.OK
    (second,) = lab.world.daemons_of("main")
    lab.world.logs["main"] = seen
    lab.world.node = "ufe01"
    loses_its_pid_file(lab, second)
    assert lab.apply().code == ExitCode.OK
    assert node_of(lab) == "ufe01"
    assert second not in lab.world.daemons


def test_a_start_by_hand_after_one_that_was_found_to_have_ended_is_another_one() -> None:
    lab = found_ended_on_ufe01()
    loses_its_pid_file(lab, start_by_hand(lab, lab.ids()["main"], node="ufe01"))
    assert lab.apply().code == ExitCode.OK
    assert node_of(lab) == "ufe02"


def test_where_it_cannot_be_told_when_the_file_went_it_may_have_been_just_now(monkeypatch: pytest.MonkeyPatch) -> None:
    lab, daemon = left_on_ufe01()
    original = FakeHost.directory

    def ageless(host: FakeHost, name: str) -> object:
        found = original(host, name)
        return replace(found, changed=None) if found else None

    monkeypatch.setattr(FakeHost, "directory", ageless)
    by_hand.start(lab.world.outside, FakeClock(lab.world), "main", patience=60.0)
    assert node_of(lab) == "ufe02"
    assert daemon not in lab.world.daemons


def test_by_hand_a_wait_that_would_take_too_long_is_said() -> None:
    lab, daemon = left_on_ufe01()
    began = lab.world.now
    with pytest.raises(TimedOut, match="cannot be started yet") as caught:
        by_hand.start(lab.world.outside, FakeClock(lab.world), "main", patience=1.0)
    assert "a daemon on another node lives until it looks for it" in (caught.value.why or "")
    assert lab.world.now - began < 3
    assert lab.world.daemons == [daemon]


@pytest.mark.parametrize("how", ["localhost", "it is not found"])
def test_where_the_last_start_was_on_nobody_knows_which_node_it_is_waited_for(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = on_ufe01()
    lab.world.node = "ufe01"
    daemon = move_to_ufe03(lab)
    loses_its_pid_file(lab, daemon)
    registration = lab.world.registrations[daemon.id or ""]
    if how == "localhost":
        lab.world.registrations[registration.id] = replace(registration, hostname="localhost.localdomain")
    else:
        monkeypatch.setattr(FakeService, "get", lambda *_: None)
    assert lab.apply().code == ExitCode.OK
    assert len(lab.world.daemons_of("main")) == 1
    assert daemon not in lab.world.daemons


def test_its_last_word_ends_the_wait() -> None:
    lab, daemon = left_on_ufe01()
    began = lab.world.now

    def ends() -> None:
        if lab.world.now > began + 2 and daemon in lab.world.daemons:
            lab.world.end(daemon, cleanly=True)

    lab.world.slept = ends
    assert lab.apply().code == ExitCode.OK
    assert lab.world.now - began < LOOKED_AT_EVERY


def test_after_a_pid_file_that_nobody_touched_nobody_is_waited_for() -> None:
    lab = found_ended_on_ufe01()
    began = lab.world.now
    assert lab.apply().outcomes == {("main", "Start"): "done"}
    assert lab.world.now - began < LOOKED_AT_EVERY
    lab.assert_converged()


def test_without_a_tool_nobody_is_waited_for() -> None:
    lab, _ = left_on_ufe01()
    lab.world.tool = EndpointCommandError("none")
    began = lab.world.now
    with pytest.raises(EndpointCommandError, match="globus-compute-endpoint cannot be used"):
        lab.apply()
    assert lab.world.now == began


def test_what_is_on_record_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lab, _ = left_on_ufe01()
    asked = requests(lab, monkeypatch)
    assert lab.sight().plan.actions[0].hold
    assert asked == ["status"]


@pytest.mark.parametrize("seconds", [1.0, 25.0])
def test_by_hand_a_directory_in_which_files_come_and_go_is_not_waited_for_for_ever(seconds: float) -> None:
    lab = on_ufe01()
    (daemon,) = lab.world.daemons_of("main")
    lab.world.end(daemon, cleanly=False)
    lab.world.missed.clear()
    lab.world.folders["main"].pid = None
    began = lab.world.now

    def edits() -> None:
        if lab.world.now % seconds < 0.5:
            lab.world.edit("main", f"swap{lab.world.now}", b"")

    lab.world.slept = edits
    by_hand.start(lab.world.outside, FakeClock(lab.world), "main", patience=60.0)
    assert lab.world.now - began < 2 * ABSENT_FOR
    assert node_of(lab) == "ufe02"


@pytest.mark.parametrize("block", [endpoint(state="stopped"), None], ids=["stopped", "removed"])
def test_what_is_not_to_be_started_is_not_asked_about(
    block: DesiredEndpoint | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, _ = left_on_ufe01()
    asked = requests(lab, monkeypatch)
    lab.wants(*([block] if block else []))
    assert [a.kind for a in lab.sight().plan.actions] == ([] if block else ["Delete"])
    assert "get" not in asked


def test_what_ended_here_and_left_no_pid_file_is_started_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registration says that the last start was here."""
    lab = Lab(desired(endpoint()))
    assert lab.apply().code == ExitCode.OK
    (daemon,) = lab.world.daemons
    lab.world.end(daemon, cleanly=False)
    lab.world.missed.clear()
    lab.world.folders["main"].pid = None
    asked = requests(lab, monkeypatch)
    assert [a.kind for a in lab.sight().plan.actions] == ["Start"]
    assert asked.count("get") <= 1
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_after_twenty_seconds_nobody_is_left() -> None:
    lab, _ = left_on_ufe01()
    lab.world.tick()
    lab.world.now += ABSENT_FOR + 0.1
    lab.world.tick()
    lab.world.logs.clear()
    assert lab.apply().outcomes == {("main", "Start"): "done"}
    lab.assert_converged()


@BOTH
def test_a_stop_on_another_node_that_was_killed_is_waited_for_by_the_next_apply(starts_go_on: bool) -> None:
    """Also where the service never saw that daemon, so that it says offline at once."""
    for at in range(1, 60):
        lab = on_ufe01()
        (daemon,) = lab.world.daemons_of("main")
        daemon.connects = math.inf
        lab.wants(endpoint(restart="now", config={"debug": False}))
        if not lab.crash(at, starts_go_on=starts_go_on):
            break
        assert lab.apply().code == ExitCode.OK, at
        assert len(lab.world.daemons_of("main")) == 1, at
        lab.assert_converged()
    else:
        pytest.fail("more steps than were looked at")


# --- a copy of this home on another machine of the same name


@pytest.mark.parametrize("pid_file", [True, False], ids=["its PID file was copied", "without a PID file"])
@pytest.mark.parametrize("block", [endpoint(), DEBUG_OFF, endpoint(state="stopped")], ids=["as is", "changed", "stop"])
def test_a_copy_on_a_machine_of_the_same_name_starts_and_stops_nothing(block: DesiredEndpoint, pid_file: bool) -> None:
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    lab.world.copied(pid_file=pid_file)
    lab.world.now += 3600
    lab.wants(block)
    before = lab.world.daemons
    result = lab.apply(YES)
    assert result.code == ExitCode.REFUSED
    assert "it runs elsewhere" in result.sight.plan.refusals[0].what
    assert not {kind for _, kind in result.outcomes} & {"Start", "Stop", "ClearStalePid"}
    assert lab.world.daemons == before


@pytest.mark.parametrize("blocks", [(endpoint(),), (DEBUG_OFF,), ()], ids=["as is", "changed", "removed"])
def test_a_copy_of_what_was_stopped_starts_and_stops_nothing(blocks: tuple[DesiredEndpoint, ...]) -> None:
    """Nothing was on record when the home was copied; since then the original was started again."""
    two = endpoint("two")
    lab = Lab(desired(endpoint(), two))
    assert lab.apply().code == ExitCode.OK
    lab.wants(endpoint(state="stopped"), two)
    assert lab.apply().code == ExitCode.OK
    uuid = lab.ids()["main"]
    lab.world.daemons.append(Daemon(999, "main", "another cluster's", 9990, "", uuid, "up"))
    lab.wants(*blocks, two)
    before = list(lab.world.daemons)
    result = lab.apply(YES)
    assert result.code == ExitCode.REFUSED
    assert "it runs elsewhere" in result.sight.plan.refusals[0].what
    assert lab.world.daemons == before
    assert lab.ids()["main"] == uuid


@pytest.mark.parametrize("recorded", [True, False])
def test_a_copy_on_a_machine_of_the_same_name_ends_no_registration(recorded: bool) -> None:
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    lab.world.copied(pid_file=False)
    folder, uuid = lab.world.folders["main"], lab.ids()["main"]
    assert isinstance(folder.marker, Marker)
    folder.marker = folder.marker if recorded else folder.marker.but(daemon=None)
    before = lab.snapshot()
    result = lab.apply(YES, destroy=True, purge=True)
    assert result.code == ExitCode.REFUSED
    assert "it runs elsewhere" in result.sight.plan.refusals[0].what
    assert lab.snapshot() == before
    lab.world.faults.fail("status", DOWN)
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.UNREACHABLE
    assert lab.snapshot() == before
    lab.world.faults.revive()
    lab.world.end(lab.world.daemons[0], cleanly=True)
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
    assert lab.world.deregistered == [uuid]


def test_a_registration_that_came_online_elsewhere_since_the_plan_does_not_end() -> None:
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    (daemon,) = lab.world.daemons
    lab.world.end(daemon, cleanly=True)

    def start_elsewhere() -> None:
        lab.world.daemons.append(replace(daemon, node="another cluster's", phase="up"))

    result = lab.apply(YES, destroy=True, purge=True, between=start_elsewhere)
    assert result.outcomes["main", "Purge"] == "deferred"
    assert lab.world.deregistered == []


def test_a_cut_off_first_start_that_was_copied_is_asked_about() -> None:
    """Its registration is found by the journal; whether the daemon lives where it was begun, the service knows."""
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    assert lab.crash(next_point(lab, "start:registered"), starts_go_on=False)
    (uuid,) = lab.world.registrations
    original = lab.world.spawn("main", uuid)
    original.phase = "up"
    lab.world.copied(pid_file=False)
    result = lab.apply()
    assert result.outcomes.get(("main", "Start")) != "done"
    assert lab.world.daemons_of("main") == [original]


def next_point(lab: Lab, name: str) -> int:
    """Return the number of the point of that name in a first apply."""
    trial = Lab(lab.desired)
    trial.apply()
    return trial.world.faults.passed.index(name) + 1


def test_a_uuid_that_only_the_lock_knows_is_asked_about() -> None:
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    lab.world.copied(pid_file=False)
    folder = lab.world.folders["main"]
    assert isinstance(folder.marker, Marker)
    folder.marker, folder.endpoint_id = folder.marker.but(id=None, daemon=None), None
    result = lab.apply()
    assert result.outcomes.get(("main", "Start")) != "done"
    assert len(lab.world.daemons) == 1


# --- the same node, in another PID namespace


def test_what_is_touched_in_another_container_of_this_node_is_left_alone() -> None:
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    lab.world.namespace = "pid:[2]"
    before = lab.world.daemons
    assert lab.apply().code == ExitCode.OK
    lab.world.sees_daemons = False
    assert lab.apply().code == ExitCode.DEFERRED, "it may just be starting there"
    assert lab.world.daemons == before
    assert lab.world.folders["main"].pid == before[0].pid


def test_an_ordinary_plan_asks_about_nothing_that_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(desired(endpoint(), endpoint("two", state="stopped")))
    assert lab.apply().code == ExitCode.OK
    asked = requests(lab, monkeypatch)
    lab.sight()
    lab.world.end(lab.world.daemons[0], cleanly=False)
    assert [a.kind for a in lab.sight().plan.actions] == ["ClearStalePid", "Start"]
    assert asked == []


def test_a_single_look_at_anybodys_registration_makes_it_nobodys_own() -> None:
    """Where its last start registered is asked of one UUID; whose it is, is not answered by that."""
    lab = on_ufe01()
    folder, uuid = lab.world.folders["main"], lab.ids()["main"] or ""
    assert isinstance(folder.marker, Marker)
    folder.marker = folder.marker.but(daemon=None)
    assert lab.live().registrations[uuid].hostname == "ufe01.noaa.gov"  # type: ignore[index]
    lab.world.owned = {}
    sight = lab.sight()
    assert sight.live.registrations == {}
    assert [r.endpoint for r in sight.plan.refusals] == ["main"]
    assert not sight.plan.actions


# --- stop and restart


def test_stop_on_another_node_ends_it_by_its_pid_file() -> None:
    lab = on_ufe01()
    lab.wants(endpoint(state="stopped"))
    began = lab.world.now
    assert lab.apply().code == ExitCode.OK
    assert 15 < lab.world.now - began < 60
    assert not any(point.startswith("stop:") for point in lab.world.faults.passed), "nothing was signalled"
    lab.assert_converged()
    assert list(lab.world.registrations) == [lab.ids()["main"]]


@pytest.mark.parametrize("races", [1, 2])
def test_a_touch_that_brings_the_pid_file_back_does_not_keep_it_alive(races: int) -> None:
    lab = on_ufe01()
    lab.world.touches_that_race = races
    lab.wants(endpoint(state="stopped"))
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_a_daemon_that_does_not_end_is_no_success_and_nothing_is_started_beside_it() -> None:
    lab = on_ufe01()
    lab.world.touches_that_race = 10_000
    lab.wants(DEBUG_OFF)
    result = lab.apply()
    assert result.outcomes["main", "Stop"] == "failed"
    assert result.outcomes["main", "Start"] == "skipped"
    (failed,) = [o for o in result.run.outcomes if o.kind == "failed"]
    assert "the daemon on ufe01 did not end within 120 s" in (failed.reason or "")
    assert "ufe01" in (failed.remedy or "")
    assert node_of(lab) == "ufe01"
    lab.world.touches_that_race = 0
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_a_changed_configuration_moves_it_here_with_its_uuid() -> None:
    lab = on_ufe01()
    uuid = lab.ids()["main"]
    lab.wants(DEBUG_OFF)
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert (node_of(lab), lab.ids()["main"]) == ("ufe02", uuid)


def test_restart_by_hand_moves_it_here() -> None:
    lab = on_ufe01()
    assert lab.apply(errand=Errand("restart", ("main",))).code == ExitCode.OK
    lab.assert_converged()
    assert node_of(lab) == "ufe02"


def test_a_move_waits_while_tasks_may_run() -> None:
    lab = on_ufe01()
    lab.world.user_endpoints["main"] = 1
    lab.wants(DEBUG_OFF)
    assert lab.apply().code == ExitCode.DEFERRED
    assert node_of(lab) == "ufe01"
    assert lab.apply().code == ExitCode.DEFERRED, "it stays in the plan"
    lab.world.user_endpoints.clear()
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


@pytest.mark.parametrize("after", range(4))
def test_a_service_that_goes_silent_meanwhile_claims_nothing(after: int) -> None:
    lab = on_ufe01()
    lab.wants(endpoint(state="stopped"))
    lab.world.faults.fail("status", DOWN, after=after)
    result = lab.apply()
    assert result.code == ExitCode.UNREACHABLE
    assert result.outcomes["main", "Stop"] == "failed"
    assert bool(lab.world.folders["main"].pid) == (after == 0), "not asked: nothing was done yet"
    lab.world.faults.revive()
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_another_daemon_that_was_started_meanwhile_is_left_alone() -> None:
    lab = on_ufe01()
    lab.wants(endpoint(state="stopped"))
    assert lab.apply(between=lambda: move_to_ufe03(lab)).code == ExitCode.DEFERRED
    assert node_of(lab) == "ufe03"
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_delete_of_one_that_runs_on_another_node() -> None:
    lab = on_ufe01()
    lab.wants(endpoint("two"), pools=())
    assert lab.apply(YES).code == ExitCode.OK
    assert (lab.world.daemons_of("main"), "main" in lab.world.folders) == ([], False)
    assert len(lab.world.trash) == 1


@BOTH
@pytest.mark.parametrize("case", ["stop", "move", "delete"])
def test_killed_anywhere_a_rerun_on_any_node_converges(case: str, starts_go_on: bool) -> None:
    for rerun_on in ("ufe01", "ufe02", "ufe03"):
        at, crashed = 0, True
        while crashed:
            at += 1
            lab = on_ufe01()
            uuid = lab.ids()["main"]
            block = {"stop": (endpoint(state="stopped"),), "move": (DEBUG_OFF,), "delete": (endpoint("two"),)}[case]
            lab.wants(*block, pools=())
            lab.world.faults.passed.clear()
            crashed = lab.crash(at, starts_go_on=starts_go_on, consent=YES)
            assert len(lab.world.daemons_of("main")) <= 1
            lab.world.now += 100
            lab.world.node = rerun_on
            assert lab.apply(YES).code == ExitCode.OK, f"{case}, point {at}, on {rerun_on}"
            lab.assert_converged()
            assert uuid in lab.world.registrations
            assert [r.name for r in lab.world.registrations.values()].count("main") == 1
        assert at > 5


# --- run_on


def only_on(*nodes: str) -> HostView:
    return HostView(run_on=nodes)


def test_on_a_node_outside_run_on_apply_only_reports_what_another_would_do() -> None:
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),), host=only_on("ufe02", "ufe03")))
    first = lab.apply()
    assert first.code == ExitCode.DEFERRED
    assert first.outcomes == {("main", "Create"): "done", ("main", "Start"): "deferred"}
    (deferred,) = [o for o in first.run.outcomes if o.kind == "deferred"]
    assert deferred.remedy == "run the same command on ufe02 or ufe03"
    before = lab.snapshot()
    assert lab.apply().code == ExitCode.DEFERRED
    assert lab.snapshot() == before
    lab.world.node = "ufe03"
    assert lab.apply().code == ExitCode.OK
    assert node_of(lab) == "ufe03"
    lab.world.node = "ufe01"
    assert lab.apply().code == ExitCode.OK, "it runs as declared, where it may"


def test_on_a_node_outside_run_on_no_tool_is_needed() -> None:
    lab = Lab(desired(endpoint(), host=only_on("ufe02")))
    assert lab.apply().code == ExitCode.DEFERRED
    lab.world.tool = EndpointCommandError("not installed here")
    assert lab.apply().code == ExitCode.DEFERRED


def test_on_a_node_outside_run_on_nothing_is_restarted() -> None:
    lab = on_ufe01()
    lab.wants(DEBUG_OFF, host=only_on("ufe01"))
    assert lab.apply().code == ExitCode.DEFERRED
    assert node_of(lab) == "ufe01"
    assert lab.apply(errand=Errand("restart", ("main",))).code == ExitCode.DEFERRED
    lab.world.node = "ufe01"
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


# --- two daemons of one UUID


def doubled() -> Lab:
    """Return a lab in which a second daemon runs on ufe02, started without a PID file; the user is on ufe01."""
    lab = on_ufe01()
    lab.world.folders["main"].pid = None
    second = lab.world.spawn("main", lab.ids()["main"])
    lab.world.bring_up(second)
    lab.world.node = "ufe01"
    return lab


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"destroy": True},
        {"errand": Errand("adopt", ("main",))},
        {"errand": Errand("restart", ("main",), interrupt=True)},
        {"moved": "main"},
        {"moved": "away"},
    ],
    ids=["apply", "destroy", "adopt", "restart", "renamed", "directory renamed"],
)
def test_a_second_daemon_on_another_node_is_told_and_ends_with_its_pid_file(how: dict[str, Any]) -> None:
    lab = doubled()
    first, second = lab.world.daemons_of("main")
    directory = how.pop("moved", None)
    if directory:
        moved = (Moved("main", "renamed"),) if directory == "main" else ()
        name = "renamed" if moved else "main"
        lab.wants(endpoint(name, directory=directory if not moved else name), pools=(), moved=moved)
    result = lab.apply(YES, **how)
    assert result.code == ExitCode.REFUSED
    (refusal,) = result.sight.plan.refusals
    assert f"its daemon here is process {first.pid}, and its PID file names {second.pid}" in refusal.what
    assert "main/daemon.pid` ends both" in refusal.remedy
    assert lab.world.daemons_of("main") == [first, second]
    lab.wants(endpoint())
    lab.world.folders["main"].pid = None
    lab.world.tick()
    lab.world.now += LOOKED_AT_EVERY + 1
    lab.world.tick()
    assert not lab.world.daemons_of("main")
    assert lab.apply().code == ExitCode.OK
    assert node_of(lab) == "ufe01"
    lab.assert_converged()
