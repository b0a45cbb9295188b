"""Deleted endpoints and earlier versions of files, kept until they are purged.

An entry of the trash is a directory `NAME~TIME-RANDOM` that holds `entry.json` (name, time, UUID),
`endpoint` (the endpoint's directory) and its user endpoints' directories under their own names.
"""

from __future__ import annotations

import json
import os
import threading
import time

from reconciler.adapters import faults, files
from reconciler.adapters.endpoint_dir import known_ids, parse_marker, parse_registration
from reconciler.adapters.files import Directory
from reconciler.adapters.names import user_endpoint
from reconciler.core.live import TrashEntry
from reconciler.core.marker import MARKER, Marker
from reconciler.errors import Refused

_RECORD = "entry.json"
_ENDPOINT = "endpoint"
_GOING = ".going-"
_PURGING = threading.Lock()
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


def move_in(root: Directory, trash: Directory, name: str, now: float) -> str:
    """Move an endpoint's directory and its user endpoints' to the trash; return the entry's name.

    Raises:
        Refused: there is no such directory.
        OSError: it was not moved.
    """
    ids = _ids(root, name)
    entry = f"{name}~{stamp(now)}-{files.token()}"
    with files.entered(trash, entry, create=True) as folder:
        record = {"format_version": 1, "name": name, "deleted_at": now, "uuid": min(ids) if ids else None}
        files.write_new(folder, _RECORD, json.dumps(record).encode())
        os.fsync(folder.fd)
        faults.reached("trash.begin")
        try:
            os.rename(name, _ENDPOINT, src_dir_fd=root.fd, dst_dir_fd=folder.fd)
        except OSError:
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
        raise Refused(
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


def entries(trash: Directory) -> tuple[TrashEntry, ...]:
    """Return the entries, oldest first; one whose move never happened is none."""
    with os.scandir(trash.fd) as found:
        names = sorted(e.name for e in found if not e.name.startswith(".") and "~" in e.name)
    listed = [entry for name in names if (entry := _entry(trash, name)) is not None]
    return tuple(sorted(listed, key=lambda e: (e.deleted_at, e.name)))


def _entry(trash: Directory, name: str) -> TrashEntry | None:
    try:
        with files.entered(trash, name) as folder, files.entered(folder, _ENDPOINT) as endpoint:
            record = files.read_file(folder, _RECORD) or b""
            content = files.read_file(endpoint, MARKER)
            modified = os.fstat(folder.fd).st_mtime
    except (FileNotFoundError, NotADirectoryError):  # a move that was cut short, or a purge that goes on
        return None
    marker = parse_marker(content) if content is not None else None
    try:
        deleted_at = float(json.loads(record)["deleted_at"])
    except (ValueError, KeyError, TypeError, RecursionError):  # damaged: the directory's own time is near enough
        deleted_at = modified
    return TrashEntry(name, trash.at(name), marker if isinstance(marker, Marker) else None, deleted_at)


def move_out(root: Directory, trash: Directory, entry: str, name: str) -> None:
    """Put a deleted endpoint back under `name`, with its user endpoints' directories.

    Raises:
        Refused: there is no such entry, or `name` is taken.
    """
    if files.exists(root, name):
        raise Refused(
            f"{name} exists",
            where=root.at(name),
            why="a deleted endpoint is put back only where nothing is",
            remedy=f"move {root.at(name)} aside, then run the command again",
        )
    try:
        with files.entered(trash, entry) as folder:
            os.rename(_ENDPOINT, name, src_dir_fd=folder.fd, dst_dir_fd=root.fd)
            os.fsync(root.fd)
            faults.reached("restore.moved")
            with os.scandir(folder.fd) as found:
                others = [e.name for e in found if user_endpoint(e.name) is not None]
            for directory in others:
                os.rename(directory, directory, src_dir_fd=folder.fd, dst_dir_fd=root.fd)
            os.fsync(root.fd)
    except FileNotFoundError as e:
        raise _missing(trash, entry) from e
    purge(trash, entry)


def purge(trash: Directory, entry: str) -> None:
    """Remove an entry from the disk; it leaves the list first, so that a purge cut short shows no half entry.

    Raises:
        Refused: there is no such entry.
    """
    gone = f"{_GOING}{entry}"
    faults.reached("purge.begin")
    try:
        os.rename(files.check_component(entry), gone, src_dir_fd=trash.fd, dst_dir_fd=trash.fd)
    except FileNotFoundError as e:
        if not files.exists(trash, gone):
            raise _missing(trash, entry) from e
    os.fsync(trash.fd)
    with _PURGING:  # what is left of an earlier purge goes too, and two threads would go over each other's
        with os.scandir(trash.fd) as found:
            going = [e.name for e in found if e.name.startswith(_GOING)]
        for name in going:
            files.remove_tree(trash, name)
    os.fsync(trash.fd)
    faults.reached("purge.done")


def _missing(trash: Directory, entry: str) -> Refused:
    return Refused(f"there is no {entry} in the trash", where=trash.path, remedy=f"what there is: ls {trash.path}")
