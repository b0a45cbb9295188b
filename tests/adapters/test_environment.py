"""The declared environment, its digest, the login PATH, host facts, and the redaction of output."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from reconciler.adapters import environment, login_shell, machine
from reconciler.adapters.faults import FAULT_POINTS
from reconciler.adapters.host import LocalHost
from reconciler.adapters.redact import redact
from reconciler.errors import EndpointCommandError
from tests.adapters.host_support import ROOT, outcome, python

BASE = {"HOME": "/h", "USER": "u", "LOGNAME": "u", "PATH": "/usr/bin", "GLOBUS_COMPUTE_CLIENT_SECRET": "s3cret-value"}


def test_only_what_is_declared_passes() -> None:
    given = {
        **BASE,
        "LC_ALL": "C",
        "https_proxy": "http://p",
        "GLOBUS_SDK_ENVIRONMENT": "local",
        "LMOD_DIR": "/l",
        "GLOBUS_COMPUTE_ENDPOINT_DIR": "/trap",
        "GLOBUS_COMPUTE_USER_DIR": "/trap",
        "PYTHONPATH": "/x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "SSH_AUTH_SOCK": "x",
        "CHILTEPIN_FAULT": "x",
    }
    chosen = environment.declared(given, "/env/bin")
    kept = {*BASE, "LC_ALL", "https_proxy", "GLOBUS_SDK_ENVIRONMENT", "LMOD_DIR"}
    assert set(chosen) == kept
    assert chosen["PATH"] == "/env/bin:/usr/bin"


def test_a_start_from_cron_still_has_home_user_and_path() -> None:
    chosen = environment.declared({}, "/env/bin")
    assert chosen["HOME"].startswith("/")
    assert chosen["USER"] == chosen["LOGNAME"] == machine.facts().user
    assert chosen["PATH"].split(":")[0] == "/env/bin"
    assert "/usr/bin" in chosen["PATH"].split(":")


def test_path_has_no_relative_empty_or_repeated_entries() -> None:
    assert environment.join_path("/e", "/a::.:b/c:/a:/e:/d") == "/e:/a:/d"


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"GLOBUS_COMPUTE_CLIENT_SECRET": "another"}, True),
        ({"GLOBUS_SDK_ENVIRONMENT": "sandbox"}, True),
        ({"https_proxy": "http://p"}, True),
        ({"HOME": "/other"}, True),
        ({"PATH": "/opt/bin"}, False),
        ({"LOADEDMODULES": "intel"}, False),
        ({"LD_LIBRARY_PATH": "/x"}, False),
        ({"LANG": "de_DE.UTF-8"}, False),
        ({"UNDECLARED": "x"}, False),
    ],
)
def test_the_digest_covers_what_makes_another_daemon(change: dict[str, str], differs: bool) -> None:
    assert (environment.digest(BASE) != environment.digest({**BASE, **change})) == differs
    one = LocalHost("/nowhere", environ=BASE).environment_digest()
    two = LocalHost("/nowhere", environ={}, extra={**BASE, **change}).environment_digest()
    assert (one != two) == differs


def test_the_digest_is_not_that_of_the_secret() -> None:
    alone = environment.digest({"GLOBUS_COMPUTE_CLIENT_SECRET": "s3cret-value"})
    assert hashlib.sha256(b"s3cret-value").hexdigest() not in alone
    assert len(alone) == 64


def test_names_and_values_cannot_be_shifted_into_each_other() -> None:
    one = environment.digest({**BASE, "http_proxy": "a", "https_proxy": "b"})
    two = environment.digest({**BASE, "http_proxy": "a\nhttps_proxy=b"})
    assert one != two


def test_the_login_path_is_the_sites_not_the_users(tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text("export PATH=/from/the/user:$PATH\n")
    found = LocalHost(str(tmp_path), python=sys.prefix, environ={"HOME": str(tmp_path)}).login_path().split(":")
    assert found[0] == f"{sys.prefix}/bin"
    assert "/usr/bin" in found
    assert "/from/the/user" not in found


def fake_bash(folder: Path, body: str) -> None:
    folder.mkdir(exist_ok=True)
    bash = folder / "bash"
    bash.write_text(f"#!/bin/sh\n{body}\n")
    bash.chmod(bash.stat().st_mode | stat.S_IXUSR)


def test_noise_of_profile_scripts_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bash(tmp_path / "bin", 'echo "Welcome to <chiltepin-path:"; PATH=/site/bin:/usr/bin; eval "$3"; echo bye')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    assert login_shell.path() == "/site/bin:/usr/bin"


@pytest.mark.parametrize("body", ["exit 3", "sleep 60", "echo nothing"])
def test_a_login_shell_that_fails_or_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    fake_bash(tmp_path / "bin", body)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr(login_shell, "TIME_LIMIT", 0.5)
    with pytest.raises(EndpointCommandError, match="PATH could not be had") as caught:
        login_shell.path()
    assert "user_environment" in (caught.value.remedy or "")


def test_host_facts_name_this_machine_and_never_wait_for_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket  # noqa: PLC0415

    machine.facts.cache_clear()
    monkeypatch.setattr(machine, "_NAME_SERVER_PATIENCE", 0.2)
    monkeypatch.setattr(socket, "getfqdn", lambda _name: time.sleep(3))
    begun = time.monotonic()
    facts = machine.facts()
    assert time.monotonic() - begun < 2
    assert facts.fqdn.startswith(facts.name)
    assert facts.name == os.uname().nodename.partition(".")[0]
    assert facts.uid == os.getuid()
    assert facts.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts.home.startswith("/")
    machine.facts.cache_clear()


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
    """They add nothing heavy to what the marker's model needs anyway."""
    listing = "; import sys; print(*sys.modules)"
    _, ours, _ = outcome(python("import reconciler.adapters.host, reconciler.adapters.store" + listing))
    _, model, _ = outcome(python("import reconciler.core.live, reconciler.core.desired, reconciler.errors" + listing))
    added = {name.partition(".")[0] for name in set(ours.split()) - set(model.split())}
    assert "reconciler" in added
    assert added <= {"reconciler", "select", "_json", "json", "hashlib", "_hashlib", "_blake2", "pwd", "signal"}
