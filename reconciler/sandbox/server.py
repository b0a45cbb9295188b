"""The sandbox's server process: HTTP service, broker and message handling on one event loop.

``python -m reconciler.sandbox.server --state-dir DIR [--port N] [--amqp-url URL] [--faults] [--detach]``;
``lifecycle`` starts it. Once everything listens it writes the server record, then closes the
descriptor ``--ready-fd``, for which the starting process waits.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import hmac
import logging
import os
import signal
import sqlite3
import sys
import uuid
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from reconciler.errors import FileSystemError, ReconcilerError, Refused
from reconciler.sandbox.accounts import Accounts
from reconciler.sandbox.admin_api import AdminApi
from reconciler.sandbox.amqp_address import AmqpAddress
from reconciler.sandbox.auth_api import AuthApi
from reconciler.sandbox.broker import Broker
from reconciler.sandbox.compute_api import EndpointApi
from reconciler.sandbox.database import get_meta, open_database, set_meta
from reconciler.sandbox.dispatch import Dispatcher
from reconciler.sandbox.messaging import Messaging
from reconciler.sandbox.registry import Registry
from reconciler.sandbox.replies import refusals
from reconciler.sandbox.server_process import AMQP_URL_ENV
from reconciler.sandbox.state import DEFAULT_PORT, ServerRecord, StateDir, boot_id, host_name, process_start_time
from reconciler.sandbox.task_api import TaskApi

HOST = "127.0.0.1"
MAX_REQUEST = 32 * 1024 * 1024  # bytes
_SERVICE_USER = "service"
log = logging.getLogger("reconciler.sandbox")


class Sandbox:
    """Everything that runs, wired."""

    def __init__(self, state: StateDir, *, port: int, amqp_url: str | None, faults: bool) -> None:
        self._state = state
        self._port = port
        self._amqp_url = amqp_url
        self._faults = faults
        self._credentials = state.ensure_credentials()
        self._db = open_database(state.database)
        self._registry = Registry(self._db)
        self._accounts = Accounts(self._db)
        self._dispatcher = Dispatcher(self._registry, self._accounts)
        self._broker: Broker | None = None
        self._runner: web.AppRunner | None = None
        self._accounts.add(self._credentials.client_secret, name="Sandbox client", identity=self._credentials.client_id)

    async def start(self) -> ServerRecord:
        """Bring the broker, the messaging and the HTTP side up; return where they listen."""
        amqp_port = None if self._amqp_url else await self._start_broker()
        messaging = self._messaging(amqp_port)
        self._dispatcher.messaging = messaging
        await messaging.start()
        record = ServerRecord(
            instance=str(uuid.uuid4()),
            host=host_name(),
            boot_id=boot_id(),
            pid=os.getpid(),
            start_time=process_start_time(os.getpid()) or 0,
            port=self._port,
            amqp_port=amqp_port,
            external_amqp=self._amqp_url is not None,
            faults=self._faults,
        )
        await self._start_http(record)
        return record

    async def _start_broker(self) -> int:
        self._broker = Broker(self._db, self._authenticate)
        remembered = int(get_meta(self._db, "amqp_port") or 0)
        try:
            port = await self._broker.start(HOST, remembered)
        except OSError:
            # Somebody took it meanwhile: daemons that still run will not find us, new ones will.
            log.warning("port %s of the embedded broker is taken, another one is used", remembered)
            port = await self._broker.start(HOST, 0)
        set_meta(self._db, "amqp_port", str(port))
        return port

    def _authenticate(self, user: str, password: str) -> bool:
        return hmac.compare_digest(self._credentials.amqp_password(user).encode(), password.encode())

    def _messaging(self, amqp_port: int | None) -> Messaging:
        prefix = f"sandbox.{self._credentials.client_id[:8]}"
        handlers = {"results": self._dispatcher.on_result, "heartbeats": self._dispatcher.on_heartbeat}
        if self._amqp_url is not None:
            url = self._amqp_url
            return Messaging(AmqpAddress.parse(url), prefix, lambda _: url, handlers)
        password = self._credentials.amqp_password
        address = AmqpAddress(HOST, amqp_port or 0, _SERVICE_USER, "/", password(_SERVICE_USER))

        def endpoint_url(endpoint: str) -> str:
            return f"amqp://{quote(endpoint)}:{password(endpoint)}@{HOST}:{amqp_port}/%2F"

        return Messaging(address, prefix, endpoint_url, handlers)

    async def _start_http(self, record: ServerRecord) -> None:
        about = {"instance": record.instance, "port": record.port, "amqp_port": record.amqp_port}
        admin = AdminApi(
            self._registry,
            self._accounts,
            admin_token=self._credentials.admin_token,
            about=about,
            faults=self._faults,
        )
        app = web.Application(middlewares=[admin.count, admin.misbehave, refusals], client_max_size=MAX_REQUEST)
        for api in (
            AuthApi(self._accounts),
            EndpointApi(self._registry, self._accounts, self._dispatcher),
            TaskApi(self._registry, self._accounts, self._dispatcher),
            admin,
        ):
            app.add_routes(api.routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, self._port).start()
        except OSError as e:
            raise Refused(f"Port {self._port} is taken", where=f"{HOST}:{self._port}", why=str(e)) from e

    async def stop(self) -> None:
        """Take everything down, in the order that loses nothing."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._dispatcher.messaging is not None:
            await self._dispatcher.messaging.stop()
        if self._broker is not None:
            await self._broker.stop()
        self._db.commit()
        self._db.close()


async def serve(state: StateDir, options: argparse.Namespace, ready_fd: int | None) -> None:
    """Run until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    sandbox = Sandbox(state, port=options.port, amqp_url=options.amqp_url, faults=options.faults)
    try:
        record = await sandbox.start()
        state.record_server(record)
        log.info("up on port %s, broker on %s", record.port, record.amqp_port or "an external RabbitMQ")
        if ready_fd is not None:
            os.close(ready_fd)
        await stopping.wait()
        log.info("going down")
        state.forget_server()
    finally:
        await sandbox.stop()


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run; errors end on stderr, which is the log."""
    parser = argparse.ArgumentParser(prog="python -m reconciler.sandbox.server", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--amqp-url", default=os.environ.get(AMQP_URL_ENV))
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--detach", action="store_true")
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args(arguments)
    if options.detach and os.fork():
        os._exit(0)  # the child goes on, and belongs to init
    if options.detach:
        os.setsid()
    os.environ.pop(AMQP_URL_ENV, None)  # it may hold a password
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    state = StateDir(options.state_dir)
    try:
        state.create()
        lock = _single(state)
        asyncio.run(serve(state, options, options.ready_fd))
        os.close(lock)
    except ReconcilerError as e:
        log.error("%s", e)
        return int(e.exit_code)
    except sqlite3.Error as e:
        log.error("%s", FileSystemError("The sandbox's state failed", where=str(state.database), why=str(e)))
        return 1
    return 0


def _single(state: StateDir) -> int:
    """Take the lock that keeps a second server off this state directory."""
    handle = os.open(state.lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(handle)
        raise Refused("A sandbox already runs on this state directory", where=str(state.path)) from e
    return handle


if __name__ == "__main__":
    sys.exit(main())
