"""Plain YAML scalars: what an unquoted word means, and whether YAML 1.1 and 1.2 agree about it.

PyYAML, and with it Chiltepin and globus-compute-endpoint, reads YAML 1.1; editors, schemas and most
other tools read YAML 1.2. A word on which they differ (`10:00:00`, `0123`, `on`, `1e3`) has to be
quoted or written differently, so that a manifest means one thing.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple, TypeAlias

Scalar: TypeAlias = "str | int | float | bool | None"


class Reading(NamedTuple):
    """What a plain scalar means; `doubt` says why that is not safe to rely on, `advice` what to write."""

    value: Scalar
    doubt: str | None = None
    advice: str | None = None


# First characters of words that could be anything but text; all others are strings in both versions.
_SUSPECT = frozenset("0123456789+-.~=<nNtTfFyYoO")

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_OLD_TRUE = frozenset(("yes", "Yes", "YES", "on", "On", "ON", "y", "Y"))
_OLD_FALSE = frozenset(("no", "No", "NO", "off", "Off", "OFF", "n", "N"))
_SPECIAL = frozenset((".inf", "+.inf", "-.inf", ".nan"))

_INT_11 = re.compile(
    r"(?P<bin>[-+]?0b[01_]+)|(?P<oct>[-+]?0[0-7_]+)|(?P<dec>[-+]?(?:0|[1-9][0-9_]*))"
    r"|(?P<hex>[-+]?0x[0-9a-fA-F_]+)|(?P<sixty>[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)"
)
_FLOAT_11 = re.compile(r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?")
_SIXTY_FLOAT_11 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*")
_DATE_11 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
    r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?"
)
_INT_12 = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT_12 = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")

_MAX_DIGITS = 400
"""Longer numbers are refused: no option takes them, and Python bounds the conversion itself."""


def read_plain(text: str) -> Reading:
    """Return what the plain scalar `text` means, with a doubt where YAML 1.1 and 1.2 differ.

    With a doubt the value is the text itself, as if it had been quoted.
    """
    if text in _NULLS:
        return Reading(None)
    if text[0] not in _SUSPECT:
        return Reading(text)
    if text in _TRUE:
        return Reading(True)
    if text in _FALSE:
        return Reading(False)
    if text in _OLD_TRUE or text in _OLD_FALSE:
        word = "true" if text in _OLD_TRUE else "false"
        return _doubtful(text, f"`{text}` means {word} in YAML 1.1 and the text {text!r} in YAML 1.2", word)
    if text in ("=", "<<"):
        return _doubtful(text, f"`{text}` is a special value in YAML 1.1 and text in YAML 1.2", None)
    if text[0] in "0123456789+-.":
        return _number(text)
    return Reading(text)


def _number(text: str) -> Reading:
    if text.lower() in _SPECIAL and text.lstrip("+-")[1:] in _SPECIAL_CASES:
        return _doubtful(text, f"`{text}` is no number that anything here takes", None)
    if len(text) > _MAX_DIGITS:
        could_be = _INT_11.fullmatch(text) or _FLOAT_11.fullmatch(text) or _FLOAT_12.fullmatch(text)
        return _doubtful(text, "a number of this length is not supported", None) if could_be else Reading(text)
    old, new = _read_11(text), _read_12(text)
    leading_zero = re.fullmatch(r"[-+]?0[0-9]+", text) is not None
    if isinstance(new, float) and math.isinf(new) and old == new:
        return _doubtful(text, f"`{text}` is a larger number than there can be", None)
    if type(old) is type(new) and old == new and not leading_zero:
        return Reading(new)
    if leading_zero and old == new:
        return _doubtful(text, f"`{text}` is the number {new}: its leading zeros are lost", str(new))
    doubt = f"`{text}` means {_show(old)} in YAML 1.1 and {_show(new)} in YAML 1.2"
    plain = None if isinstance(new, str) else repr(new)
    return _doubtful(text, doubt, plain)


_SPECIAL_CASES = frozenset(("inf", "Inf", "INF", "nan", "NaN", "NAN"))


class _Date(str):
    """A word that YAML 1.1 reads as a date."""

    __slots__ = ()


def _read_11(text: str) -> Scalar:
    if found := _INT_11.fullmatch(text):
        sign, digits = (-1 if text[0] == "-" else 1), text.lstrip("+-").replace("_", "")
        kind = found.lastgroup
        if kind == "sixty":
            return sign * _base_60([int(part) for part in digits.split(":")])
        base = {"bin": 2, "oct": 8, "dec": 10, "hex": 16}[kind or "dec"]
        digits = digits[2:] if base in (2, 16) else digits
        return sign * int(digits, base) if digits else text
    if _FLOAT_11.fullmatch(text):
        return float(text.replace("_", ""))
    if _SIXTY_FLOAT_11.fullmatch(text):
        return math.nan
    return _Date(text) if _DATE_11.fullmatch(text) else text


def _read_12(text: str) -> Scalar:
    if _INT_12.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    return float(text) if _FLOAT_12.fullmatch(text) else text


def _base_60(parts: list[int]) -> int:
    total = 0
    for part in parts:
        total = total * 60 + part
    return total


def _show(value: Scalar) -> str:
    if isinstance(value, _Date):
        return "a date"
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, float) and math.isnan(value):
        return "a number in base 60"
    return f"the number {value!r}"


def _doubtful(text: str, doubt: str, plain: str | None) -> Reading:
    quoted = f'quote it for the text: "{text}"' if len(text) < 80 else "quote it"
    return Reading(text, doubt, f"{quoted}, or write {plain}" if plain else quoted)
