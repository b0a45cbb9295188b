"""What the reconciler needs of the outside world, as protocols; the adapters implement them.

Every method either answers, or raises one of `reconciler.errors`. An adapter translates foreign
exceptions exactly once, with `from e`. "Not there" is a value (None, an empty mapping); "could not be
asked" is an exception.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from reconciler.core.environment import Variable
from reconciler.core.frozen import dataclass
from reconciler.core.live import (
    BatchJob,
    BatchSystem,
    Identity,
    JournalEntry,
    LiveDirectory,
    PidFile,
    Process,
    Registration,
    Status,
    StatusReport,
    TrashEntry,
)
from reconciler.core.machine import EndpointTool, HostFacts, LoginShell, Moment
from reconciler.core.marker import Marker

__all__ = [
    "Clock",
    "ComputeService",
    "EndpointHost",
    "JournalEntry",
    "NewFile",
    "Outside",
    "Scheduler",
    "Started",
    "Store",
]


class ComputeService(Protocol):
    """Globus Compute, as one identity sees it (source: globus_sdk ComputeClientV2).

    All methods raise `ServiceUnreachable` (no answer, 5xx, 429 after the retries, nonsense),
    `LoginRequired` (no login, or it was refused) or `ServiceRefused` (any other 4xx).
    """

    def identity(self) -> Identity:
        """Return who we are, without a request where the token store knows it."""

    def prepare(self) -> None:
        """Make sure that a valid token is in the store, so that daemons started next find it there."""

    def check_secret(self) -> None:
        """Have Globus Auth accept the client secret (one request, unless it did so already); users have none."""

    def owned(self) -> Mapping[str, Registration]:
        """Return all registrations that this identity owns, by UUID (one request)."""

    def get(self, endpoint_id: str) -> Registration | None:
        """Return one registration with host name and local user, or None when there is none (404)."""

    def status(self, endpoint_id: str) -> Status | None:
        """Return "online" or "offline", or None when there is no such registration (404)."""

    def report(self, endpoint_id: str) -> StatusReport | None:
        """Return what the service says of an endpoint or user endpoint, or None when it does not know it (404)."""

    def delete(self, endpoint_id: str) -> None:
        """Delete a registration for ever; one that is already gone counts as deleted."""

    def reserve(self, requests: int) -> AbstractContextManager[None]:
        """Wait until `requests` requests fit the request budget that someone else makes within the context."""


@dataclass(frozen=True)
class NewFile:
    """A file to be written: its bytes and permission bits."""

    content: bytes
    mode: int = 0o600


@dataclass(frozen=True)
class Started:
    """A daemon that is up: its process and the UUID in its endpoint.json.

    `was_under_way` says that it was there already, or on its way: it may have read other files than are there now.
    """

    process: Process
    endpoint_id: str
    was_under_way: bool = False


class EndpointHost(Protocol):
    """This machine: the endpoint directories of one config directory, and the daemons.

    `name` is always the name of a directory directly below the config directory. Methods that write
    raise `FileSystemError`, and leave the old content in place when they do.
    """

    @property
    def config_dir(self) -> str:
        """The config directory, an absolute path."""

    def facts(self) -> HostFacts:
        """Return this machine's and user's names."""

    def moment(self) -> Moment:
        """Return the present moment on this node."""

    def tool(self) -> EndpointTool:
        """Return the installed globus-compute-endpoint.

        Raises:
            EndpointCommandError: it is missing, does not run, or its version is outside the range.
        """

    def login_shell(self) -> LoginShell:
        """Return what a login shell sets up when no user file adds to it.

        Raises:
            EndpointCommandError: there is none, or it failed, or it did not end in time.
        """

    def environment(self) -> Mapping[str, Variable]:
        """Return the variables that are set here and may reach a daemon."""

    def directories(self) -> Mapping[str, LiveDirectory]:
        """Read every directory of the config directory, each file once; processes are looked up once."""

    def directory(self, name: str) -> LiveDirectory | None:
        """Read one directory again, or return None when nothing of that name is there."""

    def create(self, name: str, files: Mapping[str, NewFile], marker: Marker | None) -> None:
        """Build the directory aside (0700) and rename it into place; without a marker nobody manages it.

        Raises:
            Overtaken: something of that name exists by now.
        """

    def rename(self, name: str, new: str) -> None:
        """Give an endpoint's directory another name, in one step.

        Raises:
            Overtaken: something of the new name exists, or a daemon runs in the directory.
        """

    def write_file(self, name: str, file: str, new: NewFile, *, backup: bool) -> None:
        """Replace one file atomically; with `backup`, a copy of the old one is kept first."""

    def remove_file(self, name: str, file: str) -> None:
        """Remove one managed file after keeping a copy."""

    def write_marker(self, name: str, marker: Marker, *, backup: bool = False) -> None:
        """Replace the marker atomically and durably; with `backup`, a copy of the old one is kept first."""

    def clear_pid_file(self, name: str, seen: PidFile) -> None:
        """Remove daemon.pid if it still holds the PID that was seen.

        Raises:
            Overtaken: the PID file was written or touched since, or its process lives and may be this endpoint's.
        """

    def withdraw_pid_file(self, name: str, seen: PidFile | None) -> bool:
        """Remove the PID file of a daemon on another node, which then ends by itself; say whether there was one.

        An empty one is what that daemon's touch brings back.

        Raises:
            Overtaken: it names another PID than the one that was seen, or a process of this endpoint runs here.
        """

    def start(
        self, name: str, endpoint_id: str | None, tool: EndpointTool, kept: Mapping[str, str] | None = None
    ) -> Started:
        """Start the daemon, or wait for one that is just starting; return when process, PID file and UUID are there.

        Args:
            name: its directory.
            endpoint_id: its UUID, None for a first start.
            tool: what starts it.
            kept: variables that it is given besides those set here.

        Raises:
            EndpointCommandError: it did not come up; carries the end of its log.
        """

    def many_starts(
        self, count: int, tool: EndpointTool, kept: Mapping[str, str] | None = None
    ) -> AbstractContextManager[None]:
        """Make ready for `count` starts, as far as that pays; what was made ready ends with the context.

        `kept` is what most of them are given besides what is set here.
        """

    def signal_stop(self, name: str, process: Process) -> None:
        """Ask exactly this process to shut down (SIGTERM by pidfd, after its start time was compared)."""

    def take_pid_file(self, name: str, process: Process) -> bool:
        """Remove the PID file of a daemon here that does not begin to shut down; say whether that was done.

        It is left to a process that shuts down, and to whoever else it names.
        """

    def wait_stopped(self, name: str, process: Process, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the process and its PID file are gone; say whether they are."""

    def log_tail(self, name: str, lines: int) -> str:
        """Return the last lines of the endpoint's log, or an empty string."""

    def submits_jobs(self, ids: Collection[str]) -> frozenset[BatchSystem]:
        """Return the batch systems to which user endpoints of these endpoints, by UUID, ever submitted jobs."""

    def to_trash(self, name: str) -> str:
        """Move the directory (and its user endpoints' directories) to the trash; return the entry's name.

        Raises:
            Overtaken: it is gone, or a daemon runs in it.
        """

    def trash(self, *, sizes: bool = False) -> tuple[TrashEntry, ...]:
        """Return what is in the trash, oldest first; with `sizes`, each entry is measured."""

    def restore(self, entry: str, name: str) -> None:
        """Move an entry's directory (and its user endpoints') back as `name`.

        Raises:
            Overtaken: there is no such entry, or `name` is taken.
        """

    def purge(self, entry: str) -> None:
        """Remove one entry of the trash from the disk.

        Raises:
            Overtaken: there is no such entry.
        """


