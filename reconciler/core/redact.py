"""Taking secrets out of other programs' output, and out of texts that others wrote, before anybody sees it.

What looks like a secret is decided here, for output, plans and manifests alike. Every search is linear in the
length of the text, whatever stands in it: logs are other people's, and their lines may be of any length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

HIDDEN = "***"
SHORTEST = 4
"""Characters that a known secret must have to be looked for in texts."""
_TELLING = 8

_KINDS = (
    r"secret(?!ar[iy])|passw(?!ordless)|pass[_-]word|pass[_-]?phrase|(?<=[_-])pwd|(?-i:(?<=[a-z])Pwd)|credential"
    r"|api[_-]?key|enc[_-]?key|private[_-]?key|access[_-]?key|authorization"
)
_SECRET_NAME = re.compile(_KINDS, re.IGNORECASE)
_TOKEN_NAME = re.compile(r"token(?!i[sz])", re.IGNORECASE)
# Where a word of a name begins in the midst of letters; then: what it ends in when it is about a secret and is none,
# and what it holds when tokens of a text are counted or paid for.
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ABOUT_ONE = re.compile(
    r"_(?:(?:file|path|dir|limit|size|length|count|port|scheme|endpoint|name)s?|policy|policies|ttl)$|_py$"
)
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
# What a value without quotes may open, a flow of YAML or JSON or a command of the shell, and what stands in such a one.
_GROUP = re.compile(r"\$?([\[({`])")
_CLOSING = {"[": "]", "(": ")", "{": "}", "`": "`"}
_INSIDE = re.compile(
    r"""(?<!\w)(?:"[^"\\\n]*(?:\\.[^"\\\n]*)*(?:"|\\?$)|'[^'\\\n]*(?:\\.[^'\\\n]*)*(?:'|\\?$))|[\[({]|[\])}]|$""",
    re.MULTILINE,
)
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

# A key of YAML, and what follows when its value stands on the lines below only.
_KEY = re.compile(r"""([ ]*(?:- +)*)["']?([\w.-]+)["']?[ ]*:([ ]*(?:[|>][-+0-9]*[ ]*)?(?:#.*)?$)?""")
# What the shell takes from elsewhere, and nothing besides: a variable, or a file. Any other command may hold a secret.
_FILE = r"""(?:cat\s+|<\s*)["']?[\w./~$@%+{}-]+["']?\s*"""
_TAKEN = re.compile(
    rf"""(?:(?<==)|(?<=="))(?:(?:Bearer|Basic|Token)\s+)?(?:\$\w+|\$\{{\w+\}}|\$\(\s*{_FILE}\)|`\s*{_FILE}`)\Z""",
    re.IGNORECASE,
)

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
    """Whether a value is a secret by its name: a truth value never is, a number only if it counts no tokens.

    So `password: 1234` is a secret, and `prompt_tokens: 4096` is none.
    """
    return is_secret_name(name) and not _is_plain(name, value)


def _is_plain(name: str, value: object) -> bool:
    """Whether a value is none although its name is that of a secret."""
    if value is None or isinstance(value, bool) or (isinstance(value, str) and _TRUTH.fullmatch(value)):
        return True
    is_number = isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None)
    return is_number and "tokens" in name.lower() and _SECRET_NAME.search(name) is None


def is_telling(value: str) -> bool:
    """Whether a value that is a secret by its name alone is one wherever it stands: a short one is in many a word."""
    return len(value) >= _TELLING and not value.isdigit()


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


class Named(NamedTuple):
    """A secret in a text: its name, where its value starts and ends, and whether it goes on below that line."""

    name: str
    start: int
    end: int
    goes_on: bool


def named_secrets(text: str) -> Iterator[Named]:
    """Yield each name in `text` whose value is a secret.

    A value in quotes ends with them. One that follows a blank (`password: correct horse`) ends with its line, any
    other with the word; both end before a comma, semicolon or `&` that the next name follows, and not within brackets.
    """
    at = 0
    while (found := _NAME.search(text, at)) is not None:
        at = found.end()
        in_a_path = text[found.start() - 1 : found.start()] == "/" and text[at - 1 : at + 1] == ":/"
        if is_secret_name(found[1]) and not in_a_path:
            has_blanks = bool(found[2]) or "authorization" in found[1].lower()
            start, at, goes_on = _value(text, at, has_blanks=has_blanks)
            if at > start and not _is_plain(found[1], text[start:at]):
                yield Named(found[1], start, at, goes_on)


