"""Tasks are not killed: what is busy holds a Stop and a Restart, a drain waits for it. Over fakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconciler.core.scope import Errand
from reconciler.errors import ExitCode, FileSystemError, LoginRequired, SchedulerError, ServiceUnreachable
from tests.core.builders import desired, endpoint, pool
from tests.lab import YES, Lab, Result

DEBUG_OFF = endpoint(config={"debug": False})
HANGS = SchedulerError("Slurm could not be asked", why="squeue gave no answer within 15 s")


def running(*endpoints: Any) -> Lab:
    lab = Lab(desired(*(endpoints or (endpoint(),)), pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    return lab


def restarting(lab: Lab | None = None) -> Lab:
    """Return a lab whose `main` runs, and is to be restarted."""
    lab = lab or running()
    others = [e for e in lab.desired.endpoints.values() if e.name != "main"]
    lab.wants(DEBUG_OFF, *others)
    return lab


def pid_of(lab: Lab, name: str = "main") -> int:
    (daemon,) = lab.world.daemons_of(name)
    return daemon.pid


def why(result: Result, name: str = "main") -> str:
    """Return why the endpoint's daemon was left alone."""
    (outcome,) = (o for o in result.run.outcomes if o.action.endpoint == name and o.action.kind in ("Restart", "Stop"))
    assert outcome.kind == "deferred"
    return outcome.reason or ""


def test_a_restart_that_waits_says_how_not_to() -> None:
    lab = restarting()
    lab.world.user_endpoints["main"], lab.world.tasks["main"] = 1, 2
    [outcome] = [o for o in lab.apply().run.outcomes if o.kind == "deferred"]
    assert "`--drain 2h` waits until it is idle" in (outcome.remedy or "")
    assert "`chiltepin restart main --interrupt` does not wait, and ends the tasks" in (outcome.remedy or "")


@pytest.mark.parametrize(
    ("state", "remedy"), [("stopped", ", `restart: now` in its block does not wait, and ends the tasks"), (None, "")]
)
def test_a_stop_that_waits_names_a_setting_only_where_there_is_a_block_for_it(state: str | None, remedy: str) -> None:
    lab = Lab(desired(endpoint(), endpoint("two")))
    assert lab.apply().code == ExitCode.OK
    lab.world.user_endpoints["main"] = 1
    lab.wants(*([endpoint(state=state)] if state else []), endpoint("two"))
    [outcome] = [o for o in lab.apply(YES).run.outcomes if o.kind == "deferred" and o.action.kind == "Stop"]
    assert outcome.remedy == f"run it again; `--drain 2h` waits until it is idle{remedy}"


# --- what counts


def test_tasks_are_counted_and_hold_the_restart_until_they_are_done() -> None:
    lab = restarting()
    lab.world.user_endpoints["main"], lab.world.tasks["main"] = 1, 2
    before = pid_of(lab)
    result = lab.apply()
    assert result.code == ExitCode.DEFERRED
    assert why(result) == "1 user endpoint is alive below it, 2 tasks are outstanding"
    assert pid_of(lab) == before
    lab.world.user_endpoints.clear()
    assert lab.apply().code == ExitCode.OK
    assert pid_of(lab) != before
    lab.assert_converged()


def test_a_batch_job_holds_the_restart_although_its_user_endpoint_is_gone() -> None:
    lab = restarting()
    lab.world.submit("main", "4711")
    result = lab.apply()
    assert result.code == ExitCode.DEFERRED
    assert why(result) == "1 batch job is in the queue (4711)"
    lab.world.jobs.clear()
    assert lab.apply().code == ExitCode.OK


def test_a_batch_job_of_another_endpoint_does_not() -> None:
    lab = restarting(running(endpoint(), endpoint("two")))
    lab.world.submit("main")
    lab.world.submit("two", "4711")
    assert lab.apply().code == ExitCode.OK


def test_slurm_is_not_asked_about_endpoints_that_never_submitted_a_job() -> None:
    lab = restarting()
    lab.world.faults.fail("jobs", HANGS)
    assert lab.apply().code == ExitCode.OK
    assert lab.world.faults.raised == 0


