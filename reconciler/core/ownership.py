"""Whose endpoint is this? Decides, for one endpoint, what ground an action would stand on.

The witnesses are the lock, the marker, endpoint.json and the service's list. When they agree, or one is
missing and the others make up for it, the endpoint is ours; when they contradict each other, nothing is
done and both sides are named.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from reconciler.core.actions import Cause, Refusal
from reconciler.core.daemon import id_in_title
from reconciler.core.desired import DesiredEndpoint
from reconciler.core.host_named import lacks_only_a_host, with_host
from reconciler.core.identity_known import with_identity
from reconciler.core.live import GONE, Damaged, JournalEntry, LiveDirectory, LiveState, Registration, Unknown
from reconciler.core.lock import Lock, LockedEndpoint
from reconciler.core.marker import Claim, Marker

REFUSED, WRONG_IDENTITY = 4, 77


@dataclass(frozen=True)
class Site:
    """Where and as whom this run acts; everything of a claim but the directory.

    `config_dir` is written with `~` when it lies in the user's home; `host` is the manifest's name of the
    host, None without a `hosts` section.
    """

    service: str
    identity: str | None
    user: str
    host: str | None
    config_dir: str

    def claim(self, directory: str) -> Claim:
        """Return the claim on one directory."""
        return Claim(
            service=self.service,
            identity=self.identity,
            user=self.user,
            host=self.host,
            config_dir=self.config_dir,
            directory=directory,
        )


@dataclass(frozen=True)
class Ground:
    """The endpoint is ours.

    Attributes:
        id: its UUID; None when it was never registered.
        directory: what is there, or None when the directory must be created.
        marker: the marker as it is, or as it must be written when `repair` says why.
        cause: why a missing directory is created.
    """

    id: str | None
    directory: LiveDirectory | None
    marker: Marker
    repair: Cause | None = None
    cause: Cause = Cause.NEW


@dataclass(frozen=True)
class Blocked:
    """It cannot be decided without the service, which could not be reached."""

    endpoint: str
    reason: str


@dataclass(frozen=True)
class Known:
    """What this run knows besides the live state.

    Attributes:
        lock: the lockfile, or None when there is none.
        lineage: the lock's, else the markers', else a fresh one.
        new: endpoints that may be registered although unclaimed registrations of their name exist.
    """

    site: Site
    stack: str
    lineage: str
    lock: Lock | None
    new: frozenset[str] = field(default_factory=frozenset)

    def entry(self, name: str) -> LockedEndpoint | None:
        """Return the lock's entry of an endpoint."""
        return self.lock.endpoints.get(name) if self.lock else None


def find_ground(endpoint: DesiredEndpoint, live: LiveState, known: Known) -> Ground | Refusal | Blocked:
    """Decide whether, and on what UUID and marker, `endpoint` may be acted on."""
    found = _find_ground(endpoint, live, known)
    if isinstance(found, Ground) and found.id is None and endpoint.state == "running" and known.site.identity is None:
        runs = found.directory is not None and found.directory.processes
        return found if runs else of_nobody(endpoint.name)
    return found


def of_nobody(name: str) -> Refusal:
    """Refuse a first registration with a login of which nobody can say whose it is."""
    return Refusal(
        name,
        "it cannot be told whose login this is, so nothing is registered with it",
        "run this again when Globus Auth answers; `chiltepin login --force` makes a login that says whose it is",
        exit_code=WRONG_IDENTITY,
    )


def _find_ground(endpoint: DesiredEndpoint, live: LiveState, known: Known) -> Ground | Refusal | Blocked:
    directory = live.directories.get(endpoint.directory)
    if directory is None:
        return _without_directory(endpoint, live, known)
    refusal = unusable(endpoint.name, directory, live.config_dir)
    if refusal:
        return refusal
    marker = directory.marker
    if not isinstance(marker, Marker):
        return _without_marker(endpoint, directory, live, known)
    ours = known.site.claim(directory.name)
    owned = with_identity(marker, directory, ours, live)
    named = with_host(owned, directory, ours, live)
    cause = Cause.HOST_NAMED if named != owned else Cause.IDENTITY_KNOWN if owned != marker else None
    marker = named
    refusal = check_owner(endpoint.name, directory, marker, known, live.config_dir)
    if refusal:
        return refusal
    found = _agreed(endpoint, directory, marker, live, known)
    return replace(found, repair=found.repair or cause) if cause and isinstance(found, Ground) else found


