"""Declared states, daemons that died or were touched by others, and daemons that have work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.daemon_log import says_connected
from reconciler.core.live import Process
from tests.e2e.support import User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e

_LOOKS_EVERY = 1.2
"""Seconds within which a daemon's main thread looks whether it shall end, and a little more."""

_POOLS = {"work": {"endpoint": "one", "environment": ["export WHERE=here"]}}


@pytest.fixture
def running(user: User) -> User:
    user.write(manifest("one", pools=_POOLS))
    user.apply()
    return user


def _one(**block: object) -> str:
    return manifest(endpoints={"one": block}, pools=_POOLS)


# daemons with work


@pytest.fixture
def busy(user: User) -> User:
    """A user whose endpoint has a live user endpoint below it, after a first task."""
    user.write(_one(restart="when-idle"))
    user.apply()
    assert user.workflow("work:WHERE") == {"work": "here"}
    return user


def test_live_user_endpoints_hold_up_stop_destroy_and_restart(busy: User) -> None:
    uuid, daemon = busy.id("one"), busy.daemon("one")
    busy.write(_one(restart="when-idle", state="stopped"))
    busy.apply(expect=5)
    busy.chiltepin("destroy", "--yes", expect=5)
    busy.write(_one(restart="when-idle", config={"display_name": "Changed"}))
    done = busy.apply(expect=5)
    assert "Restart deferred: 1 user endpoint is alive below it" in done.err
    assert busy.config("one")["display_name"] == "Changed"
    assert (busy.id("one"), busy.daemon("one")) == (uuid, daemon)
    assert busy.planned() == [("one", "Restart", "started with other configuration")]
    busy.apply(expect=5)
    busy.write(_one(restart="now", config={"display_name": "Changed"}))
    busy.apply()
    busy.assert_converged("one")
    assert busy.id("one") == uuid
    assert busy.daemon("one") != daemon


def test_restart_never_is_deferred_by_name(running: User) -> None:
    daemon = running.daemon("one")
    running.write(_one(restart="never", config={"display_name": "Changed"}))
    done = running.apply(expect=5)
    assert "restart: never" in done.err
    assert running.daemon("one") == daemon


def test_an_option_by_hand_that_does_not_exist_costs_no_daemon(running: User) -> None:
    uuid, daemon = running.id("one"), running.daemon("one")
    config = running.directory("one") / "config.yaml"
    before = config.read_text()
    config.write_text(f"{before}amqp_prot: 443\n")
    running.write(_one(restart="now"))
    line = len(before.splitlines()) + 1
    done = running.apply(expect=3)
    assert f"{config}:{line}:1: unknown option `amqp_prot`" in done.out
    running.chiltepin("restart", "one", "--yes", expect=3)
    assert running.daemon("one") == daemon
    config.write_text(f"{before}amqp_port: 443\n")
    running.apply()
    running.assert_converged("one")
    assert running.id("one") == uuid
    assert running.daemon("one") != daemon


def test_changed_template_needs_no_restart(running: User) -> None:
    daemon = running.daemon("one")
    running.write(_one(user_environment={"PATH": "auto", "EXTRA": "1"}))
    assert ("one", "WriteFile", "spec changed") in running.planned()
    running.apply()
    assert running.daemon("one") == daemon
    running.assert_converged("one")


def test_changed_environment_restarts(running: User) -> None:
    uuid, daemon = running.id("one"), running.daemon("one")
    environ = {"GLOBUS_SDK_HTTP_TIMEOUT": "61"}
    running.apply(environ=environ)
    assert running.daemon("one") != daemon
    assert running.id("one") == uuid
    assert "No changes" in running.plan("--detailed-exitcode", environ=environ)


# declared states


def test_stopped_endpoint_keeps_directory_and_registration(running: User) -> None:
    uuid = running.id("one")
    running.write(_one(state="stopped"))
    assert running.planned()[0] == ("one", "Stop", "declared stopped")
    running.apply()
    assert running.processes() == {}
    assert list(running.registrations()) == [uuid]
    assert not running.online(uuid)
    assert running.workflow_pools() == {"work": uuid}
    assert "No changes" in running.plan("--detailed-exitcode")
    running.write(_one())
    running.apply()
    running.assert_converged("one")
    assert running.id("one") == uuid


def test_endpoint_that_was_never_started_has_no_uuid_and_its_pools_are_left_out(user: User) -> None:
    user.write(_one(state="stopped"))
    done = user.apply()
    assert "pool work is left out of the pools file" in done.err
    assert user.locked()["endpoints"]["one"]["id"] is None
    assert user.workflow_pools() == {}
    assert user.registrations() == {}
    assert "No changes" in user.plan("--detailed-exitcode")


def test_unmanaged_endpoint_is_left_alone_and_kept_in_the_lock(running: User) -> None:
    uuid, daemon = running.id("one"), running.daemon("one")
    before = {k: v for k, v in running.snapshot("one").items() if "/one/" in k}
    running.write(_one(state="unmanaged", config={"display_name": "Changed"}))
    running.apply()
    assert {k: v for k, v in running.snapshot("one").items() if "/one/" in k} == before
    assert running.daemon("one") == daemon
    assert running.locked()["endpoints"]["one"]["id"] == uuid
    assert running.workflow_pools() == {"work": uuid}
    assert "No changes" in running.plan("--detailed-exitcode")


