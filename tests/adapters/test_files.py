"""Durable writes: complete or without effect, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.adapters import files
from reconciler.adapters.files import translated
from reconciler.errors import FileSystemError, Refused
from tests.adapters.host_support import ROOT, names, outcome, python

_PRELUDE = """
import os, resource, signal, sys
from pathlib import Path
from reconciler.adapters import files
from reconciler.errors import FileSystemError

def write(directory, name, content, mode=0o600):
    with files.opened(str(directory)) as opened:
        files.replace(opened, name, content, mode=mode, points=("write.temp", "write.renamed"))

"""
_WRITE = _PRELUDE + "write(sys.argv[1], 'config.yaml', b'new')"


def write(directory: Path, name: str, content: bytes, mode: int = 0o600) -> None:
    with files.opened(str(directory)) as opened:
        files.replace(opened, name, content, mode=mode, points=("write.temp", "write.renamed"))


def test_a_replaced_file_has_the_content_and_exactly_the_mode(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        write(tmp_path, "config.yaml", b"one")
        write(tmp_path, "config.yaml", b"two", mode=0o644)
    finally:
        os.umask(old)
    assert (tmp_path / "config.yaml").read_bytes() == b"two"
    assert stat.S_IMODE((tmp_path / "config.yaml").stat().st_mode) == 0o644
    assert names(tmp_path) == ["config.yaml"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "/etc/passwd", "a\0b"])
def test_no_name_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused):
        write(tmp_path, name, b"x")
    assert names(tmp_path) == []


def test_a_link_is_replaced_and_its_target_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "target").write_text("precious")
    (tmp_path / "d" / "config.yaml").symlink_to(tmp_path / "target")
    write(tmp_path / "d", "config.yaml", b"new")
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "d" / "config.yaml").is_symlink()


def test_reading_follows_no_link_and_waits_for_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    with files.opened(str(tmp_path)) as directory:
        assert files.read_file(directory, "absent") is None
        assert files.read_file(directory, "file") == b"x"
        assert files.read_file(directory, "link", follow=True) == b"x"
        for name, code in (("link", errno.ELOOP), ("pipe", errno.EINVAL)):
            with pytest.raises(OSError) as caught:
                files.read_file(directory, name)
            assert caught.value.errno == code


def test_a_long_file_is_read_whole_and_one_over_the_limit_is_refused(tmp_path: Path) -> None:
    content = os.urandom(200_000)
    (tmp_path / "long").write_bytes(content)
    with files.opened(str(tmp_path)) as directory:
        assert files.read_file(directory, "long") == content
        assert files.read_file(directory, "long", limit=200_000) == content
        with pytest.raises(OSError) as caught:
            files.read_file(directory, "long", limit=199_999)
        assert caught.value.errno == errno.EFBIG


def test_a_directory_behind_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    refused = pytest.raises(NotADirectoryError)
    with files.opened(str(tmp_path)) as directory, refused, files.entered(directory, "link"):
        raise AssertionError("entered")


def test_removing_a_tree_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "gone" / "below").mkdir(parents=True)
    (tmp_path / "gone" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "gone" / "below" / "file").write_text("x")
    (tmp_path / "gone" / "below").chmod(0o500)
    with files.opened(str(tmp_path)) as directory:
        files.remove_tree(directory, "gone")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "kept"]


def test_a_temporary_file_never_looks_like_an_endpoint(tmp_path: Path) -> None:
    child = python(_WRITE, str(tmp_path), CHILTEPIN_FAULT="write.temp")
    assert outcome(child)[0] == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert not list(tmp_path.glob("config.*"))
    with files.opened(str(tmp_path)) as directory:
        files.sweep(directory)
        assert names(tmp_path) == [left], "a fresh one may be another process's"
        os.utime(tmp_path / left, (1, 1))
        files.sweep(directory)
    assert names(tmp_path) == []


def test_killed_after_the_rename_the_new_content_is_there(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("old")
    child = python(_WRITE, str(tmp_path), CHILTEPIN_FAULT="write.renamed")
    assert outcome(child)[0] == -signal.SIGKILL
    assert (tmp_path / "config.yaml").read_bytes() == b"new"


def test_a_file_size_limit_leaves_the_old_content_and_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("old")
    code = (
        _PRELUDE
        + """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
with files.opened(sys.argv[1]) as directory:
    try:
        with files.translating("write config.yaml", sys.argv[1]):
            files.replace(directory, "config.yaml", b"x" * 100, points=("", ""))
    except FileSystemError as e:
        print(e.why, "|", e.remedy)
"""
    )
    status, out, err = outcome(python(code, str(tmp_path)))
    assert status == 0, err
    assert "EFBIG" in out
    assert "ulimit -f" in out
    assert (tmp_path / "config.yaml").read_text() == "old"
    assert names(tmp_path) == ["config.yaml"]


def test_a_full_disk_leaves_the_old_content_and_says_what_to_do(tmp_path: Path) -> None:
    """On a file system of 64 KiB."""
    code = (
        _PRELUDE
        + """
here = Path(sys.argv[1])
write(here, "config.yaml", b"old")
(here / "ballast").write_bytes(b"x" * 40_000)
with files.opened(str(here)) as directory:
    try:
        with files.translating("write config.yaml", str(here)):
            files.replace(directory, "config.yaml", b"x" * 60_000, points=("", ""))
    except FileSystemError as e:
        print(e.why, "|", e.remedy)
print(sorted(os.listdir(here)), (here / "config.yaml").read_text())
"""
    )
    unshare = shutil.which("unshare")
    namespace = [str(unshare), "--user", "--map-root-user", "--mount"]
    if unshare is None or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces here: a small file system cannot be mounted")
    mounted = 'mount -t tmpfs -o size=64k none "$0" && exec "$@"'
    done = subprocess.run(
        [*namespace, "sh", "-c", mounted, str(tmp_path), sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ENOSPC" in done.stdout
    assert "df -h" in done.stdout
    assert "['ballast', 'config.yaml'] old" in done.stdout


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_each_reason_has_a_remedy_of_its_own(code: int) -> None:
    error = translated(OSError(code, os.strerror(code)), "write the marker", "/x")
    others = {translated(OSError(c, ""), "", "").remedy for c in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)}
    assert isinstance(error, FileSystemError)
    assert (error.what, error.where) == ("cannot write the marker", "/x")
    assert errno.errorcode[code] in (error.why or "")
    assert error.remedy in others or code == errno.EACCES
    assert len(others) == 4
