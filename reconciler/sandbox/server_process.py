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

from reconciler.errors import FileSystemError, ReconcilerError
from reconciler.sandbox.state import ServerRecord, StateDir, boot_id, process_start_time

AMQP_URL_ENV = "CHILTEPIN_SANDBOX_AMQP_URL"
"""Names the RabbitMQ, for who starts a sandbox and for the server: arguments can be read by everybody here."""
START_DEADLINE = 30.0  # seconds
STOP_DEADLINE = 15.0
_LOG_KEPT = 5_000_000  # bytes


def alive(record: ServerRecord) -> bool:
    """Whether the recorded process of this host still runs, and is no other one with its PID."""
    return record.boot_id == boot_id() and process_start_time(record.pid) == record.start_time


def start(state: StateDir, port: int, amqp_url: str | None, faults: bool) -> None:
    """Start the server in the background; return once it is up.

    Raises:
        FileSystemError: its log cannot be written.
        ReconcilerError: it did not come up; quotes what it logged.
    """
    log = _open_log(state.log)
    environ = {k: v for k, v in os.environ.items() if k != AMQP_URL_ENV}
    if amqp_url is not None:
        environ[AMQP_URL_ENV] = amqp_url  # not on the command line, where others can read the password
    ready, ready_there = os.pipe()
    command = [sys.executable, "-m", "reconciler.sandbox.server", "--state-dir", str(state.path)]
    command += ["--port", str(port), "--detach", "--ready-fd", str(ready_there), *(["--faults"] if faults else [])]
    log_start = os.fstat(log).st_size
    try:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[ready_there], env=environ, cwd="/"
            )
        except OSError as e:
            remedy = "end some of your processes, or raise their limit (`ulimit -u`), then chiltepin sandbox up"
            raise ReconcilerError("The sandbox cannot be started", why=e.strerror or str(e), remedy=remedy) from e
        finally:
            os.close(ready_there)
        _wait_for_fork(child)
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


def _open_log(path: Path) -> int:
    try:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if os.fstat(log).st_size <= _LOG_KEPT:
            return log
        os.close(log)
        path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as e:
        remedy = "move it aside, then chiltepin sandbox up"
        raise FileSystemError(
            "The sandbox's log cannot be written", where=str(path), why=e.strerror or str(e), remedy=remedy
        ) from e


def _wait_for_fork(child: subprocess.Popen[bytes]) -> None:
    """Wait until it has forked; the fork is the server. One that has not in time will not."""
    try:
        child.wait(START_DEADLINE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _tail(path: Path, start_at: int) -> str:
    with path.open("rb") as log:
        log.seek(start_at)
        return b"\n".join(log.read()[-4000:].splitlines()[-12:]).decode("utf-8", "replace")


def end(record: ServerRecord) -> None:
    """End the recorded process, and no other one that got its PID meanwhile; return when it is gone.

    Raises:
        ReconcilerError: it cannot be signalled.
    """
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    except OSError as e:
        if e.errno not in {errno.ENOSYS, errno.EPERM}:
            raise ReconcilerError(
                "The sandbox cannot be ended",
                where=f"process {record.pid}",
                why=e.strerror,
                remedy=f"end it by hand (`kill {record.pid}`), then chiltepin sandbox down",
            ) from e
        _end_by_pid(record)  # a kernel before 5.3, or a container's system call filter
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
