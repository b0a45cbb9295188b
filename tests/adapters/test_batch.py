"""Whether user endpoints ever submitted batch jobs, by the scripts in their directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.adapters.batch import submitted
from reconciler.adapters.host import LocalHost
from tests.adapters.host_support import UUID_A, UUID_B

SBATCH = "#!/bin/bash\n\n#SBATCH --job-name=parsl.block-0\n#SBATCH --nodes=1\n"
PBS = "#!/bin/bash\n\n#PBS -S /bin/bash\n#PBS -N parsl.block-0\n#PBS -m n\n"
LOCAL = "#!/bin/bash\nexport X=1\n"


def script(config_dir: Path, of: str, text: str, name: str = "parsl.block-0.17", below: str = "submit_scripts") -> Path:
    """Write what a user endpoint of endpoint `of` submitted."""
    folder = config_dir / f"uep.{of}.{UUID_B}" / below
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("below", ["submit_scripts", "GlobusComputeEngine/submit_scripts"])
def test_a_script_for_slurm(tmp_path: Path, below: str) -> None:
    script(tmp_path, UUID_A, SBATCH, below=below)
    assert submitted(str(tmp_path), (UUID_A.upper(),))
    assert LocalHost(str(tmp_path)).submits_jobs((UUID_A,))


def test_another_endpoints_script_does_not_count(tmp_path: Path) -> None:
    script(tmp_path, UUID_B, SBATCH)
    assert not submitted(str(tmp_path), (UUID_A,))
    assert not submitted(str(tmp_path), ())


def test_a_script_for_pbs(tmp_path: Path) -> None:
    script(tmp_path, UUID_A, PBS)
    assert submitted(str(tmp_path), (UUID_A,)) == {"pbs"}
    script(tmp_path, UUID_A, SBATCH, "parsl.block-0.18")
    assert submitted(str(tmp_path), (UUID_A,)) == {"slurm", "pbs"}


def test_a_script_for_slurm_with_directives_of_pbs_is_for_slurm(tmp_path: Path) -> None:
    script(tmp_path, UUID_A, SBATCH + "#PBS -l place=scatter\n")
    assert submitted(str(tmp_path), (UUID_A,)) == {"slurm"}


def test_what_is_no_script_for_slurm(tmp_path: Path) -> None:
    script(tmp_path, UUID_A, LOCAL, "parsl.block-0.17.sh")
    script(tmp_path, UUID_A, LOCAL, "parsl.block-0.18")
    script(tmp_path, UUID_A, f"prints\n{SBATCH}", "parsl.block-0.17.stdout")
    (script(tmp_path, UUID_A, "") / "link").symlink_to("/dev/zero")
    (tmp_path / f"uep.{UUID_A}.{UUID_A}").write_text("a file")
    assert not submitted(str(tmp_path), (UUID_A,))


def test_no_config_directory(tmp_path: Path) -> None:
    assert not submitted(str(tmp_path / "none"), (UUID_A,))
