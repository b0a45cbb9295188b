"""Whether the service sees the daemons that run: waited for after a start, and observed of those that ran already."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from reconciler.conduct import Conduct
from reconciler.core.exit_codes import code_of_error
from reconciler.core.running import Running, Unconfirmed
from reconciler.errors import EndpointCommandError, NoMoreThreads, ReconcilerError
from reconciler.ports import Clock, Outside
from reconciler.threads import for_each

MAX_ASKING = 8
"""How many daemons are asked for at the service at the same time; its limit of requests is the tighter bound."""


def await_online(
    outside: Outside,
    clock: Clock,
    directory_name: str,
    endpoint_id: str,
    *,
    pid: int | None,
    seconds: float,
    stop: threading.Event | None = None,
) -> None:
    """Wait until the service says that the daemon of an endpoint is online.

    Args:
        pid: of the daemon; when it ends there is nothing to wait for. None for one on another node.
        seconds: how long to wait.
        stop: when set, nothing is waited for any more.

    Raises:
        EndpointCommandError: the daemon ended, or the service does not see it in time.
        ServiceUnreachable: the service could not be asked.
    """
    deadline = clock.monotonic() + seconds
    who = f"PID {pid}" if pid is not None else "on another node"
    pause = 0.1
    while True:
        if outside.service.status(endpoint_id) == "online":
            return
        directory = outside.host.directory(directory_name)
        if pid is not None and (directory is None or all(p.pid != pid for p in directory.processes)):
            raise EndpointCommandError(
                "the daemon ended before the service saw it",
                where=directory_name,
                remedy="the end of its log says why; mend that and apply again",
            )
        if stop and stop.is_set():
            raise EndpointCommandError("the service did not see it yet when the wait was interrupted")
        if clock.monotonic() > deadline:
            raise EndpointCommandError(
                f"the daemon ({who}) runs, and after {seconds:.0f} s the service still does not see it",
                where=directory_name,
                remedy="look at its log for AMQP errors (port 5671 or 443 must be open), then apply again; where"
                " it says nothing, the daemon may hang: restart it",
            )
        clock.sleep(pause)
        pause = min(pause * 1.5, 2.0)


def unseen(running: Sequence[Running], outside: Outside, clock: Clock, conduct: Conduct) -> tuple[Unconfirmed, ...]:
    """Return those of the daemons in `running` that the service does not see, each with the reason."""

    def ask(daemon: Running) -> Unconfirmed | None:
        try:
            await_online(
                outside,
                clock,
                daemon.directory,
                daemon.id,
                pid=daemon.process.pid if daemon.process else None,
                seconds=conduct.online_timeout,
                stop=conduct.stop,
            )
        except ReconcilerError as e:
            return _unconfirmed(daemon, e)
        return None

    try:
        return tuple(found for found in for_each(running, ask, MAX_ASKING) if found)
    except NoMoreThreads as e:
        return tuple(_unconfirmed(daemon, e) for daemon in running)


def _unconfirmed(daemon: Running, error: ReconcilerError) -> Unconfirmed:
    reason = f"{error.what}: {error.why}" if error.why else error.what
    return Unconfirmed(daemon.endpoint, reason, error.remedy, code_of_error(error))
