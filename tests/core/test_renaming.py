"""Renamed endpoints and renamed directories: the plan's text, and what stands against it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.actions import Create, Rename, Start, Stop
from reconciler.core.desired import Desired, DesiredEndpoint, EndpointState, Moved
from reconciler.core.live import LiveDirectory, Unknown
from reconciler.core.lock import known_ids, lock_entry
from reconciler.core.marker import Marker
from reconciler.core.plan import make_plan
from reconciler.core.scope import Errand
from tests.core.builders import (
    LOGIN_PATH,
    SITE,
    Scene,
    applied,
    empty,
    endpoint,
    intent,
    lost,
    marked,
    pool,
    registration,
    says,
    settled,
    uuid,
    with_user_endpoints,
)

OLD = applied(endpoint("old"))
KEPT = endpoint("new", directory="old")
"""The endpoint under its new name, in the directory that it had."""


def renamed(wanted: object = KEPT, *, moves: tuple[tuple[str, str], ...] = (("old", "new"),)) -> Scene:
    """Return a scene in which `old` runs and the manifest calls it `new`."""
    scene = settled(endpoint("old"), pools=(pool("mpi", "new"),))
    return scene.wants(wanted, moved=tuple(Moved(*move) for move in moves))  # type: ignore[arg-type]


def kinds(scene: Scene, **scope: object) -> list[str]:
    return [action.kind for action in scene.plan(**scope).actions]


def refused(scene: Scene) -> str:
    """Return the text of a plan that does nothing."""
    assert not scene.plan().actions
    return scene.text()


# --- the name alone


def test_name_changes_and_its_daemon_goes_on() -> None:
    says(
        renamed().text(),
        f"""
        Plan for stack hrrr on ufe01:

          new: renamed
            => old has moved to new
                its UUID {uuid("old")} stays

          ~ write the lockfile (resolved state changed)
          ~ write the pools file (resolved state changed)

        Plan: 1 to rename.
        """,
    )
    plan = renamed().plan()
    (action,) = plan.actions
    assert isinstance(action, Rename)
    assert action.marker is not None
    assert isinstance(OLD.marker, Marker)
    assert action.marker == OLD.marker.but(endpoint="new")
    assert {name: entry.id for name, entry in plan.entries.items()} == {"new": uuid("old")}


def test_what_else_changes_comes_after_the_rename() -> None:
    scene = renamed(endpoint("new", directory="old", config={"debug": False}))
    assert kinds(scene) == ["Rename", "WriteFile", "Restart"]
    assert "its UUID" in scene.text()


def test_display_name_that_follows_the_name_is_said() -> None:
    before = endpoint("old", config={"display_name": "old"})
    scene = settled(before).wants(
        endpoint("new", directory="old", config={"display_name": "new"}), moved=(Moved("old", "new"),)
    )
    assert kinds(scene) == ["Rename", "WriteFile", "Restart"]
    assert "`config: {display_name: old}` in its block would spare it the restart" in scene.text()


def test_several_names_in_a_row_are_one_rename() -> None:
    scene = renamed(moves=(("old", "between"), ("between", "new")))
    assert "old has moved to new" in scene.text()


def test_done_before_is_nothing_to_do() -> None:
    scene = settled(KEPT).wants(KEPT, moved=(Moved("old", "new"), Moved("older", "old")))
    assert scene.plan().is_empty


def test_lock_alone_was_not_written() -> None:
    scene = renamed().has(marked(OLD, endpoint="new"))
    assert kinds(scene) == ["Rename"]


def test_lock_lost_and_renamed() -> None:
    scene = renamed().knows(lock=None)
    assert kinds(scene) == ["Rename"]
    assert scene.plan().entries["new"].id == uuid("old")


def test_marker_lost_and_renamed() -> None:
    scene = renamed().has(replace(OLD, marker=None)).sees(login_path=LOGIN_PATH)
    rename, adopt = scene.plan().actions
    assert isinstance(rename, Rename)
    assert (rename.kind, adopt.kind) == ("Rename", "Adopt")
    assert rename.marker is not None
    assert (rename.marker.endpoint, rename.marker.id) == ("new", uuid("old"))


@pytest.mark.parametrize("has_marker", [True, False], ids=["marked", "by its UUID"])
@pytest.mark.parametrize("doubled", [False, True], ids=["", "in the lock already"])
def test_unmanaged_under_a_new_name_needs_moved(has_marker: bool, doubled: bool) -> None:
    new = endpoint("new", directory="old", state="unmanaged")
    scene = settled(endpoint("old"), pools=()).wants(new)
    lock = scene.known.lock
    assert lock is not None
    if doubled:
        scene = scene.knows(lock=lock.with_endpoint("new", lock_entry(new, SITE.claim("old"), uuid("old"))))
    if not has_marker:
        scene = scene.has(replace(applied(endpoint("old")), marker=None))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          new: refused: /home/jdoe/.globus_compute/old holds endpoint `old` of this stack
              next: write `moved: [{from: old, to: new}]`, or choose another `directory`

        Plan: 1 refused.
        """,
    )
    moved = scene.wants(new, moved=(Moved("old", "new"),)).plan()
    assert ([a.kind for a in moved.actions], moved.refusals) == (["Rename"], ())


