"""Whose endpoint is it: lost directories, foreign directories, other stacks, other identities."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.support import User, manifest, sandbox_user
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e


@pytest.fixture
def running(user: User) -> User:
    user.write(manifest("one"))
    user.apply()
    return user


def test_lost_directory_comes_back_with_its_uuid(running: User) -> None:
    uuid = running.id("one")
    running.kill("one")
    shutil.rmtree(running.directory("one"))
    wait_for(lambda: not running.online(uuid), "the service sees that it is gone")
    assert ("one", "Create", "lost directory") in running.planned()
    running.apply()
    running.assert_converged("one")
    assert running.id("one") == uuid


def test_directory_that_is_removed_under_a_start_comes_back_with_its_uuid(running: User) -> None:
    """A start that has just detached makes its directory again, for log, PID file and UUID; nothing else is in it.

    One that had got further misses its PID file, and ends; both converge.
    """
    uuid, directory = running.id("one"), running.directory("one")
    running.kill("one")
    running.killed_at("start.spawned")
    wait_for(lambda: _works_in(directory), "the start has detached")
    directory.rename(running.base / "removed")  # in one step: it is being written to
    there = directory / "endpoint.json"
    wait_for(lambda: there.exists() or not running.processes(), "it is up in a new one, or has ended")
    wait_for(lambda: running.online(uuid) is there.exists(), "the service sees what it came to")
    running.apply()
    running.assert_converged("one")
    assert running.id("one") == uuid


def _works_in(directory: Path) -> bool:
    """Whether a process has just changed into the directory; all of its user's are looked at, quickly."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == directory:
                return True
    return False


def test_log_of_a_start_in_a_removed_directory_is_no_endpoint(running: User) -> None:
    uuid, directory = running.id("one"), running.directory("one")
    running.kill("one")
    shutil.rmtree(directory)
    directory.mkdir()
    (directory / "endpoint.log").write_text("config.yaml is not there\n")
    wait_for(lambda: not running.online(uuid), "the service sees that it is gone")
    running.apply()
    running.assert_converged("one")
    assert running.id("one") == uuid
    (kept,) = (running.config_dir / ".chiltepin" / "backups" / "one").glob("endpoint.log.*")
    assert kept.read_text() == "config.yaml is not there\n"


def test_first_start_that_was_cut_off_and_lost_its_directory_keeps_its_uuid(user: User) -> None:
    user.write(manifest("one"))
    user.killed_at("start.up")
    uuid = user.id("one")
    assert user.locked()["endpoints"]["one"]["id"] is None
    user.kill("one")
    shutil.rmtree(user.directory("one"))
    wait_for(lambda: not user.online(uuid), "the service sees that it is gone")
    user.write(manifest(endpoints={"one": {"directory": "other"}}))
    assert uuid in user.apply(expect=4).out
    user.write(manifest("one"))
    user.apply()
    user.assert_converged("one")
    assert user.id("one") == uuid


def test_lost_directory_of_an_endpoint_that_is_online_is_refused(running: User) -> None:
    uuid = running.id("one")
    running.directory("one").rename(running.base / "elsewhere")
    assert running.online(uuid)
    done = running.apply(expect=4)
    assert uuid in done.out
    assert "it runs elsewhere" in done.out
    assert list(running.registrations()) == [uuid]
    assert not running.directory("one").exists()


def test_copied_config_directory_is_refused_with_both_sides(running: User) -> None:
    copy = running.home / "copy"
    shutil.copytree(running.config_dir, copy)
    done = running.apply("-c", str(copy), expect=4)
    assert "~/.globus_compute/one" in done.out
    assert "~/copy/one" in done.out
    assert len(running.daemons("one")) == 1
    running.assert_converged("one")


def test_lost_lock_is_rebuilt_from_the_markers(running: User) -> None:
    before, daemon = running.locked(), running.daemon("one")
    running.lock_file.unlink()
    running.write(manifest(endpoints={"one": {}, "two": {"state": "stopped"}}))
    running.apply()
    after = running.locked()
    assert after["lineage"] == before["lineage"]
    assert after["endpoints"]["one"] == before["endpoints"]["one"]
    assert running.daemon("one") == daemon


