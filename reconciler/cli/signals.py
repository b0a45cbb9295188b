"""What signals mean to a command that holds the lease."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from reconciler.cli.console import Console


@contextmanager
def orderly() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does: what it holds, the lease first of all, is released.

    They count once: what is released then is released to the end.
    """
    heard = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        del number, frame
        if not heard:
            heard = True
            raise KeyboardInterrupt

    with _handled((signal.SIGTERM, signal.SIGHUP), on_signal):
        yield


@contextmanager
def graceful(stop: threading.Event, console: Console) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into: finish the steps in flight, begin no new one."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        if not stop.is_set():
            stop.set()
            console.say("\nstopping: the steps in flight are finished first", "warning")

    with _handled((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), on_signal):
        yield


@contextmanager
def _handled(numbers: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle signals for a while; one that is ignored (`nohup`, a script's background job) stays ignored."""
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = [signal.signal(number, handler) for number in heard]
    try:
        yield
    finally:
        for number, old in zip(heard, before, strict=True):
            signal.signal(number, old)
