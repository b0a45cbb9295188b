"""Every error a user can meet, with its exit code and its remedy.

Each class answers four questions: what went wrong (``what``), where (``where``: a file position, a
directory, a URL), why (``why``) and what to do next (``remedy``). Only ``reconciler.cli`` prints
them; everything below it raises them. An exception that is not one of these is a bug and ends with
``ExitCode.BUG``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

UPGRADE = "upgrade chiltepin-reconciler: `git pull`, then `pip install .`, in a clone of its repository"
"""The remedy for what a newer version wrote; the package is on no index."""


class ExitCode(IntEnum):
    """Process exit codes; each number has one meaning everywhere."""

    OK = 0
    FAILED = 1
    CHANGES = 2
    PARTIAL = 3
    REFUSED = 4
    DEFERRED = 5
    USAGE = 64
    INVALID_MANIFEST = 65
    UNREACHABLE = 69
    BUG = 70
    LEASE_HELD = 75
    LOGIN = 77
    INTERRUPTED = 130


# When a run ends with several outcomes, the first of these that occurred is the exit code.
EXIT_PRECEDENCE: tuple[ExitCode, ...] = (
    ExitCode.BUG,
    ExitCode.INTERRUPTED,
    ExitCode.LOGIN,
    ExitCode.LEASE_HELD,
    ExitCode.UNREACHABLE,
    ExitCode.FAILED,
    ExitCode.REFUSED,
    ExitCode.PARTIAL,
    ExitCode.DEFERRED,
)


def combine_exit_codes(codes: set[ExitCode]) -> ExitCode:
    """Return the one exit code that stands for all of `codes` (OK for an empty set)."""
    for code in EXIT_PRECEDENCE:
        if code in codes:
            return code
    rest = sorted(codes - {ExitCode.OK})
    return rest[0] if rest else ExitCode.OK


class ReconcilerError(RuntimeError):
    """Base of all errors that a user can cause or meet.

    A RuntimeError, because that is what users of Chiltepin's endpoint module expect.

    Args:
        what: one sentence, what went wrong.
        where: the file position, directory, endpoint or URL concerned.
        why: the reason, as far as known (may quote another program's words).
        remedy: what the user can do next, as a command where there is one.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(
        self, what: str, *, where: str | None = None, why: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.why:
            parts.append(self.why)
        if self.remedy:
            parts.append(f"next: {self.remedy}")
        return "\n  ".join(parts)


class UsageError(ReconcilerError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = ExitCode.USAGE


class Refused(ReconcilerError):
    """A guard refused: doing it could lose or double something."""

    exit_code = ExitCode.REFUSED


class Overtaken(Refused):
    """What it was decided on is no longer so: done now, it could lose or double something. Plan again."""


class StateFileError(ReconcilerError):
    """A lock, marker, journal or plan file cannot be read, is damaged, or is of a newer version."""

    exit_code = ExitCode.REFUSED


class FileSystemError(ReconcilerError):
    """The file system refused a read or a write: permissions, a full disk, a quota, an I/O error."""

    exit_code = ExitCode.FAILED


class NoMoreThreads(ReconcilerError):
    """The system gives this user no more threads: a limit on processes, or memory that is used up."""


class EndpointCommandError(ReconcilerError):
    """globus-compute-endpoint is missing, of an unsupported version, or failed.

    Args:
        command: the command line, without secrets.
        code: its exit code, if it ran.
        output: its last lines of output, without secrets.
    """

    exit_code = ExitCode.FAILED

    def __init__(
        self,
        what: str,
        *,
        command: tuple[str, ...] = (),
        code: int | None = None,
        output: str = "",
        where: str | None = None,
        why: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(what, where=where, why=why, remedy=remedy)
        self.command = command
        self.code = code
        self.output = output


class TimedOut(EndpointCommandError):
    """A daemon did not come up, or did not end, in the time that it was given."""


class ServiceUnreachable(ReconcilerError):
    """The service could not be asked; this says nothing about what exists there."""

    exit_code = ExitCode.UNREACHABLE


class ServiceRefused(ReconcilerError):
    """The service was reached and refused the request.

    Args:
        status: the HTTP status of its reply.
    """

    exit_code = ExitCode.FAILED

    def __init__(
        self,
        what: str,
        *,
        status: int,
        where: str | None = None,
        why: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(what, where=where, why=why, remedy=remedy)
        self.status = status


class SchedulerError(ReconcilerError):
    """The batch system could not be asked; this says nothing about what is in its queue."""


class LoginRequired(ReconcilerError):
    """No usable login, or the login is of another identity."""

    exit_code = ExitCode.LOGIN


class LeaseHeld(ReconcilerError):
    """Another apply works on the same config directory."""

    exit_code = ExitCode.LEASE_HELD


class Interrupted(ReconcilerError):
    """The user pressed Ctrl-C (or a SIGTERM arrived); what was done is on record."""

    exit_code = ExitCode.INTERRUPTED
