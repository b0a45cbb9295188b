"""Files on disk: durable writes, reads that follow nothing they should not, one translation of OSError.

Everything works relative to an open directory (`dir_fd`) and takes names of one component, so that no
name can lead out of it. A write either is complete and on disk, or has left the old content in place.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from reconciler.adapters import faults
from reconciler.core.frozen import dataclass
from reconciler.errors import FileSystemError, Refused

TEMPORARY = ".chiltepin-tmp-"
"""Prefix of temporary files; hidden, so that it never matches upstream's `*/config.*`."""

LEFTOVER_AGE = 3600.0
"""Seconds after which a temporary file belongs to a process that died (a write takes far less)."""

PRIVATE_DIR = 0o700
PRIVATE_FILE = 0o600

_REMEDIES: dict[int, str] = {
    errno.ENOSPC: "free space on that file system (`df -h` shows it), then run the command again",
    errno.EDQUOT: "your quota is used up: remove files or ask for more (`quota -s`), then run the command again",
    errno.EROFS: "the file system is mounted read-only: use another one (`--config-dir`), or ask the administrators",
    errno.EACCES: "check the owner and the permissions of that path (`ls -ld`), and that you are the right user",
    errno.EPERM: "check the owner and the permissions of that path (`ls -ld`), and that you are the right user",
    errno.EIO: "the disk or file server reported an error: check `dmesg` or ask the administrators, then run it again",
    errno.ESTALE: "the file server replaced that directory: leave it (`cd`), then run the command again",
    errno.EFBIG: "a file size limit is in force: raise it (`ulimit -f unlimited`), then run the command again",
    errno.ENOTDIR: "something that is not a directory is in the way: move it aside",
    errno.EISDIR: "a directory is in the way: move it aside",
    errno.EINVAL: "something that is not a regular file is in the way: move it aside",
    errno.EEXIST: "something of that name is in the way: move it aside",
    errno.ENOTEMPTY: "something still writes there: stop it, then run the command again",
    errno.ELOOP: "a symbolic link is in the way: replace it by the file or directory itself",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "it is not there, or not any more: see that the path is right, then run the command again",
}
_SCARCE: dict[int, str] = {
    errno.EMFILE: "too many open files: raise the limit (`ulimit -n`) or lower --parallelism",
    errno.ENFILE: "too many files are open on this machine: wait, or ask the administrators, then run it again",
    errno.ENOMEM: "memory is used up: end what you do not need, then run the command again",
    errno.EAGAIN: "a limit on processes is reached: end some, or raise it (`ulimit -u`), then run the command again",
}


def scarcity(error: OSError) -> str | None:
    """Return what to do where `error` only says that we may have no more of something; None for any other error."""
    return _SCARCE.get(error.errno or 0)


def translated(error: OSError, doing: str, where: str) -> FileSystemError:
    """Return `error` as our own, with what to do about it.

    Args:
        doing: what was tried, as in "write the marker".
        where: the path concerned.
    """
    reason = error.strerror or str(error)
    code = errno.errorcode.get(error.errno or 0, "")
    remedy = scarcity(error) or _REMEDIES.get(error.errno or 0, "look at that path, then run the command again")
    return FileSystemError(f"cannot {doing}", where=where, why=f"{reason} ({code})" if code else reason, remedy=remedy)


@contextmanager
def translating(doing: str, where: str) -> Iterator[None]:
    """Translate an OSError of the block into FileSystemError; our own errors pass."""
    try:
        yield
    except OSError as e:
        raise translated(e, doing, where) from e


def check_component(name: str) -> str:
    """Return `name` when it names something directly inside a directory, and nothing else.

    Raises:
        Refused: it is empty, `.`, `..`, or holds a slash or a NUL.
    """
    if not name or name in {".", ".."} or "/" in name or "\0" in name:
        raise Refused(
            f"{name!r} is not the name of a file or directory",
            why="a name of one component is needed, so that nothing outside the directory is touched",
            remedy="correct the name",
        )
    return name


@dataclass(frozen=True)
class Directory:
    """An open directory: its descriptor, and its path for messages."""

    fd: int
    path: str

    def at(self, name: str) -> str:
        """Return the path of `name` in it, for messages."""
        return f"{self.path}/{name}"


