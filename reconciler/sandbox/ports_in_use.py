"""Who listens on a TCP port of this machine, read from /proc."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

_LISTEN = "0A"


def can_listen(port: int) -> bool:
    """Whether 127.0.0.1:port is free, and nobody has ::1:port, which ``localhost`` may mean first."""
    addresses = [(socket.AF_INET, "127.0.0.1")]
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        addresses.append((socket.AF_INET6, "::1"))
    for family, host in addresses:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen(1)
            except OSError as e:
                if family == socket.AF_INET6 and e.errno != errno.EADDRINUSE:
                    continue  # no usable IPv6 loopback, so nobody is there either
                return False
    return True


def describe_holder(port: int) -> str:
    """Say which process listens on `port`, as far as that can be seen."""
    inodes = _listening_inodes(port)
    if not inodes:
        return "nobody listens there any more, or it is held in another namespace"
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _has_socket(process, wanted):
            return f"process {process.name} holds it: {_command(process)}"
    return f"a process of another user holds it (socket inode {', '.join(sorted(inodes))})"


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6 has no tcp6
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _has_socket(process: Path, wanted: set[str]) -> bool:
    try:
        return any(str(entry.readlink()) in wanted for entry in (process / "fd").iterdir())
    except OSError:
        return False  # ended meanwhile, or another user's


def _command(process: Path) -> str:
    try:
        raw = (process / "cmdline").read_bytes()
    except OSError:
        return "(ended)"
    return raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()[:200] or "(no command line)"
