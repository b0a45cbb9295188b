"""The ports in memory: one `World` holds what is on disk, in processes and at the service.

Every effect has a point before and a point after it. `World.faults` counts them, and can kill the apply
at any one of them (`Crash`; from then on every port is dead until `revive`) or make a named call fail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from reconciler.core.daemon import TITLE
from reconciler.core.desired import DOCUMENTS, ENDPOINT_JSON
from reconciler.core.digest import digest_bytes
from reconciler.core.environment import Variable, variable
from reconciler.core.live import (
    BatchJob,
    BatchSystem,
    Damaged,
    DirectoryKind,
    Identity,
    JournalEntry,
    LiveDirectory,
    LiveFile,
    PidFile,
    Process,
    Registration,
    Status,
    StatusReport,
    TrashEntry,
    UserEndpoint,
)
from reconciler.core.machine import EndpointTool, HostFacts, LoginShell, Moment
from reconciler.core.marker import MARKER, Marker
from reconciler.core.pid_file import LOOKED_AT_EVERY, is_stale
from reconciler.errors import (
    EndpointCommandError,
    FileSystemError,
    LeaseHeld,
    Overtaken,
    ReconcilerError,
    ServiceUnreachable,
)
from reconciler.ports import Clock, ComputeService, EndpointHost, NewFile, Outside, Scheduler, Started, Store

CONFIG_DIR = "/home/jdoe/.globus_compute"
TOOL = EndpointTool("/opt/gce/bin/globus-compute-endpoint", "/opt/gce", {"globus-compute-endpoint": "4.19.0"})


NODES = ("ufe01", "ufe02", "ufe03")
"""The login nodes that share this home; what runs anywhere else has another copy of it."""

MISSES_AFTER = 60.0
"""Seconds for which the service goes on seeing a daemon that ended without a word."""
READY = "_on_queue_verified ResultPublisher<✓; o:0; t:0> Ready to send results to exchange: heartbeats"
CONNECTS_AFTER = 3.0
"""Seconds from the PID file of a daemon until the service hears from it."""
GREETS_AFTER = 1.5
"""Seconds of those for which it has its connection already, as its log says."""
NOTICES_AFTER = 1.0
"""Seconds that a daemon goes on as if nothing had happened when it has the signal to end; as many more it takes."""
KILLS_ITSELF_AFTER = 20.0
"""Seconds after which a daemon without its PID file, whose main thread hangs, is killed by its own watch."""
LINGERS_FOR = 3.0
"""Seconds that user endpoints take to end after their daemon was killed."""


class Crash(BaseException):
    """The apply was killed here (SIGKILL): no handler of the code under test may catch it."""


@dataclass
class Faults:
    """Kills or fails at chosen points.

    Attributes:
        crash_at: the number of the point at which the apply dies, from 1.
        failing: by point's name, how many calls still succeed, and the error of those after them.
        passed: names of the points passed, in order.
        raised: how often a call has failed.
    """

    crash_at: int | None = None
    failing: dict[str, tuple[int, ReconcilerError]] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)
    raised: int = 0
    dead: bool = False
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def alive(self) -> None:
        """Raise when the apply was killed."""
        if self.dead:
            raise Crash

    def reads(self, name: str) -> None:
        """A question is asked; it may fail."""
        self.alive()
        with self._mutex:
            left, error = self.failing.get(name, (1, None))
            if error is not None and left <= 0:
                self.raised += 1
                raise error
            if error is not None:
                self.failing[name] = (left - 1, error)

    def point(self, name: str) -> None:
        """An effect is about to happen, or has just happened."""
        with self._mutex:
            self.alive()
            self.passed.append(name)
            if len(self.passed) == self.crash_at:
                self.dead = True
                raise Crash(name)

    @contextmanager
    def effect(self, name: str) -> Iterator[None]:
        """An effect: it may fail, and there is a point before and after it."""
        self.point(f"{name}:before")
        self.reads(name)
        yield
        self.point(f"{name}:after")

    def fail(self, name: str, error: ReconcilerError, *, after: int = 0) -> None:
        """Let calls of `name` fail, once `after` of them have succeeded."""
        self.failing[name] = (after, error)

    def revive(self) -> None:
        """Begin anew: nothing fails, nothing is killed."""
        self.crash_at, self.dead = None, False
        self.failing.clear()
        self.raised = 0
        self.passed.clear()


@dataclass
class Daemon:
    """A daemon process, on whichever node."""

    pid: int
    directory: str
    node: str
    start_time: int
    namespace: str = ""
    id: str | None = None
    phase: str = "starting"  # then "up", then "stopping"
    environment: dict[str, str] = field(default_factory=dict)
    since: float = 0.0
    orphaned: float | None = None  # since when its PID file is gone
    signalled: float | None = None  # since when it has the signal to end, which it notices a while later
    connects: float | None = None  # when the service will hear from it; None once it has
    is_ready: bool = False  # it has a connection by which it can be heard
    deaf: bool = False  # its main thread hangs: it notices no signal, and the loss of its PID file as ever

    @property
    def process(self) -> Process:
        """The process as the host sees it."""
        up = f"{TITLE}*({self.id}, {self.directory})"
        title = {
            "starting": f"python globus-compute-endpoint start --detach {self.directory}",
            "up": up,
            "stopping": f"[shutdown in progress] {up}",
        }[self.phase]
        return Process(self.pid, self.start_time, 1000, title, 10.0, inner_pids=())


@dataclass
class Folder:
    """One endpoint directory; `pid` 0 is an empty PID file."""

    files: dict[str, LiveFile] = field(default_factory=dict)
    endpoint_id: str | Damaged | None = None
    marker: Marker | Damaged | None = None
    pid: int | None = None
    touched: float = 0.0
    written: float = 0.0
    changed: float = 0.0
    names: object = None
    """What was in it when it `changed`."""


class World:
    """All that is outside: config directory, processes on all nodes, the service, lock and journal."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._now = 1_000_000.0
        self.node = "ufe01"
        self.namespace = ""
        """The PID namespace in which the user is on this node: processes of another one are not seen."""
        self.folders: dict[str, Folder] = {}
        self.daemons: list[Daemon] = []
        self.user_endpoints: dict[str, int] = {}
        self.lingering: dict[str, tuple[float, int]] = {}
        """Until when how many of a daemon that was killed are still ending, by directory."""
        self.user_endpoints_since: float | None = None
        self.tasks: dict[str, int] = {}
        self.jobs: dict[str, list[str]] = {}
        self.batch_system: BatchSystem = "slurm"
        self.submitted: dict[str, set[str]] = {}
        self.logs: dict[str, str] = {}
        self.boots: dict[str, int] = {}
        self.missed: dict[str, float] = {}
        """When the service notices that a daemon ended without a word."""
        self.registrations: dict[str, Registration] = {}
        self.owned: dict[str, Registration] | None = None
        """What this identity owns, when that is not all."""
        self.deregistered: list[str] = []
        self.trash: dict[str, Folder] = {}
        self.deleted_at: dict[str, float | None] = {}
        self.sizes: dict[str, int] = {}
        self.going: list[str] = []
        """Entries that left the trash's list, and are still on the disk."""
        self.backups: list[tuple[str, str, bytes]] = []
        self.service_down = False
        self.sees_daemons = True
        self.connects_after = CONNECTS_AFTER
        self.lost_replies = 0
        self.ends_at_once = False
        self.environment: dict[str, str] = {"HOME": "/home/jdoe", "https_proxy": "http://proxy-1"}
        self.tool: EndpointTool | EndpointCommandError = TOOL
        self.identity = Identity("production", "me", "client")
        self.lock: str | None = None
        self.pools: str | None = None
        self.journal: list[JournalEntry] = []
        self.lease_lost = False
        self.reserved = 0
        """Requests that daemons may be sending now, as the request budget counts them."""
        self.slept: Callable[[], None] = lambda: None
        self.touches_that_race = 0
        self._numbers = 100
        self._alone = threading.RLock()
        """Held for whatever happens at one moment: endpoints are applied by a thread each."""

    @property
    def now(self) -> float:
        """The time, by every clock."""
        return self._now

    @now.setter
    def now(self, later: float) -> None:
        self.tick()  # the time that passes counts for what has happened until now
        for folder in list(self.folders.values()):
            self._see_change(folder)
        self._now = later

    def _see_change(self, folder: Folder) -> None:
        """Let a directory have changed just now where something in it came or went since it was looked at last."""
        names = (folder.pid is None, folder.endpoint_id, folder.marker, tuple(folder.files.items()))
        if names != folder.names:
            folder.names, folder.changed = names, self._now

    @property
    def outside(self) -> Outside:
        """The ports."""
        return Outside(FakeHost(self), FakeService(self), FakeStore(self), FakeScheduler(self))

    def number(self) -> int:
        """Return a number never used before."""
        with self._alone:
            self._numbers += 1
            return self._numbers

    # daemons

    def daemons_of(self, name: str) -> list[Daemon]:
        """Return the daemons of a directory, on all nodes."""
        return [d for d in self.daemons if d.directory == name]

    def tick(self) -> None:
        """Let daemons look for their PID files: one whose file stayed away ends by itself, on whichever node."""
        with self._alone:
            self._tick()

    def _tick(self) -> None:
        for daemon in [d for d in self.daemons if d.connects is not None]:
            if not daemon.is_ready and self.now >= daemon.connects - GREETS_AFTER:
                daemon.is_ready = True
                self.says(daemon, READY)
            if self.now >= daemon.connects:
                daemon.connects = None
        for daemon in [d for d in self.daemons if self.is_of_this_home(d)]:
            if daemon.signalled is not None and self.now - daemon.signalled >= 2 * NOTICES_AFTER:
                self.end(daemon, cleanly=True)
                continue
            if daemon.signalled is not None and self.now - daemon.signalled >= NOTICES_AFTER:
                daemon.phase = "stopping"
            folder = self.folders.get(daemon.directory)
            if daemon.phase != "up" or folder is None or folder.pid is not None:
                daemon.orphaned = None
            elif daemon.orphaned is None:
                daemon.orphaned = self.now
            elif self.now - daemon.orphaned >= LOOKED_AT_EVERY + (KILLS_ITSELF_AFTER if daemon.deaf else 0.0):
                self.log(daemon.directory, "PID file removed by another process; initiating shutdown")
                self.end(daemon, cleanly=not daemon.deaf)
        for name in [name for name, (until, _) in list(self.lingering.items()) if self.now >= until]:
            del self.lingering[name]

    def online(self, endpoint_id: str) -> bool:
        """Whether the service sees a daemon with this UUID, wherever it is."""
        self.tick()
        connected = any(d.id == endpoint_id and d.phase == "up" and d.connects is None for d in self.daemons)
        return self.sees_daemons and (connected or self.now < self.missed.get(endpoint_id, 0.0))

    def spawn(self, name: str, endpoint_id: str | None) -> Daemon:
        """Begin a daemon on this node."""
        number = self.number()
        daemon = Daemon(number, name, self.node, number * 10, self.namespace, endpoint_id, since=self.now)
        self.daemons.append(daemon)
        return daemon

    def register(self, daemon: Daemon) -> None:
        """Register a daemon's endpoint, under its UUID or a new one."""
        while daemon.id is None:
            made = f"00000000-0000-4000-8000-{self.number():012d}"
            host = f"{daemon.node}.noaa.gov"
            self.registrations[made] = Registration(made, daemon.directory, hostname=host, local_user="jdoe")
            if self.lost_replies == 0:
                daemon.id = made
            self.lost_replies = max(0, self.lost_replies - 1)  # the SDK asks again, and makes another
        full = replace(self.registrations[daemon.id], hostname=f"{daemon.node}.noaa.gov", local_user="jdoe")
        self.registrations[daemon.id] = full

    def bring_up(self, daemon: Daemon) -> None:
        """Let a registered daemon write its PID file and its UUID."""
        with self._alone:
            folder = self.folders[daemon.directory]
            daemon.phase = "up"
            folder.pid, folder.endpoint_id = daemon.pid, daemon.id
            daemon.connects = self.now + self.connects_after
            self.says(daemon, f"start \n\n========== Core Endpoint begins: {daemon.id}")

    def end(self, daemon: Daemon, *, cleanly: bool) -> None:
        """A daemon ends; only a clean end removes its PID file, is logged, and is told to the service.

        Its user endpoints end with it.
        """
        with self._alone:
            self._end(daemon, cleanly=cleanly)

    def _end(self, daemon: Daemon, *, cleanly: bool) -> None:
        self.daemons.remove(daemon)
        if daemon.id is not None and daemon.phase != "starting" and (cleanly or daemon.connects is None):
            self.missed[daemon.id] = 0.0 if cleanly else self.now + MISSES_AFTER
        if not self.is_of_this_home(daemon):
            return
        count = self.user_endpoints.pop(daemon.directory, 0)
        if daemon.deaf and count:
            self.lingering[daemon.directory] = (self.now + LINGERS_FOR, count)
        self.tasks.pop(daemon.directory, None)
        if cleanly:
            self.says(daemon, "Shutdown complete.")
        folder = self.folders.get(daemon.directory)
        if folder and (folder.pid == daemon.pid or daemon.phase != "starting"):
            folder.touched = self.now
            if cleanly:
                folder.pid = None  # whosever it is

    def says(self, daemon: Daemon, message: str) -> None:
        """A daemon writes a message into its log, with date, level, and who writes."""
        self.log(daemon.directory, f"2026-11-29 06:13:08,000 INFO MainProcess-{daemon.pid} Thread-1 {message}")

    def log(self, name: str, line: str) -> None:
        """A daemon writes into its log."""
        with self._alone:
            self.logs[name] = self.logs.get(name, "") + f"{line}\n"

    def reboot(self) -> None:
        """This node goes down without a word to anybody, and comes up again. The service has not noticed yet."""
        self.boots[self.node] = self.boots.get(self.node, 1) + 1
        for daemon in [d for d in self.daemons if d.node == self.node]:
            self.end(daemon, cleanly=False)

    def copied(self, *, pid_file: bool) -> None:
        """This home is a copy of itself from now on, on a machine of the same name; the daemons are the original's."""
        self.boots[self.node] = self.boots.get(self.node, 1) + 1
        for daemon in self.daemons:
            daemon.node = f"the other {daemon.node}"
            self.folders[daemon.directory].pid = daemon.pid if pid_file else None
            self.folders[daemon.directory].touched = self.now

    def submit(self, name: str, *jobs: str) -> None:
        """User endpoints of an endpoint put jobs into the batch system's queue.

        Their directories are called after the UUID under which its daemon runs: no loss of a file changes that.
        """
        self.jobs[name] = list(jobs)
        self.submitted.setdefault(name, set()).update(d.id for d in self.daemons_of(name) if d.id)

    def after_crash(self, *, starts_go_on: bool) -> None:
        """What happens by itself once the apply is dead: starts come up, or die on the way.

        A daemon that was sent its signal goes on for a while: what comes next may be faster.
        """
        self.faults.revive()
        for daemon in list(self.daemons):
            if daemon.phase == "starting" and not (starts_go_on and not self.service_down):
                self.end(daemon, cleanly=False)
            elif daemon.phase == "starting":
                self.register(daemon)
                self.bring_up(daemon)

    def edit(self, name: str, file: str, content: bytes | None) -> None:
        """Somebody edits (or with None, removes) a file."""
        if content is None:
            self.folders[name].files.pop(file, None)
        else:
            self.folders[name].files[file] = LiveFile(digest_bytes(content), content, 0o600)

    # reading

    def is_of_this_home(self, daemon: Daemon) -> bool:
        """Whether it runs on a node that sees this home directory, and not another copy of it."""
        return daemon.node in (*NODES, self.node)

    def shows(self, daemon: Daemon) -> bool:
        """Whether its process is seen from where the user is."""
        return (daemon.node, daemon.namespace) == (self.node, self.namespace)

    def read(self, name: str) -> LiveDirectory | None:
        """Return a directory as the host sees it from this node."""
        self.tick()
        folder = self.folders.get(name)
        if folder is None:
            return None
        alive = [d for d in self.daemons_of(name) if self.is_of_this_home(d)]
        # A daemon touches the file that is there, whosever it is; one that has just ended touches none.
        touched = self.now - 3 if any(d.phase == "up" or folder.pid in (d.pid, 0) for d in alive) else folder.touched
        self._see_change(folder)
        _, lingering = self.lingering.get(name, (0.0, 0))
        count = self.user_endpoints.get(name, 0) + lingering
        known = folder.marker is not None or "config.yaml" in folder.files or isinstance(folder.endpoint_id, str)
        kind: DirectoryKind = "endpoint" if known else "other"
        return LiveDirectory(
            name=name,
            kind=kind,
            files=dict(folder.files),
            endpoint_id=folder.endpoint_id,
            marker=folder.marker,
            pid_file=PidFile(folder.pid or None, self.now - touched, touched) if folder.pid is not None else None,
            processes=tuple(replace(d.process, age=self.now - d.since) for d in alive if self.shows(d)),
            user_endpoints=tuple(
                UserEndpoint(f"uep.{n}", f"{name}/{n}", n, 3.0, self.user_endpoints_since) for n in range(count)
            ),
            documents_age=self.now - folder.written,
            logged=folder.touched if name in self.logs else None,
            changed=self.now - folder.changed if folder.pid is None and name in self.logs else None,
        )


