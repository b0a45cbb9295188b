"""`--verbose`: what our adapters log, as dim lines on stderr."""

from __future__ import annotations

import logging
import sys

from reconciler.adapters.hidden import cleaned
from reconciler.cli.console import Console
from reconciler.core.lines import Line


class _Following(logging.Handler):
    """Prints each record, without any value that may be secret."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        self._console.lines([Line(cleaned(record.getMessage(), []), "dim")], stream=sys.stderr)


def follow(console: Console) -> None:
    """Print from now on what is read, asked and run."""
    ours = logging.getLogger("reconciler")
    ours.setLevel(logging.INFO)
    ours.handlers = [_Following(console)]
