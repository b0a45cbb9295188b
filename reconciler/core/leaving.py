"""An endpoint that leaves: which UUID is its own, also after a start that was cut off; is it protected? Pure."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.actions import Adopt, Refusal
from reconciler.core.changes import Cause
from reconciler.core.daemon import id_in_title
from reconciler.core.desired import DesiredEndpoint
from reconciler.core.known import Blocked, Known
from reconciler.core.live import LiveDirectory, LiveState, Unknown
from reconciler.core.lock import LockedEndpoint
from reconciler.core.marker import Marker
from reconciler.core.registrations import made_when_cut_off
from reconciler.core.step_list import marked

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
        one = f"`chiltepin adopt {name} --id UUID` takes one, with its block in the manifest"
        return replace(made, remedy=f"look at them: {one}; if none is: `chiltepin forget {name}`")
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
        then = f"; then `chiltepin unprotect {name}`" if recorded else ""
        return Refusal(
            name,
            "it is protected: the manifest says `protect: true`",
            f"write `protect: false` in its block, or remove that line{then}",
        )
    if not recorded:
        return None
    return Refusal(
        name,
        "it is protected (`protect: true`), also after its block is gone",
        f"run `chiltepin unprotect {name}` first",
    )
