"""Places that cannot be looked at, wherever a path may be named: an error that names them, or passed over; never a bug.

Names that are too long, links in a circle and users that are not there stop root, too; a directory that may not be
searched does not, so that root is nobody meanwhile.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from reconciler import api, endpoint
from reconciler.adapters import machine
from reconciler.adapters.tokens import TokenStore
from reconciler.errors import FileSystemError, ReconcilerError, UsageError
from tests.adapters.host_support import fake_environment
from tests.cli.support import HEAD, POOLED, Shell, as_ordinary_user

pytestmark = pytest.mark.usefixtures("everything_imported")

LONG = "n" * 300


def in_a_long_name(base: Path) -> str:
    return str(base / LONG / "x")


def in_a_circle(base: Path) -> str:
    (base / "loop").symlink_to("loop")
    return str(base / "loop" / "x")


def of_nobody_known(_: Path) -> str:
    return "~no-such-user-here/x"


def behind_a_closed_door(base: Path) -> str:
    (base / "closed" / "x").mkdir(parents=True)
    (base / "closed").chmod(0)
    return str(base / "closed" / "x")


PLACES: dict[str, tuple[Callable[[Path], str], tuple[str, ...]]] = {
    "a name that is too long": (in_a_long_name, ("File name too long", "choose a shorter name")),
    "links in a circle": (in_a_circle, ("Too many levels of symbolic links", "a symbolic link is in the way")),
    "no such user": (of_nobody_known, ("no home directory ~no-such-user-here", "name the directory in full")),
    "a closed door": (behind_a_closed_door, ("Permission denied", "check the owner and the permissions")),
}
COMMANDS = {
    "plan": ["plan"],
    "apply": ["apply", "--yes"],
    "destroy": ["destroy", "--yes"],
    "status": ["status"],
    "restart": ["restart", "main", "--yes"],
    "logs": ["logs", "main"],
    "adopt": ["adopt", "main", "--yes"],
    "forget": ["forget", "main", "--yes"],
    "undelete": ["undelete", "main", "--yes"],
    "purge": ["purge", "main", "--yes"],
    "unprotect": ["unprotect", "main", "--yes"],
    "whoami": ["whoami"],
    "login": ["login"],
    "logout": ["logout"],
    "init": ["init", "--from-existing", "-f", "other.yaml"],
    "endpoint configure": ["endpoint", "configure", "main"],
    "endpoint list": ["endpoint", "list"],
    "endpoint start": ["endpoint", "start", "main"],
    "endpoint stop": ["endpoint", "stop", "main"],
    "endpoint delete": ["endpoint", "delete", "main"],
    "endpoint undelete": ["endpoint", "undelete", "main"],
}


def user(shell: Shell) -> AbstractContextManager[None]:
    return as_ordinary_user(shell.base) if (shell.base / "closed").exists() else nullcontext()


@pytest.mark.parametrize("place", PLACES)
def test_a_config_directory(shell: Shell, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by the option, the manifest or the environment: each command fails with what is wrong with it."""
    make, says = PLACES[place]
    named = make(shell.base)
    shell.write(POOLED)
    of_manifest = shell.project / "named.yaml"
    of_manifest.write_text(
        POOLED.replace("endpoints:", f"hosts: {{h: {{match: ['*'], config_dir: '{named}'}}}}\nendpoints:")
    )
    with user(shell):
        for command in COMMANDS.values():
            done = shell.run(*command, "-c", named)
            assert done.code != 0, done.text
            done.says(*says, named.split("/x")[0])
        for verb in ("plan", "status"):
            shell.run(verb, "-f", str(of_manifest)).says(*says)
        monkeypatch.setenv("GLOBUS_COMPUTE_USER_DIR", named)
        for command in COMMANDS.values():
            done = shell.run(*command)
            assert done.code != 0, done.text
            done.says(*says)
    assert sorted(path.name for path in shell.project.iterdir()) == ["chiltepin.yaml", "named.yaml"]


@pytest.mark.parametrize("place", PLACES)
def test_a_config_directory_in_the_api(shell: Shell, place: str) -> None:
    make, says = PLACES[place]
    named = make(shell.base)
    shell.write(POOLED)
    calls: list[Callable[[], object]] = [
        lambda: api.load(shell.manifest, config_dir=named).plan(),
        lambda: endpoint.show(named),
        lambda: endpoint.exists("main", named),
        lambda: endpoint.deleted(named),
        lambda: endpoint.delete("main", named),
    ]
    with user(shell):
        for call in calls:
            with pytest.raises(ReconcilerError) as caught:
                call()
            assert says[1] in str(caught.value)


