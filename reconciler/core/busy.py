"""What stopping a daemon would end: user endpoints, the tasks in them, their batch jobs. Pure.

A user endpoint that is alive counts by itself, whatever it reports. What the service knows of its tasks is as
old as its last heartbeat (30 s apart unless configured), and a task that began since is in no report. What
cannot be counted is not counted as nothing: the reason stands in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from reconciler.core.actions import Restart, Stop, StopElsewhere
from reconciler.core.live import BatchJob, LiveDirectory, StatusReport, Unknown
from reconciler.core.marker import Marker
from reconciler.core.plan import Plan
from reconciler.core.preconditions import Idle
from reconciler.core.work import Work

ASKED_FOR_ONE = 5
"""User endpoints of one endpoint whose tasks are asked for: more would eat the service's 20 requests per 10 s."""

_ENDING = (Stop, StopElsewhere, Restart)
"""Actions that end a daemon, and what runs below it."""


def known_ids(directory: LiveDirectory) -> tuple[str, ...]:
    """Return the UUIDs by which the endpoint of a directory may be known at the service."""
    marker = directory.marker if isinstance(directory.marker, Marker) else None
    found = (directory.endpoint_id, marker.id if marker else None)
    return tuple(dict.fromkeys(i for i in found if isinstance(i, str)))


def ids_to_count(directory: LiveDirectory) -> tuple[str, ...]:
    """Return the UUIDs whose reports tell how many tasks stopping the daemon would end."""
    below = [u.id for u in directory.user_endpoints if u.id]
    return (*known_ids(directory), *below[:ASKED_FOR_ONE])


def jobs_of(ids: Collection[str], jobs: Iterable[BatchJob]) -> tuple[str, ...]:
    """Return the IDs of the batch jobs that user endpoints of these endpoints submitted.

    Their scripts lie in `uep.ENDPOINT.USER_ENDPOINT/`, below whatever name the home has on that node.
    """
    needles = [f"/uep.{endpoint_id.lower()}." for endpoint_id in ids]
    return tuple(job.id for job in jobs if any(n in path.lower() for n in needles for path in job.paths))


def work_of(
    directory: LiveDirectory,
    reports: Mapping[str, StatusReport | Unknown | None],
    jobs: tuple[BatchJob, ...] | Unknown | None,
) -> Work:
    """Return what the daemon of a directory is busy with.

    Args:
        directory: read just now.
        reports: what the service said of `ids_to_count`; None for what it does not know.
        jobs: the batch system's queue; None when nothing of this endpoint was ever submitted to one.
    """
    tasks = 0
    uncounted: list[str] = []
    for endpoint_id in ids_to_count(directory):
        report = reports.get(endpoint_id)
        if isinstance(report, StatusReport):
            tasks += report.tasks or 0
        elif isinstance(report, Unknown) and not _proves_itself(directory):
            uncounted.append(f"its tasks could not be counted: {report.reason}")
    found: tuple[str, ...] = ()
    if isinstance(jobs, Unknown):
        uncounted.append(f"its batch jobs could not be counted: {jobs.reason}")
    elif jobs:
        found = jobs_of(known_ids(directory), jobs)
    return Work(len(directory.user_endpoints), tasks, found, tuple(dict.fromkeys(uncounted)))


def _proves_itself(directory: LiveDirectory) -> bool:
    """Whether the processes of this host are proof that no task runs.

    Tasks run in user endpoints, and those are child processes of their daemon, on its node. What waits in the
    queues of the service outlives the daemon.
    """
    return bool(directory.processes) and not directory.user_endpoints


def interrupting(plan: Plan) -> tuple[str, ...]:
    """Return the directories whose daemons the plan would stop, in order."""
    return tuple(dict.fromkeys(a.directory for a in plan.actions if isinstance(a, _ENDING) and not a.hold))


def with_work(plan: Plan, works: Mapping[str, Work]) -> Plan:
    """Return the plan with what each Stop and Restart would end, for the report; what is done stays the same."""
    actions = tuple(
        replace(action, work=works.get(action.directory)) if isinstance(action, _ENDING) else action
        for action in plan.actions
    )
    return replace(plan, actions=actions)


def waits(action: object) -> bool:
    """Whether an action has to wait until its daemon is idle."""
    return any(isinstance(p, Idle) for p in getattr(action, "preconditions", ()))


__all__ = [
    "ASKED_FOR_ONE",
    "ids_to_count",
    "interrupting",
    "jobs_of",
    "known_ids",
    "waits",
    "with_work",
    "work_of",
]
