"""Command lines in texts: found, and parsed by our own command line without running them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import typer

from reconciler.cli.main import build_app

PROGRAMS = ("chiltepin", "chiltepin-reconciler")
_FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^ {4,}\S.*\n?)+", re.MULTILINE)
_SHELLS = frozenset({"", "sh", "bash", "shell", "console", "shellsession"})


def command_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the `chiltepin` lines of a markdown text's shell blocks (fenced, or indented), with line numbers."""
    fenced = [(match.start(3), match[3]) for match in _FENCE.finditer(text) if match[2] in _SHELLS]
    rest = _FENCE.sub(lambda match: re.sub(r"[^\n]", "", match[0]), text)
    indented = [(match.start(), match[0]) for match in _INDENTED.finditer(rest)]
    for start, block in fenced:
        yield from _lines(text.count("\n", 0, start) + 1, block)
    for start, block in indented:
        yield from _lines(rest.count("\n", 0, start) + 1, block)


def _lines(first: int, block: str) -> Iterator[tuple[int, str]]:
    joined = re.sub(r"\\\n\s*", " ", block)
    for offset, line in enumerate(joined.splitlines()):
        bare = line.strip().removeprefix("$ ")
        if re.search(r"(?<![\w.-])chiltepin(-reconciler)? ", bare) and not re.match(r"[-\w.]+: |#", bare):
            yield first + offset, bare


def parse(line: str) -> None:
    """Parse each `chiltepin` command of a shell line; nothing is run.

    Raises:
        Exception: click's UsageError, when a command, an option or an argument is not known.
    """
    for inner in re.findall(r"\$\(([^)]*)\)", line):
        parse(inner)
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";|&()<>"):
            _parse_words(words)
            words = []
        else:
            words.append(word)


def _parse_words(words: list[str]) -> None:
    for at, word in enumerate(words):
        if word.rpartition("/")[2] in PROGRAMS:
            arguments = words[at + 1 :]
            if arguments[:2] == ["sandbox", "exec"] and "--" in arguments:
                _parse_words(arguments[arguments.index("--") + 1 :])
            _parse_arguments(arguments)
            return


def _parse_arguments(arguments: list[str]) -> None:
    command: Any = typer.main.get_command(build_app())
    context: Any = None
    name = "chiltepin"
    rest = list(arguments)
    while (
        getattr(command, "commands", None) and (rest := _after_options(command, rest)) and rest[0] in command.commands
    ):
        context = command.make_context(name, [], parent=context, resilient_parsing=True)
        name, *rest = rest
        command = context.command.commands[name]
    try:
        command.make_context(name, rest, parent=context)
    except typer.Exit:  # --help and --version end the parsing
        return
    if getattr(command, "commands", None) and rest:
        raise typer.BadParameter(f"no such command: {rest[0]}")


def _after_options(group: Any, words: list[str]) -> list[str]:
    """Return what follows a group's own options, each of which takes a value (`endpoint -c DIR list`)."""
    known = {name for option in group.params for name in option.opts if option.nargs == 1 and not option.is_flag}
    return _after_options(group, words[2:]) if len(words) > 2 and words[0] in known else words
