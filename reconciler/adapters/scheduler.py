"""Questions to Slurm; never a submission."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

_TIMEOUT = 15.0


class Slurm:
    """The `Scheduler` port over Slurm's own commands; answers None or nothing where there is no Slurm."""

    def cluster(self) -> str | None:
        """Return ClusterName of the Slurm that this node talks to."""
        for line in self._ask("scontrol", "show", "config").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "ClusterName":
                return value.strip() or None
        return None

    def partitions(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what `scontrol show partition` says, by partition name."""
        found: dict[str, dict[str, Any]] = {}
        for line in self._ask("scontrol", "--oneliner", "show", "partition").splitlines():
            fields = dict(part.partition("=")[::2] for part in line.split() if "=" in part)
            if "PartitionName" in fields:
                found[fields["PartitionName"]] = fields
        return found

    @staticmethod
    def _ask(*command: str) -> str:
        program = shutil.which(command[0])
        if program is None:
            return ""
        try:
            done = subprocess.run(
                [program, *command[1:]], capture_output=True, text=True, timeout=_TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout if done.returncode == 0 else ""
