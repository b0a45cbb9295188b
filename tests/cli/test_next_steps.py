"""Commands that messages name carry the options that say what is looked at."""

from __future__ import annotations

from io import StringIO

import pytest
import typer

from reconciler.cli.console import Console
from reconciler.cli.main import build_app
from reconciler.cli.next_steps import remember, with_options
from reconciler.core.lines import Line
from tests.adapters.globus_stub import ENDPOINT
from tests.cli.support import ONE, Shell

PLAN = ("plan", "-f", "a b.yaml", "--lock=l.yaml", "--config", "/gc", "--target", "main")


@pytest.mark.parametrize(
    ("arguments", "text", "expected"),
    [
        (
            PLAN,
            "run `chiltepin adopt x --id UUID`",
            "run `chiltepin adopt x --id UUID -f 'a b.yaml' -c /gc --lock l.yaml`",
        ),
        (
            PLAN,
            "`chiltepin login`, then `chiltepin whoami`",
            "`chiltepin login -c /gc`, then `chiltepin whoami -c /gc`",
        ),
        (PLAN, "`chiltepin forget -f FILE x`", "`chiltepin forget -f FILE x -c /gc`"),
        (PLAN, "`chiltepin sandbox up`", "`chiltepin sandbox up`"),
        (PLAN, "`chiltepin plan --help` lists", "`chiltepin plan --help` lists"),
        (PLAN, "`chiltepin adopt 'a`b'`", "`chiltepin adopt 'a`b'`"),
        (PLAN, "`chiltepin nope` and `directory: x`", "`chiltepin nope` and `directory: x`"),
        (("plan",), "`chiltepin apply`", "`chiltepin apply`"),
        (("plan", "-f", "chiltepin.yaml"), "`chiltepin apply`", "`chiltepin apply`"),
        (
            ("plan", "--host", "ursa", "--allow-outside"),
            "`chiltepin apply`",
            "`chiltepin apply --host ursa --allow-outside`",
        ),
        (("plan", "--nope", "-f", "x"), "`chiltepin apply`", "`chiltepin apply`"),
        (("endpoint", "-c", "/gc", "start", "x"), "`chiltepin plan`", "`chiltepin plan -c /gc`"),
        (
            ("endpoint", "start", "x", "-c", "/gc"),
            "`chiltepin endpoint delete x`",
            "`chiltepin endpoint delete x -c /gc`",
        ),
    ],
)
def test_what_is_carried(arguments: tuple[str, ...], text: str, expected: str) -> None:
    remember(typer.main.get_command(build_app(arguments[0])), arguments)
    assert with_options(text) == expected


def test_what_others_wrote_is_shown_as_it_is(shell: Shell) -> None:
    (shell.project / "m.yaml").write_text("version: 1\nendpoints:\n  main: {state: stoped}  # see `chiltepin status`\n")
    shell.refused("validate", "-f", "m.yaml", code=65, says=("# see `chiltepin status`",))
    console = Console("never")
    remember(typer.main.get_command(build_app("plan")), PLAN)
    shown = [Line("- `chiltepin plan`", quoted=True), Line("`chiltepin whoami`")]
    console.lines(shown, stream=(out := StringIO()))
    assert out.getvalue() == "- `chiltepin plan`\n`chiltepin whoami -c /gc`\n"


def test_a_plan_of_another_manifest_names_a_next_step_that_works(shell: Shell) -> None:
    directory = shell.config_dir / "main"
    directory.mkdir(mode=0o700)
    (directory / "config.yaml").write_text("debug: true\n")
    (directory / "endpoint.json").write_text(f'{{"endpoint_id": "{ENDPOINT}"}}')
    shell.register(ENDPOINT)
    (shell.project / "other one.yaml").write_text(ONE)
    options = ("-f", "other one.yaml", "--lock", "other.lock")
    step = "chiltepin adopt main -f 'other one.yaml' --lock other.lock"
    shell.refused("plan", *options, code=4, says=(f"`{step}`",))
    shell.refused("plan", *options, "--format", "markdown", code=4, says=(f"`{step}`",))
    shell.ok("adopt", "main", *options, "--yes")
