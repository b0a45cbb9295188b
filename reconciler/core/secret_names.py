"""Which names are those of secrets, for output, plans and manifests alike, and which values are none all the same."""

from __future__ import annotations

import re

HIDDEN = "***"
_TELLING = 8

_CLEAR = (
    r"secret(?!ar[iy])|passw(?!ordless)|pass[_-]word|pass[_-]?phrase|sshpass|(?<=[_-])pwd|(?-i:(?<=[a-z])Pwd)"
    r"|credential|authorization|cookies?$|(?:api|enc(?:rypt(?:ion)?)?|private|access)[_-]?key"
)
# These are words of other trades as well (a low pass, a pattern), with numbers as values.
_UNCLEAR = r"(?<=[_-])pass$|(?-i:(?<=[a-z])Pass$)|(?<![a-z])pat(?![a-z])|(?-i:(?<=[a-z])Pat(?![a-z]))"
_CLEAR_NAME = re.compile(_CLEAR, re.IGNORECASE)
_UNCLEAR_NAME = re.compile(_UNCLEAR, re.IGNORECASE)
_SECRET_NAME = re.compile(f"{_CLEAR}|{_UNCLEAR}", re.IGNORECASE)
_TOKEN_NAME = re.compile(r"token(?!i[sz])", re.IGNORECASE)
# Where a word of a name begins in the midst of letters; then: what it ends in when it is about a secret and is none,
# and what it holds when tokens of a text are counted or paid for.
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ABOUT_ONE = re.compile(
    r"_(?:(?:file|path|dir|limit|size|length|count|port|scheme|endpoint|name|lifetime|timeout|interval)s?|policy"
    r"|policies|ttl|seconds|secs|minutes|hours|days|(?:expiry|expires|expiration)(?:_(?:at|in|on))?)$|_py$"
)
_COUNTS = re.compile(r"(?:^|_)(?:max|min|num|n|total)_")
_PER = re.compile(r"tokens_per_|_per_(?:\d+[km]?_)?tokens?$")
# What a number counts, when tokens of a text are meant.
_COUNTED = re.compile(r"tokens$|(?:^|_)tokens?_(?:left|used|remaining|spent|total|in|out)$")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE)
_TRUTH = re.compile(r"true|false|yes|no|on|off|none|null", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether what has this name (a variable, an option, a header) is a secret; the path of a file is none."""
    is_more = _SECRET_NAME.search(name) is not None
    if not is_more and _TOKEN_NAME.search(name) is None:
        return False
    words = _words(name)
    is_counted = _PER.search(words) is not None or ("tokens" in words and _COUNTS.search(words) is not None)
    return (is_more or not is_counted) and _ABOUT_ONE.search(words) is None


def is_secret_value(name: str, value: object) -> bool:
    """Whether a value is a secret by its name: a truth value never is, a number only by a clear name.

    So `password: 1234` is a secret, and `prompt_tokens: 4096` and `low_pass: 10` are none.
    """
    if value is None or isinstance(value, bool) or (isinstance(value, str) and _TRUTH.fullmatch(value)):
        return False
    is_number = isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None)
    is_unclear = _UNCLEAR_NAME.search(name) is not None or _COUNTED.search(_words(name)) is not None
    is_other = is_number and is_unclear and _CLEAR_NAME.search(name) is None
    return not is_other and is_secret_name(name)


def _words(name: str) -> str:
    """Return the words of a name in lower case, with `_` between them."""
    return _HUMP.sub("_", name).replace("-", "_").replace(".", "_").lower()


def is_telling(value: str) -> bool:
    """Whether a value that is a secret by its name alone is one wherever it stands: a short one is in many a word."""
    return len(value) >= _TELLING and not value.isdigit()
