"""Observe: everything that a plan looks at is read once, through the ports, into one `LiveState`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Literal, TypeVar

from reconciler.core.daemon_log import LINES
from reconciler.core.deaths import ended_here, too_many
from reconciler.core.desired import Desired
from reconciler.core.elsewhere import (
    in_doubt,
    lost_its_pid_file_just_now,
    of_starts_that_were_cut_off,
    without_a_node,
)
from reconciler.core.environment import SECRETS, Variable
from reconciler.core.live import (
    GONE,
    Damaged,
    JournalEntry,
    LiveDirectory,
    LiveState,
    Registration,
    Status,
    Unknown,
)
from reconciler.core.lock import Lock
from reconciler.core.machine import EndpointTool, LoginShell
from reconciler.core.marker import Marker
from reconciler.core.pins import takes_login_path
from reconciler.core.traces import has_lost_its_directory
from reconciler.errors import EndpointCommandError, ReconcilerError, ServiceRefused, ServiceUnreachable
from reconciler.ports import ComputeService, EndpointHost, Outside
from reconciler.threads import started

_Answer = TypeVar("_Answer")


def observe(outside: Outside, desired: Desired, lock: Lock | None, *, to_plan: bool = True) -> LiveState:
    """Read the directories, the daemons and the registrations.

    The list of registrations is one request, under way while the directories are read. A status is asked
    only of endpoints whose directory is missing, or which another node seems to have left. Nothing is changed.

    Args:
        outside: the ports.
        desired: says which endpoints matter.
        lock: says which UUIDs are known.
        to_plan: whether files will be planned; a mere look does without the login shell's PATH.

    Raises:
        LoginRequired: without a login nothing can be said about ownership.
    """
    host, service = outside.host, outside.service
    identity = service.identity()
    asked = _ask(service.owned)
    directories = host.directories()
    tool = _tool(host)
    pending = _pending(entry for entry in outside.store.unfinished() if entry.belongs_to(desired.stack))
    trash = host.trash(sizes=desired.trash.max_bytes is not None)
    registrations = _answer(asked)
    environment = host.environment()
    if to_plan and _is_secret_new(desired.stack, directories, environment):
        # A token in the store may come from the secret before: a mistyped one must not restart anything.
        refused = _answer(_ask(service.check_secret))
        registrations = refused if isinstance(refused, Unknown) else registrations
    facts = host.facts()
    reachable = not isinstance(registrations, Unknown)
    wanted = _lost(desired, lock, directories) | _displaced(desired.stack, directories)
    login = _login_shell(host) if to_plan and _needs_login_shell(desired, directories) else None
    live = LiveState(
        host=facts,
        identity=identity,
        config_dir=host.config_dir,
        directories=directories,
        registrations=registrations,
        statuses=_statuses(service, wanted) if reachable else {},
        tool=tool,
        login_path=login.path if isinstance(login, LoginShell) else login,
        login_variables=login.variables if isinstance(login, LoginShell) else {},
        environment=environment,
        trash=trash,
        pending=pending,
        candidates=_candidates(service, pending, directories, registrations),
        moment=host.moment(),
    )
    live = replace(live, log_ends=_log_ends(host, desired, live))
    starting = {e.directory for e in desired.endpoints.values() if e.state == "running"} if to_plan else set[str]()
    return _look_elsewhere(service, desired, lock, live, starting) if reachable else live


def _is_secret_new(stack: str, directories: Mapping[str, LiveDirectory], environment: Mapping[str, Variable]) -> bool:
    """Whether a daemon of this stack was started with another value of what is secret in the login."""
    for directory in directories.values():
        marker = directory.marker
        if isinstance(marker, Marker) and marker.stack == stack and marker.daemon is not None:
            before = marker.daemon.environment
            if before and any(n in environment and environment[n].digest != before.get(n, "") for n in SECRETS):
                return True
    return False


def _log_ends(host: EndpointHost, desired: Desired, live: LiveState) -> dict[str, str]:
    """Read the ends of the logs of daemons that are gone, or may be, and of those that keep dying."""
    found: dict[str, str] = {}
    for directory in _ours(desired, live.directories):
        marker = directory.marker if isinstance(directory.marker, Marker) else None
        dies = marker is not None and (ended_here(directory, marker, live) or too_many(marker.deaths))
        has_died = dies and not directory.processes
        if has_died or (directory.ids and lost_its_pid_file_just_now(directory)):
            found[directory.name] = log_end(host, directory.name)
    return found


def log_end(host: EndpointHost, name: str) -> str:
    """Return the end of a daemon's log; one that cannot be read explains nothing."""
    try:
        return host.log_tail(name, LINES)
    except ReconcilerError:
        return ""


