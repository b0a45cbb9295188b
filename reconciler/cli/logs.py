"""`chiltepin logs`: the end of an endpoint's log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import options as o
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.wiring import Wired

EPILOG = o.examples(
    """
      chiltepin logs ursa-main
      chiltepin logs ursa-main -n 200
    """
)


def logs(
    name: o.NameArgument,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=1, max=10_000, help="How many lines.")] = 50,
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
) -> int:
    """Print the end of an endpoint's log, without secrets. Contacts nothing."""
    from reconciler.cli.console import Console
    from reconciler.core.report import plain
    from reconciler.invocation import Invocation
    from reconciler.wiring import wire

    console = Console(color)
    wired = wire(Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside))
    directory = _directory_of(name, wired)
    text = wired.outside.host.log_tail(directory, lines)
    if not text:
        console.say(f"{wired.outside.host.config_dir}/{directory} has no log yet")
        return 0
    console.result("\n".join(plain(line) for line in text.splitlines()))
    return 0


def _directory_of(name: str, wired: Wired) -> str:
    """Return the directory of an endpoint of the manifest or of the lock.

    Raises:
        UsageError: neither knows it, or it is on another host.
    """
    import difflib

    from reconciler.core.lock import read_lock

    desired = wired.desired
    if name in desired.endpoints:
        return desired.endpoints[name].directory
    if name in desired.elsewhere:
        raise UsageError(f"{name} is an endpoint of host {desired.elsewhere[name]}", remedy="run this there")
    text = wired.outside.store.read_lock()
    entries = read_lock(text, str(wired.invocation.lock_path)).endpoints if text is not None else {}
    if name in entries:
        return entries[name].claim.directory
    known = {*desired.endpoints, *entries}
    near = difflib.get_close_matches(name, known, 1)
    listed = f"known are: {', '.join(sorted(known)) or 'none'}"
    raise UsageError(f"{name}: no such endpoint", remedy=f"did you mean {near[0]}?" if near else listed)
