"""Single endpoints with real daemons, by module and by command; a stack through the Python API."""

from __future__ import annotations

import re
import sys

import pytest

from tests.e2e.support import HEARTBEAT, Done, User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e

UPSTREAMS_LIST = "from chiltepin.cli import cli_list; cli_list()"

SCRIPT = """
from MODULE import endpoint

assert not endpoint.exists("test")
assert endpoint.configure("test") is True
clients = endpoint.login()
assert sorted(clients) == ["compute", "transfer"]
assert not endpoint.login_required()
endpoint.start("test", timeout=90)
assert endpoint.is_running("test")
shown = endpoint.show()["test"]
print(shown["id"])
print(clients["compute"].get_endpoint_metadata(shown["id"])["name"])
endpoint.stop("test", timeout=90)
assert not endpoint.is_running("test")
endpoint.delete("test", timeout=90)
assert endpoint.show() == {}
"""

STACK = """
import reconciler

stack = reconciler.load("chiltepin.yaml")
planned = stack.plan()
applied = stack.apply(planned)
assert applied.exit_code is reconciler.ExitCode.OK, applied
(row,) = stack.status().rows
assert (row.endpoint, row.state, row.service) == ("main", "running", "online"), row
assert reconciler.read_lock(stack.lock_file).endpoints["main"].id == row.id
assert stack.plan().is_empty
print(row.id)
"""


def python(user: User, code: str) -> Done:
    done = user.run(sys.executable, "-c", code)
    assert done.code == 0, str(done)
    return done


@pytest.mark.parametrize("module", ["chiltepin", "reconciler"])
def test_one_script_works_with_upstreams_module_and_with_ours(user: User, module: str) -> None:
    uuid, name = python(user, SCRIPT.replace("MODULE", module)).out.split()
    assert name == "test"
    assert user.daemons("test") == []
    assert not user.directory("test").exists()
    assert user.registrations() == {uuid: "test"}  # neither deregisters


def test_the_command_lists_what_upstreams_lists_and_deletes_just_what_it_says(user: User) -> None:
    def both() -> list[str]:
        ours = user.chiltepin("endpoint", "list").out
        assert sorted(python(user, UPSTREAMS_LIST).out.splitlines()) == ours.splitlines()
        return [re.sub(r" +", " ", line) for line in ours.splitlines()]

    assert both() == ["No endpoints are configured"]
    for name in ("one", "second"):
        user.chiltepin("endpoint", "configure", name)
    assert both() == ["one None Initialized", "second None Initialized"]
    for name in ("one", "second"):
        assert user.chiltepin("endpoint", "-c", str(user.config_dir), "start", name).out == ""
    one, second = user.id("one"), user.id("second")
    assert both() == [f"one {one} Running", f"second {second} Running"]
    pid = user.daemon("second")
    user.chiltepin("endpoint", "start", "second")
    assert user.daemon("second") == pid
    assert "second runs" in user.chiltepin("endpoint", "delete", "second", "--deregister", expect=4).err
    user.chiltepin("endpoint", "stop", "one")
    assert user.daemons("one") == []
    assert both() == [f"one {one} Stopped", f"second {second} Running"]
    user.chiltepin("endpoint", "delete", "one", "--deregister")
    assert both() == [f"second {second} Running"]
    assert user.registrations() == {second: "second"}
    assert (user.daemon("second"), user.online(second)) == (pid, True)


def test_a_stack_through_the_python_api_and_its_daemon_by_hand(user: User) -> None:
    user.write(manifest("main"))
    uuid = python(user, STACK).out.strip()
    user.assert_converged("main")
    for refused in ("configure", "delete"):
        assert "stack `e2e`" in user.chiltepin("endpoint", refused, "main", expect=4).err
    user.chiltepin("endpoint", "stop", "main")
    assert user.marker("main")["daemon"] is None
    assert user.planned() == [("main", "Start", "not running")]
    user.chiltepin("endpoint", "start", "main")
    assert user.marker("main")["daemon"]["pid"] == user.daemon("main")
    wait_for(lambda: user.online(uuid), "the service sees it")
    user.assert_converged("main")
    assert user.id("main") == uuid


def test_what_was_made_by_hand_is_adopted(user: User) -> None:
    user.chiltepin("endpoint", "configure", "main")
    user.chiltepin("endpoint", "start", "main")
    uuid = user.id("main")
    user.write(manifest("main"))
    user.chiltepin("adopt", "main", "--yes")
    user.apply()
    user.assert_converged("main")
    assert user.id("main") == uuid


def test_a_daemon_that_was_killed_is_stopped_and_started_by_hand(user: User) -> None:
    user.chiltepin("endpoint", "configure", "main")
    with (user.directory("main") / "config.yaml").open("a") as config:
        config.write(f"heartbeat_period: {HEARTBEAT}\n")
    user.chiltepin("endpoint", "start", "main")
    uuid = user.id("main")
    wait_for(lambda: user.online(uuid), "main is online")
    user.kill("main")
    assert "runs" in user.chiltepin("endpoint", "delete", "main", expect=4).err
    user.chiltepin("endpoint", "stop", "main")
    assert user.chiltepin("endpoint", "list").out.split() == ["main", uuid, "Stopped"]
    wait_for(lambda: not user.online(uuid), "the service has missed main")
    user.chiltepin("endpoint", "start", "main")
    assert user.id("main") == uuid
