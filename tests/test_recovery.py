"""Restart, adopt, forget, unprotect and reregister over fakes: done, refused, cut off anywhere and run again."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.desired import CONFIG
from reconciler.core.marker import Marker
from reconciler.core.scope import Errand
from reconciler.errors import ExitCode, UsageError
from tests.core.builders import desired, endpoint, pool
from tests.fakes import Folder, World
from tests.lab import YES, Lab

MPI = (pool("mpi"),)
BOTH = pytest.mark.parametrize("starts_go_on", [False, True])


def errand(kind: Any, name: str = "main", **how: Any) -> dict[str, Any]:
    return {"errand": Errand(kind, (name,), **how)}


def running(*endpoints: Any) -> Lab:
    """Return a lab in which these endpoints run; one named `main` by default."""
    lab = Lab(desired(*(endpoints or (endpoint(),)), pools=MPI))
    assert lab.apply().code == ExitCode.OK
    return lab


def made_by_hand() -> Lab:
    """Return a lab in which `main` was configured and started by its own command; nothing of ours is there."""
    lab = Lab(desired(endpoint(), pools=MPI))
    world = lab.world
    world.folders["main"] = Folder()
    world.edit("main", CONFIG, b"debug: false\ntheirs: 1\n")
    daemon = world.spawn("main", None)
    world.register(daemon)
    world.bring_up(daemon)
    return lab


def daemon_of(lab: Lab, name: str = "main") -> tuple[int, str | None]:
    """Return PID and UUID of the one daemon."""
    (daemon,) = lab.world.daemons_of(name)
    return daemon.pid, daemon.id


def deregister(world: World) -> None:
    """Somebody deletes all registrations at the service."""
    world.registrations.clear()


# --- restart


def test_restart_gives_a_new_process_with_the_same_uuid() -> None:
    lab = running()
    (pid, uuid), lock = daemon_of(lab), lab.world.lock
    assert lab.apply(**errand("restart")).code == ExitCode.OK
    assert daemon_of(lab)[0] != pid
    assert daemon_of(lab)[1] == uuid
    assert lab.world.lock == lock
    lab.assert_converged()


def test_restart_waits_for_idle_and_interrupts_when_it_is_told_to() -> None:
    lab = running()
    lab.world.user_endpoints["main"] = 2
    before = daemon_of(lab)
    assert lab.apply(**errand("restart")).code == ExitCode.DEFERRED
    assert daemon_of(lab) == before
    assert lab.apply(**errand("restart", interrupt=True)).code == ExitCode.OK
    assert daemon_of(lab) != before


def test_restart_ends_what_never_held() -> None:
    lab = running()
    lab.wants(endpoint(restart="never", config={"debug": False}))
    assert lab.apply().code == ExitCode.DEFERRED
    assert lab.apply(**errand("restart")).code == ExitCode.OK
    lab.assert_converged()


def test_restart_leaves_other_endpoints_and_edits_of_the_manifest_alone() -> None:
    lab = running(endpoint(), endpoint("two"))
    lab.wants(endpoint(config={"debug": False}), pools=(pool("other"),))
    two, pools, lock = daemon_of(lab, "two"), lab.world.pools, lab.world.lock
    assert lab.apply(YES, **errand("restart")).code == ExitCode.OK
    assert daemon_of(lab, "two") == two
    assert (lab.world.pools, lab.world.lock) == (pools, lock)


def test_a_name_that_nothing_knows() -> None:
    lab = running()
    with pytest.raises(UsageError, match="mian: no such endpoint"):
        lab.apply(**errand("restart", "mian"))


# --- adopt


def test_adopt_records_and_leaves_everything_else() -> None:
    lab = made_by_hand()
    (pid, uuid), files = daemon_of(lab), dict(lab.world.folders["main"].files)
    assert lab.apply().code == ExitCode.REFUSED
    assert lab.apply(**errand("adopt")).code == ExitCode.OK
    assert daemon_of(lab) == (pid, uuid)
    assert lab.world.folders["main"].files == files
    assert lab.ids() == {"main": uuid}
    assert uuid is not None
    assert lab.world.pools is not None
    assert uuid in lab.world.pools


def test_what_was_adopted_is_brought_to_its_declared_state_by_the_next_apply() -> None:
    lab = made_by_hand()
    uuid = daemon_of(lab)[1]
    lab.apply(**errand("adopt"))
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert daemon_of(lab)[1] == uuid
    assert b"theirs: 1" in lab.world.folders["main"].files[CONFIG].content
    assert ("main", CONFIG, b"debug: false\ntheirs: 1\n") in lab.world.backups


@BOTH
def test_adopt_that_is_killed_anywhere_is_finished_by_the_next_one(starts_go_on: bool) -> None:
    at = 0
    while True:
        at += 1
        lab = made_by_hand()
        before = daemon_of(lab)
        crashed = lab.crash(at, starts_go_on=starts_go_on, **errand("adopt"))
        assert lab.apply(**errand("adopt")).code == ExitCode.OK
        assert daemon_of(lab) == before
        assert lab.ids() == {"main": before[1]}
        if not crashed:
            assert at > 4
            return


def test_take_over_of_a_copied_config_directory() -> None:
    lab = running()
    (daemon,) = lab.world.daemons_of("main")
    marker = lab.world.folders["main"].marker
    assert isinstance(marker, Marker)
    lab.world.folders["main"].marker = marker.but(claim=marker.claim.model_copy(update={"config_dir": "~/old"}))
    lab.world.end(daemon, cleanly=True)
    assert lab.apply(**errand("adopt")).code == ExitCode.REFUSED
    assert lab.apply(**errand("adopt", take_over=True)).code == ExitCode.OK
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert daemon_of(lab)[1] == daemon.id


def test_take_over_is_refused_while_it_is_online_elsewhere() -> None:
    lab = running()
    (daemon,) = lab.world.daemons_of("main")
    folder = lab.world.folders["main"]
    assert isinstance(folder.marker, Marker)
    folder.marker = folder.marker.but(claim=folder.marker.claim.model_copy(update={"user": "other"}), daemon=None)
    daemon.node, folder.pid = "hfe01", None
    assert lab.apply(**errand("adopt", take_over=True)).code == ExitCode.REFUSED


def test_unclaimed_registration_is_taken_and_started() -> None:
    lab = made_by_hand()
    (daemon,) = lab.world.daemons_of("main")
    lab.world.end(daemon, cleanly=True)
    del lab.world.folders["main"]
    assert lab.apply().code == ExitCode.REFUSED
    assert lab.apply(**errand("adopt", id=daemon.id)).code == ExitCode.OK
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert list(lab.world.registrations) == [daemon.id]


def test_disagreeing_uuids_are_settled() -> None:
    lab = running()
    (daemon,) = lab.world.daemons_of("main")
    lab.world.end(daemon, cleanly=True)
    lab.world.folders["main"].endpoint_id = "00000000-0000-4000-8000-000000000001"
    assert lab.apply().code == ExitCode.REFUSED
    assert lab.apply(**errand("adopt", id=daemon.id)).code == ExitCode.OK
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == {"main": daemon.id}


# --- forget


@BOTH
def test_forget_leaves_directory_daemon_and_registration(starts_go_on: bool) -> None:
    at = 0
    while True:
        at += 1
        lab = running(endpoint(), endpoint("two"))
        before, files = daemon_of(lab), dict(lab.world.folders["main"].files)
        lab.wants(endpoint("two"), pools=())
        crashed = lab.crash(at, starts_go_on=starts_go_on, consent=YES, **errand("forget"))
        if "main" not in lab.ids() and lab.world.folders["main"].marker is None:
            assert lab.apply().code == ExitCode.OK  # nothing was left to do but the journal's last line
        else:
            assert crashed
            assert lab.apply(YES, **errand("forget")).code == ExitCode.OK
        assert daemon_of(lab) == before
        assert (lab.world.folders["main"].files, lab.world.folders["main"].marker) == (files, None)
        assert "main" not in lab.ids()
        assert lab.apply().code == ExitCode.OK
        assert lab.plan_code() == ExitCode.OK
        if not crashed:
            assert at > 4
            return


def test_forget_needs_the_block_gone_and_adopt_undoes_it() -> None:
    lab = running()
    before = daemon_of(lab)
    assert lab.apply(YES, **errand("forget")).code == ExitCode.REFUSED
    lab.wants(endpoint(state="unmanaged"))
    assert lab.apply(YES, **errand("forget")).code == ExitCode.OK
    assert lab.sight().plan.is_empty
    lab.wants(endpoint())
    assert lab.apply(**errand("adopt")).code == ExitCode.OK
    lab.assert_converged()
    assert daemon_of(lab) == before


# --- unprotect


def test_unprotect_lets_it_be_deleted() -> None:
    lab = running(endpoint(protect=True), endpoint("two"))
    lab.wants(endpoint("two"), pools=())
    assert lab.apply(YES).code == ExitCode.REFUSED
    assert lab.apply(**errand("unprotect")).code == ExitCode.OK
    assert not lab.lock().endpoints["main"].protect
    assert lab.apply(YES).code == ExitCode.OK
    assert lab.world.daemons_of("main") == []


@BOTH
def test_unprotect_that_is_killed_anywhere(starts_go_on: bool) -> None:
    at = 0
    while True:
        at += 1
        lab = running(endpoint(protect=True), endpoint("two"))
        lab.wants(endpoint("two"), pools=())
        crashed = lab.crash(at, starts_go_on=starts_go_on, **errand("unprotect"))
        assert lab.apply(**errand("unprotect")).code == ExitCode.OK
        marker = lab.world.folders["main"].marker
        assert isinstance(marker, Marker)
        assert (marker.protect, lab.lock().endpoints["main"].protect) == (False, False)
        if not crashed:
            assert at > 4
            return


# --- reregister

RENEW = {"reregister": frozenset({"main"})}


@pytest.mark.parametrize("alive", [False, True])
def test_reregister_gives_a_new_uuid_to_lock_and_pools(alive: bool) -> None:
    lab = running()
    (daemon,) = lab.world.daemons_of("main")
    old = daemon.id
    if not alive:
        lab.world.end(daemon, cleanly=True)
    deregister(lab.world)
    assert lab.apply().code == ExitCode.REFUSED
    assert lab.apply(**RENEW).code == ExitCode.OK
    lab.assert_converged()
    new = lab.ids()["main"]
    assert new not in (old, None)
    assert list(lab.world.registrations) == [new]
    assert lab.world.pools is not None
    assert (str(new) in lab.world.pools, str(old) in lab.world.pools) == (True, False)
    assert [e.data["id"] for e in lab.world.journal if (e.action, e.event) == ("Reregister", "intent")] == [old]


@BOTH
@pytest.mark.parametrize("alive", [False, True])
def test_reregister_that_is_killed_anywhere_is_finished_by_the_same_command(alive: bool, starts_go_on: bool) -> None:
    at = 0
    while True:
        at += 1
        lab = running()
        (daemon,) = lab.world.daemons_of("main")
        if not alive:
            lab.world.end(daemon, cleanly=True)
        deregister(lab.world)
        crashed = lab.crash(at, starts_go_on=starts_go_on, **RENEW)
        lab.world.now += 100
        done = lab.apply(**RENEW)
        if done.code == ExitCode.REFUSED:  # all was done but the last lines: there is nothing to replace any more
            assert [type(r).__name__ for r in done.sight.plan.refusals] == ["Refusal"]
            assert "the service still has its registration" in done.sight.plan.refusals[0].what
            assert lab.apply().code == ExitCode.OK
        lab.assert_converged()
        assert len(lab.world.registrations) == 1
        if not crashed:
            assert at > 4
            return


def test_reregister_of_what_is_still_registered() -> None:
    lab = running()
    before = daemon_of(lab)
    assert lab.apply(**RENEW).code == ExitCode.REFUSED
    assert daemon_of(lab) == before


def test_reregister_never_without_the_service() -> None:
    lab = running()
    deregister(lab.world)
    lab.world.service_down = True
    before = lab.ids()
    assert lab.apply(**RENEW).code == ExitCode.UNREACHABLE
    assert lab.ids() == before


def test_reregister_of_a_lost_directory() -> None:
    lab = running()
    (daemon,) = lab.world.daemons_of("main")
    lab.world.end(daemon, cleanly=True)
    del lab.world.folders["main"]
    deregister(lab.world)
    assert lab.apply().code == ExitCode.REFUSED
    assert lab.apply(**RENEW).code == ExitCode.OK
    lab.assert_converged()


# --- a directory that was removed under a daemon


def test_a_daemon_whose_directory_was_removed_while_it_started_keeps_its_uuid() -> None:
    """It makes the directory again, for its log, PID file and endpoint.json; files and marker are lost."""
    lab = running()
    (_, uuid), lock = daemon_of(lab), lab.world.lock
    lab.world.folders["main"].files.clear()
    lab.world.folders["main"].marker = None
    assert lab.apply().code == ExitCode.OK
    assert daemon_of(lab)[1] == uuid
    assert list(lab.world.registrations) == [uuid]
    assert lab.world.lock == lock
    lab.assert_converged()


def test_what_the_lock_does_not_know_is_not_taken_for_ours() -> None:
    lab = running()
    kept = daemon_of(lab)
    lab.world.folders["main"].files.clear()
    lab.world.folders["main"].marker = None
    lab.world.lock = None
    assert lab.apply().code == ExitCode.REFUSED
    assert daemon_of(lab) == kept
    assert lab.apply(**errand("adopt")).code == ExitCode.OK
    assert lab.apply().code == ExitCode.OK
    assert daemon_of(lab)[1] == kept[1]
    lab.assert_converged()
