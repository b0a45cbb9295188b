"""Fixtures of the command line's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.globus_stub import GlobusStub, running_stub
from tests.cli.support import RENAMED, Shell, shell_at


@pytest.fixture
def stub() -> Iterator[GlobusStub]:
    with running_stub() as stub:
        yield stub


@pytest.fixture
def shell(stub: GlobusStub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A user at a shell. Lies where other users may look, unlike tmp_path."""
    base = Path(tempfile.mkdtemp(prefix="chiltepin-test-")).resolve()
    base.chmod(0o755)
    with shell_at(base, capsys, stub, monkeypatch) as shell:
        yield shell
    for path in [base, *base.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(base)


@pytest.fixture
def everything_imported(stub: GlobusStub, capsys: pytest.CaptureFixture[str]) -> None:
    """Run what tests run as another user: the interpreter may lie where that user cannot read."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as base:
        with shell_at(Path(base).resolve(), capsys, stub, patch) as shell:
            shell.registered()
            shell.ok("status")
            shell.write(RENAMED)
            shell.ok("plan")
            shell.apply()
            shell.ok("init", "--from-existing", "-f", "other.yaml")
        patch.undo()
    stub.listing = []
