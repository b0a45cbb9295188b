"""Starting and stopping, with a stand-in for globus-compute-endpoint (real processes, no service)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters import process as processes
from reconciler.adapters.host import LocalHost
from reconciler.core.live import Process
from reconciler.errors import EndpointCommandError
from reconciler.ports import Started
from tests.adapters.host_support import UUID_A, UUID_B, end, endpoint, fake_daemon, fake_tool, outcome, python, wait_for

ENVIRON = {**os.environ, "GLOBUS_COMPUTE_CLIENT_SECRET": "topsecretvalue", "GLOBUS_COMPUTE_ENDPOINT_DIR": "/trap"}


def ours(config_dir: Path) -> list[processes.Daemon]:
    return [d for d in processes.daemons() if d.config_dir == str(config_dir)]


@pytest.fixture
def config_dir(tmp_path: Path) -> Iterator[Path]:
    """A config directory; what was started in it is killed, by its PID, at the end."""
    path = tmp_path / "gc"
    path.mkdir()
    yield path
    while left := ours(path):
        for daemon in left:
            os.kill(daemon.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(processes.lives(d.process.pid, d.process.start_time) for d in left), "they are gone")


@pytest.fixture
def host(config_dir: Path, tmp_path: Path) -> LocalHost:
    return LocalHost(str(config_dir), python=str(fake_tool(tmp_path / "env")), environ=ENVIRON, start_limit=20)


_IN_A_CONTAINER = """
import os, sys
open("daemon.pid", "w").write(str(os.getpid()))
os.execv(sys.argv[1], [sys.argv[2], "300"])
"""


def start(host: LocalHost, endpoint_id: str | None = None) -> Started:
    return host.start("main", endpoint_id, host.tool())


def test_started_means_process_pid_file_and_uuid(host: LocalHost, config_dir: Path) -> None:
    endpoint(config_dir, uuid=None)
    started = start(host)
    found = host.directory("main")
    assert found is not None
    assert found.pid_file is not None
    assert (started.endpoint_id, found.endpoint_id, started.was_under_way) == (UUID_A, UUID_A, False)
    assert [p.pid for p in found.processes] == [started.process.pid] == [found.pid_file.pid]
    assert processes.lives(started.process.pid, started.process.start_time)
    assert os.getsid(started.process.pid) != os.getsid(0)
    assert list((config_dir / ".chiltepin" / "run").iterdir()) == []


def test_the_daemon_gets_the_declared_environment(host: LocalHost, config_dir: Path) -> None:
    endpoint(config_dir, uuid=None)
    os.environ["UNDECLARED"] = "x"
    try:
        start(host)
    finally:
        del os.environ["UNDECLARED"]
    given = json.loads((config_dir / "environment.json").read_text())
    assert given["PATH"].split(":")[0] == host.tool().command.rpartition("/")[0]
    assert given["GLOBUS_COMPUTE_CLIENT_SECRET"] == "topsecretvalue"
    assert not {"UNDECLARED", "GLOBUS_COMPUTE_ENDPOINT_DIR", "GLOBUS_COMPUTE_USER_DIR", "CHILTEPIN_FAULT"} & set(given)


def test_a_known_uuid_is_handed_over(host: LocalHost, config_dir: Path) -> None:
    endpoint(config_dir, uuid=UUID_B)
    assert start(host, UUID_B).endpoint_id == UUID_B
    words = f"-c {config_dir} start --detach --endpoint-uuid {UUID_B} main\n"
    assert (config_dir / "starts").read_text() == words


def test_a_running_daemon_is_not_started_again(host: LocalHost, config_dir: Path) -> None:
    endpoint(config_dir, uuid=None)
    first = start(host)
    second = start(host, UUID_A)
    assert (second.process.pid, second.process.start_time) == (first.process.pid, first.process.start_time)
    assert second.was_under_way
    assert len((config_dir / "starts").read_text().splitlines()) == 1
    with pytest.raises(EndpointCommandError) as caught:
        start(host, UUID_B)
    assert UUID_A in (caught.value.why or "")


def test_a_start_under_way_is_waited_for(host: LocalHost, config_dir: Path) -> None:
    """As after an apply that was killed between its start command and the daemon's PID file."""
    endpoint(config_dir, uuid=None)
    (config_dir / "behave").write_text("slow")
    tool = host.tool()
    command = [tool.command, "-c", str(config_dir), "start", "--detach", "main"]
    left = subprocess.Popen(command, start_new_session=True)
    try:
        wait_for((config_dir / "starts").exists, "it runs")
        found = host.directory("main")
        assert found is not None
        assert [p.pid for p in found.processes] == [left.pid], "a start command counts as a process of the endpoint"
        assert start(host).was_under_way
    finally:
        left.wait()
    assert len((config_dir / "starts").read_text().splitlines()) == 1


