"""Identities and tokens of the stand-in for Globus Auth. Secrets and tokens are stored as digests."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import time
import uuid
from dataclasses import dataclass

TOKEN_SECONDS = 172800  # 48 hours, as Globus Auth's access tokens
COMPUTE_SERVER = "funcx_service"
AUTH_SERVER = "auth.globus.org"

_COMPUTE_SCOPE = "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"
_URL_SCOPE = "https://auth.globus.org/scopes/"
_URN_SCOPE = "urn:globus:auth:scope:"


@dataclass(frozen=True)
class Identity:
    """Somebody: a client identity, whose id is its client id."""

    id: str
    username: str
    name: str
    email: str


@dataclass(frozen=True)
class Token:
    """A valid token and whom it stands for."""

    identity: Identity
    scope: str
    resource_server: str
    issued: int
    expires: int | None


def resource_server(scope: str) -> str:
    """Return the resource server a scope belongs to, as Globus Auth names it."""
    if scope == _COMPUTE_SCOPE:
        return COMPUTE_SERVER
    if scope.startswith(_URL_SCOPE):
        return scope[len(_URL_SCOPE) :].split("/", maxsplit=1)[0]
    if scope.startswith(_URN_SCOPE):
        return scope[len(_URN_SCOPE) :].split(":", maxsplit=1)[0]
    return AUTH_SERVER


def split_scopes(text: str) -> list[str]:
    """Split a scope string; dependent scopes in brackets and the optional mark ``*`` are dropped."""
    plain, depth = [], 0
    for char in text:
        depth += (char == "[") - (char == "]")
        plain.append(char if depth == 0 and char != "]" else "")
    return [s.lstrip("*") for s in "".join(plain).split()]


class Accounts:
    """Identities and tokens in the sandbox's database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def add(self, secret: str, *, name: str, identity: str | None = None) -> Identity:
        """Create a client identity, or return the existing one with that id."""
        id_ = identity or str(uuid.uuid4())
        known = self.get(id_)
        if known is not None:
            return known
        username = f"{id_}@clients.auth.globus.org"
        self._db.execute(
            "INSERT INTO identities VALUES (?, ?, ?, ?, ?)",
            (id_, username, name, f"{id_}@sandbox.invalid", _digest(secret)),
        )
        self._db.commit()
        return Identity(id_, username, name, f"{id_}@sandbox.invalid")

    def get(self, identity: str) -> Identity | None:
        """Return an identity by id or user name."""
        row = self._db.execute(
            "SELECT id, username, name, email FROM identities WHERE ? IN (id, username)", (identity.lower(),)
        ).fetchone()
        return None if row is None else Identity(*row)

    def check_secret(self, client_id: str, secret: str) -> Identity | None:
        """Return the identity of a client whose secret is right."""
        row = self._db.execute("SELECT secret_hash FROM identities WHERE id = ?", (client_id.lower(),)).fetchone()
        if row is None or not hmac.compare_digest(row["secret_hash"], _digest(secret)):
            return None
        return self.get(client_id)

    def issue(self, identity: Identity, scopes: list[str], server: str, *, kind: str = "access") -> tuple[str, int]:
        """Make a token; return it and its lifetime in seconds (refresh tokens have no end)."""
        token = ("Ag" if kind == "access" else "Rg") + secrets.token_urlsafe(48)
        now = int(time.time())
        expires = now + TOKEN_SECONDS if kind == "access" else None
        self._db.execute("DELETE FROM tokens WHERE expires < ?", (now,))
        self._db.execute(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?)",
            (_digest(token), kind, identity.id, " ".join(scopes), server, now, expires),
        )
        self._db.commit()
        return token, TOKEN_SECONDS

    def find(self, token: str, *, kind: str = "access") -> Token | None:
        """Return what a token stands for; None if it is unknown, revoked or expired."""
        row = self._db.execute(
            "SELECT * FROM tokens WHERE token_hash = ? AND kind = ?", (_digest(token), kind)
        ).fetchone()
        if row is None or (row["expires"] is not None and row["expires"] < time.time()):
            return None
        identity = self.get(row["identity"])
        if identity is None:
            return None
        return Token(identity, row["scope"], row["resource_server"], row["issued"], row["expires"])

    def revoke(self, token: str, identity: Identity) -> None:
        """Make a token of that identity invalid; any other is left alone, as RFC 7009 wants it."""
        self._db.execute("DELETE FROM tokens WHERE token_hash = ? AND identity = ?", (_digest(token), identity.id))
        self._db.commit()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
