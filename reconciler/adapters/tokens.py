"""The token store: the SQLite file `storage.db` that the Globus SDK, the daemons and we share.

Reading goes straight to SQLite: the SDK's own class costs a few times as much to import as the whole
question. Writing tokens is left to the SDK (`reconciler.adapters.auth`).
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reconciler.adapters.files import translated, translating
from reconciler.core.frozen import dataclass
from reconciler.core.names import TOKENS
from reconciler.errors import FileSystemError, LoginRequired, UsageError
from reconciler.paths import CONFIG_DIR, CONFIG_DIR_VARIABLE, config_directory, exists, expanded

FILE = TOKENS

# As SQLiteTokenStorage makes them; a test compares.
_SCHEMA = """
CREATE TABLE token_storage (
    namespace VARCHAR NOT NULL,
    resource_server VARCHAR NOT NULL,
    token_data_json VARCHAR NOT NULL,
    PRIMARY KEY (namespace, resource_server)
);
CREATE TABLE sdk_storage_adapter_internal (
    attribute VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    PRIMARY KEY (attribute)
);
INSERT INTO sdk_storage_adapter_internal VALUES ('globus-sdk.version', '4.0.0');
INSERT INTO sdk_storage_adapter_internal VALUES ('globus-sdk.database_schema_version', '2');
"""


@dataclass(frozen=True)
class Token:
    """What the store holds for one resource server.

    Attributes:
        expires_at: seconds since the epoch.
        scopes: what the token allows.
        identity_id: the Globus identity it was issued to, when the login said so.
        renewable: whether there is a refresh token.
    """

    access_token: str = field(repr=False)
    expires_at: float
    scopes: frozenset[str]
    identity_id: str | None
    renewable: bool


def default_directories(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the directories where `login` without --config-dir may have put the store, as they are named."""
    return tuple(named for named in (environ.get(CONFIG_DIR_VARIABLE), CONFIG_DIR) if named)


class TokenStore:
    """The store that belongs to one config directory.

    A config directory without a store uses the default one: read-only commands in place, and
    `prepare` by the symbolic link that upstream's `chiltepin endpoint start` makes too.

    Args:
        config_dir: the Globus Compute config directory.
        namespace: the SDK's name for client and environment, e.g. "user/production".
        defaults: the directories where a store may be that serves config directories without one; looked at, and
            `~` expanded, when that is needed.
    """

    def __init__(self, config_dir: str | Path, namespace: str, defaults: Sequence[str] = ()) -> None:
        self.own = expanded(config_dir) / FILE
        self.namespace = namespace
        self._defaults = tuple(defaults)

    @property
    def path(self) -> Path:
        """The file in use: the directory's own (or its link), else an existing default, else its own.

        Raises:
            FileSystemError: it cannot be told whether one of them is there.
            UsageError: a default lies in a home directory that is not there.
        """
        if _exists(self.own, follow=False):
            return self.own
        return self._default() or self.own

    def exists(self) -> bool:
        """Say whether there is a file to read; raises what `path` raises."""
        return _exists(self.path)

    def read(self) -> dict[str, Token]:
        """Return our namespace's tokens by resource server; an absent or empty store has none.

        Raises:
            LoginRequired: the file cannot be read, or is not a token store.
            FileSystemError, UsageError: as with `path`.
        """
        path = self.path
        if not _exists(path):
            return {}
        try:
            rows = self._rows(path, "ro")
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return {}  # another process is creating it just now
            rows = self._repaired(path, error)
        except sqlite3.Error as error:
            raise self._unusable(path, error) from error
        return {server: token for server, text in rows if (token := _parse_row(text)) is not None}

    def prepare(self) -> None:
        """Make the store exist where daemons of this config directory look: link it, or create it.

        Raises:
            FileSystemError: it could be neither linked nor created.
        """
        if _exists(self.own):
            return
        try:
            self.own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            default = self._default()
            if default is not None and not _exists(self.own, follow=False):
                self._link(default)
            else:
                self._create(Path(os.path.realpath(self.own)))
        except OSError as error:
            raise translated(error, "make the token store", str(self.own)) from error
        except sqlite3.Error as error:
            raise FileSystemError(
                "cannot make the token store",
                where=str(self.own),
                why=str(error),
                remedy="make the config directory writable, or choose another with --config-dir",
            ) from error

    def _default(self) -> Path | None:
        for directory in self._defaults:
            path = expanded(directory) / FILE
            if path != self.own and _exists(path):
                return path
        return None

    def _link(self, target: Path) -> None:
        try:
            self.own.symlink_to(target)
        except FileExistsError:
            return  # made by another process meanwhile: as good

    def _create(self, path: Path) -> None:
        """Build an empty store aside, then link it into place.

        SQLiteTokenStorage makes file and tables in two steps, so that processes which start in
        between fail with "no such table", and changes the umask under the feet of other threads.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = path.with_name(f".{FILE}.{secrets.token_hex(4)}")
        try:
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            with closing(sqlite3.connect(aside)) as connection:
                connection.executescript(_SCHEMA)
            os.link(aside, path)
        except FileExistsError:
            return  # made by another process meanwhile: as good
        finally:
            aside.unlink(missing_ok=True)

    def _rows(self, path: Path, mode: str) -> list[tuple[str, str]]:
        uri = f"file:{quote(str(path))}?mode={mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=10.0)) as connection:
            query = "SELECT resource_server, token_data_json FROM token_storage WHERE namespace = ?"
            return connection.execute(query, (self.namespace,)).fetchall()

    def _repaired(self, path: Path, first: Exception) -> list[tuple[str, str]]:
        """Read again with write access: SQLite needs it to roll back a writer that was killed."""
        if "readonly" not in str(first):
            raise self._unusable(path, first) from first
        try:
            return self._rows(path, "rw")
        except sqlite3.Error as error:
            raise self._unusable(path, error) from error

    def _unusable(self, path: Path, error: Exception) -> LoginRequired:
        return LoginRequired(
            "The token store cannot be read.",
            where=str(path),
            why=str(error),
            remedy=f"check its permissions, or move it away and run {login_command(self.own)}",
        )


def _exists(path: Path, *, follow: bool = True) -> bool:
    """Say whether there is a store; one that cannot be looked at must not read as no login.

    Raises:
        FileSystemError: that cannot be told.
    """
    with translating("look for the token store", str(path)):
        return exists(path, follow=follow)


def login_command(store: Path) -> str:
    """Return the command that logs in to the store at `store`, with its directory unless it is the usual one."""
    with suppress(UsageError):  # without a home directory, none is the usual one
        if store == config_directory() / FILE:
            return "`chiltepin login`"
    return f"`chiltepin login --config-dir {shlex.quote(str(store.parent))}`"


def parse(data: Any) -> Token | None:
    """Read a token in the SDK's format; None when it is not one, which then counts as no login."""
    try:
        identity = data.get("identity_id")
        return Token(
            access_token=_string(data["access_token"]),
            expires_at=float(data["expires_at_seconds"]),
            scopes=frozenset(_string(data["scope"]).split()),
            identity_id=_string(identity) if identity else None,
            renewable=bool(data.get("refresh_token")),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _parse_row(text: str) -> Token | None:
    try:
        return parse(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value
