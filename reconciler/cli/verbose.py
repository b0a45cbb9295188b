"""`--verbose`: what our adapters log, as dim lines on stderr."""

from __future__ import annotations

import logging
import sys

from reconciler.adapters.hidden import without_secrets
from reconciler.cli.console import Console
from reconciler.core.lines import Line


class _Following(logging.Handler):
    """Prints each record, without any value that may be secret."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        # Asked now: a live table puts something in the place of stderr that says it is no terminal.
        self._colored = console.colored(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        line = Line(without_secrets(record.getMessage()), "dim")
        self._console.lines([line], stream=sys.stderr, colored=self._colored)


def follow(console: Console) -> None:
    """Print from now on what is asked and run."""
    ours = logging.getLogger("reconciler")
    ours.setLevel(logging.INFO)
    ours.handlers = [_Following(console)]
