"""Taking secrets out of other programs' output, and out of texts that others wrote, before anybody sees it.

What looks like a secret is decided here, for output, plans and manifests alike. Every search is linear in the
length of the text, whatever stands in it: logs are other people's, and their lines may be of any length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

HIDDEN = "***"
SHORTEST = 4
"""Characters that a known secret must have to be looked for in texts."""

_KINDS = (
    r"secret(?!ar[iy])|passw(?!ordless)|pass[_-]word|pass[_-]?phrase|(?<=[_-])pwd|(?-i:(?<=[a-z])Pwd)|credential"
    r"|api[_-]?key|enc[_-]?key|private[_-]?key|access[_-]?key|authorization"
)
_SECRET_NAME = re.compile(_KINDS, re.IGNORECASE)
_TOKEN_NAME = re.compile(r"token(?!i[sz])", re.IGNORECASE)
# What a name ends in that may have a number as its secret; any other number counts or measures something.
_MAY_BE_A_NUMBER = re.compile(rf"(?:{_KINDS}|token(?!s))[a-z]{{0,8}}(?:[_-]?\d{{1,4}})?$", re.IGNORECASE)
# Where a word of a name begins in the midst of letters; then: what it ends in when it is about a secret and is none,
# and what it holds when tokens of a text are counted or paid for.
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ABOUT_ONE = re.compile(r"_(?:(?:file|path|dir|limit|size|scheme|endpoint|name)s?|policy|policies|ttl)$|_py$")
_COUNTS = re.compile(r"(?:^|_)(?:max|min|num|n|total)_")
_PER = re.compile(r"tokens_per_|_per_(?:\d+[km]?_)?tokens?$")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?")
_TRUTH = re.compile(r"true|false|yes|no|on|off|none|null", re.IGNORECASE)

# A name with what separates it from its value; in JSON inside of JSON the quotes have backslashes.
_NAME = re.compile(r"""(?<![\w.-])([\w.-]+)\\*['"]?[ \t]*[:=]+>?([ \t]*)""")
_OPENING = re.compile(r"""[bBfFrRuU]{0,2}(\\*)(["'])""")
# Quotes inside of quotes: after a backslash, or doubled as in YAML and SQL.
_QUOTED = {
    '"': re.compile(r'[^"\\\n]*(?:(?:\\[^\n]|"")[^"\\\n]*)*'),
    "'": re.compile(r"[^'\\\n]*(?:(?:\\[^\n]|'')[^'\\\n]*)*"),
}
# Where a value without quotes ends: one that may hold blanks, and one that may not.
_LINE_END = re.compile("$", re.MULTILINE)
_NEXT = re.compile(r"""(?<![,;&])[,;&]+[ \t]*\\*['"]?[\w.-]+\\*['"]?[ \t]*[:=]|$""", re.MULTILINE)
_WORD_END = re.compile(r"""(?<![,;&])[,;&]+(?:\\*['"]?[\w.-]+\\*['"]?[:=]|(?=\s|$))|\s|$""", re.MULTILINE)

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

# A name with its value on the lines below.
_OPENS = re.compile(r"""([ ]*(?:- +)*)["']?([\w.-]+)["']?[ ]*:[ ]*(?:[|>][-+0-9]*[ ]*)?(?:#.*)?$""")

_SCHEME = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether what has this name (a variable, an option, a header) is a secret; the path of a file is none."""
    is_more = _SECRET_NAME.search(name) is not None
    if not is_more and _TOKEN_NAME.search(name) is None:
        return False
    words = _HUMP.sub("_", name).replace("-", "_").replace(".", "_").lower()
    is_counted = _PER.search(words) is not None or ("tokens" in words and _COUNTS.search(words) is not None)
    return (is_more or not is_counted) and _ABOUT_ONE.search(words) is None


def is_secret_value(name: str, value: object) -> bool:
    """Whether a value is a secret by its name: a truth value never is, a number only where it may be the whole of one.

    So `password: 1234` is a secret, and `token_count: 4` is none.
    """
    if value is None or isinstance(value, bool) or not is_secret_name(name):
        return False
    if isinstance(value, str) and _TRUTH.fullmatch(value):
        return False
    is_number = isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None)
    return not is_number or _MAY_BE_A_NUMBER.search(name) is not None


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


def named_secrets(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield each name in `text` whose value is a secret, with the value's start and end.

    A value in quotes ends with them. One that follows a blank (`password: correct horse`) ends with its line, any
    other with the word; both end before a comma, semicolon or `&` that the next name follows.
    """
    at = 0
    while (found := _NAME.search(text, at)) is not None:
        at = found.end()
        in_a_path = text[found.start() - 1 : found.start()] == "/" and text[at - 1 : at + 1] == ":/"
        if is_secret_name(found[1]) and not in_a_path:
            start, at = _value(text, at, has_blanks=bool(found[2]) or "authorization" in found[1].lower())
            if at > start and is_secret_value(found[1], text[start:at]):
                yield found[1], start, at


def _value(text: str, start: int, *, has_blanks: bool) -> tuple[int, int]:
    """Return start and end of the value at `start`, without its quotes."""
    opening = _OPENING.match(text, start)
    if opening is None:
        return start, _next(_NEXT if has_blanks else _WORD_END, text, start)
    start = opening.end()
    escapes, quote = opening[1], opening[2]
    if escapes:  # it ends with the same quote after as many backslashes, not more
        return start, _next(re.compile(rf"(?<!\\)\\{{{len(escapes)}}}{quote}|$", re.MULTILINE), text, start)
    inside = _QUOTED[quote].match(text, start)
    end = inside.end() if inside else start
    closed = text[end : end + 1] == quote
    return start, end if closed else _next(_LINE_END, text, end)


def _next(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Return where `pattern` is found first."""
    found = pattern.search(text, start)
    return found.start() if found else len(text)


def redact(text: str, secrets: Iterable[str] = (), *, keep: re.Pattern[str] | None = None) -> str:
    """Return `text` without user and password of URLs, tokens, values that are named secret, and `secrets`.

    Secrets of less than 4 characters are left: they are in many a word.

    Args:
        text: one line or many.
        secrets: known ones.
        keep: found in what is named a secret and is none, but says where to get one.
    """
    # The longest first: what begins with another secret must not keep its end.
    for secret in sorted(set(secrets), key=lambda each: (-len(each), each)):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    text = without_passwords(text)
    parts: list[str] = []
    done = 0
    for _, start, end in named_secrets(text):
        if keep is None or not keep.search(text, start, end):
            parts += [text[done:start], HIDDEN]
            done = end
    text = "".join([*parts, text[done:]])
    return _SCHEME.sub(rf"\1 {HIDDEN}", text)


def redacted_lines(lines: Iterable[str]) -> list[str]:
    """Return each line of a YAML file without what looks like a secret, and nothing of what stands below its name."""
    shown: list[str] = []
    below: int | None = None  # the column of the name whose lines these are
    for line in lines:
        text = line.lstrip()
        column = len(line) - len(text)
        if below is not None and (not text or column > below or (column == below and text.startswith("- "))):
            shown.append(f"{line[:column]}{HIDDEN}" if text else line)
            continue
        opened = _OPENS.match(line)
        below = opened.end(1) if opened and is_secret_name(opened[2]) else None
        shown.append(redact(line) if below is None else line)
    return shown


def last_lines(text: str, count: int) -> str:
    """Return the last `count` lines."""
    return "\n".join(text.splitlines()[-count:]) if count > 0 else ""
