"""Every command line in the documentation is one that our command line knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command_lines import command_lines, parse

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
LINES = [
    (f"{page.relative_to(ROOT)}:{number}", line) for page in PAGES for number, line in command_lines(page.read_text())
]


@pytest.mark.parametrize("line", [pytest.param(line, id=f"{place} {line}") for place, line in LINES])
def test_a_command_line_of_the_documentation_parses(line: str) -> None:
    parse(line)


def test_the_documentation_shows_command_lines() -> None:
    assert {place.partition(":")[0] for place, _ in LINES} >= {
        f"examples/{name}/README.md" for name in ("laptop", "slurm")
    }


@pytest.mark.parametrize(
    "text",
    [
        "```\nchiltepin plam\n```\n",
        "    chiltepin plan --nope\n",
        "```sh\n$ cd x && chiltepin lock exprot\n```\n",
        "```sh\nchiltepin sandbox exec -- chiltepin plam\n```\n",
        '```sh\neval "$(chiltepin sandbox nope)"\n```\n',
        "```sh\ntrue; /opt/bin/chiltepin-reconciler apply \\\n  --nope\n```\n",
    ],
)
def test_a_wrong_line_is_found(text: str) -> None:
    [(_, line)] = command_lines(text)
    with pytest.raises(Exception, match=r"(?i)no such"):
        parse(line)


def test_what_is_no_command_line_is_left_alone() -> None:
    text = "Run chiltepin plan.\n\n```yaml\nchiltepin: plam\n```\n\n    # chiltepin plam\n    import chiltepin\n"
    assert list(command_lines(text)) == []
