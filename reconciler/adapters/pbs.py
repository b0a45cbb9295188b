"""Questions to PBS: `qselect` for the jobs of this user, `qstat` for their paths.

OpenPBS prints what jobs were submitted with as JSON of its own making: values that look like numbers stand without
quotes (`005`), shell functions in a job's environment without escapes, and some versions leave jobs out. So only this
user's jobs are asked about, all of them must be in the answer, and what cannot be read is an error, never no job.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping

from reconciler.adapters import machine
from reconciler.adapters.batch_commands import TIME_LIMIT, Commands, Queue
from reconciler.core.live import BatchJob

_ENDED = frozenset({"F", "X"})
"""States of jobs, and of the parts of array jobs, that have ended; only the history knows them."""


class Pbs:
    """What is asked of PBS, over its own commands.

    Args:
        timeout: seconds after which a command that gives no answer is given up.
    """

    def __init__(self, *, timeout: float = TIME_LIMIT) -> None:
        self._commands = Commands("PBS", "qselect", timeout)
        self._queue = Queue(self._jobs)

    def jobs(self, environment: Mapping[str, str]) -> tuple[BatchJob, ...]:
        """Return this user's jobs.

        Raises:
            SchedulerError: `qselect` or `qstat` gave no answer, or one that cannot be read.
        """
        return self._queue.jobs(environment)

    def _jobs(self, environ: Mapping[str, str]) -> tuple[BatchJob, ...]:
        # As root, user endpoints are other users'.
        whose = () if os.getuid() == 0 else ("-u", machine.facts().user)
        ids = self._commands.ask(("qselect", *whose), environ).split()
        if strange := [word for word in ids if not word[:1].isdigit()]:
            why = f"qselect answered with something else than jobs: {strange[0][:100]!r}"
            raise self._commands.failed("qselect", why)
        if not ids:
            return ()
        # With the history (-x), a job that ends between the two questions is no error.
        found = self._read(self._commands.ask(("qstat", "-x", "-f", "-F", "json", *ids), environ))
        missing = {_number(word) for word in ids} - {_number(word) for word in found}
        if missing:
            raise self._commands.failed("qstat", f"qstat left out jobs: {', '.join(sorted(missing))}")
        return tuple(BatchJob(word, paths) for word, (state, paths) in found.items() if state not in _ENDED)

    def _read(self, text: str) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """Return state and paths of each job in the answer of `qstat`, by its ID."""
        try:
            # Not strict: a shell function in a job's environment has line breaks.
            answer = json.loads(text, strict=False)
        except (ValueError, RecursionError) as e:
            why = f"what qstat answers is no valid JSON ({e}): PBS does not escape all"
            raise self._commands.failed("qstat", why) from e
        jobs = answer.get("Jobs", {}) if isinstance(answer, dict) else None
        if not isinstance(jobs, dict):
            raise self._commands.failed("qstat", f"qstat answered with something else than jobs: {text[:100]!r}")
        found: dict[str, tuple[str, tuple[str, ...]]] = {}
        for word, job in jobs.items():
            fields = job if isinstance(job, dict) else {}
            state, paths = fields.get("job_state"), tuple(_texts(fields, "Submit_arguments", "Output_Path"))
            if not isinstance(state, str) or not paths:
                raise self._commands.failed("qstat", f"qstat does not say where job {word} comes from")
            variables = fields.get("Variable_List")
            workdir = tuple(_texts(variables, "PBS_O_WORKDIR")) if isinstance(variables, dict) else ()
            found[word] = (state, (*paths, *_texts(fields, "Error_Path"), *workdir))
        return found


def _texts(fields: Mapping[str, object], *names: str) -> Iterator[str]:
    """Yield those of the fields that are texts; what looks like a number is none, although it may be a name."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value:
            yield value


def _number(word: str) -> str:
    """Return a job's number: `qstat` cuts long IDs off, after the number."""
    return word.partition(".")[0]
