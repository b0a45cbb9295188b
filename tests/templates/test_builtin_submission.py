"""The command lines and job scripts that reach a scheduler, seen by stand-ins for qsub and sbatch on PATH."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.templates.rendering import provider_of, sent

RECORDER = """#!/bin/bash
printf '%s\\n' "$@" > "$RECORD/arguments"
cp "${@: -1}" "$RECORD/script"
echo "Submitted batch job 7"
"""


@pytest.fixture
def submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that submits one block and returns the scheduler command's arguments and script."""
    for command in ("qsub", "sbatch"):
        path = tmp_path / "bin" / command
        path.parent.mkdir(exist_ok=True)
        path.write_text(RECORDER)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("RECORD", str(tmp_path))

    def run(options: dict[str, Any]) -> tuple[list[str], list[str]]:
        block = provider_of(options)
        block.script_dir = str(tmp_path)
        block.submit("worker-pool", 1)
        script = (tmp_path / "script").read_text().split("\n")
        return (tmp_path / "arguments").read_text().splitlines()[:-1], script

    return run


def directives(script: list[str], mark: str) -> list[str]:
    return [line for line in script if line.startswith(mark) and "/" not in line]


def test_pbs_without_queue_and_account(submit: Any) -> None:
    """Trap 6: empty strings used to make `-A` the queue's name."""
    arguments, _ = submit(sent("pbspro"))
    assert arguments == []


def test_pbs_with_queue_and_account(submit: Any) -> None:
    assert submit(sent("pbspro", queue="main"))[0] == ["-q", "main"]
    assert submit(sent("pbspro", account="P123"))[0] == ["-A", "P123"]
    assert submit(sent("pbspro", queue="main", account="P123"))[0] == ["-q", "main", "-A", "P123"]


def test_pbs_mpi_job(submit: Any) -> None:
    """Trap 5: three whole nodes with all their cores, not one core each."""
    options = sent("pbspro", mpi=True, nodes_per_block=3, cores_per_node=128, walltime="02:00:00")
    _, script = submit(options | {"worker_init": "module load x"})
    assert "#PBS -l select=3:ncpus=128" in script
    assert "#PBS -l place=scatter:excl" in script
    assert "#PBS -l walltime=02:00:00" in script
    assert script.index("module load x") < script.index("worker-pool")


def test_slurm_job(submit: Any) -> None:
    options = sent("slurm", partition="u1-compute", account="gsd-hpcs", cores_per_node=40, nodes_per_block=2)
    arguments, script = submit(options | {"worker_init": "export GREETING=\"a b\"\nexport PRICE='5$'"})
    assert arguments == []
    assert 'export GREETING="a b"' in script
    assert "export PRICE='5$'" in script
    for directive in (
        "--nodes=2",
        "--time=10",
        "--ntasks-per-node=1",
        "--exclusive",
        "--partition=u1-compute",
        "--account=gsd-hpcs",
        "--cpus-per-task=40",
    ):
        assert f"#SBATCH {directive}" in script
    assert not [line for line in directives(script, "#SBATCH") if "--qos" in line]


def test_slurm_mpi_job_on_shared_nodes(submit: Any) -> None:
    """Of two directives for one thing Slurm takes the later."""
    _, script = submit(sent("slurm", mpi=True, exclusive=False, nodes_per_block=2, cores_per_node=24))
    tasks = [line for line in script if "--ntasks-per-node" in line]
    assert tasks[-1] == "#SBATCH --ntasks-per-node=24"
    assert not [line for line in script if "--exclusive" in line or "--cpus-per-task" in line]
