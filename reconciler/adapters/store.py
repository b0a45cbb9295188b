"""The `Store` port on files: lock, pools file, journal and lease."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.adapters import faults, files, journal, lease, trash
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.files import Directory
from reconciler.adapters.lease_file import LEASE
from reconciler.adapters.names import OWN_DIRECTORY
from reconciler.adapters.own_dir import TRASH, open_config_dir, open_own, sweep_leftovers, tidying
from reconciler.core.live import JournalEntry
from reconciler.errors import FileSystemError, LeaseHeld, StateFileError, UsageError
from reconciler.paths import absolute, exists
from reconciler.ports import Clock, Store

_PUBLIC_FILE = 0o644


class FileStore:
    """Lock and pools file beside the manifest, journal and lease in the config directory.

    Args:
        config_dir: the config directory, an absolute path; made (0700) when something is written.
        lock_path: the lockfile, an absolute path.
        pools_path: the pools file, an absolute path.
        run: this run's random ID; made up when empty.
        clock: for the times that people read.
    """

    def __init__(
        self, config_dir: str, lock_path: str, pools_path: str, *, run: str = "", clock: Clock | None = None
    ) -> None:
        faults.check()
        self._config_dir = config_dir
        self._lock_path = Path(lock_path)
        self._pools_path = Path(pools_path)
        self._run = run or files.token()
        self._clock = clock or SystemClock()
        self._appending = threading.Lock()
        self._lease: lease.Lease | None = None

    @property
    def run(self) -> str:
        """This run's ID, as the lease names it."""
        return self._run

    def read_lock(self) -> str | None:
        return read_lock_text(self._lock_path)

    def write_lock(self, text: str) -> None:
        _write_text(self._lock_path, text, "lockfile", ("lock.temp", "lock.written"))

    def read_pools(self) -> str | None:
        # Nothing depends on what somebody else wrote into it: it is written again.
        return read_text(self._pools_path, "pools file", errors="replace")

    def write_pools(self, text: str) -> None:
        _write_text(self._pools_path, text, "pools file", ("pools.temp", "pools.written"))

    def append(self, entry: JournalEntry) -> None:
        doing = files.translating("append to the journal", self._own(journal.JOURNAL))
        with doing, self._appending, open_own(self._config_dir) as own:
            journal.append(own, entry)

    def unfinished(self) -> tuple[JournalEntry, ...]:
        return self._read_journal(journal.read_unfinished)

    def history(self) -> tuple[JournalEntry, ...]:
        """Return the journal's entries, oldest first.

        Raises:
            StateFileError: a line is damaged.
        """
        return self._read_journal(journal.read)

    def _read_journal(self, read: Callable[[Directory], tuple[JournalEntry, ...]]) -> tuple[JournalEntry, ...]:
        with files.translating("read the journal", self._own(journal.JOURNAL)):
            try:
                with files.opened(self._own()) as own:
                    return read(own)
            except FileNotFoundError:
                return ()

    @contextmanager
    def lease(self) -> Iterator[None]:
        with files.translating("make the directory for the lease", self._own()), open_own(self._config_dir):
            pass
        with lease.held(self._own(), self._run, self._clock.now()) as held:
            with files.translating("tidy up the config directory", self._own()), open_own(self._config_dir) as own:
                self._tidy(own)
            self._lease = held
            try:
                yield
            finally:
                self._lease = None

    def _tidy(self, own: Directory) -> None:
        """Remove what killed runs left behind; only the lease's holder may."""
        with tidying(own, journal.JOURNAL):
            journal.repair(own)
            journal.rotate(own)
        sweep_leftovers(own)
        if files.exists(own, TRASH):
            opening = open_config_dir(self._config_dir, create=False)
            with opening as root, tidying(own, TRASH), files.entered(own, TRASH) as bin_:
                trash.tidy(root, bin_)

    def check_lease(self) -> None:
        if self._lease is None:
            raise LeaseHeld("the lease is not held", where=self._own(LEASE), remedy="run the command again")
        self._lease.check()

    def _own(self, name: str = "") -> str:
        return f"{self._config_dir}/{OWN_DIRECTORY}" + (f"/{name}" if name else "")


def read_lock_text(path: Path) -> str | None:
    """Return a lockfile's text, None when there is none.

    Raises:
        StateFileError: it is not UTF-8, or a symbolic link to what is not there: that is no missing lockfile, as its
            file system may not be mounted.
    """
    text = read_text(path, "lockfile")
    with files.translating("read the lockfile", str(path)):
        if text is None and exists(path, follow=False) and path.is_symlink():
            target = path.readlink()
            raise StateFileError(
                f"the lockfile is a symbolic link to {target}, and nothing is there",
                where=str(path),
                why=f"it leads to {os.path.realpath(path)}",
                remedy="restore that file, or mount what it is on; if there is to be a new lockfile, remove the link",
            )
    return text


def read_text(path: Path, what: str, *, errors: str = "strict") -> str | None:
    """Return a text file's content, None when there is none.

    Args:
        errors: what becomes of bytes that are not UTF-8, as of `bytes.decode`.

    Raises:
        StateFileError: there are such bytes, and `errors` is "strict".
    """
    try:
        with files.translating(f"read the {what}", str(path)), files.opened(str(path.parent)) as folder:
            content = files.read_file(folder, path.name, follow=True)
    except FileSystemError as e:
        if isinstance(e.__cause__, FileNotFoundError):  # the directory is not there either
            return None
        raise
    try:
        return content.decode("utf-8", errors) if content is not None else None
    except UnicodeDecodeError as e:
        raise StateFileError(
            f"the {what} is damaged",
            where=str(path),
            why=f"byte {e.start} is not UTF-8",
            remedy="restore it from version control, or move it aside and run `chiltepin apply`",
        ) from e


def _write_text(path: Path, text: str, what: str, points: tuple[str, str]) -> None:
    """Replace a text file; a link to a file elsewhere stays a link, and its target is replaced."""
    real = Path(os.path.realpath(path))
    with files.translating(f"write the {what}", str(path)), files.opened(str(real.parent)) as folder:
        files.sweep(folder)
        mode = _PUBLIC_FILE if what == "lockfile" else files.PRIVATE_FILE
        files.replace(folder, real.name, text.encode("utf-8"), mode=mode, points=points)


def write_private_text(path: Path, text: str, what: str) -> None:
    """Replace a text file that is the user's only (0600).

    Raises:
        UsageError: its directory is not there.
        FileSystemError: it cannot be written.
    """
    folder = absolute(path).parent
    with files.translating(f"write the {what}", str(path)):
        if not exists(folder):
            raise UsageError(
                f"the {what} cannot be kept there: the directory does not exist",
                where=str(folder),
                remedy="make it (`mkdir -p`), or choose another path",
            )
        with files.opened(str(folder)) as opened:
            files.replace(opened, path.name, text.encode("utf-8"), mode=files.PRIVATE_FILE)


if TYPE_CHECKING:
    _implements: type[Store] = FileStore
