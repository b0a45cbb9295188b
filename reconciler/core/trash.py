"""The trash: which entries are ours, what ends there for ever, and when. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from shlex import quote

from reconciler.core.actions import Note, Purge, Refusal
from reconciler.core.changes import Cause, FileChange
from reconciler.core.desired import Desired
from reconciler.core.draft import Draft
from reconciler.core.known import WRONG_IDENTITY, Blocked, Known
from reconciler.core.live import GONE, LiveState, TrashEntry, Unknown
from reconciler.core.marker import Marker
from reconciler.core.preconditions import Offline
from reconciler.core.registrations import not_owned
from reconciler.core.scope import Errand
from reconciler.core.witnesses import check_claim, check_strangers


def own_entries(live: LiveState, known: Known, names: Collection[str] | None = None) -> tuple[TrashEntry, ...]:
    """Return the entries of this stack and lineage, oldest first; of these endpoints only, when `names` are given."""
    return tuple(
        item
        for item in live.trash
        if item.marker is not None
        and (item.marker.stack, item.marker.lineage) == (known.stack, known.lineage)
        and (names is None or item.marker.endpoint in names)
    )


def names_to_come_back(desired: Desired, live: LiveState) -> set[str]:
    """Return under which names something in the trash may come back: declared ones without a directory, and before."""
    names = [n for n, e in desired.endpoints.items() if e.directory not in live.directories]
    return {n for name in names for n in (name, *desired.formerly(name))}


def is_claimed_here(item: TrashEntry, known: Known) -> bool:
    """Whether it was deleted at this very place, by this identity."""
    return item.marker is not None and item.marker.claim == known.site.claim(item.marker.claim.directory)


def ids_in_use(live: LiveState, known: Known, leaving: Collection[str] = ()) -> set[str]:
    """Return the UUIDs that lock and directories name, of endpoints that are not `leaving`.

    One that was restored by hand is in the trash as well: its registration must stay.
    """
    entries = known.lock.endpoints.items() if known.lock else ()
    kept = {entry.id for name, entry in entries if name not in leaving and not _is_only_in_trash(name, live, known)}
    for directory in live.directories.values():
        marker = directory.marker
        if not isinstance(marker, Marker) or marker.endpoint not in leaving:
            kept |= {directory.endpoint_id} if isinstance(directory.endpoint_id, str) else set()
            kept |= {marker.id} if isinstance(marker, Marker) else set()
    return {value for value in kept if value is not None}


def _is_only_in_trash(name: str, live: LiveState, known: Known) -> bool:
    """Whether a delete was cut off before the lock was written: the lock's entry means what is in the trash."""
    entry = known.entry(name)
    if entry is None or entry.claim.directory in live.directories:
        return False
    return entry.claim == known.site.claim(entry.claim.directory) and any(
        item.id == entry.id for item in own_entries(live, known, (name,))
    )


def purges(
    items: Sequence[TrashEntry],
    cause: Cause,
    live: LiveState,
    known: Known,
    leaving: Collection[str] = (),
    ended: Collection[str] = (),
) -> Iterator[tuple[TrashEntry, Purge | Refusal | Blocked]]:
    """Yield what ends each of `items` for ever, or what stands against it.

    A registration ends once, and only when nothing is left of its UUID: no directory or entry in the lock, but of
    endpoints that are `leaving`, and nothing else in the trash. Of those that other actions have `ended` by then, the
    entries alone are dropped: whether they are online now says nothing.
    """
    names = {item.name for item in items}
    used = ids_in_use(live, known, leaving) | {i.id for i in live.trash if i.id and i.name not in names}
    ending = {*ended}
    for item in items:
        found = purge_of(item, cause, live, known, used, ending)
        if isinstance(found, Purge) and found.id is not None:
            ending.add(found.id)
        yield item, found