class Store(Protocol):
    """Our own files: lock, pools file, journal and lease."""

    def read_lock(self) -> str | None:
        """Return the lockfile's text, or None when there is none."""

    def write_lock(self, text: str) -> None:
        """Replace the lockfile atomically and durably."""

    def read_pools(self) -> str | None:
        """Return the pools file's text, or None when there is none."""

    def write_pools(self, text: str) -> None:
        """Replace the pools file atomically and durably."""

    def append(self, entry: JournalEntry) -> None:
        """Append to the journal and force it to disk before returning."""

    def unfinished(self) -> tuple[JournalEntry, ...]:
        """Return the intents (with the notes that followed) that have no outcome yet, oldest first."""

    def lease(self) -> AbstractContextManager[None]:
        """Hold the config directory for one apply.

        Raises:
            LeaseHeld: another apply holds it; says who, where and since when.
        """

    def check_lease(self) -> None:
        """Raise `LeaseHeld` when the lease was lost meanwhile."""


class Clock(Protocol):
    """Time, so that tests need none."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Scheduler(Protocol):
    """The batch system: questions only, never a submission."""

    def cluster(self) -> str | None:
        """Return the cluster's name, or None when there is no batch system here.

        Raises:
            SchedulerError: it could not be asked.
        """

    def partitions(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the partitions (queues) with their limits; none when there is no batch system here.

        Raises:
            SchedulerError: it could not be asked.
        """

    def jobs(self, system: BatchSystem, environment: Mapping[str, str]) -> tuple[BatchJob, ...]:
        """Return this user's jobs that are running or waiting.

        Args:
            system: which one is asked.
            environment: variables with which the batch system is found, over those of this process.

        Raises:
            SchedulerError: its command is not there, failed, or gave no answer in time.
        """


@dataclass(frozen=True)
class Outside:
    """The ports of one run."""

    host: EndpointHost
    service: ComputeService
    store: Store
    scheduler: Scheduler
