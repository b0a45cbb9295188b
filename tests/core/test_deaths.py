"""Which deaths nothing explains, and when there are too many of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.actions import Adopt, ClearStalePid, Start
from reconciler.core.deaths import LIMIT, WINDOW, deaths_of, recent_deaths, remark, too_many, unexplained
from reconciler.core.live import LiveDirectory, PidFile
from reconciler.core.machine import Moment
from reconciler.core.marker import Death, Marker
from reconciler.core.progress import marker_after
from reconciler.core.statuses import status_rows
from tests.core.builders import BEGINS, ENDS, GAVE_UP, HOST, Scene, applied, endpoint, intent, marked, record, settled


def gone(*, pid_file: bool = True, **changes: Any) -> LiveDirectory:
    """Return the directory of a daemon that is on record and not there; its PID file was touched at 900."""
    directory = replace(applied(endpoint()), processes=(), logged=800.0, **changes)
    return replace(directory, pid_file=PidFile(100, 60.0, 900.0) if pid_file else None)


def seen(directory: LiveDirectory, log: str = BEGINS, **live: Any) -> Scene:
    """Return the scene with this directory and log."""
    return settled(endpoint()).has(directory).sees(log_ends={"main": log}, **live)


def judged(directory: LiveDirectory, log: str = BEGINS, **live: Any) -> Death | None:
    """Return the death that nothing explains."""
    assert isinstance(directory.marker, Marker)
    return unexplained(directory, directory.marker, seen(directory, log, **live).live)


def test_a_process_that_was_killed_is_an_unexplained_death_at_the_last_sign_of_life() -> None:
    assert judged(gone()) == Death(at=900.0, pid=100)
    assert judged(gone(), "") == Death(at=900.0, pid=100)


def test_a_daemon_that_gave_up_is_one_although_it_ended_in_order() -> None:
    assert judged(gone(pid_file=False), BEGINS + GAVE_UP + ENDS) == Death(at=800.0, pid=100)


def test_a_killed_daemon_whose_pid_file_somebody_removed() -> None:
    assert judged(gone(pid_file=False)) == Death(at=800.0, pid=100)


@pytest.mark.parametrize(
    ("directory", "log", "live"),
    [
        (gone(), BEGINS + ENDS, {}),
        (gone(pid_file=False), BEGINS + ENDS, {}),
        (gone(pid_file=False), "", {}),
        (gone(), BEGINS, {"host": replace(HOST, boot_id="boot-2")}),  # the node was rebooted
        (gone(), BEGINS, {"host": replace(HOST, name="ufe02")}),  # it ran elsewhere: nobody knows
        (gone(), BEGINS, {"pending": {"main": intent("main", "Stop")}}),
        (gone(), BEGINS, {"pending": {"main": intent("main", "Delete")}}),
        (applied(endpoint()), BEGINS, {}),  # it lives
        (marked(gone(), daemon=None), BEGINS, {}),
    ],
)
def test_what_explains_it(directory: LiveDirectory, log: str, live: dict[str, Any]) -> None:
    assert judged(directory, log, **live) is None


def dead(*at: float, pid_file: bool = True) -> LiveDirectory:
    """Return the directory of a daemon that died at 900, after deaths at these times."""
    return marked(gone(pid_file=pid_file), deaths=tuple(Death(at=a, pid=n) for n, a in enumerate(at)))


def test_a_death_is_put_on_record_when_its_traces_go() -> None:
    clear, start = seen(dead(500.0)).plan().actions
    assert isinstance(clear, ClearStalePid)
    assert isinstance(start, Start)
    marker = dead(500.0).marker
    assert isinstance(marker, Marker)
    cleared = marker_after(marker, clear, None, None, Moment())
    assert [d.at for d in cleared.deaths] == [500.0, 900.0]
    started = marker_after(cleared, start, "x", record("c"), Moment())
    assert started.deaths == cleared.deaths


def test_a_death_without_a_pid_file_is_put_on_record_by_the_start() -> None:
    (start,) = seen(dead(500.0, pid_file=False), BEGINS + GAVE_UP + ENDS).plan().actions
    assert isinstance(start, Start)
    assert start.deaths is not None
    assert [d.at for d in start.deaths] == [500.0, 800.0]


def test_explained_ends_leave_the_record_alone() -> None:
    (clear, start) = seen(dead(500.0), BEGINS + ENDS).plan().actions
    assert (clear.deaths, start.deaths) == (None, None)  # type: ignore[union-attr]


def test_the_third_within_a_day_is_refused_with_the_evidence() -> None:
    scene = seen(dead(100.0, 500.0), BEGINS + "the last words\n")
    plan = scene.plan()
    (clear,) = plan.actions  # the death goes on record, for other nodes to know of it
    assert isinstance(clear, ClearStalePid)
    assert clear.deaths is not None
    assert [d.at for d in clear.deaths] == [100.0, 500.0, 900.0]
    (refusal,) = plan.refusals
    assert refusal.exit_code == 4
    assert "died 3 times within 24 h" in refusal.what
    assert "`chiltepin apply --retry`" in refusal.remedy
    assert refusal.evidence[0] == "died 1970-01-01 00:01:40 UTC, PID 0"
    assert refusal.evidence[-1] == "| the last words"
    (row,) = status_rows(scene.desired, scene.live, scene.known.lock)
    assert row.deaths == 3
    assert "until `chiltepin apply --retry`" in row.notes[0]


def test_retry_starts_it_and_forgets() -> None:
    clear, start = seen(dead(100.0, 500.0)).plan(retry=True).actions
    assert isinstance(clear, ClearStalePid)
    assert isinstance(start, Start)
    assert start.deaths == ()


def test_files_are_written_all_the_same_and_a_stopped_one_is_no_matter() -> None:
    scene = seen(dead(100.0, 500.0))
    plan = scene.wants(endpoint(config={"debug": False})).plan()
    assert [a.kind for a in plan.actions] == ["WriteFile", "ClearStalePid"]
    assert scene.wants(endpoint(state="stopped")).plan().refusals == ()


def test_the_third_without_a_pid_file_is_put_on_record_before_files_are() -> None:
    scene = seen(dead(100.0, 500.0, pid_file=False), BEGINS + GAVE_UP + ENDS)
    plan = scene.wants(endpoint(config={"debug": False})).plan()
    assert [a.kind for a in plan.actions] == ["Adopt", "WriteFile"]
    adopt = plan.actions[0]
    assert isinstance(adopt, Adopt)
    assert [d.at for d in adopt.marker.deaths] == [100.0, 500.0, 800.0]
    again = scene.has(replace(dead(pid_file=False), marker=adopt.marker)).plan()
    assert ([a.kind for a in again.actions], len(again.refusals)) == ([], 1)


def test_the_third_is_put_on_record_along_with_a_repair() -> None:
    scene = seen(dead(100.0, 500.0, pid_file=False), BEGINS + GAVE_UP + ENDS)
    (adopt,) = scene.wants(endpoint(protect=True)).plan().actions
    assert isinstance(adopt, Adopt)
    assert (adopt.marker.protect, len(adopt.marker.deaths)) == (True, 3)


def test_what_was_too_much_stays_so_after_the_traces_are_gone() -> None:
    stopped = marked(dead(100.0, 500.0, 700.0, pid_file=False), daemon=None)
    assert len(seen(stopped).plan().refusals) == 1


def test_a_daemon_that_runs_is_left_running() -> None:
    alive = marked(applied(endpoint()), deaths=tuple(Death(at=a, pid=1) for a in (1.0, 2.0, 3.0)))
    plan = settled(endpoint()).has(alive).plan()
    assert (plan.actions, plan.refusals) == ((), ())


def test_old_deaths_of_a_daemon_that_lives_are_not_worth_a_word() -> None:
    alive = replace(applied(endpoint()), pid_file=PidFile(100, 3.0, 2 * WINDOW))
    marker = marked(alive, deaths=(Death(at=5.0, pid=1), Death(at=1.5 * WINDOW, pid=2))).marker
    assert isinstance(marker, Marker)
    assert [d.pid for d in recent_deaths(alive, marker, settled(endpoint()).live)] == [2]
    assert remark((), alive=True) is None
    said = remark((Death(at=1.0, pid=1),) * 3, alive=True)
    assert said is not None
    assert "died 3 times" in said


@given(st.lists(st.floats(0, 1e10), max_size=6))
def test_only_the_last_three_and_only_their_distances_count(times: list[float]) -> None:
    """So a clock that is set can lose deaths, and never stops what does not die."""
    deaths = tuple(Death(at=at, pid=1) for at in times)
    assert too_many(deaths) == (len(times) >= LIMIT and max(times[-3:]) - min(times[-3:]) <= WINDOW)
    assert too_many(deaths) == too_many(deaths[-LIMIT:])


def test_the_record_does_not_grow() -> None:
    directory = dead(*(float(n) for n in range(50)))
    assert isinstance(directory.marker, Marker)
    assert len(deaths_of(directory, directory.marker, seen(directory).live)) == LIMIT
