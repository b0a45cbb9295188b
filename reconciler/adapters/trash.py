"""Deleted endpoints and earlier versions of files, kept until they are purged.

An entry of the trash is a directory `NAME~TIME-RANDOM` that holds `entry.json` (name, time, UUID),
`endpoint` (the endpoint's directory) and its user endpoints' directories under their own names.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress

from reconciler.adapters import faults, files
from reconciler.adapters.endpoint_dir import (
    Contents,
    known_ids,
    parse_marker,
    parse_registration,
    read_directory,
)
from reconciler.adapters.files import Directory
from reconciler.adapters.names import user_endpoint
from reconciler.core.live import TrashEntry
from reconciler.core.marker import MARKER, Marker
from reconciler.errors import Overtaken

_RECORD = "entry.json"
_LAST_MOMENT = 253_402_300_799.0  # of the year 9999
_ENDPOINT = "endpoint"
_GOING = ".going-"
BACKUPS_KEPT = 20
"""Earlier versions kept of one file."""


def stamp(now: float) -> str:
    """Return a time as it appears in names: UTC, to the second, sorting by age."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def keep_copy(backups: Directory, file: str, content: bytes, now: float) -> None:
    """Keep an earlier version of a file, and only the newest BACKUPS_KEPT of them."""
    files.write_new(backups, f"{file}.{stamp(now)}-{files.token()}", content)
    os.fsync(backups.fd)
    faults.reached("backup.written")
    with os.scandir(backups.fd) as entries:
        versions = sorted(e.name for e in entries if e.name.startswith(f"{file}."))
    for name in versions[:-BACKUPS_KEPT]:
        files.remove(backups, name)


def move_in(root: Directory, trash: Directory, name: str, now: float, at: float | None) -> str:
    """Move an endpoint's directory and its user endpoints' to the trash; return the entry's name.

    Args:
        root: the config directory.
        trash: our trash in it.
        name: the endpoint's directory.
        now: for the entry's name.
        at: the file server's time, which tells the entry's age on any node; None when it cannot be told.

    Raises:
        Overtaken: there is no such directory.
        OSError: it was not moved.
    """
    ids = _ids(root, name)
    entry = f"{name}~{stamp(now)}-{files.token()}"
    with files.entered(trash, entry, create=True) as folder:
        record = {"format_version": 1, "name": name, "deleted_at": at, "uuid": min(ids) if ids else None}
        files.write_new(folder, _RECORD, json.dumps(record).encode())
        os.fsync(folder.fd)
        faults.reached("trash.begin")
        try:
            os.rename(name, _ENDPOINT, src_dir_fd=root.fd, dst_dir_fd=folder.fd)
        except OSError:
            with suppress(OSError):  # what made it fail is to be told; an entry without a directory is none
                os.unlink(_RECORD, dir_fd=folder.fd)
                os.rmdir(entry, dir_fd=trash.fd)
            raise
        os.fsync(folder.fd)
        os.fsync(root.fd)
        faults.reached("trash.moved")
        for directory in _user_endpoints(root, ids):
            os.rename(directory, directory, src_dir_fd=root.fd, dst_dir_fd=folder.fd)
        os.fsync(folder.fd)
    os.fsync(root.fd)
    faults.reached("trash.done")
    return entry


def _ids(root: Directory, name: str) -> set[str]:
    """Return the UUIDs that the directory's files name."""
    try:
        with files.entered(root, name) as directory:
            registration = files.read_file(directory, "endpoint.json")
            marker = files.read_file(directory, MARKER)
    except FileNotFoundError as e:
        raise Overtaken(
            f"there is no directory {name} to delete",
            where=root.at(name),
            why="it disappeared meanwhile",
            remedy="run `chiltepin plan` again",
        ) from e
    return known_ids(
        parse_registration(registration) if registration is not None else None,
        parse_marker(marker) if marker is not None else None,
    )


def _user_endpoints(directory: Directory, ids: set[str]) -> list[str]:
    with os.scandir(directory.fd) as entries:
        return sorted(e.name for e in entries if (pair := user_endpoint(e.name)) is not None and pair[0] in ids)


def entries(
    trash: Directory, now_at_server: Callable[[], float | None], *, sizes: bool = False
) -> tuple[TrashEntry, ...]:
    """Return the entries, oldest first; one whose move never happened is none. An empty trash asks for no time.

    Raises:
        FileSystemError: an entry cannot be read; it is named.
    """
    contents = Contents()
    names = _names(trash)
    now = now_at_server() if names else None
    listed = [entry for name in names if (entry := _entry(trash, name, contents, now, sizes=sizes)) is not None]
    return tuple(sorted(listed, key=lambda e: (e.deleted_at, e.name)))


def _names(trash: Directory) -> list[str]:
    with os.scandir(trash.fd) as found:
        return sorted(e.name for e in found if not e.name.startswith(".") and "~" in e.name)


