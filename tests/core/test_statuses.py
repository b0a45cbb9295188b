"""The status table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.cli.status_table import table_lines
from reconciler.core.live import LiveDirectory, PidFile, Unknown
from reconciler.core.statuses import StatusRow, status_rows
from tests.core.builders import (
    STACK,
    Scene,
    applied,
    endpoint,
    lost,
    marked,
    pool,
    process,
    record,
    registration,
    settled,
    uuid,
    with_user_endpoints,
)

RUNNING = applied(endpoint())


def rows(scene: Scene) -> tuple[StatusRow, ...]:
    return status_rows(scene.desired, scene.live, scene.known.lock)


def test_running() -> None:
    directory = with_user_endpoints(RUNNING, 2)
    scene = settled(endpoint(), pools=(pool("b"), pool("a"), pool("c", None))).has(directory)
    assert rows(scene.sees(statuses={uuid("main"): "online"})) == (
        StatusRow(
            endpoint="main",
            host=None,
            declared="running",
            state="running",
            id=uuid("main"),
            service="online",
            pid=100,
            age=3600.0,
            user_endpoints=2,
            pools=("a", "b"),
            managed=True,
            stack=STACK,
            node="ufe01",
        ),
    )


@pytest.mark.parametrize(
    ("directory", "state"),
    [
        (applied(endpoint(), running=False), "stopped"),
        (replace(RUNNING, processes=()), "dead"),
        (replace(RUNNING, pid_file=None), "stopping"),
        (replace(RUNNING, processes=(process(1), process(2))), "doubled"),
        (
            marked(replace(RUNNING, processes=(), pid_file=PidFile(5, 1.0)), daemon=record("", host="ufe02")),
            "elsewhere",
        ),
        (replace(RUNNING, kind="legacy"), "legacy"),
    ],
)
def test_states(directory: LiveDirectory, state: str) -> None:
    assert [row.state for row in rows(settled(endpoint()).has(directory))] == [state]


def test_a_second_daemon_is_told() -> None:
    (row,) = rows(settled(endpoint()).has(replace(RUNNING, processes=(process(1), process(2)))))
    assert row.notes == ("2 daemons run under its name: PIDs 1, 2",)


def test_elsewhere_says_on_which_node_and_since_when() -> None:
    directory = replace(RUNNING, processes=(), pid_file=PidFile(5, 1.0))
    known = marked(directory, daemon=record("", pid=5, host="ufe02", started=1000.0))
    (row,) = rows(settled(endpoint()).has(known))
    assert (row.state, row.node, row.since, row.pid) == ("elsewhere", "ufe02", 1000.0, None)
    unknown = marked(directory, daemon=None)
    online = settled(endpoint()).has(unknown).sees(statuses={uuid("main"): "online"})
    assert [(r.state, r.node, r.since) for r in rows(online)] == [("elsewhere", None, None)]
    named = online.owns(registration(hostname="ufe03.noaa.gov"))
    assert [(r.state, r.node) for r in rows(named)] == [("elsewhere", "ufe03")]


def test_what_only_the_service_could_tell_is_unknown() -> None:
    directory = marked(replace(RUNNING, processes=(), pid_file=PidFile(100, 500.0)), daemon=record("", host="ufe02"))
    assert [row.state for row in rows(settled(endpoint()).has(directory))] == ["unknown"]


def test_absent() -> None:
    (row,) = rows(lost(settled(endpoint()), main="offline"))
    assert (row.state, row.id, row.service, row.managed) == ("absent", uuid("main"), "offline", False)


def test_endpoints_of_other_hosts_are_told_from_the_lock() -> None:
    scene = settled(endpoint("far"), endpoint()).wants(endpoint(), elsewhere={"far": "hera", "new": "hera"})
    found = {row.endpoint: (row.host, row.state, row.id) for row in rows(scene.has(RUNNING))}
    assert found == {
        "main": (None, "running", uuid("main")),
        "far": ("hera", "-", uuid("far")),
        "new": ("hera", "-", None),
    }


def test_what_else_is_there() -> None:
    other = replace(applied(endpoint("other")), marker=None)
    no_endpoint = LiveDirectory("notes", "other")
    found = rows(settled(endpoint()).has(RUNNING, other, no_endpoint))
    assert [(row.endpoint, row.declared, row.managed) for row in found] == [
        ("main", "running", True),
        ("other", "-", False),
    ]


def test_service() -> None:
    scene = settled(endpoint())
    assert [row.service for row in rows(scene)] == [None]
    assert [row.service for row in rows(scene.owns())] == ["gone"]
    assert [row.service for row in rows(scene.sees(registrations=Unknown("timeout")))] == ["unknown"]
    assert [row.service for row in rows(scene.sees(statuses={uuid("main"): Unknown("x")}))] == ["unknown"]


def test_another_stacks_directory_is_not_managed_and_says_whose_it_is() -> None:
    scene = settled(endpoint()).has(marked(RUNNING, stack="rrfs"), replace(applied(endpoint("other")), marker=None))
    assert [(row.managed, row.stack) for row in rows(scene)] == [(False, "rrfs"), (False, None)]
    first, second = [line.text for line in table_lines(rows(scene))][1:]
    assert "running (of rrfs)" in first
    assert "running (unmanaged)" in second


def test_what_a_marker_holds_stays_one_word() -> None:
    scene = settled(endpoint()).has(marked(RUNNING, stack="x)\nmain2  -  running" + "y" * 99))
    lines = [line.text for line in table_lines(rows(scene))]
    assert len(lines) == 2
    assert '(of "x)\\nmain2  -  runnin...)' in lines[1]
