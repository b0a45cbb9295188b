"""Paths as people write them: made absolute, and looked at.

What pathlib raises of them (no home directory, a name that is too long, a folder that may not be searched) depends
on the version of Python, and would read as a bug. Here each is either an error of ours or an answer.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from reconciler.errors import FileSystemError, UsageError

CONFIG_DIR = "~/.globus_compute"
CONFIG_DIR_VARIABLE = "GLOBUS_COMPUTE_USER_DIR"


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that does not depend on the working directory; `~` is a name like any other.

    Raises:
        UsageError: it holds a NUL character.
        FileSystemError: the path is relative, and there is no working directory any more.
    """
    try:
        return _without_nul(path).absolute()
    except OSError as e:
        raise FileSystemError(
            "there is no working directory that a relative path could count from",
            where=str(path),
            why=e.strerror,
            remedy="change to a directory that is there (`cd`), or name the path in full",
        ) from e


def expanded(path: str | Path) -> Path:
    """Return an absolute path, in which `~` is the home directory and `~NAME` that of a user.

    Raises:
        UsageError: there is no such home directory, or the path is one that our files cannot name.
        FileSystemError: as with `absolute`.
    """
    given = _without_nul(path)
    try:
        found = given.expanduser()
    except RuntimeError as e:
        named = given.parts[0]
        why = "neither HOME nor the user database names one" if named == "~" else f"no user {named[1:]} is known here"
        remedy = "name the directory in full" if named != "~" else "set HOME, or name the directory in full"
        raise UsageError(f"there is no home directory {named}", where=str(path), why=why, remedy=remedy) from e
    return recordable(absolute(found))


def _check_home(given: Path) -> None:
    """Refuse a home directory that is not there: nothing may be made where one was meant, e.g. before it is mounted.

    Raises:
        UsageError: it is not there, or is no directory.
    """
    if not str(given).startswith("~"):
        return
    home = Path(given.parts[0]).expanduser()
    is_set = given.parts[0] != "~" or os.environ.get("HOME") != ""  # set to nothing it would be the root
    try:
        if is_set and home.is_absolute() and stat.S_ISDIR(os.stat(home).st_mode):  # noqa: PTH116  as below
            return
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError:  # what comes next says why it cannot be looked at
        return
    why = f"{home} is no absolute path of a directory that is there" if is_set else "HOME is set to nothing"
    remedy = "set HOME to your home directory (is it mounted?), or name the config directory in full"
    raise UsageError("the home directory cannot be used", where=str(given), why=why, remedy=remedy)


def _without_nul(path: str | os.PathLike[str]) -> Path:
    """Return a path that the system takes; a command's arguments can hold no NUL, a program's can.

    Raises:
        UsageError: it holds one.
    """
    if "\0" in os.fspath(path):
        why = "a NUL character is in it, which ends a path for the system"
        raise UsageError("this is no path", where=repr(os.fspath(path)), why=why, remedy="name another one")
    return Path(path)


def recordable(path: Path) -> Path:
    """Return a path that markers, lockfile and outputs, which are UTF-8, can name.

    Raises:
        UsageError: it is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as e:
        remedy = "rename it, or name another one"
        raise UsageError(
            "this path is not UTF-8", where=str(path), why="no file of ours could name it", remedy=remedy
        ) from e
    return path


def config_directory(*named: str | Path | None) -> Path:
    """Return the config directory: the first that is `named`, or else the environment's, or else the usual one.

    Raises:
        UsageError: it lies in a home directory that is not known or not there, is a path that our files cannot name,
            or names something that is no directory.
        FileSystemError: as with `absolute`.
    """
    of_environment = os.environ.get(CONFIG_DIR_VARIABLE)
    chosen = next((str(n) for n in (*named, of_environment) if n and str(n)), None)
    found = expanded(chosen or CONFIG_DIR)
    _check_home(Path(chosen or CONFIG_DIR))
    if chosen and _is_in_the_way(found):
        remedy = "name a directory, or one that can be made"
        raise UsageError("the config directory is none: something else is there", where=str(found), remedy=remedy)
    return found


def _is_in_the_way(path: Path) -> bool:
    """Whether what is seen there, or above it, is no directory; what cannot be looked at tells by itself later."""
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116  as below
    except NotADirectoryError:
        return True
    except OSError:
        return False


def check_plain_file(path: Path, remedy: str) -> None:
    """Refuse a directory, a pipe or a device where a file is named that is read or written as a whole.

    Raises:
        UsageError: it is one of these.
    """
    if is_directory(path):
        raise UsageError("this is a directory", where=str(path), remedy=remedy)
    if os.path.exists(path) and not is_file(path):  # noqa: PTH110  as below
        raise UsageError("this is a pipe or a device, and no plain file", where=str(path), remedy=remedy)


def is_file(path: str | Path) -> bool:
    """Say whether a regular file is seen there: for where one that cannot be looked at is as good as none."""
    return os.path.isfile(path)  # noqa: PTH113  pathlib's raises before Python 3.14


def is_directory(path: str | Path) -> bool:
    """Say whether a directory is seen there: for where one that cannot be looked at is as good as none."""
    return os.path.isdir(path)  # noqa: PTH112  as above


def exists(path: str | Path, *, follow: bool = True) -> bool:
    """Say whether something is there; False is certain.

    Args:
        follow: whether a symbolic link stands for what it points to.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        os.stat(path, follow_symlinks=follow)  # noqa: PTH116  pathlib has no `follow_symlinks` for `exists` before 3.12
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
