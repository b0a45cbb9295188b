"""Reading endpoint directories: each file once, nothing executed, identical contents held once.

Reading must stay cheap for a thousand directories, so it works on directory descriptors and compares
with the previous directory's content before it hashes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from reconciler.adapters.files import Directory, translated
from reconciler.adapters.names import user_endpoint
from reconciler.adapters.process import Daemon, belongs
from reconciler.adapters.remains import LOG, are_remains
from reconciler.adapters.user_processes import with_processes
from reconciler.core.daemon import is_up
from reconciler.core.desired import CONFIG, DOCUMENTS, IDENTITY_MAPPING, SCHEMA, TEMPLATE, USER_ENVIRONMENT
from reconciler.core.live import Damaged, DirectoryKind, LiveDirectory, LiveFile, PidFile, Process, UserEndpoint
from reconciler.core.marker import FORMAT_VERSION, MARKER, Marker
from reconciler.core.names import canonical_uuid, upstream_fault
from reconciler.core.pid_file import START_REFUSES

MANAGED_FILES = frozenset({CONFIG, TEMPLATE, SCHEMA, USER_ENVIRONMENT, IDENTITY_MAPPING})
LEGACY_CONFIG = "config.py"
REGISTRATION = "endpoint.json"
PID_FILE = "daemon.pid"
_LIMIT = 8 << 20
_ENGINE = re.compile(rb"^(?:engine|'engine'|\"engine\")\s*:", re.MULTILINE)
Age = Callable[[float], "float | None"]
"""Says how many seconds ago a time of the file server was, or None when that cannot be told."""

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass
class Contents:
    """The file contents seen in one pass, each held once however many directories share it."""

    _last: dict[str, LiveFile] = field(default_factory=dict)
    _by_digest: dict[tuple[str, int, str | None], LiveFile] = field(default_factory=dict)

    def file(self, name: str, content: bytes, mode: int, link: str | None) -> LiveFile:
        """Return the LiveFile of `content`; equal ones are the same object."""
        last = self._last.get(name)
        if last is not None and last.content == content and (last.mode, last.link) == (mode, link):
            return last
        digest = hashlib.sha256(content).hexdigest()
        file = self._by_digest.setdefault((digest, mode, link), LiveFile(digest, content, mode, link))
        self._last[name] = file
        return file


def read_regular(directory_fd: int, name: str, *, follow: bool) -> tuple[bytes, os.stat_result]:
    """Return a regular file's content and status.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger than 8 MiB.
    """
    fd = os.open(name, _FLAGS if follow else _FLAGS | os.O_NOFOLLOW, dir_fd=directory_fd)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        size = info.st_size
        if size > _LIMIT:
            raise OSError(errno.EFBIG, f"larger than {_LIMIT >> 20} MiB")
        content = os.read(fd, size + 1)
        while len(content) != size:  # it grew or shrank while it was opened
            size = len(content)
            content += os.read(fd, _LIMIT)
        return content, info
    finally:
        os.close(fd)


def _read_through(directory_fd: int, name: str) -> tuple[bytes, os.stat_result, str | None]:
    """Return a file's content and status, and the link through which it was read, if it is one."""
    try:
        return *read_regular(directory_fd, name, follow=False), None
    except OSError as e:
        if e.errno != errno.ELOOP:
            raise
    return *read_regular(directory_fd, name, follow=True), os.readlink(name, dir_fd=directory_fd)


def parse_marker(content: bytes) -> Marker | Damaged:
    """Interpret `.chiltepin.json`; a newer format is damaged as far as this version is concerned."""
    try:
        marker = Marker.model_validate_json(content)
    except ValidationError as e:
        return _newer(content) or Damaged(f"{MARKER} cannot be read: {_first_finding(e)}")
    if marker.format_version != FORMAT_VERSION:
        return _newer(content) or Damaged(f"{MARKER} has the unknown format_version {marker.format_version}")
    return marker


def _first_finding(error: ValidationError) -> str:
    finding = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in finding["loc"])
    return f"{place}: {finding['msg']}" if place else finding["msg"]


