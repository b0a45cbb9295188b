"""How a batch system is asked: one of its commands is run, and its answer serves everybody who asks in that moment."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping

from reconciler.core.frozen import dataclass
from reconciler.core.live import BatchJob
from reconciler.errors import SchedulerError

log = logging.getLogger(__name__)

TIME_LIMIT = 15.0
_GOOD_FOR = 2.0
"""Seconds for which an answer serves everybody who asks: many endpoints may be looked at in the same moment."""


@dataclass(frozen=True)
class Commands:
    """The commands of one batch system.

    Args:
        system: what it is called, for the user.
        example: what the user may try by hand.
        timeout: seconds after which a command that gives no answer is given up.
        unset: how the names of variables begin that stand for options of the commands, and would change the answer.
    """

    system: str
    example: str
    timeout: float = TIME_LIMIT
    unset: tuple[str, ...] = ()

    def ask(self, command: tuple[str, ...], environ: Mapping[str, str]) -> str:
        """Return what a command prints.

        Raises:
            SchedulerError: it is not there, failed, or took too long.
        """
        name = command[0]
        program = shutil.which(name, path=environ.get("PATH"))
        if program is None:
            raise self.failed(name, f"there is no {name} on PATH")
        log.info("run `%s`", shlex.join(command))
        try:
            done = subprocess.run(
                [program, *command[1:]],
                env={name: value for name, value in environ.items() if not name.startswith(self.unset)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as e:
            raise self.failed(name, f"{name} gave no answer within {self.timeout:.0f} s") from e
        except OSError as e:
            raise self.failed(name, f"{name} cannot be run: {e.strerror or e}") from e
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            why = f": {said[-1][:200]}" if said else f" with code {done.returncode}"
            raise self.failed(name, f"{name} failed{why}")
        return done.stdout

    def failed(self, name: str, why: str) -> SchedulerError:
        """Return the error that says why the batch system could not be asked."""
        return SchedulerError(
            f"{self.system} could not be asked",
            where=name,
            why=why,
            remedy=f"see that `{self.example}` answers in the shell from which this is run",
        )


class Queue:
    """The jobs of one batch system, asked for once for all who ask in the same moment.

    Args:
        look: asks for the jobs, in an environment.
    """

    def __init__(self, look: Callable[[Mapping[str, str]], tuple[BatchJob, ...]]) -> None:
        self._look = look
        self._mutex = threading.Lock()
        self._last: dict[frozenset[tuple[str, str]], tuple[float, tuple[BatchJob, ...]]] = {}

    def jobs(self, environment: Mapping[str, str]) -> tuple[BatchJob, ...]:
        """Return this user's jobs, asked for with `environment` over this process's."""
        key = frozenset(environment.items())
        with self._mutex:  # the first who asks waits for the answer, the others for him
            at, jobs = self._last.get(key, (0.0, ()))
            if key not in self._last or time.monotonic() - at > _GOOD_FOR:
                jobs = self._look({**os.environ, **environment})
                self._last[key] = (time.monotonic(), jobs)
        return jobs