# daemons that died, or that others touched


@pytest.mark.parametrize("age", [0, 60, 3600])
def test_dead_daemon_is_cleared_and_started_however_old_its_pid_file(running: User, age: int) -> None:
    uuid = running.id("one")
    running.kill("one")
    then = time.time() - age
    os.utime(running.directory("one") / "daemon.pid", (then, then))
    causes = [("one", "ClearStalePid", "its process died"), ("one", "Start", "its process died")]
    assert running.planned() == causes
    running.apply()
    running.assert_converged("one")
    assert running.id("one") == uuid


@pytest.fixture
def stranger() -> Iterator[int]:
    """The PID of a process that is no endpoint."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process.pid
    assert process.poll() is None, "the stranger was killed"
    process.terminate()
    process.wait()


def test_pid_of_a_stranger_in_the_pid_file_is_never_signalled(running: User, stranger: int) -> None:
    uuid = running.id("one")
    running.kill("one")
    pid_file = running.directory("one") / "daemon.pid"
    pid_file.write_text(str(stranger))
    os.utime(pid_file, (0, 0))
    # Nothing says whose PID that is: while the service says online, the daemon may run on another node.
    assert "another node" in running.plan()
    wait_for(lambda: not running.online(uuid), "the service noticed")
    running.apply()
    running.assert_converged("one")
    assert running.id("one") == uuid


def test_daemon_whose_pid_file_was_removed_is_replaced_and_not_doubled(running: User) -> None:
    """It would notice within 15 s and end; a start meanwhile would make two of them."""
    uuid = running.id("one")
    (running.directory("one") / "daemon.pid").unlink()
    running.apply()
    running.assert_converged("one")
    assert running.id("one") == uuid


def test_daemon_started_by_hand_becomes_ours(running: User) -> None:
    uuid = running.id("one")
    for command in (("stop", "one"), ("start", "one", "--detach")):
        done = running.run("globus-compute-endpoint", "-c", str(running.config_dir), *command)
        assert done.code == 0, str(done)
    wait_for(lambda: (running.directory("one") / "daemon.pid").exists() and running.online(uuid), "it is online")
    daemon = running.daemon("one")
    assert [kind for _, kind, _ in running.planned()] == ["Adopt"]
    running.apply()
    running.assert_converged("one")
    assert running.daemon("one") == daemon


def test_two_daemons_under_one_name_are_refused_with_both_pids(running: User) -> None:
    """Upstream lets a second one start once the PID file is gone; both would share the work."""
    first = running.daemon("one")
    (running.directory("one") / "daemon.pid").unlink()
    done = running.run("globus-compute-endpoint", "-c", str(running.config_dir), "start", "one", "--detach")
    assert done.code == 0, str(done)
    wait_for(lambda: len(running.daemons("one")) == 2, "two daemons run")
    second = next(pid for pid in running.daemons("one") if pid != first)
    done = running.apply(expect=4)
    assert str(first) in done.out
    assert str(second) in done.out
    assert sorted(running.daemons("one")) == sorted([first, second])


def test_an_apply_after_a_crash_ends_when_the_new_daemon_says_that_it_is_connected(running: User) -> None:
    """For a minute the service says online of the one that was killed: that word is not waited out, nor believed."""
    uuid = running.id("one")
    running.kill("one")
    assert running.online(uuid)
    running.apply()
    log = (running.directory("one") / "endpoint.log").read_text()
    daemon = Process(running.daemon("one"), 0, os.getuid(), "its daemon", 0.0, inner_pids=())
    assert says_connected(log, daemon) is True
    running.assert_converged("one")
    assert running.id("one") == uuid


# daemons that take no notice


def test_a_daemon_that_missed_its_signal_is_ended_by_its_pid_file(running: User) -> None:
    """Before 3.13, `queue.SimpleQueue.get` waits for ever once a signal is handled after its timeout has passed."""
    uuid, daemon = running.id("one"), running.daemon("one")
    os.kill(daemon, signal.SIGSTOP)
    os.kill(daemon, signal.SIGTERM)
    stopped_at = time.monotonic()
    wait_for(lambda: time.monotonic() - stopped_at > _LOOKS_EVERY, "its wait for a command would have timed out")
    os.kill(daemon, signal.SIGCONT)
    # One that did not wait just then ends, as with Python 3.13 always.
    wait_for(lambda: running.daemons("one") == [] or _waits_for_ever(daemon), "it has ended, or hangs")
    hangs = running.daemons("one") == [daemon]
    assert not hangs or sys.version_info < (3, 13)
    running.write(_one(config={"display_name": "Changed"}))
    done = running.apply()
    assert ("one  restarted" in done.err) == hangs, str(done)
    assert running.daemons("one") != [daemon]
    running.assert_converged("one")
    assert running.id("one") == uuid
    assert "Ready to send results" in (running.directory("one") / "endpoint.log").read_text()


def _waits_for_ever(pid: int) -> bool:
    """Whether a main thread is in a futex call (202 on x86-64, 98 on ARM) that has no timeout."""
    try:
        call = Path(f"/proc/{pid}/syscall").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return len(call) > 4 and call[0] in {"202", "98"} and call[4] == "0x0"
