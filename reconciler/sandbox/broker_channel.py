"""One channel of a broker connection: the AMQP methods that endpoints and the SDK use."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pamqp import commands

from reconciler.sandbox.codec import AmqpFault, ContentAssembler, Message
from reconciler.sandbox.topology import Entry, Queue, Topology

Basic, Confirm, ChannelCmd = commands.Basic, commands.Confirm, commands.Channel
ExchangeCmd, QueueCmd = commands.Exchange, commands.Queue


class Link(Protocol):
    """What a channel needs of its connection."""

    congested: bool
    cancel_notify: bool

    def send(self, channel: int, method: Any) -> None:
        """Send a method frame."""

    def send_content(self, channel: int, method: Any, message: Message) -> None:
        """Send a method frame and the message that belongs to it."""


@dataclass
class _Unacked:
    queue: Queue
    entry: Entry
    consumer: ChannelConsumer | None


class ChannelConsumer:
    """A consumer on one channel; the queue's view of it is `topology.Consumer`."""

    def __init__(self, channel: Channel, tag: str, queue: Queue, *, no_ack: bool, exclusive: bool) -> None:
        self.channel = channel
        self.tag = tag
        self.queue = queue
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.prefetch = channel.prefetch
        self.in_flight = 0

    def ready(self) -> bool:
        """Whether prefetch and the socket allow one more message."""
        return not self.channel.link.congested and (not self.prefetch or self.in_flight < self.prefetch)

    def deliver(self, queue: Queue, entry: Entry) -> None:
        """Send one message."""
        tag = self.channel.hand_out(queue, entry, None if self.no_ack else self, no_ack=self.no_ack)
        deliver = Basic.Deliver(self.tag, tag, entry.redelivered, entry.message.exchange, entry.message.routing_key)
        self.channel.link.send_content(self.channel.number, deliver, entry.message)

    def cancelled(self) -> None:
        """The queue was deleted: tell the client, if it wants to know."""
        self.channel.consumers.pop(self.tag, None)
        if self.channel.link.cancel_notify:
            self.channel.link.send(self.channel.number, Basic.Cancel(self.tag, True))


