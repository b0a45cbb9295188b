"""Login nodes: what is known of a daemon that has no process here, and what is planned for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.actions import Adopt, Note, Start, StopElsewhere
from reconciler.core.conditions import violated
from reconciler.core.daemon import DaemonState, judge_daemon
from reconciler.core.desired import DesiredEndpoint, HostView
from reconciler.core.elsewhere import MISSED_WITHIN, Away, in_doubt, sight_elsewhere, without_a_node
from reconciler.core.live import LiveDirectory, PidFile, Registration, Unknown
from reconciler.core.machine import Moment
from reconciler.core.marker import Marker
from reconciler.core.pid_file import LISTED_AS_RUNNING, START_REFUSES, is_fresh, is_stale
from reconciler.core.preconditions import Idle, NoDaemon, PidFileIs
from reconciler.core.scope import Errand
from tests.core.builders import (
    HOST,
    Scene,
    applied,
    endpoint,
    intent,
    marked,
    record,
    registration,
    says,
    settled,
    uuid,
    with_user_endpoints,
)

RUNNING = applied(endpoint())
DIGEST = RUNNING.files["config.yaml"].digest
ID = uuid("main")
THERE = {"host": "ufe02", "started": 1_700_000_000.0}
FRESH, MIDDLE, OLD = 3.0, LISTED_AS_RUNNING + 1, START_REFUSES + 1


def seen(age: float | None, pid: int | None = 100, **recorded: object) -> LiveDirectory:
    """Return a directory without a process here: its PID file's age, and what the marker says of the daemon."""
    directory = replace(RUNNING, processes=(), pid_file=PidFile(pid, age))
    return marked(directory, daemon=record(DIGEST, **recorded) if recorded else None)  # type: ignore[arg-type]


ELSEWHERE = seen(FRESH, **THERE)


def at(directory: LiveDirectory, status: object = None, hostname: str | None = None, **live: object) -> Scene:
    """Return a scene with one endpoint; `status` and `hostname` are the service's, where they were asked."""
    statuses = {} if status is None else {ID: status}
    scene = settled(endpoint()).has(directory).owns(registration(hostname=hostname))
    return scene.sees(statuses=statuses, **live)


def away(scene: Scene) -> Away:
    directory = scene.live.directories["main"]
    marker = directory.marker if isinstance(directory.marker, Marker) else None
    return sight_elsewhere(directory, marker, scene.live).away


def state(scene: Scene) -> DaemonState:
    directory = scene.live.directories["main"]
    return judge_daemon(directory, directory.marker, scene.live).state  # type: ignore[arg-type]


def wanted(**changes: object) -> DesiredEndpoint:
    return endpoint(**changes)


def planned(scene: Scene) -> list[tuple[str, bool]]:
    """Return the planned actions, each with whether it waits."""
    return [(a.kind, a.hold is not None) for a in scene.plan().actions]


# --- the PID file's age


@pytest.mark.parametrize(
    ("age", "fresh", "stale"),
    [
        (0.0, True, False),
        (30.0, True, False),
        (-29.0, True, False),
        (31.0, False, False),
        (90.0, False, False),
        (91.0, False, True),
        (-31.0, False, False),
        (None, False, False),
    ],
)
def test_ages(age: float | None, fresh: bool, stale: bool) -> None:
    assert (is_fresh(age), is_stale(age)) == (fresh, stale)


# --- the evidence


@pytest.mark.parametrize("age", [FRESH, MIDDLE, OLD, None])
@pytest.mark.parametrize("status", [None, "online", "offline", Unknown("timeout")])
def test_what_was_started_here_and_has_no_process_is_gone(age: float | None, status: object) -> None:
    """However fresh its PID file is, and whatever the service says: its process would be here."""
    scene = at(seen(age, host=HOST.name), status)
    assert (away(scene), state(scene)) == (Away.GONE, DaemonState.DEAD)
    assert planned(scene) == [("ClearStalePid", False), ("Start", False)]


@pytest.mark.parametrize(
    ("recorded", "seconds", "expected"),
    [
        ({}, 0.0, Away.GONE),
        ({}, MISSED_WITHIN, Away.GONE),
        ({}, MISSED_WITHIN + 0.1, Away.ABROAD),
        ({}, -0.1, Away.ABROAD),
        ({"host": "ufe09"}, 1.0, Away.ABROAD),
        ({"boot_id": "an earlier boot"}, 1.0, Away.ABROAD),
        ({"namespace": "pid:[2]"}, 1.0, Away.ABROAD),
    ],
)
def test_for_five_minutes_the_end_on_record_outweighs_the_service(
    recorded: dict[str, object], seconds: float, expected: Away
) -> None:
    """Then another daemon is online, perhaps a copy's; so it is where this node cannot know the moment."""
    ended = replace(seen(OLD, **{"host": HOST.name, "ended": 5000.0, **recorded}), pid_file=None)
    scene = at(ended, "online").sees(moment=Moment(HOST.boot_id, 5000.0 + seconds))
    assert away(scene) is expected
    asked = in_doubt(scene.live.directories.values(), scene.sees(statuses={}).live)
    assert asked == ({ID} if expected is Away.ABROAD else set())