def ask_statuses(outside: Outside, live: LiveState, wanted: Iterable[str]) -> LiveState:
    """Return `live` with the status of each UUID in `wanted` (one request each)."""
    return replace(live, statuses={**live.statuses, **_statuses(outside.service, wanted)})


def _ask(question: Callable[[], _Answer]) -> Future[_Answer]:
    """Ask in a thread for which nobody waits: Ctrl-C ends the program although the service is silent."""
    answer: Future[_Answer] = Future()

    def work() -> None:
        try:
            answer.set_result(question())
        except BaseException as e:  # noqa: BLE001 - whoever waits for the answer gets it
            answer.set_exception(e)

    started(work, "registrations")
    return answer


def _answer(asked: Future[_Answer]) -> _Answer | Unknown:
    try:
        return asked.result()
    except (ServiceUnreachable, ServiceRefused) as e:
        return Unknown(str(e))


def _pending(unfinished: Iterable[JournalEntry]) -> dict[str, JournalEntry]:
    """Return the intent that matters most for each endpoint; what was noted later goes into its data."""
    found: dict[str, JournalEntry] = {}
    for entry in unfinished:
        before = found.get(entry.endpoint)
        if entry.event == "intent":
            found[entry.endpoint] = _more_telling(before, entry) if before else entry
        elif entry.event == "note" and before and (before.run, before.sequence) == (entry.run, entry.sequence):
            found[entry.endpoint] = replace(before, data={**before.data, **entry.data})
    return found


def _more_telling(before: JournalEntry, entry: JournalEntry) -> JournalEntry:
    """Of two open intents: one to start, else the later; of first starts, the earlier knew the fewest UUIDs."""
    if not entry.begins_daemon:
        return before if before.begins_daemon else entry
    if not (before.is_first_start and entry.is_first_start and before.directory == entry.directory):
        return entry
    return replace(entry, data={**entry.data, "known": before.data.get("known", ())})


def _tool(host: EndpointHost) -> EndpointTool | Damaged:
    try:
        return host.tool()
    except EndpointCommandError as e:
        return Damaged(str(e))


def _login_shell(host: EndpointHost) -> LoginShell | Unknown:
    try:
        return host.login_shell()
    except EndpointCommandError as e:
        return Unknown(f"{e.what}: {e.why}" if e.why else e.what)


def _lost(desired: Desired, lock: Lock | None, directories: Mapping[str, LiveDirectory]) -> set[str]:
    """Return the UUIDs of endpoints that should have, or had, a directory here and have none of their own."""
    found: set[str] = set()
    for name, locked in lock.endpoints.items() if lock else ():
        left = name not in desired.endpoints and name not in desired.elsewhere
        matters = locked.claim.host == desired.host.name and (left or locked.claim.directory in directories)
        if lock and locked.id and matters and has_lost_its_directory(name, lock, desired, directories):
            found.add(locked.id)
    for name, endpoint in desired.endpoints.items():
        if endpoint.directory in directories or endpoint.state == "unmanaged":
            continue
        entries = lock.endpoints if lock else {}
        former = [entries[old] for old in desired.formerly(name) if old in entries]
        missing = [entry.id for entry in former if entry.claim.directory not in directories]
        own = entries[name].id if name in entries else None
        found |= {known for known in (endpoint.id, own, *missing) if known}
    return found


def _ours(desired: Desired, directories: Mapping[str, LiveDirectory]) -> tuple[LiveDirectory, ...]:
    """Return the directories that this stack has marked, or wants."""
    wanted = {e.directory for e in desired.endpoints.values() if e.state != "unmanaged"}
    return tuple(
        d
        for d in directories.values()
        if (d.marker.stack == desired.stack if isinstance(d.marker, Marker) else d.name in wanted)
    )


