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

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from reconciler.adapters import faults, files
from reconciler.adapters.files import Directory
from reconciler.adapters.lease_file import (
    EXPIRES_AFTER,
    LEASE,
    RENEW_EVERY,
    Holder,
    Seen,
    is_ahead,
    is_stale,
    look,
    opened,
    ourselves,
    refusal,
)
from reconciler.errors import LeaseHeld
from reconciler.threads import started

_CLAIM = "lease.taken."


def _refuse_unless_stale(directory: Directory, name: str, seen: Seen | None, now: float) -> None:
    """Raise LeaseHeld for a lease or claim that may not be taken over."""
    if seen is not None and is_stale(seen, now):
        return
    if seen is not None and is_ahead(seen, now):
        with opened(directory, name) as fd:
            if fd is not None and os.fstat(fd).st_ino == seen.inode:
                os.utime(fd)  # from now on it ages
    raise refusal(directory, seen, now)


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


def acquire(directory: Directory, ours: Holder) -> None:
    """Take the lease. What ends this on its way may leave a claim or the lease taken: `release` it then.

    Args:
        directory: the open `.chiltepin` directory.
        ours: who we are.

    Raises:
        LeaseHeld: somebody else has it.
        OSError: the directory cannot be written.
    """
    temporary = f"{files.TEMPORARY}{ours.token}"
    files.write_new(directory, temporary, json.dumps(asdict(ours)).encode())
    try:
        if not _link(directory, temporary, LEASE):
            _take_over(directory, temporary)
        os.fsync(directory.fd)
    finally:
        files.discard(directory, temporary)
    faults.reached("lease.acquired")


def _claims(directory: Directory) -> list[str]:
    with os.scandir(directory.fd) as entries:
        return [entry.name for entry in entries if entry.name.startswith(_CLAIM)]


def _take_over(directory: Directory, temporary: str) -> None:
    """Replace a stale lease by `temporary`, or raise LeaseHeld."""
    os.utime(temporary, dir_fd=directory.fd)  # the file server's time, now
    now = os.stat(temporary, dir_fd=directory.fd).st_mtime
    held = look(directory, LEASE)
    if held is None:  # released this moment
        if _link(directory, temporary, LEASE):
            return
        held = look(directory, LEASE)
    _refuse_unless_stale(directory, LEASE, held, now)
    assert held is not None  # noqa: S101  refused above
    token = held.token
    while not _link(directory, temporary, claim := _CLAIM + token):
        rival = look(directory, claim)
        if rival is None:
            raise refusal(directory, held, now)
        _refuse_unless_stale(directory, claim, rival, now)
        token = rival.token  # that one died while it took over: its claim is taken over in turn
    current = look(directory, LEASE)
    if current is None or (current.token, current.inode) != (held.token, held.inode) or not is_stale(current, now):
        raise refusal(directory, current, now)
    # The claim, not the temporary name, moves into place: the token's claim is used up in the same step.
    os.replace(claim, LEASE, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
    for leftover in _claims(directory):
        files.remove(directory, leftover)


def renew(directory: Directory, ours: Holder) -> bool:
    """Touch the lease if it is still ours; say whether it is.

    Raises:
        OSError: it could not be looked at.
    """
    with opened(directory, LEASE) as fd:
        if fd is None or ours.token.encode() not in (files.read_fd(fd, 1 << 20) or b""):
            return False
        os.utime(fd)
        return True


def release(directory: Directory, ours: Holder) -> None:
    """Give back what is ours: claims of a takeover that did not succeed, and the lease.

    The lease is removed only if it is still ours, and not so old that somebody is just taking it over.
    """
    with suppress(OSError):  # in five minutes as good as gone; the lease must be given back all the same
        for claim in _claims(directory):
            if (seen := look(directory, claim)) is not None and seen.token == ours.token:
                files.remove(directory, claim)
    held = look(directory, LEASE)
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
        self._thread: threading.Thread | None = None

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
        """Begin to renew.

        Raises:
            NoMoreThreads: there is no thread for it.
        """
        self._thread = started(self._renew_regularly, "chiltepin-lease")

    def end(self) -> None:
        """Stop renewing and release the lease, if it is held; once more does no harm."""
        self._ended.set()
        thread, self._thread = self._thread, None  # who is interrupted while that one hangs does not wait again
        if thread is not None:
            thread.join()
        with files.opened(self._path) as directory:
            release(directory, self._ours)


@contextmanager
def held(path: str, run: str, now: float) -> Iterator[Lease]:
    """Hold the lease in the directory `path` for the block.

    Raises:
        LeaseHeld: somebody else has it.
        NoMoreThreads: nothing would renew it.
    """
    where = f"{path}/{LEASE}"
    with files.translating("take the lease", where):
        ours = ourselves(run, now)
    lease = Lease(path, ours)
    try:
        try:
            with files.translating("take the lease", where), files.opened(path) as directory:
                acquire(directory, ours)
            lease.start()
            yield lease
            with files.translating("release the lease", where):
                lease.end()
        except BaseException:  # whatever it was, nobody is going to work under it
            with suppress(OSError):  # the first error is the one to tell; a dead process's lease is taken over
                lease.end()
            raise
    except KeyboardInterrupt:  # at any moment, also in the midst of what gives it back
        with suppress(OSError):
            lease.end()
        raise
