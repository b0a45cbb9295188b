"""What an endpoint's daemon is doing, judged from PID file, processes and marker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from shlex import quote

from reconciler.core.actions import Refusal
from reconciler.core.boot import would_show
from reconciler.core.elsewhere import Away, Sighting, sight_elsewhere
from reconciler.core.frozen import dataclass
from reconciler.core.live import LiveDirectory, LiveState, PidFile, Process
from reconciler.core.machine import HostFacts
from reconciler.core.marker import DaemonRecord, Marker
from reconciler.core.pid_file import is_fresh

TITLE = "Globus Compute Endpoint "
SHUTTING_DOWN = "[shutdown in progress]"
_TITLE_ID = re.compile(re.escape(TITLE) + r"\*\(([0-9A-Fa-f-]{36}), ")


class DaemonState(Enum):
    """The states of a daemon that a plan tells apart."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    DEAD = "dead"  # a PID file without its process, on no node
    STOPPED = "stopped"
    ELSEWHERE = "elsewhere"  # on another node or machine; or a fresh PID file, of which none is known to be
    UNDECIDED = "unknown"  # it may run on another node, and only the service can tell
    DOUBLED = "doubled"  # several of this node; or one here, and the PID file of one that is not


@dataclass(frozen=True)
class Daemon:
    """The daemon's state and, where it is on this host, its process, else what is known of where it is.

    `rival` is the PID in a fresh PID file that the process here cannot have: another node's daemon.
    """

    state: DaemonState
    process: Process | None = None
    others: tuple[Process, ...] = ()
    sighting: Sighting | None = None
    rival: int | None = None


def is_up(process: Process) -> bool:
    """Whether a process has got as far as calling itself an endpoint (it sets its title after registering)."""
    return process.title.startswith(TITLE)


def is_starting(process: Process) -> bool:
    """Whether a process is a start command, which has not become a daemon yet."""
    return not is_up(process) and SHUTTING_DOWN not in process.title


def id_in_title(directory: LiveDirectory) -> str | None:
    """Return the UUID under which the endpoint's daemon runs, as its title says it."""
    found = {match[1].lower() for p in directory.processes if (match := _TITLE_ID.search(p.title))}
    return found.pop() if len(found) == 1 else None


def way_out(directory: LiveDirectory | None, process: Process, again: str) -> str:
    """Return what to do about a daemon of this node that was asked to end and has not.

    Args:
        directory: its directory as it is now.
        again: what to do then, in words.
    """
    lives = directory is not None and any(p.identity == process.identity for p in directory.processes)
    if directory is None or not lives or directory.user_endpoints:
        return f"it may be ending its user endpoints; wait, then {again}"
    return f"no user endpoint of it is left to end, so it may hang: `kill -9 {process.pid}`, then {again}"


def say_doubled(daemon: Daemon, directory: str) -> tuple[str, str]:
    """Return in words that several daemons run under one UUID, and what to do about it.

    Args:
        daemon: one that was judged to be doubled.
        directory: the path of its directory.
    """
    pids = [p.pid for p in (daemon.process, *daemon.others) if p]
    if daemon.rival is None:
        return (
            f"{len(pids)} daemons run under its name: PIDs {', '.join(map(str, pids))}",
            "stop the older one by its PID, wait 15 s, and run this again",
        )
    here = f"its daemon here is process {pids[0]}, and its PID file names {daemon.rival}, which is none of it here"
    pid_file = f"{directory}/daemon.pid"
    return (
        f"{here}: a second one shares its tasks elsewhere, or did until it was killed",
        f"`rm {quote(pid_file)}` ends both within 15 s, and the tasks that they run; wait for it, and run this again",
    )


def refuse_doubled(name: str, directory: str, daemon: Daemon, live: LiveState) -> Refusal | None:
    """Refuse to do anything about an endpoint of which several daemons run; `directory` is its directory's name."""
    if daemon.state is not DaemonState.DOUBLED:
        return None
    return Refusal(name, *say_doubled(daemon, f"{live.config_dir}/{directory}"))


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
        rival = _rival(up[0], pid_file, marker.daemon if marker else None, live.host)
        if rival is not None:
            return Daemon(DaemonState.DOUBLED, up[0], rival=rival)
        return Daemon(DaemonState.RUNNING, up[0])
    if any(SHUTTING_DOWN in p.title for p in directory.processes):
        return Daemon(DaemonState.STOPPING, directory.processes[0])
    if directory.processes:
        return Daemon(DaemonState.STARTING, directory.processes[0])
    sighting = sight_elsewhere(directory, marker, live)
    if sighting.away in (Away.RUNS, Away.DOUBTFUL, Away.LINGERS, Away.ABROAD):
        return Daemon(DaemonState.ELSEWHERE, sighting=sighting)
    if sighting.away is Away.UNDECIDED:
        return Daemon(DaemonState.UNDECIDED, sighting=sighting)
    return Daemon(DaemonState.STOPPED if pid_file is None else DaemonState.DEAD)


def _rival(process: Process, pid_file: PidFile, record: DaemonRecord | None, here: HostFacts) -> int | None:
    """Return the PID of another daemon of the same directory, as a PID file that is touched names it.

    Upstream's daemons touch the file that is there, whosever it is: it names the one that was started last.
    """
    if pid_file.pid is None or not is_fresh(pid_file.age) or process.may_be(pid_file.pid):
        return None
    has_ended = record is not None and record.pid == pid_file.pid and would_show(record, here)
    return None if has_ended else pid_file.pid


def is_recorded(record: DaemonRecord | None, process: Process, host: HostFacts) -> bool:
    """Whether `record` is about exactly this process."""
    return (
        record is not None
        and would_show(record, host)
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
