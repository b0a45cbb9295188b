"""Plan, apply, destroy and status as straight-line code. Read this first.

    manifest -> desired --\\
                           make_plan -> Plan -> apply_plan -> Run
    ports -> observe -> live --/

Planning and applying are the same code up to the plan; only `apply` goes on.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import field, replace
from typing import TYPE_CHECKING, Protocol

from reconciler.core.actions import Restart, Start
from reconciler.core.busy import interrupting, with_work
from reconciler.core.consent import Allowed
from reconciler.core.daemon_steps import awaits_absence, behind_other_starts
from reconciler.core.desired import Desired
from reconciler.core.errands import ids_in_question, known_names, names_in_trash
from reconciler.core.exit_codes import exit_code_of_run
from reconciler.core.frozen import dataclass
from reconciler.core.known import Known, Site
from reconciler.core.live import Damaged, LiveState, Unknown
from reconciler.core.lock import Lock, read_lock
from reconciler.core.marker import Marker
from reconciler.core.plan import Plan, make_plan
from reconciler.core.progress import Run
from reconciler.core.scope import Scope
from reconciler.errors import EndpointCommandError, ExitCode, Interrupted, ReconcilerError, Refused, UsageError
from reconciler.observe import ask_statuses, observe
from reconciler.ports import Clock, Outside
from reconciler.under_way import await_absence, await_cut_off_stops, await_starts
from reconciler.workload import count_for_plan

if TYPE_CHECKING:
    from reconciler.apply import Events
    from reconciler.conduct import Conduct
    from reconciler.core.saved_plan import SavedPlan
    from reconciler.core.statuses import StatusRow, TrashRow

ASKED_BY_DEFAULT = 15
"""With more endpoints than this, a status asks the service about each only when told to (20 requests per 10 s)."""

_NONE_LATER = "nothing here needed it, but no daemon could be started now: {}"


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        desired: the manifest's view of this host.
        lock_file: name of the lockfile, for messages.
        new_lineage: a fresh random lineage, used when there is neither lock nor marker.
        scope: limits of the run.
        new: endpoints that may be registered beside unclaimed registrations of their name.
    """

    desired: Desired
    lock_file: str
    new_lineage: str
    scope: Scope = field(default_factory=Scope)
    new: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Sight:
    """A plan with the live state and the lock from which it was made."""

    plan: Plan
    live: LiveState
    known: Known

    @property
    def where(self) -> str:
        """Host, config directory and service, for the first line of a report."""
        site = site_of(self.plan.desired, self.live)
        service = "" if site.service == "production" else f", service {site.service}"
        return f"{site.host or self.live.host.name} ({site.config_dir}{service})"


