"""What single endpoints look like to who works by hand, and what is refused to them. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from shlex import quote

from reconciler.core.daemon import Daemon, is_up
from reconciler.core.live import Damaged, LiveDirectory, TrashEntry
from reconciler.core.marker import MARKER
from reconciler.core.pid_file import is_fresh
from reconciler.core.trash import of_nobody, say_entry
from reconciler.errors import Refused, UsageError

_UNREADABLE_ID = "[failed to read endpoint id]"


def listing(directories: Mapping[str, LiveDirectory]) -> dict[str, dict[str, str | None]]:
    """Return the endpoints of the config directory with `status` and `id`, in upstream's words."""
    return {
        name: _entry(directory)
        for name, directory in sorted(directories.items())
        if directory.kind in ("endpoint", "legacy")
    }


def _entry(directory: LiveDirectory) -> dict[str, str | None]:
    found, pid_file = directory.endpoint_id, directory.pid_file
    endpoint_id = _UNREADABLE_ID if isinstance(found, Damaged) else found
    if endpoint_id is None:
        status = "Initialized"
    elif pid_file is None:
        status = "Stopped"
    elif is_fresh(pid_file.age) or any(is_up(p) for p in directory.processes):
        status = "Running"
    else:
        status = "Disconnected"
    return {"status": status, "id": endpoint_id}


def still(daemon: Daemon) -> str:
    """Say what a daemon does instead of being stopped."""
    return f"its daemon is {daemon.state.value}" + (f", process {daemon.process.pid}" if daemon.process else "")


def refuse_managed(config_dir: str, directory: LiveDirectory, what: str) -> None:
    """Refuse what only the manifest may do to an endpoint of a stack.

    Raises:
        Refused: the directory has a marker.
    """
    marker, name = directory.marker, directory.name
    if marker is None:
        return
    where = f"{config_dir}/{name}"
    if isinstance(marker, Damaged):
        raise Refused(
            f"{name} is managed by a stack, so it is not {what} by hand",
            where=where,
            why=f"which stack cannot be told: {marker.reason}",
            remedy=f"`chiltepin plan` with its manifest mends the marker; if there is none, remove {where}/{MARKER}",
        )
    raise Refused(
        f"{name} is endpoint {marker.endpoint} of stack `{marker.stack}`, so it is not {what} by hand",
        where=where,
        remedy=f"change the manifest of stack `{marker.stack}`, then `chiltepin apply`; or let it go: "
        f"`chiltepin forget {quote(marker.endpoint)}`",
    )


def elsewhere(where: str, name: str, node: str | None) -> Refused:
    """Return the refusal of an endpoint whose daemon runs on another node."""
    return Refused(
        f"{name} runs on {node or 'another node'} of this home directory",
        where=where,
        why="its PID file is touched or the service sees it, and its process is not on this node",
        remedy="run the command there" + ("" if node else "; if it just died, wait two minutes and try again"),
    )


def online(where: str, name: str, endpoint_id: str) -> Refused:
    """Return the refusal to start an endpoint that the service sees, and that has no process here."""
    return Refused(
        f"{name} is not started: it runs on another node, or from a copy of its directory",
        where=where,
        why=f"the service says that {endpoint_id} is online, and no process of it is on this node: two daemons"
        " under one UUID would each get some of the tasks",
        remedy="stop it there first; if it just died, try again in two minutes",
    )


def runs(where: str, name: str, why: str) -> Refused:
    """Return the refusal to delete an endpoint that runs."""
    return Refused(
        f"{name} runs, so it is not deleted",
        where=where,
        why=why,
        remedy=f"stop it first, where it runs: `chiltepin endpoint stop {quote(name)}`",
    )


def entry_to_undelete(name: str, entry: str | None, trash: Iterable[TrashEntry], where: str) -> TrashEntry:
    """Return what comes back as `name`: the newest of that name if they all have one UUID, or the one named.

    Args:
        entry: an entry's name.
        trash: everything in the trash.
        where: the trash's directory, for messages.

    Raises:
        UsageError: there is none.
        Refused: it is a stack's, or there are several with different UUIDs.
    """
    named = [i for i in trash if i.deleted_directory == name and entry in (None, i.name)]
    found = of_nobody(named)
    if not found and named:
        owner = named[-1].marker
        stack = (
            f"endpoint {owner.endpoint} of stack `{owner.stack}`" if owner else "a stack's, and its marker is damaged"
        )
        raise Refused(
            f"{name} is not brought back by hand: {named[-1].name} is {stack}",
            where=where,
            remedy=f"with its manifest: `chiltepin undelete {quote(owner.endpoint)}`"
            if owner
            else "see docs/operations.md",
        )
    if not found:
        known = sorted({i.deleted_directory for i in of_nobody(trash)})
        near = difflib.get_close_matches(name, known, 1)
        listed = "`chiltepin endpoint list --deleted` lists what is there" if known else None
        raise UsageError(
            f"{entry or name}: nothing of that name was deleted by hand",
            where=where,
            remedy=f"did you mean {near[0]}?" if near and entry is None else listed,
        )
    if len({item.id for item in found}) > 1:
        raise Refused(
            f"{name} is in the trash several times, with different UUIDs",
            where=where,
            why="; ".join(say_entry(item) for item in found),
            remedy=f"say which one: `chiltepin endpoint undelete {quote(name)} --entry ENTRY`",
        )
    return found[-1]
