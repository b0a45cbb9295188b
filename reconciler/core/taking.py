"""`apply --take-over`: claims of other places are moved here first, and all else is planned on the world then. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.core.actions import EndpointAction, Refusal
from reconciler.core.adoption import ids_to_ask, plan_adoption
from reconciler.core.desired import Desired, DesiredEndpoint
from reconciler.core.draft import Draft
from reconciler.core.frozen import dataclass
from reconciler.core.known import Blocked, Foreign, Known
from reconciler.core.live import LiveDirectory, LiveState
from reconciler.core.ownership import find_ground
from reconciler.core.scope import Errand, Scope


@dataclass(frozen=True)
class Taking:
    """What moves a claim here, and the world as it is then."""

    actions: tuple[EndpointAction, ...]
    live: LiveState
    known: Known


def take_over(endpoint: DesiredEndpoint, desired: Desired, live: LiveState, known: Known) -> Taking | Refusal | Blocked:
    """Return how the claim of an endpoint that another place claims is moved here, or what stands against it."""
    name = endpoint.name
    entry = known.entry(name)
    directory = live.directories.get(endpoint.directory)
    if directory is None and entry is not None and known.lock is not None:
        # Only the lock has the claim; whether it runs elsewhere is judged as of any lost directory.
        moved = entry.model_copy(update={"claim": known.site.claim(endpoint.directory)})
        return Taking((), live, replace(known, lock=known.lock.with_endpoint(name, moved)))
    draft = Draft()
    plan_adoption(Errand("adopt", (name,), take_over=True), desired, live, known, draft)
    against: tuple[Refusal | Blocked, ...] = (*draft.refusals, *draft.blocked)
    if against:
        return against[0]
    taken = draft.entries[name]
    lock = known.lock.with_endpoint(name, taken) if known.lock else None
    directories: Mapping[str, LiveDirectory] = live.directories
    if directory is not None:
        then = replace(directory, marker=draft.markers[name], endpoint_id=taken.id)
        directories = {**live.directories, directory.name: then}
    return Taking(tuple(draft.actions), replace(live, directories=directories), replace(known, lock=lock))


def ids_to_take(scope: Scope, desired: Desired, live: LiveState, known: Known) -> set[str]:
    """Return the UUIDs about which the service must be asked before claims are moved."""
    if not scope.take_over:
        return set()
    foreign = [
        name
        for name, endpoint in desired.endpoints.items()
        if scope.covers(name)
        and endpoint.state != "unmanaged"
        and isinstance(find_ground(endpoint, live, known), Foreign)
    ]
    return ids_to_ask(foreign, desired, live, known) if foreign else set()