SILENT = Unknown("timeout")
REBOOTED = {"host": HOST.name, "boot_id": "an earlier boot"}
BESIDE = {"host": HOST.name, "namespace": "pid:[2]"}


@pytest.mark.parametrize(
    ("recorded", "age", "status", "expected"),
    [
        (REBOOTED, OLD, None, Away.UNDECIDED),
        (REBOOTED, OLD, SILENT, Away.UNDECIDED),
        (REBOOTED, OLD, "offline", Away.GONE),
        (REBOOTED, OLD, "online", Away.LINGERS),
        (REBOOTED, MISSED_WITHIN + 1, "online", Away.ABROAD),
        (REBOOTED, None, "online", Away.ABROAD),
        (REBOOTED, None, "offline", Away.GONE),
        (REBOOTED, MIDDLE, "offline", Away.GONE),
        (REBOOTED, FRESH, None, Away.DOUBTFUL),
        (REBOOTED, FRESH, SILENT, Away.UNDECIDED),
        (REBOOTED, FRESH, "offline", Away.DOUBTFUL),
        (REBOOTED, FRESH, "online", Away.RUNS),
        (BESIDE, FRESH, None, Away.DOUBTFUL),
        (BESIDE, FRESH, "offline", Away.DOUBTFUL),
        (BESIDE, FRESH, "online", Away.RUNS),
        (BESIDE, MIDDLE, "offline", Away.DOUBTFUL),
        (BESIDE, OLD, None, Away.UNDECIDED),
        (BESIDE, OLD, "offline", Away.GONE),
        (BESIDE, MISSED_WITHIN + 1, "online", Away.ABROAD),
    ],
)
def test_this_nodes_name_proves_nothing_by_itself(
    recorded: dict[str, object], age: float | None, status: object, expected: Away
) -> None:
    """After a reboot, in a container of the same name, in a copy of the home on another cluster."""
    scene = at(seen(age, **recorded), status)
    assert away(scene) is expected
    asked = in_doubt(scene.live.directories.values(), scene.sees(statuses={}).live)
    assert asked == {ID}, "only the service can tell"


def test_a_pid_file_that_is_missing_leaves_it_to_the_service() -> None:
    def missing(status: object, **recorded: object) -> Away:
        return away(at(replace(seen(OLD, **recorded), pid_file=None), status))

    assert missing("online", **REBOOTED) is missing("online", **BESIDE) is Away.ABROAD
    assert missing(None, **REBOOTED) is missing(SILENT, **BESIDE) is Away.UNDECIDED
    assert missing("offline", **REBOOTED) is Away.GONE


def test_a_record_without_a_namespace_stays_valid_but_for_a_pid_file_that_is_touched() -> None:
    old = {"host": HOST.name, "namespace": None}
    assert away(at(seen(OLD, **old))) is away(at(seen(MIDDLE, **old))) is Away.GONE
    assert away(at(seen(FRESH, **old))) is Away.DOUBTFUL


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_what_is_online_and_shows_nothing_here_is_refused_with_both_sides(state: str) -> None:
    plan = at(seen(MISSED_WITHIN + 1, **REBOOTED), "online").wants(wanted(state=state)).plan()
    assert not plan.actions
    (refusal,) = plan.refusals
    assert (refusal.exit_code, "it runs elsewhere" in refusal.what) == (4, True)
    assert refusal.evidence == (
        "recorded: PID 100 on ufe01, boot an earlier boot",
        "here: ufe01, boot boot-1",
    )


def test_after_a_reboot_it_waits_until_the_service_has_noticed() -> None:
    says(
        at(seen(OLD, **REBOOTED), "online").text(),
        """
        Plan for stack hrrr on ufe01:

          main: not running
            > start
                waits: it ran on ufe01 before that, or its container, was started anew, and the service still says online, as it does until it has missed some heartbeats

        Plan: 1 to start.
        """,  # noqa: E501
    )
    assert planned(at(seen(OLD, **REBOOTED), "offline")) == [("ClearStalePid", False), ("Start", False)]
    assert planned(at(seen(OLD, **REBOOTED), SILENT)) == []


