"""`moved` on real daemons: another name, the same UUID."""

from __future__ import annotations

import pytest

from tests.e2e.support import User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e

MOVED = [{"from": "one", "to": "new"}]


@pytest.fixture
def running(user: User) -> User:
    user.write(manifest("one", pools={"work": {"endpoint": "one"}}))
    user.apply()
    return user


def test_name_changes_and_its_daemon_goes_on(running: User) -> None:
    uuid, daemon = running.id("one"), running.daemon("one")
    blocks = {"new": {"directory": "one", "config": {"display_name": "one"}}}
    running.write(manifest(endpoints=blocks, pools={"work": {"endpoint": "new"}}, moved=MOVED))
    assert "one has moved to new" in running.plan()
    running.apply()
    assert running.daemon("one") == daemon
    assert running.online(uuid)
    assert set(running.locked()["endpoints"]) == {"new"}
    assert running.locked()["endpoints"]["new"]["id"] == uuid
    assert (running.marker("one")["endpoint"], running.marker("one")["id"]) == ("new", uuid)
    assert running.workflow_pools() == {"work": uuid}
    assert list(running.registrations()) == [uuid]
    assert "No changes" in running.plan("--detailed-exitcode")  # the entry may stay in the file


def test_directory_changes_with_it_and_its_daemon_is_another_with_the_same_uuid(running: User) -> None:
    uuid, daemon = running.id("one"), running.daemon("one")
    running.write(manifest("new", pools={"work": {"endpoint": "new"}}, moved=MOVED))
    planned = [kind for name, kind, _ in running.planned() if name == "new"]
    assert planned == ["Stop", "Rename", "WriteFile", "Start"]  # its display name follows its name
    running.apply()
    running.assert_converged("new")
    assert running.id("new") == uuid
    assert running.daemon("new") != daemon
    assert running.daemons("one") == []
    assert not running.directory("one").exists()
    assert running.workflow("work:HOME") == {"work": str(running.home)}


def test_renamed_while_it_lay_in_the_trash(running: User) -> None:
    uuid = running.id("one")
    running.write(manifest("two"))
    running.apply("--allow-delete")
    assert running.daemons("one") == []
    running.write(manifest("two", "new", pools={"work": {"endpoint": "new"}}, moved=MOVED))
    planned = [kind for name, kind, _ in running.planned() if name == "new"]
    assert planned == ["Undelete", "Rename", "WriteFile", "Start"]
    running.apply()
    running.assert_converged("new", "two")
    assert (running.id("new"), running.known_ids("new")) == (uuid, {uuid})
    assert len(running.registrations()) == 2
    assert running.workflow("work:HOME") == {"work": str(running.home)}


def test_directory_that_was_renamed_by_hand_under_its_daemon(running: User) -> None:
    uuid = running.id("one")
    running.directory("one").rename(running.directory("two"))
    done = running.apply(expect=4)
    assert f"`mv {running.directory('two')} {running.directory('one')}`" in done.out
    running.write(manifest(endpoints={"one": {"directory": "two"}}))
    assert "while its daemon ran" in running.apply(expect=4).out
    wait_for(lambda: not running.processes(), "the daemon has noticed", 60)
    wait_for(lambda: not running.online(uuid), "the service says offline", 60)
    running.apply()
    assert running.known_ids("two") == {uuid}
    assert list(running.registrations()) == [uuid]
    assert len(running.daemons("two")) == 1
    assert "No changes" in running.plan("--detailed-exitcode")


def test_renamed_while_tasks_may_run_is_deferred(user: User) -> None:
    pools = {"work": {"endpoint": "one"}}
    user.write(manifest(endpoints={"one": {"restart": "when-idle"}}, pools=pools))
    user.apply()
    user.workflow("work:HOME")
    uuid, daemon = user.id("one"), user.daemon("one")
    user.write(manifest(endpoints={"new": {"restart": "when-idle"}}, pools={"work": {"endpoint": "new"}}, moved=MOVED))
    user.apply(expect=5)
    assert (user.daemon("one"), set(user.locked()["endpoints"])) == (daemon, {"one"})
    assert user.workflow_pools() == {"work": uuid}
    user.write(manifest("new", pools={"work": {"endpoint": "new"}}, moved=MOVED))
    user.apply()
    user.assert_converged("new")
    assert user.id("new") == uuid
