"""Digests: SHA-256 in hex, over bytes or over JSON-like values in a canonical form."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest_bytes(content: bytes) -> str:
    """Return the SHA-256 of `content` in hex."""
    return hashlib.sha256(content).hexdigest()


def digest_value(value: Any) -> str:
    """Return the digest of a JSON-like value; the order of mapping keys does not matter."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode())
