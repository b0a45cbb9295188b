"""How a plan is printed, for the commands that show one."""

from __future__ import annotations

import sys
from typing import TextIO

from reconciler.cli.console import Console
from reconciler.core.plan import Plan
from reconciler.core.report import plan_lines, trouble_lines, unreachable_lines
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
        lines = [*plan_lines(sight.plan, where=sight.where), *unreachable_lines(sight.plan.unreachable)]
        console.markdown("chiltepin plan", lines)
    elif not (console.quiet and sight.plan.is_empty and not sight.plan.refusals):
        console.lines(plan_lines(sight.plan, where=sight.where), stream=stream)
    console.lines(unreachable_lines(sight.plan.unreachable), stream=sys.stderr)


def print_trouble(console: Console, plan: Plan) -> None:
    """Print to stderr what is wrong with a plan that is not shown: what is refused, and what could not be asked."""
    console.lines([*trouble_lines(plan), *unreachable_lines(plan.unreachable)], stream=sys.stderr)
