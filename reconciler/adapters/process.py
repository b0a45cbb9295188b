"""Endpoint daemons among this user's processes, read from /proc once.

A daemon titles itself `Globus Compute Endpoint *(UUID, NAME) [its first command line]`. The title holds
no config directory that could be relied on, so a daemon is tied to a directory by its working directory
(a detached one works in its endpoint directory), else by the `-c` of its command line, else by its UUID.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from reconciler.adapters import files
from reconciler.core.frozen import dataclass
from reconciler.core.live import Process

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_SHUTTING_DOWN = "[shutdown in progress] "
_TITLE = re.compile(r"Globus Compute Endpoint \*\(([0-9A-Fa-f-]{36}), (\S+)\)(?= - | \[|$)")
_DIRECTORY_OPTION = re.compile(r"\s(?:-c|--config-dir)[ =](.+?) (?:start|restart)\b")
_NAMESPACED = re.compile(rb"^NSpid:\s*(.*)$", re.MULTILINE)
_LISTINGS = 20
"""So often at most the processes are listed for one look: on a busy node there is always a new one."""
_WITH_VALUE = frozenset({"-c", "--config-dir", "--endpoint-uuid"})


@dataclass(frozen=True)
class Daemon:
    """An endpoint daemon, or a `start` that is going to become one.

    Attributes:
        process: the process.
        name: the endpoint directory's name; for a start command its argument (a name or a UUID).
        endpoint_id: the UUID in the title; None while it is starting.
        directory: device and inode of its working directory; None when they could not be read.
        config_dir: the config directory on its command line, as written; None when it names none.
        stopping: whether it is shutting down.
    """

    process: Process
    name: str
    endpoint_id: str | None
    directory: tuple[int, int] | None
    config_dir: str | None
    stopping: bool = False

    @property
    def starting(self) -> bool:
        """Whether it has not become a daemon yet."""
        return self.endpoint_id is None


def unless_it_is_us(error: OSError, pid: int) -> None:
    """Let it pass that a process cannot be read: it is gone, or hidden.

    Raises:
        FileSystemError: it is we who can read nothing more now, so that nothing can be said of the process.
    """
    if files.scarcity(error):
        raise files.translated(error, f"look at process {pid}", f"/proc/{pid}") from error


def _stat(pid: int) -> tuple[int, str, int] | None:
    """Return (start time in ticks since boot, state letter, parent's PID), or None when it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError as e:  # gone, or (hidepid) not ours to see
        unless_it_is_us(e, pid)
        return None
    rest = text[text.rindex(b")") + 2 :].split()  # the command name before it may hold spaces and brackets
    return int(rest[19]), rest[0].decode(), int(rest[1])


def _command_line(pid: int) -> bytes:
    """Return the NUL-separated command line, empty when it is gone or hidden."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError as e:  # as above
        unless_it_is_us(e, pid)
        return b""


def _process(pid: int, uid: int, title: str) -> tuple[Process, int] | None:
    """Return the process and its parent's PID, or None for a zombie or one that is gone."""
    facts = _stat(pid)
    if facts is None or facts[1] in "ZX":
        return None
    started = facts[0]
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - started / _TICKS
    return Process(pid=pid, start_time=started, uid=uid, title=title, age=max(0.0, age)), facts[2]


def _inner_pids(pid: int) -> tuple[int, ...] | None:
    """Return the PIDs that it has in PID namespaces within this one (NSpid: outermost first; since Linux 4.1)."""
    try:
        status = (_PROC / str(pid) / "status").read_bytes()
    except OSError as e:  # gone, or hidden
        unless_it_is_us(e, pid)
        return None
    found = _NAMESPACED.search(status)
    return tuple(int(inner) for inner in found[1].split()[1:]) if found else None


def _working_directory(pid: int) -> tuple[int, int] | None:
    try:
        info = (_PROC / str(pid) / "cwd").stat()
    except OSError:  # gone, or in another user namespace
        return None
    return info.st_dev, info.st_ino


def _environment_directory(pid: int) -> str | None:
    """Return the config directory that a start without `-c` was given by its environment."""
    try:
        variables = dict(v.partition(b"=")[::2] for v in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"))
    except OSError as e:  # as above
        unless_it_is_us(e, pid)
        return None
    if named := variables.get(b"GLOBUS_COMPUTE_USER_DIR"):
        return os.fsdecode(named)
    home = variables.get(b"HOME")
    return os.fsdecode(home) + "/.globus_compute" if home else None


def _started_by(arguments: list[str]) -> tuple[str, str | None] | None:
    """Return (endpoint, config directory) of a `globus-compute-endpoint ... start` command line."""
    tool = next((i for i, a in enumerate(arguments[:3]) if a.rpartition("/")[2] == "globus-compute-endpoint"), None)
    if tool is None:
        return None
    config_dir: str | None = None
    words: list[str] = []
    rest = iter(arguments[tool + 1 :])
    for word in rest:
        option, equals, value = word.partition("=")
        if option in _WITH_VALUE:
            value = value if equals else next(rest, "")
            config_dir = value if option != "--endpoint-uuid" else config_dir
        elif not word.startswith("-"):
            words.append(word)
    if not words or words[0] not in {"start", "restart"} or "--die-with-parent" in arguments:
        return None
    return (words[1] if len(words) > 1 else "default"), config_dir


def _daemon(pid: int, uid: int, raw: bytes) -> tuple[Daemon, int] | None:
    """Interpret one command line; the second value is the parent's PID."""
    arguments = os.fsdecode(raw).rstrip("\0").split("\0")
    title = " ".join(arguments)
    stopping = title.startswith(_SHUTTING_DOWN)
    match = _TITLE.match(title.removeprefix(_SHUTTING_DOWN))
    if len(arguments) == 1:
        arguments = title.split()  # setproctitle has joined them and is about to replace them
    found = _started_by(arguments) if match is None else None
    if match is None and found is None:
        return None
    answer = _process(pid, uid, title)
    if answer is None:
        return None
    process, parent = answer
    process = replace(process, inner_pids=_inner_pids(pid))
    cwd = _working_directory(pid)
    if match is not None:
        option = _DIRECTORY_OPTION.search(title, match.end())
        directory = option[1] if option else None
        return Daemon(process, match[2], match[1].lower(), cwd, directory, stopping), parent
    assert found is not None  # noqa: S101  # for the type checker; one of the two matched
    return Daemon(process, found[0], None, cwd, found[1] or _environment_directory(pid)), parent


def _listed() -> set[int]:
    with os.scandir(_PROC) as entries:
        return {int(e.name) for e in entries if e.name.isdigit()}


def daemons(listed: Callable[[], Collection[int]] = _listed) -> tuple[Daemon, ...]:
    """Return this user's endpoint daemons and running start commands, by PID.

    A start command forks, and ends: where that happens between the listing and the look at it, neither would be
    seen, though one of them lives all the time. Therefore it is listed again until nothing new has come. A child
    that a daemon has just forked carries its parent's title for a moment; it is left out.

    Args:
        listed: lists the PIDs that there are.
    """
    uid = os.getuid()
    found: dict[int, tuple[Daemon, int]] = {}
    looked_at: set[int] = set()
    for _ in range(_LISTINGS):
        new = sorted(set(listed()) - looked_at)
        if not new:
            break
        looked_at.update(new)
        for pid in new:
            if (answer := _look_at(pid, uid)) is not None:
                found[pid] = answer
    titles = {pid: daemon.process.title for pid, (daemon, _) in found.items()}
    return tuple(
        daemon for pid, (daemon, parent) in sorted(found.items()) if titles.get(parent) != daemon.process.title
    )


def _look_at(pid: int, uid: int) -> tuple[Daemon, int] | None:
    """Return the daemon or start command with this PID and its parent's PID, if it is one of user `uid`."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != uid:  # noqa: PTH116  # thousands of them: pathlib is 5 times slower
            return None
    except OSError as e:  # gone meanwhile
        unless_it_is_us(e, pid)
        return None
    raw = _command_line(pid)
    return _daemon(pid, uid, raw) if b"lobus" in raw else None


def daemon_at(pid: int) -> Daemon | None:
    """Return the endpoint daemon or start command with this PID, or None when it is no such process."""
    answer = _look_at(pid, os.getuid())
    return answer[0] if answer else None


def now_of(process: Process) -> Daemon | None:
    """Return the daemon or start command that exactly this process is now; None when it is none, or has ended.

    Its PID may have passed to another process: the start time tells.
    """
    daemon = daemon_at(process.pid)
    return daemon if daemon is not None and daemon.process.identity == process.identity else None


def belongs(daemon: Daemon, name: str, config_dir: str, directory: tuple[int, int] | None, ids: set[str]) -> bool:
    """Say whether a daemon is the one of `name` in `config_dir`.

    Args:
        directory: device and inode of the endpoint directory, None when there is none.
        ids: the UUIDs known for it (endpoint.json, marker).
    """
    if directory is not None and daemon.directory == directory:
        return True  # whatever it is called: a directory may have been renamed under it
    if daemon.name != name and not (daemon.starting and daemon.name in ids):
        return False
    if daemon.config_dir is not None:
        return os.path.realpath(daemon.config_dir) == os.path.realpath(config_dir)
    return daemon.endpoint_id is not None and daemon.endpoint_id in ids


def may_belong(daemon: Daemon, name: str, config_dir: str, ids: set[str]) -> bool:
    """Say whether a daemon may be the one of `name` in `config_dir`, though `belongs` cannot tell.

    Another endpoint's daemon may have been given the PID of one that died: its title says whose it is.
    """
    if daemon.endpoint_id in ids:
        return True
    if daemon.name != name and not (daemon.starting and daemon.name in ids):
        return False
    if daemon.config_dir is not None:
        return os.path.realpath(daemon.config_dir) == os.path.realpath(config_dir)
    return daemon.starting or not ids


def lives(pid: int, start_time: int) -> bool:
    """Say whether the process with this PID and start time lives."""
    facts = _stat(pid)
    return facts is not None and facts[0] == start_time and facts[1] not in "ZX"


def start_time(pid: int) -> int | None:
    """Return a process's start time in ticks since boot, or None when there is none."""
    facts = _stat(pid)
    return facts[0] if facts else None


def parent(pid: int) -> int | None:
    """Return a process's parent's PID, or None when there is no such process."""
    facts = _stat(pid)
    return facts[2] if facts else None


def process_at(pid: int) -> Process | None:
    """Return the process with this PID, whoever's it is; None when it has ended or cannot be seen."""
    try:
        uid = (_PROC / str(pid)).stat().st_uid
    except OSError:  # gone
        return None
    title = os.fsdecode(_command_line(pid)).replace("\0", " ").strip()
    answer = _process(pid, uid, title)
    return answer[0] if answer else None
