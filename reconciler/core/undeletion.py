"""Bringing a deleted endpoint back from the trash, under the UUID that workflows know. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from shlex import quote

from reconciler.core.actions import Note, Refusal, Undelete
from reconciler.core.changes import Cause, FileChange
from reconciler.core.desired import Desired, DesiredEndpoint
from reconciler.core.draft import Draft
from reconciler.core.elsewhere import MISSED_WITHIN, has_ended_here
from reconciler.core.frozen import dataclass
from reconciler.core.known import WRONG_IDENTITY, Blocked, Ground, Known
from reconciler.core.live import GONE, LiveDirectory, LiveState, TrashEntry, Unknown
from reconciler.core.lock import LockedEndpoint, found_entry, lock_entry
from reconciler.core.marker import Marker
from reconciler.core.ownership import unusable
from reconciler.core.preconditions import NameFree
from reconciler.core.registrations import holders, not_owned
from reconciler.core.scope import Errand
from reconciler.core.trash import at_another_place, chosen_entries, own_entries, say_entry
from reconciler.core.witnesses import check_claim, check_ids


@dataclass(frozen=True)
class Undeletion:
    """What brings an endpoint back, and the ground that it then stands on."""

    action: Undelete
    ground: Ground


def bring_back(
    endpoint: DesiredEndpoint, live: LiveState, known: Known, *, declared_as: str | None = None
) -> Undeletion | Refusal | Blocked | None:
    """Return how a declared endpoint that was deleted comes back; None when the trash has no say in it.

    No change of the manifest gives an endpoint another UUID, also not the removal of its block and its return.
    Whoever wants another one says so with --new.

    Args:
        endpoint: as it was called when it was deleted.
        live: the snapshot.
        known: lock, lineage and claim.
        declared_as: what it is called now, if that is another name.
    """
    other = f"or register another: `chiltepin apply --new {quote(declared_as or endpoint.name)}`"
    if not _may_come_back(endpoint, live, known):
        return None
    items = _of_name(endpoint, live, known)
    if not items:
        return None
    if isinstance(live.registrations, Unknown):
        return Blocked(endpoint.name, live.registrations.reason)
    there: list[TrashEntry] = []
    for item in items:
        found = _is_registered(endpoint.name, item.id, live)
        if isinstance(found, Refusal | Blocked):
            return found
        there += [item] if found else []
    if not there:
        return None  # its UUID cannot come back
    if len({item.id for item in there}) > 1:
        return Refusal(
            endpoint.name,
            "it was deleted several times, with different UUIDs",
            f"bring one back: `chiltepin undelete {quote(endpoint.name)} --entry ENTRY`; {other}",
            tuple(say_entry(item) for item in there),
        )
    item = there[-1]
    against = _against(endpoint.name, endpoint.directory, item, live, known)
    if isinstance(against, Refusal) and against.exit_code != WRONG_IDENTITY:
        return replace(against, remedy=f"{against.remedy}; {other}")
    if against:
        return against
    return _undeletion(endpoint.name, item, endpoint.directory, Cause.DECLARED_AGAIN, declared_as)


def _may_come_back(endpoint: DesiredEndpoint, live: LiveState, known: Known) -> bool:
    entry = known.entry(endpoint.name)
    registered = entry is not None and entry.id is not None
    there = endpoint.directory in live.directories
    return not there and not registered and endpoint.name not in known.new and endpoint.state != "unmanaged"


def _of_name(endpoint: DesiredEndpoint, live: LiveState, known: Known) -> list[TrashEntry]:
    """Return the registered ones that could be meant: our own; without any, those that another lock left."""
    same = [
        item
        for item in live.trash
        if item.marker is not None
        and (item.marker.stack, item.marker.endpoint) == (known.stack, endpoint.name)
        and item.id is not None
        and endpoint.id in (None, item.id)
        and not holders(item.id, endpoint.name, endpoint.directory, live, known)
    ]
    return [i for i in same if i.marker and i.marker.lineage == known.lineage] or same


def _is_registered(name: str, endpoint_id: str | None, live: LiveState) -> bool | Refusal | Blocked:
    """Return whether the service still has the registration, as this identity's."""
    if endpoint_id is None or isinstance(live.registrations, Unknown) or endpoint_id in live.registrations:
        return True
    status = live.status(endpoint_id)
    if isinstance(status, Unknown):
        return Blocked(name, status.reason)
    return False if status == GONE else not_owned(name, endpoint_id)


