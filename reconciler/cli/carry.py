"""Plan, ask, apply, report: the course that `apply` and `destroy` share."""

from __future__ import annotations

import sys
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.ask import Allowed, agreed, ask_for_deletes
from reconciler.cli.common import print_plan, print_trouble
from reconciler.cli.console import Console
from reconciler.cli.live import PlainProgress, progress
from reconciler.cli.signals import graceful, orderly
from reconciler.core.exit_codes import exit_code_of_run
from reconciler.core.lines import Line, Style
from reconciler.core.plan import Plan
from reconciler.core.progress import Outcome, Run
from reconciler.core.scope import Scope
from reconciler.effects import Conduct
from reconciler.errors import ExitCode, ReconcilerError, UsageError
from reconciler.reconcile import Consent, Request, Sight, carry_out, confirm, consented, make_sight, waiting
from reconciler.wiring import Wired

if TYPE_CHECKING:
    from reconciler.core.saved_plan import SavedPlan


@dataclass(frozen=True)
class Manner:
    """How to go about it, from the options.

    Attributes:
        word: what must be typed to agree to `question`.
    """

    yes: bool
    consent: Consent
    parallelism: int
    wait: str
    output: str
    question: str
    saved: SavedPlan | None = None
    word: str = "yes"
    drain: float = 0.0


def plan_and_apply(console: Console, wired: Wired, request: Request, manner: Manner) -> ExitCode:
    """Plan and apply under the lease, and print what became of it."""
    if manner.wait not in ("online", "started"):
        raise UsageError(f"--wait {manner.wait}: not known", remedy="use online or started")
    if not manner.yes and not sys.stdin.isatty():
        raise UsageError(
            "nobody can be asked: the input is not a terminal", remedy="look at `chiltepin plan`, then use --yes"
        )
    # The lease comes first: what is planned must still be true when it is done.
    with orderly(), wired.outside.store.lease():
        sight = make_sight(wired.outside, request)
        if manner.saved is not None:
            from reconciler.core.saved_plan import check_same

            check_same(manner.saved, sight.plan)
        if manner.output == "text" and not (console.quiet and manner.yes):
            print_plan(console, sight, "text")
        else:
            print_trouble(console, sight.plan)
        allowed = _allowed(sight.plan, manner)
        plan, left = allowed.plan, allowed.left
        if left:
            console.warn(left)
            if allowed.remedy:
                console.warn(f"  next: {allowed.remedy}")
        late = [purge.endpoint for purge in waiting(sight.plan, plan)]
        if late:
            console.say(f"{len(late)} in the trash past their retention, kept for want of consent: {', '.join(late)}")
        if not (plan.is_empty or manner.yes or allowed.agreed) and not agreed(manner.question, manner.word):
            console.say("nothing was done")
            return ExitCode.FAILED
        run = _carry_out(console, wired, sight, plan, manner)
        run = _confirm(console, wired, plan, run, manner)
        code = exit_code_of_run(sight.plan, run, left_deletes=left is not None)
        # Before the lease is given back: whatever that meets, what was done is told.
        if manner.output == "json":
            from reconciler.core.outputs import apply_output, to_json

            console.result(to_json(apply_output(sight.plan, run, int(code))))
        elif not plan.is_empty or run.unconfirmed or run.unwritten:
            _print_end(console, sight, run)
    return code


def read_plan(path: Path) -> SavedPlan:
    """Read a plan that `plan --out` kept.

    Raises:
        UsageError: there is no such file.
        StateFileError: it is no such plan.
    """
    from reconciler.adapters.store import read_text
    from reconciler.core.saved_plan import read_saved_plan

    text = read_text(path, "plan")
    if text is None:
        raise UsageError("there is no such plan", where=str(path), remedy="keep one: `chiltepin plan --out FILE`")
    return read_saved_plan(text, str(path))


def scope_of(saved: SavedPlan) -> Scope:
    """Return the limits that a kept plan was made with."""
    limits = saved.scope
    return Scope(
        frozenset(limits.targets),
        frozenset(limits.exclude),
        limits.destroy,
        limits.purge,
        frozenset(limits.reregister),
        limits.take_over,
    )


