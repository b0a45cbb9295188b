"""What signals mean to a command that holds the lease."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def orderly() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does: what it holds, the lease first of all, is released.

    They count once: what is released then is released to the end. A SIGHUP that `nohup` ignores stays ignored.
    """
    heard = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        del number, frame
        if not heard:
            heard = True
            raise KeyboardInterrupt

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
