"""Questions to Slurm; never a submission."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler.core.live import BatchJob
from reconciler.errors import SchedulerError

if TYPE_CHECKING:
    from reconciler.ports import Scheduler

_TIMEOUT = 15.0
_GOOD_FOR = 2.0
"""Seconds for which an answer serves everybody who asks: many endpoints may be looked at in the same moment."""

_BETWEEN = "\x1f"  # in no path that anybody types


class Slurm:
    """The `Scheduler` port over Slurm's own commands.

    Args:
        timeout: seconds after which a command that gives no answer is given up.
    """

    def __init__(self, *, timeout: float = _TIMEOUT) -> None:
        self._timeout = timeout
        self._mutex = threading.Lock()
        self._last: dict[frozenset[tuple[str, str]], tuple[float, tuple[BatchJob, ...]]] = {}

    def cluster(self) -> str | None:
        """Return ClusterName of the Slurm that this node talks to; None where there is no Slurm."""
        for line in self._ask_or_nothing("scontrol", "show", "config").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "ClusterName":
                return value.strip() or None
        return None

    def partitions(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what `scontrol show partition` says, by partition name; nothing where there is no Slurm."""
        found: dict[str, dict[str, Any]] = {}
        for line in self._ask_or_nothing("scontrol", "--oneliner", "show", "partition").splitlines():
            fields = dict(part.partition("=")[::2] for part in line.split() if "=" in part)
            if "PartitionName" in fields:
                found[fields["PartitionName"]] = fields
        return found

    def jobs(self, environment: Mapping[str, str]) -> tuple[BatchJob, ...]:
        key = frozenset(environment.items())
        with self._mutex:  # the first who asks waits for Slurm, the others for that answer
            at, jobs = self._last.get(key, (0.0, ()))
            if key not in self._last or time.monotonic() - at > _GOOD_FOR:
                jobs = self._jobs({**os.environ, **environment})
                self._last[key] = (time.monotonic(), jobs)
        return jobs

    def _jobs(self, environ: Mapping[str, str]) -> tuple[BatchJob, ...]:
        # As root, user endpoints are other users'.
        whose = () if os.getuid() == 0 else (f"--user={os.getuid()}",)
        lines = self._ask(("squeue", "--noheader", *whose, "--format", _BETWEEN.join(("%A", "%o", "%Z"))), environ)
        found: list[BatchJob] = []
        for line in lines.splitlines():
            number, between, rest = line.partition(_BETWEEN)
            if not between:
                raise _failed("squeue", f"it answered with something else than jobs: {line[:100]!r}")
            found.append(BatchJob(number.strip(), tuple(rest.split(_BETWEEN))))
        return tuple(found)

    def _ask_or_nothing(self, *command: str) -> str:
        try:
            return self._ask(command, os.environ)
        except SchedulerError:
            return ""

    def _ask(self, command: tuple[str, ...], environ: Mapping[str, str]) -> str:
        """Return what a command of Slurm's prints.

        Raises:
            SchedulerError: it is not there, failed, or took too long.
        """
        name = command[0]
        program = shutil.which(name, path=environ.get("PATH"))
        if program is None:
            raise _failed(name, f"there is no {name} on PATH")
        try:
            done = subprocess.run(
                [program, *command[1:]],
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as e:
            raise _failed(name, f"{name} gave no answer within {self._timeout:.0f} s") from e
        except OSError as e:
            raise _failed(name, f"{name} cannot be run: {e.strerror or e}") from e
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise _failed(name, f"{name} failed{f': {said[-1][:200]}' if said else f' with code {done.returncode}'}")
        return done.stdout


def _failed(name: str, why: str) -> SchedulerError:
    return SchedulerError(
        "Slurm could not be asked",
        where=name,
        why=why,
        remedy="see that `squeue` answers in the shell from which this is run",
    )


if TYPE_CHECKING:
    _implements: type[Scheduler] = Slurm