@dataclass(frozen=True)
class Applied:
    """What an apply came to.

    Attributes:
        sight: the plan as it was made, and from what.
        plan: the part of it that was agreed to.
        run: what became of each action.
        left: why deletes were left out, when they were.
    """

    sight: Sight
    plan: Plan
    run: Run
    left: str | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The one exit code that stands for all of it."""
        return exit_code_of_run(self.sight.plan, self.run, left_deletes=self.left is not None)


@dataclass(frozen=True)
class Status:
    """What is declared and what is there.

    Attributes:
        rows: one for each endpoint.
        live: the snapshot that they describe.
        deleted: what is in the trash of this stack.
        unreachable: why the service could not be asked, when it could not.
    """

    rows: tuple[StatusRow, ...]
    live: LiveState
    deleted: tuple[TrashRow, ...] = ()
    unreachable: str | None = None


def make_sight(outside: Outside, request: Request) -> Sight:
    """Observe and plan. Changes nothing.

    Raises:
        StateFileError: the lockfile is damaged or newer.
        Refused: the lockfile belongs to another stack.
        UsageError: an errand names an endpoint that nothing here knows.
        LoginRequired: there is no login.
    """
    text = outside.store.read_lock()
    lock = read_lock(text, request.lock_file) if text is not None else None
    _check_stack(request, lock)
    live = observe(outside, request.desired, lock)
    known = known_of(request, lock, live)
    _check_names(request, live, known)
    live = ask_statuses(outside, live, ids_in_question(request.scope, request.desired, live, known))
    plan = make_plan(request.desired, live, known, pools_text=outside.store.read_pools(), scope=request.scope)
    # What would be interrupted is counted last: only then it is known whose tasks matter.
    plan = with_work(plan, count_for_plan(outside, live, interrupting(plan)))
    return Sight(plan, live, known)


def _check_stack(request: Request, lock: Lock | None) -> None:
    if lock is not None and lock.stack != request.desired.stack:
        raise Refused(
            f"the lockfile is that of stack `{lock.stack}`, and the manifest's is `{request.desired.stack}`",
            where=request.lock_file,
            remedy=f"write `stack: {lock.stack}` again, or name another lockfile with --lock{_or_remove(lock)}",
        )


def _or_remove(lock: Lock) -> str:
    return "" if lock.endpoints or lock.pools else ", or remove this one: it is empty"


def _check_names(request: Request, live: LiveState, known: Known) -> None:
    asked = request.scope.errand.names if request.scope.errand else ()
    names = known_names(request.desired, live, known)
    for name in asked:
        if name not in names:
            in_trash = request.scope.errand is not None and request.scope.errand.kind in ("undelete", "purge")
            names = names_in_trash(live, known) if in_trash else names
            near = difflib.get_close_matches(name, names, 1)
            listed = f"{'in the trash' if in_trash else 'known'} are: {', '.join(sorted(names)) or 'none'}"
            remedy = f"did you mean {near[0]}?" if near else listed
            if name in live.directories:
                what = f"{name}: this manifest does not declare it, and its stack does not manage it"
                raise UsageError(
                    what, where=f"{live.config_dir}/{name}", remedy=f"write a block for it first; or {remedy}"
                )
            raise UsageError(f"{name}: no such endpoint", remedy=remedy)


def known_of(request: Request, lock: Lock | None, live: LiveState) -> Known:
    """Return what a run knows besides the live state: where it acts, its lock and its lineage."""
    lineage = lock.lineage if lock else _lineage_of_markers(request.desired, live) or request.new_lineage
    # Who gives up a UUID by name asks for a new one, also when that was cut off in between.
    new = request.new | request.scope.reregister
    return Known(site_of(request.desired, live), request.desired.stack, lineage, lock, new)


def site_of(desired: Desired, live: LiveState) -> Site:
    """Return where and as whom we act; the config directory is written with `~` when it is in the home."""
    config_dir, home = live.config_dir, live.host.home
    if home and (config_dir == home or config_dir.startswith(home.rstrip("/") + "/")):
        config_dir = "~" + config_dir[len(home.rstrip("/")) :]
    identity = live.identity
    return Site(identity.service, identity.id, live.host.user, desired.host.name, config_dir)


def _lineage_of_markers(desired: Desired, live: LiveState) -> str | None:
    """A lost lock is rebuilt from the markers of this manifest's endpoints, if they all come from one lock.

    Markers of other endpoints may be another manifest's that calls its stack the same. The trash's say it when no
    directory does.
    """
    names = {*desired.endpoints, *(moved.old for moved in desired.moved)}
    markers = [d.marker for d in live.directories.values() if isinstance(d.marker, Marker)]
    in_trash = [item.marker for item in live.trash if item.marker]
    for those in (markers, in_trash):
        found = {m.lineage for m in those if m.stack == desired.stack and m.endpoint in names}
        if found:
            break
    return found.pop() if len(found) == 1 else None


class Course(Protocol):
    """What whoever applies adds to it: what is agreed to, and who is told."""

    def wait(self, what: str, names: Collection[str]) -> None:
        """Hear that `what` (e.g. "a start that is under way") of these endpoints is waited for, before the plan."""

    def agree(self, sight: Sight) -> Allowed:
        """Return the part of the plan that may be done; what it raises ends the apply with nothing done."""

    def at_work(self, plan: Plan) -> AbstractContextManager[Events]:
        """Be entered while things are done; who enters hears how it goes."""

    def end(self, applied: Applied) -> None:
        """Tell what was done: still under the lease, so that whatever giving it back meets, it is told."""


def apply(
    outside: Outside,
    clock: Clock,
    request: Request,
    conduct: Conduct,
    course: Course,
    *,
    reviewed: SavedPlan | None = None,
) -> Applied:
    """Plan and apply under the lease. The command line, the Python API and the tests all come this way.

    Args:
        reviewed: the plan that was agreed to; only if this one is the same, anything is done.

    Raises:
        LeaseHeld: another apply works on the config directory.
        Refused: the plan is not the reviewed one.
        ReconcilerError: what `make_sight` and `carry_out` raise.
    """
    # The lease comes first: what is planned must still be true when it is done.
    with outside.store.lease():
        await_cut_off_stops(outside, clock, course.wait)
        sight = make_sight(outside, request)
        if reviewed is None and (behind := behind_other_starts(sight.plan.actions)):
            await_starts(behind, outside, clock, course.wait)
            sight = make_sight(outside, request)
        held = {action.directory: action.endpoint for action in sight.plan.actions if awaits_absence(action)}
        if held and not isinstance(sight.live.tool, Damaged):
            await_absence(held, outside, clock, course.wait)
            sight = make_sight(outside, request)
        if reviewed is not None:
            from reconciler.core.saved_plan import check_same  # noqa: PLC0415  # its models cost a plan's tenth

            check_same(reviewed, sight.plan)
        allowed = course.agree(sight)
        with course.at_work(allowed.plan) as events:
            run = carry_out(sight, allowed.plan, outside, clock, conduct, events)
            if not run.interrupted:
                run = confirm(allowed.plan, run, outside, clock, conduct)
        applied = Applied(sight, allowed.plan, run, allowed.left)
        course.end(applied)
    return applied


def make_status(outside: Outside, desired: Desired, lock_file: str, *, full: bool = False) -> Status:
    """Observe, without planning anything. Changes nothing.

    Args:
        lock_file: name of the lockfile, for messages.
        full: whether the service is asked about every endpoint, however many there are.

    Raises:
        StateFileError: the lockfile is damaged or newer.
        LoginRequired: there is no login.
    """
    from reconciler.core.statuses import status_rows, trash_rows  # noqa: PLC0415  # of no use to a plan

    text = outside.store.read_lock()
    lock = read_lock(text, lock_file) if text is not None else None
    live = observe(outside, desired, lock, to_plan=False)
    ids = {row.id for row in status_rows(desired, live, lock) if row.id}
    deleted = trash_rows(desired, live, known_of(Request(desired, lock_file, new_lineage=""), lock, live))
    if isinstance(live.registrations, Unknown):
        return Status(status_rows(desired, live, lock), live, deleted, unreachable=live.registrations.reason)
    if full or len(ids) <= ASKED_BY_DEFAULT:
        live = ask_statuses(outside, live, ids)
    return Status(status_rows(desired, live, lock), live, deleted)


def carry_out(sight: Sight, plan: Plan, outside: Outside, clock: Clock, conduct: Conduct, events: Events) -> Run:
    """Apply `plan` (of `sight`, perhaps without its deletes). The lease must be held.

    Without a token for them no daemon is started, and none stopped that is to be started again; the rest is done.

    Raises:
        EndpointCommandError: a daemon is to be started and globus-compute-endpoint cannot be used.
    """
    from reconciler.apply import apply_plan  # noqa: PLC0415  # a plan needs nothing of what carries it out

    if plan.is_empty:  # what earlier runs left open in the journal is closed all the same
        return replace(apply_plan(plan, sight.live, outside, clock, conduct, events), left_out=dict(plan.left_out))
    starts = any(isinstance(a, Start | Restart) and not a.hold for a in plan.actions)
    if (starts or any(awaits_absence(a) for a in plan.actions)) and isinstance(sight.live.tool, Damaged):
        raise EndpointCommandError(
            "globus-compute-endpoint cannot be used, so nothing was done",
            why=sight.live.tool.reason,
            remedy="install globus-compute-endpoint >=4.13,<5 and put it on PATH, or set `python` of the host",
        )
    # Daemons that start at the same time race for the token store: the token is in it beforehand.
    tokenless = _prepare(outside) if starts else None
    run = apply_plan(plan, sight.live, outside, clock, conduct, events, tokenless)
    if not (starts or run.interrupted or isinstance(sight.live.registrations, Unknown)):
        # Nothing here needs it; but the next plan finds a token, instead of asking for one.
        tokenless = _prepare(outside)
        run = replace(run, warnings=(*run.warnings, _NONE_LATER.format(tokenless))) if tokenless else run
    return run


def _prepare(outside: Outside) -> ReconcilerError | None:
    """Put a token for daemons into the store; return why there is none."""
    try:
        outside.service.prepare()
    except Interrupted:
        raise
    except ReconcilerError as e:
        return e
    return None


def confirm(plan: Plan, run: Run, outside: Outside, clock: Clock, conduct: Conduct) -> Run:
    """Observe that the service sees the daemons that ran already; return `run` with those that it does not see.

    A daemon that runs and is offline is not restarted for it: its tasks may be running, and the cause may be
    anywhere between here and the service.
    """
    from reconciler.online import unseen  # noqa: PLC0415  # as above

    if not conduct.wait_online or conduct.stop.is_set() or plan.unreachable:
        return run
    unconfirmed = unseen(plan.running, outside, clock, conduct)
    return replace(run, unconfirmed=unconfirmed, interrupted=run.interrupted or conduct.stop.is_set())


__all__ = [
    "Applied",
    "Course",
    "Request",
    "Sight",
    "Status",
    "apply",
    "carry_out",
    "confirm",
    "known_of",
    "make_sight",
    "make_status",
    "site_of",
]
