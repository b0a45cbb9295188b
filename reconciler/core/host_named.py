"""A manifest that gets a `hosts` section: claims without a host gain one, where it is certainly this one. Pure."""

from __future__ import annotations

from reconciler.core.boot import is_of_this_boot
from reconciler.core.daemon import id_in_title
from reconciler.core.live import LiveDirectory, LiveState
from reconciler.core.marker import Claim, Marker


def lacks_only_a_host(theirs: Claim, ours: Claim) -> bool:
    """Whether a claim from before there were hosts is ours in everything else."""
    return theirs.host is None and ours.host is not None and theirs.model_copy(update={"host": ours.host}) == ours


def with_host(marker: Marker, directory: LiveDirectory, ours: Claim, live: LiveState) -> Marker:
    """Return the marker with our claim where it lacks but the host, and is certainly of this one; else as it is."""
    certain = lacks_only_a_host(marker.claim, ours) and is_of_this_host(directory, marker, live)
    return marker.but(claim=ours) if certain else marker


def is_of_this_host(directory: LiveDirectory, marker: Marker, live: LiveState) -> bool:
    """Whether something shows that a directory is not the copy of one on another cluster.

    Its daemon runs here, or ran here last since this machine was booted; or it was never registered, so that
    no daemon of it can be anywhere. All else (names of nodes, paths) may be the same on two clusters.
    """
    if marker.id is None and directory.endpoint_id is None:
        return True
    if marker.id is not None and id_in_title(directory) == marker.id:
        return True
    record = marker.daemon
    return record is not None and is_of_this_boot(record, live.host)
