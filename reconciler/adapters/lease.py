"""The apply lease: one worker per config directory, also across login nodes that share it.

The lease is a file that `link` creates, which is atomic on NFS, too. Its holder renews it by touching
it: a touch reaches only the inode that was verified, so that a holder that slept cannot overwrite a
successor's lease. Ages are differences of two times of the file server, never of two machines' clocks.

A lease is taken over when it was not renewed for five minutes, or at once when its process is provably
dead (same boot of the same host, same PID namespace). Of several that want to take it over, one wins:
each links a claim named after the token of the lease that it replaces, and a name exists only once. A
claim whose owner died is taken over in the same way.
"""

from __future__ import annotations

import json
import os
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from reconciler.adapters import faults, files, machine
from reconciler.adapters.files import Directory
from reconciler.adapters.process import lives, start_time
from reconciler.errors import LeaseHeld

LEASE = "lease.json"
RENEW_EVERY = 10.0
"""Seconds between two renewals."""

EXPIRES_AFTER = 300.0
"""Seconds without a renewal after which anybody may take the lease over."""

_CLAIM = "lease.taken."


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


def _look(directory: Directory, name: str) -> _Seen | None:
    """Read a lease or claim; None when there is none."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
    except FileNotFoundError:
        return None
    try:
        info = os.fstat(fd)
        content = files.read_fd(fd, 1 << 20) or b""
    finally:
        os.close(fd)
    try:
        holder = Holder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):  # damaged, or of another version: it expires by its age
        return _Seen(f"unreadable-{info.st_ino}-{info.st_mtime_ns}", None, info.st_mtime, info.st_ino, info.st_size)
    return _Seen(holder.token, holder, info.st_mtime, info.st_ino, info.st_size)


def _stale(seen: _Seen, now: float) -> bool:
    """Say whether it may be taken over; `now` is the file server's time."""
    return now - seen.modified > EXPIRES_AFTER or (seen.holder is not None and seen.holder.provably_dead())


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
    if held is None or not _stale(held, now):
        raise _refusal(directory, held, now)
    token = held.token
    while not _link(directory, temporary, claim := _CLAIM + token):
        rival = _look(directory, claim)
        if rival is None or not _stale(rival, now):
            raise _refusal(directory, rival or held, now)
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
    holder = held.holder if held else None
    remedy = "run the command again when it has finished; a lease that is not renewed for 5 minutes is taken over"
    if held is None:  # it came and went while it was looked at
        return LeaseHeld("another apply holds this config directory", where=directory.at(LEASE), remedy=remedy)
    if holder is None:
        return _unreadable(directory, held, now)
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(holder.since))
    return LeaseHeld(
        f"another apply holds this config directory: process {holder.pid} of {holder.user} on {holder.host}",
        where=directory.at(LEASE),
        why=f"since {since} (run {holder.run}), last renewed {max(0.0, now - held.modified):.0f} s ago",
        remedy=remedy,
    )


def _unreadable(directory: Directory, held: _Seen, now: float) -> LeaseHeld:
    """Refuse because of a lease that says nothing: its holder may be of another version, and at work."""
    what = "it is empty" if held.size == 0 else f"its {held.size} bytes are not a lease that this version can read"
    left = max(0.0, EXPIRES_AFTER - (now - held.modified))
    path = directory.at(LEASE)
    return LeaseHeld(
        "another apply may hold this config directory: the lease is damaged",
        where=path,
        why=f"{what}, so nobody can tell who holds it; it was touched {max(0.0, now - held.modified):.0f} s ago",
        remedy=f"if no chiltepin is at work on any node, remove it: `rm {shlex.quote(path)}`;"
        f" else run this again: unless somebody renews it, it is taken over in {left:.0f} s",
    )


def renew(directory: Directory, ours: Holder) -> bool:
    """Touch the lease if it is still ours; say whether it is.

    Raises:
        OSError: it could not be looked at.
    """
    try:
        fd = os.open(LEASE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
    except FileNotFoundError:
        return False
    try:
        if ours.token.encode() not in (files.read_fd(fd, 1 << 20) or b""):
            return False
        os.utime(fd)
        return True
    finally:
        os.close(fd)


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
    with files.translating("take the lease", path), files.opened(path) as directory:
        ours = acquire(directory, run, now)
    lease = Lease(path, ours)
    try:
        lease.start()
        yield lease
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell; a dead process's lease is taken over
            lease.end()
        raise
    with files.translating("release the lease", path):
        lease.end()
