"""Tasks of upstream's Workflow as real batch jobs of a Slurm on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support import User, manifest, sandbox_user
from tests.ports import free_ports
from tests.sandbox.support import unprivileged, wait_for

pytestmark = pytest.mark.e2e

_HERE = Path(__file__).parent
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")

_POOLS = {
    "serial": {"cores_per_node": 1, "exclusive": False, "environment": ["export WHERE=batch"]},
    "parallel": {"mpi": True, "nodes_per_block": 1, "cores_per_node": 2},
}

_TASKS = """
from chiltepin import Workflow
from chiltepin.tasks import python_task

@python_task
def serial():
    import os
    return [os.environ["WHERE"], os.environ["SLURM_JOB_PARTITION"], os.environ["SLURM_JOB_ID"]]

@python_task
def parallel():
    import os, subprocess
    command = os.environ["PARSL_MPI_PREFIX"].split() + ["printenv", "SLURM_PROCID"]
    return sorted(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())

if __name__ == "__main__":
    geometry = {"num_nodes": 1, "num_ranks": 2, "ranks_per_node": 2}
    with Workflow("chiltepin.pools.yaml", run_dir="runs"):
        first = serial(executor=["serial"])
        second = parallel(executor=["parallel"], chiltepin_task_geometry=geometry)
        print("serial", *first.result(timeout=180))
        print("parallel", *second.result(timeout=180))
"""


def _missing() -> str | None:
    absent = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if not absent:
        return None
    return f"{', '.join(absent)} not installed (apt-get install slurmctld slurmd slurm-client munge)"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Path]:
    """The slurm.conf of a Slurm of two virtual nodes."""
    reason = _missing()
    if reason:
        pytest.skip(reason)
    base = Path(tempfile.mkdtemp(prefix="e2e-slurm-"))
    base.chmod(0o755)
    directory = base / "slurm"
    try:
        command = [str(_HERE / "slurm_up.sh"), str(directory), str(free_ports(4))]
        subprocess.run(unprivileged(command), check=True, timeout=100)
        yield directory / "slurm.conf"
    finally:
        down = subprocess.run(unprivileged([str(_HERE / "slurm_down.sh"), str(directory)]), check=False)
        shutil.rmtree(base, ignore_errors=True)
    assert down.returncode == 0


@pytest.fixture
def user(service: Path, slurm: Path) -> Iterator[User]:
    with sandbox_user(service, SLURM_CONF=str(slurm), PATH=f"{Path(sys.executable).parent}:{_PATH}") as user:
        yield user


def test_tasks_run_as_batch_jobs(user: User) -> None:
    common = {"endpoint": "cluster", "provider": "slurm", "partition": "debug"}
    pools = {name: {**common, **pool} for name, pool in _POOLS.items()}
    user.write(manifest("cluster", pools=pools))
    user.apply()
    user.assert_converged("cluster")
    script = user.project / "tasks.py"
    script.write_text(_TASKS)
    done = user.run(sys.executable, str(script))
    assert done.code == 0, str(done)
    answers = {line.split()[0]: line.split()[1:] for line in done.out.splitlines()}
    where, partition, job = answers["serial"]
    assert (where, partition, job.isdigit()) == ("batch", "debug", True)
    assert answers["parallel"] == ["0", "1"]
    assert user.run("squeue", "-h").out.strip()  # the pools' blocks still wait for more work
    user.chiltepin("destroy", "--yes", "--purge")
    wait_for(lambda: not user.run("squeue", "-h").out.strip(), "the batch jobs are cancelled")
    assert user.processes() == {}


def test_a_batch_job_holds_a_restart_until_it_has_left_the_queue(user: User) -> None:
    """Also when the user endpoint that submitted it has died, and only the queue tells."""
    common = {"endpoint": "cluster", "provider": "slurm", "partition": "debug"}
    pools = {"serial": {**common, **_POOLS["serial"]}}

    def wants(**config: str) -> None:
        block = {"restart": "when-idle", "config": config}
        user.write(manifest(endpoints={"cluster": block}, pools=pools))

    wants()
    user.apply()
    assert user.workflow("serial:WHERE") == {"serial": "batch"}
    daemon, job = user.daemon("cluster"), user.run("squeue", "-h", "-o", "%A").out.strip()
    assert job.isdigit()
    wants(display_name="Changed")
    assert f"1 batch job ({job})" in user.plan()
    assert f"1 batch job is in the queue ({job})" in user.apply(expect=5).err
    _kill_user_endpoint(user)
    assert f"Restart deferred: 1 batch job is in the queue ({job})" in user.apply(expect=5).err
    unusual = user.apply(expect=5, environ={"SLURM_CONF": "/nonexistent"})
    assert "its batch jobs could not be counted: squeue" in unusual.err
    assert user.run("scancel", job).code == 0
    wait_for(lambda: not user.run("squeue", "-h").out.strip(), "the queue is empty")
    user.apply()
    assert user.daemon("cluster") != daemon
    user.assert_converged("cluster")


def _kill_user_endpoint(user: User) -> None:
    """End the one user endpoint as a crash does, and let its PID file look old."""
    (pid,) = [p for p, title in user.processes().items() if "Globus Compute Endpoint (" in title]
    os.kill(pid, signal.SIGKILL)
    (pid_file,) = user.config_dir.glob("uep.*/daemon.pid")
    os.utime(pid_file, (0, 0))
