"""Declarative plan, apply and lock for Globus Compute endpoints and Chiltepin pools.

The public API (docs/api.md):

    import reconciler

    stack = reconciler.load("chiltepin.yaml")
    planned = stack.plan()
    print(planned)
    applied = stack.apply(planned)

`reconciler.endpoint` does to single endpoints what Chiltepin's module of that name does. Everything else in this
package may change with any version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.api import Planned, Stack, load, read_lock
    from reconciler.core.invalid import ManifestInvalid
    from reconciler.core.lock import Lock
    from reconciler.core.plan import Plan
    from reconciler.core.progress import Outcome, Run
    from reconciler.core.statuses import StatusRow
    from reconciler.errors import ExitCode, ReconcilerError
    from reconciler.reconcile import Applied, Status

# Importing the package must cost nothing: every module of the command line does. There are no functions called plan or
# apply, because a submodule's name, once imported, is what the package's attribute of that name is.
_HOMES = {
    "Applied": "reconciler.reconcile",
    "ExitCode": "reconciler.errors",
    "Lock": "reconciler.core.lock",
    "ManifestInvalid": "reconciler.core.invalid",
    "Outcome": "reconciler.core.progress",
    "Plan": "reconciler.core.plan",
    "Planned": "reconciler.api",
    "ReconcilerError": "reconciler.errors",
    "Run": "reconciler.core.progress",
    "Stack": "reconciler.api",
    "Status": "reconciler.reconcile",
    "StatusRow": "reconciler.core.statuses",
    "load": "reconciler.api",
    "read_lock": "reconciler.api",
}
_MODULES = ("endpoint", "errors")

__all__ = [
    "Applied",
    "ExitCode",
    "Lock",
    "ManifestInvalid",
    "Outcome",
    "Plan",
    "Planned",
    "ReconcilerError",
    "Run",
    "Stack",
    "Status",
    "StatusRow",
    "endpoint",
    "errors",
    "load",
    "read_lock",
]


def __getattr__(name: str) -> object:
    """Import what is asked for."""
    if name in _MODULES:
        return import_module(f"reconciler.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return what there is, imported or not."""
    return sorted({*globals(), *__all__})