@pytest.mark.parametrize("place", PLACES)
def test_a_directory_of_the_environment_matters_only_where_no_other_is_named(
    shell: Shell, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless that one has no token store of its own: then it cannot be told whether somebody is logged in."""
    make, says = PLACES[place]
    monkeypatch.setenv("GLOBUS_COMPUTE_USER_DIR", make(shell.base))
    shell.write(POOLED)
    own = ("-c", str(shell.config_dir))
    with user(shell):
        for command in (["plan"], ["whoami"]):
            done = shell.run(*command, *own).says(*says)
            assert done.code in (1, 64), done.text
            assert "logged in" not in done.text
    TokenStore(shell.config_dir, "any").prepare()
    with user(shell):
        for command in (["plan"], ["whoami"], ["endpoint", "list"]):
            shell.ok(*command, *own)


def test_what_no_file_of_ours_could_name(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    place = shell.base / "b\udcffd"
    place.mkdir()
    shell.write(POOLED)
    says = ("this path is not UTF-8", "rename it, or name another one")
    for command in COMMANDS.values():
        shell.refused(*command, "-c", str(place), code=64, says=says)
    shell.refused("plan", "--format", "json", "-c", str(place), code=64, says=says)
    shell.refused("sandbox", "status", "--format", "json", "--state-dir", str(place), code=64, says=says)
    with pytest.raises(UsageError, match="not UTF-8"):
        endpoint.show(str(place))
    shell.tool.rename(place / "tool")
    tool = place / "tool" / "bin" / "globus-compute-endpoint"
    tool.write_bytes(b"#!" + os.fsencode(tool.with_name("python")) + b"\n")
    monkeypatch.setenv("PATH", f"{place}/tool/bin:/usr/bin:/bin")
    shell.write(POOLED.replace("stopped", "running"))
    shell.refused("plan", code=4, says=("globus-compute-endpoint cannot be used: this path is not UTF-8",))


@pytest.mark.parametrize("path", ["with\0nul", "~with\0nul", "~/with\0nul", "/with\0nul"])
def test_a_path_with_a_nul(shell: Shell, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No argument of a command holds one, but one of the API may."""
    monkeypatch.chdir(shell.project)
    shell.write(POOLED)
    calls: list[Callable[[], object]] = [
        lambda: api.load(path),
        lambda: api.load(Path(path)),
        lambda: api.load(shell.manifest, lock=path),
        lambda: api.load(shell.manifest, config_dir=path).plan(),
        lambda: api.load(shell.manifest, config_dir=path).config_dir,
        lambda: api.read_lock(path),
        lambda: endpoint.show(path),
        lambda: endpoint.configure("main", path),
        lambda: endpoint.start("main", path),
        lambda: endpoint.deleted(path),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="this is no path") as caught:
            call()
        assert "\\x00" in str(caught.value)
        assert "\0" not in str(caught.value)


def test_no_home_at_all(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> pwd.struct_passwd:
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME")
    shell.write(POOLED)
    for command in (["plan"], ["whoami"], ["endpoint", "list"], ["init", "--from-existing", "-f", "o.yaml"], ["login"]):
        shell.refused(*command, code=64, says=("there is no home directory ~", "set HOME"))
    shell.refused("sandbox", "status", code=64, says=("there is no home directory ~", "set HOME"))
    with pytest.raises(UsageError, match="no home directory"):
        endpoint.show()
    shell.ok("validate")


@pytest.mark.parametrize("home", ["", "not/absolute", "/nowhere/at/all", "/dev/null"])
def test_a_home_that_is_none(shell: Shell, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)
    machine.facts.cache_clear()
    shell.write(POOLED)
    for command in (["plan"], ["apply", "--yes"], ["status"], ["endpoint", "configure", "x"], ["login"]):
        says = ("the home directory cannot be used", home or "HOME is set to nothing", "set HOME", "name the")
        shell.refused(*command, code=64, says=says)
    config_dir = shell.base / "elsewhere"
    shell.apply("-c", str(config_dir))  # who has no home, as services do, names another place
    assert (config_dir / "main").is_dir()
    shell.ok("status", "-c", ".")


def test_a_home_in_which_nothing_can_be_made(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    home = shell.base / "another home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    shell.write(POOLED)
    with as_ordinary_user(shell.base):
        home.chmod(0o555)
        says = (f"{home}: cannot make the directory {home}/.globus_compute", "Permission denied", "check the owner")
        for command in (["apply", "--yes"], ["endpoint", "configure", "x"]):
            shell.refused(*command, code=1, says=says)


@pytest.mark.parametrize("place", PLACES)
def test_on_path_it_is_passed_over(shell: Shell, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, _ = PLACES[place]
    monkeypatch.setenv("PATH", f"{make(shell.base)}:{os.environ['PATH']}")
    shell.write(POOLED)
    with user(shell):
        for command in (["validate"], ["plan"], ["status"]):
            shell.ok(*command)


@pytest.mark.parametrize("place", PLACES)
def test_an_environment_of_a_host(shell: Shell, place: str) -> None:
    """The manifest is valid wherever it is read; on its host there is no globus-compute-endpoint."""
    make, _ = PLACES[place]
    hosts = json.dumps({"here": {"match": ["*"], "python": make(shell.base)}})
    shell.write(f"{HEAD}hosts: {hosts}\nendpoints:\n  main: {{}}\n")
    with user(shell):
        shell.ok("validate")
        shell.ok("plan", "--against", "lock")
        says = ("globus-compute-endpoint was not found", "name its environment with `python:`")
        shell.refused("plan", code=4, says=says)


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        ("echo Globus Compute Endpoint version: 4.19.0", 0, "+ create directory main"),
        ("echo Globus Compute Endpoint version: 4.12.0", 4, "globus-compute-endpoint 4.12.0 is not supported"),
        ("", 4, "globus-compute-endpoint does not say its version"),
    ],
)
def test_an_environment_whose_packages_cannot_be_seen(shell: Shell, script: str, code: int, says: str) -> None:
    """The tool itself is asked. A shell is its Python: ours may lie where the user may not search."""
    prefix = fake_environment(shell.base / "env")
    (prefix / "pyvenv.cfg").write_bytes(b"\xff\xfe\nversion = 3.11.7\n")
    hosts = json.dumps({"here": {"match": ["*"], "python": str(prefix)}})
    shell.write(f"{HEAD}hosts: {hosts}\nendpoints:\n  main: {{state: stopped}}\n")
    shell.ok("validate")
    (prefix / "bin" / "python").unlink()
    (prefix / "bin" / "python").symlink_to("/bin/sh")
    with (prefix / "bin" / "globus-compute-endpoint").open("a") as tool:
        tool.write(f"{script}\n")
    (prefix / "lib").chmod(0)
    (prefix / "pyvenv.cfg").chmod(0)
    with as_ordinary_user(shell.base):
        shell.ok("validate")
        done = shell.run("plan").says(says)
        assert done.code == code, done.text


@pytest.mark.parametrize("kind", ["template", "schema", "identity_mapping"])
@pytest.mark.parametrize("place", PLACES)
def test_a_file_that_the_manifest_names(shell: Shell, place: str, kind: str) -> None:
    make, says = PLACES[place]
    named = make(shell.project)
    named = named if named.startswith("~") else str(Path(named).relative_to(shell.project))
    shell.write(POOLED.replace("state: stopped", f"state: stopped, {kind}: '{named}'"))
    with as_ordinary_user(shell.base):
        for options in ([], ["--allow-outside"]):
            done = shell.refused("validate", *options, code=65)
            if options or not named.startswith("~"):
                done.says("chiltepin.yaml:4:", says[1])


@pytest.mark.parametrize("place", [name for name in PLACES if name != "no such user"])
def test_files_that_the_command_line_names(shell: Shell, place: str) -> None:
    make, says = PLACES[place]
    named = make(shell.base)
    shell.write(POOLED)
    with user(shell):
        for command in (
            ["validate", "-f", named],
            ["plan", "-f", named],
            ["init", "-f", named],
            ["plan", "--lock", named],
            ["lock", "export", "--lock", named],
            ["plan", "--against", "lock", "--lock", named],
            ["plan", "--out", named],
            ["apply", named],
        ):
            done = shell.run(*command).says(*says, named)
            assert done.code in (1, 64), done.text
        done = shell.run("sandbox", "down", "--state-dir", named).says(says[0], named, "next: ")
        assert done.code == 1


def test_without_a_working_directory(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write(POOLED)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    manifest = ["-f", str(shell.manifest)]
    for command in (
        ["plan"],
        ["init"],
        ["plan", *manifest, "--lock", "rel"],
        ["plan", *manifest, "-c", "rel"],
        ["endpoint", "-c", "rel", "list"],
        ["whoami", "-c", "rel"],
        ["sandbox", "status", "--state-dir", "rel"],
    ):
        says = ("no working directory that a relative path could count from", "`cd`", "name the path in full")
        shell.refused(*command, code=1, says=says)
    with pytest.raises(FileSystemError, match="no working directory"):
        api.load()
    shell.ok("plan", *manifest)