def test_unmanaged_where_the_marker_names_what_was_never_registered() -> None:
    never = applied(endpoint("old", state="stopped"), registered=False, running=False)
    scene = settled(endpoint("old", state="stopped")).locks("old", id=None).has(never).owns()
    text = refused(scene.wants(endpoint("new", directory="old", state="unmanaged")))
    assert "old holds endpoint `old` of this stack" in text


def test_unmanaged_with_the_uuid_of_another_directorys_endpoint() -> None:
    scene = settled(endpoint("old")).wants(endpoint("old"), endpoint("new", state="unmanaged", id=uuid("old")))
    (refusal,) = scene.plan().refusals
    assert (refusal.endpoint, refusal.evidence) == ("new", ("also of endpoint old in the lock",))
    assert "new" not in scene.plan().entries


@pytest.mark.parametrize("lock_lost", [False, True])
def test_unmanaged_with_the_uuid_of_what_this_run_takes_in(lock_lost: bool) -> None:
    """The lock does not have it yet, wherever in the manifest it stands."""
    alias = endpoint("alias", state="unmanaged", id=uuid("main"))
    if lock_lost:
        scene = settled(endpoint()).knows(lock=None).wants(alias, endpoint())
    else:
        scene = empty(alias, endpoint(id=uuid("main"))).owns(registration())
    (refusal,) = scene.plan().refusals
    assert (refusal.endpoint, refusal.evidence) == ("alias", ("also of endpoint main",))
    assert "alias" not in scene.plan().entries


def test_unmanaged_with_the_uuid_of_a_block_that_waits_for_the_service() -> None:
    scene = empty(endpoint(id=uuid("main")), endpoint("alias", state="unmanaged", id=uuid("main")))
    plan = scene.sees(registrations=Unknown("timeout")).plan()
    assert ([b.endpoint for b in plan.blocked], [r.endpoint for r in plan.refusals]) == (["main"], ["alias"])


UNMANAGED = (endpoint("one", state="unmanaged"), endpoint("two", state="unmanaged", id=uuid("one")))


@pytest.mark.parametrize("blocks", [UNMANAGED, UNMANAGED[::-1]], ids=["", "the other way round"])
@pytest.mark.parametrize("before", ["unmanaged", "running"])
def test_unmanaged_with_one_uuid(blocks: tuple[DesiredEndpoint, ...], before: EndpointState) -> None:
    """What counts is what they are from now on."""
    scene = settled(*UNMANAGED).locks("one", state=before).wants(*blocks)
    assert (scene.plan().refusals, scene.plan().actions) == ((), ())
    assert {name: entry.state for name, entry in scene.plan().entries.items()} == dict.fromkeys(
        ("one", "two"), "unmanaged"
    )


def test_unmanaged_with_the_uuid_of_what_left_the_manifest() -> None:
    scene = settled(*UNMANAGED).locks("one", state="running").wants(UNMANAGED[1])
    assert "also of endpoint one in the lock" in refused(scene)
    scene = scene.locks("one", state="unmanaged")
    assert scene.plan().refusals == ()


def test_unmanaged_that_is_refused_is_not_renamed() -> None:
    old = endpoint("old", state="unmanaged")
    scene = settled(old, endpoint("kept", id=uuid("old")))
    plan = scene.wants(replace(old, name="new"), endpoint("kept", id=uuid("old")), moved=(Moved("old", "new"),)).plan()
    assert "new" in [refusal.endpoint for refusal in plan.refusals]
    assert (plan.all_actions, "new" in plan.entries) == ((), False)


def test_unmanaged_is_renamed_in_the_lock_only() -> None:
    scene = renamed(endpoint("new", directory="old", state="unmanaged"))
    (action,) = scene.plan().actions
    assert isinstance(action, Rename)
    assert (action.source, action.marker) == (None, None)
    assert scene.plan().entries["new"].id == uuid("old")


