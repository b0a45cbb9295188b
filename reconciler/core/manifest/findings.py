"""Collecting problems while a manifest is checked, so that all of them are reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from reconciler.core.invalid import ManifestInvalid, in_order
from reconciler.core.manifest.parsed import Parsed, Path
from reconciler.core.problems import Position, Problem

_MANY = 200
"""Names that are compared in full; of more, only those that begin alike: comparing is slow."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the name in `known` that `word` is most likely a misspelling of, or None."""
    names = tuple(known)
    if len(names) > _MANY:
        names = tuple(name for name in names if name[:2] == word[:2] and abs(len(name) - len(word)) < 3)[:_MANY]
    return _nearest(word, names) if len(word) <= 100 else None


@lru_cache(maxsize=256)
def _nearest(word: str, names: tuple[str, ...]) -> str | None:
    folded = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def suggestion(word: str, known: Iterable[str], what: str = "known", *, most: int = 12) -> str | None:
    """Return a hint: the nearest name, or the list of names when there are at most `most`."""
    names = list(known)
    if near := nearest(word, names):
        return f"did you mean `{near}`?"
    if 0 < len(names) <= most:
        return f"{what}: {', '.join(names)}"
    return None


class Layers:
    """The blocks that a merged block was made of, strongest first: where to look for a value's position."""

    __slots__ = ("paths",)

    def __init__(self, *paths: Path) -> None:
        self.paths = paths

    def place(self, parsed: Parsed, inner: Path, *, key: bool = False) -> Position:
        """Return the position of the value `inner` in the strongest layer that has it, else of the block."""
        for depth in range(len(inner), 0, -1):
            for layer in self.paths:
                path = (*layer, *inner[:depth])
                if parsed.has(path):
                    return parsed.at(path, key=key and depth == len(inner))
        return parsed.at(self.paths[0], key=True)


class Findings:
    """The problems found so far in one document.

    Attributes:
        broken: paths of blocks from which something wrong was taken out. What is missing there is no
            further finding.
    """

    def __init__(self, parsed: Parsed, problems: Sequence[Problem] = ()) -> None:
        self.parsed = parsed
        self.problems: list[Problem] = list(problems)
        self.broken: set[Path] = set()
        self._doubtful = {problem.position for problem in problems if problem.severity == "error"}

    def copy(self) -> Findings:
        """Return findings that begin with these and leave them as they are."""
        copied = Findings(self.parsed, self.problems)
        copied.broken, copied._doubtful = set(self.broken), self._doubtful
        return copied

    def error(self, path: Path, message: str, hint: str | None = None, *, key: bool = False) -> None:
        """Record an error at `path` (at its key with `key`)."""
        self.at(self.parsed.at(path, key=key), message, hint)

    def warning(self, path: Path, message: str, hint: str | None = None, *, key: bool = False) -> None:
        """Record a warning at `path`."""
        self.at(self.parsed.at(path, key=key), message, hint, severity="warning")

    def general(self, message: str, hint: str | None = None) -> None:
        """Record a warning that concerns no place of the document."""
        self.problems.append(Problem(message, hint=hint, severity="warning"))

    def at(
        self, position: Position, message: str, hint: str | None = None, *, severity: str = "error", show: bool = True
    ) -> None:
        """Record a problem at `position`; `show=False` keeps the line out of it.

        An ambiguous word was reported when the text was read; that it is then no number or no time
        either is the same mistake, and not recorded.
        """
        if position in self._doubtful:
            return
        problem = self.parsed.problem(message, position, hint, show=show)
        self.problems.append(replace(problem, severity="warning") if severity == "warning" else problem)

    @property
    def failed(self) -> bool:
        """Whether any of the problems is an error."""
        return any(problem.severity == "error" for problem in self.problems)

    def finish(self) -> tuple[Problem, ...]:
        """Return the warnings.

        Raises:
            ManifestInvalid: when there is an error; it carries the warnings too.
        """
        if self.failed:
            raise ManifestInvalid(self.problems)
        return in_order(self.problems)
