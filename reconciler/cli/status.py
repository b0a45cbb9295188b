"""`chiltepin status`: a table of what is declared and what is there."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reconciler.cli import options as o

EPILOG = o.examples(
    """
      chiltepin status
      chiltepin status --format json
      chiltepin status --refresh full      asks the service about every endpoint
    """
)


def status(
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    refresh: Annotated[
        str, typer.Option("--refresh", metavar="auto|full", help="Ask the service about every endpoint.")
    ] = "auto",
    output: o.ReportFormatOption = "text",
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
    verbose: o.VerboseOption = False,
) -> int:
    """Show each endpoint: its daemon, UUID and pools. Changes nothing."""
    from reconciler.cli.console import Console, check_format, print_warnings
    from reconciler.cli.status_table import table_lines, trash_lines
    from reconciler.core.report import unreachable_lines
    from reconciler.errors import ExitCode, UsageError
    from reconciler.invocation import Invocation
    from reconciler.reconcile import make_status
    from reconciler.wiring import wire

    check_format(output, o.REPORT_FORMATS)
    if refresh not in ("auto", "full"):
        raise UsageError(f"--refresh {refresh}: not known", remedy="use auto or full")
    console = Console(color, verbose=verbose)
    wired = wire(Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside))
    print_warnings(console, wired.desired)
    found = make_status(wired.outside, wired.desired, str(wired.invocation.lock_path), full=refresh == "full")
    trouble = list(unreachable_lines(found.unreachable, "what it knows is not shown"))
    room = console.room() if output == "text" else None
    lines = [*table_lines(found.rows, room), *trash_lines(found.deleted)]
    if output == "json":
        from reconciler.core.outputs import status_output, to_json

        document = status_output(
            found.rows,
            found.deleted,
            stack=wired.desired.stack,
            config_dir=found.live.config_dir,
            service=found.live.identity.service,
            unreachable=found.unreachable,
        )
        console.result(to_json(document))
    elif output == "markdown":
        console.markdown("chiltepin status", [*lines, *trouble])
    else:
        console.lines(lines)
    console.lines(trouble, stream=sys.stderr)
    return int(ExitCode.UNREACHABLE if trouble else ExitCode.OK)
