"""One apply per config directory: real processes that compete for the lease."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from types import FrameType

import pytest

from reconciler.adapters import files, lease, lease_file, machine
from reconciler.errors import FileSystemError, LeaseHeld, Refused
from tests.adapters.host_support import end, names, outcome, python, wait_for
from tests.sampling import STEP

_HOLD = """
import sys, time
from reconciler.adapters import lease
from reconciler.errors import LeaseHeld
try:
    with lease.held(sys.argv[1], sys.argv[2], time.time()) as held:
        print("holds", flush=True)
        sys.stdin.read()
        held.check()
except LeaseHeld as e:
    print("refused", e.what, flush=True)
"""

_RACE = """
import sys, time
from pathlib import Path
from reconciler.adapters import lease
from reconciler.errors import LeaseHeld
place = Path(sys.argv[1])
(place / ("ready-" + sys.argv[2])).touch()
while not (place / "go").exists():
    pass
try:
    with lease.held(str(place), sys.argv[2], time.time()) as held:
        held.check()
        (place / ("won-" + sys.argv[2])).touch()
        while not (place / "stop").exists():
            time.sleep(0.01)
        held.check()
except LeaseHeld:
    (place / ("lost-" + sys.argv[2])).touch()
"""


@cache
def ended_process() -> tuple[int, int]:
    """Return PID and start time of a process that is gone; no later one has both."""
    child = subprocess.Popen(["sleep", "60"])
    started = lease_file.start_time(child.pid)
    end(child)
    assert started is not None
    return child.pid, started


def leave(place: Path, *, age: float = 0.0, **changes: object) -> lease_file.Holder:
    """Leave a lease behind, as a process that was killed does."""
    pid, started = ended_process()
    ours = lease_file.ourselves("old", time.time())
    holder = replace(ours, **{"pid": pid, "start_time": started, **changes})  # type: ignore[arg-type]
    path = place / lease_file.LEASE
    path.write_text(json.dumps(asdict(holder)))
    os.utime(path, (time.time() - age, time.time() - age))
    return holder


def leave_claim(place: Path, *, age: float = 0.0, **changes: object) -> Path:
    """Leave a dead holder's lease and a claim on it, as a takeover does that was killed half way; return the claim.

    Age and changes are the claim's.
    """
    dead = leave(place)
    claimed = leave(place, age=age, **changes)
    assert claimed.token != dead.token
    claim = place / f"{lease._CLAIM}{dead.token}"
    (place / lease_file.LEASE).rename(claim)
    (place / lease_file.LEASE).write_text(json.dumps(asdict(dead)))
    return claim


def leave_what(place: Path, start: str) -> None:
    """Leave what a run begins with: nothing, a dead holder's lease, or half a takeover of it."""
    if start == "dead holder":
        leave(place)
    elif start == "half a takeover":
        leave_claim(place)


def take(place: Path) -> None:
    with lease.held(str(place), "new", time.time()) as held:
        held.check()


def assert_clean(place: Path) -> None:
    assert [n for n in names(place) if n.startswith((lease_file.LEASE, lease._CLAIM, files.TEMPORARY))] == []


def test_it_is_released(tmp_path: Path) -> None:
    for _ in range(3):
        take(tmp_path)
    assert_clean(tmp_path)


def test_the_second_is_told_who_holds_it_where_and_since_when(tmp_path: Path) -> None:
    holder = python(_HOLD, str(tmp_path), "first")
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "holds\n"
        with pytest.raises(LeaseHeld) as caught:
            take(tmp_path)
        facts = machine.facts()
        assert f"process {holder.pid} of {facts.user} on {facts.name}" in caught.value.what
        assert "run first" in (caught.value.why or "")
        assert re.match(time.strftime(r"since %Y-%m-%d \d\d:\d\d:\d\d UTC ", time.gmtime()), caught.value.why or "")
        assert caught.value.remedy
    finally:
        out, _ = holder.communicate("")
    assert out == ""
    take(tmp_path)
    assert_clean(tmp_path)


