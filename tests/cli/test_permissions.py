"""What the file system refuses: permissions (as a user whom they bind, also for root), other owners, a full disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.support import HEAD, NOBODY, POOLED, RENAMED, ROOT, Shell, as_ordinary_user

pytestmark = pytest.mark.usefixtures("everything_imported")
OWNER = "check the owner and the permissions of that path"


def registered(shell: Shell) -> None:
    """Let there be an endpoint, and something to do for it."""
    with as_ordinary_user(shell.base):
        shell.registered()
    shell.write(RENAMED)


def closed(path: Path, mode: int = 0) -> None:
    path.chmod(mode)


@pytest.mark.parametrize("umask", [0o277, 0o777])
def test_a_plan_needs_no_temporary_directory_and_no_usual_umask(
    shell: Shell, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", None)
    monkeypatch.setattr(tempfile, "mkstemp", None)
    shell.write(POOLED)
    with as_ordinary_user(shell.base):
        before = os.umask(umask)
        try:
            shell.ok("plan").says("main")
        finally:
            os.umask(before)


Prepare = Callable[[Shell], None]
UNREADABLE: dict[str, tuple[Prepare, int, tuple[str, ...]]] = {
    "manifest": (lambda s: closed(s.manifest), 1, ("chiltepin.yaml: cannot read the manifest", OWNER)),
    "lockfile": (lambda s: closed(s.lock), 1, ("chiltepin.lock.yaml: cannot read the lockfile", OWNER)),
    "pools file": (lambda s: closed(s.pools), 1, ("chiltepin.pools.yaml: cannot read the pools file", OWNER)),
    "journal": (lambda s: closed(s.journal), 1, (".chiltepin", "Permission denied (EACCES)", OWNER)),
    "config directory": (lambda s: closed(s.config_dir), 1, (".globus_compute", "Permission denied (EACCES)", OWNER)),
    "endpoint directory": (
        lambda s: closed(s.config_dir / "main"),
        4,
        ("main: refused:", "cannot be used: Permission denied (EACCES)", "mend that"),
    ),
    "config.yaml": (
        lambda s: closed(s.config_dir / "main" / "config.yaml"),
        4,
        ("main: refused:", "cannot be used: config.yaml: Permission denied", "mend that"),
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable(shell: Shell, name: str) -> None:
    prepare, code, says = UNREADABLE[name]
    registered(shell)
    prepare(shell)
    with as_ordinary_user(shell.base):
        for command in (["plan"], ["apply", "--yes"]):
            shell.refused(*command, code=code, says=says)


def test_unreadable_template(shell: Shell) -> None:
    shell.write(POOLED.replace("state: stopped", "state: stopped, template: t"))
    (shell.project / "t").write_text("engine: {}\n")
    (shell.project / "t").chmod(0)
    with as_ordinary_user(shell.base):
        says = ("the template `t` cannot be read: cannot read t: Permission denied (EACCES)", OWNER)
        shell.refused("plan", code=65, says=says)


READ_ONLY: dict[str, Prepare] = {
    "config directory": lambda s: closed(s.config_dir, 0o500),
    "a home without one": lambda s: (s.config_dir.rmdir(), closed(s.home, 0o500))[1],
    "project": lambda s: closed(s.project, 0o500),
}


@pytest.mark.parametrize("name", READ_ONLY)
def test_read_only_before_the_first_apply(shell: Shell, name: str) -> None:
    """A plan is had all the same; an apply makes no endpoint whose UUID could be lost."""
    shell.write(POOLED)
    READ_ONLY[name](shell)
    with as_ordinary_user(shell.base):
        shell.refused("plan", code=0, says=("Plan: 1 to create, 1 pool to add.",))
        done = shell.run("apply", "--yes")
    assert done.code == 1, done.text
    done.says("Permission denied (EACCES)", OWNER)
    assert not (shell.config_dir / "main").exists()
    assert not shell.lock.exists()


def test_a_read_only_own_directory(shell: Shell) -> None:
    registered(shell)
    closed(shell.config_dir / ".chiltepin", 0o500)
    with as_ordinary_user(shell.base):
        shell.refused("apply", "--yes", code=1, says=("cannot take the lease", "Permission denied (EACCES)", OWNER))


def test_an_entry_of_the_trash_that_cannot_be_opened_is_named(shell: Shell) -> None:
    """It may hold the UUID of an endpoint that is declared: nothing is planned as if it were not there."""
    with as_ordinary_user(shell.base):
        shell.registered()
        shell.ok("destroy", "--yes")
    (entry,) = (shell.config_dir / ".chiltepin" / "trash").iterdir()
    closed(entry)
    with as_ordinary_user(shell.base):
        for command in (["plan"], ["status"], ["apply", "--yes"]):
            shell.refused(*command, code=1, says=(f"{entry}: cannot read an entry of the trash", "(EACCES)", OWNER))


def test_an_entry_of_the_trash_that_cannot_be_measured_stays(shell: Shell) -> None:
    with as_ordinary_user(shell.base):
        shell.registered()
        shell.ok("destroy", "--yes")
    (entry,) = (shell.config_dir / ".chiltepin" / "trash").iterdir()
    (entry / "endpoint" / "tasks").mkdir()
    closed(entry / "endpoint" / "tasks")
    shell.write(f"{HEAD}trash: {{max: 1 KB}}\nendpoints:\n  other: {{state: stopped}}\n")
    with as_ordinary_user(shell.base):
        shell.ok("plan").says("1 to create")
        shell.ok("status").says("main")


def test_a_read_only_endpoint_directory_keeps_its_files_and_the_plan(shell: Shell) -> None:
    registered(shell)
    directory = shell.config_dir / "main"
    closed(directory, 0o500)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    lock = shell.lock.read_bytes()
    with as_ordinary_user(shell.base):
        done = shell.run("apply", "--yes")
    assert done.code == 3, done.text
    done.says("main: WriteFile failed:", f"{directory}: cannot write config.yaml: Permission denied", OWNER)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert shell.lock.read_bytes() == lock
    directory.chmod(0o700)
    with as_ordinary_user(shell.base):
        shell.ok("plan").says("main: spec changed")
        shell.apply()


def test_init_in_a_read_only_directory(shell: Shell) -> None:
    closed(shell.project, 0o500)
    with as_ordinary_user(shell.base):
        shell.refused("init", code=1, says=("chiltepin.yaml: cannot write the manifest", OWNER))


def test_a_first_manifest_that_can_be_neither_written_nor_removed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    full = Path("/dev/full").open("w")  # noqa: SIM115  closed by what writes to it
    monkeypatch.setattr(Path, "open", lambda *_, **__: full)
    monkeypatch.setattr(Path, "unlink", refuse)
    done = shell.run("init").says("cannot write the manifest", "No space left on device")
    assert done.code == 1


def test_the_config_directory_of_somebody_else(shell: Shell) -> None:
    shell.write(POOLED)
    theirs = shell.config_dir
    commands = [["plan"], ["status"], ["init", "--from-existing", "-f", "new.yaml"]]
    if os.getuid() == 0:
        os.chown(theirs, NOBODY, NOBODY)
        commands.append(["apply", "--yes"])
    else:  # nothing but reading is tried on a directory that really is somebody's
        theirs = Path("/usr")
        if theirs.stat().st_uid == os.getuid():
            pytest.skip("a user namespace in which all files are one's own: no directory is somebody else's")
    for command in commands:
        says = (f"{theirs}: the config directory belongs to another user", "you have UID", "--config-dir")
        shell.refused(*command, "-c", str(theirs), code=4, says=says)


# --- a full disk

FULL_DISK = """
import json, sys, types
from pathlib import Path
sys.modules["tests"] = types.ModuleType("tests")  # another package of that name may be installed
sys.modules["tests"].__path__ = ["tests"]
from tests.cli.full_disk import story
print(json.dumps(story(Path(sys.argv[1]), sys.argv[2])))
"""


@pytest.mark.parametrize("when", ["first apply", "change"])
def test_a_full_disk(shell: Shell, when: str) -> None:
    told = on_small_disk(shell, when)
    assert told["code"] in (1, 3), told["text"]
    assert "No space left on device (ENOSPC)" in told["text"]
    assert "free space on that file system" in told["text"]
    assert "Traceback" not in told["text"]
    assert told["changed"] == [], "something was changed, lost, or left behind"
    assert told["afterwards"] == 0, "with space again, the same command does the work"
    assert told["then"].startswith("No changes.")


def on_small_disk(shell: Shell, when: str) -> dict[str, object]:
    """Tell what `tests.cli.full_disk` saw, on a file system of 2 MB in a mount namespace."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare (util-linux): a small file system cannot be made")
    namespace = [unshare, "--mount", *([] if os.getuid() == 0 else ["--user", "--map-root-user"])]
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(shell.base)]
    if subprocess.run([*namespace, *mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespaces here: a small file system cannot be made")
    script = 'mount -t tmpfs -o size=2m tmpfs "$1" && cd "$4" && exec "$2" -c "$3" "$1" "$5"'
    command = [*namespace, "sh", "-c", script, "sh", str(shell.base), sys.executable, FULL_DISK, str(ROOT), when]
    environ = {**os.environ, "TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told
