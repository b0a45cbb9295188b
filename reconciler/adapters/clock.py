"""The system's clocks behind the `Clock` port."""

from __future__ import annotations

import time


class SystemClock:
    """Real time: `now` may jump when the clock is set, `monotonic` never goes back."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))
