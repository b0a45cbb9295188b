"""YAML text to plain values with positions: the first stage of reading a manifest.

libyaml's event stream is turned into dicts, lists and scalars by a builder of our own: several times
faster than a loader, and it keeps the line and column of every key and value. Nothing is constructed
but mappings with string keys, lists, strings, numbers, booleans and null.
"""

from __future__ import annotations

import re

from reconciler.core.invalid import ManifestInvalid
from reconciler.core.manifest.parsed import BREAK, Parsed
from reconciler.core.manifest.tree import build
from reconciler.core.problems import Position, Problem

MAX_BYTES = 5_000_000
"""Size of a manifest, in bytes."""

_UNPRINTABLE = re.compile("[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse(text: str | bytes, file: str) -> Parsed:
    """Return the values of one YAML document with their positions.

    Args:
        text: the document; bytes are decoded as UTF-8, with or without a byte order mark.
        file: the name shown in problems.

    Raises:
        ManifestInvalid: with every problem of the text, each with its position.
    """
    parsed = scan(text, file)
    if parsed.problems:
        raise ManifestInvalid(parsed.problems)
    return parsed


def scan(text: str | bytes, file: str) -> Parsed:
    """Like `parse`, but problems that leave the document readable are returned in `Parsed.problems`.

    Raises:
        ManifestInvalid: when nothing can be read: not text, not YAML, too large, too deep.
    """
    clean = _decode(text, file)
    _refuse_unprintable(clean, file)
    return build(clean, file)


def _decode(text: str | bytes, file: str) -> str:
    size = len(text)
    if isinstance(text, bytes):
        if size <= MAX_BYTES:
            text = _utf8(text, file)
    elif size <= MAX_BYTES < 4 * size:
        size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise ManifestInvalid([Problem(f"the file has {size:,} bytes; the limit is {MAX_BYTES:,}", _start(file))])
    assert isinstance(text, str)  # noqa: S101  narrowed above
    return text.removeprefix("\ufeff")


def _utf8(data: bytes, file: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ManifestInvalid([Problem("the file is in UTF-16", _start(file), "save it as UTF-8")])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise ManifestInvalid([Problem(message, _end(before, file), "save the file as UTF-8")]) from None


def _refuse_unprintable(text: str, file: str) -> None:
    found = _UNPRINTABLE.search(text)
    if found is None:
        return
    at = _end(text[: found.start()], file)
    if found[0] == "\0":
        message = "a NUL byte: this is not a text file"
    else:
        message = f"control character U+{ord(found[0]):04X} is not allowed in YAML"
    raise ManifestInvalid([Problem(message, at)])


def _start(file: str) -> Position:
    return Position(file, 1, 1)


def _end(text: str, file: str) -> Position:
    lines = BREAK.split(text)
    return Position(file, len(lines), len(lines[-1]) + 1)
