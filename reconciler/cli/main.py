"""Dispatch, and the one place where errors become exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import typer
from typer.core import TyperGroup

from reconciler.cli.options import examples
from reconciler.errors import ExitCode, ReconcilerError, UsageError

# Typer brings its own copy of click since 0.26, and uses click itself before: its exceptions are reached
# through the one that it exports.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__base__  # type: ignore[assignment]

EPILOG = f"""{
    examples(
        '''
        chiltepin init             write a first manifest
        chiltepin plan             show what differs
        chiltepin apply            make it so, after asking
        chiltepin sandbox up       try it without a Globus account
        '''
    )
}

Exit codes: 0 done or no changes, 1 failed, 2 changes pending (plan --detailed-exitcode), 3 some actions failed,
4 refused by a guard, 5 done but for deferred actions, 64 usage, 65 invalid manifest, 69 service unreachable,
70 a bug, 75 another apply is at work, 77 login needed, 130 interrupted."""


COMMANDS: dict[str, str] = {
    "init": "init",
    "validate": "validate",
    "plan": "plan",
    "apply": "apply",
    "destroy": "destroy",
    "status": "status",
    "logs": "logs",
    "restart": "restart",
    "adopt": "adopt",
    "forget": "forget",
    "undelete": "undelete",
    "purge": "purge",
    "unprotect": "unprotect",
    "lock": "lock",
    "schema": "schema",
    "endpoint": "endpoint",
    "login": "login",
    "logout": "login",
    "whoami": "login",
    "sandbox": "sandbox",
}
"""The commands in the order of the help text, each with its module in `reconciler.cli`."""


def build_app(only: str | None = None) -> typer.Typer:
    """Return the command line with all commands, or with just the one that is about to run."""
    # Plain help texts: rich would double the time that --help takes.
    app = typer.Typer(
        name="chiltepin",
        help="Declarative Globus Compute endpoints and executor pools for Chiltepin.",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in (only,) if only in COMMANDS else COMMANDS:
        module = import_module(f"reconciler.cli.{COMMANDS[name]}")
        group = getattr(module, "app", None)
        if group is not None:
            app.add_typer(group, name=name)
        else:
            app.command(name, epilog=_epilog(module, name))(getattr(module, name))
    return app


def _epilog(module: ModuleType, name: str) -> str:
    """Return a command's examples; a module with several commands names each command's own."""
    epilog: str = getattr(module, f"{name.upper()}_EPILOG", None) or module.EPILOG
    return epilog


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"chiltepin-reconciler {version('chiltepin-reconciler')}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    del version


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code.

    A command that is not ours goes to upstream's `chiltepin`, when that is installed.
    """
    try:
        return _dispatch(arguments)
    except ReconcilerError as e:
        from reconciler.cli.console import print_error

        print_error(e, color=_color(arguments))
        return int(e.exit_code)
    except BrokenPipeError:  # help, into a pipe whose reader went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.OK)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return int(ExitCode.INTERRUPTED)
    except OSError as e:
        if not _is_help(e):
            return _bug(arguments)
        from reconciler.cli.console import output_lost, print_error

        lost = output_lost(sys.stdout, e)
        print_error(lost, color=_color(arguments))
        return int(lost.exit_code)
    except Exception:  # noqa: BLE001 - the last line of defence: report it as the bug that it is
        return _bug(arguments)


def _is_help(error: OSError) -> bool:
    """Whether it comes from help, which the library prints itself, and whose output cannot be written."""
    innermost = ""
    trace = error.__traceback__
    while trace is not None:
        innermost, trace = str(trace.tb_frame.f_globals.get("__name__")), trace.tb_next
    return innermost == __name__ or innermost.startswith(("click.", "typer."))


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    command = typer.main.get_command(build_app(arguments[0] if arguments else None))
    if _is_unknown(arguments, command):
        return _run_upstream(arguments)
    from reconciler.cli.next_steps import remember
    from reconciler.cli.usage import plain_arguments

    plain_arguments(command)
    remember(command, arguments)
    try:
        # Not `command.main`: that makes exit codes of its own from Ctrl-C and from closed pipes.
        with command.make_context("chiltepin", list(arguments)) as context:
            result = command.invoke(context)
    except typer.Exit as e:
        return e.exit_code
    except _UsageError as e:
        if type(e).__name__ == "NoArgsIsHelpError":
            sys.stdout.write(f"{e.format_message()}\n")
            sys.stdout.flush()
            return int(ExitCode.OK)
        from reconciler.cli.usage import usage_error

        raise usage_error(e, arguments) from e
    except typer.Abort as e:
        raise KeyboardInterrupt from e
    return result if isinstance(result, int) else int(ExitCode.OK)


def _color(arguments: list[str]) -> str:
    """Return the --color of a command line that may not parse."""
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        chosen = following if word == "--color" else word.removeprefix("--color=")
        if word.startswith("--color") and chosen in ("always", "never"):
            return chosen
    return "auto"


def _is_unknown(arguments: list[str], command: object) -> bool:
    if not arguments or arguments[0].startswith("-") or not isinstance(command, TyperGroup):
        return False
    return arguments[0] not in command.commands


def _may_be_upstreams(word: str) -> bool:
    """Whether upstream's command line may know this command: its text has the word. Importing it takes seconds."""
    from reconciler.paths import is_file

    found = find_spec("chiltepin")
    if found is None:
        return False
    texts = [path for folder in found.submodule_search_locations or () for path in Path(folder).glob("cli*")]
    if not texts or any(not is_file(path) for path in texts):
        return True  # it is made otherwise by now: it must be asked
    return any(word in path.read_text(encoding="utf-8", errors="replace") for path in texts)


def _run_upstream(arguments: list[str]) -> int:
    """Hand a command that is not ours to upstream's `chiltepin`, if that knows it."""
    if _may_be_upstreams(arguments[0]):
        from chiltepin.cli import cmd_parsers
        from chiltepin.cli import main as upstream

        if arguments[0] in cmd_parsers.choices:
            sys.argv = ["chiltepin", *arguments]
            try:
                upstream()
            except SystemExit as e:
                return e.code if isinstance(e.code, int) else int(ExitCode.FAILED if e.code else ExitCode.OK)
            return int(ExitCode.OK)
    from reconciler.cli.usage import nearest

    remedy = nearest(arguments[0], COMMANDS, "`chiltepin --help` lists the commands")
    raise UsageError(f"there is no command `chiltepin {arguments[0]}`", remedy=remedy)


def _bug(arguments: list[str]) -> int:
    import tempfile
    import traceback

    from reconciler.adapters.hidden import cleaned
    from reconciler.cli.console import shown

    text = shown(cleaned(traceback.format_exc(), arguments))
    where = ""
    with contextlib.suppress(OSError):
        descriptor, where = tempfile.mkstemp(prefix="chiltepin-bug-", suffix=".txt")
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
    last = text.strip().splitlines()[-1]
    sys.stderr.write(f"error: this is a bug in chiltepin: {last}\n")
    sys.stderr.write(f"  next: please report it with the file {where}\n" if where else text)
    return int(ExitCode.BUG)