@pytest.mark.parametrize("point", ["start.begin", "start.spawned", "start.up"])
def test_killed_while_starting_a_rerun_starts_no_second_daemon(
    host: LocalHost, config_dir: Path, point: str, tmp_path: Path
) -> None:
    endpoint(config_dir, uuid=None)
    (config_dir / "behave").write_text("slow")
    code = """
import sys
from reconciler.adapters.host import LocalHost
host = LocalHost(sys.argv[1], python=sys.argv[2])
host.start("main", None, host.tool())
"""
    child = python(code, str(config_dir), str(tmp_path / "env"), CHILTEPIN_FAULT=point)
    assert outcome(child)[0] == -signal.SIGKILL
    started = start(host)
    assert [d.process.pid for d in ours(config_dir)] == [started.process.pid]
    assert len((config_dir / "starts").read_text().splitlines()) == 1


def test_an_orphaned_daemon_ends_before_the_next_starts(host: LocalHost, config_dir: Path) -> None:
    """Its PID file was removed, which it notices within 15 seconds."""
    endpoint(config_dir, uuid=None)
    first = start(host)
    (config_dir / "main" / "daemon.pid").unlink()
    notices = threading.Timer(0.7, os.kill, (first.process.pid, signal.SIGTERM))
    notices.start()
    second = start(host, UUID_A)
    notices.join()
    assert second.process.pid != first.process.pid
    assert [d.process.pid for d in ours(config_dir)] == [second.process.pid]


@pytest.mark.parametrize(
    ("code", "word", "remedy"),
    [(73, "another login node", "90 seconds"), (77, "login", "chiltepin login"), (69, "--reregister", ""), (5, "", "")],
)
def test_an_exit_code_is_explained(host: LocalHost, config_dir: Path, code: int, word: str, remedy: str) -> None:
    endpoint(config_dir, uuid=None)
    (config_dir / "behave").write_text(f"exit {code}")
    with pytest.raises(EndpointCommandError) as caught:
        start(host)
    error = caught.value
    assert error.code == code
    assert word in f"{error.why} {error.remedy}"
    assert remedy in (error.remedy or "")
    assert error.command[1:4] == ("-c", str(config_dir), "start")
    assert "amqps://***@broker/ refused" in error.output
    assert "hunter22" not in str(error) + error.output


def test_a_daemon_that_dies_at_once_is_noticed_long_before_the_limit(host: LocalHost, config_dir: Path) -> None:
    endpoint(config_dir, uuid=None)
    (config_dir / "behave").write_text("dies")
    begun = time.monotonic()
    with pytest.raises(EndpointCommandError, match="did not come up") as caught:
        start(host)
    assert time.monotonic() - begun < 15
    assert "begins" in caught.value.output
    assert "abcdefgh12345" not in caught.value.output


def test_a_start_that_hangs_is_ended_at_the_limit(config_dir: Path, tmp_path: Path) -> None:
    endpoint(config_dir, uuid=None)
    (config_dir / "behave").write_text("hang")
    host = LocalHost(str(config_dir), python=str(fake_tool(tmp_path / "env")), start_limit=1)
    with pytest.raises(EndpointCommandError, match="did not come up") as caught:
        start(host)
    assert "not up after 1 seconds" in (caught.value.why or "")
    assert ours(config_dir) == []


def test_the_output_of_a_start_is_private(host: LocalHost, config_dir: Path) -> None:
    endpoint(config_dir, uuid=None)
    (config_dir / "behave").write_text("slow")
    runs = config_dir / ".chiltepin" / "run"
    starting = threading.Thread(target=start, args=(host,))
    starting.start()
    wait_for(lambda: runs.is_dir() and list(runs.iterdir()), "its output is kept")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (*runs.iterdir(), runs)]
    starting.join()
    assert modes == [0o600, 0o700]


