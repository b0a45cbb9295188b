"""`chiltepin endpoint` that is ended on its way: the lease is given back, and what was begun can be gone on with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.adapters.host_support import fake_tool
from tests.cli.support import Shell, chiltepin, environ
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.timeout(120)

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


@pytest.fixture
def single(shell: Shell) -> Iterator[Shell]:
    """A user with an endpoint `main` that no manifest manages, and daemons that are stand-ins."""
    shutil.rmtree(shell.tool)
    fake_tool(shell.tool)
    shell.ok("endpoint", "configure", "main")
    try:
        yield shell
    finally:
        while pids := [int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit() and _is_of(shell, e)]:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _is_of(shell: Shell, entry: Path) -> bool:
    with suppress(OSError):  # it ended meanwhile
        words = (entry / "cmdline").read_bytes()
        return b"globus-compute-endpoint" in words and os.fsencode(shell.config_dir) in words
    return False


def behave(shell: Shell, how: str) -> None:
    (shell.config_dir / "behave").write_text(how)


def ended_on_its_way(shell: Shell, number: signal.Signals, command: str, reached: Callable[[], bool]) -> None:
    """Send a signal once the command has got so far; it ends, and holds the lease no longer."""
    lease = shell.config_dir / ".chiltepin" / "lease.json"
    with subprocess.Popen(
        chiltepin("endpoint", command, "main"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ()
    ) as child:
        wait_for(lambda: lease.exists() and reached(), f"`endpoint {command}` is at work")
        child.send_signal(number)
        out, err = child.communicate(timeout=20)
    assert (child.returncode, out, err) == (130, "", "\ninterrupted\n")
    assert not lease.exists()


@SIGNALS
def test_a_start_that_is_ended_gives_the_lease_back(single: Shell, number: signal.Signals) -> None:
    behave(single, "hang")
    ended_on_its_way(single, number, "start", (single.config_dir / "starts").exists)
    single.ok("endpoint", "configure", "other")


@SIGNALS
def test_a_stop_that_is_ended_gives_the_lease_back(single: Shell, number: signal.Signals) -> None:
    behave(single, "stubborn")
    single.ok("endpoint", "start", "main")
    ended_on_its_way(single, number, "stop", lambda: True)
    assert (single.config_dir / "main" / "daemon.pid").exists()
    single.ok("endpoint", "configure", "other")


def test_a_start_that_was_ended_is_waited_for_by_the_next(single: Shell) -> None:
    behave(single, "slow")
    ended_on_its_way(single, signal.SIGTERM, "start", (single.config_dir / "starts").exists)
    single.ok("endpoint", "start", "main")
    assert (single.config_dir / "starts").read_text().count("start") == 1, "none was doubled"
