"""The request budget: the service allows 20 requests in any 10 seconds, to everything one user runs.

A grant is remembered for one period; a new one is given only when those remembered leave room, so no
window of that length ever holds more than the limit (a bucket that refills evenly would allow nearly
twice as many across a refill). Requests that a daemon is about to make by itself are granted with
`reserve`: they are sent at some moment of its start, which may take two minutes, so that they count
until the start is over, and one period more.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from reconciler.errors import Interrupted, UsageError
from reconciler.ports import Clock

VARIABLE = "CHILTEPIN_REQUEST_BUDGET"
DOCUMENTED = "20/10"

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

    def reserve(self, requests: int) -> AbstractContextManager[None]:
        """Wait until `requests` requests fit that another process sends at some moment within the context."""


class Unlimited:
    """A budget without a limit, for a service on this machine."""

    def acquire(self, requests: int = 1) -> None:
        """Return at once."""

    def reserve(self, requests: int) -> AbstractContextManager[None]:  # noqa: ARG002  # the port's
        """Return at once."""
        return nullcontext()


class SlidingWindow:
    """At most `limit` requests in any `period` seconds, over all threads of this process.

    Args:
        limit: the number of requests that may be sent, not the number that is refused.
        period: the window's length in seconds.
        clock: tells the time.
        pause: waits; give the service's own, so that one `interrupt` ends both.
    """

    def __init__(self, limit: int, period: float, clock: Clock, *, pause: Pause | None = None) -> None:
        if limit < 1 or period <= 0:
            raise ValueError(f"no request fits {limit} in {period} s")
        self.limit = limit
        self.period = period
        self._clock = clock
        self._pause = pause or Pause(clock)
        # Whoever waits holds the turnstile: a large request is not starved by small ones behind it.
        self._turnstile = threading.Lock()
        # How many requests are reserved, and when each granted one stops counting (seconds, monotonic), soonest first.
        self._state = threading.Lock()
        self._held = 0
        self._until: deque[float] = deque()

    def acquire(self, requests: int = 1) -> None:
        with self._turnstile:
            while requests > 0:
                # More than the limit never fits at once; it is then granted in parts.
                part = min(requests, self.limit)
                self._wait_for_room(part)
                self._count(part)
                requests -= part

    @contextmanager
    def reserve(self, requests: int) -> Iterator[None]:
        held = min(requests, self.limit)
        if requests > held:
            self.acquire(requests - held)
        self._hold(held)
        try:
            yield
        finally:
            with self._state:
                self._held -= held
            self._count(held)

    def _hold(self, requests: int) -> None:
        """Wait for room, and keep it; who waits for the end of another reservation lets others pass meanwhile."""
        while True:
            with self._turnstile:
                with self._state:
                    fits = self._held + requests <= self.limit
                if fits:
                    self._wait_for_room(requests)
                    with self._state:
                        self._held += requests
                    return
            self._pause.wait(SLICE)

    def _count(self, requests: int) -> None:
        """Remember that requests are sent now, or were a moment ago."""
        until = self._clock.monotonic() + self.period + JITTER
        with self._state:
            self._until = deque(sorted([*self._until, *[until] * requests]))

    def _wait_for_room(self, requests: int) -> None:
        while True:
            now = self._clock.monotonic()
            with self._state:
                while self._until and self._until[0] <= now:
                    self._until.popleft()
                surplus = self._held + len(self._until) + requests - self.limit
                if surplus <= 0:
                    return
                # Nobody knows when a reservation ends.
                wait = self._until[surplus - 1] - now if surplus <= len(self._until) else SLICE
            self._pause.wait(wait)


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
