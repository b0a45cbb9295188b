"""What a run is limited to."""

from __future__ import annotations

from typing import Literal

from reconciler.core.frozen import dataclass

ErrandKind = Literal["restart", "adopt", "forget", "unprotect", "undelete", "purge"]


@dataclass(frozen=True)
class Errand:
    """One thing that was asked for by name, and nothing else.

    Attributes:
        names: the endpoints; for `adopt` none means all that have a directory here, for `purge` all in the trash.
        interrupt: of `restart`: do not wait until no user endpoint is alive.
        drain: of `restart`: for how many seconds to wait until then.
        id: of `adopt`: the UUID that is right, or the registration to take.
        take_over: of `adopt`: move the claim of another place, or the marker of another lock, to here.
        entry: of `undelete` and `purge`: the entry of the trash that is meant.
    """

    kind: ErrandKind
    names: tuple[str, ...] = ()
    interrupt: bool = False
    id: str | None = None
    take_over: bool = False
    entry: str | None = None
    drain: float = 0.0

    @property
    def has_pools(self) -> bool:
        """Whether the pools are brought up to date too: only a new UUID is a reason."""
        return self.kind == "adopt"

    @property
    def settles(self) -> bool:
        """Whether what earlier runs left open is settled by it; what is only recorded settles nothing."""
        return self.kind in ("restart", "forget", "purge")


@dataclass(frozen=True)
class Scope:
    """What a run is limited to.

    Attributes:
        targets: only these endpoints, when given.
        exclude: all but these endpoints.
        destroy: stop and delete everything that the stack owns here.
        purge: with `destroy`, deregister as well and empty the stack's trash.
        reregister: endpoints whose registration is gone and which may get a new UUID.
        take_over: move the claims of other places, and the markers of other locks, to here.
        errand: just this is done.
        retry: daemons that keep dying are started once more, and their deaths forgotten.
    """

    targets: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    destroy: bool = False
    purge: bool = False
    reregister: frozenset[str] = frozenset()
    take_over: bool = False
    errand: Errand | None = None
    retry: bool = False

    def covers(self, name: str) -> bool:
        """Whether the run may touch this endpoint."""
        return (not self.targets or name in self.targets) and name not in self.exclude
