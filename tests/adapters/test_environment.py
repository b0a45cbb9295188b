"""The declared environment, its digest, the login PATH, host facts, and the redaction of output."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
import time
from pathlib import Path

import pytest

from reconciler.adapters import environment, login_shell, machine
from reconciler.adapters.faults import FAULT_POINTS
from reconciler.adapters.host import LocalHost
from reconciler.core.environment import join_path
from reconciler.core.redact import redact
from reconciler.errors import EndpointCommandError
from tests.adapters.host_support import ROOT, outcome, python

BASE = {"HOME": "/h", "USER": "u", "LOGNAME": "u", "PATH": "/usr/bin", "GLOBUS_COMPUTE_CLIENT_SECRET": "s3cret-value"}


def test_only_what_is_declared_passes() -> None:
    given = {
        **BASE,
        "https_proxy": "http://p",
        "GLOBUS_SDK_ENVIRONMENT": "local",
        "NO_PROXY": "",
        "LC_ALL": "C",
        "GLOBUS_COMPUTE_ENDPOINT_DIR": "/trap",
        "GLOBUS_COMPUTE_USER_DIR": "/trap",
        "PYTHONPATH": "/x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "SSH_AUTH_SOCK": "x",
        "CHILTEPIN_FAULT": "x",
    }
    chosen = environment.declared(given, "/env/bin", {"LMOD_DIR": "/l", "PYTHONPATH": "/x", "HOME": "/kept"})
    assert set(chosen) == {*BASE, "https_proxy", "GLOBUS_SDK_ENVIRONMENT", "LMOD_DIR"}
    assert (chosen["PATH"], chosen["HOME"]) == ("/env/bin:/usr/bin", "/h")


def test_what_is_kept_reaches_a_daemon_that_is_started_without_it_and_not_one_that_is_started_with_another() -> None:
    kept = {"PATH": "/site/bin", "LANG": "C", "https_proxy": "http://p", "SLURM_CONF": "/s"}
    cron = environment.declared({**BASE, "LANG": "de_DE"}, "/env/bin", kept)
    assert {name: cron[name] for name in kept} == {**kept, "PATH": "/env/bin:/site/bin"}
    shell = environment.declared({**BASE, "https_proxy": "http://q", "SLURM_CONF": ""}, "/env/bin", kept)
    assert shell["https_proxy"] == "http://q"
    assert "SLURM_CONF" not in shell


def test_a_start_from_cron_still_has_home_user_and_path() -> None:
    chosen = environment.declared({}, "/env/bin")
    assert chosen["HOME"].startswith("/")
    assert chosen["USER"] == chosen["LOGNAME"] == machine.facts().user
    assert chosen["PATH"].split(":")[0] == "/env/bin"
    assert "/usr/bin" in chosen["PATH"].split(":")
    known = LocalHost("/nowhere", environ={}).environment()
    assert {name: known[name].value for name in known} == {n: chosen[n] for n in ("HOME", "USER", "LOGNAME")}


def test_path_has_no_relative_empty_or_repeated_entries() -> None:
    assert join_path("/e", "/a::.:b/c:/a:/e:/d") == "/e:/a:/d"


def test_a_secret_of_the_login_is_known_by_its_digest_alone() -> None:
    found = LocalHost("/nowhere", environ=BASE, extra={"GLOBUS_COMPUTE_CLIENT_SECRET": "an0ther"}).environment()
    assert found["GLOBUS_COMPUTE_CLIENT_SECRET"].value is None
    assert found["GLOBUS_COMPUTE_CLIENT_SECRET"] != environment.variables(BASE)["GLOBUS_COMPUTE_CLIENT_SECRET"]
    assert found["HOME"].value == "/h"
    assert "PATH" not in found
    assert "an0ther" not in repr(found)


def test_passwords_of_proxies_are_secrets() -> None:
    found = environment.secrets({**BASE, "https_proxy": "http://user:pa55w0rd@proxy:3128", "OTHER": "x://u:p@h"})
    assert set(found) == {"s3cret-value", "pa55w0rd"}
    assert environment.secrets({"http_proxy": "http://jdoe@proxy:3128"}) == (), "a user is in many a message"


def test_the_login_path_is_the_sites_not_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".bash_profile").write_text("export PATH=/from/the/user:$PATH LC_ALL=from-the-user\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/of/this/session")
    found = LocalHost(str(tmp_path), environ={"HOME": str(tmp_path)}).login_shell()
    assert "/usr/bin" in found.path.split(":")
    assert "/from/the/user" not in found.path
    assert "LD_LIBRARY_PATH" not in found.variables
    assert found.variables.get("LC_ALL") != "from-the-user"


def test_the_login_shell_is_asked_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a temporary directory, nor a usual umask, nor a file of any size is needed."""
    import resource  # noqa: PLC0415

    monkeypatch.setattr(tempfile, "mkdtemp", None)
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    before, limits = os.umask(0o777), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        found = login_shell.ask()
    finally:
        os.umask(before)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "/usr/bin" in found.path.split(":")


def test_a_login_shell_that_says_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bash(tmp_path / "bin", "head -c 3000000 /dev/zero >&2; MODULEPATH=$(seq -s: 20000); export MODULEPATH")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    assert login_shell.ask().variables["MODULEPATH"].endswith(":20000")


