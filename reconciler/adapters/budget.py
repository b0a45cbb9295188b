"""The request budget: the service allows 20 requests in any 10 seconds, to everything one user runs.

A grant is remembered for one period; a new one is given only when those remembered leave room, so no
window of that length ever holds more than the limit (a bucket that refills evenly would allow nearly
twice as many across a refill). Requests that a daemon is about to make by itself are granted with
`reserve` and remembered longer, because they are sent later than they are granted.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from reconciler.errors import Interrupted, UsageError
from reconciler.ports import Clock

VARIABLE = "CHILTEPIN_REQUEST_BUDGET"
DOCUMENTED = "20/10"

# How long after `reserve` a daemon may send its requests (it imports for about a second first).
RESERVED_LAG = 2.0
# Two requests can come closer together on their way; windows are kept apart by this much.
JITTER = 0.1
# The longest wait in one piece: how long `interrupt` can take to be noticed in another thread.
SLICE = 0.25


class Pause:
    """Waiting that another thread can end.

    Ctrl-C ends a wait of the main thread by itself; waits of other threads end when the one that
    noticed it calls `interrupt`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        """Make all waits, present and future, raise `Interrupted`."""
        self._interrupted.set()

    def wait(self, seconds: float) -> None:
        """Wait `seconds`.

        Raises:
            Interrupted: `interrupt` was called.
        """
        end = self._clock.monotonic() + seconds
        while True:
            if self._interrupted.is_set():
                raise Interrupted("Interrupted while waiting for the Globus Compute service.")
            left = end - self._clock.monotonic()
            if left <= 0:
                return
            self._clock.sleep(min(left, SLICE))


class Budget(Protocol):
    """Permission to send requests."""

    def acquire(self, requests: int = 1) -> None:
        """Wait until `requests` requests may be sent at once."""

    def reserve(self, requests: int) -> None:
        """Wait until `requests` requests fit that another process is about to send."""


class Unlimited:
    """A budget without a limit, for a service on this machine."""

    def acquire(self, requests: int = 1) -> None:
        """Return at once."""

    def reserve(self, requests: int) -> None:
        """Return at once."""


class SlidingWindow:
    """At most `limit` requests in any `period` seconds, over all threads of this process.

    Args:
        limit: the number of requests that may be sent, not the number that is refused.
        period: the window's length in seconds.
        clock: tells the time.
        pause: waits; give the service's own, so that one `interrupt` ends both.
        lag: how many seconds after `reserve` the reserved requests may be sent.
    """

    def __init__(
        self, limit: int, period: float, clock: Clock, *, pause: Pause | None = None, lag: float = RESERVED_LAG
    ) -> None:
        if limit < 1 or period <= 0:
            raise ValueError(f"no request fits {limit} in {period} s")
        self.limit = limit
        self.period = period
        self._clock = clock
        self._pause = pause or Pause(clock)
        self._lag = lag
        # Whoever waits holds the turnstile: a large request is not starved by small ones behind it.
        self._turnstile = threading.Lock()
        # When each granted request stops counting (seconds, monotonic), soonest first.
        self._until: deque[float] = deque()

    def acquire(self, requests: int = 1) -> None:
        self._take(requests, self.period + JITTER)

    def reserve(self, requests: int) -> None:
        self._take(requests, self.period + JITTER + self._lag)

    def _take(self, requests: int, counts_for: float) -> None:
        with self._turnstile:
            while requests > 0:
                # More than the limit never fits at once; it is then granted in parts.
                part = min(requests, self.limit)
                self._wait_for_room(part)
                until = self._clock.monotonic() + counts_for
                self._until = deque(sorted([*self._until, *[until] * part]))
                requests -= part

    def _wait_for_room(self, requests: int) -> None:
        while True:
            now = self._clock.monotonic()
            while self._until and self._until[0] <= now:
                self._until.popleft()
            surplus = len(self._until) + requests - self.limit
            if surplus <= 0:
                return
            self._pause.wait(self._until[surplus - 1] - now)


def request_budget(
    service: str, clock: Clock, *, pause: Pause | None = None, environ: Mapping[str, str] = os.environ
) -> Budget:
    """Return the budget for `service`: the documented limit, or none for the sandbox.

    CHILTEPIN_REQUEST_BUDGET=REQUESTS/SECONDS overrides both. As in the service's documentation, the
    number is the one that is too many: with 20/10, 19 are sent.

    Raises:
        UsageError: the variable does not say that.
    """
    text = environ.get(VARIABLE, "").strip()
    if not text:
        if service == "sandbox":
            return Unlimited()
        text = DOCUMENTED
    match = re.fullmatch(r"([0-9]{1,6})\s*/\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)", text)
    if match is None or int(match[1]) < 2 or float(match[2]) <= 0:
        raise UsageError(
            f"${VARIABLE} is not a request budget.",
            why="It is REQUESTS/SECONDS with at least 2 requests; fewer than REQUESTS are sent in any SECONDS.",
            remedy=f"unset {VARIABLE}, or set it to {DOCUMENTED}",
        )
    return SlidingWindow(int(match[1]) - 1, float(match[2]), clock, pause=pause)