@pytest.mark.parametrize(
    ("age", "status", "expected"),
    [
        (FRESH, None, Away.RUNS),
        (FRESH, "online", Away.RUNS),
        (FRESH, "offline", Away.DOUBTFUL),
        (MIDDLE, None, Away.UNDECIDED),
        (MIDDLE, "online", Away.RUNS),
        (MIDDLE, "offline", Away.DOUBTFUL),
        (OLD, None, Away.UNDECIDED),
        (OLD, "online", Away.RUNS),
        (OLD, "offline", Away.GONE),
        (OLD, Unknown("timeout"), Away.UNDECIDED),
        (None, None, Away.UNDECIDED),
        (None, "online", Away.RUNS),
        (None, "offline", Away.DOUBTFUL),
        (-600.0, "offline", Away.DOUBTFUL),
    ],
)
def test_recorded_on_another_node(age: float | None, status: object, expected: Away) -> None:
    assert away(at(seen(age, **THERE), status)) is expected


@pytest.mark.parametrize(
    ("age", "status", "hostname", "expected"),
    [
        (FRESH, None, None, Away.DOUBTFUL),
        (FRESH, "online", None, Away.RUNS),
        (FRESH, "offline", None, Away.DOUBTFUL),
        (FRESH, "offline", "ufe02.noaa.gov", Away.DOUBTFUL),
        (FRESH, "offline", "ufe01.noaa.gov", Away.GONE),
        (FRESH, "online", "ufe01.noaa.gov", Away.RUNS),
        (FRESH, "offline", "localhost", Away.DOUBTFUL),
        (MIDDLE, "offline", "ufe01", Away.GONE),
        (MIDDLE, "offline", "ufe02", Away.DOUBTFUL),
        (OLD, "offline", "ufe02", Away.GONE),
        (OLD, None, "ufe01", Away.UNDECIDED),
    ],
)
@pytest.mark.parametrize("recorded", [{}, {"pid": 7, "host": HOST.name}, {"pid": 7, "host": "ufe03"}])
def test_a_pid_that_nothing_records(
    age: float, status: object, hostname: str | None, expected: Away, recorded: dict[str, object]
) -> None:
    """Somebody started it by hand, on whichever node; the registration names the host of the last start."""
    assert away(at(seen(age, **recorded), status, hostname)) is expected


def test_the_intent_of_a_start_that_was_cut_off_here() -> None:
    assert state(at(seen(FRESH), pending={"main": intent()})) is DaemonState.DEAD
    for other in ({"host": "ufe02"}, {"boot_id": "another"}, {"namespace": "pid:[2]"}, {"boot_id": None}):
        assert state(at(seen(FRESH), pending={"main": intent(**other)})) is DaemonState.ELSEWHERE


@pytest.mark.parametrize(
    ("status", "expected"),
    [(None, Away.UNDECIDED), (Unknown("x"), Away.UNDECIDED), ("online", Away.RUNS), ("offline", Away.GONE)],
)
def test_without_a_pid_file(status: object, expected: Away) -> None:
    directory = replace(ELSEWHERE, pid_file=None)
    assert away(at(directory, status)) is expected
    assert away(at(marked(directory, daemon=record(DIGEST)), status)) is Away.GONE, "it was this node's"


def test_without_any_trace_the_service_may_know_of_one_all_the_same() -> None:
    """It is a copy of a stopped one, whose original runs; or it lost PID file and marker, and ends within 15 s."""
    directory = applied(endpoint(), running=False)
    assert away(at(directory)) is away(at(directory, "offline")) is Away.GONE
    assert away(at(directory, "online")) is Away.ABROAD
    assert planned(at(directory, "online")) == []
    assert planned(at(directory, Unknown("timeout"))) == []


def test_a_registration_that_is_gone_has_no_daemon_online() -> None:
    assert away(at(seen(OLD, **THERE)).owns()) is Away.GONE
    assert away(at(seen(FRESH, **THERE)).owns()) is Away.DOUBTFUL


def test_an_empty_pid_file_is_what_a_touch_brought_back() -> None:
    assert away(at(seen(FRESH, pid=None, **THERE))) is Away.RUNS
    assert away(at(seen(FRESH, pid=None, host=HOST.name), "offline")) is Away.DOUBTFUL


