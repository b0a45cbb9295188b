"""What a run knows besides the live state, and the answers to whose an endpoint is: values. Pure."""

from __future__ import annotations

from dataclasses import field

from reconciler.core.actions import Refusal
from reconciler.core.changes import Cause
from reconciler.core.frozen import dataclass
from reconciler.core.live import LiveDirectory
from reconciler.core.lock import Lock, LockedEndpoint
from reconciler.core.marker import Claim, Marker

REFUSED, WRONG_IDENTITY = 4, 77


@dataclass(frozen=True)
class Site:
    """Where and as whom this run acts; everything of a claim but the directory.

    `config_dir` is written with `~` when it lies in the user's home; `host` is the manifest's name of the
    host, None without a `hosts` section.
    """

    service: str
    identity: str | None
    user: str
    host: str | None
    config_dir: str

    def claim(self, directory: str) -> Claim:
        """Return the claim on one directory."""
        return Claim(
            service=self.service,
            identity=self.identity,
            user=self.user,
            host=self.host,
            config_dir=self.config_dir,
            directory=directory,
        )


@dataclass(frozen=True)
class Ground:
    """The endpoint is ours.

    Attributes:
        id: its UUID; None when it was never registered.
        directory: what is there, or None when the directory must be created.
        marker: the marker as it is, or as it must be written when `repair` says why.
        cause: why a missing directory is created.
    """

    id: str | None
    directory: LiveDirectory | None
    marker: Marker
    repair: Cause | None = None
    cause: Cause = Cause.NEW


@dataclass(frozen=True)
class Blocked:
    """It cannot be decided without the service, which could not be reached."""

    endpoint: str
    reason: str


@dataclass(frozen=True)
class Known:
    """What this run knows besides the live state.

    Attributes:
        lock: the lockfile, or None when there is none.
        lineage: the lock's, else the markers', else a fresh one.
        new: endpoints that may be registered although unclaimed registrations of their name exist.
    """

    site: Site
    stack: str
    lineage: str
    lock: Lock | None
    new: frozenset[str] = field(default_factory=frozenset)

    def entry(self, name: str) -> LockedEndpoint | None:
        """Return the lock's entry of an endpoint."""
        return self.lock.endpoints.get(name) if self.lock else None


@dataclass(frozen=True)
class Foreign(Refusal):
    """Another place claims the endpoint, or another lockfile: with consent it is moved here (`--take-over`)."""


@dataclass(frozen=True)
class Gone(Refusal):
    """The registration `id` is not among those of this identity."""

    id: str = ""
