"""`chiltepin status`: a table of what is declared and what is there."""

from __future__ import annotations

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

ASKED_BY_DEFAULT = 15
"""With more endpoints than this, the service is asked about each only by `--refresh full` (20 requests per 10 s)."""


def status(
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    refresh: Annotated[
        str, typer.Option("--refresh", metavar="auto|full", help="Ask the service about every endpoint.")
    ] = "auto",
    output: o.FormatOption = "text",
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
) -> int:
    """Show each endpoint: its daemon, UUID and pools. Changes nothing."""
    from reconciler.cli.console import Console, check_format, print_warnings
    from reconciler.cli.manifest import Invocation
    from reconciler.cli.status_table import table_lines, trash_lines
    from reconciler.cli.wiring import wire
    from reconciler.core.live import Unknown
    from reconciler.core.lock import read_lock
    from reconciler.core.statuses import status_rows, trash_rows
    from reconciler.errors import ExitCode, UsageError
    from reconciler.observe import ask_statuses, observe
    from reconciler.reconcile import known_of

    check_format(output)
    if refresh not in ("auto", "full"):
        raise UsageError(f"--refresh {refresh}: not known", remedy="use auto or full")
    console = Console(color)
    wired = wire(Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside))
    print_warnings(console, wired.desired)
    text = wired.outside.store.read_lock()
    locked = read_lock(text, str(wired.invocation.lock_path)) if text is not None else None
    first = observe(wired.outside, wired.desired, locked, to_plan=False)
    ids = {row.id for row in status_rows(wired.desired, first, locked) if row.id}
    live = first
    if ids and not isinstance(first.registrations, Unknown) and (refresh == "full" or len(ids) <= ASKED_BY_DEFAULT):
        live = ask_statuses(wired.outside, first, ids)
    rows = status_rows(wired.desired, live, locked)
    deleted = trash_rows(wired.desired, live, known_of(wired.request(), locked, live))
    unreachable = live.registrations.reason if isinstance(live.registrations, Unknown) else None
    if output == "json":
        from reconciler.core.outputs import status_output, to_json

        document = status_output(
            rows,
            deleted,
            stack=wired.desired.stack,
            config_dir=live.config_dir,
            service=live.identity.service,
            unreachable=unreachable,
        )
        console.result(to_json(document))
    else:
        console.lines([*table_lines(rows), *trash_lines(deleted)])
    if unreachable:
        console.warn(f"the service could not be asked: {unreachable}")
        return int(ExitCode.UNREACHABLE)
    return int(ExitCode.OK)
