"""Running tasks are not killed: restarts wait for them, and their results arrive."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import BIN, User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e

_TEMPLATES = Path(__file__).parents[2] / "reconciler" / "templates"
_POOLS = {"work": {"endpoint": "one"}}
_CHANGED = {"display_name": "Changed"}

_TASK = """
import os, sys
from chiltepin import Workflow
from chiltepin.tasks import python_task

@python_task
def until_told(began, go):
    import os, time
    with open(began, "w"):
        pass
    while not os.path.exists(go):
        time.sleep(0.1)
    return "intact"

if __name__ == "__main__":
    with Workflow("chiltepin.pools.yaml", run_dir="runs"):
        future = until_told(os.path.abspath("began"), os.path.abspath("go"), executor=["work"])
        print(future.result(timeout=200), flush=True)
"""


def _one(**block: Any) -> str:
    return manifest(endpoints={"one": {"restart": "when-idle", "template": "quick.yaml.j2", **block}}, pools=_POOLS)


@pytest.fixture
def ready(user: User) -> User:
    """A user whose endpoint runs; its user endpoints report every 2 s, and end soon after their last task."""
    text = (_TEMPLATES / "builtin-1.yaml.j2").read_text()
    quick = text.replace("idle_heartbeats_soft: 120\n", "idle_heartbeats_soft: 2\nheartbeat_period: 2\n")
    # One that is started again after its last task, by a daemon that was told twice, gets none: it ends by this limit.
    quick = quick.replace("idle_heartbeats_hard: 5760\n", "idle_heartbeats_hard: 90\n")
    assert "idle_heartbeats_hard: 90\n" in quick
    assert "heartbeat_period: 2\n" in quick
    (user.project / "quick.yaml.j2").write_text(quick)
    user.write(_one())
    user.apply()
    return user


class Task:
    """A task that runs until it is told to end."""

    def __init__(self, user: User, process: subprocess.Popen[str]) -> None:
        self._user = user
        self._process = process

    def end(self) -> None:
        """Let it end, and see that its result arrives."""
        (self._user.project / "go").touch()
        out, err = self._process.communicate(timeout=300)
        assert (self._process.returncode, out.strip()) == (0, "intact"), err


@contextlib.contextmanager
def _task(user: User) -> Iterator[Task]:
    """Run a task on `one`, from the moment at which it has begun."""
    (user.project / "task.py").write_text(_TASK)
    with user.spawn(sys.executable, "task.py") as process:
        try:
            wait_for((user.project / "began").exists, "the task runs", 120)
            yield Task(user, process)
        finally:
            process.kill()


def _user_endpoints(user: User) -> list[Path]:
    return list(user.config_dir.glob("uep.*/daemon.pid"))


def _await_end_of_user_endpoints(user: User) -> None:
    """Wait until they have ended by themselves; the processes outlive their PID files by a moment.

    A daemon that was told twice to start one (the service does so while it hears nothing of it yet) starts it again
    when it ends, once: whoever needs more than this moment asks until it is so.
    """

    def is_over() -> bool:
        alive = any("Globus Compute Endpoint (" in t or "uep." in t for t in user.processes().values())
        return not alive and not _user_endpoints(user)

    wait_for(is_over, "the user endpoints ended", 200)


@contextlib.contextmanager
def _draining(user: User, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command that drains, from the moment at which it says so."""
    with user.spawn(str(BIN / "chiltepin"), *command, "--yes") as process:
        try:
            assert process.stderr is not None
            said = next(line for line in process.stderr if "waiting for 1 " in line)
            assert f"of one, {command[-1]} left" in said
            yield process
        finally:
            process.kill()


def test_a_restart_waits_for_a_running_task_and_is_done_after_it(ready: User) -> None:
    uuid, daemon = ready.id("one"), ready.daemon("one")
    with _task(ready) as task:
        ready.write(_one(config=_CHANGED))
        assert "1 user endpoint is alive below it" in ready.apply(expect=5).err
        # Neither an old PID file (of a clock that was set) nor a hand at it makes it look idle.
        (pid_file,) = _user_endpoints(ready)
        os.utime(pid_file, (0, 0))
        ready.apply(expect=5)
        wait_for(lambda: "waits until idle: 1 user endpoint alive below it, 1 task outstanding" in ready.plan(), "2")
        assert ready.config("one")["display_name"] == "Changed"
        assert ready.daemon("one") == daemon
        task.end()
    wait_for(lambda: ready.apply(expect=None).code == 0, "an apply restarts it", 200)
    assert ready.daemon("one") != daemon
    ready.assert_converged("one")
    assert ready.id("one") == uuid


def test_drain_waits_for_a_running_task_and_restarts_then(ready: User) -> None:
    uuid, daemon = ready.id("one"), ready.daemon("one")
    with _task(ready) as task:
        ready.write(_one(config=_CHANGED))
        with _draining(ready, "apply", "--drain", "8m") as draining:
            assert ready.daemon("one") == daemon
            task.end()
            out, err = draining.communicate(timeout=500)
            assert draining.returncode == 0, out + err
    assert ready.daemon("one") != daemon
    ready.assert_converged("one")
    assert ready.id("one") == uuid


def test_drain_ends_with_its_time_and_with_ctrl_c(ready: User) -> None:
    daemon = ready.daemon("one")
    with _task(ready) as task:
        done = ready.chiltepin("restart", "one", "--yes", "--drain", "2s", expect=5)
        assert "waiting for 1 " in done.err
        assert "Restart deferred: 1 user endpoint is alive below it" in done.err
        ready.chiltepin("destroy", "--yes", "--drain", "1s", expect=5)
        with _draining(ready, "restart", "one", "--drain", "3m") as draining:
            draining.send_signal(signal.SIGINT)
            out, err = draining.communicate(timeout=120)
            assert draining.returncode == 130, out + err
        assert not ready.lease_file.exists()
        assert ready.daemon("one") == daemon
        task.end()
    ready.assert_converged("one")


def test_now_says_how_many_tasks_it_interrupts(ready: User) -> None:
    daemon = ready.daemon("one")
    ready.write(_one(restart="now"))
    ready.apply()
    with _task(ready):
        ready.write(_one(restart="now", config=_CHANGED))
        wait_for(lambda: "interrupts 1 user endpoint and 1 task (as last reported)\n" in ready.plan(), "it says so")
        ready.apply()
    assert ready.daemon("one") != daemon


def test_user_endpoints_on_the_previous_template_are_only_said(ready: User) -> None:
    daemon, said = ready.daemon("one"), "one: 1 user endpoint still on the previous template"
    with _task(ready) as task:
        assert said not in ready.plan()
        ready.write(_one(user_environment={"PATH": "auto", "EXTRA": "1"}))
        ready.apply()
        assert said in ready.plan("--detailed-exitcode")
        assert said in ready.chiltepin("status").out
        task.end()
    _await_end_of_user_endpoints(ready)
    assert said not in ready.plan("--detailed-exitcode")
    assert ready.daemon("one") == daemon
