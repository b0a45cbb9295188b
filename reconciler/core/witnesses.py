"""The witnesses of an endpoint: lock, marker, endpoint.json, manifest. Do they name us, and the same UUID? Pure."""

from __future__ import annotations

from shlex import quote

from reconciler.core.actions import Refusal
from reconciler.core.daemon import id_in_title
from reconciler.core.host_named import lacks_only_a_host
from reconciler.core.known import WRONG_IDENTITY, Foreign, Known
from reconciler.core.live import LiveDirectory, LiveState
from reconciler.core.lock import LockedEndpoint
from reconciler.core.marker import Claim, Marker
from reconciler.core.safe_yaml import scalar


def check_owner(name: str, directory: LiveDirectory, marker: Marker, known: Known, config_dir: str) -> Refusal | None:
    """Refuse when the marker names another stack, lineage, endpoint or claim."""
    path = f"{config_dir}/{directory.name}"
    if marker.stack != known.stack:
        return Refusal(
            name,
            f"{path} belongs to stack `{marker.stack}`",
            f"choose another `directory`, or `chiltepin forget -f FILE {quote(marker.endpoint)}`,"
            " FILE being that stack's manifest",
            (f"this manifest's stack: {known.stack}", f"the marker's stack: {marker.stack}"),
        )
    if marker.lineage != known.lineage:
        return Foreign(
            name,
            f"{path} belongs to another manifest that also calls its stack `{known.stack}`",
            "restore the lockfile that belongs to this manifest; if the other manifest is gone for good:"
            f" `chiltepin adopt {quote(name)} --take-over`",
            (f"the lock's lineage: {known.lineage}", f"the marker's lineage: {marker.lineage}"),
        )
    if marker.endpoint != name:
        return holds_another(name, path, marker.endpoint)
    return check_claim(name, marker.claim, known.site.claim(directory.name), f"the marker in {path}")


def check_strangers(name: str, directory: str, live: LiveState, known: Known) -> Refusal | None:
    """Refuse when the directory that `name` has by the manifest or the lock is another stack's, or another manifest's.

    For errands that found nothing of their own to act on: what was meant is there, and somebody else's.
    """
    found = live.directories.get(directory)
    marker = found.marker if found else None
    if found is None or not isinstance(marker, Marker):
        return None
    if (marker.stack, marker.lineage) == (known.stack, known.lineage):
        return None
    return check_owner(name, found, marker, known, live.config_dir)


def holds_another(name: str, path: str, other: str) -> Refusal:
    """Refuse a directory in which another endpoint of this stack is: it was renamed, or the directory is not meant."""
    return Refusal(
        name,
        f"{path} holds endpoint `{other}` of this stack",
        f"write `moved: [{{from: {scalar(other)}, to: {scalar(name)}}}]`, or choose another `directory`",
    )


def exchanged(name: str, directory: LiveDirectory, marker: Marker, live: LiveState, known: Known) -> Refusal | None:
    """Refuse a directory that was exchanged for another endpoint's: each of the two has the place of the other.

    `moved` could not undo that: each of its two entries would name what the other one renames.
    """
    other = live.directories.get(marker.claim.directory)
    theirs = other.marker if other else None
    if other is None or not isinstance(theirs, Marker):
        return None
    is_ours = all((m.stack, m.lineage) == (known.stack, known.lineage) for m in (marker, theirs))
    have_changed_places = theirs.endpoint == name != marker.endpoint and theirs.claim.directory == directory.name
    if not (is_ours and have_changed_places):
        return None
    one, two = f"{live.config_dir}/{directory.name}", f"{live.config_dir}/{other.name}"
    between = f"{one}.exchanged"
    return Refusal(
        name,
        f"{one} and {two} have changed places: each holds the other's endpoint",
        f"change them back: `mv {quote(one)} {quote(between)} && mv {quote(two)} {quote(one)}"
        f" && mv {quote(between)} {quote(two)}`,"
        " then run this again",
        (f"{one} holds endpoint {marker.endpoint}", f"{two} holds endpoint {name}"),
    )