def _newer(content: bytes) -> Damaged | None:
    """Say so when the marker was written by a newer version."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    found = document.get("format_version") if isinstance(document, dict) else None
    if isinstance(found, int) and found > FORMAT_VERSION:
        reason = f"{MARKER} has format_version {found}; this version of chiltepin reads up to {FORMAT_VERSION}"
        return Damaged(reason, newer=True)
    return None


def parse_registration(content: bytes) -> str | Damaged:
    """Interpret endpoint.json: its UUID in its usual form, or what is wrong with it."""
    try:
        found = json.loads(content)["endpoint_id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return Damaged(f"{REGISTRATION} does not hold an endpoint_id (cut short, or edited)")
    known = canonical_uuid(found) if isinstance(found, str) else None
    return known or Damaged(f"{REGISTRATION}'s endpoint_id is not a UUID")


def parse_pid(content: bytes) -> int | None:
    """Return the PID in a PID file, None when it is not a positive number."""
    text = content.strip()
    return int(text) if text.isdigit() and 0 < len(text) < 10 and int(text) > 0 else None


def _engine_at_top(config: bytes) -> bool:
    """Say whether config.yaml has a top-level `engine` (the layout before templates)."""
    if b"engine" not in config:
        return False
    if _ENGINE.search(config):
        return True
    if not config.lstrip().startswith(b"{"):
        return False  # block style begins its keys at the line's start
    import yaml  # noqa: PLC0415  # only for the rare flow-style file that mentions an engine

    try:
        document = yaml.safe_load(config)
    except (yaml.YAMLError, ValueError, RecursionError):
        return False  # not ours to judge here: the plan reports YAML errors with their position
    return isinstance(document, dict) and "engine" in document


@dataclass
class Reading:
    """What one directory holds, while it is being read."""

    files: dict[str, LiveFile] = field(default_factory=dict)
    endpoint_id: str | Damaged | None = None
    marker: Marker | Damaged | None = None
    pid_file: PidFile | None = None
    legacy: bool = False
    problem: str | None = None
    documents_age: float | None = None
    logged: float | None = None
    remains: bool = False


def _younger(one: float | None, other: float | None) -> float | None:
    """Return the lower of two ages; None when neither is known."""
    return min((a for a in (one, other) if a is not None), default=None)


def _read_entry(fd: int, name: str, reading: Reading, contents: Contents, age: Age) -> None:
    """Read one file of an endpoint directory into `reading`."""
    try:
        if name in MANAGED_FILES:
            content, info, link = _read_through(fd, name)
            reading.files[name] = contents.file(name, content, stat.S_IMODE(info.st_mode), link)
            if name in DOCUMENTS:
                reading.documents_age = _younger(reading.documents_age, age(info.st_mtime))
        elif name == PID_FILE:
            content, info = read_regular(fd, name, follow=False)
            reading.pid_file = PidFile(parse_pid(content), age(info.st_mtime), info.st_mtime)
        elif name == REGISTRATION:
            reading.endpoint_id = parse_registration(read_regular(fd, name, follow=False)[0])
        else:
            reading.marker = parse_marker(read_regular(fd, name, follow=False)[0])
    except FileNotFoundError:
        if name in MANAGED_FILES:  # a daemon or its stop removes the others at any time
            reading.problem = f"{name} is a dangling symbolic link, or disappeared while it was read"
    except OSError as e:
        reason = f"{name}: {e.strerror or e}"
        if name == MARKER:
            reading.marker = Damaged(reason)
        elif name == REGISTRATION:
            reading.endpoint_id = Damaged(reason)
        else:
            reading.problem = reason


_WANTED = MANAGED_FILES | {PID_FILE, REGISTRATION, MARKER}


def _modified(fd: int, name: str) -> float | None:
    """Return when a file was last written; None when that cannot be told."""
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime
    except OSError:  # a remark on a death is all that is lost
        return None


def read_contents(fd: int, contents: Contents, age: Age) -> Reading:
    """Read every file of an endpoint directory that means something to us."""
    reading = Reading()
    names = os.listdir(fd)  # a descriptor, not a path
    reading.remains = are_remains(names)
    for name in names:
        if name in _WANTED:
            _read_entry(fd, name, reading, contents, age)
        elif name == LEGACY_CONFIG:
            reading.legacy = True
        elif name == LOG:
            reading.logged = _modified(fd, name)
    config = reading.files.get(CONFIG)
    if config is not None and b"engine" in config.content:
        reading.legacy = reading.legacy or _engine_at_top(config.content)
    return reading


def _kind(reading: Reading, problem: str | None) -> DirectoryKind:
    if problem is not None:
        return "other"
    if reading.problem is not None:
        return "unreadable"
    if reading.legacy:
        return "legacy"
    if CONFIG in reading.files or reading.marker is not None:
        return "endpoint"
    # A daemon whose directory was removed while it was starting makes it again, with its UUID.
    return "endpoint" if isinstance(reading.endpoint_id, str) else "other"


def read_directory(
    root: Directory,
    name: str,
    contents: Contents,
    *,
    age: Age,
    daemons: Iterable[Daemon],
    user_endpoints: Mapping[str, list[UserEndpoint]],
) -> LiveDirectory | None:
    """Read one entry of the config directory; None when it is not there (any more), or is only what `remains` knows.

    Args:
        user_endpoints: the live ones by their endpoint's UUID.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root.fd)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return _not_a_directory(root, name)
    except OSError as e:
        return LiveDirectory(name, "unreadable", problem=translated(e, f"open {name}", root.at(name)).why)
    try:
        reading = read_contents(fd, contents, age)
        info = os.fstat(fd)
    except OSError as e:
        return LiveDirectory(name, "unreadable", problem=translated(e, f"read {name}", root.at(name)).why)
    finally:
        os.close(fd)
    if reading.remains:
        return None
    ids = known_ids(reading.endpoint_id, reading.marker)
    problem = upstream_fault(name)
    running = _processes(daemons, name, root.path, (info.st_dev, info.st_ino), ids)
    listed = [u for i in sorted(ids) for u in user_endpoints.get(i, ())] if user_endpoints else []
    return LiveDirectory(
        name=name,
        kind=_kind(reading, problem),
        files=reading.files,
        endpoint_id=reading.endpoint_id,
        marker=reading.marker,
        pid_file=reading.pid_file,
        processes=running,
        user_endpoints=with_processes(listed, [p for p in running if is_up(p)]),
        problem=problem or reading.problem,
        documents_age=reading.documents_age,
        logged=reading.logged,
        changed=age(info.st_mtime) if reading.pid_file is None and reading.logged is not None else None,
    )


