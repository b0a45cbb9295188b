"""The `trash` section: durations and sizes in words to seconds and bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.core.desired import Trash
from reconciler.core.manifest.findings import Findings
from reconciler.core.manifest.model import Manifest

_DURATION = re.compile(r"(?P<number>[0-9]{1,6})\s*(?P<unit>[smhdw])")
_SECONDS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,3})?)\s*(?P<unit>[KMGT]i?B|B)", re.IGNORECASE)
_PREFIXES = "KMGT"


def parse_duration(text: str) -> int | None:
    """Return the seconds of e.g. "14d", "12h" or "2w", or None when `text` is no duration."""
    found = _DURATION.fullmatch(text.strip())
    return int(found["number"]) * _SECONDS[found["unit"]] if found else None


def parse_size(text: str) -> int | None:
    """Return the bytes of e.g. "1GB" (10**9) or "512MiB" (2**29), or None when `text` is no size."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    unit = found["unit"].upper()
    factor: int = 1 if unit == "B" else (1024 if "I" in unit else 1000) ** (_PREFIXES.index(unit[0]) + 1)
    return int(float(found["number"]) * factor)


def read_trash(manifest: Manifest, findings: Findings) -> Trash:
    """Return the retention of deleted endpoints; what is no duration or size goes to `findings`."""
    block = manifest.trash
    if block is None:
        return Trash()
    keep = parse_duration(block.keep) if block.keep else None
    size = parse_size(block.max) if block.max else None
    if block.keep and keep is None:
        findings.error(("trash", "keep"), f"{block.keep!r} is no duration", "e.g. 14d, 12h or 2w")
    if block.max and size is None:
        findings.error(("trash", "max"), f"{block.max!r} is no size", "e.g. 1GB or 500MB")
    return Trash(keep, size)
