"""What endpoints report of themselves in their heartbeats, as the service passes it on. Pure.

Read off globus-compute-endpoint 4.13 to 4.19: the report of a core endpoint holds its `heartbeat_period` and
nothing about tasks. That of a user endpoint holds what its engine counts (`outstanding_tasks`, `managers`, ...);
those of ThreadPoolEngine and ProcessPoolEngine always say 0.
"""

from __future__ import annotations

_COUNTING = frozenset({"GlobusComputeEngine", "GlobusMPIEngine"})


def outstanding_tasks(details: object) -> int | None:
    """Return how many tasks are outstanding by a status reply's `details`, or None when they do not tell."""
    if not isinstance(details, dict):
        return None
    count, engine = details.get("outstanding_tasks"), details.get("engine_type")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        return None
    return count if count or engine is None or engine in _COUNTING else None
