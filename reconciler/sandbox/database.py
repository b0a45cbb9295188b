"""The sandbox's SQLite file: opening it, its schema, and committing.

One connection, used by the server's event loop thread only. WAL with synchronous=OFF: what was
committed survives the death of the process (the guarantee that is needed here), not a power cut.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from reconciler.errors import StateFileError

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS identities (
  id TEXT PRIMARY KEY, username TEXT NOT NULL UNIQUE, name TEXT NOT NULL, email TEXT NOT NULL,
  secret_hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (
  token_hash TEXT PRIMARY KEY, kind TEXT NOT NULL, identity TEXT NOT NULL, scope TEXT NOT NULL,
  resource_server TEXT NOT NULL, issued INTEGER NOT NULL, expires INTEGER);
CREATE TABLE IF NOT EXISTS endpoints (
  uuid TEXT PRIMARY KEY, parent TEXT, owner TEXT NOT NULL, name TEXT NOT NULL, display_name TEXT NOT NULL,
  public INTEGER NOT NULL, document TEXT NOT NULL, options TEXT, runtime TEXT,
  deleted INTEGER NOT NULL DEFAULT 0, locked_until REAL NOT NULL DEFAULT 0,
  heard_at REAL NOT NULL DEFAULT 0, period REAL NOT NULL DEFAULT 0, report TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS endpoints_by_owner ON endpoints (owner, deleted);
CREATE INDEX IF NOT EXISTS endpoints_by_parent ON endpoints (parent);
CREATE TABLE IF NOT EXISTS functions (
  uuid TEXT PRIMARY KEY, owner TEXT NOT NULL, document TEXT NOT NULL, deleted INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS task_groups (uuid TEXT PRIMARY KEY, owner TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
  uuid TEXT PRIMARY KEY, task_group TEXT NOT NULL, function TEXT NOT NULL, endpoint TEXT NOT NULL,
  owner TEXT NOT NULL, created REAL NOT NULL, status TEXT NOT NULL, result TEXT, details TEXT, completed REAL);
CREATE INDEX IF NOT EXISTS tasks_by_endpoint ON tasks (endpoint, status);
CREATE INDEX IF NOT EXISTS tasks_by_group ON tasks (task_group);
CREATE TABLE IF NOT EXISTS amqp_exchanges (name TEXT PRIMARY KEY, kind TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS amqp_queues (name TEXT PRIMARY KEY, auto_delete INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS amqp_bindings (
  exchange TEXT NOT NULL, routing_key TEXT NOT NULL, queue TEXT NOT NULL, PRIMARY KEY (exchange, routing_key, queue));
CREATE TABLE IF NOT EXISTS amqp_messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, exchange TEXT NOT NULL, routing_key TEXT NOT NULL,
  properties BLOB NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS amqp_messages_by_queue ON amqp_messages (queue);
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open (and create) the database at `path`, mode 0600.

    Raises:
        StateFileError: it is damaged, or written by a newer version.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    try:
        connection = sqlite3.connect(path, timeout=5)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StateFileError(
                "The sandbox's state was written by a newer version",
                where=str(path),
                remedy="upgrade chiltepin-reconciler, or use another --state-dir",
            )
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.commit()
    except sqlite3.DatabaseError as e:
        raise StateFileError(
            "The sandbox's state cannot be read",
            where=str(path),
            why=str(e),
            remedy="move the file away; the sandbox starts empty without it",
        ) from e
    return connection


def get_meta(connection: sqlite3.Connection, key: str) -> str | None:
    """Return a remembered value, None if there is none."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row["value"])


def set_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Remember a value (and commit)."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
    connection.commit()
