"""`chiltepin destroy`: stop and delete everything that the stack owns on this host."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options as o
from reconciler.cli.apply import ParallelismOption, YesOption

EPILOG = o.examples(
    """
      chiltepin destroy             to the trash; registrations stay
      chiltepin destroy --drain 2h  waits for running tasks first
      chiltepin destroy --purge     for ever: the UUIDs cannot come back
    """
)


def destroy(
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    target: o.TargetOption = None,
    exclude: o.ExcludeOption = None,
    purge: Annotated[bool, typer.Option("--purge", help="Deregister too, and empty the stack's trash.")] = False,
    yes: YesOption = False,
    parallelism: ParallelismOption = 4,
    drain: o.DrainOption = None,
    output: o.ReportFormatOption = "text",
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> int:
    """Stop and delete every endpoint of this stack on this host."""
    from reconciler.cli.carry import Manner, plan_and_apply
    from reconciler.cli.common import seconds_of
    from reconciler.cli.console import Console, check_format, print_warnings
    from reconciler.core.consent import Consent
    from reconciler.invocation import Invocation
    from reconciler.wiring import open_request, wire

    console = Console(color, quiet=quiet, verbose=verbose)
    check_format(output, o.REPORT_FORMATS)
    patience = seconds_of(drain)
    wired = wire(Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside))
    print_warnings(console, wired.desired)
    request = open_request(wired, target, exclude, None, destroy=True, purge=purge)
    consent = Consent(deletes=True, max_deletes=1_000_000)
    question = "Destroy all of this, registrations included?" if purge else "Destroy all of this?"
    word = wired.desired.stack
    manner = Manner(
        yes,
        consent,
        parallelism,
        "online",
        output,
        question=question,
        word=word,
        drain=patience,
        title="chiltepin destroy",
    )
    return int(plan_and_apply(console, wired, request, manner))