def test_stopping_waits_for_process_and_pid_file(host: LocalHost, config_dir: Path) -> None:
    endpoint(config_dir, uuid=None)
    started = start(host)
    assert not host.wait_stopped("main", started.process, 0.05)
    host.signal_stop("main", started.process)
    assert host.wait_stopped("main", started.process, 10)
    assert not (config_dir / "main" / "daemon.pid").exists()
    host.signal_stop("main", started.process)
    assert host.wait_stopped("main", started.process, 0)


def test_the_pid_file_of_a_killed_daemon_is_removed(host: LocalHost, config_dir: Path) -> None:
    endpoint(config_dir, uuid=None)
    (config_dir / "behave").write_text("stubborn")
    started = start(host)
    host.signal_stop("main", started.process)
    assert not host.wait_stopped("main", started.process, 0.3)
    os.kill(started.process.pid, signal.SIGKILL)
    assert host.wait_stopped("main", started.process, 10)
    assert not (config_dir / "main" / "daemon.pid").exists()


def test_the_pid_file_of_a_successor_stays(host: LocalHost, config_dir: Path) -> None:
    directory = endpoint(config_dir)
    daemon = fake_daemon(directory, "main", UUID_A, config_dir)
    found = processes.daemon_at(daemon.pid)
    assert found is not None
    (directory / "daemon.pid").write_text("1")
    end(daemon)
    assert host.wait_stopped("main", found.process, 5)
    assert (directory / "daemon.pid").exists()


def test_the_pid_file_is_taken_from_exactly_the_daemon_that_is_to_end(host: LocalHost, config_dir: Path) -> None:
    directory = endpoint(config_dir)
    daemon, pid_file = fake_daemon(directory, "main", UUID_A, config_dir), directory / "daemon.pid"
    found = processes.daemon_at(daemon.pid)
    assert found is not None
    try:
        assert not host.take_pid_file("main", found.process), "it has none"
        for content in ("1", f"{daemon.pid + 1}\n", "no number"):
            pid_file.write_text(content)
            assert not host.take_pid_file("main", found.process), content
        pid_file.write_text(f"{daemon.pid}\n")
        assert not host.take_pid_file("main", replace(found.process, start_time=1)), "another one had its number"
        assert pid_file.exists()
        shutil.copytree(directory, config_dir / "other")
        assert not host.take_pid_file("other", found.process), "it is of another name"
        assert (config_dir / "other" / "daemon.pid").exists()
        assert host.take_pid_file("main", found.process)
        assert not pid_file.exists()
        pid_file.touch()
        assert host.take_pid_file("main", found.process), "it was touched at that moment"
        pid_file.write_text(f"{daemon.pid}\n")
    finally:
        end(daemon)
    assert not host.take_pid_file("main", found.process), "it has ended"
    assert pid_file.exists()


def test_the_pid_file_is_left_to_a_daemon_that_shuts_down(host: LocalHost, config_dir: Path) -> None:
    directory = endpoint(config_dir)
    daemon = fake_daemon(directory, "main", UUID_A, config_dir, stopping=True)
    try:
        found = processes.daemon_at(daemon.pid)
        assert found is not None
        (directory / "daemon.pid").write_text(f"{daemon.pid}\n")
        assert not host.take_pid_file("main", found.process)
        assert (directory / "daemon.pid").exists()
    finally:
        end(daemon)


def test_no_signal_reaches_a_process_that_only_has_the_number(host: LocalHost, config_dir: Path) -> None:
    directory = endpoint(config_dir)
    daemon = fake_daemon(directory, "main", UUID_A, config_dir)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        found = processes.daemon_at(daemon.pid)
        assert found is not None
        host.signal_stop("main", replace(found.process, start_time=found.process.start_time - 1))
        host.signal_stop("other", found.process)
        started = processes.start_time(stranger.pid)
        assert started is not None
        host.signal_stop("main", Process(stranger.pid, started, os.getuid(), "Globus Compute Endpoint *(", 1.0))
        assert stranger.poll() is None
        assert daemon.poll() is None
        host.signal_stop("main", found.process)
        assert daemon.wait(10) == -signal.SIGTERM
    finally:
        end(stranger)
        end(daemon)


