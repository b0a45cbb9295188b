"""Taking secrets out of other programs' output before anybody sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "***"
_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^/\s:@'\"]*:[^/\s@'\"]*@")
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_NAMED = re.compile(
    r"((?:secret|password|passwd|token|api_?key|enckey|credential)[A-Za-z_]*['\"]?\s*[:=]\s*['\"]?)([^\s'\",}]{4,})",
    re.IGNORECASE,
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without user and password of URLs, tokens, values that are named secret, and `secrets`."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, HIDDEN)
    text = _URL.sub(rf"\1{HIDDEN}@", text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    return _NAMED.sub(rf"\1{HIDDEN}", text)


def last_lines(text: str, count: int) -> str:
    """Return the last `count` lines."""
    return "\n".join(text.splitlines()[-count:]) if count > 0 else ""
