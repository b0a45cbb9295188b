"""What scripts read: JSON that fits its schema, tables and files in their exact form; `init` and `lock export`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from reconciler.cli.status_table import table_lines
from reconciler.core.schemas import SCHEMAS
from reconciler.core.statuses import StatusRow
from reconciler.sandbox.lifecycle import SandboxInfo
from tests.adapters.globus_stub import CLIENT, ENDPOINT, Reply
from tests.cli.support import HEAD, ONE, OTHER_ENDPOINT, POOLED, RENAMED, ROOT, Done, Shell, json_of

SCHEMA_FILES = ROOT / "schemas"


def fits(shell: Shell, done: Done, name: str) -> Any:
    """Check a JSON output against the schema that we print, and against the one that we ship."""
    document = json_of(done)
    printed = json_of(shell.ok("schema", name))
    assert printed == json.loads((SCHEMA_FILES / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(printed)
    jsonschema.validate(document, printed, jsonschema.Draft202012Validator)
    assert document["format_version"] == 1
    assert document["kind"] == name
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "surprise": 1}, printed, jsonschema.Draft202012Validator)
    return document


# --- schemas


def test_the_schemas_in_the_repository_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_schemas.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert {path.name for path in SCHEMA_FILES.iterdir()} == {f"{name}.schema.json" for name in SCHEMAS}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_one_and_every_object_in_it_is_closed(shell: Shell, name: str) -> None:
    schema = json_of(shell.ok("schema", name))
    jsonschema.Draft202012Validator.check_schema(schema)
    for definition in [schema, *schema.get("$defs", {}).values()]:
        if definition.get("type") == "object" and definition.get("properties"):
            assert definition.get("additionalProperties") is False, definition.get("title")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*/chiltepin.yaml")), ids=lambda p: p.parent.name)
def test_the_examples_fit_the_manifests_schema(path: Path) -> None:
    schema = json.loads((SCHEMA_FILES / "manifest.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(path.read_text()), schema, jsonschema.Draft202012Validator)


def test_a_lock_fits_its_schema(shell: Shell) -> None:
    shell.registered()
    schema = json.loads((SCHEMA_FILES / "lock.schema.json").read_text())
    lock = yaml.safe_load(shell.lock.read_text())
    jsonschema.validate(lock, schema, jsonschema.Draft202012Validator)
    lock["endpoints"]["main"]["id"] = "hello"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(lock, schema, jsonschema.Draft202012Validator)


# --- JSON outputs


def test_plans(shell: Shell) -> None:
    shell.write(POOLED)
    document = fits(shell, shell.ok("plan", "--format", "json"), "plan")
    assert document["changes"] is True
    assert [action["kind"] for action in document["actions"]] == ["Create"]
    assert [file["kind"] for file in document["files"]] == ["WriteLock", "WritePools"]
    assert document["config_dir"] == str(shell.config_dir)
    shell.apply()
    assert fits(shell, shell.ok("plan", "--format", "json"), "plan")["changes"] is False
    shell.write(RENAMED)
    [action] = fits(shell, shell.ok("plan", "--format", "json"), "plan")["actions"]
    assert action["changes"][0]["fields"] == [
        {"path": "display_name", "old": "main", "new": "Renamed", "kind": "change", "sensitive": False}
    ]


def test_a_plan_with_refusals_and_one_without_the_service(shell: Shell) -> None:
    shell.write(POOLED)
    (shell.config_dir / "main").mkdir()
    done = shell.refused("plan", "--format", "json", code=4)
    [refusal] = fits(shell, done, "plan")["refusals"]
    assert (refusal["endpoint"], refusal["exit_code"]) == ("main", 4)
    (shell.config_dir / "main").rmdir()
    shell.stub.script["/v2/endpoints"] = [nonsense()]
    done = shell.refused("plan", "--format", "json", code=69)
    assert [blocked["endpoint"] for blocked in fits(shell, done, "plan")["blocked"]] == ["main"]


def nonsense() -> Any:
    return Reply(200, {"hello": "world"})


def test_applies(shell: Shell) -> None:
    shell.write(POOLED)
    done = shell.ok("apply", "--yes", "--format", "json")
    document = fits(shell, done, "apply")
    assert [(o["kind"], o["outcome"]) for o in document["outcomes"]] == [("Create", "done")]
    assert (document["exit_code"], document["endpoints"]) == (0, {"main": None})
    document = fits(shell, shell.ok("apply", "--yes", "--format", "json"), "apply")
    assert document["outcomes"] == []
    document = fits(shell, shell.ok("destroy", "--yes", "--format", "json"), "apply")
    assert [o["kind"] for o in document["outcomes"]] == ["Delete"]


def test_whoami(shell: Shell) -> None:
    document = fits(shell, shell.ok("whoami", "--format", "json"), "whoami")
    assert (document["identity"], document["client_id"], document["login"]) == (CLIENT, CLIENT, "client")
    text = shell.ok("whoami").out
    assert text.startswith("service      sandbox\nidentity     ")


def test_sandbox_status(shell: Shell) -> None:
    state = str(shell.base / "state")
    document = fits(shell, shell.ok("sandbox", "status", "--state-dir", state, "--format", "json"), "sandbox-status")
    assert (document["running"], document["pid"]) == (False, None)
    assert shell.ok("sandbox", "status", "--state-dir", state).out == f"sandbox    down\nstate      {state}\n"
    schema = json.loads((SCHEMA_FILES / "sandbox-status.schema.json").read_text())
    up = SandboxInfo(state, True, pid=1, url="http://127.0.0.1:5000", amqp_port=1, client_id=CLIENT, endpoints=2)
    jsonschema.validate({"kind": "sandbox-status", **up.document()}, schema, jsonschema.Draft202012Validator)


# --- status

TABLE = f"""\
ENDPOINT        HOST  DECLARED   STATE                SERVICE  UUID                                  POOLS
main            here  stopped    stopped              offline  {ENDPOINT}  plots, serial
a-long-name-xx  here  running    absent               -        -                                     -
kept            here  unmanaged  absent               -        -                                     -
far             away  running    -                    -        -                                     -
theirs          here  -          stopped (unmanaged)  -        -                                     -
"""
MANY = f"""{HEAD}
hosts:
  here: {{match: ["*"]}}
  away: {{match: ["no-such-node"]}}
