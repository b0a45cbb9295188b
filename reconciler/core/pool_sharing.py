"""Whose a pool is, of several hosts that share one lock and perhaps one pools file. Pure.

A pool of an endpoint belongs to the endpoint's host. A local pool, and one whose endpoint is a plain UUID, belong to
every host: each has its own defaults and variables for them, so the lock has them once for each host, below `hosts`.
What belongs to another host is as that host's apply left it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.core.desired import Desired, DesiredPool
from reconciler.core.frozen import dataclass
from reconciler.core.lock import POOL_HOSTS, Lock
from reconciler.core.manifest.pool_options import resolve
from reconciler.core.pools import read_pools
from reconciler.core.scope import Errand

Options = Mapping[str, Any]


@dataclass(frozen=True)
class FilePools:
    """The pools as this host's pools file is to have them.

    Attributes:
        held: by pool, the host whose options the file has and keeps.
    """

    pools: Mapping[str, DesiredPool]
    held: Mapping[str, str]


def locked_pools(desired: Desired, before: Lock | None = None) -> dict[str, dict[str, Any]]:
    """Return the lock's `pools` section after an apply of this host: every option resolved.

    Args:
        before: the lock over which it is written.
    """
    known: Mapping[str, Options] = before.pools if before else {}
    section: dict[str, dict[str, Any]] = {}
    for name in (*desired.pools, *(name for name in known if name not in desired.pools)):
        theirs = _theirs(known[name], desired, before) if before and name in known else None
        pool = desired.pools.get(name)
        if pool is None or pool.endpoint in desired.elsewhere:
            entry = theirs
        elif _is_everybodys(pool, desired):
            others = theirs.get(POOL_HOSTS, {}) if theirs else {}
            entry = {POOL_HOSTS: {**others, str(desired.host.name): _resolved(pool)}}
        else:
            entry = _resolved(pool)
        if entry is not None:
            section[name] = entry
    return section


def with_pools(lock: Lock, desired: Desired, errand: Errand | None, *, is_destroy: bool) -> Lock:
    """Return a lock whose endpoints are as they are when everything is done, with its pools as they are then."""
    if errand and not errand.has_pools:
        return lock
    if is_destroy:
        if lock.endpoints:  # what a destroy leaves behind keeps its pools
            return lock
        desired = replace(desired, pools={})
    return lock.model_copy(update={"pools": locked_pools(desired, lock)})


def seen_from(host: str | None, section: Mapping[str, Options]) -> dict[str, Options]:
    """Return a lock's `pools` section as it concerns one host."""
    seen = {name: entry[POOL_HOSTS].get(host) if POOL_HOSTS in entry else entry for name, entry in section.items()}
    return {name: entry for name, entry in seen.items() if entry is not None}


def file_pools(desired: Desired, lock: Lock | None, text: str | None) -> FilePools:
    """Return the pools as the pools file is to have them.

    Where several hosts share the file, too, an option that comes from another host's environment is as that host
    had it; and a pool that stands there as another host wants it stays so: else each apply would undo the other's.

    Args:
        lock: the lock before the run.
        text: the pools file as it is, None when there is none.
    """
    known = lock.pools if lock else {}
    there = read_pools(text) if text is not None and len(desired.hosts) > 1 else {}
    pools: dict[str, DesiredPool] = {}
    held: dict[str, str] = {}
    for name, pool in desired.pools.items():
        given = pool.given
        if pool.endpoint in desired.elsewhere and name in known and POOL_HOSTS not in known[name]:
            theirs = {key: known[name][key] for key in pool.outside if key in known[name]}
            given = {key: value for key, value in {**given, **theirs}.items() if value is not None}
        elif _is_everybodys(pool, desired) and (owner := _owner(pool, there.get(name), known.get(name, {}), desired)):
            held[name] = owner
            given = {key: value for key, value in there[name].items() if key != "endpoint"}
        pools[name] = pool if given is pool.given else replace(pool, given=given)
    return FilePools(pools, held)


def _owner(pool: DesiredPool, there: Options | None, known: Options, desired: Desired) -> str | None:
    """Return the other host whose apply has written a pool into the pools file, None when it was none."""
    if there is None:
        return None
    given = {key: value for key, value in there.items() if key != "endpoint"}
    found = {**_place(there.get("endpoint")), **resolve(given, remote="endpoint" in there)}
    records: Mapping[str, Options] = known.get(POOL_HOSTS, {})
    if found in (_resolved(pool), records.get(str(desired.host.name))):
        return None
    return next((host for host, record in records.items() if record == found and host in desired.hosts), None)


def _theirs(entry: Options, desired: Desired, before: Lock) -> dict[str, Any] | None:
    """Return the part of a pool's entry in the lock that other hosts of the manifest wrote, None when there is none."""
    others = {host for host in desired.hosts if host != desired.host.name}
    if POOL_HOSTS in entry:
        records = {host: record for host, record in entry[POOL_HOSTS].items() if host in others}
        return {POOL_HOSTS: records} if records else None
    endpoint = entry.get("endpoint")
    locked = before.endpoints.get(str(endpoint))
    host = desired.elsewhere.get(str(endpoint)) or (locked.claim.host if locked else None)
    return dict(entry) if host in others and endpoint not in desired.endpoints else None


def _is_everybodys(pool: DesiredPool, desired: Desired) -> bool:
    return len(desired.hosts) > 1 and pool.endpoint not in desired.endpoints and pool.endpoint not in desired.elsewhere


def _resolved(pool: DesiredPool) -> dict[str, Any]:
    return {**_place(pool.endpoint), **pool.options}


def _place(endpoint: str | None) -> dict[str, Any]:
    return {"endpoint": endpoint} if endpoint is not None else {}
