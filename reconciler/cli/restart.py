"""`chiltepin restart`: a new daemon under the same UUID."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options as o
from reconciler.cli.errand_command import errand_command
from reconciler.core.scope import Errand
from reconciler.errors import UsageError

EPILOG = o.examples(
    """
      chiltepin restart ursa-main              if no task is lost (else exits 5)
      chiltepin restart ursa-main --drain 2h   waits for running tasks first
      chiltepin restart ursa-main --interrupt  at once; running tasks are lost
    """
)


@errand_command("Restart it?")
def restart(
    name: o.NameArgument,
    interrupt: Annotated[
        bool, typer.Option("--interrupt", help="Do not wait until it is idle: running tasks are lost.")
    ] = False,
    drain: o.DrainOption = None,
) -> Errand:
    """Restart an endpoint's daemon under the same UUID."""
    from reconciler.cli.common import seconds_of

    if interrupt and drain is not None:
        raise UsageError("--interrupt and --drain contradict each other", remedy="leave one of them out")
    return Errand("restart", (name,), interrupt=interrupt, drain=seconds_of(drain))
