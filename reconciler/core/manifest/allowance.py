"""What trying users' templates and schemas may cost, over all pools of a manifest."""

from __future__ import annotations

from dataclasses import dataclass

RENDERING = 1_000_000
"""What one rendering of a template may cost; a real one costs some thousands."""

RENDERINGS = 20 * RENDERING
"""What all renderings of one manifest may cost."""

CHECK = 50_000
"""Keywords of a schema that are applied to one pool; of a real one some hundreds are."""

CHECKS = 20 * CHECK
"""The same for all pools of one manifest."""


@dataclass
class Allowance:
    """What is left for one kind of trial; it does for thousands of pools with ordinary files.

    What comes after it is used up is not judged: it shows when the first task runs, as without a check.
    """

    left: int

    def spend(self, cost: int) -> bool:
        """Take a trial's cost off; say whether anything is left."""
        self.left -= cost
        return self.left > 0