def _allowed(plan: Plan, manner: Manner) -> Allowed:
    """Return the part of the plan that was consented to: by options, or at the terminal."""
    asks = bool(plan.deletes) and not (manner.yes or manner.consent.deletes)
    if asks and plan.delete_count <= manner.consent.max_deletes:
        return ask_for_deletes(plan)
    consent = Consent(True, manner.consent.max_deletes) if asks else manner.consent  # it is the cap that stops it
    option = f"--max-deletes {plan.delete_count}" if consent.deletes else "--allow-delete"
    remedy = f"when all of these are to go, run it again with {option}"
    return Allowed(*consented(plan, consent), remedy=remedy)


def _carry_out(console: Console, wired: Wired, sight: Sight, plan: Plan, manner: Manner) -> Run:
    stop = threading.Event()
    conduct = Conduct(
        run=wired.run,
        parallelism=manner.parallelism,
        wait_online=manner.wait == "online",
        stop=stop,
        drain=manner.drain,
    )
    width = max((len(action.endpoint) for action in plan.actions), default=0)
    listener = progress(console, width) if plan.actions else nullcontext(PlainProgress(console, width))
    with graceful(stop, console), listener as events:
        return carry_out(sight, plan, wired.outside, wired.clock, conduct, events)


def _confirm(console: Console, wired: Wired, plan: Plan, run: Run, manner: Manner) -> Run:
    stop = threading.Event()
    conduct = Conduct(run=wired.run, wait_online=manner.wait == "online", stop=stop)
    if run.interrupted:
        return run
    with graceful(stop, console):
        return confirm(plan, run, wired.outside, wired.clock, conduct)


def _print_end(console: Console, sight: Sight, run: Run) -> None:
    """Print failures last, each with the end of its log and a remedy, and a line that sums up."""
    failed = [o for o in run.outcomes if o.kind == "failed"]
    lines: list[Line] = []
    for outcome in failed:
        lines += _failure_lines(outcome)
    for outcome in run.outcomes:
        if outcome.kind == "deferred" and outcome.remedy:
            lines.append(Line(f"{outcome.action.endpoint}: {outcome.action.kind} deferred; next: {outcome.remedy}"))
    for daemon in run.unconfirmed:
        lines += [Line(""), Line(f"{daemon.endpoint}: {daemon.reason}", "error")]
        lines += [Line(f"  next: {daemon.remedy}")] if daemon.remedy else []
    if run.unwritten:
        lines += _unwritten_lines(run.unwritten)
    for name, reason in run.left_out.items():
        lines.append(Line(f"pool {name} is left out of the pools file: {reason}", "warning"))
    lines += [Line(text, "warning") for text in run.warnings]
    counts = {kind: sum(o.kind == kind for o in run.outcomes) for kind in ("done", "failed", "deferred", "skipped")}
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "only our own files written"
    style: Style = "head"
    if failed or run.unconfirmed:
        style = "error"
    elif counts["deferred"] or run.interrupted:
        style = "warning"
    prefix = "Interrupted" if run.interrupted else "Applied"
    lines.append(Line(f"{prefix} on {sight.where}: {said}.", style))
    if not console.quiet or failed or run.unconfirmed or run.warnings or run.unwritten:
        console.lines(lines, stream=sys.stderr)


def _unwritten_lines(error: ReconcilerError) -> list[Line]:
    what = f"{error.where}: {error.what}" if error.where else error.what
    lines = [Line(""), Line("what was done is not on record everywhere, so nothing more was begun:", "error")]
    lines.append(Line(f"  {what}: {error.why}" if error.why else f"  {what}", "error"))
    return [*lines, Line(f"  next: {error.remedy}")] if error.remedy else lines


def _failure_lines(outcome: Outcome) -> list[Line]:
    action = outcome.action
    lines = [Line(""), Line(f"{action.endpoint}: {action.kind} failed: {outcome.reason}", "error")]
    lines += [Line(f"  | {text}", "dim") for text in outcome.log.splitlines()]
    if outcome.remedy:
        lines.append(Line(f"  next: {outcome.remedy}"))
    return lines
