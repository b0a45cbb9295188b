"""Endpoints, functions and tasks, as the service remembers them.

User endpoints are endpoints with a `parent`. A deleted endpoint or function stays known as deleted,
so that its UUID is never given out or taken again.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

# Heartbeats may be late by this factor of their period before an endpoint counts as offline.
PATIENCE = 2.5


@dataclass(frozen=True)
class EndpointRow:
    """One registration. `document` is what was sent; `report` the last heartbeat's content."""

    uuid: str
    parent: str | None
    owner: str
    name: str
    display_name: str
    public: bool
    document: dict[str, Any]
    options: dict[str, Any]
    runtime: dict[str, Any]
    deleted: bool
    locked_until: float
    heard_at: float
    period: float
    report: dict[str, Any]

    def online(self, now: float) -> bool:
        """Whether its last heartbeat is young enough and did not say goodbye (period 0)."""
        return self.period > 0 and now - self.heard_at < PATIENCE * self.period


@dataclass(frozen=True)
class TaskRow:
    """One task; `status` is waiting, success or failed."""

    uuid: str
    task_group: str
    function: str
    endpoint: str
    owner: str
    created: float
    status: str
    result: str | None
    details: dict[str, Any]
    completed: float | None


class Registry:
    """The tables behind the Compute API."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._lists: dict[str, bytes] = {}

    # endpoints

    def endpoint(self, uuid: str) -> EndpointRow | None:
        """Return a registration (also a deleted one), None if there never was one."""
        row = self._db.execute("SELECT * FROM endpoints WHERE uuid = ?", (uuid,)).fetchone()
        return None if row is None else _endpoint(row)

    def save_endpoint(
        self,
        uuid: str,
        *,
        owner: str,
        name: str,
        document: dict[str, Any],
        parent: str | None = None,
        options: dict[str, Any] | None = None,
        runtime: dict[str, Any] | None = None,
    ) -> None:
        """Create or overwrite a registration; lock, heartbeats and deletion are not touched."""
        self._db.execute(
            "INSERT INTO endpoints (uuid, parent, owner, name, display_name, public, document, options, runtime)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uuid) DO UPDATE SET name = excluded.name,"
            " display_name = excluded.display_name, public = excluded.public, document = excluded.document,"
            " options = excluded.options, runtime = excluded.runtime",
            (
                uuid,
                parent,
                owner,
                name,
                document.get("display_name") or name,
                int(bool(document.get("public"))),
                json.dumps(document),
                json.dumps(options or {}),
                json.dumps(runtime or {}),
            ),
        )
        self._changed(owner)

    def delete_endpoint(self, row: EndpointRow) -> None:
        """Mark a registration and its user endpoints as deleted, for good."""
        self._db.execute("UPDATE endpoints SET deleted = 1 WHERE ? IN (uuid, parent)", (row.uuid,))
        self._changed(row.owner)

    def lock_endpoint(self, row: EndpointRow, until: float) -> None:
        """Refuse its registration until that time (seconds since the epoch)."""
        self._db.execute("UPDATE endpoints SET locked_until = ? WHERE uuid = ?", (until, row.uuid))
        self._db.commit()

    def heartbeat(self, uuid: str, *, period: float, report: dict[str, Any]) -> None:
        """Remember a heartbeat; `period` 0 says goodbye."""
        self._db.execute(
            "UPDATE endpoints SET heard_at = ?, period = ?, report = ? WHERE uuid = ?",
            (time.time(), period, json.dumps(report), uuid),
        )
        self._db.commit()

    def user_endpoints(self, parent: str, *, waiting_only: bool = False) -> list[EndpointRow]:
        """Return the user endpoints of an endpoint; with `waiting_only` those that owe results."""
        query = "SELECT * FROM endpoints WHERE parent = ? AND deleted = 0"
        if waiting_only:
            query += " AND EXISTS (SELECT 1 FROM tasks WHERE tasks.endpoint = endpoints.uuid AND status = 'waiting')"
        return [_endpoint(row) for row in self._db.execute(query, (parent,))]

    def listing(self, owner: str) -> bytes:
        """Return the JSON list of an identity's endpoints, oldest first."""
        if owner not in self._lists:
            self._lists[owner] = self._list("owner = ?", owner)
        return self._lists[owner]

    def public_listing(self, owner: str) -> bytes:
        """Return the JSON list of an identity's endpoints and everybody's public ones."""
        return self._list("(owner = ? OR public = 1)", owner)

    def _list(self, condition: str, owner: str) -> bytes:
        rows = self._db.execute(
            "SELECT uuid, name, display_name, owner FROM endpoints"  # noqa: S608 - the condition is one of two constants
            f" WHERE {condition} AND deleted = 0 AND parent IS NULL ORDER BY rowid",
            (owner,),
        )
        return json.dumps([dict(row) for row in rows]).encode()

    def count_endpoints(self) -> int:
        """Return how many endpoints are registered, user endpoints not counted."""
        query = "SELECT count(*) FROM endpoints WHERE deleted = 0 AND parent IS NULL"
        return int(self._db.execute(query).fetchone()[0])

    def count_online(self, now: float) -> int:
        """Return how many of these have a daemon that is connected."""
        query = "SELECT * FROM endpoints WHERE deleted = 0 AND parent IS NULL"
        return sum(_endpoint(row).online(now) for row in self._db.execute(query))

    def _changed(self, owner: str) -> None:
        self._lists.pop(owner, None)
        self._db.commit()

    # functions

    def add_function(self, uuid: str, owner: str, document: dict[str, Any]) -> None:
        """Remember a function."""
        self._db.execute("INSERT INTO functions VALUES (?, ?, ?, 0)", (uuid, owner, json.dumps(document)))
        self._db.commit()

    def function(self, uuid: str) -> tuple[str, dict[str, Any]] | None:
        """Return a function's owner and document, None if unknown or deleted."""
        row = self._db.execute("SELECT * FROM functions WHERE uuid = ? AND deleted = 0", (uuid,)).fetchone()
        return None if row is None else (row["owner"], json.loads(row["document"]))

    def delete_function(self, uuid: str) -> None:
        """Mark a function as deleted."""
        self._db.execute("UPDATE functions SET deleted = 1 WHERE uuid = ?", (uuid,))
        self._db.commit()

    # tasks

    def task_group_owner(self, uuid: str) -> str | None:
        """Return whose task group that is, None if there is none."""
        row = self._db.execute("SELECT owner FROM task_groups WHERE uuid = ?", (uuid,)).fetchone()
        return None if row is None else str(row["owner"])

    def add_tasks(self, tasks: list[TaskRow]) -> None:
        """Remember tasks (and their groups) that wait for a result."""
        self._db.executemany(
            "INSERT OR IGNORE INTO task_groups VALUES (?, ?)", {(t.task_group, t.owner) for t in tasks}
        )
        self._db.executemany(
            "INSERT INTO tasks (uuid, task_group, function, endpoint, owner, created, status)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(t.uuid, t.task_group, t.function, t.endpoint, t.owner, t.created, t.status) for t in tasks],
        )
        self._db.commit()

    def finish_task(self, uuid: str, *, failed: bool, result: str, details: dict[str, Any]) -> None:
        """Remember a task's result (serialized data, or the text of its failure)."""
        self._db.execute(
            "UPDATE tasks SET status = ?, result = ?, details = ?, completed = ? WHERE uuid = ?",
            ("failed" if failed else "success", result, json.dumps(details), time.time(), uuid),
        )
        self._db.commit()

    def task(self, uuid: str) -> TaskRow | None:
        """Return a task, None if unknown."""
        row = self._db.execute("SELECT * FROM tasks WHERE uuid = ?", (uuid,)).fetchone()
        return None if row is None else _task(row)

    def tasks_of_group(self, uuid: str) -> list[TaskRow]:
        """Return the tasks of a group, oldest first."""
        query = "SELECT * FROM tasks WHERE task_group = ? ORDER BY created, rowid"
        return [_task(row) for row in self._db.execute(query, (uuid,))]

    def waiting_tasks(self, endpoint: str) -> list[TaskRow]:
        """Return the tasks that a user endpoint owes a result for."""
        query = "SELECT * FROM tasks WHERE endpoint = ? AND status = 'waiting'"
        return [_task(row) for row in self._db.execute(query, (endpoint,))]


def _endpoint(row: sqlite3.Row) -> EndpointRow:
    values = dict(row)
    for key in ("document", "options", "runtime", "report"):
        values[key] = json.loads(values[key] or "{}")
    values["deleted"], values["public"] = bool(values["deleted"]), bool(values["public"])
    return EndpointRow(**values)


def _task(row: sqlite3.Row) -> TaskRow:
    values = dict(row)
    values["details"] = json.loads(values["details"] or "{}")
    return TaskRow(**values)
