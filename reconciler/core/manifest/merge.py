"""Merging defaults and blocks: mappings merge, everything else replaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layers merged, later ones over earlier ones; none of them is changed."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            merged[key] = merge(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged
