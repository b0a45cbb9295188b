"""A finalizer that is called deep in somebody else's recursion finds no stack; no test fails for that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WRONG = """
class Wrong:
    def __del__(self):
        raise ValueError("cannot end")

def test_it():
    Wrong()
"""


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
    (tmp_path / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (tmp_path / "test_wrong.py").write_text(WRONG)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot end" in done.stdout
