"""The journal: one line of JSON per event, on disk before the effect it announces.

A process killed while it appends leaves a torn last line; what that line announced has not begun, so it
is dropped. Any other line that cannot be read is damage, and is reported rather than skipped.
"""

from __future__ import annotations

import json
import os
import re

from reconciler.adapters import faults
from reconciler.adapters.files import Directory, read_file, write_all
from reconciler.core.live import JournalEntry
from reconciler.errors import StateFileError

JOURNAL = "journal.jsonl"
ROTATE_AT = 5_000_000
"""Bytes above which the journal starts anew (with everything in it finished)."""

_FORMAT_VERSION = 1
_EVENTS = frozenset({"intent", "note", "done", "failed", "deferred"})
_LIMIT = 1 << 30
_HEAD = re.compile(
    rb'\{"v":1,"at":[0-9.e+-]+,"run":"([^"\\]*)","sequence":(\d+),"event":"(intent|note|done|failed|deferred)",'
)


def encode(entry: JournalEntry) -> bytes:
    """Return the entry as one line."""
    document = {
        "v": _FORMAT_VERSION,
        "at": round(entry.at, 3),
        "run": entry.run,
        "sequence": entry.sequence,
        "event": entry.event,
        "action": entry.action,
        "endpoint": entry.endpoint,
        "data": dict(entry.data),
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def decode(line: bytes) -> JournalEntry:
    """Return the entry in one line.

    Raises:
        ValueError: it is none, or of a newer version.
    """
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise ValueError("it is not JSON") from e
    version = document.pop("v", None) if isinstance(document, dict) else None
    if version != _FORMAT_VERSION:
        newer = isinstance(version, int) and version > _FORMAT_VERSION
        raise ValueError("a newer version of chiltepin wrote it" if newer else "it is no line of a journal")
    try:
        entry = JournalEntry(**document)
    except TypeError as e:
        raise ValueError("keys are missing or unknown") from e
    if not _sound(entry):
        raise ValueError("values are of unknown kinds")
    return entry


def _sound(entry: JournalEntry) -> bool:
    """Say whether the values are of the kinds that we write; what a later run reads of `data` is among them."""
    texts = (entry.run, entry.event, entry.action, entry.endpoint)
    if not all(isinstance(text, str) for text in texts) or entry.event not in _EVENTS:
        return False
    if type(entry.sequence) is not int or type(entry.at) not in (int, float) or not isinstance(entry.data, dict):
        return False
    known = entry.data.get("known", [])
    if not isinstance(known, list) or not all(isinstance(item, str) for item in known):
        return False
    ends = entry.data.get("ends", [0, 0])
    if not isinstance(ends, list) or [type(item) for item in ends] != [int, int]:
        return False
    return all(isinstance(entry.data.get(key), str | None) for key in ("id", "host", "directory", "stack"))


def append(directory: Directory, entry: JournalEntry) -> None:
    """Append one line and force it to disk."""
    line = encode(entry)
    fd = os.open(
        JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory.fd
    )
    try:
        start = os.fstat(fd).st_size
        try:
            if faults.armed("journal.appending"):  # stage what a power failure leaves: half a line
                os.write(fd, line[: len(line) // 2])
                faults.reached("journal.appending")
                line = line[len(line) // 2 :]
            write_all(fd, line)
        except OSError:
            os.ftruncate(fd, start)  # half a line from a full disk would read as damage later
            raise
        os.fsync(fd)
    finally:
        os.close(fd)
    if start == 0:
        os.fsync(directory.fd)
    faults.reached("journal.appended")


def read(directory: Directory) -> tuple[JournalEntry, ...]:
    """Return all entries, oldest first.

    Raises:
        StateFileError: a line that is not the torn last one cannot be read.
    """
    lines = _lines(directory)
    entries = (_entry(directory, lines, number) for number in range(len(lines)))
    return tuple(entry for entry in entries if entry is not None)


def read_unfinished(directory: Directory) -> tuple[JournalEntry, ...]:
    """Return the intents without an outcome and the notes on them, oldest first.

    Every plan asks, and a journal may have 20,000 lines: the finished ones are only skimmed.

    Raises:
        StateFileError: a line that is not the torn last one cannot be read.
    """
    lines = _lines(directory)
    begun: dict[tuple[bytes, bytes], list[int]] = {}
    for number, line in enumerate(lines):
        head = _HEAD.match(line)
        if head is None or not line.endswith(b"}"):
            _entry(directory, lines, number)
            continue
        key, event = (head[1], head[2]), head[3]
        if event == b"intent":
            begun[key] = [number]
        elif event == b"note":
            begun.get(key, []).append(number)
        else:
            begun.pop(key, None)
    entries = (_entry(directory, lines, number) for number in sorted(n for found in begun.values() for n in found))
    return tuple(entry for entry in entries if entry is not None)


def _lines(directory: Directory) -> list[bytes]:
    lines = (read_file(directory, JOURNAL, limit=_LIMIT) or b"").split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _entry(directory: Directory, lines: list[bytes], number: int) -> JournalEntry | None:
    """Return the entry in one line, None for a torn last one."""
    try:
        return decode(lines[number])
    except ValueError as e:
        if number == len(lines) - 1 and _torn(lines[number]):
            return None
        raise StateFileError(
            "the journal is damaged",
            where=f"{directory.at(JOURNAL)}:{number + 1}",
            why=f"this line cannot be read: {e}",
            remedy="move it aside, then look at `chiltepin plan`: starts that were cut off are unknown then",
        ) from e


def _torn(line: bytes) -> bool:
    """Say whether a last line was cut short (or, by a crash of the machine, filled with NULs)."""
    return not line.endswith(b"}") or b"\0" in line


def repair(directory: Directory) -> None:
    """Cut off a torn last line, so that the next one begins at a line's start (under the lease only)."""
    content = read_file(directory, JOURNAL, limit=_LIMIT)
    if not content:
        return
    keep = len(content)
    if not content.endswith(b"\n"):
        keep = content.rfind(b"\n") + 1
    elif _torn(last := content[content.rfind(b"\n", 0, -1) + 1 : -1]):
        keep -= len(last) + 1
    if keep != len(content):
        fd = os.open(JOURNAL, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
        try:
            os.ftruncate(fd, keep)
            os.fsync(fd)
        finally:
            os.close(fd)


def rotate(directory: Directory) -> None:
    """Start a new journal when this one is long and everything in it is finished (under the lease only)."""
    try:
        size = os.stat(JOURNAL, dir_fd=directory.fd, follow_symlinks=False).st_size
    except FileNotFoundError:
        return
    if size > ROTATE_AT and not read_unfinished(directory):
        os.replace(JOURNAL, "journal.1.jsonl", src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
        os.fsync(directory.fd)
