"""Questions at a terminal: prompts go to stderr, and only the very word that is asked for agrees."""

from __future__ import annotations

import sys

from reconciler.cli.console import prompt
from reconciler.core.consent import Allowed
from reconciler.core.frozen import dataclass
from reconciler.core.plan import Plan


class Declined(Exception):
    """The question was not answered with the word that agrees."""


@dataclass(frozen=True)
class Answer:
    """What was agreed to.

    Attributes:
        allowed: the part of the plan that may be done.
        agreed: whether all of it was agreed to by name, so that nothing more need be asked.
        remedy: what consents to what was left out.
    """

    allowed: Allowed
    agreed: bool = False
    remedy: str | None = None


def agreed(question: str, word: str = "yes") -> bool:
    """Ask; the end of the input is a no."""
    prompt(f"{question} Only `{word}` is taken as yes: ")
    return sys.stdin.readline().strip() == word


def ask_for_deletes(plan: Plan) -> Answer:
    """Ask for the name of each endpoint that the plan deletes; the others are left out.

    What the trash's retention ends is never asked about: that takes --allow-delete.
    """
    refused = tuple(name for name in plan.deletes if not agreed(f"{name} would be deleted.", name))
    rest = plan.without_endpoints(frozenset(refused)).without_expiries()
    why = f"not deleted, for want of consent: {', '.join(refused)}" if refused else None
    by_name = bool(rest.actions) and {a.endpoint for a in rest.actions} <= set(rest.deletes)
    return Answer(Allowed(rest, why), by_name)
