"""The service misbehaves while real daemons are started, restarted and taken away."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox import lifecycle
from tests.e2e.nodes import node_of
from tests.e2e.support import User, manifest, sandbox_service, sandbox_user
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e

POOLS = {"work": {"endpoint": "one"}}
HTML = {"Content-Type": "text/html"}


@pytest.fixture(scope="module")
def service() -> Iterator[Path]:
    """A sandbox that misbehaves as it is told."""
    with sandbox_service(faults=True) as state:
        yield state


@pytest.fixture
def user(service: Path) -> Iterator[User]:
    with sandbox_user(service) as user:
        try:
            yield user
        finally:
            heal(user)


def misbehave(user: User, path: str, *, method: str = "*", times: int = 10_000, **how: Any) -> None:
    """Let the service do this to the next requests of this method and path."""
    rule = {"method": method, "path": path, "times": times, **how}
    lifecycle.admin("POST", "/sandbox/faults", {"rules": [rule]}, state_dir=user.state)


def heal(user: User) -> None:
    lifecycle.admin("DELETE", "/sandbox/faults", state_dir=user.state)


def running(user: User) -> str:
    user.write(manifest("one", pools=POOLS))
    user.apply()
    return user.id("one")


def test_what_has_just_lost_its_pid_file_on_another_node_is_not_doubled(user: User) -> None:
    """The service does not see it, as one that reaches no broker; and it lives until it looks for the file."""
    with node_of(user, "ufe01") as ufe01, node_of(user, "ufe02") as ufe02:
        ufe01.write(manifest("one", pools=POOLS))
        ufe01.apply()
        old, uuid = ufe01.daemon("one"), ufe01.id("one")
        status, offline = f"/v2/endpoints/{uuid}/status", '{"status": "offline", "details": {}}'
        misbehave(user, status, body=offline, status=200)
        (user.directory("one") / "daemon.pid").unlink()
        assert "a daemon on another node lives until it looks for it" in ufe02.plan()
        heal(user)
        misbehave(user, status, body=offline, status=200, times=1)
        ufe02.apply()
        assert ufe02.daemon("one") != old
        assert ufe02.marker("one")["daemon"]["host"] == "ufe02"
        assert list(user.registrations()) == [uuid]
        assert "No changes." in ufe02.plan("--detailed-exitcode")


# --- a first start

FIRST: dict[str, tuple[dict[str, Any], int]] = {
    # what the service does with the daemon's registration, and the exit code of the apply
    "500 once": ({"status": 500, "times": 1}, 0),
    "429 once": ({"status": 429, "headers": {"Retry-After": "1"}, "times": 1}, 0),
    "a dropped connection": ({"drop": True, "times": 1}, 0),
    "503": ({"status": 503}, 3),
    "403": ({"status": 403, "body": json.dumps({"code": "FORBIDDEN", "reason": "not you"})}, 3),
    "423": ({"status": 423, "body": json.dumps({"code": "ENDPOINT_LOCKED", "reason": "locked"})}, 3),
    "a portal": ({"status": 200, "body": "<html>Log in</html>", "headers": HTML}, 3),
    "another document": ({"status": 200, "body": "{}"}, 3),
}


@pytest.mark.parametrize("fault", FIRST)
def test_a_registration_that_fails(user: User, fault: str) -> None:
    how, code = FIRST[fault]
    user.write(manifest("one", pools=POOLS))
    misbehave(user, "^/v[23]/endpoints$", method="POST", **how)
    done = user.apply(expect=None)
    assert done.code == code, str(done)
    heal(user)
    if code:
        assert "one: Start failed: " in done.err
        assert "next: " in done.err
        assert user.registrations() == {}
        assert user.locked()["endpoints"]["one"]["id"] is None
        assert user.daemons("one") == []
    user.apply()
    user.assert_converged("one")


def test_a_lost_reply_is_noticed_and_the_command_that_is_named_removes_what_is_left(user: User) -> None:
    user.write(manifest("one", pools=POOLS))
    misbehave(user, "^/v[23]/endpoints$", method="POST", lost=True, times=1)
    done = user.apply()
    own = user.id("one")
    (extra,) = set(user.registrations()) - {own}
    assert f"one: it runs as {own}, and its first start also registered {extra}" in done.err, str(done)
    command = re.search(r"To remove it for ever: `(.*)`", done.err)
    assert command, str(done)
    user.apply()
    assert set(user.registrations()) == {own, extra}, "nothing is removed that nobody asked for"
    removed = user.run("sh", "-c", command[1])
    assert removed.code == 0, str(removed)
    user.assert_converged("one")


# --- later actions

LASTING: dict[str, dict[str, Any]] = {
    "503": {"status": 503, "body": "<html>down</html>", "headers": HTML},
    "429 with a date": {"status": 429, "headers": {"Retry-After": formatdate(time.time() + 600, usegmt=True)}},
    "dropped": {"drop": True},
    "truncated": {"truncate": True},
    "a portal": {"status": 200, "body": "<html>Log in</html>", "headers": HTML},
    "404 of a gateway": {"status": 404, "body": json.dumps({"message": "no Route matched with those values"})},
}


@pytest.mark.parametrize("fault", LASTING)
def test_without_the_list_daemons_and_records_stay(user: User, fault: str) -> None:
    uuid = running(user)
    daemon, pools = user.daemon("one"), user.pools_file.read_bytes()
    user.write(manifest("one", "two", pools=POOLS, config={"debug": True}))
    misbehave(user, "^/v2/endpoints$", method="GET", **LASTING[fault])
    done = user.apply(expect=69)
    assert "the service could not be asked" in done.err
    assert "next: " in done.err
    heal(user)
    assert user.config("one")["debug"] is True, "what needs no service is done"
    assert (user.id("one"), user.daemon("one"), user.pools_file.read_bytes()) == (uuid, daemon, pools)
    assert not user.directory("two").exists()
    assert set(user.registrations()) == {uuid}
    user.apply()
    user.assert_converged("one", "two")
    assert user.id("one") == uuid


@pytest.mark.parametrize("fault", ["503", "404 of a gateway"])
def test_a_restart_whose_end_cannot_be_seen(user: User, fault: str) -> None:
    """It is up, and that is recorded; that it is online is not claimed."""
    uuid = running(user)
    daemon = user.daemon("one")
    user.write(manifest("one", pools=POOLS, config={"debug": True}))
    misbehave(user, "/status$", method="GET", **LASTING[fault])
    done = user.apply(expect=69)
    assert "one: Restart failed: " in done.err
    heal(user)
    assert user.daemon("one") != daemon
    restarted = user.daemon("one")
    user.apply()
    user.assert_converged("one")
    assert (user.id("one"), user.daemon("one")) == (uuid, restarted)


def test_a_purge_that_the_service_does_not_confirm(user: User) -> None:
    uuid = running(user)
    misbehave(user, f"^/v2/endpoints/{uuid}$", method="DELETE", status=404, body=json.dumps({"message": "no Route"}))
    done = user.chiltepin("destroy", "--yes", "--purge", expect=69)
    assert "one: Purge failed: " in done.err
    heal(user)
    assert set(user.registrations()) == {uuid}
    user.chiltepin("destroy", "--yes", "--purge")
    assert user.registrations() == {}
    assert user.processes() == {}


def test_a_purge_whose_reply_is_lost(user: User) -> None:
    uuid = running(user)
    misbehave(user, f"^/v2/endpoints/{uuid}$", method="DELETE", lost=True, times=1)
    user.chiltepin("destroy", "--yes", "--purge")
    assert user.registrations() == {}
    assert user.locked()["endpoints"] == {}


def test_a_refused_token(user: User) -> None:
    uuid = running(user)
    user.kill("one")
    misbehave(user, "^/v2/endpoints", status=401, body=json.dumps({"code": "UNAUTHORIZED", "reason": "revoked"}))
    done = user.apply(expect=77)
    assert "`chiltepin login --force`" in done.err
    heal(user)
    user.apply()
    user.assert_converged("one")
    assert user.id("one") == uuid


# --- the request budget


def requests_in(user: User, seconds: float) -> dict[str, Any]:
    """Return the service's count of requests, with the most in any window of that length."""
    return dict(lifecycle.admin("GET", f"/sandbox/requests?window={seconds}", state_dir=user.state))


