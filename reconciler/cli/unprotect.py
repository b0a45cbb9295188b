"""`chiltepin unprotect`: lift the protection that outlived a block."""

from __future__ import annotations

from reconciler.cli import options as o
from reconciler.cli.errand_command import errand_command
from reconciler.core.scope import Errand

EPILOG = o.examples(
    """
      chiltepin unprotect ursa-old       then: chiltepin apply --allow-delete
    """
)


@errand_command("Lift its protection?")
def unprotect(name: o.LockedNameArgument) -> Errand:
    """Lift the protection that outlived an endpoint's block."""
    return Errand("unprotect", (name,))
