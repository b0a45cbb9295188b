"""`chiltepin init`: a first manifest."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import options as o

if TYPE_CHECKING:
    from reconciler.core.live import LiveDirectory

EPILOG = o.examples(
    """
      chiltepin init
      chiltepin init --from-existing  a block for each endpoint that is there
    """
)

TEMPLATE = """\
# What should exist. `chiltepin plan` shows what differs, `chiltepin apply` makes it so.
version: 1
stack: {stack}

endpoints:
  {name}-main:
    config:
      display_name: "{name}, main endpoint"

pools:
  serial:                            # tasks run here: @python_task(executor=["serial"])
    endpoint: {name}-main
    provider: localhost              # localhost, slurm or pbspro
    max_blocks: 1
"""
EXISTING = """\
# Endpoints that are there now. `unmanaged` leaves them alone and keeps their UUIDs in the lock,
# so that pools can use them.
version: 1
stack: {stack}

endpoints:{blocks}

pools: {{}}
"""


def init(
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    stack: Annotated[
        str | None, typer.Option("--stack", metavar="NAME", help="Name of the stack [default: this directory's].")
    ] = None,
    from_existing: Annotated[
        bool, typer.Option("--from-existing", help="List the endpoints that are there, as `state: unmanaged`.")
    ] = False,
) -> int:
    """Write a first manifest. Never overwrites one."""
    from reconciler.adapters.manifest_files import write_first_manifest
    from reconciler.cli.console import Console
    from reconciler.errors import ExitCode
    from reconciler.paths import absolute

    console = Console()
    name = _safe(absolute(file).parent.name) if stack is None else _checked(stack)
    text, left_out = _existing(name, config_dir) if from_existing else (_first(name), {})
    write_first_manifest(file, text)
    for directory, why in left_out.items():
        console.warn(f"{directory} is left out: its name can stand in no manifest: {why}")
    option = "" if file == o.DEFAULT_FILE else f" -f {shlex.quote(str(file))}"
    option += f" -c {shlex.quote(config_dir)}" if config_dir and from_existing else ""
    login = "" if from_existing else "chiltepin login (without an account: chiltepin sandbox up says how), then "
    console.say(f"wrote {file}; next: {login}chiltepin plan{option}")
    return int(ExitCode.OK)


def _first(stack: str) -> str:
    from reconciler.core.safe_yaml import scalar

    return TEMPLATE.format(name=stack, stack=scalar(stack))


def _safe(name: str) -> str:
    """Return a stack's name made from a directory's."""
    kept = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:60]
    return kept or "main"


def _checked(name: str) -> str:
    from reconciler.errors import UsageError

    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) is None:
        raise UsageError(
            f"--stack {name!r}: not a stack's name",
            remedy="use 1 to 64 letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
        )
    return name


def _block(name: str, directory: LiveDirectory) -> str:
    """Return the block of an endpoint that is there, with a word on whose it is, if it is somebody's."""
    from reconciler.core.marker import Marker
    from reconciler.core.safe_yaml import scalar

    marker = directory.marker
    # Whatever a marker says that somebody wrote by hand, it stays one line.
    managed = f"  # managed by stack {json.dumps(marker.stack)}" if isinstance(marker, Marker) else ""
    return f"{scalar(name)}: {{state: unmanaged}}{managed}"


def _existing(stack: str, config_dir: str | None) -> tuple[str, dict[str, str]]:
    """Return the manifest, and the endpoints that no manifest can name, each with the reason."""
    from reconciler.adapters.host import LocalHost
    from reconciler.core.names import name_fault
    from reconciler.core.safe_yaml import scalar
    from reconciler.paths import config_directory

    found = LocalHost(str(config_directory(config_dir))).directories()
    names = [name for name, d in found.items() if d.kind in ("endpoint", "legacy")]
    faults = {name: fault for name in names if (fault := name_fault(name))}
    blocks = "".join(f"\n  {_block(name, found[name])}" for name in names if name not in faults) or " {}"
    return EXISTING.format(stack=scalar(stack), blocks=blocks), faults
