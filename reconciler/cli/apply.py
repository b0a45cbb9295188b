"""`chiltepin apply`: make it so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import options as o
from reconciler.errors import UsageError

EPILOG = o.examples(
    """
      chiltepin apply                       shows the plan and asks
      chiltepin apply --yes                 for cron and pipelines
      chiltepin apply plan.json             just what `plan --out` kept
      chiltepin apply --yes --allow-delete  also deletes what left the manifest
      chiltepin apply --yes --drain 2h      waits for tasks before restarts
      chiltepin apply --yes --retry         also what keeps dying
    """
)

YesOption = o.YesOption
ParallelismOption = Annotated[
    int, typer.Option("--parallelism", metavar="N", min=1, max=64, help="How many daemons may be starting at once.")
]
WaitOption = Annotated[
    str, typer.Option("--wait", metavar="online|started", help="When a start is done: online at the service, or up.")
]


def apply(
    plan: Annotated[
        Path | None, typer.Argument(metavar="PLAN", help="A plan kept by `plan --out`: does just that, unasked.")
    ] = None,
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    target: o.TargetOption = None,
    exclude: o.ExcludeOption = None,
    new: o.NewOption = None,
    reregister: o.ReregisterOption = None,
    take_over: o.TakeOverOption = False,
    yes: YesOption = False,
    allow_delete: Annotated[
        bool, typer.Option("--allow-delete", help="Also delete endpoints that left the manifest.")
    ] = False,
    max_deletes: o.MaxDeletesOption = 1,
    parallelism: ParallelismOption = 4,
    wait: WaitOption = "online",
    drain: o.DrainOption = None,
    retry: o.RetryOption = False,
    output: o.ReportFormatOption = "text",
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> int:
    """Make it so: configure, start, stop and delete endpoints."""
    from reconciler.cli.carry import Manner, plan_and_apply, read_plan, scope_of
    from reconciler.cli.common import seconds_of
    from reconciler.cli.console import Console, check_format, print_warnings
    from reconciler.core.consent import Consent
    from reconciler.invocation import Invocation
    from reconciler.wiring import open_request, wire

    console = Console(color, quiet=quiet, verbose=verbose)
    check_format(output, o.REPORT_FORMATS)
    patience = seconds_of(drain)
    if plan is not None and (target or exclude or new or reregister or take_over or retry):
        raise UsageError(
            "--target, --exclude, --new, --reregister, --take-over and --retry do not go with a kept plan",
            remedy="leave them out",
        )
    saved = read_plan(plan) if plan is not None else None
    wired = wire(Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside))
    print_warnings(console, wired.desired)
    request = open_request(wired, target, exclude, new, reregister=reregister, take_over=take_over, retry=retry)
    if saved is not None:
        request = replace(request, scope=scope_of(saved), new=frozenset(saved.new), new_lineage=saved.lineage)
        yes = True
    manner = Manner(
        yes,
        Consent(allow_delete, max_deletes),
        parallelism,
        wait,
        output,
        question="Apply this plan?",
        saved=saved,
        drain=patience,
    )
    return int(plan_and_apply(console, wired, request, manner))
