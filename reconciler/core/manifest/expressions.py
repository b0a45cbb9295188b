"""The Jinja environment of manifest expressions: no statements, no surprises, bounded work.

A manifest may come from a pull request, so an expression can neither reach Python's internals nor ask
for more than a little memory or time: only harmless filters and methods exist, and the operators that
make much out of little are bounded. Jinja is imported here only, and this module only when a value
contains `{{`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.meta
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_EXPRESSION = 4_096
"""Characters of one string value that contains an expression."""

MAX_RESULT = 65_536
"""Characters of a result."""

MAX_VALUES = 4_096
"""Values in a result that is a list."""

ERRORS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
    SyntaxError,
    NameError,
)
"""What parsing or evaluating an expression can raise; all of it is the manifest's fault."""

OPEN, CLOSE = "{{", "}}"
# An expression without quotes, braces or white space control: its end is certain without a lexer.
_SIMPLE = re.compile(r"(?<!\{)\{\{(?![-+])([^{}'\"]+)(?<![-+])\}\}")

_MAX_BITS = 1_024
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        (
            *("capitalize", "count", "endswith", "find", "isalnum", "isalpha", "isdigit", "islower", "isupper"),
            *("lower", "lstrip", "partition", "removeprefix", "removesuffix", "rpartition", "rsplit", "rstrip"),
            *("split", "startswith", "strip", "title", "upper"),
        )
    ),
    dict: frozenset(("get", "items", "keys", "values")),
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "index")),
}
_FILTERS = (
    *("abs", "capitalize", "d", "default", "first", "float", "int", "last", "length", "list", "lower", "max", "min"),
    *("reject", "select", "sort", "sum", "title", "trim", "unique", "upper"),
)

# Jinja cannot do without delimiters for blocks and comments. These hold NUL, which no value contains.
_NEVER = ("\0block", "\0end", "\0comment", "\0close")


class Environment(ImmutableSandboxedEnvironment):
    """Only `{{ }}` is active; undefined names are errors."""

    intercepted_binops = frozenset(("*", "**", "%", "+"))

    def __init__(self) -> None:
        super().__init__(
            block_start_string=_NEVER[0],
            block_end_string=_NEVER[1],
            comment_start_string=_NEVER[2],
            comment_end_string=_NEVER[3],
            undefined=jinja2.StrictUndefined,
            finalize=_scalar,
            keep_trailing_newline=True,
            autoescape=False,
            optimized=False,  # it would write an infinite number as a name into the compiled code
        )
        builtin = self.filters
        self.filters = {name: builtin[name] for name in _FILTERS if name in builtin}
        self.filters |= {
            "join": _join,
            "replace": _replace,
            "round": _round,
            "string": _string,
            "tojson": _tojson,
        }
        self.globals = {"range": _range}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ARG002
        """Allow a few methods by type, and nothing else; items of mappings are no attributes."""
        return any(isinstance(obj, kind) and attr in names for kind, names in _METHODS.items())

    def wrap_str_format(self, value: Any) -> None:
        """Give `str.format` no way around `is_safe_attribute`: its widths are unbounded."""

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Bound the operators whose result can be far larger than their operands."""
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "%" and not numbers:
            raise SecurityError("`%` works on numbers only")
        if operator == "**" and not (numbers and abs(left) <= 1_000_000 and abs(right) <= 50):
            raise SecurityError("`**` is limited to small numbers")
        if operator == "*" and not numbers:
            text, times = (left, right) if isinstance(left, str) else (right, left)
            if not (isinstance(text, str) and isinstance(times, int)):
                raise SecurityError("`*` works on numbers, and on text with a number")
            _bounded(len(text) * times)
        if operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            _bounded(len(left) + len(right))
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and result.bit_length() > _MAX_BITS:
            raise SecurityError("the number is too large")
        return result


class Env:
    """The `env` of expressions: looks up environment variables and remembers which were read."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        self.read.add(name)
        return name in self._values

    # Without it Python would iterate over __getitem__(0), (1), ... for ever.
    __iter__ = None

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        if name in self._values:
            return self._values[name]
        return jinja2.StrictUndefined(f"the environment variable {name} is not set")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment()


def names(text: str) -> frozenset[str]:
    """Return the variables that `text` uses.

    Raises:
        ERRORS: when it is not a valid expression.
    """
    if len(text) > MAX_EXPRESSION:
        raise SecurityError(f"a value with an expression is limited to {MAX_EXPRESSION:,} characters")
    pieces = _SIMPLE.split(text)
    if any(OPEN in literal for literal in pieces[::2]):
        return _names(text)
    return frozenset().union(*(_names(OPEN + inner + CLOSE) for inner in pieces[1::2]))


