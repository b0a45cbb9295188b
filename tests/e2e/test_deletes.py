"""Deleting real endpoints: they come back with their UUID and do tasks again, or end for ever."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.e2e.nodes import clock_off_by
from tests.e2e.support import User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e

POOLS = {"work": {"endpoint": "one"}}


@pytest.fixture
def deleted(user: User) -> tuple[User, str]:
    """A user who removed the block of `one`, and the UUID that it had."""
    user.write(manifest("one", "two", pools=POOLS))
    user.apply()
    uuid = user.id("one")
    user.write(manifest("two"))
    user.apply(expect=4)
    assert user.daemons("one")
    user.apply("--allow-delete")
    assert user.daemons("one") == []
    assert not user.directory("one").exists()
    assert uuid in user.registrations()
    return user, uuid


def trash(user: User) -> list[Path]:
    return sorted((user.config_dir / ".chiltepin" / "trash").iterdir())


def test_undelete_brings_back_the_uuid_and_it_does_tasks_again(deleted: tuple[User, str]) -> None:
    user, uuid = deleted
    assert "1 in the trash: one (" in user.chiltepin("status").out
    done = user.chiltepin("undelete", "one", "--yes")
    assert "put its block back" in done.out
    assert (user.id("one"), user.daemons("one"), trash(user)) == (uuid, [], [])
    assert ("one", "Delete", "removed from the manifest") in user.planned()
    user.write(manifest("one", "two", pools=POOLS))
    user.apply()
    user.assert_converged("one", "two")
    assert user.id("one") == uuid
    assert user.workflow("work:HOME") == {"work": str(user.home)}


def test_a_block_that_is_declared_again_comes_back_by_itself(deleted: tuple[User, str]) -> None:
    user, uuid = deleted
    user.write(manifest("one", "two", pools=POOLS))
    assert [kind for _, kind, _ in user.planned()] == ["Undelete", "Start"]
    user.apply()
    user.assert_converged("one", "two")
    assert user.id("one") == uuid
    assert user.workflow_pools() == {"work": uuid}


def test_another_uuid_takes_new(deleted: tuple[User, str]) -> None:
    user, uuid = deleted
    user.write(manifest("one", "two"))
    user.apply("--new", "one")
    assert user.id("one") != uuid
    assert len(trash(user)) == 1
    user.chiltepin("undelete", "one", "--yes", expect=4)


def test_purge_ends_the_registration(deleted: tuple[User, str]) -> None:
    user, uuid = deleted
    user.chiltepin("purge", "one", "--yes", expect=4)
    assert uuid in user.registrations()
    user.chiltepin("purge", "one", "--yes", "--allow-delete")
    assert uuid not in user.registrations()
    assert trash(user) == []
    user.assert_converged("two")


def test_a_destroy_waits_until_the_service_has_missed_what_died_here(user: User) -> None:
    user.write(manifest("one", "two"))
    user.apply()
    uuid = user.id("one")
    user.kill("one")
    done = user.chiltepin("destroy", "--yes", "--purge", expect=5)
    assert "its daemon has ended here" in done.out
    assert list(user.registrations()) == [uuid]
    wait_for(lambda: not user.online(uuid), "the service has missed it")
    user.chiltepin("destroy", "--yes", "--purge")
    assert user.registrations() == {}


def test_what_died_and_was_deleted_comes_back_at_once(user: User) -> None:
    """Its record in the trash proves that what the service still sees has ended."""
    user.write(manifest("one", "two"))
    user.apply()
    uuid = user.id("one")
    user.kill("one")
    user.write(manifest("two"))
    user.apply("--allow-delete")
    assert len(trash(user)) == 1
    assert user.online(uuid)
    user.write(manifest("one", "two"))
    user.apply()
    user.assert_converged("one", "two")
    assert user.id("one") == uuid


def test_purge_and_undelete_of_what_was_deregistered_by_somebody_else(deleted: tuple[User, str]) -> None:
    user, uuid = deleted
    assert user.api.call("DELETE", f"/v2/endpoints/{uuid}").status_code == 200
    assert "its registration" in user.chiltepin("undelete", "one", "--yes", expect=4).out
    done = user.chiltepin("purge", "one", "--yes", "--allow-delete")
    assert f"its registration {uuid} is gone already" in done.out
    assert trash(user) == []


def test_undelete_is_refused_while_it_runs_elsewhere(deleted: tuple[User, str]) -> None:
    """Somebody brought the directory back by hand, in another config directory."""
    user, uuid = deleted
    (entry,) = trash(user)
    elsewhere = user.home / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    done = user.run("cp", "-a", str(entry / "endpoint"), str(elsewhere / "one"))
    assert done.code == 0, str(done)
    (elsewhere / "storage.db").symlink_to(user.config_dir / "storage.db")
    start = ("globus-compute-endpoint", "-c", str(elsewhere), "start", "--detach", "--endpoint-uuid", uuid, "one")
    done = user.run(*start)
    assert done.code == 0, str(done)
    wait_for(lambda: user.online(uuid), "it is online")
    assert "is online: it runs elsewhere" in user.chiltepin("undelete", "one", "--yes", expect=4).out
    user.chiltepin("purge", "one", "--yes", "--allow-delete", expect=4)
    user.write(manifest("one", "two"))
    user.apply(expect=4)
    assert uuid in user.registrations()
    assert len(user.daemons("one")) == 1


def test_the_retention_ends_and_waits_for_consent(deleted: tuple[User, str]) -> None:
    user, uuid = deleted
    user.write(manifest("two", trash={"keep": "14d"}))
    assert user.planned() == []
    (entry,) = trash(user)
    record = entry / "entry.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "deleted_at": time.time() - 15 * 86_400}))
    assert user.planned() == [("one", "Purge", "retention ended")]
    user.apply()
    assert uuid in user.registrations()
    user.apply("--allow-delete")
    assert uuid not in user.registrations()
    assert trash(user) == []
    user.assert_converged("two")


@pytest.mark.parametrize("days", [-20, 20])
def test_a_clock_that_is_off_by_weeks_purges_nothing_early(deleted: tuple[User, str], days: int) -> None:
    user, uuid = deleted
    off = clock_off_by(user, days * 86_400)
    user.write(manifest("two", trash={"keep": "14d"}))
    assert "retention ended" not in user.plan(environ=off)
    user.apply("--allow-delete", environ=off)
    assert uuid in user.registrations()
    # What such a node deletes is as old as it is for all others.
    user.write(manifest(trash={"keep": "14d"}, endpoints={"three": {"state": "stopped"}}))
    user.apply("--allow-delete", environ=off)
    assert not user.directory("two").exists()
    assert user.planned() == []
    assert len(trash(user)) == 2


def test_what_is_deleted_must_be_typed_at_a_terminal(deleted: tuple[User, str]) -> None:
    user, uuid = deleted
    answers = {"yes\n": 4, "one\n": 0}
    for answer, code in answers.items():
        assert user.at_a_terminal(answer, "purge", "one") == code
        assert (uuid in user.registrations()) == (code != 0)
    assert user.at_a_terminal("no\n", "destroy") == 1
    assert user.daemons("two")
    assert user.at_a_terminal("e2e\n", "destroy") == 0
    assert user.daemons("two") == []
    assert len(trash(user)) == 1


def test_a_failing_replacement_keeps_the_old_one(user: User) -> None:
    """The new one cannot start: its log cannot be written."""
    user.write(manifest("old", endpoints={"new": {"state": "stopped"}}))
    user.apply()
    uuid, daemon = user.id("old"), user.daemon("old")
    (user.directory("new") / "endpoint.log").mkdir()
    user.write(manifest("new"))
    done = user.apply("--allow-delete", expect=3)
    assert "nothing is deleted in a run in which something failed: new" in done.err
    assert (user.id("old"), user.daemon("old")) == (uuid, daemon)
    (user.directory("new") / "endpoint.log").rmdir()
    user.apply("--allow-delete")
    assert user.daemons("old") == []
    user.assert_online_once("new", user.id("new"))


def test_what_stands_against_a_delete_keeps_its_daemon(user: User) -> None:
    """An empty section, protection, the cap, a name without `moved`, a refusal of what may take its place."""
    user.write(manifest("one", endpoints={"two": {"protect": True}}))
    user.apply()
    ids, daemons = user.registrations(), {name: user.daemon(name) for name in ("one", "two")}
    for text, said, options in (
        (manifest(), "the manifest's `endpoints` section is empty", ("--allow-delete", "--max-deletes", "9")),
        (manifest("one"), "two: refused: it is protected", ("--allow-delete",)),
        (
            manifest(endpoints={"new": {"directory": "one"}, "two": {}}),
            "moved: [{from: one, to: new}]",
            ("--allow-delete",),
        ),
        (manifest("new"), "--max-deletes 0 allows", ("--allow-delete", "--max-deletes", "0")),
    ):
        user.write(text)
        done = (
            user.apply("--exclude", "new", *options, expect=None) if "--max" in said else user.apply(*options, expect=4)
        )
        assert said in f"{done.out}{done.err}"
        assert user.registrations() == ids
        assert {name: user.daemon(name) for name in daemons} == daemons
