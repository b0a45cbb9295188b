"""One manifest on this machine, as an object: what `reconciler.load` returns.

Nothing is printed and nobody is asked; what goes wrong is raised as one of `reconciler.errors`, and what
became of single endpoints is in the result.
"""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import Any

from reconciler.apply import Events
from reconciler.conduct import Conduct
from reconciler.core.actions import EndpointAction
from reconciler.core.consent import Allowed, Consent, consented
from reconciler.core.desired import Desired
from reconciler.core.exit_codes import exit_code_of_plan
from reconciler.core.frozen import dataclass
from reconciler.core.lines import as_text
from reconciler.core.lock import Lock
from reconciler.core.lock import read_lock as parse_lock
from reconciler.core.plan import Plan
from reconciler.core.progress import Outcome
from reconciler.core.report import plan_lines
from reconciler.core.work import Work
from reconciler.errors import ExitCode, UsageError
from reconciler.invocation import Invocation, read_desired
from reconciler.paths import absolute
from reconciler.reconcile import Applied, Request, Sight, Status, apply, make_sight, make_status
from reconciler.wiring import config_dir_of, open_request, wire

StrPath = str | PathLike[str]


def load(
    manifest: StrPath = "chiltepin.yaml",
    *,
    config_dir: StrPath | None = None,
    host: str | None = None,
    variables: Mapping[str, str] | None = None,
    lock: StrPath | None = None,
    allow_outside: bool = False,
) -> Stack:
    """Read and check a manifest, as this host sees it. Contacts nothing.

    Args:
        manifest: the file.
        config_dir: the Globus Compute config directory; by default the manifest's, $GLOBUS_COMPUTE_USER_DIR,
            or ~/.globus_compute.
        host: take this machine for that host of the manifest.
        variables: values for variables of the manifest.
        lock: the lockfile; by default the one beside the manifest.
        allow_outside: whether the manifest may name files outside its own directory.

    Raises:
        ManifestInvalid: with every problem, each with line and column.
        Refused: no host of the manifest matches this machine, or two do.
        FileSystemError: a file cannot be read.
        UsageError: `host` or one of `variables` is not one of the manifest's, or a path is none.
    """
    invocation = Invocation(
        absolute(manifest),
        str(config_dir) if config_dir is not None else None,
        host,
        tuple(f"{name}={value}" for name, value in (variables or {}).items()),
        absolute(lock) if lock is not None else None,
        allow_outside,
        on_command_line=False,
    )
    return Stack(invocation, read_desired(invocation))


def read_lock(path: StrPath = "chiltepin.lock.yaml") -> Lock:
    """Read a lockfile: which endpoint has which UUID, and who claims it. Needs no manifest and no login.

    Raises:
        UsageError: there is no such file, or the path is none.
        StateFileError: it is damaged, or of a newer version.
        FileSystemError: it cannot be read.
    """
    from reconciler.invocation import read_lock_text

    text = read_lock_text(Path(path))
    if text is None:
        raise UsageError("there is no such lockfile", where=str(path), remedy="`chiltepin apply` writes it")
    return parse_lock(text, str(path))


@dataclass(frozen=True)
class Planned:
    """What an apply would do, for a look before it is done. `Stack.apply` takes it back, and does just that.

    Attributes:
        sight: the plan with the live state from which it was made.
        request: what was asked for.
    """

    sight: Sight
    request: Request

    @property
    def plan(self) -> Plan:
        """The plan: its actions, and why not more."""
        return self.sight.plan

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be done."""
        return self.plan.is_empty

    @property
    def exit_code(self) -> ExitCode:
        """What the plan's refusals mean, as `chiltepin plan` exits."""
        return exit_code_of_plan(self.plan)

    def document(self) -> dict[str, Any]:
        """Return it as JSON-like values, as `chiltepin plan --format json` prints them."""
        from reconciler.core.outputs import plan_output

        return plan_output(self.plan).model_dump(mode="json", by_alias=True)

    def __str__(self) -> str:
        return as_text(plan_lines(self.plan, where=self.sight.where)).rstrip("\n")