def test_a_queue_that_cannot_be_read_counts_as_busy() -> None:
    lab = restarting()
    lab.world.submit("main")
    lab.world.faults.fail("jobs", HANGS)
    result = lab.apply()
    assert result.code == ExitCode.DEFERRED
    assert why(result) == "its batch jobs could not be counted: squeue gave no answer within 15 s"
    lab.world.faults.revive()
    assert lab.apply().code == ExitCode.OK


def test_directories_that_cannot_be_looked_through_count_as_busy() -> None:
    lab = restarting()
    lab.world.faults.fail("submits_jobs", FileSystemError("input/output error"))
    assert "could not be counted: input/output error" in why(lab.apply())


def test_a_silent_service_counts_as_busy_where_a_task_may_run() -> None:
    lab = restarting()
    lab.world.user_endpoints["main"] = 1
    lab.world.faults.fail("report", ServiceUnreachable("no answer from the service"))
    said = why(lab.apply())
    assert said.endswith("its tasks could not be counted: no answer from the service")


def test_stop_of_an_idle_daemon_needs_no_service_and_that_of_a_busy_one_waits() -> None:
    lab = running(endpoint(), endpoint("two"))
    lab.wants(endpoint(state="stopped"), endpoint("two", state="stopped"))
    lab.world.user_endpoints["two"] = 1
    lab.world.service_down = True
    result = lab.apply()
    assert result.outcomes == {("main", "Stop"): "done", ("two", "Stop"): "deferred"}
    assert "no answer from the service" in why(result, "two")


def test_it_is_looked_at_again_just_before_the_action() -> None:
    lab = restarting()
    before = pid_of(lab)

    def begin() -> None:
        lab.world.user_endpoints["main"] = 1

    assert lab.apply(between=begin).code == ExitCode.DEFERRED
    assert pid_of(lab) == before


def test_the_plan_says_what_it_waits_for_and_what_now_interrupts() -> None:
    lab = restarting()
    lab.world.user_endpoints["main"], lab.world.tasks["main"] = 1, 3
    lab.world.submit("main", "17")
    (_, restart) = lab.sight().plan.actions
    assert restart.work is not None
    assert restart.work.holds() == "1 user endpoint alive below it, 3 tasks outstanding, 1 batch job (17)"
    lab.wants(endpoint(config={"debug": False}, restart="now"))
    (*_, restart) = lab.sight().plan.actions
    assert restart.work is not None
    assert restart.work.losses() == "1 user endpoint, 3 tasks (as last reported) and 1 batch job (17)"
    assert lab.apply().code == ExitCode.OK


def test_never_is_not_waited_for() -> None:
    lab = running()
    lab.wants(endpoint(config={"debug": False}, restart="never"))
    lab.world.user_endpoints["main"] = 1
    result = lab.apply(drain=60)
    assert result.code == ExitCode.DEFERRED
    assert result.waited == ()


# --- drain


def at(lab: Lab, seconds: float, happens: Callable[[], object]) -> None:
    """Let something happen once the lab's clock has gone on for so long."""
    due = lab.world.now + seconds

    def look() -> None:
        if lab.world.now >= due:
            lab.world.slept = before
            happens()

    before, lab.world.slept = lab.world.slept, look


def test_drain_waits_until_it_is_idle() -> None:
    lab = restarting()
    before, began = pid_of(lab), lab.world.now
    lab.world.user_endpoints["main"], lab.world.tasks["main"] = 1, 2
    at(lab, 100, lab.world.user_endpoints.clear)
    result = lab.apply(drain=1800)
    assert result.code == ExitCode.OK
    assert result.waited[0] == ("main", "2 tasks", 1800.0)
    assert 100 <= lab.world.now - began < 130
    assert pid_of(lab) != before
    lab.assert_converged()


def test_drain_ends_with_its_time_and_does_the_rest() -> None:
    lab = restarting(running(endpoint(), endpoint("two")))
    lab.wants(DEBUG_OFF, endpoint("two", config={"debug": False}))
    began, before = lab.world.now, pid_of(lab)
    lab.world.user_endpoints["main"] = 1
    result = lab.apply(drain=65)
    assert result.code == ExitCode.DEFERRED
    assert result.outcomes["two", "Restart"] == "done"
    assert [left for _, _, left in result.waited] == sorted((left for _, _, left in result.waited), reverse=True)
    assert 65 <= lab.world.now - began < 80
    assert pid_of(lab) == before