def test_the_lease_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    child = python(
        "import sys; from reconciler.adapters import lease; lease.held(sys.argv[1], 'x', 0.0).__enter__()",
        str(tmp_path),
        CHILTEPIN_FAULT="lease.acquired",
    )
    assert outcome(child)[0] == -signal.SIGKILL
    assert (tmp_path / lease_file.LEASE).exists()
    take(tmp_path)
    assert_clean(tmp_path)


def test_a_pid_that_was_reused_does_not_keep_a_lease_alive(tmp_path: Path) -> None:
    mine = lease_file.start_time(os.getpid())
    assert mine is not None
    leave(tmp_path, pid=os.getpid(), start_time=mine - 1)
    take(tmp_path)


@pytest.mark.parametrize(
    "elsewhere", [{"host": "other-node"}, {"boot_id": "another boot"}, {"namespace": "pid:[1]"}, {"user": "somebody"}]
)
def test_a_process_that_cannot_be_seen_from_here_counts_as_alive(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    leave(tmp_path, **elsewhere)
    with pytest.raises(LeaseHeld):
        take(tmp_path)
    leave(tmp_path, age=lease_file.EXPIRES_AFTER + 5, **elsewhere)
    take(tmp_path)
    assert_clean(tmp_path)


def test_a_living_process_that_does_not_renew_loses_it_after_five_minutes(tmp_path: Path) -> None:
    with lease.held(str(tmp_path), "sleeper", time.time()) as sleeping:
        os.utime(tmp_path / lease_file.LEASE, (1, 1))
        take_and_keep = lease.held(str(tmp_path), "new", time.time())
        with take_and_keep as new:
            with pytest.raises(LeaseHeld, match="lost its lease"):
                sleeping.check()
            new.check()
            content = (tmp_path / lease_file.LEASE).read_text()
            assert '"run": "new"' in content
    assert_clean(tmp_path)


def test_a_holder_that_lost_it_does_not_release_its_successors(tmp_path: Path) -> None:
    with lease.held(str(tmp_path), "sleeper", time.time()):
        os.utime(tmp_path / lease_file.LEASE, (1, 1))
        child = python(_HOLD, str(tmp_path), "new")
        assert child.stdout is not None
        assert child.stdout.readline() == "holds\n"
    try:
        assert '"run": "new"' in (tmp_path / lease_file.LEASE).read_text()
    finally:
        out, _ = child.communicate("")
    assert out == "", "the successor's own check passed at its end"


def test_a_lease_file_that_vanished_is_a_lost_lease(tmp_path: Path) -> None:
    with lease.held(str(tmp_path), "x", time.time()) as held:
        (tmp_path / lease_file.LEASE).unlink()
        with pytest.raises(LeaseHeld, match="lost its lease"):
            held.check()


def test_it_is_renewed_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.05)
    with lease.held(str(tmp_path), "x", time.time()):
        os.utime(tmp_path / lease_file.LEASE, (1, 1))
        wait_for(lambda: (tmp_path / lease_file.LEASE).stat().st_mtime > 1000, "it was touched")


@pytest.mark.parametrize("off", [-600.0, 600.0])
def test_neither_age_nor_takeover_depend_on_this_nodes_clock(
    tmp_path: Path, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    leave(tmp_path, host="other-node", age=lease_file.EXPIRES_AFTER - 60)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + off)
        with pytest.raises(LeaseHeld):
            take(tmp_path)
    leave(tmp_path, host="other-node", age=lease_file.EXPIRES_AFTER + 60)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + off)
        take(tmp_path)
    assert_clean(tmp_path)


def interrupted_at(moment: int, work: Callable[[], None]) -> bool:
    """Let Ctrl-C arrive at one line of the lease's code or of `with`, counted from 1; False if there are fewer."""
    watched = (lease.__file__, lease_file.__file__, files.__file__, contextlib.__file__)
    met = 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., object] | None:
        del argument
        nonlocal met
        if event == "line" and frame.f_code.co_filename in watched and (met := met + 1) == moment:
            raise KeyboardInterrupt
        return trace if frame.f_code.co_filename in watched else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Refused:
        pass
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    assert met < moment, f"Ctrl-C at line {moment} was lost"
    return False


