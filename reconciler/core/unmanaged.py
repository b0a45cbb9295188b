"""A block that says `state: unmanaged`: nothing is done about it, and the lock keeps its UUID for pools. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.core.actions import Note, Refusal
from reconciler.core.desired import Desired, DesiredEndpoint
from reconciler.core.draft import Draft
from reconciler.core.known import Known
from reconciler.core.live import LiveDirectory, LiveState
from reconciler.core.lock import lock_entry
from reconciler.core.marker import Marker
from reconciler.core.registrations import namesakes, shared
from reconciler.core.witnesses import holds_another

Managed = Mapping[str, Sequence[str]]
"""By UUID, the managed blocks that have it."""


def managed_in(desired: Desired, drafts: Mapping[str, Draft]) -> Managed:
    """Return which UUIDs managed blocks have, by what they say or by what was planned of them in this run."""
    found: dict[str, list[str]] = {}
    for name, block in desired.endpoints.items():
        if block.state == "unmanaged":
            continue
        planned = drafts[name].entries.get(name)
        for endpoint_id in {id for id in (block.id, planned.id if planned else None) if id}:
            found.setdefault(endpoint_id, []).append(name)
    return found


def leave_alone(
    endpoint: DesiredEndpoint, desired: Desired, live: LiveState, known: Known, managed: Managed, draft: Draft
) -> Refusal | None:
    """Put into `draft` what the lock is to say of it, or return why not: a managed endpoint would have two names there.

    Of what nobody manages, copies may share a UUID: their daemons are their owner's affair.
    """
    name, entry = endpoint.name, known.entry(endpoint.name)
    directory = live.directories.get(endpoint.directory)
    found = directory.endpoint_id if directory and isinstance(directory.endpoint_id, str) else None
    kept = found or endpoint.id or (entry.id if entry else None)
    same_id = namesakes(kept, name, live, known) if kept else ()
    holder = next((o for o in (*same_id, *_marked_as(directory, known)) if _is_of(o, endpoint, known)), None)
    if holder is not None:
        return holds_another(name, f"{live.config_dir}/{endpoint.directory}", holder)
    others = [f"endpoint {other} in the lock" for other in same_id if _is_managed(other, desired, known)]
    others += [f"endpoint {other}" for other in managed.get(kept or "", ()) if other not in same_id]
    if kept and others:
        return shared(name, kept, tuple(others))
    draft.entries[name] = lock_entry(endpoint, known.site.claim(endpoint.directory), kept)
    if entry is not None and entry.state != "unmanaged":
        draft.notes.append(Note(name, "is unmanaged from now on: directory and daemon stay as they are"))
    return None


def _is_managed(name: str, desired: Desired, known: Known) -> bool:
    """Whether an endpoint of the lock is managed from now on: by its block, or by the lock where it has none."""
    judged = desired.block_of(name) or known.entry(name)
    return judged is not None and judged.state != "unmanaged"


def _marked_as(directory: LiveDirectory | None, known: Known) -> tuple[str, ...]:
    """Return what our marker in a directory calls it, if there is one."""
    marker = directory.marker if directory else None
    is_ours = isinstance(marker, Marker) and (marker.stack, marker.lineage) == (known.stack, known.lineage)
    return (marker.endpoint,) if is_ours and isinstance(marker, Marker) else ()


def _is_of(other: str, endpoint: DesiredEndpoint, known: Known) -> bool:
    """Whether the lock has the endpoint's directory under another name."""
    entry = known.entry(other)
    if entry is None or other == endpoint.name:
        return False
    ours = known.site.claim(endpoint.directory)
    theirs = (entry.claim.host, entry.claim.config_dir, entry.claim.directory)
    return theirs == (ours.host, ours.config_dir, ours.directory)
