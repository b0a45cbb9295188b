"""Whole-process measurements: wall time, processor time, peak memory; two commands in turn, as ratios."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One run: seconds on the wall, seconds of processor time, peak resident memory in MiB, exit code."""

    wall: float
    cpu: float
    peak: float
    code: int


def run_once(command: Sequence[str], cwd: Path) -> Sample:
    """Run a command to its end and return what it took; its output is thrown away."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode)


@dataclass(frozen=True)
class Row:
    """One comparison: medians of both sides and of the ratios pair by pair."""

    what: str
    ours: float
    theirs: float
    ratio: float
    limit: float
    peak: float | None = None
    peak_limit: float | None = None

    @property
    def meets(self) -> bool:
        """Whether ratio and memory are within their limits."""
        return self.ratio <= self.limit and (self.peak_limit is None or (self.peak or 0) < self.peak_limit)


def compare(
    what: str,
    ours: Sequence[str],
    theirs: Sequence[str],
    cwd: Path,
    limit: float,
    *,
    rounds: int = 7,
    expect: int = 0,
    expect_theirs: Sequence[int] = (0, 1),  # `list` ends with 1 where texttable 1.7.2 is installed
    peak_limit: float | None = None,
) -> Row:
    """Run both commands in turn, after one warm-up each, and compare them pair by pair."""
    run_once(ours, cwd)
    run_once(theirs, cwd)
    pairs = [(run_once(ours, cwd), run_once(theirs, cwd)) for _ in range(rounds)]
    for mine, other in pairs:
        if mine.code != expect or other.code not in expect_theirs:
            raise SystemExit(f"{what}: exit codes {mine.code} and {other.code}: {ours} / {theirs}")
    return Row(
        what,
        statistics.median(a.wall for a, _ in pairs),
        statistics.median(b.wall for _, b in pairs),
        statistics.median(a.wall / b.wall for a, b in pairs),
        limit,
        max(a.peak for a, _ in pairs),
        peak_limit,
    )


def compare_procedures(
    what: str, ours: Callable[[], None], theirs: Callable[[], None], between: Callable[[], None], limit: float
) -> Row:
    """Time two procedures three times in turn; `between` puts everything back."""
    pairs = []
    for _ in range(3):
        times = []
        for procedure in (ours, theirs):
            began = time.perf_counter()
            procedure()
            times.append(time.perf_counter() - began)
            between()
        pairs.append(times)
    return Row(
        what,
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
        limit,
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text."""
    lines = [f"{'':44}  {'ours':>8}  {'peer':>8}  {'ratio':>6}  {'limit':>6}  {'peak':>8}"]
    for row in rows:
        peak = f"{row.peak:5.0f} MiB" if row.peak is not None else ""
        mark = "" if row.meets else "   MISSED"
        lines.append(
            f"{row.what:44}  {row.ours:6.2f} s  {row.theirs:6.2f} s  {row.ratio:6.2f}  {row.limit:6.2f}  {peak}{mark}"
        )
    return "\n".join(lines)
