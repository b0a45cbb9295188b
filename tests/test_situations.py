"""docs/situations.md names tests that exist, for every row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "situations.md"
CELLS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| situation ", "| guarantee "))
]
GUARANTEES = {int(row[0].split(".")[0]): row for row in CELLS if re.match(r"\d+\. ", row[0])}
ROWS = [[row[0], "", *row[1:]] if row in GUARANTEES.values() else row for row in CELLS]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_tests_that_exist(row: list[str]) -> None:
    situation, _, real, in_memory = row
    for file, name in NAMED.findall(f"{real} {in_memory}"):
        source = (TESTS / file).read_text()
        assert re.search(rf"^def {name}\(", source, re.MULTILINE), f"{situation}: tests/{file} has no {name}"
    assert NAMED.search(in_memory), f"{situation}: no test in memory"
    assert real, f"{situation}: neither a test with real daemons nor a reason"


def test_there_are_rows() -> None:
    assert len(ROWS) > 60
    assert set(GUARANTEES) == {3, 5, 6, 7, 8, 9, 10, 11}
