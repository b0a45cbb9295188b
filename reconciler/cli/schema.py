"""`chiltepin schema`: print a JSON Schema."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options as o

EPILOG = o.examples(
    """
      chiltepin schema manifest > chiltepin.schema.json  for an editor
      chiltepin schema plan                              of `plan --format json`
    """
)


def schema(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="manifest, lock, plan, saved-plan, against-lock, apply, status, lock-export, whoami, sandbox-status.",
        ),
    ],
) -> None:
    """Print the JSON Schema of a file that chiltepin reads or prints."""
    import difflib
    import json

    from reconciler.cli.console import Console
    from reconciler.core.schemas import SCHEMAS, schema_of
    from reconciler.errors import UsageError

    if name not in SCHEMAS:
        near = difflib.get_close_matches(name, SCHEMAS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"no schema is called {name}", remedy=f"{hint}there are: {', '.join(SCHEMAS)}")
    Console().result(json.dumps(schema_of(name), indent=2))
