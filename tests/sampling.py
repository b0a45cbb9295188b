"""How much of a sweep is run: all of it, or (`make matrix`, `make lowest`) every so-many-th step.

What a sweep shows, that no write and no request may fail without being told, does not depend on the version of
Python or of a dependency; that the code runs there at all does. A sweep over every step for each of many kinds of
trouble, or of many scenarios that share most of their steps, takes every third step of each, as those are alike more
often than steps are; CHILTEPIN_TEST_WHOLE=1 takes all steps of each, as a change of what writes files or talks to the
service should before it lands: scenarios differ in some steps, and those may be left out without it.
"""

from __future__ import annotations

import os

STEP = int(os.environ.get("CHILTEPIN_TEST_STEP", "1"))
STEP_OF_KINDS = STEP if os.environ.get("CHILTEPIN_TEST_WHOLE") == "1" else 3 * STEP


def sampled(last: int, step: int, sweep: int) -> range:
    """Return every `step`-th of the steps 1 to `last`, at least one; `step` sweeps in a row, by number, take all."""
    return range(1 + sweep % min(step, last), last + 1, step)
