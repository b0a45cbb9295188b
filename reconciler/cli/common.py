"""How a plan is printed, for the commands that show one."""

from __future__ import annotations

import sys
from typing import TextIO

from reconciler.cli.console import Console
from reconciler.core.lines import Line
from reconciler.core.plan import Plan
from reconciler.core.report import plan_lines, trouble_lines
from reconciler.errors import UsageError
from reconciler.reconcile import Sight


def seconds_of(drain: str | None) -> float:
    """Return the seconds of `--drain`, 0 without it.

    Raises:
        UsageError: it is no duration.
    """
    from reconciler.core.manifest.retention import parse_duration

    if drain is None:
        return 0.0
    seconds = parse_duration(drain)
    if seconds is None:
        raise UsageError(f"--drain {drain}: this is no duration", remedy="write e.g. 90s, 30m or 2h")
    return float(seconds)


def print_plan(console: Console, sight: Sight, output: str, *, stream: TextIO | None = None) -> None:
    """Print a plan as text, JSON or markdown; text goes to `stream`, when that is given, all else to stdout."""
    if output == "json":
        from reconciler.core.outputs import plan_output, to_json

        console.result(to_json(plan_output(sight.plan)))
    elif output == "markdown":
        console.markdown("chiltepin plan", plan_lines(sight.plan, where=sight.where))
    elif not (console.quiet and sight.plan.is_empty and not sight.plan.refusals):
        console.lines(plan_lines(sight.plan, where=sight.where), stream=stream)
    _print_unreachable(console, sight.plan)


def print_trouble(console: Console, plan: Plan) -> None:
    """Print to stderr what is wrong with a plan that is not shown: what is refused, and what could not be asked."""
    console.lines(trouble_lines(plan), stream=sys.stderr)
    _print_unreachable(console, plan)


def _print_unreachable(console: Console, plan: Plan) -> None:
    if plan.unreachable:
        why = [Line(f"  {text.strip()}") for text in plan.unreachable.splitlines()]
        said = Line("the service could not be asked; what needs it is not planned", "error")
        console.lines([said, *why], stream=sys.stderr)
