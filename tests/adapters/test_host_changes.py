"""What LocalHost changes on disk, and what is left when it is killed in between."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters import remains
from reconciler.adapters.host import LocalHost
from reconciler.adapters.store import FileStore
from reconciler.core.live import PidFile
from reconciler.errors import FileSystemError, Refused
from reconciler.ports import NewFile
from tests.adapters.host_support import (
    FILES,
    UUID_A,
    UUID_B,
    end,
    endpoint,
    fake_daemon,
    marker,
    names,
    outcome,
    python,
    unprivileged,
)

_CHILD = f"""
import sys
from reconciler.adapters.host import LocalHost
from reconciler.core.marker import Marker
from reconciler.ports import NewFile
FILES = {FILES!r}
marker = lambda: Marker.model_validate_json({marker().model_dump_json()!r})
host = LocalHost(sys.argv[1])
"""


def endpoints_for_upstream(config_dir: Path) -> list[str]:
    """Return what globus-compute-endpoint takes for endpoints."""
    return sorted({p.parent.name for p in config_dir.glob("*/config.*")})


def test_create_makes_a_private_directory_with_everything(tmp_path: Path) -> None:
    config_dir = tmp_path / "deep" / "gc"
    LocalHost(str(config_dir)).create("main", FILES, marker())
    assert names(config_dir / "main") == sorted([*FILES, ".chiltepin.json"])
    for path, mode in (("", 0o700), ("main", 0o700), ("main/config.yaml", 0o600), (".chiltepin", 0o700)):
        assert stat.S_IMODE((config_dir / path).stat().st_mode) == mode, path
    assert endpoints_for_upstream(config_dir) == ["main"]
    assert names(config_dir / ".chiltepin" / "new") == []


@pytest.mark.parametrize("kind", ["directory", "empty directory", "file", "link"])
def test_create_never_replaces_anything(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "main"
    if kind.endswith("directory"):
        place.mkdir()
    if kind == "directory":
        (place / "precious").write_text("x")
    elif kind == "file":
        place.write_text("x")
    elif kind == "link":
        place.symlink_to("nowhere")
    with pytest.raises(Refused, match="exists by now"):
        LocalHost(str(tmp_path)).create("main", FILES, marker())
    assert names(tmp_path / ".chiltepin" / "new") == []
    assert not (place / "config.yaml").exists()


@pytest.mark.parametrize("how", ["create", "rename", "restore"])
def test_a_log_that_a_start_brought_back_makes_room_and_is_kept(tmp_path: Path, how: str) -> None:
    host, place = LocalHost(str(tmp_path)), tmp_path / "main"
    if how != "create":
        endpoint(tmp_path, "other" if how == "rename" else "main")
    entry = host.to_trash("main") if how == "restore" else ""
    place.mkdir()
    (place / "endpoint.log").write_text("config.yaml is not there")
    if how == "create":
        host.create("main", FILES, marker())
    elif how == "rename":
        host.rename("other", "main")
    else:
        host.restore(entry, "main")
    assert (place / "config.yaml").exists()
    assert not (place / "endpoint.log").exists()
    (kept,) = (tmp_path / ".chiltepin" / "backups" / "main").iterdir()
    assert kept.read_text() == "config.yaml is not there"


def test_what_is_written_into_it_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "main"
    place.mkdir()
    (place / "endpoint.log").touch()
    put_aside = remains.put_aside

    def late(*arguments: Any) -> None:
        (place / "daemon.pid").write_text("1")
        put_aside(*arguments)

    monkeypatch.setattr(remains, "put_aside", late)
    with pytest.raises(Refused, match="exists by now"):
        LocalHost(str(tmp_path)).create("main", FILES, marker())
    assert names(place) == ["daemon.pid"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", ".hidden", "a b", "it's", UUID_A, "x" * 129])
def test_create_refuses_names_that_upstream_refuses(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused):
        LocalHost(str(tmp_path / "gc")).create(name, FILES, marker())
    assert not (tmp_path / "x").exists()


def test_a_file_name_cannot_leave_the_directory(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        LocalHost(str(tmp_path)).create("main", {"../x": NewFile(b"")}, marker())
    assert not (tmp_path / "main").exists()
    assert names(tmp_path / ".chiltepin" / "new") == []


@pytest.mark.parametrize(
    ("point", "there"),
    [("create.begin", False), ("create.built", False), ("create.renamed", True)],
)
def test_killed_while_creating_there_is_all_or_nothing(tmp_path: Path, point: str, there: bool) -> None:
    child = python(_CHILD + "host.create('main', FILES, marker())", str(tmp_path), CHILTEPIN_FAULT=point)
    assert outcome(child)[0] == -signal.SIGKILL
    host = LocalHost(str(tmp_path))
    found = host.directory("main")
    assert (found is not None) == there
    assert endpoints_for_upstream(tmp_path) == (["main"] if there else [])
    if not there:
        host.create("main", FILES, marker())
    found = host.directory("main")
    assert found is not None
    assert set(found.files) == set(FILES)


def test_a_write_keeps_the_old_version_when_asked(tmp_path: Path) -> None:
    endpoint(tmp_path, config="old: 1\n")
    host = LocalHost(str(tmp_path))
    host.write_file("main", "config.yaml", NewFile(b"new: 1\n", 0o644), backup=True)
    host.write_file("main", "config.yaml", NewFile(b"new: 2\n"), backup=False)
    (kept,) = (tmp_path / ".chiltepin" / "backups" / "main").iterdir()
    assert kept.name.startswith("config.yaml.")
    assert kept.read_bytes() == b"old: 1\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert (tmp_path / "main" / "config.yaml").read_bytes() == b"new: 2\n"
    assert endpoints_for_upstream(tmp_path) == ["main"]


def test_only_so_many_old_versions_are_kept(tmp_path: Path) -> None:
    endpoint(tmp_path, config="0")
    host = LocalHost(str(tmp_path))
    for number in range(1, 25):
        host.write_file("main", "config.yaml", NewFile(str(number).encode()), backup=True)
    assert len(names(tmp_path / ".chiltepin" / "backups" / "main")) == 20


def test_a_removed_file_is_kept_as_a_copy(tmp_path: Path) -> None:
    endpoint(tmp_path, **{"user_config_schema.json": "{}"})
    host = LocalHost(str(tmp_path))
    host.remove_file("main", "user_config_schema.json")
    host.remove_file("main", "user_config_schema.json")
    assert not (tmp_path / "main" / "user_config_schema.json").exists()
    assert len(names(tmp_path / ".chiltepin" / "backups" / "main")) == 1


def test_rename_takes_everything_along_and_replaces_nothing(tmp_path: Path) -> None:
    endpoint(tmp_path)
    (tmp_path / "taken").mkdir()
    host = LocalHost(str(tmp_path))
    host.rename("main", "new")
    assert names(tmp_path / "new") == ["config.yaml", "endpoint.json"]
    assert not (tmp_path / "main").exists()
    for new in ("taken", ".hidden"):
        with pytest.raises(Refused):
            host.rename("new", new)
    with pytest.raises(FileSystemError):
        host.rename("main", "other")
    assert names(tmp_path / "taken") == []


def test_rename_is_refused_under_a_daemon(tmp_path: Path) -> None:
    directory = endpoint(tmp_path)
    (directory / "daemon.pid").write_text("4000000")
    with pytest.raises(Refused, match="still runs"):
        LocalHost(str(tmp_path)).rename("main", "new")
    assert names(tmp_path) == ["main"]


def test_a_damaged_marker_is_kept_when_it_is_replaced(tmp_path: Path) -> None:
    directory = endpoint(tmp_path)
    (directory / ".chiltepin.json").write_text('{"stack": "ha')
    LocalHost(str(tmp_path)).write_marker("main", marker(), backup=True)
    (copy,) = (tmp_path / ".chiltepin" / "backups" / "main").iterdir()
    assert copy.read_text() == '{"stack": "ha'
    assert LocalHost(str(tmp_path)).directories()["main"].marker == marker()


def test_writes_into_a_linked_or_missing_directory_fail(tmp_path: Path) -> None:
    endpoint(tmp_path / "elsewhere", "main")
    (tmp_path / "gc").mkdir()
    (tmp_path / "gc" / "main").symlink_to("../elsewhere/main")
    host = LocalHost(str(tmp_path / "gc"))
    with pytest.raises(FileSystemError):
        host.write_file("main", "config.yaml", NewFile(b"x"), backup=False)
    assert (tmp_path / "elsewhere" / "main" / "config.yaml").read_text() == "display_name: x\n"
    with pytest.raises(FileSystemError, match="not there"):
        host.write_marker("absent", marker())


def test_a_read_only_directory_says_what_to_do(tmp_path: Path) -> None:
    endpoint(tmp_path, config="old")
    (tmp_path / "main").chmod(0o500)
    code = """
