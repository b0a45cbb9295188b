"""`chiltepin purge`: the registration of a deleted endpoint ends, and its entry in the trash goes."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options as o
from reconciler.cli.undelete import EntryOption

EPILOG = o.examples(
    """
      chiltepin purge ursa-old                         asks for its name
      chiltepin purge ursa-old --yes --allow-delete    for pipelines
      chiltepin purge --all --yes --allow-delete --max-deletes 5
    """
)


def purge(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The deleted endpoint's name.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All deleted endpoints of this stack.")] = False,
    entry: EntryOption = None,
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    yes: o.YesOption = False,
    allow_delete: Annotated[bool, typer.Option("--allow-delete", help="The consent that --yes is not.")] = False,
    max_deletes: o.MaxDeletesOption = 1,
    output: o.ReportFormatOption = "text",
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> int:
    """Deregister a deleted endpoint for ever; the trash drops it."""
    from reconciler.cli.errand import Look, run_errand
    from reconciler.core.consent import Consent
    from reconciler.core.scope import Errand
    from reconciler.errors import UsageError
    from reconciler.invocation import Invocation

    if (name is None) != everything:
        raise UsageError("purge needs a NAME or --all", remedy="`chiltepin status` lists what is in the trash")
    if entry is not None and everything:
        raise UsageError("--entry is for one endpoint", remedy="leave out --entry or --all")
    errand = Errand("purge", (name,) if name else (), entry=entry)
    invocation = Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside)
    look = Look(yes, output, color, quiet, verbose)
    consent = Consent(allow_delete, max_deletes)
    return int(run_errand(errand, invocation, look, question="Purge for ever?", consent=consent))
