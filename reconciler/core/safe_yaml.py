"""YAML that others may have written, loaded without falling for it.

libyaml's loader recurses without a limit, so that some kilobytes of brackets end the process with a
segmentation fault; recursive and exploding aliases are traps for everything that walks the result.
Texts that can hold neither, all but a few, pay for a few searches only. They are built from libyaml's events:
PyYAML's nodes in between take four times as long, which is half a second for a lock of 1,000 endpoints.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import yaml

from reconciler.core.frozen import dataclass

MAX_DEPTH = 100
"""Nesting of mappings and lists; a lockfile needs about six levels."""

MAX_NODES = 1_000_000
"""Values after the expansion of all aliases."""

_LIBYAML_LIMIT = "exceeded maximum nesting depth"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_OPENERS = 50
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_COMPACT = {
    kind: re.compile(pattern) for kind, pattern in ((str, r"(?:[-?:][ \t]+){8}"), (bytes, rb"(?:[-?:][ \t]+){8}"))
}


_BEGIN = {yaml.MappingStartEvent: dict, yaml.SequenceStartEvent: list}
_END = frozenset({yaml.MappingEndEvent, yaml.SequenceEndEvent})
_AROUND = frozenset({yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent})
_TEXT = "tag:yaml.org,2002:str"
_IMMUTABLE = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "timestamp"))
_NO_KEY = object()


class Unfit(yaml.YAMLError):
    """The text may be YAML, but is not to be loaded."""


def is_depth(error: yaml.YAMLError) -> bool:
    """Say whether libyaml gave up for nesting: newer ones have a limit, and read ahead of the events to reach it."""
    return isinstance(error, yaml.MarkedYAMLError) and error.problem == _LIBYAML_LIMIT


def load(text: str | bytes) -> Any:
    """Return the value of one YAML document, of plain types only.

    Raises:
        yaml.YAMLError: it is not YAML, nested too deeply, recursive, or explodes.
        ValueError: it holds a date or number that there cannot be.
    """
    if _harmless(text):
        with suppress(_Odd, yaml.YAMLError, ValueError):  # which PyYAML knows, or says with its place
            return _built(text)
    else:
        _check(text)
    try:
        return yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader, in its C form
    except RecursionError as e:
        raise Unfit("it is nested too deeply, or contains itself") from e


@dataclass(frozen=True)
class Key:
    """A key of a document's mapping; line and column count from 1."""

    name: str
    line: int
    column: int


def scalar(name: str) -> str:
    """Return a name as YAML text, quoted unless it is plain to everybody that it is text."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", name) and name.lower() not in _WORDS
    return name if plain else json.dumps(name, ensure_ascii=False)


def top_level_keys(text: str | bytes) -> tuple[Key, ...]:
    """Return the keys of the mapping that a document is; none when it is none, or not to be loaded.

    What `<<` merges in has its place.
    """
    try:
        value = load(text)  # says whether it may be walked, too
        node = yaml.compose(text, Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError):
        return ()
    if not (isinstance(value, dict) and isinstance(node, yaml.MappingNode)):
        return ()
    places = {str(key.value): (key.start_mark.line + 1, key.start_mark.column + 1) for key, _ in node.value}
    merged = places.get("<<", (1, 1))
    return tuple(Key(str(name), *places.get(str(name), merged)) for name in value)


def _harmless(text: str | bytes) -> bool:
    """Say whether the text, whatever it is, can be neither deep nor hold an alias."""
    if isinstance(text, str):
        openers = text.count("[") - text.count("[]") + text.count("{") - text.count("{}")
        wide = " " * 64 in text or "*" in text
    else:
        openers = text.count(b"[") - text.count(b"[]") + text.count(b"{") - text.count(b"{}")
        wide = b" " * 64 in text or b"*" in text or b"\0" in text  # UTF-16 hides all that is looked for
    return openers <= _PLAIN_OPENERS and not wide and _COMPACT[type(text)].search(text) is None  # type: ignore[arg-type]


class _Odd(Exception):
    """YAML beyond plain mappings, lists and scalars: tags, anchors, merges, keys that are none of these."""


def _built(text: str | bytes) -> Any:
    """Return what `yaml.load` returns, of a document without aliases.

    Raises:
        _Odd: it is for PyYAML.
        yaml.YAMLError, ValueError: so is what is wrong with it.
    """
    loader = _LOADER(text)
    plain: dict[str, Any] = {}
    documents: list[Any] = []
    into: Any = documents
    key: Any = _NO_KEY
    outer: list[tuple[Any, Any]] = []
    try:
        while (kind := type(event := loader.get_event())) is not yaml.StreamEndEvent:
            if kind in _END:
                into, key = outer.pop()
                continue
            if kind in _AROUND:
                continue
            is_key = key is _NO_KEY and type(into) is dict
            begin = _BEGIN.get(kind)
            if event.tag is not None or event.anchor is not None or (begin and is_key):
                raise _Odd
            value = begin() if begin else _scalar(loader, event, plain)
            if type(into) is list:
                into.append(value)
            elif is_key:
                key = value
            else:
                into[key], key = value, _NO_KEY
            if begin:
                outer.append((into, key))
                into, key = value, _NO_KEY
    finally:
        loader.dispose()
    if len(documents) > 1:
        raise _Odd
    return documents[0] if documents else None


def _scalar(loader: Any, event: Any, plain: dict[str, Any]) -> Any:
    """Return a scalar's value. Those without quotes come again and again: `plain` keeps them, each is resolved once."""
    text = event.value
    if not event.implicit[0]:
        return text
    if text in plain:
        return plain[text]
    tag = loader.resolve(yaml.ScalarNode, text, event.implicit)
    if tag != _TEXT and tag not in _IMMUTABLE:
        raise _Odd
    node = yaml.ScalarNode(tag, text, event.start_mark, event.end_mark)
    plain[text] = value = text if tag == _TEXT else loader.construct_object(node)
    return value


def _check(text: str | bytes) -> None:
    """Walk the text's events, which takes no recursion.

    Raises:
        yaml.YAMLError: it is not YAML, or not fit to be loaded.
    """
    loader = _LOADER(text)
    try:
        _Walk().through(loader)
    except yaml.YAMLError as e:
        raise (_too_deep() if is_depth(e) else e) from None
    finally:
        loader.dispose()


def _too_deep() -> Unfit:
    return Unfit(f"it is nested more than {MAX_DEPTH} levels deep")


class _Walk:
    def __init__(self) -> None:
        self._nodes = 0
        self._open: list[tuple[str | None, int]] = []  # each open collection's anchor, and the nodes before it
        self._sizes: dict[str, int] = {}

    def through(self, loader: Any) -> None:
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.AliasEvent):
                self._alias(str(event.anchor))
            elif isinstance(event, yaml.ScalarEvent):
                self._nodes += 1
                if event.anchor:
                    self._sizes[event.anchor] = 1
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event.anchor)
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = self._open.pop()
                if anchor:
                    self._sizes[anchor] = self._nodes - before

    def _begin(self, anchor: str | None) -> None:
        self._open.append((anchor, self._nodes))
        self._nodes += 1
        if len(self._open) > MAX_DEPTH:
            raise _too_deep()

    def _alias(self, anchor: str) -> None:
        if any(anchor == name for name, _ in self._open):
            raise Unfit(f"`*{anchor}` contains itself")
        self._nodes += self._sizes.get(anchor, 1)
        if self._nodes > MAX_NODES:
            raise Unfit(f"its aliases stand for more than {MAX_NODES:,} values")
