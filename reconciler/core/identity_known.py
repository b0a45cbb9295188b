"""Claims that were made while nobody could say whose login it was: they gain their identity. Pure."""

from __future__ import annotations

from reconciler.core.live import LiveDirectory, LiveState, Unknown
from reconciler.core.marker import Claim, Marker


def with_identity(marker: Marker, directory: LiveDirectory, ours: Claim, live: LiveState) -> Marker:
    """Return the marker with our identity in a claim that has none, if that owns its registration; else as it is.

    A claim without an identity would fit every login, for ever. What was never registered is nobody's yet.
    """
    theirs = marker.claim
    if theirs.identity is not None or ours.identity is None or theirs.service != ours.service:
        return marker
    ids = {value for value in (marker.id, directory.endpoint_id) if isinstance(value, str)}
    if isinstance(live.registrations, Unknown) or not ids <= live.registrations.keys():
        return marker
    return marker.but(claim=theirs.model_copy(update={"identity": ours.identity}))
