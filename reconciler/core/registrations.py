"""The service's list: which registrations are claimed, which one a start made, and which are gone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from shlex import quote
from typing import Any

from reconciler.core.actions import Refusal
from reconciler.core.desired import DesiredEndpoint
from reconciler.core.frozen import dataclass
from reconciler.core.known import WRONG_IDENTITY, Blocked, Gone, Known
from reconciler.core.live import GONE, Damaged, JournalEntry, LiveDirectory, LiveState, Registration, Unknown
from reconciler.core.marker import Marker
from reconciler.core.pid_file import LISTED_AS_RUNNING, is_fresh
from reconciler.core.work import counted


def made_when_cut_off(name: str, intent: JournalEntry, live: LiveState, known: Known) -> str | Refusal | Blocked | None:
    """Return the UUID that a first start made before it was cut off, as `intent` shows; None when it made none."""
    looked_at = live.candidates.get(name, ())
    if isinstance(looked_at, Unknown):
        return Blocked(name, looked_at.reason)
    claimed = _claimed(live, known)
    candidates = tuple(r for r in looked_at if r.id not in claimed)
    made = made_by_start(candidates, _began_on(intent, live), live)
    if len(made) == 1:
        return made[0].id
    if not candidates or name in known.new:
        return None
    return Refusal(
        name,
        "an earlier start was cut off, and it cannot be told which registration is its own",
        f"look at them: `chiltepin adopt {quote(name)} --id UUID` takes one,"
        f" `chiltepin apply --new {quote(name)}` none",
        tuple(say_registration(r) for r in made or candidates),
    )


def _began_on(intent: JournalEntry, live: LiveState) -> str:
    return str(intent.data.get("host") or live.host.name)


def made_by_start(candidates: Iterable[Registration], began: str, live: LiveState) -> tuple[Registration, ...]:
    """Return those of this user and of the node `began`, where the start was begun: perhaps another than this one.

    A host without a name of its own registers as `localhost`.
    """
    here = {began.partition(".")[0], "localhost"}
    if began == live.host.name:
        here.add(live.host.fqdn.partition(".")[0])
    return tuple(
        r
        for r in candidates
        if r.local_user in (None, live.host.user) and (r.hostname is None or r.hostname.partition(".")[0] in here)
    )


def unclaimed(endpoint: DesiredEndpoint, live: LiveState, known: Known) -> Refusal | None:
    """Refuse a first registration while unclaimed registrations of that name exist."""
    if endpoint.name in known.new or isinstance(live.registrations, Unknown):
        return None
    claimed = _claimed(live, known)
    same_name = sorted(
        (r for r in live.registrations.values() if r.name == endpoint.directory and r.id not in claimed),
        key=lambda r: r.id,
    )
    if not same_name:
        return None
    owned = counted(len(same_name), "registration")
    return Refusal(
        endpoint.name,
        f"this identity already owns {owned} named `{endpoint.directory}` that nothing claims",
        f"use one: `chiltepin adopt {quote(endpoint.name)} --id UUID`;"
        f" or make another: `chiltepin apply --new {quote(endpoint.name)}`",
        tuple(say_registration(r) for r in same_name),
    )


def _claimed(live: LiveState, known: Known) -> set[str | None]:
    """Return every UUID that the lock, a directory or the trash names."""
    claimed = {entry.id for entry in known.lock.endpoints.values()} if known.lock else set()
    for directory in live.directories.values():
        claimed |= directory.ids
    return claimed | {entry.marker.id for entry in live.trash if entry.marker}


def claimants(endpoint_id: str, name: str, directory_name: str, live: LiveState, known: Known) -> tuple[str, ...]:
    """Return who else has this UUID: other endpoints of the lock, other directories, the trash."""
    found = holders(endpoint_id, name, directory_name, live, known)
    return (*found, *(f"{e.path} in the trash" for e in live.trash if e.marker and e.marker.id == endpoint_id))


def holders(endpoint_id: str, name: str, directory_name: str, live: LiveState, known: Known) -> tuple[str, ...]:
    """Return who else has this UUID: other endpoints of the lock, other directories but copies that nothing runs in."""
    return _others(endpoint_id, name, directory_name, live, known, _is_idle_copy)


def rivals(endpoint_id: str, name: str, directory_name: str, live: LiveState, known: Known) -> tuple[str, ...]:
    """Return who else would run under this UUID: holders, but for directories that nobody manages or works in."""
    return _others(
        endpoint_id, name, directory_name, live, known, lambda d: _is_idle(d) and (d.marker is None or _is_idle_copy(d))
    )


def namesakes(endpoint_id: str, name: str, live: LiveState, known: Known) -> tuple[str, ...]:
    """Return the other names under which the lock has this UUID."""
    index = _index(_Same(live.directories), _Same(known.lock))
    return tuple(other for other in index.names.get(endpoint_id, ()) if other != name)


def _others(
    endpoint_id: str,
    name: str,
    directory_name: str,
    live: LiveState,
    known: Known,
    harmless: Callable[[LiveDirectory], bool],
) -> tuple[str, ...]:
    index = _index(_Same(live.directories), _Same(known.lock))
    names = [f"endpoint {other} in the lock" for other in namesakes(endpoint_id, name, live, known)]
    places = [place for place in index.places.get(endpoint_id, ()) if place != directory_name]
    return (*names, *(f"{live.config_dir}/{place}" for place in places if not harmless(live.directories[place])))


def refuse_rivals(endpoint: DesiredEndpoint, endpoint_id: str, live: LiveState, known: Known) -> Refusal | None:
    """Refuse to run under a UUID that something else would run under, too, and say what resolves just that."""
    others = rivals(endpoint_id, endpoint.name, endpoint.directory, live, known)
    if not others:
        return None
    refusal = shared(endpoint.name, endpoint_id, others)
    if len(others) != 1 or namesakes(endpoint_id, endpoint.name, live, known):
        return refusal
    rival = next(d for d in live.directories.values() if f"{live.config_dir}/{d.name}" == others[0])
    marker = rival.marker
    if isinstance(marker, Marker) and (marker.stack, marker.lineage) != (known.stack, known.lineage):
        return _of_another_manifest(refusal, endpoint, rival, marker)
    if isinstance(marker, Damaged):
        return replace(
            refusal,
            remedy=f"if no daemon runs in it, on this node or another, move it out of {live.config_dir}, or mend its"
            " marker; then run this again",
            evidence=(f"also of {others[0]}, whose marker cannot be read: {marker.reason}",),
        )
    if not rival.is_at_home and not rival.processes and rival.pid_file and is_fresh(rival.pid_file.age):
        pid_file = f"{others[0]}/daemon.pid"
        return replace(
            refusal,
            remedy="if it is a copy in which no daemon runs, on this node or another, only its PID file, which came"
            f" along, looks like one: `rm {quote(pid_file)}`, or wait {LISTED_AS_RUNNING:.0f} s; then run this again",
            evidence=(f"also of {others[0]}, whose PID file was touched a moment ago and has no process here",),
        )
    return refusal


def _of_another_manifest(refusal: Refusal, endpoint: DesiredEndpoint, rival: LiveDirectory, marker: Marker) -> Refusal:
    """Name who manages it, and both ways out: to leave it there, or to move it here on purpose."""
    leave = (
        "remove `id` from its block"
        if endpoint.id
        else f"remove its block, then `chiltepin forget {quote(endpoint.name)}`"
    )
    move = (
        f"to manage that one here instead: `chiltepin forget -f FILE {quote(marker.endpoint)}`, FILE being the"
        f" manifest of stack `{marker.stack}`, then write `directory: {rival.name}` in this block and"
        f" `chiltepin adopt {quote(endpoint.name)}`"
    )
    held = tuple(f"{text}, which is endpoint {marker.endpoint} of stack `{marker.stack}`" for text in refusal.evidence)
    return replace(refusal, remedy=f"{leave}; or, {move}", evidence=held)


def shared(name: str, endpoint_id: str, others: tuple[str, ...]) -> Refusal:
    """Refuse a UUID that something else has, too: two daemons under it would each get some of the tasks."""
    return Refusal(
        name,
        f"its UUID {endpoint_id} is not its own alone",
        "one UUID is for one endpoint: `moved` renames it; or remove one of the two blocks,"
        " then `chiltepin forget NAME` takes that name out of the lock, if it is in it",
        tuple(f"also of {other}" for other in others),
    )


@dataclass(frozen=True)
class _Holders:
    """By UUID, the lock's names that have it and the directories that say it."""

    names: Mapping[str, Sequence[str]]
    places: Mapping[str, Sequence[str]]


