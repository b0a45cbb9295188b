"""Observe, plan and apply over fakes: what happens when something fails, changes or dies in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from reconciler.core.actions import DELETING, EndpointAction
from reconciler.core.consent import Consent
from reconciler.core.desired import CONFIG, DesiredEndpoint, Moved
from reconciler.core.live import Damaged
from reconciler.core.lock import Lock, emit_lock
from reconciler.core.marker import MARKER, Marker
from reconciler.core.pools import pools_file
from reconciler.errors import (
    EndpointCommandError,
    ExitCode,
    FileSystemError,
    LeaseHeld,
    LoginRequired,
    ReconcilerError,
    Refused,
    ServiceUnreachable,
    StateFileError,
)
from tests.core.builders import desired, endpoint, pool, uuid
from tests.fakes import MISSES_AFTER, Crash, Daemon, Folder
from tests.lab import YES, Lab

FULL = FileSystemError("No space left on device")
DOWN = ServiceUnreachable("no answer")
DEBUG_OFF = endpoint(config={"debug": False})
MPI = (pool("mpi"),)


def running(*endpoints: object) -> Lab:
    """Return a lab in which these endpoints run; one named `main` by default."""
    lab = Lab(desired(*(endpoints or (endpoint(),)), pools=MPI))  # type: ignore[arg-type]
    assert lab.apply().code == ExitCode.OK
    return lab


def daemon_of(lab: Lab, name: str = "main") -> int:
    """Return the PID of the one daemon."""
    (daemon,) = lab.world.daemons_of(name)
    return daemon.pid


# --- from scratch, and the fixpoint


def test_from_scratch() -> None:
    lab = Lab(desired(endpoint(), endpoint("spare", state="stopped"), pools=MPI))
    result = lab.apply()
    assert result.code == ExitCode.OK
    lab.assert_converged()
    assert list(lab.world.registrations) == [lab.ids()["main"]]
    assert lab.ids()["spare"] is None
    assert lab.world.pools == pools_file(lab.desired.pools, lab.ids()).text
    assert result.run.left_out == {}


def test_the_lineage_is_on_disk_before_any_marker_names_it() -> None:
    lab = Lab(desired(endpoint(), endpoint("two")))
    seen: list[str | None] = []
    lab.apply(during=lambda action: seen.append(lab.lock().lineage if lab.world.lock else None))
    assert set(seen) == {lab.lock().lineage}


def test_a_config_change_restarts_with_the_same_uuid() -> None:
    lab = running()
    before, pid = lab.ids(), daemon_of(lab)
    lab.wants(DEBUG_OFF)
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == before
    assert daemon_of(lab) != pid


def test_nothing_of_other_hosts_is_rewritten() -> None:
    lab = running()
    far = lab.lock().endpoints["main"]
    far = far.model_copy(update={"claim": far.claim.model_copy(update={"host": "hera"}), "id": None})
    lab.world.lock = emit_lock(lab.lock().with_endpoint("hera-main", far))
    lab.wants(DEBUG_OFF, elsewhere={"hera-main": "hera"})
    assert lab.apply().code == ExitCode.OK
    assert lab.lock().endpoints["hera-main"] == far


def test_an_edited_file_is_kept_as_a_backup_and_foreign_keys_survive() -> None:
    lab = running()
    lab.world.edit("main", CONFIG, b"debug: false\namqp_port: 443\n")
    assert lab.apply().code == ExitCode.OK
    assert lab.world.folders["main"].files[CONFIG].content == b"debug: true\namqp_port: 443\n"
    assert lab.world.backups == [("main", CONFIG, b"debug: false\namqp_port: 443\n")]
    lab.assert_converged()


def test_lock_lost_is_rebuilt_from_the_markers() -> None:
    lab = running()
    before, lab.world.lock = lab.world.lock, None
    assert lab.apply().code == ExitCode.OK
    assert lab.world.lock == before


def test_lock_lost_deletes_nothing_even_with_consent() -> None:
    lab = running(endpoint(), endpoint("old"))
    lab.world.lock = None
    lab.wants(endpoint())
    assert lab.apply(YES).code == ExitCode.REFUSED
    assert set(lab.world.folders) == {"main", "old"}


def test_marker_lost_is_repaired() -> None:
    lab = running()
    before, pid = lab.world.folders["main"].marker, daemon_of(lab)
    lab.world.folders["main"].marker = Damaged("cut short")
    assert lab.apply().code == ExitCode.OK
    after = lab.world.folders["main"].marker
    assert isinstance(before, Marker)
    assert isinstance(after, Marker)
    assert after.but(daemon=None) == before.but(daemon=None)
    assert daemon_of(lab) == pid
    assert [(name, file) for name, file, _ in lab.world.backups] == [("main", MARKER)]
    lab.assert_converged()


def test_directory_lost_comes_back_with_its_uuid() -> None:
    lab = running()
    ids = lab.ids()
    lab.world.end(lab.world.daemons[0], cleanly=False)
    lab.world.folders.clear()
    assert lab.apply().code == ExitCode.REFUSED, "the service has not missed it yet: it might run elsewhere"
    lab.world.now += MISSES_AFTER
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == ids


def test_damaged_lock_is_an_error_and_changes_nothing() -> None:
    lab = running()
    lab.world.lock = "version: 2\n"
    with pytest.raises(StateFileError):
        lab.apply()


# --- something fails


def test_partial_failure_does_the_others() -> None:
    lab = Lab(desired(endpoint("good"), endpoint("bad"), pools=(pool("mpi", "good"), pool("gpu", "bad"))))
    lab.world.folders["bad"] = Folder(marker=None)  # appears between plan and apply
    hidden = lab.world.folders.pop("bad")
    result = lab.apply(between=lambda: lab.world.folders.update(bad=hidden))
    assert result.code == ExitCode.DEFERRED
    assert result.outcomes["good", "Start"] == "done"
    assert result.outcomes["bad", "Create"] == "deferred"
    assert result.outcomes["bad", "Start"] == "deferred"
    assert dict(result.run.left_out) == {"gpu": "endpoint `bad` has no UUID yet"}


def test_a_start_that_fails_is_reported_with_its_log_and_the_others_are_done() -> None:
    lab = Lab(desired(endpoint("good"), endpoint("bad")))
    lab.world.faults.fail("start", EndpointCommandError("did not come up", code=65), after=1)
    result = lab.apply()
    assert result.code == ExitCode.PARTIAL
    kinds = sorted(kind for (_, action), kind in result.outcomes.items() if action == "Start")
    assert kinds == ["done", "failed"]
    (failed,) = [o for o in result.run.outcomes if o.kind == "failed"]
    assert failed.log == "the last line of its log"
    lab.world.faults.revive()
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert len(lab.world.registrations) == 2


@pytest.mark.parametrize("point", ["start:register", "start:up"])
def test_a_first_start_that_failed_is_not_registered_twice(point: str) -> None:
    lab = Lab(desired(endpoint()))
    lab.world.faults.fail(point, EndpointCommandError("did not come up"))
    assert lab.apply().code == ExitCode.PARTIAL
    made = set(lab.world.registrations)
    lab.world.faults.revive()
    lab.world.now += 100  # its PID file is stale by now
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert len(lab.world.registrations) == 1
    assert made <= set(lab.world.registrations)


def test_restart_waits_while_tasks_may_run_and_is_done_later() -> None:
    lab = running()
    pid = daemon_of(lab)
    lab.world.user_endpoints["main"] = 1
    lab.wants(DEBUG_OFF)
    result = lab.apply()
    assert result.code == ExitCode.DEFERRED
    assert result.outcomes["main", "WriteFile"] == "done"
    assert daemon_of(lab) == pid
    assert lab.apply().code == ExitCode.DEFERRED  # it stays in the plan
    lab.world.user_endpoints.clear()
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_restart_now_does_not_wait() -> None:
    lab = running(endpoint(restart="now"))
    pid = daemon_of(lab)
    lab.world.user_endpoints["main"] = 1
    lab.wants(endpoint(restart="now", config={}))
    assert lab.apply().code == ExitCode.OK
    assert daemon_of(lab) != pid


@pytest.mark.parametrize("busy", [False, True])
def test_a_daemon_that_does_not_end_names_the_way_out(busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = running(endpoint(restart="now"))
    pid = daemon_of(lab)
    lab.wants(endpoint(restart="now", config={}))
    if busy:
        lab.world.user_endpoints["main"] = 1
    monkeypatch.setattr("tests.fakes.FakeHost.wait_stopped", lambda *_: False)
    (failed,) = [o for o in lab.apply().run.outcomes if o.kind == "failed"]
    assert failed.reason is not None
    assert f"the daemon (PID {pid}) did not end within 60 s" in failed.reason
    if busy:
        assert failed.remedy == "it may be ending its user endpoints; wait, then apply again"
    else:
        hangs = f"no user endpoint of it is left to end, so it may hang: `kill -9 {pid}`, then apply again"
        assert failed.remedy == hangs


def test_restart_never_is_deferred_for_ever() -> None:
    lab = running(endpoint(restart="never"))
    pid = daemon_of(lab)
    lab.wants(endpoint(restart="never", config={}))
    assert [lab.apply().code for _ in range(2)] == [ExitCode.DEFERRED] * 2
    assert daemon_of(lab) == pid


def _edit(lab: Lab) -> None:
    lab.world.edit("main", CONFIG, b"debug: 1.5\n")


def _dies(lab: Lab) -> None:
    lab.world.end(lab.world.daemons[0], cleanly=False)


def _lose_marker(lab: Lab) -> None:
    lab.world.folders["main"].marker = None


@pytest.mark.parametrize("change", [_edit, _dies, _lose_marker, lambda lab: lab.world.folders.clear()])
def test_what_changed_between_plan_and_apply_is_deferred(change: Callable[[Lab], None]) -> None:
    lab = running()
    lab.wants(DEBUG_OFF)
    before = lab.world.backups.copy()
    result = lab.apply(between=lambda: change(lab))
    assert result.code == ExitCode.DEFERRED
    assert "done" not in [o.kind for o in result.run.outcomes if o.action.kind == "Restart"]
    assert lab.world.backups == before


@pytest.mark.parametrize("wanted", [DEBUG_OFF, endpoint(state="stopped")])
def test_a_daemon_that_ends_by_itself_before_it_is_stopped_holds_nothing_up(wanted: DesiredEndpoint) -> None:
    lab = running()
    lab.wants(wanted)
    assert lab.apply(between=lambda: lab.world.end(lab.world.daemons[0], cleanly=True)).code == ExitCode.OK
    lab.assert_converged()


@pytest.mark.parametrize("when", ["between", "during"])
def test_what_another_host_writes_into_the_lock_meanwhile_stays(when: str) -> None:
    """Each host has a lease of its own; the lock lies in a project directory that both may share."""
    lab = running()
    far = lab.lock().endpoints["main"].model_copy(update={"id": None})
    far = far.model_copy(update={"claim": far.claim.model_copy(update={"host": "hera"})})
    lab.world.lock = emit_lock(lab.lock().with_endpoint("far", far))
    lab.wants(endpoint(), endpoint("two"), elsewhere={"far": "hera"}, hosts=("ursa", "hera"))
    main = lab.ids()["main"]

    def register(*_: object) -> None:
        lock = lab.lock().with_endpoint("far", far.model_copy(update={"id": uuid("far")}))
        pools = {**lock.pools, "far-mpi": {"endpoint": "far", "mpi": True}}
        lab.world.lock = emit_lock(lock.model_copy(update={"pools": pools}))

    assert lab.apply(**{when: register}).code == ExitCode.OK
    assert lab.ids() == {"main": main, "two": lab.ids()["two"], "far": uuid("far")}
    assert lab.ids()["two"]
    assert set(lab.lock().pools) == {"mpi", "far-mpi"}


def test_a_first_lock_that_another_run_made_meanwhile_is_not_replaced() -> None:
    lab = Lab(desired(endpoint()))
    theirs = emit_lock(Lock(stack=lab.desired.stack, lineage="theirs"))
    with pytest.raises(Refused, match="another run has made the lockfile"):
        lab.apply(between=lambda: setattr(lab.world, "lock", theirs))
    assert (lab.world.lock, lab.world.folders) == (theirs, {})


def test_ctrl_c_finishes_what_is_under_way_and_begins_nothing_more() -> None:
    lab = Lab(desired(endpoint()))
    result = lab.apply(during=lambda action: lab.stop.set() if action.kind == "Create" else None)
    assert result.code == ExitCode.INTERRUPTED
    assert result.run.interrupted
    assert result.outcomes == {("main", "Create"): "done", ("main", "Start"): "skipped"}
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_lease_lost_on_the_way_begins_and_writes_nothing_more() -> None:
    lab = running(endpoint(), endpoint("two"))
    lab.wants(DEBUG_OFF, endpoint("two", config={"debug": False}))
    other = "# the lock of whoever took the lease over\n"

    def lose(action: object) -> None:
        lab.world.lease_lost = True
        lab.world.lock = other

    written = len(lab.world.faults.passed)
    result = lab.apply(between=lambda: lose(None))
    assert result.code == ExitCode.LEASE_HELD
    assert {o.kind for o in result.run.outcomes} == {"failed", "skipped"}
    assert lab.world.faults.passed[written:] == []
    assert lab.world.lock == other
    assert result.run.unwritten is None  # said once, by the actions


@pytest.mark.parametrize("kind", ["WriteFile", "Restart", "Stop", "ClearStalePid", "Start", "Adopt"])
def test_lease_lost_by_the_action_in_flight_writes_neither_marker_nor_lock(kind: str) -> None:
    lab = running()
    if kind in ("ClearStalePid", "Start"):
        lab.world.end(lab.world.daemons[0], cleanly=kind == "Start")
    changes = {"Stop": {"state": "stopped"}, "Adopt": {"protect": True}, "Start": {}, "ClearStalePid": {}}
    lab.wants(endpoint(**changes.get(kind, {"config": {"debug": False}})))
    other = "# the lock of whoever took the lease over\n"
    markers: list[object] = []

    def lose(action: EndpointAction) -> None:
        if action.kind == kind:
            markers.append(lab.world.folders["main"].marker)
            lab.world.lease_lost, lab.world.lock = True, other

    keep = lab.world.lock
    result = lab.apply(during=lose)
    assert result.code == ExitCode.LEASE_HELD
    assert result.outcomes["main", kind] == "failed"
    assert [lab.world.folders["main"].marker] == markers
    assert lab.world.lock == other
    lab.world.lease_lost, lab.world.lock = False, keep
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert len(lab.world.registrations) == 1


def test_lease_held_by_another() -> None:
    lab = Lab(desired(endpoint()))
    lab.world.lease_lost = True
    with pytest.raises(LeaseHeld):
        lab.apply()


def test_a_lockfile_that_cannot_be_written_is_no_failure_of_the_action() -> None:
    """What was done is told as done, what was not begun as skipped, and the file by its name."""
    lab = Lab(desired(endpoint(), endpoint("two"), pools=MPI))
    lab.world.faults.fail("write_lock", FULL, after=1)
    done = lab.apply()
    assert done.code == ExitCode.FAILED
    assert done.run.unwritten is FULL
    assert "failed" not in done.outcomes.values()
    assert {name for name, folder in lab.world.folders.items() if folder.marker} == {
        name for (name, kind), what in done.outcomes.items() if (kind, what) == ("Create", "done")
    }
    assert lab.world.daemons == [], "nothing is begun whose UUID could not be kept"
    lab.world.faults.revive()
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_an_apply_without_changes_closes_what_was_left_open_in_the_journal() -> None:
    lab = running()
    lab.wants(endpoint(state="stopped"))
    lab.world.faults.fail("append", FULL, after=1)  # the intent gets in, the outcome does not
    assert lab.apply().code == ExitCode.FAILED
    lab.world.faults.revive()
    assert lab.sight().plan.is_empty
    assert [e.action for e in lab.world.outside.store.unfinished()] == ["Stop"]
    assert lab.apply().code == ExitCode.OK
    assert lab.world.outside.store.unfinished() == ()


@pytest.mark.parametrize("name", ["write_lock", "write_pools", "append", "write_marker", "write_file", "create"])
@pytest.mark.parametrize("after", range(4))
def test_disk_full_loses_nothing_and_the_next_apply_converges(name: str, after: int) -> None:
    for first in (Lab(desired(endpoint(), pools=MPI)), running()):
        lab = first
        ids = dict(lab.ids()) if lab.world.lock else {}
        lab.wants(endpoint(config={"debug": False}))
        lab.world.faults.passed.clear()
        lab.world.faults.fail(name, FULL, after=after)
        try:
            code = lab.apply().code
            assert (code == ExitCode.OK) == (lab.world.faults.raised == 0)
        except FileSystemError:  # the first lock could not be written: nothing was begun
            assert not lab.world.folders
        lab.world.after_crash(starts_go_on=True)
        assert lab.apply().code == ExitCode.OK
        lab.assert_converged()
        assert len(lab.world.registrations) == 1
        assert ids.items() <= dict(lab.ids()).items()


def test_lock_that_cannot_be_written_at_the_end_is_said() -> None:
    lab = running()
    lab.wants(endpoint(), pools=(pool("mpi", walltime="01:00:00"),))
    lab.world.faults.fail("write_lock", FULL)
    result = lab.apply()
    assert result.run.unwritten is FULL
    assert result.code == ExitCode.FAILED


# --- the service


def test_service_down_does_the_rest() -> None:
    lab = running(endpoint(), endpoint("two"))
    lab.wants(DEBUG_OFF, endpoint("two", state="stopped"), endpoint("three"))
    lab.world.service_down = True
    result = lab.apply()
    assert result.code == ExitCode.UNREACHABLE
    assert result.outcomes == {("main", "WriteFile"): "done", ("two", "Stop"): "done"}
    assert lab.plan_code() == ExitCode.UNREACHABLE
    lab.world.service_down = False
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_service_that_answers_only_the_list_blocks_what_needs_more() -> None:
    lab = running()
    lab.world.end(lab.world.daemons[0], cleanly=False)
    lab.world.folders.clear()
    lab.world.faults.fail("status", DOWN)
    result = lab.apply()
    assert result.code == ExitCode.UNREACHABLE
    assert not lab.world.folders


def test_service_failing_right_after_a_start() -> None:
    """The daemon is up and on record; the next apply only waits until the service sees it."""
    lab = Lab(desired(endpoint(), pools=MPI))
    lab.world.faults.fail("status", DOWN)
    result = lab.apply()
    assert result.code == ExitCode.UNREACHABLE
    assert result.outcomes["main", "Start"] == "failed"
    pid = daemon_of(lab)
    lab.world.faults.revive()
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert daemon_of(lab) == pid
    assert len(lab.world.registrations) == 1


def test_a_second_crash_does_not_hide_the_first_start_that_was_cut_off() -> None:
    """The intent to record what was found is newer than the one to start; the older one is what matters."""
    lab = Lab(desired(endpoint()))
    assert lab.crash(_point_of(lab, "start:registered"), starts_go_on=False)
    (made,) = lab.world.registrations
    lab.world.faults.passed.clear()
    lab.world.faults.crash_at = 2  # right after the journal has the intent to adopt
    with pytest.raises(Crash):
        lab.apply()
    lab.world.after_crash(starts_go_on=False)
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == {"main": made}


def _point_of(lab: Lab, name: str) -> int:
    """Return the number that a point has in a first apply of this manifest."""
    trial = Lab(lab.desired)
    trial.apply()
    return trial.world.faults.passed.index(name) + 1


def test_no_intent_stays_open_that_could_mislead_a_later_run() -> None:
    lab = Lab(desired(endpoint()))
    lab.world.faults.fail("start:up", EndpointCommandError("ended after it registered"))
    lab.apply()
    assert lab.world.outside.store.unfinished()
    lab.world.faults.revive()
    assert lab.apply().code == ExitCode.OK
    assert lab.world.outside.store.unfinished() == ()


def test_daemon_that_ends_right_after_it_started() -> None:
    lab = Lab(desired(endpoint()))
    lab.world.ends_at_once = True
    result = lab.apply()
    assert result.code == ExitCode.PARTIAL
    assert [o.reason for o in result.run.outcomes if o.kind == "failed"] == [
        "main: the daemon ended before the service saw it"
    ]


def test_daemon_that_the_service_never_sees() -> None:
    lab = Lab(desired(endpoint()))
    lab.world.sees_daemons = False
    result = lab.apply()
    assert result.code == ExitCode.PARTIAL
    assert lab.ids()["main"] in lab.world.registrations


def test_a_running_daemon_that_the_service_does_not_see_is_said_and_not_restarted() -> None:
    """Guarantee 3: exit code 0 means that everything was observed; a daemon that runs may be at work."""
    lab = running(endpoint(), endpoint("two"))
    pids = {d.pid for d in lab.world.daemons}
    lab.world.sees_daemons = False
    result = lab.apply()
    assert result.code == ExitCode.PARTIAL
    assert [(d.endpoint, d.exit_code) for d in result.run.unconfirmed] == [("main", 3), ("two", 3)]
    assert {d.pid for d in lab.world.daemons} == pids
    lab.world.sees_daemons = True
    assert lab.apply().code == ExitCode.OK


def test_a_running_daemon_that_cannot_be_asked_about_is_not_claimed_to_be_online() -> None:
    lab = running()
    lab.world.faults.fail("status", DOWN)
    result = lab.apply()
    assert result.code == ExitCode.UNREACHABLE
    assert [d.endpoint for d in result.run.unconfirmed] == ["main"]


def test_what_a_daemon_sends_counts_for_as_long_as_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(desired(endpoint()))
    bring_up, counted = lab.world.bring_up, list[int]()

    def count(daemon: Daemon) -> None:
        counted.append(lab.world.reserved)
        bring_up(daemon)

    monkeypatch.setattr(lab.world, "bring_up", count)
    assert lab.apply().code == ExitCode.OK
    lab.wants(DEBUG_OFF)
    assert lab.apply().code == ExitCode.OK
    lab.wants(endpoint())
    lab.world.faults.fail("start:up", EndpointCommandError("it ended"))
    assert lab.apply().code == ExitCode.PARTIAL
    assert (counted, lab.world.reserved) == ([4, 4], 0)


def test_a_missing_tool_is_found_before_the_first_action() -> None:
    lab = Lab(desired(endpoint(user_environment={"PATH": "/usr/bin"})))
    lab.world.tool = EndpointCommandError("not there")
    with pytest.raises(EndpointCommandError):
        lab.apply()
    assert not lab.world.folders


NO_TOKEN = pytest.mark.parametrize("error", [DOWN, LoginRequired("the refresh token has ended")])


@NO_TOKEN
def test_what_starts_nothing_needs_no_token(error: ReconcilerError) -> None:
    lab = running(endpoint(), endpoint("old"))
    lab.wants(endpoint(state="stopped"))
    lab.world.faults.fail("prepare", error)
    result = lab.apply(YES)
    assert result.code == ExitCode.OK
    (warning,) = result.run.warnings
    assert error.what in warning
    assert not lab.world.daemons
    assert set(lab.world.folders) == {"main"}


@NO_TOKEN
def test_without_a_token_just_what_starts_fails(error: ReconcilerError) -> None:
    lab = running(endpoint(), endpoint("two"), endpoint("off"), endpoint("old"))
    two = daemon_of(lab, "two")
    lab.wants(endpoint(), endpoint("two", config={"debug": False}), endpoint("off", state="stopped"), endpoint("new"))
    lab.world.faults.fail("prepare", error)
    result = lab.apply(YES)
    assert result.code == error.exit_code
    assert result.outcomes["off", "Stop"] == result.outcomes["two", "WriteFile"] == "done"
    assert result.outcomes["two", "Restart"] == result.outcomes["new", "Start"] == "failed"
    assert result.outcomes["old", "Stop"] == "skipped"
    assert daemon_of(lab, "two") == two
    assert not lab.world.daemons_of("new")
    lab.world.faults.revive()
    assert lab.apply(YES).code == ExitCode.OK
    lab.assert_converged()


@NO_TOKEN
def test_without_a_token_nothing_is_stopped_that_is_to_start_again(error: ReconcilerError) -> None:
    lab = running()
    before = daemon_of(lab)
    lab.wants(endpoint("renamed"), moved=(Moved("main", "renamed"),))
    lab.world.faults.fail("prepare", error)
    result = lab.apply()
    assert result.code == error.exit_code
    assert result.outcomes["renamed", "Stop"] == "failed"
    assert daemon_of(lab) == before
    lab.world.faults.revive()
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_other_identity_is_never_read_as_a_missing_registration() -> None:
    lab = running()
    before = lab.snapshot()
    lab.world.identity = type(lab.world.identity)("production", "somebody", "client")
    lab.world.registrations, kept = {}, lab.world.registrations
    assert lab.apply().code == ExitCode.LOGIN
    lab.world.registrations = kept
    assert lab.snapshot() == before


# --- deletes


@pytest.mark.parametrize("when", ["between", "during"])
def test_a_pid_file_that_changes_at_the_last_moment_defers_and_holds_back_no_deletes(when: str) -> None:
    lab = running(endpoint(), endpoint("old"))
    (dead,) = lab.world.daemons_of("main")
    lab.world.end(dead, cleanly=False)
    lab.world.now += 1000
    lab.wants(endpoint())

    def touch() -> None:
        lab.world.folders["main"].touched += 15

    def during(action: EndpointAction) -> None:
        if action.kind == "ClearStalePid":
            touch()

    result = lab.apply(YES, between=touch) if when == "between" else lab.apply(YES, during=during)
    assert result.code == ExitCode.DEFERRED
    assert (result.outcomes["main", "ClearStalePid"], result.outcomes["main", "Start"]) == ("deferred", "deferred")
    assert result.outcomes["old", "Delete"] == "done"
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_deletes_need_consent_and_the_rest_is_done() -> None:
    lab = running(endpoint(), endpoint("old"))
    lab.wants(DEBUG_OFF)
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    assert set(lab.world.folders) == {"main", "old"}
    assert daemon_of(lab, "old")
    assert lab.ids()["old"]
    assert result.outcomes["main", "Restart"] == "done"


def test_more_deletes_than_allowed_are_none() -> None:
    lab = running(endpoint(), endpoint("a"), endpoint("b"))
    lab.wants(endpoint())
    assert lab.apply(Consent(deletes=True, max_deletes=1)).code == ExitCode.REFUSED
    assert set(lab.world.folders) == {"main", "a", "b"}


def test_deletes_come_last_and_can_be_undone() -> None:
    lab = running(endpoint("old"), endpoint())
    uuid = lab.ids()["old"]
    lab.wants(endpoint(config={}), endpoint("new"))
    order: list[bool] = []
    result = lab.apply(YES, during=lambda action: order.append(action.endpoint == "old"))
    assert result.code == ExitCode.OK
    assert order == sorted(order)
    lab.assert_converged()
    assert "old" not in lab.ids()
    assert uuid in lab.world.registrations
    assert [f.endpoint_id for f in lab.world.trash.values()] == [uuid]
    assert not any(isinstance(o.action, DELETING) and o.kind != "done" for o in result.run.outcomes)


def test_protection_outlives_its_block() -> None:
    lab = running(endpoint(), endpoint("old", protect=True))
    lab.wants(endpoint())
    assert lab.apply(YES).code == ExitCode.REFUSED
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.REFUSED
    assert set(lab.world.folders) == {"old"}
    assert lab.ids()["old"] in lab.world.registrations


def test_delete_waits_while_tasks_may_run() -> None:
    lab = running(endpoint(), endpoint("old"))
    lab.world.user_endpoints["old"] = 2
    lab.wants(endpoint())
    assert lab.apply(YES).code == ExitCode.DEFERRED
    assert daemon_of(lab, "old")


def test_a_destroy_that_must_wait_keeps_the_pools() -> None:
    lab = running(endpoint(), endpoint("other"))
    pools, locked = lab.world.pools, lab.lock().pools
    assert "mpi" in pools
    lab.world.user_endpoints["main"] = 1
    assert lab.apply(YES, destroy=True).code == ExitCode.DEFERRED
    assert (lab.world.pools, lab.lock().pools) == (pools, locked)
    lab.world.user_endpoints.clear()
    assert lab.apply(YES, destroy=True).code == ExitCode.OK
    assert (lab.ids(), lab.lock().pools) == ({}, {})
    assert "mpi" not in lab.world.pools


def test_destroy_and_purge() -> None:
    lab = running(endpoint(), endpoint("spare", state="stopped"))
    assert lab.apply(YES, destroy=True).code == ExitCode.OK
    assert (lab.world.folders, lab.world.daemons) == ({}, [])
    assert len(lab.world.registrations) == 1
    assert len(lab.world.trash) == 2
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
    assert (lab.world.registrations, lab.world.trash) == ({}, {})
    assert lab.apply(YES, destroy=True, purge=True).sight.plan.is_empty


def test_destroy_purge_at_once_leaves_nothing_in_the_trash() -> None:
    lab = running(endpoint(), endpoint("spare", state="stopped"))
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
    assert (lab.world.folders, lab.world.registrations, lab.world.trash) == ({}, {}, {})


def test_purge_of_an_older_one_keeps_the_lock_entry_of_its_protected_successor() -> None:
    lab = running(endpoint(), endpoint("old"))
    older = lab.ids()["old"]
    lab.wants(endpoint())
    lab.apply(YES)
    lab.wants(endpoint(), endpoint("old", protect=True))
    lab.apply(new=frozenset({"old"}))
    kept = lab.ids()["old"]
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.REFUSED
    assert lab.ids() == {"old": kept}
    assert set(lab.world.registrations) == {kept}
    assert older in lab.world.deregistered


# --- crashes at every point


@dataclass(frozen=True)
class Scenario:
    """What is applied when the crash comes: from which lab, with which options, and what must then hold."""

    prepare: Callable[[], Lab]
    options: dict[str, object]
    registrations: int


def _new() -> Lab:
    return Lab(desired(endpoint(), pools=MPI))


def _stopped() -> Lab:
    lab = running()
    lab.wants(endpoint(state="stopped"))
    return lab


def _changed() -> Lab:
    lab = running()
    lab.world.edit("main", CONFIG, b"debug: 1.5\n")
    lab.wants(endpoint(config={"debug": False}, schema=None))
    return lab


def _died() -> Lab:
    lab = running()
    lab.world.end(lab.world.daemons[0], cleanly=False)
    return lab


def _lost_directory() -> Lab:
    lab = _died()
    lab.world.folders.clear()
    lab.world.now += MISSES_AFTER
    return lab


def _lost_marker() -> Lab:
    lab = running()
    lab.world.folders["main"].marker = None
    return lab


def _leaving() -> Lab:
    lab = running(endpoint(), endpoint("old"))
    lab.wants(endpoint())
    return lab


SCENARIOS = {
    "create": Scenario(_new, {}, 1),
    "stop": Scenario(_stopped, {}, 1),
    "write and restart": Scenario(_changed, {}, 1),
    "start again": Scenario(_died, {}, 1),
    "lost directory": Scenario(_lost_directory, {}, 1),
    "lost marker": Scenario(_lost_marker, {}, 1),
    "delete": Scenario(_leaving, {"consent": YES}, 2),
    "destroy": Scenario(running, {"consent": YES, "destroy": True}, 1),
    "purge": Scenario(running, {"consent": YES, "destroy": True, "purge": True}, 0),
}


@pytest.mark.parametrize("starts_go_on", [True, False], ids=["starts go on", "starts die"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_at_any_point_and_a_rerun_converge(name: str, *, starts_go_on: bool) -> None:
    scenario = SCENARIOS[name]
    point, reached = 0, True
    while reached:
        point += 1
        lab = scenario.prepare()
        lab.world.faults.passed.clear()
        before = dict(lab.ids()) if lab.world.lock else {}
        reached = lab.crash(point, starts_go_on=starts_go_on, **scenario.options)
        lab.world.now += 100  # until a PID file that a dead start left behind is stale
        known = set(lab.world.registrations)
        result = lab.apply(**scenario.options)  # type: ignore[arg-type]
        what = f"{name}, point {point}"
        assert result.code == ExitCode.OK, f"{what}: {[r.what for r in result.sight.plan.refusals]}"
        assert len(lab.world.registrations) == scenario.registrations, what
        assert scenario.options.get("purge") or known <= set(lab.world.registrations), what
        if scenario.options.get("destroy"):
            assert (lab.world.folders, lab.world.daemons, lab.ids()) == ({}, [], {}), what
            assert lab.apply(**scenario.options).sight.plan.is_empty, what  # type: ignore[arg-type]
            continue
        lab.assert_converged()
        kept = {n: i for n, i in before.items() if n in lab.desired.endpoints}
        assert kept.items() <= dict(lab.ids()).items(), what
        assert lab.world.outside.store.unfinished() == () or result.sight.plan.is_empty, what
    assert point > 4
