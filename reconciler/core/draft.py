"""What is collected while a plan is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.core.actions import EndpointAction, Note, Refusal
from reconciler.core.known import Blocked
from reconciler.core.lock import LockedEndpoint
from reconciler.core.marker import Marker
from reconciler.core.running import Running


@dataclass
class Draft:
    """What the planner has found so far; `gone` are the names that the lock will drop."""

    actions: list[EndpointAction] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    markers: dict[str, Marker] = field(default_factory=dict)
    entries: dict[str, LockedEndpoint] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def add(self, other: Draft) -> None:
        """Add what was found about some endpoint on its own."""
        self.actions += other.actions
        self.refusals += other.refusals
        self.blocked += other.blocked
        self.notes += other.notes
        self.markers |= other.markers
        self.entries |= other.entries
        self.running += other.running
        self.gone |= other.gone
