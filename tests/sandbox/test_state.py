"""The sandbox's small files: what is not as we write it is an error that names the file, and nothing hangs."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from reconciler.errors import FileSystemError, Refused, StateFileError, UsageError
from reconciler.sandbox import lifecycle
from reconciler.sandbox import state as states
from reconciler.sandbox.state import ServerRecord, StateDir
from tests.ports import free_port

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


# --- the directory

OURS = ("credentials.json", "sandbox.db", "sandbox.db-wal", "server.log.1", ".server.json.x1", "academy")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("held", [(), OURS])
def test_a_directory_that_is_the_sandboxs_alone_is_made_private(tmp_path: Path, held: tuple[str, ...]) -> None:
    tmp_path.chmod(0o755)
    for name in held:
        (tmp_path / name).touch()
    StateDir(tmp_path).create()
    assert mode(tmp_path) == 0o700


@pytest.mark.parametrize("before", [0o755, 0o2775, 0o711, 0o1777])
def test_a_directory_that_holds_other_things_stays_as_it_is(tmp_path: Path, before: int) -> None:
    (tmp_path / "credentials.json").touch()
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(before)
    with pytest.raises(Refused, match=f"its mode is {before:04o}") as caught:
        StateDir(tmp_path).create()
    assert "thesis.tex" in (caught.value.why or "")
    assert "--state-dir" in (caught.value.remedy or "")
    assert mode(tmp_path) == before


def test_everybodys_directory_stays_so_though_it_is_empty(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(Refused, match="Other users may enter"):
        lifecycle.up(tmp_path)
    assert mode(tmp_path) == 0o1777
    assert list(tmp_path.iterdir()) == []


def test_a_private_directory_may_hold_other_things(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o2700)
    StateDir(tmp_path).create()
    assert mode(tmp_path) == 0o2700


def test_the_directory_of_another_user_stays_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(Refused, match="belongs to another user"):
        StateDir(tmp_path).create()
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize("path", ["file", "file/below", "n" * 300, "loop"])
def test_what_cannot_be_a_directory_is_an_error_that_names_it(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileSystemError, match="cannot be made") as caught:
        StateDir(tmp_path / path).create()
    assert (caught.value.where, caught.value.remedy is not None) == (str(tmp_path / path), True)


@pytest.mark.parametrize("path", ["n" * 300, "loop", "locked"])
def test_a_down_that_cannot_look_says_so(tmp_path: Path, path: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "locked" / "lifecycle.lock").mkdir(parents=True)
    with pytest.raises(FileSystemError, match=r"cannot be looked at|lock cannot be had") as caught:
        lifecycle.down(tmp_path / path)
    assert (caught.value.where or "").startswith(str(tmp_path / path))
    assert caught.value.remedy


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(FileSystemError, match="lock cannot be had") as caught:
        lifecycle.down(tmp_path)
    assert "local disk" in (caught.value.remedy or "")


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "s" / "server.log").mkdir(parents=True)
    (tmp_path / "s").chmod(0o700)
    with pytest.raises(FileSystemError, match="log cannot be written") as caught:
        lifecycle.up(tmp_path / "s", free_port())
    assert caught.value.where == str(tmp_path / "s" / "server.log")


def test_a_default_in_no_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(states.STATE_DIR_ENV, "~nobody-of-that-name/s")
    with pytest.raises(UsageError, match="there is no home directory ~nobody-of-that-name"):
        lifecycle.status()
