"""An endpoint that was deleted under one name and is declared under another (`moved`). Pure.

It comes back as what it was, in the directory that it had, and is renamed like any other: so a run that is cut off
in between leaves what the next one renames.
"""

from __future__ import annotations

from dataclasses import replace
from shlex import quote

from reconciler.core.actions import Refusal, Undelete
from reconciler.core.desired import Desired, DesiredEndpoint
from reconciler.core.frozen import dataclass
from reconciler.core.known import Blocked, Known
from reconciler.core.live import LiveState, TrashEntry, Unknown
from reconciler.core.traces import Homes
from reconciler.core.trash import own_entries, say_entry
from reconciler.core.undeletion import Undeletion, bring_back


@dataclass(frozen=True)
class Return:
    """What brings the endpoint back under its former name, and the world as it is then."""

    action: Undelete
    live: LiveState


def find_return(
    endpoint: DesiredEndpoint, desired: Desired, live: LiveState, known: Known, homes: Homes
) -> Return | Refusal | Blocked | None:
    """Return how an endpoint comes back that lies in the trash under a former name; None when none does.

    What was deleted under its present name goes before.
    """
    name = endpoint.name
    former = desired.formerly(name)
    if not former or name in known.new or any(homes.get(n) for n in (name, *former)):
        return None
    entry = known.entry(name)
    if (entry is not None and entry.id is not None) or bring_back(endpoint, live, known) is not None:
        return None
    found = [r for old in former if (r := _bring_back(endpoint, old, live, known)) is not None]
    if len({_id_of(result) for result in found}) > 1:
        return Refusal(
            name,
            f"several that `{name}` was called are in the trash, with different UUIDs",
            f"bring one back: `chiltepin undelete {quote(former[0])}`;"
            f" or register another: `chiltepin apply --new {quote(name)}`",
            tuple(say_entry(item) for item in own_entries(live, known, former)),
        )
    return found[0] if found else None


def _id_of(result: Return | Refusal | Blocked) -> str | None:
    return result.action.id if isinstance(result, Return) else None


def _bring_back(
    endpoint: DesiredEndpoint, old: str, live: LiveState, known: Known
) -> Return | Refusal | Blocked | None:
    places = [i.marker.claim.directory for i in own_entries(live, known, (old,)) if i.marker]
    if not places:
        return None
    was = replace(endpoint, name=old, directory=places[-1])
    if was.directory in live.directories:
        return _taken(endpoint.name, own_entries(live, known, (old,))[-1], was.directory, live)
    result = bring_back(was, live, known, declared_as=endpoint.name)
    if result is None:
        return None
    if isinstance(result, Refusal):
        return replace(result, endpoint=endpoint.name, what=f"as {old}, which it was called: {result.what}")
    if isinstance(result, Blocked):
        return replace(result, endpoint=endpoint.name)
    return _returned(endpoint.name, result, live)


def _returned(name: str, result: Undeletion, live: LiveState) -> Return:
    directory = result.ground.directory
    if directory is None:
        raise ValueError("what was brought back has a directory")
    directories = {**live.directories, directory.name: directory}
    left = tuple(item for item in live.trash if item.name != result.action.trash_entry)
    return Return(replace(result.action, endpoint=name), replace(live, directories=directories, trash=left))


def _taken(name: str, item: TrashEntry, directory: str, live: LiveState) -> Refusal | None:
    if isinstance(live.registrations, Unknown) or item.id not in live.registrations:
        return None  # its UUID cannot come back, or nobody can say
    return Refusal(
        name,
        f"it is in the trash, as it was called before, and {live.config_dir}/{directory}, where it was, exists",
        f"move that away, or register another: `chiltepin apply --new {quote(name)}`",
        (say_entry(item),),
    )
