"""What `test_permissions` runs on a small file system of its own: fill it, run a command, look at what became of it."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

from reconciler.cli.main import run
from tests.cli.support import POOLED, RENAMED, make_tool, tree

_OURS_AND_FLEETING = {".chiltepin", "storage.db", "lease.json", "journal.jsonl", "new", "run", "backups"}


def story(base: Path, when: str) -> dict[str, Any]:
    """Apply, fill the disk, apply again, make room, apply again."""
    project, config_dir = base / "project", base / "home" / ".globus_compute"
    for directory in (project, config_dir):
        directory.mkdir(parents=True)
    make_tool(base / "tool")
    os.chdir(project)
    manifest = project / "chiltepin.yaml"
    manifest.write_text(POOLED)
    if when == "change":
        _command("apply", "--yes")
        manifest.write_text(RENAMED)
    before = tree(base)
    _fill(base / "filler")
    code, text = _command("apply", "--yes")
    (base / "filler").unlink()
    after = tree(base)
    changed = sorted(
        path
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path) and Path(path).name not in _OURS_AND_FLEETING
    )
    afterwards, _ = _command("apply", "--yes")
    _, then = _command("plan")
    return {"code": code, "text": text, "changed": changed, "afterwards": afterwards, "then": then}


def _command(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(list(arguments))
    return code, out.getvalue()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(4096))
