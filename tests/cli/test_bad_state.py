"""Damage in what we and the daemons wrote: lock, marker, journal, endpoint.json, config.yaml; what is in the way."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.adapters.globus_stub import CLIENT, ENDPOINT
from tests.cli.support import HEAD, OTHER_ENDPOINT, POOLED, RENAMED, Shell, Tree

EVERY = (["plan"], ["apply", "--yes"], ["destroy", "--yes"])


def refused_by_all(shell: Shell, *says: str, code: int = 4) -> None:
    for command in EVERY:
        assert shell.refused(*command, code=code, says=says).out == ""


# --- the lockfile

LOCKS: dict[str, tuple[Callable[[str], str | bytes], tuple[str, ...]]] = {
    "no YAML": (lambda _: "{{{", ("chiltepin.lock.yaml: the lockfile is not valid YAML", "version control")),
    "empty": (lambda _: "", ("the lockfile does not hold a mapping", "the markers rebuild it")),
    "binary": (lambda _: b"\xff\xfe\0", ("the lockfile is damaged", "byte 0 is not UTF-8", "version control")),
    "cut short": (lambda text: text[: len(text) // 2], ("the lockfile", "version control")),
    "too deep": (lambda _: "[" * 100_000, ("nested more than 100 levels deep", "version control")),
    "too deep, in blocks": (lambda _: "".join(f"{' ' * n}a:\n" for n in range(300)), ("more than 100 levels deep",)),
    "too deep, compact": (lambda _: "- " * 5000 + "a\n", ("nested more than 100 levels deep",)),
    "contains itself": (lambda text: text + "more: &a [*a]\n", ("`*a` contains itself",)),
    "a key merged into itself": (lambda text: text + "more: &a {<<: *a}\n", ("`*a` contains itself",)),
    "a newer version": (
        lambda text: text.replace("version: 1", "version: 2"),
        ("the lockfile has version 2; this chiltepin reads version 1", "pip install ."),
    ),
    "an unknown key": (lambda text: text + "more: 1\n", ("the lockfile is damaged at `more`: this key is unknown",)),
    "no UUID": (
        lambda text: text.replace(ENDPOINT, "hello"),
        ("the lockfile is damaged at `endpoints.main.id`: not a UUID",),
    ),
    "a merge conflict": (
        lambda text: f"<<<<<<< ours\n{text}=======\n>>>>>>> theirs\n",
        ("the lockfile holds merge conflict markers", "resolve the conflict in chiltepin.lock.yaml first"),
    ),
    "true for the version": (lambda text: text.replace("version: 1", "version: true"), ("damaged at `version`",)),
    "1.0 for the version": (lambda text: text.replace("version: 1", "version: 1.0"), ("damaged at `version`",)),
    "another stack": (
        lambda text: text.replace("stack: demo", "stack: other"),
        ("the lockfile is that of stack `other`, and the manifest's is `demo`", "--lock"),
    ),
}


@pytest.mark.parametrize("form", [str.upper, lambda text: text.replace("-", "")])
def test_a_uuid_that_is_written_otherwise_is_the_same_uuid(shell: Shell, form: Callable[[str], str]) -> None:
    """In our files and in endpoint.json; their text stays as it is."""
    shell.registered()
    registration = shell.config_dir / "main" / "endpoint.json"
    registration.write_text(f'{{"endpoint_id": "{form(ENDPOINT)}"}}')
    shell.refused("plan", code=0, says=("No changes.",))
    shell.marker.write_text(shell.marker.read_text().replace(ENDPOINT, form(ENDPOINT)))
    shell.refused("plan", code=0, says=("No changes.",))
    for file in (shell.marker, shell.lock):
        file.write_text(file.read_text().replace(CLIENT, form(CLIENT)))
        assert form(CLIENT) in file.read_text()
        shell.refused("plan", code=0, says=("No changes.",))
    shell.write(RENAMED.replace("state: stopped", f"state: stopped, id: '{form(ENDPOINT)}'"))
    shell.apply()
    assert ENDPOINT in shell.lock.read_text()
    assert form(ENDPOINT) in registration.read_text()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lockfile_that_cannot_be_used(shell: Shell, name: str) -> None:
    damage, says = LOCKS[name]
    shell.registered()
    shell.write(RENAMED)
    damaged = damage(shell.lock.read_text())
    shell.lock.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    refused_by_all(shell, *says)


def test_a_damaged_lockfile_is_rebuilt_from_the_markers(shell: Shell) -> None:
    shell.registered()
    before = shell.lock.read_bytes()
    shell.lock.write_text("{{{")
    shell.lock.rename(shell.project / "damaged")
    shell.apply()
    assert shell.lock.read_bytes() == before


def test_a_directory_for_a_lockfile(shell: Shell) -> None:
    shell.write(POOLED)
    shell.lock.mkdir()
    refused_by_all(shell, "chiltepin.lock.yaml: cannot read the lockfile", "move it aside", code=1)


@pytest.mark.parametrize("command", ["plan", "apply --yes", "status", "lock export", "plan --against lock"])
def test_a_lockfile_that_links_to_nothing(shell: Shell, command: str) -> None:
    shell.registered()
    shell.lock.rename(shell.base / "lock")
    shell.lock.symlink_to("../nowhere/lock")
    says = ("a symbolic link to ../nowhere/lock, and nothing is there", f"{shell.base}/nowhere/lock", "remove the link")
    shell.refused(*command.split(), code=4, says=says)


@pytest.mark.parametrize("content", [b"\xff\0", b"\xff", b"{{{", b"- 1\n"])
def test_a_pools_file_that_somebody_edited_is_written_again(shell: Shell, content: bytes) -> None:
    shell.registered()
    before = shell.pools.read_bytes()
    for damaged in (content, before + content):
        shell.pools.write_bytes(damaged)
        shell.refused("plan", code=0, says=("write the pools file",))
        shell.apply()
        assert shell.pools.read_bytes() == before


@pytest.mark.parametrize("linked", ["config.yaml", "user_environment.yaml"])
def test_a_link_that_becomes_a_file_is_in_the_plan(shell: Shell, linked: str) -> None:
    shell.registered()
    file, target = shell.config_dir / "main" / linked, shell.base / "dotfiles"
    file.rename(target)
    file.symlink_to(target)
    shell.refused("plan", "--detailed-exitcode", code=0, says=("No changes.",))
    before = target.read_bytes()
    block = "config: {debug: true}, user_environment: {A: b}"
    shell.write(POOLED.replace("stopped}", f"stopped, {block}}}"))
    shell.refused("plan", code=0, says=(f'(link): "{target}" -> "a file of its own"',))
    shell.apply()
    assert not file.is_symlink()
    assert target.read_bytes() == before
    shell.ok("plan", "--detailed-exitcode").says("No changes.")


# --- the marker

MARKERS = {
    "no JSON": b"{{{",
    "binary": b"\xff\0",
    "empty": b"",
    "too deep": b"[" * 100_000,
    "half": b'{"format_version": 1, "stack": "demo"',
}


def test_a_marker_with_a_key_path_of_no_keys_is_damaged(shell: Shell) -> None:
    shell.registered()
    marker = json.loads(shell.marker.read_text())
    marker["files"]["config.yaml"]["keys"] = [[]]
    shell.marker.write_text(json.dumps(marker))
    shell.lock.unlink()
    shell.run("apply", "--yes").says("main: refused:", "its marker cannot be read")


@pytest.mark.parametrize("name", MARKERS)
def test_a_damaged_marker_without_a_lock_is_not_ours_to_touch(shell: Shell, name: str) -> None:
    shell.registered()
    shell.lock.unlink()
    shell.marker.write_bytes(MARKERS[name])
    directory = only(shell.tree(), shell.config_dir / "main")
    done = shell.run("apply", "--yes")
    assert done.code == 4, done.text
    done.says("main: refused:", "its marker cannot be read", "`chiltepin adopt main`")
    assert only(shell.tree(), shell.config_dir / "main") == directory


@pytest.mark.parametrize("name", MARKERS)
def test_a_damaged_marker_is_written_anew_when_the_lock_vouches_for_it(shell: Shell, name: str) -> None:
    shell.registered()
    shell.marker.write_bytes(MARKERS[name])
    shell.ok("plan").says("main: lost marker", "Plan: 1 to record.")
    shell.apply()
    shell.ok("plan").says("No changes.")
    assert ENDPOINT in shell.lock.read_text()
    assert ENDPOINT in shell.marker.read_text()


def test_a_marker_of_a_newer_version_is_left_alone(shell: Shell) -> None:
    shell.registered()
    shell.write(RENAMED)
    text = shell.marker.read_text()
    shell.marker.write_text(text.replace('"format_version": 1', '"format_version": 2').replace("{", '{"new": 1,', 1))
    assert '"format_version": 2' in shell.marker.read_text()
    directory = only(shell.tree(), shell.config_dir)
    for command in (["plan"], ["apply", "--yes"]):
        done = shell.run(*command)
        assert done.code == 4, done.text
        done.says(".chiltepin.json has format_version 2", "reads up to 1", "pip install .")
    assert only(shell.tree(), shell.config_dir / "main") == only(directory, shell.config_dir / "main")


def test_a_marker_of_another_stack(shell: Shell) -> None:
    shell.registered()
    other = shell.project / "other.yaml"
    other.write_text(POOLED.replace("stack: demo", "stack: other"))
    directory = only(shell.tree(), shell.config_dir / "main")
    done = shell.run("apply", "--yes", "-f", "other.yaml")
    assert done.code == 4, done.text
    done.says("main: refused:", "belongs to stack `demo`", "choose another `directory`")
    assert only(shell.tree(), shell.config_dir / "main") == directory


# --- the journal


def _journal_line(**changes: Any) -> bytes:
    line = {"v": 1, "at": 1.0, "run": "r", "sequence": 1, "event": "intent", "action": "Start", "endpoint": "main"}
    return json.dumps({**line, "data": {}, **changes}).encode() + b"\n"


JOURNALS: dict[str, tuple[Callable[[bytes], bytes], tuple[str, ...]]] = {
    "no JSON": (lambda text: b"hello}\n" + text, ("journal.jsonl:1: the journal is damaged", "it is not JSON")),
    "the last line": (lambda text: text + b"hello}\n", ("the journal is damaged", "it is not JSON")),
    "binary": (lambda text: b"\xff\xfe}\n" + text, ("journal.jsonl:1: the journal is damaged", "it is not JSON")),
    "too deep": (lambda text: b"[" * 100_000 + b"]\n" + text, ("journal.jsonl:1: the journal is damaged",)),
    "newer": (lambda text: text.replace(b'"v":1', b'"v":2'), ("a newer version of chiltepin wrote it",)),
    **{
        f"{key} of another kind": (
            lambda text, key=key, value=value: _journal_line(**{key: value}) + text,
            ("the journal is damaged", "values are of unknown kinds"),
        )
        for key, value in {
            "endpoint": {},
            "event": [],
            "run": None,
            "action": 5,
            "sequence": True,
            "at": "now",
            "data": {"known": [[]]},
        }.items()
    },
    "something else": (lambda text: b'{"a": 1}\n' + text, ("it is no line of a journal", "move it aside")),
}


@pytest.mark.parametrize("name", JOURNALS)
def test_a_journal_that_cannot_be_read(shell: Shell, name: str) -> None:
    damage, says = JOURNALS[name]
    shell.registered()
    shell.write(RENAMED)
    shell.journal.write_bytes(damage(shell.journal.read_bytes()))
    refused_by_all(shell, *says, "move it aside", "`chiltepin plan`")
    shell.journal.rename(shell.journal.with_name("bad"))  # the remedy works
    shell.apply()


def test_half_a_line_at_the_end_of_the_journal_is_no_damage(shell: Shell) -> None:
    shell.registered()
    whole = shell.journal.read_bytes()
    shell.journal.write_bytes(whole + whole.splitlines()[-1][:-10])
    shell.ok("plan").says("No changes.")
    shell.apply()


# --- endpoint.json and config.yaml

REGISTRATIONS = {
    "no JSON": b"{",
    "empty": b"",
    "binary": b"\xff\0",
    "no UUID": b'{"endpoint_id": "hello"}',
    "a number": b'{"endpoint_id": 5}',
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", REGISTRATIONS)
def test_a_damaged_endpoint_json_is_mended_and_kept(shell: Shell, name: str) -> None:
    shell.registered()
    registration = shell.config_dir / "main" / "endpoint.json"
    registration.write_bytes(REGISTRATIONS[name])
    done = shell.refused("plan", code=0, says=("main: damaged", "write endpoint.json", ENDPOINT))
    done.says("what is there is damaged: endpoint.json", "the damaged one is kept as a backup")
    assert "start" not in done.out
    shell.apply()
    assert ENDPOINT in registration.read_text()
    kept = [path.read_bytes() for path in (shell.config_dir / ".chiltepin" / "backups").rglob("endpoint.json*")]
    assert kept == [REGISTRATIONS[name]]


def test_uuids_that_contradict_each_other(shell: Shell) -> None:
    shell.registered()
    (shell.config_dir / "main" / "endpoint.json").write_text(f'{{"endpoint_id": "{OTHER_ENDPOINT}"}}')
    says = (
        "its UUID is not the same everywhere",
        f"endpoint.json: {OTHER_ENDPOINT}",
        f"lock: {ENDPOINT}",
        "adopt main",
    )
    shell.refused("plan", code=4, says=says)
    before = shell.tree()
    assert shell.run("apply", "--yes").code == 4
    assert shell.tree() == before


CONFIGS = {
    "no YAML": b"a: [\n",
    "binary": b"\xff\xfe\0",
    "a list": b"- 1\n",
    "too deep": b"[" * 100_000,
    "contains itself": b"a: &a [*a]\n",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_damaged_config_is_replaced_and_kept(shell: Shell, name: str) -> None:
    shell.registered()
    config = shell.config_dir / "main" / "config.yaml"
    good = config.read_bytes()
    config.write_bytes(CONFIGS[name])
    shell.refused("plan", code=0, says=("main: damaged", "the damaged one is kept as a backup", "cannot be read"))
    shell.apply()
    assert config.read_bytes() == good
    kept = [path.read_bytes() for path in (shell.config_dir / ".chiltepin" / "backups").rglob("config.yaml*")]
    assert kept == [CONFIGS[name]]


# --- what stands in the way


def a_link(shell: Shell) -> None:
    (shell.base / "real").mkdir()
    (shell.config_dir / "main").symlink_to(shell.base / "real")


def a_dangling_link(shell: Shell) -> None:
    (shell.config_dir / "main").symlink_to(shell.base / "nothing")


def a_file(shell: Shell) -> None:
    (shell.config_dir / "main").write_text("hello\n")


def a_pipe(shell: Shell) -> None:
    os.mkfifo(shell.config_dir / "main")


def an_empty_directory(shell: Shell) -> None:
    (shell.config_dir / "main").mkdir()


def somebody_elses_endpoint(shell: Shell) -> None:
    (shell.config_dir / "main").mkdir()
    (shell.config_dir / "main" / "config.yaml").write_text("display_name: theirs\n")


IN_THE_WAY: dict[str, tuple[Callable[[Shell], None], tuple[str, ...], str]] = {
    "link": (a_link, ("is a symbolic link", "replace the link by the directory"), "a link"),
    "dangling link": (a_dangling_link, ("is a symbolic link", "replace the link"), "a link"),
    "file": (a_file, ("a file, not a directory", "move it away, or choose another `directory`"), "no endpoint"),
    "pipe": (a_pipe, ("not a directory", "move it away, or choose another `directory`"), "no endpoint"),
    "empty": (an_empty_directory, ("not an endpoint directory", "move it away"), "no endpoint"),
    "unmanaged": (somebody_elses_endpoint, ("it is not managed by chiltepin", "adopt main"), "stopped (unmanaged)"),
}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_something_stands_where_the_directory_should_be(shell: Shell, name: str) -> None:
    make, says, state = IN_THE_WAY[name]
    shell.write(POOLED)
    make(shell)
    shell.refused("plan", code=4, says=("main: refused:", str(shell.config_dir / "main"), *says))
    before = shell.tree()
    done = shell.run("apply", "--yes")
    assert done.code == 4, done.text
    done.says("main: refused:", *says)
    after = shell.tree()
    assert {path: after[path] for path in before} == before
    assert f"main      stopped   {state} " in shell.refused("status", code=0).out


def test_a_file_for_a_config_directory(shell: Shell) -> None:
    shell.write(POOLED)
    shell.config_dir.rmdir()
    shell.config_dir.write_text("hello\n")
    refused_by_all(
        shell, str(shell.config_dir), "something that is not a directory is in the way: move it aside", code=1
    )


def test_a_missing_config_directory_is_made(shell: Shell) -> None:
    shell.write(POOLED)
    shell.config_dir.rmdir()
    shell.refused("plan", code=0, says=("create directory main",))
    shell.refused("status", code=0, says=("absent",))
    shell.apply()
    assert shell.config_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_for_our_own_directory(shell: Shell, kind: str) -> None:
    shell.write(POOLED)
    own = shell.config_dir / ".chiltepin"
    if kind == "file":
        own.write_text("hello\n")
    else:
        (shell.base / "real").mkdir()
        own.symlink_to(shell.base / "real")
    shell.refused("apply", "--yes", code=1, says=(str(own), "something that is not a directory is in the way"))


def test_a_lease_that_cannot_be_read_is_somebodys(shell: Shell) -> None:
    shell.registered()
    shell.write(RENAMED)
    lease = shell.config_dir / ".chiltepin" / "lease.json"
    lease.write_bytes(b"[" * 100_000)
    shell.refused(
        "apply",
        "--yes",
        code=75,
        says=(f"rm {lease}", "another apply may hold this config directory", "100000 bytes are not a lease"),
    )
    shell.ok("plan")


def test_an_empty_lock_of_another_stack_may_be_removed(shell: Shell) -> None:
    shell.registered()
    emptied = yaml.safe_load(shell.lock.read_text()) | {"stack": "other", "endpoints": {}, "pools": {}}
    shell.lock.write_text(yaml.safe_dump(emptied))
    shell.refused("plan", code=4, says=("the lockfile is that of stack `other`", "or remove this one: it is empty"))


def test_an_empty_manifest_deletes_nothing(shell: Shell) -> None:
    shell.registered()
    shell.write(HEAD)
    shell.refused("plan", code=4, says=("the manifest's `endpoints` section is empty", "`chiltepin destroy`"))
    directory = only(shell.tree(), shell.config_dir / "main")
    assert shell.run("apply", "--yes", "--allow-delete").code == 4
    assert only(shell.tree(), shell.config_dir / "main") == directory
    assert ENDPOINT in shell.lock.read_text()


def test_a_registration_that_the_service_lost(shell: Shell) -> None:
    shell.registered()
    shell.stub.listing = []
    says = (f"the service has no registration {ENDPOINT} for this identity", "--reregister main")
    shell.refused("plan", code=4, says=says)
    shell.refused("apply", "--yes", code=4, says=says)


def only(tree: Tree, below: Path) -> Tree:
    """Return the part of a tree below a directory."""
    return {path: value for path, value in tree.items() if Path(path) == below or below in Path(path).parents}