def _processes(
    daemons: Iterable[Daemon], name: str, config_dir: str, directory: tuple[int, int], ids: set[str]
) -> tuple[Process, ...]:
    return tuple(d.process for d in daemons if belongs(d, name, config_dir, directory, ids))


def _not_a_directory(root: Directory, name: str) -> LiveDirectory | None:
    """Describe a symbolic link or a file that stands where an endpoint could be."""
    try:
        info = os.stat(name, dir_fd=root.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(info.st_mode):
        return LiveDirectory(name, "link", problem=f"a symbolic link to {os.readlink(name, dir_fd=root.fd)}")
    return LiveDirectory(name, "other", problem="a file, not a directory")


def known_ids(endpoint_id: str | Damaged | None, marker: Marker | Damaged | None) -> set[str]:
    """Return the UUIDs that this directory is known by."""
    ids = {endpoint_id} if isinstance(endpoint_id, str) else set()
    if isinstance(marker, Marker) and marker.id:
        ids.add(marker.id)
    return ids


def live_user_endpoints(root: Directory, names: Iterable[str], age: Age) -> dict[str, list[UserEndpoint]]:
    """Return the user endpoints with a fresh PID file by their endpoint's UUID.

    Nothing ever removes the directories of dead ones, so that only the PID file is looked for.
    """
    found: dict[str, list[UserEndpoint]] = {}
    for name in names:
        ids = user_endpoint(name)
        if ids is None:
            continue
        try:
            content, info = read_regular(root.fd, f"{name}/{PID_FILE}", follow=False)
        except FileNotFoundError:  # it has ended
            continue
        except OSError:  # it cannot be told: that must not read as idle
            found.setdefault(ids[0], []).append(UserEndpoint(name, ids[1], None, None))
            continue
        seconds = age(info.st_mtime)
        if seconds is None or seconds < START_REFUSES:
            entry = UserEndpoint(name, ids[1], parse_pid(content), seconds)
            found.setdefault(ids[0], []).append(entry)
    return found