def test_drain_waits_for_an_answer_too() -> None:
    lab = restarting()
    lab.world.submit("main")
    lab.world.faults.fail("jobs", HANGS)
    at(lab, 30, lab.world.faults.revive)
    result = lab.apply(drain=600)
    assert result.code == ExitCode.OK
    assert result.waited[0][1] == HANGS_TEXT


HANGS_TEXT = "its batch jobs could not be counted: squeue gave no answer within 15 s"


def test_ctrl_c_ends_a_drain_at_once() -> None:
    lab = restarting()
    before = pid_of(lab)
    lab.world.user_endpoints["main"] = 1
    at(lab, 30, lab.stop.set)
    began = lab.world.now
    result = lab.apply(drain=1800)
    assert result.code == ExitCode.INTERRUPTED
    assert result.outcomes["main", "Restart"] == "skipped"
    assert lab.world.now - began <= 31
    assert pid_of(lab) == before


def test_a_lease_that_is_lost_ends_a_drain() -> None:
    lab = restarting()
    lab.world.user_endpoints["main"] = 1

    def lose() -> None:
        lab.world.lease_lost = True

    at(lab, 30, lose)
    assert lab.apply(drain=1800).code == ExitCode.LEASE_HELD


def test_a_daemon_that_ends_by_itself_during_a_drain_is_started_again() -> None:
    lab = restarting()
    lab.world.user_endpoints["main"] = 1
    at(lab, 30, lambda: lab.world.end(lab.world.daemons[0], cleanly=True))
    assert lab.apply(drain=1800).code == ExitCode.OK
    lab.assert_converged()


def test_what_changes_during_a_drain_is_not_overrun() -> None:
    lab = restarting()
    lab.world.user_endpoints["main"] = 1

    def dies() -> None:
        for daemon in lab.world.daemons_of("main"):
            lab.world.end(daemon, cleanly=False)

    at(lab, 30, dies)
    result = lab.apply(drain=1800)
    assert result.code == ExitCode.DEFERRED
    assert why(result) == f"its daemon is no longer PID {result.sight.plan.actions[-1].process.pid}"  # type: ignore[union-attr]


@pytest.mark.parametrize("purge", [False, True])
def test_destroy_and_deletes_drain_as_well(purge: bool) -> None:
    lab = running()
    lab.world.user_endpoints["main"] = 1
    at(lab, 50, lab.world.user_endpoints.clear)
    result = lab.apply(YES, drain=600, destroy=True, purge=purge)
    assert result.code == ExitCode.OK
    assert result.waited
    assert lab.world.folders == {}


def test_restart_by_name_drains() -> None:
    lab = running()
    before = pid_of(lab)
    lab.world.user_endpoints["main"] = 1
    at(lab, 50, lab.world.user_endpoints.clear)
    assert lab.apply(drain=600, errand=Errand("restart", ("main",))).code == ExitCode.OK
    assert pid_of(lab) != before


def test_many_that_drain_keep_nobody_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread: if who waits came first, who only starts would wait as well."""
    monkeypatch.setattr("reconciler.apply.MAX_THREADS", 1)
    lab = restarting()
    lab.wants(DEBUG_OFF, endpoint("two"))
    lab.world.user_endpoints["main"] = 1
    result = lab.apply(drain=60)
    assert [(o.action.endpoint, o.action.kind) for o in result.run.outcomes if o.kind == "done"][:2] == [
        ("two", "Create"),
        ("two", "Start"),
    ]
    assert result.code == ExitCode.DEFERRED


def test_a_login_that_ends_while_tasks_are_counted_stops_that_endpoint_only() -> None:
    lab = running()
    lab.wants(DEBUG_OFF, endpoint("two"))
    before = pid_of(lab)

    def refuse() -> None:
        lab.world.faults.fail("report", LoginRequired("the token was refused", remedy="`chiltepin login`"))

    result = lab.apply(between=refuse)
    assert result.code == ExitCode.LOGIN
    assert (result.outcomes["main", "Restart"], pid_of(lab)) == ("failed", before)
    assert (result.outcomes["two", "Start"], lab.ids()["two"] in lab.world.registrations) == ("done", True)
    (failed,) = [o for o in result.run.outcomes if o.kind == "failed"]
    assert (failed.reason, failed.remedy) == ("the token was refused", "`chiltepin login`")
    lab.world.faults.revive()
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
