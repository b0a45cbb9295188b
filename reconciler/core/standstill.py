"""What comes before a directory is taken apart or moved: no daemon, no PID file. Pure."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.actions import ClearStalePid, EndpointAction, Stop
from reconciler.core.changes import Cause
from reconciler.core.daemon import Daemon, DaemonState
from reconciler.core.daemon_steps import marked
from reconciler.core.desired import DesiredEndpoint
from reconciler.core.frozen import dataclass
from reconciler.core.live import LiveDirectory
from reconciler.core.marker import Death, Marker
from reconciler.core.preconditions import DaemonIs, Idle, NoDaemon, Precondition

OUT_OF_REACH = (DaemonState.DOUBLED, DaemonState.ELSEWHERE, DaemonState.STARTING)
"""States of a daemon that no action of ours can end for certain."""


@dataclass(frozen=True)
class Standstill:
    """What brings it about, and what must hold before the next action.

    Attributes:
        actions: a Stop, or a ClearStalePid, or nothing.
        guards: that the marker says what it says then, and that no daemon runs.
        left: the directory as it is then.
    """

    actions: tuple[EndpointAction, ...]
    guards: tuple[Precondition, ...]
    left: LiveDirectory


def bring_to_standstill(
    endpoint: DesiredEndpoint,
    directory: LiveDirectory,
    marker: Marker,
    daemon: Daemon,
    cause: Cause,
    deaths: tuple[Death, ...] | None = None,
) -> Standstill:
    """Return what ends the daemon of a directory, which must not be one that is out of reach.

    Args:
        marker: what the directory's marker says, or will say once it is repaired.
        daemon: as it was judged.
        cause: why it is stopped.
        deaths: what the marker is to say about deaths then, if that is new.
    """
    was: tuple[Precondition, ...] = (marked(marker),) if isinstance(directory.marker, Marker) else ()
    actions: tuple[EndpointAction, ...] = ()
    if daemon.process:
        waits = () if endpoint.restart == "now" else (Idle(),)
        stop = Stop(
            endpoint=endpoint.name,
            directory=directory.name,
            cause=cause,
            preconditions=(*was, DaemonIs(daemon.process), *waits),
            interrupts=len(directory.user_endpoints),
            process=daemon.process,
        )
        actions, was = (stop,), (marked(marker),)  # a stop writes the marker
    elif directory.pid_file:
        clear = ClearStalePid(
            endpoint=endpoint.name,
            directory=directory.name,
            cause=Cause.DIED,
            preconditions=(*was, NoDaemon()),
            pid_file=directory.pid_file,
            deaths=deaths,
        )
        actions, was = (clear,), (marked(marker),)
    left = replace(directory, processes=(), pid_file=None, user_endpoints=())
    return Standstill(actions, (*was, NoDaemon()), left)
