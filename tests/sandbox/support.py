"""Fixtures' machinery for tests that need a sandbox, a broker, port 5000 or an endpoint daemon.

Everything here is a context manager that ends, by PID, what it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from reconciler.sandbox import lifecycle
from reconciler.sandbox.broker import Broker
from reconciler.sandbox.database import open_database
from reconciler.sandbox.state import process_start_time
from tests.ports import free_port

_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_NETWORK = Path("/proc/self/ns/net").stat().st_ino  # each network namespace has a port 5000 of its own
_PORT_5000_LOCK = Path(tempfile.gettempdir()) / f"chiltepin-sandbox-port-5000.{os.getuid()}.{_NETWORK}.lock"
COMPUTE_SCOPE = "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 120.0) -> Any:
    """Return the first true value of `condition`; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


@contextlib.contextmanager
def port_5000() -> Iterator[int]:
    """Hold this user's right to use port 5000; `lifecycle.up` names a stranger that listens there."""
    with _PORT_5000_LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield 5000


@contextlib.contextmanager
def sandbox(state_dir: Path, port: int | None = None, **options: Any) -> Iterator[lifecycle.SandboxInfo]:
    """Run a sandbox on `port` (default: a free one)."""
    info = lifecycle.up(state_dir, port or free_port(), **options)
    try:
        yield info
    finally:
        lifecycle.down(state_dir)


class Api:
    """The sandbox's HTTP side, as one client sees it."""

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        self.url = url
        self.client = (client_id, client_secret)
        self.session = requests.Session()
        self.session.trust_env = False
        scopes = f"openid {COMPUTE_SCOPE}"
        reply = self.token(grant_type="client_credentials", scope=scopes).json()
        self.tokens = {t["resource_server"]: t["access_token"] for t in [reply, *reply["other_tokens"]]}

    def token(self, path: str = "/v2/oauth2/token", **form: str) -> requests.Response:
        return self.session.post(self.url + path, data=form, auth=self.client, timeout=10)

    def call(
        self, method: str, path: str, body: Any = None, *, server: str = "funcx_service", **more: Any
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.tokens[server]}", **more.pop("headers", {})}
        return self.session.request(method, self.url + path, json=body, headers=headers, timeout=10, **more)

    def register(self, name: str = "ep", **fields: Any) -> str:
        reply = self.call("POST", "/v3/endpoints", {"endpoint_name": name, "metadata": {"hostname": "h"}, **fields})
        assert reply.status_code == 200, reply.text
        return str(reply.json()["endpoint_id"])


def default_api(state_dir: Path) -> Api:
    env = lifecycle.environment(state_dir)
    url = env["GLOBUS_SDK_SERVICE_URL_AUTH"].rstrip("/")
    return Api(url, env["GLOBUS_COMPUTE_CLIENT_ID"], env["GLOBUS_COMPUTE_CLIENT_SECRET"])


def other_api(state_dir: Path) -> Api:
    """Create another identity and log in as it."""
    made = lifecycle.admin("POST", "/sandbox/identities", {}, state_dir=state_dir)
    url = lifecycle.environment(state_dir)["GLOBUS_SDK_SERVICE_URL_AUTH"].rstrip("/")
    return Api(url, made["client_id"], made["client_secret"])


# brokers


@contextlib.contextmanager
def embedded_broker(directory: Path, port: int = 0, **settings: Any) -> Iterator[str]:
    """Run the embedded broker in a thread; yield its URL. `settings` are set on the `Broker`."""
    ready: list[int] = []
    failures: list[BaseException] = []
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()

    async def run() -> None:
        database = open_database(directory / "broker.db")
        broker = Broker(database, lambda user, password: (user, password) == ("guest", "guest"))
        for name, value in settings.items():
            setattr(broker, name, value)
        ready.append(await broker.start("127.0.0.1", port))
        await stopping.wait()
        await broker.stop()
        await asyncio.sleep(0)
        database.close()

    def main() -> None:
        try:
            loop.run_until_complete(run())
        except BaseException as e:  # noqa: BLE001 - handed to the test
            failures.append(e)

    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    wait_for(lambda: ready or failures, "the embedded broker listens")
    try:
        assert not failures, failures
        yield f"amqp://guest:guest@127.0.0.1:{ready[0]}/%2F"
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
        loop.close()
        assert not failures, failures


def rabbitmq_missing() -> str | None:
    """Say why RabbitMQ cannot be tested here, None if it can."""
    if not _RABBITMQ.exists():
        return "RabbitMQ is not installed (apt-get install rabbitmq-server)"
    if shutil.which("epmd") is None:
        return "Erlang's epmd is not installed"
    return None


@contextlib.contextmanager
def rabbitmq() -> Iterator[str]:
    """Run a RabbitMQ of our own on free loopback ports; yield its URL."""
    directory = Path(tempfile.mkdtemp(prefix="chiltepin-rabbitmq-"))
    port, distribution, names = free_port(), free_port(), free_port()
    (directory / "plugins").write_text("[].\n")
    environ = {
        **os.environ,
        "HOME": str(directory),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(directory / "none"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    log = (directory / "out").open("wb")
    # Without one of our own the node would start an epmd that stays behind.
    epmd = subprocess.Popen(["epmd", "-port", str(names), "-address", "127.0.0.1"], stdout=log, stderr=log)
    wait_for(lambda: _listens(names), "epmd listens")
    node = subprocess.Popen([str(_RABBITMQ)], env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: _listens(port) or node.poll() is not None, "RabbitMQ listens", 60)
        wait_for(lambda: b"completed with" in (directory / "out").read_bytes(), "RabbitMQ is ready", 60)
        yield f"amqp://guest:guest@127.0.0.1:{port}/%2F"
    finally:
        for process in (node, epmd):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)
        log.close()
        shutil.rmtree(directory, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# endpoint daemons


def unprivileged(command: list[str]) -> list[str]:
    """Wrap a command so that root does not make a privileged endpoint of it."""
    if os.getuid() != 0:
        return command
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534", *command]


def endpoint_id(directory: Path) -> str | None:
    """Return the UUID that an endpoint directory records, None while there is none."""
    try:
        return str(json.loads((directory / "endpoint.json").read_text())["endpoint_id"])
    except (FileNotFoundError, ValueError):
        return None


def end_endpoint(directory: Path) -> None:
    """End the daemon of an endpoint directory, if there is one, and wait until it is gone."""
    try:
        pid = int((directory / "daemon.pid").read_text())
    except (FileNotFoundError, ValueError):
        return
    started = process_start_time(pid)
    cmdline = Path(f"/proc/{pid}/cmdline")
    if started is None or b"lobus" not in cmdline.read_bytes():
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while process_start_time(pid) == started:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
