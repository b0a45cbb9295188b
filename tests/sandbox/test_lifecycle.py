"""Up, down, status, env and exec: through the API and through the command line."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.errors import ReconcilerError, Refused, ServiceUnreachable, StateFileError, UsageError
from reconciler.sandbox import lifecycle
from reconciler.sandbox.state import StateDir, process_start_time
from tests.ports import free_port
from tests.sandbox.support import default_api, sandbox, unprivileged, wait_for

_CLI = "from reconciler.cli.sandbox import app; app()"


def run(state: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _CLI, *arguments]
    environ = {**os.environ, "CHILTEPIN_SANDBOX_DIR": str(state), **more}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_up_twice_then_down_twice(tmp_path: Path) -> None:
    state, port = tmp_path / "s", free_port()
    try:
        first = lifecycle.up(state, port)
        again = lifecycle.up(state, port)
        assert (first.running, first.already_up, again.already_up) == (True, False, True)
        assert first.pid == again.pid
        assert process_start_time(first.pid or 0) is not None
        assert lifecycle.down(state)
        assert process_start_time(first.pid or 0) is None
        assert not lifecycle.down(state)
        assert not lifecycle.status(state).running
    finally:
        lifecycle.down(state)


def test_up_with_other_options_is_refused(tmp_path: Path) -> None:
    with sandbox(tmp_path / "s") as info, pytest.raises(Refused) as refused:
        assert info.running
        lifecycle.up(tmp_path / "s", free_port())
    assert "down" in str(refused.value)


def test_port_taken_names_the_holder(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(Refused) as refused:
            lifecycle.up(tmp_path / "s", port)
    assert f"process {os.getpid()} holds it" in str(refused.value)
    assert not lifecycle.status(tmp_path / "s").running


def test_files_are_private_and_secrets_made_once(tmp_path: Path) -> None:
    state = tmp_path / "s"
    with sandbox(state):
        env = lifecycle.environment(state)
        modes = {p.name: p.stat().st_mode & 0o777 for p in state.iterdir() if p.is_file()}
        assert state.stat().st_mode & 0o777 == 0o700
        assert {name: oct(mode) for name, mode in modes.items() if mode != 0o600} == {}
        command_line = Path(f"/proc/{lifecycle.status(state).pid}/cmdline").read_text()
        assert env["GLOBUS_COMPUTE_CLIENT_SECRET"] not in command_line
        log = (state / "server.log").read_text()
        assert env["GLOBUS_COMPUTE_CLIENT_SECRET"] not in log
    with sandbox(state):
        assert lifecycle.environment(state)["GLOBUS_COMPUTE_CLIENT_SECRET"] == env["GLOBUS_COMPUTE_CLIENT_SECRET"]
    with sandbox(tmp_path / "t"):
        other = lifecycle.environment(tmp_path / "t")
        assert other["GLOBUS_COMPUTE_CLIENT_SECRET"] != env["GLOBUS_COMPUTE_CLIENT_SECRET"]
        assert other["GLOBUS_COMPUTE_CLIENT_ID"] != env["GLOBUS_COMPUTE_CLIENT_ID"]


def test_broker_port_stays(tmp_path: Path) -> None:
    with sandbox(tmp_path / "s") as first:
        pass
    with sandbox(tmp_path / "s") as second:
        assert first.amqp_port == second.amqp_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", second.amqp_port or 0))
        taken.listen()
        with sandbox(tmp_path / "s") as third:
            assert third.amqp_port not in (None, second.amqp_port)


def test_everything_listens_on_loopback_only(tmp_path: Path) -> None:
    with sandbox(tmp_path / "s") as info:
        inodes = {str(f.readlink()) for f in Path(f"/proc/{info.pid}/fd").iterdir() if f.is_symlink()}
        listening = []
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                    listening.append(fields[1].split(":")[0])
        assert listening == ["0100007F", "0100007F"]


def test_killed_server_is_seen_and_replaced(tmp_path: Path) -> None:
    state, port = tmp_path / "s", free_port()
    with sandbox(state, port) as first:
        registered = default_api(state).register()
        os.kill(first.pid or 0, 9)
        wait_for(lambda: process_start_time(first.pid or 0) is None, "the server is gone")
        assert not lifecycle.status(state).running
        with pytest.raises(ServiceUnreachable):
            lifecycle.environment(state)
        assert lifecycle.up(state, port).pid != first.pid
        assert [e["uuid"] for e in default_api(state).call("GET", "/v2/endpoints").json()] == [registered]


def test_down_leaves_a_process_that_got_the_pid_alone(tmp_path: Path) -> None:
    state = tmp_path / "s"
    with sandbox(state):
        files = StateDir(state)
        record = files.server()
        assert record is not None
    with subprocess.Popen(["sleep", "60"]) as stranger:
        files.record_server(type(record)(**{**record.__dict__, "pid": stranger.pid}))
        assert not lifecycle.down(state)
        assert stranger.poll() is None
        stranger.kill()


def test_state_of_another_host_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "s"
    with sandbox(state):
        files = StateDir(state)
        record = files.server()
        assert record is not None
    files.record_server(type(record)(**{**record.__dict__, "host": "login7"}))
    for call in (lifecycle.up, lifecycle.down, lifecycle.status):
        with pytest.raises(Refused, match="login7"):
            call(state)
    files.forget_server()


def test_a_second_server_on_the_same_state_is_refused(tmp_path: Path) -> None:
    with sandbox(tmp_path / "s"):
        command = [sys.executable, "-m", "reconciler.sandbox.server", "--state-dir", str(tmp_path / "s")]
        second = subprocess.run(
            [*command, "--port", str(free_port())], capture_output=True, text=True, timeout=30, check=False
        )
        assert second.returncode == 4
        assert "already runs" in second.stderr


def test_failure_to_come_up_quotes_the_log(tmp_path: Path) -> None:
    with pytest.raises(ReconcilerError) as failed:
        lifecycle.up(tmp_path / "s", free_port(), f"amqp://guest:secret-pw@127.0.0.1:{free_port()}/")
    assert "broker did not accept us" in str(failed.value)
    assert "secret-pw" not in str(failed.value)
    assert not lifecycle.status(tmp_path / "s").running


def test_damaged_state_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    state = tmp_path / "s"
    StateDir(state).create()
    (state / "server.json").write_text("{broken")
    with pytest.raises(StateFileError, match="damaged"):
        lifecycle.up(state, free_port())
    (state / "server.json").unlink()
    (state / "sandbox.db").write_bytes(b"this is no database, whatever it may look like" * 100)
    with pytest.raises(ReconcilerError, match="did not come up") as failed:
        lifecycle.up(state, free_port())
    assert "cannot be read" in str(failed.value)


def test_an_amqp_url_in_the_environment_counts_unless_the_option_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, named, other = tmp_path / "s", free_port(), free_port()
    monkeypatch.setenv("CHILTEPIN_SANDBOX_AMQP_URL", f"amqp://guest:secret-pw@127.0.0.1:{named}/")
    for url, port in ((None, named), (f"amqp://guest:guest@127.0.0.1:{other}/", other)):
        with pytest.raises(ReconcilerError, match="did not come up") as failed:
            lifecycle.up(state, free_port(), url)
        assert str(port) in str(failed.value)
        assert "secret-pw" not in str(failed.value)
    monkeypatch.setenv("CHILTEPIN_SANDBOX_AMQP_URL", "")
    with sandbox(state) as info:
        assert not info.external_amqp


@pytest.mark.parametrize("url", ["http://x", "amqp://", "amqps://x", "amqp://h:99999/"])
def test_unusable_amqp_url(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError):
        lifecycle.up(tmp_path / "s", free_port(), url)


def test_works_as_an_unprivileged_user(tmp_path: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    state = tmp_path / "s"
    command = unprivileged([sys.executable, "-c", _CLI, "up", "--port", str(free_port()), "--state-dir", str(state)])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert lifecycle.status(state).running
        assert default_api(state).register()
    finally:
        lifecycle.down(state)


# the command line


def test_command_line(tmp_path: Path) -> None:
    state, port = tmp_path / "s p", str(free_port())
    down = run(state, "status", "--format", "json")
    assert json.loads(down.stdout)["running"] is False
    unset = run(state, "env")
    assert unset.returncode != 0
    script = ["bash", "-ec", f"{unset.stdout}\ntrue"]
    assert subprocess.run(script, check=False).returncode == 1, "a script would go on with the real service"
    try:
        up = run(state, "up", "--port", port)
        assert (up.returncode, up.stdout) == (0, f"http://localhost:{port}\n")
        assert "sandbox" in up.stderr
        assert "already up" in run(state, "up", "--port", port).stderr
        status = json.loads(run(state, "status", "--format", "json").stdout)
        assert (status["format_version"], status["service"], status["running"]) == (1, "sandbox", True)
        assert "endpoints  0, 0 online" in run(state, "status").stdout
        env = run(state, "env").stdout
        secret = lifecycle.environment(state)["GLOBUS_COMPUTE_CLIENT_SECRET"]
        shown = subprocess.run(
            ["bash", "-c", f'{env}\necho "$GLOBUS_COMPUTE_CLIENT_SECRET|$CHILTEPIN_SANDBOX_DIR"'],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout == f"{secret}|{state}\n"
        inside = run(state, "exec", "--", "sh", "-c", "echo $GLOBUS_SDK_ENVIRONMENT $no_proxy; exit 7", no_proxy="a.b")
        assert (inside.returncode, inside.stdout) == (7, "local a.b,localhost,127.0.0.1\n")
        assert run(state, "down").stderr == "The sandbox is down; its state is kept.\n"
    finally:
        lifecycle.down(state)


def test_lifecycle_needs_no_server_packages() -> None:
    code = (
        "import sys, reconciler.sandbox.lifecycle; "
        "print([m for m in ('aiohttp', 'pamqp', 'sqlite3', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
