"""Options that the installed version does not know: with one of them no daemon is ended or started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.actions import Refusal
from reconciler.core.desired import CONFIG, Moved, RestartPolicy, TextFile
from reconciler.core.live import GONE
from reconciler.core.manifest.options import Option, OptionTable
from reconciler.core.plan import Plan
from reconciler.core.problems import Problem
from reconciler.core.scope import Errand
from reconciler.core.user_endpoints import say_soon_previous
from tests.core.builders import CONFIG_DIR, Scene, applied, edited, endpoint, settled, uuid, with_user_endpoints

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
    plan = scene(b"{debug: true, multi_user: true, nope_at_all: 1}").plan()
    gone = f"{FILE}:1:15: `multi_user` is gone since 4.10.1: every endpoint serves user endpoints"
    unknown = f"{FILE}:1:33: globus-compute-endpoint 4.19.0 does not know the option `nope_at_all`"
    assert [(r.what, r.remedy) for r in plan.refusals] == [
        (f"{NOT_UP}{gone}; {unknown}", "take `multi_user`, `nope_at_all` out of config.yaml")
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


def test_what_is_merged_in_counts() -> None:
    plan = scene(b"debug: true\n<<: {amqp_prot: 443}\n").plan()
    assert [refusal.what for refusal in plan.refusals] == [f"{NOT_UP}{FILE}:2:1: unknown option `amqp_prot`"]


def test_asked_for_by_name_with_one_of_the_manifest_it_is_not_ended() -> None:
    unknown = Problem("globus-compute-endpoint 4.15.0 does not know `email`", None, "leave the option out")
    found = settled(endpoint()).wants(endpoint(), refused={"main": (unknown,)})
    plan = found.plan(errand=Errand("restart", ("main",)))
    assert not plan.actions
    assert plan.refusals == (Refusal("main", unknown.message, "leave the option out", exit_code=3),)


def test_what_would_not_help_is_not_said() -> None:
    wanted = endpoint()
    directory = with_user_endpoints(edited(applied(wanted), CONFIG, SLIP), 1)
    plan = settled(wanted).has(directory).wants(wanted, options=TABLE).plan(errand=Errand("restart", ("main",)))
    assert [refusal.exit_code for refusal in plan.refusals] == [3]
    assert not plan.notes


def test_its_uuid_is_not_given_up_for_what_would_not_come_up() -> None:
    found = scene(SLIP).owns().sees(statuses={uuid("main"): GONE})
    plan = found.plan(reregister=["main"])
    assert not plan.actions
    assert [refusal.exit_code for refusal in plan.refusals] == [3]
    assert plan.entries["main"].id == uuid("main")


def test_the_place_is_named_as_it_is_now() -> None:
    old = endpoint("old", restart="now")
    found = settled(old).has(edited(applied(old), CONFIG, SLIP))
    plan = found.wants(endpoint("new", restart="now"), moved=(Moved("old", "new"),), options=TABLE).plan()
    assert not plan.actions
    file = f"{CONFIG_DIR}/old/{CONFIG}"
    assert [refusal.what for refusal in plan.refusals] == [f"{NOT_UP}{file}:2:1: unknown option `amqp_prot`"]


def test_user_endpoints_that_go_on_are_said() -> None:
    wanted = endpoint(restart="now", template=TextFile("mine.j2", "engine: {type: ThreadPoolEngine}\n"))
    directory = with_user_endpoints(edited(applied(endpoint(restart="now")), CONFIG, SLIP), 2)
    plan = settled(endpoint(restart="now")).has(directory).wants(wanted, options=TABLE).plan()
    assert "WriteFile" in kinds(plan)
    assert [note.text for note in plan.notes] == [say_soon_previous(2)]