def _value(text: str, start: int, *, has_blanks: bool) -> tuple[int, int, bool]:
    """Return start and end of the value at `start`, without its quotes, and whether it goes on below its line."""
    opening = _OPENING.match(text, start)
    if opening is None:
        at, is_open = _group_end(text, start)
        end = _next(_NEXT if has_blanks else _WORD_END, text, at)
        return start, end, is_open or text[end - 1 : end + 1] in ("\\", "\\\n")
    start = opening.end()
    escapes, quote = opening[1], opening[2]
    if escapes:  # it ends with the same quote after as many backslashes, not more
        return start, _next(re.compile(rf"(?<!\\)\\{{{len(escapes)}}}{quote}|$", re.MULTILINE), text, start), False
    at = _group_end(text, start)[0] if text.startswith("$(", start) and quote == '"' else start
    inside = _QUOTED[quote].match(text, at)
    end = inside.end() if inside else at
    return (start, end, False) if text[end : end + 1] == quote else (start, _next(_LINE_END, text, end), True)


def _group_end(text: str, start: int) -> tuple[int, bool]:
    """Return where the brackets or backquotes that open at `start` end, and whether that is not on their line."""
    group = _GROUP.match(text, start)
    if group is None:
        return start, False
    at, depth, closing = group.end(), 1, _CLOSING[group[1]]
    if closing == group[1]:
        end = _next(re.compile(f"{closing}|$", re.MULTILINE), text, at)
        return (end + 1, False) if text[end : end + 1] == closing else (end, True)
    while depth and (found := _INSIDE.search(text, at)) and found[0]:
        at = found.end()
        depth += (found[0] in "[({") - (found[0] in "])}")
    return (at, False) if depth == 0 else (_next(_LINE_END, text, at), True)


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
        keep: matches what is named a secret and is none, but says where to get one.
    """
    return _redacted(without_known(text, secrets), keep)[0]


def without_known(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without these secrets; those of less than 4 characters are left."""
    # The longest first: what begins with another secret must not keep its end.
    for secret in sorted(set(secrets), key=lambda each: (-len(each), each)):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return text


def _redacted(text: str, keep: re.Pattern[str] | None) -> tuple[str, bool]:
    """Return `text` without what looks like a secret, and whether the last one goes on below it."""
    text = without_passwords(text)
    parts: list[str] = []
    done, goes_on = 0, False
    for named in named_secrets(text):
        if keep is None or not keep.match(text, named.start, named.end):
            parts += [text[done : named.start], HIDDEN]
            done, goes_on = named.end, named.goes_on
    text = "".join([*parts, text[done:]])
    return _SCHEME.sub(rf"\1 {HIDDEN}", text), goes_on


def redacted_lines(lines: Iterable[str]) -> list[str]:
    """Return each line of a YAML file or a script without what looks like a secret, wherever that ends.

    Nothing is shown of what stands below the name of one. Of a text in which quotes, brackets or a command go on
    below the line of a secret no further line is: where they end, only their own language can tell. What the shell
    takes from elsewhere (`TOKEN=$(cat FILE)`) is none, and stays.
    """
    shown: list[str] = []
    below: int | None = None  # the column of the name whose lines these are
    goes_on = False
    for line in lines:
        text = line.lstrip()
        column = len(line) - len(text)
        is_below = below is not None and (not text or column > below or (column == below and text.startswith("- ")))
        if is_below or goes_on:
            shown.append(f"{line[:column]}{HIDDEN}" if text else line)
            continue
        key = _KEY.match(line)
        below = key.end(1) if key and is_secret_name(key[2]) else None
        if key and below is not None and key[3] is not None:
            shown.append(line)
        else:
            masked, goes_on = _redacted(line, _TAKEN)
            shown.append(masked)
    return shown


def last_lines(text: str, count: int) -> str:
    """Return the last `count` lines."""
    return "\n".join(text.splitlines()[-count:]) if count > 0 else ""
