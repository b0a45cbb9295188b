"""Plan, ask, apply, report: the course that `apply` and `destroy` share."""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.apply import Events
from reconciler.cli.ask import Answer, Declined, agreed, ask_for_deletes
from reconciler.cli.common import print_plan, print_trouble
from reconciler.cli.console import Console
from reconciler.cli.live import PlainProgress, outcome_line, progress
from reconciler.cli.signals import graceful, orderly
from reconciler.conduct import Conduct
from reconciler.core.consent import Allowed, Consent, consented, remedy_for_refused, waiting
from reconciler.core.frozen import dataclass
from reconciler.core.lines import Line, Style
from reconciler.core.plan import Plan
from reconciler.core.progress import Outcome, Run
from reconciler.core.report import note_lines, plan_lines, summary, trouble_lines, unreachable_lines
from reconciler.core.scope import Scope
from reconciler.errors import ExitCode, ReconcilerError, UsageError
from reconciler.reconcile import Applied, Request, Sight, apply
from reconciler.wiring import Wired

if TYPE_CHECKING:
    from reconciler.core.saved_plan import SavedPlan


@dataclass(frozen=True)
class Manner:
    """How to go about it, from the options.

    Attributes:
        word: what must be typed to agree to `question`.
        title: the heading of a report in markdown.
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
    title: str = "chiltepin apply"


def plan_and_apply(console: Console, wired: Wired, request: Request, manner: Manner) -> ExitCode:
    """Plan and apply under the lease, and print what became of it."""
    if manner.wait not in ("online", "started"):
        raise UsageError(f"--wait {manner.wait}: not known", remedy="use online or started")
    if not manner.yes and not sys.stdin.isatty():
        raise UsageError("nobody can be asked: the input is not a terminal", remedy=_unasked(request))
    conduct = Conduct(
        run=wired.run,
        parallelism=manner.parallelism,
        wait_online=manner.wait == "online",
        stop=threading.Event(),
        drain=manner.drain,
    )
    course = _AtTheShell(console, manner, conduct.stop)
    try:
        with orderly():
            applied = apply(wired.outside, wired.clock, request, conduct, course, reviewed=manner.saved)
    except Declined:
        console.say("nothing was done")
        return ExitCode.FAILED
    return applied.exit_code


def _unasked(request: Request) -> str:
    """Return how to agree beforehand to what nobody can be asked about."""
    errand = request.scope.errand
    if errand is None:
        scope = request.scope
        look = " ".join(["chiltepin plan", *["--destroy"] * scope.destroy, *["--purge"] * scope.purge])
        return f"look at `{look}`, then use --yes"
    return "use --yes, with --allow-delete and --max-deletes N" if errand.kind == "purge" else "use --yes"


@dataclass(frozen=True)
class _AtTheShell:
    """The course of an apply at the command line: shown, asked about, watched, and told."""

    console: Console
    manner: Manner
    stop: threading.Event
    said: list[Line] = field(default_factory=list)  # what was said beside the plan: a report repeats it

    def wait(self, what: str, names: Collection[str]) -> None:
        self.console.say(f"waiting for {what}: {', '.join(names)}")

    def agree(self, sight: Sight) -> Allowed:
        console, manner = self.console, self.manner
        if manner.output == "text" and not (console.quiet and manner.yes):
            print_plan(console, sight, "text")
        elif manner.yes or sight.plan.is_empty:
            print_trouble(console, sight.plan)
        else:  # who is asked must see what for
            print_plan(console, sight, "text", stream=sys.stderr)
        answer = _answer(sight.plan, manner)
        plan, left = answer.allowed.plan, answer.allowed.left
        if left:
            self.said.append(Line(left, "warning"))
            self.said.extend([Line(f"  next: {answer.remedy}", "warning")] if answer.remedy else [])
            console.lines(self.said, stream=sys.stderr)
        late = [purge.endpoint for purge in waiting(sight.plan, plan)]
        if late:
            why = "until all else is well" if sight.plan.refused else "for want of consent"
            text = f"{len(late)} in the trash past their retention, kept {why}: {', '.join(late)}"
            self.said.append(Line(text))
            console.say(text)
        question = f"Apply the rest ({summary(plan).removeprefix('Plan: ').rstrip('.')})?" if left else manner.question
        if not (plan.is_empty or manner.yes or answer.agreed) and not agreed(question, manner.word):
            raise Declined
        return answer.allowed

    @contextmanager
    def at_work(self, plan: Plan) -> Iterator[Events]:
        width = max((len(action.endpoint) for action in plan.actions), default=0)
        listener = progress(self.console, width) if plan.actions else nullcontext(PlainProgress(self.console, width))
        with graceful(self.stop, self.console), listener as events:
            yield events

    def end(self, applied: Applied) -> None:
        run = applied.run
        if self.manner.output == "json":
            from reconciler.core.outputs import apply_output, to_json

            document = apply_output(applied.sight.plan, run, int(applied.exit_code), left=applied.left)
            self.console.result(to_json(document))
        elif self.manner.output == "markdown":
            self.console.markdown(self.manner.title, _report_lines(applied, self.said))
        elif not applied.plan.is_empty or run.unconfirmed or run.unwritten:
            _print_end(self.console, applied.sight, run)


def read_plan(path: Path) -> SavedPlan:
    """Read a plan that `plan --out` kept.

    Raises:
        UsageError: there is no such file, or it is something else than a plan.
        StateFileError: the plan is damaged, or of a newer version.
    """
    from reconciler.adapters.store import read_text
    from reconciler.core.saved_plan import read_saved_plan
    from reconciler.paths import check_plain_file

    check_plain_file(path, "name the file that `chiltepin plan --out FILE` wrote")
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
        retry=limits.retry,
    )


def _answer(plan: Plan, manner: Manner) -> Answer:
    """Return the part of the plan that was consented to: by options, or at the terminal."""
    refused = plan.refused if plan.deletes else ()
    asks = bool(plan.deletes) and not (refused or manner.yes or manner.consent.deletes)
    if asks and plan.delete_count <= manner.consent.max_deletes:
        return ask_for_deletes(plan)
    consent = Consent(True, manner.consent.max_deletes) if asks else manner.consent  # it is the cap that stops it
    options = [] if consent.deletes else ["--allow-delete"]
    options += [f"--max-deletes {plan.delete_count}"] if plan.delete_count > consent.max_deletes else []
    again = "make a new plan of what is left, and apply that" if manner.saved else "run it again"
    remedy = f"when all of these are to go, {again} with {' '.join(options)}"
    if refused:
        remedy = remedy_for_refused(plan, is_kept=manner.saved is not None)
    return Answer(consented(plan, consent), remedy=remedy)


def _report_lines(applied: Applied, said: Iterable[Line]) -> Iterator[Line]:
    """Yield all that an apply came to: what was refused or left, what became of each action, and what to do now."""
    sight, run = applied.sight, applied.run
    if sight.plan.is_empty and not (run.unconfirmed or run.unwritten):
        yield from plan_lines(sight.plan, where=sight.where)
        yield from unreachable_lines(sight.plan.unreachable)
        return
    yield from trouble_lines(sight.plan)
    yield from unreachable_lines(sight.plan.unreachable)
    yield from said
    yield from note_lines(sight.plan)
    width = max((len(outcome.action.endpoint) for outcome in run.outcomes), default=0)
    yield from (outcome_line(outcome, width) for outcome in run.outcomes)
    yield from _end_lines(sight, run)


def _print_end(console: Console, sight: Sight, run: Run) -> None:
    failed = any(o.kind == "failed" for o in run.outcomes)
    if not console.quiet or failed or run.unconfirmed or run.warnings or run.unwritten:
        console.lines(_end_lines(sight, run), stream=sys.stderr)


def _end_lines(sight: Sight, run: Run) -> list[Line]:
    """Return the failures, each with the end of its log and a remedy, and a last line that sums up."""
    failed = [o for o in run.outcomes if o.kind == "failed"]
    lines: list[Line] = []
    for outcome in failed:
        lines += _failure_lines(outcome)
    for outcome in run.outcomes:
        if outcome.kind == "deferred" and outcome.remedy:
            lines.append(Line(f"{outcome.action.endpoint}: {outcome.action.kind} deferred; next: {outcome.remedy}"))
    if run.interrupted:
        begun_not = [f"{o.action.endpoint} ({o.action.kind})" for o in run.outcomes if o.kind == "skipped"]
        lines += [Line(f"not begun: {', '.join(begun_not)}; next: run it again")] if begun_not else []
    for daemon in run.unconfirmed:
        lines += [Line(""), Line(f"{daemon.endpoint}: {daemon.reason}", "error")]
        lines += [Line(f"  next: {daemon.remedy}")] if daemon.remedy else []
    if run.unwritten:
        lines += _unwritten_lines(run.unwritten, anything=bool(run.outcomes))
    for name, reason in run.left_out.items():
        lines.append(Line(f"pool {name} is left out of the pools file: {reason}", "warning"))
    lines += [Line(text, "warning") for text in run.warnings]
    counts = {kind: sum(o.kind == kind for o in run.outcomes) for kind in ("done", "failed", "deferred", "skipped")}
    nothing = "nothing done" if run.unwritten else "only our own files written"
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or nothing
    style: Style = "head"
    if failed or run.unconfirmed or run.unwritten:
        style = "error"
    elif counts["deferred"] or run.interrupted:
        style = "warning"
    prefix = "Interrupted" if run.interrupted else "Applied"
    lines.append(Line(f"{prefix} on {sight.where}: {said}.", style))
    return lines


def _unwritten_lines(error: ReconcilerError, *, anything: bool) -> list[Line]:
    what = f"{error.where}: {error.what}" if error.where else error.what
    head = "what was done is not on record everywhere, so nothing more was begun:"
    lines = [Line(""), Line(head if anything else "not written:", "error")]
    lines.append(Line(f"  {what}: {error.why}" if error.why else f"  {what}", "error"))
    return [*lines, Line(f"  next: {error.remedy}")] if error.remedy else lines


def _failure_lines(outcome: Outcome) -> list[Line]:
    action = outcome.action
    lines = [Line(""), Line(f"{action.endpoint}: {action.kind} failed: {outcome.reason}", "error")]
    lines += [Line(f"  | {text}", "dim", quoted=True) for text in outcome.log.splitlines()]
    if outcome.remedy:
        lines.append(Line(f"  next: {outcome.remedy}"))
    return lines
