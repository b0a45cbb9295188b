"""What is wrong with a document, and exactly where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, order=True)
class Position:
    """A place in a text file; `line` and `column` count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One finding about a document.

    Attributes:
        message: what is wrong, one sentence.
        position: where; None when it concerns the whole file.
        hint: what to write instead, e.g. the nearest valid name.
        source: the line of text at `position`, for the caret display.
        severity: "error" stops the run (exit 65), "warning" is printed and the run goes on.
    """

    message: str
    position: Position | None = None
    hint: str | None = None
    source: str | None = None
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        """`file:line:column: error: message`, the source line, a caret and the hint."""
        head = f"{self.position}: " if self.position else ""
        lines = [f"{head}{self.severity}: {self.message}"]
        if self.source is not None and self.position is not None:
            lines.append(f"    {self.source}")
            lines.append("    " + " " * (self.position.column - 1) + "^")
        if self.hint:
            lines.append(f"    hint: {self.hint}")
        return "\n".join(lines)
