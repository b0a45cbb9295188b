"""The apply lease: one worker per config directory, also across login nodes that share it.

The lease is a file that `link` creates, which is atomic on NFS, too. Its holder renews it by touching
it: a touch reaches only the inode that was verified, so that a holder that slept cannot overwrite a
successor's lease. Ages are differences of two times of the file server, never of two machines' clocks.

A lease is taken over when it was not renewed for five minutes, or at once when its process is provably
dead (same boot of the same host, same PID namespace). Of several that want to take it over, one wins:
each links a claim named after the token of the lease that it replaces, and a name exists only once. A
claim whose owner died is taken over in the same way.

A lease whose time lies in the future (the file server's clock was set back, a backup was restored) would be
young for ever: it is touched, so that it counts from the moment when somebody saw it. That takes nothing from
a holder who lives, who touches it anyway.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shlex
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from reconciler.adapters import faults, files, machine
from reconciler.adapters.files import Directory
from reconciler.adapters.process import lives, start_time
from reconciler.core.frozen import dataclass
from reconciler.errors import LeaseHeld

LEASE = "lease.json"
RENEW_EVERY = 10.0
"""Seconds between two renewals."""

EXPIRES_AFTER = 300.0
"""Seconds without a renewal after which anybody may take the lease over."""

_CLAIM = "lease.taken."
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
class _Seen:
    """A lease (or a claim on one) as it was found; `holder` is None when it cannot be read, `size` is in bytes."""

    token: str
    holder: Holder | None
    modified: float
    inode: int
    size: int


def _ourselves(run: str, now: float) -> Holder:
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
def _opened(directory: Directory, name: str) -> Iterator[int | None]:
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


def _look(directory: Directory, name: str) -> _Seen | None:
    """Read a lease or claim; None when there is none."""
    with _opened(directory, name) as fd:
        if fd is None:
            return None
        info = os.fstat(fd)
        content = files.read_fd(fd, 1 << 20) or b""
    holder = _holder(content)
    token = holder.token if holder else f"unreadable-{info.st_ino}-{info.st_mtime_ns}"
    return _Seen(token, holder, info.st_mtime, info.st_ino, info.st_size)


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


def _stale(seen: _Seen, now: float) -> bool:
    """Say whether it may be taken over; `now` is the file server's time."""
    return now - seen.modified > EXPIRES_AFTER or (seen.holder is not None and seen.holder.provably_dead())


def _ahead(seen: _Seen, now: float) -> bool:
    """Say whether its time lies in the future, by more than a renewal of this moment explains."""
    return seen.modified - now > RENEW_EVERY


def _refuse_unless_stale(directory: Directory, name: str, seen: _Seen | None, now: float) -> None:
    """Raise LeaseHeld for a lease or claim that may not be taken over."""
    if seen is not None and _stale(seen, now):
        return
    if seen is not None and _ahead(seen, now):
        with _opened(directory, name) as fd:
            if fd is not None and os.fstat(fd).st_ino == seen.inode:
                os.utime(fd)  # from now on it ages
    raise _refusal(directory, seen, now)


def _link(directory: Directory, source: str, target: str) -> bool:
    """Give `source` the second name `target`; False when that name is taken."""
    try:
        os.link(source, target, src_dir_fd=directory.fd, dst_dir_fd=directory.fd, follow_symlinks=False)
    except FileExistsError:
        # Over NFS a repeated request can fail although the first one succeeded: the link count tells.
        return os.stat(source, dir_fd=directory.fd).st_nlink == 2 and _same_file(directory, source, target)
    return True


def _same_file(directory: Directory, one: str, other: str) -> bool:
    try:
        first = os.stat(one, dir_fd=directory.fd)
        second = os.stat(other, dir_fd=directory.fd)
    except FileNotFoundError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def acquire(directory: Directory, run: str, now: float) -> Holder:
    """Take the lease.

    Args:
        directory: the open `.chiltepin` directory.
        run: the apply's random ID.
        now: seconds since the epoch, for people to read.

    Raises:
        LeaseHeld: somebody else has it.
        OSError: the directory cannot be written.
    """
    ours = _ourselves(run, now)
    temporary = f"{files.TEMPORARY}{ours.token}"
    files.write_new(directory, temporary, json.dumps(asdict(ours)).encode())
    try:
        if not _link(directory, temporary, LEASE):
            _take_over(directory, temporary)
        os.fsync(directory.fd)
    except LeaseHeld:
        raise
    except BaseException:  # Ctrl-C, or a server that went away in between: nobody is going to work under it
        with suppress(OSError):  # what cannot be removed either is a dead process's lease in a moment
            release(directory, ours)
        raise
    finally:
        files.discard(directory, temporary)
    faults.reached("lease.acquired")
    return ours


