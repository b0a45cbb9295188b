"""`chiltepin init`: a first manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import options as o

EPILOG = o.examples(
    """
      chiltepin init
      chiltepin init --from-existing         one block for each endpoint that is there, left alone for now
    """
)

TEMPLATE = """\
# What should exist. `chiltepin plan` shows what differs, `chiltepin apply` makes it so.
version: 1
stack: {stack}

endpoints:
  {stack}-main:
    config:
      display_name: {stack}, main endpoint

pools:
  serial:                            # tasks run here: @python_task(executor=["serial"])
    endpoint: {stack}-main
    provider: localhost              # localhost, slurm or pbspro
    max_blocks: 1
"""


def init(
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    stack: Annotated[str | None, typer.Option("--stack", help="Name of the stack [default: this directory's].")] = None,
    from_existing: Annotated[
        bool, typer.Option("--from-existing", help="List the endpoints that are there, as `state: unmanaged`.")
    ] = False,
) -> int:
    """Write a first manifest. Never overwrites one."""
    from reconciler.adapters.manifest_files import write_first_manifest
    from reconciler.errors import ExitCode

    name = stack or _safe(file.absolute().parent.name)
    text = _existing(name, config_dir) if from_existing else TEMPLATE.format(stack=name)
    write_first_manifest(file, text)
    typer.echo(
        f"wrote {file}; next: chiltepin plan -f {file}"
        if file != o.DEFAULT_FILE
        else f"wrote {file}; next: chiltepin plan",
        err=True,
    )
    return int(ExitCode.OK)


def _safe(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in name.lower()).strip("-_")
    return kept or "main"


def _existing(stack: str, config_dir: str | None) -> str:
    import os

    import yaml

    from reconciler.adapters.host import LocalHost

    chosen = config_dir or os.environ.get("GLOBUS_COMPUTE_USER_DIR") or "~/.globus_compute"
    found = LocalHost(str(Path(chosen).expanduser().absolute())).directories()
    blocks = {name: {"state": "unmanaged"} for name, d in found.items() if d.kind in ("endpoint", "legacy")}
    head = (
        "# Endpoints that are there now. `unmanaged` leaves them alone and keeps their UUIDs in the lock,\n"
        "# so that pools can use them.\n"
    )
    return head + yaml.safe_dump(
        {"version": 1, "stack": stack, "endpoints": blocks, "pools": {}}, sort_keys=False, allow_unicode=True
    )
