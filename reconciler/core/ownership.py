"""Whose endpoint is this? Decides, for one endpoint, what ground an action would stand on.

The witnesses are the lock, the marker, endpoint.json and the service's list. When they agree, or one is
missing and the others make up for it, the endpoint is ours; when they contradict each other, nothing is
done and both sides are named.
"""

from __future__ import annotations

from dataclasses import replace
from shlex import quote

from reconciler.core.actions import Refusal
from reconciler.core.changes import Cause
from reconciler.core.daemon import id_in_title
from reconciler.core.desired import CONFIG, DesiredEndpoint
from reconciler.core.elsewhere import STILL_ONLINE
from reconciler.core.host_named import with_host
from reconciler.core.identity_known import with_identity
from reconciler.core.known import WRONG_IDENTITY, Blocked, Gone, Ground, Known
from reconciler.core.live import GONE, Damaged, LiveDirectory, LiveState, Unknown
from reconciler.core.marker import Marker
from reconciler.core.registrations import (
    gone,
    made_when_cut_off,
    refuse_rivals,
    unclaimed,
)
from reconciler.core.witnesses import check_claim, check_entry, check_ids, check_owner, disagree, exchanged, witnesses
from reconciler.errors import UPGRADE


def find_ground(endpoint: DesiredEndpoint, live: LiveState, known: Known) -> Ground | Refusal | Blocked:
    """Decide whether, and on what UUID and marker, `endpoint` may be acted on."""
    found = _find_ground(endpoint, live, known)
    if isinstance(found, Ground) and found.id is not None:
        rivals = refuse_rivals(endpoint, found.id, live, known)
        if rivals:
            return rivals
    if isinstance(found, Gone) and endpoint.id:
        instead = (
            f"take `id` out of its block, then `chiltepin apply --reregister {quote(endpoint.name)}` makes a new one"
        )
        return replace(found, remedy=f"restore it at the service; or {instead}")
    if isinstance(found, Ground) and found.id is None and endpoint.state == "running" and known.site.identity is None:
        runs = found.directory is not None and found.directory.processes
        return found if runs else of_nobody(endpoint.name)
    return found


def of_nobody(name: str) -> Refusal:
    """Refuse a first registration with a login of which nobody can say whose it is."""
    return Refusal(
        name,
        "it cannot be told whose login this is, so nothing is registered with it",
        "run this again when Globus Auth answers; `chiltepin login --force` makes a login that says whose it is",
        exit_code=WRONG_IDENTITY,
    )


def _find_ground(endpoint: DesiredEndpoint, live: LiveState, known: Known) -> Ground | Refusal | Blocked:
    directory = live.directories.get(endpoint.directory)
    if directory is None:
        return _without_directory(endpoint, live, known)
    refusal = unusable(endpoint.name, directory, live.config_dir)
    if refusal:
        return refusal
    marker = directory.marker
    if not isinstance(marker, Marker):
        return _without_marker(endpoint, directory, live, known)
    ours = known.site.claim(directory.name)
    owned = with_identity(marker, directory, ours, live)
    named = with_host(owned, directory, ours, live)
    cause = Cause.HOST_NAMED if named != owned else Cause.IDENTITY_KNOWN if owned != marker else None
    marker = named
    refusal = (
        exchanged(endpoint.name, directory, marker, live, known)
        or check_owner(endpoint.name, directory, marker, known, live.config_dir)
        or check_entry(endpoint.name, known.entry(endpoint.name), ours)
    )
    if refusal:
        return refusal
    found = _agreed(endpoint, directory, marker, live, known)
    return replace(found, repair=found.repair or cause) if cause and isinstance(found, Ground) else found


def unusable(name: str, directory: LiveDirectory, config_dir: str) -> Refusal | None:
    """Refuse what is no endpoint's directory of today."""
    path = f"{config_dir}/{directory.name}"
    if directory.kind == "link":
        return Refusal(name, f"{path} is a symbolic link", "replace the link by the directory it points to")
    if directory.kind == "legacy":
        return Refusal(
            name,
            f"{path} is an endpoint of the kind before templates ({directory.problem or 'config.py or an `engine`'})",
            _remedy_for_legacy(name, directory, config_dir),
        )
    if directory.kind in ("other", "unreadable"):
        why = directory.problem or "not an endpoint directory"
        remedy = "move it away, or choose another `directory`"
        if directory.kind == "unreadable":
            remedy = f"mend that (`ls -la {quote(path)}` shows owners and permissions), or choose another `directory`"
        return Refusal(name, f"{path} cannot be used: {why}", remedy)
    return None


