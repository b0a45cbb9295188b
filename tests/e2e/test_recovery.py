"""The recovery commands on real daemons: adopt, forget, restart, reregister, logs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.e2e.support import HEARTBEAT, User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e

POOLS = {"work": {"endpoint": "one"}}


@pytest.fixture
def running(user: User) -> User:
    user.write(manifest("one", "two", pools=POOLS))
    user.apply()
    return user


@pytest.fixture
def by_hand(user: User) -> User:
    """A user who configured and started `one` with globus-compute-endpoint itself."""
    done = user.run("globus-compute-endpoint", "configure", "one")
    assert done.code == 0, str(done)
    config = user.directory("one") / "config.yaml"
    document = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**document, "debug": True, "heartbeat_period": HEARTBEAT}))
    done = user.run("globus-compute-endpoint", "start", "--detach", "one")
    assert done.code == 0, str(done)
    wait_for(lambda: user.daemons("one") and user.known_ids("one"), "it is up")
    wait_for(lambda: user.online(user.id("one")), "it is online")
    user.write(manifest("one", pools=POOLS))
    return user


def test_adopt_keeps_uuid_and_process(by_hand: User) -> None:
    uuid, daemon = by_hand.id("one"), by_hand.daemon("one")
    config = (by_hand.directory("one") / "config.yaml").read_bytes()
    by_hand.apply(expect=4)
    done = by_hand.chiltepin("adopt", "one", "--yes")
    assert f"UUID {uuid}, daemon PID {daemon}" in done.out
    assert (by_hand.directory("one") / "config.yaml").read_bytes() == config
    assert by_hand.daemon("one") == daemon
    assert by_hand.locked()["endpoints"]["one"]["id"] == by_hand.marker("one")["id"] == uuid
    assert by_hand.marker("one")["daemon"]["pid"] == daemon
    assert by_hand.workflow_pools() == {"work": uuid}
    by_hand.apply()
    by_hand.assert_converged("one")
    assert (by_hand.id("one"), by_hand.config("one")["debug"]) == (uuid, True)


def test_forget_leaves_the_daemon_alone_and_adopt_takes_it_back(running: User) -> None:
    uuid, daemon = running.id("one"), running.daemon("one")
    running.chiltepin("forget", "one", "--yes", expect=4)
    running.write(manifest("two"))
    running.chiltepin("forget", "one", "--yes")
    assert not (running.directory("one") / ".chiltepin.json").exists()
    assert "one" not in running.locked()["endpoints"]
    running.apply("--allow-delete")
    assert running.daemon("one") == daemon
    assert running.online(uuid)
    running.write(manifest("one", "two", pools=POOLS))
    running.chiltepin("adopt", "--all", "--yes")
    running.apply()
    running.assert_converged("one", "two")
    assert (running.id("one"), running.daemon("one")) == (uuid, daemon)


def test_restart_gives_a_new_process_with_the_same_uuid(running: User) -> None:
    uuid, daemon, two = running.id("one"), running.daemon("one"), running.daemon("two")
    running.chiltepin("restart", "one", "--yes")
    assert running.daemon("one") != daemon
    assert (running.id("one"), running.daemon("two")) == (uuid, two)
    running.assert_converged("one", "two")


def test_restart_waits_for_tasks_until_it_may_interrupt_them(user: User) -> None:
    user.write(manifest(endpoints={"one": {"restart": "when-idle"}}, pools=POOLS))
    user.apply()
    user.workflow("work:HOME")
    daemon = user.daemon("one")
    done = user.chiltepin("restart", "one", "--yes", expect=5)
    assert "`chiltepin restart one --interrupt`" in done.out
    assert user.daemon("one") == daemon
    user.chiltepin("restart", "one", "--yes", "--interrupt")
    assert user.daemon("one") != daemon
    user.assert_converged("one")


@pytest.mark.parametrize("alive", [False, True])
def test_reregister_after_the_registration_was_deleted(running: User, alive: bool) -> None:
    uuid = running.id("one")
    if not alive:
        running.kill("one")
    assert running.api.call("DELETE", f"/v2/endpoints/{uuid}").status_code == 200
    assert "`chiltepin apply --reregister one`" in running.apply(expect=4).out
    assert uuid in running.known_ids("one")
    running.apply("--reregister", "one")
    new = running.id("one")
    assert new != uuid
    assert running.workflow_pools() == {"work": new}
    running.assert_converged("one", "two")


def test_take_over_of_a_moved_config_directory(running: User) -> None:
    """A home that was moved: everything is there, under another name."""
    uuid = running.id("one")
    for name in ("one", "two"):
        running.kill(name)
    moved: Path = running.home / "moved"
    running.config_dir.rename(moved)
    wait_for(lambda: not running.online(uuid), "the service sees that it is gone")
    running.apply("-c", str(moved), expect=4)
    done = running.chiltepin("adopt", "--all", "--take-over", "--yes", "-c", str(moved))
    assert "~/.globus_compute/one" in done.out
    assert "~/moved/one" in done.out
    running.apply("-c", str(moved))
    assert running.locked()["endpoints"]["one"]["id"] == uuid
    assert running.online(uuid)


def test_logs(running: User) -> None:
    done = running.chiltepin("logs", "one", "-n", "20")
    assert 0 < len(done.out.splitlines()) <= 20
    assert running.environ["GLOBUS_COMPUTE_CLIENT_SECRET"] not in done.out
