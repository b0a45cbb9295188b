"""The builder behind `source`: libyaml events to values, with YAML's own rules enforced.

Duplicate keys, ambiguous words, tags and non-string keys are collected; what makes the rest
unreadable (syntax, depth, recursive or exploding aliases, a second document) stops the reading.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from reconciler.core.invalid import ManifestInvalid
from reconciler.core.manifest.parsed import Parsed, pack
from reconciler.core.manifest.scalars import Reading, read_plain
from reconciler.core.problems import Position, Problem
from reconciler.core.safe_yaml import is_depth

MAX_DEPTH = 50
"""Nesting of mappings and lists; a manifest needs about ten levels."""

_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"

MAX_NODES = 1_000_000
"""Values after the expansion of all aliases and merge keys: about ten times what 10,000 endpoints need."""

_MAP_TAGS = frozenset((None, "!", "tag:yaml.org,2002:map"))
_SEQ_TAGS = frozenset((None, "!", "tag:yaml.org,2002:seq"))
_STR_TAGS = frozenset(("tag:yaml.org,2002:str",))
_SHIFT = 46  # two packed coordinates: a key's place above its value's


class _Merge:
    """The key `<<`."""


_MERGE = _Merge()
_LETTERS = frozenset("yYnN")
_ERRORS_KEPT = 1000


def build(text: str, file: str, *, pure: bool = False) -> Parsed:
    """Return the document in `text`, which is decoded and free of unprintable characters.

    Args:
        pure: use PyYAML's own parser although libyaml is there.

    Raises:
        ManifestInvalid: when the text is not one readable YAML document.
    """
    return _Builder(text, file, pure).document()


def _parser(text: str, pure: bool) -> Any:
    # Only the loaders' parsers are used: events, no construction.
    return yaml.SafeLoader(text) if pure or not yaml.__with_libyaml__ else yaml.CSafeLoader(text)


class _Builder:
    def __init__(self, text: str, file: str, pure: bool) -> None:
        self.parsed = Parsed(file, text, None)
        self.next = _parser(text, pure).get_event
        self.places = self.parsed._places
        self.problems: list[Problem] = []
        self.anchors: dict[str, Any] = {}
        self.sizes: dict[str, int] = {}
        self.open_anchors: set[str] = set()
        self.readings: dict[str, Reading] = {}
        self.nodes = 0

    def document(self) -> Parsed:
        try:
            root = self._document()
        except yaml.MarkedYAMLError as error:
            raise ManifestInvalid([*self.problems, self._syntax(error)]) from None
        except yaml.YAMLError as error:
            message = f"not YAML: {str(error).splitlines()[0]}"
            raise ManifestInvalid([Problem(message, Position(self.parsed.file, 1, 1))]) from None
        parsed = Parsed(self.parsed.file, self.parsed.text, root, (), self.places, self.parsed._lines)
        return replace(parsed, problems=tuple(map(parsed.masked, self.problems)))

    def _document(self) -> Any:
        self.next()  # StreamStart
        event = self.next()
        if isinstance(event, yaml.StreamEndEvent):
            self._stop("the file is empty", event, "remove it; then `chiltepin init` writes a first manifest")
        root = self._node(self.next(), 0)
        self.next()  # DocumentEnd
        event = self.next()
        if not isinstance(event, yaml.StreamEndEvent):
            self._stop("a second YAML document begins here; a manifest is one document", event, "remove the `---`")
        return root

    def _node(self, event: Any, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._stop(f"more than {MAX_NODES:,} values after the expansion of aliases", event)
        kind = type(event)
        if kind is yaml.AliasEvent:
            return self._alias(event)
        anchor = event.anchor
        if anchor is None:
            return self._content(event, kind, depth)
        if anchor in self.anchors or anchor in self.open_anchors:
            self._add(f"the anchor `&{anchor}` is defined twice", event, "give each anchor a name of its own")
        self.open_anchors.add(anchor)
        before = self.nodes
        value = self._content(event, kind, depth)
        self.open_anchors.discard(anchor)
        self.anchors[anchor], self.sizes[anchor] = value, self.nodes - before + 1
        return value

    def _content(self, event: Any, kind: type, depth: int) -> Any:
        if kind is yaml.ScalarEvent:
            return self._scalar(event)
        if depth >= MAX_DEPTH:
            self._stop(_TOO_DEEP, event)
        if kind is yaml.MappingStartEvent:
            return self._mapping(event, depth + 1)
        return self._sequence(event, depth + 1)

    def _alias(self, event: Any) -> Any:
        name = event.anchor
        if name in self.open_anchors:
            self._stop(f"`*{name}` contains itself", event, "an alias cannot stand inside its own anchor")
        if name not in self.anchors:
            self._stop(f"`*{name}` refers to no anchor before it", event, f"define it with `&{name}` further up")
        self.nodes += self.sizes[name] - 1
        if self.nodes > MAX_NODES:
            self._stop(f"more than {MAX_NODES:,} values after the expansion of aliases", event)
        return self.anchors[name]

    def _scalar(self, event: Any) -> Any:
        value: str = event.value
        tag = event.tag
        if tag is not None and tag not in _STR_TAGS:
            self._tag(event)
            return value
        if event.implicit[0] and tag is None:
            reading = self.readings.get(value)
            if reading is None:
                reading = self.readings[value] = read_plain(value)
            if reading.doubt is not None:
                self._add(reading.doubt, event, reading.advice)
            return reading.value
        if "\0" in value:
            self._add("a NUL character cannot be part of a value", event)
            return value.replace("\0", "\ufffd")  # not "": the key may be there as well
        return value

    def _sequence(self, event: Any, depth: int) -> list[Any]:
        if event.tag not in _SEQ_TAGS:
            self._tag(event)
        items: list[Any] = []
        marks: list[int] = []
        item = self.next()
        while type(item) is not yaml.SequenceEndEvent:
            mark = item.start_mark
            marks.append(pack(mark.line, mark.column))
            items.append(self._node(item, depth))
            item = self.next()
        self.places[id(items)] = marks
        return items

    def _mapping(self, event: Any, depth: int) -> dict[str, Any]:
        if event.tag not in _MAP_TAGS:
            self._tag(event)
        own: dict[str, Any] = {}
        marks: dict[str, int] = {}
        merged: list[tuple[dict[str, Any], dict[str, int]]] | None = None
        key_event = self.next()
        while type(key_event) is not yaml.MappingEndEvent:
            key = self._key(key_event, depth, event)
            mark = key_event.start_mark
            place = pack(mark.line, mark.column)
            value_event = self.next()
            value = self._node(value_event, depth)
            if key is _MERGE:
                if merged is not None:
                    self._add("the merge key `<<` occurs twice here", key_event, "give it a list: `<<: [*a, *b]`")
                merged = self._merge(value, value_event)
            elif isinstance(key, str):
                if key in own:
                    first = (marks[key] >> _SHIFT >> 23) + 1
                    self._add(f"the key `{key}` occurs twice; first on line {first}", key_event, "keep one of them")
                else:
                    mark = value_event.start_mark
                    own[key] = value
                    marks[key] = place << _SHIFT | pack(mark.line, mark.column)
            key_event = self.next()
        if merged:
            own, marks = _combine(merged, own, marks)
        self.places[id(own)] = marks
        return own

    def _key(self, event: Any, depth: int, mapping: Any) -> Any:
        if type(event) is yaml.ScalarEvent and event.implicit[0] and event.tag is None:
            if event.value == "<<":
                return _MERGE
            # PyYAML too reads these as text; as names of variables they are too common to refuse.
            if event.value in _LETTERS and event.anchor is None:
                return event.value
        key = self._node(event, depth)
        if isinstance(key, str):
            return key
        if isinstance(key, dict) and event.start_mark.index == mapping.start_mark.index + 1:
            # Told of the place of the value: that it then is no text, either, is the same mistake.
            self._add("`{{ ... }}` at the start of a value needs quotes", mapping, 'write "{{ ... }}"')
        elif isinstance(key, dict | list):
            self._add("a key must be a word, not a mapping or a list", event)
        else:
            text = event.value if type(event) is yaml.ScalarEvent else str(key)
            self._add(f"a key must be text, and `{text}` is not", event, f'quote it: "{text}"')
        return None

    def _merge(self, value: Any, event: Any) -> list[tuple[dict[str, Any], dict[str, int]]]:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            self._add("`<<` merges mappings, and this is none", event, "write `<<: *anchor` or `<<: [*a, *b]`")
            return []
        # Aliases were counted when they were met; merging copies their keys once more.
        self.nodes += sum(map(len, sources))
        return [(source, self.places[id(source)]) for source in sources]

    def _tag(self, event: Any) -> None:
        shown = event.tag.replace("tag:yaml.org,2002:", "!!")
        self._add(f"the tag `{shown}` is not allowed here", event, "write the value without a tag")

    def _position(self, mark: Any) -> Position:
        return Position(self.parsed.file, mark.line + 1, mark.column + 1)

    def _add(self, message: str, event: Any, hint: str | None = None) -> None:
        if len(self.problems) < _ERRORS_KEPT:
            self.problems.append(self.parsed.problem(message, self._position(event.start_mark), hint))

    def _stop(self, message: str, event: Any, hint: str | None = None) -> None:
        problem = self.parsed.problem(message, self._position(event.start_mark), hint)
        raise ManifestInvalid([*self.problems, problem])

    def _syntax(self, error: yaml.MarkedYAMLError) -> Problem:
        mark = error.problem_mark or error.context_mark
        position = self._position(mark) if mark else Position(self.parsed.file, 1, 1)
        if is_depth(error):
            return self.parsed.problem(_TOO_DEEP, position, None)
        message, hint = f"not valid YAML: {error.problem or error.context}", None
        line = self.parsed.line(position.line) or ""
        raw = self.parsed._lines[position.line - 1] if position.line <= len(self.parsed._lines) else line
        if "\t" in raw[: position.column]:
            message, hint = "a tab in the indentation", "YAML is indented with spaces only"
        elif error.context and error.context_mark:
            message += f" ({error.context}, which begins on line {error.context_mark.line + 1})"
        if hint is None and "expected <block end>" in message:
            hint = "the indentation does not fit the lines above"
        return self.parsed.problem(message, position, hint)


def _combine(
    sources: list[tuple[dict[str, Any], dict[str, int]]], own: dict[str, Any], marks: dict[str, int]
) -> tuple[dict[str, Any], dict[str, int]]:
    """Merge as YAML does: own keys win, then earlier sources over later ones."""
    values: dict[str, Any] = {}
    places: dict[str, int] = {}
    for source, source_places in reversed(sources):
        values.update(source)
        places.update(source_places)
    values.update(own)
    places.update(marks)
    return values, places
