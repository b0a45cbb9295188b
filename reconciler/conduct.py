"""How a plan is carried out: for how long, how many at once, and when not any more."""

from __future__ import annotations

import threading
from dataclasses import field

from reconciler.core.frozen import dataclass


@dataclass(frozen=True)
class Conduct:
    """How a plan is carried out.

    Attributes:
        run: the random ID of this apply, for the journal.
        parallelism: how many daemons may be starting at the same time; waiting needs no place.
        wait_online: whether a start is done only when the service says online.
        online_timeout: how long to wait for that, in seconds.
        stop_timeout: how long to wait for a daemon to end, in seconds.
        elsewhere_timeout: the same for one on another node, which looks for its PID file every 15 s only.
        stop: set when the user wants to stop; steps in flight are finished, no new one begins.
        drain: for how many seconds to wait until what must be idle is.
        poll: seconds between two looks meanwhile.
    """

    run: str
    parallelism: int = 4
    wait_online: bool = True
    online_timeout: float = 90.0
    stop_timeout: float = 60.0
    elsewhere_timeout: float = 120.0
    stop: threading.Event = field(default_factory=threading.Event)
    drain: float = 0.0
    poll: float = 10.0


class Place:
    """A place among the daemons that start at the same time, waited for on entry; `release` gives it back early."""

    def __init__(self, places: threading.Semaphore | None) -> None:
        self._places = places

    def __enter__(self) -> Place:
        if self._places:
            self._places.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the place back; a second time does nothing."""
        places, self._places = self._places, None
        if places:
            places.release()
