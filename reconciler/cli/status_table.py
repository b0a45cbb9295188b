"""The status table as aligned text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

from reconciler.core.lines import Line, Style
from reconciler.core.statuses import StatusRow, TrashRow

_HEADINGS = ("ENDPOINT", "HOST", "DECLARED", "STATE", "SERVICE", "AGE", "USER EPS", "UUID", "POOLS")

_NOBODYS = frozenset({"absent", "-", "a link", "no endpoint", "unreadable"})


# What gives way on a narrow terminal, the least important first; name, state and UUID never do.
_GIVES_WAY = (8, 1, 6, 5, 2, 4)
_CAN_BE_CUT = frozenset({1, 8})
_LEAST = 8
_SHOWN = 24
_GAP = "  "


def table_lines(rows: Sequence[StatusRow], room: int | None = None) -> Iterator[Line]:
    """Yield the table's lines; columns that nobody fills are left out.

    Args:
        room: the terminal's width; None shows everything.
    """
    if not rows:
        yield Line("no endpoints: none is declared, and none is there", "dim")
        return
    cells = [_cells(row) for row in rows]
    shown = [i for i in range(len(_HEADINGS)) if i in (0, 3, 7) or any(row[i] not in ("", "-") for row in cells)]
    whole = {i: max(len(_HEADINGS[i]), *(len(row[i]) for row in cells)) for i in shown}
    widths = whole if room is None else _fitted(whole, room)
    yield Line(_GAP.join(_HEADINGS[i].ljust(width) for i, width in widths.items()).rstrip(), "head")
    for row, values in zip(rows, cells, strict=True):
        yield Line(_GAP.join(_cut(values[i], width).ljust(width) for i, width in widths.items()).rstrip(), _style(row))
    if widths != whole:
        narrowed = ", ".join(_HEADINGS[i] for i in whole if widths.get(i) != whole[i])
        yield Line(
            f"not all shown for want of columns: {narrowed}; `chiltepin status --format markdown` shows all", "dim"
        )
    for row in rows:
        yield from (Line(f"{row.endpoint}: {note}", "warning") for note in row.notes)


def _fitted(whole: Mapping[int, int], room: int) -> dict[int, int]:
    """Return the columns that fit into `room`, with their widths: cut where that helps, else left out."""
    widths = dict(whole)
    for column in _GIVES_WAY:
        over = sum(widths.values()) + len(_GAP) * (len(widths) - 1) - room
        if over <= 0:
            break
        if column in _CAN_BE_CUT and widths.get(column, 0) - over >= _LEAST:
            widths[column] -= over
        else:
            widths.pop(column, None)
    return widths


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def trash_lines(rows: Sequence[TrashRow]) -> Iterator[Line]:
    """Yield a line on what is in the trash, and one on how to get it back."""
    if not rows:
        return
    said = ", ".join(_in_trash(row) for row in rows)
    yield Line("")
    yield Line(f"{len(rows)} in the trash: {said}", "dim")
    name = rows[-1].endpoint
    yield Line(
        f"  back with its UUID: `chiltepin undelete {quote(name)}`; for ever gone: `chiltepin purge {quote(name)}`",
        "dim",
    )


def _in_trash(row: TrashRow) -> str:
    remarks = [age_text(row.age) if row.age is not None and row.age >= 0 else "since when is not known"]
    if row.size is not None:
        remarks.append(size_text(row.size))
    if row.expired:
        remarks.append("retention ended")
    if not row.ours:
        remarks.append("of another lock")
    return f"{row.endpoint} ({', '.join(remarks)})"


def size_text(size: int) -> str:
    """Return a number of bytes in the unit that fits, e.g. `1.5 MB`."""
    value, unit = float(size), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"


def _cells(row: StatusRow) -> tuple[str, ...]:
    managed = "" if row.managed or row.state in _NOBODYS else f" ({_owner(row.stack)})"
    where = f" on {row.node}" if row.state == "elsewhere" and row.node else ""
    return (
        row.endpoint,
        row.host or "-",
        row.declared,
        f"{row.state}{where}{managed}",
        row.service or "-",
        age_text(row.age),
        str(row.user_endpoints) if row.user_endpoints else "-",
        row.id or "-",
        ", ".join(row.pools) or "-",
    )


def _owner(stack: str | None) -> str:
    """Say whose an endpoint is; what somebody wrote into a marker by hand stays one short word."""
    return "unmanaged" if stack is None else f"of {_cut(stack if stack.isprintable() else json.dumps(stack), _SHOWN)}"


def _style(row: StatusRow) -> Style:
    if row.declared == "-" or row.state == "-":
        return "dim"
    if row.declared == "running" and row.state in ("running", "elsewhere") and row.service in ("online", None):
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
