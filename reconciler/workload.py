"""Looking at what a daemon is busy with, through the ports: for a plan's text, and again just before a Stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import yaml

from reconciler.core import safe_yaml
from reconciler.core.busy import ids_to_count, known_ids, work_of
from reconciler.core.desired import USER_ENVIRONMENT
from reconciler.core.frozen import dataclass
from reconciler.core.live import BatchJob, LiveDirectory, LiveState, StatusReport, Unknown
from reconciler.core.work import Work
from reconciler.errors import ReconcilerError, SchedulerError, ServiceRefused, ServiceUnreachable
from reconciler.ports import Outside

ASKED_FOR_A_PLAN = 15
"""Reports that one plan asks the service for; what is done is decided later, and asks again."""


@dataclass(frozen=True)
class Workload:
    """Counts what daemons are busy with.

    Args:
        outside: the ports.
        unreachable: why the service cannot be asked, when that is known already.
    """

    outside: Outside
    unreachable: str | None = None

    def of(self, directory: LiveDirectory, *, reports: int = 1_000_000) -> Work:
        """Return what the daemon of a directory is busy with; at most `reports` are asked of the service."""
        asked = ids_to_count(directory)[:reports]
        return work_of(directory, {i: self._report(i) for i in asked}, self._jobs(directory))

    def _report(self, endpoint_id: str) -> StatusReport | Unknown | None:
        if self.unreachable is not None:
            return Unknown(self.unreachable.partition("\n")[0])
        try:
            return self.outside.service.report(endpoint_id)
        except (ServiceUnreachable, ServiceRefused) as e:
            return Unknown(e.what.rstrip("."))

    def _jobs(self, directory: LiveDirectory) -> tuple[BatchJob, ...] | Unknown | None:
        try:
            systems = self.outside.host.submits_jobs(known_ids(directory))
            if not systems:
                return None
            environment = _environment(directory)
            jobs = [job for system in sorted(systems) for job in self.outside.scheduler.jobs(system, environment)]
            return tuple(jobs)
        except SchedulerError as e:
            return Unknown(e.why or e.what)
        except ReconcilerError as e:
            return Unknown(e.what)


def _environment(directory: LiveDirectory) -> dict[str, str]:
    """Return the variables with which the endpoint's user endpoints find their batch system."""
    document = directory.files.get(USER_ENVIRONMENT)
    try:
        values = safe_yaml.load(document.content) if document else None
    except (yaml.YAMLError, ValueError):  # a plan says so, with its position
        return {}
    pairs = values.items() if isinstance(values, dict) else ()
    return {str(k): str(v) for k, v in pairs if k == "PATH" or str(k).startswith(("SLURM_", "PBS_"))}


def count_for_plan(outside: Outside, live: LiveState, directories: Iterable[str]) -> Mapping[str, Work]:
    """Return what these directories' daemons are busy with, by directory, for a plan to say."""
    unreachable = live.registrations.reason if isinstance(live.registrations, Unknown) else None
    workload = Workload(outside, unreachable)
    left = ASKED_FOR_A_PLAN
    found: dict[str, Work] = {}
    for name in directories:
        directory = live.directories.get(name)
        if directory is not None:
            found[name] = workload.of(directory, reports=left)
            left = max(0, left - len(ids_to_count(directory)))
    return found
