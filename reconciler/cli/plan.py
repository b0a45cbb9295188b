"""`chiltepin plan`: show what apply would do."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options as o
from reconciler.errors import ExitCode

EPILOG = o.examples(
    """
      chiltepin plan
      chiltepin plan --detailed-exitcode      exits 2 when something would change
      chiltepin plan --format json            for scripts
    """
)


def plan(
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    target: o.TargetOption = None,
    exclude: o.ExcludeOption = None,
    new: o.NewOption = None,
    destroy: Annotated[bool, typer.Option("--destroy", help="Plan what `destroy` would do.")] = False,
    detailed: Annotated[bool, typer.Option("--detailed-exitcode", help="Exit 2 when there are changes.")] = False,
    output: o.FormatOption = "text",
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
    quiet: o.QuietOption = False,
) -> int:
    """Show what differs, and what apply would do about it. Changes nothing."""
    from reconciler.cli.common import exit_code_of_plan, open_request, print_plan
    from reconciler.cli.console import Console, print_warnings
    from reconciler.cli.manifest import Invocation
    from reconciler.cli.wiring import wire
    from reconciler.reconcile import make_sight

    console = Console(color, quiet=quiet)
    wired = wire(Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside))
    print_warnings(console, wired.desired)
    request = open_request(wired, target, exclude, new, destroy=destroy)
    sight = make_sight(wired.outside, request)
    print_plan(console, sight, output)
    code = exit_code_of_plan(sight.plan)
    if code is ExitCode.OK and detailed and not sight.plan.is_empty:
        code = ExitCode.CHANGES
    return int(code)