def purge_of(
    item: TrashEntry,
    cause: Cause,
    live: LiveState,
    known: Known,
    used: Collection[str],
    ended: Collection[str] = (),
) -> Purge | Refusal | Blocked:
    """Return what ends one of our entries for ever, or what stands against it.

    UUIDs in `used` stay registered; those in `ended` are ended by other actions.
    """
    marker = item.marker
    if marker is None:
        raise ValueError("an entry without a marker is nobody's")
    name = marker.endpoint
    refusal = check_claim(name, marker.claim, known.site.claim(marker.claim.directory), f"the trash entry {item.name}")
    if refusal is not None:
        refusal = at_another_place(refusal, item, live, "purge it there", ", and delete it again")
    if refusal is None and marker.protect:
        refusal = Refusal(
            name,
            f"{item.name} was protected when it was moved to the trash",
            f"bring it back: `chiltepin undelete {quote(name)}`, then"
            f" `chiltepin unprotect {quote(name)}`, then delete it again",
        )
    if refusal:
        return refusal
    ends, remarks = item.id, list[str]()
    if item.id in ended:
        ends = None
    elif item.id in used:
        ends = None
        remarks.append(f"its UUID {item.id} stays registered: it is in use, or in the trash once more")
    elif item.id is not None:
        found = _at_the_service(name, item.id, live)
        if isinstance(found, Refusal | Blocked):
            return found
        if not found:
            ends = None
            remarks.append(f"its registration {item.id} is gone already")
    return Purge(
        endpoint=name,
        directory=marker.claim.directory,
        cause=cause,
        preconditions=(Offline(ends),) if ends else (),
        changes=tuple(FileChange(text, "note", cause) for text in remarks),
        id=ends,
        trash_entry=item.name,
    )


def at_another_place(refusal: Refusal, item: TrashEntry, live: LiveState, there: str, then: str = "") -> Refusal:
    """Return the refusal of another place's entry with what to do about it; that of another identity as it is.

    Args:
        there: what to do at that place.
        then: what to do after it came back here, if that place is gone for good, or has another name by now.
    """
    if refusal.exit_code == WRONG_IDENTITY:
        return refusal
    moved = f"`mv {quote(f'{item.path}/endpoint')} {quote(f'{live.config_dir}/{item.deleted_directory}')}`"
    back = (
        f"if that is this place: {moved}, write its block, then `chiltepin adopt {quote(refusal.endpoint)} --take-over`"
    )
    return replace(refusal, what="it was deleted at another place than this one", remedy=f"{there}; {back}{then}")


def _at_the_service(name: str, endpoint_id: str, live: LiveState) -> bool | Refusal | Blocked:
    """Return whether the registration is there and may end."""
    if isinstance(live.registrations, Unknown):
        return Blocked(name, live.registrations.reason)
    status = live.statuses.get(endpoint_id)
    if isinstance(status, Unknown):
        return Blocked(name, status.reason)
    if endpoint_id not in live.registrations:
        if status is None:
            return Blocked(name, "the service was not asked whether its registration is there")
        return False if status == GONE else not_owned(name, endpoint_id)
    if status == "online":
        return Refusal(
            name,
            f"it was deleted here, but {endpoint_id} is online: it runs elsewhere",
            "stop it there first; if it was stopped a moment ago, wait until the service says offline",
        )
    return True


def plan_purges(
    errand: Errand, names: Iterable[str], desired: Desired, live: LiveState, known: Known, draft: Draft
) -> None:
    """Add what ends deleted endpoints for ever: those of these names, or all that were deleted here."""
    items = [] if errand.names else [i for i in own_entries(live, known) if is_claimed_here(i, known)]
    for name in names:
        chosen = chosen_entries(name, errand.entry, live, known, "purge")
        if not isinstance(chosen, Refusal):
            items += chosen
        elif refusal := _of_strangers(name, desired, live, known):
            draft.refusals.append(refusal)
        elif _is_gone(name, errand.entry, live, known):
            draft.notes.append(Note(name, "nothing is left of it: it is neither in the trash nor in the lock"))
        else:
            draft.refusals.append(chosen)
    if known.lock is None and items:
        draft.refusals += not_purged_without_lock(items)
        return
    for _, found in purges(items, Cause.CONSENT, live, known):
        if isinstance(found, Refusal):
            draft.refusals.append(found)
        elif isinstance(found, Blocked):
            draft.blocked.append(found)
        else:
            draft.actions.append(found)


