"""The whole loop on examples/laptop: two endpoints, three pools through them, one local pool."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.e2e.support import User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e

_EXAMPLE = Path(__file__).parents[2] / "examples" / "laptop" / "chiltepin.yaml"
_NAMES = ("laptop-models", "laptop-plots")


@pytest.fixture
def laptop(user: User) -> User:
    """A user who has applied the example."""
    shutil.copy(_EXAMPLE, user.manifest)
    user.apply()
    return user


def test_apply_brings_every_endpoint_online(laptop: User) -> None:
    laptop.assert_converged(*_NAMES)


def test_second_apply_changes_nothing(laptop: User) -> None:
    before, daemons = laptop.snapshot(*_NAMES), [laptop.daemon(name) for name in _NAMES]
    laptop.apply()
    assert laptop.snapshot(*_NAMES) == before
    assert [laptop.daemon(name) for name in _NAMES] == daemons


def test_upstreams_workflow_runs_a_task_on_every_pool(laptop: User) -> None:
    answers = laptop.workflow(
        "forecast:OMP_NUM_THREADS", "verification:OMP_NUM_THREADS", "plots:MPLBACKEND", "scripts:HOME"
    )
    assert answers == {"forecast": "1", "verification": "2", "plots": "Agg", "scripts": str(laptop.home)}


def test_upstreams_own_stop_works_and_is_seen(laptop: User) -> None:
    name, uuid = "laptop-plots", laptop.id("laptop-plots")
    done = laptop.run("globus-compute-endpoint", "-c", str(laptop.config_dir), "stop", name)
    assert done.code == 0, str(done)
    wait_for(lambda: not laptop.daemons(name), "the daemon ends")
    assert laptop.planned() == [(name, "Start", "not running")]
    laptop.apply()
    laptop.assert_converged(*_NAMES)
    assert laptop.id(name) == uuid


def test_destroy_with_purge_leaves_no_registration_and_no_process(laptop: User) -> None:
    laptop.chiltepin("destroy", "--yes", "--purge")
    assert laptop.registrations() == {}
    assert laptop.processes() == {}
    assert not any(laptop.directory(name).exists() for name in _NAMES)


def test_destroy_keeps_registrations_and_puts_directories_into_the_trash(laptop: User) -> None:
    laptop.chiltepin("destroy", "--yes")
    assert sorted(laptop.registrations().values()) == list(_NAMES)
    assert laptop.processes() == {}
    trash = laptop.config_dir / ".chiltepin" / "trash"
    assert sorted(p.name.partition("~")[0] for p in trash.iterdir()) == list(_NAMES)


# changes by hand and in the manifest


@pytest.fixture
def pair(user: User) -> User:
    """A user with the endpoints `kept` and `other`."""
    user.write(manifest("kept", "other", config={"display_name": "First"}))
    user.apply()
    return user


def _edit(user: User, name: str, **changes: object) -> None:
    path = user.directory(name) / "config.yaml"
    path.write_text(yaml.safe_dump({**user.config(name), **changes}))


def test_keys_edited_by_hand_are_repaired_and_foreign_keys_kept(pair: User) -> None:
    uuid = pair.id("other")
    _edit(pair, "other", display_name="Edited", debug=True)
    planned = pair.planned()
    assert ("other", "WriteFile", "edited outside") in planned
    assert ("other", "Restart", "edited outside") in planned
    pair.apply()
    assert pair.config("other") == {"display_name": "First", "heartbeat_period": 5, "debug": True}
    pair.assert_converged("kept", "other")
    assert pair.id("other") == uuid


def test_foreign_key_alone_is_recorded_and_kept(pair: User) -> None:
    _edit(pair, "other", debug=True)
    assert {(kind, cause) for _, kind, cause in pair.planned()} >= {("Adopt", "edited outside")}
    pair.apply()
    assert pair.config("other")["debug"] is True
    pair.assert_converged("kept", "other")


def test_changed_manifest_writes_the_file_and_restarts(pair: User) -> None:
    uuid, before = pair.id("other"), pair.daemon("other")
    second = {"other": {"config": {"display_name": "Second"}}}
    pair.write(manifest("kept", endpoints=second, config={"display_name": "First"}))
    assert pair.planned()[:2] == [("other", "WriteFile", "spec changed"), ("other", "Restart", "spec changed")]
    pair.apply()
    assert pair.config("other")["display_name"] == "Second"
    assert pair.daemon("other") != before
    assert pair.id("other") == uuid
    pair.assert_converged("kept", "other")


def test_key_that_leaves_the_manifest_leaves_the_file(pair: User) -> None:
    pair.write(manifest("kept", "other", config={"display_name": "First", "debug": True}))
    pair.apply()
    assert pair.config("other")["debug"] is True
    pair.write(manifest("kept", "other", config={"display_name": "First"}))
    pair.apply()
    assert pair.config("other") == {"display_name": "First", "heartbeat_period": 5}
    pair.assert_converged("kept", "other")


def test_removed_block_is_not_deleted_without_consent(pair: User) -> None:
    before, daemons = pair.snapshot("kept", "other"), [pair.daemon("kept"), pair.daemon("other")]
    pair.write(manifest("kept", config={"display_name": "First"}))
    done = pair.apply(expect=4)
    assert "--allow-delete" in done.err
    assert pair.snapshot("kept", "other") == before
    assert [pair.daemon("kept"), pair.daemon("other")] == daemons


def test_removed_block_is_deleted_with_consent_and_nothing_else_is_touched(pair: User) -> None:
    uuid, kept = pair.id("other"), pair.daemon("kept")
    before = {k: v for k, v in pair.snapshot("kept").items() if "/kept/" in k}
    pair.write(manifest("kept", config={"display_name": "First"}))
    pair.apply("--allow-delete")
    assert pair.daemons("other") == []
    assert not pair.directory("other").exists()
    (entry,) = (pair.config_dir / ".chiltepin" / "trash").iterdir()
    assert (entry / "endpoint" / "config.yaml").exists()
    assert uuid in pair.registrations()
    assert "other" not in pair.locked()["endpoints"]
    assert pair.daemon("kept") == kept
    assert {k: v for k, v in pair.snapshot("kept").items() if "/kept/" in k} == before
