"""What an action's outcome means for marker and lock. Pure; `reconciler.apply` writes the results."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from reconciler.core.actions import (
    Adopt,
    ClearStalePid,
    Create,
    Delete,
    EndpointAction,
    Forget,
    Purge,
    Rename,
    Reregister,
    Restart,
    Start,
    Stop,
    StopElsewhere,
    WriteFile,
)
from reconciler.core.deaths import found_ended
from reconciler.core.frozen import dataclass
from reconciler.core.lock import Lock, LockedEndpoint
from reconciler.core.machine import Moment
from reconciler.core.marker import DaemonRecord, FileRecord, Marker
from reconciler.core.running import Unconfirmed
from reconciler.core.work import Work
from reconciler.errors import ReconcilerError

OutcomeKind = Literal["done", "failed", "deferred", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """What became of one action.

    Attributes:
        endpoint_id: the UUID, where the action learnt it.
        reason: why it failed, was deferred or skipped.
        remedy: what the user can do about it.
        log: the last lines of the endpoint's log, for a failed start.
        exit_code: of a failure.
        seconds: how long it took.
        work: what it would have interrupted, when only that stands against it.
    """

    action: EndpointAction
    kind: OutcomeKind
    endpoint_id: str | None = None
    reason: str | None = None
    remedy: str | None = None
    log: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    work: Work | None = None


@dataclass(frozen=True)
class Run:
    """All outcomes of one apply.

    Attributes:
        interrupted: whether the user stopped it.
        lock: as written last.
        left_out: pools without a UUID, with the reason.
        unwritten: why lock, pools file or journal could not be brought up to date.
        unconfirmed: daemons that run and that the service does not see.
        warnings: what the user should look at and no later run will mention.
    """

    outcomes: tuple[Outcome, ...] = ()
    interrupted: bool = False
    lock: Lock | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    unwritten: ReconcilerError | None = None
    unconfirmed: tuple[Unconfirmed, ...] = ()
    warnings: tuple[str, ...] = ()


def marker_after(
    marker: Marker, action: EndpointAction, endpoint_id: str | None, daemon: DaemonRecord | None, now: Moment
) -> Marker:
    """Return the marker after `action` was done.

    Args:
        marker: before the action.
        action: what was done.
        endpoint_id: the UUID that a start reported.
        daemon: the daemon that a start brought up.
        now: when it was done.
    """
    if isinstance(action, Create | Adopt):
        return action.marker
    if isinstance(action, Rename):
        return action.marker or marker
    if isinstance(action, WriteFile):
        files: dict[str, FileRecord] = {k: v for k, v in marker.files.items() if k != action.file}
        if action.record:
            files[action.file] = action.record
        return marker.but(files=files)
    if isinstance(action, Start | ClearStalePid) and action.deaths is not None:
        marker = marker.but(deaths=action.deaths)
    if isinstance(action, Start | Restart):
        return marker.but(id=endpoint_id, daemon=daemon, environment=dict(action.environment))
    if isinstance(action, ClearStalePid):
        return found_ended(marker, now)
    if isinstance(action, Stop | StopElsewhere):
        return marker.but(daemon=None)
    if isinstance(action, Reregister):
        return marker.but(id=None, daemon=None)
    return marker


def lock_after(lock: Lock, action: EndpointAction, entry: LockedEndpoint | None, endpoint_id: str | None) -> Lock:
    """Return the lock after `action` was done; `entry` is the endpoint's entry when all is done.

    A UUID that is known is never dropped from the lock before its endpoint is deleted, or gives it up. What is
    forgotten and still declared (`state: unmanaged`) keeps its entry.
    """
    known = lock.endpoints.get(action.endpoint)
    if isinstance(action, Forget) and entry is not None:
        return lock.with_endpoint(action.endpoint, entry)
    if isinstance(action, Delete | Forget | Purge):
        # What is purged from the trash may have had the name of an endpoint that is still there, or is there again.
        in_trash = isinstance(action, Purge) and action.trash_entry is not None
        other = in_trash and known is not None and (action.id is None or known.id != action.id)
        return lock if other else lock.without_endpoint(action.endpoint)
    if entry is None:
        return lock
    if isinstance(action, Rename) and action.old != action.endpoint:
        known = known or lock.endpoints.get(action.old)
        lock = lock.without_endpoint(action.old)
    if isinstance(action, Reregister):
        return lock.with_endpoint(action.endpoint, entry.model_copy(update={"id": None}))
    best = endpoint_id or entry.id or (known.id if known else None)
    return lock.with_endpoint(action.endpoint, entry.model_copy(update={"id": best}))
