"""The actions of a plan: one external effect each, with its cause and what must hold just before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from reconciler.core.changes import Cause, FileChange
from reconciler.core.frozen import dataclass
from reconciler.core.live import PidFile, Process
from reconciler.core.marker import Death, FileRecord, Marker
from reconciler.core.pool_changes import PoolChange
from reconciler.core.preconditions import Precondition
from reconciler.core.work import Work


@dataclass(frozen=True, kw_only=True)
class _EndpointAction:
    """What all actions on one endpoint carry.

    Attributes:
        endpoint: its name in the manifest (or in the lock).
        directory: the name of its directory.
        preconditions: what must hold at the moment of the action; else it is deferred.
        changes: for the report.
        interrupts: user endpoints that the action ends, for the report.
        work: what else it ends, for the report; None when nobody asked.
        hold: why it is not done in this run (e.g. `restart: never`); it stays in the plan.
        instead: what the user can do about a hold.
    """

    kind: ClassVar[str]
    endpoint: str
    directory: str
    cause: Cause
    preconditions: tuple[Precondition, ...] = ()
    changes: tuple[FileChange, ...] = ()
    interrupts: int = 0
    work: Work | None = None
    hold: str | None = None
    instead: str | None = None

    @property
    def found_in(self) -> str:
        """The name of the directory that the preconditions are about."""
        return self.directory


@dataclass(frozen=True, kw_only=True)
class Create(_EndpointAction):
    """Build the directory aside and rename it into place; `files` maps names to bytes and mode."""

    kind: ClassVar[str] = "Create"
    files: Mapping[str, tuple[bytes, int]] = field(repr=False)
    marker: Marker


@dataclass(frozen=True, kw_only=True)
class WriteFile(_EndpointAction):
    """Replace (or with `content` None, remove) one file; `record` is what the marker then says of it."""

    kind: ClassVar[str] = "WriteFile"
    file: str
    content: bytes | None = field(repr=False)
    mode: int
    backup: bool
    record: FileRecord | None


@dataclass(frozen=True, kw_only=True)
class ClearStalePid(_EndpointAction):
    """Remove the PID file of a process that is proven dead; `deaths` is what the marker then says, if that is new."""

    kind: ClassVar[str] = "ClearStalePid"
    pid_file: PidFile
    deaths: tuple[Death, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Start(_EndpointAction):
    """Start the daemon; `id` is None only for the first start, which registers.

    `environment` is what it is given besides what is set here.
    `deaths` is what the marker then says of earlier ones, if that is new.
    """

    kind: ClassVar[str] = "Start"
    id: str | None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    deaths: tuple[Death, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Stop(_EndpointAction):
    """Stop the daemon and wait until it is gone."""

    kind: ClassVar[str] = "Stop"
    process: Process


@dataclass(frozen=True, kw_only=True)
class StopElsewhere(_EndpointAction):
    """Stop the daemon on another node, never by its PID: remove its PID file, and wait until it has noticed.

    Attributes:
        id: its UUID; None when it was never registered.
        node: where it runs, as far as known.
        pid_file: as it was seen; None when it is gone already, and the daemon about to notice.
    """

    kind: ClassVar[str] = "Stop"
    id: str | None
    node: str | None
    pid_file: PidFile | None


@dataclass(frozen=True, kw_only=True)
class Restart(_EndpointAction):
    """Stop the daemon, wait until it is gone, start it again with the same UUID and this `environment`, as `Start`."""

    kind: ClassVar[str] = "Restart"
    process: Process
    id: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Adopt(_EndpointAction):
    """Write the marker; with `backup`, a copy of the damaged one that is there is kept."""

    kind: ClassVar[str] = "Adopt"
    marker: Marker
    backup: bool = False


@dataclass(frozen=True, kw_only=True)
class Delete(_EndpointAction):
    """Move the directory to the trash; the registration stays, so that this can be undone."""

    kind: ClassVar[str] = "Delete"
    id: str | None


@dataclass(frozen=True, kw_only=True)
class Undelete(_EndpointAction):
    """Move the directory back from the trash, under the UUID that it had."""

    kind: ClassVar[str] = "Undelete"
    id: str | None
    trash_entry: str


@dataclass(frozen=True, kw_only=True)
class Purge(_EndpointAction):
    """Deregister for ever, and drop the directory from the trash.

    Attributes:
        id: the UUID whose registration ends; None when none does.
        trash_entry: what is dropped; None for what a Delete of the same plan moved there, if one did.
    """

    kind: ClassVar[str] = "Purge"
    id: str | None
    trash_entry: str | None = None

    @property
    def is_expiry(self) -> bool:
        """Whether only the trash's retention asks for it."""
        return self.cause is Cause.RETENTION


@dataclass(frozen=True, kw_only=True)
class Forget(_EndpointAction):
    """Drop the endpoint from the lock; directory, daemon and registration stay as they are.

    With `marked` the marker is removed from the directory too, after a copy was kept.
    """

    kind: ClassVar[str] = "Forget"
    id: str | None
    marked: bool = False


@dataclass(frozen=True, kw_only=True)
class Reregister(_EndpointAction):
    """Give up a UUID whose registration is gone, so that the next start registers a new one.

    endpoint.json is removed after a copy was kept; marker and lock have no UUID then.
    """

    kind: ClassVar[str] = "Reregister"
    id: str
    is_there: bool


@dataclass(frozen=True, kw_only=True)
class Rename(_EndpointAction):
    """Call an endpoint by another name in marker and lock; where its directory is to have another one too, rename that.

    Attributes:
        old: what it is called in lock and marker; its name when only its directory gets another one.
        source: the directory as it is named now; None when only the lock knows the endpoint.
        marker: what the marker says afterwards; None without a directory.
        id: its UUID, which stays.
    """

    kind: ClassVar[str] = "Rename"
    old: str
    source: str | None
    marker: Marker | None
    id: str | None

    @property
    def moves(self) -> bool:
        """Whether the directory gets another name."""
        return self.source is not None and self.source != self.directory

    @property
    def found_in(self) -> str:
        """The name that the directory has before."""
        return self.source or self.directory


@dataclass(frozen=True, kw_only=True)
class WriteLock:
    """Write the lockfile; `pools` is what changes in its pools, which are all that a workflow may ask for."""

    kind: ClassVar[str] = "WriteLock"
    cause: Cause = Cause.RESOLVED
    pools: tuple[PoolChange, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WritePools:
    """Write the pools file."""

    kind: ClassVar[str] = "WritePools"
    cause: Cause = Cause.RESOLVED


EndpointAction = (
    Create
    | WriteFile
    | ClearStalePid
    | Start
    | Stop
    | StopElsewhere
    | Restart
    | Adopt
    | Rename
    | Reregister
    | Undelete
    | Delete
    | Purge
    | Forget
)


Action = EndpointAction | WriteLock | WritePools


DELETING = (Delete, Purge, Forget)


@dataclass(frozen=True)
class Refusal:
    """A guard said no to one endpoint; the others go on.

    Attributes:
        exit_code: 4 as a rule; 3 for an option the installed version does not know; 77 for another identity.
        evidence: the facts on both sides, one per line.
    """

    endpoint: str
    what: str
    remedy: str
    evidence: tuple[str, ...] = ()
    exit_code: int = 4


@dataclass(frozen=True)
class Note:
    """Something worth knowing that needs no action, e.g. user endpoints on an older template."""

    endpoint: str | None
    text: str
