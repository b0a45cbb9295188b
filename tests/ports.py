"""Ports that are free, and that no outgoing connection takes before the test does."""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack
from pathlib import Path

_EPHEMERAL = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
_FIRST = 10_000


def free_port() -> int:
    """Return a loopback port on which nothing listens."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """Return the first of `count` loopback ports in a row on which nothing listens.

    They are below those that the kernel gives to outgoing connections, one of which would take it at some time between
    this and its use; and drawn by `secrets`, as pytest-randomly seeds `random` alike in all workers.
    """
    while True:
        first = _FIRST + secrets.randbelow(max(_EPHEMERAL - _FIRST - count, 1_000))
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody's already
            return first
