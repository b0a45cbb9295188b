"""How a command for an errand is declared: by its own arguments; the options of every errand are added."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from reconciler.cli import options as o
from reconciler.core.scope import Errand


def _shared(
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    yes: o.YesOption = False,
    output: o.ReportFormatOption = "text",
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> None:
    """Declare the options of every errand."""


def errand_command(question: str) -> Callable[[Callable[..., Errand]], Callable[..., int]]:
    """Turn a function that returns an errand into the command that does it, after asking `question`."""

    def command_of(errand_of: Callable[..., Errand]) -> Callable[..., int]:
        own = inspect.signature(errand_of, eval_str=True).parameters

        def command(**given: Any) -> int:
            from reconciler.cli.errand import Look, run_errand
            from reconciler.invocation import Invocation

            errand = errand_of(**{name: given.pop(name) for name in own})
            look = Look(**{name: given.pop(name) for name in ("yes", "output", "color", "quiet", "verbose")})
            invocation = Invocation(variables=tuple(given.pop("var") or ()), **given)
            return int(run_errand(errand, invocation, look, question=question))

        parameters = [*own.values(), *inspect.signature(_shared, eval_str=True).parameters.values()]
        command.__name__, command.__doc__ = errand_of.__name__, errand_of.__doc__
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads both
        return command

    return command_of