def _against(name: str, directory: str, item: TrashEntry, live: LiveState, known: Known) -> Refusal | Blocked | None:
    """Return what stands against bringing `item` back as `directory`."""
    marker, found = item.marker, item.directory
    if marker is None or found is None:
        return Refusal(name, f"{item.path} cannot be read", f"mend that: `ls -la {quote(item.path)}`")
    if marker.lineage != known.lineage:
        return Refusal(
            name,
            f"{item.path} was deleted by another manifest, or lock, that also calls its stack `{known.stack}`",
            "restore the lockfile that it belongs to",
            (f"this lock's lineage: {known.lineage}", f"the deleted one's: {marker.lineage}"),
        )
    if marker.claim.directory != directory:
        return Refusal(
            name,
            f"it was deleted as directory `{marker.claim.directory}`, and the manifest says `{directory}`",
            f"write `directory: {marker.claim.directory}` in its block",
            (say_entry(item),),
        )
    refusal = check_claim(name, marker.claim, known.site.claim(directory), item.path)
    if refusal is not None:
        refusal = at_another_place(refusal, item, live, "bring it back there")
    refusal = refusal or unusable(name, replace(found, name="endpoint"), item.path)
    refusal = refusal or check_ids(name, found, marker, None)
    if refusal or item.id is None:
        return refusal
    status = live.status(item.id)
    if isinstance(status, Unknown):
        return Blocked(name, status.reason)
    if status == "online" and not _has_just_ended(found, marker, item, live):
        return Refusal(
            name,
            f"it was deleted here, but {item.id} is online: it runs elsewhere",
            "stop it there first; if it was stopped a moment ago, wait until the service says offline",
        )
    return None


def _has_just_ended(found: LiveDirectory, marker: Marker, item: TrashEntry, live: LiveState) -> bool:
    """Whether its daemon is proven to have ended here, without a word, and the service may not have missed it yet.

    One that was stopped before it was deleted has no record any more. Where nobody found when it ended, it was before
    the deletion.
    """
    if marker.daemon is None or not has_ended_here(found, marker, live):
        return False
    return marker.daemon.ended is not None or (item.age is not None and 0 <= item.age <= MISSED_WITHIN)


def _undeletion(
    name: str, item: TrashEntry, directory: str, cause: Cause, declared_as: str | None = None
) -> Undeletion:
    if item.marker is None or item.directory is None:
        raise ValueError("an entry that cannot be read was judged")
    action = Undelete(
        endpoint=name,
        directory=directory,
        cause=cause,
        preconditions=(NameFree(),),
        changes=_remarks(declared_as or name, cause),
        id=item.id,
        trash_entry=item.name,
    )
    return Undeletion(action, Ground(item.id, replace(item.directory, name=directory), item.marker))


def _remarks(name: str, cause: Cause) -> tuple[FileChange, ...]:
    if cause is not Cause.DECLARED_AGAIN:
        return ()
    return (FileChange(f"for another UUID instead: `chiltepin apply --new {quote(name)}`", "note", cause),)


# --- the command


def plan_undelete(name: str, errand: Errand, desired: Desired, live: LiveState, known: Known, draft: Draft) -> None:
    """Add what brings one deleted endpoint back, or what stands against it. Nothing is started."""
    declared = desired.endpoints.get(name)
    if not own_entries(live, known, (name,)) and _is_back(name, live, known, declared, draft):
        return
    found = _decide(name, errand, declared, live, known)
    if isinstance(found, Refusal):
        draft.refusals.append(found)
        return
    if isinstance(found, Blocked):
        draft.blocked.append(found)
        return
    marker, directory = found.ground.marker, found.ground.directory
    draft.actions.append(found.action)
    draft.markers[name] = marker
    if directory is not None:
        draft.entries[name] = _entry(declared, directory, marker, found.ground.id)
    draft.notes.append(Note(name, _what_next(declared, [m.new for m in desired.moved if m.old == name])))


