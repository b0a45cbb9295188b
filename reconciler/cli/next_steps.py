"""Next steps: each command that a text names is printed with the options that this command was given.

Whoever named a manifest, a lockfile or a config directory means them in the next command, too: without them it would
look at other ones, or at none. A command in a text stands between backquotes, as everywhere in the messages.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import typer

_COMMAND = re.compile(r"`(chiltepin [^`]*)`")
_CARRIED = ("file", "config_dir", "host", "lock", "allow_outside")
"""The parameters that say what is looked at. Variables are not among them: a value may be secret."""
_OF_A_MANIFEST = frozenset({"file", "host", "lock", "allow_outside"})

_UsageError: type[typer.BadParameter] = typer.BadParameter.__base__  # type: ignore[assignment]  # as in cli/main.py


class _Running:
    """The command line of this process, for its threads, too."""

    command: Any = None
    arguments: tuple[str, ...] = ()


def remember(command: Any, arguments: Sequence[str]) -> None:
    """Say with which arguments this program runs; `command` is its command line's root."""
    _Running.command, _Running.arguments = command, tuple(arguments)


def with_options(text: str) -> str:
    """Return a message in which each command between backquotes has the options that were given to this one.

    Only those that it knows are added. One that names a manifest itself is about that one, and gets none that go with
    another.
    """
    if "`chiltepin " not in text:
        return text
    given = _given()
    return _COMMAND.sub(lambda found: f"`{_added(found[1], given)}`", text) if given else text


def _given() -> Mapping[str, object]:
    """Return what was given of what is carried along, by parameter; nothing for a command line that is wrong."""
    return _carried(_Running.command, _Running.arguments) if _Running.command is not None else {}


@lru_cache(maxsize=1)
def _carried(command: Any, arguments: tuple[str, ...]) -> Mapping[str, object]:
    given: dict[str, object] = {}
    try:
        for below, values in _walk(command, list(arguments)):
            for parameter in below.params:
                value = values.get(parameter.name)
                if parameter.name in _CARRIED and value not in (None, False) and str(value) != str(parameter.default):
                    given[parameter.name] = value
    except (_UsageError, typer.Exit):
        return {}
    return given


def _walk(command: Any, words: list[str]) -> Iterator[tuple[Any, Mapping[str, object]]]:
    """Yield the commands of a command line from the root on, each with the values of its parameters."""
    name, parent = "chiltepin", None
    while True:
        context = command.make_context(name, list(words), parent=parent, resilient_parsing=True)
        yield command, context.params
        held: Any = getattr(context, "_protected_args", None) or getattr(
            context, "protected_args", ()
        )  # click 8.2, 8.1
        rest = [*held, *context.args]
        below = getattr(command, "commands", {})
        if not rest or rest[0] not in below:
            return
        name, words = rest[0], rest[1:]
        command, parent = below[name], context


@lru_cache(maxsize=32)
def _command(word: str) -> Any:
    """Return the command line's root with what its first word needs; a plan of a thousand refusals asks as often."""
    from reconciler.cli.main import build_app

    return typer.main.get_command(build_app(word))


def _added(line: str, given: Mapping[str, object]) -> str:
    """Return a command line with the given options that it knows and has not."""
    try:
        words = shlex.split(line)[1:]
    except ValueError:  # no whole command line: a name with a backquote in it
        return line
    if not words or "--help" in words:
        return line
    command = _command(words[0])
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    has = {p.name for p in command.params if {*p.opts} & {*words}}
    skipped = has | (_OF_A_MANIFEST if "file" in has else frozenset())
    known = {p.name: min(p.opts, key=len) for p in command.params if p.name not in skipped}
    options = [
        known[key] if given[key] is True else f"{known[key]} {shlex.quote(str(given[key]))}"
        for key in _CARRIED
        if key in given and key in known
    ]
    return " ".join([line, *options])
