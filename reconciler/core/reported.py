"""Actions as a report may show them: without any secret that this run knows, wherever it turned up. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from reconciler.core.actions import EndpointAction, WriteLock, WritePools
from reconciler.core.secrecy import fields_without, without_values


def reported(actions: Iterable[EndpointAction], secrets: Collection[str]) -> tuple[EndpointAction, ...]:
    """Return `actions` with changes that hold none of `secrets`: of variables, and of the client that is logged in.

    Somebody may have written one into a file under any name, by hand.
    """
    return tuple(_reported(action, secrets) if secrets and action.changes else action for action in actions)


def _reported(action: EndpointAction, secrets: Collection[str]) -> EndpointAction:
    changes = tuple(without_values(change, secrets) for change in action.changes)
    return action if changes == action.changes else replace(action, changes=changes)


def reported_files(
    files: Iterable[WriteLock | WritePools], secrets: Collection[str]
) -> tuple[WriteLock | WritePools, ...]:
    """Return the actions on lock and pools file with pools' changes that hold none of `secrets`."""
    return tuple(
        replace(f, pools=tuple(replace(p, fields=fields_without(p.fields, secrets)) for p in f.pools))
        if isinstance(f, WriteLock)
        else f
        for f in files
    )
