"""Start, stop and ask about a sandbox: the API for the command line and for tests.

Needs the standard library only; the server's own packages (extra ``sandbox``) are imported by the
server process.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import importlib.util
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reconciler.errors import FileSystemError, LoginRequired, Refused, ServiceUnreachable, UsageError
from reconciler.sandbox import server_process
from reconciler.sandbox.amqp_address import AmqpAddress
from reconciler.sandbox.ports_in_use import can_listen, describe_holder
from reconciler.sandbox.state import (
    DEFAULT_PORT,
    STATE_DIR_ENV,
    Credentials,
    ServerRecord,
    StateDir,
    default_state_dir,
    host_name,
)

FORMAT_VERSION = 1


@dataclass(frozen=True)
class SandboxInfo:
    """What is known about a sandbox. `running` is checked, not remembered.

    `already_up` is only ever True in the answer of `up`; `amqp_port` is None with an external broker.
    """

    state_dir: str
    running: bool
    already_up: bool = False
    pid: int | None = None
    url: str | None = None
    amqp_port: int | None = None
    external_amqp: bool = False
    faults: bool = False
    client_id: str | None = None
    endpoints: int | None = None
    online: int | None = None

    def document(self) -> dict[str, Any]:
        """Return it for JSON output, without secrets."""
        values = asdict(self)
        del values["already_up"]
        return {"format_version": FORMAT_VERSION, "service": "sandbox", **values}


def up(
    state_dir: Path | None = None, port: int = DEFAULT_PORT, amqp_url: str | None = None, *, faults: bool = False
) -> SandboxInfo:
    """Start the sandbox in the background, or find it running; return when it answers.

    Args:
        state_dir: where it keeps its state; default `default_state_dir()`.
        port: of the HTTP service on 127.0.0.1. globus_compute_sdk only ever looks at 5000.
        amqp_url: a RabbitMQ to use instead of the embedded broker; default CHILTEPIN_SANDBOX_AMQP_URL, if set.
        faults: whether tests may tell it to misbehave.

    Raises:
        Refused: the port is taken, or it already runs otherwise or on another host, or its directory is shared.
        FileSystemError: its directory cannot be used.
        ReconcilerError: it did not come up; the error quotes the end of its log.
    """
    _check_installed()
    if not 0 < port < 65536:
        raise UsageError(f"{port} is no port number", remedy="pass --port with a number from 1 to 65535")
    amqp_url = amqp_url or os.environ.get(server_process.AMQP_URL_ENV) or None
    if amqp_url is not None:
        AmqpAddress.parse(amqp_url)  # refuse now what the server could not use
    state = StateDir(state_dir or default_state_dir())
    state.create()
    with _exclusive(state):
        known = _running(state)
        if known is not None:
            return _already_up(state, known, port, amqp_url, faults)
        if not can_listen(port):
            remedy = "stop that process, or pass --port (then globus_compute_sdk will not find the sandbox)"
            raise Refused(f"Port {port} is taken", where=f"127.0.0.1:{port}", why=describe_holder(port), remedy=remedy)
        state.ensure_credentials()
        server_process.start(state, port, amqp_url, faults)
        return status(state.path)


def down(state_dir: Path | None = None) -> bool:
    """Stop the sandbox and return once its process is gone; False if it was not running.

    Raises:
        Refused: it runs on another host.
        FileSystemError: its directory cannot be used.
    """
    state = StateDir(state_dir or default_state_dir())
    if not state.is_there():
        return False
    with _exclusive(state):
        record = _running(state)
        if record is not None:
            server_process.end(record)
        state.forget_server()
        return record is not None


def status(state_dir: Path | None = None) -> SandboxInfo:
    """Say whether the sandbox runs and answers, and where."""
    state = StateDir(state_dir or default_state_dir())
    record = _running(state)
    credentials = state.credentials()
    client_id = credentials.client_id if credentials else None
    if record is None:
        return SandboxInfo(state_dir=str(state.path), running=False, client_id=client_id)
    health = _request(record, "GET", "/sandbox/health")
    if not isinstance(health, dict) or health.get("instance") != record.instance:
        raise ServiceUnreachable("Another program answers on the sandbox's port", where=_url(record))
    return SandboxInfo(
        state_dir=str(state.path),
        running=True,
        pid=record.pid,
        url=_url(record),
        amqp_port=record.amqp_port,
        external_amqp=record.external_amqp,
        faults=record.faults,
        client_id=client_id,
        endpoints=health.get("endpoints"),
        online=health.get("online"),
    )


def environment(state_dir: Path | None = None) -> dict[str, str]:
    """Return the environment variables that point Globus Compute and Chiltepin at the sandbox.

    They hold the client secret. Raises ServiceUnreachable if the sandbox is not up.
    """
    state = StateDir(state_dir or default_state_dir())
    record, credentials = _require(state)
    url = _url(record)
    return {
        STATE_DIR_ENV: str(state.path),
        "GLOBUS_SDK_ENVIRONMENT": "local",
        "GLOBUS_SDK_SERVICE_URL_AUTH": f"{url}/",
        "GLOBUS_SDK_SERVICE_URL_TRANSFER": f"{url}/",
        "GLOBUS_SDK_SERVICE_URL_COMPUTE": f"{url}/",
        "GLOBUS_COMPUTE_CLIENT_ID": credentials.client_id,
        "GLOBUS_COMPUTE_CLIENT_SECRET": credentials.client_secret,
        # Academy keeps its tokens under one name for every environment: keep real ones apart.
        "ACADEMY_HOME": str(state.path / "academy"),
        **_without_proxy(),
    }


def admin(method: str, path: str, body: dict[str, Any] | None = None, *, state_dir: Path | None = None) -> Any:
    """Call one of the sandbox's own routes (``/sandbox/...``) and return its JSON answer.

    Raises:
        ReconcilerError: the sandbox is not up, or refuses.
    """
    record, credentials = _require(StateDir(state_dir or default_state_dir()))
    return _request(record, method, path, body, {"X-Sandbox-Admin": credentials.admin_token})


def _without_proxy() -> dict[str, str]:
    """Requests to loopback must not go to a site's HTTP proxy."""
    names = [n for n in os.environ.get("no_proxy", os.environ.get("NO_PROXY", "")).split(",") if n]
    value = ",".join([*names, *(n for n in ("localhost", "127.0.0.1") if n not in names)])
    return {"no_proxy": value, "NO_PROXY": value}


