"""An endpoint that leaves: which UUID is its own, also after a start that was cut off; what stands against it? Pure."""

from __future__ import annotations

from dataclasses import replace
from shlex import quote

from reconciler.core.actions import Adopt, Refusal
from reconciler.core.changes import Cause
from reconciler.core.daemon import Daemon, DaemonState, id_in_title, refuse_doubled
from reconciler.core.desired import DesiredEndpoint
from reconciler.core.elsewhere import STILL_ONLINE, Away, has_ended_here, refuse_abroad
from reconciler.core.known import WRONG_IDENTITY, Blocked, Known
from reconciler.core.leavers import Leaver
from reconciler.core.live import LiveDirectory, LiveState, Unknown
from reconciler.core.lock import LockedEndpoint
from reconciler.core.marker import Marker
from reconciler.core.pid_file import is_fresh
from reconciler.core.registrations import made_when_cut_off
from reconciler.core.safe_yaml import scalar
from reconciler.core.scope import Scope
from reconciler.core.step_list import marked
from reconciler.core.witnesses import check_owner

UNREACHABLE = 69
"""Exit code of a refusal for want of the service's word."""
DEFERRED = 5
"""Exit code of a refusal that ends by itself."""


def id_of(name: str, directory: LiveDirectory, marker: Marker, live: LiveState, known: Known) -> str | Refusal | None:
    """Return the UUID under which it is registered; None when it never was."""
    entry = known.entry(name)
    local_id = directory.endpoint_id if isinstance(directory.endpoint_id, str) else None
    endpoint_id = local_id or marker.id or (entry.id if entry else None) or id_in_title(directory)
    if endpoint_id is None and directory.processes:
        return Refusal(
            name,
            "its first start is under way, and its UUID not known yet",
            "run this again in a minute",
            exit_code=DEFERRED,
        )
    return endpoint_id or made_before_it_left(name, live, known)


def made_before_it_left(name: str, live: LiveState, known: Known) -> str | Refusal | None:
    """Return the UUID of an endpoint whose first start was cut off before anybody could write that down."""
    pending = live.pending.get(name)
    if pending is None or not pending.is_first_start:
        return None
    made = made_when_cut_off(name, pending, live, known)
    if isinstance(made, Blocked) or isinstance(live.registrations, Unknown):
        return Refusal(
            name,
            "its first start was cut off, and the service could not be asked whether it registered",
            "run this again when the service answers",
            exit_code=UNREACHABLE,
        )
    if isinstance(made, Refusal):
        one = f"`chiltepin adopt {quote(name)} --id UUID` takes one, with its block in the manifest"
        return replace(made, remedy=f"look at them: {one}; if none is: `chiltepin forget {quote(name)}`")
    return made


def record_id(directory: LiveDirectory, marker: Marker, endpoint_id: str | None) -> Adopt:
    """Return the action that writes down which registration is its own, before the directory goes to the trash."""
    return Adopt(
        endpoint=marker.endpoint,
        directory=directory.name,
        cause=Cause.INTERRUPTED,
        preconditions=(marked(marker),),
        marker=marker.but(id=endpoint_id),
    )


def protected(name: str, *witnesses: Marker | LockedEndpoint | DesiredEndpoint | None) -> Refusal | None:
    """Refuse what is protected in any place: a manifest's word counts before it was ever applied."""
    protecting = [witness for witness in witnesses if witness is not None and witness.protect]
    recorded = [witness for witness in protecting if not isinstance(witness, DesiredEndpoint)]
    if len(recorded) < len(protecting):
        then = f"; then `chiltepin unprotect {quote(name)}`" if recorded else ""
        return Refusal(
            name,
            "it is protected: the manifest says `protect: true`",
            f"write `protect: false` in its block, or remove that line{then}",
        )
    if not recorded:
        return None
    if any(isinstance(witness, DesiredEndpoint) for witness in witnesses):
        return Refusal(
            name,
            "it is protected: `protect: true` was applied, and what the manifest says now was not",
            f"run `chiltepin unprotect {quote(name)}`, or `chiltepin apply`, first",
        )
    return Refusal(
        name,
        "it is protected (`protect: true`), also after its block is gone",
        f"run `chiltepin unprotect {quote(name)}` first",
    )


