"""What is done about each declared endpoint: it comes back, is renamed, taken over, brought to its state. Pure."""

from __future__ import annotations

from reconciler.core.actions import Refusal
from reconciler.core.desired import Desired, DesiredEndpoint
from reconciler.core.draft import Draft
from reconciler.core.frozen import dataclass
from reconciler.core.known import Blocked, Foreign, Ground, Known
from reconciler.core.live import LiveState
from reconciler.core.lock import lock_entry
from reconciler.core.ownership import find_ground
from reconciler.core.pins import pinned
from reconciler.core.renamed_in_trash import find_return
from reconciler.core.renaming import find_renaming, renamed
from reconciler.core.reregistration import Renewal, renew
from reconciler.core.scope import Scope
from reconciler.core.steps import note_stale, steps_for
from reconciler.core.taking import Taking, take_over
from reconciler.core.traces import Homes, homes_of
from reconciler.core.undeletion import Undeletion, bring_back
from reconciler.core.unfit_options import refuse_declared, refuse_unfit, without_start
from reconciler.core.unmanaged import Managed, leave_alone, managed_in


@dataclass(frozen=True)
class _Context:
    """What the plan of one endpoint is made from, besides the live state and what is known."""

    desired: Desired
    homes: Homes
    scope: Scope
    managed: Managed


def plan_endpoints(desired: Desired, live: LiveState, known: Known, scope: Scope, draft: Draft) -> None:
    """Add to `draft` what is done about the declared endpoints, in the manifest's order, or what stands against it.

    What is left alone is looked at last: it must not have the UUID of what this very run manages.
    """
    homes = homes_of(live, known)
    drafts: dict[str, Draft] = {}
    for unmanaged in (False, True):
        managed = managed_in(desired, drafts) if unmanaged else {}
        context = _Context(desired, homes, scope, managed)
        for name, endpoint in desired.endpoints.items():
            if (endpoint.state == "unmanaged") == unmanaged:
                drafts[name] = (
                    _plan_endpoint(endpoint, live, known, context) if scope.covers(name) else _kept(name, known)
                )
    for name in desired.endpoints:
        draft.add(drafts[name])


def _plan_endpoint(endpoint: DesiredEndpoint, live: LiveState, known: Known, context: _Context) -> Draft:
    """Return what is found about an endpoint on its own; when it is refused, nothing is done about it."""
    name, desired, homes = endpoint.name, context.desired, context.homes
    if refusal := refuse_declared(name, desired):
        return _declined(name, refusal, known)
    back = find_return(endpoint, desired, live, known, homes)
    if isinstance(back, Refusal | Blocked):
        return _declined(name, back, known)
    if back is not None:
        live, homes = back.live, homes_of(back.live, known)
    renaming = find_renaming(endpoint, desired, live, known, homes)
    if isinstance(renaming, Refusal | Blocked):
        return _declined(name, renaming, known)
    draft, then = Draft(), known
    if renaming is not None:
        live, then = renaming.live, renaming.known
        draft.actions += [*([back.action] if back else []), *renaming.actions]
    if endpoint.state == "unmanaged":
        against: Refusal | Blocked | None = leave_alone(endpoint, desired, live, then, context.managed, draft)
    else:
        place = renaming.source if renaming else endpoint.directory
        against = _plan_managed(endpoint, live, then, context, draft, f"{live.config_dir}/{place}")
    if isinstance(against, Refusal):
        return _declined(name, against, known)
    if against is not None:
        draft.add(_declined(name, against, then))
    if renaming is not None:
        renamed(renaming, endpoint, draft)
    return draft


def _plan_managed(
    endpoint: DesiredEndpoint, live: LiveState, known: Known, context: _Context, draft: Draft, path: str
) -> Refusal | Blocked | None:
    """Add to `draft` what brings an endpoint to its state, or return what stands against all of that.

    `path` is that of its directory as it is before this run.
    """
    name, scope = endpoint.name, context.scope
    judged = _ground(endpoint, live, known, draft)
    if scope.take_over and isinstance(judged, Foreign):
        taking = take_over(endpoint, context.desired, live, known)
        if not isinstance(taking, Taking):
            return taking
        live = taking.live
        draft.actions += taking.actions
        judged = find_ground(endpoint, live, taking.known)
    renewal = renew(endpoint, judged, live, known) if name in scope.reregister else judged
    ground = renewal.ground if isinstance(renewal, Renewal) else renewal
    if isinstance(ground, Ground):
        ground = pinned(endpoint, ground, live)
    if not isinstance(ground, Ground):
        return ground
    steps = steps_for(endpoint, ground, live, context.desired.host.run_on, retry=scope.retry)
    unfit = refuse_unfit(endpoint, ground.directory, path, context.desired.options, steps)
    if unfit and isinstance(renewal, Renewal):
        return unfit  # what stops it, and gives its UUID up, is for the start only
    if unfit:
        without_start(steps, unfit)
        note_stale(endpoint, ground, steps)
    draft.actions += [*(renewal.actions if isinstance(renewal, Renewal) else ()), *steps.actions]
    draft.notes += steps.notes
    draft.refusals += steps.refusals
    draft.blocked += steps.blocked
    draft.running += steps.running
    pins = {"path": ground.marker.path, "environment": ground.marker.environment}
    draft.markers[name] = renewal.marker.but(**pins) if isinstance(renewal, Renewal) else ground.marker
    draft.entries[name] = lock_entry(endpoint, ground.marker.claim, ground.id)
    return None


def _ground(endpoint: DesiredEndpoint, live: LiveState, known: Known, draft: Draft) -> Ground | Refusal | Blocked:
    """Return on what ground the endpoint stands, once it is brought back if it was deleted."""
    deleted = bring_back(endpoint, live, known)
    if not isinstance(deleted, Undeletion):
        return deleted or find_ground(endpoint, live, known)
    draft.actions.append(deleted.action)
    return deleted.ground


def _declined(name: str, why: Refusal | Blocked, known: Known) -> Draft:
    """Return that nothing more is done about an endpoint, and why."""
    draft = _kept(name, known)
    if isinstance(why, Refusal):
        draft.refusals.append(why)
    else:
        draft.blocked.append(why)
    return draft


def _kept(name: str, known: Known) -> Draft:
    """Return that an endpoint which is not acted on keeps its lock entry as it is."""
    entry = known.entry(name)
    return Draft() if entry is None else Draft(entries={name: entry})
