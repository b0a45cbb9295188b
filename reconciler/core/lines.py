"""Lines of a report: text, and what it means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from reconciler.core.frozen import dataclass

Style = Literal["plain", "head", "add", "change", "remove", "restart", "dim", "warning", "error"]


@dataclass(frozen=True)
class Line:
    """One line of a report and what it means, for colour.

    Attributes:
        quoted: whether it is what others wrote (a line of a file, a value, a log), to be shown as it is.
    """

    text: str
    style: Style = "plain"
    quoted: bool = False


def as_text(lines: Sequence[Line] | Iterator[Line]) -> str:
    """Return the lines without colour, each ended by a newline."""
    return "".join(f"{line.text}\n" for line in lines)