def test_never_registered_is_renamed() -> None:
    directory = applied(endpoint("old", state="stopped"), registered=False, running=False)
    scene = renamed(endpoint("new", directory="old", state="stopped")).has(directory).locks("old", id=None).owns()
    assert kinds(scene) == ["Rename"]


def test_first_start_that_was_cut_off_is_found_under_the_new_name() -> None:
    made = registration("old")
    directory = applied(endpoint("old"), registered=False, running=False)
    scene = renamed().has(directory).locks("old", id=None).owns(made)
    scene = scene.sees(pending={"old": intent("old")}, candidates={"old": (made,)})
    assert kinds(scene) == ["Rename", "Adopt", "WriteFile", "Start"]
    assert [a.id for a in scene.plan().actions if isinstance(a, Start)] == [uuid("old")]
    text = refused(scene.wants(endpoint("new"), moved=(Moved("old", "new"),)))
    assert "its first start was cut off" in text


# --- its directory, too

MOVED = endpoint("new")


def test_directory_is_renamed_with_it_and_its_daemon_is_stopped_for_that() -> None:
    says(
        renamed(MOVED).text(),
        f"""
        Plan for stack hrrr on ufe01:

          new: renamed
            # stop (PID 100)
                waits until idle
            => old has moved to new, its directory from old to new
                its UUID {uuid("old")} stays
                `directory: old` in its block would spare it the stop
            > start

          ~ write the lockfile (resolved state changed)
          ~ write the pools file (resolved state changed)

        Plan: 1 to rename, 1 to start, 1 to stop.
        """.replace("                waits until idle\n", ""),
    )
    stop, rename, start = renamed(MOVED).plan().actions
    assert isinstance(stop, Stop)
    assert isinstance(rename, Rename)
    assert isinstance(start, Start)
    assert start.id == uuid("old")
    assert rename.marker is not None
    assert (rename.marker.claim.directory, rename.marker.daemon) == ("new", None)
    assert "Idle" in [type(p).__name__ for p in stop.preconditions]


@pytest.mark.parametrize(
    ("policy", "guarded", "held"), [("when-idle", True, False), ("now", False, False), ("never", True, True)]
)
def test_stop_for_a_rename_is_a_restart_by_policy(policy: str, guarded: bool, held: bool) -> None:
    scene = renamed(endpoint("new", restart=policy)).has(with_user_endpoints(OLD, 1))
    stop = scene.plan().actions[0]
    assert ("Idle" in [type(p).__name__ for p in stop.preconditions], stop.hold is not None) == (guarded, held)


def test_stopped_endpoint_is_renamed_without_a_start() -> None:
    directory = applied(endpoint("old", state="stopped"), running=False)
    assert kinds(renamed(endpoint("new", state="stopped")).has(directory)) == ["Rename"]


def test_lost_directory_comes_back_under_the_new_name() -> None:
    scene = lost(renamed(MOVED), old="offline")
    rename, create, start = scene.plan().actions
    assert (rename.kind, start.kind) == ("Rename", "Start")
    assert isinstance(create, Create)
    assert (create.directory, create.marker.endpoint, create.marker.id) == ("new", "new", uuid("old"))


def test_lost_directory_is_renamed_in_the_lock_while_the_service_is_silent() -> None:
    plan = lost(renamed(MOVED)).sees(registrations=Unknown("timeout")).plan()
    assert ([a.kind for a in plan.actions], [b.endpoint for b in plan.blocked]) == (["Rename"], ["new"])
    assert (plan.entries["new"].id, plan.entries["new"].claim.directory) == (uuid("old"), "new")


def test_directory_alone_is_renamed() -> None:
    scene = settled(endpoint("old")).wants(endpoint("old", directory="new"))
    assert kinds(scene) == ["Stop", "Rename", "Start"]
    assert "=> rename its directory from old to new" in scene.text()


STOPPED = applied(endpoint("old"), running=False)


def moved_already(wanted: object = MOVED) -> Scene:
    """Return the scene of a rename that was cut off after the directory had its new name."""
    scene = renamed(wanted).has(replace(STOPPED, name="new"))
    return scene.sees(statuses={uuid("old"): "offline"})


@pytest.mark.parametrize("wanted", [MOVED, endpoint("old", directory="new")])
def test_directory_that_was_renamed_already(wanted: object) -> None:
    scene = moved_already().wants(wanted, moved=(Moved("old", "new"),) if wanted is MOVED else ())  # type: ignore[arg-type]
    assert kinds(scene) == ["Rename", "Start"]


