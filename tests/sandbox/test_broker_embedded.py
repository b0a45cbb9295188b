"""What only the embedded broker is asked for: surviving a restart, its limits, patience with slow peers."""

from __future__ import annotations

import socket
from pathlib import Path

import pika
import pytest

from tests.ports import free_port
from tests.sandbox.support import embedded_broker, wait_for


def open_channel(url: str) -> pika.adapters.blocking_connection.BlockingChannel:
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.confirm_delivery()
    return channel


def test_durable_queues_bindings_and_persistent_messages_survive_a_restart(tmp_path: Path) -> None:
    port = free_port()
    with embedded_broker(tmp_path, port) as url:
        channel = open_channel(url)
        channel.exchange_declare("ex", "direct", durable=True)
        channel.queue_declare("kept", durable=True)
        channel.queue_declare("lost")
        channel.queue_bind("kept", "ex", "key")
        properties = pika.BasicProperties(delivery_mode=2, headers={"task_uuid": "u"}, content_type="application/json")
        for body in (b"1", b"2", b"3"):
            channel.basic_publish("ex", "key", body, properties)
        channel.basic_publish("", "kept", b"transient")
        channel.basic_ack(channel.basic_get("kept")[0].delivery_tag)
        channel.connection.close()
    with embedded_broker(tmp_path, port) as url:
        channel = open_channel(url)
        got = [channel.basic_get("kept", auto_ack=True) for _ in range(2)]
        assert [body for _, _, body in got] == [b"2", b"3"]
        assert got[0][1].headers == {"task_uuid": "u"}
        assert got[0][1].content_type == "application/json"
        assert channel.basic_get("kept")[0] is None
        channel.basic_publish("ex", "key", b"4", mandatory=True)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker):
            channel.queue_declare("lost", passive=True)
        channel.connection.close()


def test_deleted_queue_does_not_come_back(tmp_path: Path) -> None:
    with embedded_broker(tmp_path) as url:
        channel = open_channel(url)
        channel.queue_declare("q", durable=True)
        channel.basic_publish("", "q", b"1", pika.BasicProperties(delivery_mode=2))
        channel.queue_delete("q")
        channel.connection.close()
    with embedded_broker(tmp_path) as url:
        channel = open_channel(url)
        assert channel.queue_declare("q", durable=True).method.message_count == 0
        channel.connection.close()


def test_restart_ends_connections_with_a_reason(tmp_path: Path) -> None:
    with embedded_broker(tmp_path) as url:
        connection = pika.BlockingConnection(pika.URLParameters(url))
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        connection.process_data_events(5)
    assert closed.value.reply_code == 320


@pytest.mark.parametrize("opening", [b"", b"AMQP", b"AMQP\x00\x00\x09\x01"])
def test_who_never_authenticates_is_dropped(tmp_path: Path, opening: bytes) -> None:
    with (
        embedded_broker(tmp_path, handshake_timeout=0.3) as url,
        socket.create_connection(("127.0.0.1", pika.URLParameters(url).port), timeout=10) as raw,
    ):
        raw.sendall(opening)
        while raw.recv(65536):
            pass


def test_a_consumer_that_does_not_read_is_not_buffered_for(tmp_path: Path) -> None:
    with embedded_broker(tmp_path) as url:
        slow, other = open_channel(url), open_channel(url)
        other.queue_declare("q", durable=True)
        got: list[bytes] = []
        slow.basic_consume("q", lambda _c, _m, _p, b: got.append(b), auto_ack=True)
        for number in range(60):
            other.basic_publish("", "q", bytes([number]) * 1_000_000)
        assert other.queue_declare("q", passive=True).method.message_count > 30
        wait_for(lambda: slow.connection.process_data_events(0.05) or len(got) == 60, "all arrive once it reads")
        assert [b[0] for b in got] == list(range(60))
        slow.connection.close()
        other.connection.close()
