"""Ages of files by the file server's clock, whatever this node's says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters import server_time
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.host import LocalHost
from reconciler.adapters.server_time import PROBE, ServerTime
from reconciler.core.live import LiveDirectory
from reconciler.ports import NewFile
from tests.adapters.host_support import UUID_A, endpoint, unprivileged

UEP = f"uep.{UUID_A}.{UUID_A}"


class SkewedClock(SystemClock):
    """A node whose clock is off, and whose time can be moved on."""

    def __init__(self, off: float) -> None:
        self.off = off
        self.passed = 0.0

    def now(self) -> float:
        return time.time() + self.off

    def monotonic(self) -> float:
        return time.monotonic() + self.passed


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Our directory in the config directory `tmp_path`."""
    path = tmp_path / ".chiltepin"
    path.mkdir(mode=0o700)
    return path


def touched(path: Path, seconds_ago: float) -> Path:
    """Let a file have been touched so long ago."""
    then = time.time() - seconds_ago
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize("off", [-600.0, 0.0, 600.0])
@pytest.mark.parametrize("managed", [True, False])
def test_ages_do_not_depend_on_this_nodes_clock(tmp_path: Path, off: float, managed: bool) -> None:
    if managed:
        (tmp_path / ".chiltepin").mkdir()
    touched(endpoint(tmp_path, **{"daemon.pid": "99"}) / "daemon.pid", 40)
    for number, age in enumerate((20, 300)):
        directory = tmp_path / f"uep.{UUID_A}.{number}{UUID_A[1:]}"
        directory.mkdir()
        (directory / "daemon.pid").write_text("98")
        touched(directory / "daemon.pid", age)
    host = LocalHost(str(tmp_path), clock=SkewedClock(off))
    for found in (host.directory("main"), host.directories()["main"]):
        assert isinstance(found, LiveDirectory)
        assert found.pid_file is not None
        assert found.pid_file.age == pytest.approx(40, abs=5)
        assert [u.age for u in found.user_endpoints] == [pytest.approx(20, abs=5)]


DAY = 86_400.0


@pytest.mark.parametrize("off", [-20 * DAY, 20 * DAY])
@pytest.mark.parametrize("who", ["who deletes", "who looks"])
def test_ages_in_the_trash_do_not_depend_on_this_nodes_clock(tmp_path: Path, off: float, who: str) -> None:
    endpoint(tmp_path)
    wrong, right = LocalHost(str(tmp_path), clock=SkewedClock(off)), LocalHost(str(tmp_path))
    deletes, looks = (wrong, right) if who == "who deletes" else (right, wrong)
    entry = deletes.to_trash("main")
    (found,) = looks.trash()
    assert found.age == pytest.approx(0, abs=30)
    assert found.deleted_at == pytest.approx(time.time(), abs=30)
    assert entry.startswith(f"main~{time.strftime('%Y%m%d', time.gmtime())}")


def test_a_copy_of_a_node_whose_clock_is_behind_is_not_the_oldest(tmp_path: Path) -> None:
    endpoint(tmp_path)
    new = NewFile(b"display_name: other\n")
    for clock in (SkewedClock(0), SkewedClock(-20 * DAY)):
        LocalHost(str(tmp_path), clock=clock).write_file("main", "config.yaml", new, backup=True)
    today = time.strftime("%Y%m%d", time.gmtime())
    names = [path.name for path in (tmp_path / ".chiltepin" / "backups" / "main").iterdir()]
    assert [name.startswith(f"config.yaml.{today}") for name in names] == [True, True]


def test_an_empty_trash_asks_for_no_time(tmp_path: Path, own: Path) -> None:
    (own / "trash").mkdir(mode=0o700)
    assert LocalHost(str(tmp_path)).trash() == ()
    assert not (own / PROBE).exists()


def test_where_the_servers_time_cannot_be_told_an_entry_has_no_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint(tmp_path)
    host = LocalHost(str(tmp_path))
    host.to_trash("main")
    monkeypatch.setattr(ServerTime, "now", lambda _: None)
    (found,) = host.trash()
    assert found.age is None
    endpoint(tmp_path)
    host.to_trash("main")
    monkeypatch.undo()
    assert [item.age is None for item in LocalHost(str(tmp_path)).trash()] == [False, True]


def test_one_probe_serves_for_a_while_and_then_another_is_made(tmp_path: Path, own: Path) -> None:
    clock = SkewedClock(600)
    server = ServerTime(str(tmp_path), clock)
    first = server.now()
    assert first is not None
    touched(own / PROBE, 5000)
    assert server.now() == pytest.approx(first, abs=2)
    assert (own / PROBE).stat().st_mtime < time.time() - 4000, "not touched again yet"
    clock.passed += server_time.GOOD_FOR + 1
    assert server.now() == pytest.approx(time.time(), abs=2)
    assert (own / PROBE).stat().st_mtime > time.time() - 60


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert ServerTime(str(tmp_path), SystemClock()).now() == pytest.approx(time.time(), abs=5)
    assert list(tmp_path.iterdir()) == []
    assert ServerTime(str(tmp_path / "missing"), SystemClock()).now() is None


def a_link(own: Path) -> None:
    (own / PROBE).symlink_to("/etc/passwd")


def a_directory(own: Path) -> None:
    (own / PROBE).mkdir()


def a_pipe(own: Path) -> None:
    os.mkfifo(own / PROBE)


@pytest.mark.parametrize("obstacle", [a_link, a_directory, a_pipe])
def test_something_in_the_way_of_the_probe(tmp_path: Path, own: Path, obstacle: Callable[[Path], None]) -> None:
    obstacle(own)
    before = Path("/etc/passwd").stat().st_mtime
    assert ServerTime(str(tmp_path), SystemClock()).now() == pytest.approx(time.time(), abs=5)
    assert Path("/etc/passwd").stat().st_mtime == before


_UNWRITABLE = """
import sys
from reconciler.adapters.host import LocalHost
found = LocalHost(sys.argv[1]).directory("main")
print(found.pid_file.age, [u.age for u in found.user_endpoints])
"""


def test_where_nothing_can_be_written_the_age_is_not_known_and_nothing_reads_as_idle(tmp_path: Path, own: Path) -> None:
    touched(endpoint(tmp_path, **{"daemon.pid": "99"}) / "daemon.pid", 4000)
    (tmp_path / UEP).mkdir()
    (tmp_path / UEP / "daemon.pid").write_text("98")
    touched(tmp_path / UEP / "daemon.pid", 4000)
    for path in (own, tmp_path):
        path.chmod(0o500)
    try:
        status, out, err = unprivileged(_UNWRITABLE, str(tmp_path))
    finally:
        tmp_path.chmod(0o700)
    assert (status, out) == (0, "None [None]\n"), err


def test_without_a_pid_file_nothing_is_touched(tmp_path: Path, own: Path) -> None:
    endpoint(tmp_path)
    assert LocalHost(str(tmp_path)).directories()["main"].pid_file is None
    assert list(own.iterdir()) == []
