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

pytestmark = pytest.mark.e2e

ASKED = ("SLURM_CONF", "LC_TIME", "PATH", "MINE", "GLOBUS_COMPUTE_CLIENT_SECRET", "SITE_TOKEN")
# A pool for each variable that is asked for; having the same options, they share one user endpoint.
POOLS = {name: {"endpoint": "one"} for name in ASKED}
SECRET = "canary-of-a-sensitive-variable"
SHELL = {"SLURM_CONF": "/etc/slurm/other.conf", "NO_PROXY": "localhost,127.0.0.1", "LANG": "C.UTF-8", "LC_TIME": "C"}


def given(user: User, *names: str) -> dict[str, str]:
    """Return variables of the daemon, as its tasks see them: it overwrites its own in /proc by its title."""
    return user.workflow(*(f"{name}:{name}" for name in names))


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
    user.write(manifest("one", pools=POOLS))
    user.apply(environ=SHELL)
    first = user.daemon("one")
    assert "No changes" in from_cron(user, "plan", "--detailed-exitcode")
    other_session = {"LANG": "C", "LOADEDMODULES": "intel", "LD_LIBRARY_PATH": "/nowhere"}
    assert "No changes" in user.plan("--detailed-exitcode", environ=other_session)
    user.kill("one")
    from_cron(user, "apply", "--yes", "--quiet")
    assert user.daemon("one") != first
    assert given(user, "SLURM_CONF", "LC_TIME") == {name: SHELL[name] for name in ("SLURM_CONF", "LC_TIME")}
    assert "No changes" in user.plan("--detailed-exitcode", environ=SHELL)
    changed = user.plan("--detailed-exitcode", environ={"SLURM_CONF": "/etc/slurm/new.conf"}, expect=2)
    assert 'SLURM_CONF: "/etc/slurm/other.conf" -> "/etc/slurm/new.conf"' in changed
    user.apply(environ={"SLURM_CONF": ""})
    assert given(user, "SLURM_CONF") == {"SLURM_CONF": ""}
    user.assert_converged("one")


@pytest.fixture
def second(user: User) -> Path:
    """Another environment, which shares the packages of this one."""
    prefix = user.project / "second"
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
    user.write(manifest("one", pools=POOLS, hosts={"here": {"match": ["*"], "python": "second"}}))
    # The new `hosts` section changes the claim; that is consented to, and no matter here.
    user.chiltepin("adopt", "one", "--take-over", "--yes")
    planned = user.plan()
    assert f"prefix {sys.prefix} -> {second}" in planned
    assert ("one", "Restart", "environment changed") in user.planned()
    assert ("one", "WriteFile", "environment changed") in user.planned()
    user.apply()
    user.assert_converged("one")
    assert user.id("one") == uuid
    assert given(user, "PATH")["PATH"].startswith(f"{second}/bin:")
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
    expected = {"MINE": f"x-{SECRET}", "GLOBUS_COMPUTE_CLIENT_SECRET": "", "SITE_TOKEN": ""}
    assert given(user, *expected) == expected, "what the manifest gives to tasks, and nothing else"
    for arguments in (("logs", "one"), ("status",), ("plan", "--out", "p.json")):
        heard.append(user.chiltepin(*arguments, environ=environ))
    heard += [user.chiltepin("lock", "export"), user.chiltepin("whoami")]
    changed = user.plan(environ={"SITE_TOKEN": f"{SECRET}-2"})
    assert "MINE: (sensitive) -> (sensitive)" in changed
    with (user.directory("one") / "endpoint.log").open("a") as log:
        log.write(f"{SECRET} {client_secret} amqps://u:{SECRET}@broker Authorization: Bearer {tokens(user)[0]}\n")
    heard.append(user.chiltepin("logs", "one", environ=environ))
    assert "*** *** amqps://***@broker" in heard[-1].out, "what surrounds the secrets is shown"
    heard.append(user.chiltepin("destroy", "--yes", environ=environ))
    paths = [p for p in (user.config_dir / ".chiltepin").rglob("*") if p.is_file() and "/endpoint/" not in str(p)]
    stored = [p.read_text(errors="replace") for p in (*paths, user.lock_file, user.project / "p.json")]
    texts = [*map(str, heard), *stored, changed]
    assert not [secret for secret in (SECRET, client_secret, *tokens(user)) for text in texts if secret in text]


def tokens(user: User) -> list[str]:
    with sqlite3.connect(user.config_dir / "storage.db") as connection:
        rows = connection.execute("SELECT token_data_json FROM token_storage").fetchall()
    found = [json.loads(text)["access_token"] for (text,) in rows]
    assert found
    return found
