"""`chiltepin forget`: no longer manage an endpoint."""

from __future__ import annotations

from reconciler.cli import options as o

EPILOG = o.examples(
    """
      chiltepin forget ursa-old          after its block left the manifest (or says state: unmanaged)
    """
)


def forget(
    name: o.NameArgument,
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    yes: o.YesOption = False,
    output: o.FormatOption = "text",
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
    quiet: o.QuietOption = False,
) -> int:
    """No longer manage an endpoint. Directory, daemon and registration stay as they are."""
    from reconciler.cli.errand import Look, run_errand
    from reconciler.core.scope import Errand
    from reconciler.invocation import Invocation

    errand = Errand("forget", (name,))
    invocation = Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside)
    return int(run_errand(errand, invocation, Look(yes, output, color, quiet), question="Forget it?"))
