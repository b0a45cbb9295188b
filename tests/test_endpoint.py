"""`reconciler.endpoint` and `chiltepin endpoint` beside upstream's: the same names, parameters, words and columns."""

from __future__ import annotations

import inspect
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import endpoint as ours
from reconciler.adapters import process as processes
from reconciler.adapters.auth import CHILTEPIN_CLIENT
from reconciler.cli.main import run
from reconciler.errors import LoginRequired, Refused, UsageError
from tests.adapters.globus_stub import ENDPOINT, GlobusStub, running_stub
from tests.adapters.host_support import UUID_A, UUID_B, endpoint, fake_daemon, fake_tool, marker, wait_for
from tests.adapters.host_support import end as end_child
from tests.cli.support import Shell, shell_at

upstream = pytest.importorskip("chiltepin.endpoint", reason="upstream's chiltepin is not installed")
from chiltepin import cli as upstreams_cli  # noqa: E402

NAMES = [
    name
    for name, value in vars(upstream).items()
    if inspect.isfunction(value) and value.__module__ == upstream.__name__ and not name.startswith("_")
]


@pytest.fixture
def stub() -> Iterator[GlobusStub]:
    with running_stub() as stub:
        yield stub


@pytest.fixture
def shell(
    stub: GlobusStub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Shell]:
    """A user with a stand-in for globus-compute-endpoint that starts processes; they are ended by PID."""
    with shell_at(tmp_path, capsys, stub, monkeypatch) as shell:
        monkeypatch.setenv("PATH", f"{fake_tool(tmp_path / 'env')}/bin:/usr/bin:/bin")
        yield shell
        while left := [d for d in processes.daemons() if d.config_dir == str(shell.config_dir)]:
            for daemon in left:
                os.kill(daemon.process.pid, signal.SIGKILL)
            wait_for(lambda: not any(processes.lives(d.process.pid, d.process.start_time) for d in left), "they end")


# --- beside upstream's


def test_every_function_of_upstreams_is_ours_too() -> None:
    assert set(NAMES) == {
        *("configure", "delete", "exists", "get_chiltepin_apps", "is_running", "login", "login_required", "logout"),
        *("show", "start", "stop"),
    }
    assert set(NAMES) <= set(ours.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_the_same_parameters(name: str) -> None:
    theirs = inspect.signature(getattr(upstream, name)).parameters.values()
    mine = inspect.signature(getattr(ours, name)).parameters.values()
    shared = [(p.name, p.kind, p.default) for p in mine if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert shared == [(p.name, p.kind, p.default) for p in theirs]


def populate(config_dir: Path) -> None:
    """Make an endpoint in every state that a listing tells apart."""
    endpoint(config_dir, "new", uuid=None)
    endpoint(config_dir, "stopped", uuid=UUID_A)
    endpoint(config_dir, "a-long-name-of-a-running-one", uuid=UUID_B)
    endpoint(config_dir, "killed-long-ago", uuid=ENDPOINT)
    (config_dir / "a-long-name-of-a-running-one" / "daemon.pid").write_text("4\n")
    (config_dir / "killed-long-ago" / "daemon.pid").write_text("4\n")
    os.utime(config_dir / "killed-long-ago" / "daemon.pid", (time.time() - 31, time.time() - 31))
    damaged = endpoint(config_dir, "damaged", uuid=None)
    (damaged / "endpoint.json").write_text("{")
    legacy = endpoint(config_dir, "legacy", uuid=UUID_A)
    (legacy / "config.yaml").rename(legacy / "config.py")
    (config_dir / "no-endpoint").mkdir()
    (config_dir / "a-file").touch()
    endpoint(config_dir, f"uep.{UUID_A}.{UUID_B}", uuid=None)
    (config_dir / f"uep.{UUID_A}.{UUID_B}" / "config.yaml").unlink()


def test_show_says_what_upstreams_says(tmp_path: Path) -> None:
    populate(tmp_path)
    assert ours.show(str(tmp_path)) == upstream.show(str(tmp_path))
    assert {e["status"] for e in ours.show(str(tmp_path)).values()} == {
        *("Initialized", "Running", "Stopped", "Disconnected"),
    }
    for name in (*upstream.show(str(tmp_path)), "no-endpoint", "nothing"):
        assert ours.exists(name, str(tmp_path)) == upstream.exists(name, str(tmp_path)), name
        assert ours.is_running(name, str(tmp_path)) == upstream.is_running(name, str(tmp_path)), name


@pytest.mark.parametrize("populated", [True, False])
def test_list_prints_what_upstreams_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str], populated: bool) -> None:
    if populated:
        populate(tmp_path)
    upstreams_cli.cli_list(config_dir=str(tmp_path))
    theirs = capsys.readouterr().out
    assert run(["endpoint", "-c", str(tmp_path), "list"]) == 0
    mine = capsys.readouterr().out
    assert sorted(mine.splitlines()) == sorted(theirs.splitlines())  # theirs come in the order of the disk
    assert run(["endpoint", "--config", str(tmp_path), "list"]) == 0
    assert capsys.readouterr().out == mine


def test_a_daemon_that_lives_runs_however_its_clock_goes(tmp_path: Path) -> None:
    directory = endpoint(tmp_path, "main")
    child = fake_daemon(directory, "main", UUID_A, tmp_path)
    try:
        pid_file = directory / "daemon.pid"
        pid_file.write_text(f"{child.pid}\n")
        os.utime(pid_file, (time.time() - 600, time.time() - 600))
        assert ours.is_running("main", str(tmp_path))
    finally:
        end_child(child)


