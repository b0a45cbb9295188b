"""What plan, apply, destroy and status share: requests, printing, exit codes."""

from __future__ import annotations

import sys
from dataclasses import replace

from reconciler.cli.console import Console, check_format
from reconciler.cli.wiring import Wired
from reconciler.core.lines import Line
from reconciler.core.plan import Plan
from reconciler.core.progress import Run
from reconciler.core.report import plan_lines
from reconciler.core.scope import Scope
from reconciler.errors import ExitCode, UsageError, combine_exit_codes
from reconciler.reconcile import Request, Sight, site_of


def open_request(
    wired: Wired,
    target: list[str] | None,
    exclude: list[str] | None,
    new: list[str] | None,
    *,
    destroy: bool = False,
    purge: bool = False,
    reregister: list[str] | None = None,
    take_over: bool = False,
) -> Request:
    """Return the request that the options make.

    Raises:
        UsageError: an option names an endpoint that neither manifest nor lock knows.
    """
    import difflib

    request = wired.request()
    text = wired.outside.store.read_lock()
    known = {*wired.desired.endpoints, *wired.desired.elsewhere}
    if text is not None and (target or exclude or new or reregister):
        from reconciler.core.lock import read_lock

        known |= set(read_lock(text, request.lock_file).endpoints)
    named = (("--target", target), ("--exclude", exclude), ("--new", new), ("--reregister", reregister))
    for option, names in named:
        for name in names or ():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise UsageError(
                    f"{option} {name}: no such endpoint",
                    remedy=f"did you mean {near[0]}?" if near else f"known are: {', '.join(sorted(known)) or 'none'}",
                )
    limits = frozenset(target or ()), frozenset(exclude or ())
    scope = Scope(*limits, destroy, purge, frozenset(reregister or ()), take_over)
    return replace(request, scope=scope, new=frozenset(new or ()))


def where_of(sight: Sight) -> str:
    """Return host, config directory and service, for the first line of a report."""
    live = sight.live
    site = site_of(sight.plan.desired, live)
    name = site.host or live.host.name
    service = "" if live.identity.service == "production" else f", service {live.identity.service}"
    return f"{name} ({site.config_dir}{service})"


def print_plan(console: Console, sight: Sight, output: str) -> None:
    """Print a plan to stdout, as text, JSON or markdown."""
    check_format(output, ("text", "json", "markdown"))
    if output == "json":
        from reconciler.core.outputs import plan_output, to_json

        console.result(to_json(plan_output(sight.plan)))
    elif output == "markdown":
        console.markdown("chiltepin plan", plan_lines(sight.plan, where=where_of(sight)))
    elif not (console.quiet and sight.plan.is_empty and not sight.plan.refusals):
        console.lines(plan_lines(sight.plan, where=where_of(sight)))
    if sight.plan.unreachable:
        console.lines(
            [Line("the service could not be asked; what needs it is not planned", "error"), *_why(sight.plan)],
            stream=sys.stderr,
        )


def _why(plan: Plan) -> list[Line]:
    return [Line(f"  {text.strip()}") for text in (plan.unreachable or "").splitlines()]


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