def evaluate(text: str, values: Mapping[str, Any]) -> Any:
    """Return `text` rendered; a text that is one expression alone keeps that expression's type.

    Raises:
        ERRORS: an undefined name, a failing or forbidden operation, too large a result.
    """
    pieces = _SIMPLE.split(text)
    if any(OPEN in literal for literal in pieces[::2]):
        return _evaluate_any(text, values)
    if len(pieces) == 3 and not pieces[0] and not pieces[2]:
        return _plain(_value(pieces[1], values))
    parts = [_string(_value(piece, values)) if index % 2 else piece for index, piece in enumerate(pieces)]
    _bounded(sum(map(len, parts)))
    return _text("".join(parts))


def _evaluate_any(text: str, values: Mapping[str, Any]) -> Any:
    """Like `evaluate`, for texts that only Jinja's own lexer can take apart."""
    environment = _environment()
    if not (text.startswith(OPEN) and text.endswith(CLOSE) and _is_single(environment.parse(text))):
        rendered = environment.from_string(text).render(values)
        _bounded(len(rendered))
        return _text(rendered)
    inner = text[2:-2]
    # As in `{{- x -}}`, where the hyphens are Jinja's white space control.
    inner = inner[1:] if inner[:1] in ("-", "+") else inner
    inner = inner[:-1] if inner[-1:] in ("-", "+") else inner
    return _plain(_value(inner, values))


def _value(source: str, values: Mapping[str, Any]) -> Any:
    result = _compiled(source)(values)
    if isinstance(result, jinja2.Undefined):
        str(result)  # raises: StrictUndefined has no text
    return result


# Compiling costs half a millisecond, and the same few expressions stand in thousands of blocks.
@lru_cache(maxsize=1_024)
def _compiled(source: str) -> Callable[[Mapping[str, Any]], Any]:
    return _environment().compile_expression(source, undefined_to_none=False)


@lru_cache(maxsize=1_024)
def _names(text: str) -> frozenset[str]:
    parsed = _environment().parse(text)
    for constant in parsed.find_all(nodes.Const):
        _finite(constant.value)
    return frozenset(jinja2.meta.find_undeclared_variables(parsed))


def _is_single(template: nodes.Template) -> bool:
    body = template.body
    return (
        len(body) == 1
        and isinstance(body[0], nodes.Output)
        and len(body[0].nodes) == 1
        and not isinstance(body[0].nodes[0], nodes.TemplateData)
    )


def _plain(value: Any) -> Any:
    """Return `value` in YAML's types; ranges, tuples and generators of filters become lists."""
    budget = [MAX_VALUES, MAX_RESULT]

    def convert(item: Any, depth: int) -> Any:
        budget[0] -= 1
        if budget[0] < 0 or depth > 20:
            raise SecurityError(f"the result has more than {MAX_VALUES:,} values")
        if item is None or isinstance(item, bool | int | float):
            return _finite(item)
        if isinstance(item, str):
            budget[1] -= len(item)
            if budget[1] < 0:
                raise SecurityError(f"the result is larger than {MAX_RESULT:,} characters")
            return _text(str(item))
        if isinstance(item, Mapping):
            return {_text(str(key)): convert(inner, depth + 1) for key, inner in item.items()}
        if isinstance(item, jinja2.Undefined):
            return str(item)
        if hasattr(item, "__iter__"):
            return [convert(inner, depth + 1) for inner in item]
        raise TypeError(f"the result is of type {type(item).__name__}")

    return convert(value, 0)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large, or is none")
    return value


def _text(value: str) -> str:
    """Return a text that a file can hold: neither NUL nor half a character."""
    if found := _NO_TEXT.search(value):
        raise ValueError(f"the result holds the character U+{ord(found[0]):04X}, which no file of text can")
    return value


def _bounded(size: int) -> None:
    if size > MAX_RESULT:
        raise SecurityError(f"the result is larger than {MAX_RESULT:,} characters")


def _scalar(value: Any) -> Any:
    """Let only scalars into text: a list's Python notation is never what a file should hold."""
    if isinstance(value, jinja2.Undefined) or value is None or isinstance(value, str | bool | int | float):
        return _finite(value)
    raise TypeError("a list or mapping cannot stand inside text; use `| join(' ')`")


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_VALUES:
        raise SecurityError(f"a range is limited to {MAX_VALUES:,} values")
    return numbers


def _round(value: float, digits: int = 0) -> float:
    return round(value, max(-20, min(20, digits)))


def _string(value: Any) -> str:
    return str(_scalar(value))


def _join(value: Any, separator: str = "") -> str:
    parts = [str(item) for item in _plain(value)]
    _bounded(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)


def _replace(value: str, old: str, new: str) -> str:
    value = str(value)
    _bounded(len(value) + value.count(old) * len(new))
    return value.replace(old, new)


def _tojson(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)
