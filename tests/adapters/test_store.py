"""Lock and pools file, the journal, and what is left of them after a kill."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters import journal
from reconciler.adapters.store import FileStore
from reconciler.core.live import JournalEntry
from reconciler.errors import FileSystemError, LeaseHeld, StateFileError
from tests.adapters.host_support import names, outcome, python, unprivileged


def store(path: Path, **options: str) -> FileStore:
    return FileStore(str(path / "gc"), str(path / "chiltepin.lock.yaml"), str(path / "chiltepin.pools.yaml"), **options)


def entry(sequence: int, event: str, run: str = "r1", **data: object) -> JournalEntry:
    return JournalEntry(run=run, sequence=sequence, event=event, action="Start", endpoint="main", data=data, at=1.5)


_CHILD = """
import sys
from pathlib import Path
from reconciler.adapters.store import FileStore
from reconciler.core.live import JournalEntry
here = Path(sys.argv[1])
store = FileStore(str(here / "gc"), str(here / "chiltepin.lock.yaml"), str(here / "chiltepin.pools.yaml"))
def entry(sequence, event):
    return JournalEntry(run="r1", sequence=sequence, event=event, action="Start", endpoint="main", data={}, at=1.5)
"""


def test_what_was_never_written_is_none(tmp_path: Path) -> None:
    files = store(tmp_path / "absent")
    assert (files.read_lock(), files.read_pools(), files.unfinished()) == (None, None, ())
    assert not (tmp_path / "absent").exists()


def test_lock_and_pools_come_back_byte_for_byte(tmp_path: Path) -> None:
    files = store(tmp_path)
    files.write_lock("version: 1\nname: jörg\n")
    files.write_pools("a: b\r\n")
    assert files.read_lock() == "version: 1\nname: jörg\n"
    assert files.read_pools() == "a: b\r\n"
    assert (tmp_path / "chiltepin.lock.yaml").read_bytes() == "version: 1\nname: jörg\n".encode()
    assert stat.S_IMODE((tmp_path / "chiltepin.pools.yaml").stat().st_mode) == 0o600
    assert names(tmp_path) == ["chiltepin.lock.yaml", "chiltepin.pools.yaml"]


def test_a_linked_lockfile_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "lock").write_text("old")
    (tmp_path / "chiltepin.lock.yaml").symlink_to("repo/lock")
    store(tmp_path).write_lock("new")
    assert (tmp_path / "repo" / "lock").read_text() == "new"
    assert (tmp_path / "chiltepin.lock.yaml").is_symlink()
    assert store(tmp_path).read_lock() == "new"


def test_a_lockfile_that_links_to_nothing_is_no_missing_one(tmp_path: Path) -> None:
    (tmp_path / "chiltepin.lock.yaml").symlink_to("shared/lock")
    with pytest.raises(StateFileError, match="a symbolic link to shared/lock, and nothing is there") as caught:
        store(tmp_path).read_lock()
    assert caught.value.why == f"it leads to {tmp_path}/shared/lock"
    assert caught.value.remedy is not None
    assert "remove the link" in caught.value.remedy


def test_a_lockfile_that_is_no_text_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "chiltepin.lock.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(StateFileError, match="not UTF-8"):
        store(tmp_path).read_lock()


def test_an_unreadable_or_unwritable_lockfile_is_no_missing_one(tmp_path: Path) -> None:
    (tmp_path / "chiltepin.lock.yaml").write_text("x")
    (tmp_path / "chiltepin.lock.yaml").chmod(0)
    tmp_path.chmod(0o500)
    code = (
        _CHILD
        + """
from reconciler.errors import FileSystemError
for call in (store.read_lock, lambda: store.write_lock("y")):
    try:
        print("no error", call())
    except FileSystemError as e:
        print(e.what, e.why)
