"""`chiltepin restart`: a new daemon under the same UUID."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options as o

EPILOG = o.examples(
    """
      chiltepin restart ursa-main                waits until no user endpoint is alive (else exits 5)
      chiltepin restart ursa-main --interrupt    at once; running tasks are lost
    """
)


def restart(
    name: o.NameArgument,
    interrupt: Annotated[
        bool, typer.Option("--interrupt", help="Do not wait until it is idle: running tasks are lost.")
    ] = False,
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    yes: o.YesOption = False,
    output: o.FormatOption = "text",
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
    quiet: o.QuietOption = False,
) -> int:
    """Restart an endpoint's daemon under the same UUID."""
    from reconciler.cli.errand import Look, run_errand
    from reconciler.core.scope import Errand
    from reconciler.invocation import Invocation

    errand = Errand("restart", (name,), interrupt=interrupt)
    invocation = Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside)
    return int(run_errand(errand, invocation, Look(yes, output, color, quiet), question="Restart it?"))
