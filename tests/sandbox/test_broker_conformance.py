"""The embedded broker and RabbitMQ behave alike, as far as endpoints and the SDK can tell."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pika.exceptions
import pytest

from tests.sampling import STEP
from tests.sandbox.support import wait_for


# RabbitMQ is itself on every version of Python.
@pytest.fixture(params=["embedded", "rabbitmq"] if STEP == 1 else ["embedded"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def connect(url: str) -> Iterator[Callable[..., pika.BlockingConnection]]:
    made: list[pika.BlockingConnection] = []

    def make(**changes: Any) -> pika.BlockingConnection:
        parameters = pika.URLParameters(url)
        for name, value in changes.items():
            setattr(parameters, name, value)
        made.append(pika.BlockingConnection(parameters))
        return made[-1]

    yield make
    for connection in made:
        with contextlib.suppress(pika.exceptions.AMQPError):
            connection.close()


@pytest.fixture
def channel(connect: Callable[..., pika.BlockingConnection]) -> Any:
    return connect().channel()


@pytest.fixture
def queue(connect: Callable[..., pika.BlockingConnection]) -> Iterator[str]:
    name = f"test-{uuid.uuid4()}"
    channel = connect().channel()
    channel.queue_declare(name, durable=True)
    yield name
    connect().channel().queue_delete(name)


def publish(channel: Any, queue: str, *bodies: bytes, **properties: Any) -> None:
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(**properties))


def depth(channel: Any, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def take(channel: Any, queue: str, count: int, **consume: Any) -> list[tuple[Any, Any, bytes]]:
    """Consume exactly `count` messages without acknowledging them."""
    got: list[tuple[Any, Any, bytes]] = []
    tag = channel.basic_consume(queue, lambda _c, m, p, b: got.append((m, p, b)), **consume)
    deadline = time.monotonic() + 20
    while len(got) < count and time.monotonic() < deadline:
        channel.connection.process_data_events(0.05)
    assert len(got) >= count, f"{len(got)} of {count} messages"
    assert tag
    return got


def test_properties_and_body_arrive_unchanged(channel: Any, queue: str) -> None:
    sent = {
        "content_type": "application/json",
        "headers": {"task_uuid": "u", "debug": False, "n": 7, "list": ["a", "b"]},
        "delivery_mode": 2,
        "timestamp": 1700000000,
        "app_id": "app",
        "correlation_id": "c",
    }
    publish(channel, queue, b"\x01{}", **sent)
    method, properties, body = channel.basic_get(queue)
    assert body == b"\x01{}"
    assert {name: getattr(properties, name) for name in sent} == sent
    assert (method.exchange, method.routing_key, method.redelivered) == ("", queue, False)


@pytest.mark.parametrize("size", [0, 1, 131064, 131065, 3_000_000])
def test_bodies_of_any_size(channel: Any, queue: str, size: int) -> None:
    channel.confirm_delivery()
    body = bytes(range(256)) * (size // 256 + 1)
    publish(channel, queue, body[:size])
    assert channel.basic_get(queue, auto_ack=True)[2] == body[:size]


def test_messages_wait_in_a_durable_queue_across_connections(connect: Any, queue: str) -> None:
    first = connect()
    publish(first.channel(), queue, b"1", b"2", delivery_mode=2)
    first.close()
    channel = connect().channel()
    assert [b for _, _, b in take(channel, queue, 2)] == [b"1", b"2"]


def test_get_from_an_empty_queue(channel: Any, queue: str) -> None:
    assert channel.basic_get(queue) == (None, None, None)


def test_passive_declarations(connect: Any, queue: str) -> None:
    channel = connect().channel()
    publish(channel, queue, b"x")
    wait_for(lambda: depth(channel, queue) == 1, "the message is counted")
    for declare in ("queue_declare", "exchange_declare"):
        other = connect().channel()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
            getattr(other, declare)(f"missing-{uuid.uuid4()}", passive=True)
        assert closed.value.reply_code == 404


def test_other_channels_survive_a_channel_error(connect: Any, queue: str) -> None:
    connection = connect()
    bad, good = connection.channel(), connection.channel()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        bad.queue_declare("missing", passive=True)
    publish(good, queue, b"x")
    wait_for(lambda: depth(good, queue) == 1, "the other channel works")
    assert connection.channel().is_open


def test_redeclaring_differently_is_refused(channel: Any, queue: str) -> None:
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, durable=False)
    assert closed.value.reply_code == 406


def test_exchange_routes_by_key(channel: Any, queue: str) -> None:
    exchange = f"test-{uuid.uuid4()}"
    channel.confirm_delivery()
    channel.exchange_declare(exchange, "direct", durable=True)
    channel.exchange_declare(exchange, passive=True)
    channel.queue_bind(queue, exchange, "yes")
    channel.basic_publish(exchange, "yes", b"1", mandatory=True)
    with pytest.raises(pika.exceptions.UnroutableError) as refused:
        channel.basic_publish(exchange, "no", b"2", mandatory=True)
    assert refused.value.messages[0].body == b"2"
    channel.basic_publish(exchange, "no", b"3")
    assert depth(channel, queue) == 1
    channel.queue_unbind(queue, exchange, "yes")
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish(exchange, "yes", b"4", mandatory=True)
    channel.exchange_delete(exchange)


def test_publishing_to_a_missing_exchange_closes_the_channel(channel: Any) -> None:
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.basic_publish(f"missing-{uuid.uuid4()}", "k", b"x")
    assert closed.value.reply_code == 404


def test_confirms_count_per_channel(channel: Any, queue: str) -> None:
    channel.confirm_delivery()
    publish(channel, queue, *[b"%d" % n for n in range(50)], delivery_mode=2)
    publish(channel, queue, *[b"%d" % n for n in range(50, 100)], delivery_mode=1)
    assert depth(channel, queue) == 100
    assert [b for _, _, b in take(channel, queue, 100)] == [b"%d" % n for n in range(100)]


def test_exclusive_consumer_keeps_others_out(connect: Any, queue: str) -> None:
    first, second = connect().channel(), connect().channel()
    tag = first.basic_consume(queue, lambda *_: None, exclusive=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        second.basic_consume(queue, lambda *_: None)
    assert closed.value.reply_code == 403
    first.basic_cancel(tag)
    third = connect().channel()
    third.basic_consume(queue, lambda *_: None)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        first.basic_consume(queue, lambda *_: None, exclusive=True)
    assert closed.value.reply_code == 403


def test_exclusive_consumer_is_free_again_after_the_connection_ended(connect: Any, queue: str) -> None:
    first = connect()
    first.channel().basic_consume(queue, lambda *_: None, exclusive=True)
    first.close()
    connect().channel().basic_consume(queue, lambda *_: None, exclusive=True)


def test_unacknowledged_messages_are_redelivered_in_order(connect: Any, queue: str) -> None:
    first = connect()
    channel = first.channel()
    publish(channel, queue, b"1", b"2", b"3", b"4")
    got = take(channel, queue, 4)
    channel.basic_ack(got[1][0].delivery_tag)
    publish(channel, queue, b"5")
    wait_for(lambda: first.process_data_events(0.05) or True, "the acknowledgement is sent")
    first.close()
    again = take(connect().channel(), queue, 4)
    assert [b for _, _, b in again] == [b"1", b"3", b"4", b"5"]
    assert [m.redelivered for m, _, _ in again][:3] == [True, True, True]


def test_dropped_connection_redelivers(connect: Any, queue: str) -> None:
    first = connect()
    channel = first.channel()
    publish(channel, queue, b"1")
    take(channel, queue, 1)
    first._impl._transport._sock.shutdown(socket.SHUT_RDWR)  # no goodbye, as when a process is killed
    other = connect().channel()
    assert take(other, queue, 1)[0][2] == b"1"


def test_channel_close_redelivers(connect: Any, queue: str) -> None:
    connection = connect()
    channel = connection.channel()
    publish(channel, queue, b"1")
    take(channel, queue, 1)
    channel.close()
    assert take(connection.channel(), queue, 1)[0][0].redelivered


def test_ack_up_to(connect: Any, queue: str) -> None:
    connection = connect()
    channel = connection.channel()
    publish(channel, queue, b"1", b"2", b"3")
    got = take(channel, queue, 3)
    channel.basic_ack(got[1][0].delivery_tag, multiple=True)
    connection.close()
    assert [b for _, _, b in take(connect().channel(), queue, 1)] == [b"3"]


def test_nack_and_reject(connect: Any, queue: str) -> None:
    channel = connect().channel()
    publish(channel, queue, b"1", b"2")
    first, _, _ = channel.basic_get(queue)
    channel.basic_nack(first.delivery_tag, requeue=True)
    again, _, body = wait_get(channel, queue)
    assert (body, again.redelivered) == (b"1", True)
    channel.basic_reject(again.delivery_tag, requeue=False)
    assert wait_get(channel, queue)[2] == b"2"
    assert depth(channel, queue) == 0


def wait_get(channel: Any, queue: str) -> tuple[Any, Any, bytes]:
    got: tuple[Any, Any, bytes] = (None, None, b"")

    def ready() -> bool:
        nonlocal got
        got = channel.basic_get(queue)
        return got[0] is not None

    wait_for(ready, "a message is there")
    return got


def test_unknown_delivery_tag_closes_the_channel(channel: Any, queue: str) -> None:
    channel.basic_ack(77)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        depth(channel, queue)
    assert closed.value.reply_code == 406


def test_prefetch_limits_what_is_under_way(connect: Any, queue: str) -> None:
    channel = connect().channel()
    publish(channel, queue, *[b"%d" % n for n in range(5)])
    channel.basic_qos(prefetch_count=2)
    got: list[Any] = []
    channel.basic_consume(queue, lambda _c, m, _p, _b: got.append(m))
    observer = connect().channel()
    wait_for(lambda: channel.connection.process_data_events(0.05) or len(got) == 2, "two arrive")
    assert depth(observer, queue) == 3
    channel.basic_ack(got[0].delivery_tag)
    wait_for(lambda: channel.connection.process_data_events(0.05) or len(got) == 3, "a third arrives")
    assert depth(observer, queue) == 2


def test_consumers_take_turns(connect: Any, queue: str) -> None:
    connection = connect()
    channel = connection.channel()
    got: dict[str, list[bytes]] = {"a": [], "b": []}
    for tag in got:
        channel.basic_consume(
            queue, lambda _c, m, _p, b: got[m.consumer_tag].append(b), consumer_tag=tag, auto_ack=True
        )
    publish(connect().channel(), queue, *[b"%d" % n for n in range(10)])
    wait_for(lambda: connection.process_data_events(0.05) or sum(map(len, got.values())) == 10, "all arrive")
    assert (len(got["a"]), len(got["b"])) == (5, 5)


def test_auto_acknowledged_messages_are_gone(connect: Any, queue: str) -> None:
    connection = connect()
    publish(connection.channel(), queue, b"1")
    take(connection.channel(), queue, 1, auto_ack=True)
    connection.close()
    assert depth(connect().channel(), queue) == 0


def test_cancelled_consumer_gets_nothing_more(connect: Any, queue: str) -> None:
    channel = connect().channel()
    tag = channel.basic_consume(queue, lambda *_: pytest.fail("cancelled"))
    channel.basic_cancel(tag)
    publish(channel, queue, b"1")
    wait_for(lambda: depth(channel, queue) == 1, "the message stays")


def test_deleting_a_queue_cancels_its_consumers(connect: Any) -> None:
    name = f"test-{uuid.uuid4()}"
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(name, durable=True)
    cancelled: list[Any] = []
    channel.basic_consume(name, lambda *_: None)
    channel.add_on_cancel_callback(cancelled.append)
    publish(channel, name, b"x")
    other = connect().channel()
    other.queue_delete(name)
    wait_for(lambda: connection.process_data_events(0.05) or cancelled, "the consumer is told")
    assert channel.is_open
    assert other.queue_delete(name).method.message_count == 0  # deleting what is gone is fine


def test_purge(channel: Any, queue: str) -> None:
    channel.confirm_delivery()
    publish(channel, queue, b"1", b"2", delivery_mode=2)
    assert channel.queue_purge(queue).method.message_count == 2
    assert depth(channel, queue) == 0


def test_exclusive_queue_belongs_to_its_connection(connect: Any) -> None:
    connection = connect()
    channel = connection.channel()
    name = channel.queue_declare("", exclusive=True).method.queue
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        connect().channel().queue_declare(name, passive=True)
    assert closed.value.reply_code == 405
    connection.close()

    def gone() -> bool:
        try:
            connect().channel().queue_declare(name, passive=True)
        except pika.exceptions.ChannelClosedByBroker as e:
            return bool(e.reply_code == 404)
        return False

    wait_for(gone, "the queue went with its connection")


def test_auto_delete_queue_goes_with_its_last_consumer(connect: Any) -> None:
    channel = connect().channel()
    name = f"test-{uuid.uuid4()}"
    channel.queue_declare(name, auto_delete=True)
    channel.basic_cancel(channel.basic_consume(name, lambda *_: None))
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare(name, passive=True)
    assert closed.value.reply_code == 404


def test_wrong_password(connect: Any) -> None:
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connect(credentials=pika.PlainCredentials("guest", "wrong"))


def test_unknown_virtual_host(connect: Any) -> None:
    with pytest.raises((pika.exceptions.ProbableAccessDeniedError, pika.exceptions.ConnectionClosedByBroker)):
        connect(virtual_host="elsewhere")


# the wire


@contextlib.contextmanager
def wire(url: str) -> Iterator[socket.socket]:
    parameters = pika.URLParameters(url)
    with socket.create_connection((parameters.host, parameters.port), timeout=20) as raw:
        yield raw


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def read_to_end(raw: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionError):
        while chunk := raw.recv(65536):
            data += chunk
    return data


def _shortstr(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def open_on_wire(raw: socket.socket, heartbeat: int) -> None:
    raw.sendall(b"AMQP\x00\x00\x09\x01")
    raw.recv(65536)
    response = b"\0guest\0guest"
    start_ok = struct.pack(">HHI", 10, 11, 0) + _shortstr(b"PLAIN") + struct.pack(">I", len(response)) + response
    raw.sendall(frame(1, 0, start_ok + _shortstr(b"en_US")))
    raw.recv(65536)
    raw.sendall(frame(1, 0, struct.pack(">HHHIH", 10, 31, 2047, 131072, heartbeat)))
    raw.sendall(frame(1, 0, struct.pack(">HH", 10, 40) + _shortstr(b"/") + b"\0\0"))
    assert raw.recv(65536)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"AMQP\x00\x01\x00\x00",
        b"AMQP\x00\x00\x09\x01" + b"\xff" * 64,
        b"AMQP\x00\x00\x09\x01" + struct.pack(">BHI", 1, 0, 0x7FFFFFFF) + b"x" * 64,
        b"AMQP\x00\x00\x09\x01" + frame(1, 0, struct.pack(">HH", 10, 99) + b"junk"),
        b"AMQP\x00\x00\x09\x01" + frame(1, 0, struct.pack(">HH", 10, 40) + _shortstr(b"/") + b"\0\0"),
        b"AMQP\x00\x00\x09\x01" + frame(1, 1, struct.pack(">HH", 20, 10) + b"\0"),
        b"AMQP\x00\x00\x09\x01" + frame(3, 1, b"body"),
    ],
    ids=["http", "version", "noise", "huge", "method", "unauthenticated-open", "unauthenticated-channel", "body"],
)
def test_garbage_ends_the_connection_only(url: str, connect: Any, garbage: bytes) -> None:
    with wire(url) as raw:
        raw.sendall(garbage)
        with contextlib.suppress(OSError):  # the broker may have hung up already
            raw.shutdown(socket.SHUT_WR)
        read_to_end(raw)
    assert connect().channel().is_open


def test_wrong_protocol_is_told_the_right_one(url: str) -> None:
    with wire(url) as raw:
        raw.sendall(b"AMQP\x00\x02\x00\x00")
        assert read_to_end(raw) == b"AMQP\x00\x00\x09\x01"


def test_malformed_frame_after_opening(url: str, connect: Any) -> None:
    with wire(url) as raw:
        open_on_wire(raw, heartbeat=0)
        raw.sendall(frame(1, 1, b"\xff\xff\xff\xff"))
        read_to_end(raw)
    assert connect().channel().is_open


def test_silent_peer_is_dropped_and_gets_heartbeats(url: str) -> None:
    with wire(url) as raw:
        open_on_wire(raw, heartbeat=1)
        began = time.monotonic()
        data = read_to_end(raw)
        assert b"\x08\x00\x00\x00\x00\x00\x00\xce" in data
        assert time.monotonic() - began < 15


def test_idle_connection_with_heartbeats_stays(connect: Any, queue: str) -> None:
    connection = connect(heartbeat=1)
    channel = connection.channel()
    deadline = time.monotonic() + 3.5  # more than two missed heartbeats, while pika sends its own
    while time.monotonic() < deadline:
        connection.process_data_events(0.2)
    assert depth(channel, queue) == 0
