"""Questions to Slurm and PBS; never a submission."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler.adapters.batch_commands import TIME_LIMIT, Commands, Queue
from reconciler.adapters.pbs import Pbs
from reconciler.core.live import BatchJob, BatchSystem

if TYPE_CHECKING:
    from reconciler.ports import Scheduler

_BETWEEN = "\x1f"  # in no path that anybody types


class Slurm:
    """What is asked of Slurm, over its own commands.

    Args:
        timeout: seconds after which a command that gives no answer is given up.
    """

    def __init__(self, *, timeout: float = TIME_LIMIT) -> None:
        # A shell's habits (SQUEUE_STATES=RUNNING, ...) must not hide jobs.
        self._commands = Commands("Slurm", "squeue", timeout, unset=("SQUEUE_", "SCONTROL_"))
        self._queue = Queue(self._jobs)

    def cluster(self) -> str | None:
        """Return ClusterName of the Slurm that this node talks to; None where there is no Slurm.

        Raises:
            SchedulerError: `scontrol` gave no answer.
        """
        for line in self._ask_if_there("scontrol", "show", "config").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "ClusterName":
                return value.strip() or None
        return None

    def partitions(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what `scontrol show partition` says, by partition name; nothing where there is no Slurm.

        Raises:
            SchedulerError: `scontrol` gave no answer.
        """
        found: dict[str, dict[str, Any]] = {}
        for line in self._ask_if_there("scontrol", "--all", "--oneliner", "show", "partition").splitlines():
            fields = dict(part.partition("=")[::2] for part in line.split() if "=" in part)
            if "PartitionName" in fields:
                found[fields["PartitionName"]] = fields
        return found

    def jobs(self, environment: Mapping[str, str]) -> tuple[BatchJob, ...]:
        """Return this user's jobs.

        Raises:
            SchedulerError: `squeue` gave no answer.
        """
        return self._queue.jobs(environment)

    def _jobs(self, environ: Mapping[str, str]) -> tuple[BatchJob, ...]:
        # As root, user endpoints are other users'.
        whose = () if os.getuid() == 0 else (f"--user={os.getuid()}",)
        # Those in hidden partitions, too.
        command = ("squeue", "--noheader", "--all", *whose, "--format", _BETWEEN.join(("%A", "%o", "%Z")))
        found: list[BatchJob] = []
        for line in self._commands.ask(command, environ).splitlines():
            number, between, rest = line.partition(_BETWEEN)
            if not between:
                raise self._commands.failed("squeue", f"it answered with something else than jobs: {line[:100]!r}")
            found.append(BatchJob(number.strip(), tuple(rest.split(_BETWEEN))))
        return tuple(found)

    def _ask_if_there(self, *command: str) -> str:
        """Return what a command prints; nothing where there is no such command."""
        return self._commands.ask(command, os.environ) if shutil.which(command[0]) else ""


class BatchSystems:
    """The `Scheduler` port. Names of clusters and partitions are Slurm's: PBS has neither."""

    def __init__(self) -> None:
        self._slurm = Slurm()
        self._pbs = Pbs()

    def cluster(self) -> str | None:
        return self._slurm.cluster()

    def partitions(self) -> Mapping[str, Mapping[str, Any]]:
        return self._slurm.partitions()

    def jobs(self, system: BatchSystem, environment: Mapping[str, str]) -> tuple[BatchJob, ...]:
        return self._pbs.jobs(environment) if system == "pbs" else self._slurm.jobs(environment)


if TYPE_CHECKING:
    _implements: type[Scheduler] = BatchSystems
