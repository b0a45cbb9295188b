"""Reads the manifest and the files that it names."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from reconciler.adapters.files import translated, translating
from reconciler.core.invalid import ManifestInvalid
from reconciler.core.manifest.source import MAX_BYTES
from reconciler.core.problems import Position, Problem
from reconciler.errors import FileSystemError, Refused, UsageError
from reconciler.paths import expanded


def read_manifest_text(path: Path) -> bytes:
    """Return the manifest's bytes.

    Raises:
        UsageError: there is no such file, or it is no regular file.
        ManifestInvalid: it is too large.
        FileSystemError: it cannot be read.
    """
    try:
        status = path.stat()
    except FileNotFoundError as e:
        raise UsageError(
            "there is no manifest here",
            where=str(path),
            remedy="name one with -f FILE, or make one: `chiltepin init`",
        ) from e
    except OSError as e:
        raise translated(e, "read the manifest", str(path)) from e
    if not stat.S_ISREG(status.st_mode):
        remedy = "name a file with -f FILE"
        raise UsageError(f"the manifest is {_kind(status)}", where=str(path), remedy=remedy)
    if status.st_size > MAX_BYTES:
        message = f"the file has {status.st_size:,} bytes; the limit is {MAX_BYTES:,}"
        hint = "split it into several manifests, each with its own `stack`"
        raise ManifestInvalid([Problem(message, Position(str(path), 1, 1), hint)])
    with translating("read the manifest", str(path)):
        return path.read_bytes()


def write_first_manifest(path: Path, text: str) -> None:
    """Write a manifest where there is none.

    Raises:
        UsageError: there is one already, or no such directory.
        FileSystemError: it cannot be written.
    """
    try:
        stream = path.open("x", encoding="utf-8")
    except FileExistsError as e:
        raise UsageError("there is a manifest already", where=str(path), remedy="choose another with -f FILE") from e
    except FileNotFoundError as e:
        remedy = "make it (`mkdir -p`), or choose another path with -f FILE"
        raise UsageError("there is no such directory", where=str(path.parent), remedy=remedy) from e
    except OSError as e:
        raise translated(e, "write the manifest", str(path)) from e
    try:
        with stream:
            stream.write(text)
    except OSError as e:
        with suppress(OSError):  # half a manifest is none, and would be in the way; what made it so is to be told
            path.unlink()
        raise translated(e, "write the manifest", str(path)) from e


def _kind(status: os.stat_result) -> str:
    return "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"


def _check_regular(status: os.stat_result, path: Path, what: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileSystemError(f"{what} is {_kind(status)}", where=str(path), remedy="name a file")


_REMEDY = "correct the path: it counts from the manifest's directory"


class NamedFileReader:
    """Reads templates, schemas and identity mappings, relative to the manifest's directory.

    Args:
        directory: of the manifest.
        allow_outside: whether files may lie outside of it, also by a link.
    """

    def __init__(self, directory: Path, *, allow_outside: bool = False) -> None:
        self._directory = directory
        self._allow_outside = allow_outside

    def __call__(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            Refused: it lies outside the manifest's directory.
            FileSystemError: it cannot be read.
            UsageError: it lies in a home directory that is not there.
        """
        path = self._directory / (expanded(name) if name.startswith("~") else name)
        if not self._allow_outside:
            # Not `Path.resolve`, which raises for links in a circle, or not, as the version of Python has it.
            root, real = (Path(os.path.realpath(p)) for p in (self._directory, path))
            if root not in real.parents and root != real:
                raise Refused(
                    f"{name} lies outside the manifest's directory ({real})",
                    remedy="copy it there, or allow it with --allow-outside",
                )
        with translating(f"read {name}", str(path)):
            try:
                _check_regular(path.stat(), path, name)
            except FileNotFoundError as e:
                raise FileSystemError("there is no such file", where=str(path), remedy=_REMEDY) from e
            return path.read_bytes()
