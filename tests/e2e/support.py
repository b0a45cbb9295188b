"""A user of the sandbox, with a home, a project directory and the `chiltepin` command, as tests need one.

What is looked at is looked at independently of the reconciler: processes in /proc, files on the disk,
registrations at the service.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reconciler.sandbox import lifecycle
from tests.e2e.evidence import evidence
from tests.sandbox import support
from tests.sandbox.support import Api, other_api, unprivileged, wait_for

BIN = Path(sys.executable).parent
HEARTBEAT = 5
TITLE = re.compile(r"Globus Compute Endpoint \*\(([0-9a-f-]{36}), (\S+?)\)")

WORKFLOW = """
import sys
from chiltepin import Workflow
from chiltepin.tasks import python_task

@python_task
def variable(name):
    import os
    return os.environ.get(name, "")

if __name__ == "__main__":
    with Workflow("chiltepin.pools.yaml", run_dir="runs"):
        asked = [pair.split(":") for pair in sys.argv[1:]]
        futures = [(pool, variable(name, executor=[pool])) for pool, name in asked]
        for pool, future in futures:
            print(f"{pool}={future.result(timeout=180)}", flush=True)
"""


def manifest(
    *names: str,
    endpoints: Mapping[str, Any] | None = None,
    pools: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    stack: str = "e2e",
    **more: Any,
) -> str:
    """Return a manifest with these endpoints: plain ones by name, others with their block.

    Heartbeats are quick, and nothing waits for idleness unless a block says otherwise.
    """
    defaults = {"restart": "now", "config": {"heartbeat_period": HEARTBEAT, **(config or {})}}
    blocks = {**{name: {} for name in names}, **(endpoints or {})}
    document = {"version": 1, "stack": stack, "defaults": {"endpoint": defaults}, "endpoints": blocks}
    return yaml.safe_dump({**document, "pools": dict(pools or {}), **more}, sort_keys=False)


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


@dataclass(frozen=True)
class User:
    """One user with an identity of their own at the sandbox."""

    base: Path
    state: Path
    environ: Mapping[str, str]
    api: Api

    # places

    @property
    def home(self) -> Path:
        return self.base / "home"

    @property
    def project(self) -> Path:
        return self.base / "project"

    @property
    def config_dir(self) -> Path:
        return self.home / ".globus_compute"

    @property
    def manifest(self) -> Path:
        return self.project / "chiltepin.yaml"

    @property
    def lock_file(self) -> Path:
        return self.project / "chiltepin.lock.yaml"

    @property
    def pools_file(self) -> Path:
        return self.project / "chiltepin.pools.yaml"

    @property
    def lease_file(self) -> Path:
        return self.config_dir / ".chiltepin" / "lease.json"

    def directory(self, name: str) -> Path:
        return self.config_dir / name

    # commands

    def as_user(self, command: list[str]) -> list[str]:
        """Return the command line that runs `command` as this user."""
        return unprivileged(command)

    def spawn(
        self, *command: str, environ: Mapping[str, str] | None = None, group: bool = False
    ) -> subprocess.Popen[str]:
        """Start a command as this user, with `group` as the first of a process group; the caller waits for it."""
        return subprocess.Popen(
            self.as_user(list(command)),
            env={**self.environ, **(environ or {})},
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=group,
        )

    def run(self, *command: str, environ: Mapping[str, str] | None = None, seconds: float = 200) -> Done:
        with self.spawn(*command, environ=environ) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            except BaseException:
                process.kill()
                raise
        return Done(process.returncode, out, err)

    def chiltepin(self, *arguments: str, expect: int | None = 0, environ: Mapping[str, str] | None = None) -> Done:
        """Run `chiltepin`; fail unless it ends with `expect` (None: whatever)."""
        done = self.run(str(BIN / "chiltepin"), *arguments, environ=environ)
        assert expect is None or done.code == expect, f"chiltepin {' '.join(arguments)}: {done}"
        return done

    def at_a_terminal(self, typed: str, *arguments: str) -> int:
        """Run `chiltepin` with a terminal as its input, at which `typed` is typed; return its exit code."""
        ours, theirs = pty.openpty()
        try:
            os.write(ours, typed.encode())
            command = self.as_user([str(BIN / "chiltepin"), *arguments])
            done = subprocess.run(
                command, env=self.environ, cwd=self.project, stdin=theirs, capture_output=True, timeout=200, check=False
            )
        finally:
            os.close(ours)
            os.close(theirs)
        return done.returncode

    def apply(self, *options: str, expect: int | None = 0, environ: Mapping[str, str] | None = None) -> Done:
        return self.chiltepin("apply", "--yes", *options, expect=expect, environ=environ)

    def plan(self, *options: str, expect: int | None = 0, environ: Mapping[str, str] | None = None) -> str:
        return self.chiltepin("plan", *options, expect=expect, environ=environ).out

    def killed_at(self, point: str, *command: str) -> None:
        """Run a command that must die at a fault point."""
        done = self.chiltepin(*(command or ("apply", "--yes")), expect=None, environ={"CHILTEPIN_FAULT": point})
        assert done.code == -signal.SIGKILL, f"{point} was not reached: {done}"

    def planned(self, *options: str, expect: int = 0) -> list[tuple[str, str, str]]:
        """Return the planned actions as (endpoint, kind, cause)."""
        document = json.loads(self.plan("--format", "json", *options, expect=expect))
        return [(a.get("endpoint") or "", a["kind"], a["cause"]) for a in document["actions"]]

    def workflow(self, *asked: str) -> dict[str, str]:
        """Ask an environment variable of tasks, each `pool:VARIABLE`, through upstream's Workflow."""
        script = self.project / "workflow.py"
        script.write_text(WORKFLOW)
        done = self.run(sys.executable, str(script), *asked)
        assert done.code == 0, "\n".join((str(done), *self.evidence()))
        return dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)

    # files

    def write(self, text: str) -> None:
        self.manifest.write_text(text)

    def locked(self) -> dict[str, Any]:
        return yaml.safe_load(self.lock_file.read_text()) if self.lock_file.exists() else {"endpoints": {}}

    def marker(self, name: str) -> dict[str, Any]:
        return json.loads((self.directory(name) / ".chiltepin.json").read_text())

    def known_ids(self, name: str) -> set[str]:
        """Return every UUID that any file of ours or the endpoint's records for it."""
        found = {self.locked()["endpoints"].get(name, {}).get("id"), support.endpoint_id(self.directory(name))}
        with contextlib.suppress(FileNotFoundError):
            found.add(self.marker(name)["id"])
        return {uuid for uuid in found if uuid}

    def workflow_pools(self) -> dict[str, str | None]:
        """Return the pools of the pools file with their endpoints' UUIDs."""
        pools = yaml.safe_load(self.pools_file.read_text()) or {}
        return {name: pool.get("endpoint") for name, pool in pools.items()}

    def config(self, name: str) -> dict[str, Any]:
        return yaml.safe_load((self.directory(name) / "config.yaml").read_text())

    def snapshot(self, *names: str) -> dict[str, tuple[bytes, int]]:
        """Return content and time of change of the declared files, of these endpoints and of the project.

        What a daemon writes by itself (its log, the touch of its PID file) is left out.
        """
        places = [self.directory(name) for name in names] + [self.lock_file, self.pools_file]
        files = [f for p in places for f in ([p] if p.is_file() else sorted(p.iterdir()))]
        chosen = [f for f in files if f.suffix not in (".log", ".pid")]
        return {str(f): (f.read_bytes(), f.stat().st_mtime_ns) for f in chosen}

    # processes and registrations

    def processes(self) -> dict[int, str]:
        """Return all processes that belong to this user's home or project, by PID with their title."""
        return dict(_processes_below(self.base))

    def evidence(self) -> Iterator[str]:
        """Yield lines on what this user's processes do, and on what their logs and the journal say."""
        return evidence(self.processes(), self.config_dir)

    def daemons(self, name: str) -> list[int]:
        """Return the PIDs of the core endpoints of this name.

        What one has just forked (a user endpoint) carries its title until it is executed, and is none.
        """
        found = {pid: TITLE.match(title) for pid, title in self.processes().items()}
        named = {pid for pid, match in found.items() if match and match[2] == name}
        return sorted(pid for pid in named if _parent(pid) not in named)

    def daemon(self, name: str) -> int:
        """Return the PID of the one daemon of this name."""
        (pid,) = self.daemons(name)
        return pid

    def kill(self, name: str) -> int:
        """End a daemon as a crash does, with everything below it; return its PID."""
        pid = self.daemon(name)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.daemons(name), f"{name} is dead")
        return pid

    def registrations(self) -> dict[str, str]:
        """Return the identity's registrations at the service: UUID to name."""
        return {e["uuid"]: e["name"] for e in self.api.call("GET", "/v2/endpoints?role=owner").json()}

    def online(self, uuid: str) -> bool:
        return bool(self.api.call("GET", f"/v2/endpoints/{uuid}/status").json().get("status") == "online")

    def id(self, name: str) -> str:
        """Return the UUID of an endpoint on which lock, marker and endpoint.json agree."""
        (uuid,) = self.known_ids(name)
        return uuid

    def assert_converged(self, *names: str) -> None:
        """Assert the fixpoint: every endpoint runs once, is registered once and online; nothing is left to do."""
        registered = self.registrations()
        assert sorted(registered.values()) == sorted(names)
        for name in names:
            uuid = self.id(name)
            assert registered[uuid] == name
            title = self.processes()[self.daemon(name)]
            assert TITLE.match(title)[1] == uuid  # type: ignore[index]
            assert self.online(uuid)
            assert self.locked()["endpoints"][name]["id"] == self.marker(name)["id"] == uuid
        assert "No changes" in self.plan("--detailed-exitcode")
        assert not self.lease_file.exists()

    def assert_online_once(self, name: str, uuid: str) -> None:
        """Assert that one daemon of this name runs, under this UUID, and that no other registration was made."""
        assert self.id(name) == uuid
        assert [u for u, n in self.registrations().items() if n == name] == [uuid]
        assert TITLE.match(self.processes()[self.daemon(name)])[1] == uuid  # type: ignore[index]
        assert self.online(uuid)

    def end(self) -> None:
        """End everything that this user still runs, by PID."""
        deadline = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        assert not left, f"still running: {left}"


