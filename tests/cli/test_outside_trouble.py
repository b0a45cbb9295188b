"""The outside fails: no login, a wrong one, a service that is down, slow or talks nonsense, a missing or wrong tool."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.adapters.globus_stub import CLIENT, ENDPOINT, Reply, error
from tests.adapters.host_support import fake_environment
from tests.cli.support import HEAD, POOLED, RENAMED, Shell, json_of
from tests.ports import free_port

READ_ONLY = (["plan"], ["status"])

# --- logins


def test_no_login_says_which_command_logs_in(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.registered()
    shell.write(RENAMED)
    monkeypatch.delenv("GLOBUS_COMPUTE_CLIENT_ID")
    monkeypatch.delenv("GLOBUS_COMPUTE_CLIENT_SECRET")
    asked = len(shell.stub.requests)
    for command in (*READ_ONLY, ["apply", "--yes"], ["destroy", "--yes"], ["whoami"]):
        done = shell.refused(*command, code=77, says=("Nobody is logged in.", "next: run `chiltepin login`"))
        assert done.out == ""
    assert len(shell.stub.requests) == asked


def test_no_login_in_another_config_directory(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write(POOLED)
    monkeypatch.delenv("GLOBUS_COMPUTE_CLIENT_ID")
    monkeypatch.delenv("GLOBUS_COMPUTE_CLIENT_SECRET")
    other = shell.base / "other"
    shell.refused("plan", "-c", str(other), code=77, says=("run `chiltepin login", f"{other}"))


def test_a_refused_client(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write(POOLED)
    monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_SECRET", "not-the-secret")
    says = ("Globus Auth refused the login", "check GLOBUS_COMPUTE_CLIENT_ID and GLOBUS_COMPUTE_CLIENT_SECRET")
    for command in READ_ONLY:
        assert "not-the-secret" not in shell.refused(*command, code=77, says=says).text


def test_a_secret_without_its_client(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write(POOLED)
    monkeypatch.delenv("GLOBUS_COMPUTE_CLIENT_ID")
    shell.refused("plan", code=77, says=("$GLOBUS_COMPUTE_CLIENT_SECRET is set", "set both"))


def test_a_login_that_the_service_does_not_accept(shell: Shell) -> None:
    shell.registered()
    shell.stub.script["/v2/endpoints"] = [error(401, "no")]
    shell.refused("plan", code=77, says=("does not accept the login, not even a new one", "`chiltepin login --force`"))


def test_the_login_of_somebody_else(shell: Shell) -> None:
    shell.registered()
    other = "99999999-3c06-4b2c-8738-cc1b615572ff"
    shell.marker.write_text(shell.marker.read_text().replace(CLIENT, other))
    shell.lock.write_text(shell.lock.read_text().replace(CLIENT, other))
    says = ("another Globus identity or service", other, CLIENT, "`chiltepin whoami`", "`chiltepin login`")
    shell.refused("plan", code=77, says=says)


def test_an_environment_that_globus_does_not_have(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write(POOLED)
    monkeypatch.setenv("GLOBUS_SDK_ENVIRONMENT", "prod")
    shell.refused("plan", code=64, says=("$GLOBUS_SDK_ENVIRONMENT names no Globus environment", "unset"))


# --- the service

NONSENSE: dict[str, tuple[Reply, str]] = {
    "a portal's page": (Reply(200, body=b"<html>Log in to the airport</html>"), "something that is not JSON"),
    "another document": (Reply(200, {"hello": "world"}), "does not have the documented form"),
    "entries of another form": (Reply(200, [{"uuid": 5}]), "does not have the documented form"),
    "nothing": (Reply(200, body=b""), "something that is not JSON"),
    "a proxy's refusal": (Reply(407, body=b"<html>"), "It answered 407"),
    "forbidden": (error(403, "not for you"), "It answered 403: not for you"),
    "come back tomorrow": (Reply(429, {}, headers={"Retry-After": "86400"}), "run the command again in 86400 seconds"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_a_service_that_talks_nonsense(shell: Shell, name: str) -> None:
    """Nothing is concluded from it: what needs no service is still done, the rest is left alone, exit 69."""
    reply, why = NONSENSE[name]
    shell.registered()
    shell.write(f"{RENAMED}".replace("pools:", "  new: {state: stopped}\npools:"))
    shell.stub.script["/v2/endpoints"] = [reply]
    done = shell.refused("plan", code=69, says=("the service could not be asked", why, "next: "))
    assert "main: spec changed" in done.out
    assert "new: not planned: the service could not be asked" in done.out
    done = shell.run("apply", "--yes")
    assert done.code == 69, done.text
    assert "Renamed" in (shell.config_dir / "main" / "config.yaml").read_text()
    assert not (shell.config_dir / "new").exists()
    assert ENDPOINT in shell.lock.read_text()
    assert ENDPOINT in shell.pools.read_text()


def test_status_without_the_service(shell: Shell) -> None:
    shell.registered()
    shell.stub.script["/v2/endpoints"] = [NONSENSE["another document"][0]]
    done = shell.refused("status", code=69, says=("the service could not be asked", "next: "))
    assert "unknown" in done.out
    document = json_of(shell.refused("status", "--format", "json", code=69))
    assert document["endpoints"][0]["service"] == "unknown"
    assert "documented form" in document["unreachable"]


def test_nothing_listens(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.registered()
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_COMPUTE", f"http://127.0.0.1:{free_port()}/")
    says = ("Connection refused", "as far as can be told without the service", "`chiltepin sandbox up`")
    shell.refused("plan", code=69, says=says)


@pytest.mark.parametrize("options", [("--quiet",), ("--format", "json")])
def test_an_apply_that_shows_no_plan_says_that_the_service_could_not_be_asked(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Cron's mail is this: an outage that nobody is told of lasts."""
    shell.registered()
    shell.write(POOLED.replace("pools:", "  new: {state: stopped}\npools:"))
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_COMPUTE", f"http://127.0.0.1:{free_port()}/")
    done = shell.run("apply", "--yes", *options)
    assert done.code == 69
    for words in ("new: not planned: the service could not be asked", "Connection refused"):
        assert words in done.err


