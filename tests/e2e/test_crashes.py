"""SIGKILL of an apply at every named point: the next one converges, with no UUID lost and no daemon doubled."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
import yaml

from reconciler.adapters.faults import FAULT_POINTS
from tests.e2e.nodes import node_of
from tests.e2e.support import User, manifest
from tests.sandbox.support import endpoint_id, wait_for

pytestmark = pytest.mark.e2e

NAME = "one"
_POOLS = {"work": {"endpoint": NAME}}
_SEVERAL = ("one", "two", "three", "four")


def _running(user: User) -> str:
    """Bring the endpoint up, and return its UUID."""
    user.write(manifest(NAME, pools=_POOLS))
    user.apply()
    return user.id(NAME)


def _rerun(user: User, *names: str) -> None:
    """Apply again, and assert that what was recorded before is what is used, and that nothing else runs."""
    names = names or (NAME,)
    recorded = {name: user.known_ids(name) for name in names}
    user.apply()
    user.assert_converged(*names)
    assert all(recorded[name] <= {user.id(name)} for name in names)
    assert sorted(user.processes()) == sorted(user.daemon(name) for name in names)


# the scenarios


def create(user: User, point: str) -> None:
    """A first apply is cut off."""
    user.write(manifest(NAME, pools=_POOLS))
    user.killed_at(point)
    _rerun(user)
    assert user.workflow_pools() == {"work": user.id(NAME)}


def create_and_wait(user: User, point: str) -> None:
    """The start command goes on without the apply that ran it, and the daemon is up before the next one."""
    user.write(manifest(NAME, pools=_POOLS))
    user.killed_at(point)
    uuid = wait_for(lambda: user.registrations() and endpoint_id(user.directory(NAME)), "the daemon registers")
    wait_for(lambda: user.online(uuid), "the daemon is online")
    pid = user.daemon(NAME)
    _rerun(user)
    assert (user.id(NAME), user.daemon(NAME)) == (uuid, pid)


def create_and_die(user: User, point: str) -> None:
    """The daemon dies with the apply, with its UUID recorded nowhere: the registration is found by the intent."""
    user.write(manifest(NAME, pools=_POOLS))
    user.killed_at(point)
    uuid = endpoint_id(user.directory(NAME))
    user.kill(NAME)
    (user.directory(NAME) / "endpoint.json").unlink()
    _rerun(user)
    assert user.id(NAME) == uuid


def create_several(user: User, point: str) -> None:
    """They are started from one process, which goes with the apply; the daemons that it was starting go on."""
    user.write(manifest(*_SEVERAL))
    user.killed_at(point)
    _rerun(user, *_SEVERAL)


def change(user: User, point: str) -> None:
    """A changed manifest meets a file with a foreign key: backup, write, restart."""
    uuid = _running(user)
    config = user.directory(NAME) / "config.yaml"
    config.write_text(yaml.safe_dump({**user.config(NAME), "debug": True}))
    user.write(manifest(NAME, pools=_POOLS, config={"display_name": "Changed"}))
    user.killed_at(point)
    _rerun(user)
    assert user.id(NAME) == uuid
    assert user.config(NAME) == {"heartbeat_period": 5, "display_name": "Changed", "debug": True}


def stop_after_all_not(user: User, point: str) -> None:
    """A stop is cut off, and the daemon wanted again at once: it must not be taken for one that goes on."""
    uuid = _running(user)
    pid = user.daemon(NAME)
    user.write(manifest(endpoints={NAME: {"state": "stopped"}}, pools=_POOLS))
    user.killed_at(point)
    user.write(manifest(NAME, pools=_POOLS))
    _rerun(user)
    assert user.id(NAME) == uuid
    assert user.daemon(NAME) != pid


def restart_by_hand(user: User, point: str) -> None:
    uuid = _running(user)
    pid = user.daemon(NAME)
    user.killed_at(point, "restart", NAME, "--yes")
    _rerun(user)
    assert user.id(NAME) == uuid
    assert user.daemon(NAME) != pid


def restart_what_takes_no_notice(user: User, point: str) -> None:
    """It is suspended: it loses its PID file, and ends by itself once it goes on."""
    uuid = _running(user)
    pid = user.daemon(NAME)
    os.kill(pid, signal.SIGSTOP)
    user.killed_at(point, "restart", NAME, "--yes")
    assert not (user.directory(NAME) / "daemon.pid").exists()
    os.kill(pid, signal.SIGCONT)
    _rerun(user)
    assert user.id(NAME) == uuid
    assert user.daemon(NAME) != pid
    assert user.marker(NAME)["deaths"] == []


def remove_file(user: User, point: str) -> None:
    _running(user)
    user.write(manifest(endpoints={NAME: {"schema": "none"}}, pools=_POOLS))
    user.killed_at(point)
    _rerun(user)
    assert not (user.directory(NAME) / "user_config_schema.json").exists()


def clear_pid_file(user: User, point: str) -> None:
    uuid = _running(user)
    user.kill(NAME)
    user.killed_at(point)
    _rerun(user)
    assert user.id(NAME) == uuid


def rename(user: User, point: str) -> None:
    """A new name, and with it a new directory: stop, rename, start with the UUID."""
    uuid = _running(user)
    moved = [{"from": NAME, "to": "new"}]
    user.write(manifest("new", pools={"work": {"endpoint": "new"}}, moved=moved))
    user.killed_at(point)
    user.apply()
    user.assert_converged("new")
    assert user.id("new") == uuid
    assert not user.directory(NAME).exists()
    assert sorted(user.processes()) == [user.daemon("new")]
    assert user.workflow_pools() == {"work": uuid}


def rename_in_place(user: User, point: str) -> None:
    """A new name alone: its daemon goes on."""
    uuid = _running(user)
    pid = user.daemon(NAME)
    moved = [{"from": NAME, "to": "new"}]
    block = {"directory": NAME, "config": {"display_name": NAME}}
    user.write(manifest(endpoints={"new": block}, pools={"work": {"endpoint": "new"}}, moved=moved))
    user.killed_at(point)
    user.apply()
    assert (user.locked()["endpoints"]["new"]["id"], user.daemon(NAME)) == (uuid, pid)
    assert list(user.registrations()) == [uuid]
    assert "No changes" in user.plan("--detailed-exitcode")


def stop_elsewhere(user: User, point: str) -> None:
    """The daemon runs on another node and must move: its PID file is gone, and it has not noticed yet."""
    with node_of(user, "ufe01") as ufe01, node_of(user, "ufe02") as ufe02:
        ufe01.write(manifest(NAME, pools=_POOLS))
        ufe01.apply()
        uuid = ufe01.id(NAME)
        ufe02.write(manifest(NAME, pools=_POOLS, config={"display_name": "Changed"}))
        ufe02.killed_at(point)
        ufe02.apply()
        ufe02.assert_converged(NAME)
        assert ufe02.id(NAME) == uuid


def delete(user: User, point: str) -> None:
    uuid = _running(user)
    user.write(manifest(endpoints={"another": {"state": "stopped"}}))
    user.killed_at(point, "apply", "--yes", "--allow-delete")
    user.apply("--allow-delete")
    assert user.processes() == {}
    assert not user.directory(NAME).exists()
    assert list(user.registrations()) == [uuid]  # it stays until it is purged
    assert NAME not in user.locked()["endpoints"]
    assert "No changes" in user.plan("--detailed-exitcode")


def purge(user: User, point: str) -> None:
    _running(user)
    user.killed_at(point, "destroy", "--yes", "--purge")
    user.chiltepin("destroy", "--yes", "--purge")
    assert user.registrations() == {}
    assert user.processes() == {}
    assert not user.directory(NAME).exists()
    assert user.locked()["endpoints"] == {}
    assert _trash(user) == []


def undelete(user: User, point: str) -> None:
    uuid = _running(user)
    user.chiltepin("destroy", "--yes")
    user.killed_at(point, "undelete", NAME, "--yes")
    user.chiltepin("undelete", NAME, "--yes")
    assert user.id(NAME) == uuid
    assert _trash(user) == []
    _rerun(user)
    assert user.id(NAME) == uuid


def declare_again(user: User, point: str) -> None:
    """The block of a deleted endpoint comes back, and the apply that brings it back is cut off."""
    uuid = _running(user)
    user.write(manifest(endpoints={"another": {"state": "stopped"}}))
    user.apply("--allow-delete")
    user.write(manifest(NAME, pools=_POOLS, endpoints={"another": {"state": "stopped"}}))
    user.killed_at(point)
    user.apply()
    user.assert_online_once(NAME, uuid)
    assert user.workflow_pools() == {"work": uuid}
    assert _trash(user) == []


def purge_from_the_trash(user: User, point: str) -> None:
    _running(user)
    user.chiltepin("destroy", "--yes")
    consent = ("--yes", "--allow-delete")
    user.killed_at(point, "purge", NAME, *consent)
    user.chiltepin("purge", NAME, *consent)
    assert user.registrations() == {}
    assert _trash(user) == []


def _trash(user: User) -> list[str]:
    return [path.name for path in (user.config_dir / ".chiltepin" / "trash").iterdir()]


Scenario = Callable[[User, str], None]

_POINTS: dict[Scenario, tuple[str, ...]] = {
    create: (
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
    ),
    create_and_wait: ("start.spawned", "start.up"),
    create_and_die: ("start.up",),
    create_several: ("start.spawned", "start.spawned:3", "start.up:2", "marker.written:2"),
    change: (
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
    ),
    stop_after_all_not: ("stop.signalled", "stop.gone"),
    restart_by_hand: ("stop.signalled", "stop.gone"),
    restart_what_takes_no_notice: ("pid.taken",),
    remove_file: ("remove.done",),
    clear_pid_file: ("pid.cleared",),
    rename: (
        "stop.signalled",
        "stop.gone",
        "journal.appended:3",  # the intent to rename
        "rename.done",
        "marker.temp:2",
        "marker.written:2",
        "lock.written",
        "start.begin",
        "start.spawned",
        "start.up",
    ),
    rename_in_place: ("marker.temp", "marker.written", "lock.temp", "lock.written"),
    stop_elsewhere: ("pid.withdrawn",),
    delete: (
        "stop.signalled",
        "stop.gone",
        "trash.begin",
        "trash.moved",
        "trash.done",
        "lock.written",
        "lease.released",
    ),
    purge: ("stop.gone", "trash.moved", "trash.done", "purge.begin", "purge.hidden", "purge.done", "pools.written"),
    undelete: (
        "journal.appended",
        "restore.begin",
        "restore.moved",
        "purge.begin",
        "purge.hidden",
        "purge.done",
        "lock.temp",
        "lock.written",
    ),
    declare_again: ("restore.moved", "lock.written", "start.up", "marker.written"),
    purge_from_the_trash: ("journal.appended", "purge.begin", "purge.hidden", "purge.done", "journal.appended:2"),
}

Case = tuple[Scenario, str]
_CASES: list[Case] = [(scenario, point) for scenario, points in _POINTS.items() for point in points]


def test_every_point_is_reached_by_some_scenario() -> None:
    assert {point.partition(":")[0] for _, point in _CASES} == set(FAULT_POINTS)


@pytest.mark.parametrize("case", _CASES, ids=[f"{scenario.__name__}-{point}" for scenario, point in _CASES])
def test_next_apply_converges(user: User, case: Case) -> None:
    scenario, point = case
    scenario(user, point)