def needed(name: str, endpoint_id: str | None, leaver: Leaver, known: Known) -> Refusal | None:
    """Refuse to delete what has the UUID of an endpoint that stays: a rename that was taken back half way."""
    others = [o for o, e in known.lock.endpoints.items() if o != name and e.id == endpoint_id] if known.lock else []
    if endpoint_id is None or leaver.cause is Cause.DESTROY or not others:
        return None
    return Refusal(
        name,
        f"{leaver.directory} has the UUID {endpoint_id} of {others[0]}: was it renamed?",
        f"rename it: `moved: [{{from: {scalar(name)}, to: {scalar(others[0])}}}]`;"
        f" or `chiltepin forget {quote(name)}` lets go of it",
    )


def seen_elsewhere(
    name: str, directory: LiveDirectory, daemon: Daemon, endpoint_id: str | None, live: LiveState, scope: Scope
) -> Refusal | None:
    """Refuse to deregister what the service sees and this run does not stop.

    A daemon on a node of this home touches its PID file: the loss of that ends it.
    """
    touched = directory.pid_file is not None and is_fresh(directory.pid_file.age)
    stops = daemon.process is not None or (daemon.state is DaemonState.ELSEWHERE and touched)
    if stops or endpoint_id is None or not (scope.destroy and scope.purge):
        return None
    marker = directory.marker if isinstance(directory.marker, Marker) else None
    has_ended = has_ended_here(directory, marker, live)
    return still_in_use(name, endpoint_id, live, "its daemon does not run here", has_ended=has_ended)


def foreign(
    name: str, directory: LiveDirectory, marker: Marker, known: Known, config_dir: str, *, declared: bool
) -> Refusal | None:
    """Refuse what is another manifest's by now. Without a block, only the lock has it still: that can be let go."""
    refusal = check_owner(name, directory, marker, known, config_dir)
    if refusal is None or declared:
        return refusal
    if (marker.stack, marker.lineage) == (known.stack, known.lineage):
        return with_block(name, refusal, declared=declared)
    remedy = f"`chiltepin forget {quote(name)}` takes it out of this manifest's lockfile, and changes nothing else"
    return replace(refusal, remedy=remedy)


def with_block(name: str, refusal: Refusal | None, *, declared: bool) -> Refusal | None:
    """Return a refusal whose remedy is a command that needs the block of the endpoint, which may be gone."""
    if refusal is None or declared or refusal.exit_code == WRONG_IDENTITY:
        return refusal
    remedy = (
        f"{refusal.remedy}, with its block in the manifest again; or `chiltepin forget {quote(name)}` lets go of it"
    )
    return replace(refusal, remedy=remedy)


def out_of_reach(name: str, directory: str, daemon: Daemon, live: LiveState, endpoint_id: str | None) -> Refusal | None:
    """Refuse while its daemon is, or may be, where nothing that is done here ends it."""
    silent = isinstance(live.registrations, Unknown)
    if daemon.state is DaemonState.UNDECIDED or (daemon.state is DaemonState.ELSEWHERE and silent):
        return Refusal(
            name,
            "its daemon may run on another node, and the service could not be asked",
            "run this again when the service answers",
            exit_code=UNREACHABLE,
        )
    if daemon.sighting and daemon.sighting.away is Away.ABROAD:
        return refuse_abroad(name, endpoint_id or "", daemon.sighting, live.host)
    return refuse_doubled(name, directory, daemon, live)


def still_in_use(name: str, endpoint_id: str, live: LiveState, here: str, *, has_ended: bool = False) -> Refusal | None:
    """Refuse to deregister an endpoint without a process here unless the service says that it is offline.

    Args:
        has_ended: whether its daemon is proven to have ended here. The service speaks of that one for a while
            longer; as another may run elsewhere, its word is waited for all the same.
    """
    if isinstance(live.registrations, Unknown) or endpoint_id not in live.registrations:
        return None
    status = live.statuses.get(endpoint_id)
    if status == "offline":
        return None
    if status == "online" and has_ended:
        return Refusal(
            name,
            f"its daemon has ended here, and {endpoint_id} is online still, as the service says until it has missed"
            " some heartbeats",
            "run this again in two minutes; if it is online then, it runs elsewhere: stop it there first",
            exit_code=DEFERRED,
        )
    if status == "online":
        return Refusal(
            name,
            f"{here}, but {endpoint_id} is online: it runs elsewhere, or is about to end here",
            STILL_ONLINE,
        )
    return not_said(name, here, endpoint_id)


def not_said(name: str, here: str, endpoint_id: str) -> Refusal:
    """Refuse for want of the service's word on an endpoint without a process here."""
    return Refusal(
        name,
        f"{here}, and the service could not say whether {endpoint_id} is online",
        "run this again when the service answers",
        exit_code=UNREACHABLE,
    )