def _decide(
    name: str, errand: Errand, declared: DesiredEndpoint | None, live: LiveState, known: Known
) -> Undeletion | Refusal | Blocked:
    items = chosen_entries(name, errand.entry, live, known, "undelete")
    if isinstance(items, Refusal):
        return items
    item = items[-1]
    directory = declared.directory if declared else item.marker.claim.directory if item.marker else name
    if directory in live.directories:
        return Refusal(
            name,
            f"{live.config_dir}/{directory} exists, and a deleted endpoint is put back only where nothing is",
            f"move it away, or keep it and drop the deleted one: `chiltepin purge {quote(name)}`",
            (say_entry(item),),
        )
    entry = known.entry(name)
    if entry is not None and entry.id not in (None, item.id):
        return Refusal(
            name,
            f"the lock says that its UUID is {entry.id}, and the deleted one's is {item.id}",
            f"keep it: `chiltepin apply`, and drop the deleted one: `chiltepin purge {quote(name)}`",
            (say_entry(item),),
        )
    if item.id is not None:
        against = _not_available(name, item.id, directory, live, known)
        if against:
            return against
    return _against(name, directory, item, live, known) or _undeletion(name, item, directory, Cause.CONSENT)


def _not_available(
    name: str, endpoint_id: str, directory: str, live: LiveState, known: Known
) -> Refusal | Blocked | None:
    """Return what is wrong with the UUID: taken by another endpoint, gone, somebody else's, or nobody answers."""
    others = holders(endpoint_id, name, directory, live, known)
    if others:
        return Refusal(
            name,
            f"its UUID {endpoint_id} is taken: by {', '.join(others)}",
            f"keep that one, and drop what is in the trash: `chiltepin purge {quote(name)}`",
        )
    if isinstance(live.registrations, Unknown):
        return Blocked(name, live.registrations.reason)
    registered = _is_registered(name, endpoint_id, live)
    if isinstance(registered, Refusal | Blocked):
        return registered
    if registered:
        return None
    return Refusal(
        name,
        f"its registration {endpoint_id} is gone from the service, so that its UUID cannot come back",
        f"`chiltepin purge {quote(name)}` drops what is left of it; a block of that name is registered anew",
    )


def _is_back(name: str, live: LiveState, known: Known, declared: DesiredEndpoint | None, draft: Draft) -> bool:
    """Whether there is nothing to bring back; an undelete that was cut off after the move still writes the lock."""
    for directory in live.directories.values():
        marker = directory.marker
        if not isinstance(marker, Marker) or (marker.stack, marker.lineage, marker.endpoint) != (
            known.stack,
            known.lineage,
            name,
        ):
            continue
        draft.notes.append(Note(name, f"it is not in the trash: {live.config_dir}/{directory.name} is there"))
        if known.entry(name) is None and marker.claim == known.site.claim(directory.name):
            endpoint_id = directory.endpoint_id if isinstance(directory.endpoint_id, str) else marker.id
            draft.entries[name] = _entry(declared, directory, marker, endpoint_id)
        return True
    return False


def _entry(
    declared: DesiredEndpoint | None, directory: LiveDirectory, marker: Marker, endpoint_id: str | None
) -> LockedEndpoint:
    if declared is not None:
        return lock_entry(declared, marker.claim, endpoint_id)
    return found_entry(directory, marker.claim, endpoint_id, protect=marker.protect)


def _what_next(declared: DesiredEndpoint | None, renamed: Sequence[str]) -> str:
    if declared is None and renamed:
        return f"`chiltepin apply` renames it to {renamed[0]}, as `moved` says"
    if declared is None:
        return "the manifest does not declare it: put its block back before the next apply, which would delete it again"
    return f"`chiltepin apply` brings it to its declared state ({declared.state})"