def not_purged_without_lock(items: Iterable[TrashEntry]) -> list[Refusal]:
    """Refuse to end what is in the trash when there is no lockfile, once for each endpoint."""
    return [
        Refusal(
            name,
            "it is not purged: without a lockfile nothing tells that it is this manifest's own",
            "restore the lockfile, or run `chiltepin apply` first: it makes one",
        )
        for name in dict.fromkeys(item.marker.endpoint for item in items if item.marker)
    ]


def _of_strangers(name: str, desired: Desired, live: LiveState, known: Known) -> Refusal | None:
    """Refuse what another stack, or another manifest, has in the directory of a declared endpoint."""
    declared = desired.endpoints.get(name)
    return check_strangers(name, declared.directory, live, known) if declared else None


def _is_gone(name: str, entry: str | None, live: LiveState, known: Known) -> bool:
    """Whether a purge has nothing to end, as after one that was cut off at its very end."""
    markers = [d.marker for d in live.directories.values()] + [item.marker for item in live.trash]
    named = any(isinstance(m, Marker) and (m.stack, m.endpoint) == (known.stack, name) for m in markers)
    return entry is None and known.entry(name) is None and not named


def of_nobody(trash: Iterable[TrashEntry]) -> tuple[TrashEntry, ...]:
    """Return what was deleted by hand, oldest first: no stack manages it, so no command with a manifest names it."""
    return tuple(item for item in trash if item.directory is not None and item.directory.marker is None)


def chosen_entries(
    name: str, entry: str | None, live: LiveState, known: Known, command: str
) -> tuple[TrashEntry, ...] | Refusal:
    """Return the entries of one endpoint that a command means, oldest first: all of one UUID, or the one named."""
    found = own_entries(live, known, (name,))
    if entry is not None:
        found = tuple(item for item in found if item.name == entry)
    if not found:
        what = f"it is not in the trash{f' as {entry}' if entry else ''}"
        remedy = "`chiltepin status` lists what is there"
        if command == "purge" and not entry:
            remedy = f"delete it first: remove its block, then `chiltepin apply --allow-delete --target {quote(name)}`"
        if entry is None and any(item.deleted_directory == name for item in of_nobody(live.trash)):
            remedy = f"what was deleted by hand comes back by hand: `chiltepin endpoint undelete {quote(name)}`"
        return Refusal(name, what, remedy, tuple(_others(name, live, known)))
    if len({item.id for item in found}) > 1:
        return Refusal(
            name,
            "it is in the trash several times, with different UUIDs",
            f"say which one: `chiltepin undelete {quote(name)} --entry ENTRY`"
            if command == "undelete"
            else f"say which one: `chiltepin purge {quote(name)} --entry ENTRY`",
            tuple(say_entry(item) for item in found),
        )
    return found


def _others(name: str, live: LiveState, known: Known) -> Iterator[str]:
    """Say what else in the trash has this name, of a lock that is not this one."""
    for item in live.trash:
        marker = item.marker
        if marker and (marker.stack, marker.endpoint) == (known.stack, name) and marker.lineage != known.lineage:
            yield f"{item.path} is of another lock (lineage {marker.lineage}, this one's is {known.lineage})"


def say_entry(item: TrashEntry) -> str:
    """Return an entry in words; its name tells when it was deleted."""
    return f"{item.name}: {item.id or 'never registered'}"


def ids_to_ask(names: Collection[str] | None, live: LiveState, known: Known) -> set[str]:
    """Return the UUIDs of our entries: whether they are online, or whose they are."""
    return {item.id for item in own_entries(live, known, names) if item.id}


__all__ = [
    "chosen_entries",
    "ids_in_use",
    "ids_to_ask",
    "is_claimed_here",
    "names_to_come_back",
    "not_purged_without_lock",
    "own_entries",
    "plan_purges",
    "purges",
    "say_entry",
]
