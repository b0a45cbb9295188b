"""Wires adapters to ports: the one place that knows which implementation serves which port."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.desired import Desired
from reconciler.invocation import Invocation, read_desired
from reconciler.ports import Clock, Outside
from reconciler.reconcile import Request


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
    chosen = (
        invocation.config_dir
        or desired.host.config_dir
        or os.environ.get("GLOBUS_COMPUTE_USER_DIR")
        or "~/.globus_compute"
    )
    return str(Path(chosen).expanduser().absolute())


def wire(invocation: Invocation, desired: Desired | None = None) -> Wired:
    """Read the manifest and connect the ports of this machine. Contacts nothing yet."""
    from reconciler.adapters.auth import client_environment
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.host import LocalHost
    from reconciler.adapters.store import FileStore
    from reconciler.adapters.web import GlobusCompute

    desired = desired or read_desired(invocation)
    config_dir = config_dir_of(invocation, desired)
    clock = SystemClock()
    store = FileStore(
        config_dir, str(invocation.lock_path.absolute()), str(invocation.pools_path.absolute()), clock=clock
    )
    host = LocalHost(config_dir, python=desired.host.python, extra=client_environment(), clock=clock)
    service = GlobusCompute(config_dir, clock=clock)
    return Wired(invocation, desired, Outside(host, service, store), clock, store.run)
