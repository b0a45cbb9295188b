"""What LocalHost sees in a config directory."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from reconciler.adapters.host import LocalHost
from reconciler.adapters.store import FileStore
from reconciler.core.live import Damaged, LiveDirectory
from reconciler.core.marker import Marker
from reconciler.errors import FileSystemError, Refused
from tests.adapters.host_support import UUID_A, UUID_B, end, endpoint, fake_daemon, marker, unprivileged


def read(config_dir: Path, name: str = "main") -> LiveDirectory:
    host = LocalHost(str(config_dir))
    one, every = host.directory(name), host.directories()[name]
    assert one is not None
    assert (one.kind, one.files, one.endpoint_id, one.marker) == (
        every.kind,
        every.files,
        every.endpoint_id,
        every.marker,
    )
    return every


def test_no_config_directory_means_no_endpoints(tmp_path: Path) -> None:
    host = LocalHost(str(tmp_path / "absent"))
    assert host.directories() == {}
    assert host.directory("main") is None
    assert host.trash() == ()
    assert host.log_tail("main", 5) == ""
    assert not (tmp_path / "absent").exists()


def test_an_endpoint_with_all_its_files(tmp_path: Path) -> None:
    mark = marker(id=UUID_A, protect=True)
    files = {"user_environment.yaml": "A: b\n", ".chiltepin.json": mark.model_dump_json(), "daemon.pid": "4711\n"}
    directory = endpoint(tmp_path, **files)
    os.utime(directory / "daemon.pid", (time.time() - 40, time.time() - 40))
    (directory / "user_environment.yaml").chmod(0o640)
    found = read(tmp_path)
    assert found.kind == "endpoint"
    assert {n: f.content for n, f in found.files.items()} == {
        "config.yaml": b"display_name: x\n",
        "user_environment.yaml": b"A: b\n",
    }
    assert found.files["user_environment.yaml"].mode == 0o640
    assert found.endpoint_id == UUID_A
    assert found.marker == mark
    assert found.pid_file is not None
    assert found.pid_file.pid == 4711
    assert 39 < found.pid_file.age < 60
    assert found.processes == ()


def test_equal_contents_are_held_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        endpoint(tmp_path, name, **{"user_config_template.yaml.j2": "x" if name != "b" else "y"})
    found = LocalHost(str(tmp_path)).directories()
    templates = [found[n].files["user_config_template.yaml.j2"] for n in "abc"]
    assert templates[0] is templates[2]
    assert templates[0] is not templates[1]
    assert found["a"].files["config.yaml"] is found["b"].files["config.yaml"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"endpoint_id": "' + UUID_A.upper() + '"}', UUID_A),
        ('{"endpoint_id": "' + UUID_A.replace("-", "") + '"}', UUID_A),
        ('{"endpoint_id": "urn:uuid:' + UUID_A + '"}', UUID_A),
        ('{"endpoint_id"', "does not hold"),
        ("[]", "does not hold"),
        ("", "does not hold"),
        ('{"endpoint_id": 5}', "not a UUID"),
        ('{"endpoint_id": "main"}', "not a UUID"),
    ],
)
def test_a_registration_is_read_or_said_to_be_damaged(tmp_path: Path, text: str, expected: str) -> None:
    endpoint(tmp_path, uuid=None, **{"endpoint.json": text})
    found = read(tmp_path).endpoint_id
    assert found == expected or (isinstance(found, Damaged) and expected in found.reason)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format_version": 2, "novelty": True}, "format_version 2"),
        ({"format_version": 2}, "format_version 2"),
        ({"novelty": True}, "novelty"),
        ({"stack": None}, "stack"),
        ({"format_version": 0}, "unknown format_version 0"),
    ],
)
def test_a_marker_of_another_format_is_damaged_and_says_why(
    tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    document = {**marker().model_dump(mode="json"), **change}
    endpoint(tmp_path, **{".chiltepin.json": json.dumps(document)})
    found = read(tmp_path).marker
    assert isinstance(found, Damaged)
    assert expected in found.reason


@pytest.mark.parametrize("text", ["", "{", "\0" * 40, "[]"])
def test_a_torn_marker_is_damaged(tmp_path: Path, text: str) -> None:
    endpoint(tmp_path, **{".chiltepin.json": text})
    assert isinstance(read(tmp_path).marker, Damaged)
    assert read(tmp_path).kind == "endpoint"


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ("engine:\n  type: X\n", "legacy"),
        ('"engine": {}\n', "legacy"),
        ("{display_name: x, engine: {type: X}}", "legacy"),
        ("display_name: the engine\n", "endpoint"),
        ("# engine: x\ndisplay_name: x\n", "endpoint"),
        ("nested:\n  engine: x\n", "endpoint"),
        ("{nested: {engine: x}}", "endpoint"),
        ("{broken engine", "endpoint"),
    ],
)
def test_an_engine_at_the_top_of_config_yaml_is_the_old_layout(tmp_path: Path, config: str, kind: str) -> None:
    endpoint(tmp_path, config=config)
    assert read(tmp_path).kind == kind


def test_config_py_is_never_executed(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    endpoint(tmp_path, **{"config.py": f"open({str(trap)!r}, 'w')\n"})
    assert read(tmp_path).kind == "legacy"
    assert not trap.exists()


def test_what_is_not_an_endpoint_is_named_and_left_alone(tmp_path: Path) -> None:
    endpoint(tmp_path / "elsewhere", "main")
    config_dir = tmp_path / "gc"
    config_dir.mkdir()
    (config_dir / "linked").symlink_to(tmp_path / "elsewhere" / "main")
    (config_dir / "dangling").symlink_to("nowhere")
    (config_dir / "storage.db").write_text("x")
    (config_dir / "empty").mkdir()
    (config_dir / ".chiltepin" / "trash").mkdir(parents=True)
    (config_dir / "new\nline").mkdir()
    for name in ("has space", UUID_A, "x" * 129):
        endpoint(config_dir, name)
    found = LocalHost(str(config_dir)).directories()
    kinds = {name: directory.kind for name, directory in found.items()}
    assert kinds == {
        "linked": "link",
        "dangling": "link",
        "storage.db": "other",
        "empty": "other",
        "has space": "other",
        UUID_A: "other",
        "x" * 129: "other",
    }
    assert all(found[n].problem for n in kinds if n != "empty")


def test_what_a_start_brings_back_of_a_removed_directory_is_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "main"
    directory.mkdir()
    (directory / "endpoint.log").write_text("begins\n")
    host = LocalHost(str(tmp_path))
    assert host.directories() == {}
    assert host.directory("main") is None
    (directory / "notes.txt").touch()
    assert host.directories()["main"].kind == "other"


def test_what_a_daemon_brings_back_of_a_removed_directory_is_an_endpoint(tmp_path: Path) -> None:
    directory = tmp_path / "main"
    directory.mkdir()
    (directory / "endpoint.json").write_text("{}")
    assert LocalHost(str(tmp_path)).directories()["main"].kind == "other"
    (directory / "endpoint.json").write_text(json.dumps({"endpoint_id": UUID_A}))
    found = LocalHost(str(tmp_path)).directories()["main"]
    assert (found.kind, found.endpoint_id, found.files) == ("endpoint", UUID_A, {})


def test_only_live_user_endpoints_are_counted(tmp_path: Path) -> None:
    endpoint(tmp_path, uuid=UUID_A)
    endpoint(tmp_path, "other", uuid=UUID_B)
    ids = [f"{n}c0c0c0c-1111-4222-8333-444444444444" for n in range(4)]
    for number, (uep, age) in enumerate(zip(ids, (1, 89, 95, None), strict=True)):
        directory = tmp_path / f"uep.{UUID_A}.{uep}"
        directory.mkdir()
        if age is not None:
            (directory / "daemon.pid").write_text(str(100 + number))
            os.utime(directory / "daemon.pid", (time.time() - age, time.time() - age))
    found = LocalHost(str(tmp_path)).directories()
    assert sorted(found) == ["main", "other"]
    assert [(u.id, u.pid) for u in found["main"].user_endpoints] == [(ids[0], 100), (ids[1], 101)]
    assert found["other"].user_endpoints == ()


def test_pipes_and_dangling_links_do_not_stop_the_reading(tmp_path: Path) -> None:
    directory = endpoint(tmp_path)
    os.mkfifo(directory / "user_environment.yaml")
    endpoint(tmp_path, "linked")
    (tmp_path / "linked" / "user_config_schema.json").symlink_to("nowhere")
    endpoint(tmp_path, "following")
    (tmp_path / "schema").write_text("{}")
    (tmp_path / "following" / "user_config_schema.json").symlink_to("../schema")
    found = LocalHost(str(tmp_path)).directories()
    assert found["main"].kind == "unreadable"
    assert "not a regular file" in (found["main"].problem or "")
    assert found["linked"].kind == "unreadable"
    assert found["following"].files["user_config_schema.json"].content == b"{}"


def test_a_daemon_belongs_to_the_directory_it_works_in(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for config_dir in (one, two):
        endpoint(config_dir, "main", uuid=UUID_A)
    endpoint(one, "other", uuid=UUID_B)
    children = [fake_daemon(one / "main", "main", UUID_A, one)]
    try:
        found = LocalHost(str(one)).directories()
        assert [p.pid for p in found["main"].processes] == [children[0].pid]
        assert found["main"].processes[0].uid == os.getuid()
        assert 0 <= found["main"].processes[0].age < 30
        assert found["other"].processes == ()
        assert LocalHost(str(two)).directories()["main"].processes == (), "a copy with the same name and UUID"
        children.append(fake_daemon(tmp_path, "other", UUID_B))
        assert [p.pid for p in LocalHost(str(one)).directories()["other"].processes] == [children[1].pid]
        (one / "main").rename(one / "renamed")
        endpoint(one, "main", uuid=UUID_B)
        found = LocalHost(str(one)).directories()
        assert [p.pid for p in found["main"].processes] == [children[0].pid], "its old directory was moved away"
    finally:
        for child in children:
            end(child)
    assert LocalHost(str(one)).directories()["main"].processes == ()


def test_a_killed_and_unreaped_daemon_is_no_process(tmp_path: Path) -> None:
    directory = endpoint(tmp_path)
    child = fake_daemon(directory, "main", UUID_A, tmp_path)
    child.kill()
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert LocalHost(str(tmp_path)).directories()["main"].processes == ()
    finally:
        child.wait()


def test_a_config_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a directory away")
    endpoint(tmp_path / "gc")
    os.chown(tmp_path / "gc", 12345, 12345)
    with pytest.raises(Refused, match="another user"):
        LocalHost(str(tmp_path / "gc")).directories()


def test_permissions_that_are_missing(tmp_path: Path) -> None:
    for name in ("fine", "closed", "hidden"):
        endpoint(tmp_path / "gc", name)
    (tmp_path / "gc" / "closed").chmod(0)
    (tmp_path / "gc" / "hidden" / "config.yaml").chmod(0)
    code = """