def _remedy_for_legacy(name: str, directory: LiveDirectory, config_dir: str) -> str:
    """Return how to come by an endpoint of today; one that bears our marker was one, until somebody edited it."""
    tool = f"globus-compute-endpoint -c {quote(config_dir)}"
    if isinstance(directory.marker, Marker):
        return (
            f"it was made as one with templates: remove `engine` from {config_dir}/{directory.name}/{CONFIG}, or the"
            " file config.py beside it, then run this again"
        )
    return (
        f"stop it: `{tool} stop {quote(directory.name)}`;"
        f" then `{tool} migrate-to-template-capable {quote(directory.name)}` and `chiltepin adopt {quote(name)}`"
    )


def _without_directory(endpoint: DesiredEndpoint, live: LiveState, known: Known) -> Ground | Refusal | Blocked:
    entry = known.entry(endpoint.name)
    locked_id = entry.id if entry else None
    if entry and locked_id and endpoint.id and endpoint.id != locked_id:
        return disagree(endpoint.name, {"manifest (id)": endpoint.id, "lock": locked_id})
    if entry:
        ours = known.site.claim(endpoint.directory)
        refusal = (
            check_claim(endpoint.name, entry.claim, ours, "the lock")
            if locked_id
            else check_entry(endpoint.name, entry, ours)  # nothing was ever in its directory that could be another's
        )
        if refusal:
            return refusal
    if isinstance(live.registrations, Unknown):
        return Blocked(endpoint.name, live.registrations.reason)
    wanted = endpoint.id or locked_id or _made_when_cut_off(endpoint, live, known)
    if isinstance(wanted, Refusal | Blocked):
        return wanted
    marker = new_marker(endpoint, known, wanted)
    if wanted is None:
        refusal = unclaimed(endpoint, live, known)
        return refusal or Ground(None, None, marker)
    if wanted not in live.registrations:
        return gone(endpoint.name, wanted, live)
    cause = Cause.LOST_DIRECTORY if locked_id else Cause.NEW if endpoint.id else Cause.INTERRUPTED
    return _lives_elsewhere(endpoint, wanted, live, known) or Ground(wanted, None, marker, cause=cause)


def _lives_elsewhere(endpoint: DesiredEndpoint, wanted: str, live: LiveState, known: Known) -> Refusal | Blocked | None:
    """Refuse to make a directory for a UUID that another one has, or that somebody is connected with."""
    other = next((d.name for d in live.directories.values() if _is_there(d, endpoint.name, wanted, known)), None)
    if other is not None:
        return Refusal(
            endpoint.name,
            f"its directory {live.config_dir}/{endpoint.directory} is missing, and {other} has its marker and UUID",
            f"was it renamed? `mv {quote(f'{live.config_dir}/{other}')}"
            f" {quote(f'{live.config_dir}/{endpoint.directory}')}`,"
            f" or write `directory: {other}` in its block",
        )
    rivals = refuse_rivals(endpoint, wanted, live, known)
    if rivals:
        return rivals
    status = live.status(wanted)
    if isinstance(status, Unknown):
        return Blocked(endpoint.name, status.reason)
    if status == GONE:
        return Blocked(endpoint.name, f"the service lists {wanted}, and says that it is not there")
    if status == "online":
        return Refusal(
            endpoint.name,
            f"its directory {live.config_dir}/{endpoint.directory} is missing, but {wanted} is online:"
            " it runs elsewhere, or is about to end here",
            f"{STILL_ONLINE}; or, if another endpoint is to keep it, remove `id` from its block"
            if endpoint.id
            else STILL_ONLINE,
        )
    return None


def _made_when_cut_off(endpoint: DesiredEndpoint, live: LiveState, known: Known) -> str | Refusal | Blocked | None:
    """Return the UUID that a first start made before it was cut off; None when there was none, or it made none."""
    intent = live.pending.get(endpoint.name)
    if intent is None or not intent.is_first_start:
        return None
    if intent.directory == endpoint.directory:
        return made_when_cut_off(endpoint.name, intent, live, known)
    if endpoint.name in known.new:
        return None
    made = made_when_cut_off(endpoint.name, intent, live, known)
    if not isinstance(made, str):
        return made
    return Refusal(
        endpoint.name,
        f"an earlier start in {live.config_dir}/{intent.directory} was cut off after it had registered {made},"
        f" and now its `directory` is {endpoint.directory}",
        f"keep that UUID: write `id: {made}` or `directory: {intent.directory}` in its block;"
        f" or make another: `chiltepin apply --new {quote(endpoint.name)}`",
    )