def unusable(name: str, directory: LiveDirectory, config_dir: str) -> Refusal | None:
    """Refuse what is no endpoint's directory of today."""
    path = f"{config_dir}/{directory.name}"
    if directory.kind == "link":
        return Refusal(name, f"{path} is a symbolic link", "replace the link by the directory it points to")
    if directory.kind == "legacy":
        return Refusal(
            name,
            f"{path} is an endpoint of the kind before templates ({directory.problem or 'config.py or an `engine`'})",
            f"run `globus-compute-endpoint migrate-to-template-capable {directory.name}`,"
            f" then `chiltepin adopt {name}`",
        )
    if directory.kind in ("other", "unreadable"):
        why = directory.problem or "not an endpoint directory"
        remedy = "move it away, or choose another `directory`"
        if directory.kind == "unreadable":
            remedy = f"mend that (`ls -la {path}` shows owners and permissions), or choose another `directory`"
        return Refusal(name, f"{path} cannot be used: {why}", remedy)
    return None


def _without_directory(endpoint: DesiredEndpoint, live: LiveState, known: Known) -> Ground | Refusal | Blocked:
    entry = known.entry(endpoint.name)
    locked_id = entry.id if entry else None
    wanted = endpoint.id or locked_id
    if entry and locked_id and endpoint.id and endpoint.id != locked_id:
        return disagree(endpoint.name, {"manifest (id)": endpoint.id, "lock": locked_id})
    if entry and locked_id:
        refusal = check_claim(endpoint.name, entry.claim, known.site.claim(endpoint.directory), "the lock")
        if refusal:
            return refusal
    marker = new_marker(endpoint, known, wanted)
    if isinstance(live.registrations, Unknown):
        return Blocked(endpoint.name, live.registrations.reason)
    if wanted is None:
        refusal = unclaimed(endpoint, live, known)
        return refusal or Ground(None, None, marker)
    if wanted not in live.registrations:
        return gone(endpoint.name, wanted, live)
    other = next((d.name for d in live.directories.values() if _is_there(d, endpoint.name, wanted, known)), None)
    if other is not None:
        return Refusal(
            endpoint.name,
            f"its directory {live.config_dir}/{endpoint.directory} is missing, and {other} has its marker and UUID",
            f"was it renamed? `mv {live.config_dir}/{other} {live.config_dir}/{endpoint.directory}`,"
            f" or write `directory: {other}` in its block",
        )
    status = live.status(wanted)
    if isinstance(status, Unknown):
        return Blocked(endpoint.name, status.reason)
    if status == GONE:
        return Blocked(endpoint.name, f"the service lists {wanted}, and says that it is not there")
    if status == "online":
        return Refusal(
            endpoint.name,
            f"its directory {live.config_dir}/{endpoint.directory} is missing, but {wanted} is online:"
            " it runs elsewhere",
            "stop it there first; if it died a moment ago, wait until the service says offline and run this again",
        )
    return Ground(wanted, None, marker, cause=Cause.LOST_DIRECTORY if locked_id else Cause.NEW)


def _is_there(directory: LiveDirectory, name: str, endpoint_id: str, known: Known) -> bool:
    marker = directory.marker
    return isinstance(marker, Marker) and (marker.stack, marker.lineage, marker.endpoint, marker.id) == (
        known.stack,
        known.lineage,
        name,
        endpoint_id,
    )


def new_marker(endpoint: DesiredEndpoint, known: Known, endpoint_id: str | None) -> Marker:
    """Return a marker without files for an endpoint that is ours from now on."""
    return Marker(
        stack=known.stack,
        lineage=known.lineage,
        endpoint=endpoint.name,
        id=endpoint_id,
        claim=known.site.claim(endpoint.directory),
        protect=endpoint.protect,
        restart=endpoint.restart,
    )


