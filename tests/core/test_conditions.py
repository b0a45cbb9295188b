"""Preconditions, judged again just before an action."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.conditions import violated
from reconciler.core.desired import CONFIG, SCHEMA
from reconciler.core.live import Damaged, LiveDirectory, PidFile, Process
from reconciler.core.preconditions import (
    DaemonIs,
    EndpointIdIs,
    FileIs,
    Idle,
    MarkedAs,
    NameFree,
    NoDaemon,
    Offline,
    PidFileIs,
    Precondition,
)
from tests.core.builders import (
    LINEAGE,
    STACK,
    applied,
    edited,
    endpoint,
    marked,
    process,
    uuid,
    with_user_endpoints,
)

HERE = applied(endpoint())
STARTING = Process(100, 5000, 1000, "python globus-compute-endpoint start main", 1.0)
MARKED = MarkedAs(STACK, LINEAGE, "main", uuid("main"))
SAME_FILE = FileIs(CONFIG, HERE.files[CONFIG].digest)


@pytest.mark.parametrize(
    ("precondition", "directory"),
    [
        (NameFree(), None),
        (MARKED, HERE),
        (SAME_FILE, HERE),
        (FileIs(SCHEMA, None), edited(HERE, SCHEMA, None)),
        (NoDaemon(), replace(HERE, processes=())),
        (DaemonIs(process()), HERE),
        (DaemonIs(STARTING), replace(HERE, processes=(STARTING,))),
        (DaemonIs(process()), replace(HERE, processes=(), pid_file=None)),
        (Idle(), HERE),
        (EndpointIdIs(uuid("main")), HERE),
        (EndpointIdIs(None), replace(HERE, endpoint_id=None)),
        (PidFileIs(7, 5.0), replace(HERE, pid_file=PidFile(7, 60.0, 5.0))),
        (PidFileIs(7), replace(HERE, pid_file=PidFile(7, 60.0, 5.0))),
        (PidFileIs(7, 5.0), replace(HERE, pid_file=None)),
        (Offline(uuid("main")), None),
    ],
)
def test_what_holds(precondition: Precondition, directory: LiveDirectory | None) -> None:
    assert violated(precondition, directory) is None


@pytest.mark.parametrize(
    ("precondition", "directory", "said"),
    [
        (NameFree(), HERE, "something of that name exists by now"),
        (MARKED, None, "its directory is gone"),
        (Idle(), None, "its directory is gone"),
        (MARKED, replace(HERE, marker=None), "its marker is gone or cannot be read"),
        (MARKED, replace(HERE, marker=Damaged("cut short")), "its marker is gone or cannot be read"),
        *[
            (MARKED, marked(HERE, **{field: "other"}), "its marker was changed since the plan was made")
            for field in ("stack", "lineage", "endpoint", "id")
        ],
        (SAME_FILE, edited(HERE, CONFIG, b"x: 1\n"), "config.yaml was changed since the plan was made"),
        (SAME_FILE, edited(HERE, CONFIG, None), "config.yaml was changed since the plan was made"),
        (FileIs(SCHEMA, None), HERE, "user_config_schema.json was changed since the plan was made"),
        (NoDaemon(), HERE, "its daemon runs (PID 100)"),
        (NoDaemon(), replace(HERE, processes=(STARTING,)), "its daemon runs (PID 100)"),
        (DaemonIs(process()), replace(HERE, processes=()), "its daemon is no longer PID 100"),
        (DaemonIs(process()), replace(HERE, processes=(process(101),)), "its daemon is no longer PID 100"),
        (DaemonIs(process()), replace(HERE, processes=(process(7),), pid_file=None), "its daemon is no longer PID 100"),
        (DaemonIs(process()), replace(HERE, processes=(process(start_time=9),)), "its daemon is no longer PID 100"),
        *[
            (PidFileIs(7, 5.0), replace(HERE, pid_file=found), "its PID file was changed since the plan was made")
            for found in (PidFile(7, 0.0, 6.0), PidFile(8, 60.0, 5.0), PidFile(None, 60.0, 6.0))
        ],
        (
            Idle(),
            with_user_endpoints(HERE, 1),
            "1 user endpoint is alive below it, and tasks may be running",
        ),
        (
            Idle(),
            with_user_endpoints(HERE, 2),
            "2 user endpoints are alive below it, and tasks may be running",
        ),
        (
            EndpointIdIs(uuid("main")),
            replace(HERE, endpoint_id=None),
            "endpoint.json was changed since the plan was made",
        ),
    ],
)
def test_what_does_not_hold_is_said(precondition: Precondition, directory: LiveDirectory | None, said: str) -> None:
    assert violated(precondition, directory) == said


def test_what_is_online_is_not_offline() -> None:
    offline = Offline(uuid("main"))
    assert violated(offline, None, status="offline") is None
    assert (
        violated(offline, None, status="online") == f"{uuid('main')} is online, so it stays: its daemon runs elsewhere"
    )
