"""The `EndpointHost` port on this machine: files, processes and the installed globus-compute-endpoint."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from shlex import quote
from typing import TYPE_CHECKING

from reconciler.adapters import (
    batch,
    changes,
    environment,
    faults,
    files,
    login_shell,
    machine,
    remains,
    signals,
    tool,
    trash,
)
from reconciler.adapters import process as processes
from reconciler.adapters import start as starting
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.endpoint_dir import (
    Contents,
    live_user_endpoints,
    read_directory,
)
from reconciler.adapters.files import Directory
from reconciler.adapters.names import OWN_DIRECTORY, user_endpoint
from reconciler.adapters.own_dir import BACKUPS, BUILDS, TRASH, open_config_dir, open_own
from reconciler.adapters.remains import LOG
from reconciler.adapters.server_time import ServerTime
from reconciler.core.environment import Variable
from reconciler.core.live import (
    BatchSystem,
    LiveDirectory,
    PidFile,
    Process,
    TrashEntry,
)
from reconciler.core.machine import EndpointTool, HostFacts, LoginShell, Moment
from reconciler.core.marker import MARKER, Marker
from reconciler.core.pid_file import is_stale
from reconciler.core.redact import last_lines, redact
from reconciler.errors import FileSystemError, Overtaken
from reconciler.paths import expanded
from reconciler.ports import Clock, EndpointHost, NewFile, Started

if TYPE_CHECKING:
    from reconciler.adapters.nursery import Nursery

log = logging.getLogger(__name__)

NURSERY_WORTH_IT = 3
"""So many starts at least pay for a process that imports globus-compute-endpoint once for all of them."""


class LocalHost:
    """The endpoint directories of one config directory and their daemons.

    Args:
        config_dir: the config directory (`~` is the home directory); made when something is written.
        python: the environment whose globus-compute-endpoint is used, or its Python; None for PATH.
        environ: the variables to choose a daemon's environment from; this process's when None.
        extra: variables that daemons get in any case (the client id of the login).
        clock: the time.
        start_limit: seconds that one start may take.
        hidden: the manifest's secrets, which a log must not show.
    """

    def __init__(
        self,
        config_dir: str,
        *,
        python: str | None = None,
        environ: Mapping[str, str] | None = None,
        extra: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        start_limit: float = starting.TIME_LIMIT,
        hidden: Iterable[str] = (),
    ) -> None:
        faults.check()
        self._path = str(expanded(config_dir))
        self._python = python
        self._environ = {**(os.environ if environ is None else environ), **(extra or {})}
        self._clock = clock or SystemClock()
        self._start_limit = start_limit
        self._hidden = tuple(hidden)
        self._server_time = ServerTime(self._path, self._clock)
        self._nursery: Nursery | None = None

    @property
    def config_dir(self) -> str:
        return self._path

    def facts(self) -> HostFacts:
        return machine.facts()

    def moment(self) -> Moment:
        return Moment(machine.facts().boot_id, time.clock_gettime(time.CLOCK_BOOTTIME))

    def tool(self) -> EndpointTool:
        found = tool.find(self._python, self._environ)
        log.info("%s: %s", found.command, ", ".join(f"{name} {version}" for name, version in found.versions.items()))
        return found

    def login_shell(self) -> LoginShell:
        log.info("ask a login shell for PATH")
        return login_shell.ask()

    def environment(self) -> Mapping[str, Variable]:
        return environment.variables(self._environ)

    def directories(self) -> Mapping[str, LiveDirectory]:
        with files.translating("read the config directory", self._path):
            try:
                with open_config_dir(self._path, create=False) as root:
                    return self._read_all(root)
            except FileNotFoundError:
                return {}

    def _read_all(self, root: Directory) -> dict[str, LiveDirectory]:
        names = sorted(os.listdir(root.fd))  # noqa: PTH208  # a descriptor, not a path
        visible = [n for n in names if not n.startswith(".") and n.isprintable()]
        age = self._server_time.age
        user_endpoints = live_user_endpoints(root, visible, age)
        chosen = [n for n in visible if not n.startswith("uep.") or user_endpoint(n) is None]
        daemons = processes.daemons() if chosen else ()
        contents = Contents()
        found: dict[str, LiveDirectory] = {}
        for name in chosen:
            entry = read_directory(root, name, contents, age=age, daemons=daemons, user_endpoints=user_endpoints)
            if entry is not None:
                found[name] = entry
        return found

    def directory(self, name: str) -> LiveDirectory | None:
        files.check_component(name)
        with files.translating(f"read {name}", self._at(name)):
            try:
                with open_config_dir(self._path, create=False) as root:
                    age = self._server_time.age
                    names = os.listdir(root.fd)  # noqa: PTH208  # a descriptor, not a path
                    user_endpoints = live_user_endpoints(root, names, age)
                    return read_directory(
                        root, name, Contents(), age=age, daemons=processes.daemons(), user_endpoints=user_endpoints
                    )
            except FileNotFoundError:
                return None

    def create(self, name: str, files: Mapping[str, NewFile], marker: Marker | None) -> None:
        with self._writing(f"create {name}", name) as root, open_own(self._path, BUILDS) as builds:
            self._make_room(root, name)
            changes.create(root, builds, name, files, marker)

    def rename(self, name: str, new: str) -> None:
        with self._writing(f"rename {name}", name) as root:
            found = self.directory(name)
            if found is not None and (found.processes or (found.pid_file and not is_stale(found.pid_file.age))):
                raise self._still_runs(name)
            self._make_room(root, new)
            changes.rename(root, name, new)

    def write_file(self, name: str, file: str, new: NewFile, *, backup: bool) -> None:
        with self._endpoint(f"write {file}", name) as directory:
            if backup:
                self._keep_copy(directory, name, file)
            files.sweep(directory)
            files.replace(directory, file, new.content, mode=new.mode, points=("write.temp", "write.renamed"))

    def remove_file(self, name: str, file: str) -> None:
        with self._endpoint(f"remove {file}", name) as directory:
            self._keep_copy(directory, name, file)
            files.remove(directory, file)
            faults.reached("remove.done")

    def _keep_copy(self, directory: Directory, name: str, file: str) -> None:
        content = files.read_file(directory, files.check_component(file), follow=True)
        if content is not None:
            with open_own(self._path, BACKUPS, name) as backups:
                trash.keep_copy(backups, file, content, self._for_names(self._server_time.now()))

    def _make_room(self, root: Directory, name: str) -> None:
        """Put aside what is no endpoint, and stands where one is to be."""
        if remains.there_are(root, files.check_component(name)):
            with open_own(self._path, BACKUPS, name) as backups:
                remains.put_aside(root, name, backups, trash.stamp(self._for_names(self._server_time.now())))

    def _for_names(self, at: float | None) -> float:
        """Return the time that names are to sort by: the file server's, or without it this node's."""
        return self._clock.now() if at is None else at

    def write_marker(self, name: str, marker: Marker, *, backup: bool = False) -> None:
        with self._endpoint("write the marker", name) as directory:
            if backup:
                self._keep_copy(directory, name, MARKER)
            files.sweep(directory)
            files.replace(directory, MARKER, changes.marker_bytes(marker), points=("marker.temp", "marker.written"))

    def clear_pid_file(self, name: str, seen: PidFile) -> None:
        with self._endpoint("remove the PID file", name) as directory:
            found = self.directory(name)
            marked = found.marker if found and isinstance(found.marker, Marker) else None
            named = (found.endpoint_id if found else None, marked.id if marked else None)
            ids = {value for value in named if isinstance(value, str)}
            running = found.processes if found else ()
            changes.clear_pid_file(
                directory, seen, running, lambda daemon: processes.may_belong(daemon, name, self._path, ids)
            )

    def withdraw_pid_file(self, name: str, seen: PidFile | None) -> bool:
        with self._endpoint("remove the PID file", name) as directory:
            found = self.directory(name)
            return changes.withdraw_pid_file(directory, seen, found.processes if found else ())

    def start(
        self, name: str, endpoint_id: str | None, tool: EndpointTool, kept: Mapping[str, str] | None = None
    ) -> Started:
        log.info("start %s with %s", name, tool.command)
        declared = environment.declared(self._environ, self._bin_dir(tool), kept)
        return starting.run(
            starting.Start(
                config_dir=self._path,
                name=files.check_component(name),
                endpoint_id=endpoint_id,
                tool=tool,
                environment=declared,
                secrets=self._secrets(),
                clock=self._clock,
                read=lambda: self.directory(name),
                log=lambda: self.log_tail(name, 30),
                limit=self._start_limit,
                nursery=self._nursery,
            )
        )

    @contextmanager
    def many_starts(self, count: int, tool: EndpointTool, kept: Mapping[str, str] | None = None) -> Iterator[None]:
        from reconciler.adapters.nursery import hatched, interpreter  # noqa: PLC0415  # a plan never starts anything

        nursery_python = interpreter(tool)
        if count < NURSERY_WORTH_IT or not os.access(nursery_python, os.X_OK):
            yield
            return
        self._nursery = hatched(tool, environment.declared(self._environ, self._bin_dir(tool), kept))
        try:
            yield
        finally:
            nursery, self._nursery = self._nursery, None
            if nursery is not None:
                nursery.close()

    def signal_stop(self, name: str, process: Process) -> None:
        log.info("end process %d of %s", process.pid, name)
        if signals.terminate(process, name):
            faults.reached("stop.signalled")

    def take_pid_file(self, name: str, process: Process) -> bool:
        with self._endpoint("remove the PID file", name) as directory:
            taken = changes.take_pid_file(directory, name, process)
        if taken:
            log.info("process %d of %s took no notice: its PID file was removed", process.pid, name)
        return taken

    def wait_stopped(self, name: str, process: Process, timeout: float) -> bool:
        if not signals.wait_gone(process, timeout):
            return False
        faults.reached("stop.gone")
        with self._writing("remove the PID file", name) as root:
            changes.drop_pid_file(root, name, process.pid)
        return True

    def log_tail(self, name: str, lines: int) -> str:
        files.check_component(name)
        with files.translating("read the log", self._at(f"{name}/{LOG}")):
            try:
                with files.opened(self._path) as root, files.entered(root, name) as directory:
                    text = files.read_end(directory, LOG, min(1 << 22, 400 * max(lines, 100)))
            except FileNotFoundError:
                return ""
        return last_lines(redact(text, self._secrets()), lines)

    def submits_jobs(self, ids: Collection[str]) -> frozenset[BatchSystem]:
        with files.translating("look for batch scripts", self._path):
            return batch.submitted(self._path, ids)

    def to_trash(self, name: str) -> str:
        with self._writing(f"move {name} to the trash", name) as root, open_own(self._path, TRASH) as bin_:
            found = self.directory(name)
            if found is not None and (found.processes or (found.pid_file and not is_stale(found.pid_file.age))):
                raise self._still_runs(name)
            at = self._server_time.now()
            return trash.move_in(root, bin_, name, self._for_names(at), at)

    def _still_runs(self, name: str) -> Overtaken:
        return Overtaken(
            f"{name} still runs",
            where=self._at(name),
            why="its process lives, or its PID file is fresh (it may run on another login node)",
            remedy=f"stop it first, on its node: `globus-compute-endpoint -c {quote(self._path)} stop {quote(name)}`",
        )

    def trash(self, *, sizes: bool = False) -> tuple[TrashEntry, ...]:
        with files.translating("read the trash", self._at(f"{OWN_DIRECTORY}/{TRASH}")):
            try:
                with files.opened(self._at(f"{OWN_DIRECTORY}/{TRASH}")) as bin_:
                    return trash.entries(bin_, self._server_time.now, sizes=sizes)
            except FileNotFoundError:
                return ()

    def restore(self, entry: str, name: str) -> None:
        with self._writing(f"put {name} back", name) as root, open_own(self._path, TRASH) as bin_:
            self._make_room(root, name)
            trash.move_out(root, bin_, self._entry(entry), name)

    def purge(self, entry: str) -> None:
        where = self._at(f"{OWN_DIRECTORY}/{TRASH}/{self._entry(entry)}")
        with files.translating("remove it from the trash", where), open_own(self._path, TRASH) as bin_:
            trash.purge(bin_, self._entry(entry))

    def _entry(self, entry: str) -> str:
        """Return an entry's name, given that or its path."""
        return files.check_component(entry.removeprefix(self._at(f"{OWN_DIRECTORY}/{TRASH}/")))

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    @staticmethod
    def _bin_dir(tool: EndpointTool) -> str:
        return tool.command.rpartition("/")[0]

    def _secrets(self) -> tuple[str, ...]:
        return (*environment.secrets(self._environ), *self._hidden)

    @contextmanager
    def _writing(self, doing: str, name: str) -> Iterator[Directory]:
        """Open the config directory for a change."""
        files.check_component(name)
        with files.translating(doing, self._at(name)), open_config_dir(self._path, create=True) as root:
            yield root

    @contextmanager
    def _endpoint(self, doing: str, name: str) -> Iterator[Directory]:
        """Open an endpoint's directory for a change; never through a link."""
        with self._writing(doing, name) as root:
            try:
                with files.entered(root, name) as directory:
                    yield directory
            except FileNotFoundError as e:
                raise FileSystemError(
                    f"cannot {doing}",
                    where=self._at(name),
                    why="the directory is not there (any more)",
                    remedy="run `chiltepin plan` again",
                ) from e


if TYPE_CHECKING:
    _implements: type[EndpointHost] = LocalHost
