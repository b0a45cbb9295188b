"""The planner: desired, live and known state in, an ordered list of typed actions out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace

from reconciler.core.actions import (
    DELETING,
    Action,
    Create,
    EndpointAction,
    Note,
    Purge,
    Refusal,
    Restart,
    Start,
    WriteLock,
    WritePools,
)
from reconciler.core.changes import Cause
from reconciler.core.desired import Desired, DesiredPool
from reconciler.core.draft import Draft
from reconciler.core.endpoint_plans import plan_endpoints
from reconciler.core.environment import given
from reconciler.core.errands import plan_errand
from reconciler.core.frozen import dataclass
from reconciler.core.known import Blocked, Known
from reconciler.core.live import LiveState, Unknown
from reconciler.core.lock import Lock, LockedEndpoint, final_lock, known_ids
from reconciler.core.marker import Marker
from reconciler.core.pool_changes import pool_changes
from reconciler.core.pool_sharing import file_pools, seen_from, with_pools
from reconciler.core.pools import pools_file, read_pools
from reconciler.core.removal import Removal, removals
from reconciler.core.reported import reported, reported_files
from reconciler.core.retention import plan_expiry
from reconciler.core.running import Running
from reconciler.core.safe_yaml import scalar
from reconciler.core.scope import Errand, Scope

_OTHERS = (
    "the pools file has `{}` as the host {} wants it, and it stays so: the two share the file and want different"
    " options; make it two pools, or give each host a clone of its own"
)
_HELD = "the pools file stays as it is, for it holds pools of endpoints that are refused or not planned: {}"
_BLANK = (
    "warning: there is a blank in the config directory's path, {!r}: endpoints start, and their tasks never run;"
    " use another one (`config_dir` of the host, or -c)"
)


@dataclass(frozen=True)
class Plan:
    """What would be done, in order, and why not more.

    Attributes:
        actions: endpoints' actions in the manifest's order, deletes last; one endpoint's actions stand together.
        files: WriteLock and WritePools, after all others.
        refusals: endpoints on which a guard said no.
        blocked: endpoints that cannot be decided without the service.
        notes: what is worth knowing and needs no action.
        left_out: pools that the pools file does not hold, with the reason.
        markers: by endpoint, the marker from which the actions go on.
        entries: by endpoint, its lock entry when all its actions are done; `id` null when not yet known.
        lock: the lock before the first action (an empty one when there was none).
        unreachable: why the service could not be asked, when it could not.
        is_destroy: whether this is the plan of a destroy.
        holds_pools: whether the pools file must stay as it is.
        file_pools: the pools as the pools file is to have them.
        errand: what this is the plan of, when it is not that of the whole manifest.
        running: daemons that run as declared; an apply observes that the service sees them.
        environment: digests of the variables set here that the daemons which it starts are given.
        beside: declared endpoints that the run is not to touch (`--target`, `--exclude`).
    """

    desired: Desired
    config_dir: str
    actions: tuple[EndpointAction, ...] = ()
    files: tuple[WriteLock | WritePools, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    notes: tuple[Note, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    markers: Mapping[str, Marker] = field(default_factory=dict)
    entries: Mapping[str, LockedEndpoint] = field(default_factory=dict)
    lock: Lock | None = None
    unreachable: str | None = None
    is_destroy: bool = False
    holds_pools: bool = False
    file_pools: Mapping[str, DesiredPool] = field(default_factory=dict)
    errand: Errand | None = None
    running: tuple[Running, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ()

    @property
    def all_actions(self) -> tuple[Action, ...]:
        """All actions in the order in which they are shown."""
        return (*self.actions, *self.files)

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be done."""
        return not self.actions and not self.files

    @property
    def deletes(self) -> tuple[str, ...]:
        """Names of the endpoints that would be deleted, in order; without what the trash's retention ends."""
        found = [a.endpoint for a in self.actions if isinstance(a, DELETING) and not _expires(a)]
        return tuple(dict.fromkeys(found))

    @property
    def delete_count(self) -> int:
        """How many deletes that makes: of one name, the trash may hold several."""
        groups = [actions for _, actions in self.by_endpoint()]
        return sum(any(isinstance(a, DELETING) and not _expires(a) for a in actions) for actions in groups)

    @property
    def refused(self) -> tuple[str, ...]:
        """Names of the declared endpoints on which a guard said no, in order.

        What leaves may be what they take the place of. A destroy, and what is asked for by name, replaces nothing.
        """
        if self.is_destroy or self.errand is not None:
            return ()
        names = {r.endpoint for r in self.refusals}
        return tuple(name for name in self.desired.endpoints if name in names)

    @property
    def expiries(self) -> tuple[Purge, ...]:
        """What the trash's retention ends, oldest first."""
        return tuple(a for a in self.actions if isinstance(a, Purge) and a.is_expiry)

    def without_endpoints(self, names: frozenset[str]) -> Plan:
        """Return the plan without the actions on `names`, but for what the trash's retention ends."""
        kept = tuple(a for a in self.actions if a.endpoint not in names or _expires(a))
        return replace(self, actions=kept)

    def without_expiries(self, kept: Collection[Purge] = ()) -> Plan:
        """Return the plan with just these of what the trash's retention ends."""
        return replace(self, actions=tuple(a for a in self.actions if not _expires(a) or a in kept))

    def by_endpoint(self) -> Iterator[tuple[str, tuple[EndpointAction, ...]]]:
        """Yield each endpoint with its actions, in order; what is in the trash stands for itself."""
        groups: dict[tuple[str, str | None], list[EndpointAction]] = {}
        for action in self.actions:
            entry = action.trash_entry if isinstance(action, Purge) else None
            groups.setdefault((action.endpoint, entry), []).append(action)
        for (name, _), actions in groups.items():
            yield name, tuple(actions)