"""
    )
    status, out, err = unprivileged(code, str(tmp_path))
    tmp_path.chmod(0o700)
    assert status == 0, err
    assert out.count("EACCES") == 2
    assert "no error" not in out


@pytest.mark.parametrize(
    ("point", "lock", "pools"),
    [
        ("lock.temp", "old", None),
        ("lock.written", "new", None),
        ("pools.temp", "new", None),
        ("pools.written", "new", "p"),
    ],
)
def test_killed_while_writing_a_file_is_old_or_new(tmp_path: Path, point: str, lock: str, pools: str | None) -> None:
    files = store(tmp_path)
    files.write_lock("old")
    child = python(_CHILD + "store.write_lock('new'); store.write_pools('p')", str(tmp_path), CHILTEPIN_FAULT=point)
    assert outcome(child)[0] == -signal.SIGKILL
    assert (files.read_lock(), files.read_pools()) == (lock, pools)


def test_only_intents_without_an_outcome_are_unfinished(tmp_path: Path) -> None:
    files = store(tmp_path)
    for line in (
        entry(1, "intent", a=1),
        entry(2, "intent"),
        entry(1, "done"),
        entry(2, "note", uuid="x"),
        entry(2, "intent", run="r2"),
        entry(2, "deferred", run="r2"),
        entry(3, "intent"),
        entry(3, "failed"),
    ):
        files.append(line)
    assert files.unfinished() == (entry(2, "intent"), entry(2, "note", uuid="x"))
    assert len(files.history()) == 8
    files.append(entry(2, "done"))
    assert store(tmp_path).unfinished() == ()
    assert stat.S_IMODE((tmp_path / "gc" / ".chiltepin" / "journal.jsonl").stat().st_mode) == 0o600


def test_threads_append_whole_lines(tmp_path: Path) -> None:
    files = store(tmp_path)
    threads = [
        threading.Thread(
            target=lambda n=n: [files.append(entry(n * 100 + i, "intent", x="y" * 500)) for i in range(10)]
        )
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(e.sequence for e in files.history()) == sorted(n * 100 + i for n in range(4) for i in range(10))


@pytest.mark.parametrize("tail", [b'{"v":1,"at":1.5,"run":"r1","seq', b"\0" * 80, b"\0" * 80 + b"\n", b"{"])
def test_a_torn_last_line_is_as_if_never_written(tmp_path: Path, tail: bytes) -> None:
    files = store(tmp_path)
    files.append(entry(1, "intent"))
    with (tmp_path / "gc" / ".chiltepin" / "journal.jsonl").open("ab") as journal_file:
        journal_file.write(tail)
    assert files.unfinished() == (entry(1, "intent"),)
    with files.lease():
        files.append(entry(1, "done"))
    assert files.history() == (entry(1, "intent"), entry(1, "done"))


@pytest.mark.parametrize("line", [b"nonsense", b"{}", b'{"v":2}', b'{"v":1,"run":"x"}', b"[]"])
def test_a_damaged_line_in_the_middle_is_reported_with_its_number(tmp_path: Path, line: bytes) -> None:
    files = store(tmp_path)
    files.append(entry(1, "intent"))
    path = tmp_path / "gc" / ".chiltepin" / "journal.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n" + path.read_bytes())
    with pytest.raises(StateFileError) as caught:
        files.unfinished()
    assert caught.value.where == f"{path}:2"
    assert caught.value.remedy


@pytest.mark.parametrize(("point", "lines"), [("journal.appending", 1), ("journal.appended", 2)])
def test_killed_while_appending(tmp_path: Path, point: str, lines: int) -> None:
    code = _CHILD + "store.append(entry(1, 'intent')); store.append(entry(2, 'intent'))"
    assert outcome(python(code, str(tmp_path), CHILTEPIN_FAULT=f"{point}:2"))[0] == -signal.SIGKILL
    files = store(tmp_path)
    assert len(files.history()) == lines
    with files.lease():
        files.append(entry(3, "intent"))
    assert [e.sequence for e in files.history()] == [*range(1, lines + 1), 3]


def test_a_failed_append_leaves_no_half_line(tmp_path: Path) -> None:
    code = (
        _CHILD
        + """
import resource, signal
from reconciler.errors import FileSystemError
store.append(entry(1, "intent"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (130, 130))
try:
    store.append(entry(2, "intent"))
except FileSystemError as e:
    print(e.why)
"""
    )
    status, out, err = outcome(python(code, str(tmp_path)))
    assert status == 0, err
    assert "EFBIG" in out
    files = store(tmp_path)
    files.append(entry(3, "intent"))
    assert [e.sequence for e in files.history()] == [1, 3]


def test_a_long_journal_starts_anew_once_everything_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ROTATE_AT", 100)
    files = store(tmp_path)
    files.append(entry(1, "intent"))
    with files.lease():
        assert len(files.history()) == 1
        files.append(entry(1, "done"))
    with files.lease():
        assert files.history() == ()
    assert len((tmp_path / "gc" / ".chiltepin" / "journal.1.jsonl").read_text().splitlines()) == 2


def test_the_lease_holder_tidies_up_after_killed_runs(tmp_path: Path) -> None:
    own = tmp_path / "gc" / ".chiltepin"
    for folder in ("new/old-1", "new/fresh-2", "run"):
        (own / folder).mkdir(parents=True)
    for file in ("run/old", "run/fresh", ".chiltepin-tmp-old", ".chiltepin-tmp-fresh"):
        (own / file).write_text("x")
    for old in ("new/old-1", "run/old", ".chiltepin-tmp-old"):
        os.utime(own / old, (1, 1))
    with store(tmp_path).lease():
        left = sorted(str(p.relative_to(own)) for p in own.rglob("*") if "fresh" in p.name or "old" in p.name)
    assert left == [".chiltepin-tmp-fresh", "new/fresh-2", "run/fresh"]


def test_check_lease_without_a_lease(tmp_path: Path) -> None:
    with pytest.raises(LeaseHeld, match="not held"):
        store(tmp_path).check_lease()


def test_no_lease_in_a_place_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "gc").write_text("x")
    with pytest.raises(FileSystemError), store(tmp_path).lease():
        raise AssertionError("held")


def _directory(path: Path) -> None:
    path.mkdir()


def _plain_file(path: Path) -> None:
    path.write_text("mine\n")


def _link(path: Path) -> None:
    path.symlink_to("/tmp")


@pytest.mark.parametrize(
    ("name", "make", "kind"),
    [
        ("journal.jsonl", os.mkfifo, "a named pipe"),
        ("journal.jsonl", _directory, "a directory"),
        ("journal.jsonl", _link, "a symbolic link"),
        ("trash", _plain_file, "a plain file"),
        ("run", _plain_file, "a plain file"),
        ("new", _link, "a symbolic link"),
    ],
)
def test_what_is_in_the_way_of_tidying_up_is_named_itself(
    tmp_path: Path, name: str, make: Callable[[Path], None], kind: str
) -> None:
    with store(tmp_path).lease():
        pass
    obstacle = tmp_path / "gc" / ".chiltepin" / name
    make(obstacle)
    with pytest.raises(FileSystemError) as caught, store(tmp_path).lease():
        pass
    error = caught.value
    assert (error.where, (error.why or "").partition(" is in the way")[0]) == (str(obstacle), kind)
    assert f"`mv {obstacle} {obstacle}.aside`" in (error.remedy or "")
    obstacle.rename(f"{obstacle}.aside")
    with store(tmp_path).lease():
        pass
