"""What changes, for the report: single values, whole files, and why. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

from reconciler.core.frozen import dataclass


class Cause(str, Enum):
    """Why an action is in the plan."""

    NEW = "new"
    SPEC = "spec changed"
    EDITED = "edited outside"
    SPEC_AND_EDITED = "spec changed, and edited outside"
    TEMPLATE_UPDATED = "built-in template updated"
    ENVIRONMENT = "environment changed"
    NOT_RUNNING = "not running"
    DIED = "its process died"
    DECLARED_STOPPED = "declared stopped"
    OTHER_CONFIGURATION = "started with other configuration"
    LOST_DIRECTORY = "lost directory"
    LOST_MARKER = "lost marker"
    LOST_LOCK = "lost; made again from the markers"
    INTERRUPTED = "an earlier apply was interrupted"
    REMOVED = "removed from the manifest"
    DESTROY = "destroy"
    RETENTION = "retention ended"
    DECLARED_AGAIN = "declared again"
    DAMAGED = "damaged"
    CONSENT = "asked for"
    RENAMED = "renamed"
    HOST_NAMED = "its host has a name by now"
    IDENTITY_KNOWN = "whose it is, is known by now"
    RESOLVED = "resolved state changed"


@dataclass(frozen=True)
class FieldChange:
    """One value that changes; `old` or `new` is ABSENT when the field appears or goes.

    A sensitive value is never in here: both sides are replaced by SENSITIVE first.
    """

    path: str
    old: Any
    new: Any


class _Token:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


ABSENT = _Token("(absent)")


SENSITIVE = _Token("(sensitive)")


@dataclass(frozen=True)
class FileChange:
    """How one file changes.

    Attributes:
        kind: "note" is a remark, which then stands in `file`.
        fields: the values that change, for YAML and JSON.
        diff: a unified diff, for other text.
        label: where the new text comes from, e.g. `builtin@1`.
        cause: why this file changes.
    """

    file: str
    kind: Literal["add", "change", "remove", "note"]
    cause: Cause
    fields: tuple[FieldChange, ...] = ()
    diff: tuple[str, ...] = ()
    label: str = ""
