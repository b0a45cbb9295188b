"""After first starts: did one of them register twice? Looks and tells; deletes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from reconciler.core.actions import Start
from reconciler.core.doubles import FirstStart, left_over, say_left_over
from reconciler.core.live import LiveState, Registration
from reconciler.core.lock import Lock
from reconciler.core.progress import Outcome
from reconciler.core.registrations import made_by_start
from reconciler.errors import ReconcilerError, ServiceRefused, ServiceUnreachable
from reconciler.ports import ComputeService


def look_for_doubles(
    outcomes: Iterable[Outcome], known: Mapping[str, Set[str]], live: LiveState, lock: Lock, service: ComputeService
) -> tuple[str, ...]:
    """Return a warning for each endpoint whose first start left a second registration behind.

    One request for all, and none without a first start; one more for each UUID that is in question.

    Args:
        outcomes: of this run.
        known: by endpoint, the UUIDs of its name that were owned before its first start.
        live: the snapshot that the plan was made from.
        lock: as it is now.
        service: is asked.
    """
    starts = tuple(_first_starts(outcomes, known))
    if not starts:
        return ()
    claimed = {entry.id for entry in lock.endpoints.values() if entry.id} | {start.id for start in starts}
    try:
        extra = left_over(starts, service.owned(), claimed)
        here = {name: tuple(_of_this_host(ids, _began_on(name, live), live, service)) for name, ids in extra.items()}
    except ReconcilerError as e:
        names = ", ".join(start.endpoint for start in starts)
        return (f"{names}: the service could not be asked whether it was registered only once: {e.what}",)
    own = {start.endpoint: start.id for start in starts}
    return tuple(say_left_over(name, own[name], ids, live) for name, ids in here.items() if ids)


def _first_starts(outcomes: Iterable[Outcome], known: Mapping[str, Set[str]]) -> Iterable[FirstStart]:
    for outcome in outcomes:
        action = outcome.action
        if isinstance(action, Start) and outcome.endpoint_id and action.endpoint in known:
            yield FirstStart(action.endpoint, action.directory, outcome.endpoint_id, known[action.endpoint])


def _began_on(endpoint: str, live: LiveState) -> str:
    intent = live.pending.get(endpoint)
    return str((intent.data.get("host") if intent else None) or live.host.name)


def _of_this_host(ids: Iterable[str], began: str, live: LiveState, service: ComputeService) -> Iterable[str]:
    """Leave out what another host or user registered under that name meanwhile."""
    for uuid in ids:
        try:
            registration = service.get(uuid)
        except (ServiceUnreachable, ServiceRefused):
            registration = Registration(uuid, "")  # it is there, and cannot be told from ours
        if registration is not None and made_by_start((registration,), began, live):
            yield uuid
