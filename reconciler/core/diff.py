"""What differs between a file as it is and as the manifest wants it; pure, and cheap when nothing does."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.core.changes import ABSENT, Cause, FieldChange, FileChange
from reconciler.core.desired import SCHEMA, TEMPLATE
from reconciler.core.digest import digest_bytes, same_value
from reconciler.core.documents import (
    WITHHELD,
    FileSpec,
    NotAMapping,
    dump_mapping,
    leaves,
    load_mapping,
    merge_keys,
    parse_json,
)
from reconciler.core.frozen import dataclass
from reconciler.core.live import LiveFile
from reconciler.core.marker import FileRecord
from reconciler.core.redact import redacted_lines
from reconciler.core.secrecy import concealed


@dataclass(frozen=True)
class FileDiff:
    """One file that must be written (or, with `content` None, removed).

    `backup` is set when the file holds somebody else's edit.
    """

    change: FileChange
    content: bytes | None
    record: FileRecord | None
    backup: bool
    mode: int


def found_record(spec: FileSpec, live: LiveFile) -> FileRecord:
    """Return the record of a file that was there before us: as we would write it, or as nobody asked for it."""
    if diff_file(spec, live, None) is None and not spec.absent:
        return record_of(spec, live.digest)
    return FileRecord(digest=live.digest, spec="")


def new_file(spec: FileSpec) -> tuple[bytes, FileRecord]:
    """Return the content of a file that is written for the first time, with its record."""
    content = (spec.text or "").encode() if spec.keys is None else dump_mapping(merge_keys({}, (), spec.keys))
    return content, record_of(spec, digest_bytes(content))


def record_of(spec: FileSpec, digest: str) -> FileRecord:
    """Return the record of a file that holds what `spec` asks; keys are sorted, their order means nothing."""
    keys = tuple(sorted(path for path, _ in leaves(spec.keys or {})))
    return FileRecord(digest=digest, spec=spec.digest, keys=keys, sensitive=tuple(sorted(spec.sensitive)))


def is_clean(spec: FileSpec, live: LiveFile | None, record: FileRecord | None) -> bool:
    """Whether the file is as we wrote it and nothing new is asked: two comparisons of digests."""
    if spec.absent:
        return live is None
    return (
        live is not None
        and record is not None
        and live.digest == record.digest
        and spec.digest == record.spec
        and live.mode == spec.mode
    )


def diff_file(spec: FileSpec, live: LiveFile | None, record: FileRecord | None) -> FileDiff | None:
    """Compare one file with what is wanted of it; None when nothing needs to be written.

    Args:
        spec: what the manifest asks.
        live: the file, or None when it is not there.
        record: what we last wrote, or None when we never did.
    """
    if is_clean(spec, live, record):
        return None
    if spec.absent:
        change = FileChange(spec.file, "remove", _cause(spec, live, record))
        return FileDiff(change, None, None, backup=_is_foreign(live, record), mode=spec.mode)
    if live is None:
        content, new_record = new_file(spec)
        cause = Cause.NEW if record is None else Cause.EDITED
        change = FileChange(spec.file, "add", cause, _added(spec), label=spec.label)
        return FileDiff(change, content, new_record, backup=False, mode=spec.mode)
    found = _diff_text(spec, live, record) if spec.keys is None else _diff_mapping(spec, live, record)
    if found is None or live.link is None:
        return found
    unlinked = FieldChange("(link)", live.link, "a file of its own")
    return replace(found, change=replace(found.change, fields=(unlinked, *found.change.fields)))


def _is_edited(live: LiveFile | None, record: FileRecord | None) -> bool:
    return record is None or live is None or live.digest != record.digest


def _is_foreign(live: LiveFile | None, record: FileRecord | None) -> bool:
    """Whether the file holds what somebody else wrote; one that was adopted was never asked for by a manifest."""
    return _is_edited(live, record) or record is None or not record.spec


def _cause(spec: FileSpec, live: LiveFile | None, record: FileRecord | None) -> Cause:
    edited = _is_edited(live, record)
    asked = record is None or spec.digest != record.spec
    if edited and asked and record is not None:
        return Cause.SPEC_AND_EDITED
    if edited or not asked:  # with neither, its permissions were changed
        return Cause.EDITED
    # The label is the built-in's version: what the manifest says did not change, what we ship did.
    if spec.label.startswith("builtin@") and record is not None and record.spec:
        return Cause.TEMPLATE_UPDATED
    return Cause.SPEC


def _diff_mapping(spec: FileSpec, live: LiveFile, record: FileRecord | None) -> FileDiff | None:
    try:
        current = load_mapping(live.content)
    except NotAMapping as e:
        content, new_record = new_file(spec)
        change = FileChange(spec.file, "change", Cause.DAMAGED, diff=(f"the file cannot be read: {e}",))
        return FileDiff(change, content, new_record, backup=True, mode=spec.mode)
    merged = merge_keys(current, record.keys if record else (), spec.keys or {})
    same = same_value(merged, current)
    if same and live.mode == spec.mode:
        return None
    content = live.content if same else dump_mapping(merged)
    new_record = record_of(spec, digest_bytes(content))
    # What was secret when it was written is not shown now that it leaves, either.
    fields = field_changes(current, merged, spec.sensitive.union(record.sensitive if record else ()))
    change = FileChange(spec.file, "change", _cause(spec, live, record), fields or _mode_change(live, spec))
    return FileDiff(change, content, new_record, backup=_is_foreign(live, record), mode=spec.mode)


def _diff_text(spec: FileSpec, live: LiveFile, record: FileRecord | None) -> FileDiff | None:
    content, new_record = new_file(spec)
    if live.digest == new_record.digest and live.mode == spec.mode:
        return None
    cause = _cause(spec, live, record)
    fields: tuple[FieldChange, ...] = ()
    lines: tuple[str, ...] = ()
    if live.digest == new_record.digest:
        fields = _mode_change(live, spec)
    elif spec.file == SCHEMA:
        old, new = parse_json(live.content), parse_json(content)
        if isinstance(old, dict) and isinstance(new, dict):
            fields = field_changes(old, new)
        else:
            lines = unified(live.content, content, spec.file)
    elif spec.file == TEMPLATE:
        lines = unified(live.content, content, spec.file)
    change = FileChange(spec.file, "change", cause, fields, lines, spec.label)
    return FileDiff(change, content, new_record, backup=_is_foreign(live, record), mode=spec.mode)


def _mode_change(live: LiveFile, spec: FileSpec) -> tuple[FieldChange, ...]:
    return (FieldChange("(permissions)", f"{live.mode:04o}", f"{spec.mode:04o}"),)


def _added(spec: FileSpec) -> tuple[FieldChange, ...]:
    added = ((path, value) for path, value in leaves(spec.keys or {}) if path[-1] not in WITHHELD)
    return tuple(FieldChange(".".join(path), *concealed(path, ABSENT, value, spec.sensitive)) for path, value in added)


_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)")


def unified(old: bytes, new: bytes, name: str) -> tuple[str, ...]:
    """Return a unified diff of two texts, without its two header lines, and without what looks like a secret."""
    a, b = (text.decode("utf-8", "replace").splitlines() for text in (old, new))
    shown = {"-": redacted_lines(a), "+": redacted_lines(b)}
    at = {"-": 0, "+": 0}
    found: list[str] = []
    for line in tuple(difflib.unified_diff(a, b, name, name, lineterm="", n=2))[2:]:
        hunk = _HUNK.match(line)
        if hunk:
            at = {"-": int(hunk[1]), "+": int(hunk[2])}
            found.append(line)
            continue
        sign = line[0]
        side = "-" if sign == "-" else "+"
        found.append(f"{sign}{shown[side][at[side] - 1]}")
        for read in at if sign == " " else side:
            at[read] += 1
    return tuple(found)


def field_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], sensitive: Iterable[str] = ()
) -> tuple[FieldChange, ...]:
    """Return the values in which two documents differ, sorted by path.

    deepdiff does the comparison; it costs 0.1 s to import, so it is asked only when the values are not the same.
    """
    if same_value(old, new):
        return ()
    from deepdiff import DeepDiff  # noqa: PLC0415 - only when something differs

    names = frozenset(sensitive)
    tree = DeepDiff(_told_apart(old), _told_apart(new), view="tree", threshold_to_diff_deeper=0)
    found: list[FieldChange] = []
    for group in tree.values():
        for item in group:
            if same_value(item.t1, item.t2):  # 30 and 30.0 are of different types
                continue
            parts = tuple(str(part) for part in item.path(output_format="list"))
            # A leaf below a value that appears as a whole is not listed by itself.
            before = ABSENT if _is_missing(item.t1) else _together(item.t1)
            after = ABSENT if _is_missing(item.t2) else _together(item.t2)
            found.append(FieldChange(_dotted(parts), *concealed(parts, before, after, names)))
    return tuple(sorted(found, key=lambda change: change.path))


_TRUTH = {True: "\0true", False: "\0false"}
"""Stand-ins for deepdiff, to which True is 1 in a list; no document holds a NUL."""
_OF = {text: value for value, text in _TRUTH.items()}


def _told_apart(value: Any) -> Any:
    """Return a value whose truth values nothing takes for the numbers 1 and 0."""
    if isinstance(value, Mapping):
        return {key: _told_apart(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_told_apart(item) for item in value]
    return _TRUTH[value] if isinstance(value, bool) else value


def _together(value: Any) -> Any:
    """Undo `_told_apart`."""
    if isinstance(value, dict):
        return {key: _together(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_together(item) for item in value]
    return _OF.get(value, value) if isinstance(value, str) else value


def _is_missing(value: Any) -> bool:
    return type(value).__name__ == "NotPresent"


def _dotted(parts: tuple[str, ...]) -> str:
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", ".".join(parts))
