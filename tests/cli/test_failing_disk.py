"""Every write of every action fails, in each way in which disks do: nothing is lost, and the next run converges.

By default at every third write of each scenario (see `sampling.py`), and from every sixth on: what only one scenario
writes may be left out. CHILTEPIN_TEST_WHOLE=1: at every write, and from every second on.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler import elsewhere, online
from reconciler.adapters.files import TEMPORARY
from reconciler.core.lock import read_lock
from reconciler.core.marker import Marker
from tests.adapters.globus_stub import CLIENT, ENDPOINT, Reply, error
from tests.adapters.host_support import UUID_A, fake_tool
from tests.cli.failing_disk import OTHERS, TAKES_SPACE, Told, Trouble, command
from tests.cli.support import HEAD, POOLED, RENAMED, Shell
from tests.sampling import STEP, STEP_OF_KINDS, sampled

pytestmark = [pytest.mark.usefixtures("everything_imported"), pytest.mark.timeout(600)]

_LASTING = (
    (errno.ENOSPC, TAKES_SPACE, "free space"),
    (errno.EDQUOT, TAKES_SPACE, "your quota is used up"),
    (errno.EROFS, TAKES_SPACE | OTHERS, "mounted read-only"),
)


def once(at: int, _: int) -> tuple[Trouble, str]:
    """An I/O error at one change."""
    return Trouble(at, errno.EIO), "check `dmesg`"


def from_then_on(at: int, turn: int) -> tuple[Trouble, str]:
    """In turn, a disk that is full, a quota that is used up, and one that becomes read-only."""
    code, calls, remedy = _LASTING[turn % len(_LASTING)]
    return Trouble(at, code, lasting=True, calls=calls), remedy


STATUS = f"/v2/endpoints/{ENDPOINT}/status"
APPLY = ("apply", "--yes", "--parallelism", "1")
RUNNING = POOLED.replace("state: stopped", "state: running, restart: now")


# --- scenarios: what there is, and what is then done


def first(shell: Shell) -> tuple[str, ...]:
    shell.write(POOLED)
    return APPLY


def change(shell: Shell) -> tuple[str, ...]:
    shell.registered()
    config = shell.config_dir / "main" / "config.yaml"
    config.write_text(config.read_text() + "debug: true\n")
    shell.write(RENAMED)
    return APPLY


def lost_marker(shell: Shell) -> tuple[str, ...]:
    shell.registered()
    shell.marker.unlink()
    return APPLY


def stale_pid_file(shell: Shell) -> tuple[str, ...]:
    shell.registered()
    pid_file = shell.config_dir / "main" / "daemon.pid"
    pid_file.write_text("4000000\n")
    os.utime(pid_file, (time.time() - 900, time.time() - 900))
    return APPLY


def delete(shell: Shell) -> tuple[str, ...]:
    two = POOLED.replace("pools:", "  two: {state: stopped}\npools:")
    shell.registered(two)
    shell.write(two.replace("  main: {state: stopped}\n", "").partition("pools:")[0])
    return (*APPLY, "--allow-delete")


def purge(shell: Shell) -> tuple[str, ...]:
    shell.registered()
    return ("destroy", "--yes", "--purge")


def forget(shell: Shell) -> tuple[str, ...]:
    shell.registered()
    shell.write(POOLED.replace("main: {state: stopped}", "other: {state: stopped}").partition("pools:")[0])
    return ("forget", "main", "--yes")


def adopt(shell: Shell) -> tuple[str, ...]:
    shell.registered()
    shell.marker.unlink()
    shell.lock.unlink()
    return ("adopt", "main", "--yes")


def reregister(shell: Shell) -> tuple[str, ...]:
    shell.registered()
    shell.stub.listing = []
    shell.stub.script[STATUS] = [error(404, f"Endpoint {ENDPOINT} could not be resolved")]
    return (*APPLY, "--reregister", "main")


def start(shell: Shell) -> tuple[str, ...]:
    with_daemons(shell)
    shell.write(RUNNING)
    return APPLY


def restart(shell: Shell) -> tuple[str, ...]:
    with_daemons(shell)
    shell.write(RUNNING)
    return APPLY


def begin_restart(stage: Stage) -> None:
    """Let its daemon run, and be declared with another configuration."""
    assert stage.run(APPLY).code == 0
    stage.shell.write(RUNNING.replace("restart: now", "restart: now, config: {display_name: Renamed}"))


def stop_elsewhere(shell: Shell) -> tuple[str, ...]:
    """Its daemon runs on another node, where it ends without its PID file."""
    shell.registered()
    shell.stub.online_while = shell.config_dir / "main" / "daemon.pid"
    shell.stub.online_while.write_text("4000000\n")
    there = {"host": "elsewhere-2", "boot_id": "b", "pid": 4000000, "start_time": 1, "prefix": "", "versions": {}}
    marker = json.loads(shell.marker.read_text())
    shell.marker.write_text(json.dumps({**marker, "daemon": {**there, "config": ""}}))
    return APPLY


def touch_pid_file(stage: Stage) -> None:
    """Do what the daemon on the other node does."""
    (stage.shell.config_dir / "main" / "daemon.pid").touch()


@pytest.fixture(autouse=True)
def greets_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in of the service says online always: there is no first heartbeat to wait for."""
    monkeypatch.setattr(online, "GREETS", 0.0)


