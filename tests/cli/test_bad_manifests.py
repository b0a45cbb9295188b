"""Manifests that cannot be used: one clear message with its place, exit code 65 (64, 1, 4), and nothing is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.support import HEAD, POOLED, Shell

UUID = "0b1a6f9c-9f5e-4d0a-8f3f-1f2e3d4c5b6a"
LAUGHS = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 9))

TEXTS: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "empty": (b"", ("chiltepin.yaml:1:1: error: the file is empty", "chiltepin init")),
    "only a comment": ("# nothing\n", ("error: the file is empty",)),
    "binary": (bytes(range(256)) * 8, ("chiltepin.yaml:", "is not UTF-8", "save the file as UTF-8")),
    "NUL": (b"version: 1\0\n", ("chiltepin.yaml:1:11: error: a NUL byte: this is not a text file",)),
    "Latin-1": (f"{HEAD}# caf\xe9\n".encode("latin-1"), ("chiltepin.yaml:3:6: error: byte 0xe9 is not UTF-8",)),
    "UTF-16": (HEAD.encode("utf-16"), ("the file is in UTF-16", "save it as UTF-8")),
    "gigantic": (b"#" * 5_000_001, ("5,000,001 bytes; the limit is 5,000,000", "split it into several manifests")),
    "contains itself": (f"{HEAD}endpoints: &a {{main: *a}}\n", ("chiltepin.yaml:3:22: error: `*a` contains itself",)),
    "a thousand lists": (f"{HEAD}endpoints: {'[' * 100_000}\n", ("error: nested more than 50 levels deep",)),
    "explodes": (f"{HEAD}x0: &x0 [1, 1]\n{LAUGHS}", ("more than 1,000,000 values after the expansion of aliases",)),
    "a list": ("- a\n", ("chiltepin.yaml:1:1: error: a manifest is a mapping with `version` and `stack`",)),
    "no YAML": ("version: 1\nstack: [a\n", ("chiltepin.yaml:3:1: error: not valid YAML",)),
    "a tab": ("version: 1\n\tstack: t\n", ("error: a tab in the indentation", "spaces only")),
    "two documents": (f"{HEAD}---\n{HEAD}", ("chiltepin.yaml:3:1: error: a second YAML document begins here",)),
    "a tag": (f"{HEAD}endpoints: !!python/object/apply:os.system [x]\n", ("the tag", "is not allowed here")),
    "a newer version": ("version: 2\nstack: t\n", ("version 2 is newer", "pip install .")),
    "true for the version": ("version: true\nstack: t\n", ("1:10: error: `version` must be the whole number 1",)),
    "1.0 for the version": ("version: 1.0\nstack: t\n", ("1:10: error: `version` must be the whole number 1",)),
    "no number": (
        f"{HEAD}endpoints: {{main: {{config: {{heartbeat_period: .nan}}}}}}\n",
        ("3:47: error: `.nan` is no number that anything here takes",),
    ),
    "no period": (
        f"{HEAD}endpoints: {{main: {{config: {{heartbeat_period: -5}}}}}}\n",
        ("3:47: error: `heartbeat_period` must be more than 0 and at most 86,400 seconds",),
    ),
    "unknown section": (f"{HEAD}endpoint: {{}}\n", ("3:1: error: unknown key `endpoint`", "did you mean `endpoints`?")),
    "unknown key": (f"{HEAD}endpoints: {{main: {{stat: running}}}}\n", ("unknown key `stat`", "did you mean `state`?")),
    "unknown option": (
        f"{HEAD}endpoints: {{main: {{config: {{display_nam: x}}}}}}\n",
        ("unknown option `display_nam`", "did you mean `display_name`?"),
    ),
    "wrong types, all at once": (
        f"{HEAD}endpoints:\n  main:\n    state: 5\n    protect: maybe\n    config: [1]\n",
        ("`state` must be one of", "`protect` must be true or false", "`config` must be a mapping", "has 3 errors"),
    ),
    "duplicate key": (
        f"{HEAD}stack: again\n",
        ("chiltepin.yaml:3:1: error: the key `stack` occurs twice; first on line 2", "keep one of them"),
    ),
    "duplicate name": (
        f"{HEAD}endpoints:\n  main: {{}}\n  main: {{}}\n",
        ("chiltepin.yaml:5:3: error: the key `main` occurs twice; first on line 4",),
    ),
    "two on one directory": (
        f"{HEAD}endpoints:\n  a: {{directory: d}}\n  b: {{directory: d}}\n",
        ("5:18: error: the directory `d` is that of the endpoint `a` already", "a directory of its own"),
    ),
    "a pool on nothing": (
        f"{HEAD}endpoints:\n  main: {{}}\npools:\n  p: {{endpoint: mian}}\n",
        ("6:17: error: there is no endpoint `mian`", "did you mean `main`?"),
    ),
    "an undefined variable": (
        f'{HEAD}endpoints: {{main: {{config: {{display_name: "{{{{ nope }}}}"}}}}}}\n',
        ("the variable `nope` is not defined", "--var NAME=VALUE"),
    ),
}


@pytest.mark.parametrize("command", ["validate", "plan", "apply", "status", "destroy"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_manifest(shell: Shell, name: str, command: str) -> None:
    text, says = TEXTS[name]
    shell.write(text)
    done = shell.refused(command, *(["--yes"] if command in ("apply", "destroy") else []), code=65, says=says)
    assert done.out == ""
    assert len(done.err) < 2000


NAMES = {
    "..": "begins with a dot",
    ".hidden": "begins with a dot",
    "a/b": "contains a slash",
    "../up": "contains a slash",
    "/etc": "contains a slash",
    "a b": "contains white space",
    "a\tb": "contains white space",
    "it's": "contains a quote",
    "x" * 129: "the limit is 128",
    UUID: "looks like a UUID",
    UUID.replace("-", ""): "looks like a UUID",
    f"uep.{UUID}.{UUID}": "reserved for the directories of user endpoints",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "place",
    [
        pytest.param("  {0}: {{state: stopped}}", id="name"),
        pytest.param("  main: {{directory: {0}, state: stopped}}", id="directory"),
    ],
)
def test_a_name_that_is_no_directory_of_its_own(shell: Shell, name: str, place: str) -> None:
    quoted = '"' + name.replace("\t", "\\t") + '"'
    shell.write(f"{HEAD}endpoints:\n{place.format(quoted)}\n")
    shell.refused("apply", "--yes", code=65, says=("chiltepin.yaml:4:", NAMES[name]))


def test_no_manifest(shell: Shell) -> None:
    for command in ("validate", "plan", "status"):
        shell.refused(command, code=64, says=("chiltepin.yaml: there is no manifest here", "`chiltepin init`"))
    shell.refused("plan", "-f", "other.yaml", code=64, says=("other.yaml: there is no manifest here", "-f FILE"))


def test_a_directory_or_a_pipe_for_a_manifest(shell: Shell) -> None:
    shell.manifest.mkdir()
    shell.refused("plan", code=64, says=("chiltepin.yaml: the manifest is a directory", "name a file"))
    os.mkfifo(shell.project / "pipe")
    shell.refused("plan", "-f", "pipe", code=64, says=("pipe: the manifest is not a regular file",))


# --- the files that a manifest names

FILES: dict[str, tuple[str, str | None, tuple[str, ...]]] = {
    "template missing": ("template: t", None, ("the template `t` cannot be read: there is no such file", "correct")),
    "template does not parse": (
        "template: t",
        "engine: {{ x\n",
        ("chiltepin.yaml:4:", "t:1: not a valid Jinja template: unexpected end of template"),
    ),
    "template does not render": (
        "template: t",
        "engine: {type: {{ nope.nope }} }\n",
        ("`main`'s template t cannot serve this pool: it does not render: 'nope' is undefined",),
    ),
    "template renders to no YAML": (
        "template: t",
        "engine: [\n  type: x\n",
        ("`main`'s template t cannot serve this pool: it does not render to YAML",),
    ),
    "template renders to text": ("template: t", "hello\n", ("it does not render to a mapping",)),
    "template renders too deep": ("template: t", "e: " + "[" * 60_000, ("nested more than 100 levels deep",)),
    "schema is no JSON": ("schema: t", "{", ("t:1:2: not valid JSON",)),
    "schema is no schema": ("schema: t", '{"type": 5}', ("t: not a valid JSON Schema: $.type",)),
    "schema too deep": ("schema: t", "[" * 100_000, ("t: not valid JSON: nested too deeply",)),
    "schema refuses a pool": (
        "schema: t",
        '{"properties": {"max_blocks": {"maximum": 0}}}',
        ("`main`'s schema t refuses this pool: max_blocks: 1 is greater than the maximum of 0",),
    ),
    "template gigantic": ("template: t", "#" * 1_000_001, ("has 1,000,001 bytes; the limit is 1,000,000",)),
    "template outside": ("template: ../t", "x", ("leaves the manifest's directory by `..`", "--allow-outside")),
    "template absolute": ("template: /etc/hostname", None, ("is outside the manifest's directory",)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_named_file_that_cannot_be_used(shell: Shell, name: str) -> None:
    option, text, says = FILES[name]
    shell.write(POOLED.replace("state: stopped", f"state: stopped, {option}"))
    if text is not None:
        (shell.project / option.split()[-1]).write_text(text)
    shell.refused("apply", "--yes", code=65, says=says)


def test_a_template_in_latin_1(shell: Shell) -> None:
    shell.write(POOLED.replace("state: stopped", "state: stopped, template: t"))
    (shell.project / "t").write_bytes("engine:\n  # caf\xe9\n".encode("latin-1"))
    shell.refused("apply", "--yes", code=65, says=("t:2: byte 0xe9 is not UTF-8", "save the file as UTF-8"))


def test_a_link_that_leads_out_of_the_project(shell: Shell) -> None:
    (shell.base / "elsewhere").write_text("engine: {type: ThreadPoolEngine}\n")
    (shell.project / "t").symlink_to(shell.base / "elsewhere")
    shell.write(POOLED.replace("state: stopped", "state: stopped, template: t"))
    shell.refused("plan", code=65, says=("t lies outside the manifest's directory", "--allow-outside"))
    shell.ok("plan", "--allow-outside")


def test_a_template_is_judged_by_the_options_that_it_gets(shell: Shell) -> None:
    """What a pool sends is there; what only the service adds is not judged."""
    shell.write(POOLED.replace("state: stopped", "state: stopped, template: t, schema: none"))
    for text in (
        "engine: {type: ThreadPoolEngine, label: {{ account }}, max: {{ max_blocks }} }\n",
        "engine: {type: {{ worker_init|shell_escape }} }\n",
        "engine: {type: X, python: {{ _GC.user_runtime.python.version }} }\n",
        "{% include 'other.j2' %}\n",
    ):
        (shell.project / "t").write_text(text)
        shell.ok("validate")


# --- hosts

HOSTS = "hosts:\n  ursa: {match: [%s]}\n  hera: {match: [%s]}\nendpoints:\n  main: {host: ursa, state: stopped}\n"


def test_no_host_matches_or_two_do(shell: Shell) -> None:
    shell.write(HEAD + HOSTS % ('"no-such-node-*"', '"nor-this-one"'))
    node = os.uname().nodename.partition(".")[0]
    for command in (["plan"], ["apply", "--yes"], ["status"], ["destroy", "--yes"]):
        says = (
            "no host matches this machine",
            f"this machine is {node}",
            "hosts: ursa (match: no-such-node-*), hera",
            "--host NAME",
        )
        assert shell.refused(*command, code=4, says=says).out == ""
    shell.write(HEAD + HOSTS % ('"*"', '"*"'))
    shell.refused("plan", code=4, says=("two hosts match this machine: ursa, hera", "--host NAME"))
    shell.ok("plan", "--host", "hera")


@pytest.mark.parametrize("match", ["vm", "12", "[12]", '[{evn: "A=b"}]', '[{env: "A"}]'])
def test_a_match_that_is_none_says_so_before_no_host_matches(shell: Shell, match: str) -> None:
    shell.write(HEAD + f"hosts: {{nowhere: {{match: {match}}}}}\nendpoints: {{main: {{state: stopped}}}}\n")
    for command in ("validate", "plan"):
        shell.refused(command, code=65, says=("chiltepin.yaml:3:2", ": error: ", "match"))


def test_a_host_that_the_manifest_does_not_have(shell: Shell) -> None:
    shell.write(HEAD + HOSTS % ('"*"', '"x"'))
    shell.refused("plan", "--host", "urza", code=64, says=("--host urza", "did you mean `ursa`?"))


def test_paths_are_named_as_the_user_wrote_them(shell: Shell) -> None:
    (shell.project / "sub").mkdir()
    Path(shell.project / "sub" / "x.yaml").write_text("version: 1\n")
    shell.refused("validate", "-f", "sub/x.yaml", code=65, says=("sub/x.yaml:1:1: error:", "stack"))