def test_lost_marker_is_repaired_from_the_lock(running: User) -> None:
    before, daemon = running.marker("one"), running.daemon("one")
    (running.directory("one") / ".chiltepin.json").unlink()
    assert ("one", "Adopt", "lost marker") in running.planned()
    running.apply()
    running.assert_converged("one")
    assert running.daemon("one") == daemon
    assert {**running.marker("one"), "daemon": None} == {**before, "daemon": None}


def test_uuids_that_disagree_are_refused_with_all_of_them(running: User) -> None:
    other = "11111111-2222-4333-8444-555555555555"
    uuid = running.id("one")
    running.run("globus-compute-endpoint", "stop", "one")
    (running.directory("one") / "endpoint.json").write_text(json.dumps({"endpoint_id": other}))
    done = running.apply(expect=4)
    assert f"endpoint.json: {other}" in done.out
    assert f"marker: {uuid}" in done.out
    assert f"lock: {uuid}" in done.out
    assert running.daemons("one") == []


def test_directory_that_nobody_manages_is_left_alone(user: User) -> None:
    done = user.run("globus-compute-endpoint", "configure", "one")
    assert done.code == 0, str(done)
    before = {p.name: p.read_bytes() for p in user.directory("one").iterdir()}
    user.write(manifest("one", "two"))
    done = user.apply(expect=4)
    assert "not managed by chiltepin" in done.out
    assert {p.name: p.read_bytes() for p in user.directory("one").iterdir()} == before
    assert user.daemons("one") == []
    assert user.daemons("two")  # the rest was done


def test_unclaimed_registration_of_the_name_is_refused_with_the_candidate(user: User) -> None:
    uuid = user.api.register("one")
    user.write(manifest("one"))
    done = user.apply(expect=4)
    assert uuid in done.out
    assert "--new one" in done.out
    assert list(user.registrations()) == [uuid]
    user.apply("--new", "one")
    assert user.id("one") != uuid
    assert sorted(user.registrations()) == sorted([uuid, user.id("one")])


def test_endpoint_of_another_stack_is_left_alone(running: User) -> None:
    before, daemon = running.snapshot("one"), running.daemon("one")
    project = running.base / "other-project"
    project.mkdir()
    (project / "chiltepin.yaml").write_text(manifest("one", stack="other"))
    done = running.chiltepin("apply", "--yes", "-f", str(project / "chiltepin.yaml"), expect=4)
    assert "belongs to stack `e2e`" in done.out
    assert running.snapshot("one") == before
    assert running.daemon("one") == daemon


def test_second_clone_of_another_lineage_does_not_take_over_or_delete(running: User) -> None:
    """The same stack name with another lineage is another manifest."""
    before, daemon = running.snapshot("one"), running.daemon("one")
    project = running.base / "clone"
    project.mkdir()
    (project / "chiltepin.yaml").write_text(manifest("two"))
    lock = running.lock_file.read_text().replace(running.locked()["lineage"], "other-lineage")
    (project / "chiltepin.lock.yaml").write_text(lock)
    running.chiltepin("apply", "--yes", "--allow-delete", "-f", str(project / "chiltepin.yaml"), expect=4)
    assert running.snapshot("one") == before
    assert running.daemon("one") == daemon


def test_lock_of_another_identity_is_exit_77(service: Path, running: User) -> None:
    with sandbox_user(service) as other:
        environ = {k: other.environ[k] for k in ("GLOBUS_COMPUTE_CLIENT_ID", "GLOBUS_COMPUTE_CLIENT_SECRET")}
        before, daemon = running.snapshot("one"), running.daemon("one")
        done = running.apply(expect=77, environ=environ)
        assert "another Globus identity" in done.out
        assert running.snapshot("one") == before
        assert running.daemon("one") == daemon
        assert other.registrations() == {}
