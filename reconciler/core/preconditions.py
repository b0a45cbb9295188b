"""What must hold at the moment of an action; judged by `reconciler.core.conditions`. Pure."""

from __future__ import annotations

from reconciler.core.frozen import dataclass
from reconciler.core.live import Process


@dataclass(frozen=True)
class NameFree:
    """Nothing of the directory's name exists."""


@dataclass(frozen=True)
class MarkedAs:
    """The marker still says what it said: this stack, lineage, endpoint and UUID."""

    stack: str
    lineage: str
    endpoint: str
    id: str | None


@dataclass(frozen=True)
class FileIs:
    """The file still has this digest (None: is not there)."""

    file: str
    digest: str | None


@dataclass(frozen=True)
class NoDaemon:
    """No process of this endpoint runs on this host."""


@dataclass(frozen=True)
class DaemonIs:
    """Exactly this process is the endpoint's daemon, or it has ended and left nothing: what it is asked for is done."""

    process: Process


@dataclass(frozen=True)
class Idle:
    """Nothing is under way below it that would be lost: see `reconciler.core.busy`."""


@dataclass(frozen=True)
class EndpointIdIs:
    """endpoint.json still has this UUID (None: is not there)."""

    id: str | None


@dataclass(frozen=True)
class PidFileIs:
    """daemon.pid still holds this PID, or is gone: no other daemon was started meanwhile.

    With `modified`, it was not touched either: nobody lives behind it.
    """

    pid: int | None
    modified: float | None = None


@dataclass(frozen=True)
class Offline:
    """The service does not say that an endpoint is online under this UUID: nobody runs it elsewhere."""

    id: str


Precondition = NameFree | MarkedAs | FileIs | NoDaemon | DaemonIs | Idle | EndpointIdIs | PidFileIs | Offline
