"""Wires adapters to ports: the one place that knows which implementation serves which port."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.core.desired import Desired, TextFile
from reconciler.core.frozen import dataclass
from reconciler.core.scope import Scope
from reconciler.errors import UsageError
from reconciler.invocation import Invocation, path_of_host, read_desired
from reconciler.paths import absolute, config_directory
from reconciler.ports import Clock, Outside
from reconciler.reconcile import Request

if TYPE_CHECKING:
    from globus_sdk import GlobusApp

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wired:
    """Everything a command needs: the desired state, the ports, the clock."""

    invocation: Invocation
    desired: Desired
    outside: Outside
    clock: Clock
    run: str

    def request(self) -> Request:
        """Return a plain request for this manifest."""
        return Request(self.desired, str(self.invocation.lock_path), str(uuid.uuid4()))


def config_dir_of(invocation: Invocation, desired: Desired) -> str:
    """Return the config directory, an absolute path: the option, the manifest's, the environment's, the default."""
    of_host = path_of_host(desired.host.config_dir, invocation.file)
    return str(config_directory(invocation.config_dir, of_host))


def wire(invocation: Invocation, desired: Desired | None = None) -> Wired:
    """Read the manifest and connect the ports of this machine. Contacts nothing yet."""
    from reconciler.adapters.hidden import remember

    desired = desired or read_desired(invocation)
    remember(desired.secrets)
    config_dir = config_dir_of(invocation, desired)
    log.info(
        "manifest %s, host %s; lock %s; config directory %s",
        invocation.file,
        desired.host.name or "any",
        invocation.lock_path,
        config_dir,
    )
    ports = connect(
        config_dir,
        lock=invocation.lock_path,
        pools=invocation.pools_path,
        python=path_of_host(desired.host.python, invocation.file),
        hidden=desired.secrets,
    )
    return Wired(invocation, desired, ports.outside, ports.clock, ports.run)


@dataclass(frozen=True)
class Ports:
    """The ports of this machine, its clock, and the random ID of the run that they serve."""

    outside: Outside
    clock: Clock
    run: str


def connect(
    config_dir: str,
    *,
    lock: Path,
    pools: Path,
    python: str | None = None,
    start_limit: float | None = None,
    hidden: Collection[str] = (),
) -> Ports:
    """Connect the ports for one run in a config directory. Contacts nothing yet.

    Args:
        config_dir: an absolute path.
        lock: the lockfile.
        pools: the pools file.
        python: the environment whose globus-compute-endpoint is used; None for PATH.
        start_limit: seconds that a start may take; None for the usual limit.
        hidden: the manifest's secrets, which no log may show.
    """
    from reconciler.adapters.auth import client_environment
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.host import LocalHost
    from reconciler.adapters.scheduler import BatchSystems
    from reconciler.adapters.start import TIME_LIMIT
    from reconciler.adapters.store import FileStore
    from reconciler.adapters.web import GlobusCompute

    clock = SystemClock()
    store = FileStore(config_dir, str(absolute(lock)), str(absolute(pools)), clock=clock)
    limit = TIME_LIMIT if start_limit is None else start_limit
    host = LocalHost(
        config_dir, python=python, extra=client_environment(), clock=clock, start_limit=limit, hidden=hidden
    )
    service = GlobusCompute(config_dir, clock=clock)
    return Ports(Outside(host, service, store, BatchSystems()), clock, store.run)


def open_request(
    wired: Wired,
    target: Collection[str] | None,
    exclude: Collection[str] | None,
    new: Collection[str] | None,
    *,
    destroy: bool = False,
    purge: bool = False,
    reregister: Collection[str] | None = None,
    take_over: bool = False,
    retry: bool = False,
) -> Request:
    """Return the request that the options make.

    Raises:
        UsageError: an option names an endpoint that neither manifest nor lock knows.
    """
    import difflib

    request = wired.request()
    text = wired.outside.store.read_lock()
    known = {*wired.desired.endpoints, *wired.desired.elsewhere}
    if text is not None and (target or exclude or new or reregister):
        from reconciler.core.lock import read_lock

        known |= set(read_lock(text, request.lock_file).endpoints)
    named = (("--target", target), ("--exclude", exclude), ("--new", new), ("--reregister", reregister))
    for option, names in named:
        for name in names or ():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise UsageError(
                    f"{option} {name}: no such endpoint",
                    remedy=f"did you mean {near[0]}?" if near else f"known are: {', '.join(sorted(known)) or 'none'}",
                )
    if target and not set(target) - set(exclude or ()):
        raise UsageError("--target and --exclude leave nothing to look at", remedy="leave one of them out")
    limits = frozenset(target or ()), frozenset(exclude or ())
    scope = Scope(*limits, destroy, purge, frozenset(reregister or ()), take_over, retry=retry)
    return replace(request, scope=scope, new=frozenset(new or ()))


def builtin_documents() -> tuple[TextFile, TextFile]:
    """Return the newest built-in template and its schema."""
    from reconciler.adapters.resources import builtin_schema, builtin_template

    return TextFile(*builtin_template()), TextFile(*builtin_schema())


def chiltepin_apps() -> tuple[GlobusApp, GlobusApp, GlobusApp | None]:
    """Return Chiltepin's Globus apps: Compute, Transfer, and Academy where that is installed."""
    from reconciler.adapters.chiltepin_apps import apps

    return apps()


def translating_globus() -> AbstractContextManager[None]:
    """Return a context in which the Globus SDK's errors become ours."""
    from reconciler.adapters.chiltepin_apps import translated

    return translated()
