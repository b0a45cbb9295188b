"""The live state: one immutable snapshot of directories, daemons and registrations.

Three answers are kept apart throughout: *there* (a value), *not there* (None or an empty value), and
*could not be asked* (`Unknown` with the reason). Nothing here reads anything; `reconciler.observe`
fills it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from reconciler.core.environment import Variable
from reconciler.core.frozen import dataclass
from reconciler.core.machine import EndpointTool, HostFacts, Moment
from reconciler.core.marker import Marker


@dataclass(frozen=True)
class Unknown:
    """The answer could not be had; `reason` says why, in words for the user."""

    reason: str


@dataclass(frozen=True)
class Damaged:
    """A file is there but cannot be used; `reason` says why; `newer`: it is well, for a newer version of us."""

    reason: str
    newer: bool = False


@dataclass(frozen=True)
class LiveFile:
    """One file of an endpoint directory: SHA-256 (hex) of its bytes, the bytes, its permission bits.

    `link` is the path in it, when it is a symbolic link to the file that holds the bytes.
    """

    digest: str
    content: bytes
    mode: int
    link: str | None = None


@dataclass(frozen=True)
class PidFile:
    """daemon.pid: the PID in it (None when unreadable as a number), and when it was touched.

    `age` is in seconds, by the file server's clock; None when that cannot be told. `modified` is the time of
    the last touch, also the file server's: to be compared with itself only.
    """

    pid: int | None
    age: float | None
    modified: float = 0.0


@dataclass(frozen=True)
class Process:
    """A process of this host.

    `start_time` is in clock ticks since boot (field 22 of /proc/PID/stat), `age` in seconds. `inner_pids` are the
    PIDs that it has for itself and its like in a container, if it is in one; None where the kernel does not tell.
    """

    pid: int
    start_time: int
    uid: int
    title: str
    age: float
    inner_pids: tuple[int, ...] | None = None

    @property
    def identity(self) -> tuple[int, int]:
        """PID and start time: no other process of this boot has both."""
        return self.pid, self.start_time

    def may_be(self, pid: int) -> bool:
        """Whether it has this PID here, or may have it where it runs."""
        return pid == self.pid or self.inner_pids is None or pid in self.inner_pids


@dataclass(frozen=True)
class UserEndpoint:
    """A user endpoint that is alive: its directory's name, UUID and the PID file's age in seconds.

    It has a fresh PID file, or is a child process of its daemon; then name and UUID may be empty. `since` is
    for how many seconds its process has run, None where that is not on this host.

    Where the age cannot be told (None), it counts as alive: that must not read as idle.
    """

    directory: str
    id: str
    pid: int | None
    age: float | None
    since: float | None = None


DirectoryKind = Literal["endpoint", "legacy", "link", "other", "unreadable"]


@dataclass(frozen=True)
class LiveDirectory:
    """One directory of the config directory that is, or stands in the place of, an endpoint.

    Attributes:
        kind: "endpoint"; "legacy" (config.py, or an `engine` in config.yaml); "link" (a symbolic link);
            "other" (a file, or a directory without config.yaml, marker and UUID); "unreadable".
        files: the managed files that are there, by name.
        endpoint_id: the UUID in endpoint.json.
        marker: our marker.
        pid_file: daemon.pid.
        processes: processes of this host whose title names this directory and this user's endpoint daemon.
        user_endpoints: user endpoints that are alive.
        problem: why it is unreadable.
        documents_age: seconds since template, schema or user environment was last written; None without any.
        logged: when the daemon last wrote into its log, by the file server's clock; None without a log.
        changed: of one with a log and without a PID file: seconds since a name in it came or went, by the file
            server's clock; None when it cannot be told.
    """

    name: str
    kind: DirectoryKind
    files: Mapping[str, LiveFile] = field(default_factory=dict)
    endpoint_id: str | Damaged | None = None
    marker: Marker | Damaged | None = None
    pid_file: PidFile | None = None
    processes: tuple[Process, ...] = ()
    user_endpoints: tuple[UserEndpoint, ...] = ()
    problem: str | None = None
    documents_age: float | None = None
    logged: float | None = None
    changed: float | None = None

    @property
    def ids(self) -> frozenset[str]:
        """The UUIDs that endpoint.json and marker name."""
        marked = self.marker.id if isinstance(self.marker, Marker) else None
        return frozenset(found for found in (self.endpoint_id, marked) if isinstance(found, str))

    @property
    def is_at_home(self) -> bool:
        """Whether its marker was written for a directory of this name: it was neither renamed nor copied since."""
        return isinstance(self.marker, Marker) and self.marker.claim.directory == self.name


@dataclass(frozen=True)
class Registration:
    """An endpoint as the Compute service lists it."""

    id: str
    name: str
    display_name: str | None = None
    hostname: str | None = None
    local_user: str | None = None


@dataclass(frozen=True)
class Identity:
    """Who we are at the service.

    Attributes:
        service: "production", "sandbox", or the SDK environment's name.
        id: the Globus identity's UUID; None when it is not known without asking.
        client_id: the OAuth client in use.
    """

    service: str
    id: str | None
    client_id: str


@dataclass(frozen=True)
class TrashEntry:
    """A deleted endpoint.

    Attributes:
        name: of the entry, not of the endpoint.
        marker: as it was when it was deleted; None when it cannot be read.
        deleted_at: seconds since the epoch, to sort by.
        age: seconds since it was deleted, by the file server's clock then and now; negative when that was wrong,
            None without a record, or when the server's time cannot be told.
        size: bytes on disk; None when nobody asked, or when they cannot be seen.
        directory: the endpoint's directory as it lies in the trash.
    """

    name: str
    path: str
    marker: Marker | None
    deleted_at: float
    age: float | None = None
    size: int | None = None
    directory: LiveDirectory | None = None

    @property
    def id(self) -> str | None:
        """The UUID under which it was registered."""
        found = self.directory.endpoint_id if self.directory else None
        return found if isinstance(found, str) else self.marker.id if self.marker else None

    @property
    def deleted_directory(self) -> str:
        """The name that its directory had."""
        return self.name.rpartition("~")[0]


Status = Literal["online", "offline"]

GONE: Literal["gone"] = "gone"
"""The service's own 404 on a UUID's status."""


@dataclass(frozen=True)
class StatusReport:
    """What the service says of an endpoint or user endpoint.

    `tasks` is how many were outstanding when it last reported; None when it does not say, or cannot know.
    """

    status: Status
    tasks: int | None = None


BatchSystem = Literal["slurm", "pbs"]


@dataclass(frozen=True)
class BatchJob:
    """A job of this user in the batch system's queue: its ID, and the paths that it was submitted with."""

    id: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class JournalEntry:
    """One line of the journal.

    Attributes:
        run: the apply's random ID.
        sequence: counts the actions of a run, from 1.
        event: "intent", "note", "done", "failed" or "deferred".
        action: the action's kind, e.g. "Start".
        endpoint: the endpoint's name.
        data: what a later run needs to decide (JSON-like; no secret).
        at: seconds since the epoch.
    """

    run: str
    sequence: int
    event: str
    action: str
    endpoint: str
    data: Mapping[str, Any]
    at: float

    @property
    def begins_daemon(self) -> bool:
        """Whether its action starts a daemon."""
        return self.action in ("Start", "Restart")

    @property
    def is_first_start(self) -> bool:
        """Whether its action starts what has no UUID yet, and registers."""
        return self.action == "Start" and not self.data.get("id")

    @property
    def ends(self) -> tuple[int, int] | None:
        """PID and start time (as `Process` has them) of the process that its action ends; None when it ends none."""
        found = self.data.get("ends")
        return (found[0], found[1]) if found else None

    @property
    def directory(self) -> str:
        """Name of the directory in which it works."""
        return str(self.data.get("directory", self.endpoint))

    def belongs_to(self, stack: str) -> bool:
        """Whether it is of this stack: stacks that share a config directory share the journal, not the names."""
        return bool(self.data.get("stack", stack) == stack)


