"""AMQP URLs. Standard library only: the command line checks a URL before it starts anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from reconciler.errors import UsageError


@dataclass(frozen=True)
class AmqpAddress:
    """The parts of an ``amqp://`` URL; the password is kept out of its repr."""

    host: str
    port: int
    user: str
    vhost: str
    password: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> AmqpAddress:
        """Take an ``amqp://user:password@host:port/vhost`` apart.

        Raises:
            UsageError: it is no such URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or 5672
        except ValueError:
            parts, port = urlsplit(""), 0
        if parts.scheme != "amqp" or not parts.hostname or not port:
            raise UsageError(
                "The AMQP URL cannot be used",
                why="it must look like amqp://user:password@host:port/vhost (TLS is not supported)",
                remedy="pass --amqp-url amqp://guest:guest@127.0.0.1:5672/%2F",
            )
        vhost = unquote(parts.path[1:]) if len(parts.path) > 1 else "/"
        return cls(
            host=parts.hostname,
            port=port,
            user=unquote(parts.username or "guest"),
            vhost=vhost,
            password=unquote(parts.password or "guest"),
        )
