"""What may be done of a plan: deletes need consent, and one run does only so many. Pure."""

from __future__ import annotations

import shlex

from reconciler.core.actions import Purge
from reconciler.core.frozen import dataclass
from reconciler.core.plan import Plan


@dataclass(frozen=True)
class Consent:
    """What an apply may do to endpoints that leave.

    Attributes:
        deletes: whether deleting was consented to.
        max_deletes: how many endpoints one run may delete.
    """

    deletes: bool = False
    max_deletes: int = 1


@dataclass(frozen=True)
class Allowed:
    """What may be done of a plan, and why some deletes were left out of it, when they were."""

    plan: Plan
    left: str | None = None


def consented(plan: Plan, consent: Consent) -> Allowed:
    """Return the plan without deletes that were not consented to, and why they were left out.

    What the trash's retention ends needs the same consent and counts, too; but that it waits is no refusal.
    """
    names, count = plan.deletes, plan.delete_count
    if plan.refused:
        # They come last, and only when all else goes well; what is in the trash may be what the refused one was.
        why = f"{count} to delete, not done before all else is well: {', '.join(names)}"
        return Allowed(plan.without_endpoints(frozenset(names)).without_expiries(), why if names else None)
    if not consent.deletes:
        why = f"{count} to delete, not done without --allow-delete: {', '.join(names)}"
        return Allowed(plan.without_endpoints(frozenset(names)).without_expiries(), why if names else None)
    if count > consent.max_deletes:
        why = f"{count} to delete, more than --max-deletes {consent.max_deletes} allows, so none is: {', '.join(names)}"
        return Allowed(plan.without_endpoints(frozenset(names)).without_expiries(), why)
    # What has expired waits for its turn: the oldest go first, as many as the cap leaves room for.
    room = consent.max_deletes - count
    return Allowed(plan.without_expiries(plan.expiries[:room]))


def consent_options(plan: Plan) -> tuple[str, ...]:
    """Return the options with which an apply does the deletes of a plan, too; none when there are none to be done."""
    held = consented(plan, Consent(deletes=True, max_deletes=plan.delete_count)).left
    if held or not plan.deletes:  # what is left although all is agreed to, no option does
        return ()
    return ("--allow-delete", *(("--max-deletes", str(plan.delete_count)) if plan.delete_count > 1 else ()))


def remedy_for_refused(plan: Plan, *, is_kept: bool) -> str:
    """Return what to do so that deletes are done which refused endpoints hold back; a kept plan stays as it is."""
    names = ", ".join(plan.refused)
    if not is_kept:
        return f"mend what is said of {names}, or leave it out by --exclude, and run it again"
    options = " ".join(f"--exclude {shlex.quote(name)}" for name in plan.refused)
    return f"mend what is said of {names}, then make a new plan and apply that; or make one with {options}"


def waiting(plan: Plan, allowed: Plan) -> tuple[Purge, ...]:
    """Return what the trash's retention ends in `plan` and what is `allowed` of it leaves in the trash."""
    return tuple(purge for purge in plan.expiries if purge not in allowed.expiries)