def test_directory_that_was_renamed_under_its_daemon() -> None:
    scene = moved_already()
    assert "while its daemon ran" in refused(scene.sees(statuses={uuid("old"): "online"}))
    assert "not planned" in refused(scene.sees(statuses={uuid("old"): Unknown("timeout")}))
    unasked = scene.sees(statuses={})
    plan = make_plan(unasked.desired, unasked.live, unasked.known)
    assert ([b.endpoint for b in plan.blocked], plan.actions) == (["new"], ())
    alive = replace(STOPPED, name="new", processes=OLD.processes)
    assert "process 100 lives" in refused(scene.has(alive))


def test_directory_that_was_renamed_by_hand_is_not_made_a_second_time() -> None:
    scene = settled(endpoint("old")).has(replace(STOPPED, name="elsewhere")).sees(statuses={uuid("old"): "offline"})
    text = refused(scene)
    assert "elsewhere has its marker and UUID" in text
    assert "`mv /home/jdoe/.globus_compute/elsewhere /home/jdoe/.globus_compute/old`" in text


# --- what stands against it


def elsewhere(directory: LiveDirectory) -> LiveDirectory:
    assert isinstance(directory.marker, Marker)
    assert directory.marker.daemon is not None
    away = directory.marker.daemon.model_copy(update={"host": "ufe02"})
    return replace(marked(directory, daemon=away), processes=())


@pytest.mark.parametrize(
    ("scene", "text"),
    [
        (renamed(MOVED).has(OLD, applied(endpoint("x", directory="new"))), "cannot be renamed to new: that exists"),
        (renamed(MOVED).has(elsewhere(OLD)), "its daemon is elsewhere"),
        (renamed(MOVED).sees(registrations=Unknown("timeout")), "not planned"),
        (renamed().locks("old", claim={"host": "hera"}).has(replace(OLD, marker=None)), "give it its name `old` again"),
        (renamed().has(marked(OLD, stack="other")), "belongs to stack `other`"),
        (renamed(moves=(("old", "new"), ("older", "new"))).has(OLD, applied(endpoint("older"))), "several endpoints"),
    ],
)
def test_rename_is_refused(scene: Scene, text: str) -> None:
    assert text in refused(scene)


def test_two_in_the_lock_that_would_have_one_name() -> None:
    scene = settled(endpoint("old"), endpoint("new"))
    text = refused(scene.wants(endpoint("new"), moved=(Moved("old", "new"),)))
    assert f"old in the lock: {uuid('old')}" in text
    assert f"new in the lock: {uuid('new')}" in text


def test_one_that_a_merge_brought_back_leaves_the_lock() -> None:
    scene = settled(KEPT)
    assert scene.known.lock is not None
    twice = scene.known.lock.with_endpoint("old", scene.known.lock.endpoints["new"])
    scene = scene.wants(KEPT, moved=(Moved("old", "new"),)).knows(lock=twice)
    assert kinds(scene) == ["Rename"]


def test_daemon_is_not_stopped_where_it_could_not_be_started_again() -> None:
    scene = renamed(MOVED)
    host = replace(scene.desired.host, run_on=("ufe09",))
    assert "it is not stopped for a rename" in refused(replace(scene, desired=replace(scene.desired, host=host)))


def test_endpoint_that_moved_is_not_deleted() -> None:
    assert "Delete" not in kinds(renamed())
    assert kinds(renamed(), targets=["other"]) == []


def test_errands_come_after_the_rename() -> None:
    text = renamed().text(errand=Errand("restart", ("new",)))
    assert "it is still called `old` here" in text
    assert "`chiltepin apply` renames it first" in text
    directory = settled(endpoint("old")).wants(endpoint("old", directory="new"))
    for take_over in (False, True):
        text = directory.text(errand=Errand("adopt", ("old",), take_over=take_over))
        assert "its directory has another name here" in text
        assert not directory.plan(errand=Errand("adopt", ("old",), take_over=take_over)).actions


def test_pools_of_an_endpoint_that_its_own_host_has_not_renamed_yet_keep_its_uuid() -> None:
    scene = settled(endpoint("old"))
    assert scene.known.lock is not None
    wanted = Desired("hrrr", moved=(Moved("old", "new"),), elsewhere={"new": "hera"})
    assert known_ids(scene.known.lock, wanted)["new"] == uuid("old")
