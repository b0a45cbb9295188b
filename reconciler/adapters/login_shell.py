"""The PATH that the site sets up for everybody, as a login shell without any user file reports it."""

from __future__ import annotations

import os
import signal

from reconciler.adapters import machine
from reconciler.errors import EndpointCommandError

TIME_LIMIT = 60.0
"""Seconds; a site's profile scripts may initialise modules from a slow file system."""

_BEGIN, _END = "<chiltepin-path:", ":chiltepin-path>"


def path() -> str:
    """Return the login PATH.

    Profile scripts may print anything before, so that the value is taken from between two marks. HOME
    is an empty directory: then no file of the user's adds to it.

    Raises:
        EndpointCommandError: there is no bash, or it failed, or it did not end in time.
    """
    import shutil  # noqa: PLC0415  # asked for only when an endpoint has no pinned PATH yet
    import subprocess  # noqa: PLC0415
    import tempfile  # noqa: PLC0415

    line = (shutil.which("bash") or "/bin/bash", "-l", "-c", f'printf "%s" "{_BEGIN}$PATH{_END}"')
    user = machine.facts().user
    with tempfile.TemporaryDirectory(prefix="chiltepin-home-") as home:
        try:
            shell = subprocess.Popen(
                line,
                env={"HOME": home, "USER": user, "LOGNAME": user, "TERM": "dumb"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                start_new_session=True,
            )
        except OSError as e:
            raise _failure(f"it cannot be run: {e.strerror or e}", line) from e
        try:
            out, err = shell.communicate(timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired as e:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.communicate()
            raise _failure(f"it did not end within {TIME_LIMIT:.0f} seconds", line) from e
    _, begun, rest = out.decode("utf-8", "replace").rpartition(_BEGIN)
    found, ended, _ = rest.partition(_END)
    if not begun or not ended or not found:
        raise _failure(
            f"it ended with code {shell.returncode} and named no PATH",
            line,
            shell.returncode,
            err.decode("utf-8", "replace")[-2000:],
        )
    return found


def _failure(why: str, line: tuple[str, ...], code: int | None = None, output: str = "") -> EndpointCommandError:
    return EndpointCommandError(
        "the login shell's PATH could not be had",
        command=line,
        code=code,
        output=output,
        why=why,
        remedy="write the PATH that user endpoints need into the manifest (`user_environment: {PATH: ...}`)",
    )
