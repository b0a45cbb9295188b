"""A new UUID for an endpoint whose registration is gone: by consent only. Pure."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.actions import EndpointAction, Refusal, Reregister
from reconciler.core.changes import Cause, FieldChange, FileChange
from reconciler.core.daemon import Daemon, DaemonState, judge_daemon, refuse_doubled
from reconciler.core.desired import ENDPOINT_JSON, DesiredEndpoint
from reconciler.core.frozen import dataclass
from reconciler.core.known import Blocked, Gone, Ground, Known
from reconciler.core.live import GONE, LiveDirectory, LiveState, Unknown
from reconciler.core.marker import Marker
from reconciler.core.ownership import new_marker, of_nobody
from reconciler.core.preconditions import NameFree
from reconciler.core.registrations import not_owned
from reconciler.core.standstill import OUT_OF_REACH, bring_to_standstill


@dataclass(frozen=True)
class Renewal:
    """What gives up the old UUID, the marker from which that goes on, and the ground that is left then."""

    actions: tuple[EndpointAction, ...]
    marker: Marker
    ground: Ground


def renew(
    endpoint: DesiredEndpoint, found: Ground | Refusal | Blocked, live: LiveState, known: Known
) -> Renewal | Ground | Refusal | Blocked:
    """Return how an endpoint whose registration is gone gets a new UUID, or what stands against it.

    `found` is on what ground it stands. The service must have been asked about its UUID.
    """
    if isinstance(found, Ground) and found.id and not isinstance(live.registrations, Unknown):
        return Refusal(
            endpoint.name,
            f"the service still has its registration {found.id}, so it gets no new UUID",
            "leave out --reregister",
        )
    if not isinstance(found, Gone):
        return found
    status = live.status(found.id)
    if isinstance(status, Unknown):
        return Blocked(endpoint.name, status.reason)
    if status != GONE:
        return not_owned(endpoint.name, found.id)
    if known.site.identity is None:
        return of_nobody(endpoint.name)
    if endpoint.id:
        return Refusal(
            endpoint.name,
            f"the manifest asks for the UUID {endpoint.id}, whose registration is gone",
            "take `id` out of its block first",
        )
    directory = live.directories.get(endpoint.directory)
    if directory is None:
        return _without_directory(endpoint, found.id, known)
    marker = directory.marker if isinstance(directory.marker, Marker) else new_marker(endpoint, known, found.id)
    daemon = judge_daemon(directory, marker, live)
    doubled = refuse_doubled(endpoint.name, directory.name, daemon, live)
    if doubled:
        return doubled
    if daemon.state in (*OUT_OF_REACH, DaemonState.UNDECIDED):
        return Refusal(
            endpoint.name,
            f"its registration {found.id} is gone, and its daemon is {daemon.state.value}",
            "see that no daemon of it runs on any node, then run this again",
        )
    return _with_directory(endpoint, found.id, directory, marker, daemon)


def _change(endpoint_id: str) -> tuple[FileChange, ...]:
    fields = (FieldChange("id", endpoint_id, "a new one"),)
    return (FileChange(ENDPOINT_JSON, "change", Cause.CONSENT, fields),)


def _without_directory(endpoint: DesiredEndpoint, endpoint_id: str, known: Known) -> Renewal:
    action = Reregister(
        endpoint=endpoint.name,
        directory=endpoint.directory,
        cause=Cause.CONSENT,
        preconditions=(NameFree(),),
        changes=_change(endpoint_id),
        id=endpoint_id,
        is_there=False,
    )
    marker = new_marker(endpoint, known, None)
    return Renewal((action,), marker, Ground(None, None, marker))


def _with_directory(
    endpoint: DesiredEndpoint, endpoint_id: str, directory: LiveDirectory, marker: Marker, daemon: Daemon
) -> Renewal:
    still = bring_to_standstill(endpoint, directory, marker, daemon, Cause.CONSENT)
    action = Reregister(
        endpoint=endpoint.name,
        directory=directory.name,
        cause=Cause.CONSENT,
        preconditions=still.guards,
        changes=_change(endpoint_id),
        id=endpoint_id,
        is_there=True,
    )
    # What follows is planned on the directory as it is then.
    left = marker.but(id=None, daemon=None)
    then = replace(still.left, marker=left, endpoint_id=None)
    return Renewal((*still.actions, action), marker, Ground(None, then, left))