import sys
from reconciler.adapters.host import LocalHost
from reconciler.adapters.store import FileStore
from reconciler.errors import FileSystemError
from reconciler.ports import NewFile
try:
    LocalHost(sys.argv[1]).write_file("main", "config.yaml", NewFile(b"new"), backup=False)
except FileSystemError as e:
    print(e)
"""
    status, out, err = unprivileged(code, str(tmp_path))
    (tmp_path / "main").chmod(0o700)
    assert status == 0, err
    assert "cannot write config.yaml" in out
    assert "EACCES" in out
    assert (tmp_path / "main" / "config.yaml").read_text() == "old"


def seen_now(directory: Path) -> PidFile:
    """Return the PID file as an observation of this moment has it."""
    path = directory / "daemon.pid"
    return PidFile(int(path.read_text()), 0.0, path.stat().st_mtime)


def test_a_stale_pid_file_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    directory = endpoint(tmp_path, **{"daemon.pid": f"{dead.pid}\n"})
    host = LocalHost(str(tmp_path))
    seen = seen_now(directory)
    host.clear_pid_file("main", seen)
    assert not (directory / "daemon.pid").exists()
    host.clear_pid_file("main", seen)


def test_a_pid_file_whose_number_went_to_another_program_is_stale(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        directory = endpoint(tmp_path, **{"daemon.pid": str(stranger.pid)})
        LocalHost(str(tmp_path)).clear_pid_file("main", seen_now(directory))
        assert not (directory / "daemon.pid").exists()
        assert stranger.poll() is None
    finally:
        end(stranger)


@pytest.mark.parametrize(
    ("name", "uuid", "place"), [("other", UUID_B, "here"), ("main", UUID_B, "elsewhere"), ("main", UUID_B, "default")]
)
def test_a_pid_file_whose_number_went_to_another_endpoints_daemon_is_stale(
    tmp_path: Path, name: str, uuid: str, place: str
) -> None:
    """As after a reboot: the PIDs of all daemons are given again."""
    directory = endpoint(tmp_path / "here")
    option = None if place == "default" else tmp_path / place
    stranger = fake_daemon(endpoint(tmp_path / place, f"{name}-2", uuid), name, uuid, option)
    try:
        (directory / "daemon.pid").write_text(str(stranger.pid))
        host = LocalHost(str(tmp_path / "here"))
        found = host.directory("main")
        assert found is not None
        assert found.processes == ()
        host.clear_pid_file("main", seen_now(directory))
        assert not (directory / "daemon.pid").exists()
        assert stranger.poll() is None
    finally:
        end(stranger)


@pytest.mark.parametrize(("name", "own"), [("main", None), ("renamed", UUID_A)])
def test_a_pid_file_whose_process_may_be_its_own_stays(tmp_path: Path, name: str, own: str | None) -> None:
    directory = endpoint(tmp_path, uuid=own)
    daemon = fake_daemon(tmp_path, name, UUID_A)
    try:
        (directory / "daemon.pid").write_text(str(daemon.pid))
        with pytest.raises(Refused, match="not stale"):
            LocalHost(str(tmp_path)).clear_pid_file("main", seen_now(directory))
    finally:
        end(daemon)


@pytest.mark.parametrize("case", ["another pid", "touched", "alive"])
def test_a_pid_file_that_is_not_stale_stays(tmp_path: Path, case: str) -> None:
    directory = endpoint(tmp_path)
    daemon = fake_daemon(directory, "main", UUID_A, tmp_path)
    try:
        (directory / "daemon.pid").write_text(str(daemon.pid if case == "alive" else 99))
        now = seen_now(directory)
        seen = {"another pid": replace(now, pid=98), "touched": replace(now, modified=now.modified - 15), "alive": now}
        if case != "alive":
            end(daemon)
        with pytest.raises(Refused, match="not stale"):
            LocalHost(str(tmp_path)).clear_pid_file("main", seen[case])
    finally:
        end(daemon)
    assert (directory / "daemon.pid").exists()


def user_endpoint(config_dir: Path, uuid: str) -> Path:
    directory = config_dir / f"uep.{uuid}.0c0c0c0c-1111-4222-8333-444444444444"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("value", ["1" + "0" * 400, "NaN", "1e999", "-1", "1e300", '"x"', "[]", "{", "[" * 100_000])
def test_a_date_of_deletion_that_is_none(tmp_path: Path, value: str) -> None:
    endpoint(tmp_path, **{".chiltepin.json": marker(id=UUID_A).model_dump_json()})
    host = LocalHost(str(tmp_path))
    entry = host.to_trash("main")
    (tmp_path / ".chiltepin" / "trash" / entry / "entry.json").write_text(f'{{"deleted_at": {value}}}')
    (found,) = host.trash()
    assert found.age is None
    assert time.time() - 3600 < found.deleted_at <= time.time() + 1


def test_to_the_trash_and_back(tmp_path: Path) -> None:
    endpoint(tmp_path, **{".chiltepin.json": marker(id=UUID_A).model_dump_json()})
    own, other = user_endpoint(tmp_path, UUID_A), user_endpoint(tmp_path, UUID_B)
    host = LocalHost(str(tmp_path))
    entry = host.to_trash("main")
    assert not (tmp_path / "main").exists()
    assert not own.exists()
    assert other.exists()
    (found,) = host.trash()
    assert found.name == entry
    assert found.path == str(tmp_path / ".chiltepin" / "trash" / entry)
    assert found.marker == marker(id=UUID_A)
    assert abs(found.deleted_at - time.time()) < 30
    assert found.age is not None
    assert 0 <= found.age < 30
    assert found.directory is not None
    assert (found.id, found.directory.kind) == (UUID_A, "endpoint")
    assert found.size is None
    (measured,) = host.trash(sizes=True)
    assert measured.size is not None
    assert measured.size >= 3 * 4096
    assert endpoints_for_upstream(tmp_path) == []
    host.restore(entry, "main")
    again = host.directory("main")
    assert again is not None
    assert again.endpoint_id == UUID_A
    assert own.exists()
    assert host.trash() == ()


def test_putting_back_never_replaces_anything(tmp_path: Path) -> None:
    endpoint(tmp_path)
    host = LocalHost(str(tmp_path))
    entry = host.to_trash("main")
    endpoint(tmp_path, config="precious")
    with pytest.raises(Refused, match="main exists"):
        host.restore(entry, "main")
    assert (tmp_path / "main" / "config.yaml").read_text() == "precious"
    assert len(host.trash()) == 1


def test_the_same_name_can_be_deleted_twice_and_is_listed_oldest_first(tmp_path: Path) -> None:
    host = LocalHost(str(tmp_path))
    entries = []
    for _ in range(3):
        endpoint(tmp_path)
        entries.append(host.to_trash("main"))
    assert [e.name for e in host.trash()] == entries
    host.purge(entries[1])
    host.purge(host.trash()[0].path)
    assert [e.name for e in host.trash()] == entries[2:]
    with pytest.raises(Refused, match="in the trash"):
        host.purge(entries[1])
    for bad in ("../main", "..", "", "/etc"):
        with pytest.raises(Refused):
            host.purge(bad)


@pytest.mark.parametrize("case", ["process", "fresh PID file"])
def test_what_still_runs_is_not_moved(tmp_path: Path, case: str) -> None:
    directory = endpoint(tmp_path)
    host = LocalHost(str(tmp_path))
    daemon = None
    if case == "process":
        daemon = fake_daemon(directory, "main", UUID_A, tmp_path)
    else:
        (directory / "daemon.pid").write_text("1")
    try:
        with pytest.raises(Refused, match="still runs"):
            host.to_trash("main")
    finally:
        if daemon is not None:
            end(daemon)
    assert directory.exists()


@pytest.mark.parametrize(
    ("point", "moved"),
    [("trash.begin", False), ("trash.moved", True), ("trash.done", True)],
)
def test_killed_while_deleting_the_endpoint_is_here_or_there(tmp_path: Path, point: str, moved: bool) -> None:
    endpoint(tmp_path)
    child = python(_CHILD + "host.to_trash('main')", str(tmp_path), CHILTEPIN_FAULT=point)
    assert outcome(child)[0] == -signal.SIGKILL
    host = LocalHost(str(tmp_path))
    assert (host.directory("main") is None) == moved
    assert len(host.trash()) == (1 if moved else 0)
    if not moved:
        host.to_trash("main")
    host.restore(host.trash()[0].name, "main")
    assert (tmp_path / "main" / "endpoint.json").exists()


def leave(config_dir: Path) -> None:
    """Hold the lease for a moment, as every run that changes something does."""
    lock, pools = str(config_dir / "lock"), str(config_dir / "pools")
    with FileStore(str(config_dir), lock, pools).lease():
        pass


@pytest.mark.parametrize(("point", "moved"), [("restore.begin", False), ("restore.moved", True)])
def test_killed_while_putting_back_the_next_run_finishes(tmp_path: Path, point: str, moved: bool) -> None:
    endpoint(tmp_path, **{".chiltepin.json": marker(id=UUID_A).model_dump_json()})
    own = user_endpoint(tmp_path, UUID_A)
    host = LocalHost(str(tmp_path))
    entry = host.to_trash("main")
    child = python(_CHILD + f"host.restore({entry!r}, 'main')", str(tmp_path), CHILTEPIN_FAULT=point)
    assert outcome(child)[0] == -signal.SIGKILL
    assert [e.name for e in host.trash()] == ([] if moved else [entry])
    leave(tmp_path)
    assert (host.directory("main") is not None, own.exists()) == (moved, moved)
    if not moved:
        host.restore(entry, "main")
    assert own.exists()
    assert names(tmp_path / ".chiltepin" / "trash") == []


def test_killed_before_the_move_the_empty_entry_goes(tmp_path: Path) -> None:
    endpoint(tmp_path)
    child = python(_CHILD + "host.to_trash('main')", str(tmp_path), CHILTEPIN_FAULT="trash.begin")
    assert outcome(child)[0] == -signal.SIGKILL
    assert len(names(tmp_path / ".chiltepin" / "trash")) == 1
    leave(tmp_path)
    assert names(tmp_path / ".chiltepin" / "trash") == []
    assert LocalHost(str(tmp_path)).directory("main") is not None


def test_killed_while_purging_the_next_run_removes_the_rest_and_nothing_else(tmp_path: Path) -> None:
    host = LocalHost(str(tmp_path))
    entries = []
    for _ in range(2):
        endpoint(tmp_path)
        entries.append(host.to_trash("main"))
    child = python(_CHILD + f"host.purge({entries[0]!r})", str(tmp_path), CHILTEPIN_FAULT="purge.hidden")
    assert outcome(child)[0] == -signal.SIGKILL
    assert [e.name for e in host.trash()] == entries[1:]
    assert len(names(tmp_path / ".chiltepin" / "trash")) == 2
    leave(tmp_path)
    assert names(tmp_path / ".chiltepin" / "trash") == entries[1:]


def test_what_cannot_be_removed_from_the_trash_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".chiltepin" / "trash" / ".going-main~1").mkdir(parents=True, mode=0o700)

    def busy(parent: object, name: str) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    with monkeypatch.context() as patch:
        patch.setattr("reconciler.adapters.files.remove_tree", busy)
        leave(tmp_path)
    assert names(tmp_path / ".chiltepin" / "trash") == [".going-main~1"]
    leave(tmp_path)
    assert names(tmp_path / ".chiltepin" / "trash") == []


@pytest.mark.parametrize("record", [b"", b"{", b'{"deleted_at": "yesterday"}', None])
def test_an_entry_without_a_recorded_time_has_no_age(tmp_path: Path, record: bytes | None) -> None:
    endpoint(tmp_path, **{".chiltepin.json": marker(id=UUID_A).model_dump_json()})
    host = LocalHost(str(tmp_path))
    path = tmp_path / ".chiltepin" / "trash" / host.to_trash("main") / "entry.json"
    path.unlink()
    if record is not None:
        path.write_bytes(record)
    (found,) = host.trash()
    assert (found.age, found.id) == (None, UUID_A)


@pytest.mark.parametrize("point", ["purge.begin", "purge.hidden", "purge.done"])
def test_killed_while_purging_it_can_be_repeated(tmp_path: Path, point: str) -> None:
    endpoint(tmp_path)
    host = LocalHost(str(tmp_path))
    entry = host.to_trash("main")
    child = python(_CHILD + f"host.purge({entry!r})", str(tmp_path), CHILTEPIN_FAULT=point)
    assert outcome(child)[0] == -signal.SIGKILL
    for left in host.trash():
        host.purge(left.name)
    leave(tmp_path)
    assert names(tmp_path / ".chiltepin" / "trash") == []


@pytest.mark.parametrize(
    ("point", "call", "content"),
    [
        ("backup.written", "host.write_file('main', 'config.yaml', NewFile(b'new'), backup=True)", "old"),
        ("write.temp", "host.write_file('main', 'config.yaml', NewFile(b'new'), backup=True)", "old"),
        ("write.renamed", "host.write_file('main', 'config.yaml', NewFile(b'new'), backup=True)", "new"),
        ("marker.temp", "host.write_marker('main', marker())", "old"),
        ("marker.written", "host.write_marker('main', marker())", "old"),
        ("remove.done", "host.remove_file('main', 'user_environment.yaml')", "old"),
    ],
)
def test_killed_while_writing_every_file_is_old_or_new(tmp_path: Path, point: str, call: str, content: str) -> None:
    endpoint(tmp_path, config="old", **{"user_environment.yaml": "A: b"})
    child = python(_CHILD + call, str(tmp_path), CHILTEPIN_FAULT=point)
    assert outcome(child)[0] == -signal.SIGKILL
    assert (tmp_path / "main" / "config.yaml").read_text() == content
    found = LocalHost(str(tmp_path)).directory("main")
    assert found is not None
    assert found.kind == "endpoint"
    assert found.marker == (marker() if point == "marker.written" else None)
    assert endpoints_for_upstream(tmp_path) == ["main"]


def test_the_log_is_shown_without_secrets(tmp_path: Path) -> None:
    directory = endpoint(tmp_path)
    lines = [f"line {n}" for n in range(20_000)]
    lines += ["amqps://u:hunter22@broker:5671/v", "the value is topsecretvalue", "Authorization: Bearer abcdefgh.ijkl"]
    (directory / "endpoint.log").write_text("\n".join(lines) + "\n")
    environ = {"GLOBUS_COMPUTE_CLIENT_SECRET": "topsecretvalue"}
    tail = LocalHost(str(tmp_path), environ=environ).log_tail("main", 4)
    assert tail.splitlines()[0] == "line 19999"
    assert "amqps://***@broker:5671/v" in tail
    assert not {"hunter22", "topsecretvalue", "abcdefgh"} & set(tail.replace(".", " ").split())
    assert len(tail.splitlines()) == 4


# --- the PID file of a daemon on another node


def test_withdrawing_a_pid_file(tmp_path: Path) -> None:
    directory = endpoint(tmp_path, **{"daemon.pid": "99\n"})
    host = LocalHost(str(tmp_path))
    seen = seen_now(directory)
    assert host.withdraw_pid_file("main", seen)
    assert not (directory / "daemon.pid").exists()
    assert not host.withdraw_pid_file("main", seen)
    assert not host.withdraw_pid_file("main", None)


@pytest.mark.parametrize("seen", [PidFile(99, 1.0), PidFile(None, 1.0), None])
def test_an_empty_pid_file_is_what_a_touch_brought_back(tmp_path: Path, seen: PidFile | None) -> None:
    directory = endpoint(tmp_path, **{"daemon.pid": ""})
    assert LocalHost(str(tmp_path)).withdraw_pid_file("main", seen)
    assert not (directory / "daemon.pid").exists()


@pytest.mark.parametrize("seen", [PidFile(98, 1.0), PidFile(None, 1.0), None])
def test_the_pid_file_of_another_daemon_is_not_withdrawn(tmp_path: Path, seen: PidFile | None) -> None:
    directory = endpoint(tmp_path, **{"daemon.pid": "99\n"})
    with pytest.raises(Refused, match="not that of the daemon on the other node") as caught:
        LocalHost(str(tmp_path)).withdraw_pid_file("main", seen)
    assert "process 99" in (caught.value.why or "")
    assert (directory / "daemon.pid").read_text() == "99\n"


def test_a_pid_file_whose_daemon_runs_here_is_not_withdrawn(tmp_path: Path) -> None:
    directory = endpoint(tmp_path)
    daemon = fake_daemon(directory, "main", UUID_A, tmp_path)
    try:
        (directory / "daemon.pid").write_text(str(daemon.pid))
        with pytest.raises(Refused, match="not that of the daemon on the other node") as caught:
            LocalHost(str(tmp_path)).withdraw_pid_file("main", seen_now(directory))
        assert f"process {daemon.pid} of this endpoint runs on this node" in (caught.value.why or "")
        assert daemon.poll() is None
    finally:
        end(daemon)
    assert (directory / "daemon.pid").exists()


@pytest.mark.parametrize("stands_there", ["directory", "pipe", "link", "nothing"])
def test_an_entry_without_a_readable_record_has_no_age_and_the_others_theirs(tmp_path: Path, stands_there: str) -> None:
    host = LocalHost(str(tmp_path))
    entries = []
    for name in ("main", "other"):
        endpoint(tmp_path, name)
        entries.append(host.to_trash(name))
    record = tmp_path / ".chiltepin" / "trash" / entries[0] / "entry.json"
    record.unlink()
    if stands_there == "directory":
        record.mkdir()
    elif stands_there == "pipe":
        os.mkfifo(record)
    elif stands_there == "link":
        record.symlink_to(record)
    ages = {e.name: e.age for e in host.trash(sizes=True)}
    assert ages[entries[0]] is None
    assert ages[entries[1]] is not None
    host.restore(entries[0], "main")
    assert [e.name for e in host.trash()] == entries[1:]
