"""A port that is free now and stays so until the test takes it."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

_EPHEMERAL = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
_FIRST = 10_000


def free_port() -> int:
    """Return a loopback port on which nothing listens.

    It is below those that the kernel gives to outgoing connections, one of which would take it at some time between
    this and its use; and drawn by `secrets`, as pytest-randomly seeds `random` alike in all workers.
    """
    while True:
        port = _FIRST + secrets.randbelow(max(_EPHEMERAL - _FIRST, 1_000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody's already
            return port