def _ids_on_record(desired: Desired, lock: Lock | None) -> dict[str, str]:
    """Return by directory the UUID under which lock or manifest would start what says none itself."""
    entries = lock.endpoints if lock else {}
    found = {entry.claim.directory: entry.id for entry in entries.values() if entry.id}
    for name, endpoint in desired.endpoints.items():
        locked = entries[name].id if name in entries else None
        found |= {endpoint.directory: known} if (known := locked or endpoint.id) else {}
    return found


def _look_elsewhere(
    service: ComputeService, desired: Desired, lock: Lock | None, live: LiveState, starting: Collection[str]
) -> LiveState:
    """Ask the service about endpoints that show no process here and may well run on another node.

    Args:
        starting: directories in which a daemon may be started.
    """
    ours = _ours(desired, live.directories)
    resting = {e.directory for e in desired.endpoints.values() if e.state == "stopped"}
    wanted = in_doubt(ours, live, resting, _ids_on_record(desired, lock)) | of_starts_that_were_cut_off(live)
    wanted -= set(live.statuses)
    live = replace(live, statuses={**live.statuses, **_statuses(service, wanted)})
    if isinstance(live.registrations, Unknown):
        return live
    found: dict[str, Registration] = {}
    # A single look answers for anybody's endpoint: what is not listed is not this identity's, and stays so.
    asked = without_a_node(ours, live, starting) & set(live.registrations)
    for endpoint_id in sorted(asked):
        try:
            registration = service.get(endpoint_id)
        except (ServiceUnreachable, ServiceRefused):
            continue  # only the node's name stays unknown, and what it would have proved
        if registration is not None:
            found[endpoint_id] = registration
    return replace(live, registrations={**live.registrations, **found}, asked_where=frozenset(asked))


def _displaced(stack: str, directories: Mapping[str, LiveDirectory]) -> set[str]:
    """Return the UUIDs of endpoints whose directory was renamed since its marker was written, or is a copy."""
    return {
        directory.marker.id
        for directory in directories.values()
        if isinstance(directory.marker, Marker)
        and directory.marker.stack == stack
        and directory.marker.id is not None
        and directory.marker.claim.directory != directory.name
    }


def _statuses(service: ComputeService, wanted: Iterable[str]) -> dict[str, Status | Literal["gone"] | Unknown]:
    found: dict[str, Status | Literal["gone"] | Unknown] = {}
    for endpoint_id in sorted(wanted):
        try:
            found[endpoint_id] = service.status(endpoint_id) or GONE
        except (ServiceUnreachable, ServiceRefused) as e:
            found[endpoint_id] = Unknown(str(e))
    return found


def _needs_login_shell(desired: Desired, directories: Mapping[str, LiveDirectory]) -> bool:
    """The login PATH is captured once; afterwards the marker has it."""
    for endpoint in desired.endpoints.values():
        if not takes_login_path(endpoint) or endpoint.state == "unmanaged":
            continue
        directory = directories.get(endpoint.directory)
        marker = directory.marker if directory else None
        if not isinstance(marker, Marker) or marker.path is None:
            return True
    return False


def _candidates(
    service: ComputeService,
    pending: Mapping[str, JournalEntry],
    directories: Mapping[str, LiveDirectory],
    registrations: Mapping[str, Registration] | Unknown,
) -> dict[str, tuple[Registration, ...] | Unknown]:
    """Look closer at registrations that a cut-off first start may have made.

    Before a first start the intent records which UUIDs of that name there were; only a newer one can be
    its own. Host name and user are in the single reply only, not in the list.
    """
    if isinstance(registrations, Unknown):
        return {}
    found: dict[str, tuple[Registration, ...] | Unknown] = {}
    for name, intent in pending.items():
        if not intent.is_first_start:
            continue
        before = set(intent.data.get("known", ()))
        directory = directories.get(intent.directory)
        if directory is not None and (isinstance(directory.endpoint_id, str) or directory.processes):
            continue
        fresh = [r for r in registrations.values() if r.name == intent.directory and r.id not in before]
        try:
            # What the list has and a single look does not find is not gone: it may be ours all the same.
            found[name] = tuple(service.get(r.id) or r for r in fresh)
        except (ServiceUnreachable, ServiceRefused) as e:
            found[name] = Unknown(str(e))
    return found
