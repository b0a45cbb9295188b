"""`chiltepin lock export`: the resolved UUIDs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import typer

from reconciler.cli import options as o

EPILOG = o.examples(
    """
    chiltepin lock export
    """
)

app = typer.Typer(help="The lockfile.", epilog=EPILOG, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def lock() -> None:
    """Look at the lockfile of resolved UUIDs."""


@app.command(
    "export",
    epilog=o.examples(
        """
        chiltepin lock export               NAME: UUID, one a line
        chiltepin lock export --format env  CHILTEPIN_ENDPOINT_NAME=UUID, for shells
        """
    ),
)
def export(
    file: o.FileOption = o.DEFAULT_FILE,
    lock: o.LockOption = None,
    output: Annotated[str, typer.Option("--format", metavar="yaml|json|env", help="How to print them.")] = "yaml",
) -> int:
    """Print the UUIDs of all endpoints in the lock, of every host. Contacts nothing."""
    import yaml

    from reconciler.adapters.store import FileStore
    from reconciler.cli.console import Console, check_format
    from reconciler.core.lock import read_lock
    from reconciler.errors import ExitCode, UsageError
    from reconciler.invocation import Invocation

    check_format(output, ("yaml", "json", "env"))
    invocation = Invocation(file, lock=lock)
    path = invocation.lock_path
    text = FileStore(str(path.parent), str(path.absolute()), str(invocation.pools_path.absolute())).read_lock()
    if text is None:
        raise UsageError("there is no lockfile yet", where=str(path), remedy="run `chiltepin apply` first")
    ids = {name: entry.id for name, entry in sorted(read_lock(text, str(path)).endpoints.items())}
    if output == "json":
        from reconciler.core.output_models import LockExportOutput
        from reconciler.core.outputs import to_json

        Console().result(to_json(LockExportOutput(endpoints=ids)))
        return int(ExitCode.OK)
    variables = {name: f"CHILTEPIN_ENDPOINT_{re.sub(r'[^A-Za-z0-9]', '_', name).upper()}" for name in ids}
    if output == "env":
        _check_unique(variables)
    for name, endpoint_id in ids.items():
        if endpoint_id is None:
            Console().say(f"{name} has no UUID yet")
        elif output == "env":
            Console().result(f"{variables[name]}={endpoint_id}")
        else:
            # A name may mean something else to YAML: `no`, `0123`, `#x`.
            Console().result(yaml.safe_dump({name: endpoint_id}, allow_unicode=True, width=1_000))
    return int(ExitCode.OK)


def _check_unique(variables: Mapping[str, str]) -> None:
    """Refuse to let one endpoint's UUID pass for another's."""
    from reconciler.errors import UsageError

    by_variable: dict[str, list[str]] = {}
    for name, variable in variables.items():
        by_variable.setdefault(variable, []).append(name)
    for variable, names in by_variable.items():
        if len(names) > 1:
            raise UsageError(
                f"{' and '.join(names)} would be one variable, {variable}",
                remedy="use `--format yaml` or `--format json`, or give one of them another name",
            )
