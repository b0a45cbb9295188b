"""The status table as aligned text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.lines import Line, Style
from reconciler.core.statuses import StatusRow

_HEADINGS = ("ENDPOINT", "HOST", "DECLARED", "STATE", "SERVICE", "AGE", "USER EPS", "UUID", "POOLS")

_NOBODYS = frozenset({"absent", "-", "a link", "no endpoint", "unreadable"})


def table_lines(rows: Sequence[StatusRow]) -> Iterator[Line]:
    """Yield the table's lines; columns that nobody fills are left out."""
    if not rows:
        yield Line("no endpoints: none is declared, and none is there", "dim")
        return
    cells = [_cells(row) for row in rows]
    shown = [i for i in range(len(_HEADINGS)) if i in (0, 3, 7) or any(row[i] not in ("", "-") for row in cells)]
    widths = {i: max(len(_HEADINGS[i]), *(len(row[i]) for row in cells)) for i in shown}
    yield Line("  ".join(_HEADINGS[i].ljust(widths[i]) for i in shown).rstrip(), "head")
    for row, values in zip(rows, cells, strict=True):
        yield Line("  ".join(values[i].ljust(widths[i]) for i in shown).rstrip(), _style(row))
    for row in rows:
        yield from (Line(f"{row.endpoint}: {note}", "warning") for note in row.notes)


def _cells(row: StatusRow) -> tuple[str, ...]:
    managed = "" if row.managed or row.state in _NOBODYS else " (unmanaged)"
    return (
        row.endpoint,
        row.host or "-",
        row.declared,
        f"{row.state}{managed}",
        row.service or "-",
        age_text(row.age),
        str(row.user_endpoints) if row.user_endpoints else "-",
        row.id or "-",
        ", ".join(row.pools) or "-",
    )


def _style(row: StatusRow) -> Style:
    if row.declared == "-" or row.state == "-":
        return "dim"
    if row.declared == "running" and row.state == "running" and row.service in ("online", None):
        return "add"
    if row.declared == "stopped" and row.state == "stopped":
        return "plain"
    return "warning"


def age_text(seconds: float | None) -> str:
    """Return a duration in its two largest units, e.g. `3d 4h`; `-` for None."""
    if seconds is None:
        return "-"
    rest = int(max(seconds, 0))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if rest >= size or (unit == "s" and not parts):
            parts.append(f"{rest // size}{unit}")
            rest %= size
        if len(parts) == 2:
            break
    return " ".join(parts)