class FakeHost:
    """The endpoint directories and daemons of a `World`, seen from its present node."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._faults = world.faults

    @property
    def config_dir(self) -> str:
        return CONFIG_DIR

    def facts(self) -> HostFacts:
        node = self._world.node
        boot = f"boot-{node}-{self._world.boots.get(node, 1)}"
        return HostFacts(node, f"{node}.noaa.gov", boot, "jdoe", 1000, "/home/jdoe", self._world.namespace)

    def moment(self) -> Moment:
        return Moment(self.facts().boot_id, self._world.now)

    def tool(self) -> EndpointTool:
        self._faults.reads("tool")
        if isinstance(self._world.tool, EndpointCommandError):
            raise self._world.tool
        return self._world.tool

    def login_shell(self) -> LoginShell:
        self._faults.reads("login_shell")
        return LoginShell("/usr/bin:/bin")

    def environment(self) -> Mapping[str, Variable]:
        return {name: variable(name, value) for name, value in self._world.environment.items()}

    def directories(self) -> Mapping[str, LiveDirectory]:
        self._faults.reads("directories")
        found = {name: self._world.read(name) for name in sorted(self._world.folders)}
        return {name: directory for name, directory in found.items() if directory is not None}

    def directory(self, name: str) -> LiveDirectory | None:
        self._faults.reads("directory")
        return self._world.read(name)

    def create(self, name: str, files: Mapping[str, NewFile], marker: Marker | None) -> None:
        with self._faults.effect("create"):
            if name in self._world.folders:
                raise Overtaken(f"{name} exists by now")
            folder = Folder(marker=marker, written=self._world.now)
            for file, new in files.items():
                if file == "endpoint.json":
                    folder.endpoint_id = new.content.decode().split('"')[3]
                else:
                    folder.files[file] = LiveFile(digest_bytes(new.content), new.content, new.mode)
            self._world.folders[name] = folder

    def rename(self, name: str, new: str) -> None:
        with self._faults.effect("rename"):
            found = self._world.read(name)
            if new in self._world.folders:
                raise Overtaken(f"{new} exists by now")
            if found is None or found.processes or (found.pid_file and not is_stale(found.pid_file.age)):
                raise Overtaken(f"{name} still runs, or is not there")
            self._world.folders[new] = self._world.folders.pop(name)

    def write_file(self, name: str, file: str, new: NewFile, *, backup: bool) -> None:
        with self._faults.effect("write_file"):
            folder = self._folder(name)
            if backup:
                self._back_up(name, folder, file)
            if file in DOCUMENTS:
                folder.written = self._world.now
            if file == "endpoint.json":
                folder.endpoint_id = new.content.decode().split('"')[3]
            else:
                folder.files[file] = LiveFile(digest_bytes(new.content), new.content, new.mode)

    def remove_file(self, name: str, file: str) -> None:
        with self._faults.effect("remove_file"):
            folder = self._folder(name)
            self._back_up(name, folder, file)
            folder.files.pop(file, None)
            if file == MARKER:
                folder.marker = None
            elif file == ENDPOINT_JSON:
                folder.endpoint_id = None

    def _back_up(self, name: str, folder: Folder, file: str) -> None:
        if file in folder.files:
            self._world.backups.append((name, file, folder.files[file].content))

    def write_marker(self, name: str, marker: Marker, *, backup: bool = False) -> None:
        with self._faults.effect("write_marker"):
            folder = self._folder(name)
            if backup:
                self._world.backups.append((name, MARKER, repr(folder.marker).encode()))
            folder.marker = marker

    def _folder(self, name: str) -> Folder:
        if name not in self._world.folders:
            raise FileSystemError("the directory is not there", where=name)
        return self._world.folders[name]

    def clear_pid_file(self, name: str, seen: PidFile) -> None:
        with self._faults.effect("clear_pid_file"):
            folder, found = self._folder(name), self._world.read(name)
            if found is None or found.pid_file is None:
                return
            changed = (found.pid_file.pid, found.pid_file.modified) != (seen.pid, seen.modified)
            if changed or found.processes:  # another endpoint's process may have the number by now
                raise Overtaken("the PID file is not stale")
            folder.pid = None

    def withdraw_pid_file(self, name: str, seen: PidFile | None) -> bool:
        with self._faults.effect("withdraw_pid_file"):
            folder = self._folder(name)
            if folder.pid is None:
                return False
            if folder.pid and (seen is None or folder.pid != seen.pid):
                raise Overtaken("the PID file is another daemon's by now")
            if any(self._world.shows(d) for d in self._world.daemons_of(name)):
                raise Overtaken("it runs on this node")
            folder.pid = None
            if self._world.touches_that_race:
                self._world.touches_that_race -= 1
                folder.pid = 0
        return True

    def many_starts(
        self, count: int, tool: EndpointTool, kept: Mapping[str, str] | None = None
    ) -> AbstractContextManager[None]:
        return nullcontext()

    def start(
        self, name: str, endpoint_id: str | None, tool: EndpointTool, kept: Mapping[str, str] | None = None
    ) -> Started:
        world, point = self._world, self._faults.point
        point("start:before")
        self._faults.reads("start")
        here = [d for d in world.daemons_of(name) if world.shows(d)]
        was_under_way = bool(here)
        if not here:
            seen = world.read(name)
            if seen is None or (seen.pid_file and not is_stale(seen.pid_file.age)):
                raise EndpointCommandError("a PID file is fresh", code=73)
            here = [world.spawn(name, endpoint_id)]
            here[0].environment = {n: v for n, v in {**(kept or {}), **world.environment}.items() if v}
        daemon = here[0]
        point("start:spawned")
        self._come_up(daemon)
        if daemon.id is None:
            raise AssertionError("a daemon that is up has its UUID")
        point("start:after")
        return Started(daemon.process, daemon.id, was_under_way)

    def _come_up(self, daemon: Daemon) -> None:
        """Register and write PID file and UUID, as far as this daemon has not done so."""
        world = self._world
        if daemon.phase == "up":
            return
        try:
            if world.service_down:
                raise EndpointCommandError("the network failed", code=75)
            if daemon.id is not None and daemon.id not in world.registrations:
                raise EndpointCommandError("the service does not know this endpoint", code=69)
            self._faults.reads("start:register")
            world.register(daemon)
            self._faults.point("start:registered")
            self._faults.reads("start:up")
        except EndpointCommandError:
            world.end(daemon, cleanly=False)
            raise
        world.bring_up(daemon)
        if world.ends_at_once:
            world.end(daemon, cleanly=True)

    def signal_stop(self, name: str, process: Process) -> None:
        with self._faults.effect("stop"):
            for daemon in self._world.daemons_of(name):
                same = (daemon.pid, daemon.start_time) == (process.pid, process.start_time)
                if same and self._world.shows(daemon) and not daemon.deaf:
                    daemon.signalled = self._world.now

    def wait_stopped(self, name: str, process: Process, timeout: float) -> bool:
        with self._faults.effect("wait_stopped"):
            for daemon in [d for d in self._world.daemons_of(name) if d.pid == process.pid]:
                if daemon.deaf:
                    self._world.now += timeout
                    self._world.tick()
                    return daemon not in self._world.daemons
                if daemon.signalled is not None:
                    self._world.end(daemon, cleanly=True)
        return True

    def take_pid_file(self, name: str, process: Process) -> bool:
        with self._faults.effect("take_pid_file"):
            folder = self._folder(name)
            daemons = [d for d in self._world.daemons_of(name) if d.pid == process.pid and d.phase == "up"]
            if not daemons or folder.pid not in (0, process.pid):
                return False
            folder.pid = None
            self._world.tick()
            if self._world.touches_that_race:
                self._world.touches_that_race -= 1
                folder.pid = 0
        return True

    def log_tail(self, name: str, lines: int) -> str:
        return self._world.logs.get(name, "") + "the last line of its log"

    def submits_jobs(self, ids: Collection[str]) -> frozenset[BatchSystem]:
        self._faults.reads("submits_jobs")
        found = any(i in found for found in self._world.submitted.values() for i in ids)
        return frozenset({self._world.batch_system} if found else ())

    def to_trash(self, name: str) -> str:
        with self._faults.effect("to_trash"):
            found = self._world.read(name)
            if found is None or found.processes or (found.pid_file and not is_stale(found.pid_file.age)):
                raise Overtaken(f"{name} still runs, or is not there")
            entry = f"{name}~{self._world.number()}"
            self._world.trash[entry] = self._world.folders.pop(name)
            self._world.deleted_at[entry] = self._world.now
        return entry

    def trash(self, *, sizes: bool = False) -> tuple[TrashEntry, ...]:
        self._faults.reads("trash")
        return tuple(self._entry(name, folder, sizes=sizes) for name, folder in list(self._world.trash.items()))

    def _entry(self, name: str, folder: Folder, *, sizes: bool) -> TrashEntry:
        world = self._world
        at = world.deleted_at[name]
        return TrashEntry(
            name=name,
            path=f"{CONFIG_DIR}/.chiltepin/trash/{name}",
            marker=folder.marker if isinstance(folder.marker, Marker) else None,
            deleted_at=at or 0.0,
            age=None if at is None else world.now - at,
            size=world.sizes.get(name, 0) if sizes else None,
            directory=LiveDirectory("endpoint", "endpoint", dict(folder.files), folder.endpoint_id, folder.marker),
        )

    def restore(self, entry: str, name: str) -> None:
        with self._faults.effect("restore"):
            if name in self._world.folders:
                raise Overtaken(f"{name} exists")
            if entry not in self._world.trash:
                raise Overtaken(f"there is no {entry} in the trash")
            self._world.folders[name] = self._world.trash.pop(entry)
            self._world.going.append(entry)
            self._faults.point("restore:moved")
            self._world.going.remove(entry)

    def purge(self, entry: str) -> None:
        with self._faults.effect("purge"):
            if entry not in self._world.trash:
                raise Overtaken(f"there is no {entry} in the trash")
            del self._world.trash[entry]
            self._world.going.append(entry)
            self._faults.point("purge:hidden")
            self._world.going.remove(entry)


class FakeService:
    """The Compute service of a `World`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._faults = world.faults

    def _asked(self, name: str) -> None:
        self._faults.reads(name)
        if self._world.service_down:
            raise ServiceUnreachable("no answer from the service")

    def identity(self) -> Identity:
        self._faults.reads("identity")
        return self._world.identity

    def prepare(self) -> None:
        self._faults.reads("prepare")

    def check_secret(self) -> None:
        self._asked("check_secret")

    def owned(self) -> Mapping[str, Registration]:
        self._asked("owned")
        mine = self._world.registrations if self._world.owned is None else self._world.owned
        return {r.id: replace(r, hostname=None, local_user=None) for r in list(mine.values())}

    def get(self, endpoint_id: str) -> Registration | None:
        self._asked("get")
        return self._world.registrations.get(endpoint_id)

    def status(self, endpoint_id: str) -> Status | None:
        self._asked("status")
        if endpoint_id not in self._world.registrations:
            return None
        return "online" if self._world.online(endpoint_id) else "offline"

    def report(self, endpoint_id: str) -> StatusReport | None:
        self._asked("report")
        name, below, _ = endpoint_id.partition("/")
        if below:
            return StatusReport("online", self._world.tasks.get(name, 0) if endpoint_id == f"{name}/0" else 0)
        if endpoint_id not in self._world.registrations:
            return None
        return StatusReport("online" if self._world.online(endpoint_id) else "offline")

    def delete(self, endpoint_id: str) -> None:
        with self._faults.effect("deregister"):
            self._asked("delete")
            self._world.registrations.pop(endpoint_id, None)
            self._world.deregistered.append(endpoint_id)

    @contextmanager
    def reserve(self, requests: int) -> Iterator[None]:
        self._faults.reads("reserve")
        self._world.reserved += requests
        try:
            yield
        finally:
            self._world.reserved -= requests


