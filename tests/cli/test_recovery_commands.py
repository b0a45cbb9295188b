"""restart, adopt, forget, unprotect and logs on the command line: mistakes, questions, outputs."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.adapters.globus_stub import ENDPOINT, Reply
from tests.cli.support import HEAD, OTHER_ENDPOINT, POOLED, Shell, json_of

MISTAKES: dict[str, tuple[str, ...]] = {
    "restart": ("chiltepin restart:", "NAME"),
    "restart mian --yes": ("mian: no such endpoint", "did you mean main?"),
    "restart main --force": ("has no option --force",),
    "adopt --yes": ("adopt needs a NAME or --all",),
    "adopt main --all --yes": ("adopt needs a NAME or --all",),
    f"adopt --all --id {ENDPOINT} --yes": ("--id is for one endpoint",),
    "adopt main --id 12 --yes": ("--id 12: not a UUID",),
    "adopt other --yes": ("other: no such endpoint", "known are: main"),
    "forget other --yes": ("other: no such endpoint",),
    "unprotect other --yes": ("other: no such endpoint",),
    "logs mian": ("mian: no such endpoint", "did you mean main?"),
    "logs main -n 0": ("chiltepin logs:", "--lines"),
    "plan --reregister mian": ("--reregister mian: no such endpoint", "did you mean main?"),
    "forget main": ("nobody can be asked: the input is not a terminal",),
    "destroy": (
        "nobody can be asked: the input is not a terminal",
        "look at `chiltepin plan --destroy`, then use --yes",
    ),
    "destroy --purge": ("look at `chiltepin plan --destroy --purge`, then use --yes",),
    "restart main --yes --format xml": ("--format xml: not known",),
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake(shell: Shell, line: str) -> None:
    shell.registered()
    shell.refused(*line.split(), code=64, says=MISTAKES[line])


def registered_and_offline(shell: Shell, endpoint_id: str = ENDPOINT) -> None:
    shell.register(endpoint_id)
    shell.stub.script[f"/v2/endpoints/{endpoint_id}/status"] = [Reply(200, {"status": "offline"})]


def by_hand(shell: Shell, manifest: str = POOLED) -> None:
    """Let somebody else have made the directory `main`, registered and stopped."""
    directory = shell.config_dir / "main"
    directory.mkdir(mode=0o700)
    (directory / "config.yaml").write_text("debug: true\n")
    (directory / "endpoint.json").write_text(json.dumps({"endpoint_id": ENDPOINT}))
    registered_and_offline(shell)
    shell.write(manifest)


def test_adopt_then_the_manifest_is_compared(shell: Shell) -> None:
    by_hand(shell)
    shell.refused("plan", code=4, says=("not managed by chiltepin", "`chiltepin adopt main`"))
    shell.ok("adopt", "main", "--yes").says("UUID " + ENDPOINT, "becomes: endpoint main of stack demo", "1 done")
    assert json.loads(shell.marker.read_text())["id"] == ENDPOINT
    assert ENDPOINT in shell.pools.read_text()
    assert (shell.config_dir / "main" / "config.yaml").read_text() == "debug: true\n"
    shell.apply()
    shell.ok("plan").says("No changes.")
    assert "debug: true" in (shell.config_dir / "main" / "config.yaml").read_text()


def test_adopt_all_as_json(shell: Shell) -> None:
    by_hand(shell)
    document = json_of(shell.ok("adopt", "--all", "--yes", "--format", "json"))
    assert [(o["kind"], o["endpoint"], o["outcome"]) for o in document["outcomes"]] == [("Adopt", "main", "done")]
    shell.refused("adopt", "--all", "--yes", code=0, says=("Nothing to do",))


def test_adopt_of_an_unclaimed_registration(shell: Shell) -> None:
    shell.write(POOLED.replace("stopped", "running"))
    registered_and_offline(shell, OTHER_ENDPOINT)
    shell.refused("plan", code=4, says=("`chiltepin adopt main --id UUID`", OTHER_ENDPOINT))
    shell.write(POOLED)
    shell.ok("adopt", "main", "--id", OTHER_ENDPOINT.upper(), "--yes")
    shell.apply()
    assert OTHER_ENDPOINT in (shell.config_dir / "main" / "endpoint.json").read_text()


def test_forget_and_the_marker_is_gone(shell: Shell) -> None:
    shell.registered()
    shell.refused("forget", "main", "--yes", code=4, says=("the manifest declares it", "`state: unmanaged`"))
    shell.write(HEAD + "endpoints:\n  other: {state: stopped}\n")
    shell.ok("forget", "main", "--yes").says("1 done")
    assert not shell.marker.exists()
    assert (shell.config_dir / "main" / "config.yaml").exists()
    assert yaml.safe_load(shell.lock.read_text())["endpoints"] == {}
    shell.apply()
    shell.ok("plan").says("No changes.")
    assert (shell.config_dir / "main" / "config.yaml").exists()


def test_unprotect(shell: Shell) -> None:
    shell.registered(POOLED.replace("stopped}", "stopped, protect: true}"))
    shell.refused("unprotect", "main", "--yes", code=4, says=("the manifest says `protect: true`",))
    shell.write(HEAD + "endpoints:\n  other: {state: stopped}\n")
    shell.refused("plan", code=4, says=("`chiltepin unprotect main`",))
    shell.ok("unprotect", "main", "--yes").says("protect: true -> false")
    shell.ok("unprotect", "main", "--yes").says("it is not protected")
    shell.ok("apply", "--yes", "--allow-delete")
    assert not shell.marker.exists()


def test_reregister_in_a_kept_plan(shell: Shell) -> None:
    shell.registered()
    shell.stub.listing = []
    shell.refused("plan", code=4, says=("`chiltepin apply --reregister main`",))
    shell.ok("plan", "--reregister", "main", "--out", "plan.json").says("-/+ replace its UUID", "1 to replace")
    shell.ok("apply", "plan.json")
    assert not (shell.config_dir / "main" / "endpoint.json").exists()
    assert ENDPOINT not in shell.lock.read_text()
    assert ENDPOINT not in shell.pools.read_text()
    shell.ok("plan").says("No changes.")


def test_logs(shell: Shell) -> None:
    shell.write(POOLED)
    shell.refused("logs", "main", code=0, says=("has no log yet",))
    shell.apply()
    log = shell.config_dir / "main" / "endpoint.log"
    log.write_text("\n".join([*(f"line {n}" for n in range(100)), "amqps://u:hunter2@host/ \x1b[31mred"]) + "\n")
    done = shell.refused("logs", "main", "-n", "2", code=0)
    assert done.out == "line 99\namqps://***@host/ \\x1b[31mred\n"
    assert len(shell.ok("logs", "main").out.splitlines()) == 50