def _is_there(directory: LiveDirectory, name: str, endpoint_id: str, known: Known) -> bool:
    marker = directory.marker
    return isinstance(marker, Marker) and (marker.stack, marker.lineage, marker.endpoint, marker.id) == (
        known.stack,
        known.lineage,
        name,
        endpoint_id,
    )


def new_marker(endpoint: DesiredEndpoint, known: Known, endpoint_id: str | None) -> Marker:
    """Return a marker without files for an endpoint that is ours from now on."""
    return Marker(
        stack=known.stack,
        lineage=known.lineage,
        endpoint=endpoint.name,
        id=endpoint_id,
        claim=known.site.claim(endpoint.directory),
        protect=endpoint.protect,
        restart=endpoint.restart,
    )


def _without_marker(
    endpoint: DesiredEndpoint, directory: LiveDirectory, live: LiveState, known: Known
) -> Ground | Refusal | Blocked:
    entry = known.entry(endpoint.name)
    local_id = directory.endpoint_id if isinstance(directory.endpoint_id, str) else None
    if isinstance(directory.marker, Damaged) and directory.marker.newer:
        return Refusal(
            endpoint.name,
            f"{live.config_dir}/{directory.name}: {directory.marker.reason}",
            UPGRADE,
        )
    if entry and entry.id and entry.id == local_id:
        if endpoint.id and endpoint.id != local_id:
            return disagree(endpoint.name, witnesses(directory, None, entry, endpoint.id))
        refusal = check_claim(endpoint.name, entry.claim, known.site.claim(endpoint.directory), "the lock")
        if refusal:
            return refusal
        if isinstance(live.registrations, Unknown):
            return Blocked(endpoint.name, live.registrations.reason)
        if entry.id not in live.registrations:
            return gone(endpoint.name, entry.id, live)
        return Ground(entry.id, directory, new_marker(endpoint, known, entry.id), repair=Cause.LOST_MARKER)
    damaged = f" ({directory.marker.reason})" if isinstance(directory.marker, Damaged) else ""
    what = "its marker cannot be read" + damaged if damaged else "it is not managed by chiltepin"
    return Refusal(
        endpoint.name,
        f"{live.config_dir}/{directory.name} exists and {what}",
        f"run `chiltepin adopt {quote(endpoint.name)}` to manage it, or choose another `directory`",
    )


def _agreed(
    endpoint: DesiredEndpoint, directory: LiveDirectory, marker: Marker, live: LiveState, known: Known
) -> Ground | Refusal | Blocked:
    entry = known.entry(endpoint.name)
    refusal = check_ids(endpoint.name, directory, marker, entry, endpoint.id)
    if refusal:
        return refusal
    local_id = directory.endpoint_id if isinstance(directory.endpoint_id, str) else None
    endpoint_id = local_id or marker.id or (entry.id if entry else None) or endpoint.id
    if endpoint_id is None:
        return _first_start(endpoint, directory, marker, live, known)
    if not isinstance(live.registrations, Unknown) and endpoint_id not in live.registrations:
        return gone(endpoint.name, endpoint_id, live)
    repair = Cause.INTERRUPTED if marker.id is None else None
    return Ground(endpoint_id, directory, marker.but(id=endpoint_id), repair=repair)


def _first_start(
    endpoint: DesiredEndpoint, directory: LiveDirectory, marker: Marker, live: LiveState, known: Known
) -> Ground | Refusal | Blocked:
    """The directory is ours and has no UUID: it was never started, or its first start was cut off."""
    running = id_in_title(directory)
    if running:
        return Ground(running, directory, marker.but(id=running), repair=Cause.INTERRUPTED)
    if directory.processes:
        return Ground(None, directory, marker)
    if isinstance(live.registrations, Unknown):
        return Blocked(endpoint.name, live.registrations.reason)
    made = _made_when_cut_off(endpoint, live, known)
    if isinstance(made, str):
        return Ground(made, directory, marker.but(id=made), repair=Cause.INTERRUPTED)
    pending = live.pending.get(endpoint.name)
    was_begun = pending is not None and pending.is_first_start and pending.directory == directory.name
    refusal = made or (None if was_begun else unclaimed(endpoint, live, known))
    return refusal or Ground(None, directory, marker)
