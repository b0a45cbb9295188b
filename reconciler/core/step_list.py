"""What is collected while one endpoint is planned."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.core.actions import EndpointAction, Note, Refusal
from reconciler.core.known import Blocked
from reconciler.core.marker import Marker
from reconciler.core.preconditions import MarkedAs
from reconciler.core.running import Running


@dataclass
class Steps:
    """What is planned, said and refused for one endpoint."""

    actions: list[EndpointAction] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    running: list[Running] = field(default_factory=list)


def marked(marker: Marker) -> MarkedAs:
    """Return the precondition that the marker still names this stack, lineage, endpoint and UUID."""
    return MarkedAs(marker.stack, marker.lineage, marker.endpoint, marker.id)
