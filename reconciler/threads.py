"""Threads, of which a login node gives each user only so many."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from reconciler.errors import NoMoreThreads

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def started(work: Callable[[], object], name: str, *, daemon: bool = True) -> threading.Thread:
    """Do `work` in a thread of its own.

    Args:
        daemon: whether the program may end without it.

    Raises:
        NoMoreThreads: the system gives none.
    """
    thread = threading.Thread(target=work, name=name, daemon=daemon)
    try:
        thread.start()
    except RuntimeError as e:
        raise NoMoreThreads(
            "the system gives this command no more threads",
            why="a limit on your processes and threads is reached, or memory is used up",
            remedy="end what you do not need (`ps -LU $USER`) or raise the limit (`ulimit -u`), then run it again",
        ) from e
    return thread


def for_each(items: Sequence[_Item], work: Callable[[_Item], _Result], most: int) -> list[_Result]:
    """Do `work` for every item, several at the same time, the first ones first; return the results in their order.

    The calling thread only waits, in short steps, so that it takes signals. Where the system gives fewer threads,
    those that there are do all of it. An exception of `work` is raised once everything is done.

    Args:
        most: how many threads at most.

    Raises:
        NoMoreThreads: there is not even one; nothing was begun.
    """
    from concurrent.futures import Future, wait  # noqa: PLC0415  # whoever makes a single thread needs none of it

    results: list[Future[_Result]] = [Future() for _ in items]
    waiting = deque(zip(items, results, strict=True))

    def serve() -> None:
        while True:
            try:
                item, result = waiting.popleft()
            except IndexError:
                return
            try:
                result.set_result(work(item))
            except BaseException as e:  # noqa: BLE001  whoever waits for the result gets it
                result.set_exception(e)

    threads: list[threading.Thread] = []
    try:
        for number in range(min(len(results), most)):
            try:
                threads.append(started(serve, f"worker-{number}", daemon=False))
            except NoMoreThreads:
                if not threads:
                    raise
                break
        pending = set(results)
        while pending:
            pending = wait(pending, timeout=0.5).not_done
    finally:
        for thread in threads:
            thread.join()
    return [result.result() for result in results]