def _expires(action: EndpointAction) -> bool:
    return isinstance(action, Purge) and action.is_expiry


def make_plan(
    desired: Desired, live: LiveState, known: Known, *, pools_text: str | None = None, scope: Scope | None = None
) -> Plan:
    """Compare what should be with what is.

    Args:
        desired: the local host's view of the manifest.
        live: the snapshot.
        known: lock, lineage and claim.
        pools_text: the pools file as it is, None when there is none.
        scope: limits and consents; everything by default.
    """
    scope = scope or Scope()
    draft = Draft()
    if desired.endpoints and any(c.isspace() for c in live.config_dir):
        # Parsl puts the path into a shell's command line without quotes.
        draft.notes.append(Note(None, _BLANK.format(live.config_dir)))
    if scope.errand is not None:
        plan_errand(scope.errand, desired, live, known, draft)
        return _finish(desired, live, known, draft, pools_text, scope)
    if not scope.destroy:
        plan_endpoints(desired, live, known, scope, draft)
    removal = removals(desired, live, known, scope)
    draft.actions += removal.actions
    draft.refusals += removal.refusals
    draft.notes += removal.notes
    draft.markers.update(removal.markers)
    draft.gone |= removal.gone
    if not scope.destroy:
        _ask_whether_renamed(desired, known, removal, draft)
        plan_expiry(desired, live, known, scope, draft)
    return _finish(desired, live, known, draft, pools_text, scope)


def _ask_whether_renamed(desired: Desired, known: Known, removal: Removal, draft: Draft) -> None:
    """Say how a UUID stays with an endpoint whose block was given another name, whatever is done about the old one."""
    made = [a.endpoint for a in draft.actions if isinstance(a, Create) and not (a.marker.id or a.endpoint in known.new)]
    leaving = removal.names.union(refusal.endpoint for refusal in removal.refusals) - desired.endpoints.keys()
    entries = known.lock.endpoints if known.lock else {}
    removed = [n for n, entry in entries.items() if n in leaving and entry.id and entry.state != "unmanaged"]
    if not (made and removed):
        return
    if len(made) == len(removed) == 1:
        (new,), (old,) = made, removed
        how = f"`moved: [{{from: {scalar(old)}, to: {scalar(new)}}}]` keeps its UUID"
        text = f"if {new} is {old} with another name, {how}"
    else:
        text = (
            f"if one of {', '.join(made)} is one of {', '.join(removed)} with another name,"
            " `moved: [{from: OLD, to: NEW}]` keeps its UUID"
        )
    draft.notes.append(Note(None, text))


