"""What the site sets up for everybody, as a login shell without any user file reports it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from reconciler.adapters import machine
from reconciler.core.environment import is_kept, is_session, variable
from reconciler.core.machine import LoginShell
from reconciler.core.redact import redact
from reconciler.errors import EndpointCommandError

TIME_LIMIT = 60.0
"""Seconds; a site's profile scripts may initialise modules from a slow file system."""

# PATH by itself: `env` might not be there.
_SCRIPT = '{ printf "%s\\0" "$PATH"; /usr/bin/env -0; } >"$1"'


def ask() -> LoginShell:
    """Return PATH and the other variables of a login shell that may reach a daemon, but for secrets.

    HOME is an empty directory: then no file of the user's adds to it. The answer goes to a file, because profile
    scripts may print anything, and what they start in the background may hold the output open.

    Raises:
        EndpointCommandError: there is no bash, or it failed, or it did not end in time.
    """
    import shutil  # noqa: PLC0415  # asked for only when an endpoint has no pinned PATH yet
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="chiltepin-home-", ignore_cleanup_errors=True) as home:
        answer, complaints = Path(home, ".answer"), Path(home, ".complaints")
        line = (shutil.which("bash") or "/bin/bash", "-l", "-c", _SCRIPT, "bash", str(answer))
        code = _run(line, home, complaints)
        content = answer.read_bytes() if answer.exists() else b""
        said = complaints.read_bytes()[-2000:].decode("utf-8", "replace")
    path, *others = content.decode("utf-8", "surrogateescape").split("\0")
    if not path:
        raise _failure(f"it ended with code {code} and named no PATH", line, code, said)
    pairs = (other.partition("=") for other in others)
    found = {name: value for name, _, value in pairs if is_kept(name) or is_session(name)}
    return LoginShell(path, {name: value for name, value in found.items() if variable(name, value).value})


def _run(line: tuple[str, ...], home: str, complaints: Path) -> int:
    import subprocess  # noqa: PLC0415

    user = machine.facts().user
    with complaints.open("wb") as stderr:
        try:
            shell = subprocess.Popen(
                line,
                env={"HOME": home, "USER": user, "LOGNAME": user, "TERM": "dumb"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd="/",
                start_new_session=True,
            )
        except OSError as e:
            raise _failure(f"it cannot be run: {e.strerror or e}", line) from e
        try:
            return shell.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired as e:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            raise _failure(f"it did not end within {TIME_LIMIT:.0f} seconds", line) from e


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