def _check_installed() -> None:
    missing = [name for name in ("aiohttp", "pamqp") if importlib.util.find_spec(name) is None]
    if missing:
        remedy = "`pip install '.[sandbox]'` in a clone of chiltepin-reconciler's repository"
        raise UsageError(f"The sandbox needs {' and '.join(missing)}", remedy=remedy)


def _url(record: ServerRecord) -> str:
    # The name that globus_compute_sdk uses, so that both sides mean the same address.
    return f"http://localhost:{record.port}"


def _require(state: StateDir) -> tuple[ServerRecord, Credentials]:
    record, credentials = _running(state), state.credentials()
    if record is None or credentials is None:
        raise ServiceUnreachable("The sandbox is not up", where=str(state.path), remedy="chiltepin sandbox up")
    return record, credentials


def _running(state: StateDir) -> ServerRecord | None:
    """Return the record of a server that lives, None if there is none.

    Raises:
        Refused: the record is of another host, whose processes cannot be seen from here.
    """
    record = state.server()
    if record is None:
        return None
    if record.host != host_name():
        raise Refused(
            f"The sandbox of this directory was started on {record.host}",
            where=str(state.path),
            why="it listens on that host's loopback only, and its database must not be opened twice",
            remedy=f"run 'chiltepin sandbox down' on {record.host}, or use another --state-dir",
        )
    return record if server_process.alive(record) else None


def _already_up(state: StateDir, record: ServerRecord, port: int, amqp_url: str | None, faults: bool) -> SandboxInfo:
    same = record.port == port and record.external_amqp == (amqp_url is not None) and record.faults >= faults
    if not same:
        broker = "an external RabbitMQ" if record.external_amqp else "the embedded broker"
        raise Refused(
            "The sandbox already runs, with other options",
            where=_url(record),
            why=f"it uses {broker}" + (" and may misbehave on request" if record.faults else ""),
            remedy="chiltepin sandbox down, then up again",
        )
    info = status(state.path)
    return SandboxInfo(**{**asdict(info), "already_up": True})


def _request(
    record: ServerRecord,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", record.port, timeout=10)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as e:
        raise ServiceUnreachable("The sandbox does not answer", where=_url(record), why=str(e)) from e
    finally:
        connection.close()
    if response.status == 401:
        raise LoginRequired("The sandbox does not know its own admin token", where=_url(record))
    if response.status >= 400:
        raise Refused(
            "The sandbox refused",
            where=f"{method} {path}",
            why=str(answer.get("reason") if isinstance(answer, dict) else answer)[:200],
        )
    return answer


@contextlib.contextmanager
def _exclusive(state: StateDir) -> Iterator[None]:
    """Let one `up` or `down` at a time work on a state directory.

    Raises:
        Refused: another one does not end.
        FileSystemError: nobody can be kept out.
    """
    try:
        handle = os.open(state.lifecycle_lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as e:
        remedy = "see that the directory is yours, or pass --state-dir with another one"
        raise _no_lock(state, e, remedy) from e
    try:
        deadline = time.monotonic() + server_process.START_DEADLINE + server_process.STOP_DEADLINE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Refused("Another 'sandbox up' or 'down' is under way", where=str(state.path)) from None
                time.sleep(0.05)
            except OSError as e:
                remedy = "its file system knows no locks: pass --state-dir with a directory on a local disk"
                raise _no_lock(state, e, remedy) from e
        yield
    finally:
        os.close(handle)


def _no_lock(state: StateDir, error: OSError, remedy: str) -> FileSystemError:
    why = error.strerror or str(error)
    return FileSystemError("The sandbox's lock cannot be had", where=str(state.lifecycle_lock), why=why, remedy=remedy)
