"""Adoption: taking over a directory that somebody else made, a registration, or the claim of another place. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from shlex import quote

from reconciler.core.actions import Adopt, Create, Note, Refusal
from reconciler.core.changes import Cause, FileChange
from reconciler.core.daemon import Daemon, DaemonState, id_in_title, judge_daemon, refuse_doubled
from reconciler.core.daemon_steps import marked
from reconciler.core.desired import Desired, DesiredEndpoint
from reconciler.core.diff import found_record
from reconciler.core.documents import file_specs
from reconciler.core.draft import Draft
from reconciler.core.elsewhere import NOT_OF_HERE
from reconciler.core.known import WRONG_IDENTITY, Blocked, Ground, Known
from reconciler.core.live import GONE, Damaged, LiveDirectory, LiveState, Unknown
from reconciler.core.lock import lock_entry
from reconciler.core.marker import Marker
from reconciler.core.ownership import new_marker, unusable
from reconciler.core.pins import pinned
from reconciler.core.preconditions import EndpointIdIs, NoDaemon, Precondition
from reconciler.core.registrations import claimants, gone, not_owned, say_registration
from reconciler.core.scope import Errand
from reconciler.core.steps import mend_endpoint_json, steps_for, with_daemon
from reconciler.core.unfit_options import refuse_declared
from reconciler.core.witnesses import check_claim, check_owner, disagree, say_claim, witnesses
from reconciler.errors import UPGRADE


def plan_adoption(errand: Errand, desired: Desired, live: LiveState, known: Known, draft: Draft) -> None:
    """Add to `draft` what takes over the endpoints that `errand` names."""
    for name in errand.names or tuple(desired.endpoints):
        endpoint = desired.endpoints[name]
        adopter = _Adopter(endpoint, live, known, errand, live.directories.get(endpoint.directory))
        if not errand.names and adopter.is_of_no_interest:
            continue
        found = adopter.plan(desired, draft)
        if isinstance(found, Refusal):
            draft.refusals.append(found)
        elif isinstance(found, Blocked):
            draft.blocked.append(found)


@dataclass
class _Adopter:
    """Decides on one endpoint.

    Attributes:
        evidence: what is there, and what it becomes: shown before anybody is asked.
    """

    endpoint: DesiredEndpoint
    live: LiveState
    known: Known
    errand: Errand
    directory: LiveDirectory | None
    evidence: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.endpoint.name

    @property
    def marker(self) -> Marker | None:
        """The marker, when there is one that can be read."""
        found = self.directory.marker if self.directory else None
        return found if isinstance(found, Marker) else None

    @property
    def is_of_no_interest(self) -> bool:
        """Whether `--all` passes it over: left alone, without a directory, or managed already."""
        if self.endpoint.state == "unmanaged" or self.directory is None:
            return True
        marker = self.marker
        entry = self.known.entry(self.name)
        claim = self.known.site.claim(self.endpoint.directory)
        settled = marker is not None and (marker.stack, marker.lineage, marker.claim) == (
            self.known.stack,
            self.known.lineage,
            claim,
        )
        return settled and (entry is None or entry.claim == claim)

    def plan(self, desired: Desired, draft: Draft) -> Refusal | Blocked | None:
        """Add the actions to `draft`, or return what stands against them."""
        if self.endpoint.state == "unmanaged":
            return Refusal(
                self.name,
                "the manifest says `state: unmanaged`: it is left alone",
                f"write `state: running` or `state: stopped`, then `chiltepin adopt {quote(self.name)}`",
            )
        against = self._owner()
        if against:
            return against
        if isinstance(self.live.registrations, Unknown):
            return Blocked(self.name, self.live.registrations.reason)
        chosen = self._choose()
        if isinstance(chosen, Refusal):
            return chosen
        hindrance = self._hindered(chosen)
        if hindrance:
            return hindrance
        if self.directory is None:
            return self._without_directory(chosen, desired, draft)
        self._take(self.directory, chosen, draft)
        return None

    def _owner(self) -> Refusal | None:
        """Refuse what belongs to another stack or identity, and without consent what another place claims."""
        directory, marker, ours = self.directory, self.marker, self.known.site.claim(self.endpoint.directory)
        if directory is not None:
            if isinstance(directory.marker, Damaged) and directory.marker.newer:
                return Refusal(
                    self.name,
                    f"{self.live.config_dir}/{directory.name}: {directory.marker.reason}",
                    UPGRADE,
                )
            refusal = unusable(self.name, directory, self.live.config_dir)
            if refusal:
                return refusal
        if directory is not None and marker is not None:
            same = marker.but(lineage=self.known.lineage, claim=ours)
            refusal = check_owner(self.name, directory, same, self.known, self.live.config_dir)
            if refusal:
                return refusal
            if marker.lineage != self.known.lineage:
                same = marker.but(claim=ours)
                refusal = check_owner(self.name, directory, same, self.known, self.live.config_dir)
                if not self._moves(refusal):
                    return refusal
        entry = self.known.entry(self.name)
        theirs = [("the lock", entry.claim)] if entry else []
        if directory is not None and marker is not None:
            theirs.append((f"the marker in {self.live.config_dir}/{directory.name}", marker.claim))
        for where, claim in theirs:
            refusal = check_claim(self.name, claim, ours, where)
            if not self._moves(refusal):
                return refusal
        return None

    def _moves(self, refusal: Refusal | None) -> bool:
        """Whether nothing stands against it, or it was consented to; then both sides are evidence."""
        if refusal is None:
            return True
        if refusal.exit_code == WRONG_IDENTITY or not self.errand.take_over:
            return False
        self.evidence += [text for text in refusal.evidence if text not in self.evidence]
        return True

    def _choose(self) -> str | Refusal | None:
        """Return the UUID that it has, or that was decided on; None when it was never registered."""
        wanted, entry = self.errand.id, self.known.entry(self.name)
        found = witnesses(self.directory, self.marker, entry, self.endpoint.id)
        ids = set(found.values())
        if wanted is None:
            return disagree(self.name, found) if len(ids) > 1 else next(iter(ids), None)
        if self.endpoint.id and self.endpoint.id != wanted:
            return Refusal(
                self.name,
                f"the manifest says `id: {self.endpoint.id}`, and not {wanted}",
                f"write `id: {wanted}` in its block, or leave `id` out",
            )
        running = id_in_title(self.directory) if self.directory else None
        if running and running != wanted:
            return Refusal(
                self.name,
                f"its daemon runs under {running}, and not {wanted}",
                f"stop it first: `globus-compute-endpoint -c {quote(self.live.config_dir)}"
                f" stop {quote(self.endpoint.directory)}`",
            )
        if wanted not in ids:
            refusal = self._not_free(wanted, found)
            if refusal:
                return refusal
        self.evidence += [f"{where}: {value}" for where, value in found.items() if value != wanted]
        return wanted

    def _not_free(self, wanted: str, found: dict[str, str]) -> Refusal | None:
        """Refuse a UUID that nothing here names, unless it is an unclaimed registration of the directory's name."""
        registrations = self.live.registrations
        if isinstance(registrations, Unknown):
            return None
        kept = [value for value in found.values() if value in registrations]
        if kept:
            return Refusal(
                self.name,
                f"it has the UUID {kept[0]}, which nothing doubts",
                f"keep it: `chiltepin adopt {quote(self.name)}`",
                tuple(f"{where}: {value}" for where, value in found.items()),
            )
        registration = registrations.get(wanted)
        if registration is not None and registration.name != self.endpoint.directory:
            return Refusal(
                self.name,
                f"the registration {wanted} is named `{registration.name}`, its directory `{self.endpoint.directory}`",
                f"write `directory: {registration.name}` in its block, or take another UUID",
            )
        return None

    def _hindered(self, chosen: str | None) -> Refusal | Blocked | None:
        """Return what stands against this UUID at the service, or against the daemon here."""
        directory = self.directory
        daemon = judge_daemon(directory, self.marker, self.live) if directory else Daemon(DaemonState.STOPPED)
        state, away = daemon.state, daemon.sighting.away if daemon.sighting else None
        if state is DaemonState.ELSEWHERE and directory and (directory.pid_file is None or away in NOT_OF_HERE):
            state = DaemonState.STOPPED  # here nothing points to it: what follows names its UUID
        doubled = refuse_doubled(self.name, self.endpoint.directory, daemon, self.live)
        if doubled:
            return doubled
        if state is DaemonState.STARTING:
            return Refusal(self.name, "its daemon is just starting", "wait until it is up, and run this again")
        if state is DaemonState.ELSEWHERE:
            return Refusal(self.name, "its daemon runs on another node of this home directory", "run this on that node")
        if chosen is None or isinstance(self.live.registrations, Unknown):
            return None
        others = claimants(chosen, self.name, self.endpoint.directory, self.live, self.known)
        if others:
            return Refusal(self.name, f"the UUID {chosen} is taken: by {', '.join(others)}", "choose another one")
        status = self.live.status(chosen)
        if chosen not in self.live.registrations:
            return self._not_there(chosen)
        running = directory is not None and id_in_title(directory) == chosen
        if running:
            return None
        if isinstance(status, Unknown):
            return Blocked(self.name, status.reason)
        if status == "online":
            return Refusal(
                self.name,
                f"{chosen} is online, and does not run here: it runs elsewhere",
                "run this where it runs, or stop it there first and wait until the service says offline",
            )
        return None

    def _not_there(self, chosen: str) -> Refusal | Blocked:
        status = self.live.status(chosen)
        if isinstance(status, Unknown):
            return Blocked(self.name, status.reason)
        if status != GONE:
            return not_owned(self.name, chosen)
        if self.marker is not None and self.errand.id is None:
            return gone(self.name, chosen, self.live)
        path = f"{self.live.config_dir}/{self.endpoint.directory}/endpoint.json"
        return Refusal(
            self.name,
            f"the service has no registration {chosen}",
            f"if that UUID is gone for good, move {path} away and run `chiltepin adopt {quote(self.name)}`",
        )

    def _without_directory(self, chosen: str | None, desired: Desired, draft: Draft) -> Refusal | None:
        """Make the directory of a registration that has none; the next apply starts it."""
        entry = self.known.entry(self.name)
        ours = self.known.site.claim(self.endpoint.directory)
        if chosen is None and entry and entry.claim != ours:  # that the claim is moved was consented to
            draft.entries[self.name] = lock_entry(self.endpoint, ours, None)
            return None
        if chosen is None or (entry and (entry.id, entry.claim) == (chosen, ours)):
            return Refusal(self.name, "there is no directory to adopt", "`chiltepin apply` makes it")
        if refusal := refuse_declared(self.name, desired):
            return refusal
        marker = new_marker(self.endpoint, self.known, chosen)
        ground = pinned(self.endpoint, Ground(chosen, None, marker, cause=Cause.CONSENT), self.live)
        if isinstance(ground, Refusal):
            return ground
        steps = steps_for(self.endpoint, ground, self.live, desired.host.run_on)
        creates = [action for action in steps.actions if isinstance(action, Create)]
        draft.actions += [replace(a, changes=(*self._shown(chosen, None), *a.changes)) for a in creates]
        draft.markers[self.name] = marker
        draft.entries[self.name] = lock_entry(self.endpoint, ours, chosen)
        return None

    def _take(self, directory: LiveDirectory, chosen: str | None, draft: Draft) -> None:
        was, ours = self.marker, self.known.site.claim(self.endpoint.directory)
        marker = self._taken(directory, chosen)
        entry = lock_entry(self.endpoint, ours, chosen)
        before = self.known.entry(self.name)
        needs_json = chosen is not None and directory.endpoint_id != chosen
        if marker == was and not needs_json:
            if before is not None and (before.id, before.claim) == (chosen, ours):
                draft.notes.append(Note(self.name, "it is managed already"))
                return
        elif marker != was:
            guards: list[Precondition] = [marked(was)] if was else []
            if not isinstance(directory.endpoint_id, Damaged):
                guards.append(EndpointIdIs(directory.endpoint_id))
            if not directory.processes:
                guards.append(NoDaemon())
            draft.actions.append(
                Adopt(
                    endpoint=self.name,
                    directory=directory.name,
                    cause=Cause.CONSENT,
                    preconditions=tuple(guards),
                    changes=self._shown(chosen, directory),
                    marker=marker,
                    backup=isinstance(directory.marker, Damaged),
                )
            )
        if needs_json:
            ground = Ground(chosen, directory, marker, repair=Cause.CONSENT)
            draft.actions.append(mend_endpoint_json(self.endpoint, ground, directory.endpoint_id))
        draft.markers[self.name] = marker
        draft.entries[self.name] = entry

    def _taken(self, directory: LiveDirectory, chosen: str | None) -> Marker:
        """Return the marker that says what is there: files as they are, and the daemon that runs."""
        ours, was = self.known.site.claim(self.endpoint.directory), self.marker
        if was is not None:
            marker = was.but(lineage=self.known.lineage, id=chosen, claim=ours)
        else:
            marker = new_marker(self.endpoint, self.known, chosen)
            ground = pinned(self.endpoint, Ground(chosen, directory, marker), self.live)
            marker = ground.marker if isinstance(ground, Ground) else marker  # else the next apply asks again
            specs = file_specs(self.endpoint, marker.path, f"{self.live.config_dir}/{directory.name}")
            there = [(spec, directory.files[spec.file]) for spec in specs if spec.file in directory.files]
            marker = marker.but(files={spec.file: found_record(spec, found) for spec, found in there})
        return with_daemon(marker, None, directory, self.live)[0]

    def _shown(self, chosen: str | None, directory: LiveDirectory | None) -> tuple[FileChange, ...]:
        """Return both sides: what is there, and what it becomes."""
        lines = list(self.evidence)
        if directory is not None and self.marker is None:
            there = [f"UUID {chosen}" if chosen else "never registered"]
            there += [f"daemon PID {p.pid}" for p in directory.processes]
            lines.append(f"there: {self.live.config_dir}/{directory.name}, {', '.join(there)}")
        registrations = self.live.registrations
        if chosen is not None and not isinstance(registrations, Unknown):
            lines.append(f"at the service: {say_registration(registrations[chosen])}")
        claim = say_claim(self.known.site.claim(self.endpoint.directory))
        lines.append(f"becomes: endpoint {self.name} of stack {self.known.stack}: {claim}")
        return tuple(FileChange(text, "note", Cause.CONSENT) for text in lines)


def ids_to_ask(names: Iterable[str], desired: Desired, live: LiveState, known: Known) -> set[str]:
    """Return the UUIDs about which an adoption must know whether they are online, or whose they are."""
    found: set[str] = set()
    for name in names or desired.endpoints:
        endpoint = desired.endpoints.get(name)
        if endpoint is None or endpoint.state == "unmanaged":
            continue
        directory = live.directories.get(endpoint.directory)
        marker = directory.marker if directory and isinstance(directory.marker, Marker) else None
        named = witnesses(directory, marker, known.entry(name), endpoint.id)
        listed = {} if isinstance(live.registrations, Unknown) else live.registrations
        found |= {value for value in named.values() if value != named.get("its daemon") or value not in listed}
    return found
