"""Secrets that this run has met, so that not even the report of a bug shows them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from reconciler.adapters.environment import secrets
from reconciler.core.redact import redact

_known: set[str] = set()


def remember(values: Iterable[str]) -> None:
    """Take note of values that nobody may see."""
    _known.update(values)


def without_secrets(text: str, more: Iterable[str] = ()) -> str:
    """Return `text` without the secrets of the manifest and of the environment, and without `more`."""
    return redact(text, {*_known, *secrets(os.environ), *more})


def cleaned(text: str, arguments: Sequence[str]) -> str:
    """Return `text` without any value that may be secret: of the manifest, the environment or the command line."""
    values = {value for name, value in os.environ.items() if name.startswith("CHILTEPIN_VAR_")}
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        given = following if word == "--var" else word.removeprefix("--var=")
        if word == "--var" or word.startswith("--var="):
            values.add(given.partition("=")[2])
    return without_secrets(text, values)