def apart(work: Callable[[], None]) -> None:
    """Do this in a process of its own; what fails there fails here.

    A trace function that raises in the midst of `with` leaves marks on CPython's interpreter: 3.11 holds exceptions as
    being handled that are long forgotten, and a later test once read what an earlier one had printed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "cut off"
        try:
            # No finalizer of another test's garbage may swallow an exception that is raised wherever the program is.
            gc.collect()
            gc.disable()
            work()
            said = ""
        except BaseException:  # noqa: BLE001 - told to the test
            said = traceback.format_exc()
        finally:
            os.write(writing, said.encode(errors="replace")[-60_000:])
            os._exit(0)
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            said = pipe.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    assert (said, status) == ("", 0), said


def refused(place: Path) -> None:
    with lease.held(str(place), "new", time.time()):
        raise Refused("there is something to do, but nobody wants it")


@pytest.mark.parametrize(
    ("start", "work"),
    [("free", take), ("dead holder", take), ("half a takeover", take), ("free", refused)],
    ids=["free", "dead holder", "half a takeover", "ends by an error"],
)
def test_ctrl_c_at_any_moment_gives_it_back(tmp_path: Path, start: str, work: Callable[[Path], None]) -> None:
    apart(partial(interrupt_everywhere, tmp_path, start, work))


def interrupt_everywhere(base: Path, start: str, work: Callable[[Path], None]) -> None:
    # Between two lines of `with` itself it is the end of the exception that ends the block, as it does for the command.
    temporaries = 0
    for moment in itertools.count(1, STEP):
        place = base / str(moment)
        place.mkdir()
        leave_what(place, start)
        if not interrupted_at(moment, partial(work, place)):
            break
        runs = [json.loads((place / n).read_text())["run"] for n in names(place) if n.startswith("lease.")]
        assert "new" not in runs, f"lease or claim left at line {moment}"
        temporaries += any(n.startswith(files.TEMPORARY) for n in names(place))
    assert moment > 200, "the lease's code was traced"
    assert temporaries * STEP < moment / 20, "left to the sweep only by Ctrl-C in the midst of making or removing it"


def test_what_keeps_it_from_being_taken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more_files(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(lease, "ourselves", no_more_files)
    with pytest.raises(FileSystemError, match="cannot take the lease") as caught:
        take(tmp_path)
    assert "ulimit -n" in (caught.value.remedy or "")
    assert_clean(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"token": 1}'])
def test_a_damaged_lease_expires_by_its_age(tmp_path: Path, content: str) -> None:
    (tmp_path / lease_file.LEASE).write_text(content)
    os.utime(tmp_path / lease_file.LEASE, (time.time() - 100, time.time() - 100))
    with pytest.raises(LeaseHeld, match="the lease is damaged") as caught:
        take(tmp_path)
    assert ("it is empty" if content == "" else f"its {len(content)} bytes") in (caught.value.why or "")
    remedy = caught.value.remedy or ""
    assert f"rm {tmp_path / lease_file.LEASE}" in remedy
    (left,) = [int(word) for word in remedy.split() if word.isdigit()]
    assert 150 < left <= 200
    os.utime(tmp_path / lease_file.LEASE, (1, 1))
    take(tmp_path)
    assert_clean(tmp_path)


DAMAGE: dict[str, list[object]] = {
    "since": ["x", 1e300, float("nan"), float("inf"), -1, None, True, "1"],
    "token": [5, "\0", "\ud800", "a/b", "..", "", "a" * 300, "a" * 31, None, ["a"]],
    "host": [5, "\ud800", "a\0b", "a" * 301, None],
    "pid": ["1", 1.5, -1, 10**400, True, None],
    "start_time": ["1", -1, float("nan")],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in DAMAGE.items() for value in values])
def test_a_lease_with_a_value_that_nobody_writes_is_a_damaged_one(tmp_path: Path, key: str, value: object) -> None:
    leave(tmp_path, **{"host": "other-node", key: value})
    with pytest.raises(LeaseHeld, match="the lease is damaged"):
        take(tmp_path)
    os.utime(tmp_path / lease_file.LEASE, (1, 1))
    take(tmp_path)
    assert_clean(tmp_path)


def test_a_pipe_in_the_leases_place_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / lease_file.LEASE)
    with pytest.raises(FileSystemError) as caught:
        take(tmp_path)
    assert "move it aside" in (caught.value.remedy or "")
    (tmp_path / lease_file.LEASE).unlink()
    with lease.held(str(tmp_path), "x", time.time()) as held:
        (tmp_path / lease_file.LEASE).unlink()
        os.mkfifo(tmp_path / lease_file.LEASE)
        held.check()  # it cannot be looked at: for a while the last success counts
        (tmp_path / lease_file.LEASE).unlink()


def _age(place: Path, age: float) -> None:
    os.utime(place / lease_file.LEASE, (time.time() - age, time.time() - age))


@pytest.mark.parametrize("readable", [True, False])
def test_a_lease_from_the_future_counts_from_when_it_is_seen(tmp_path: Path, readable: bool) -> None:
    leave(tmp_path, host="other-node")
    if not readable:
        (tmp_path / lease_file.LEASE).write_text("")
    _age(tmp_path, -365 * 86400)
    with pytest.raises(LeaseHeld) as caught:
        take(tmp_path)
    assert "s in the future by the file server's clock" in (caught.value.why or "")
    assert f"if no chiltepin is at work on any node, remove it: `rm {tmp_path}" in (caught.value.remedy or "")
    assert abs((tmp_path / lease_file.LEASE).stat().st_mtime - time.time()) < 60
    with pytest.raises(LeaseHeld) as caught:
        take(tmp_path)
    assert "in the future" not in (caught.value.why or "")
    _age(tmp_path, lease_file.EXPIRES_AFTER + 5)
    take(tmp_path)
    assert_clean(tmp_path)


def test_a_claim_from_the_future_counts_from_when_it_is_seen(tmp_path: Path) -> None:
    claim = leave_claim(tmp_path, host="other-node", age=-5000)
    with pytest.raises(LeaseHeld):
        take(tmp_path)
    assert claim.stat().st_mtime < time.time() + 60


def test_a_living_holder_keeps_a_lease_from_the_future(tmp_path: Path) -> None:
    with lease.held(str(tmp_path), "x", time.time()) as held:
        _age(tmp_path, -5000)
        child = python(_HOLD, str(tmp_path), "second")
        out, _ = child.communicate("", timeout=60)
        assert out.startswith("refused another apply holds this config directory")
        held.check()


def test_a_takeover_that_was_killed_half_way_is_taken_over_in_turn(tmp_path: Path) -> None:
    leave_claim(tmp_path)
    take(tmp_path)
    assert_clean(tmp_path)


def test_a_takeover_under_way_is_respected(tmp_path: Path) -> None:
    leave_claim(tmp_path, host="other-node")
    with pytest.raises(LeaseHeld):
        take(tmp_path)


@pytest.mark.parametrize("start", ["free", "dead holder", "half a takeover"])
@pytest.mark.parametrize("attempt", range(3))
def test_of_many_that_start_at_once_exactly_one_gets_it(tmp_path: Path, start: str, attempt: int) -> None:
    leave_what(tmp_path, start)
    count = lambda *patterns: sum(len(list(tmp_path.glob(p))) for p in patterns)  # noqa: E731
    children = [python(_RACE, str(tmp_path), str(n)) for n in range(6)]
    try:
        wait_for(lambda: count("ready-*") == 6, "all are ready", 60)
        (tmp_path / "go").touch()
        wait_for(lambda: count("won-*", "lost-*") == 6, "all have an answer", 60)
        won = count("won-*")
        (tmp_path / "stop").touch()
        results = [outcome(child) for child in children]
    finally:
        for child in children:
            end(child)
    assert won == 1
    assert [r for r in results if r[0] != 0] == []
    assert count("lost-*") == 5, "the winner still had it at its end"
    assert_clean(tmp_path)


def test_a_directory_that_cannot_be_listed_keeps_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trouble(*_: object) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with lease.held(str(tmp_path), "new", time.time()):
        monkeypatch.setattr(lease, "_claims", trouble)
    monkeypatch.undo()
    assert_clean(tmp_path)
