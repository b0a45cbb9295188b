"""Deleting what was registered by a start that was cut off before anybody could write down its UUID."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.live import Registration
from reconciler.errors import ExitCode
from tests.core.builders import endpoint
from tests.lab import YES, Lab, Result, killed_at


def cut_off() -> Lab:
    """Return a lab in which `main` was registered and nothing else came of its start; it has left the manifest."""
    lab = killed_at("start:registered", endpoint("main"), endpoint("kept"))
    lab.world.after_crash(starts_go_on=False)
    assert {r.name for r in lab.world.registrations.values()} == {"main"}
    lab.wants(endpoint("kept"))
    assert lab.ids()["main"] is None
    return lab


def of_main(lab: Lab) -> list[str]:
    """Return the UUIDs that are registered under the name."""
    return [r.id for r in lab.world.registrations.values() if r.name == "main"]


def open_starts(lab: Lab) -> list[str]:
    """Return the endpoints whose starts have no outcome in the journal."""
    return [e.endpoint for e in lab.world.outside.store.unfinished() if e.action == "Start"]


def assert_evident(lab: Lab, result: Result, code: ExitCode) -> None:
    """Nothing was done about `main`, and the next run can judge as well as this one."""
    assert result.code == code
    assert "main" in lab.world.folders
    assert "main" in open_starts(lab)


@pytest.mark.parametrize("how", ["destroy", "removed"])
def test_its_registration_is_found_and_ends_or_stays_on_record(how: str) -> None:
    lab = cut_off()
    (made,) = of_main(lab)
    if how == "destroy":
        assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
        assert not lab.world.registrations
        assert not lab.world.trash
    else:
        assert lab.apply(YES).code == ExitCode.OK
        assert of_main(lab) == [made]
        assert "main" not in open_starts(lab)
        lab.wants(endpoint("main"), endpoint("kept"))
        assert lab.apply().code == ExitCode.OK
        assert lab.ids()["main"] == made
        assert of_main(lab) == [made]
        lab.assert_converged()


@pytest.mark.parametrize("purge", [False, True])
def test_a_destroy_that_is_killed_anywhere_loses_no_uuid(purge: bool) -> None:
    for at in range(1, 1000):
        lab = cut_off()
        (made,) = of_main(lab)
        lab.world.faults.passed.clear()
        if not lab.crash(at, starts_go_on=False, consent=YES, destroy=True, purge=purge):
            break
        assert lab.apply(YES, destroy=True, purge=purge).code == ExitCode.OK
        if purge:
            assert not of_main(lab), lab.world.faults.passed
        else:
            assert [item.id for item in lab.world.outside.host.trash() if item.marker.endpoint == "main"] == [made]
    assert at > 5


def test_what_cannot_be_decided_is_refused_and_stays_decidable() -> None:
    lab = cut_off()
    (made,) = of_main(lab)
    twin = replace(lab.world.registrations[made], id="00000000-0000-4000-8000-0000000000ff")
    lab.world.registrations[twin.id] = twin
    result = lab.apply(YES, destroy=True, purge=True)
    assert_evident(lab, result, ExitCode.REFUSED)
    (refusal,) = [r for r in result.sight.plan.refusals if r.endpoint == "main"]
    assert all(any(i in line for line in refusal.evidence) for i in (made, twin.id))
    assert sorted(of_main(lab)) == sorted([made, twin.id])
    del lab.world.registrations[twin.id]
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
    assert not lab.world.registrations


def test_without_the_service_it_stays() -> None:
    lab = cut_off()
    lab.world.service_down = True
    assert_evident(lab, lab.apply(YES, destroy=True), ExitCode.UNREACHABLE)
    lab.world.service_down = False
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
    assert not lab.world.registrations


def test_a_lost_directory_does_not_hide_the_registration() -> None:
    lab = cut_off()
    del lab.world.folders["main"]
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
    assert not of_main(lab)


def test_a_first_start_that_is_under_way_is_not_deleted_under() -> None:
    lab = killed_at("start:spawned", endpoint("main"))
    lab.world.faults.revive()
    result = lab.apply(YES, destroy=True, purge=True)
    assert_evident(lab, result, ExitCode.DEFERRED)
    lab.world.after_crash(starts_go_on=True)
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
    assert not lab.world.registrations


def test_a_first_start_that_registered_nothing_leaves_nothing_open() -> None:
    lab = killed_at("start:spawned", endpoint("main"))
    lab.world.after_crash(starts_go_on=False)
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
    assert not lab.world.folders
    assert not lab.world.outside.store.unfinished()


def lost() -> Lab:
    """Return a lab in which `main` is wanted, was registered, and nothing else is left of its start."""
    lab = cut_off()
    lab.wants(endpoint("main"), endpoint("kept"))
    del lab.world.folders["main"]
    return lab


def test_a_lost_directory_comes_back_under_the_uuid_of_the_cut_off_start() -> None:
    lab = lost()
    (made,) = of_main(lab)
    assert lab.apply().code == ExitCode.OK
    assert lab.ids()["main"] == made
    assert of_main(lab) == [made]
    lab.assert_converged()


def test_a_lost_directory_that_was_renamed_in_the_manifest_is_not_registered_again_without_a_word() -> None:
    lab = lost()
    (made,) = of_main(lab)
    lab.wants(endpoint("main", directory="elsewhere"), endpoint("kept"))
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    (refusal,) = result.sight.plan.refusals
    assert made in refusal.what
    assert "directory: main" in refusal.remedy
    assert "main" in open_starts(lab)
    assert not [r for r in lab.world.registrations.values() if r.name == "elsewhere"]


@pytest.mark.parametrize("how", ["block", "id", "new"])
def test_each_remedy_for_a_renamed_lost_directory_works(how: str) -> None:
    lab = lost()
    (made,) = of_main(lab)
    lab.wants(endpoint("main", directory="elsewhere"), endpoint("kept"))
    assert lab.apply().code == ExitCode.REFUSED
    if how == "block":
        lab.wants(endpoint("main"), endpoint("kept"))
        assert lab.apply().code == ExitCode.OK
    elif how == "id":
        lab.wants(endpoint("main", directory="elsewhere", id=made), endpoint("kept"))
        assert lab.apply().code == ExitCode.OK
    else:
        assert lab.apply(new=frozenset({"main"})).code == ExitCode.OK
    assert (lab.ids()["main"] == made) is (how != "new")
    lab.assert_converged()


STRANGER = Registration(
    "00000000-0000-4000-8000-00000000dead", "elsewhere", hostname="ufe01.noaa.gov", local_user="jdoe"
)


def renamed() -> Lab:
    """Return a lab in which the lost directory has another name by now, which an older registration has, too."""
    lab = lost()
    lab.world.registrations[STRANGER.id] = STRANGER
    lab.wants(endpoint("main", directory="elsewhere"), endpoint("kept"))
    return lab


def test_what_another_directory_was_registered_as_is_no_second_registration_of_its_start() -> None:
    lab = renamed()
    result = lab.apply(new=frozenset({"main"}))
    assert result.code == ExitCode.OK
    assert not result.run.warnings


def test_a_new_registration_that_is_cut_off_anywhere_is_asked_for_again_or_found() -> None:
    """What was there before is never taken for its own; nothing is registered twice."""
    for at in range(1, 1000):
        lab = renamed()
        (made,) = of_main(lab)
        lab.world.faults.passed.clear()
        if not lab.crash(at, starts_go_on=at % 2 == 0, new=frozenset({"main"})):
            break
        result = lab.apply()
        if result.code != ExitCode.OK:
            (refusal,) = result.sight.plan.refusals
            assert (result.code, made in refusal.what) == (ExitCode.REFUSED, True)
            assert lab.apply(new=frozenset({"main"})).code == ExitCode.OK
        assert lab.ids()["main"] not in (made, STRANGER.id), lab.world.faults.passed
        assert len([r for r in lab.world.registrations.values() if r.name == "elsewhere"]) == 2
        lab.assert_converged()
    assert at > 5
