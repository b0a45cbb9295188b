"""The JSON outputs: complete, versioned, and without secrets."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from jsonschema import Draft202012Validator

from reconciler.core.busy import with_work
from reconciler.core.output_models import ApplyOutput, PlanOutput, StatusOutput
from reconciler.core.outputs import apply_output, plan_output, status_output, to_json
from reconciler.core.progress import Outcome, Run
from reconciler.core.statuses import status_rows
from reconciler.core.work import Work
from tests.core.builders import Scene, applied, empty, endpoint, pool, settled, uuid, with_user_endpoints

SECRET = frozenset({"TOKEN"})


def changing() -> Scene:
    """Return a scene with a bit of everything."""
    before = endpoint(user_environment={"TOKEN": "hunter1", "A": "1"}, sensitive=SECRET)
    after = replace(before, user_environment={"TOKEN": "hunter2"}, config={"debug": False, "display_name": "Main"})
    scene = settled(before, endpoint("old"), pools=(pool("mpi"), pool("gpu", "far")))
    return scene.has(with_user_endpoints(applied(before), 1), replace(applied(endpoint("old")), marker=None)).wants(
        after
    )


def checked(model: Any, text: str) -> Any:
    """Return the document, after it was checked against its model's schema."""
    document = json.loads(text)
    Draft202012Validator(model.model_json_schema()).validate(document)
    assert document["format_version"] == 1
    return document


def test_plan() -> None:
    document = checked(PlanOutput, to_json(plan_output(changing().plan())))
    assert document["changes"] is True
    assert [a["kind"] for a in document["actions"]] == ["WriteFile", "WriteFile", "Restart"]
    assert document["actions"][0]["changes"][0]["fields"] == [
        {"path": "debug", "old": True, "new": False, "kind": "change", "sensitive": False},
        {"path": "display_name", "old": None, "new": "Main", "kind": "add", "sensitive": False},
    ]
    assert document["actions"][1]["changes"][0]["fields"] == [
        {"path": "A", "old": "1", "new": None, "kind": "remove", "sensitive": False},
        {"path": "TOKEN", "old": None, "new": None, "kind": "change", "sensitive": True},
    ]
    assert document["actions"][2]["interrupts"] == 1
    assert "Idle" in document["actions"][2]["preconditions"]
    assert [r["endpoint"] for r in document["refusals"]] == ["old"]
    assert document["left_out"] == {"gpu": "endpoint `far` has no UUID yet"}
    assert "hunter" not in json.dumps(document)


def test_plan_with_what_it_would_end() -> None:
    plan = with_work(changing().plan(), {"main": Work(1, 2, ("17",), ("no answer",))})
    document = checked(PlanOutput, to_json(plan_output(plan)))
    assert document["actions"][2]["work"] == {"tasks": 2, "jobs": ["17"], "uncounted": ["no answer"]}
    assert document["actions"][0]["work"] is None


def test_empty_plan() -> None:
    document = checked(PlanOutput, to_json(plan_output(settled(endpoint()).plan())))
    assert (document["changes"], document["actions"], document["summary"]) == (False, [], "Plan: no changes.")


def test_apply() -> None:
    plan = changing().plan()
    failed = Outcome(plan.actions[0], "failed", reason="disk full", remedy="make room", seconds=1.23456)
    run = Run((failed, Outcome(plan.actions[1], "skipped")), lock=plan.lock, left_out={"gpu": "why"})
    document = checked(ApplyOutput, to_json(apply_output(plan, run, 3)))
    assert document["exit_code"] == 3
    assert [(o["kind"], o["outcome"]) for o in document["outcomes"]] == [
        ("WriteFile", "failed"),
        ("WriteFile", "skipped"),
    ]
    assert (document["outcomes"][0]["reason"], document["outcomes"][0]["seconds"]) == ("disk full", 1.235)
    assert document["endpoints"] == {"main": uuid("main"), "old": uuid("old")}
    assert document["left_out"] == {"gpu": "why"}


def test_status() -> None:
    scene = settled(endpoint())
    rows = status_rows(scene.desired, scene.live, scene.known.lock)
    document = status_output(rows, stack="hrrr", config_dir="~/gc", service="production", unreachable=None)
    found = checked(StatusOutput, to_json(document))
    assert found["endpoints"][0]["state"] == "running"


def test_new_endpoint_has_an_action_for_each_effect() -> None:
    document = plan_output(empty(endpoint()).plan())
    assert [a.kind for a in document.actions] == ["Create", "Start"]
    assert [f.kind for f in document.files] == ["WriteLock", "WritePools"]
