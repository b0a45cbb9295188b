"""The options that commands share, with their help texts."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import Annotated

import typer


def examples(text: str) -> str:
    """Return the end of a help text: a line for each example. Without the backspace, help refills the lines."""
    lines = "\n".join(f"  {line}" for line in cleandoc(text).splitlines())
    return f"Examples:\n\n\b\n{lines}"


FileOption = Annotated[
    Path,
    typer.Option(
        "--file",
        "-f",
        help="The manifest [default: chiltepin.yaml].",
        show_default=False,
        metavar="FILE",
        readable=False,
    ),
]
ConfigDirOption = Annotated[
    str | None,
    typer.Option(
        "--config-dir",
        "--config",
        "-c",
        metavar="DIR",
        help="The Globus Compute config directory [default: the manifest's, $GLOBUS_COMPUTE_USER_DIR, "
        "~/.globus_compute].",
    ),
]
HostOption = Annotated[
    str | None, typer.Option("--host", metavar="NAME", help="Take this machine for that host of the manifest.")
]
VarOption = Annotated[
    list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="Set a variable; may be given several times.")
]
LockOption = Annotated[
    Path | None,
    typer.Option(
        "--lock",
        metavar="FILE",
        readable=False,
        help="The lockfile [default: <manifest>.lock.yaml beside the manifest].",
    ),
]
OutsideOption = Annotated[
    bool, typer.Option("--allow-outside", help="Let the manifest name files outside its own directory.")
]
ReportFormatOption = Annotated[
    str, typer.Option("--format", metavar="text|json|markdown", help="How to print the result.")
]
REPORT_FORMATS = ("text", "json", "markdown")
FormatOption = Annotated[str, typer.Option("--format", metavar="text|json", help="How to print the result.")]
ColorOption = Annotated[
    str, typer.Option("--color", metavar="auto|always|never", help="Colour; NO_COLOR is respected too.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also say what is asked and run, and what comes of it.")
]
PlanQuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the plan only when there is something in it, and no messages.")
]
TargetOption = Annotated[
    list[str] | None, typer.Option("--target", metavar="NAME", help="Only this endpoint; may be given several times.")
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="NAME", help="Not this endpoint; may be given several times.")
]
NewOption = Annotated[
    list[str] | None,
    typer.Option(
        "--new", metavar="NAME", help="Register this endpoint although unclaimed registrations of its name exist."
    ),
]
ReregisterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reregister",
        metavar="NAME",
        help="Let this endpoint, whose registration is gone, get a new UUID; may be given several times.",
    ),
]
TakeOverOption = Annotated[
    bool,
    typer.Option(
        "--take-over",
        help="Move the claims of other hosts, users, config directories or lockfiles to here first: they are gone.",
    ),
]
RetryOption = Annotated[
    bool, typer.Option("--retry", help="Start daemons once more that died three times within 24 h.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DrainOption = Annotated[
    str | None,
    typer.Option(
        "--drain",
        metavar="DURATION",
        help="Wait so long (e.g. 30m) until no task would be lost, before it counts as deferred.",
    ),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint's name in the manifest.")]
LockedNameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The endpoint's name in the lockfile, also when its block is gone.")
]
DeletedNameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The deleted endpoint's name.")]
MaxDeletesOption = Annotated[int, typer.Option("--max-deletes", metavar="N", min=0, help="At most so many in one run.")]

DEFAULT_FILE = Path("chiltepin.yaml")
