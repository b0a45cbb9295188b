"""`chiltepin forget`: no longer manage an endpoint."""

from __future__ import annotations

from reconciler.cli import options as o
from reconciler.cli.errand_command import errand_command
from reconciler.core.scope import Errand

EPILOG = o.examples(
    """
      chiltepin forget ursa-old  once its block is gone
    """
)


@errand_command("Forget it?")
def forget(name: o.LockedNameArgument) -> Errand:
    """No longer manage an endpoint. Directory, daemon and registration stay as they are."""
    return Errand("forget", (name,))
