"""What of a change may be shown: never a secret, on neither side, and always that it changes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from reconciler.core.changes import ABSENT, SENSITIVE, FieldChange, FileChange
from reconciler.core.named_secrets import is_secret_option
from reconciler.core.redact import redact, redacted_lines, without_known
from reconciler.core.secret_names import HIDDEN, is_secret_value


def concealed(path: tuple[str, ...], old: Any, new: Any, sensitive: Collection[str] = ()) -> tuple[Any, Any]:
    """Return both sides of a change as they may be shown.

    What a name or the manifest says is secret is hidden on both sides: what is empty on one may be a secret on the
    other.

    Args:
        path: keys and indices from the document's root.
        old: the value before, or ABSENT.
        new: the value after, or ABSENT.
        sensitive: names at the root whose values must not be shown.
    """
    sides = [side for side in (old, new) if side is not ABSENT]
    if all(side == "" for side in sides):
        return old, new  # a variable that is set to nothing, so that no user endpoint inherits it
    if path[0] in sensitive or any(is_secret_value(part, side) for part in path for side in sides):
        return _hidden(old), _hidden(new)
    return _without(old, new, ())


def without_values(change: FileChange, secrets: Collection[str]) -> FileChange:
    """Return `change` without these values, wherever they stand in it."""
    fields = fields_without(change.fields, secrets)
    diff = tuple(redact(line, secrets) for line in change.diff)
    return change if (fields, diff) == (change.fields, change.diff) else replace(change, fields=fields, diff=diff)


def fields_without(fields: tuple[FieldChange, ...], secrets: Collection[str]) -> tuple[FieldChange, ...]:
    """Return `fields` without these values."""
    return tuple(FieldChange(item.path, *_without(item.old, item.new, secrets)) for item in fields)


def _without(old: Any, new: Any, secrets: Collection[str]) -> tuple[Any, Any]:
    shown = _masked(old, secrets), _masked(new, secrets)
    if shown[0] == shown[1] and shown != (old, new):
        return _hidden(old), _hidden(new)
    return shown


def _hidden(side: Any) -> Any:
    return side if side is ABSENT else SENSITIVE


def _masked(value: Any, secrets: Collection[str]) -> Any:
    """Return a value as it may be shown: without secrets, and all the rest."""
    if isinstance(value, str):
        return "\n".join(redacted_lines(without_known(value, secrets).split("\n")))
    if isinstance(value, Mapping):
        shown = {key: HIDDEN if is_secret_value(str(key), item) else item for key, item in value.items()}
        return {key: _masked(item, secrets) for key, item in shown.items()}
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return _masked_lines([without_known(item, secrets) for item in value])
    if isinstance(value, list | tuple):
        return [_masked(item, secrets) for item in value]
    return value


def _masked_lines(texts: Sequence[str]) -> list[str]:
    """Return the texts of a list: a secret of one may go on in the next, as they may be one script or one command."""
    lines = iter(redacted_lines(line for text in texts for line in text.split("\n")))
    shown = ["\n".join(islice(lines, text.count("\n") + 1)) for text in texts]
    words = zip(("", *texts), texts, shown, strict=False)
    return [
        HIDDEN if is_secret_option(before) and is_secret_value(before, word) else text for before, word, text in words
    ]
