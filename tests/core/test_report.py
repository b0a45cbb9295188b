"""How values, styles and summaries of a plan look; whole plans are in the planner's tests."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.changes import ABSENT, SENSITIVE
from reconciler.core.desired import TextFile
from reconciler.core.report import plan_lines, show
from tests.core.builders import applied, endpoint, registration, settled


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (1.5, "1.5"),
        ("yes", '"yes"'),
        ("a\nb", '"a\\nb"'),
        ([1, "x"], '[1, "x"]'),
        ("x" * 200, '"' + "x" * 116 + "..."),
        (SENSITIVE, "(sensitive)"),
        (ABSENT, "(absent)"),
    ],
)
def test_values(value: Any, text: str) -> None:
    assert show(value) == text


def test_every_line_is_one_line() -> None:
    """Whatever somebody wrote into a file, it breaks no line and is nothing that a terminal obeys."""
    template = TextFile("mine.j2", "one\n\x1b[2Jtwo\n")
    before = settled(endpoint()).wants(endpoint(config={"text": "a\nb\r\nc", "more": {"x\ny": 1}}, template=template))
    text = before.text()
    assert "\\x1b[2Jtwo" in text
    assert all(line.isprintable() for line in text.split("\n"))


def test_styles_tell_what_a_line_means() -> None:
    scene = settled(endpoint(), endpoint("old")).wants(endpoint(config={"debug": False}))
    found = {
        line.text.strip().split(" ")[0]: line.style for line in plan_lines(scene.plan(), where="here") if line.text
    }
    assert {key: found[key] for key in ("#", "-", "!")} == {"#": "remove", "-": "remove", "!": "restart"}


def test_summary_counts_endpoints_not_files() -> None:
    changed = endpoint(config={"debug": False}, schema=None)
    scene = settled(endpoint(), endpoint("old")).wants(changed, endpoint("new"))
    scene = scene.has(applied(endpoint()), applied(endpoint("old"))).owns(registration(), registration("old"))
    assert scene.text().splitlines()[-1] == (
        "Plan: 1 to change, 1 to restart, 1 to create, 1 to start, 1 to stop, 1 to delete."
    )