class Stack:
    """One manifest on this machine. Each method observes anew; the manifest is as it was when it was loaded.

    Attributes:
        desired: the manifest as this host sees it: endpoints, pools, warnings.
    """

    def __init__(self, invocation: Invocation, desired: Desired) -> None:
        self._invocation = invocation
        self.desired = desired

    def __repr__(self) -> str:
        return f"<Stack {self.desired.stack} of {self._invocation.file}>"

    @property
    def name(self) -> str:
        """The name of the stack."""
        return self.desired.stack

    @property
    def config_dir(self) -> Path:
        """The Globus Compute config directory."""
        return Path(config_dir_of(self._invocation, self.desired))

    @property
    def lock_file(self) -> Path:
        """The lockfile, whether it is there or not."""
        return self._invocation.lock_path

    @property
    def pools_file(self) -> Path:
        """The pools file, from which `chiltepin.Workflow` runs."""
        return self._invocation.pools_path

    def lock(self) -> Lock | None:
        """Return the lock, None before the first apply.

        Raises:
            StateFileError: the lockfile is damaged, or of a newer version.
        """
        text = wire(self._invocation, self.desired).outside.store.read_lock()
        return parse_lock(text, str(self.lock_file)) if text is not None else None

    def status(self, *, full: bool = False) -> Status:
        """Observe: one row for each endpoint, declared or there. Changes nothing.

        Args:
            full: whether the service is asked about every endpoint, also when there are many.

        Raises:
            LoginRequired: there is no login.
            StateFileError: the lockfile is damaged, or of a newer version.
        """
        wired = wire(self._invocation, self.desired)
        return make_status(wired.outside, self.desired, str(self.lock_file), full=full)

    def plan(
        self,
        *,
        targets: Collection[str] = (),
        exclude: Collection[str] = (),
        new: Collection[str] = (),
        reregister: Collection[str] = (),
        destroy: bool = False,
        purge: bool = False,
        retry: bool = False,
    ) -> Planned:
        """Observe, and say what an apply would do. Changes nothing.

        Args:
            targets: only these endpoints.
            exclude: not these endpoints.
            new: endpoints that may be registered although unclaimed registrations of their name exist.
            reregister: endpoints whose registration is gone, and which may get a new UUID.
            destroy: plan to stop and delete everything that the stack owns here.
            purge: with `destroy`, to deregister it as well.
            retry: whether daemons that keep dying are started once more.

        Raises:
            LoginRequired: there is no login.
            StateFileError: the lockfile is damaged, or of a newer version.
            Refused: the lockfile is another stack's.
            UsageError: an endpoint is named that neither manifest nor lock knows.
        """
        wired = wire(self._invocation, self.desired)
        request = open_request(
            wired, targets, exclude, new, destroy=destroy, purge=purge, reregister=reregister, retry=retry
        )
        return Planned(make_sight(wired.outside, request), request)

    def apply(
        self,
        planned: Planned | None = None,
        *,
        allow_delete: bool = False,
        max_deletes: int = 1,
        parallelism: int = 4,
        wait_online: bool = True,
        drain: float = 0.0,
        events: Events | None = None,
        stop: threading.Event | None = None,
    ) -> Applied:
        """Make it so. Asks nobody.

        What becomes of single endpoints is in the result, and summed up in its `exit_code`: only
        `ExitCode.OK` means that everything was seen in its declared state.

        Args:
            planned: a plan that was looked at; just that is done, or nothing.
            allow_delete: consent to delete what left the manifest (for a plan to destroy it is needed, too).
            max_deletes: how many endpoints may be deleted.
            parallelism: how many daemons may be starting at once.
            wait_online: whether a start is done only when the service sees the daemon.
            drain: for how many seconds to wait until daemons that must be idle are, before that counts as deferred.
            events: hears of each action, from several threads.
            stop: when it is set, the steps in flight are finished and no new one begins. Ctrl-C does the same,
                and raises KeyboardInterrupt then.

        Raises:
            LeaseHeld: another apply works on the config directory.
            Refused: the plan is no longer the one that was looked at; or the lockfile is another stack's.
            LoginRequired: there is no login.
            StateFileError: the lockfile or the journal is damaged, or of a newer version.
            EndpointCommandError: daemons are to be started, and there is no usable globus-compute-endpoint.
            FileSystemError: the lock could not be written before the first action.
        """
        wired = wire(self._invocation, self.desired)
        conduct = Conduct(wired.run, parallelism, wait_online, stop=stop or threading.Event(), drain=drain)
        reviewed = None
        if planned is not None:
            from reconciler.core.saved_plan import save_plan

            request = planned.request
            reviewed = save_plan(planned.plan, request.scope, request.new, secrets.token_hex(16))
        return apply(
            wired.outside,
            wired.clock,
            planned.request if planned else wired.request(),
            conduct,
            _Course(Consent(allow_delete, max_deletes), events or _Silence(), conduct.stop),
            reviewed=reviewed,
        )


@dataclass(frozen=True)
class _Course:
    """An apply that asks and tells nobody but the caller's events."""

    consent: Consent
    events: Events
    stop: threading.Event

    def wait(self, what: str, names: Collection[str]) -> None:
        """Say nothing."""

    def agree(self, sight: Sight) -> Allowed:
        return consented(sight.plan, self.consent)

    @contextmanager
    def at_work(self, plan: Plan) -> Iterator[Events]:
        del plan
        with _interruptible(self.stop):
            yield self.events

    def end(self, applied: Applied) -> None:
        """Say nothing: it is what `apply` returns."""


@contextmanager
def _interruptible(stop: threading.Event) -> Iterator[None]:
    """Turn Ctrl-C into: finish the steps in flight, begin no new one; and then into the usual KeyboardInterrupt.

    A script's own handler, and a script that applies in another thread, are left alone.
    """
    usual = signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not usual:
        yield
        return
    heard = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        heard.set()
        stop.set()

    signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if heard.is_set():
        raise KeyboardInterrupt


class _Silence:
    """Nobody hears how it goes."""

    def begin(self, action: EndpointAction) -> None:
        """Say nothing."""

    def wait(self, action: EndpointAction, work: Work, left: float) -> None:
        """Say nothing."""

    def end(self, outcome: Outcome) -> None:
        """Say nothing."""