def check_claim(name: str, theirs: Claim, ours: Claim, where: str) -> Refusal | None:
    """Refuse when a recorded claim is not ours; another identity or service is exit 77."""
    evidence = (f"{where} says: {say_claim(theirs)}", f"here it is: {say_claim(ours)}")
    if theirs.service == ours.service and theirs.identity and ours.identity is None:
        return Refusal(
            name,
            "it cannot be told whether this login is of the identity that it belongs to",
            "`chiltepin login --force` makes a login that says whose it is",
            evidence,
            WRONG_IDENTITY,
        )
    other_identity = theirs.identity and ours.identity and theirs.identity != ours.identity
    if theirs.service != ours.service or other_identity:
        return Refusal(
            name,
            "it belongs to another Globus identity or service than this login's",
            "log in as that identity: `chiltepin whoami` shows the present one, `chiltepin login` changes it",
            evidence,
            WRONG_IDENTITY,
        )
    same = (theirs.user, theirs.host, theirs.config_dir, theirs.directory) == (
        ours.user,
        ours.host,
        ours.config_dir,
        ours.directory,
    )
    if same:
        return None
    if lacks_only_a_host(theirs, ours):
        return Foreign(
            name,
            "its claim is from before the manifest had hosts, and nothing shows that it is of this one",
            "run this on the node where its daemon runs; or if it is no copy:"
            f" `chiltepin adopt {quote(name)} --take-over`",
            evidence,
        )
    return Foreign(
        name,
        "it is claimed by another host, user or config directory",
        f"if that place is gone for good, move the claim here: `chiltepin adopt {quote(name)} --take-over`",
        evidence,
    )


def check_entry(name: str, entry: LockedEndpoint | None, ours: Claim) -> Refusal | None:
    """Refuse what the lock gives to another place or identity, though a marker here says that it is of this one.

    It was moved there from here, and what is here was left behind. Of a directory that was renamed, or a manifest
    that got hosts, the marker tells first: that alone is no other place.
    """
    if entry is None or entry.claim == ours:
        return None
    here = entry.claim.model_copy(update={"directory": ours.directory})
    if lacks_only_a_host(here, ours) or check_claim(name, here, ours, "the lock") is None:
        return None
    return check_claim(name, entry.claim, ours, "the lock")


def say_claim(claim: Claim) -> str:
    """Return a claim in words."""
    host = f" on {claim.host}" if claim.host else ""
    return f"{claim.user}{host}, {claim.config_dir}/{claim.directory}, identity {claim.identity} ({claim.service})"


def check_ids(
    name: str, directory: LiveDirectory, marker: Marker, entry: LockedEndpoint | None, declared: str | None = None
) -> Refusal | None:
    """Refuse when endpoint.json, marker, lock and manifest do not all say the same UUID, or none."""
    found = witnesses(directory, marker, entry, declared)
    return disagree(name, found) if len(set(found.values())) > 1 else None


def witnesses(
    directory: LiveDirectory | None, marker: Marker | None, entry: LockedEndpoint | None, declared: str | None = None
) -> dict[str, str]:
    """Return which UUID each place names, of those that name one."""
    named = {
        "its daemon": id_in_title(directory) if directory else None,
        "endpoint.json": directory.endpoint_id if directory and isinstance(directory.endpoint_id, str) else None,
        "marker": marker.id if marker else None,
        "lock": entry.id if entry else None,
        "manifest (id)": declared,
    }
    return {where: value for where, value in named.items() if value}


def ids_named(
    directory: LiveDirectory | None, entry: LockedEndpoint | None = None, declared: str | None = None
) -> frozenset[str]:
    """Return every UUID that a directory (its files and its daemon), and what else is given, names."""
    marker = directory.marker if directory and isinstance(directory.marker, Marker) else None
    return frozenset(witnesses(directory, marker, entry, declared).values())


def disagree(name: str, found: dict[str, str]) -> Refusal:
    """Refuse an endpoint whose UUID is not the same everywhere; `found` is each place's."""
    return Refusal(
        name,
        "its UUID is not the same everywhere",
        f"decide which is right, and run `chiltepin adopt {quote(name)} --id UUID`",
        tuple(f"{where}: {value}" for where, value in found.items()),
    )
