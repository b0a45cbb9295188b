"""What is done, and what is not, without the service or without a login."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.sandbox import lifecycle
from tests.e2e.support import User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e


@pytest.fixture
def down(service: Path, user: User) -> Iterator[User]:
    """A user with the endpoints `one` and `dead`, whose service went down after `dead` died."""
    user.write(manifest("one", "dead", pools={"work": {"endpoint": "one"}}))
    user.apply()
    user.kill("dead")
    lifecycle.down(service)
    try:
        yield user
    finally:
        lifecycle.up(service, 5000)


def test_a_sandbox_that_goes_down_says_that_daemons_go_on(service: Path, user: User) -> None:
    user.write(manifest("one"))
    user.apply()
    try:
        done = user.chiltepin("sandbox", "down", "--state-dir", str(service))
        assert "online" in done.err
        assert "to end what runs: `chiltepin sandbox up`" in done.err
        assert user.daemon("one")
    finally:
        lifecycle.up(service, 5000)


def test_plan_without_the_service_changes_nothing(down: User) -> None:
    before = down.snapshot("one", "dead")
    done = down.chiltepin("plan", expect=69)
    assert "could not be asked" in done.err
    assert down.snapshot("one", "dead") == before


def test_apply_without_the_service_does_what_needs_none(service: Path, down: User) -> None:
    uuids, daemon, lock = {n: down.id(n) for n in ("one", "dead")}, down.daemon("one"), down.locked()
    down.write(manifest("one", "dead", "new", pools={"work": {"endpoint": "one"}}, config={"display_name": "Changed"}))
    down.apply(expect=69)
    assert down.config("one")["display_name"] == "Changed"
    assert down.daemon("one") == daemon
    assert down.daemons("dead") == []
    assert not down.directory("new").exists()
    assert {n: e["id"] for n, e in down.locked()["endpoints"].items() if e["id"]} == uuids
    assert down.locked()["lineage"] == lock["lineage"]
    assert down.workflow_pools() == {"work": uuids["one"]}
    lifecycle.up(service, 5000)
    down.apply()
    wait_for(lambda: down.online(down.id("one")), "the restarted one is online")
    down.assert_converged("one", "dead", "new")
    assert {n: down.id(n) for n in ("one", "dead")} == uuids


def test_delete_without_the_service_keeps_the_registration(service: Path, down: User) -> None:
    uuid = down.id("one")
    down.write(manifest("dead"))
    down.apply("--allow-delete", expect=69)
    assert down.daemons("one") == []
    assert not down.directory("one").exists()
    lifecycle.up(service, 5000)
    assert uuid in down.registrations()


def test_status_without_the_service_shows_the_daemons(down: User) -> None:
    done = down.chiltepin("status", expect=69)
    assert str(down.id("one")) in done.out
    assert "running" in done.out


# logins

_NO_CLIENT = {"GLOBUS_COMPUTE_CLIENT_ID": "", "GLOBUS_COMPUTE_CLIENT_SECRET": ""}


@pytest.mark.parametrize("environment", ["production", "local"])
@pytest.mark.parametrize("command", [("plan",), ("apply", "--yes"), ("status",), ("destroy", "--yes")])
def test_missing_login_names_the_command(user: User, environment: str, command: tuple[str, ...]) -> None:
    user.write(manifest("one"))
    done = user.chiltepin(*command, expect=77, environ={**_NO_CLIENT, "GLOBUS_SDK_ENVIRONMENT": environment})
    assert "chiltepin login" in done.err
    assert not user.directory("one").exists()
    assert not user.lock_file.exists()


def test_wrong_client_secret_is_a_login_error(user: User) -> None:
    user.write(manifest("one"))
    done = user.apply(expect=77, environ={"GLOBUS_COMPUTE_CLIENT_SECRET": "wrong"})
    assert "wrong" not in done.out
    assert not user.directory("one").exists()
    assert user.registrations() == {}


def test_nobody_to_ask_needs_yes(user: User) -> None:
    user.write(manifest("one"))
    done = user.chiltepin("apply", expect=64)
    assert "--yes" in done.err
    assert not user.directory("one").exists()