def _finish(
    desired: Desired,
    live: LiveState,
    known: Known,
    draft: Draft,
    pools_text: str | None,
    scope: Scope,
) -> Plan:
    before = known.lock or Lock(stack=known.stack, lineage=known.lineage)
    errand = scope.errand
    has_pools = errand is None or errand.has_pools
    after = final_lock(before, draft.entries, frozenset(draft.gone))
    after = with_pools(after, desired, errand, is_destroy=scope.destroy)
    wanted = file_pools(desired, known.lock, pools_text)
    pools = pools_file(wanted.pools, known_ids(after, desired))
    files: list[WriteLock | WritePools] = []
    pending_ids = any(entry.id is None and entry.state == "running" for entry in draft.entries.values())
    if known.lock is None or after != known.lock or (pending_ids and any(not a.hold for a in draft.actions)):
        cause = _why_written(live, known, draft)
        here = desired.host.name
        changed = pool_changes(seen_from(here, before.pools), seen_from(here, after.pools))
        files.append(WriteLock(cause=cause, pools=changed))
    left_out = _left_out(desired, pools.left_out, draft.actions)
    coming = pools.left_out.keys() - left_out.keys()  # in the file once this plan has registered their endpoints
    held = _held_pools(desired, pools.text, draft, pools_text) if has_pools else ()
    draft.notes += [Note(None, _OTHERS.format(*item)) for item in wanted.held.items() if has_pools]
    if held:
        draft.notes.append(Note(None, _HELD.format(", ".join(held))))
        if any(isinstance(file, WriteLock) and file.pools for file in files):
            draft.notes.append(Note(None, "until then pools change in the lockfile only"))
    elif has_pools and (coming or pools.text != pools_text):
        files.append(WritePools(cause=Cause.NEW if pools_text is None else Cause.RESOLVED))
    if not draft.actions and (known.lock is None if scope.destroy else errand and not draft.entries):
        files.clear()  # nothing was ever there, or is to be done: leave no files behind
    if held:  # the file keeps what it has
        kept = read_pools(pools_text or "")
        left_out = {name: why for name, why in left_out.items() if name not in kept}
    return Plan(
        desired=desired,
        config_dir=live.config_dir,
        actions=reported(draft.actions, desired.secrets),
        files=reported_files(files, desired.secrets),
        refusals=tuple(draft.refusals),
        blocked=tuple(draft.blocked),
        notes=tuple(draft.notes),
        left_out=left_out if has_pools and not scope.destroy else {},
        markers=draft.markers,
        entries=draft.entries,
        lock=before,
        is_destroy=scope.destroy,
        holds_pools=bool(held) or not has_pools,
        file_pools=wanted.pools,
        errand=errand,
        running=tuple(draft.running),
        environment=given({}, live.environment) if any(isinstance(a, Start | Restart) for a in draft.actions) else {},
        beside=tuple(name for name in desired.endpoints if not (errand or scope.covers(name))),
        unreachable=live.registrations.reason if isinstance(live.registrations, Unknown) else None,
    )


def _why_written(live: LiveState, known: Known, draft: Draft) -> Cause:
    """Return why the lockfile is written: markers of its lineage tell that there was one, and which UUIDs it had."""
    if known.lock is not None:
        return Cause.RESOLVED
    markers = [*(d.marker for d in live.directories.values()), *(item.marker for item in live.trash)]
    was_there = any(isinstance(m, Marker) and (m.stack, m.lineage) == (known.stack, known.lineage) for m in markers)
    return Cause.LOST_LOCK if was_there and any(entry.id for entry in draft.entries.values()) else Cause.NEW


def _held_pools(desired: Desired, then_text: str, draft: Draft, pools_text: str | None) -> tuple[str, ...]:
    """Return the pools that work now and would be dropped, or sent elsewhere, though their endpoint is in doubt."""
    doubtful = {r.endpoint for r in draft.refusals} | {b.endpoint for b in draft.blocked}
    if pools_text is None or not doubtful:
        return ()
    now, then = read_pools(pools_text), read_pools(then_text)
    mine = [name for name, pool in desired.pools.items() if pool.endpoint in doubtful and name in now]
    return tuple(name for name in mine if now[name].get("endpoint") != then.get(name, {}).get("endpoint"))


def _left_out(desired: Desired, left_out: Mapping[str, str], actions: Sequence[EndpointAction]) -> dict[str, str]:
    """Drop the pools whose endpoint gets its UUID in this very plan."""
    registering = {a.endpoint for a in actions if isinstance(a, Start) and a.id is None and not a.hold}
    return {name: why for name, why in left_out.items() if desired.pools[name].endpoint not in registering}
