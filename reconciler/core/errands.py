"""Errands: one thing asked for by name, planned like everything else. Pure."""

from __future__ import annotations

from reconciler.core.actions import Refusal
from reconciler.core.adoption import ids_to_ask, plan_adoption
from reconciler.core.asked_restart import plan_restart
from reconciler.core.desired import Desired
from reconciler.core.draft import Draft
from reconciler.core.known import Blocked, Gone, Known
from reconciler.core.leavers import ids_to_end
from reconciler.core.letting_go import plan_forget, plan_unprotect
from reconciler.core.live import LiveDirectory, LiveState, Unknown
from reconciler.core.marker import Marker
from reconciler.core.ownership import find_ground
from reconciler.core.renaming import find_renaming
from reconciler.core.retention import expired
from reconciler.core.scope import Errand, Scope
from reconciler.core.taking import ids_to_take
from reconciler.core.traces import Homes, homes_of
from reconciler.core.trash import ids_to_ask as ids_in_trash
from reconciler.core.trash import names_to_come_back, plan_purges
from reconciler.core.undeletion import plan_undelete
from reconciler.core.witnesses import ids_named


def plan_errand(errand: Errand, desired: Desired, live: LiveState, known: Known, draft: Draft) -> None:
    """Add to `draft` what does the errand, or what stands against it."""
    if known.lock is None and _has_markers(live, known):
        draft.refusals += [
            Refusal(
                name,
                "there is no lockfile, and directories here carry this stack's marker",
                "restore the lockfile, or run `chiltepin apply` first: it rebuilds it from the markers",
            )
            for name in errand.names or tuple(desired.endpoints)
        ]
        return
    homes = homes_of(live, known)
    names = [n for n in errand.names if not _is_out_of_place(n, errand, desired, live, known, homes, draft)]
    if errand.names and not names:
        return
    if errand.kind == "adopt":
        plan_adoption(errand, desired, live, known, draft)
    elif errand.kind == "purge":
        plan_purges(errand, names, desired, live, known, draft)
    for name in names:
        if errand.kind == "restart":
            plan_restart(desired.endpoints[name], errand, desired, live, known, draft)
        elif errand.kind == "forget":
            plan_forget(name, desired, live, known, draft)
        elif errand.kind == "unprotect":
            plan_unprotect(name, desired, live, known, draft)
        elif errand.kind == "undelete":
            plan_undelete(name, errand, desired, live, known, draft)


def ids_in_question(scope: Scope, desired: Desired, live: LiveState, known: Known) -> set[str]:
    """Return the UUIDs about which the service must be asked one by one, for what `scope` asks."""
    if isinstance(live.registrations, Unknown):
        return set()
    if scope.errand and scope.errand.kind in ("undelete", "purge"):
        return ids_in_trash(scope.errand.names or None, live, known)
    if scope.errand and scope.errand.kind == "adopt":
        chosen = {scope.errand.id} if scope.errand.id else set()
        return chosen | ids_to_ask(scope.errand.names, desired, live, known)
    if scope.destroy:
        return ids_to_end(desired, live, known, scope) if scope.purge else set()
    found = ids_to_take(scope, desired, live, known)
    if not scope.errand:
        found = found | _ids_of_the_deleted(desired, live, known)
    return found | _ids_not_listed(scope, desired, live, known)


def _ids_not_listed(scope: Scope, desired: Desired, live: LiveState, known: Known) -> set[str]:
    """Return the UUIDs of declared endpoints that the list lacks: are they gone, or another identity's?"""
    listed = set(live.registrations) if not isinstance(live.registrations, Unknown) else set()
    found: set[str] = set()
    for name, endpoint in desired.endpoints.items():
        if endpoint.state == "unmanaged" or not scope.covers(name):
            continue
        ids = ids_named(live.directories.get(endpoint.directory), known.entry(name), endpoint.id) - listed
        # Whoever is named by its claim as another identity is told so without a question.
        if ids and (name in scope.reregister or isinstance(find_ground(endpoint, live, known), Gone)):
            found |= ids
        before = [known.entry(old) for old in desired.formerly(name)]  # until it is renamed
        found |= {entry.id for entry in before if entry and entry.id} - listed
    return found


def _ids_of_the_deleted(desired: Desired, live: LiveState, known: Known) -> set[str]:
    """Return the UUIDs of deleted endpoints that are declared again, and of those whose retention ends here."""
    again = names_to_come_back(desired, live)
    registrations = live.registrations if not isinstance(live.registrations, Unknown) else {}
    # Of what ends, only whose registration is not listed matters: is it gone, or another identity's?
    ended = {item.id for item in expired(desired, live, known) if item.id} - set(registrations)
    markers = [(item.id, item.marker) for item in live.trash if item.marker]
    back = {i for i, m in markers if i and m.stack == known.stack and m.endpoint in again}
    return ended | back


def known_names(desired: Desired, live: LiveState, known: Known) -> set[str]:
    """Return the endpoints that manifest, lock or a marker of this stack name, also one in the trash."""
    marked_here = {d.marker.endpoint for d in live.directories.values() if _is_ours(d, known)}  # type: ignore[union-attr]
    marked_here |= names_in_trash(live, known)
    return {*desired.endpoints, *desired.elsewhere, *(known.lock.endpoints if known.lock else ()), *marked_here}


def names_in_trash(live: LiveState, known: Known) -> set[str]:
    """Return the endpoints of this stack that are in the trash."""
    return {i.marker.endpoint for i in live.trash if i.marker and i.marker.stack == known.stack}


def _is_ours(directory: LiveDirectory, known: Known) -> bool:
    return isinstance(directory.marker, Marker) and directory.marker.stack == known.stack


def _has_markers(live: LiveState, known: Known) -> bool:
    return any(_is_ours(directory, known) for directory in live.directories.values())


def _is_out_of_place(
    name: str, errand: Errand, desired: Desired, live: LiveState, known: Known, homes: Homes, draft: Draft
) -> bool:
    """Refuse what another host must do, and what needs a block in the manifest that is not there."""
    host = desired.elsewhere.get(name)
    if host is not None:
        draft.refusals.append(Refusal(name, f"it is an endpoint of host {host}", "run this there"))
        return True
    renaming = (
        find_renaming(desired.endpoints[name], desired, live, known, homes) if name in desired.endpoints else None
    )
    if isinstance(renaming, Blocked):
        draft.blocked.append(renaming)
    elif isinstance(renaming, Refusal):
        draft.refusals.append(renaming)
    elif renaming is not None:
        what = "its directory has another name" if renaming.old == name else f"it is still called `{renaming.old}`"
        draft.refusals.append(Refusal(name, f"{what} here", "`chiltepin apply` renames it first"))
    if renaming is not None:
        return True
    if errand.kind in ("restart", "adopt") and name not in desired.endpoints:
        draft.refusals.append(Refusal(name, "the manifest does not declare it", "write its block first"))
        return True
    return False
