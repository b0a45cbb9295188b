"""Daemons that keep dying: after three deaths that nothing explains, somebody has to look."""

from __future__ import annotations

import os

import pytest

from tests.e2e.support import User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e


@pytest.fixture
def running(user: User) -> User:
    user.write(manifest("one", "two"))
    user.apply()
    return user


def test_three_deaths_end_the_restarts_until_retry(running: User) -> None:
    uuid, two = running.id("one"), running.daemon("two")
    killed = []
    for _ in range(2):
        killed.append(running.kill("one"))
        running.apply()
        running.assert_converged("one", "two")
    killed.append(running.kill("one"))
    for _ in range(2):
        done = running.apply(expect=4)
        assert "its daemon died 3 times within 24 h" in done.out
        assert "`chiltepin apply --retry`" in done.out
        assert all(f"UTC, PID {pid}" in done.out for pid in killed)
        assert "| " in done.out
        assert running.daemons("one") == []
    assert "not started again until `chiltepin apply --retry`" in running.chiltepin("status").out
    assert running.daemon("two") == two
    running.apply("--retry")
    running.assert_converged("one", "two")
    assert running.id("one") == uuid
    running.kill("one")
    running.apply()  # it counts from the start again
    running.assert_converged("one", "two")


def test_stops_by_hand_are_no_deaths(running: User) -> None:
    """Also when the PID file is put back, so that only the log tells how it ended."""
    for _ in range(3):
        pid_file = running.directory("one") / "daemon.pid"
        pid = pid_file.read_text()
        done = running.run("globus-compute-endpoint", "-c", str(running.config_dir), "stop", "one")
        assert done.code == 0, str(done)
        wait_for(lambda: not running.daemons("one"), "it has ended")
        pid_file.write_text(pid)
        os.utime(pid_file, (0, 0))
        running.apply()
    running.assert_converged("one", "two")
    assert "died" not in running.chiltepin("status").out
