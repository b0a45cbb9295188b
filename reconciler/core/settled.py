"""Which intents that earlier runs left open in the journal are over once a run has ended. Pure.

An intent that stays open tells the next run to look for what it may have done; one that is over, and stays
open, would mislead it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from reconciler.core.actions import DELETING, Rename, Start, Undelete
from reconciler.core.live import JournalEntry
from reconciler.core.lock import Lock
from reconciler.core.plan import Plan
from reconciler.core.progress import Outcome

_OVER = frozenset(kind.kind for kind in (*DELETING, Undelete))


def settled(
    unfinished: Iterable[JournalEntry], plan: Plan, outcomes: Collection[Outcome], lock: Lock, run: str
) -> list[JournalEntry]:
    """Return the intents of other runs than `run` whose endpoints are as planned now, of this stack alone.

    Args:
        unfinished: what the journal holds without an end.
        plan: what was to be done.
        outcomes: what became of it.
        lock: the lock as it is after that.
        run: id of the run that ended, whose own intents say how far it came.
    """
    planned = {*plan.markers, *(a.endpoint for a in plan.actions)}
    planned |= {a.old for a in plan.actions if isinstance(a, Rename)}
    undone = [o.action for o in outcomes if o.kind != "done"]
    open_ones = {a.endpoint for a in undone} | {a.old for a in undone if isinstance(a, Rename)}
    open_ones |= {r.endpoint for r in plan.refusals} | {b.endpoint for b in plan.blocked}
    found = []
    for entry in unfinished:
        if entry.event != "intent" or entry.run == run or entry.endpoint in open_ones:
            continue
        if not entry.belongs_to(plan.desired.stack):
            continue
        # What was deleted or brought back is in no later plan; whether that was done shows in lock and trash.
        is_over = entry.action in _OVER
        if is_over or (entry.endpoint in planned and _is_found_out(entry, outcomes, lock)):
            found.append(entry)
    return found


def _is_found_out(entry: JournalEntry, outcomes: Collection[Outcome], lock: Lock) -> bool:
    """Whether nothing of an intent is left to be found out: what a first start registered may be on no record."""
    if entry.action != Start.kind:
        return True
    done = [o.action for o in outcomes if o.kind == "done"]
    names = {a.old: a.endpoint for a in done if isinstance(a, Rename)}
    locked = lock.endpoints.get(names.get(entry.endpoint, entry.endpoint))
    if locked is not None:
        return locked.id is not None
    # What has left did so by a plan that looked for its registration.
    left = {a.endpoint for a in done if isinstance(a, DELETING)}
    return bool(entry.data.get("id")) or entry.endpoint in left
