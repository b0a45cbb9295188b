"""Starting many daemons from one process that has imported globus-compute-endpoint once.

Ten daemons come up in a third of the time and take half the memory. When the nursery cannot serve, for
whatever reason, its user runs the ordinary command instead.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.core.machine import EndpointTool
from reconciler.errors import NoMoreThreads
from reconciler.threads import started

log = logging.getLogger(__name__)

READY_LIMIT = 60.0
"""Seconds that importing globus-compute-endpoint may take before the ordinary command is run instead."""

END_LIMIT = 10.0


class Brood:
    """One start command that the nursery runs; `output` is the open file that its output goes to."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._code: int | None = None
        self._ended = threading.Event()

        self._begun = threading.Event()
        self._settled = threading.Event()

    def begin(self) -> None:
        """Take note that its process is there."""
        self._begun.set()
        self._settled.set()

    def tell(self, code: int) -> None:
        """Take note of its exit code."""
        self._code = code
        self._ended.set()
        self._settled.set()

    def begun(self, limit: float) -> bool | None:
        """Wait until it is certain whether its process ever was; None when that takes longer than `limit` seconds."""
        return self._begun.is_set() if self._settled.wait(limit) else None

    def code(self) -> int | None:
        """Return its exit code, None while it runs."""
        return self._code

    def said(self) -> str:
        """Return its output so far."""
        size = os.fstat(self._output).st_size
        return os.pread(self._output, 65536, max(0, size - 65536)).decode("utf-8", "replace")

    def reap(self) -> None:
        """Wait for its end, which is near once the daemon is up."""
        self._ended.wait(5)

    def end(self) -> None:
        """Nothing can be ended here; the nursery's end closes the pipe, and the command goes on by itself."""


class Nursery:
    """The process; made at once, ready after its imports.

    Args:
        tool: the globus-compute-endpoint to import.
        environment: the declared environment, which the daemons inherit.

    Raises:
        OSError, NoMoreThreads: it cannot be made.
    """

    def __init__(self, tool: EndpointTool, environment: Mapping[str, str]) -> None:
        self.tool = tool
        self.environment = dict(environment)
        self._mutex = threading.Lock()
        self._broods: dict[int, Brood] = {}
        self._count = 0
        self._ready = threading.Event()
        self._dead = False
        script = Path(__file__).with_name("nursery_server.py")
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [str(interpreter(tool)), str(script), tool.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            cwd="/",
            start_new_session=True,
        )
        try:
            started(self._listen, "nursery")
        except NoMoreThreads:
            self._process.kill()
            self.close()
            raise

    def serves(self, tool: EndpointTool, environment: Mapping[str, str]) -> bool:
        """Whether it can start daemons of this tool in this environment; waits until it is ready."""
        if tool != self.tool or dict(environment) != self.environment:
            return False
        return self._ready.wait(READY_LIMIT) and not self._dead

    def start(self, argv: Sequence[str], path: str, output: int) -> Brood | None:
        """Run one start command, or return None when the nursery is gone and has not begun it.

        Args:
            argv: the command line, the program's path first.
            path: of a private file for its output.
            output: the same file, open.
        """
        brood = Brood(output)
        with self._mutex:
            self._count += 1
            number = self._count
            self._broods[number] = brood
            request = json.dumps({"n": number, "argv": list(argv), "output": path})
            try:
                if self._dead or self._process.stdin is None:
                    return None
                self._process.stdin.write(request.encode() + b"\n")
                self._process.stdin.flush()
            except OSError:  # it ended: the ordinary command serves
                del self._broods[number]
                return None
        begun = brood.begun(END_LIMIT)
        if begun is None:  # it hangs; once it is dead, what it has not begun it never will
            self._process.kill()
            begun = brood.begun(END_LIMIT)
        # In doubt it counts as begun: two daemons of one endpoint would be worse than none.
        return None if begun is False else brood

    def _listen(self) -> None:
        """Take the answers until it ends; what is under way then goes on, and counts as ended well.

        The end of the pipe comes only when every child has said that it is there and closed its side.
        """
        for line in self._process.stdout or ():
            message = json.loads(line)
            if "ready" in message:
                self._ready.set()
                continue
            with self._mutex:
                brood = self._broods.get(message["n"])
                if "code" in message:
                    self._broods.pop(message["n"], None)
            if brood is not None and "code" in message:
                brood.tell(message["code"])
            elif brood is not None:
                brood.begin()
        with self._mutex:
            self._dead = True
            left, self._broods = list(self._broods.values()), {}
        for brood in left:
            brood.tell(0)
        self._ready.set()

    def close(self) -> None:
        """End the process; the daemons stay."""
        with self._mutex:
            if self._process.stdin is not None:
                try:
                    self._process.stdin.close()
                except BrokenPipeError:
                    self._dead = True  # it ended before us
        try:
            self._process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def hatched(tool: EndpointTool, environment: Mapping[str, str]) -> Nursery | None:
    """Return a nursery, or None when the system gives it no process or no thread: the ordinary command serves, too."""
    try:
        return Nursery(tool, environment)
    except (OSError, NoMoreThreads) as e:
        log.info("daemons are started one by one, as their common process cannot be made: %s", e)
        return None


def interpreter(tool: EndpointTool) -> Path:
    """Return the Python that runs the tool."""
    return Path(tool.prefix) / "bin" / "python"