class _Same:
    """Stands for just this object, whatever it holds: what is made from it is made once."""

    __slots__ = ("it",)

    def __init__(self, it: Any) -> None:
        self.it = it

    def __hash__(self) -> int:
        return id(self.it)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.it is other.it


@lru_cache(maxsize=2)
def _index(directories: _Same, lock: _Same) -> _Holders:
    """Look through everything once for a plan, not once for each of its endpoints."""
    names: dict[str, list[str]] = {}
    places: dict[str, list[str]] = {}
    for name, entry in lock.it.endpoints.items() if lock.it else ():
        if entry.id is not None:
            names.setdefault(entry.id, []).append(name)
    for directory in directories.it.values():
        for endpoint_id in directory.ids:
            places.setdefault(endpoint_id, []).append(directory.name)
    return _Holders(names, places)


def _is_idle_copy(directory: LiveDirectory) -> bool:
    """Whether its marker came along with a copy of another directory, and no daemon shows that it works in this one."""
    return isinstance(directory.marker, Marker) and not directory.is_at_home and _is_idle(directory)


def _is_idle(directory: LiveDirectory) -> bool:
    """Whether nothing shows a daemon in it."""
    pid_file = directory.pid_file
    return not directory.processes and (pid_file is None or not is_fresh(pid_file.age))


def say_registration(registration: Registration) -> str:
    """Return a registration in words."""
    where = f" on {registration.hostname}" if registration.hostname else ""
    shown = f" ({registration.display_name})" if registration.display_name else ""
    return f"{registration.id}{shown}{where}"


def gone(name: str, endpoint_id: str, live: LiveState) -> Refusal | Blocked:
    """Return what stands against an endpoint whose registration is not among those of this identity.

    Only the service's 404 says that it is gone; what it answers about is somebody else's.
    """
    status = live.statuses.get(endpoint_id)
    if isinstance(status, Unknown):
        return Blocked(name, status.reason)
    if status not in (None, GONE):
        return not_owned(name, endpoint_id)
    return Gone(
        name,
        f"the service has no registration {endpoint_id} for this identity",
        f"restore it at the service, or give up the UUID: `chiltepin apply --reregister {quote(name)}` makes a new one",
        id=endpoint_id,
    )


def not_owned(name: str, endpoint_id: str) -> Refusal:
    """Refuse a UUID that the service knows, and not as this identity's."""
    return Refusal(
        name,
        f"the registration {endpoint_id} belongs to another Globus identity",
        "log in as that identity: `chiltepin whoami` shows the present one, `chiltepin login` changes it",
        exit_code=WRONG_IDENTITY,
    )
