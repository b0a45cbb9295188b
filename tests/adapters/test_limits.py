"""We may have no more files or processes: that tells nothing about the processes that could not be looked at."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.adapters import nursery as nurseries
from reconciler.adapters import process as processes
from reconciler.adapters import signals, user_processes
from reconciler.adapters import start as starting
from reconciler.adapters.host import LocalHost
from reconciler.core.live import Process
from reconciler.core.machine import EndpointTool
from reconciler.errors import EndpointCommandError, FileSystemError
from tests.adapters.host_support import end, wait_for


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let no file be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def daemon() -> Iterator[Process]:
    """A process that has the title of a daemon."""
    title = "Globus Compute Endpoint *(7d6b1f0a-9c1e-4f0a-8a55-1c9e0f9a7b11, main) - "
    child = subprocess.Popen(["bash", "-c", f"exec -a '{title}' sleep 100"])
    try:
        wait_for(lambda: processes.daemon_at(child.pid) is not None, "it has its title")
        found = processes.daemon_at(child.pid)
        assert found is not None
        yield found.process
    finally:
        end(child)


def test_a_process_that_cannot_be_looked_at_is_not_gone(daemon: Process) -> None:
    looks = {
        "lives": lambda: processes.lives(daemon.pid, daemon.start_time),
        "daemon_at": lambda: processes.daemon_at(daemon.pid),
        "process_at": lambda: processes.process_at(daemon.pid),
        "wait_gone": lambda: signals.wait_gone(daemon, 0.0),
        "terminate": lambda: signals.terminate(daemon, "main"),
        "children": lambda: user_processes.with_processes((), [daemon]),
    }
    for name, look in looks.items():
        with no_more_files(), pytest.raises(FileSystemError) as caught:
            look()
        assert "Too many open files (EMFILE)" in (caught.value.why or ""), name
        assert "ulimit -n" in (caught.value.remedy or ""), name
    assert processes.lives(daemon.pid, daemon.start_time), "nothing was sent"
    assert signals.terminate(daemon, "main")
    assert signals.wait_gone(daemon, 10)


def broken_tool(prefix: Path) -> EndpointTool:
    """Return a tool whose Python is a file that no kernel runs."""
    (prefix / "bin").mkdir(parents=True)
    python = prefix / "bin" / "python"
    python.write_bytes(b"\x7fnothing that runs")
    python.chmod(0o755)
    return EndpointTool(f"{prefix}/bin/globus-compute-endpoint", str(prefix), {})


def test_many_starts_go_one_by_one_where_their_common_process_cannot_be_made(tmp_path: Path) -> None:
    host = LocalHost(str(tmp_path / "config"))
    with host.many_starts(3, broken_tool(tmp_path / "env")):
        assert host._nursery is None


def test_a_nursery_without_its_thread_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    made: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(nurseries.subprocess, "Popen", lambda *a, **k: made.append(popen(*a, **k)) or made[0])
    monkeypatch.setattr(threading.Thread, "start", refuse)
    tool = EndpointTool(f"{sys.prefix}/bin/globus-compute-endpoint", sys.prefix, {})
    assert nurseries.hatched(tool, {"PATH": os.environ["PATH"]}) is None
    assert made[0].poll() is not None


def test_a_start_under_a_limit_on_processes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(EndpointCommandError, match="cannot be run") as caught:
        starting._Child(("tool", "start"), {}, 1)
    assert "ulimit -u" in (caught.value.remedy or "")
