"""What apply is doing: a live table on a terminal, a line per finished action elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO, cast

from reconciler.apply import Events
from reconciler.cli.console import Console, Unbreakable, shown
from reconciler.core.actions import EndpointAction
from reconciler.core.durations import say_duration
from reconciler.core.lines import Line, Style
from reconciler.core.progress import Outcome
from reconciler.core.work import Work
from reconciler.errors import NoMoreThreads
from reconciler.threads import started

if TYPE_CHECKING:
    from rich.table import Table

_DOING = {
    "Create": "creating",
    "WriteFile": "writing",
    "ClearStalePid": "clearing",
    "Start": "starting",
    "Stop": "stopping",
    "Restart": "restarting",
    "Adopt": "recording",
    "Rename": "renaming",
    "Reregister": "giving up its UUID",
    "Undelete": "bringing back",
    "Delete": "deleting",
    "Purge": "purging",
    "Forget": "forgetting",
}
_DONE = {
    "Create": "created",
    "WriteFile": "written",
    "ClearStalePid": "cleared",
    "Start": "running",
    "Stop": "stopped",
    "Restart": "restarted",
    "Adopt": "recorded",
    "Rename": "renamed",
    "Reregister": "gave up its UUID",
    "Undelete": "back from the trash",
    "Delete": "in the trash",
    "Purge": "purged",
    "Forget": "forgotten",
}
_STYLE: dict[str, Style] = {"done": "add", "failed": "error", "deferred": "warning", "skipped": "dim"}


class _Watcher(Events, Protocol):
    """Events with a beginning and an end."""


def outcome_line(outcome: Outcome, width: int) -> Line:
    """Return one finished action as a line: endpoint, what became of it, how long it took."""
    name = outcome.action.endpoint.ljust(width)
    detail = f" {outcome.action.file}" if outcome.action.kind == "WriteFile" else ""  # type: ignore[union-attr]
    if outcome.kind == "done":
        took = f"  {outcome.seconds:.1f} s" if outcome.seconds >= 0.1 else ""
        identifier = f"  {outcome.endpoint_id}" if outcome.endpoint_id else ""
        return Line(f"  {name}  {_DONE[outcome.action.kind]}{detail}{identifier}{took}", "add")
    reason = f": {outcome.reason}" if outcome.reason else ""
    return Line(f"  {name}  {outcome.action.kind}{detail} {outcome.kind}{reason}", _STYLE[outcome.kind])


def waiting_line(action: EndpointAction, work: Work, left: float) -> str:
    """Return what a drain waits for, and for how long at most."""
    return f"waiting for {work.waited_for()} of {action.endpoint}, {say_duration(left)} left"


class PlainProgress:
    """One line for each action that ended, to stderr; one a minute while it waits."""

    def __init__(self, console: Console, width: int) -> None:
        self._console = console
        self._width = width
        self._mutex = threading.Lock()
        self._said: dict[str, tuple[str, float]] = {}

    def begin(self, action: EndpointAction) -> None:
        """Nothing is printed before an action ended."""

    def wait(self, action: EndpointAction, work: Work, left: float) -> None:
        """Print what it waits for when that changes, and every minute."""
        if self._console.quiet:
            return
        with self._mutex:
            before = self._said.get(action.endpoint)
            if before is None or before[0] != work.waited_for() or before[1] - left >= 60:
                self._said[action.endpoint] = (work.waited_for(), left)
                self._console.lines([Line(f"  {waiting_line(action, work, left)}", "dim")], stream=sys.stderr)

    def end(self, outcome: Outcome) -> None:
        """Print what became of it."""
        if self._console.quiet and outcome.kind == "done":
            return
        with self._mutex:
            self._console.lines([outcome_line(outcome, self._width)], stream=sys.stderr)


class LiveProgress:
    """A table that shows what each endpoint is doing; finished actions scroll by above it."""

    def __init__(self, console: Console, width: int) -> None:
        self._doing: dict[str, tuple[str, float]] = {}
        self._mutex = threading.Lock()
        self._width = width
        self._console = console
        self._finished: list[Line] = []
        self._waiting: dict[str, float] = {}

    def begin(self, action: EndpointAction) -> None:
        """Show it as under way."""
        with self._mutex:
            self._doing[action.endpoint] = (_DOING[action.kind], time.monotonic())

    def wait(self, action: EndpointAction, work: Work, left: float) -> None:
        """Show what it waits for."""
        with self._mutex:
            since = self._waiting.setdefault(action.endpoint, time.monotonic())
            self._doing[action.endpoint] = (waiting_line(action, work, left), since)

    def end(self, outcome: Outcome) -> None:
        """Let it scroll by."""
        with self._mutex:
            self._doing.pop(outcome.action.endpoint, None)
            self._finished.append(outcome_line(outcome, self._width))

    def take_finished(self) -> list[Line]:
        """Return the lines that were not printed yet."""
        with self._mutex:
            lines, self._finished = self._finished, []
            return lines

    def table(self) -> Table:
        """Return what is under way."""
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        with self._mutex:
            for name, (what, since) in sorted(self._doing.items()):
                seconds = f"{time.monotonic() - since:.0f} s"
                grid.add_row(
                    Text(f"  {shown(name).ljust(self._width)}"), Text(shown(what), style="cyan"), Text(seconds, "dim")
                )
        return grid


@contextmanager
def progress(console: Console, width: int) -> Iterator[Events]:
    """Yield who listens to an apply: live on a terminal, plain otherwise."""
    if not console.colored(sys.stderr) or not sys.stderr.isatty() or console.quiet:
        yield PlainProgress(console, width)
        return
    from rich.console import Console as RichConsole
    from rich.live import Live
    from rich.text import Text

    listener = LiveProgress(console, width)
    rich_console = RichConsole(file=cast(TextIO, Unbreakable(sys.stderr)), highlight=False)
    stop = threading.Event()
    live = Live(console=rich_console, auto_refresh=False, transient=True, get_renderable=listener.table)

    def print_finished() -> None:
        lines = listener.take_finished()
        if lines:
            live.refresh()  # what ended leaves the table before its line is there
        for line in lines:
            style = {"add": "green", "error": "bold red", "warning": "yellow", "dim": "dim"}.get(line.style, "")
            live.console.print(Text(shown(line.text), style), soft_wrap=True)  # printed with a style, the table had it

    def pump() -> None:
        while not stop.wait(0.1):
            print_finished()
            live.refresh()

    try:
        thread = started(pump, "live-view")
    except NoMoreThreads:
        yield PlainProgress(console, width)
        return
    with live:
        try:
            yield listener
        finally:
            stop.set()
            thread.join()
            print_finished()
