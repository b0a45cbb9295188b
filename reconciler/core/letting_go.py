"""The errands `forget` and `unprotect`: what was held is let go of, and stays as it is. Pure."""

from __future__ import annotations

from shlex import quote

from reconciler.core.actions import Adopt, Forget, Note, Refusal
from reconciler.core.changes import Cause, FieldChange, FileChange
from reconciler.core.daemon_steps import marked
from reconciler.core.desired import Desired, DesiredEndpoint
from reconciler.core.draft import Draft
from reconciler.core.known import Known
from reconciler.core.live import Damaged, LiveDirectory, LiveState
from reconciler.core.lock import LockedEndpoint
from reconciler.core.marker import MARKER, Marker
from reconciler.core.traces import homes_of
from reconciler.core.witnesses import check_owner, check_strangers, say_claim


def plan_forget(name: str, desired: Desired, live: LiveState, known: Known, draft: Draft) -> None:
    """Add to `draft` that marker and lock entry go, while directory, daemon and registration stay; or why not."""
    declared = desired.endpoints.get(name)
    if declared is not None and declared.state != "unmanaged":
        draft.refusals.append(
            Refusal(
                name,
                "the manifest declares it, so that the next apply would take it in again",
                f"remove its block, or write `state: unmanaged` in it, then `chiltepin forget {quote(name)}`",
            )
        )
        return
    entry = known.entry(name)
    directory = _directory_of(name, declared, live, known)
    marker = directory.marker if directory else None
    if isinstance(marker, Marker):
        draft.markers[name] = marker
    elif entry is None or declared is not None:
        draft.notes.append(Note(name, "nothing here is managed under this name"))
        return
    here = known.site.claim(entry.claim.directory) if entry else None
    if entry and entry.claim != here and marker is None:
        draft.notes.append(Note(name, f"a marker that is elsewhere stays: {say_claim(entry.claim)}"))
    draft.actions.append(let_go(name, entry, directory, live, Cause.CONSENT))
    if declared is None:
        draft.gone.add(name)
    elif entry is not None:
        draft.entries[name] = entry.model_copy(update={"state": "unmanaged", "protect": declared.protect})


def let_go(
    name: str, entry: LockedEndpoint | None, directory: LiveDirectory | None, live: LiveState, cause: Cause
) -> Forget:
    """Return the action that drops an endpoint from the lock, and its marker from its directory, where there is one."""
    marker = directory.marker if directory else None
    found = directory.endpoint_id if directory and isinstance(directory.endpoint_id, str) else None
    removed = f"removes {live.config_dir}/{directory.name}/{MARKER}" if directory else ""
    return Forget(
        endpoint=name,
        directory=directory.name if directory else entry.claim.directory if entry else name,
        cause=cause,
        preconditions=(marked(marker),) if isinstance(marker, Marker) else (),
        changes=(FileChange(removed, "note", cause),) if marker is not None else (),
        id=(entry.id if entry else None) or found,
        marked=marker is not None,
    )


def _directory_of(name: str, declared: DesiredEndpoint | None, live: LiveState, known: Known) -> LiveDirectory | None:
    """Return the directory that carries this lock's marker of `name`, or a damaged one where the lock has it."""
    home = next(iter(homes_of(live, known).get(name, ())), None)
    if home is not None:
        return live.directories[home]
    entry = known.entry(name)
    where = declared.directory if declared else entry.claim.directory if entry else None
    found = live.directories.get(where) if where else None
    damaged = found is not None and isinstance(found.marker, Damaged) and not found.marker.newer
    return found if damaged and entry and entry.claim == known.site.claim(found.name) else None  # type: ignore[union-attr]


def plan_unprotect(name: str, desired: Desired, live: LiveState, known: Known, draft: Draft) -> None:
    """Add to `draft` that `protect` goes from marker and lock entry, or what stands against it."""
    declared = desired.endpoints.get(name)
    if declared is not None and declared.protect:
        draft.refusals.append(
            Refusal(
                name,
                "the manifest says `protect: true`",
                f"write `protect: false` in its block, or remove it; then `chiltepin unprotect {quote(name)}`",
            )
        )
        return
    entry = known.entry(name)
    directory = _directory_of(name, declared, live, known)
    marker = directory.marker if directory else None
    if directory is not None and isinstance(marker, Marker):
        refusal = check_owner(name, directory, marker, known, live.config_dir)
        if refusal:
            draft.refusals.append(refusal)
            return
        if marker.protect:
            free = marker.but(protect=False)
            change = FileChange(MARKER, "change", Cause.CONSENT, (FieldChange("protect", True, False),))
            draft.actions.append(
                Adopt(
                    endpoint=name,
                    directory=directory.name,
                    cause=Cause.CONSENT,
                    preconditions=(marked(marker),),
                    changes=(change,),
                    marker=free,
                )
            )
            draft.markers[name] = free
    if entry is not None and entry.protect:
        draft.entries[name] = entry.model_copy(update={"protect": False})
    if name not in draft.markers and name not in draft.entries:
        place = declared.directory if declared else entry.claim.directory if entry else name
        refusal = check_strangers(name, place, live, known)
        if refusal:
            draft.refusals.append(refusal)
        else:
            draft.notes.append(Note(name, "it is not protected"))
