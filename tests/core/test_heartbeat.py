"""What endpoints report of their tasks, in the words of globus-compute-endpoint."""

from __future__ import annotations

import pytest

from reconciler.core.heartbeat import outstanding_tasks

ENGINE = {"managers": 1, "total_workers": 2, "idle_workers": 1, "pending_tasks": 0, "outstanding_tasks": 1}


@pytest.mark.parametrize(
    ("details", "count"),
    [
        ({**ENGINE, "engine_type": "GlobusComputeEngine"}, 1),
        ({**ENGINE, "engine_type": "GlobusMPIEngine", "outstanding_tasks": 0}, 0),
        ({**ENGINE, "engine_type": "ThreadPoolEngine", "outstanding_tasks": 0}, None),  # it always says 0
        ({**ENGINE, "engine_type": "ProcessPoolEngine", "outstanding_tasks": 0}, None),
        (ENGINE, 1),
        ({"heartbeat_period": 30.0}, None),  # a core endpoint's
        ({"outstanding_tasks": "3"}, None),
        ({"outstanding_tasks": True}, None),
        ({"outstanding_tasks": -1}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_outstanding_tasks(details: object, count: int | None) -> None:
    assert outstanding_tasks(details) == count