class FakeStore:
    """Lock, pools file, journal and lease of a `World`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._faults = world.faults

    def read_lock(self) -> str | None:
        self._faults.reads("read_lock")
        return self._world.lock

    def write_lock(self, text: str) -> None:
        with self._faults.effect("write_lock"):
            self._world.lock = text

    def read_pools(self) -> str | None:
        self._faults.reads("read_pools")
        return self._world.pools

    def write_pools(self, text: str) -> None:
        with self._faults.effect("write_pools"):
            self._world.pools = text

    def append(self, entry: JournalEntry) -> None:
        with self._faults.effect("append"):
            self._world.journal.append(entry)

    def unfinished(self) -> tuple[JournalEntry, ...]:
        self._faults.reads("unfinished")
        finished = {(e.run, e.sequence) for e in self._world.journal if e.event in ("done", "failed", "deferred")}
        return tuple(e for e in self._world.journal if (e.run, e.sequence) not in finished)

    @contextmanager
    def lease(self) -> Iterator[None]:
        self.check_lease()
        self._world.going.clear()
        yield

    def check_lease(self) -> None:
        self._faults.reads("check_lease")
        if self._world.lease_lost:
            raise LeaseHeld("the lease was taken over")


class FakeScheduler:
    """The batch system of a `World`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def cluster(self) -> str | None:
        return "fake"

    def partitions(self) -> Mapping[str, Mapping[str, object]]:
        return {}

    def jobs(self, system: BatchSystem, environment: Mapping[str, str]) -> tuple[BatchJob, ...]:
        self._world.faults.reads("jobs")
        assert system == self._world.batch_system
        return tuple(
            BatchJob(job, (f"/somewhere/uep.{endpoint_id}.{name}/submit_scripts/{job}",))
            for name, jobs in self._world.jobs.items()
            for endpoint_id in sorted(self._world.submitted.get(name, ()))
            for job in jobs
        )


class FakeClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> float:
        return self._world.now

    def monotonic(self) -> float:
        return self._world.now

    def sleep(self, seconds: float) -> None:
        self._world.now += seconds
        self._world.slept()
        self._world.tick()


def _ports(world: World) -> tuple[EndpointHost, ComputeService, Store, Scheduler, Clock]:
    """Held by mypy: the fakes implement the ports."""
    return FakeHost(world), FakeService(world), FakeStore(world), FakeScheduler(world), FakeClock(world)


__all__ = [
    "CONFIG_DIR",
    "TOOL",
    "Crash",
    "Daemon",
    "FakeClock",
    "FakeHost",
    "FakeScheduler",
    "FakeService",
    "FakeStore",
    "Faults",
    "Folder",
    "World",
]