import sys
from reconciler.adapters.host import LocalHost
from reconciler.errors import FileSystemError
host = LocalHost(sys.argv[1] + "/gc")
for name, d in host.directories().items():
    print(name, d.kind, d.problem)
import os
os.chmod(sys.argv[1] + "/gc", 0)
try:
    host.directories()
except FileSystemError as e:
    print(e)
os.chmod(sys.argv[1] + "/gc", 0o700)
"""
    status, out, err = unprivileged(code, str(tmp_path))
    (tmp_path / "gc" / "closed").chmod(0o700)
    assert status == 0, err
    assert "fine endpoint None" in out
    assert "closed unreadable Permission denied" in out
    assert "hidden unreadable config.yaml: Permission denied" in out
    assert "cannot read the config directory" in out
    assert "ls -ld" in out


def test_a_file_in_place_of_the_config_directory(tmp_path: Path) -> None:
    (tmp_path / "gc").write_text("x")
    host = LocalHost(str(tmp_path / "gc"))
    with pytest.raises(FileSystemError, match="cannot read the config directory"):
        host.directories()
    with pytest.raises(FileSystemError, match="cannot create main"):
        host.create("main", {}, marker())


def test_a_config_directory_behind_a_link_is_read(tmp_path: Path) -> None:
    endpoint(tmp_path / "scratch")
    (tmp_path / "gc").symlink_to("scratch")
    assert read(tmp_path / "gc").kind == "endpoint"


def test_the_marker_survives_a_round_trip(tmp_path: Path) -> None:
    endpoint(tmp_path)
    mark = marker(id=UUID_A, path="/usr/bin")
    LocalHost(str(tmp_path)).write_marker("main", mark)
    found = read(tmp_path).marker
    assert isinstance(found, Marker)
    assert found == mark
    assert (tmp_path / "main" / ".chiltepin.json").stat().st_mode & 0o777 == 0o600


def test_reading_changes_nothing(tmp_path: Path) -> None:
    endpoint(tmp_path / "gc", **{".chiltepin.json": marker().model_dump_json(), "daemon.pid": "1", "endpoint.log": "x"})
    host = LocalHost(str(tmp_path / "gc"))
    store = FileStore(str(tmp_path / "gc"), str(tmp_path / "lock"), str(tmp_path / "pools"))
    for turn in range(2):
        before = {p: (p.lstat().st_mtime_ns, p.lstat().st_ctime_ns) for p in (tmp_path, *tmp_path.rglob("*"))}
        host.directories(), host.directory("main"), host.trash(), host.log_tail("main", 3)
        host.facts(), host.tool(), host.environment(), host.login_shell()
        store.read_lock(), store.read_pools(), store.unfinished(), store.history()
        assert before == {p: (p.lstat().st_mtime_ns, p.lstat().st_ctime_ns) for p in (tmp_path, *tmp_path.rglob("*"))}
        with store.lease():
            store.write_lock("x")
        endpoint(tmp_path / "gc", f"other{turn}")
        host.to_trash(f"other{turn}")
