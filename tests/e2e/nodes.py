"""Login nodes that share a home: a host name and processes of their own each, on one network and one file system."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from tests.e2e.support import User
from tests.sandbox.support import wait_for

_NAMESPACES = ("--uts", "--pid", "--mount")


@dataclass(frozen=True)
class OnNode(User):
    """A user who is logged in on one of several nodes; `init` is the node's first process."""

    node: str = ""
    init: int = 0

    def as_user(self, command: list[str]) -> list[str]:
        into = ["nsenter", f"--target={self.init}", "--user", "--preserve-credentials", *_NAMESPACES]
        # A process that enters another mount namespace is in its root directory.
        return [*into, "sh", "-c", 'cd "$0" && exec "$@"', str(self.project), *command]

    def crash(self) -> None:
        """Let the node go down with everything that runs on it."""
        os.kill(self.init, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{self.init}/ns/pid").exists(), f"{self.node} is down")


@contextlib.contextmanager
def node_of(user: User, name: str, *, home: Path | None = None) -> Iterator[OnNode]:
    """Boot a node on which the user is logged in; it goes down at the end, with all that runs on it.

    Args:
        home: what lies there in the place of the user's home directory.
    """
    mounts = f"mount --bind {home} {user.home} && " if home else ""
    inside = f"hostname {name} && {mounts}mount -t proc proc /proc && echo up && exec sleep infinity"
    unshare = ["unshare", *_NAMESPACES, "--fork", "--kill-child"]
    if os.getuid() == 0:
        unshare += ["--user", "--map-user=65534", "--map-group=65534"]
    else:
        unshare += ["--user", "--map-current-user"]
    with subprocess.Popen(
        [*unshare, "--keep-caps", "sh", "-c", inside],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as parent:
        try:
            assert parent.stdout is not None
            said = parent.stdout.readline()
            if said != "up\n":
                pytest.skip(f"this kernel gives an ordinary user no namespaces: {said.strip()}")
            init = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
            values = {field.name: getattr(user, field.name) for field in fields(User)}
            yield OnNode(**values, node=name, init=init)
        finally:
            parent.kill()  # with --kill-child, the node goes with it


_OFF = """
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {seconds}
time.time_ns = lambda: _time_ns() + {seconds} * 10**9
"""


def clock_off_by(user: User, seconds: int) -> Mapping[str, str]:
    """Return the variables that let Python read a clock that is off; the file server's (the kernel's) is right.

    Python runs `sitecustomize` before anything else. What a daemon starts with does not hold these variables.
    """
    directory = user.base / f"clock{seconds:+d}"
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(_OFF.format(seconds=seconds))
    return {"PYTHONPATH": str(directory)}
