"""The installed globus-compute-endpoint: where it is and of which versions, without starting it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from reconciler.core.machine import EndpointTool
from reconciler.errors import EndpointCommandError, UsageError
from reconciler.paths import expanded, is_directory, is_file, recordable

NAME = "globus-compute-endpoint"
OLDEST = (4, 13)
BEFORE = (5,)

_DISTRIBUTIONS = {"globus_compute_endpoint": NAME, "globus_compute_sdk": "globus-compute-sdk", "parsl": "parsl"}
_METADATA = re.compile(r"([A-Za-z0-9_.-]+?)-([0-9][^-]*)(?:-py[0-9.]+)?\.(?:dist|egg)-info")
_INSTALL = 'install it with `pip install "globus-compute-endpoint>=4.13,<5"`, or name its environment with `python:`'


def find(python: str | None, environ: Mapping[str, str]) -> EndpointTool:
    """Return the tool of the environment `python`, or else the first one on PATH, or else our own.

    Args:
        python: an environment's directory, or its Python; None for PATH.

    Raises:
        EndpointCommandError: there is none, it cannot run, or its version is outside [4.13, 5).
    """
    command = _command(python, environ)
    interpreter = _interpreter(command)
    prefix = interpreter.parent.parent if interpreter is not None else command.parent.parent
    if interpreter is not None and not os.access(interpreter, os.X_OK):
        raise EndpointCommandError(
            f"{NAME} cannot run",
            where=str(command),
            why=f"its Python, {interpreter}, is missing or not executable",
            remedy=f"rebuild that environment; {_INSTALL}",
        )
    try:
        recordable(prefix)
        recordable(command)
    except UsageError as e:
        raise EndpointCommandError(f"{NAME} cannot be used: {e.what}", where=e.where, why=e.why, remedy=e.remedy) from e
    versions = _versions(prefix, command)
    if NAME not in versions:
        versions[NAME] = _ask(command, environ)
    _check_range(versions[NAME], command)
    return EndpointTool(command=str(command), prefix=str(prefix), versions=dict(sorted(versions.items())))


def _command(python: str | None, environ: Mapping[str, str]) -> Path:
    """Return the executable's absolute path."""
    if python is not None:
        place = _place(python)
        candidates = [place.parent / NAME] if is_file(place) else [place / "bin" / NAME, place / NAME]
    else:
        folders = [p for p in environ.get("PATH", "").split(":") if p.startswith("/")]
        candidates = [Path(folder) / NAME for folder in (*folders, f"{sys.prefix}/bin")]
    for candidate in candidates:
        if is_file(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise EndpointCommandError(
        f"{NAME} was not found",
        where=str(candidates[0]) if python is not None else "PATH",
        why="no executable of that name is there",
        remedy=_INSTALL,
    )


def _place(python: str) -> Path:
    try:
        return expanded(python)
    except UsageError as e:  # of this host's environment, and of nothing else
        raise EndpointCommandError(f"{NAME} was not found", where=python, why=e.what, remedy=_INSTALL) from e


def _interpreter(command: Path) -> Path | None:
    """Return the Python in the script's first lines, None when it names none (a wrapper, or a binary)."""
    try:
        with command.open("rb") as script:
            head = script.read(1024)
    except OSError as e:
        raise EndpointCommandError(
            f"{NAME} cannot be read", where=str(command), why=e.strerror or str(e), remedy=_INSTALL
        ) from e
    lines = head.split(b"\n")
    words = lines[0][2:].split() if lines[0].startswith(b"#!") else []
    if words and words[0].endswith(b"/sh") and len(lines) > 1 and lines[1].startswith(b"'''exec'"):
        words = lines[1].split()[1:]  # pip's form of a first line that is too long for the kernel
    if words and b"python" in words[0].rpartition(b"/")[2]:
        return Path(os.fsdecode(words[0].strip(b"\"'")))
    return None


def _site_directories(prefix: Path, command: Path) -> Iterator[Path]:
    """Return where the tool's packages may lie: its environment's, or beside a `pip install --user`."""
    for base in dict.fromkeys((prefix, command.parent.parent)):
        for library in ("lib", "lib64", "local/lib"):
            folder = base / library
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208  names are enough
            except OSError:  # not there, or not readable: then it tells nothing, and the tool itself is asked
                continue
            for name in names:
                if name.startswith("python3"):
                    yield folder / name / "site-packages"
                    yield folder / name / "dist-packages"


def _linked(site: Path) -> Iterator[Path]:
    """Return the directories that `.pth` files add: an environment may share the packages of another."""
    for file in sorted(site.glob("*.pth")) if is_directory(site) else ():
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):  # Python passes it over, too
            continue
        yield from (Path(line.strip()) for line in lines if line.startswith("/"))


def _versions(prefix: Path, command: Path) -> dict[str, str]:
    """Read the versions off the names of the metadata directories."""
    found: dict[str, str] = {}
    own = tuple(_site_directories(prefix, command))
    for site in (*own, *(linked for directory in own for linked in _linked(directory))):
        try:
            with os.scandir(site) as entries:
                names = [e.name for e in entries if e.name.endswith("-info")]
        except OSError:  # not a directory of this environment, or not readable: then it tells nothing
            continue
        for name in names:
            match = _METADATA.fullmatch(name)
            package = _DISTRIBUTIONS.get(match[1].lower().replace("-", "_")) if match else None
            if match and package and (package not in found or _key(match[2]) > _key(found[package])):
                found[package] = match[2]
        if NAME in found:
            found["python"] = _python(prefix, site)
            break
    return found


def _python(prefix: Path, site: Path) -> str:
    """Return the environment's Python version, as exactly as its files tell."""
    settings = prefix / "pyvenv.cfg"
    try:
        lines = settings.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # there is none, or it tells nothing
        lines = []
    for line in lines:
        name, _, value = line.partition("=")
        if name.strip() in {"version", "version_info"}:
            return ".".join(value.strip().split(".")[:3])
    for record in sorted((prefix / "conda-meta").glob("python-3.*.json")):
        return record.name.split("-")[1]
    return site.parent.name.removeprefix("python")


def _key(version: str) -> tuple[int, ...]:
    """Return the numbers of a version's release, for comparison."""
    return tuple(int(n) for n in re.findall(r"\d+", re.split(r"[a-z+]", version)[0]))


def _check_range(version: str, command: Path) -> None:
    if _key(version)[:2] >= OLDEST and _key(version)[:1] < BEFORE:
        return
    raise EndpointCommandError(
        f"{NAME} {version} is not supported",
        where=str(command),
        why="versions from 4.13 up to, not including, 5 are",
        remedy=_INSTALL,
    )


def _ask(command: Path, environ: Mapping[str, str]) -> str:
    """Run `globus-compute-endpoint version`: a second's work, for installations of an unknown shape."""
    import subprocess  # noqa: PLC0415  # costs more than the whole look-up without it

    line = (str(command), "version")
    clean = {k: v for k, v in environ.items() if k not in {"GLOBUS_COMPUTE_ENDPOINT_DIR", "GLOBUS_COMPUTE_USER_DIR"}}
    try:
        done = subprocess.run(
            line, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise EndpointCommandError(f"{NAME} does not run", command=line, why=str(e), remedy=_INSTALL) from e
    match = re.search(r"version: *([0-9][^\s]*)", done.stdout)
    if done.returncode != 0 or match is None:
        raise EndpointCommandError(
            f"{NAME} does not say its version",
            command=line,
            code=done.returncode,
            output=(done.stdout + done.stderr)[-2000:],
            remedy=f"run `{command} version`; {_INSTALL}",
        )
    return match[1]