endpoints:
  main: {{host: here, state: stopped}}
  a-long-name-xx: {{host: here}}
  kept: {{host: here, state: unmanaged}}
  far: {{host: away}}
pools:
  serial: {{endpoint: main, provider: localhost}}
  plots: {{endpoint: main, provider: localhost, max_blocks: 2}}
"""


def test_the_status_table_is_aligned(shell: Shell) -> None:
    shell.registered(MANY.replace("  a-long-name-xx: {host: here}\n", ""))
    shell.write(MANY)
    (shell.config_dir / "theirs").mkdir()
    (shell.config_dir / "theirs" / "config.yaml").write_text("display_name: x\n")
    done = shell.refused("status", code=0)
    assert done.out == TABLE
    document = fits(shell, shell.ok("status", "--format", "json"), "status")
    assert [row["endpoint"] for row in document["endpoints"]] == ["main", "a-long-name-xx", "kept", "far", "theirs"]
    assert document["endpoints"][0]["pools"] == ["plots", "serial"]


def test_the_status_table_fits_a_terminal_and_is_whole_elsewhere(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    pools = "".join(f"  pool-number-{n}: {{endpoint: main, provider: localhost}}\n" for n in range(9))
    shell.registered(ONE + "pools:\n" + pools)
    monkeypatch.setenv("COLUMNS", "90")
    whole = shell.ok("status").out
    assert "pool-number-8" in whole
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    narrow = shell.ok("status", "--color", "never").out
    assert max(map(len, narrow.splitlines()[:2])) == 90
    assert ENDPOINT in narrow
    assert "..." in narrow
    assert "not all shown for want of columns: POOLS; `chiltepin status --format markdown` shows all" in narrow
    assert "pool-number-8" in shell.ok("status", "--format", "markdown").out
    monkeypatch.setenv("COLUMNS", "400")
    assert shell.ok("status", "--color", "never").out == whole


def test_on_a_narrow_terminal_name_state_and_uuid_stay() -> None:
    row = StatusRow("ursa-main", "ursa", "running", "running", OTHER_ENDPOINT, "online", age=90000.0, pools=("mpi",))
    row = replace(row, managed=True)
    shown = {room: next(table_lines([row], room)).text.split() for room in (200, 90, 80, 70, 20)}
    assert shown == {
        200: ["ENDPOINT", "HOST", "DECLARED", "STATE", "SERVICE", "AGE", "UUID", "POOLS"],
        90: ["ENDPOINT", "HOST", "DECLARED", "STATE", "SERVICE", "AGE", "UUID"],
        80: ["ENDPOINT", "DECLARED", "STATE", "SERVICE", "UUID"],
        70: ["ENDPOINT", "STATE", "SERVICE", "UUID"],
        20: ["ENDPOINT", "STATE", "UUID"],
    }
    assert all(OTHER_ENDPOINT in "".join(line.text for line in table_lines([row], room)) for room in shown)


def test_an_empty_status(shell: Shell) -> None:
    shell.write(HEAD)
    assert shell.refused("status", code=0).out == "no endpoints: none is declared, and none is there\n"
    assert fits(shell, shell.ok("status", "--format", "json"), "status")["endpoints"] == []


# --- markdown: a comment on a pull request


def fenced(done: Done, title: str) -> str:
    """Return the text within the fence."""
    head, tail = f"### {title}\n\n```text\n", "```\n"
    assert done.out.startswith(head), done.out
    assert done.out.endswith(tail)
    return done.out.removeprefix(head).removesuffix(tail)


def test_an_apply_in_markdown(shell: Shell) -> None:
    shell.write(POOLED)
    text = fenced(shell.ok("apply", "--yes", "--format", "markdown"), "chiltepin apply")
    assert text.split()[:2] == ["main", "created"]
    assert text.splitlines()[-1].startswith("Applied on ")
    assert text.endswith(": 1 done.\n")
    text = fenced(shell.ok("apply", "--yes", "--format", "markdown"), "chiltepin apply")
    assert text.startswith("No changes. 1 endpoint on ")
    text = fenced(shell.ok("destroy", "--yes", "--format", "markdown"), "chiltepin destroy")
    assert text.split()[:4] == ["main", "in", "the", "trash"]


def test_what_an_apply_refused_is_in_its_markdown(shell: Shell) -> None:
    shell.write(POOLED.replace("pools:", "  two: {state: stopped}\npools:"))
    (shell.config_dir / "main").mkdir()
    done = shell.run("apply", "--yes", "--format", "markdown")
    assert done.code == 4
    text = fenced(done, "chiltepin apply")
    assert "main: refused: " in text
    assert "next: " in text
    assert [line.split()[0] for line in text.splitlines() if "created" in line] == ["two"]


def test_why_an_apply_ends_as_it_does_is_in_its_markdown(shell: Shell) -> None:
    two = POOLED.replace("pools:", "  two: {state: stopped}\npools:")
    shell.registered(two)
    shell.write(POOLED)
    done = shell.run("apply", "--yes", "--format", "markdown")
    assert done.code == 4
    text = fenced(done, "chiltepin apply")
    assert "1 to delete, not done without --allow-delete: two" in text
    assert "next: when all of these are to go" in text
    notes = json_of(shell.run("apply", "--yes", "--format", "json"))["notes"]
    assert [n["text"] for n in notes if "--allow-delete" in n["text"]] == [text.splitlines()[0]]


@pytest.mark.parametrize("command", ["plan", "apply", "status"])
def test_that_the_service_could_not_be_asked_is_in_markdown(shell: Shell, command: str) -> None:
    shell.registered()
    shell.stub.script["/v2/endpoints"] = [nonsense()]
    options = ["--yes"] if command == "apply" else []
    done = shell.run(command, *options, "--format", "markdown")
    assert done.code == 69
    text = fenced(done, f"chiltepin {command}")
    assert "the service could not be asked" in text
    assert "documented form" in text


def test_an_errand_in_markdown(shell: Shell) -> None:
    shell.registered()
    shell.write(HEAD + "endpoints:\n  other: {state: stopped}\n")
    text = fenced(shell.ok("forget", "main", "--yes", "--format", "markdown"), "chiltepin forget")
    assert text.split()[:2] == ["main", "forgotten"]


def test_a_status_in_markdown_is_the_same_table(shell: Shell) -> None:
    shell.registered()
    text = fenced(shell.ok("status", "--format", "markdown"), "chiltepin status")
    assert text == shell.ok("status").out


# --- init


def test_init_writes_a_manifest_that_is_valid_and_says_what_comes_next(shell: Shell) -> None:
    done = shell.ok("init", "--stack", "weather")
    assert (done.out, done.err) == (
        "",
        (
            "wrote chiltepin.yaml; next: chiltepin login (without an account: chiltepin sandbox up says how),"
            " then chiltepin plan\n"
        ),
    )
    shell.ok("validate").says("chiltepin.yaml is valid: stack weather, 1 endpoint, 1 pool.")
    shell.ok("plan").says("create directory weather-main")


@pytest.mark.parametrize(
    "directory", ["My Model (2024)", "..x", "é", "-", "0b1a6f9c-9f5e-4d0a-8f3f-1f2e3d4c5b6a", "on"]
)
def test_init_makes_a_name_from_any_directory(shell: Shell, directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (shell.project / directory).mkdir()
    monkeypatch.chdir(shell.project / directory)
    shell.ok("init")
    shell.ok("validate")


@pytest.mark.parametrize("stack", ["../up", "a b", ".hidden", "a: b", "", "x" * 200, "#", "a\nb"])
def test_init_refuses_a_name_that_no_manifest_may_have(shell: Shell, stack: str) -> None:
    shell.refused("init", "--stack", stack, code=64, says=("--stack", "next: "))


def test_init_never_overwrites(shell: Shell) -> None:
    shell.write(ONE)
    shell.refused("init", code=64, says=("there is a manifest already", "-f FILE"))
    shell.manifest.unlink()
    shell.manifest.symlink_to(shell.base / "nothing")
    shell.refused("init", code=64, says=("there is a manifest already",))
    shell.refused("init", "-f", "no/such/directory.yaml", code=64, says=("there is no such directory", "next: make it"))


NAMES = ("theirs", "on", "1e3", "012", "caf\xe9")  # of which four must be quoted


def test_init_from_existing_takes_what_is_there_and_leaves_it_alone(shell: Shell) -> None:
    shell.registered()
    for name in NAMES:
        (shell.config_dir / name).mkdir()
        (shell.config_dir / name / "config.yaml").write_text("display_name: x\n")
    (shell.config_dir / "no-endpoint").mkdir()
    before = shell.tree()
    shell.ok("init", "--from-existing", "--stack", "other", "-f", "other.yaml").says(
        "next: chiltepin plan -f other.yaml"
    )
    written = shell.project / "other.yaml"
    assert {**before, str(written): shell.tree()[str(written)]} == shell.tree()
    shell.ok("validate", "-f", "other.yaml").says("stack other, 6 endpoints, 0 pools")
    text = written.read_text()
    assert set(yaml.safe_load(text)["endpoints"]) == {"main", *NAMES}
    assert '\n  main: {state: unmanaged}  # managed by stack "' in text
    assert "\n  theirs: {state: unmanaged}\n" in text
    assert json_of(shell.ok("plan", "-f", "other.yaml", "--format", "json"))["actions"] == []


def test_init_from_existing_leaves_out_what_no_manifest_can_name(shell: Shell) -> None:
    for name in ("-x", "uep.foo", "good"):
        (shell.config_dir / name).mkdir()
        (shell.config_dir / name / "config.yaml").write_text("display_name: x\n")
    shell.ok("init", "--from-existing").says(
        "-x is left out: its name can stand in no manifest: it begins with a hyphen",
        "uep.foo is left out: its name can stand in no manifest: `uep.` is reserved",
    )
    shell.ok("validate").says("1 endpoint,")
    assert list(yaml.safe_load(shell.manifest.read_text())["endpoints"]) == ["good"]


def test_init_from_existing_without_any(shell: Shell) -> None:
    shell.config_dir.rmdir()
    shell.ok("init", "--from-existing")
    shell.ok("validate").says("0 endpoints")


# --- lock export

TWO = POOLED.replace("pools:", "  my-second.one: {state: stopped}\npools:")


def test_lock_export(shell: Shell) -> None:
    shell.registered(TWO)
    done = shell.refused("lock", "export", code=0)
    assert done.out == f"main: {ENDPOINT}\n"
    assert done.err == "my-second.one has no UUID yet\n"
    assert yaml.safe_load(done.out) == {"main": ENDPOINT}
    done = shell.refused("lock", "export", "--format", "env", code=0)
    assert done.out == f"CHILTEPIN_ENDPOINT_MAIN={ENDPOINT}\n"
    document = fits(shell, shell.ok("lock", "export", "--format", "json"), "lock-export")
    assert document["endpoints"] == {"main": ENDPOINT, "my-second.one": None}


@pytest.mark.parametrize("name", ["no", "#x", "0123", "[x", "%x", "1e3", "~", "x", "ü", "a:b", "x:", "&a"])
def test_lock_export_of_any_name_is_yaml(shell: Shell, name: str) -> None:
    shell.write(f"{HEAD}endpoints:\n  main: {{state: stopped}}\n  '{name}': {{state: unmanaged, id: {ENDPOINT}}}\n")
    shell.apply()
    assert yaml.safe_load(shell.ok("lock", "export").out) == {name: ENDPOINT}


def test_lock_export_of_a_damaged_lock(shell: Shell) -> None:
    shell.lock.write_text("{{{")
    shell.refused("lock", "export", code=4, says=("the lockfile is not valid YAML", "version control"))
