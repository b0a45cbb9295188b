"""The broker's exchanges, queues and messages, without any network.

A queue hands messages to consumers round robin, first in first out; what is given back returns to
its old place. Durable queues and persistent messages are kept in SQLite. Writes are grouped: they
are committed once per turn of the event loop, and a publisher is told only after that.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pamqp import commands

from reconciler.sandbox.codec import AmqpFault, Message


@dataclass
class Entry:
    """A message in a queue; `order` is its place, `row` its id in SQLite if it is persistent."""

    message: Message
    order: int
    row: int | None = None
    redelivered: bool = False


class Consumer(Protocol):
    """What a queue needs of a consumer."""

    exclusive: bool

    def ready(self) -> bool:
        """Whether it can take a message now (prefetch, flow control)."""

    def deliver(self, queue: Queue, entry: Entry) -> None:
        """Send it; from here on the consumer is responsible for it."""

    def cancelled(self) -> None:
        """The queue is gone."""


class Queue:
    """One queue and its consumers."""

    def __init__(self, name: str, *, durable: bool, auto_delete: bool = False, owner: object = None) -> None:
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner  # the connection, for exclusive queues
        self.entries: deque[Entry] = deque()
        self.consumers: deque[Consumer] = deque()

    def add_consumer(self, consumer: Consumer) -> None:
        """Attach a consumer.

        Raises:
            AmqpFault: 403, one of the two demands exclusive use.
        """
        if self.consumers and (consumer.exclusive or self.consumers[0].exclusive):
            raise AmqpFault(403, f"ACCESS_REFUSED - queue '{self.name}' in vhost '/' in exclusive use")
        self.consumers.append(consumer)

    def pump(self) -> None:
        """Deliver as much as the consumers can take."""
        while self.entries:
            for _ in range(len(self.consumers)):
                consumer = self.consumers[0]
                self.consumers.rotate(-1)
                if consumer.ready():
                    consumer.deliver(self, self.entries.popleft())
                    break
            else:
                return

    def give_back(self, entries: list[Entry]) -> None:
        """Requeue, each at its old place, marked as redelivered."""
        for entry in entries:
            entry.redelivered = True
        self.entries = deque(sorted([*entries, *self.entries], key=lambda e: e.order))


class Topology:
    """All exchanges and queues of the one virtual host.

    Args:
        connection: the sandbox's database.
        call_soon: schedules a callable on the event loop.
    """

    def __init__(self, connection: sqlite3.Connection, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._db = connection
        self._call_soon = call_soon
        self._order = itertools.count(1)
        self._after_commit: list[Callable[[], None]] = []
        self._commit_scheduled = False
        self.queues: dict[str, Queue] = {}
        self.exchanges: dict[str, dict[str, set[str]]] = {}
        self._load()

    def _load(self) -> None:
        for row in self._db.execute("SELECT name FROM amqp_exchanges"):
            self.exchanges[row["name"]] = {}
        for row in self._db.execute("SELECT name, auto_delete FROM amqp_queues"):
            self.queues[row["name"]] = Queue(row["name"], durable=True, auto_delete=bool(row["auto_delete"]))
        for row in self._db.execute("SELECT exchange, routing_key, queue FROM amqp_bindings"):
            self.exchanges[row["exchange"]].setdefault(row["routing_key"], set()).add(row["queue"])
        for row in self._db.execute("SELECT * FROM amqp_messages ORDER BY id"):
            properties = commands.Basic.Properties()
            properties.unmarshal(*_split_flags(row["properties"]))
            message = Message(row["exchange"], row["routing_key"], row["body"], properties)
            # Whether it had been delivered before the restart was not recorded, so assume it was.
            self.queues[row["queue"]].entries.append(Entry(message, next(self._order), row["id"], redelivered=True))

    # exchanges and bindings

    def declare_exchange(self, name: str, kind: str, *, durable: bool) -> None:
        """Create an exchange unless it exists; only direct exchanges are needed by anyone here."""
        if kind != "direct":
            raise AmqpFault(503, f"COMMAND_INVALID - exchange type '{kind}' not supported", whole_connection=True)
        if name not in self.exchanges:
            self.exchanges[name] = {}
            if durable:
                self._write("INSERT OR REPLACE INTO amqp_exchanges VALUES (?, ?)", (name, kind))

    def exchange(self, name: str) -> dict[str, set[str]]:
        """Return an exchange's bindings (routing key to queue names), or raise 404."""
        try:
            return self.exchanges[name]
        except KeyError:
            raise AmqpFault(404, f"NOT_FOUND - no exchange '{name}' in vhost '/'") from None

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange; none of that name is fine."""
        self.exchanges.pop(name, None)
        self._write("DELETE FROM amqp_exchanges WHERE name = ?", (name,))
        self._write("DELETE FROM amqp_bindings WHERE exchange = ?", (name,))

    def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Route `routing_key` of `exchange` to `queue`."""
        bindings = self.exchange(exchange)
        if self.queue(queue).durable:
            self._write("INSERT OR IGNORE INTO amqp_bindings VALUES (?, ?, ?)", (exchange, routing_key, queue))
        bindings.setdefault(routing_key, set()).add(queue)

    def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Undo `bind`."""
        self.exchange(exchange).get(routing_key, set()).discard(queue)
        self._write(
            "DELETE FROM amqp_bindings WHERE exchange = ? AND routing_key = ? AND queue = ?",
            (exchange, routing_key, queue),
        )

    # queues

    def queue(self, name: str, connection: object = None) -> Queue:
        """Return a queue, or raise 404; 405 if it belongs to another connection than `connection`."""
        queue = self.queues.get(name)
        if queue is None:
            raise AmqpFault(404, f"NOT_FOUND - no queue '{name}' in vhost '/'")
        if connection is not None and queue.owner not in (None, connection):
            raise AmqpFault(405, f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}'")
        return queue

    def declare_queue(self, queue: Queue, connection: object) -> Queue:
        """Create a queue, or return the existing one if it is declared alike (else 406)."""
        if queue.name in self.queues:
            known = self.queue(queue.name, connection)
            if (known.durable, known.auto_delete) != (queue.durable, queue.auto_delete):
                raise AmqpFault(406, f"PRECONDITION_FAILED - inequivalent arg for queue '{queue.name}'")
            return known
        self.queues[queue.name] = queue
        if queue.durable and queue.owner is None:
            self._write("INSERT OR REPLACE INTO amqp_queues VALUES (?, ?)", (queue.name, int(queue.auto_delete)))
        return queue

    def delete_queue(self, name: str) -> int:
        """Delete a queue and tell its consumers; return the number of messages lost (0 if there was none)."""
        queue = self.queues.pop(name, None)
        if queue is None:
            return 0
        for bindings in self.exchanges.values():
            for names in bindings.values():
                names.discard(name)
        for table, column in (("amqp_queues", "name"), ("amqp_bindings", "queue"), ("amqp_messages", "queue")):
            self._write(f"DELETE FROM {table} WHERE {column} = ?", (name,))  # noqa: S608 - constants
        for consumer in list(queue.consumers):
            consumer.cancelled()
        queue.consumers.clear()
        return len(queue.entries)

    def purge_queue(self, name: str) -> int:
        """Drop what waits in a queue; return how many messages that were."""
        queue = self.queue(name)
        dropped = list(queue.entries)
        queue.entries.clear()
        for entry in dropped:
            self.discard(entry)
        return len(dropped)

    def consumer_left(self, queue: Queue, consumer: Consumer) -> None:
        """Detach a consumer; an auto-delete queue goes with its last one."""
        if consumer in queue.consumers:
            queue.consumers.remove(consumer)
            if queue.auto_delete and not queue.consumers:
                self.delete_queue(queue.name)

    # messages

    def routes(self, message: Message) -> list[str]:
        """Return the names of the queues that a message goes to."""
        if message.exchange:
            return sorted(self.exchange(message.exchange).get(message.routing_key, ()))
        return [message.routing_key] if message.routing_key in self.queues else []

    def publish(self, names: list[str], message: Message, confirmed: Callable[[], None]) -> None:
        """Put a message into the queues `names`; call `confirmed` once it is safe there."""
        for name in names:
            queue = self.queues[name]
            row = self._insert(name, message) if message.persistent and queue.durable and not queue.owner else None
            queue.entries.append(Entry(message, next(self._order), row))
            queue.pump()
        if self._commit_scheduled:
            self._after_commit.append(confirmed)
        else:
            confirmed()

    def discard(self, entry: Entry) -> None:
        """Forget a message for good (acknowledged, rejected or purged)."""
        if entry.row is not None:
            self._write("DELETE FROM amqp_messages WHERE id = ?", (entry.row,))

    # persistence

    def _insert(self, queue: str, message: Message) -> int | None:
        values = (queue, message.exchange, message.routing_key, message.properties.marshal(), message.body)
        return self._write(
            "INSERT INTO amqp_messages (queue, exchange, routing_key, properties, body) VALUES (?, ?, ?, ?, ?)", values
        )

    def _write(self, statement: str, values: tuple[object, ...]) -> int | None:
        cursor = self._db.execute(statement, values)
        if not self._commit_scheduled:
            self._commit_scheduled = True
            self._call_soon(self.commit)
        return cursor.lastrowid

    def commit(self) -> None:
        """Make all writes so far durable and tell the publishers that wait for it."""
        self._commit_scheduled = False
        self._db.commit()
        waiting, self._after_commit = self._after_commit, []
        for confirmed in waiting:
            confirmed()


def _split_flags(raw: bytes) -> tuple[int, bytes]:
    """Undo the first step of pamqp's Properties.marshal: two bytes of flags, then the values."""
    return int.from_bytes(raw[:2], "big"), raw[2:]
