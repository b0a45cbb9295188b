"""A user at a shell: a project, a home, a config directory, a service on loopback, and `chiltepin` run in-process."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters import machine
from reconciler.cli.main import run
from tests.adapters.globus_stub import CLIENT, ENDPOINT, SECRET, GlobusStub
from tests.adapters.host_support import fake_environment

ROOT = Path(__file__).resolve().parents[2]
OTHER_ENDPOINT = "4e8a2ccc-3a3e-4b53-a5f6-6a3f0d0d2f7a"
NOBODY = 65534

HEAD = "version: 1\nstack: demo\n"
ONE = HEAD + "endpoints:\n  main: {state: stopped}\n"
"""A manifest that `apply` can do without starting a daemon."""
POOLED = ONE + "pools:\n  serial: {endpoint: main, provider: localhost}\n"
RENAMED = POOLED.replace("stopped}", "stopped, config: {display_name: Renamed}}")

Tree = dict[str, tuple[str, int, str]]


def tree(*roots: Path) -> Tree:
    """Return every path below the roots with its kind, its permission bits, and what it holds."""
    found: Tree = {}
    for root in roots:
        for path in [root, *sorted(root.rglob("*"))] if root.is_dir() and not root.is_symlink() else [root]:
            info = os.lstat(path) if os.path.lexists(path) else None
            found[str(path)] = _describe(path, info) if info else ("absent", 0, "")
    return found


def _describe(path: Path, info: os.stat_result) -> tuple[str, int, str]:
    mode = stat.S_IMODE(info.st_mode)
    if stat.S_ISLNK(info.st_mode):
        return ("link", 0, str(path.readlink()))
    if stat.S_ISDIR(info.st_mode):
        return ("directory", mode, "")
    if not stat.S_ISREG(info.st_mode):
        return ("special", mode, "")
    content = path.read_bytes() if os.access(path, os.R_OK) else f"unreadable, {info.st_size} bytes".encode()
    return ("file", mode, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    def says(self, *words: str) -> Done:
        """Check that each of `words` was said; line breaks do not matter."""
        said = " ".join(self.text.split())
        for word in words:
            assert word in said, f"{word!r} was not said:\n{self.text}"
        return self


@dataclass(frozen=True)
class Shell:
    """Where a user works.

    Attributes:
        base: everything of the user lies below it.
        capture: pytest's capture of what is printed.
        stub: the service.
    """

    base: Path
    capture: pytest.CaptureFixture[str]
    stub: GlobusStub
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        return self.base / "project"

    @property
    def home(self) -> Path:
        return self.base / "home"

    @property
    def tool(self) -> Path:
        return self.base / "tool"

    @property
    def config_dir(self) -> Path:
        return self.home / ".globus_compute"

    @property
    def manifest(self) -> Path:
        return self.project / "chiltepin.yaml"

    @property
    def lock(self) -> Path:
        return self.project / "chiltepin.lock.yaml"

    @property
    def pools(self) -> Path:
        return self.project / "chiltepin.pools.yaml"

    @property
    def marker(self) -> Path:
        return self.config_dir / "main" / ".chiltepin.json"

    @property
    def journal(self) -> Path:
        return self.config_dir / ".chiltepin" / "journal.jsonl"

    def write(self, content: str | bytes) -> None:
        self.manifest.write_bytes(content.encode() if isinstance(content, str) else content)

    def tree(self) -> Tree:
        """Return everything but the token store: renewing a token is no change."""
        return {path: found for path, found in tree(self.base).items() if not path.endswith("/storage.db")}

    def run(self, *arguments: str) -> Done:
        """Run one command line; whatever it ends with, it is no bug and shows no traceback."""
        self.capture.readouterr()
        code = run(list(arguments))
        done = Done(code, *self.capture.readouterr())
        assert "Traceback" not in done.text, done.text
        assert code != 70, done.text
        return done

    def ok(self, *arguments: str) -> Done:
        done = self.run(*arguments)
        assert done.code == 0, done.text
        return done

    def refused(self, *arguments: str, code: int, says: tuple[str, ...] = ()) -> Done:
        """Run a command that must end with `code`, say `says`, and change nothing at all."""
        before = self.tree()
        done = self.run(*arguments)
        assert done.code == code, f"exit code {done.code}, not {code}:\n{done.text}"
        assert self.tree() == before
        assert self.stub.compute_methods() <= {"GET"}
        return done.says(*says)

    def apply(self, *options: str) -> Done:
        return self.ok("apply", "--yes", *options)

    def register(self, endpoint_id: str = ENDPOINT, name: str = "main") -> None:
        """Let the service know a registration."""
        item = {"uuid": endpoint_id, "name": name, "display_name": None, "owner": CLIENT}
        self.stub.listing = [*self.stub.listing, item]

    def registered(self, manifest: str = POOLED) -> None:
        """Apply `manifest`, and let its endpoint `main` have been started once."""
        self.write(manifest)
        self.apply()
        self.register()
        (self.config_dir / "main" / "endpoint.json").write_text(f'{{"endpoint_id": "{ENDPOINT}"}}')
        self.apply()


@contextmanager
def shell_at(
    base: Path, capture: pytest.CaptureFixture[str], stub: GlobusStub, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    """Make a user below `base`, logged in as a client, and be in their project."""
    shell = Shell(base, capture, stub)
    stub.says = "offline"  # no daemon is ever started here
    for directory in (shell.project, shell.config_dir):
        directory.mkdir(parents=True)
    shell.config_dir.chmod(0o700)
    make_tool(shell.tool)
    for name, value in environment(shell).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(shell.project)
    machine.facts.cache_clear()  # who we are and where our home is holds for a process, not for a test
    yield shell
    logging.getLogger("reconciler").handlers.clear()  # of --verbose


def make_tool(prefix: Path) -> None:
    """Make an environment with a globus-compute-endpoint that every user can see; it is never run."""
    fake_environment(prefix)
    python = prefix / "bin" / "python"
    python.unlink()
    for program in (python, prefix / "bin" / "globus-compute-endpoint"):
        program.write_text(f"#!{python}\n" if program != python else "#!/bin/false\n")
        program.chmod(0o755)


def environment(shell: Shell) -> Mapping[str, str]:
    """Return the variables of a client that is logged in at the stub."""
    login = {"GLOBUS_COMPUTE_CLIENT_ID": CLIENT, "GLOBUS_COMPUTE_CLIENT_SECRET": SECRET}
    path = f"{shell.tool}/bin:/usr/bin:/bin"
    return {"HOME": str(shell.home), "PATH": path, **shell.stub.environment(), **login}


@contextmanager
def as_ordinary_user(base: Path) -> Iterator[None]:
    """Be a user whom permissions bind: for root, nobody, who then owns everything below `base`."""
    if os.getuid() != 0:
        yield
        return
    for path in [base, *base.rglob("*")]:
        os.lchown(path, NOBODY, NOBODY)
    machine.facts.cache_clear()
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        machine.facts.cache_clear()


def json_of(done: Done) -> Any:
    """Return the JSON document that is all of stdout."""
    return json.loads(done.out)


def chiltepin(*arguments: str) -> list[str]:
    """Return the command line of a `chiltepin` in a process of its own."""
    # A background job of a shell ignores Ctrl-C, and so would its children; a terminal's program does not.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    return [sys.executable, "-c", f"{heed}; from reconciler.cli import main; main()", *arguments]


def environ(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}
