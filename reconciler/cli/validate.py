"""`chiltepin validate`: check a manifest without contacting anything."""

from __future__ import annotations

from reconciler.cli import options as o

EPILOG = o.examples(
    """
      chiltepin validate
      chiltepin validate -f noaa/chiltepin.yaml --host ursa
    """
)


def validate(
    file: o.FileOption = o.DEFAULT_FILE,
    host: o.HostOption = None,
    var: o.VarOption = None,
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
    quiet: o.QuietOption = False,
) -> int:
    """Check the manifest; every problem is shown with its line. Contacts nothing."""
    from reconciler.cli.console import Console, print_error, print_warnings
    from reconciler.core.invalid import ManifestInvalid
    from reconciler.core.work import counted
    from reconciler.errors import ExitCode
    from reconciler.invocation import Invocation, read_desired

    console = Console(color, quiet=quiet)
    try:
        desired = read_desired(Invocation(file, None, host, tuple(var or ()), None, allow_outside))
    except ManifestInvalid as e:
        print_error(e, console)
        return int(e.exit_code)
    print_warnings(console, desired)
    for name, problems in desired.refused.items():
        for problem in problems:
            console.warn(f"{name}: {problem}")
    here = f" on {desired.host.name}" if desired.host.name else ""
    console.say(
        f"{file} is valid: stack {desired.stack}, {counted(len(desired.endpoints), 'endpoint')}{here}"
        f"{f' and {len(desired.elsewhere)} elsewhere' if desired.elsewhere else ''},"
        f" {counted(len(desired.pools), 'pool')}.",
        "add",
    )
    return int(ExitCode.PARTIAL if desired.refused else ExitCode.OK)
