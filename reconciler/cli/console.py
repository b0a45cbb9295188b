"""Printing: results to stdout, everything else to stderr, colour where it means something."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from reconciler.cli.next_steps import with_options
from reconciler.core.desired import Desired
from reconciler.core.lines import Line, Style
from reconciler.errors import FileSystemError, ReconcilerError, UsageError

_CODES: dict[Style, str] = {
    "plain": "",
    "head": "1",
    "add": "32",
    "change": "33",
    "restart": "35",
    "remove": "31",
    "dim": "2",
    "warning": "33",
    "error": "1;31",
}


# What a terminal would obey, or show in another order; and half a character, which no output takes.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """Return text, which may quote anybody's files, with nothing that a terminal obeys; JSON stays the same JSON."""
    return text if text.isascii() and text.isprintable() else _OBEYED.sub(lambda c: f"\\u{ord(c[0]):04x}", text)


class Console:
    """Where a command prints.

    Args:
        color: auto, always or never.
        quiet: say only what went wrong.
        verbose: also say what is asked and run.
    """

    def __init__(self, color: str = "auto", *, quiet: bool = False, verbose: bool = False) -> None:
        if color not in ("auto", "always", "never"):
            raise UsageError(f"--color {color}: not known", remedy="use auto, always or never")
        self._color = color
        self.quiet = quiet
        if quiet and verbose:
            raise UsageError("--quiet and --verbose contradict each other", remedy="leave one of them out")
        if verbose:
            from reconciler.cli.verbose import follow

            follow(self)

    def colored(self, stream: TextIO) -> bool:
        """Whether `stream` gets colour."""
        if self._color != "auto":
            return self._color == "always"
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return False
        return stream.isatty()

    @staticmethod
    def room() -> int | None:
        """Return how many columns stdout has, None when it is no terminal: what goes elsewhere stays whole."""
        import shutil

        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def result(self, text: str) -> None:
        """Print data to stdout."""
        _write(sys.stdout, shown(text if text.endswith("\n") else f"{text}\n"))

    def lines(self, lines: Iterable[Line], *, stream: TextIO | None = None, colored: bool | None = None) -> None:
        """Print a report, to stdout unless `stream` is given; `colored` as the stream has it unless given."""
        out = stream or sys.stdout
        colored = self.colored(out) if colored is None else colored
        safe = (Line(shown(_told(line)), line.style) for line in lines)
        _write(out, "".join(f"{self._paint(line) if colored else line.text}\n" for line in safe))

    def markdown(self, title: str, lines: Iterable[Line]) -> None:
        """Print a report for a comment on a pull request: a heading, and the text in a fence of its own."""
        text = "".join(f"{_told(line)}\n" for line in lines)
        fence = "`" * (1 + max((len(run) for run in re.findall(r"`{3,}", text)), default=2))
        self.result(f"### {title}\n\n{fence}text\n{text}{fence}\n")

    def say(self, text: str, style: Style = "plain") -> None:
        """Print a message to stderr, unless quiet."""
        if not self.quiet:
            self.lines([Line(text, style)], stream=sys.stderr)

    def warn(self, text: str) -> None:
        """Print a warning to stderr."""
        self.lines([Line(text, "warning")], stream=sys.stderr)

    @staticmethod
    def _paint(line: Line) -> str:
        code = _CODES[line.style]
        return f"\x1b[{code}m{line.text}\x1b[0m" if code and line.text else line.text


def prompt(text: str) -> None:
    """Print to stderr what is asked; the answer is typed behind it."""
    _write(sys.stderr, shown(text))


def _write(stream: TextIO, text: str) -> None:
    """Write, unless the reader went away: what is being done goes on, and ends with its own exit code.

    The same holds for a standard error that cannot be written: nobody could be told, and an apply that is
    half done must not end for it.

    Raises:
        FileSystemError: standard output cannot be written for another reason, e.g. a full disk.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError as e:
        error = output_lost(stream, e)
        if isinstance(e, BrokenPipeError) or stream is sys.stderr:
            return
        raise error from e


def output_lost(stream: TextIO, error: OSError) -> FileSystemError:
    """Return the error for a stream that cannot be written; what is left in its buffer goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return FileSystemError(
        "the output cannot be written",
        where=stream.name,
        why=error.strerror,
        remedy="look at where it is redirected to, then run the command again",
    )


class Unbreakable(io.TextIOBase):
    """A terminal that may go away (a closed window, a lost connection) while an apply goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`, or lose it."""
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what was written, or lose it."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is one."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor, of which the size of the terminal is asked."""
        return self._stream.fileno()


def print_error(error: ReconcilerError, console: Console | None = None, *, color: str = "auto") -> None:
    """Print an error: what, where, why, and what to do next."""
    console = console or Console(color)
    if getattr(error, "problems", None) is not None:
        console.lines(_problem_lines(str(error), "plain"), stream=sys.stderr)
        return
    lines = [Line(f"error: {error.where}: {error.what}" if error.where else f"error: {error.what}", "error")]
    if error.why:
        lines += [Line(f"  {text}") for text in error.why.splitlines()]
    output = getattr(error, "output", "")
    if output:
        lines += [Line(f"  | {text}", "dim", quoted=True) for text in output.splitlines()]
    if error.remedy:
        lines.append(Line(f"  next: {error.remedy}"))
    console.lines(lines, stream=sys.stderr)


def _problem_lines(text: str, style: Style) -> Iterator[Line]:
    """Yield what is wrong with a file: beside the message and its hint there are the file's own lines."""
    for line in text.splitlines():
        is_own = not line.startswith("    ") or line.startswith("    hint: ")
        yield Line(line, "error" if is_own and ": error: " in line else style, quoted=not is_own)


def _told(line: Line) -> str:
    """Return a line's text; the commands that we name have the options that were given to this one."""
    return line.text if line.quoted else with_options(line.text)


def check_format(output: str, allowed: Iterable[str] = ("text", "json")) -> None:
    """Refuse an unknown --format."""
    if output not in tuple(allowed):
        raise UsageError(f"--format {output}: not known", remedy=f"use {' or '.join(allowed)}")


def print_warnings(console: Console, desired: Desired) -> None:
    """Print the manifest's warnings to stderr."""
    if not console.quiet:
        for problem in desired.warnings:
            console.lines(_problem_lines(str(problem), "warning"), stream=sys.stderr)
