"""Every command line that the program names in a message is one that its command line knows, and can be pasted."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command_lines import parse

PACKAGE = Path(__file__).resolve().parents[1] / "reconciler"
_COMMAND = re.compile(r"`(chiltepin(?:-reconciler)? [^`]*)`")


def _text(node: ast.expr) -> str:
    """Return a string literal's text; what is filled in when it runs is a NAME."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "NAME"


def strings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the string literals of a module, but for its docstrings, with their lines."""
    tree = ast.parse(source)
    parts = {id(p) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for p in node.values}
    parts |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        literal = isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        if literal and id(node) not in parts:
            assert isinstance(node, ast.expr)
            yield node.lineno, _text(node)


def named() -> Iterator[tuple[str, str]]:
    """Yield the command lines that stand between backquotes, with their places."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, text in strings(path.read_text()):
            for command in _COMMAND.findall(text):
                if command == "chiltepin NAME":  # what was typed wrong, quoted as it was
                    continue
                yield f"{path.relative_to(PACKAGE)}:{line}", " ".join(command.split())


_BEGUN = re.compile(r"`(?:chiltepin(?:-reconciler)?|globus-compute-endpoint|mv|rm|ls|kill) [^`]*$")


def unquoted(source: str) -> Iterator[str]:
    """Yield what is filled into a command between backquotes as it is; numbers of processes may be."""
    for node in ast.walk(ast.parse(source)):
        before = ""
        for part in node.values if isinstance(node, ast.JoinedStr) else ():
            if isinstance(part, ast.FormattedValue) and _BEGUN.search(before):
                filled = ast.unparse(part.value)
                if not (filled.startswith(("quote(", "shlex.quote(")) or filled.endswith(".pid")):
                    yield filled
            before += _text(part)


COMMANDS = sorted(set(named()))


@pytest.mark.parametrize("command", [pytest.param(command, id=f"{place} {command}") for place, command in COMMANDS])
def test_a_command_that_a_message_names_parses(command: str) -> None:
    parse(command)


@pytest.mark.parametrize(("where", "command"), COMMANDS, ids=[f"{where} {command}" for where, command in COMMANDS])
def test_a_command_that_a_message_names_is_one_command(where: str, command: str) -> None:
    """Options that were given are put at its end."""
    assert not {"|", "&", ";", "<", ">"} & {*command}, where


def test_what_a_shell_would_read_in_a_name_is_quoted() -> None:
    found = {(p.name, text) for p in sorted(PACKAGE.rglob("*.py")) for text in unquoted(p.read_text())}
    assert found == {("main.py", "arguments[0]")}, "only what was typed wrong stands there as it was"


def test_the_recovery_commands_are_named() -> None:
    words = {command.split()[1] for _, command in COMMANDS}
    assert words >= {"adopt", "apply", "forget", "login", "logs", "plan", "restart", "status", "unprotect", "whoami"}


@pytest.mark.parametrize("command", ["chiltepin doctor", "chiltepin adopt NAME --nope", "chiltepin apply --new"])
def test_a_wrong_one_is_found(command: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|requires an argument"):
        parse(command)
