"""Copies of endpoint directories, and UUIDs that two things have: nothing is doubled, and no wrong one goes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from reconciler import by_hand
from reconciler.core.desired import HostView, Moved
from reconciler.core.live import Damaged
from reconciler.core.pid_file import LISTED_AS_RUNNING
from reconciler.core.scope import Errand
from reconciler.errors import ExitCode, Refused, ServiceUnreachable
from tests.core.builders import desired, endpoint, pool
from tests.fakes import FakeClock
from tests.lab import YES, Lab

OTHER = endpoint("other")
OTHER_HERE = endpoint("other-here")


def running(*names: str) -> Lab:
    """Return a lab in which endpoints of these names run, and `other`."""
    lab = Lab(desired(*map(endpoint, names), OTHER, pools=()))
    assert lab.apply().code == ExitCode.OK
    return lab


def copied(lab: Lab, name: str, to: str) -> None:
    """Copy a directory, as `cp -a` does; no daemon works in the copy."""
    lab.world.folders[to] = copy.deepcopy(lab.world.folders[name])
    lab.world.folders[to].pid = None


def daemons(lab: Lab) -> dict[str, str | None]:
    """Return the UUIDs under which daemons run, by directory; one for each."""
    assert len(lab.world.daemons) == len({d.id for d in lab.world.daemons})
    return {d.directory: d.id for d in lab.world.daemons}


# --- one UUID, two endpoints


def test_a_uuid_that_another_endpoint_has_is_not_started_a_second_time() -> None:
    lab = running("a")
    uuid = lab.ids()["a"]
    lab.wants(endpoint("a", state="stopped"), OTHER)
    lab.apply()
    lab.wants(endpoint("a"), endpoint("b", id=uuid), OTHER)
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    assert uuid in next(r.what for r in result.sight.plan.refusals if r.endpoint == "b")
    assert daemons(lab)["a"] == uuid
    assert "b" not in lab.world.folders


def test_a_uuid_in_place_of_moved_is_refused_and_moved_is_named() -> None:
    lab = running("a")
    uuid = lab.ids()["a"]
    lab.wants(endpoint("a", state="stopped"), OTHER)
    lab.apply()
    lab.wants(endpoint("b", id=uuid), OTHER)
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    assert "moved" in next(r.remedy for r in result.sight.plan.refusals if r.endpoint == "b")
    lab.wants(endpoint("b"), OTHER, moved=(Moved("a", "b"),))
    assert lab.apply().code == ExitCode.OK
    assert lab.ids()["b"] == uuid
    lab.assert_converged()


@pytest.mark.parametrize("how", ["taken back", "gone on", "the old name is used again"])
def test_a_rename_that_was_interrupted_leaves_one_name_in_the_lock(how: str) -> None:
    lab = running("a")
    uuid, before, moved = lab.ids()["a"], lab.desired, (Moved("a", "b"),)
    lab.wants(endpoint("b"), OTHER, moved=moved)
    lab.apply(during=lambda action: lab.stop.set() if action.kind == "Stop" else None)
    assert lab.ids().get("b") is None
    if how == "taken back":
        lab.desired = before
    elif how == "the old name is used again":
        assert lab.apply().code == ExitCode.OK
        lab.wants(endpoint("b"), endpoint("a"), OTHER)
    assert lab.apply().code == ExitCode.OK
    assert daemons(lab)["a" if how == "taken back" else "b"] == uuid
    lab.assert_converged()


@pytest.mark.parametrize("way", ["leave it there", "move it here"])
def test_the_uuid_of_what_another_stack_runs_is_refused_with_its_holder_and_a_way_out(way: str) -> None:
    lab = running("theirs")
    uuid, theirs, their_lock = lab.ids()["theirs"], lab.desired, lab.world.lock
    lab.desired, lab.world.lock = replace(desired(endpoint("mine", id=uuid), OTHER_HERE), stack="rrfs"), None
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    (refusal,) = (r for r in result.sight.plan.refusals if r.endpoint == "mine")
    assert refusal.evidence == ("also of /home/jdoe/.globus_compute/theirs, which is endpoint theirs of stack `hrrr`",)
    assert refusal.remedy == (
        "remove `id` from its block; or, to manage that one here instead: `chiltepin forget -f FILE theirs`, FILE being"
        " the manifest of stack `hrrr`, then write `directory: theirs` in this block and `chiltepin adopt mine`"
    )
    block = endpoint("mine")
    if way == "move it here":
        mine, my_lock = lab.desired, lab.world.lock
        lab.desired, lab.world.lock = replace(theirs, endpoints={"other": OTHER}), their_lock
        assert lab.apply(YES, errand=Errand("forget", ("theirs",))).code == ExitCode.OK
        block = endpoint("mine", directory="theirs", id=uuid)
        lab.desired, lab.world.lock = replace(mine, endpoints={"mine": block, "other-here": OTHER_HERE}), my_lock
        assert lab.apply(errand=Errand("adopt", ("mine",))).code == ExitCode.OK
    lab.desired = replace(lab.desired, endpoints={"mine": block, "other-here": OTHER_HERE})
    assert lab.apply().code == ExitCode.OK
    assert daemons(lab)["theirs"] == uuid
    assert (lab.ids()["mine"] == uuid) == (way == "move it here")
    lab.assert_converged()


def test_two_directories_that_changed_places_are_named_and_changed_back() -> None:
    lab = running("a", "b")
    folders = lab.world.folders
    folders["a"], folders["b"] = folders["b"], folders["a"]
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    a, b = "/home/jdoe/.globus_compute/a", "/home/jdoe/.globus_compute/b"
    one, two = (r for r in result.sight.plan.refusals if r.endpoint in ("a", "b"))
    assert one.what == f"{a} and {b} have changed places: each holds the other's endpoint"
    assert f"`mv {a} {a}.exchanged && mv {b} {a} && mv {a}.exchanged {b}`" in one.remedy
    assert f"`mv {b} {b}.exchanged && mv {a} {b} && mv {b}.exchanged {a}`" in two.remedy
    folders["a"], folders["b"] = folders["b"], folders["a"]
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


# --- copies beside the endpoint


@pytest.mark.parametrize("way", ["its PID file is removed", "it is waited for"])
def test_a_fresh_copy_with_a_pid_file_is_told_from_a_second_daemon_by_what_is_said(way: str) -> None:
    lab = running("main")
    copied(lab, "main", "main copy")
    copy_ = lab.world.folders["main copy"]
    copy_.pid, copy_.touched = lab.world.folders["main"].pid, lab.world.now
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    (refusal,) = result.sight.plan.refusals
    assert "`rm '/home/jdoe/.globus_compute/main copy/daemon.pid'`, or wait 30 s" in refusal.remedy
    if way == "it is waited for":
        lab.world.now += LISTED_AS_RUNNING + 1
    else:
        copy_.pid = None
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_a_copy_whose_marker_is_damaged_is_told_as_that() -> None:
    """No PID file is in it: neither its removal nor any wait would help."""
    lab = running("main")
    copied(lab, "main", "main.bak")
    copy_ = lab.world.folders["main.bak"]
    copy_.pid, copy_.marker = None, Damaged("cut short")
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    (refusal,) = result.sight.plan.refusals
    assert refusal.evidence == ("also of /home/jdoe/.globus_compute/main.bak, whose marker cannot be read: cut short",)
    assert "move it out of /home/jdoe/.globus_compute, or mend its marker" in refusal.remedy
    del lab.world.folders["main.bak"]
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_a_copy_does_not_keep_a_deleted_endpoint_from_coming_back() -> None:
    lab = running("main")
    uuid = lab.ids()["main"]
    copied(lab, "main", "main.bak")
    lab.wants(OTHER)
    assert lab.apply(YES).code == ExitCode.OK
    assert lab.apply(YES).code == ExitCode.OK
    lab.wants(endpoint("main"), OTHER)
    assert lab.apply().code == ExitCode.OK
    assert lab.ids()["main"] == uuid
    assert "main.bak" in lab.world.folders
    lab.assert_converged()


def test_a_copy_is_named_and_left_alone_when_its_original_is_gone() -> None:
    lab = running("main")
    copied(lab, "main", "main.bak")
    lab.wants(OTHER)
    lab.apply(YES)
    (note,) = lab.sight().plan.notes
    assert note.text == "main.bak is a copy of what was main: nothing is done about it"
    assert lab.apply(YES).code == ExitCode.OK


def test_forget_means_the_endpoint_and_not_a_copy_that_sorts_before_it() -> None:
    lab = running("main")
    copied(lab, "main", "a-backup")
    lab.wants(OTHER)
    assert lab.apply(YES, errand=Errand("forget", ("main",))).code == ExitCode.OK
    assert lab.world.folders["main"].marker is None
    lab.apply(YES)
    assert "main" in lab.world.folders
    assert "main" in daemons(lab)


def test_a_rename_beside_a_copy_is_done_once() -> None:
    lab = running("a")
    uuid = lab.ids()["a"]
    copied(lab, "a", "a.bak")
    lab.wants(endpoint("b"), OTHER, moved=(Moved("a", "b"),))
    assert lab.apply().code == ExitCode.OK
    assert lab.apply().code == ExitCode.OK
    assert daemons(lab)["b"] == uuid
    lab.assert_converged()


def test_a_copy_that_is_deleted_by_hand_does_not_take_the_registration_along() -> None:
    lab = running("main")
    copied(lab, "main", "old")
    lab.world.folders["old"].marker = None
    lab.wants(endpoint("main", state="stopped"), OTHER)
    lab.apply()
    clock = FakeClock(lab.world)
    with pytest.raises(Refused, match="main has the same UUID"):
        by_hand.delete(lab.world.outside, clock, "old", deregister=True, seconds=5)
    assert lab.ids()["main"] in lab.world.registrations
    by_hand.delete(lab.world.outside, clock, "old", deregister=False, seconds=5)
    assert lab.ids()["main"] in lab.world.registrations
    assert "old" not in lab.world.folders


# --- what cannot be known, and what is another place's


@pytest.mark.parametrize("how", ["the whole service", "its status"])
def test_without_the_service_a_lost_directory_is_not_forgotten(how: str) -> None:
    lab = running("main")
    uuid = lab.ids()["main"]
    del lab.world.folders["main"]
    lab.wants(OTHER)
    if how == "its status":
        lab.world.faults.fail("status", ServiceUnreachable("no answer"))
    lab.world.service_down = how == "the whole service"
    assert lab.apply(YES).code == ExitCode.UNREACHABLE
    assert lab.ids()["main"] == uuid


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("host: ursa", "host: hera"),
        ("config_dir: ~/.globus_compute", "config_dir: /scratch/gce"),
        ("user: jdoe", "user: role"),
        ("identity: me", "identity: somebody"),
    ],
)
def test_what_the_lock_gives_to_another_place_is_not_deleted_here(here: str, there: str, purge: bool) -> None:
    lab = Lab(desired(endpoint("main"), OTHER, pools=(pool("mpi"),), host=HostView(name="ursa")))
    assert lab.apply().code == ExitCode.OK
    uuid = lab.ids()["main"]
    (daemon,) = lab.world.daemons_of("main")
    lab.world.end(daemon, cleanly=True)
    entry = lab.lock().endpoints["main"]
    head, found, tail = (lab.world.lock or "").partition("  other:")
    lab.world.lock = head.replace(here, there) + found + tail
    before = lab.lock().endpoints["main"]
    assert before != entry
    lab.desired = replace(lab.desired, endpoints={"other": OTHER}, pools={})
    lab.apply(YES, destroy=purge, purge=purge)
    assert lab.ids()["main"] == uuid
    assert lab.lock().endpoints["main"] == before
    assert uuid in lab.world.registrations
    assert "main" in lab.world.folders


@pytest.mark.parametrize("command", ["undelete", "purge"])
def test_what_was_deleted_before_its_host_had_a_name_comes_back_as_the_remedy_says(command: str) -> None:
    lab = running("main")
    uuid = lab.ids()["main"]
    lab.wants(OTHER)
    assert lab.apply(YES).code == ExitCode.OK
    lab.desired = replace(lab.desired, host=HostView(name="ursa"))
    assert lab.apply(take_over=True).code == ExitCode.OK
    result = lab.apply(YES, errand=Errand(command, ("main",)))  # type: ignore[arg-type]
    assert result.code == ExitCode.REFUSED
    (entry,) = lab.world.trash
    (refusal,) = result.sight.plan.refusals
    assert f"/{entry}/endpoint' {lab.sight().live.config_dir}/main`" in refusal.remedy
    assert "chiltepin adopt main --take-over" in refusal.remedy
    lab.world.folders["main"] = lab.world.trash.pop(entry)
    lab.desired = replace(lab.desired, endpoints={"main": endpoint("main"), "other": OTHER})
    assert lab.apply(errand=Errand("adopt", ("main",), take_over=True)).code == ExitCode.OK
    assert lab.apply().code == ExitCode.OK
    assert lab.ids()["main"] == uuid
    lab.assert_converged()