def fake_bash(folder: Path, body: str) -> None:
    """Make a shell that runs `body` as its profile, and then the script that it is given."""
    folder.mkdir(exist_ok=True)
    bash = folder / "bash"
    bash.write_text(f'#!/bin/sh\nscript=$3; shift 4\n{body}\neval "$script"\n')
    bash.chmod(bash.stat().st_mode | stat.S_IXUSR)


def test_noise_of_profile_scripts_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bash(
        tmp_path / "bin", "echo Welcome; echo complaint >&2; export MODULEPATH=/m OTHER=x; PATH=/site/bin:/usr/bin"
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    found = login_shell.ask()
    assert found.path == "/site/bin:/usr/bin"
    assert found.variables["MODULEPATH"] == "/m"
    assert "OTHER" not in found.variables


def test_secrets_of_the_site_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bash(tmp_path / "bin", "export https_proxy=http://u:pa55word@p no_proxy=here")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    found = login_shell.ask()
    assert found.variables["no_proxy"] == "here"
    assert "pa55word" not in repr(found)


def test_what_a_profile_script_leaves_running_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent holds the output open as long as it lives."""
    fake_bash(tmp_path / "bin", f"sleep 30 & echo $! > {tmp_path}/pid")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr(login_shell, "TIME_LIMIT", 10)
    try:
        assert "/usr/bin" in login_shell.ask().path.split(":")
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("body", "why"),
    [("exit 3", "code 3"), ("sleep 60", "did not end"), ("echo 'password=hunter22' >&2; exit 1", "password=***")],
)
def test_a_login_shell_that_fails_or_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, why: str
) -> None:
    fake_bash(tmp_path / "bin", body)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr(login_shell, "TIME_LIMIT", 0.5)
    with pytest.raises(EndpointCommandError, match="PATH could not be had") as caught:
        login_shell.ask()
    assert why in (caught.value.why or "")
    assert "user_environment" in (caught.value.remedy or "")


def test_host_facts_name_this_machine_and_never_wait_for_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket  # noqa: PLC0415

    monkeypatch.setattr(machine, "_NAME_SERVER_PATIENCE", 0.2)
    monkeypatch.setattr(socket, "getfqdn", lambda _name: time.sleep(3))
    begun = time.monotonic()
    facts = machine.facts()
    assert time.monotonic() - begun < 2
    assert facts.fqdn.startswith(facts.name)
    assert facts.name == os.uname().nodename.partition(".")[0]
    assert facts.uid == os.getuid()
    assert facts.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts.namespace == str(Path("/proc/self/ns/pid").readlink())
    assert facts.home.startswith("/")


@pytest.mark.parametrize(
    ("text", "hidden", "kept"),
    [
        ("amqps://user:pa55word@host:5671/v", "pa55word", "host:5671/v"),
        ("{'connection_url': 'amqp://a:b0rkborkb@h'}", "b0rkborkb", "@h"),
        ("Authorization: Bearer AgXyz.123_-abcdef", "AgXyz", "Authorization"),
        ('"refresh_token": "Ag00112233"', "Ag00112233", "refresh_token"),
        ("GLOBUS_COMPUTE_CLIENT_SECRET=abcd1234", "abcd1234", "GLOBUS"),
        ("password: hunter22", "hunter22", "password"),
        ("the value xyzzy12 alone", "xyzzy12", "alone"),
    ],
)
def test_secrets_are_taken_out_of_output(text: str, hidden: str, kept: str) -> None:
    shown = redact(text, ["xyzzy12"])
    assert hidden not in shown
    assert kept in shown


def test_ordinary_output_stays_as_it_is() -> None:
    text = "2026-01-01 12:00:00 INFO MainProcess-1 endpoint:12 start uuid 0a0a0a0a-1111-4222-8333-444444444444"
    assert redact(text, [""]) == text


@pytest.mark.parametrize("request_", ["nonsense", "start.up:0", "start.up:x", ":2", "start.up:-1"])
def test_an_unknown_fault_point_is_an_error_before_anything_is_done(tmp_path: Path, request_: str) -> None:
    code = """
import sys
from reconciler.adapters.host import LocalHost
from reconciler.errors import UsageError
try:
    LocalHost(sys.argv[1])
except UsageError as e:
    print(e.why)
"""
    status, out, err = outcome(python(code, str(tmp_path), CHILTEPIN_FAULT=request_))
    assert status == 0, err
    assert "start.spawned" in out


@pytest.mark.parametrize("point", FAULT_POINTS)
def test_every_fault_point_is_passed_somewhere(point: str) -> None:
    sources = (ROOT / "reconciler" / "adapters").glob("*.py")
    assert any(f'"{point}"' in path.read_text() for path in sources if path.name != "faults.py")


def test_importing_the_adapters_is_cheap() -> None:
    """They add nothing heavy to what the marker's model, and the SDK's logging, need anyway."""
    listing = "; import sys; print(*sys.modules)"
    _, ours, _ = outcome(python("import reconciler.adapters.host, reconciler.adapters.store" + listing))
    anyway = "import logging, reconciler.core.live, reconciler.core.desired, reconciler.errors"
    _, model, _ = outcome(python(anyway + listing))
    added = {name.partition(".")[0] for name in set(ours.split()) - set(model.split())}
    assert "reconciler" in added
    assert added <= {
        "reconciler",
        "select",
        "_json",
        "json",
        "hashlib",
        "_hashlib",
        "_blake2",
        "pwd",
        "signal",
        "shlex",
    }