def with_daemons(shell: Shell) -> None:
    """Let the stand-in of globus-compute-endpoint be installed, and the service list what it registers."""
    shutil.rmtree(shell.tool)
    fake_tool(shell.tool)
    entry = {"uuid": UUID_A, "name": "main", "display_name": None, "owner": CLIENT}
    shell.stub.registered_since = lambda: [entry] if (shell.config_dir / "starts").exists() else []


def rename(shell: Shell) -> tuple[str, ...]:
    """Its name and its directory's: the marker, the lock and the pools file follow."""
    shell.registered()
    shell.write(POOLED.replace("main", "new") + "moved: [{from: main, to: new}]\n")
    return APPLY


def deleted(shell: Shell) -> None:
    """Let `main` lie in the trash while the manifest declares it again."""
    shell.registered()
    shell.write(HEAD + "endpoints:\n  two: {state: stopped}\n")
    shell.apply("--allow-delete")
    shell.write(POOLED.replace("pools:", "  two: {state: stopped}\npools:"))


def declared_again(shell: Shell) -> tuple[str, ...]:
    deleted(shell)
    return APPLY


def undelete(shell: Shell) -> tuple[str, ...]:
    deleted(shell)
    return ("undelete", "main", "--yes")


@dataclass(frozen=True)
class Scenario:
    """What is done, and how it may answer when it is run again although all was done but a last write.

    Attributes:
        gives_up: whether the UUID that there was may be gone afterwards.
        again: exit codes of the same command on a healthy disk.
        then: what is run after it.
        begin: what happens each time before it, as no copy of the files shows it.
    """

    prepare: Callable[[Shell], tuple[str, ...]]
    gives_up: bool = False
    again: frozenset[int] = frozenset({0})
    then: tuple[tuple[str, ...], ...] = ()
    begin: Callable[[Stage], None] | None = None


