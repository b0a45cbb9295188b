"""Where no skip is allowed, one is a failure that says why it was skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = {
    "test_one.py": 'import pytest\n\ndef test_one():\n    pytest.skip("no Slurm here")\n',
    "test_module.py": 'import pytest\npytest.skip("no broker here", allow_module_level=True)\n',
    "test_expected.py": 'import pytest\n\n@pytest.mark.xfail(reason="known")\ndef test_two():\n    assert False\n',
}


@pytest.mark.parametrize(("allowed", "code"), [("0", 0), ("1", 1)])
def test_skips_fail_only_when_told_so(tmp_path: Path, allowed: str, code: int) -> None:
    for name, text in SUITE.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "--continue-on-collection-errors", "."],
        cwd=tmp_path,
        env={**os.environ, "CHILTEPIN_TEST_NO_SKIP": allowed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    for reason in ("no Slurm here", "no broker here"):
        assert (f"{reason} (CHILTEPIN_TEST_NO_SKIP=1 allows no skip)" in done.stdout) is (code == 1)
    assert "1 xfailed" in done.stdout
