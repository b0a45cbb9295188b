"""When what is in the trash ends: after its time, or when it takes too much room. Pure."""

from __future__ import annotations

from reconciler.core.actions import Note, Purge, Refusal, Undelete
from reconciler.core.changes import Cause
from reconciler.core.desired import Desired
from reconciler.core.draft import Draft
from reconciler.core.known import Known
from reconciler.core.live import LiveState, TrashEntry, Unknown
from reconciler.core.scope import Scope
from reconciler.core.trash import is_claimed_here, names_to_come_back, own_entries, purges


def expired(desired: Desired, live: LiveState, known: Known) -> tuple[TrashEntry, ...]:
    """Return the entries whose retention has ended, oldest first.

    An entry without a recorded time, or with one that is still to come (some clock was wrong), has no age, and
    stays. So does one whose endpoint is declared, maybe under another name, and has no directory: it can still come
    back.
    """
    wanted = names_to_come_back(desired, live)
    ours = [
        item
        for item in own_entries(live, known)
        if item.marker and item.marker.endpoint not in wanted and is_claimed_here(item, known)
    ]
    keep, limit = desired.trash.keep, desired.trash.max_bytes
    left = sum(item.size or 0 for item in ours)
    found: list[TrashEntry] = []
    for item in sorted(ours, key=lambda item: -(item.age or 0)):
        if item.age is None or item.age < 0:
            continue
        if (keep is not None and item.age > keep) or (limit is not None and left > limit):
            found.append(item)
            left -= item.size or 0
    return tuple(found)


def plan_expiry(desired: Desired, live: LiveState, known: Known, scope: Scope, draft: Draft) -> None:
    """Add a Purge for each entry whose retention has ended; without lock, service or `endpoints` section there is none.

    A manifest whose section is empty is a mistake more often than not, and what it does not name can come back.
    """
    if known.lock is None or not desired.declared or isinstance(live.registrations, Unknown):
        return
    restored = {action.trash_entry for action in draft.actions if isinstance(action, Undelete)}
    items = [
        item
        for item in expired(desired, live, known)
        if item.marker and item.name not in restored and scope.covers(item.marker.endpoint)
    ]
    for item, found in purges(items, Cause.RETENTION, live, known):
        if isinstance(found, Purge):
            draft.actions.append(found)
        else:
            why = found.what if isinstance(found, Refusal) else found.reason
            draft.notes.append(Note(found.endpoint, f"{item.name} stays in the trash: {why}"))
