"""Which processes this host would show: those of its present boot, in its PID namespace. Pure.

Host names are no evidence by themselves: nodes of two clusters, or the containers of one image, have the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.core.live import PidFile
from reconciler.core.machine import HostFacts
from reconciler.core.marker import DaemonRecord
from reconciler.core.pid_file import is_fresh


def is_of_this_boot(record: DaemonRecord, host: HostFacts) -> bool:
    """Whether a daemon was started on this machine since it was booted."""
    return (record.host, record.boot_id) == (host.name, host.boot_id)


def would_show(record: DaemonRecord, host: HostFacts) -> bool:
    """Whether the process of this record would be seen here, if it lived. First versions recorded no namespace."""
    return is_of_this_boot(record, host) and record.namespace in (None, host.namespace)


def is_proof(record: DaemonRecord, pid_file: PidFile | None, host: HostFacts) -> bool:
    """Whether it is proven, when no process of this record is seen here, that it has ended.

    Where the namespace is not on record, whoever touched the PID file a moment ago may be in another one.
    """
    if record.namespace is None and pid_file is not None and is_fresh(pid_file.age):
        return False
    return would_show(record, host)


def origin(host: HostFacts) -> dict[str, str]:
    """Return what an intent keeps of where its daemon is started."""
    return {"host": host.name, "boot_id": host.boot_id, "namespace": host.namespace}


def is_from_here(intent: Mapping[str, Any], host: HostFacts) -> bool:
    """Whether the daemon of this intent would be seen here, if it lived."""
    return all(intent.get(key) == value for key, value in origin(host).items())
