"""The sandbox's state directory: what lies where, its secrets, and the record of the running server.

Standard library only: the command line reads this without importing the server.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import re
import secrets
import socket
import stat
import tempfile
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from reconciler.errors import FileSystemError, Refused, StateFileError
from reconciler.paths import absolute, exists, expanded, recordable

STATE_DIR_ENV = "CHILTEPIN_SANDBOX_DIR"
_T = TypeVar("_T")
_LARGEST = 1 << 20
_ANOTHER = "pass --state-dir with a directory of its own, which need not be there yet"
_PERMISSIONS = f"see that the directory is yours and its disk not full, or {_ANOTHER}"
# What a sandbox makes in its directory; of some there are temporary or earlier ones.
_OURS = re.compile(
    r"sandbox\.db(-wal|-shm|-journal)?|server\.(log|log\.1|lock|json)|lifecycle\.lock|credentials\.json"
    r"|\.(server|credentials)\.json\..*|academy"
)
DEFAULT_PORT = 5000  # globus_compute_sdk's environment `local` is fixed to it


def default_state_dir() -> Path:
    """Return the directory that CHILTEPIN_SANDBOX_DIR names, or ``~/.chiltepin-sandbox``.

    Raises:
        UsageError: it lies in a home directory that is not there.
    """
    named = os.environ.get(STATE_DIR_ENV)
    return expanded(named or "~/.chiltepin-sandbox")


@dataclass(frozen=True)
class Credentials:
    """The secrets of one sandbox, made once."""

    client_id: str
    client_secret: str = field(repr=False)
    admin_token: str = field(repr=False)
    amqp_key: str = field(repr=False)

    def amqp_password(self, user: str) -> str:
        """Derive the password of a broker user, so that none has to be stored."""
        return hmac.new(self.amqp_key.encode(), user.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class ServerRecord:
    """Which process serves a state directory, and where it listens."""

    instance: str
    host: str
    boot_id: str
    pid: int
    start_time: int
    port: int
    amqp_port: int | None
    external_amqp: bool
    faults: bool


class StateDir:
    """Paths in one state directory, and reading and writing the small files there."""

    def __init__(self, path: Path) -> None:
        self.path = recordable(absolute(path))
        self.database = self.path / "sandbox.db"
        self.log = self.path / "server.log"
        self.lock = self.path / "server.lock"
        self.lifecycle_lock = self.path / "lifecycle.lock"
        self._credentials = self.path / "credentials.json"
        self._server = self.path / "server.json"

    def create(self) -> None:
        """Create the directory, readable by its owner only; one that is there is made so if it is the sandbox's alone.

        Raises:
            Refused: it is another user's, or shared with others who would lose what they have there.
            FileSystemError: that is not possible.
        """
        try:
            try:
                self.path.mkdir(mode=0o700, parents=True)
            except FileExistsError:
                self._make_private()
            else:
                self.path.chmod(0o700)  # whatever the umask says
        except OSError as e:
            raise FileSystemError(
                "The sandbox's directory cannot be made", where=str(self.path), why=_words(e), remedy=_ANOTHER
            ) from e

    def _make_private(self) -> None:
        info = self.path.stat()
        if not stat.S_ISDIR(info.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory")
        if info.st_uid != os.getuid():
            why = f"its owner has UID {info.st_uid}, you have UID {os.getuid()}"
            what = "The directory for the sandbox belongs to another user"
            raise Refused(what, where=str(self.path), why=why, remedy=_ANOTHER)
        mode = stat.S_IMODE(info.st_mode)
        if not mode & 0o077:
            return
        others = sorted(name for name in os.listdir(self.path) if not _OURS.fullmatch(name))  # noqa: PTH208  names
        if others or mode & stat.S_ISVTX:
            why = "the sandbox keeps its secrets in a directory that is its own"
            why += f", and this one holds {', '.join(others[:3])}" if others else ", and this one is everybody's"
            raise Refused(
                f"Other users may enter the directory for the sandbox (its mode is {mode:04o})",
                where=str(self.path),
                why=why,
                remedy=_ANOTHER,
            )
        self.path.chmod(mode & ~0o077)

    def is_there(self) -> bool:
        """Say whether there is such a directory.

        Raises:
            FileSystemError: that cannot be told.
        """
        try:
            return exists(self.path)
        except OSError as e:
            raise FileSystemError(
                "The sandbox's directory cannot be looked at", where=str(self.path), why=_words(e), remedy=_ANOTHER
            ) from e

    def credentials(self) -> Credentials | None:
        """Return the secrets, None if there are none yet."""
        return self._read(self._credentials, Credentials)

    def ensure_credentials(self) -> Credentials:
        """Return the secrets, made now if there are none yet."""
        known = self.credentials()
        if known is None:
            known = Credentials(
                str(uuid.uuid4()), secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(32)
            )
            self._write(self._credentials, asdict(known))
        return known

    def server(self) -> ServerRecord | None:
        """Return the record of the server that was started last, None if it was taken down."""
        return self._read(self._server, ServerRecord)

    def record_server(self, record: ServerRecord) -> None:
        """Write down which process serves."""
        self._write(self._server, asdict(record))

    def forget_server(self) -> None:
        """Remove that record.

        Raises:
            FileSystemError: that is not possible.
        """
        try:
            self._server.unlink(missing_ok=True)
        except OSError as e:
            raise _unwritable(self._server, e) from e

    def _read(self, path: Path, kind: type[_T]) -> _T | None:
        try:
            values = json.loads(_content(path))
            return _checked(kind, values)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise FileSystemError(
                "The sandbox's state cannot be read", where=str(path), why=_words(e), remedy=_PERMISSIONS
            ) from e
        except (ValueError, RecursionError) as e:
            why = "nested too deeply" if isinstance(e, RecursionError) else str(e)
            remedy = "remove the file"
            raise StateFileError("The sandbox's state is damaged", where=str(path), why=why, remedy=remedy) from e

    def _write(self, path: Path, values: dict[str, Any]) -> None:
        try:
            handle, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{path.name}.")  # mode 0600
            with os.fdopen(handle, "w") as f:
                json.dump(values, f, indent=1)
            Path(temporary).replace(path)
        except OSError as e:
            raise _unwritable(path, e) from e


def _unwritable(path: Path, error: OSError) -> FileSystemError:
    return FileSystemError(
        "The sandbox's state cannot be written", where=str(path), why=_words(error), remedy=_PERMISSIONS
    )


def _words(error: OSError) -> str:
    return error.strerror or str(error)


def _content(path: Path) -> bytes:
    """Return a small file's content; a pipe in its place holds nobody up.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as stream:  # noqa: PTH123  a descriptor, not a path
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return stream.read(_LARGEST)


def _checked(kind: type[_T], values: Any) -> _T:
    """Return a record made of its values.

    Raises:
        ValueError: they are not those that we write.
    """
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    types: dict[str, Any] = get_type_hints(kind)
    if values.keys() != types.keys():
        raise ValueError(f"its keys are not {', '.join(types)}")
    for name, value in values.items():
        # bool is a kind of int, and a surrogate a kind of character; both are nobody's values here
        allowed = get_args(types[name]) or (types[name],)
        largest = 65_535 if name.endswith("port") else 1 << 63
        if (
            type(value) not in allowed
            or (isinstance(value, str) and not value.isprintable())
            or (isinstance(value, int) and not 0 <= value <= largest)
        ):
            raise ValueError(f"`{name}` is not a value of its kind")
    return kind(**values)


def boot_id() -> str:
    """Return what tells this boot of this machine from any other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def host_name() -> str:
    """Return this machine's name."""
    return socket.gethostname()


def process_start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it is gone (or a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may contain anything
    return None if fields[0] in "ZX" else int(fields[19])
