"""Passwords in URLs, and tokens in the place of a user. Linear in the length of a text, whatever stands in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reconciler.core.secret_names import HIDDEN

# What ends with the last `@` before a blank or a quote: that a password holds `/` or `@` itself is against the
# rules and common, and no text says where such a one ends.
_BEFORE_AT = re.compile(r"""(?<![^\s'"])[^\s'"]*@""")
# A user and a password (and no port, after which a path has an `@`), or a user alone, who may be a token. The user
# of a proxy may be an address, with an `@` of its own.
_PORT = r"(?!//|\d{1,5}[/?#])"
_USER = re.compile(
    rf"""://[^\s/?#:@'"\[]*:{_PORT}|(?:(?<=http)|(?<=https))://(?!\[)[^\s/:'"?#]+(?::{_PORT}|@)""",
    re.IGNORECASE,
)
# What a user alone is, when it is a token: one that says so, or one that nobody would type. No name of a Unix user has
# more than 32 characters, and no token of 20 or more has the dots and percent signs of an address.
_TOKEN = re.compile(
    r"gh[a-z]_|github_pat_|gl(?:pat|dt)-|x-token-auth|x-access-token|oauth2|eyJ|[\w~+=-]{20}|[^@]{33}", re.IGNORECASE
)


def has_password(text: str) -> bool:
    """Whether a URL in `text` holds a password, or a token in its place; a user alone is none."""
    return "://" in text and any(True for _ in _passwords(text))


def url_passwords(text: str) -> tuple[str, ...]:
    """Return the passwords in the URLs of `text`, and the tokens in the place of a user."""
    return tuple(password for password in _passwords(text) if password)


def _passwords(text: str) -> Iterator[str]:
    """Yield the password, which may be empty, or the token of each URL that has one."""
    for before in _BEFORE_AT.finditer(text):
        for user in _USER.finditer(before[0]):
            name = user[0].removeprefix("://")
            if name.endswith(":") or _TOKEN.match(name):
                yield before[0][user.end() if name.endswith(":") else user.start() + len("://") : -1]
                break


def without_passwords(text: str) -> str:
    """Return `text` without user and password of URLs."""
    return _BEFORE_AT.sub(_without_user, text) if "://" in text else text


def _without_user(before: re.Match[str]) -> str:
    user = _USER.search(before[0])
    return before[0] if user is None else f"{before[0][: user.start()]}://{HIDDEN}@"
