"""Renames over fakes: cut off anywhere and run again, deferred, failed; the UUID stays and nothing is doubled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.desired import DesiredEndpoint, Moved
from reconciler.core.marker import Marker
from reconciler.core.scope import Errand
from reconciler.errors import ExitCode, FileSystemError
from tests.core.builders import desired, endpoint, pool
from tests.lab import YES, Lab, killed_at

BOTH = pytest.mark.parametrize("starts_go_on", [False, True])
MOVES = (Moved("main", "new"),)
HOW = pytest.mark.parametrize(
    ("wanted", "moves"),
    [
        (endpoint("new", directory="main"), MOVES),
        (endpoint("new"), MOVES),
        (endpoint("main", directory="new"), ()),
        (endpoint("new", config={"debug": False}), (Moved("main", "between"), Moved("between", "new"))),
    ],
    ids=["name", "name and directory", "directory", "all at once"],
)


def running() -> Lab:
    """Return a lab in which `main` runs, beside another endpoint."""
    lab = Lab(desired(endpoint(), endpoint("two"), pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    return lab


def rename(lab: Lab, wanted: DesiredEndpoint, moves: tuple[Moved, ...]) -> None:
    lab.wants(wanted, endpoint("two"), pools=(pool("mpi", wanted.name),), moved=moves)


def marked(lab: Lab, directory: str) -> Marker:
    marker = lab.world.folders[directory].marker
    assert isinstance(marker, Marker)
    return marker


@HOW
def test_rename_keeps_the_uuid(wanted: DesiredEndpoint, moves: tuple[Moved, ...]) -> None:
    lab = running()
    uuid, pids = lab.ids()["main"], {d.directory: d.pid for d in lab.world.daemons}
    rename(lab, wanted, moves)
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == {wanted.name: uuid, "two": lab.ids()["two"]}
    assert (marked(lab, wanted.directory).endpoint, marked(lab, wanted.directory).id) == (wanted.name, uuid)
    assert marked(lab, wanted.directory).claim == lab.lock().endpoints[wanted.name].claim
    assert sorted(lab.world.folders) == sorted([wanted.directory, "two"])
    assert len(lab.world.registrations) == 2
    assert lab.world.pools is not None
    assert str(uuid) in lab.world.pools
    goes_on = wanted.directory == "main"
    assert ({d.pid for d in lab.world.daemons} == set(pids.values())) == goes_on


@BOTH
@HOW
def test_rename_that_is_killed_anywhere_is_finished_by_the_next_apply(
    wanted: DesiredEndpoint, moves: tuple[Moved, ...], starts_go_on: bool
) -> None:
    at = 0
    while True:
        at += 1
        lab = running()
        ids = lab.ids()
        rename(lab, wanted, moves)
        crashed = lab.crash(at, starts_go_on=starts_go_on)
        lab.world.now += 100
        assert lab.apply(YES).code == ExitCode.OK
        lab.assert_converged()
        assert lab.ids() == {wanted.name: ids["main"], "two": ids["two"]}
        assert len(lab.world.registrations) == 2
        assert sorted(lab.world.folders) == sorted([wanted.directory, "two"])
        if not crashed:
            return


@BOTH
def test_rename_that_was_killed_and_is_taken_back(starts_go_on: bool) -> None:
    at = 0
    while True:
        at += 1
        lab = running()
        before, ids = lab.desired, lab.ids()
        rename(lab, endpoint("new"), MOVES)
        crashed = lab.crash(at, starts_go_on=starts_go_on)
        lab.world.now += 100
        lab.desired = before
        if "new" in lab.ids():  # it is done, and taken back like any other
            lab.desired = replace(before, moved=(Moved("new", "main"),))
        code = lab.apply(YES).code
        assert code in (ExitCode.OK, ExitCode.REFUSED)
        assert len(lab.world.registrations) == 2
        assert len([d for d in lab.world.daemons if d.id == ids["main"]]) <= 1
        assert len([f for f in lab.world.folders.values() if f.endpoint_id == ids["main"]]) == 1
        if code == ExitCode.REFUSED:  # the rename had got too far: it goes on, or is undone by another
            rename(lab, endpoint("new"), MOVES)
            assert lab.apply(YES).code == ExitCode.OK
        lab.assert_converged()
        assert set(lab.ids().values()) == set(ids.values())
        if not crashed:
            return


def test_rename_waits_while_tasks_may_run() -> None:
    lab = running()
    lab.world.user_endpoints["main"] = 1
    rename(lab, endpoint("new"), MOVES)
    before = {d.pid for d in lab.world.daemons}
    assert lab.apply().code == ExitCode.DEFERRED
    assert "main" in lab.ids()
    assert {d.pid for d in lab.world.daemons} == before
    assert lab.world.pools is not None
    assert str(lab.ids()["main"]) in lab.world.pools
    lab.world.user_endpoints.clear()
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


@pytest.mark.parametrize("point", ["rename", "write_marker", "write_lock", "append"])
def test_rename_on_a_full_disk_is_done_by_the_next_apply(point: str) -> None:
    for after in range(6):
        lab = running()
        ids = lab.ids()
        rename(lab, endpoint("new"), MOVES)
        lab.world.faults.fail(point, FileSystemError("No space left on device"), after=after)
        try:
            lab.apply()
        except FileSystemError:
            assert point == "write_lock"
        lab.world.faults.revive()
        lab.world.now += 100
        assert lab.apply().code == ExitCode.OK
        lab.assert_converged()
        assert set(lab.ids().values()) == set(ids.values())


def test_two_that_would_have_one_name_until_one_is_forgotten() -> None:
    lab = running()
    ids = lab.ids()
    lab.wants(endpoint("two"), pools=(pool("mpi", "two"),), moved=(Moved("main", "two"),))
    result = lab.apply(YES)
    assert result.code == ExitCode.REFUSED
    assert "`chiltepin forget main`" in result.sight.plan.refusals[0].remedy
    assert lab.ids() == ids
    assert lab.apply(YES, errand=Errand("forget", ("main",))).code == ExitCode.OK
    assert lab.apply(YES).code == ExitCode.OK
    assert lab.ids() == {"two": ids["two"]}
    assert len(lab.world.daemons_of("main")) == 1


def test_rename_back_and_forth() -> None:
    lab = running()
    ids = lab.ids()
    for there, here in (("main", "new"), ("new", "main")):
        lab.wants(endpoint(here), endpoint("two"), pools=(pool("mpi", here),), moved=(Moved(there, here),))
        assert lab.apply().code == ExitCode.OK
        lab.assert_converged()
    assert lab.ids() == ids


def test_renamed_and_lock_lost() -> None:
    lab = running()
    ids = lab.ids()
    rename(lab, endpoint("new", directory="main"), MOVES)
    lab.world.lock = None
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == {"new": ids["main"], "two": ids["two"]}
    lineage = marked(lab, "two").lineage
    assert (lab.lock().lineage, marked(lab, "main").lineage) == (lineage, lineage)


def test_new_endpoint_of_the_old_name_is_another_one() -> None:
    lab = running()
    ids = lab.ids()
    rename(lab, endpoint("new"), MOVES)
    assert lab.apply().code == ExitCode.OK
    lab.wants(endpoint("new"), endpoint("main"), endpoint("two"), pools=(pool("mpi", "new"),))
    lab.apply(new=frozenset({"main"}))
    lab.assert_converged()
    assert lab.ids()["new"] == ids["main"] != lab.ids()["main"]


# --- renamed while it lay in the trash


def deleted() -> Lab:
    """Return a lab in which `main` was deleted, and the manifest calls it `new`."""
    lab = running()
    lab.wants(endpoint("two"), pools=())
    assert lab.apply(YES).code == ExitCode.OK
    return lab


@pytest.mark.parametrize(
    "wanted", [endpoint("new"), endpoint("new", directory="main"), endpoint("new", state="stopped")]
)
def test_renamed_while_it_lay_in_the_trash_it_comes_back_with_its_uuid(wanted: DesiredEndpoint) -> None:
    lab = deleted()
    (uuid,) = {f.endpoint_id for f in lab.world.trash.values()}
    lab.world.now += 1000
    rename(lab, wanted, MOVES)
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == {"new": uuid, "two": lab.ids()["two"]}
    assert (lab.world.trash, len(lab.world.registrations)) == ({}, 2)
    assert marked(lab, wanted.directory).endpoint == "new"
    assert lab.world.pools is not None
    assert str(uuid) in lab.world.pools


@BOTH
@pytest.mark.parametrize("wanted", [endpoint("new"), endpoint("new", directory="main")])
def test_that_is_killed_anywhere_is_finished_by_the_next_apply(wanted: DesiredEndpoint, starts_go_on: bool) -> None:
    at, crashed = 0, True
    while crashed:
        at += 1
        lab = deleted()
        (uuid,) = {f.endpoint_id for f in lab.world.trash.values()}
        rename(lab, wanted, MOVES)
        crashed = lab.crash(at, starts_go_on=starts_go_on)
        lab.world.now += 100
        assert lab.apply().code == ExitCode.OK, f"point {at}"
        lab.assert_converged()
        assert lab.ids() == {"new": uuid, "two": lab.ids()["two"]}
        assert (lab.world.trash, len(lab.world.registrations)) == ({}, 2)
    assert at > 10


def test_undeleted_by_hand_it_is_renamed_by_the_next_apply() -> None:
    lab = deleted()
    (uuid,) = {f.endpoint_id for f in lab.world.trash.values()}
    rename(lab, endpoint("new"), MOVES)
    assert lab.apply(errand=Errand("undelete", ("main",))).code == ExitCode.OK
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids()["new"] == uuid


@pytest.mark.parametrize("directory_only", [True, False])
def test_what_runs_is_stopped_once_for_a_rename(directory_only: bool) -> None:
    lab = Lab(desired(endpoint()))
    assert lab.apply().code == ExitCode.OK
    if directory_only:
        lab.wants(endpoint(directory="other"))
    else:
        lab.wants(endpoint("other"), moved=(Moved("main", "other"),))
    assert [a.kind for a in lab.sight().plan.actions if a.kind in ("Stop", "Start")] == ["Stop", "Start"]


def test_what_becomes_unmanaged_under_a_new_name_is_renamed_once() -> None:
    lab = running()
    rename(lab, endpoint("new", directory="main", state="unmanaged"), MOVES)
    assert lab.apply().code == ExitCode.OK
    assert lab.sight().plan.is_empty
    assert sorted(lab.ids()) == ["new", "two"]


def test_a_first_start_that_was_cut_off_is_settled_under_the_new_name() -> None:
    lab = killed_at("start:registered", endpoint())
    lab.world.after_crash(starts_go_on=False)
    (made,) = [r.id for r in lab.world.registrations.values() if r.name == "main"]
    rename(lab, endpoint("new", directory="main"), MOVES)
    assert lab.apply().code == ExitCode.OK
    assert lab.ids()["new"] == made
    assert not lab.world.outside.store.unfinished()
