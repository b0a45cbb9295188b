"""What the commands on one endpoint share: one errand, planned, shown, agreed to and applied."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.cli import options as o
from reconciler.core.frozen import dataclass
from reconciler.errors import ExitCode

if TYPE_CHECKING:
    from reconciler.core.consent import Consent
    from reconciler.core.scope import Errand
    from reconciler.invocation import Invocation


@dataclass(frozen=True)
class Look:
    """How to ask and to print, from the options."""

    yes: bool
    output: str
    color: str
    quiet: bool
    verbose: bool


def run_errand(
    errand: Errand, invocation: Invocation, look: Look, *, question: str, consent: Consent | None = None
) -> ExitCode:
    """Do one errand in the way of every apply: plan, show, ask, apply under the lease.

    `consent` is to what it deletes, of an errand that does.
    """
    from reconciler.cli.carry import Manner, plan_and_apply
    from reconciler.cli.console import Console, check_format, print_warnings
    from reconciler.core.consent import Consent
    from reconciler.core.scope import Scope
    from reconciler.wiring import wire

    console = Console(look.color, quiet=look.quiet, verbose=look.verbose)
    check_format(look.output, o.REPORT_FORMATS)
    wired = wire(invocation)
    print_warnings(console, wired.desired)
    request = replace(wired.request(), scope=Scope(errand=errand))
    if consent is None:  # forgetting is what was asked for by name: that is the consent
        consent = Consent(deletes=errand.kind == "forget", max_deletes=len(errand.names))
    title = f"chiltepin {errand.kind}"
    manner = Manner(look.yes, consent, 4, "online", look.output, question=question, drain=errand.drain, title=title)
    return plan_and_apply(console, wired, request, manner)
