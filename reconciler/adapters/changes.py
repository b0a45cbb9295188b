"""Changes to one endpoint directory, each a single effect that happens completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

from reconciler.adapters import faults, files
from reconciler.adapters import process as processes
from reconciler.adapters.endpoint_dir import PID_FILE, parse_pid, read_regular
from reconciler.adapters.files import Directory
from reconciler.adapters.process import Daemon
from reconciler.core.live import PidFile, Process
from reconciler.core.marker import MARKER, Marker
from reconciler.core.names import upstream_fault
from reconciler.errors import Overtaken, Refused
from reconciler.ports import NewFile


def marker_bytes(marker: Marker) -> bytes:
    """Return the marker as it is written to disk."""
    return marker.model_dump_json(indent=1).encode() + b"\n"


def create(
    root: Directory, builds: Directory, name: str, new_files: Mapping[str, NewFile], marker: Marker | None
) -> None:
    """Build an endpoint directory in `builds` and rename it into the config directory.

    Raises:
        Refused: the name is no endpoint's.
        Overtaken: something of that name exists.
        OSError: nothing was made.
    """
    if (problem := upstream_fault(name)) is not None:
        raise Refused(f"{name!r} cannot be an endpoint", why=problem, remedy="choose another name")
    faults.reached("create.begin")
    aside = f"{name[:100]}-{files.token()}"
    try:
        with files.entered(builds, aside, create=True) as directory:
            for file, new in new_files.items():
                files.write_new(directory, files.check_component(file), new.content, new.mode)
            if marker is not None:
                files.write_new(directory, MARKER, marker_bytes(marker))
            os.fsync(directory.fd)
        faults.reached("create.built")
        _into_place(builds, aside, root, name)
    except BaseException:
        with suppress(OSError):  # what made it fail is to be told; what stays is swept later
            files.remove_tree(builds, aside)
        raise
    faults.reached("create.renamed")


def _into_place(builds: Directory, aside: str, root: Directory, name: str) -> None:
    """Rename the finished directory to where it belongs, unless something is there."""
    try:
        if files.exists(root, name):
            raise FileExistsError
        os.rename(aside, name, src_dir_fd=builds.fd, dst_dir_fd=root.fd)
        os.fsync(root.fd)
    except (FileExistsError, NotADirectoryError) as e:
        raise Overtaken(
            f"{name} exists by now",
            where=root.at(name),
            why="it appeared after the plan was made",
            remedy="run `chiltepin plan` again",
        ) from e


def rename(root: Directory, name: str, new: str) -> None:
    """Give an endpoint directory another name. A daemon in it would live on beside the next one: there must be none.

    Raises:
        Refused: the name is no endpoint's.
        Overtaken: something of that name exists.
        OSError: nothing was renamed.
    """
    if (problem := upstream_fault(new)) is not None:
        raise Refused(f"{new!r} cannot be an endpoint", why=problem, remedy="choose another name")
    _into_place(root, files.check_component(name), root, new)
    faults.reached("rename.done")


def clear_pid_file(
    directory: Directory, seen: PidFile, found: tuple[Process, ...], may_be_its: Callable[[Daemon], bool]
) -> None:
    """Remove a PID file whose process is dead, if it is still the one that was seen.

    Args:
        found: the endpoint's processes on this host, looked up just now.
        may_be_its: whether a daemon that is not among them may be the endpoint's all the same.

    Raises:
        Overtaken: it was written or touched since, or its process lives.
    """
    try:
        content, info = read_regular(directory.fd, PID_FILE, follow=False)
    except FileNotFoundError:
        return
    pid = parse_pid(content)
    why = None
    if pid != seen.pid or info.st_mtime != seen.modified:
        why = "it was written or touched since the plan was made"
    elif found:
        why = f"process {found[0].pid} of this endpoint lives"
    elif pid is not None and (daemon := processes.daemon_at(pid)) is not None and may_be_its(daemon):
        why = f"the process that it names, {pid}, lives and may be this endpoint's"
    if why is not None:
        raise Overtaken(
            "the PID file is not stale", where=directory.at(PID_FILE), why=why, remedy="run `chiltepin plan` again"
        )
    files.remove(directory, PID_FILE)
    faults.reached("pid.cleared")


def withdraw_pid_file(directory: Directory, seen: PidFile | None, found: tuple[Process, ...]) -> bool:
    """Remove the PID file of a daemon on another node; say whether there was one.

    Args:
        seen: the one that was seen, None when there was none.
        found: the endpoint's processes on this host, looked up just now.

    Raises:
        Overtaken: it is another daemon's by now.
    """
    content = files.read_file(directory, PID_FILE)
    if content is None:
        return False
    pid, why = parse_pid(content), None
    if content.strip() and (seen is None or pid != seen.pid):
        why = (
            f"it names process {content.strip()[:20].decode('ascii', 'replace')}: another daemon was started meanwhile"
        )
    elif found:
        why = f"process {found[0].pid} of this endpoint runs on this node"
    if why is not None:
        raise Overtaken(
            "the PID file is not that of the daemon on the other node",
            where=directory.at(PID_FILE),
            why=why,
            remedy="run `chiltepin plan` again",
        )
    files.remove(directory, PID_FILE)
    faults.reached("pid.withdrawn")
    return True


def take_pid_file(directory: Directory, name: str, process: Process) -> bool:
    """Remove the PID file of a daemon on this node that goes on as if it had not been signalled; say whether it was.

    An empty one is its own: it touched the file at the very moment at which that was removed.
    """
    daemon = processes.now_of(process)
    if daemon is None or daemon.starting or daemon.stopping or daemon.name != name:
        return False
    content = files.read_file(directory, PID_FILE)
    if content is None:
        return False
    pid = parse_pid(content)
    if content.strip() and pid != process.pid and pid not in (process.inner_pids or ()):
        return False
    files.remove(directory, PID_FILE)
    faults.reached("pid.taken")
    return True


def drop_pid_file(root: Directory, name: str, pid: int) -> None:
    """Remove the PID file of a process that has ended without doing that itself."""
    try:
        with files.entered(root, name) as directory:
            content = files.read_file(directory, PID_FILE)
            if content is not None and parse_pid(content) == pid:
                files.remove(directory, PID_FILE)
    except FileNotFoundError:  # the whole directory is gone
        return
