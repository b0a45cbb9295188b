"""`chiltepin unprotect`: lift the protection that outlived a block."""

from __future__ import annotations

from reconciler.cli import options as o

EPILOG = o.examples(
    """
      chiltepin unprotect ursa-old       then: chiltepin apply --allow-delete
    """
)


def unprotect(
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
    """Lift the protection that outlived an endpoint's block."""
    from reconciler.cli.errand import Look, run_errand
    from reconciler.core.scope import Errand
    from reconciler.invocation import Invocation

    errand = Errand("unprotect", (name,))
    invocation = Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside)
    return int(run_errand(errand, invocation, Look(yes, output, color, quiet), question="Lift its protection?"))
