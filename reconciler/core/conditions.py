"""Does a precondition still hold? Pure: asked just before an action, of a directory that was read again."""

from __future__ import annotations

from shlex import quote

from reconciler.core.actions import EndpointAction, Restart
from reconciler.core.changes import Cause
from reconciler.core.daemon import is_up
from reconciler.core.live import LiveDirectory, Status
from reconciler.core.marker import Marker
from reconciler.core.preconditions import (
    DaemonIs,
    EndpointIdIs,
    FileIs,
    Idle,
    MarkedAs,
    NameFree,
    NoDaemon,
    Offline,
    PidFileIs,
    Precondition,
)
from reconciler.core.work import Work


def violated(
    precondition: Precondition, directory: LiveDirectory | None, work: Work | None = None, status: Status | None = None
) -> str | None:
    """Return why a precondition does not hold now, or None when it does.

    Args:
        precondition: from the plan.
        directory: the endpoint's directory as it is at this moment; None when nothing of that name is there.
        work: what its daemon is busy with at this moment, for `Idle`; by default what the directory shows.
        status: what the service says at this moment, for `Offline`.
    """
    if isinstance(precondition, Offline):
        return f"{precondition.id} is online, so it stays: its daemon runs elsewhere" if status == "online" else None
    if isinstance(precondition, NameFree):
        return None if directory is None else "something of that name exists by now"
    if directory is None:
        return "its directory is gone"
    if isinstance(precondition, MarkedAs):
        return _marked(precondition, directory)
    if isinstance(precondition, FileIs):
        live = directory.files.get(precondition.file)
        same = (live.digest if live else None) == precondition.digest
        return None if same else f"{precondition.file} was changed since the plan was made"
    if isinstance(precondition, EndpointIdIs):
        same = directory.endpoint_id == precondition.id
        return None if same else "endpoint.json was changed since the plan was made"
    if isinstance(precondition, Idle):
        work = work or Work(len(directory.user_endpoints))
        return None if work.is_idle else work.why_busy()
    if isinstance(precondition, PidFileIs):
        found = directory.pid_file
        same = found is None or found.pid in (None, precondition.pid)
        if found is not None and precondition.modified is not None:
            same = (found.pid, found.modified) == (precondition.pid, precondition.modified)
        return None if same else "its PID file was changed since the plan was made"
    return _daemon(precondition, directory)


def remedy_of(action: EndpointAction, precondition: Precondition, work: Work | None) -> str:
    """Return what to do about a precondition that does not hold."""
    if isinstance(precondition, Offline):
        return "stop it there first, then run this again"
    if work is None:
        return "run it again"
    # With the built-in template a user endpoint lives for an hour after its last task.
    remedy = "run it again; `--drain 2h` waits until it is idle"
    if action.cause is Cause.REMOVED:
        return remedy  # without a block there is nothing to write `restart: now` into
    at_once = "`restart: now` in its block" + (", if it has one," if action.cause is Cause.DESTROY else "")
    if isinstance(action, Restart):
        at_once = f"`chiltepin restart {quote(action.endpoint)} --interrupt`"
    return f"{remedy}, {at_once} does not wait, and ends the tasks"


def _marked(precondition: MarkedAs, directory: LiveDirectory) -> str | None:
    marker = directory.marker
    if not isinstance(marker, Marker):
        return "its marker is gone or cannot be read"
    now = MarkedAs(marker.stack, marker.lineage, marker.endpoint, marker.id)
    return None if now == precondition else "its marker was changed since the plan was made"


def _daemon(precondition: NoDaemon | DaemonIs, directory: LiveDirectory) -> str | None:
    if isinstance(precondition, NoDaemon):
        return f"its daemon runs (PID {directory.processes[0].pid})" if directory.processes else None
    wanted = precondition.process
    if not directory.processes and directory.pid_file is None:
        return None  # a daemon of another node would have one
    others = [p for p in directory.processes if is_up(p) or p.pid == wanted.pid]
    if any(p.identity == wanted.identity for p in others):
        return None
    return f"its daemon is no longer PID {wanted.pid}"
