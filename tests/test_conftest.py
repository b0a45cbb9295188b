"""What conftest.py makes of a skip, and of a finalizer's exception."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

SKIPS = {
    "test_one.py": 'import pytest\n\ndef test_one():\n    pytest.skip("no Slurm here")\n',
    "test_module.py": 'import pytest\npytest.skip("no broker here", allow_module_level=True)\n',
    "test_expected.py": 'import pytest\n\n@pytest.mark.xfail(reason="known")\ndef test_two():\n    assert False\n',
}
WRONG = """
class Wrong:
    def __del__(self):
        raise ValueError("cannot end")

def test_it():
    Wrong()
"""


def _run(directory: Path, suite: Mapping[str, str], *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a suite of its own under our conftest.py."""
    for name, text in suite.items():
        (directory / name).write_text(text)
    (directory / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "."],
        cwd=directory,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("allowed", "code"), [("0", 0), ("1", 1)])
def test_skips_fail_only_when_told_so(tmp_path: Path, allowed: str, code: int) -> None:
    done = _run(tmp_path, SKIPS, "-rA", "--continue-on-collection-errors", CHILTEPIN_TEST_NO_SKIP=allowed)
    assert done.returncode == code, done.stdout
    for reason in ("no Slurm here", "no broker here"):
        assert (f"{reason} (CHILTEPIN_TEST_NO_SKIP=1 allows no skip)" in done.stdout) is (code == 1)
    assert "1 xfailed" in done.stdout


class Left:
    """What needs more stack for its end than a recursion has left at its limit."""

    def __del__(self) -> None:
        self._down(10)

    def _down(self, levels: int) -> None:
        if levels:
            self._down(levels - 1)


def _dive() -> None:
    Left()
    _dive()


def test_a_finalizer_without_stack_fails_no_test() -> None:
    with pytest.raises(RecursionError):
        _dive()


def test_a_finalizer_that_is_wrong_is_reported(tmp_path: Path) -> None:
    done = _run(tmp_path, {"test_wrong.py": WRONG}, "-W", "error")
    assert done.returncode == 1
    assert "cannot end" in done.stdout
