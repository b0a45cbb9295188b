"""A small asyncio AMQP client: what the sandbox's own service needs of a broker.

It speaks to the embedded broker and to a RabbitMQ alike, on one channel in confirm mode. A
connection that is lost ends the object (`closed` is set); `messaging` makes a new one.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from pamqp import commands

from reconciler.errors import ServiceUnreachable
from reconciler.sandbox import codec
from reconciler.sandbox.amqp_address import AmqpAddress
from reconciler.sandbox.codec import AmqpFault, ContentAssembler, FrameReader, Message

Connection, ChannelCmd, Basic = commands.Connection, commands.Channel, commands.Basic
ExchangeCmd, QueueCmd, Confirm = commands.Exchange, commands.Queue, commands.Confirm

_TIMEOUT = 10.0  # seconds for one answer of the broker
_PREFETCH = 200


class AmqpClient(asyncio.Protocol):
    """One connection with one channel; create it with `connect`."""

    def __init__(self, address: AmqpAddress) -> None:
        self.closed = asyncio.Event()
        self.reason = ""
        self._address = address
        self._reader = FrameReader()
        self._assembler = ContentAssembler()
        self._transport: Any = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers: deque[asyncio.Future[Any]] = deque()
        self._confirms: dict[int, asyncio.Future[None]] = {}
        self._published = 0
        self._consumers: dict[str, Callable[[int, Message], None]] = {}
        self._frame_max = codec.FRAME_MAX
        self._heartbeat = 0
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def connect(cls, address: AmqpAddress) -> AmqpClient:
        """Connect, open a channel in confirm mode.

        Raises:
            ServiceUnreachable: nobody answers there, or refuses us.
        """
        loop = asyncio.get_running_loop()
        where = f"{address.host}:{address.port}"
        remedy = "check that the broker runs and that --amqp-url names it"
        try:
            connecting = loop.create_connection(lambda: cls(address), address.host, address.port)
            _, client = await asyncio.wait_for(connecting, _TIMEOUT)
            await asyncio.wait_for(client._opened, _TIMEOUT)
            await client.call(ChannelCmd.Open())
            await client.call(Basic.Qos(0, _PREFETCH, False))
            await client.call(Confirm.Select())
        except (OSError, asyncio.TimeoutError, AmqpFault) as e:
            why = str(e) or type(e).__name__
            raise ServiceUnreachable("The AMQP broker did not accept us", where=where, why=why, remedy=remedy) from e
        return client

    # calls

    async def call(self, method: Any) -> Any:
        """Send a method and return its answer.

        Raises:
            AmqpFault: the broker refused or the connection is gone.
        """
        self._require_open()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self._transport.write(codec.method_bytes(1, method))
        return await self._answered(answer)

    async def publish(self, message: Message) -> None:
        """Publish and return once the broker is responsible for it."""
        self._require_open()
        self._published += 1
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._confirms[self._published] = confirmed
        method = Basic.Publish(0, message.exchange, message.routing_key)
        self._transport.write(codec.content_bytes(1, method, message, self._frame_max))
        await self._answered(confirmed)

    async def _answered(self, waiting: asyncio.Future[Any]) -> Any:
        try:
            return await asyncio.wait_for(waiting, _TIMEOUT)
        except asyncio.TimeoutError:
            # A late answer would be taken for that of the next call: this connection is of no use any more.
            self._transport.abort()
            raise AmqpFault(541, f"no answer within {_TIMEOUT:g} s", whole_connection=True) from None

    async def consume(self, queue: str, on_message: Callable[[int, Message], None]) -> None:
        """Hand each message of `queue` to `on_message(delivery_tag, message)`; `ack` it there."""
        tag = f"service.{len(self._consumers)}"
        self._consumers[tag] = on_message
        await self.call(Basic.Consume(0, queue, tag))

    def ack(self, delivery_tag: int) -> None:
        """Acknowledge one message; without a connection the broker redelivers it anyway."""
        if not self.closed.is_set():
            self._transport.write(codec.method_bytes(1, Basic.Ack(delivery_tag)))

    async def close(self) -> None:
        """Say goodbye and wait until the connection is gone."""
        if not self.closed.is_set():
            self._transport.write(codec.method_bytes(0, Connection.Close(200, "done", 0, 0)))
            self._transport.close()
            await self.closed.wait()

    def _require_open(self) -> None:
        if self.closed.is_set():
            raise AmqpFault(320, self.reason or "connection closed", whole_connection=True)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the conversation."""
        self._transport = transport
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.write(codec.PROTOCOL_HEADER)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whatever waits for an answer."""
        self.reason = self.reason or f"connection lost ({exc or 'closed by the broker'})"
        self.closed.set()
        if self._timer is not None:
            self._timer.cancel()
        fault = AmqpFault(320, self.reason, whole_connection=True)
        for waiting in [self._opened, *self._answers, *self._confirms.values()]:
            if not waiting.done():
                waiting.set_exception(fault)
                waiting.exception()  # retrieved: nobody may be waiting any more

    def data_received(self, data: bytes) -> None:
        """Decode and act."""
        self._heard = asyncio.get_running_loop().time()
        try:
            for number, frame in self._reader.feed(data):
                self._frame(number, frame)
        except AmqpFault as fault:
            self.reason = fault.text
            self._transport.abort()

    def _frame(self, number: int, frame: Any) -> None:
        if codec.is_heartbeat(frame):
            return
        if codec.is_content(frame):
            complete = self._assembler.add(frame)
            if complete is not None and isinstance(complete[0], Basic.Deliver):
                deliver, message = complete
                self._consumers[deliver.consumer_tag](deliver.delivery_tag, message)
        elif isinstance(frame, Basic.Deliver | Basic.Return | Basic.GetOk):
            self._assembler.begin(frame)
        elif isinstance(frame, Basic.Ack | Basic.Nack):
            self._settle(frame)
        elif isinstance(frame, Connection.Close | ChannelCmd.Close | Basic.Cancel):
            # One channel only, so a refused call ends the connection too; `messaging` starts afresh.
            self.reason = f"{getattr(frame, 'reply_code', 0)} {getattr(frame, 'reply_text', 'consumer cancelled')}"
            self._transport.abort()
        elif number == 0:
            self._handshake(frame)
        elif self._answers:
            answer = self._answers.popleft()
            if not answer.done():
                answer.set_result(frame)

    def _settle(self, frame: Any) -> None:
        tags = [t for t in self._confirms if t <= frame.delivery_tag] if frame.multiple else [frame.delivery_tag]
        for tag in tags:
            waiting = self._confirms.pop(tag, None)
            if waiting is None or waiting.done():
                continue
            if isinstance(frame, Basic.Ack):
                waiting.set_result(None)
            else:
                waiting.set_exception(AmqpFault(311, "the broker did not take the message"))

    def _handshake(self, frame: Any) -> None:
        if isinstance(frame, Connection.Start):
            response = f"\0{self._address.user}\0{self._address.password}"
            capabilities = {"publisher_confirms": True, "basic.nack": True, "authentication_failure_close": True}
            properties = {"product": "chiltepin sandbox", "capabilities": capabilities}
            self._transport.write(codec.method_bytes(0, Connection.StartOk(properties, "PLAIN", response, "en_US")))
        elif isinstance(frame, Connection.Tune):
            self._frame_max = min(frame.frame_max or codec.FRAME_MAX, codec.FRAME_MAX)
            self._heartbeat = frame.heartbeat
            self._transport.write(codec.method_bytes(0, Connection.TuneOk(1, self._frame_max, self._heartbeat)))
            self._transport.write(codec.method_bytes(0, Connection.Open(self._address.vhost)))
        elif isinstance(frame, Connection.OpenOk):
            self._opened.set_result(None)
            if self._heartbeat:
                self._beat()

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._heard > 2 * self._heartbeat:
            self.reason = "the broker fell silent"
            self._transport.abort()
            return
        self._transport.write(codec.heartbeat_bytes())
        self._timer = loop.call_later(self._heartbeat / 2, self._beat)
