"""Lock and pools file, kept up to date while a plan is carried out."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from reconciler.core.actions import EndpointAction, Purge, Rename, WriteLock
from reconciler.core.changes import Cause
from reconciler.core.lock import Lock, emit_lock, final_lock, known_ids, read_lock
from reconciler.core.plan import Plan
from reconciler.core.pool_sharing import with_pools
from reconciler.core.pools import pools_file
from reconciler.core.progress import lock_after
from reconciler.errors import Refused
from reconciler.ports import Store


class Records:
    """Writes lock and pools file after each outcome that changes them, and not otherwise.

    Several threads report outcomes; one writes at a time, always the newest state, so that a thread
    which waited finds its change already written. Another host may apply at the same time from the same project
    directory, under the lease of its own config directory: what the plan does not speak of is taken from the disk
    before each write.
    """

    def __init__(self, plan: Plan, store: Store) -> None:
        self._plan = plan
        self._store = store
        renamed = {a.old for a in plan.actions if isinstance(a, Rename)}
        self._to_be_renamed = {a.endpoint for a in plan.actions if isinstance(a, Rename) and a.old != a.endpoint}
        self._ours = {*plan.entries, *(a.endpoint for a in plan.actions), *renamed}
        self._merged: str | None = None
        self._settled = False
        self._state = threading.Lock()
        self._writing = threading.Lock()
        self._lock = plan.lock or Lock(stack=plan.desired.stack, lineage="")
        self._lock_text = store.read_lock()
        self._pools_text = store.read_pools()
        self.left_out: Mapping[str, str] = {}

    @property
    def lock(self) -> Lock:
        """The lock as it stands."""
        with self._state:
            return self._lock

    def begin(self) -> None:
        """Write a first lock where there is none: its lineage must be on disk before any marker names it."""
        first = (Cause.NEW, Cause.LOST_LOCK)
        if self._plan.actions and any(isinstance(f, WriteLock) and f.cause in first for f in self._plan.files):
            self._write_lock()

    def done(self, action: EndpointAction, endpoint_id: str | None) -> None:
        """Record that an action was done; `endpoint_id` when it learnt the UUID."""
        with self._state:
            if isinstance(action, Rename):
                self._to_be_renamed.discard(action.endpoint)
            if action.endpoint in self._to_be_renamed:
                return  # until then it has its old name: both in the lock would be two endpoints of one UUID
            entry = self._plan.entries.get(action.endpoint)
            changed = lock_after(self._lock, action, entry, endpoint_id)
            if changed == self._lock:
                return
            self._lock = changed
        self._write_lock()
        self._write_pools()

    def finish(self) -> None:
        """Settle what needed no action: endpoints as they are, and the pools."""
        # What is dropped from the trash says nothing of an endpoint of the same name.
        busy = {a.endpoint for a in self._plan.actions if not (isinstance(a, Purge) and a.trash_entry)}
        settled = {name: entry for name, entry in self._plan.entries.items() if name not in busy}
        with self._state:
            self._lock = final_lock(self._lock, settled, frozenset())
            self._settled = True
        if self._plan.is_empty:
            return
        self._write_lock()
        self._write_pools()

    def _write_lock(self) -> None:
        self._store.check_lease()  # whoever took it over meanwhile has written a newer one
        with self._writing:
            self._take_others()
            if self._settled:  # the pools come last, over those that other hosts have by now
                with self._state:
                    plan = self._plan
                    self._lock = with_pools(self._lock, plan.desired, plan.errand, is_destroy=plan.is_destroy)
            text = emit_lock(self.lock)
            if text != self._lock_text:
                self._store.write_lock(text)
                self._lock_text = self._merged = text

    def _take_others(self) -> None:
        """Take over what another host has written meanwhile.

        Raises:
            StateFileError: the lockfile was damaged meanwhile.
            Refused: another apply has made the first one.
        """
        text = self._store.read_lock()
        if text is None or text == self._merged:
            return
        found = read_lock(text, "the lockfile")
        with self._state:
            if (found.stack, found.lineage) != (self._lock.stack, self._lock.lineage):
                raise Refused(
                    "another run has made the lockfile meanwhile",
                    why=f"it is of stack `{found.stack}` and lineage {found.lineage}",
                    remedy="run it again",
                )
            theirs = {name: entry for name, entry in found.endpoints.items() if name not in self._ours}
            ours = {name: entry for name, entry in self._lock.endpoints.items() if name in self._ours}
            self._lock = self._lock.model_copy(update={"endpoints": {**theirs, **ours}, "pools": found.pools})
        self._lock_text = self._merged = text

    def _write_pools(self) -> None:
        if self._plan.holds_pools:
            return
        with self._writing:
            pools = pools_file(self._plan.file_pools, known_ids(self.lock, self._plan.desired))
            self.left_out = {} if self._plan.is_destroy else pools.left_out
            if pools.text != self._pools_text:
                self._store.write_pools(pools.text)
                self._pools_text = pools.text
