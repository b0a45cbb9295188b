"""Options of config.yaml that somebody else wrote: with one that does not exist, no daemon is ended or started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.actions import Refusal
from reconciler.core.desired import CONFIG, RestartPolicy
from reconciler.core.manifest.options import Option, OptionTable
from reconciler.core.plan import Plan
from reconciler.core.scope import Errand
from tests.core.builders import CONFIG_DIR, Scene, applied, edited, endpoint, settled

TABLE = OptionTable("4.19.0", {"debug": Option(("bool",)), "amqp_port": Option(("int", "null"))})
FILE = f"{CONFIG_DIR}/main/{CONFIG}"
SLIP = b"debug: true\namqp_prot: 443\n"
NOT_UP = "its daemon would not come up: "


def scene(
    content: bytes | Mapping[str, Any], *, running: bool = True, restart: RestartPolicy = "now", **changes: Any
) -> Scene:
    """Return a scene in which config.yaml holds this since the daemon was started."""
    wanted = endpoint(restart=restart, **changes)
    found = settled(endpoint(restart=restart)).has(
        edited(applied(endpoint(restart=restart), running=running), CONFIG, content)
    )
    return found.wants(wanted, options=TABLE)


def kinds(plan: Plan) -> list[str]:
    return [action.kind for action in plan.actions]


def test_the_daemon_is_not_ended_for_what_would_not_come_up() -> None:
    plan = scene(SLIP).plan()
    assert not {"Restart", "Stop", "Start"} & {*kinds(plan)}
    assert plan.refusals == (
        Refusal(
            "main",
            f"{NOT_UP}{FILE}:2:1: unknown option `amqp_prot`",
            "take `amqp_prot` out of config.yaml",
            exit_code=3,
        ),
    )


def test_none_is_started() -> None:
    plan = scene(SLIP, running=False).plan()
    assert "Start" not in kinds(plan)
    assert [refusal.exit_code for refusal in plan.refusals] == [3]


def test_asked_for_by_name_it_is_neither() -> None:
    plan = scene(SLIP).plan(errand=Errand("restart", ("main",)))
    assert not {"Restart", "Stop", "Start"} & {*kinds(plan)}
    assert [refusal.what for refusal in plan.refusals] == [f"{NOT_UP}{FILE}:2:1: unknown option `amqp_prot`"]


def test_one_that_is_gone_says_since_when() -> None:
    plan = scene(b"{debug: true, engine: {type: ThreadPoolEngine}, nope_at_all: 1}").plan()
    gone = f"{FILE}:1:15: `engine` in config.yaml is gone since 4.10.1"
    unknown = f"{FILE}:1:49: globus-compute-endpoint 4.19.0 does not know the option `nope_at_all`"
    assert [(r.what, r.remedy) for r in plan.refusals] == [
        (f"{NOT_UP}{gone}; {unknown}", "take `engine`, `nope_at_all` out of config.yaml")
    ]


def test_a_file_that_is_written_anew_has_other_lines() -> None:
    plan = scene(SLIP, config={"debug": False}).plan()
    assert "WriteFile" in kinds(plan)
    assert "Restart" not in kinds(plan)
    assert [refusal.what for refusal in plan.refusals] == [f"{NOT_UP}{FILE}: unknown option `amqp_prot`"]


def test_what_the_manifest_set_before_is_taken_out_and_nothing_stands_against_it() -> None:
    before = endpoint(config={"debug": True, "amqp_prot": 443})
    plan = settled(before).has(applied(before)).wants(endpoint(restart="now"), options=TABLE).plan()
    assert not plan.refusals
    assert "Restart" in kinds(plan)


@pytest.mark.parametrize(
    "content",
    [{"debug": True, "amqp_port": 443}, b"debug: true\n# amqp_prot: 1\n", b"debug: true\namqp_port:\n"],
    ids=["known", "comment", "null"],
)
def test_options_that_exist_are_left_alone(content: bytes | Mapping[str, Any]) -> None:
    plan = scene(content).plan()
    assert not plan.refusals
    assert "Restart" in kinds(plan)


@pytest.mark.parametrize("table", [None, replace(TABLE, exact=False)], ids=["no table", "of another version"])
def test_what_is_not_known_for_certain_stands_against_nothing(table: OptionTable | None) -> None:
    found = scene(SLIP)
    plan = replace(found, desired=replace(found.desired, options=table)).plan()
    assert not plan.refusals
    assert "Restart" in kinds(plan)


def test_a_restart_that_is_not_made_is_not_refused() -> None:
    plan = scene(SLIP, restart="never").plan()
    assert not plan.refusals
    assert [action.hold for action in plan.actions if action.kind == "Restart"] == [
        "the manifest says `restart: never`"
    ]


def test_a_daemon_that_is_to_stop_is_stopped() -> None:
    plan = scene(SLIP, state="stopped").plan()
    assert not plan.refusals
    assert "Stop" in kinds(plan)
