"""What is left to look at when a guarantee does not hold or a task does not end: processes, logs and the journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

_OF_STATUS = ("State:", "PPid:", "SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:", "SigCgt:")
_LINES = 30


def evidence(processes: Mapping[int, str], config_dir: Path) -> Iterator[str]:
    """Yield lines on all processes of a user, with what each of their threads waits for, and the ends of the logs.

    Args:
        processes: their titles by PID.
        config_dir: the directory of the user's endpoints.
    """
    for pid, title in sorted(processes.items()):
        yield f"process {pid}: {title}"
        of_status = [line for line in _read(Path(f"/proc/{pid}/status")) if line.startswith(_OF_STATUS)]
        yield f"  {' '.join(' '.join(line.split()) for line in of_status)}"
        for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
            name, waits, call = (" ".join(_read(task / what)) for what in ("comm", "wchan", "syscall"))
            yield f"  thread {task.name} {name}: in {waits or '-'}, system call {call or '-'}"
    own = config_dir / ".chiltepin" / "journal.jsonl"
    for path in (own, *sorted(config_dir.glob("*/endpoint.log"))):
        yield f"the end of {path.relative_to(config_dir)}:"
        yield from (f"  {line}" for line in _read(path)[-_LINES:])


def _read(path: Path) -> list[str]:
    """Return a file's lines, none when it is gone by now."""
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError as e:
        return [f"({e.strerror})"]