@contextmanager
def opened(path: str) -> Iterator[Directory]:
    """Open a directory by path (links in the path are followed: `~/.globus_compute` may be one)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Directory(fd, path)
    finally:
        os.close(fd)


@contextmanager
def entered(parent: Directory, name: str, *, create: bool = False) -> Iterator[Directory]:
    """Open the directory `name` in `parent`, never through a link; with `create`, make it (0700) first."""
    check_component(name)
    if create:
        make_directory(parent, name)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
    try:
        yield Directory(fd, parent.at(name))
    finally:
        os.close(fd)


def make_directory(parent: Directory, name: str) -> None:
    """Make a private directory unless it is there; whatever the umask says, it is 0700."""
    try:
        os.mkdir(name, PRIVATE_DIR, dir_fd=parent.fd)
    except FileExistsError:
        return
    os.chmod(name, PRIVATE_DIR, dir_fd=parent.fd)
    os.fsync(parent.fd)


def token() -> str:
    """Return 8 random hex digits for a unique name."""
    return os.urandom(4).hex()


def exists(directory: Directory, name: str) -> bool:
    """Say whether anything of that name is there, a dangling link included."""
    try:
        os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def read_fd(fd: int, limit: int, expected: int = 65536) -> bytes | None:
    """Return the rest of a file, or None when it is longer than `limit` bytes.

    Args:
        expected: its size as far as known; a right guess saves a call and memory.
    """
    first = os.read(fd, min(expected, limit) + 1)
    if len(first) <= min(expected, limit):
        return first
    parts, size = [first], len(first)
    while size <= limit and (part := os.read(fd, 1 << 20)):
        parts.append(part)
        size += len(part)
    return b"".join(parts) if size <= limit else None


def read_file(directory: Directory, name: str, *, limit: int = 64 << 20, follow: bool = False) -> bytes | None:
    """Return a regular file's content, or None when there is none.

    Raises:
        OSError: it cannot be read, or is not a regular file (EINVAL), or is longer than `limit` (EFBIG).
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(name, flags, dir_fd=directory.fd)
    except FileNotFoundError:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", directory.at(name))
        content = read_fd(fd, limit, info.st_size)
        if content is None:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", directory.at(name))
        return content
    finally:
        os.close(fd)


def write_all(fd: int, content: bytes) -> None:
    """Write everything; a short write (a nearly full disk) goes on until it succeeds or fails."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def write_new(directory: Directory, name: str, content: bytes, mode: int = PRIVATE_FILE) -> None:
    """Write a file that does not exist yet and force it to disk; what fails leaves no file behind."""
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory.fd)
    try:
        try:
            write_all(fd, content)
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)  # NFS reports a full disk or quota here
    except BaseException:
        discard(directory, name)
        raise


def discard(directory: Directory, name: str) -> None:
    """Remove a file of ours that is not needed; what cannot be removed now goes with a later sweep.

    The error that made it needless, or the success, is what counts.
    """
    with suppress(OSError):
        os.unlink(name, dir_fd=directory.fd)


def replace(
    directory: Directory, name: str, content: bytes, *, mode: int = PRIVATE_FILE, points: tuple[str, str] | None = None
) -> None:
    """Replace (or make) a file atomically and durably.

    Args:
        points: the fault points after the temporary file and after the rename, if it has any.

    Raises:
        OSError: the old content is still in place.
    """
    check_component(name)
    temporary = f"{TEMPORARY}{token()}"
    write_new(directory, temporary, content, mode)
    if points:
        faults.reached(points[0])
    try:
        os.replace(temporary, name, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
    except BaseException:
        discard(directory, temporary)
        raise
    os.fsync(directory.fd)
    if points:
        faults.reached(points[1])


def remove(directory: Directory, name: str) -> bool:
    """Remove a file durably; say whether there was one."""
    check_component(name)
    try:
        os.unlink(name, dir_fd=directory.fd)
    except FileNotFoundError:
        return False
    os.fsync(directory.fd)
    return True


def sweep(directory: Directory) -> None:
    """Remove temporary files that a process left behind when it was killed."""
    with os.scandir(directory.fd) as entries:
        names = [e.name for e in entries if e.name.startswith(TEMPORARY)]
    for name in names:
        try:
            info = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            if time.time() - info.st_mtime > LEFTOVER_AGE:
                os.unlink(name, dir_fd=directory.fd)
        except FileNotFoundError:
            continue  # its writer finished, or another sweep was faster


def remove_tree(parent: Directory, name: str) -> None:
    """Remove a directory and what is in it; links are removed, never followed."""
    with entered(parent, name) as directory:
        os.fchmod(directory.fd, PRIVATE_DIR)  # a read-only directory's entries could not be removed
        with os.scandir(directory.fd) as entries:
            found = [(e.name, e.is_dir(follow_symlinks=False)) for e in entries]
        for entry, is_directory in found:
            if is_directory:
                remove_tree(directory, entry)
            else:
                os.unlink(entry, dir_fd=directory.fd)
    os.rmdir(name, dir_fd=parent.fd)


def read_end(directory: Directory, name: str, size: int) -> str:
    """Return up to `size` bytes from a file's end as text, whole lines only, an empty text without the file."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
    except FileNotFoundError:
        return ""
    try:
        length = os.fstat(fd).st_size
        text = os.pread(fd, size, max(0, length - size)).decode("utf-8", "replace")
    finally:
        os.close(fd)
    return text.partition("\n")[2] if length > size else text