def test_without_pidfds_the_right_process_is_still_found(
    host: LocalHost, config_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels before 5.3, and Pythons built on them, have none."""
    monkeypatch.delattr(os, "pidfd_open")
    endpoint(config_dir, uuid=None)
    started = start(host)
    assert not host.wait_stopped("main", started.process, 0.05)
    host.signal_stop("main", replace(started.process, start_time=started.process.start_time - 1))
    assert processes.lives(started.process.pid, started.process.start_time)
    host.signal_stop("main", started.process)
    assert host.wait_stopped("main", started.process, 10)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/x/python", "/x/globus-compute-endpoint", "-c", "/d", "start", "--detach", "main"], ("main", "/d")),
        (["/x/python", "/x/globus-compute-endpoint", "--config-dir=/d", "start", "main"], ("main", "/d")),
        (["/x/python", "/x/globus-compute-endpoint", "start", "--endpoint-uuid", UUID_A, "m"], ("m", None)),
        (["globus-compute-endpoint", "start"], ("default", None)),
        (["globus-compute-endpoint", "restart", "m"], ("m", None)),
        (["python", "globus-compute-endpoint", "_start-user-endpoint", "uep.x"], None),
        (["python", "globus-compute-endpoint", "start", "uep.x", "--die-with-parent"], None),
        (["python", "globus-compute-endpoint", "stop", "main"], None),
        (["vim", "globus-compute-endpoint.md", "start", "main"], None),
        (["grep", "-r", "Globus Compute Endpoint"], None),
    ],
)
def test_start_commands_are_recognised(arguments: list[str], expected: tuple[str, str | None] | None) -> None:
    assert processes._started_by(arguments) == expected


def test_titles_with_odd_names_are_read(tmp_path: Path) -> None:
    name = "odd),(name*[x]"
    directory = endpoint(tmp_path, name)
    daemon = fake_daemon(directory, name, UUID_A)
    try:
        found = LocalHost(str(tmp_path)).directory(name)
        assert found is not None
        assert [p.pid for p in found.processes] == [daemon.pid]
    finally:
        end(daemon)


def test_a_daemon_in_a_container_is_known_by_both_of_its_pids(host: LocalHost, config_dir: Path) -> None:
    directory = endpoint(config_dir)
    title = f"Globus Compute Endpoint *({UUID_A}, main) [python globus-compute-endpoint -c {config_dir} start main]"
    container = ["unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*container, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel gives an ordinary user no namespaces")
    program = [sys.executable, "-c", _IN_A_CONTAINER, str(shutil.which("sleep")), title]
    with subprocess.Popen([*container, *program], cwd=directory) as parent:
        try:
            wait_for(lambda: bool(ours(config_dir)), "the stand-in has its title")
            found = host.directory("main")
            assert found is not None
            assert found.pid_file is not None
            (process,) = found.processes
            assert process.pid != found.pid_file.pid == 1
            assert process.may_be(1)
            assert process.may_be(process.pid)
            assert not process.may_be(2)
        finally:
            parent.kill()


def test_a_daemon_that_was_forked_after_the_listing_by_what_has_ended_since_is_seen(config_dir: Path) -> None:
    """The start command is listed, and gone when it is looked at: what it forked meanwhile is on no list yet."""
    children: list[subprocess.Popen[bytes]] = []

    def listed() -> set[int]:
        found = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        if not children:
            children.append(fake_daemon(endpoint(config_dir), "main", UUID_A, config_dir))
        return found

    try:
        seen = [d.process.pid for d in processes.daemons(listed) if d.config_dir == str(config_dir)]
        assert seen == [children[0].pid]
    finally:
        end(children[0])


def test_a_node_on_which_processes_never_stop_coming_is_looked_at_for_a_while_only() -> None:
    numbers = iter(range(10_000_000, 20_000_000))
    assert isinstance(processes.daemons(lambda: {next(numbers)}), tuple)
    assert next(numbers) < 10_000_100
