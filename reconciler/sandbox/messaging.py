"""The service's side of AMQP: names of exchanges and queues, and a connection that heals.

All names start with the sandbox's own prefix, so that several sandboxes can share one RabbitMQ.
Results and heartbeats of all endpoints arrive on one durable queue each; commands and tasks leave on
a queue per endpoint, results for a submitter on a queue per task group.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pamqp import commands

from reconciler.errors import ReconcilerError, ServiceUnreachable
from reconciler.sandbox.amqp_address import AmqpAddress
from reconciler.sandbox.amqp_client import AmqpClient
from reconciler.sandbox.codec import AmqpFault, Message

QueueCmd, ExchangeCmd = commands.Queue, commands.Exchange
Handler = Callable[[bytes], Awaitable[None]]
_RETRY = 1.0  # seconds between attempts to reach the broker again
_READY_TIMEOUT = 5.0  # seconds that a request waits for the broker
log = logging.getLogger(__name__)


class Messaging:
    """Commands and tasks out, heartbeats and results in.

    Args:
        address: the broker.
        prefix: what all names start with.
        endpoint_url: endpoint UUID -> the AMQP URL, with password, that this endpoint is given.
        handlers: kind ("results", "heartbeats") -> what to do with each message of that kind.
    """

    def __init__(
        self, address: AmqpAddress, prefix: str, endpoint_url: Callable[[str], str], handlers: Mapping[str, Handler]
    ) -> None:
        self.endpoint_url = endpoint_url
        self.group_prefix = f"{prefix}.group."
        self._prefix = prefix
        self._address = address
        self._handlers = handlers
        self._client: AmqpClient | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect and consume; afterwards reconnect for ever. Raises ServiceUnreachable the first time."""
        await self._connect()
        self._task = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """Close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def _supervise(self) -> None:
        while True:
            if self._client is not None:
                await self._client.closed.wait()
                self._ready.clear()
                log.warning("lost the AMQP broker: %s", self._client.reason)
                self._client = None
            try:
                await self._connect()
                log.info("reached the AMQP broker again")
            except (ReconcilerError, AmqpFault, asyncio.TimeoutError) as e:
                log.debug("AMQP broker not reached: %s", e)
                await asyncio.sleep(_RETRY)

    async def _connect(self) -> None:
        client = await AmqpClient.connect(self._address)
        for kind, handler in self._handlers.items():
            name = f"{self._prefix}.{kind}"
            await client.call(ExchangeCmd.Declare(0, name, "direct", False, True))
            await client.call(QueueCmd.Declare(0, name, False, True))
            await client.call(QueueCmd.Bind(0, name, name, name))
            await client.consume(name, _sequential(client, handler))
        self._client = client
        self._ready.set()

    async def _broker(self) -> AmqpClient:
        try:
            await asyncio.wait_for(self._ready.wait(), _READY_TIMEOUT)
        except asyncio.TimeoutError:
            raise ServiceUnreachable("The sandbox's AMQP broker is not reachable", where=self._address.host) from None
        if self._client is None:
            raise ServiceUnreachable("The sandbox's AMQP broker is not reachable", where=self._address.host)
        return self._client

    # what endpoints are told

    def queue_info(self, endpoint: str, kind: str) -> dict[str, Any]:
        """Describe where an endpoint publishes its ``kind`` ("results", "heartbeats")."""
        name = f"{self._prefix}.{kind}"
        # Results must survive a restart of the broker; a heartbeat that is late is worth nothing.
        properties = {"delivery_mode": 2 if kind == "results" else 1}
        return {
            "connection_url": self.endpoint_url(endpoint),
            "exchange": name,
            "queue": name,
            "queue_publish_kwargs": {
                "exchange": name,
                "routing_key": name,
                "mandatory": True,
                "properties": properties,
            },
        }

    def inbox_info(self, endpoint: str, kind: str) -> dict[str, Any]:
        """Describe the queue from which an endpoint consumes ("commands", "tasks")."""
        return {"connection_url": self.endpoint_url(endpoint), "exchange": "", "queue": self.inbox(endpoint, kind)}

    def inbox(self, endpoint: str, kind: str) -> str:
        """Name the queue from which an endpoint consumes ("commands", "tasks")."""
        return f"{self._prefix}.{endpoint}.{kind}"

    # doing

    async def declare(self, *queues: str) -> None:
        """Create durable queues unless they exist."""
        client = await self._broker()
        for queue in queues:
            await client.call(QueueCmd.Declare(0, queue, False, True))

    async def purge(self, queue: str) -> None:
        """Empty a queue that exists."""
        await (await self._broker()).call(QueueCmd.Purge(0, queue))

    async def delete(self, *queues: str) -> None:
        """Delete queues; who consumes from them is cut off."""
        client = await self._broker()
        for queue in queues:
            await client.call(QueueCmd.Delete(0, queue))

    async def send(self, queue: str, body: bytes, **properties: Any) -> None:
        """Put a persistent message into a queue; return once the broker has it."""
        client = await self._broker()
        await client.publish(Message("", queue, body, commands.Basic.Properties(delivery_mode=2, **properties)))


def _sequential(client: AmqpClient, handler: Handler) -> Callable[[int, Message], None]:
    """Handle one message after the other, acknowledging each when it is done."""
    waiting: asyncio.Queue[tuple[int, Message]] = asyncio.Queue()

    async def work() -> None:
        while not client.closed.is_set():
            tag, message = await waiting.get()
            try:
                await handler(message.body)
            except (ReconcilerError, AmqpFault, asyncio.TimeoutError) as e:
                # Not acknowledged: the broker redelivers it to the next connection.
                log.warning("a message could not be handled yet: %s", e)
                continue
            except Exception:
                # A message that trips us once would trip us for ever: log it and go on.
                log.exception("a message was dropped")
            client.ack(tag)

    task = asyncio.create_task(work())
    closing = asyncio.create_task(client.closed.wait())
    closing.add_done_callback(lambda _: task.cancel())
    return lambda tag, message: waiting.put_nowait((tag, message))
