"""What a plan, and what came of it, mean as one exit code. Pure."""

from __future__ import annotations

from reconciler.core.plan import Plan
from reconciler.core.progress import Run
from reconciler.errors import ExitCode, ReconcilerError, combine_exit_codes

_PASSED_ON = (ExitCode.LOGIN, ExitCode.UNREACHABLE, ExitCode.LEASE_HELD)


def code_of_error(error: ReconcilerError) -> int:
    """Return the exit code that one endpoint's error stands for in a whole apply."""
    return int(error.exit_code if error.exit_code in _PASSED_ON else ExitCode.PARTIAL)


def exit_code_of_plan(plan: Plan) -> ExitCode:
    """Return the exit code that a plan's refusals stand for."""
    codes = {ExitCode(refusal.exit_code) for refusal in plan.refusals}
    if plan.unreachable or plan.blocked:
        codes.add(ExitCode.UNREACHABLE)
    return combine_exit_codes(codes)


def exit_code_of_run(plan: Plan, run: Run, *, left_deletes: bool) -> ExitCode:
    """Return the exit code of an apply: what happened, and what its plan had refused."""
    codes = {exit_code_of_plan(plan)}
    for outcome in run.outcomes:
        if outcome.kind == "failed":
            codes.add(ExitCode(outcome.exit_code))
        elif outcome.kind == "deferred":
            codes.add(ExitCode.DEFERRED)
    codes |= {ExitCode(daemon.exit_code) for daemon in run.unconfirmed}
    if run.unwritten:
        codes.add(run.unwritten.exit_code)
    if run.interrupted:
        codes.add(ExitCode.INTERRUPTED)
    if left_deletes:
        codes.add(ExitCode.REFUSED)
    return combine_exit_codes(codes - {ExitCode.OK})
