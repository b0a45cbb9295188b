"""A block that says `state: unmanaged`: nothing is done about it, and the lock keeps its UUID for pools. Pure."""

from __future__ import annotations

from reconciler.core.actions import Note, Refusal
from reconciler.core.desired import DesiredEndpoint
from reconciler.core.draft import Draft
from reconciler.core.known import Known
from reconciler.core.live import LiveDirectory, LiveState
from reconciler.core.lock import lock_entry
from reconciler.core.marker import Marker
from reconciler.core.registrations import namesakes, shared
from reconciler.core.witnesses import holds_another


def leave_alone(endpoint: DesiredEndpoint, live: LiveState, known: Known, draft: Draft) -> Refusal | None:
    """Put into `draft` what the lock is to say of it, or return why not: one endpoint would have two names there."""
    name, entry = endpoint.name, known.entry(endpoint.name)
    directory = live.directories.get(endpoint.directory)
    found = directory.endpoint_id if directory and isinstance(directory.endpoint_id, str) else None
    kept = found or endpoint.id or (entry.id if entry else None)
    same_id = namesakes(kept, name, live, known) if kept else ()
    holder = next((o for o in (*same_id, *_marked_as(directory, known)) if _is_of(o, endpoint, known)), None)
    if holder is not None:
        return holds_another(name, f"{live.config_dir}/{endpoint.directory}", holder)
    if kept and same_id:
        return shared(name, kept, tuple(f"endpoint {other} in the lock" for other in same_id))
    draft.entries[name] = lock_entry(endpoint, known.site.claim(endpoint.directory), kept)
    if entry is not None and entry.state != "unmanaged":
        draft.notes.append(Note(name, "is unmanaged from now on: directory and daemon stay as they are"))
    return None


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
