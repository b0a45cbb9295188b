"""Mistakes on the command line: what the parser says of them, as our own errors with the nearest right word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from reconciler.errors import UsageError


def plain_arguments(command: Any) -> None:
    """Let help texts name arguments as everybody does: NAME, [NAME], COMMAND...; newer typers write {NAME} <str>."""
    for parameter in getattr(command, "params", ()):
        if getattr(parameter, "param_type_name", "") == "argument":
            name = parameter.metavar or parameter.name.upper()
            shown = (name if parameter.required else f"[{name}]") + ("..." if parameter.nargs != 1 else "")
            parameter.get_usage_pieces = lambda _, shown=shown: [shown]
            parameter.display_type_rich = lambda **_: None
    for below in _commands(command):
        plain_arguments(command.commands[below])


def usage_error(error: Any, arguments: Sequence[str]) -> UsageError:
    """Return our error for one of click's (its classes differ between the versions of typer)."""
    context = getattr(error, "ctx", None)
    words = [word for word in arguments[:1] if not word.startswith("-")]
    path = getattr(context, "command_path", None) or " ".join(["chiltepin", *words])
    command = getattr(context, "command", None)
    help_line = f"`{path} --help` lists what there is"
    option = getattr(error, "option_name", None)
    if option and type(error).__name__ == "NoSuchOption":
        known = [name for item in getattr(command, "params", ()) for name in getattr(item, "opts", ())]
        return UsageError(f"`{path}` has no option {option}", remedy=nearest(option, known, help_line))
    word = _unknown_word(error, context)
    if word is not None:
        return UsageError(f"there is no command `{path} {word}`", remedy=nearest(word, _commands(command), help_line))
    return UsageError(f"{path}: {_plain(error.format_message()).rstrip('.')}", remedy=help_line)


_PLAINER = (
    (r"Input should be a valid integer\b.*", "this is no whole number"),
    (r"Input should be greater than or equal to", "it must be at least"),
    (r"Input should be less than or equal to", "it must be at most"),
)


def _plain(message: str) -> str:
    """Return the parser's words without pydantic's, which newer typers quote."""
    for pattern, words in _PLAINER:
        message = re.sub(pattern, words, message)
    return message


def nearest(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the question whether the nearest of the known words was meant, or `otherwise`."""
    found = difflib.get_close_matches(word, [name for name in known if name != "--"], 1)
    return f"did you mean `{found[0]}`? {otherwise}" if found else otherwise


def _commands(command: Any) -> Iterable[str]:
    return getattr(command, "commands", None) or ()


def _unknown_word(error: Any, context: Any) -> str | None:
    """Return the word that should have been a subcommand."""
    if not _commands(getattr(context, "command", None)) or "No such command" not in error.format_message():
        return None
    return str(error.format_message()).partition("'")[2].partition("'")[0]