def test_globus_auth_does_not_answer(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write(POOLED)
    port = free_port()
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", f"http://127.0.0.1:{port}/")
    done = shell.refused("plan", code=69, says=(f"http://127.0.0.1:{port}/", "Connection refused"))
    assert "main: not planned: the service could not be asked" in done.out


def test_a_service_that_recovers(shell: Shell) -> None:
    shell.registered()
    well = Reply(200, shell.stub.listing)
    for trouble in (
        Reply(503, body=b"<html>"),
        Reply(200, [], drop=True),
        Reply(429, {}, headers={"Retry-After": "0"}),
    ):
        shell.stub.script["/v2/endpoints"] = [trouble, well]
        shell.refused("plan", code=0, says=("No changes.",))


# --- globus-compute-endpoint


def with_python(shell: Shell, prefix: str) -> None:
    """Write a manifest whose host uses the environment `prefix`."""
    hosts = json.dumps({"here": {"match": ["*"], "python": str(shell.base / prefix)}})
    shell.write(f"{HEAD}hosts: {hosts}\nendpoints:\n  main: {{}}\n")


def test_no_tool(shell: Shell) -> None:
    (shell.base / "empty" / "bin").mkdir(parents=True)
    with_python(shell, "empty")
    place = str(shell.base / "empty" / "bin" / "globus-compute-endpoint")
    says = (
        place,
        "globus-compute-endpoint was not found",
        'pip install "globus-compute-endpoint>=4.13,<5"',
        "`python:`",
    )
    shell.refused("plan", code=4, says=says)
    shell.refused("status", code=0, says=("absent",))
    assert shell.run("apply", "--yes").says(*says).code == 4
    assert not (shell.config_dir / "main").exists()


@pytest.mark.parametrize("version", ["4.12.0", "3.0.1", "5.0.0"])
def test_a_tool_of_the_wrong_version(shell: Shell, version: str) -> None:
    fake_environment(shell.base / "wrong", version)
    with_python(shell, "wrong")
    says = (f"globus-compute-endpoint {version} is not supported", "4.13", "5", "pip install")
    shell.refused("plan", code=4, says=says)
    assert shell.run("apply", "--yes").says(*says).code == 4
    assert not (shell.config_dir / "main").exists()


def test_a_tool_whose_python_is_gone(shell: Shell) -> None:
    fake_environment(shell.base / "broken")
    (shell.base / "broken" / "bin" / "python").unlink()
    with_python(shell, "broken")
    shell.refused("plan", code=4, says=("globus-compute-endpoint cannot run", "is missing", "rebuild that environment"))


def test_a_tool_that_vanishes(shell: Shell) -> None:
    """What is there is still shown and can be taken down; nothing can be started, and that is said."""
    fake_environment(shell.base / "other")
    hosts = json.dumps({"here": {"match": ["*"], "python": str(shell.base / "other")}})
    manifest = POOLED.replace("endpoints:", f"hosts: {hosts}\nendpoints:")
    shell.registered(manifest)
    shutil.rmtree(shell.base / "other")
    shell.refused("plan", code=0, says=("No changes.",))
    shell.refused("status", code=0, says=(ENDPOINT,))
    shell.write(manifest.replace("state: stopped", "state: running"))
    lock = shell.lock.read_bytes()
    done = shell.run("apply", "--yes").says("globus-compute-endpoint", "not found", "next: ")
    assert done.code == 1, done.text
    assert shell.lock.read_bytes() == lock
    shell.write(manifest)
    shell.ok("destroy", "--yes")
    assert not (shell.config_dir / "main").exists()
