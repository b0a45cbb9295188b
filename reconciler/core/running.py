"""Daemons that run as declared and are left alone: that the service sees them is still to be observed."""

from __future__ import annotations

from reconciler.core.frozen import dataclass
from reconciler.core.live import Process


@dataclass(frozen=True)
class Running:
    """A daemon that runs under a UUID: here, or (without a process) on another node of this home directory.

    An ordinary plan asks the service for its list only, not for each endpoint's status. An apply asks, so that
    its exit code 0 means that everything was seen in its declared state.
    """

    endpoint: str
    directory: str
    id: str
    process: Process | None


@dataclass(frozen=True)
class Unconfirmed:
    """A daemon that runs, and that the service does not see, or could not be asked about.

    Attributes:
        reason: what was found instead.
        remedy: what the user can do about it.
        exit_code: what it means for the whole apply.
    """

    endpoint: str
    reason: str
    remedy: str | None
    exit_code: int
