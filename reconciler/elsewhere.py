"""Stopping a daemon on another login node: its PID file is taken away, and it ends by itself."""

from __future__ import annotations

from reconciler.core.actions import StopElsewhere
from reconciler.core.elsewhere import ABSENT_FOR
from reconciler.core.live import Status
from reconciler.errors import EndpointCommandError
from reconciler.ports import Clock, Outside


def stop_elsewhere(action: StopElsewhere, outside: Outside, clock: Clock, seconds: float) -> None:
    """Take the PID file away, and wait until no daemon can be left.

    A daemon that touches its PID file at that very moment brings it back, empty, and lives on. So the file must
    stay away for longer than a daemon takes to look for it, and the service must say that nobody is connected.
    A start before that would bring the file back, too, and the old daemon would live on beside the new one.

    Raises:
        EndpointCommandError: it did not end within `seconds`.
        Overtaken: the PID file is another daemon's by now.
        ServiceUnreachable: the service could not be asked; the next run goes on from here.
    """
    host = outside.host
    status = _status(outside, action.id)  # if the service does not answer, nothing was done yet
    deadline = clock.monotonic() + seconds
    host.withdraw_pid_file(action.directory, action.pid_file)
    absent_since, pause = clock.monotonic(), 0.5
    while status == "online" or clock.monotonic() - absent_since < ABSENT_FOR:
        if clock.monotonic() > deadline:
            where = action.node or "its node"
            raise EndpointCommandError(
                f"the daemon on {where} did not end within {seconds:.0f} s after its PID file was removed",
                where=action.directory,
                why="the service still says online" if status == "online" else "its PID file comes back",
                remedy=f"look for it on {where} (`pgrep -af 'Globus Compute Endpoint'`), then apply again",
            )
        clock.sleep(pause)
        pause = min(pause * 1.5, 3.0)
        if host.withdraw_pid_file(action.directory, action.pid_file):
            absent_since = clock.monotonic()
        status = _status(outside, action.id)


def _status(outside: Outside, endpoint_id: str | None) -> Status | None:
    return outside.service.status(endpoint_id) if endpoint_id else None