def _entry(trash: Directory, name: str, contents: Contents, now: float | None, *, sizes: bool) -> TrashEntry | None:
    try:
        with files.entered(trash, name) as folder:
            directory = read_directory(folder, _ENDPOINT, contents, age=lambda _: None, daemons=(), user_endpoints={})
            record = _record(folder)
            modified = os.fstat(folder.fd).st_mtime
            size = _size(folder) if sizes else None
    except (FileNotFoundError, NotADirectoryError):  # a purge that goes on, or a file of somebody else's
        return None
    except OSError as e:  # what it holds is not known, so that it must not read as nothing
        raise files.translated(e, "read an entry of the trash", trash.at(name)) from e
    if directory is None:  # a move that was cut short
        return None
    try:
        recorded: float | None = float(json.loads(record)["deleted_at"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        recorded = None
    if recorded is not None and not 0 <= recorded <= _LAST_MOMENT:  # nor is NaN between two numbers
        recorded = None
    return TrashEntry(
        name=name,
        path=trash.at(name),
        marker=directory.marker if isinstance(directory.marker, Marker) else None,
        deleted_at=modified if recorded is None else recorded,
        # Only a recorded time tells the age: anything may touch a directory, or a copy of it.
        age=None if recorded is None or now is None else now - recorded,
        size=size,
        directory=directory,
    )


def _record(folder: Directory) -> bytes:
    """Return what `entry.json` holds; one that cannot be read says as little as a damaged one: the time is unknown."""
    try:
        return files.read_file(folder, _RECORD) or b""
    except OSError as e:
        if files.scarcity(e):
            raise
        return b""


def _size(folder: Directory) -> int | None:
    """Return the bytes that a directory takes, without those of the directories themselves; None if that is hidden."""
    try:
        return _bytes(folder)
    except PermissionError:
        return None


def _bytes(folder: Directory) -> int:
    total = 0
    with os.scandir(folder.fd) as found:
        listed = [(e.name, e.is_dir(follow_symlinks=False)) for e in found]
    for name, is_directory in listed:
        try:
            if is_directory:
                with files.entered(folder, name) as inner:
                    total += _bytes(inner)
            else:
                total += os.stat(name, dir_fd=folder.fd, follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:  # it goes while we look
            continue
    return total


def move_out(root: Directory, trash: Directory, entry: str, name: str) -> None:
    """Put a deleted endpoint back under `name`, with its user endpoints' directories.

    Raises:
        Overtaken: there is no such entry, or `name` is taken.
    """
    if files.exists(root, name):
        raise Overtaken(
            f"{name} exists",
            where=root.at(name),
            why="a deleted endpoint is put back only where nothing is",
            remedy=f"move {root.at(name)} aside, then run the command again",
        )
    faults.reached("restore.begin")
    try:
        with files.entered(trash, entry) as folder:
            os.rename(_ENDPOINT, name, src_dir_fd=folder.fd, dst_dir_fd=root.fd)
            os.fsync(root.fd)
            faults.reached("restore.moved")
            _put_back(root, folder)
    except FileNotFoundError as e:
        raise _missing(trash, entry) from e
    purge(trash, entry)


def _put_back(root: Directory, folder: Directory) -> None:
    """Move the directories of user endpoints back; one that is there again stays as it is."""
    with os.scandir(folder.fd) as found:
        others = [e.name for e in found if user_endpoint(e.name) is not None]
    for directory in others:
        if not files.exists(root, directory):
            os.rename(directory, directory, src_dir_fd=folder.fd, dst_dir_fd=root.fd)
    os.fsync(root.fd)


def purge(trash: Directory, entry: str) -> None:
    """Remove an entry from the disk; it leaves the list first, so that a purge cut short shows no half entry.

    Raises:
        Overtaken: there is no such entry.
    """
    gone = f"{_GOING}{entry}"
    faults.reached("purge.begin")
    try:
        os.rename(files.check_component(entry), gone, src_dir_fd=trash.fd, dst_dir_fd=trash.fd)
    except FileNotFoundError as e:
        if not files.exists(trash, gone):
            raise _missing(trash, entry) from e
    os.fsync(trash.fd)
    faults.reached("purge.hidden")
    files.remove_tree(trash, gone)
    os.fsync(trash.fd)
    faults.reached("purge.done")


def tidy(root: Directory, trash: Directory) -> None:
    """Finish what runs that were killed left half done: deletes that moved nothing, restores, purges.

    Under the lease only. What cannot be removed or put back now (NFS keeps files that a process has open) is left for
    a later run: nothing depends on it, and no run should fail for it.
    """
    with os.scandir(trash.fd) as found:
        going = [e.name for e in found if e.name.startswith(_GOING)]
    for name in _names(trash):
        with suppress(OSError), files.entered(trash, name) as folder:
            if files.exists(folder, _ENDPOINT):
                continue
            _put_back(root, folder)
            going.append(name)
    for name in going:
        with suppress(OSError):
            files.remove_tree(trash, name)


def _missing(trash: Directory, entry: str) -> Overtaken:
    return Overtaken(f"there is no {entry} in the trash", where=trash.path, remedy=f"what there is: ls {trash.path}")