@dataclass(frozen=True)
class LiveState:
    """Everything a plan looks at, read once.

    Attributes:
        config_dir: absolute path of the Globus Compute config directory.
        directories: by name, managed or not.
        registrations: the identity's registrations by UUID, or Unknown.
        statuses: of the UUIDs that were asked for; of one that is missing nothing is known.
        tool: the installed globus-compute-endpoint, or why it cannot be used.
        login_path: the login shell's PATH; asked for only when an endpoint needs it and has none pinned.
        login_variables: what else the login shell sets that may reach a daemon; asked for together.
        environment: the variables set here that may reach a daemon, by name.
        trash: deleted endpoints that can be brought back.
        pending: by endpoint name, the intent of an action that has no outcome in the journal.
        candidates: by endpoint name, registrations that an interrupted first start may have made.
        log_ends: by directory, the end of the log of a daemon that is gone, or may be; empty where it cannot be read.
        asked_where: UUIDs of which the service was asked where the last start was, whatever it answered.
        moment: when it was read.
    """

    host: HostFacts
    identity: Identity
    config_dir: str
    directories: Mapping[str, LiveDirectory] = field(default_factory=dict)
    registrations: Mapping[str, Registration] | Unknown = field(default_factory=dict)
    statuses: Mapping[str, Status | Literal["gone"] | Unknown] = field(default_factory=dict)
    tool: EndpointTool | Damaged | None = None
    login_path: str | Unknown | None = None
    login_variables: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, Variable] = field(default_factory=dict)
    trash: tuple[TrashEntry, ...] = ()
    pending: Mapping[str, JournalEntry] = field(default_factory=dict)
    candidates: Mapping[str, tuple[Registration, ...] | Unknown] = field(default_factory=dict)
    log_ends: Mapping[str, str] = field(default_factory=dict)
    asked_where: frozenset[str] = frozenset()
    moment: Moment = Moment()

    def status(self, endpoint_id: str) -> Status | Literal["gone"] | Unknown:
        """Return the service's word on a UUID; that nobody asked is no word."""
        return self.statuses.get(endpoint_id, Unknown("the service was not asked whether it is online"))
