"""`-v`: what is asked and run, on stderr; the results stay as they are."""

from __future__ import annotations

import pytest

from tests.adapters.globus_stub import CLIENT, ENDPOINT, Reply
from tests.cli.support import POOLED, SECRET, Shell


@pytest.mark.parametrize("option", ["-v", "--verbose"])
def test_a_plan_says_what_it_reads_and_asks(shell: Shell, option: str) -> None:
    shell.registered()
    done = shell.ok("plan", option)
    assert done.out == shell.ok("plan").out
    said = done.err.splitlines()
    assert f"manifest chiltepin.yaml, host any; lock chiltepin.lock.yaml; config directory {shell.config_dir}" in said
    assert any(
        line.startswith(f"{shell.tool}/bin/globus-compute-endpoint: globus-compute-endpoint 4.") for line in said
    )
    assert any(line.startswith(f"{shell.stub.url}/v2/endpoints: 200, ") for line in said)


def test_without_it_nothing_of_it_is_said(shell: Shell) -> None:
    shell.registered()
    assert shell.ok("plan").err == ""


def test_each_attempt_is_said_with_its_answer(shell: Shell) -> None:
    shell.registered()
    shell.stub.script["/v2/endpoints"] = [Reply(503, {"reason": "busy"}), Reply(200, shell.stub.listing)]
    answers = [line.split(": ")[1].split(",")[0] for line in shell.ok("plan", "-v").err.splitlines() if "/v2/" in line]
    assert answers == ["503", "200"]


def test_no_credential_in_a_url_is_said(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.registered()
    for credential in ("canary-token", "user:canary@word"):
        monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_COMPUTE", shell.stub.url.replace("//", f"//{credential}@") + "/")
        done = shell.run("plan", "-v")
        assert "canary" not in done.text
        assert "/v2/endpoints: " in done.err


@pytest.mark.parametrize("line", ["purge main", "undelete main", "restart main", "adopt main", "forget main"])
def test_commands_for_one_endpoint_have_it(shell: Shell, line: str) -> None:
    shell.registered()
    assert "manifest chiltepin.yaml" in shell.run(*line.split(), "--yes", "-v").err


def test_what_an_apply_does_is_said(shell: Shell) -> None:
    shell.registered()
    done = shell.ok("destroy", "--yes", "--purge", "-v")
    assert f"deregister {ENDPOINT}" in done.err.splitlines()


def test_new_tokens_are_said_and_never_shown(shell: Shell) -> None:
    shell.write(POOLED)
    done = shell.ok("apply", "--yes", "-v")
    assert f"new tokens for the client {CLIENT} at service sandbox: " in done.err
    assert SECRET not in done.text
    assert "Bearer" not in done.text
