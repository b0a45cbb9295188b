"""`chiltepin adopt`: manage what is there already."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options as o
from reconciler.cli.errand_command import errand_command
from reconciler.core.scope import Errand
from reconciler.errors import UsageError

EPILOG = o.examples(
    """
      chiltepin adopt ursa-main              manage what is there
      chiltepin adopt --all                  all that the manifest declares
      chiltepin adopt ursa-main --id UUID    with this UUID
      chiltepin adopt ursa-main --take-over  its other place is gone
    """
)


@errand_command("Take it over?")
def adopt(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The endpoint's name in the manifest.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All that the manifest declares and that have a directory.")
    ] = False,
    endpoint_id: Annotated[
        str | None, typer.Option("--id", metavar="UUID", help="The UUID that is right, or the registration to take.")
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Move the claim of another host, user, config directory or lockfile to here."),
    ] = False,
) -> Errand:
    """Take over what is there: a directory, a registration, a claim."""
    if every == (name is not None):
        raise UsageError("adopt needs a NAME or --all", remedy="`chiltepin status` lists the names")
    if every and endpoint_id:
        raise UsageError("--id is for one endpoint", remedy="name it instead of --all")
    chosen = None if endpoint_id is None else _uuid(endpoint_id)
    return Errand("adopt", () if name is None else (name,), id=chosen, take_over=take_over)


def _uuid(text: str) -> str:
    import uuid

    try:
        return str(uuid.UUID(text))
    except ValueError as e:
        raise UsageError(f"--id {text}: not a UUID", remedy="copy it from the refusal that named it") from e
