"""Have user endpoints submitted batch jobs? Their scripts tell, without asking the batch system.

Nothing ever removes the directories of user endpoints, so that the scripts of ended ones lie there, too: then
the batch system is asked once more than needed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping

from reconciler.adapters import files
from reconciler.adapters.names import user_endpoint
from reconciler.core.live import BatchSystem

_SCRIPTS = "submit_scripts"
_HEAD = 4096
_DIRECTIVES: Mapping[BatchSystem, bytes] = {"slurm": b"\n#SBATCH ", "pbs": b"\n#PBS "}
"""What a script for one batch system holds, in this order: Slurm also takes directives of PBS, PBS none of Slurm."""


def submitted(config_dir: str, ids: Collection[str]) -> frozenset[BatchSystem]:
    """Return the batch systems for which a user endpoint of these endpoints has a script.

    Raises:
        OSError: a directory cannot be read.
    """
    wanted = {endpoint_id.lower() for endpoint_id in ids}
    systems: set[BatchSystem] = set()
    try:
        with files.opened(config_dir) as root, os.scandir(root.fd) as entries:
            names = [e.name for e in entries if (found := user_endpoint(e.name)) and found[0] in wanted]
            for script in (script for name in names for script in _scripts(root.fd, name)):
                system = _system_of(root.fd, script)
                systems |= {system} if system else set()
                if len(systems) == len(_DIRECTIVES):
                    break
    except FileNotFoundError:
        return frozenset()
    return frozenset(systems)


def _scripts(root: int, name: str) -> Iterator[str]:
    """Yield the paths of scripts below a user endpoint's directory; what a local provider runs is called .sh."""
    for folder in (name, *(f"{name}/{inner}" for inner in _listed(root, name, only_directories=True))):
        for file in _listed(root, f"{folder}/{_SCRIPTS}"):
            if not file.endswith((".sh", ".out", ".err", ".ec", ".stdout", ".stderr")):
                yield f"{folder}/{_SCRIPTS}/{file}"


def _listed(root: int, path: str, *, only_directories: bool = False) -> list[str]:
    """Return the regular files (or directories) at a path below `root`, none when that is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        with os.scandir(fd) as entries:
            wanted = [e for e in entries if (e.is_dir if only_directories else e.is_file)(follow_symlinks=False)]
            return [e.name for e in wanted]
    finally:
        os.close(fd)


def _system_of(root: int, path: str) -> BatchSystem | None:
    """Return the batch system for which a script is, None for what is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=root)
    except FileNotFoundError:  # gone meanwhile
        return None
    try:
        head = os.read(fd, _HEAD)
    finally:
        os.close(fd)
    return next((system for system, directive in _DIRECTIVES.items() if directive in head), None)