class Channel:
    """State and methods of one open channel."""

    def __init__(self, number: int, link: Link, topology: Topology) -> None:
        self.number = number
        self.link = link
        self.assembler = ContentAssembler()
        self.consumers: dict[str, ChannelConsumer] = {}
        self.prefetch = 0
        self._topology = topology
        self._unacked: dict[int, _Unacked] = {}
        self._delivery_tags = itertools.count(1)
        self._confirming = False
        self._published = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            Basic.Qos: self._qos,
            Basic.Consume: self._consume,
            Basic.Cancel: self._cancel,
            Basic.CancelOk: lambda _: None,
            Basic.Get: self._get,
            Basic.Ack: self._ack,
            Basic.Nack: lambda m: self._reject(m.delivery_tag, m.multiple, m.requeue),
            Basic.Reject: lambda m: self._reject(m.delivery_tag, False, m.requeue),
            Basic.Recover: self._recover,
            Basic.Publish: self.assembler.begin,
            Confirm.Select: self._confirm_select,
            ChannelCmd.Flow: self._flow,
            ChannelCmd.FlowOk: lambda _: None,
            ExchangeCmd.Declare: self._exchange_declare,
            ExchangeCmd.Delete: self._exchange_delete,
            QueueCmd.Declare: self._queue_declare,
            QueueCmd.Bind: self._queue_bind,
            QueueCmd.Unbind: self._queue_unbind,
            QueueCmd.Purge: self._queue_purge,
            QueueCmd.Delete: self._queue_delete,
        }

    def handle(self, method: Any) -> None:
        """Act on one method frame.

        Raises:
            AmqpFault: for the channel or the connection, as the protocol demands.
        """
        handler = self._handlers.get(type(method))
        if handler is None:
            raise AmqpFault(540, f"NOT_IMPLEMENTED - {method.name}", whole_connection=True)
        handler(method)

    def close(self) -> None:
        """Detach the consumers and give back what was not acknowledged."""
        for consumer in list(self.consumers.values()):
            self._topology.consumer_left(consumer.queue, consumer)
        self.consumers.clear()
        self._give_back(list(self._unacked.values()))
        self._unacked.clear()

    def pump(self) -> None:
        """Resume deliveries after the socket was congested."""
        for consumer in list(self.consumers.values()):
            consumer.queue.pump()

    def hand_out(self, queue: Queue, entry: Entry, consumer: ChannelConsumer | None, *, no_ack: bool) -> int:
        """Account for a message that leaves its queue; return its delivery tag."""
        tag = next(self._delivery_tags)
        if no_ack:
            self._topology.discard(entry)
        else:
            self._unacked[tag] = _Unacked(queue, entry, consumer)
            if consumer is not None:
                consumer.in_flight += 1
        return tag

    def _reply(self, method: Any, *, nowait: bool = False) -> None:
        if not nowait:
            self.link.send(self.number, method)

    # consuming

    def _qos(self, method: Any) -> None:
        self.prefetch = method.prefetch_count
        if method.global_:
            for consumer in self.consumers.values():
                consumer.prefetch = method.prefetch_count
        self._reply(Basic.QosOk())

    def _consume(self, method: Any) -> None:
        queue = self._topology.queue(method.queue, self.link)
        tag = method.consumer_tag or f"amq.ctag-{self.number}-{len(self.consumers)}-{id(method):x}"
        if tag in self.consumers:
            raise AmqpFault(530, f"NOT_ALLOWED - attempt to reuse consumer tag '{tag}'", whole_connection=True)
        consumer = ChannelConsumer(self, tag, queue, no_ack=method.no_ack, exclusive=method.exclusive)
        queue.add_consumer(consumer)
        self.consumers[tag] = consumer
        self._reply(Basic.ConsumeOk(tag), nowait=method.nowait)
        queue.pump()

    def _cancel(self, method: Any) -> None:
        consumer = self.consumers.pop(method.consumer_tag, None)
        if consumer is not None:
            self._topology.consumer_left(consumer.queue, consumer)
        self._reply(Basic.CancelOk(method.consumer_tag), nowait=method.nowait)

    def _get(self, method: Any) -> None:
        queue = self._topology.queue(method.queue, self.link)
        if not queue.entries:
            self.link.send(self.number, Basic.GetEmpty())
            return
        entry = queue.entries.popleft()
        tag = self.hand_out(queue, entry, None, no_ack=method.no_ack)
        message = entry.message
        ok = Basic.GetOk(tag, entry.redelivered, message.exchange, message.routing_key, len(queue.entries))
        self.link.send_content(self.number, ok, message)

    def _take_unacked(self, tag: int, multiple: bool) -> list[_Unacked]:
        if multiple:
            tags = [t for t in self._unacked if tag in (0, t) or t < tag]
        else:
            tags = [tag] if tag in self._unacked else []
        if not tags and not (multiple and tag == 0):
            raise AmqpFault(406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")
        taken = [self._unacked.pop(t) for t in tags]
        for item in taken:
            if item.consumer is not None:
                item.consumer.in_flight -= 1
        return taken

    def _ack(self, method: Any) -> None:
        taken = self._take_unacked(method.delivery_tag, method.multiple)
        for item in taken:
            self._topology.discard(item.entry)
        for queue in {id(item.queue): item.queue for item in taken}.values():
            queue.pump()

    def _reject(self, tag: int, multiple: bool, requeue: bool) -> None:
        taken = self._take_unacked(tag, multiple)
        if requeue:
            self._give_back(taken)
            return
        for item in taken:
            self._topology.discard(item.entry)
        for item in taken:
            item.queue.pump()

    def _recover(self, _method: Any) -> None:
        taken = self._take_unacked(0, True)
        self._reply(Basic.RecoverOk())
        self._give_back(taken)

    def _give_back(self, items: list[_Unacked]) -> None:
        by_queue: dict[str, list[Entry]] = {}
        for item in items:
            by_queue.setdefault(item.queue.name, []).append(item.entry)
        for name, entries in by_queue.items():
            queue = self._topology.queues.get(name)
            if queue is not None:
                queue.give_back(entries)
                queue.pump()

    # publishing

    def _confirm_select(self, method: Any) -> None:
        self._confirming = True
        self._reply(Confirm.SelectOk(), nowait=method.nowait)

    def publish(self, method: Any, message: Message) -> None:
        """Route a complete message; return it if it was mandatory and nobody wanted it."""
        self._published += 1
        number = self._published

        def confirmed() -> None:
            if self._confirming:
                self.link.send(self.number, Basic.Ack(number, False))

        names = self._topology.routes(message)
        if method.mandatory and not names:
            returned = Basic.Return(312, "NO_ROUTE", message.exchange, message.routing_key)
            self.link.send_content(self.number, returned, message)
        self._topology.publish(names, message, confirmed)

    def _flow(self, method: Any) -> None:
        self._reply(ChannelCmd.FlowOk(method.active))

    # exchanges and queues

    def _exchange_declare(self, method: Any) -> None:
        if method.passive:
            if method.exchange:
                self._topology.exchange(method.exchange)
        else:
            self._topology.declare_exchange(method.exchange, method.exchange_type, durable=method.durable)
        self._reply(ExchangeCmd.DeclareOk(), nowait=method.nowait)

    def _exchange_delete(self, method: Any) -> None:
        self._topology.delete_exchange(method.exchange)
        self._reply(ExchangeCmd.DeleteOk(), nowait=method.nowait)

    def _queue_declare(self, method: Any) -> None:
        if method.passive:
            queue = self._topology.queue(method.queue, self.link)
        else:
            name = method.queue or f"amq.gen-{id(method):x}-{next(self._delivery_tags)}"
            owner = self.link if method.exclusive else None
            wanted = Queue(name, durable=method.durable, auto_delete=method.auto_delete, owner=owner)
            queue = self._topology.declare_queue(wanted, self.link)
        self._reply(QueueCmd.DeclareOk(queue.name, len(queue.entries), len(queue.consumers)), nowait=method.nowait)

    def _queue_bind(self, method: Any) -> None:
        self._topology.bind(method.queue, method.exchange, method.routing_key)
        self._reply(QueueCmd.BindOk(), nowait=method.nowait)

    def _queue_unbind(self, method: Any) -> None:
        self._topology.unbind(method.queue, method.exchange, method.routing_key)
        self._reply(QueueCmd.UnbindOk())

    def _queue_purge(self, method: Any) -> None:
        self._reply(QueueCmd.PurgeOk(self._topology.purge_queue(method.queue)), nowait=method.nowait)

    def _queue_delete(self, method: Any) -> None:
        if method.queue in self._topology.queues:
            queue = self._topology.queue(method.queue, self.link)
            if (method.if_unused and queue.consumers) or (method.if_empty and queue.entries):
                raise AmqpFault(406, f"PRECONDITION_FAILED - queue '{method.queue}' in vhost '/' in use or not empty")
        self._reply(QueueCmd.DeleteOk(self._topology.delete_queue(method.queue)), nowait=method.nowait)
