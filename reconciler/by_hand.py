"""What is done to one endpoint by hand, without a manifest: configure, start, stop, delete, undelete.

Straight-line code over the ports, under the lease of the config directory. An endpoint that a stack manages is
neither configured nor deleted here, and its marker stays true.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from shlex import quote

from reconciler.core.daemon import Daemon, DaemonState, judge_daemon, say_doubled, way_out
from reconciler.core.desired import ENDPOINT_JSON, DesiredEndpoint, TextFile
from reconciler.core.diff import new_file
from reconciler.core.documents import file_specs
from reconciler.core.elsewhere import (
    MAY_BE_LEFT,
    has_ended_here,
    in_doubt,
    is_left_unsaid,
    lost_its_pid_file_just_now,
    may_be_left,
)
from reconciler.core.environment import given, join_path, keep
from reconciler.core.live import Damaged, LiveDirectory, LiveState, Registration, Unknown
from reconciler.core.marker import MARKER, Marker
from reconciler.core.names import name_fault
from reconciler.core.pid_file import LISTED_AS_RUNNING, LOOKED_AT_EVERY
from reconciler.core.single import elsewhere, entry_to_undelete, listing, online, refuse_managed, runs, still
from reconciler.core.started import begun_with, daemon_record
from reconciler.effects import CALLS_OF_A_START
from reconciler.ending import end_daemon
from reconciler.errors import LeaseHeld, Refused, TimedOut, UsageError
from reconciler.observe import ask_statuses, log_end
from reconciler.ports import Clock, EndpointHost, NewFile, Outside
from reconciler.under_way import ABSENCE_LIMIT, await_absence

_PAUSE = 0.2
_NOTICED_WITHIN = 20.0
"""Seconds in which the service hears of a daemon that was stopped: it says so itself when it ends."""
_AWAY = (DaemonState.ELSEWHERE, DaemonState.UNDECIDED)


def configure(
    outside: Outside, clock: Clock, name: str, *, template: TextFile, schema: TextFile, patience: float
) -> None:
    """Make an endpoint directory that no manifest manages.

    Raises:
        UsageError: this cannot be an endpoint's name.
        Refused: something of that name is there.
        EndpointCommandError: there is no usable globus-compute-endpoint.
    """
    fault = name_fault(name)
    if fault:
        raise UsageError(f"{name!r} cannot be an endpoint's name", why=fault, remedy="choose another name")
    host = outside.host
    with alone(outside, clock, patience):
        found = host.directory(name)
        if found is not None:
            refuse_managed(host.config_dir, found, "configured")
            raise Refused(
                f"{name} exists",
                where=f"{host.config_dir}/{name}",
                remedy=f"choose another name, or remove it first: `chiltepin endpoint delete {quote(name)}`",
            )
        config = {"display_name": name, "debug": True}
        endpoint = DesiredEndpoint(name, name, template, schema, config=config)
        path = join_path(host.tool().command.rpartition("/")[0], host.login_shell().path)
        specs = file_specs(endpoint, path, f"{host.config_dir}/{name}")
        host.create(name, {spec.file: NewFile(new_file(spec)[0], spec.mode) for spec in specs}, None)


def start(outside: Outside, clock: Clock, name: str, *, patience: float) -> None:
    """Start a daemon and wait until process, PID file and UUID are there; one that runs is left alone.

    Raises:
        UsageError: there is no such endpoint.
        Refused: it runs on another node, or elsewhere; its UUID is in doubt; or a stack's was never registered.
        TimedOut: for so long it could not be told whether a daemon is left on another node.
        LoginRequired: there is no login.
        ServiceUnreachable: the service could not be asked whether it runs elsewhere.
        EndpointCommandError: it did not come up.
    """
    host = outside.host
    with alone(outside, clock, patience):
        directory, marker, live = _look_again_if_left(outside, clock, *_look(outside, name), patience)
        daemon = judge_daemon(directory, marker, live)
        if daemon.state is DaemonState.RUNNING:
            return
        _refuse_doubled(daemon, f"{host.config_dir}/{name}")
        endpoint_id = _known_id(host, directory, marker)
        tool = host.tool()
        outside.service.prepare()
        if daemon.state in _AWAY:
            raise elsewhere(f"{host.config_dir}/{name}", name, _node(daemon))
        if endpoint_id is not None and not directory.processes and not has_ended_here(directory, marker, live):
            _see_offline(outside, clock, name, endpoint_id, min(patience, _NOTICED_WITHIN))
        if daemon.state is DaemonState.DEAD and marker is not None and directory.pid_file is not None:
            host.clear_pid_file(name, directory.pid_file)
        here = host.environment()
        kept = keep(marker.environment, here) if marker is not None and marker.environment else None
        with outside.service.reserve(CALLS_OF_A_START):
            outside.store.check_lease()
            started = host.start(name, endpoint_id, tool, kept)
        if marker is None:
            return
        outside.store.check_lease()  # whoever took it over meanwhile has written what is true by now
        if host.directory(name) is not None:
            begun = begun_with(tool, given(kept or {}, here), directory)
            # What somebody else began is recorded by the next apply, from the intent of whoever began it.
            record = None if started.was_under_way else daemon_record(started.process, live.host, begun)
            host.write_marker(name, marker.but(id=started.endpoint_id, daemon=record, environment=kept or {}))


def _refuse_doubled(daemon: Daemon, path: str) -> None:
    if daemon.state is DaemonState.DOUBLED:
        what, remedy = say_doubled(daemon, path)
        raise Refused(what, where=path, remedy=remedy)


def stop(outside: Outside, clock: Clock, name: str, *, seconds: float) -> None:
    """Stop a daemon on this node and wait for its end; one that does not run is left alone.

    Its user endpoints end with it, and so do the tasks that they run.

    Raises:
        UsageError: there is no such endpoint.
        Refused: it runs on another node.
        TimedOut: it did not end in time.
    """
    with alone(outside, clock, seconds):
        marker = _take_down(outside, clock, name, clock.monotonic() + seconds)
        if marker is not None and marker.daemon is not None:
            outside.store.check_lease()
            outside.host.write_marker(name, marker.but(daemon=None))


def _take_down(outside: Outside, clock: Clock, name: str, deadline: float) -> Marker | None:
    host = outside.host
    began = clock.monotonic()
    while True:
        directory, marker, live = _look(outside, name)
        daemon = judge_daemon(directory, marker, live)
        if daemon.state is DaemonState.STOPPED:
            return marker
        if daemon.state is DaemonState.DEAD and directory.pid_file is not None:
            host.clear_pid_file(name, directory.pid_file)
            return marker
        if daemon.state in _AWAY:
            # A daemon that was killed here a moment ago leaves a PID file that nobody touches any more.
            known = daemon.sighting is not None and daemon.sighting.record is not None
            if known or clock.monotonic() - began > LISTED_AS_RUNNING + LOOKED_AT_EVERY:
                raise elsewhere(f"{host.config_dir}/{name}", name, _node(daemon))
        if daemon.state in (DaemonState.RUNNING, DaemonState.DOUBLED) and daemon.process is not None:
            end_daemon(host, clock, name, daemon.process, max(0.0, deadline - clock.monotonic()))
        elif clock.monotonic() <= deadline:
            clock.sleep(_PAUSE)
        if clock.monotonic() > deadline:
            raise TimedOut(
                f"endpoint {name} did not stop in time",
                where=f"{host.config_dir}/{name}",
                why=still(daemon),
                remedy=_way_out(directory, daemon, name),
            )


def _way_out(directory: LiveDirectory, daemon: Daemon, name: str) -> str:
    again = f"run `chiltepin endpoint stop {quote(name)}` again"
    return way_out(directory, daemon.process, again) if daemon.process else f"wait, then {again}"


def delete(outside: Outside, clock: Clock, name: str, *, deregister: bool, seconds: float) -> None:
    """Move an endpoint's directory to the trash; with `deregister`, end its registration, for ever.

    Args:
        seconds: how long to wait until the service says that a stopped daemon is offline.

    Raises:
        UsageError: there is no such endpoint.
        Refused: a stack manages it; it runs, here or elsewhere; or its UUID cannot be read, but is needed.
        ServiceUnreachable: the service could not be asked whether it runs.
    """
    host = outside.host
    with alone(outside, clock, seconds):
        found = _find(host, name)
        refuse_managed(host.config_dir, found, "deleted")
        directory, _, live = _look(outside, name)
        daemon = judge_daemon(directory, None, live)
        _refuse_doubled(daemon, f"{host.config_dir}/{name}")
        if daemon.state not in (DaemonState.STOPPED, DaemonState.DEAD):
            raise runs(f"{host.config_dir}/{name}", name, still(daemon))
        endpoint_id = directory.endpoint_id
        if isinstance(endpoint_id, Damaged) and deregister:
            raise Refused(
                f"it cannot be told which registration is {name}'s, so nothing was done",
                where=f"{host.config_dir}/{name}",
                why=endpoint_id.reason,
                remedy="correct endpoint.json, or delete without deregistering",
            )
        if isinstance(endpoint_id, str) and deregister:
            _refuse_shared(host, name, endpoint_id)
        if isinstance(endpoint_id, str):
            _await_offline(outside, clock, name, endpoint_id, seconds)
        outside.store.check_lease()
        if directory.pid_file is not None:
            host.clear_pid_file(name, directory.pid_file)
        # The registration goes first: when that fails, the directory still says which one it is.
        if deregister and isinstance(endpoint_id, str):
            outside.service.delete(endpoint_id)
            host.remove_file(name, ENDPOINT_JSON)  # what comes back from the trash then gets a new one
        host.to_trash(name)


def _refuse_shared(host: EndpointHost, name: str, endpoint_id: str) -> None:
    """Refuse to end the registration of another directory along with a copy of it.

    Raises:
        Refused: another directory has the UUID, too.
    """
    for other in host.directories().values():
        if other.name != name and endpoint_id in other.ids:
            raise Refused(
                f"{name} is not deregistered: {other.name} has the same UUID, {endpoint_id}",
                where=f"{host.config_dir}/{name}",
                remedy=f"delete the directory alone: `chiltepin endpoint delete {quote(name)}`",
            )


def undelete(outside: Outside, clock: Clock, name: str, *, entry: str | None, patience: float) -> None:
    """Bring back from the trash what was deleted by hand, with its UUID.

    Args:
        entry: which entry of the trash, when it holds several of that name.

    Raises:
        UsageError: nothing of that name was deleted by hand.
        Refused: a stack's, which its manifest brings back; several with different UUIDs; or the name is taken.
    """
    host = outside.host
    with alone(outside, clock, patience):
        where = f"{host.config_dir}/.chiltepin/trash"
        item = entry_to_undelete(name, entry, host.trash(), where)
        outside.store.check_lease()
        host.restore(item.name, name)


def _await_offline(outside: Outside, clock: Clock, name: str, endpoint_id: str, seconds: float) -> None:
    if not _is_offline(outside, clock, endpoint_id, seconds):
        where = f"{outside.host.config_dir}/{name}"
        raise runs(where, name, f"the service says that {endpoint_id} is online: it may run elsewhere")


def _see_offline(outside: Outside, clock: Clock, name: str, endpoint_id: str, seconds: float) -> None:
    """Refuse to start what is online and has no process here; one that was just stopped is given a moment."""
    if not _is_offline(outside, clock, endpoint_id, seconds):
        raise online(f"{outside.host.config_dir}/{name}", name, endpoint_id)


def _is_offline(outside: Outside, clock: Clock, endpoint_id: str, seconds: float) -> bool:
    """Whether the service does not see it any more, within so many seconds."""
    deadline = clock.monotonic() + seconds
    pause = _PAUSE
    while outside.service.status(endpoint_id) == "online":
        if clock.monotonic() > deadline:
            return False
        clock.sleep(pause)
        pause = min(pause * 1.5, 2.0)
    return True


@contextmanager
def alone(outside: Outside, clock: Clock, patience: float) -> Iterator[None]:
    """Hold the config directory; wait up to `patience` seconds for whoever works on it.

    Raises:
        LeaseHeld: it is still held then.
    """
    deadline = clock.monotonic() + patience
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(outside.store.lease())
                break
            except LeaseHeld:
                if clock.monotonic() >= deadline:
                    raise
            clock.sleep(_PAUSE)
        yield


def _find(host: EndpointHost, name: str) -> LiveDirectory:
    directory = host.directory(name)
    if directory is None or directory.kind == "other":
        known = sorted(listing(host.directories()))
        near = difflib.get_close_matches(name, known, 1)
        listed = f"there are: {', '.join(known)}" if known else f"make it: `chiltepin endpoint configure {quote(name)}`"
        remedy = f"did you mean {near[0]}?" if near else listed
        raise UsageError(f"{name}: no such endpoint", where=host.config_dir, remedy=remedy)
    if directory.kind in ("link", "unreadable"):
        raise Refused(
            f"{name} cannot be used",
            where=f"{host.config_dir}/{name}",
            why=directory.problem,
            remedy="replace a link by the directory itself, and mend permissions",
        )
    return directory


def _look(outside: Outside, name: str) -> tuple[LiveDirectory, Marker | None, LiveState]:
    """Return an endpoint with what it takes to judge its daemon.

    Raises:
        UsageError: there is no such endpoint.
        Refused: the directory or its marker cannot be read.
    """
    host = outside.host
    directory = _find(host, name)
    marker = directory.marker
    if isinstance(marker, Damaged):
        raise Refused(
            f"the marker of {name} cannot be read",
            where=f"{host.config_dir}/{name}/{MARKER}",
            why=marker.reason,
            remedy="`chiltepin plan` with its manifest mends it",
        )
    registrations = Unknown("not asked")
    live = LiveState(
        host.facts(),
        outside.service.identity(),
        host.config_dir,
        registrations=registrations,
        moment=host.moment(),
    )
    if marker is not None:
        live = ask_statuses(outside, live, in_doubt([directory], live, resting=[name]))
    return directory, marker, replace(live, directories={name: directory})


def _look_again_if_left(
    outside: Outside,
    clock: Clock,
    directory: LiveDirectory,
    marker: Marker | None,
    live: LiveState,
    patience: float,
) -> tuple[LiveDirectory, Marker | None, LiveState]:
    """Wait until no daemon on another node can be left whose PID file is gone, and look again.

    Raises:
        TimedOut: that would take longer than `patience` seconds.
    """
    if not lost_its_pid_file_just_now(directory):
        return directory, marker, live
    name, endpoint_id = directory.name, _known_id(outside.host, directory, marker)
    log = log_end(outside.host, name)
    if endpoint_id is None or not is_left_unsaid(directory, log):
        return directory, marker, live
    registration = outside.service.get(endpoint_id) or Registration(endpoint_id, name)
    registrations, asked = {endpoint_id: registration}, frozenset({endpoint_id})
    seen = replace(live, log_ends={name: log}, registrations=registrations, asked_where=asked)
    if not may_be_left(directory, marker, seen):
        return directory, marker, live
    await_absence({name: name}, outside, clock, seconds=min(patience, ABSENCE_LIMIT))
    again = _look(outside, name)
    if patience < ABSENCE_LIMIT and is_left_unsaid(again[0], log_end(outside.host, name)):
        raise TimedOut(
            f"endpoint {name} cannot be started yet",
            where=f"{outside.host.config_dir}/{name}",
            why=MAY_BE_LEFT,
            remedy="run it again in 20 s",
        )
    return again


def _known_id(host: EndpointHost, directory: LiveDirectory, marker: Marker | None) -> str | None:
    """Return the UUID to start under; None makes a new one."""
    found, name = directory.endpoint_id, directory.name
    where = f"{host.config_dir}/{name}"
    if isinstance(found, Damaged):
        raise Refused(
            f"the UUID of {name} cannot be read, so it is not started",
            where=where,
            why=found.reason,
            remedy="correct endpoint.json; without it a new UUID would be made",
        )
    if marker is None:
        return found
    if found is not None and marker.id is not None and found != marker.id:
        raise Refused(
            f"the UUID of {name} is not the same everywhere",
            where=where,
            why=f"endpoint.json says {found}, the marker {marker.id}",
            remedy="`chiltepin plan` with its manifest says how to decide",
        )
    if found is None and marker.id is None:
        raise Refused(
            f"{name} was never registered, and stack `{marker.stack}` keeps its UUID",
            where=where,
            remedy="`chiltepin apply` with its manifest starts it and records the UUID",
        )
    return found or marker.id


def _node(daemon: Daemon) -> str | None:
    """Return the node on which a daemon runs, None when it is not known."""
    return daemon.sighting.node if daemon.sighting else None