def test_only_what_is_in_doubt_is_asked_about() -> None:
    def asked(directory: LiveDirectory, resting: str = "main", **live: object) -> tuple[set[str], set[str]]:
        scene = at(directory, **live)  # type: ignore[arg-type]
        return in_doubt([directory], scene.live, [resting]), without_a_node([directory], scene.live)

    ended = applied(endpoint(), running=False)
    assert asked(RUNNING) == asked(ended) == (set(), set())
    assert asked(ended, resting="") == ({ID}, set()), "it is about to be started, or to go"
    assert asked(seen(OLD, host=HOST.name)) == (set(), set())
    assert asked(ELSEWHERE) == (set(), set())
    assert asked(seen(OLD, **THERE)) == ({ID}, set())
    assert asked(seen(FRESH)) == ({ID}, {ID})
    assert asked(seen(OLD), status="offline") == (set(), set())
    assert asked(seen(FRESH), status="online") == (set(), {ID})
    assert asked(seen(FRESH), status="online", hostname="ufe02") == (set(), set())
    unknown: Registration | Unknown = Unknown("timeout")
    assert asked(seen(FRESH), registrations=unknown)[1] == {ID}


# --- running


def test_satisfied_and_said() -> None:
    scene = at(ELSEWHERE)
    says(
        scene.text(),
        """
        No changes. 1 endpoint on ufe01 as declared.
          main: its daemon runs on ufe02, another node of this home directory, since 2023-11-14 22:13 UTC
        """,
    )
    (running,) = scene.plan().running
    assert (running.id, running.process) == (ID, None), "an apply observes that it is online"


def test_of_an_unknown_node() -> None:
    (note,) = at(seen(OLD), "online").plan().notes
    assert note == Note("main", "its daemon runs on another node of this home directory")


def test_nothing_is_started_beside_a_pid_file_that_was_touched_a_moment_ago() -> None:
    scene = at(seen(FRESH), "offline", "ufe02.noaa.gov")
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: not running
            > start
                waits: its PID file was touched less than 90 s ago by a daemon on ufe02, and the service does not see one: it is starting, or has just died

        Plan: 1 to start.
        """,  # noqa: E501
    )
    assert planned(scene) == [("Start", True)]


def test_what_only_the_service_can_tell_waits_for_it() -> None:
    for scene in (at(seen(OLD, **THERE)), at(seen(OLD, **THERE), Unknown("timeout"))):
        plan = scene.plan()
        assert not plan.actions
        assert [b.endpoint for b in plan.blocked] == ["main"]


def test_a_node_that_died_is_replaced() -> None:
    says(
        at(seen(OLD, **THERE), "offline").text(),
        """
        Plan for stack hrrr on ufe01:

          main: its process died
            ~ clear daemon.pid of the dead process 100
            > start

        Plan: 1 to clear, 1 to start.
        """,
    )


# --- restart


def changed(directory: LiveDirectory = ELSEWHERE, status: object = None, **changes: object) -> Scene:
    return at(directory, status).wants(wanted(config={"debug": False}, **changes))


def test_a_changed_configuration_moves_it_and_only_after_it_has_ended() -> None:
    says(
        changed().text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write config.yaml
                ~ debug: true -> false
            # stop (on ufe02, by removing its PID file)
                config.yaml is not the one it started with
            > start

          ~ write the lockfile (resolved state changed)

          main: its daemon runs on ufe02, another node of this home directory, since 2023-11-14 22:13 UTC

        Plan: 1 to change, 1 to start, 1 to stop.
        """,
    )
    _, stop, start = changed().plan().actions
    assert isinstance(stop, StopElsewhere)
    assert isinstance(start, Start)
    assert {NoDaemon(), PidFileIs(100), Idle()} < set(stop.preconditions)
    assert start.id == stop.id == ID
    assert Idle() not in changed(restart="now").plan().actions[1].preconditions


def test_it_waits_while_tasks_may_run() -> None:
    scene = changed(with_user_endpoints(ELSEWHERE, 2))
    assert "waits until idle: 2 user endpoints alive below it" in scene.text()


def test_a_crash_after_the_file_was_written_leaves_the_move_in_the_plan() -> None:
    written = applied(wanted(config={"debug": False}))
    directory = replace(written, processes=(), pid_file=PidFile(100, FRESH))
    directory = marked(directory, daemon=record(DIGEST, **THERE))
    assert planned(changed(directory)) == [("Stop", False), ("Start", False)]


def test_restart_never_is_held() -> None:
    plan = changed(restart="never").plan()
    assert [(a.kind, a.hold) for a in plan.actions if a.kind in ("Stop", "Start")] == [
        ("Stop", "the manifest says `restart: never`"),
        ("Start", "the manifest says `restart: never`"),
    ]


def test_run_on_keeps_it_where_it_is() -> None:
    scene = changed().wants(wanted(config={"debug": False}), host=HostView(run_on=("ufe02",)))
    assert planned(scene) == [("WriteFile", False), ("Stop", True), ("Start", True)]
    assert {a.instead for a in scene.plan().actions[1:]} == {"run the same command on ufe02"}


