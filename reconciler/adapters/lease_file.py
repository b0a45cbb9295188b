"""A lease as it lies on the disk: who holds it, since when, whether it may be taken over, and what is said of it."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.adapters import files, machine
from reconciler.adapters.files import Directory
from reconciler.adapters.process import lives, start_time
from reconciler.core.frozen import dataclass
from reconciler.errors import LeaseHeld

LEASE = "lease.json"
RENEW_EVERY = 10.0
"""Seconds between two renewals."""

EXPIRES_AFTER = 300.0
"""Seconds without a renewal after which anybody may take the lease over."""

_TOKEN = re.compile(r"[0-9a-f]{32}")
_LONGEST = 300
_LAST_MOMENT = 253_402_300_799.0  # of the year 9999


@dataclass(frozen=True)
class Holder:
    """Who holds the lease: `token` is unique to one acquisition, `since` in seconds since the epoch."""

    token: str
    host: str
    boot_id: str
    namespace: str
    pid: int
    start_time: int
    user: str
    run: str
    since: float

    def provably_dead(self) -> bool:
        """Say whether its process ran in this boot and PID namespace, visible to this user, and is gone."""
        facts = machine.facts()
        here = (facts.name, facts.boot_id, machine.pid_namespace(), facts.user)
        if (self.host, self.boot_id, self.namespace, self.user) != here or self.start_time == 0:
            return False
        return not lives(self.pid, self.start_time)


@dataclass(frozen=True)
class Seen:
    """A lease (or a claim on one) as it was found; `holder` is None when it cannot be read, `size` is in bytes."""

    token: str
    holder: Holder | None
    modified: float
    inode: int
    size: int


def ourselves(run: str, now: float) -> Holder:
    """Return this process as a holder, with a token of its own; `now` in seconds since the epoch."""
    facts = machine.facts()
    return Holder(
        token=os.urandom(16).hex(),
        host=facts.name,
        boot_id=facts.boot_id,
        namespace=machine.pid_namespace(),
        pid=os.getpid(),
        start_time=start_time(os.getpid()) or 0,
        user=facts.user,
        run=run,
        since=now,
    )


@contextmanager
def opened(directory: Directory, name: str) -> Iterator[int | None]:
    """Open a lease or claim, None when there is none; a pipe in its place holds nobody up.

    Raises:
        OSError: it cannot be opened, or is not a regular file (EINVAL).
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
    except FileNotFoundError:
        yield None
        return
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", directory.at(name))
        yield fd
    finally:
        os.close(fd)


def look(directory: Directory, name: str) -> Seen | None:
    """Read a lease or claim; None when there is none."""
    with opened(directory, name) as fd:
        if fd is None:
            return None
        info = os.fstat(fd)
        content = files.read_fd(fd, 1 << 20) or b""
    holder = _holder(content)
    token = holder.token if holder else f"unreadable-{info.st_ino}-{info.st_mtime_ns}"
    return Seen(token, holder, info.st_mtime, info.st_ino, info.st_size)


def _holder(content: bytes) -> Holder | None:
    """Return who a lease names; None when it is damaged, or of another version: it expires by its age."""
    try:
        holder = Holder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None
    words = (holder.token, holder.host, holder.boot_id, holder.namespace, holder.user, holder.run)
    numbers = (holder.pid, holder.start_time)
    sound = (
        all(
            isinstance(word, str) and len(word) <= _LONGEST and not re.search("[\0\ud800-\udfff]", word)
            for word in words
        )
        and _TOKEN.fullmatch(holder.token) is not None  # it becomes part of a file's name
        and all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)
        and type(holder.since) in (int, float)
        and math.isfinite(holder.since)
        and 0 <= holder.since <= _LAST_MOMENT
    )
    return holder if sound else None


def is_stale(seen: Seen, now: float) -> bool:
    """Say whether it may be taken over; `now` is the file server's time."""
    return now - seen.modified > EXPIRES_AFTER or (seen.holder is not None and seen.holder.provably_dead())


def is_ahead(seen: Seen, now: float) -> bool:
    """Say whether its time lies in the future, by more than a renewal of this moment explains."""
    return seen.modified - now > RENEW_EVERY


def refusal(directory: Directory, held: Seen | None, now: float) -> LeaseHeld:
    """Return what is said to whoever may not have it; `now` is the file server's time."""
    path = directory.at(LEASE)
    if held is None:  # it came and went while it was looked at
        remedy = "run the command again when it has finished"
        return LeaseHeld("another apply holds this config directory", where=path, remedy=remedy)
    by_hand = f"if no chiltepin is at work on any node, remove it: `rm {shlex.quote(path)}`"
    left = max(0.0, EXPIRES_AFTER - max(0.0, now - held.modified))
    touched = f"{max(0.0, now - held.modified):.0f} s ago"
    if is_ahead(held, now):
        touched = (
            f"{held.modified - now:.0f} s in the future by the file server's clock, which was set back, or the file"
            " comes from a backup; it counts as renewed now"
        )
    if held.holder is None:
        what = "it is empty" if held.size == 0 else f"its {held.size} bytes are not a lease that this version can read"
        return LeaseHeld(
            "another apply may hold this config directory: the lease is damaged",
            where=path,
            why=f"{what}, so nobody can tell who holds it; it was touched {touched}",
            remedy=f"{by_hand}; else run this again: unless somebody renews it, it is taken over in {left:.0f} s",
        )
    holder = held.holder
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(holder.since))
    remedy = "run the command again when it has finished; a lease that is not renewed for 5 minutes is taken over"
    return LeaseHeld(
        f"another apply holds this config directory: process {holder.pid} of {holder.user} on {holder.host}",
        where=path,
        why=f"since {since} (run {holder.run}), last renewed {touched}",
        remedy=f"{remedy}; {by_hand}" if is_ahead(held, now) else remedy,
    )