def _take_over(directory: Directory, temporary: str) -> None:
    """Replace a stale lease by `temporary`, or raise LeaseHeld."""
    os.utime(temporary, dir_fd=directory.fd)  # the file server's time, now
    now = os.stat(temporary, dir_fd=directory.fd).st_mtime
    held = _look(directory, LEASE)
    if held is None:  # released this moment
        if _link(directory, temporary, LEASE):
            return
        held = _look(directory, LEASE)
    _refuse_unless_stale(directory, LEASE, held, now)
    assert held is not None  # noqa: S101  refused above
    token = held.token
    while not _link(directory, temporary, claim := _CLAIM + token):
        rival = _look(directory, claim)
        if rival is None:
            raise _refusal(directory, held, now)
        _refuse_unless_stale(directory, claim, rival, now)
        token = rival.token  # that one died while it took over: its claim is taken over in turn
    current = _look(directory, LEASE)
    if current is None or (current.token, current.inode) != (held.token, held.inode) or not _stale(current, now):
        files.remove(directory, claim)
        raise _refusal(directory, current, now)
    # The claim, not the temporary name, moves into place: the token's claim is used up in the same step.
    os.replace(claim, LEASE, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
    with os.scandir(directory.fd) as entries:
        leftovers = [e.name for e in entries if e.name.startswith(_CLAIM)]
    for name in leftovers:
        files.remove(directory, name)


def _refusal(directory: Directory, held: _Seen | None, now: float) -> LeaseHeld:
    path = directory.at(LEASE)
    if held is None:  # it came and went while it was looked at
        remedy = "run the command again when it has finished"
        return LeaseHeld("another apply holds this config directory", where=path, remedy=remedy)
    by_hand = f"if no chiltepin is at work on any node, remove it: `rm {shlex.quote(path)}`"
    left = max(0.0, EXPIRES_AFTER - max(0.0, now - held.modified))
    touched = f"{max(0.0, now - held.modified):.0f} s ago"
    if _ahead(held, now):
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
        remedy=f"{remedy}; {by_hand}" if _ahead(held, now) else remedy,
    )


def renew(directory: Directory, ours: Holder) -> bool:
    """Touch the lease if it is still ours; say whether it is.

    Raises:
        OSError: it could not be looked at.
    """
    with _opened(directory, LEASE) as fd:
        if fd is None or ours.token.encode() not in (files.read_fd(fd, 1 << 20) or b""):
            return False
        os.utime(fd)
        return True


def release(directory: Directory, ours: Holder) -> None:
    """Remove the lease if it is still ours, and not so old that somebody is just taking it over."""
    held = _look(directory, LEASE)
    if held is None or held.token != ours.token or not renew(directory, ours):
        return
    files.remove(directory, LEASE)
    faults.reached("lease.released")


class Lease:
    """A lease that is held, with the thread that renews it."""

    def __init__(self, path: str, ours: Holder) -> None:
        self._path = path
        self._ours = ours
        self._ended = threading.Event()
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._renew_regularly, name="chiltepin-lease", daemon=True)

    def _renew_once(self) -> bool:
        with files.opened(self._path) as directory:
            ours = renew(directory, self._ours)
        if ours:
            self._renewed = time.monotonic()
        return ours

    def _renew_regularly(self) -> None:
        while not self._ended.wait(RENEW_EVERY):
            try:
                if not self._renew_once():
                    return
            except OSError:
                continue  # a file server that is away for a while; check() judges by the time since the last success

    def check(self) -> None:
        """Renew now; a worker calls this before each action.

        Raises:
            LeaseHeld: the lease is somebody else's, is gone, or could not be renewed for too long.
        """
        try:
            ours = self._renew_once()
        except OSError:
            ours = time.monotonic() - self._renewed < EXPIRES_AFTER / 2
        if not ours:
            raise LeaseHeld(
                "this apply lost its lease",
                where=f"{self._path}/{LEASE}",
                why="it was not renewed in time and another apply took it over, or the file was removed",
                remedy="what was done is on record: run the command again",
            )

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def end(self) -> None:
        """Stop renewing and release the lease."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        with files.opened(self._path) as directory:
            release(directory, self._ours)


@contextmanager
def held(path: str, run: str, now: float) -> Iterator[Lease]:
    """Hold the lease in the directory `path` for the block.

    Raises:
        LeaseHeld: somebody else has it.
    """
    with files.translating("take the lease", f"{path}/{LEASE}"), files.opened(path) as directory:
        ours = acquire(directory, run, now)
    lease = Lease(path, ours)
    try:
        lease.start()
        yield lease
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell; a dead process's lease is taken over
            lease.end()
        raise
    with files.translating("release the lease", f"{path}/{LEASE}"):
        lease.end()
