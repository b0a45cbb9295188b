"""What a run is limited to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scope:
    """What a run is limited to.

    Attributes:
        targets: only these endpoints, when given.
        exclude: all but these endpoints.
        destroy: stop and delete everything that the stack owns here.
        purge: with `destroy`, deregister as well and empty the stack's trash.
    """

    targets: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    destroy: bool = False
    purge: bool = False

    def covers(self, name: str) -> bool:
        """Whether the run may touch this endpoint."""
        return (not self.targets or name in self.targets) and name not in self.exclude
