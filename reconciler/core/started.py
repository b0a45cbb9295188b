"""What a daemon was started with: its intent says it beforehand, the marker's record afterwards. Pure.

It is taken from the intent, not from the files that are there once the daemon is up: it reads them at the start of
a start that may take two minutes, and they may be others by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.core.daemon import is_recorded
from reconciler.core.desired import CONFIG, SCHEMA, TEMPLATE, USER_ENVIRONMENT
from reconciler.core.live import LiveDirectory, LiveState, Process
from reconciler.core.machine import EndpointTool, HostFacts
from reconciler.core.marker import DaemonRecord, Marker

_DOCUMENTS = "documents"


def begun_with(tool: object, environment: Mapping[str, str], directory: LiveDirectory | None) -> dict[str, Any]:
    """Return what a daemon is about to be started with.

    Args:
        tool: what starts it, when that can be used.
        environment: the digests of its variables.
        directory: as it was read just now.
    """
    digests = {name: live_file.digest for name, live_file in directory.files.items()} if directory else {}
    return {
        "config": digests.get(CONFIG, ""),
        "environment": dict(environment),
        "prefix": tool.prefix if isinstance(tool, EndpointTool) else "",
        "versions": dict(tool.versions) if isinstance(tool, EndpointTool) else {},
        _DOCUMENTS: {n: d for n, d in digests.items() if n in (TEMPLATE, SCHEMA, USER_ENVIRONMENT)},
    }


def for_the_journal(begun: Mapping[str, Any]) -> dict[str, Any]:
    """Return of `begun_with` what a later run judges by: no digest of a file that may hold a secret."""
    return {key: value for key, value in begun.items() if key != _DOCUMENTS}


def daemon_record(
    process: Process, host: HostFacts, begun: Mapping[str, Any], now: float | None = None
) -> DaemonRecord:
    """Return the record of a daemon that was started with what `begun` says; what it does not say stays unknown.

    Args:
        now: seconds since the epoch.
    """
    return DaemonRecord(
        host=host.name,
        boot_id=host.boot_id,
        namespace=host.namespace,
        pid=process.pid,
        start_time=process.start_time,
        prefix=str(begun.get("prefix", "")),
        versions=_digests(begun.get("versions")),
        environment=_digests(begun.get("environment")),
        config=str(begun.get("config", "")),
        started=None if now is None else round(now - process.age),
        documents=_digests(begun.get(_DOCUMENTS)),
    )


def _digests(found: object) -> dict[str, str]:
    """Return what an intent says by name; first versions wrote one digest of the whole environment."""
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, Mapping) else {}


def under_way(endpoint: str, directory: LiveDirectory | None, live: LiveState) -> dict[str, Any]:
    """Return what a daemon that is there already was started with.

    Its record says so where there is one: an intent that is open may be that of an earlier start, which a run closed
    in the marker and was killed before it closed it in the journal. Else a start that was cut off said so in its
    intent. For a daemon that somebody else started only config.yaml as it was seen can be taken; environment and
    versions stay unknown (empty) and never ask for a restart.
    """
    record = directory.marker.daemon if directory and isinstance(directory.marker, Marker) else None
    if record and directory and any(is_recorded(record, process, live.host) for process in directory.processes):
        return record.model_dump(include={"config", "environment", "prefix", "versions", _DOCUMENTS})
    pending = live.pending.get(endpoint)
    data: dict[str, Any] = dict(pending.data) if pending and pending.begins_daemon else {}
    config = directory.files.get(CONFIG) if directory else None
    said: dict[str, Any] = {key: data[key] for key in ("environment", "prefix", "versions") if key in data}
    return said | {"config": data.get("config") or (config.digest if config else "")}


def found_daemon(process: Process, endpoint: str, directory: LiveDirectory | None, live: LiveState) -> DaemonRecord:
    """Return the record of a daemon that was found running."""
    return daemon_record(process, live.host, under_way(endpoint, directory, live))


__all__ = ["begun_with", "daemon_record", "for_the_journal", "found_daemon", "under_way"]
