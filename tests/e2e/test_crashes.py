"""SIGKILL of an apply at every named point: the next one converges, with no UUID lost and no daemon doubled."""

from __future__ import annotations

import sys

import pytest
import yaml

from reconciler.adapters.faults import FAULT_POINTS
from tests.e2e.support import User, manifest
from tests.sandbox.support import endpoint_id, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

NAME = "one"
_POOLS = {"work": {"endpoint": NAME}}

_CREATE = (
    "lease.acquired",
    "lock.temp",
    "lock.written",
    "journal.appending",  # the intent to create
    "create.begin",
    "create.built",
    "create.renamed",
    "journal.appended:2",  # created
    "journal.appending:3",  # the intent to start
    "journal.appended:3",
    "start.begin",
    "start.spawned",
    "start.up",
    "marker.temp",
    "marker.written",
    "lock.temp:2",
    "lock.written:2",
    "pools.temp",
    "pools.written",
    "journal.appending:4",  # started
    "journal.appended:4",
    "lease.released",
)
_EDIT = (
    "backup.written",
    "write.temp",
    "write.renamed",
    "marker.written",
    "journal.appended:3",  # the intent to restart
    "stop.signalled",
    "stop.gone",
    "start.begin",
    "start.spawned",
    "start.up",
    "marker.temp:2",
    "marker.written:2",
)
_DELETE = ("stop.signalled", "stop.gone", "trash.begin", "trash.moved", "trash.done", "lock.written", "lease.released")
_PURGE = ("stop.gone", "trash.moved", "trash.done", "purge.begin", "purge.done", "pools.written")


def test_every_point_is_reached_by_some_scenario() -> None:
    reached = {point.partition(":")[0] for point in (*_CREATE, *_EDIT, *_DELETE, *_PURGE)}
    assert reached | {"remove.done", "pid.cleared", "restore.moved"} == set(FAULT_POINTS)


@pytest.fixture
def running(user: User) -> User:
    """A user whose endpoint runs."""
    user.write(manifest(NAME, pools=_POOLS))
    user.apply()
    return user


def _rerun(user: User) -> None:
    """Apply again, and assert that everything that was recorded or registered before is still what is used."""
    recorded = user.known_ids(NAME)
    user.apply()
    user.assert_converged(NAME)
    assert recorded <= {user.id(NAME)}


@pytest.mark.parametrize("point", _CREATE)
def test_create_and_start(user: User, point: str) -> None:
    user.write(manifest(NAME, pools=_POOLS))
    user.killed_at(point)
    _rerun(user)
    assert user.workflow_pools() == {"work": user.id(NAME)}


@pytest.mark.parametrize("point", ["start.spawned", "start.up"])
def test_create_and_start_when_the_daemon_is_up_before_the_next_apply(user: User, point: str) -> None:
    """The start command goes on without the apply that ran it."""
    user.write(manifest(NAME, pools=_POOLS))
    user.killed_at(point)
    uuid = wait_for(lambda: user.registrations() and endpoint_id(user.directory(NAME)), "the daemon registers")
    wait_for(lambda: user.online(uuid), "the daemon is online")
    pid = user.daemon(NAME)
    _rerun(user)
    assert (user.id(NAME), user.daemon(NAME)) == (uuid, pid)


def test_create_and_start_when_the_daemon_dies_with_the_apply(user: User) -> None:
    """It had registered and recorded its UUID nowhere: the registration is found by the intent."""
    user.write(manifest(NAME, pools=_POOLS))
    user.killed_at("start.up")
    uuid = endpoint_id(user.directory(NAME))
    user.kill(NAME)
    (user.directory(NAME) / "endpoint.json").unlink()
    _rerun(user)
    assert user.id(NAME) == uuid


@pytest.mark.parametrize("point", _EDIT)
def test_change_and_restart(running: User, point: str) -> None:
    uuid = running.id(NAME)
    config = running.directory(NAME) / "config.yaml"
    config.write_text(yaml.safe_dump({**running.config(NAME), "debug": True}))
    running.write(manifest(NAME, pools=_POOLS, config={"display_name": "Changed"}))
    running.killed_at(point)
    _rerun(running)
    assert running.id(NAME) == uuid
    assert running.config(NAME) == {"heartbeat_period": 5, "display_name": "Changed", "debug": True}


def test_removal_of_a_file(running: User) -> None:
    running.write(manifest(endpoints={NAME: {"schema": "none"}}, pools=_POOLS))
    running.killed_at("remove.done")
    _rerun(running)
    assert not (running.directory(NAME) / "user_config_schema.json").exists()


def test_clearing_of_a_stale_pid_file(running: User) -> None:
    uuid = running.id(NAME)
    running.kill(NAME)
    running.killed_at("pid.cleared")
    _rerun(running)
    assert running.id(NAME) == uuid


@pytest.mark.parametrize("point", _DELETE)
def test_delete(running: User, point: str) -> None:
    uuid = running.id(NAME)
    running.write(manifest(endpoints={"another": {"state": "stopped"}}))
    running.killed_at(point, "apply", "--yes", "--allow-delete")
    running.apply("--allow-delete")
    assert running.daemons(NAME) == []
    assert not running.directory(NAME).exists()
    assert list(running.registrations()) == [uuid]  # it stays until it is purged
    assert NAME not in running.locked()["endpoints"]
    assert "No changes" in running.plan("--detailed-exitcode")


@pytest.mark.parametrize("point", _PURGE)
def test_destroy_and_purge(running: User, point: str) -> None:
    running.killed_at(point, "destroy", "--yes", "--purge")
    running.chiltepin("destroy", "--yes", "--purge")
    assert running.registrations() == {}
    assert running.processes() == {}
    assert not running.directory(NAME).exists()
    assert running.locked()["endpoints"] == {}
    assert list((running.config_dir / ".chiltepin" / "trash").iterdir()) == []


_RESTORE = """
import sys
from reconciler.adapters.host import LocalHost
host = LocalHost(sys.argv[1])
(entry,) = host.trash()
host.restore(entry.name, sys.argv[2])
"""


def test_restore_from_the_trash(running: User) -> None:
    """Not part of an apply: the directory that came back is what the next apply finds."""
    uuid = running.id(NAME)
    running.chiltepin("destroy", "--yes")
    restore = running.run(
        sys.executable,
        "-c",
        _RESTORE,
        str(running.config_dir),
        NAME,
        environ={"CHILTEPIN_FAULT": "restore.moved"},
    )
    assert restore.code == -9, str(restore)
    _rerun(running)
    assert running.id(NAME) == uuid
