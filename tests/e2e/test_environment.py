"""The environment of daemons and user endpoints: pinned, of the Python that is asked for, and without secrets."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.e2e.support import BIN, User, manifest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

POOLS = {"work": {"endpoint": "one"}}
SECRET = "canary-of-a-sensitive-variable"
SHELL = {"SLURM_CONF": "/etc/slurm/other.conf", "NO_PROXY": "localhost,127.0.0.1", "LANG": "C.UTF-8", "LC_TIME": "C"}


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def cron(user: User) -> dict[str, str]:
    """Return what a crontab line of this user has; `env -i` hides the rest."""
    kept = {n: v for n, v in user.environ.items() if n in ("HOME", "ACADEMY_HOME") or n.startswith("GLOBUS_")}
    return {**kept, "PATH": f"{BIN}:/usr/bin:/bin"}


def from_cron(user: User, *arguments: str) -> str:
    assignments = [f"{name}={value}" for name, value in cron(user).items()]
    done = user.run("/usr/bin/env", "-i", *assignments, str(BIN / "chiltepin-reconciler"), *arguments)
    assert done.code == 0, str(done)
    return done.out


def test_cron_and_a_shell_agree_and_start_the_same_daemon(user: User) -> None:
    user.write(manifest("one"))
    user.apply(environ=SHELL)
    first = user.daemon("one")
    before = environment_of(first)
    assert {name: before[name] for name in SHELL} == SHELL
    assert "No changes" in from_cron(user, "plan", "--detailed-exitcode")
    other_session = {"LANG": "C", "LOADEDMODULES": "intel", "LD_LIBRARY_PATH": "/nowhere"}
    assert "No changes" in user.plan("--detailed-exitcode", environ=other_session)
    user.kill("one")
    from_cron(user, "apply", "--yes")
    assert environment_of(user.daemon("one")) == before
    assert "No changes" in user.plan("--detailed-exitcode", environ=SHELL)
    changed = user.plan("--detailed-exitcode", environ={"SLURM_CONF": "/etc/slurm/new.conf"}, expect=2)
    assert 'SLURM_CONF: "/etc/slurm/other.conf" -> "/etc/slurm/new.conf"' in changed
    user.apply(environ={"SLURM_CONF": ""})
    assert "SLURM_CONF" not in environment_of(user.daemon("one"))
    user.assert_converged("one")


@pytest.fixture
def second(user: User) -> Path:
    """Another environment, which shares the packages of this one."""
    prefix = user.base / "second"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
    packages = prefix / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (packages / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    for program in ("globus-compute-endpoint", "process_worker_pool.py", "interchange.py"):
        text = (BIN / program).read_text()
        (prefix / "bin" / program).write_text(f"#!{prefix}/bin/python\n" + text.split("\n", 1)[1])
        (prefix / "bin" / program).chmod(0o755)
    return prefix


def test_another_python_environment_takes_over_daemon_and_user_endpoints(user: User, second: Path) -> None:
    user.write(manifest("one", pools=POOLS))
    user.apply()
    uuid = user.id("one")
    user.write(manifest("one", pools=POOLS, hosts={"here": {"match": ["*"], "python": "../second"}}))
    # The new `hosts` section changes the claim; that is consented to, and no matter here.
    user.chiltepin("adopt", "one", "--take-over", "--yes")
    planned = user.plan()
    assert f"prefix {sys.prefix} -> {second}" in planned
    assert ("one", "Restart", "environment changed") in user.planned()
    assert ("one", "WriteFile", "environment changed") in user.planned()
    user.apply()
    user.assert_converged("one")
    assert user.id("one") == uuid
    assert environment_of(user.daemon("one"))["PATH"].startswith(f"{second}/bin:")
    assert user.workflow("work:PATH")["work"].startswith(f"{second}/bin:")
    running = [title for title in user.processes().values() if str(second / "bin") in title]
    assert running, "the user endpoint's processes are of the second environment"
    # What is gone does not lead back to the old one.
    shutil.move(second, f"{second}-gone")
    assert "user_environment.yaml" not in user.plan(expect=None)


def test_a_login_shell_that_fails_refuses_what_needs_it_only(user: User) -> None:
    broken = user.base / "broken"
    broken.mkdir()
    (broken / "bash").write_text("#!/bin/sh\necho 'module: command not found' >&2\nexit 3\n")
    (broken / "bash").chmod(0o755)
    environ = {"PATH": f"{broken}:{user.environ['PATH']}"}
    user.write(manifest("one", endpoints={"two": {"user_environment": {"PATH": user.environ["PATH"]}}}))
    done = user.apply(expect=4, environ=environ)
    assert "module: command not found" in done.out
    assert list(user.registrations().values()) == ["two"]
    user.apply()
    user.assert_converged("one", "two")
    assert "No changes" in user.plan("--detailed-exitcode", environ=environ)


def test_no_secret_reaches_a_task_or_a_file_or_an_output(user: User) -> None:
    variables = {"token": {"env": "SITE_TOKEN", "sensitive": True}}
    block = {"user_environment": {"PATH": "auto", "MINE": "x-{{ token }}"}, "config": {"debug": True}}
    user.write(manifest(endpoints={"one": block}, pools=POOLS, variables=variables))
    environ = {"SITE_TOKEN": SECRET}
    heard = [user.apply("--format", output, environ=environ) for output in ("text", "json")]
    client_secret = user.environ["GLOBUS_COMPUTE_CLIENT_SECRET"]
    assert environment_of(user.daemon("one"))["GLOBUS_COMPUTE_CLIENT_SECRET"] == client_secret
    assert SECRET not in str(environment_of(user.daemon("one")))
    asked = user.workflow("work:GLOBUS_COMPUTE_CLIENT_SECRET", "work:MINE")
    assert asked == {"work": f"x-{SECRET}"}, "the sensitive variable is for tasks, and came last"
    assert user.workflow("work:GLOBUS_COMPUTE_CLIENT_SECRET") == {"work": ""}
    for arguments in (("logs", "one"), ("status",), ("lock", "export"), ("plan", "--out", "p.json"), ("whoami",)):
        heard.append(
            user.chiltepin(*arguments, environ=environ if arguments[0] in ("plan", "status", "logs") else None)
        )
    changed = user.plan(environ={"SITE_TOKEN": f"{SECRET}-2"})
    assert "MINE: (sensitive) -> (sensitive)" in changed
    with (user.directory("one") / "config.yaml").open("a") as config:
        config.write("nonsense: [\n")
    (user.directory("one") / "daemon.pid").unlink()
    heard.append(user.chiltepin("destroy", "--yes", expect=None, environ=environ))
    secrets = [SECRET, client_secret, *tokens(user)]
    stored = [
        p for p in (user.config_dir / ".chiltepin").rglob("*") if p.is_file() and p.name != "user_environment.yaml"
    ]
    stored += [user.lock_file, user.project / "p.json"]
    texts = [str(done) for done in heard] + [p.read_text(errors="replace") for p in stored if "log" not in p.suffix]
    assert not [secret for secret in secrets for text in [*texts, changed] if secret in text]


def tokens(user: User) -> list[str]:
    with sqlite3.connect(user.config_dir / "storage.db") as connection:
        rows = connection.execute("SELECT token_data_json FROM token_storage").fetchall()
    found = [json.loads(text)["access_token"] for (text,) in rows]
    assert found
    return found
