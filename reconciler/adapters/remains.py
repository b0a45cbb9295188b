"""What upstream brings back of an endpoint directory that was removed under a start or a daemon: only its log.

`globus-compute-endpoint` makes the directory of its log wherever that is missing. Such a directory is no endpoint's:
for who looks there is nothing, and who needs the place gets it. The log is kept among the backups.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection

from reconciler.adapters import files
from reconciler.adapters.files import Directory

LOG = "endpoint.log"


def are_remains(names: Collection[str]) -> bool:
    """Say whether a directory that holds these is what upstream brings back."""
    return list(names) == [LOG]


def there_are(root: Directory, name: str) -> bool:
    """Say whether the directory `name` is there and holds nothing else."""
    try:
        with files.entered(root, name) as directory:
            return are_remains(os.listdir(directory.fd))  # noqa: PTH208  # a descriptor, not a path
    except OSError:  # nothing, a file, a link, or a directory that cannot be read: what wants the place says so
        return False


def put_aside(root: Directory, name: str, backups: Directory, stamp: str) -> None:
    """Move the log to `backups` and remove the directory, unless something else was written there meanwhile."""
    with files.entered(root, name) as directory:
        os.rename(LOG, f"{LOG}.{stamp}-{files.token()}", src_dir_fd=directory.fd, dst_dir_fd=backups.fd)
        os.fsync(backups.fd)
    try:
        os.rmdir(name, dir_fd=root.fd)
    except OSError as e:
        if e.errno != errno.ENOTEMPTY:
            raise
        return  # something was written there meanwhile: whoever needs the place meets it
    os.fsync(root.fd)
