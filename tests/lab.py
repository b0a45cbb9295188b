"""Plans and applies over a `World`, as the command line does, for tests of the whole pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from reconciler.apply import Events
from reconciler.conduct import Conduct
from reconciler.core.actions import EndpointAction, Restart, Start
from reconciler.core.consent import Allowed, Consent, consented
from reconciler.core.desired import Desired, DesiredEndpoint, DesiredPool
from reconciler.core.exit_codes import exit_code_of_plan
from reconciler.core.live import LiveState
from reconciler.core.lock import Lock, read_lock
from reconciler.core.plan import Plan
from reconciler.core.progress import Outcome, Run
from reconciler.core.saved_plan import SavedPlan
from reconciler.core.scope import Scope
from reconciler.core.work import Work
from reconciler.errors import ExitCode
from reconciler.reconcile import Applied, Request, Sight, apply, make_sight
from tests.core.builders import desired, pool
from tests.fakes import CONNECTS_AFTER, NOTICES_AFTER, Crash, FakeClock, World

YES = Consent(deletes=True, max_deletes=10)


class Listener:
    """Hears how an apply goes; `during` is called when an action begins."""

    def __init__(self, during: Callable[[EndpointAction], None] | None = None) -> None:
        self._during = during
        self.waited: list[tuple[str, str, float]] = []

    def begin(self, action: EndpointAction) -> None:
        if self._during:
            self._during(action)

    def wait(self, action: EndpointAction, work: Work, left: float) -> None:
        self.waited.append((action.endpoint, work.waited_for(), left))

    def end(self, outcome: Outcome) -> None:
        """Nothing is printed."""


def killed_at(point: str, *endpoints: DesiredEndpoint) -> Lab:
    """Return a lab whose first apply of these endpoints was killed when it had just passed `point` of the fakes.

    It has one thread, so that the endpoints pass their points in the same order each time.
    """
    for at in range(1, 1000):
        lab = Lab(desired(*endpoints, pools=(pool("mpi"),)))
        lab.world.faults.crash_at = at
        try:
            with mock.patch("reconciler.apply.MAX_THREADS", 1):
                lab.apply()
        except Crash:
            if lab.world.faults.passed[-1] == point:
                return lab
        else:
            break
    raise AssertionError(f"an apply does not pass {point}")


@dataclass(frozen=True)
class _Course:
    """An apply in which something happens after the plan, or when an action begins."""

    consent: Consent
    listener: Listener
    between: Callable[[], None] | None

    def wait(self, what: str, names: Collection[str]) -> None:
        """Nothing is told."""

    def agree(self, sight: Sight) -> Allowed:
        if self.between:
            self.between()
        return consented(sight.plan, self.consent)

    def at_work(self, plan: Plan) -> AbstractContextManager[Events]:
        return nullcontext(self.listener)

    def end(self, applied: Applied) -> None:
        """Nothing is told."""


@dataclass(frozen=True)
class Result:
    """What an apply came to."""

    code: ExitCode
    run: Run
    sight: Sight
    waited: tuple[tuple[str, str, float], ...] = ()

    @property
    def outcomes(self) -> dict[tuple[str, str], str]:
        """What became of each action, by endpoint and kind."""
        return {(o.action.endpoint, o.action.kind): o.kind for o in self.run.outcomes}


@dataclass
class Lab:
    """A world, and the manifest that is applied to it."""

    desired: Desired
    world: World = field(default_factory=World)
    runs: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def wants(self, *endpoints: DesiredEndpoint, pools: tuple[DesiredPool, ...] | None = None, **changes: Any) -> None:
        """Change the manifest; its pools stay unless others are given."""
        kept = tuple(self.desired.pools.values()) if pools is None else pools
        self.desired = desired(*endpoints, pools=kept, **changes)

    def request(self, new: frozenset[str] = frozenset(), **scope: Any) -> Request:
        """Return what is asked for."""
        return Request(self.desired, "chiltepin.lock.yaml", f"lineage-{self.runs}", Scope(**scope), new)

    def sight(self, **scope: Any) -> Sight:
        """Plan; nothing may change."""
        before = self.snapshot()
        sight = make_sight(self.world.outside, self.request(**scope))
        assert self.snapshot() == before, "planning changed something"
        return sight

    def plan_code(self) -> ExitCode:
        """Return the exit code of a plan."""
        return exit_code_of_plan(self.sight().plan)

    def apply(
        self,
        consent: Consent | None = None,
        *,
        between: Callable[[], None] | None = None,
        during: Callable[[EndpointAction], None] | None = None,
        new: frozenset[str] = frozenset(),
        drain: float = 0.0,
        reviewed: SavedPlan | None = None,
        **scope: Any,
    ) -> Result:
        """Plan and apply; `between` happens after the plan, `during` when an action begins."""
        self.runs += 1
        self.stop.clear()
        outside = self.world.outside
        conduct = Conduct(run=f"run-{self.runs}", online_timeout=10.0, stop=self.stop, drain=drain)
        course = _Course(consent or Consent(), Listener(during), between)
        request = self.request(new, **scope)
        applied = apply(outside, FakeClock(self.world), request, conduct, course, reviewed=reviewed)
        if applied.exit_code is ExitCode.OK:
            self._assert_connected(applied)
        return Result(applied.exit_code, applied.run, applied.sight, tuple(course.listener.waited))

    def _assert_connected(self, applied: Applied) -> None:
        """What an apply leaves running, with exit code 0, the service hears: not only the one before it."""
        done = [o.action for o in applied.run.outcomes if o.kind == "done" and isinstance(o.action, Start | Restart)]
        here = [r.directory for r in applied.sight.plan.running if r.process is not None]
        for name in {*(a.directory for a in done), *here}:
            assert [d.connects for d in self.world.daemons_of(name)] in ([], [None]), name

    def crash(self, at: int, *, starts_go_on: bool, **apply: Any) -> bool:
        """Apply and die at point number `at` of this apply; say whether the apply got that far."""
        self.world.faults.passed.clear()
        self.world.faults.crash_at = at
        try:
            self.apply(**apply)
        except Crash:
            return True
        finally:
            self.world.after_crash(starts_go_on=starts_go_on)
        return False

    # what is looked at, independently of the code under test

    def lock(self) -> Lock:
        """Return the lock on disk."""
        assert self.world.lock is not None
        return read_lock(self.world.lock, "lock")

    def ids(self) -> Mapping[str, str | None]:
        """Return the UUIDs in the lock."""
        return {name: entry.id for name, entry in self.lock().endpoints.items()}

    def snapshot(self) -> object:
        """Return everything on disk, in processes and at the service, to compare it with later."""
        world = self.world
        world.tick()
        folders = {n: (dict(f.files), f.endpoint_id, f.marker, f.pid) for n, f in world.folders.items()}
        daemons = [(d.pid, d.phase, d.directory) for d in world.daemons]
        return folders, daemons, dict(world.registrations), sorted(world.trash), world.lock, world.pools

    def live(self) -> LiveState:
        """Return the live state."""
        return self.sight().live

    def assert_converged(self) -> None:
        """Everything is as the manifest says, nothing is doubled, and a second apply changes nothing."""
        world = self.world
        # What was sent its signal has ended by then, and what was started by hand is connected.
        FakeClock(world).sleep(max(2 * NOTICES_AFTER, CONNECTS_AFTER))
        for endpoint in self.desired.endpoints.values():
            daemons = world.daemons_of(endpoint.directory)
            folder = world.folders[endpoint.directory]
            if endpoint.state == "stopped":
                assert (daemons, folder.pid) == ([], None)
                continue
            assert [d.phase for d in daemons] == ["up"]
            assert folder.pid == daemons[0].pid
            assert folder.endpoint_id == daemons[0].id == self.ids()[endpoint.name]
            assert daemons[0].id in world.registrations
            assert world.online(daemons[0].id or "")
        before = self.snapshot()
        second = self.apply()
        assert second.code == ExitCode.OK
        assert second.sight.plan.is_empty, [a.kind for a in second.sight.plan.all_actions]
        assert self.snapshot() == before
        assert self.plan_code() == ExitCode.OK
