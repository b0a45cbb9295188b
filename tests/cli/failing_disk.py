"""A disk that fails: the N-th change below a directory, once or from then on, with a chosen errno.

What `os` offers for changes is replaced for the length of a block, in a process that does nothing else:
every write of ours goes through it, and what daemons and SQLite do does not.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from reconciler.adapters import machine
from reconciler.cli.main import run

TAKES_SPACE = frozenset({"open", "write", "mkdir", "link", "symlink", "fsync"})
OTHERS = frozenset({"rename", "replace", "unlink", "rmdir", "chmod", "fchmod", "ftruncate", "utime"})


@dataclass(frozen=True)
class Trouble:
    """What goes wrong: from the N-th change on (or then only), which calls, and with which errno.

    With `vanishes`, nothing fails, but this directory is gone just before the N-th change.
    """

    at: int
    code: int
    lasting: bool = False
    calls: frozenset[str] = TAKES_SPACE | OTHERS
    vanishes: Path | None = None


@dataclass
class FailingDisk:
    """Counts the changes below `base` and lets some fail."""

    base: str
    trouble: Trouble
    passed: int = 0
    hit: list[str] = field(default_factory=list)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def _meets(self, call: str, path: str) -> None:
        if not path.startswith(self.base) or call not in self.trouble.calls:
            return
        with self._mutex:
            self.passed += 1
            now = self.passed == self.trouble.at or (self.trouble.lasting and self.passed > self.trouble.at)
            if now:
                self.hit.append(f"{call} {path.removeprefix(self.base)}")
        if now and self.trouble.vanishes:
            shutil.move(self.trouble.vanishes, f"{self.base}/vanished")
        elif now:
            raise OSError(self.trouble.code, os.strerror(self.trouble.code), path)

    def _wrapped(self, call: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(target: Any, *rest: Any, **options: Any) -> Any:
            path = _path(target, options)
            harmless = call == "open" and not (rest and rest[0] & os.O_CREAT)
            harmless = harmless or (call == "mkdir" and os.path.lexists(path))  # EEXIST comes before all others
            try:
                if not harmless:
                    self._meets(call, path)
            except OSError:
                if call == "write":  # half of it still fitted
                    original(target, bytes(rest[0])[: len(rest[0]) // 2])
                raise
            return original(target, *rest, **options)

        return replacement

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Fail in this process for the length of the block."""
        with contextlib.ExitStack() as stack:
            for call in TAKES_SPACE | OTHERS:
                stack.enter_context(mock.patch.object(os, call, self._wrapped(call, getattr(os, call))))
            yield


def _path(target: Any, options: dict[str, Any]) -> str:
    """Return the absolute path that a call is about."""
    if isinstance(target, int):
        return _of_descriptor(target)
    folder = options.get("dir_fd", options.get("src_dir_fd"))
    here = Path(_of_descriptor(folder)) if folder is not None else Path.cwd()
    return str(here / os.fsdecode(target))


def _of_descriptor(descriptor: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return ""


@dataclass(frozen=True)
class Told:
    """What a command that ran on a failing disk came to."""

    code: int
    text: str
    passed: int
    hit: tuple[str, ...]


def command(arguments: tuple[str, ...], base: Path, trouble: Trouble | None = None) -> Told:
    """Run one command line in a process of its own, with `trouble` below `base`."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            pipe.write(json.dumps(_in_child(arguments, base, trouble)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = json.loads(pipe.read() or b"null")
    os.waitpid(pid, 0)
    assert told is not None, f"the process of {arguments} ended without a word"
    return Told(told["code"], told["text"], told["passed"], tuple(told["hit"]))


def _in_child(arguments: tuple[str, ...], base: Path, trouble: Trouble | None) -> dict[str, Any]:
    disk = FailingDisk(str(base), trouble or Trouble(0, 0))
    said = io.StringIO()
    sys.stdout = sys.stderr = said
    machine.facts.cache_clear()
    try:
        with disk.installed():
            code = run(list(arguments))
    except BaseException:  # noqa: BLE001 - told to the test
        code = -1
        said.write(traceback.format_exc())
    return {"code": code, "text": said.getvalue(), "passed": disk.passed, "hit": disk.hit}
