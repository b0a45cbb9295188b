"""Starting and ending the server process. Standard library only."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from reconciler.errors import ReconcilerError
from reconciler.sandbox.state import ServerRecord, StateDir, boot_id, process_start_time

AMQP_URL_ENV = "CHILTEPIN_SANDBOX_AMQP_URL"
START_DEADLINE = 30.0  # seconds
STOP_DEADLINE = 15.0
_LOG_KEPT = 5_000_000  # bytes


def alive(record: ServerRecord) -> bool:
    """Whether the recorded process of this host still runs, and is no other one with its PID."""
    return record.boot_id == boot_id() and process_start_time(record.pid) == record.start_time


def start(state: StateDir, port: int, amqp_url: str | None, faults: bool) -> None:
    """Start the server in the background; return once it is up.

    Raises:
        ReconcilerError: it did not come up; quotes what it logged.
    """
    environ = {k: v for k, v in os.environ.items() if k != AMQP_URL_ENV}
    if amqp_url is not None:
        environ[AMQP_URL_ENV] = amqp_url  # not on the command line, where others can read the password
    if state.log.exists() and state.log.stat().st_size > _LOG_KEPT:
        state.log.replace(state.log.with_suffix(".log.1"))
    ready, ready_there = os.pipe()
    command = [sys.executable, "-m", "reconciler.sandbox.server", "--state-dir", str(state.path)]
    command += ["--port", str(port), "--detach", "--ready-fd", str(ready_there), *(["--faults"] if faults else [])]
    log = os.open(state.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    log_start = os.fstat(log).st_size
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[ready_there], env=environ, cwd="/"
        )
        os.close(ready_there)
        child.wait(START_DEADLINE)  # it forks at once, and the fork is the server
        # The server closes the descriptor when it is up, the kernel when it died.
        closed = bool(select.select([ready], [], [], START_DEADLINE)[0])
    finally:
        os.close(ready)
        os.close(log)
    record = state.server()
    if not closed or record is None or not alive(record):
        raise ReconcilerError(
            "The sandbox did not come up",
            where=str(state.log),
            why=_tail(state.log, log_start) or "its log is empty",
            remedy="correct the cause, then chiltepin sandbox up",
        )


def _tail(path: Path, start_at: int) -> str:
    with path.open("rb") as log:
        log.seek(start_at)
        return b"\n".join(log.read()[-4000:].splitlines()[-12:]).decode("utf-8", "replace")


def end(record: ServerRecord) -> None:
    """End the recorded process, and no other one that got its PID meanwhile; return when it is gone."""
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    except OSError as e:
        if e.errno != errno.ENOSYS:
            raise
        _end_by_pid(record)  # a kernel before 5.3
        return
    try:
        if not alive(record):
            return
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], STOP_DEADLINE)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], STOP_DEADLINE)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def _end_by_pid(record: ServerRecord) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_DEADLINE
        if alive(record):
            os.kill(record.pid, number)
        while alive(record) and time.monotonic() < deadline:
            time.sleep(0.02)
