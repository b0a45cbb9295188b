"""An invalid manifest: every problem of it at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from reconciler.core.problems import Problem
from reconciler.errors import ExitCode, ReconcilerError

_SHOWN = 100
"""Problems that str() prints; a generated manifest of thousands of blocks can have one in each."""


class ManifestInvalid(ReconcilerError):
    """The manifest, or a file that it names, is wrong; nothing has been done.

    Args:
        problems: everything that is wrong, in the order of the file, and the warnings found so far.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INVALID_MANIFEST

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = in_order(problems)
        errors = sum(problem.severity == "error" for problem in self.problems)
        super().__init__(f"the manifest has {errors} error{'' if errors == 1 else 's'}")

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"... and {len(self.problems) - _SHOWN} more")
        return "\n".join([*lines, self.what])


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return `problems` sorted by position (those without one first), each once."""
    return tuple(sorted(dict.fromkeys(problems), key=_place))


def _place(problem: Problem) -> tuple[str, int, int]:
    at = problem.position
    return (at.file, at.line, at.column) if at else ("", 0, 0)
