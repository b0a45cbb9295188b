"""Apply: walk a plan and make it so. Decides nothing: each action says what must hold, and what to do.

Endpoints are worked on in parallel, the actions of one endpoint in order, those that delete after all
others. For every action: is the lease still ours, do the preconditions hold; the intent goes to the
journal; the effect; marker, lock and pools file; the outcome goes to the journal. A crash in between
loses at most the step in flight, and the next plan finds its traces.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import Protocol

from reconciler.conduct import Conduct, Place
from reconciler.core.actions import DELETING, EndpointAction, Restart, Start, Stop, StopElsewhere
from reconciler.core.busy import waits
from reconciler.core.conditions import remedy_of, violated
from reconciler.core.exit_codes import code_of_error
from reconciler.core.live import JournalEntry, LiveState, Unknown
from reconciler.core.machine import EndpointTool
from reconciler.core.marker import Marker
from reconciler.core.plan import Plan
from reconciler.core.preconditions import Idle, Offline
from reconciler.core.progress import Outcome, OutcomeKind, Run, marker_after
from reconciler.core.settled import settled
from reconciler.core.work import Work
from reconciler.doubles import look_for_doubles
from reconciler.effects import Effect, Effects
from reconciler.errors import EndpointCommandError, LeaseHeld, NoMoreThreads, Overtaken, ReconcilerError
from reconciler.ports import Clock, Outside
from reconciler.records import Records
from reconciler.threads import for_each
from reconciler.workload import Workload

MAX_THREADS = 64

_ON_DAEMONS = (Start, Restart, Stop, StopElsewhere)


class Events(Protocol):
    """Who wants to hear how it goes; called from several threads."""

    def begin(self, action: EndpointAction) -> None:
        """An action starts."""

    def wait(self, action: EndpointAction, work: Work, left: float) -> None:
        """An action waits until its daemon is idle, for at most `left` seconds more; said again and again."""

    def end(self, outcome: Outcome) -> None:
        """An action ended, or will not be done."""


def apply_plan(
    plan: Plan,
    live: LiveState,
    outside: Outside,
    clock: Clock,
    conduct: Conduct,
    events: Events,
    tokenless: ReconcilerError | None = None,
) -> Run:
    """Carry out `plan`, which was made from `live`, and return what became of each action.

    The lease must be held. Failures of single endpoints are outcomes, not exceptions.

    Args:
        tokenless: why no daemon can be started: what starts one fails with it, before its daemon is stopped.

    Raises:
        FileSystemError: the lockfile could not be written before the first action.
    """
    records = Records(plan, outside.store)
    records.begin()
    unknown = live.registrations.reason if isinstance(live.registrations, Unknown) and not conduct.drain else None
    workload = Workload(outside, unknown)
    effects = Effects(plan, live, outside, clock, conduct)
    walker = _Walker(plan, outside, clock, conduct, events, records, effects, workload, tokenless)
    groups = [actions for _, actions in plan.by_endpoint()]
    if conduct.drain:  # who waits for tasks must not keep others from their turn
        groups.sort(key=lambda group: any(waits(action) for action in group))
    last = [g for g in groups if any(isinstance(a, DELETING) for a in g)]
    first = [g for g in groups if g not in last]
    starts = [action for action in plan.actions if isinstance(action, Start | Restart) and not action.hold]
    tool = live.tool
    kept = _most_common(starts)
    with outside.host.many_starts(len(starts), tool, kept) if isinstance(tool, EndpointTool) else nullcontext():
        walker.walk(first)
    walker.walk_last(last)
    unwritten = walker.finish()
    known = walker.effects.known_before
    return Run(
        tuple(walker.outcomes),
        conduct.stop.is_set(),
        records.lock,
        dict(records.left_out),
        unwritten,
        warnings=look_for_doubles(walker.outcomes, known, live, records.lock, outside.service),
    )


def _most_common(starts: list[Start | Restart]) -> Mapping[str, str]:
    """Return the environment that most starts share, so that as many as possible can be made ready together."""
    counts = Counter(tuple(action.environment.items()) for action in starts)
    return dict(counts.most_common(1)[0][0]) if counts else {}


@dataclass
class _Walker:
    plan: Plan
    outside: Outside
    clock: Clock
    conduct: Conduct
    events: Events
    records: Records
    effects: Effects
    workload: Workload
    tokenless: ReconcilerError | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    sequence: int = 0
    halted: ReconcilerError | None = None
    unrecorded: ReconcilerError | None = None
    mutex: threading.Lock = field(default_factory=threading.Lock)
    began: float = field(init=False)
    starting: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock.monotonic()
        self.starting = {a.endpoint for a in self.plan.actions if isinstance(a, Start | Restart) and not a.hold}

    def walk(self, groups: list[tuple[EndpointAction, ...]]) -> None:
        """Work on several endpoints at once; the first one's actions begin first."""
        try:
            for_each(groups, self._endpoint, MAX_THREADS)
        except NoMoreThreads as e:
            for first, *others in groups:
                outcome = _failed(first, e)
                self._end(outcome)
                self._skip(others, outcome)

    def walk_last(self, groups: list[tuple[EndpointAction, ...]]) -> None:
        """Delete, if nothing failed: what leaves may be needed until what takes its place is there."""
        failed = dict.fromkeys(o.action.endpoint for o in self.outcomes if o.kind == "failed")
        if not failed:
            self.walk(groups)
            return
        why = f"nothing is deleted in a run in which something failed: {', '.join(failed)}"
        for action in (action for group in groups for action in group):
            self._end(Outcome(action, "skipped", reason=why, remedy="run it again when that is mended"))

    def finish(self) -> ReconcilerError | None:
        """Bring lock, pools file and journal up to date; return why that was not done.

        Whoever took the lease over reads and writes them by now, so that a holder that lost it does not.
        """
        if isinstance(self.halted, LeaseHeld):
            return None
        try:
            self.outside.store.check_lease()
            self.records.finish()
            if self.plan.errand is None or self.plan.errand.settles:
                self._settle()
        except ReconcilerError as e:
            return self.unrecorded or e
        return self.unrecorded

    def _settle(self) -> None:
        """Close what earlier runs left open for endpoints that are now as planned: it must not mislead later ones."""
        unfinished = self.outside.store.unfinished()
        for entry in settled(unfinished, self.plan, self.outcomes, self.records.lock, self.conduct.run):
            at = round(self.clock.now(), 3)
            self.outside.store.append(replace(entry, event="done", data={"by": self.conduct.run}, at=at))

    def _endpoint(self, actions: tuple[EndpointAction, ...]) -> None:
        marker = self.plan.markers.get(actions[0].endpoint)
        for index, action in enumerate(actions):
            outcome, marker = self._attempt(action, marker)
            self._end(outcome)
            if outcome.kind != "done":
                self._skip(actions[index + 1 :], outcome)
                return

    def _attempt(self, action: EndpointAction, marker: Marker | None) -> tuple[Outcome, Marker | None]:
        """Do it when it may be done; while only tasks stand against it, wait as long as the drain allows."""
        while True:
            with self.effects.place(action) as place:
                outcome = self._why_not_now(action)
                if outcome is None:
                    self.events.begin(action)
                    return self._perform(action, marker, place)
            if outcome.work is None or not self._drain(action, outcome.work):
                return outcome, marker

    def _drain(self, action: EndpointAction, work: Work) -> bool:
        """Wait a while, without a place among those that start; say whether to look again."""
        left = self.began + self.conduct.drain - self.clock.monotonic()
        if left <= 0:
            return False
        self.events.wait(action, work, left)
        until = self.clock.monotonic() + min(self.conduct.poll, left)
        while not self.conduct.stop.is_set() and (rest := until - self.clock.monotonic()) > 0:
            self.clock.sleep(min(1.0, rest))
        return True

    def _why_not_now(self, action: EndpointAction) -> Outcome | None:
        """Return a deferral, or None when the action may be done."""
        if self.conduct.stop.is_set():
            return Outcome(action, "skipped", reason="interrupted")
        if self.halted:
            return Outcome(action, "skipped", reason=self.halted.what, remedy=self.halted.remedy)
        if action.hold:
            return Outcome(action, "deferred", reason=action.hold, remedy=action.instead or _by_hand(action))
        if self.tokenless and isinstance(action, _ON_DAEMONS) and action.endpoint in self.starting:
            return _failed(action, self.tokenless)
        try:
            self.outside.store.check_lease()
            return self._violation(action)
        except ReconcilerError as e:
            if isinstance(e, LeaseHeld):
                self._halt(e)
            return _failed(action, e)

    def _violation(self, action: EndpointAction) -> Outcome | None:
        """Return a deferral when a precondition does not hold (any more); what its daemon does is counted now."""
        directory = self.outside.host.directory(action.found_in) if action.preconditions else None
        asked = next((p.id for p in action.preconditions if isinstance(p, Offline)), None)
        online = self.outside.service.status(asked) if asked else None
        for precondition in action.preconditions:
            work = self.workload.of(directory) if isinstance(precondition, Idle) and directory else None
            why = violated(precondition, directory, work, online)
            if why:
                remedy = remedy_of(action, precondition, work)
                return Outcome(action, "deferred", reason=why, remedy=remedy, work=work)
        return None

    def _perform(self, action: EndpointAction, marker: Marker | None, place: Place) -> tuple[Outcome, Marker | None]:
        began = self.clock.monotonic()
        number = self._next_number()
        effect = Effect()
        try:
            self._journal(number, action, "intent", self.effects.intent(action))
            effect = self.effects.perform(action)
            if marker is not None and not isinstance(action, DELETING):
                marker = marker_after(marker, action, effect.endpoint_id, effect.daemon, self.outside.host.moment())
                if effect.writes_marker:
                    self.outside.store.check_lease()  # whoever took it over meanwhile has planned on this directory
                    self.outside.host.write_marker(action.directory, marker, backup=effect.keeps_marker)
            self._record(lambda: self.records.done(action, effect.endpoint_id))
            place.release()
            self.effects.confirm(action, effect)
            if self.unrecorded is None:
                learnt: dict[str, object] = {"id": effect.endpoint_id} if effect.endpoint_id else {}
                self._record(lambda: self._journal(number, action, "done", learnt))
        except Overtaken as e:
            what: dict[str, object] = {"what": e.what}
            self._record(lambda: self._journal(number, action, "deferred", what))
            reason = f"{e.what}: {e.why}" if e.why else e.what
            return Outcome(action, "deferred", reason=reason, remedy=e.remedy or "run it again"), marker
        except ReconcilerError as e:
            self._journal_failure(number, action, effect.endpoint_id, e)
            if isinstance(e, LeaseHeld):
                self._halt(e)
            failed = _failed(action, e, self._log_of(action, e))
            return replace(failed, seconds=self.clock.monotonic() - began), marker
        seconds = self.clock.monotonic() - began
        return Outcome(action, "done", endpoint_id=effect.endpoint_id, seconds=seconds), marker

    def _record(self, write: Callable[[], None]) -> None:
        """Bring a file of ours up to date with what was done.

        When that fails, the action was done all the same: it is not what failed. Its intent stays open, so
        that the next run looks, and nothing more is begun.
        """
        try:
            write()
        except LeaseHeld:
            raise
        except ReconcilerError as e:
            self._halt(e)
            with self.mutex:
                self.unrecorded = self.unrecorded or e

    def _log_of(self, action: EndpointAction, error: ReconcilerError) -> str:
        if not isinstance(error, EndpointCommandError):
            return ""
        try:
            return error.output or self.outside.host.log_tail(action.directory, 15)
        except ReconcilerError as e:
            return f"(its log cannot be read: {e})"

    def _journal(self, number: int, action: EndpointAction, event: str, data: dict[str, object]) -> None:
        entry = JournalEntry(
            self.conduct.run, number, event, action.kind, action.endpoint, data, round(self.clock.now(), 3)
        )
        self.outside.store.append(entry)

    def _journal_failure(self, number: int, action: EndpointAction, learnt: str | None, error: ReconcilerError) -> None:
        # A first start that failed may still have registered: its intent stays open, so that the next
        # run looks for a registration of its own before it makes another.
        if isinstance(action, Start) and action.id is None and learnt is None:
            return
        # A daemon that is up and was not seen online: the next run goes on waiting.
        event, data = ("note", {"id": learnt}) if learnt else ("failed", {})
        try:
            self._journal(number, action, event, {"what": error.what, **data})
        except ReconcilerError as e:
            self._halt(e)  # without a journal nothing more may be begun

    def _next_number(self) -> int:
        with self.mutex:
            self.sequence += 1
            return self.sequence

    def _halt(self, error: ReconcilerError) -> None:
        with self.mutex:
            self.halted = self.halted or error

    def _skip(self, actions: Iterable[EndpointAction], because: Outcome) -> None:
        kind: OutcomeKind = "deferred" if because.kind == "deferred" else "skipped"
        for action in actions:
            self._end(Outcome(action, kind, reason=f"comes after {because.action.kind}"))

    def _end(self, outcome: Outcome) -> None:
        with self.mutex:
            self.outcomes.append(outcome)
        self.events.end(outcome)


def _by_hand(action: EndpointAction) -> str:
    return f"`chiltepin restart {quote(action.endpoint)}`"


def _failed(action: EndpointAction, error: ReconcilerError, log: str = "") -> Outcome:
    what = f"{error.where}: {error.what}" if error.where else error.what
    reason = f"{what}: {error.why}" if error.why else what
    return Outcome(
        action,
        "failed",
        reason=reason,
        remedy=error.remedy,
        log=log,
        exit_code=code_of_error(error),
    )
