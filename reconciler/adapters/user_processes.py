"""User endpoints as the processes that they are: children of their endpoint's daemon, on its node.

A PID file says that a user endpoint is alive only as far as clocks agree and the file server is quick. The
processes need neither. In a privileged installation they are other users', and their directories in other homes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from reconciler.adapters import process as processes
from reconciler.core.live import Process, UserEndpoint

_PROC = Path("/proc")
_NAME = re.compile(r"uep\.[0-9A-Fa-f-]{36}\.([0-9A-Fa-f-]{36})")


def with_processes(listed: Iterable[UserEndpoint], daemons: Iterable[Process]) -> tuple[UserEndpoint, ...]:
    """Return the user endpoints that PID files name, with those that only their processes show.

    Args:
        listed: those with a fresh PID file.
        daemons: the processes of their endpoint on this host.
    """
    found = {u.pid: u for u in listed}
    without_pid = [u for u in listed if u.pid is None]
    for daemon in daemons:
        for child in _children(daemon):
            known = found.get(child.pid)
            found[child.pid] = replace(known, since=child.age) if known else _unlisted(child)
    return (*without_pid, *(u for u in found.values() if u.pid is not None))


def _unlisted(child: Process) -> UserEndpoint:
    match = _NAME.search(child.title)
    return UserEndpoint(match[0] if match else "", match[1].lower() if match else "", child.pid, 0.0, child.age)


def _children(daemon: Process) -> list[Process]:
    """Return a daemon's children that are, or are about to become, user endpoints."""
    pids = _children_of_threads(daemon.pid)
    if pids is None:
        pids = _children_by_parent(daemon.pid)
    found = [child for pid in pids if (child := processes.process_at(pid)) is not None]
    # Just forked, a child carries its parent's title; then it is a command that names the user endpoint.
    return [child for child in found if child.title == daemon.title or _NAME.search(child.title)]


def _children_of_threads(pid: int) -> list[int] | None:
    """Ask the kernel for the children; None where it was built without that."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208  # many of them: pathlib is 5 times slower
    except OSError as e:  # gone
        processes.unless_it_is_us(e, pid)
        return []
    found: list[int] = []
    for thread in threads:
        try:
            found += map(int, (_PROC / str(pid) / "task" / thread / "children").read_bytes().split())
        except (FileNotFoundError, ProcessLookupError):
            if thread == str(pid) and _PROC.joinpath(str(pid)).exists():
                return None
            continue  # that thread has ended
        except OSError as e:  # hidden from this user
            processes.unless_it_is_us(e, pid)
            return None
    return found


def _children_by_parent(pid: int) -> list[int]:
    """Look through all processes for those of this parent."""
    with os.scandir(_PROC) as entries:
        pids = [int(e.name) for e in entries if e.name.isdigit()]
    return [p for p in pids if processes.parent(p) == pid]
