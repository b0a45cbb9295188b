"""A kept plan is applied only while it is still the plan: on values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.desired import Moved
from reconciler.core.environment import variable
from reconciler.core.machine import Moment
from reconciler.core.outputs import to_json
from reconciler.core.saved_plan import fingerprint, moved_on, read_saved_plan, save_plan
from reconciler.core.scope import Scope
from reconciler.errors import StateFileError, UsageError
from tests.core.builders import HOST, Scene, desired, empty, endpoint, pool, settled

SALT = "00" * 16
CHANGED = endpoint(config={"debug": False})


def saved(scene: Scene) -> str:
    return to_json(save_plan(scene.plan(), Scope(), frozenset(), SALT))


def test_the_same_plan_is_the_same_after_a_round_trip_through_the_file() -> None:
    scene = settled(endpoint()).wants(CHANGED)
    assert moved_on(read_saved_plan(saved(scene), "p"), scene.plan()) == ()


@pytest.mark.parametrize("salt", ["zz", "", "\u0661" * 32, "0" * 31, "0" * 32 + "\n"])
def test_a_salt_that_nobody_made(salt: str) -> None:
    text = saved(settled(endpoint()).wants(CHANGED)).replace(SALT, salt.replace("\n", "\\n"))
    with pytest.raises(StateFileError, match="`salt`"):
        read_saved_plan(text, "p")


def test_a_changed_manifest_is_named() -> None:
    kept = read_saved_plan(saved(settled(endpoint()).wants(CHANGED)), "p")
    assert moved_on(kept, settled(endpoint()).plan()) == (
        "no longer planned: main: write config.yaml (spec changed)",
        "no longer planned: main: restart (PID 100) (spec changed)",
    )


def test_other_content_of_the_same_actions_is_noticed() -> None:
    kept = read_saved_plan(saved(empty(endpoint(user_environment={"A": "1"}))), "p")
    other = empty(endpoint(user_environment={"A": "2"})).plan()
    assert moved_on(kept, other) == ("the same actions, on a manifest, lock or files that have changed",)


def test_other_pools_are_noticed_also_beside_the_same_actions() -> None:
    two, many = (desired(CHANGED, pools=(pool("mpi", max_blocks=n),)) for n in (2, 99))
    scene = settled(endpoint(), pools=(pool("mpi"),))
    kept = read_saved_plan(saved(replace(scene, desired=two)), "p")
    assert moved_on(kept, replace(scene, desired=two).plan()) == ()
    assert moved_on(kept, replace(scene, desired=many).plan())


@pytest.mark.parametrize("name", ["https_proxy", "GLOBUS_SDK_SERVICE_URL_AUTH"])
def test_another_environment_of_what_it_starts_is_noticed(name: str) -> None:
    scene = settled(endpoint()).wants(CHANGED)
    elsewhere = scene.sees(environment={**scene.live.environment, name: variable(name, "http://else")})
    assert moved_on(read_saved_plan(saved(scene), "p"), elsewhere.plan())


def test_a_daemon_that_only_grew_older_is_no_change() -> None:
    scene = settled(endpoint()).wants(CHANGED)
    (directory,) = scene.live.directories.values()
    older = scene.has(replace(directory, processes=tuple(replace(p, age=p.age + 60) for p in directory.processes)))
    assert fingerprint(older.plan(), SALT) == fingerprint(scene.plan(), SALT)


@pytest.mark.parametrize("processes", [True, False], ids=["runs", "was killed"])
def test_a_rename_is_the_same_a_minute_later_though_the_daemon_ends_later(*, processes: bool) -> None:
    scene = settled(endpoint("old")).wants(endpoint("new"))
    scene = replace(scene, desired=replace(scene.desired, moved=(Moved("old", "new"),)))
    (directory,) = scene.live.directories.values()
    scene = scene.has(directory if processes else replace(directory, processes=()))
    plan, later = scene.plan(), scene.sees(moment=Moment(HOST.boot_id, 60.0)).plan()
    assert [a.kind for a in plan.actions] == ["Stop" if processes else "ClearStalePid", "Rename", "Start"]
    assert fingerprint(plan, SALT) == fingerprint(later, SALT)


def test_another_daemon_is_a_change() -> None:
    scene = settled(endpoint()).wants(CHANGED)
    (directory,) = scene.live.directories.values()
    other = scene.has(
        replace(directory, processes=tuple(replace(p, start_time=p.start_time + 1) for p in directory.processes))
    )
    assert fingerprint(other.plan(), SALT) != fingerprint(scene.plan(), SALT)


def test_a_secret_is_in_no_form_in_the_file() -> None:
    secret = "correct horse battery staple"
    text = saved(empty(endpoint(user_environment={"TOKEN": secret}, sensitive=frozenset({"TOKEN"}))))
    assert secret not in text
    assert "TOKEN" in text


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format_version": 2}', "\x00", '{"kind": "plan"}', "[" * 9999])
def test_what_is_no_kept_plan_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a plan that can be applied") as caught:
        read_saved_plan(text, "p.json")
    assert caught.value.remedy == "a manifest is named with -f: `chiltepin apply -f FILE`"


def test_a_plan_that_was_cut_off_is_damaged_and_no_slip_of_the_hand() -> None:
    text = saved(empty(endpoint()))
    with pytest.raises(StateFileError, match="this plan is damaged") as caught:
        read_saved_plan(text[: len(text) // 2], "p.json")
    assert caught.value.remedy == "make it again: `chiltepin plan --out p.json`"


def test_a_damaged_plan_is_refused() -> None:
    with pytest.raises(StateFileError, match="not a plan that can be applied: `plan`") as caught:
        read_saved_plan('{"kind": "saved-plan"}', "p.json")
    assert caught.value.remedy == "make it again: `chiltepin plan --out p.json`"