def test_a_hundred_endpoints_keep_within_the_budget(user: User) -> None:
    """Registered and stopped, their directories lost: each one's status has to be asked before it is made again."""
    names = [f"e{number:03}" for number in range(100)]
    blocks = {name: {"state": "stopped", "id": user.api.register(name)} for name in names}
    user.write(manifest(endpoints=blocks))
    lifecycle.admin("DELETE", "/sandbox/requests", state_dir=user.state)
    user.apply(environ={"CHILTEPIN_REQUEST_BUDGET": "20/2"})
    counted = requests_in(user, 2)
    assert counted["total"] > 100
    assert 15 <= counted["busiest"] < 20, counted["busiest"]
    assert set(user.locked()["endpoints"]) == set(names)
    lifecycle.admin("DELETE", "/sandbox/requests", state_dir=user.state)
    assert "No changes" in user.plan()
    assert requests_in(user, 2)["busiest"] == 1, "an ordinary plan costs one request"


def test_first_starts_count_what_their_daemons_send(user: User) -> None:
    """Nine daemons at once would send 36 requests besides ours."""
    names = [f"e{number}" for number in range(9)]
    user.write(manifest(*names))
    lifecycle.admin("DELETE", "/sandbox/requests", state_dir=user.state)
    user.apply("--parallelism", "9", environ={"CHILTEPIN_REQUEST_BUDGET": "20/10"})
    assert requests_in(user, 10)["busiest"] < 20
    wait_for(lambda: all(user.daemons(name) for name in names), "they run")
