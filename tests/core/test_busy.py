"""What counts as busy: user endpoints, tasks, batch jobs, and what cannot be counted."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.busy import ASKED_FOR_ONE, ids_to_count, interrupting, jobs_of, known_ids, with_work, work_of
from reconciler.core.desired import CONFIG
from reconciler.core.live import BatchJob, LiveDirectory, StatusReport, Unknown
from reconciler.core.saved_plan import fingerprint
from reconciler.core.work import Work
from tests.core.builders import applied, edited, endpoint, settled, uuid, with_user_endpoints

HERE = applied(endpoint())
ME = uuid("main")
ONLINE = StatusReport("online")
SILENT = Unknown("no answer")


def busy(
    directory: LiveDirectory = HERE, jobs: tuple[BatchJob, ...] | Unknown | None = None, **reports: object
) -> Work:
    """Return the work below `main`; reports by `main` or `uepN`."""
    return work_of(directory, {uuid(name): report for name, report in reports.items()}, jobs)  # type: ignore[misc]


def test_a_daemon_without_user_endpoints_is_idle() -> None:
    assert busy(main=ONLINE).is_idle


def test_a_user_endpoint_that_is_alive_counts_whatever_it_reports() -> None:
    """Its report is up to a heartbeat old, and a task may have begun since."""
    below = with_user_endpoints(HERE, 1)
    assert busy(below, uep0=StatusReport("online", 0)) == Work(1)
    assert busy(below, uep0=None) == Work(1)


def test_tasks_are_summed() -> None:
    below = with_user_endpoints(HERE, 2)
    counted = busy(
        below, uep0=StatusReport("online", 2), uep1=StatusReport("online", 3), main=StatusReport("online", 1)
    )
    assert counted == Work(2, 6)


def test_what_the_service_counts_holds_without_a_user_endpoint() -> None:
    assert busy(main=StatusReport("online", 2)) == Work(tasks=2)


def test_a_silent_service_makes_it_uncountable_once_there_is_something_to_count() -> None:
    """On this node, no child process means no user endpoint: that needs nobody's word."""
    assert busy(main=SILENT).is_idle
    below = busy(with_user_endpoints(HERE, 1), main=SILENT, uep0=SILENT)
    assert below == Work(1, uncounted=("its tasks could not be counted: no answer",))
    elsewhere = busy(replace(HERE, processes=()), main=SILENT)
    assert not elsewhere.is_idle


def test_batch_jobs_are_known_by_the_directory_of_their_script() -> None:
    mine = BatchJob("7", (f"/lfs/home/jdoe/.globus_compute/uep.{ME.upper()}.x/submit_scripts/parsl.block-0", "/"))
    other = BatchJob("8", (f"/home/jdoe/uep.{uuid('two')}.x/submit_scripts/parsl", "/"))
    named = BatchJob("9", (f"/home/jdoe/notes-on-{ME}.txt",))
    assert jobs_of((ME,), (mine, other, named)) == ("7",)
    assert busy(jobs=(mine, other)) == Work(jobs=("7",))
    assert busy(jobs=(other,)).is_idle
    assert busy(jobs=()).is_idle


def test_a_silent_batch_system_makes_it_uncountable() -> None:
    work = busy(jobs=Unknown("squeue gave no answer within 15 s"))
    assert work.why_busy() == "its batch jobs could not be counted: squeue gave no answer within 15 s"


def test_both_uuids_are_asked_for_when_files_disagree_and_not_all_user_endpoints() -> None:
    assert known_ids(HERE) == (ME,)
    assert known_ids(replace(HERE, endpoint_id=uuid("other"))) == (uuid("other"), ME)
    assert ids_to_count(with_user_endpoints(HERE, 20))[1:] == tuple(uuid(f"uep{n}") for n in range(ASKED_FOR_ONE))


def test_only_what_is_stopped_in_this_run_is_counted_for_the_plan() -> None:
    scene = settled(endpoint(), endpoint("two"), endpoint("three"))
    wanted = [
        endpoint(config={"debug": False}),
        endpoint("two", config={"debug": False}, restart="never"),
        endpoint("three", state="stopped"),
    ]
    plan = scene.wants(*wanted).plan()
    assert interrupting(plan) == ("main", "three")
    shown = with_work(plan, {"main": Work(1, 2)})
    assert {a.endpoint: a.work for a in shown.actions if a.kind in ("Stop", "Restart")} == {
        "main": Work(1, 2),
        "two": None,
        "three": None,
    }


def test_counts_are_part_of_the_text_and_not_of_a_kept_plan() -> None:
    scene = settled(endpoint(restart="now")).has(
        with_user_endpoints(edited(HERE, CONFIG, {"debug": True, "amqp_port": 443}), 1)
    )
    plan = scene.wants(endpoint(restart="now")).plan()
    one, two = (with_work(plan, {"main": Work(1, tasks)}) for tasks in (1, 2))
    assert one != two
    assert fingerprint(one, "00") == fingerprint(two, "00")
