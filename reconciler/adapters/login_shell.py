"""What the site sets up for everybody, as a login shell without any user file reports it."""

from __future__ import annotations

import os
import signal
import time

from reconciler.adapters import machine
from reconciler.core.environment import is_kept, is_session, variable
from reconciler.core.machine import LoginShell
from reconciler.core.redact import redact
from reconciler.errors import EndpointCommandError

TIME_LIMIT = 60.0
"""Seconds; a site's profile scripts may initialise modules from a slow file system."""

_LARGEST = 4 << 20
_NO_HOME = "/nonexistent"
# PATH by itself: `env` might not be there.
_SCRIPT = '{ printf "%s\\0" "$PATH"; /usr/bin/env -0; } >"/dev/fd/$1"'


def ask() -> LoginShell:
    """Return PATH and the other variables of a login shell that may reach a daemon, but for secrets.

    Its home is not there: then no file of the user's adds to it, and nothing has to be written, not even a temporary
    directory. The answer comes through a pipe of its own, because profile scripts may print anything.

    Raises:
        EndpointCommandError: there is no bash, or it failed, or it did not end in time.
    """
    import shutil  # noqa: PLC0415  # asked for only when an endpoint has no pinned PATH yet

    bash = shutil.which("bash") or "/bin/bash"
    try:
        with _Pipe(_LARGEST) as answer, _Pipe(2000) as complaints:
            line = (bash, "-l", "-c", _SCRIPT, "bash", str(answer.inner))
            code = _run(line, answer, complaints)
    except OSError as e:
        raise _failure(f"it cannot be run: {e.strerror or e}", (bash, "-l")) from e
    said = complaints.end.decode("utf-8", "replace")
    path, *others = answer.end.decode("utf-8", "surrogateescape").split("\0")
    if not path or len(answer.end) == _LARGEST:
        raise _failure(f"it ended with code {code} and named no PATH", line, code, said)
    pairs = (other.partition("=") for other in others)
    found = {name: value for name, _, value in pairs if is_kept(name) or is_session(name)}
    return LoginShell(path, {name: value for name, value in found.items() if variable(name, value).value})


class _Pipe:
    """What a child writes, of which the end is kept; the child may leave processes behind that hold it open."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self.end = b""
        self.outer, self.inner = os.pipe()
        os.set_blocking(self.outer, False)

    def __enter__(self) -> _Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.outer)
        self.child_has_it()

    def child_has_it(self) -> None:
        """Close our own side of it."""
        if self.inner >= 0:
            os.close(self.inner)
            self.inner = -1

    def drain(self) -> bool:
        """Take what is there, or much of it; say whether there may be more later."""
        for _ in range(100):
            try:
                part = os.read(self.outer, 1 << 16)
            except BlockingIOError:
                return True
            if not part:
                return False
            self.end = (self.end + part)[-self._keep :]
        return True


def _run(line: tuple[str, ...], answer: _Pipe, complaints: _Pipe) -> int:
    import select  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    user = machine.facts().user
    shell = subprocess.Popen(
        line,
        env={"HOME": _NO_HOME, "USER": user, "LOGNAME": user, "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=complaints.inner,
        pass_fds=(answer.inner,),
        cwd="/",
        start_new_session=True,
    )
    deadline = time.monotonic() + TIME_LIMIT
    open_pipes = [answer, complaints]
    for pipe in open_pipes:
        pipe.child_has_it()
    pause = 0.001
    while shell.poll() is None:
        if time.monotonic() > deadline:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            raise _failure(f"it did not end within {TIME_LIMIT:.0f} seconds", line)
        select.select([pipe.outer for pipe in open_pipes], [], [], pause)
        pause = min(pause * 2, 0.05)
        open_pipes = [pipe for pipe in open_pipes if pipe.drain()]
    for pipe in open_pipes:
        pipe.drain()
    return shell.returncode


def _failure(why: str, line: tuple[str, ...], code: int | None = None, output: str = "") -> EndpointCommandError:
    said = redact(output).strip()
    return EndpointCommandError(
        "the login shell's PATH could not be had",
        command=line,
        code=code,
        output=said,
        why=f"{why}; it said: {said.splitlines()[-1]}" if said else why,
        remedy="write the PATH that user endpoints need into the manifest (`user_environment: {PATH: ...}`)",
    )