def _processes_below(base: Path) -> Iterator[tuple[int, str]]:
    needle = os.fsencode(base)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # A process that ends meanwhile, or another user's, is none of ours.
        with contextlib.suppress(OSError):
            title = (entry / "cmdline").read_bytes()
            if (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX":
                continue
            if (
                needle in title
                or needle in _environment(entry)
                or _works_in(entry, base)
                or _logs_to(entry, title, base)
            ):
                yield int(entry.name), os.fsdecode(title).replace("\0", " ").strip()


def _parent(pid: int) -> int | None:
    """Return a process's parent's PID, None when it has ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return None


def _environment(entry: Path) -> bytes:
    with contextlib.suppress(OSError):
        return (entry / "environ").read_bytes()
    return b""


def _works_in(entry: Path, base: Path) -> bool:
    with contextlib.suppress(OSError):
        return (entry / "cwd").readlink().is_relative_to(base)
    return False


def _logs_to(entry: Path, title: bytes, base: Path) -> bool:
    """Whether this is an engine's interchange with a log in `base`: neither its title nor its directory says whose."""
    if not title.startswith(b"parsl:"):
        return False
    for descriptor in (entry / "fd").iterdir():
        with contextlib.suppress(OSError):
            if descriptor.readlink().is_relative_to(base):
                return True
    return False


@contextlib.contextmanager
def sandbox_service(**options: Any) -> Iterator[Path]:
    """Run a sandbox on port 5000; yield its state directory."""
    base = Path(tempfile.mkdtemp(prefix="e2e-service-"))
    try:
        with support.port_5000() as port, support.sandbox(base / "state", port, **options):
            yield base / "state"
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextlib.contextmanager
def sandbox_user(state: Path, **variables: str) -> Iterator[User]:
    """Make a user with an identity of their own; nothing of theirs runs afterwards."""
    # A short path: engines put Unix sockets below it, and their paths are limited to 107 bytes.
    base = Path(tempfile.mkdtemp(prefix="e2e-"))
    api = other_api(state)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GLOBUS", "ACADEMY", "CHILTEPIN"))}
    environ = {
        **inherited,
        **lifecycle.environment(state),
        "GLOBUS_COMPUTE_CLIENT_ID": api.client[0],
        "GLOBUS_COMPUTE_CLIENT_SECRET": api.client[1],
        "ACADEMY_HOME": str(base / "academy"),
        "HOME": str(base / "home"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        **variables,
    }
    user = User(base, state, environ, api)
    user.home.mkdir()
    user.project.mkdir()
    try:
        yield user
    finally:
        user.end()
        shutil.rmtree(base, ignore_errors=True)
