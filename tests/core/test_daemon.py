"""What a daemon is doing, and what the plan does about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.actions import Adopt, Start
from reconciler.core.daemon import DaemonState, changed_versions, judge_daemon
from reconciler.core.live import LiveDirectory, PidFile, Process
from reconciler.core.marker import Marker
from reconciler.core.pid_file import LISTED_AS_RUNNING
from reconciler.core.preconditions import NoDaemon
from tests.core.builders import HOST, Scene, applied, endpoint, intent, marked, process, record, says, settled, uuid

RUNNING = applied(endpoint())
CONFIG_DIGEST = RUNNING.files["config.yaml"].digest
STARTING = Process(101, 6000, HOST.uid, "python globus-compute-endpoint start --detach main", 1.0)
STOPPING = replace(process(), title=f"[shutdown in progress] {process().title}")


def dead(age: float | None, **recorded: object) -> LiveDirectory:
    """Return a directory with a PID file and no process; the marker's record as it is, but for `recorded`."""
    directory = replace(RUNNING, processes=(), pid_file=PidFile(100, age))
    return marked(directory, daemon=record(CONFIG_DIGEST, **recorded)) if recorded else directory  # type: ignore[arg-type]


def at(directory: LiveDirectory, **live: object) -> Scene:
    """Return a scene with one endpoint, whose directory is as given."""
    return settled(endpoint()).has(directory).sees(**live)


def state_of(directory: LiveDirectory, **live: object) -> DaemonState:
    """Return how the daemon is judged."""
    marker = directory.marker if isinstance(directory.marker, Marker) else None
    return judge_daemon(directory, marker, at(directory, **live).live).state


@pytest.mark.parametrize("age", [1.0, LISTED_AS_RUNNING + 1, 10_000.0, None])
def test_dead_on_this_host_with_a_fresh_or_a_stale_pid_file(age: float) -> None:
    says(
        at(dead(age)).text(),
        """
        Plan for stack hrrr on ufe01:

          main: its process died
            ~ clear daemon.pid of the dead process 100
            > start

        Plan: 1 to clear, 1 to start.
        """,
    )


def test_starting() -> None:
    scene = at(replace(RUNNING, processes=(STARTING,), pid_file=None))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: an earlier apply was interrupted
            > start

        Plan: 1 to start.
        """,
    )
    (start,) = scene.plan().actions
    assert isinstance(start, Start)
    assert NoDaemon() not in start.preconditions  # it waits for that very process


@pytest.mark.parametrize(
    "directory",
    [replace(RUNNING, pid_file=None), replace(RUNNING, processes=(STOPPING,), pid_file=None)],
    ids=["without its PID file", "shutting down"],
)
def test_stopping(directory: LiveDirectory) -> None:
    says(
        at(directory).text(),
        """
        Plan for stack hrrr on ufe01:

          main: not running
            # stop (PID 100)
            > start

        Plan: 1 to start, 1 to stop.
        """,
    )


def test_a_fresh_pid_file_of_another_pid_than_the_daemons_is_another_daemons() -> None:
    of_another = replace(RUNNING, processes=(replace(process(), inner_pids=()),), pid_file=PidFile(777, 3.0))
    says(
        at(of_another).text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: its daemon here is process 100, and its PID file names 777, which is none of it here: a second one shares its tasks elsewhere, or did until it was killed
              next: `rm /home/jdoe/.globus_compute/main/daemon.pid` ends both within 15 s, and the tasks that they run; wait for it, and run this again

        Plan: 1 refused.
        """,  # noqa: E501
    )


@pytest.mark.parametrize(
    ("inner", "pid_file"),
    [((7,), PidFile(7, 3.0)), (None, PidFile(7, 3.0)), ((), PidFile(777, 10_000.0)), ((), PidFile(None, 3.0))],
)
def test_a_containers_daemon_and_an_old_or_unreadable_pid_file_are_not(
    inner: tuple[int, ...] | None, pid_file: PidFile
) -> None:
    directory = replace(RUNNING, processes=(replace(process(), inner_pids=inner),), pid_file=pid_file)
    assert state_of(directory) is DaemonState.RUNNING


def test_a_pid_file_of_a_daemon_that_has_ended_here_is_touched_by_the_one_that_runs() -> None:
    """Its directory was touched on by a later daemon, whose own PID file was removed."""
    directory = replace(RUNNING, processes=(replace(process(101), inner_pids=()),), pid_file=PidFile(100, 3.0))
    assert state_of(directory) is DaemonState.RUNNING


def test_doubled() -> None:
    scene = at(replace(RUNNING, processes=(process(100), process(111, start_time=9))))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: 2 daemons run under its name: PIDs 100, 111
              next: stop the older one by its PID, wait 15 s, and run this again

        Plan: 1 refused.
        """,
    )


def test_declared_stopped_and_dead() -> None:
    says(
        at(dead(500.0)).wants(endpoint(state="stopped")).text(),
        """
        Plan for stack hrrr on ufe01:

          main: its process died
            ~ clear daemon.pid of the dead process 100

          ~ write the lockfile (resolved state changed)

        Plan: 1 to clear.
        """,
    )


def test_declared_stopped_while_starting() -> None:
    directory = replace(RUNNING, processes=(STARTING,), pid_file=None)
    assert [a.kind for a in at(directory).wants(endpoint(state="stopped")).plan().actions] == ["Stop"]


def test_running_though_nobody_recorded_it() -> None:
    """Somebody started it by hand: config.yaml as it is now counts as the one it started with."""
    scene = at(marked(RUNNING, daemon=None))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: lost marker
            = record what is there in the marker

        Plan: 1 to record.
        """,
    )
    adopt = scene.plan().actions[0]
    assert isinstance(adopt, Adopt)
    assert adopt.marker.daemon == record(CONFIG_DIGEST, prefix="", versions={}, environment="")


def test_restart_that_was_cut_off_after_the_daemon_came_up() -> None:
    directory = marked(RUNNING, daemon=record("an earlier digest", pid=42))
    scene = at(directory, pending={"main": intent(action="Restart", id=uuid("main"), config="yet another digest")})
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: an earlier apply was interrupted, started with other configuration
            = record what is there in the marker
            ! restart (PID 100)
                config.yaml is not the one it started with

        Plan: 1 to record, 1 to restart.
        """,
    )


def test_pid_of_an_earlier_process_is_not_this_one() -> None:
    """The same PID with another start time is another process."""
    directory = replace(RUNNING, processes=(process(start_time=7),))
    assert [a.kind for a in at(directory).plan().actions] == ["Adopt"]


def test_changed_versions_names_what_changed_and_nothing_that_was_not_known() -> None:
    before = record("", versions={"python": "3.11.1", "parsl": "1"}, prefix="/a")
    now = {"python": "3.11.2", "parsl": "1", "globus-compute-endpoint": "4.19.0"}
    assert changed_versions(before, now, "/b") == ("python 3.11.1 -> 3.11.2", "prefix /a -> /b")
    assert changed_versions(record("", versions={}, prefix=""), now, "/b") == ()
