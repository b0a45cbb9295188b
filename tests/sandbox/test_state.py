"""The sandbox's small files: what is not as we write it is an error that names the file, and nothing hangs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from reconciler.errors import FileSystemError, StateFileError
from reconciler.sandbox.state import ServerRecord, StateDir

RECORD = asdict(ServerRecord("i", "h", "b", 5, 7, 5000, None, False, False))
NONSENSE = [
    "[" * 100_000,
    "9" * 5000,
    '{"a": 1}',
    "[]",
    "{",
    "",
    "\ud800",
    *(
        json.dumps({**RECORD, key: value})
        for key, value in {"pid": "5", "port": 99_999, "host": 5, "faults": 1}.items()
    ),
    json.dumps({**RECORD, "pid": True}),
    json.dumps({**RECORD, "pid": -5}),
    json.dumps({**RECORD, "host": "\ud800"}),
]


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    made = StateDir(tmp_path / "s")
    made.create()
    return made


def test_what_is_written_is_read(state: StateDir) -> None:
    assert state.server() is None
    record = ServerRecord("i", "h", "b", 5, 7, 5000, None, False, True)
    state.record_server(record)
    assert state.server() == record
    assert state.ensure_credentials() == state.credentials()


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_damage(state: StateDir, text: str) -> None:
    for name, read in (("server.json", state.server), ("credentials.json", state.credentials)):
        (state.path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(StateFileError, match="damaged") as caught:
            read()
        assert caught.value.where == str(state.path / name)
        assert caught.value.remedy == "remove the file"


def test_a_pipe_holds_nobody_up(state: StateDir) -> None:
    for name, read in (("server.json", state.server), ("credentials.json", state.credentials)):
        os.mkfifo(state.path / name)
        with pytest.raises(FileSystemError, match="cannot be read"):
            read()