def _without_marker(
    endpoint: DesiredEndpoint, directory: LiveDirectory, live: LiveState, known: Known
) -> Ground | Refusal | Blocked:
    entry = known.entry(endpoint.name)
    local_id = directory.endpoint_id if isinstance(directory.endpoint_id, str) else None
    if isinstance(directory.marker, Damaged) and directory.marker.newer:
        return Refusal(
            endpoint.name,
            f"{live.config_dir}/{directory.name}: {directory.marker.reason}",
            "upgrade chiltepin-reconciler to the version that wrote it: `pip install --upgrade chiltepin-reconciler`",
        )
    if entry and entry.id and entry.id == local_id:
        refusal = check_claim(endpoint.name, entry.claim, known.site.claim(endpoint.directory), "the lock")
        if refusal:
            return refusal
        if isinstance(live.registrations, Unknown):
            return Blocked(endpoint.name, live.registrations.reason)
        if entry.id not in live.registrations:
            return gone(endpoint.name, entry.id, live)
        return Ground(entry.id, directory, new_marker(endpoint, known, entry.id), repair=Cause.LOST_MARKER)
    damaged = f" ({directory.marker.reason})" if isinstance(directory.marker, Damaged) else ""
    what = "its marker cannot be read" + damaged if damaged else "it is not managed by chiltepin"
    return Refusal(
        endpoint.name,
        f"{live.config_dir}/{directory.name} exists and {what}",
        f"run `chiltepin adopt {endpoint.name}` to manage it, or choose another `directory`",
    )


def check_owner(name: str, directory: LiveDirectory, marker: Marker, known: Known, config_dir: str) -> Refusal | None:
    """Refuse when the marker names another stack, lineage, endpoint or claim."""
    path = f"{config_dir}/{directory.name}"
    if marker.stack != known.stack:
        return Refusal(
            name,
            f"{path} belongs to stack `{marker.stack}`",
            f"choose another `directory`, or `chiltepin forget {marker.endpoint}` in the manifest of that stack",
            (f"this manifest's stack: {known.stack}", f"the marker's stack: {marker.stack}"),
        )
    if marker.lineage != known.lineage:
        return Foreign(
            name,
            f"{path} belongs to another manifest that also calls its stack `{known.stack}`",
            "restore the lockfile that belongs to this manifest; if the other manifest is gone for good:"
            f" `chiltepin adopt {name} --take-over`",
            (f"the lock's lineage: {known.lineage}", f"the marker's lineage: {marker.lineage}"),
        )
    if marker.endpoint != name:
        return Refusal(
            name,
            f"{path} holds endpoint `{marker.endpoint}` of this stack",
            f"write `moved: [{{from: {marker.endpoint}, to: {name}}}]`, or choose another `directory`",
        )
    return check_claim(name, marker.claim, known.site.claim(directory.name), f"the marker in {path}")


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
            f"run this on the node where its daemon runs; or if it is no copy: `chiltepin adopt {name} --take-over`",
            evidence,
        )
    return Foreign(
        name,
        "it is claimed by another host, user or config directory",
        f"if that place is gone for good, move the claim here: `chiltepin adopt {name} --take-over`",
        evidence,
    )


def say_claim(claim: Claim) -> str:
    """Return a claim in words."""
    host = f" on {claim.host}" if claim.host else ""
    return f"{claim.user}{host}, {claim.config_dir}/{claim.directory}, identity {claim.identity} ({claim.service})"


def _agreed(
    endpoint: DesiredEndpoint, directory: LiveDirectory, marker: Marker, live: LiveState, known: Known
) -> Ground | Refusal | Blocked:
    entry = known.entry(endpoint.name)
    refusal = check_ids(endpoint.name, directory, marker, entry, endpoint.id)
    if refusal:
        return refusal
    local_id = directory.endpoint_id if isinstance(directory.endpoint_id, str) else None
    endpoint_id = local_id or marker.id or (entry.id if entry else None) or endpoint.id
    if endpoint_id is None:
        return _first_start(endpoint, directory, marker, live, known)
    if not isinstance(live.registrations, Unknown) and endpoint_id not in live.registrations:
        return gone(endpoint.name, endpoint_id, live)
    repair = Cause.INTERRUPTED if marker.id is None else None
    return Ground(endpoint_id, directory, marker.but(id=endpoint_id), repair=repair)


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


