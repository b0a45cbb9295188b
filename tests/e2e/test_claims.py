"""Claims on real daemons: each refusal shows both sides, and the command that it prints resolves it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from tests.e2e.support import Done, User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e

OTHER = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def running(user: User) -> User:
    user.write(manifest("one"))
    user.apply()
    return user


def resolve(user: User, refusal: Done, *options: str, uuid: str = "", number: int = 0) -> Done:
    """Run the command that a refusal printed, as it stands but for the UUID and --yes."""
    commands = re.findall(r"`chiltepin ((?:adopt|apply)[^`]*)`", refusal.out)
    words = [uuid if word == "UUID" else word for word in shlex.split(commands[number])]
    return user.chiltepin(*words, "--yes", *options)


def hosts(*names: str, of: str) -> str:
    """Return a manifest with hosts that all match this machine; the endpoint lives on one of them."""
    blocks = {name: {"match": ["*"] if name == of else [name]} for name in names}
    return manifest(endpoints={"one": {"host": of}}, hosts=blocks)


def test_lock_and_marker_lost(running: User) -> None:
    uuid, daemon = running.id("one"), running.daemon("one")
    running.lock_file.unlink()
    (running.directory("one") / ".chiltepin.json").unlink()
    refusal = running.apply(expect=4)
    assert "not managed by chiltepin" in refusal.out
    resolve(running, refusal)
    running.apply()
    running.assert_converged("one")
    assert (running.id("one"), running.daemon("one")) == (uuid, daemon)


def test_copied_home_whose_original_is_gone(running: User) -> None:
    uuid = running.id("one")
    running.kill("one")
    copy = running.home / "copy"
    running.config_dir.rename(copy)
    wait_for(lambda: not running.online(uuid), "the service says offline")
    refusal = running.apply("-c", str(copy), expect=4)
    assert "~/.globus_compute/one" in refusal.out
    assert "~/copy/one" in refusal.out
    resolve(running, refusal, "-c", str(copy))
    running.apply("-c", str(copy))
    assert running.locked()["endpoints"]["one"]["id"] == uuid
    assert running.online(uuid)


def test_apply_take_over_moves_the_claim_and_starts(running: User) -> None:
    uuid = running.id("one")
    running.kill("one")
    moved: Path = running.home / "moved"
    running.config_dir.rename(moved)
    wait_for(lambda: not running.online(uuid), "the service says offline")
    done = running.apply("--take-over", "-c", str(moved))
    assert "~/.globus_compute/one" in done.out
    assert running.locked()["endpoints"]["one"]["claim"]["config_dir"] == "~/moved"
    assert running.online(uuid)
    assert "No changes" in running.plan("-c", str(moved), "--detailed-exitcode")


def test_what_was_left_behind_is_no_second_home(running: User) -> None:
    """It was copied to another config directory, and taken over there; the old one is applied once more."""
    uuid = running.id("one")
    running.chiltepin("endpoint", "stop", "one")
    moved: Path = running.home / "moved"
    shutil.copytree(running.config_dir, moved, symlinks=True, ignore=shutil.ignore_patterns("lease.json"))
    wait_for(lambda: not running.online(uuid), "the service says offline")
    running.apply("--take-over", "-c", str(moved))
    lock, (daemon,) = running.lock_file.read_bytes(), running.processes()
    refusal = running.apply(expect=4)
    assert "the lock says: " in refusal.out
    assert "~/moved/one" in refusal.out
    running.write(manifest("two"))
    assert "the lock has it at another place" in running.apply("--allow-delete").out
    assert daemon in running.processes()
    assert running.online(uuid)
    assert running.directory("one").exists()
    assert yaml.safe_load(lock)["endpoints"]["one"] == running.locked()["endpoints"]["one"]


def test_hosts_section_is_new(running: User) -> None:
    uuid, daemon = running.id("one"), running.daemon("one")
    running.write(hosts("ursa", of="ursa"))
    assert ("one", "Adopt", "its host has a name by now") in running.planned()
    running.apply()
    assert running.locked()["endpoints"]["one"]["claim"]["host"] == "ursa"
    running.assert_converged("one")
    assert (running.id("one"), running.daemon("one")) == (uuid, daemon)


def test_host_renamed(running: User) -> None:
    running.write(hosts("ursa", of="ursa"))
    running.apply()
    uuid, daemon = running.id("one"), running.daemon("one")
    running.write(hosts("ufe", of="ufe"))
    refusal = running.apply(expect=4)
    assert " on ursa, " in refusal.out
    assert " on ufe, " in refusal.out
    resolve(running, refusal)
    running.assert_converged("one")
    assert (running.id("one"), running.daemon("one")) == (uuid, daemon)


def test_second_clone_with_a_lock_of_its_own(running: User) -> None:
    uuid, daemon, lineage = running.id("one"), running.daemon("one"), running.locked()["lineage"]
    running.lock_file.write_text(running.lock_file.read_text().replace(lineage, "another"))
    refusal = running.apply(expect=4)
    assert lineage in refusal.out
    assert "the lock's lineage: another" in refusal.out
    resolve(running, refusal)
    running.assert_converged("one")
    assert (running.id("one"), running.daemon("one")) == (uuid, daemon)
    assert running.marker("one")["lineage"] == "another"


def test_uuids_disagree(running: User) -> None:
    uuid = running.id("one")
    running.run("globus-compute-endpoint", "stop", "one")
    (running.directory("one") / "endpoint.json").write_text(json.dumps({"endpoint_id": OTHER}))
    wait_for(lambda: not running.online(uuid), "the service says offline")
    refusal = running.apply(expect=4)
    for side in (f"endpoint.json: {OTHER}", f"marker: {uuid}", f"lock: {uuid}"):
        assert side in refusal.out
    resolve(running, refusal, uuid=uuid)
    running.apply()
    running.assert_converged("one")
    assert running.id("one") == uuid


def test_owned_registration_of_the_name_is_taken(user: User) -> None:
    uuid = user.api.register("one")
    user.write(manifest("one"))
    resolve(user, user.apply(expect=4), uuid=uuid)
    user.apply()
    user.assert_converged("one")
    assert user.id("one") == uuid


def test_damaged_marker_is_kept_when_it_is_repaired(running: User) -> None:
    daemon = running.daemon("one")
    (running.directory("one") / ".chiltepin.json").write_text('{"stack": "e2')
    running.apply()
    running.assert_converged("one")
    assert running.daemon("one") == daemon
    (kept,) = (running.config_dir / ".chiltepin" / "backups" / "one").glob(".chiltepin.json.*")
    assert kept.read_text() == '{"stack": "e2'
