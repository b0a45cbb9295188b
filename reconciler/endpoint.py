"""Single endpoints, without a manifest: the functions of `chiltepin.endpoint`, by the same names.

`from reconciler import endpoint` takes the place of `from chiltepin import endpoint`. What is different:

- Errors are those of `reconciler.errors`, a RuntimeError each; `Timeout` is a TimeoutError, too.
- An endpoint that a stack manages is not configured or deleted here: its manifest is the place. Starting and
  stopping it is possible, and keeps its marker true.
- `delete` refuses an endpoint that runs, moves the directory to the trash instead of removing it, and deregisters
  when that is asked for, as `chiltepin.endpoint.delete` never does. `undelete` brings it back.
- A daemon is signalled only when its process is on this node and is the one that was meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict

from reconciler import by_hand
from reconciler.core.single import listing
from reconciler.core.trash import of_nobody
from reconciler.errors import TimedOut
from reconciler.paths import config_directory
from reconciler.wiring import Ports, builtin_documents, chiltepin_apps, connect, translating_globus

if TYPE_CHECKING:
    from globus_compute_sdk import Client
    from globus_sdk import GlobusApp, TransferClient

PATIENCE = 120.0
"""Seconds that a step may take when no timeout is given."""

__all__ = [
    "Timeout",
    "configure",
    "delete",
    "deleted",
    "exists",
    "get_chiltepin_apps",
    "is_running",
    "login",
    "login_required",
    "logout",
    "show",
    "start",
    "stop",
    "undelete",
]


class Timeout(TimedOut, TimeoutError):
    """A daemon did not come up, or did not end, in the time that it was given."""


class Clients(TypedDict):
    """What `login` returns: clients for Globus Compute and for Globus Transfer."""

    compute: Client
    transfer: TransferClient


class Deleted(TypedDict):
    """An endpoint in the trash: its name, UUID, entry, and when it was deleted (seconds since the epoch)."""

    name: str
    id: str | None
    entry: str
    deleted_at: float


def configure(name: str, config_dir: str | None = None, timeout: float | None = None) -> bool:
    """Make the directory of a new endpoint, with the built-in template and the login shell's PATH.

    It is not registered before its first start, and no manifest manages it.

    Args:
        name: the endpoint's name.
        config_dir: the config directory; by default $GLOBUS_COMPUTE_USER_DIR, or ~/.globus_compute.
        timeout: seconds to wait for another command that is at work in the config directory; by default 120.

    Returns:
        True.

    Raises:
        UsageError: an endpoint cannot have this name.
        Refused: something of this name is there; a stack that manages it is named.
        EndpointCommandError: there is no usable globus-compute-endpoint, or the login shell failed.
        LeaseHeld: another command is at work in the config directory.
        FileSystemError: it could not be written.
    """
    ports = _ports(config_dir)
    template, schema = builtin_documents()
    patience = PATIENCE if timeout is None else timeout
    by_hand.configure(ports.outside, ports.clock, name, template=template, schema=schema, patience=patience)
    return True


def show(config_dir: str | None = None) -> dict[str, dict[str, str | None]]:
    """Return the endpoints of the config directory by name, each with its `status` and its `id`.

    The status is Initialized (it has no UUID yet), Running, Stopped, or Disconnected (a PID file that nothing
    touches). Asks nobody; symbolic links are left out.

    Raises:
        FileSystemError: the config directory cannot be read.
    """
    return listing(_ports(config_dir).outside.host.directories())


def exists(name: str, config_dir: str | None = None) -> bool:
    """Say whether there is an endpoint of this name.

    Raises:
        FileSystemError: the config directory cannot be read.
    """
    return name in show(config_dir)


def is_running(name: str, config_dir: str | None = None) -> bool:
    """Say whether the endpoint's daemon runs, on this node or another one of this home directory.

    Raises:
        FileSystemError: the config directory cannot be read.
    """
    return show(config_dir).get(name, {}).get("status") == "Running"


def start(name: str, config_dir: str | None = None, timeout: float | None = None) -> None:
    """Start an endpoint and wait until it runs, under its UUID or, the first time, a new one.

    One that runs already is left alone.

    Args:
        name: the endpoint's name.
        config_dir: the config directory; by default $GLOBUS_COMPUTE_USER_DIR, or ~/.globus_compute.
        timeout: seconds that it may take; by default 120.

    Raises:
        UsageError: there is no such endpoint.
        LoginRequired: there is no login.
        Refused: it runs on another node, or its UUID is in doubt.
        Timeout: it was not up in time.
        EndpointCommandError: it did not come up.
        ServiceUnreachable: the service could not be asked.
        LeaseHeld: another command is at work in the config directory.
    """
    ports = _ports(config_dir, timeout)
    with _timing():
        by_hand.start(ports.outside, ports.clock, name, patience=PATIENCE if timeout is None else timeout)


def stop(name: str, config_dir: str | None = None, timeout: float | None = None) -> None:
    """Stop an endpoint on this node and wait for its end; running tasks are lost. One that does not run is left alone.

    Args:
        name: the endpoint's name.
        config_dir: the config directory; by default $GLOBUS_COMPUTE_USER_DIR, or ~/.globus_compute.
        timeout: seconds that it may take; by default 120.

    Raises:
        UsageError: there is no such endpoint.
        Refused: it runs on another node.
        Timeout: it did not end in time.
        LeaseHeld: another command is at work in the config directory.
    """
    ports = _ports(config_dir)
    with _timing():
        by_hand.stop(ports.outside, ports.clock, name, seconds=PATIENCE if timeout is None else timeout)


def delete(name: str, config_dir: str | None = None, timeout: float | None = None, *, deregister: bool = False) -> None:
    """Move the directory of a stopped endpoint to the trash of its config directory.

    Args:
        name: the endpoint's name.
        config_dir: the config directory; by default $GLOBUS_COMPUTE_USER_DIR, or ~/.globus_compute.
        timeout: seconds to wait until the service sees that the daemon is gone; by default 120.
        deregister: also end the registration of the UUID in its endpoint.json, for ever.

    Raises:
        UsageError: there is no such endpoint.
        Refused: a stack manages it, or it runs, here or elsewhere; nothing was done.
        LoginRequired: there is no login.
        ServiceUnreachable: the service could not be asked whether it runs; nothing was done.
        ServiceRefused: the service did not deregister it; the directory is still there.
        LeaseHeld: another command is at work in the config directory.
    """
    ports = _ports(config_dir)
    seconds = PATIENCE if timeout is None else timeout
    by_hand.delete(ports.outside, ports.clock, name, deregister=deregister, seconds=seconds)


def undelete(
    name: str, config_dir: str | None = None, timeout: float | None = None, *, entry: str | None = None
) -> None:
    """Bring back what `delete` moved to the trash, with its UUID; it stays stopped.

    Args:
        name: the endpoint's name.
        config_dir: the config directory; by default $GLOBUS_COMPUTE_USER_DIR, or ~/.globus_compute.
        timeout: seconds to wait for another command that is at work; by default 120.
        entry: which one, by its name in the trash, when there are several with different UUIDs.

    Raises:
        UsageError: nothing of that name was deleted by hand.
        Refused: its manifest brings it back; there are several with different UUIDs; or the name is taken.
        LeaseHeld: another command is at work in the config directory.
    """
    ports = _ports(config_dir)
    patience = PATIENCE if timeout is None else timeout
    by_hand.undelete(ports.outside, ports.clock, name, entry=entry, patience=patience)


def deleted(config_dir: str | None = None) -> list[Deleted]:
    """Return what `delete` moved to the trash and is still there, oldest first.

    Raises:
        FileSystemError: the trash cannot be read.
    """
    found = of_nobody(_ports(config_dir).outside.host.trash())
    return [Deleted(name=i.deleted_directory, id=i.id, entry=i.name, deleted_at=i.deleted_at) for i in found]


def get_chiltepin_apps() -> tuple[GlobusApp, GlobusApp, GlobusApp | None]:
    """Return the Globus apps for Compute, Transfer and the Academy exchange (None where that is not installed).

    Sets the environment variables by which Globus Compute and Academy choose the same client.

    Raises:
        LoginRequired: $GLOBUS_COMPUTE_CLIENT_SECRET is set without its client.
        ServiceUnreachable: Globus Auth could not be asked.
    """
    return chiltepin_apps()


def login() -> Clients:
    """Log in to Globus Compute, Globus Transfer and the Academy exchange, where that is not done already.

    A user is shown an address and asked for a code, at the terminal.

    Raises:
        LoginRequired: Globus Auth refused it.
        ServiceUnreachable: Globus Auth could not be asked.
    """
    from globus_compute_sdk import Client
    from globus_sdk import TransferClient

    compute, transfer, academy = chiltepin_apps()
    with translating_globus():
        clients = Clients(compute=Client(app=compute), transfer=TransferClient(app=transfer))
        for app in (compute, transfer, academy):
            if app is not None and app.login_required():
                app.login()
    return clients


def login_required() -> bool:
    """Say whether `login` would have to ask.

    Raises:
        LoginRequired: the client that is set cannot be used.
    """
    with translating_globus():
        return any(app.login_required() for app in chiltepin_apps() if app is not None)


def logout() -> None:
    """Log out, and revoke the tokens. Daemons that still run had them too, and cannot renew theirs.

    Raises:
        ServiceUnreachable: Globus Auth could not be asked.
    """
    with translating_globus():
        for app in chiltepin_apps():
            if app is not None:
                app.logout()


@contextmanager
def _timing() -> Iterator[None]:
    # A TimeoutError is an OSError, which means something else wherever files are handled: it becomes one here only.
    try:
        yield
    except TimedOut as e:
        raise Timeout(
            e.what, command=e.command, code=e.code, output=e.output, where=e.where, why=e.why, remedy=e.remedy
        ) from e


def _ports(config_dir: str | None, timeout: float | None = None) -> Ports:
    directory = config_directory(config_dir)
    # No manifest: nobody reads or writes a lock or pools file of this name.
    return connect(
        str(directory), lock=directory / "no.lock.yaml", pools=directory / "no.pools.yaml", start_limit=timeout
    )
