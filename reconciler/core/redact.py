"""Taking secrets out of other programs' output, and out of texts that others wrote, before anybody sees it.

What is a secret is decided in `secret_names`, `named_secrets` and `url_secrets`, and here by its own form. Every search
is linear in the length of the text, whatever stands in it: logs are other people's, and their lines may be of any
length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from reconciler.core.named_secrets import named_secrets
from reconciler.core.secret_names import HIDDEN, is_secret_name
from reconciler.core.url_secrets import without_passwords

SHORTEST = 4
"""Characters that a known secret must have to be looked for in texts."""

# What a line begins with: a key of YAML or of an INI file, and then what says that its value stands below.
_KEY = re.compile(r"""([ ]*(?:- +)*)["']?([\w.-]+)["']?[ ]*([:=])[ ]*([|>][-+1-9]{0,2}[ ]*$)?""")
# A line of JSON whose value stands on the next one, wherever that begins.
_NEXT_LINE = re.compile(r"""(?<![\w.-])([\w.-]+)["'][ \t]*:[ \t]*$""")
# What the shell takes from elsewhere, and nothing besides: a variable, or a file. Any other command may hold a secret.
# What is parted from its name by a colon is for no shell.
_FILE = r"""(?:cat\s+|<\s*)["']?[\w./~$@%+{}-]+["']?\s*"""
_TAKEN = re.compile(
    r"""(?:(?:(?<==)|(?<=="))(?:(?:Bearer|Basic|Token)\s+)?|(?<=\w )|(?<=\w "))"""
    rf"""(?:\$[a-z_]\w*|\$\{{[a-z_]\w*\}}|\$\(\s*{_FILE}\)|`\s*{_FILE}`)\Z""",
    re.IGNORECASE,
)

_SCHEME = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_PEM = re.compile(r"-{4,5} ?(?:(BEGIN)|END) [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_WORDS = re.compile(r"\S[^\n]*")


def redact(text: str, secrets: Iterable[str] = (), *, keep: re.Pattern[str] | None = None) -> str:
    """Return `text` without user and password of URLs, tokens, private keys, values that are named secret, `secrets`.

    Secrets of less than 4 characters are left: they are in many a word.

    Args:
        text: one line or many.
        secrets: known ones.
        keep: matches what is named a secret and is none, but says where to get one.
    """
    return _redacted(_without_keys(without_known(text, secrets)), keep)[0]


def without_known(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without these secrets; those of less than 4 characters are left."""
    # The longest first: what begins with another secret must not keep its end.
    for secret in sorted(set(secrets), key=lambda each: (-len(each), each)):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return text


def _without_keys(text: str) -> str:
    """Return `text` without what stands in private keys; of one that is cut off, to that end of `text`."""
    marks = list(_PEM.finditer(text)) if "PRIVATE KEY" in text else []
    parts: list[str] = []
    done, is_inside = 0, bool(marks) and not marks[0][1]
    for mark in marks:
        before = text[done : mark.start()]
        parts += [_WORDS.sub(HIDDEN, before) if is_inside else before, mark[0]]
        done, is_inside = mark.end(), bool(mark[1])
    return "".join([*parts, _WORDS.sub(HIDDEN, text[done:]) if is_inside else text[done:]])


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

    Nothing is shown of what is indented below the name of one, nor of any line after one that does not end on its
    own: where its quotes, its brackets or its command end, only a reader of that language could tell. What the shell
    takes from elsewhere (`TOKEN=$(cat FILE)`) is none, and stays.
    """
    shown: list[str] = []
    below: int | None = None  # the column of the name whose lines these are
    is_open = False
    texts = list(lines)
    for line in _without_keys("\n".join(texts)).split("\n") if texts else ():
        text = line.lstrip()
        column = len(line) - len(text)
        is_below = below is not None and (
            not text or column > below or (column == below and f"{text} ".startswith("- "))
        )
        key, waits = _KEY.match(line), _NEXT_LINE.search(line)
        masked, goes_on = _redacted(line, _TAKEN)
        is_hidden = is_open or is_below
        is_open |= goes_on or (waits is not None and is_secret_name(waits[1]))
        if is_hidden:
            shown.append(f"{line[:column]}{HIDDEN}" if text else line)
            continue
        below = None
        if key and is_secret_name(key[2]):
            # A script's lines are indented at will: where it takes the secret from elsewhere, those below are its own.
            is_taken = key[3] == "=" and masked == line and bool(line[key.end() :].strip())
            below = None if is_taken else key.end(1)
        shown.append(line if below is not None and key and key[4] else masked)
    return shown


def last_lines(text: str, count: int) -> str:
    """Return the last `count` lines."""
    return "\n".join(text.splitlines()[-count:]) if count > 0 else ""