def test_our_configure_makes_files_of_the_same_names_as_upstreams(shell: Shell, tmp_path: Path) -> None:
    names = {"config.yaml", "user_config_template.yaml.j2", "user_config_schema.json", "user_environment.yaml"}
    assert ours.configure("main") is True
    assert {p.name for p in (shell.config_dir / "main").iterdir()} == names
    assert {p.stat().st_mode & 0o777 for p in (shell.config_dir / "main").iterdir()} == {0o600}
    assert ours.configure("main", config_dir=str(tmp_path / "elsewhere"), timeout=5.0) is True
    assert ours.exists("main", str(tmp_path / "elsewhere"))


# --- from start to end, with a stand-in for the daemon


def test_a_script_of_upstreams_users_works(shell: Shell) -> None:
    endpoint = ours  # as in `from reconciler import endpoint`
    if endpoint.exists("foo"):
        endpoint.delete("foo")
    endpoint.configure("foo", timeout=30)
    endpoint.start("foo", timeout=30)
    assert endpoint.is_running("foo")
    assert endpoint.show()["foo"] == {"status": "Running", "id": UUID_A}
    with pytest.raises(Refused, match="foo runs"):
        endpoint.delete("foo")
    endpoint.stop("foo", timeout=30)
    assert not endpoint.is_running("foo")
    endpoint.delete("foo", timeout=30)
    assert endpoint.show() == {}
    assert shell.stub.compute_methods() == {"GET"}


def test_the_command_does_the_same(shell: Shell) -> None:
    at = ["endpoint", "-c", str(shell.config_dir)]
    for words in (["configure", "foo"], ["start", "foo"]):
        assert shell.ok(*at, *words).text == ""
    assert shell.ok(*at, "list").out == f"foo {UUID_A} Running\n"
    shell.refused(*at, "delete", "foo", code=4, says=("foo runs", "chiltepin endpoint stop foo"))
    assert shell.ok(*at, "stop", "foo").text == ""
    assert shell.ok(*at, "list").out == f"foo {UUID_A} Stopped\n"
    assert shell.ok(*at, "delete", "foo", "--deregister").text == ""
    assert shell.ok(*at, "list").out == "No endpoints are configured\n"
    assert shell.stub.count("DELETE", f"/v2/endpoints/{UUID_A}") == 1


def test_what_was_deleted_is_listed_and_comes_back(shell: Shell) -> None:
    ours.configure("foo")
    ours.start("foo")
    ours.stop("foo")
    assert shell.ok("endpoint", "list", "--deleted").out == "No endpoints were deleted by hand\n"
    shell.ok("endpoint", "delete", "foo")
    (item,) = ours.deleted()
    assert (item["name"], item["id"]) == ("foo", UUID_A)
    assert item["deleted_at"] == pytest.approx(time.time(), abs=3600)
    assert shell.ok("endpoint", "list", "--deleted").out == f"foo {UUID_A} {item['entry']}\n"
    shell.refused("endpoint", "undelete", "fooo", code=64, says=("nothing of that name", "did you mean foo?"))
    assert shell.ok("endpoint", "undelete", "foo", "--entry", item["entry"]).text == ""
    assert ours.show() == {"foo": {"status": "Stopped", "id": UUID_A}}
    assert ours.deleted() == []
    ours.delete("foo")
    ours.undelete("foo")
    assert ours.exists("foo")


def test_a_start_that_takes_too_long_is_a_timeout_error(shell: Shell) -> None:
    ours.configure("foo")
    (shell.config_dir / "behave").write_text("hang")
    with pytest.raises(TimeoutError) as caught:
        ours.start("foo", timeout=2)
    assert isinstance(caught.value, ours.Timeout)
    assert isinstance(caught.value, RuntimeError)
    assert "not up after 2 seconds" in str(caught.value)


@pytest.mark.parametrize("command", ["configure", "delete"])
def test_the_command_refuses_what_a_stack_manages(shell: Shell, command: str) -> None:
    directory = endpoint(shell.config_dir, "main")
    (directory / ".chiltepin.json").write_text(marker("main").model_dump_json())
    done = shell.run("endpoint", command, "main")
    assert done.code == 4
    done.says("endpoint main of stack `s`", "chiltepin apply", "chiltepin forget main")
    assert (directory / ".chiltepin.json").exists()


def test_the_command_says_what_there_is(shell: Shell) -> None:
    ours.configure("main")
    assert shell.run("endpoint", "start", "mian").says("no such endpoint", "did you mean main?").code == 64
    with pytest.raises(UsageError):
        ours.stop("mian")


# --- login


def test_without_a_client_it_is_chiltepins(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOBUS_COMPUTE_CLIENT_ID")
    monkeypatch.delenv("GLOBUS_COMPUTE_CLIENT_SECRET")
    assert ours.login_required()
    assert os.environ["GLOBUS_COMPUTE_CLIENT_ID"] == CHILTEPIN_CLIENT
    assert [type(app) for app in ours.get_chiltepin_apps()] == [type(app) for app in upstream.get_chiltepin_apps()]


def test_a_secret_without_its_client_is_a_login_error(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOBUS_COMPUTE_CLIENT_ID")
    with pytest.raises(LoginRequired):
        ours.login()