def _first_start(
    endpoint: DesiredEndpoint, directory: LiveDirectory, marker: Marker, live: LiveState, known: Known
) -> Ground | Refusal | Blocked:
    """The directory is ours and has no UUID: it was never started, or its first start was cut off."""
    running = id_in_title(directory)
    if running:
        return Ground(running, directory, marker.but(id=running), repair=Cause.INTERRUPTED)
    if directory.processes:
        return Ground(None, directory, marker)
    if isinstance(live.registrations, Unknown):
        return Blocked(endpoint.name, live.registrations.reason)
    pending = live.pending.get(endpoint.name)
    if pending is None or pending.action != "Start":
        return unclaimed(endpoint, live, known) or Ground(None, directory, marker)
    made = made_when_cut_off(endpoint.name, pending, live, known)
    if isinstance(made, Refusal | Blocked):
        return made
    if made is None:
        return Ground(None, directory, marker)
    return Ground(made, directory, marker.but(id=made), repair=Cause.INTERRUPTED)


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
        f"look at them: `chiltepin adopt {name} --id UUID` takes one, `chiltepin apply --new {name}` none",
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
    return Refusal(
        endpoint.name,
        f"this identity already owns {len(same_name)} registration(s) named `{endpoint.directory}` that nothing claims",
        f"use one: `chiltepin adopt {endpoint.name} --id UUID`;"
        f" or make another: `chiltepin apply --new {endpoint.name}`",
        tuple(say_registration(r) for r in same_name),
    )


def _claimed(live: LiveState, known: Known) -> set[str | None]:
    """Return every UUID that the lock, a directory or the trash names."""
    claimed = {entry.id for entry in known.lock.endpoints.values()} if known.lock else set()
    for directory in live.directories.values():
        if isinstance(directory.endpoint_id, str):
            claimed.add(directory.endpoint_id)
        if isinstance(directory.marker, Marker):
            claimed.add(directory.marker.id)
    return claimed | {entry.marker.id for entry in live.trash if entry.marker}


def claimants(endpoint_id: str, name: str, directory_name: str, live: LiveState, known: Known) -> tuple[str, ...]:
    """Return who else has this UUID: other endpoints of the lock, other directories, the trash."""
    found = holders(endpoint_id, name, directory_name, live, known)
    return (*found, *(f"{e.path} in the trash" for e in live.trash if e.marker and e.marker.id == endpoint_id))


def holders(endpoint_id: str, name: str, directory_name: str, live: LiveState, known: Known) -> tuple[str, ...]:
    """Return who else has this UUID: other endpoints of the lock, other directories."""
    found = [
        f"endpoint {other} in the lock"
        for other, entry in (known.lock.endpoints.items() if known.lock else ())
        if other != name and entry.id == endpoint_id
    ]
    for directory in live.directories.values():
        ids = {directory.endpoint_id, directory.marker.id if isinstance(directory.marker, Marker) else None}
        if directory.name != directory_name and endpoint_id in ids:
            found.append(f"{live.config_dir}/{directory.name}")
    return tuple(found)


def say_registration(registration: Registration) -> str:
    """Return a registration in words."""
    where = f" on {registration.hostname}" if registration.hostname else ""
    shown = f" ({registration.display_name})" if registration.display_name else ""
    return f"{registration.id}{shown}{where}"


@dataclass(frozen=True)
class Foreign(Refusal):
    """Another place claims the endpoint, or another lockfile: with consent it is moved here (`--take-over`)."""


@dataclass(frozen=True)
class Gone(Refusal):
    """The registration `id` is not among those of this identity."""

    id: str = ""


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
        f"restore it at the service, or give up the UUID: `chiltepin apply --reregister {name}` makes a new one",
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


def disagree(name: str, found: dict[str, str]) -> Refusal:
    """Refuse an endpoint whose UUID is not the same everywhere; `found` is each place's."""
    return Refusal(
        name,
        "its UUID is not the same everywhere",
        f"decide which is right, and run `chiltepin adopt {name} --id UUID`",
        tuple(f"{where}: {value}" for where, value in found.items()),
    )
