"""What an endpoint's daemon is doing, judged from PID file, processes and marker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from reconciler.core.live import (
    LiveDirectory,
    LiveState,
    Process,
    Unknown,
)
from reconciler.core.machine import HostFacts
from reconciler.core.marker import DaemonRecord, Marker
from reconciler.core.pid_file import is_fresh

TITLE = "Globus Compute Endpoint "
_TITLE_ID = re.compile(re.escape(TITLE) + r"\*\(([0-9A-Fa-f-]{36}), ")


class DaemonState(Enum):
    """The states of a daemon that a plan tells apart."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    DEAD = "dead"  # a PID file without its process, on this host
    STOPPED = "stopped"
    ELSEWHERE = "elsewhere"  # a fresh PID file, and its process is not on this host
    DOUBLED = "doubled"


@dataclass(frozen=True)
class Daemon:
    """The daemon's state and, where it is on this host, its process."""

    state: DaemonState
    process: Process | None = None
    others: tuple[Process, ...] = ()


def is_up(process: Process) -> bool:
    """Whether a process has got as far as calling itself an endpoint (it sets its title after registering)."""
    return process.title.startswith(TITLE)


def id_in_title(directory: LiveDirectory) -> str | None:
    """Return the UUID under which the endpoint's daemon runs, as its title says it."""
    found = {match[1].lower() for p in directory.processes if (match := _TITLE_ID.search(p.title))}
    return found.pop() if len(found) == 1 else None


def judge_daemon(directory: LiveDirectory, marker: Marker | None, live: LiveState) -> Daemon:
    """Classify the daemon of one directory."""
    up = tuple(p for p in directory.processes if is_up(p))
    pid_file = directory.pid_file
    if len(up) > 1:
        return Daemon(DaemonState.DOUBLED, up[0], up[1:])
    if up:
        if pid_file is None:
            # It runs without its PID file: it is shutting down, or will notice the loss within 15 s.
            return Daemon(DaemonState.STOPPING, up[0])
        return Daemon(DaemonState.RUNNING, up[0])
    if any("[shutdown in progress]" in p.title for p in directory.processes):
        return Daemon(DaemonState.STOPPING, directory.processes[0])
    if directory.processes:
        return Daemon(DaemonState.STARTING, directory.processes[0])
    if marker and may_run_elsewhere(directory, marker, live) and live.statuses.get(marker.id or "") == "online":
        return Daemon(DaemonState.ELSEWHERE)
    if pid_file is None:
        return Daemon(DaemonState.STOPPED)
    if not is_fresh(pid_file.age) or (marker and _last_started_here(directory, marker, live)):
        return Daemon(DaemonState.DEAD)
    return Daemon(DaemonState.ELSEWHERE)


def started_elsewhere(marker: Marker, live: LiveState) -> bool:
    """Whether another node is on record as the one that the daemon runs on."""
    return marker.daemon is not None and marker.daemon.host != live.host.name


def may_run_elsewhere(directory: LiveDirectory, marker: Marker, live: LiveState) -> bool:
    """Whether only the service can say that no daemon runs: this node shows none, and is not where it ran last."""
    if directory.processes:
        return False
    if started_elsewhere(marker, live):
        return True
    return directory.pid_file is not None and not _last_started_here(directory, marker, live)


def is_undecided(directory: LiveDirectory, marker: Marker, live: LiveState) -> bool:
    """Whether a daemon may run on another node, and the service has not said that none is online."""
    if marker.id is None or not may_run_elsewhere(directory, marker, live):
        return False
    gone = not isinstance(live.registrations, Unknown) and marker.id not in live.registrations
    return not gone and live.statuses.get(marker.id) not in ("offline", "online")


def _last_started_here(directory: LiveDirectory, marker: Marker, live: LiveState) -> bool:
    """Whether the PID file is of a start on this node: by the record of that start, else by the intent of one.

    Another PID than the recorded one was written by a start that was cut off, or that we know nothing of.
    """
    record, pid_file = marker.daemon, directory.pid_file
    if record is not None and pid_file is not None and pid_file.pid == record.pid:
        return record.host == live.host.name
    intent = live.pending.get(marker.endpoint)
    return intent is not None and intent.action in ("Start", "Restart") and intent.data.get("host") == live.host.name


def _of_this_boot(record: DaemonRecord, host: HostFacts) -> bool:
    return record.host == host.name and record.boot_id == host.boot_id


def is_recorded(record: DaemonRecord | None, process: Process, host: HostFacts) -> bool:
    """Whether `record` is about exactly this process."""
    return (
        record is not None
        and _of_this_boot(record, host)
        and record.pid == process.pid
        and record.start_time == process.start_time
    )


def changed_versions(record: DaemonRecord, versions: Mapping[str, str], prefix: str) -> tuple[str, ...]:
    """Name what changed in the daemon's Python environment since it started; empty when unknown or the same."""
    found = [
        f"{name} {record.versions[name]} -> {version}"
        for name, version in sorted(versions.items())
        if record.versions.get(name, version) != version
    ]
    if record.prefix and record.prefix != prefix:
        found.append(f"prefix {record.prefix} -> {prefix}")
    return tuple(found)
