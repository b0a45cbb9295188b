"""The embedded AMQP 0-9-1 broker: connections, handshake, heartbeats, limits.

Everything runs on one event loop; a peer that breaks the protocol, never authenticates or falls
silent loses its connection and nothing else happens.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sqlite3
from collections.abc import Callable
from typing import Any

from pamqp import commands

from reconciler.sandbox import codec
from reconciler.sandbox.broker_channel import Channel
from reconciler.sandbox.codec import AmqpFault, FrameReader, Message
from reconciler.sandbox.topology import Topology

Connection, ChannelCmd, Basic = commands.Connection, commands.Channel, commands.Basic

HEARTBEAT = 60  # seconds, as RabbitMQ proposes
HANDSHAKE_TIMEOUT = 10.0  # seconds until a connection must be open
log = logging.getLogger(__name__)


class Broker:
    """The listening side.

    Args:
        database: where durable queues live.
        authenticate: (user, password) -> whether they may connect.
    """

    def __init__(self, database: sqlite3.Connection, authenticate: Callable[[str, str], bool]) -> None:
        self.authenticate = authenticate
        self.connections: set[BrokerConnection] = set()
        self.handshake_timeout = HANDSHAKE_TIMEOUT
        self.heartbeat = HEARTBEAT
        self._database = database
        self._server: asyncio.Server | None = None
        self._topology: Topology | None = None

    @property
    def topology(self) -> Topology:
        """Exchanges and queues (once started)."""
        if self._topology is None:
            self._topology = Topology(self._database, asyncio.get_running_loop().call_soon)
        return self._topology

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port (a free one if `port` is 0). Raises OSError if it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: BrokerConnection(self), host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening, close every connection (320, as a broker that shuts down does)."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.fail(AmqpFault(320, "CONNECTION_FORCED - broker shut down", whole_connection=True))
        self.topology.commit()


class BrokerConnection(asyncio.Protocol):
    """One client."""

    congested = False
    cancel_notify = False

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._reader = FrameReader()
        self._channels: dict[int, Channel] = {}
        self._closing_channels: set[int] = set()
        self._state = "header"
        self._frame_max = codec.FRAME_MAX
        self._heartbeat = 0
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: Any = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock: who does not complete the handshake in time is dropped."""
        self._transport = transport
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._broker.connections.add(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._broker.handshake_timeout, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back what the client had not acknowledged."""
        del exc
        self._state = "closed"
        self.congested = True
        if self._timer is not None:
            self._timer.cancel()
        self._broker.connections.discard(self)
        self._release()

    def data_received(self, data: bytes) -> None:
        """Decode and act; any breach of the protocol ends here."""
        self._heard = asyncio.get_running_loop().time()
        try:
            if self._state == "header":
                if not self._opened_by(data):
                    return
                data = b""  # the reader holds what followed the protocol header
            for number, frame in self._reader.feed(data):
                if self._state == "closed":
                    return
                self._frame(number, frame)
        except AmqpFault as fault:
            self.fail(fault)
        except Exception:
            log.exception("broker: unexpected failure, connection closed")
            self.fail(AmqpFault(541, "INTERNAL_ERROR", whole_connection=True))

    def pause_writing(self) -> None:
        """The client reads too slowly: stop delivering to it."""
        self.congested = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self.congested = False
        for channel in list(self._channels.values()):
            channel.pump()

    # sending

    def send(self, channel: int, method: Any) -> None:
        """Send a method frame."""
        self._write(codec.method_bytes(channel, method))

    def send_content(self, channel: int, method: Any, message: Message) -> None:
        """Send a method frame with a message."""
        self._write(codec.content_bytes(channel, method, message, self._frame_max))

    def _write(self, data: bytes) -> None:
        if self._state != "closed" and not self._transport.is_closing():
            self._transport.write(data)

    def fail(self, fault: AmqpFault) -> None:
        """End the connection with a reason (as far as the peer still listens)."""
        if self._state == "closed":
            return
        if self._state != "header":
            self.send(0, Connection.Close(fault.code, fault.text[:255], 0, 0))
        self._shut()

    def _shut(self) -> None:
        self._transport.close()
        self._state = "closed"
        self.congested = True
        self._release()
        # A peer that does not read would keep the socket open for ever.
        asyncio.get_running_loop().call_later(self._broker.handshake_timeout, self._transport.abort)

    def _release(self) -> None:
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            channel.close()
        topology = self._broker.topology
        for name in [q.name for q in topology.queues.values() if q.owner is self]:
            topology.delete_queue(name)

    # handshake

    def _opened_by(self, data: bytes) -> bool:
        header = self._reader.take_protocol_header(data)
        if header is None:
            return False
        if header != codec.PROTOCOL_HEADER:
            self._transport.write(codec.PROTOCOL_HEADER)
            self._shut()
            return False
        self._state = "start"
        capabilities = {
            "publisher_confirms": True,
            "basic.nack": True,
            "consumer_cancel_notify": True,
            "authentication_failure_close": True,
        }
        properties = {"product": "chiltepin sandbox", "version": "1", "capabilities": capabilities}
        self.send(0, Connection.Start(0, 9, properties, "PLAIN", "en_US"))
        return True

    def _frame(self, number: int, frame: Any) -> None:
        if codec.is_heartbeat(frame):
            return
        if self._state == "open" and number:
            self._on_channel(number, frame)
        elif number == 0 and not codec.is_content(frame):
            self._on_connection(frame)
        else:
            raise AmqpFault(503, "COMMAND_INVALID - connection is not open", whole_connection=True)

    def _on_connection(self, method: Any) -> None:
        expected = {"start": Connection.StartOk, "tune": Connection.TuneOk, "opening": Connection.Open}
        if isinstance(method, Connection.Close):
            self.send(0, Connection.CloseOk())
            self._shut()
        elif isinstance(method, expected.get(self._state, ())):
            {"start": self._start_ok, "tune": self._tune_ok, "opening": self._open_vhost}[self._state](method)
        else:
            raise AmqpFault(503, f"COMMAND_INVALID - unexpected {method.name}", whole_connection=True)

    def _start_ok(self, method: Any) -> None:
        response = method.response if isinstance(method.response, bytes) else str(method.response).encode()
        parts = response.split(b"\0")
        known = len(parts) == 3 and self._broker.authenticate(parts[1].decode("utf-8", "replace"), _text(parts[2]))
        if method.mechanism != "PLAIN" or not known:
            raise AmqpFault(
                403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.", whole_connection=True
            )
        wishes = (method.client_properties or {}).get("capabilities") or {}
        self.cancel_notify = bool(wishes.get("consumer_cancel_notify"))
        self._state = "tune"
        self.send(0, Connection.Tune(codec.CHANNEL_MAX, codec.FRAME_MAX, self._broker.heartbeat))

    def _tune_ok(self, method: Any) -> None:
        self._frame_max = min(method.frame_max or codec.FRAME_MAX, codec.FRAME_MAX)
        if self._frame_max < 4096:
            raise AmqpFault(530, "NOT_ALLOWED - frame_max below 4096", whole_connection=True)
        self._heartbeat = method.heartbeat
        self._state = "opening"

    def _open_vhost(self, method: Any) -> None:
        if method.virtual_host != "/":
            raise AmqpFault(530, f"NOT_ALLOWED - vhost {method.virtual_host} not found", whole_connection=True)
        self._state = "open"
        self.send(0, Connection.OpenOk())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heartbeat:
            self._beat()

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._heard > 2 * self._heartbeat:
            self._transport.abort()
            return
        self._write(codec.heartbeat_bytes())
        self._timer = loop.call_later(self._heartbeat / 2, self._beat)

    # channels

    def _on_channel(self, number: int, frame: Any) -> None:
        if number in self._closing_channels:
            # Whatever was under way when we closed the channel is void until the client confirms.
            if isinstance(frame, ChannelCmd.CloseOk):
                self._closing_channels.discard(number)
            return
        try:
            self._channel_frame(number, frame)
        except AmqpFault as fault:
            if fault.whole_connection or number not in self._channels:
                raise
            self._channels.pop(number).close()
            self._closing_channels.add(number)
            self.send(number, ChannelCmd.Close(fault.code, fault.text[:255], 0, 0))

    def _channel_frame(self, number: int, frame: Any) -> None:
        channel = self._channels.get(number)
        if isinstance(frame, ChannelCmd.Open):
            if channel is not None or number > codec.CHANNEL_MAX:
                raise AmqpFault(504, f"CHANNEL_ERROR - cannot open channel {number}", whole_connection=True)
            self._channels[number] = Channel(number, self, self._broker.topology)
            self.send(number, ChannelCmd.OpenOk())
        elif channel is None:
            raise AmqpFault(504, f"CHANNEL_ERROR - channel {number} is not open", whole_connection=True)
        elif isinstance(frame, ChannelCmd.Close):
            self._channels.pop(number).close()
            self.send(number, ChannelCmd.CloseOk())
        elif codec.is_content(frame):
            complete = channel.assembler.add(frame)
            if complete is not None:
                channel.publish(*complete)
        elif channel.assembler.waiting:
            raise AmqpFault(505, "UNEXPECTED_FRAME - content expected", whole_connection=True)
        else:
            channel.handle(frame)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