def test_the_environment_of_this_node_is_no_reason_to_move_it() -> None:
    """Two nodes whose cron jobs differ in it would move it to and fro."""
    plan = at(seen(FRESH, **THERE, prefix="/opt/other")).plan()
    assert not plan.actions
    assert "`chiltepin restart main` moves it here" in plan.notes[-1].text


def test_without_the_service_it_is_not_moved() -> None:
    plan = changed().sees(registrations=Unknown("timeout")).plan()
    assert [a.kind for a in plan.actions] == ["WriteFile"]
    assert [b.endpoint for b in plan.blocked] == ["main"]


def test_one_without_its_pid_file_is_about_to_end_and_is_waited_for() -> None:
    says(
        at(replace(ELSEWHERE, pid_file=None), "online").text(),
        """
        Plan for stack hrrr on ufe01:

          main: not running
            # stop (on ufe02, it has lost its PID file, and ends by itself)
            > start

        Plan: 1 to start, 1 to stop.
        """,
    )


def test_one_that_nobody_recorded_is_recorded_with_its_node() -> None:
    scene = at(seen(FRESH), "online", "ufe02.noaa.gov")
    (adopt,) = scene.plan().actions
    assert isinstance(adopt, Adopt)
    found = adopt.marker.daemon
    assert found is not None
    assert (found.host, found.pid, found.config, found.start_time) == ("ufe02", 100, DIGEST, 0)
    assert not at(marked(seen(FRESH), daemon=found)).plan().actions, "once"


def test_what_was_registered_here_and_has_just_died_is_not_recorded_as_elsewhere() -> None:
    scene = at(seen(FRESH), "online", "ufe01.noaa.gov")
    assert not scene.plan().actions
    assert state(scene) is DaemonState.ELSEWHERE


def restart_by_hand(scene: Scene, *, interrupt: bool = False) -> list[tuple[str, bool]]:
    plan = scene.plan(errand=Errand("restart", ("main",), interrupt=interrupt))
    return [(a.kind, a.hold is not None) for a in plan.actions]


def test_restart_by_hand_moves_it_here() -> None:
    assert restart_by_hand(at(ELSEWHERE)) == [("Stop", False), ("Start", False)]
    elsewhere = at(ELSEWHERE).wants(wanted(), host=HostView(run_on=("ufe02",)))
    assert restart_by_hand(elsewhere) == [("Stop", True), ("Start", True)]
    stop = at(ELSEWHERE).plan(errand=Errand("restart", ("main",))).actions[0]
    assert Idle() in stop.preconditions
    stop = at(ELSEWHERE).plan(errand=Errand("restart", ("main",), interrupt=True)).actions[0]
    assert Idle() not in stop.preconditions
    assert restart_by_hand(at(seen(FRESH), "offline")) == [("Start", True)]


# --- stopped


def stopped(directory: LiveDirectory = ELSEWHERE, status: object = None, **changes: object) -> Scene:
    return at(directory, status).wants(wanted(state="stopped", **changes))


def test_declared_stopped() -> None:
    says(
        stopped().text(),
        """
        Plan for stack hrrr on ufe01:

          main: declared stopped
            # stop (on ufe02, by removing its PID file)

          ~ write the lockfile (resolved state changed)

        Plan: 1 to stop.
        """,
    )
    assert planned(stopped(seen(FRESH), "offline")) == [("Stop", False)]
    assert planned(stopped(replace(ELSEWHERE, pid_file=None), "online")) == [("Stop", False)]
    assert planned(stopped(replace(ELSEWHERE, pid_file=None), "offline")) == []
    assert planned(stopped(seen(OLD, **THERE), "offline")) == [("ClearStalePid", False)]


def test_declared_stopped_needs_the_services_word() -> None:
    for scene in (stopped(seen(OLD, **THERE)), stopped().sees(registrations=Unknown("timeout"))):
        plan = scene.plan()
        assert not plan.actions
        assert [b.endpoint for b in plan.blocked] == ["main"]


def test_a_pid_file_that_changed_since_the_plan_defers_the_stop() -> None:
    assert violated(PidFileIs(100), ELSEWHERE) is None
    assert violated(PidFileIs(100), replace(ELSEWHERE, pid_file=None)) is None
    assert violated(PidFileIs(100), replace(ELSEWHERE, pid_file=PidFile(None, 1.0))) is None
    assert violated(PidFileIs(100), replace(ELSEWHERE, pid_file=PidFile(7, 1.0)))
