"""AMQP 0-9-1 on the wire: bytes to frames, frames to messages, and back.

Shared by the embedded broker and the client. pamqp does the encoding; what this module adds are the
limits (a peer cannot make us hold more than one frame or one bounded message) and one error type,
so that no malformed byte reaches the layers above as an arbitrary exception.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pamqp import body, commands, exceptions, frame, header, heartbeat

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_MAX = 131072
CHANNEL_MAX = 2047
MESSAGE_MAX = 64 * 1024 * 1024  # bytes; above Globus Compute's own limit of 10 MB for a task

_FRAME_HEADER = struct.Struct(">BHI")
_FRAME_END = 0xCE
_BODY_FRAME = 3
_FRAME_OVERHEAD = 8

# All that pamqp 3.3 to 4.x raises on bytes it cannot decode.
_DECODE_ERRORS = (
    exceptions.PAMQPException,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    struct.error,
)


class AmqpFault(Exception):
    """A rule of the protocol was broken; `code` is the AMQP reply code, the text is for the peer.

    Args:
        code: the AMQP reply code (404, 406, ...).
        text: the reply text, without secrets.
        whole_connection: True if the connection ends, False if only the channel does.
    """

    def __init__(self, code: int, text: str, *, whole_connection: bool = False) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
        self.whole_connection = whole_connection


@dataclass
class Message:
    """One message: where it was published to, its properties (pamqp's) and its bytes."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Any = field(default_factory=commands.Basic.Properties)

    @property
    def persistent(self) -> bool:
        """Whether the publisher asked that it survives a restart of the broker."""
        return bool(self.properties.delivery_mode == 2)


class FrameReader:
    """Cuts a byte stream into frames.

    Raises:
        AmqpFault: for the whole connection, when the bytes are no AMQP frame.
    """

    def __init__(self, frame_max: int = FRAME_MAX) -> None:
        self._buffer = bytearray()
        self._frame_max = frame_max

    def feed(self, data: bytes) -> Iterator[tuple[int, Any]]:
        """Yield (channel, frame) for each frame that `data` completes."""
        self._buffer += data
        offset = 0
        try:
            while len(self._buffer) - offset >= _FRAME_HEADER.size:
                kind, channel, size = _FRAME_HEADER.unpack_from(self._buffer, offset)
                if size > self._frame_max:
                    raise AmqpFault(501, f"FRAME_ERROR - frame of {size} bytes", whole_connection=True)
                end = offset + _FRAME_OVERHEAD + size
                if len(self._buffer) < end:
                    break
                raw = bytes(self._buffer[offset:end])
                offset = end
                yield channel, _decode(kind, raw)
        finally:
            del self._buffer[:offset]

    def take_protocol_header(self, data: bytes) -> bytes | None:
        """Collect the eight bytes that open a connection; None until all are there."""
        self._buffer += data
        if len(self._buffer) < len(PROTOCOL_HEADER):
            return None
        opening = bytes(self._buffer[:8])
        del self._buffer[:8]
        return opening


def _decode(kind: int, raw: bytes) -> Any:
    if raw[-1] != _FRAME_END:
        raise AmqpFault(501, "FRAME_ERROR - frame without its end octet", whole_connection=True)
    if kind == _BODY_FRAME:
        return body.ContentBody(raw[7:-1])
    try:
        return frame.unmarshal(raw)[2]
    except _DECODE_ERRORS as e:
        raise AmqpFault(502, "SYNTAX_ERROR - undecodable frame", whole_connection=True) from e


class ContentAssembler:
    """Collects the header and body frames that follow a method which carries a message."""

    def __init__(self) -> None:
        self._method: Any = None
        self._header: Any = None
        self._chunks: list[bytes] = []
        self._missing = 0

    @property
    def waiting(self) -> bool:
        """Whether a content frame must come next."""
        return self._method is not None

    def begin(self, method: Any) -> None:
        """Remember `method` (Basic.Publish, Deliver, Return, GetOk), whose content follows."""
        self._method, self._header, self._chunks, self._missing = method, None, [], 0

    def add(self, part: Any) -> tuple[Any, Message] | None:
        """Take a header or body frame; return (method, message) once it is complete."""
        if self._method is None or isinstance(part, header.ContentHeader) != (self._header is None):
            raise AmqpFault(505, "UNEXPECTED_FRAME - content frame out of order", whole_connection=True)
        if isinstance(part, header.ContentHeader):
            if part.body_size > MESSAGE_MAX:
                raise AmqpFault(406, f"PRECONDITION_FAILED - message larger than {MESSAGE_MAX}", whole_connection=True)
            self._header, self._missing = part, part.body_size
        else:
            self._chunks.append(part.value)
            self._missing -= len(part.value)
        if self._missing < 0:
            raise AmqpFault(501, "FRAME_ERROR - body longer than announced", whole_connection=True)
        if self._missing:
            return None
        method, self._method = self._method, None
        message = Message(method.exchange, method.routing_key, b"".join(self._chunks), self._header.properties)
        self._chunks = []
        return method, message


def method_bytes(channel: int, method: Any) -> bytes:
    """Encode one method frame."""
    return bytes(frame.marshal(method, channel))


def heartbeat_bytes() -> bytes:
    """Encode a heartbeat frame."""
    return bytes(frame.marshal(heartbeat.Heartbeat(), 0))


def content_bytes(channel: int, method: Any, message: Message, frame_max: int) -> bytes:
    """Encode `method` followed by `message`, its body cut to the negotiated frame size."""
    parts = [
        frame.marshal(method, channel),
        frame.marshal(header.ContentHeader(0, len(message.body), message.properties), channel),
    ]
    room = (frame_max or FRAME_MAX) - _FRAME_OVERHEAD
    for start in range(0, len(message.body), room):
        parts.append(frame.marshal(body.ContentBody(message.body[start : start + room]), channel))
    return b"".join(parts)


def is_content(part: Any) -> bool:
    """Whether a decoded frame is a content header or body."""
    return isinstance(part, header.ContentHeader | body.ContentBody)


def is_heartbeat(part: Any) -> bool:
    """Whether a decoded frame is a heartbeat."""
    return isinstance(part, heartbeat.Heartbeat)