SCENARIOS = {
    "first": Scenario(first),
    "change": Scenario(change),
    "start": Scenario(start),
    "restart": Scenario(restart, begin=begin_restart),
    "stop elsewhere": Scenario(stop_elsewhere, begin=touch_pid_file),
    "lost marker": Scenario(lost_marker),
    "stale PID file": Scenario(stale_pid_file),
    "delete": Scenario(delete),
    "purge": Scenario(purge, gives_up=True),
    "forget": Scenario(forget, gives_up=True, again=frozenset({0, 64})),
    "adopt": Scenario(adopt, then=(APPLY,)),
    "rename": Scenario(rename),
    "declared again": Scenario(declared_again),
    "undelete": Scenario(undelete, then=(APPLY,)),
    "reregister": Scenario(reregister, gives_up=True, again=frozenset({0, 4})),
}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass
class Stage:
    """A user's files and registrations as they are before the command, to begin from again and again."""

    shell: Shell
    kept: Path
    begin: Callable[[Stage], None] | None = None
    listing: list[dict[str, Any]] = field(default_factory=list)
    changes: int = 0

    def keep(self) -> None:
        shutil.copytree(self.shell.base, self.kept, symlinks=True)
        self.listing = self.shell.stub.listing
        if self.begin:
            self.begin(self)

    def set(self) -> None:
        os.chdir("/")
        self.end_daemons()
        for path in (self.shell.project, self.shell.home):
            shutil.rmtree(path)
            shutil.copytree(self.kept / path.relative_to(self.shell.base), path, symlinks=True)
        os.chdir(self.shell.project)
        self.shell.stub.listing = self.listing
        if self.begin:
            self.begin(self)

    def end_daemons(self) -> None:
        """End, by PID, what was started in this home."""
        while pids := [int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit() and self._is_ours(e)]:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _is_ours(self, entry: Path) -> bool:
        with suppress(OSError):  # it ended meanwhile
            words = (entry / "cmdline").read_bytes()
            return b"globus-compute-endpoint" in words and os.fsencode(self.shell.config_dir) in words
        return False

    def run(self, arguments: tuple[str, ...], trouble: Trouble | None = None) -> Told:
        told = command(arguments, self.shell.base, trouble)
        assert told.code not in (-1, 70), told.text
        assert "Traceback" not in told.text
        self.changes = max(self.changes, told.passed)
        return told

    def ids(self) -> set[str]:
        """Return every UUID that a file names from which it is used again (the journal and backups are none)."""
        found: set[str] = set()
        trash = self.shell.config_dir / ".chiltepin" / "trash"
        for path in (self.shell.lock, *self.shell.config_dir.glob("*/*.json"), *trash.glob("*/endpoint/*.json")):
            found |= set(UUID.findall(path.read_text())) if path.exists() else set()
        return found - {CLIENT}

    def state(self) -> dict[str, Any]:
        """Return what is on the disk, without what differs from run to run."""
        shell = self.shell
        files = {p.name: p.read_text() for p in (shell.lock, shell.pools) if p.exists()}
        for path in sorted(shell.config_dir.glob("*/*")):
            if path.parent.name != ".chiltepin" and not path.name.startswith((TEMPORARY, "daemon.pid", "endpoint.log")):
                files[str(path.relative_to(shell.config_dir))] = _substance(path)
        trash = shell.config_dir / ".chiltepin" / "trash"
        kept = sorted(p.name.partition("~")[0] for p in trash.glob("*/endpoint")) if trash.exists() else []
        lineage = yaml.safe_load(files[shell.lock.name])["lineage"] if shell.lock.name in files else "none"
        return {name: text.replace(lineage, "lineage") for name, text in files.items()} | {"trash": kept}

    def assert_whole(self, *, torn: bool = False) -> None:
        """Every document is whole, and no directory is half made; with `torn`, half a line may end the journal."""
        shell = self.shell
        if shell.lock.exists():
            read_lock(shell.lock.read_text(), "lock")
        if shell.pools.exists():
            assert isinstance(yaml.safe_load(shell.pools.read_text()), dict)
        for directory in shell.config_dir.iterdir():
            if directory.is_dir() and directory.name != ".chiltepin":
                yaml.safe_load((directory / "config.yaml").read_text())
                marker = directory / ".chiltepin.json"
                if marker.exists():
                    Marker.model_validate_json(marker.read_text())
        if shell.journal.exists():
            *lines, last = shell.journal.read_text().split("\n")
            assert [json.loads(line)["v"] for line in lines] == [1] * len(lines)
            assert torn or last == ""

    def leftovers(self) -> list[str]:
        """Return temporary files and unfinished builds, made to look old."""
        builds = self.shell.config_dir / ".chiltepin" / "new"
        found = [p for p in self.shell.base.rglob("*") if p.name.startswith(TEMPORARY) or p.parent == builds]
        for path in found:
            os.utime(path, (time.time() - 7200, time.time() - 7200))
        return [str(p) for p in found]


