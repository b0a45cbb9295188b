"""User endpoints by their processes: what clocks and PID files do not show."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters import user_processes
from reconciler.adapters.host import LocalHost
from reconciler.core.live import LiveDirectory
from tests.adapters.host_support import UUID_A, UUID_B, end, endpoint, wait_for

UEP = f"uep.{UUID_A}.{UUID_B}"

# Like a core endpoint: a child from a thread that is not the first one.
_DAEMON = """
import os, subprocess, sys, threading, time, setproctitle
children = []
def spawn():
    for title in sys.argv[2:]:
        if title == "fork":
            pid = os.fork() or time.sleep(300)
        else:
            children.append(subprocess.Popen([title, "300"], executable="/bin/sleep"))
            pid = children[-1].pid
        print(pid, flush=True)
    threading.Event().wait()
thread = threading.Thread(target=spawn)
setproctitle.setproctitle(sys.argv[1])
thread.start()
thread.join()
"""


class Daemon:
    """A stand-in for a daemon, with children that are called like user endpoints."""

    def __init__(self, config_dir: Path, *children: str) -> None:
        self.config_dir = config_dir
        self.directory = endpoint(config_dir)
        title = f"Globus Compute Endpoint *({UUID_A}, main) [x -c {config_dir} start main]"
        command = [sys.executable, "-c", _DAEMON, title, *children]
        self.process = subprocess.Popen(command, cwd=self.directory, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.children = [int(self.process.stdout.readline()) for _ in children]
        wait_for(lambda: self.read().processes, "the stand-in has its title")

    def read(self) -> LiveDirectory:
        found = LocalHost(str(self.config_dir)).directory("main")
        assert found is not None
        return found

    def end(self) -> None:
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        end(self.process)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "gc", f"[idle; shut down in 20s] Globus Compute Endpoint ({UUID_B}, {UEP}) [x]", "other")
    yield daemon
    daemon.end()


def pid_file(config_dir: Path, pid: int, *, age: float = 0) -> Path:
    """Write the PID file of the user endpoint."""
    folder = config_dir / UEP
    folder.mkdir(exist_ok=True)
    file = folder / "daemon.pid"
    file.write_text(str(pid))
    then = time.time() - age
    os.utime(file, (then, then))
    return file


@pytest.mark.parametrize("age", [None, 10_000.0, -10_000.0])
def test_a_child_process_is_alive_whatever_its_pid_file_says(daemon: Daemon, age: float | None) -> None:
    if age is not None:
        pid_file(daemon.config_dir, daemon.children[0], age=age)
    (found,) = daemon.read().user_endpoints
    assert (found.directory, found.id, found.pid) == (UEP, UUID_B, daemon.children[0])
    assert found.since is not None
    assert 0 <= found.since < 100


def test_a_pid_file_without_a_process_here_still_counts(daemon: Daemon) -> None:
    pid_file(daemon.config_dir, 4_000_000)
    found = {u.pid: u.since for u in daemon.read().user_endpoints}
    assert found[4_000_000] is None
    assert set(found) == {4_000_000, daemon.children[0]}


def test_a_kernel_that_does_not_tell_children(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_processes, "_children_of_threads", lambda pid: None)
    assert [u.pid for u in daemon.read().user_endpoints] == [daemon.children[0]]


def test_a_child_that_has_just_been_forked_is_about_to_become_one(tmp_path: Path) -> None:
    """It still carries its parent's title, and is not taken for a second daemon."""
    daemon = Daemon(tmp_path / "gc", "fork")
    try:
        found = daemon.read()
        assert [p.pid for p in found.processes] == [daemon.process.pid]
        assert [(u.pid, u.id) for u in found.user_endpoints] == [(daemon.children[0], "")]
    finally:
        daemon.end()


def test_a_child_that_has_ended_is_none(daemon: Daemon) -> None:
    os.kill(daemon.children[0], signal.SIGKILL)
    wait_for(lambda: not daemon.read().user_endpoints, "it is seen")
