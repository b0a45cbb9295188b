"""The command line: one thin file for each command. The only package that prints, prompts and exits."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `chiltepin` and exit with its code."""
    from reconciler.cli.main import run

    sys.exit(run(sys.argv[1:]))
