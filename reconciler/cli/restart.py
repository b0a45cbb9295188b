"""`chiltepin restart`: a new daemon under the same UUID."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options as o
from reconciler.cli.errand_command import errand_command
from reconciler.core.scope import Errand

EPILOG = o.examples(
    """
      chiltepin restart ursa-main                waits until no user endpoint is alive (else exits 5)
      chiltepin restart ursa-main --interrupt    at once; running tasks are lost
    """
)


@errand_command("Restart it?")
def restart(
    name: o.NameArgument,
    interrupt: Annotated[
        bool, typer.Option("--interrupt", help="Do not wait until it is idle: running tasks are lost.")
    ] = False,
) -> Errand:
    """Restart an endpoint's daemon under the same UUID."""
    return Errand("restart", (name,), interrupt=interrupt)
