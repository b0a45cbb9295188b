"""`chiltepin undelete`: a deleted endpoint comes back with its UUID."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options as o

EPILOG = o.examples(
    """
      chiltepin undelete ursa-old  then: put its block back, and chiltepin apply
    """
)

EntryOption = Annotated[
    str | None, typer.Option("--entry", metavar="ENTRY", help="Which entry of the trash, when there are several.")
]


def undelete(
    name: o.DeletedNameArgument,
    entry: EntryOption = None,
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    yes: o.YesOption = False,
    output: o.ReportFormatOption = "text",
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> int:
    """Bring a deleted endpoint back from the trash, with its UUID."""
    from reconciler.cli.errand import Look, run_errand
    from reconciler.core.scope import Errand
    from reconciler.invocation import Invocation

    errand = Errand("undelete", (name,), entry=entry)
    invocation = Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside)
    return int(run_errand(errand, invocation, Look(yes, output, color, quiet, verbose), question="Bring it back?"))
