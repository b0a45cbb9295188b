"""A document as values with positions: what `source` produces and every later check points into."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field, replace
from typing import Any, TypeAlias

from reconciler.core.frozen import dataclass
from reconciler.core.problems import Position, Problem
from reconciler.core.redact import redact

Path: TypeAlias = "tuple[str | int, ...]"
"""Keys and indices from the root of a document to a value."""

BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What YAML counts as the end of a line."""

# A value that says where to take a secret from, and nothing besides: what stands beside that, or as text in an
# expression, is of the secret.
_ENTRY = r"""\s*(?:env\s*:\s*["']?\w+["']?|\w+\s*:\s*(?:true|false))\s*"""
_REFERS = re.compile(
    rf"""(?:(?:Bearer|Basic|Token) +)?(?:\{{\{{[^{{}}"'\\]*\}}\}})+\Z|\{{{_ENTRY}(?:,{_ENTRY})*\}}\Z""",
    re.IGNORECASE,
)
_SHOWN_COLUMNS = 160
_SHOWN_CHARACTERS = 400

_BITS = 23
_MASK = (1 << _BITS) - 1


def pack(line: int, column: int) -> int:
    """Return one integer for a place; both count from 0 and stay below 2**23."""
    return line << _BITS | column


@dataclass(frozen=True)
class Parsed:
    """A document: its values, and where each of them stands.

    Attributes:
        file: the name to show.
        text: the whole text.
        root: the values; aliases share objects.
        problems: what is wrong but did not stop the reading (only `scan` leaves any).
    """

    file: str
    text: str
    root: Any
    problems: tuple[Problem, ...] = ()
    # id of a container -> the places of its children: key and value packed for a mapping, value for a list.
    _places: dict[int, Any] = field(default_factory=dict, repr=False)
    _lines: list[str] = field(default_factory=list, repr=False)
    _literals: list[str] = field(default_factory=list, repr=False)  # "" once looked for, then the secrets

    def at(self, path: Path, *, key: bool = False) -> Position:
        """Return the position of the value at `path`, or of its key; of the nearest parent that exists."""
        node, line, column = self.root, 0, 0
        for depth, step in enumerate(path):
            places = self._places.get(id(node))
            try:
                place = places[step] if places is not None else None
            except (KeyError, IndexError, TypeError):
                place = None
            if place is None:
                break
            if isinstance(node, dict):
                wants_key = key and depth == len(path) - 1
                place = place >> (2 * _BITS) if wants_key else place & ((1 << 2 * _BITS) - 1)
            line, column = place >> _BITS, place & _MASK
            node = node[step]
        return Position(self.file, line + 1, column + 1)

    def has(self, path: Path) -> bool:
        """Say whether there is a value at `path`."""
        node = self.root
        for step in path:
            try:
                node = node[step]
            except (KeyError, IndexError, TypeError):
                return False
        return True

    def line(self, number: int) -> str | None:
        """Return line `number` (from 1) for display: tabs as spaces, what looks like a secret masked."""
        if not self._lines:
            self._lines.extend(BREAK.split(self.text))
        if not 0 < number <= len(self._lines):
            return None
        raw = self._lines[number - 1]
        if any(secret in raw for secret in self._secrets()) or (self.root is None and "sensitive" in raw):
            return None
        return redact(raw.replace("\t", " "), keep=_REFERS)[:_SHOWN_COLUMNS]

    def masked(self, problem: Problem) -> Problem:
        """Return `problem` with its line as `line` shows it now that all values are known."""
        if problem.source is None or problem.position is None:
            return problem
        return replace(problem, source=self.line(problem.position.line) or None)

    def _secrets(self) -> list[str]:
        """Return what the manifest itself gives as the value of a sensitive variable (which is refused)."""
        if self._literals or not isinstance(self.root, dict):
            return self._literals[1:]
        hosts = self.root.get("hosts")
        self._literals.append("")
        for block in (self.root, *(hosts.values() if isinstance(hosts, dict) else ())):
            entries = block.get("variables") if isinstance(block, dict) else None
            for entry in entries.values() if isinstance(entries, dict) else ():
                if isinstance(entry, dict) and entry.get("sensitive"):
                    texts = (str(entry.get(key) or "") for key in ("value", "default"))
                    self._literals.extend(text for text in texts if text)
        return self._literals[1:]

    def problem(self, message: str, position: Position, hint: str | None = None, *, show: bool = True) -> Problem:
        """Return an error at `position`, with its line unless `show` is false."""
        visible = show and position.column <= _SHOWN_COLUMNS
        message, hint = printable(message), printable(hint) if hint else hint
        return Problem(message, position, hint, (self.line(position.line) or None) if visible else None)


def printable(text: str) -> str:
    """Return `text` for a terminal: YAML's escapes can put any character into a name, and any length."""
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "..."
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every value below `value` with its path, containers first."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, (*path, index))
