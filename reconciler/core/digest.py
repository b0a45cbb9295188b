"""Digests: SHA-256 in hex, over bytes or over JSON-like values in a canonical form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest_bytes(content: bytes) -> str:
    """Return the SHA-256 of `content` in hex."""
    return hashlib.sha256(content).hexdigest()


def digest_value(value: Any) -> str:
    """Return the digest of a JSON-like value; the order of mapping keys does not matter."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode())


def same_value(a: Any, b: Any) -> bool:
    """Whether two JSON-like values say the same: `true` is not 1, and 30 is 30.0.

    Python holds True and 1 for equal; to who reads config.yaml they are not.
    """
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_value(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same_value, a, b))
    return bool(a == b)
