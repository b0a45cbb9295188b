"""The sandbox's state directory: what lies where, its secrets, and the record of the running server.

Standard library only: the command line reads this without importing the server.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import socket
import tempfile
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reconciler.errors import FileSystemError, StateFileError

STATE_DIR_ENV = "CHILTEPIN_SANDBOX_DIR"
DEFAULT_PORT = 5000  # globus_compute_sdk's environment `local` is fixed to it


def default_state_dir() -> Path:
    """Return the directory that CHILTEPIN_SANDBOX_DIR names, or ``~/.chiltepin-sandbox``."""
    named = os.environ.get(STATE_DIR_ENV)
    return Path(named).expanduser() if named else Path.home() / ".chiltepin-sandbox"


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
        self.path = path.absolute()
        self.database = self.path / "sandbox.db"
        self.log = self.path / "server.log"
        self.lock = self.path / "server.lock"
        self.lifecycle_lock = self.path / "lifecycle.lock"
        self._credentials = self.path / "credentials.json"
        self._server = self.path / "server.json"

    def create(self) -> None:
        """Create the directory, readable by its owner only.

        Raises:
            FileSystemError: that is not possible.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(0o700)
        except OSError as e:
            remedy = "pass --state-dir with a directory of your own"
            raise FileSystemError(
                "The sandbox's directory cannot be made", where=str(self.path), why=str(e), remedy=remedy
            ) from e

    def credentials(self) -> Credentials | None:
        """Return the secrets, None if there are none yet."""
        values = self._read(self._credentials)
        return None if values is None else Credentials(**values)

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
        values = self._read(self._server)
        return None if values is None else ServerRecord(**values)

    def record_server(self, record: ServerRecord) -> None:
        """Write down which process serves."""
        self._write(self._server, asdict(record))

    def forget_server(self) -> None:
        """Remove that record."""
        self._server.unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            values = json.loads(path.read_text())
            if not isinstance(values, dict):
                raise ValueError("not a JSON object")
        except FileNotFoundError:
            return None
        except OSError as e:
            raise FileSystemError("The sandbox's state cannot be read", where=str(path), why=str(e)) from e
        except ValueError as e:
            remedy = "remove the file"
            raise StateFileError("The sandbox's state is damaged", where=str(path), why=str(e), remedy=remedy) from e
        return values

    def _write(self, path: Path, values: dict[str, Any]) -> None:
        try:
            handle, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{path.name}.")  # mode 0600
            with os.fdopen(handle, "w") as f:
                json.dump(values, f, indent=1)
            Path(temporary).replace(path)
        except OSError as e:
            raise FileSystemError("The sandbox's state cannot be written", where=str(path), why=str(e)) from e


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
