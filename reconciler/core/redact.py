"""Taking secrets out of other programs' output, and out of texts that others wrote, before anybody sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "***"
_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^/\s:@'\"]*:[^/\s@'\"]*@")
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_NAMED = re.compile(
    r"((?:secret|password|passwd|passphrase|token|api_?key|enckey|credential)[A-Za-z_]*['\"]?\s*[:=]\s*['\"]?)([^\s'\",}]{4,})",
    re.IGNORECASE,
)


def has_password(text: str) -> bool:
    """Whether a URL in `text` holds a password."""
    return _URL.search(text) is not None


def without_passwords(text: str) -> str:
    """Return `text` without user and password of URLs."""
    return _URL.sub(rf"\1{HIDDEN}@", text)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without user and password of URLs, tokens, values that are named secret, and `secrets`."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, HIDDEN)
    text = without_passwords(text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    return _NAMED.sub(rf"\1{HIDDEN}", text)


def last_lines(text: str, count: int) -> str:
    """Return the last `count` lines."""
    return "\n".join(text.splitlines()[-count:]) if count > 0 else ""