@pytest.fixture
def stage(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(elsewhere, "ABSENT_FOR", 0.2)  # nobody brings back a PID file here
    stage = Stage(shell, tmp_path / "kept")
    try:
        yield stage
    finally:
        stage.end_daemons()


def sweep(stage: Stage, name: str, trouble: Callable[[int, int], tuple[Trouble, str]], step: int) -> None:
    """Let every `step`-th change fail, until the command needs no further one; the scenarios are staggered."""
    scenario = SCENARIOS[name]
    arguments = scenario.prepare(stage.shell)
    stage.begin = scenario.begin
    stage.keep()
    assert stage.run(arguments).code == 0
    for more in scenario.then:
        assert stage.run(more).code == 0
    wanted = stage.state()
    if not scenario.gives_up:
        assert "No changes." in stage.run(("plan",)).text
    hits, number = 0, list(SCENARIOS).index(name)
    for at in itertools.count(sampled(stage.changes, step, number).start, step):
        stage.set()
        before = stage.ids()
        what, remedy = trouble(at, number + hits)
        told = stage.run(arguments, what)
        if not told.hit:
            if at > stage.changes:
                break
            continue
        hits += 1
        where = f"change {at}, {told.hit}: {told.text}"
        judge(told, remedy, where)
        stage.assert_whole(torn=what.lasting)  # what cannot be cut off now is cut off by the next run
        assert scenario.gives_up or before <= stage.ids(), where
        again = stage.run(arguments)
        assert again.code in scenario.again, where + again.text
        for more in scenario.then:
            assert stage.run(more).code == 0
        stage.assert_whole()
        assert differences(stage.state(), wanted) == {}, where + again.text
        clean_up(stage)
    assert hits, f"nothing failed in {stage.changes} changes"


def _substance(path: Path) -> str:
    """Return a file's text; of a marker, what does not depend on the way that led there."""
    if path.name != ".chiltepin.json":
        return path.read_text()
    return json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k not in ("files", "daemon")})


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {k: (one.get(k), other.get(k)) for k in one.keys() | other.keys() if one.get(k) != other.get(k)}


def judge(told: Told, remedy: str, where: str) -> None:
    """The command said what could not be done, where, why and what to do; or it could do without."""
    if told.code == 0:
        return
    assert told.code in (1, 3), where
    assert remedy in told.text, where
    assert "next: " in told.text, where
    assert "/home/.globus_compute" in told.text or "/project/" in told.text, where


def clean_up(stage: Stage) -> None:
    """Temporary files that could not be removed go with the next writes at their place."""
    if not stage.leftovers():
        return
    text = stage.shell.manifest.read_text()
    stage.shell.write(text.replace("{state: ", "{protect: true, state: "))
    assert stage.run(APPLY).code == 0
    assert stage.leftovers() == []


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_write_fails_once(stage: Stage, scenario: str) -> None:
    sweep(stage, scenario, once, STEP_OF_KINDS)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_disk_fails_from_some_write_on(stage: Stage, scenario: str) -> None:
    sweep(stage, scenario, from_then_on, 2 * STEP_OF_KINDS)


@pytest.mark.parametrize("scenario", ["change", "stale PID file"])
def test_the_endpoint_directory_vanishes_before_some_write(stage: Stage, scenario: str) -> None:
    """Somebody moves it away: that is said, and the next apply makes it again with its UUID."""
    shell = stage.shell
    arguments = SCENARIOS[scenario].prepare(shell)
    shell.stub.script[STATUS] = [Reply(200, {"status": "offline"})]
    directory = shell.config_dir / "main"
    stage.keep()
    for at in itertools.count(1, 2 * STEP):
        stage.set()
        shutil.rmtree(shell.base / "vanished", ignore_errors=True)
        told = stage.run(arguments, Trouble(at, 0, vanishes=directory))
        if not told.hit:
            assert at > 10, "so few changes?"
            return
        where = f"change {at}, {told.hit}: {told.text}"
        assert told.code in (0, 1, 3, 5), where
        assert told.code in (0, 5) or "the directory is not there (any more)" in told.text, where
        stage.assert_whole()
        assert ENDPOINT in shell.lock.read_text(), where
        again = stage.run(APPLY)
        assert again.code == 0, where + again.text
        assert "No changes." in stage.run(("plan",)).text
        assert json.loads((directory / ".chiltepin.json").read_text())["id"] == ENDPOINT
