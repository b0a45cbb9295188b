"""`.chiltepin` in the config directory: what is ours there, and how killed runs' leftovers go.

    lease.json       who works here
    clock            touched to learn the file server's time
    journal.jsonl    what was begun and how it ended
    new/             endpoint directories being built
    run/             output of start commands
    backups/NAME/    earlier versions of files that were replaced
    trash/           deleted endpoints

Nothing directly in it may be called `config.*`: upstream takes any directory with such a file for an
endpoint, hidden ones too.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler.adapters import files
from reconciler.adapters.files import Directory
from reconciler.adapters.names import OWN_DIRECTORY
from reconciler.errors import Refused

BUILDS = "new"
RUNS = "run"
BACKUPS = "backups"
TRASH = "trash"

_DAY = 86_400.0

_OF_ANOTHER_KIND = frozenset({errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO})
"""The errors for something that stands where a file or directory of ours should."""
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISREG, "a plain file"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


@contextmanager
def open_config_dir(path: str, *, create: bool) -> Iterator[Directory]:
    """Open the config directory; with `create`, make it (0700) with its parents.

    Raises:
        Refused: it belongs to another user.
        FileSystemError: it cannot be made; names the directory above it.
        OSError: it is not there, or cannot be opened.
    """
    if create:
        _make(path)
    with files.opened(path) as root:
        owner = os.fstat(root.fd).st_uid
        if owner != os.getuid():
            raise Refused(
                "the config directory belongs to another user",
                where=path,
                why=f"its owner has UID {owner}, you have UID {os.getuid()}",
                remedy="name one of your own with --config-dir, or run this as its owner",
            )
        yield root


def _make(path: str) -> None:
    if os.path.isdir(path):  # noqa: PTH112  # asked before every write; a link to a directory is fine
        return
    parent = path.rstrip("/").rpartition("/")[0]
    if parent:
        _make(parent)
    with files.translating(f"make the directory {path}", parent or "/"):
        try:
            os.mkdir(path, files.PRIVATE_DIR)  # noqa: PTH102  # one level, with an exact mode
        except FileExistsError:
            return  # another process was faster, or a file: opening it says so


@contextmanager
def open_own(config_dir: str, *below: str) -> Iterator[Directory]:
    """Open `.chiltepin`, or a directory below it, making what is missing (0700)."""
    with open_config_dir(config_dir, create=True) as root, files.entered(root, OWN_DIRECTORY, create=True) as own:
        if not below:
            yield own
            return
        with _descend(own, below) as last:
            yield last


@contextmanager
def _descend(directory: Directory, names: tuple[str, ...]) -> Iterator[Directory]:
    with files.entered(directory, names[0], create=True) as inner:
        if len(names) == 1:
            yield inner
            return
        with _descend(inner, names[1:]) as last:
            yield last


@contextmanager
def tidying(directory: Directory, name: str) -> Iterator[None]:
    """Translate an OSError about `name` in `.chiltepin` into an error that names just that, and what it is.

    Beside it lie the trash and the backups: who moved the whole directory aside would lose them.

    Raises:
        FileSystemError: the block met an OSError.
    """
    try:
        yield
    except OSError as e:
        path = directory.at(name)
        error = files.translated(e, "tidy up the config directory", path)
        kind = _kind_of(directory, name)
        if e.errno in _OF_ANOTHER_KIND and kind is not None:
            aside = f"`mv {shlex.quote(path)} {shlex.quote(path)}.aside`"
            error.why = f"{kind} is in the way ({errno.errorcode[e.errno]})"
            error.remedy = f"move only that aside, and leave what is beside it: {aside}; then run the command again"
        raise error from e


def _kind_of(directory: Directory, name: str) -> str | None:
    """Return in words what stands there, None when nothing does or it cannot be looked at."""
    try:
        mode = os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode
    except OSError:
        return None
    return next((word for is_kind, word in _KINDS if is_kind(mode)), "a special file")


def sweep_leftovers(own: Directory) -> None:
    """Remove unfinished builds, forgotten output and temporary files of runs that were killed."""
    files.sweep(own)
    for folder, age in ((BUILDS, files.LEFTOVER_AGE), (RUNS, _DAY)):
        if not files.exists(own, folder):
            continue
        with tidying(own, folder), files.entered(own, folder) as directory:
            for name, is_directory in _older_than(directory, age):
                with tidying(directory, name):
                    if is_directory:
                        files.remove_tree(directory, name)
                    else:
                        files.remove(directory, name)


def _older_than(directory: Directory, age: float) -> list[tuple[str, bool]]:
    with os.scandir(directory.fd) as entries:
        found = list(entries)
    now = time.time()
    return [
        (e.name, e.is_dir(follow_symlinks=False))
        for e in found
        if now - os.stat(e.name, dir_fd=directory.fd, follow_symlinks=False).st_mtime > age
    ]
