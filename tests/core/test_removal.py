"""What leaves: endpoints that left the manifest, and destroy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.actions import Purge, StopElsewhere
from reconciler.core.consent import Allowed, Consent, consented, remedy_for_refused
from reconciler.core.desired import DesiredEndpoint, Moved, Trash
from reconciler.core.live import LiveDirectory, PidFile, TrashEntry, Unknown
from reconciler.core.lock import lock_entry
from reconciler.core.marker import Marker
from reconciler.core.preconditions import Idle
from reconciler.core.scope import Errand
from tests.core.builders import (
    Scene,
    applied,
    desired,
    endpoint,
    intent,
    lost,
    marked,
    pool,
    process,
    record,
    registration,
    says,
    settled,
    trashed,
    uuid,
    with_user_endpoints,
)

KEPT, LEAVING = endpoint("kept"), endpoint("old")


def leaves(directory: LiveDirectory | None = None) -> Scene:
    """Return a scene in which `old` has left the manifest; `directory` is what is there of it."""
    return settled(KEPT, LEAVING).has(applied(KEPT), directory or applied(LEAVING)).wants(KEPT)


def kinds(scene: Scene, **scope: object) -> list[tuple[str, str]]:
    return [(a.endpoint, a.kind) for a in scene.plan(**scope).actions]


@pytest.mark.parametrize("owner", [{"stack": "wx"}, {"lineage": "another"}])
def test_what_is_another_manifests_by_now_can_be_forgotten(owner: dict[str, str]) -> None:
    scene = leaves(marked(applied(LEAVING), **owner))
    [refusal] = scene.plan().refusals
    assert refusal.remedy.startswith("`chiltepin forget old` takes it out of this manifest's lockfile")
    forgetting = scene.plan(errand=Errand("forget", ("old",)))
    assert [(a.endpoint, a.kind, a.changes) for a in forgetting.actions] == [("old", "Forget", ())]
    assert "old" not in forgetting.entries
    [declared] = scene.wants(KEPT, LEAVING).plan().refusals
    assert "forget old` takes" not in declared.remedy, "with its block, another directory may be the answer"


def test_removed_from_the_manifest() -> None:
    says(
        leaves().text(),
        """
        Plan for stack hrrr on ufe01:

          old: removed from the manifest
            # stop (PID 100)
            - delete directory old (to the trash)
                its registration 00000000-0000-4000-8000-6f6c64000000 stays

          ~ write the lockfile (resolved state changed)

        Plan: 1 to stop, 1 to delete.
        """,
    )


def test_removed_while_tasks_may_run() -> None:
    says(
        leaves(with_user_endpoints(applied(LEAVING), 2)).text(),
        """
        Plan for stack hrrr on ufe01:

          old: removed from the manifest
            # stop (PID 100)
                waits until idle: 2 user endpoints alive below it
            - delete directory old (to the trash)
                its registration 00000000-0000-4000-8000-6f6c64000000 stays

          ~ write the lockfile (resolved state changed)

        Plan: 1 to stop, 1 to delete.
        """,
    )


def test_removed_whose_policy_was_to_restart_now() -> None:
    scene = leaves(with_user_endpoints(applied(endpoint("old", restart="now")), 2))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          old: removed from the manifest
            # stop (PID 100)
                interrupts 2 user endpoints and any task of them
            - delete directory old (to the trash)
                its registration 00000000-0000-4000-8000-6f6c64000000 stays

          ~ write the lockfile (resolved state changed)

        Plan: 1 to stop, 1 to delete.
        """,
    )


def test_removed_after_it_died() -> None:
    says(
        leaves(replace(applied(LEAVING), processes=())).text(),
        """
        Plan for stack hrrr on ufe01:

          old: removed from the manifest
            ~ clear daemon.pid of the dead process 100
            - delete directory old (to the trash)
                its registration 00000000-0000-4000-8000-6f6c64000000 stays

          ~ write the lockfile (resolved state changed)

        Plan: 1 to clear, 1 to delete.
        """,
    )


def test_removed_and_stopped() -> None:
    assert kinds(leaves(applied(LEAVING, running=False))) == [("old", "Delete")]


def test_deletes_come_last() -> None:
    scene = leaves().wants(endpoint("kept", config={"debug": False}), endpoint("new"))
    scene = scene.sees(login_path="/usr/bin")
    assert [a.endpoint for a in scene.plan().actions] == ["kept", "kept", "new", "new", "old", "old"]
    assert scene.plan().deletes == ("old",)


@pytest.mark.parametrize("where", ["marker", "lock"])
def test_protection_outlives_the_block(where: str) -> None:
    scene = leaves(marked(applied(LEAVING), protect=True)) if where == "marker" else leaves().locks("old", protect=True)
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          old: refused: it is protected (`protect: true`), also after its block is gone
              next: run `chiltepin unprotect old` first

        Plan: 1 refused.
        """,
    )


def test_protection_that_the_manifest_takes_back_is_in_force_until_it_is_applied() -> None:
    scene = settled(endpoint("old", protect=True)).wants(endpoint("old"))
    (refusal,) = scene.plan(destroy=True).refusals
    assert refusal.what == "it is protected: `protect: true` was applied, and what the manifest says now was not"
    assert refusal.remedy == "run `chiltepin unprotect old`, or `chiltepin apply`, first"


def test_protection_of_a_lost_directory() -> None:
    scene = lost(settled(LEAVING), old="offline").locks("old", protect=True).wants(endpoint("new"))
    assert [r.endpoint for r in scene.plan().refusals] == ["old"]
    assert not scene.plan(destroy=True, purge=True).actions


@pytest.mark.parametrize("where", ["manifest alone", "marker", "renamed"])
def test_protection_that_no_apply_has_recorded_yet(where: str) -> None:
    wanted, moved = endpoint("old", protect=True), ()
    if where == "renamed":
        wanted, moved = endpoint("new", protect=True), (Moved("old", "new"),)
    scene = settled(LEAVING).has(marked(applied(LEAVING), protect=where == "marker")).wants(wanted, moved=moved)
    gone = lost(scene, old="offline")
    for plan in (scene.plan(destroy=True), scene.plan(destroy=True, purge=True), gone.plan(destroy=True, purge=True)):
        assert not plan.actions
        (refusal,) = plan.refusals
        assert refusal.what == "it is protected: the manifest says `protect: true`"
    (refusal,) = scene.plan(destroy=True).refusals
    assert ("unprotect" in refusal.remedy) == (where == "marker")


def test_protection_that_is_declared_spares_the_trash_of_what_would_come_back() -> None:
    scene = replace(settled(LEAVING), pools_text=None).has().sees(trash=(trashed(LEAVING),))
    lock = scene.known.lock
    assert lock is not None
    scene = scene.knows(lock=lock.without_endpoint("old")).wants(endpoint("old", protect=True))
    assert [r.endpoint for r in scene.plan(destroy=True, purge=True).refusals] == ["old"]
    assert not scene.plan(destroy=True, purge=True).actions
    assert kinds(scene.wants(LEAVING), destroy=True, purge=True) == [("old", "Purge")]


def test_empty_endpoints_section() -> None:
    scene = settled(KEPT, LEAVING).wants(declared=False)
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          kept: refused: the manifest's `endpoints` section is empty: that deletes nothing
              next: use `chiltepin destroy` to delete everything, or restore the section

          old: refused: the manifest's `endpoints` section is empty: that deletes nothing
              next: use `chiltepin destroy` to delete everything, or restore the section

        Plan: 2 refused.
        """,
    )


def test_lock_lost() -> None:
    scene = leaves().knows(lock=None)
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          ~ write the lockfile (lost; made again from the markers)

          old: refused: it is not deleted in this run: without a lockfile nothing tells that it is this manifest's own
              next: look at what this run writes into the lockfile, then run this again

        Plan: 1 refused.
        """,
    )


def test_destroy_without_a_lock_deletes_nothing() -> None:
    scene = leaves().knows(lock=None)
    says(
        scene.text(destroy=True),
        """
        Plan for stack hrrr on ufe01:

          kept: refused: it is not deleted in this run: without a lockfile nothing tells that it is this manifest's own
              next: run `chiltepin apply` first: it rebuilds the lockfile, then run this again

          old: refused: it is not deleted in this run: without a lockfile nothing tells that it is this manifest's own
              next: run `chiltepin apply` first: it rebuilds the lockfile, then run this again

        Plan: 2 refused.
        """,
    )


def test_directory_lost() -> None:
    scene = leaves().has(applied(KEPT)).sees(statuses={uuid("old"): "offline"})
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          old: removed from the manifest
            - forget 00000000-0000-4000-8000-6f6c64000000 (what is left of it stays as it is)

          ~ write the lockfile (resolved state changed)

        Plan: 1 to forget.
        """,
    )


def taken(state: str = "running") -> Scene:
    """Return a scene in which `old` has left the manifest, and its directory was lost and is that of `new` by now."""
    new = endpoint("new", directory="old", state=state)
    scene = settled(KEPT, LEAVING).wants(KEPT, new).has(applied(KEPT), applied(new))
    if state == "unmanaged":
        scene = scene.has(applied(KEPT), replace(applied(new), marker=None))
    lock = scene.known.lock
    assert lock is not None
    lock = lock.with_endpoint("new", lock_entry(new, scene.known.site.claim("old"), uuid("new")))
    return scene.knows(lock=lock).owns(registration("kept"), registration("old"), registration("old", uuid("new")))


@pytest.mark.parametrize("state", ["running", "unmanaged"])
def test_directory_lost_and_another_endpoints_by_now(state: str) -> None:
    says(
        taken(state).text(),
        """
        Plan for stack hrrr on ufe01:

          old: removed from the manifest
            - forget 00000000-0000-4000-8000-6f6c64000000 (what is left of it stays as it is)

          ~ write the lockfile (resolved state changed)

        Plan: 1 to forget.
        """,
    )
    assert kinds(taken(state), exclude=["old"]) == []


@pytest.mark.parametrize("change", [{"endpoint_id": uuid("old")}, {"marker": None, "endpoint_id": None}])
def test_directory_that_may_still_be_its_own_is_not_lost(change: dict[str, str | None]) -> None:
    scene = taken()
    there = replace(scene.live.directories["old"], processes=(), pid_file=None, **change)
    assert kinds(scene.has(applied(KEPT), there)) == []


BY_HAND = replace(applied(LEAVING, running=False), marker=None, endpoint_id=uuid("made anew"))
ANOTHER_STACKS = replace(marked(applied(LEAVING), stack="wx", id=uuid("theirs")), endpoint_id=uuid("theirs"))
ANOTHER_LINEAGES = marked(ANOTHER_STACKS, stack="hrrr", lineage="another")
_NEVER = marked(applied(LEAVING, registered=False, running=False), lineage="another")


@pytest.mark.parametrize(
    ("declared", "scope"),
    [
        (False, {}),
        (False, {"destroy": True}),
        (True, {"destroy": True}),
        (True, {"destroy": True, "purge": True}),
    ],
)
@pytest.mark.parametrize(
    ("there", "said"),
    [
        (BY_HAND, "has no readable marker, so it is not deleted"),
        (ANOTHER_STACKS, "belongs to stack `wx`"),
        (ANOTHER_LINEAGES, "belongs to another manifest"),
        (_NEVER, "belongs to another manifest"),
    ],
    ids=["made anew by hand", "another stack's", "another lineage's", "another lineage's, never registered"],
)
def test_directory_that_no_other_endpoint_of_ours_has_is_not_lost(
    there: LiveDirectory, said: str, declared: bool, scope: dict[str, bool]
) -> None:
    scene = leaves(there).wants(KEPT, LEAVING) if declared else leaves(there)
    scene = scene.locks("old", id=None) if there is _NEVER else scene
    plan = scene.plan(**scope)
    assert [(r.endpoint, r.exit_code) for r in plan.refusals] == [("old", 4)]
    assert said in plan.refusals[0].what
    assert {a.endpoint for a in plan.actions} <= {"kept"}
    assert "old" not in plan.deletes


def others(what: str) -> Scene:
    """Return a scene in which just one thing shows that what is in the directory of `old`, which left, is of `new`."""
    scene, new = taken(), endpoint("new", directory="old")
    lock = scene.known.lock
    assert lock is not None
    if what == "marker":
        return scene.locks("new", id=None).has(applied(KEPT), applied(new, registered=False, running=False))
    scene = scene.has(applied(KEPT), replace(applied(new, running=False), marker=None))
    if what == "UUID in the lock":
        return scene
    if what == "UUID in a block":
        new = replace(new, id=uuid("new"))
    elif what == "unmanaged":
        new = replace(new, state="unmanaged")
    return scene.knows(lock=lock.without_endpoint("new")).wants(KEPT, new)


@pytest.mark.parametrize("what", ["marker", "UUID in the lock", "UUID in a block", "unmanaged"])
def test_directory_is_anothers_when_one_thing_shows_it(what: str) -> None:
    assert ("old", "Forget") in kinds(others(what))


def test_directory_that_another_block_only_wishes_for_is_not_anothers() -> None:
    scene = others("nothing")
    assert [r.endpoint for r in scene.plan().refusals] == ["new"]
    assert kinds(scene) == []
    assert [r.endpoint for r in scene.plan(destroy=True, purge=True).refusals] == ["old"]


def test_unmarked_directory_of_what_has_no_uuid_on_record_may_be_its_own() -> None:
    assert kinds(others("unmanaged").locks("old", id=None)) == []


def test_unmanaged_directory_that_another_stack_has_marked_is_anothers() -> None:
    there = marked(applied(endpoint("new", directory="old"), registered=False, running=False), stack="wx")
    assert kinds(others("unmanaged").has(applied(KEPT), there)) == [("old", "Forget")]


def test_directory_of_its_own_block_is_not_anothers() -> None:
    scene = leaves(BY_HAND).wants(KEPT, endpoint("new", directory="old", id=uuid("made anew")))
    scene = scene.wants(*scene.desired.endpoints.values(), moved=(Moved("old", "new"),))
    assert [r.endpoint for r in scene.plan(destroy=True, purge=True).refusals] == ["old"]


@pytest.mark.parametrize("change", [{}, {"marker": None}, {"endpoint_id": None}], ids=["", "unmarked", "no UUID"])
def test_directory_that_was_moved_by_hand_to_make_room_is_not_lost(change: dict[str, None]) -> None:
    scene = taken().sees(statuses={uuid("old"): "offline"})
    moved = replace(applied(LEAVING, running=False), name="elsewhere", **change)
    plan = scene.has(*scene.live.directories.values(), moved).plan()
    assert (plan.actions, plan.refusals) == ((), ())


def test_directory_lost_to_another_endpoint_while_it_is_online_elsewhere() -> None:
    (refusal,) = taken().sees(statuses={uuid("old"): "online"}).plan().refusals
    assert refusal.what == (
        "its directory old is another's by now, but 00000000-0000-4000-8000-6f6c64000000 is online: it runs elsewhere,"
        " or is about to end here"
    )


def test_destroy_when_a_directory_was_lost_to_another_endpoint() -> None:
    ends = [("kept", "Stop"), ("kept", "Delete"), ("new", "Stop"), ("new", "Delete")]
    assert kinds(taken(), destroy=True) == [*ends, ("old", "Forget")]
    found = [(a.kind, a.id) for a in taken().plan(destroy=True, purge=True).actions if isinstance(a, Purge)]
    assert found == [("Purge", uuid(name)) for name in ("kept", "new", "old")]


def test_endpoints_of_other_hosts_are_left_alone() -> None:
    scene = leaves().locks("old", claim={"host": "hera"}).wants(KEPT, elsewhere={"old": "hera"})
    assert scene.plan().is_empty
    assert scene.plan(destroy=True).deletes == ("kept",)
    assert "old" not in [name for name, _ in kinds(scene, destroy=True)]


@pytest.mark.parametrize("claim", [{"host": "hera"}, {"config_dir": "~/other"}])
def test_entries_of_other_hosts_are_left_alone_when_they_left_the_manifest(claim: dict[str, str]) -> None:
    marker = applied(LEAVING).marker
    assert isinstance(marker, Marker)
    directory = marked(applied(LEAVING), claim=marker.claim.model_copy(update=claim))
    scene = leaves(directory).locks("old", claim=claim)
    assert scene.plan().is_empty
    assert not scene.plan().refusals
    assert scene.plan(destroy=True).deletes == ("kept",)


@pytest.mark.parametrize("changes", [{"stack": "rrfs"}, {"lineage": "07e4"}])
def test_what_is_not_ours_is_not_deleted(changes: dict[str, str]) -> None:
    scene = leaves(marked(applied(LEAVING), **changes))
    assert [r.endpoint for r in scene.plan().refusals] == ["old"]
    assert not scene.plan().actions


def test_directory_without_marker_is_not_deleted() -> None:
    scene = leaves(replace(applied(LEAVING), marker=None))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          old: refused: /home/jdoe/.globus_compute/old has no readable marker, so it is not deleted
              next: run `chiltepin forget old` to let go of it, or delete it by hand

        Plan: 1 refused.
        """,
    )


def test_uuids_that_disagree_are_not_deleted() -> None:
    scene = leaves(replace(applied(LEAVING), endpoint_id=uuid("stranger")))
    assert [r.endpoint for r in scene.plan().refusals] == ["old"]
    assert not scene.plan().actions


@pytest.mark.parametrize(
    "directory",
    [
        replace(applied(LEAVING), processes=(process(1, "old"), process(2, "old"))),
    ],
    ids=["doubled"],
)
def test_daemons_out_of_reach_are_not_deleted(directory: LiveDirectory) -> None:
    scene = leaves(directory)
    assert [r.endpoint for r in scene.plan().refusals] == ["old"]
    assert not scene.plan().actions


ELSEWHERE = marked(
    replace(applied(LEAVING), processes=(), pid_file=PidFile(7, 3.0)), daemon=record("", pid=7, host="ufe02")
)


def test_one_that_runs_on_another_node_is_stopped_there_and_then_deleted() -> None:
    assert kinds(leaves(ELSEWHERE)) == [("old", "Stop"), ("old", "Delete")]
    stop = leaves(ELSEWHERE).plan().actions[0]
    assert isinstance(stop, StopElsewhere)
    assert (stop.node, stop.id, stop.pid_file) == ("ufe02", uuid("old"), PidFile(7, 3.0))
    assert Idle() in stop.preconditions


@pytest.mark.parametrize("statuses", [{}, {uuid("old"): Unknown("timeout")}])
@pytest.mark.parametrize("age", [3.0, 50.0, 500.0])
def test_one_that_may_run_on_another_node_is_not_deleted_without_the_services_word(
    statuses: dict[str, Unknown], age: float
) -> None:
    directory = replace(ELSEWHERE, pid_file=PidFile(7, age))
    scene = leaves(directory).sees(registrations=Unknown("timeout"), statuses=statuses)
    plan = scene.plan()
    assert not plan.actions
    assert [(r.endpoint, r.exit_code) for r in plan.refusals] == [("old", 69)]


def test_removed_while_the_service_is_unreachable() -> None:
    """Nothing is registered or deregistered: the directory can go to the trash."""
    assert kinds(leaves().sees(registrations=Unknown("timeout"))) == [("old", "Stop"), ("old", "Delete")]


def test_unmanaged_block_removed() -> None:
    """It was never ours: the lock forgets it, the directory stays."""
    scene = settled(KEPT, endpoint("old", state="unmanaged"))
    scene = scene.has(applied(KEPT), replace(applied(LEAVING), marker=None)).wants(KEPT)
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          old: removed from the manifest
            - forget 00000000-0000-4000-8000-6f6c64000000 (what is left of it stays as it is)

          ~ write the lockfile (resolved state changed)

        Plan: 1 to forget.
        """,
    )


def test_unmanaged_block_removed_whose_marker_is_still_there() -> None:
    """It was ours until its block said `unmanaged`: it is let go of, and neither stopped nor deleted."""
    scene = settled(KEPT, LEAVING).locks("old", state="unmanaged").wants(KEPT)
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          old: removed from the manifest
            - forget 00000000-0000-4000-8000-6f6c64000000 (directory, daemon and registration stay as they are)
                removes /home/jdoe/.globus_compute/old/.chiltepin.json

          ~ write the lockfile (resolved state changed)

        Plan: 1 to forget.
        """,
    )


# --- consent


def test_deletes_need_consent() -> None:
    allowed = consented(leaves().wants(endpoint("kept", config={})).plan(), Consent())
    plan, why = allowed.plan, allowed.left
    assert why == "1 to delete, not done without --allow-delete: old"
    assert [a.endpoint for a in plan.actions] == ["kept", "kept"]


def test_more_deletes_than_the_cap_are_none() -> None:
    plan = settled(KEPT, LEAVING, endpoint("older")).wants(KEPT).plan()
    allowed = consented(plan, Consent(deletes=True, max_deletes=1))
    limited, why = allowed.plan, allowed.left
    assert why == "2 to delete, more than --max-deletes 1 allows, so none is: old, older"
    assert not limited.actions
    assert consented(plan, Consent(deletes=True, max_deletes=2)) == Allowed(plan)


def test_nothing_is_deleted_while_what_may_take_its_place_is_refused() -> None:
    scene = leaves().wants(KEPT, endpoint("new"))
    plan = scene.has(applied(KEPT), applied(LEAVING), replace(applied(endpoint("new")), marker=None)).plan()
    assert plan.refused == ("new",)
    allowed = consented(plan, Consent(deletes=True))
    assert allowed.left == "1 to delete, not done before all else is well: old"
    assert not allowed.plan.deletes
    beside = scene.plan(exclude=["new"])
    assert consented(beside, Consent(deletes=True)) == Allowed(beside)
    assert beside.deletes == ("old",)


def test_what_holds_deletes_back_is_named_as_a_shell_takes_it() -> None:
    odd = endpoint("a;b&$c")
    there = replace(applied(odd, running=False), marker=None)
    plan = leaves().wants(KEPT, odd).has(applied(KEPT), applied(LEAVING), there).plan()
    assert plan.refused == ("a;b&$c",)
    assert remedy_for_refused(plan, is_kept=True).endswith("make one with --exclude 'a;b&$c'")


@pytest.mark.parametrize("leaving", [KEPT, LEAVING], ids=["nothing else leaves", "another leaves"])
def test_no_retention_ends_while_a_declared_endpoint_is_refused(leaving: DesiredEndpoint) -> None:
    scene = settled(*{e.name: e for e in (KEPT, leaving)}.values()).sees(trash=(trashed(endpoint("older")),))
    there = replace(applied(endpoint("new")), marker=None)
    scene = scene.sees(directories={**scene.live.directories, "new": there})
    scene = scene.wants(KEPT, endpoint("new"), trash=Trash(keep=0)).owns(*map(registration, ("kept", "old", "older")))
    assert (len(scene.plan().expiries), scene.plan().refused) == (1, ("new",))
    allowed = consented(scene.plan(), Consent(deletes=True, max_deletes=9))
    assert (allowed.plan.expiries, allowed.plan.deletes) == ((), ())
    assert (allowed.left is None) == (leaving == KEPT), "that a retention waits is no refusal"
    assert len(consented(scene.plan(exclude=["new"]), Consent(deletes=True, max_deletes=9)).plan.expiries) == 1


def test_what_cannot_be_decided_without_the_service_holds_no_deletes_back() -> None:
    plan = leaves().wants(KEPT, endpoint("new")).sees(registrations=Unknown("no answer")).plan()
    assert [blocked.endpoint for blocked in plan.blocked] == ["new"]
    assert consented(plan, Consent(deletes=True)).plan.deletes == ("old",)


def test_plan_without_deletes_needs_no_consent() -> None:
    plan = settled(KEPT).wants(endpoint("kept", config={})).plan()
    assert consented(plan, Consent()) == Allowed(plan)


# --- destroy


def test_destroy() -> None:
    says(
        settled(KEPT, endpoint("spare", state="stopped"), pools=(pool("mpi", "kept"),)).text(destroy=True),
        """
        Plan for stack hrrr on ufe01:

          kept: destroy
            # stop (PID 100)
            - delete directory kept (to the trash)
                its registration 00000000-0000-4000-8000-6b6570740000 stays

          spare: destroy
            - delete directory spare (to the trash)
                its registration 00000000-0000-4000-8000-737061726500 stays

          ~ write the lockfile (resolved state changed)
              - pool mpi
          ~ write the pools file (resolved state changed)

        Plan: 1 to stop, 2 to delete, 1 pool to remove.
        """,
    )


def test_destroy_purge_with_trash() -> None:
    foreign = replace(trashed(endpoint("x")), marker=None)
    scene = settled(KEPT).sees(trash=(trashed(endpoint("older")), foreign))
    scene = scene.owns(registration("kept"), registration("older"))
    says(
        scene.text(destroy=True, purge=True),
        """
        Plan for stack hrrr on ufe01:

          kept: destroy
            # stop (PID 100)
            - delete directory kept (to the trash)
            - deregister 00000000-0000-4000-8000-6b6570740000 for ever

          older: destroy
            - deregister 00000000-0000-4000-8000-6f6c64657200 for ever, drop older~1 from the trash

          ~ write the lockfile (resolved state changed)

        Plan: 1 to stop, 1 to delete, 2 to purge.
        """,
    )


def test_destroy_purge_without_the_service_keeps_the_registrations() -> None:
    scene = settled(KEPT).sees(trash=(trashed(endpoint("older")),), registrations=Unknown("timeout"))
    says(
        scene.text(destroy=True, purge=True),
        """
        Plan for stack hrrr on ufe01:

          kept: destroy
            # stop (PID 100)
            - delete directory kept (to the trash)
                its registration 00000000-0000-4000-8000-6b6570740000 stays

          ~ write the lockfile (resolved state changed)

          kept: its registration is kept: the service could not be reached
          older: its registration is kept: the service could not be reached

        Plan: 1 to stop, 1 to delete.
        """,
    )


def test_destroy_of_a_lost_directory() -> None:
    scene = lost(settled(KEPT), kept="offline")
    assert kinds(scene, destroy=True) == [("kept", "Forget")]
    assert kinds(scene, destroy=True, purge=True) == [("kept", "Purge")]


def test_destroy_purge_does_not_deregister_what_is_online_elsewhere() -> None:
    plan = lost(settled(KEPT), kept="online").plan(destroy=True, purge=True)
    assert [r.endpoint for r in plan.refusals] == ["kept"]
    assert not plan.actions


def test_destroy_leaves_unmanaged_endpoints_alone() -> None:
    scene = settled(KEPT, endpoint("spare")).wants(KEPT, endpoint("spare", state="unmanaged"))
    assert scene.plan(destroy=True).deletes == ("kept",)
    scene = settled(KEPT, endpoint("spare", state="unmanaged")).wants(KEPT)
    assert scene.plan(destroy=True).deletes == ("kept",)


def test_destroy_leaves_the_directory_of_what_is_unmanaged_whatever_its_marker_calls_it() -> None:
    scene = settled(KEPT, LEAVING).wants(KEPT, endpoint("new", directory="old", state="unmanaged"))
    assert scene.plan(destroy=True).deletes == ("kept",)


def test_destroy_within_a_scope() -> None:
    scene = settled(KEPT, LEAVING)
    assert scene.plan(destroy=True, targets=["old"]).deletes == ("old",)
    assert scene.plan(destroy=True, exclude=["old"]).deletes == ("kept",)


def test_destroy_where_nothing_ever_was() -> None:
    scene = settled(KEPT)
    assert replace(scene, pools_text=None).has().owns().knows(lock=None).plan(destroy=True).is_empty


def test_destroy_twice() -> None:
    scene = settled(KEPT)
    lock = scene.known.lock
    assert lock is not None
    after = replace(scene, desired=desired(KEPT)).has().knows(lock=lock.without_endpoint("kept"))
    assert after.plan(destroy=True).is_empty


def purged(item: TrashEntry, **scene: object) -> Purge:
    """Return the one Purge of a destroy --purge with `item` in the trash and only a protected endpoint left."""
    protected = settled(endpoint("kept", protect=True)).sees(trash=(item,), **scene)
    (action,) = protected.plan(destroy=True, purge=True).actions
    assert isinstance(action, Purge)
    return action


def test_purge_of_the_trash_does_not_deregister_what_is_in_use_again() -> None:
    """An endpoint was deleted, and brought back by its id: its UUID is in the trash as well."""
    marker = applied(KEPT).marker
    assert isinstance(marker, Marker)
    item = replace(trashed(endpoint("other")), marker=marker, directory=None)
    assert purged(item).id is None
    owned = {r.id: r for r in (registration("kept"), registration("other"))}
    assert purged(trashed(endpoint("other")), registrations=owned).id == uuid("other")


def test_stale_intents_do_not_change_what_leaves() -> None:
    scene = leaves().sees(pending={"old": intent("old")}).owns(registration("kept"), registration("old"))
    assert kinds(scene) == [("old", "Stop"), ("old", "Delete")]


def test_purge_spares_the_trash_of_endpoints_that_are_not_targets() -> None:
    scene = settled(endpoint("a")).sees(trash=(trashed(endpoint("b")),))
    actions = scene.plan(destroy=True, purge=True, targets=frozenset({"a"})).actions
    assert {action.endpoint for action in actions} == {"a"}


def test_what_may_be_a_rename_is_said() -> None:
    scene = settled(endpoint("old")).wants(endpoint("new"))
    keeps = "`moved: [{from: old, to: new}]` keeps its UUID"
    assert [n.text for n in scene.plan().notes] == [f"if new is old with another name, {keeps}"]
    two = settled(endpoint("old")).wants(endpoint("new"), endpoint("newer"))
    said = "if one of new, newer is one of old with another name, `moved: [{from: OLD, to: NEW}]` keeps its UUID"
    assert [n.text for n in two.plan().notes] == [said]


@pytest.mark.parametrize("what", ["protected", "lost"])
def test_what_may_be_a_rename_is_said_whatever_is_done_about_the_old_one(what: str) -> None:
    scene = settled(endpoint("on", protect=what == "protected")).wants(endpoint("new"))
    if what == "lost":
        scene = scene.has()
    said = 'if new is on with another name, `moved: [{from: "on", to: new}]` keeps its UUID'
    assert said in [n.text for n in scene.plan().notes]
    assert said not in [n.text for n in scene.knows(new=frozenset({"new"})).plan().notes]


def test_what_is_only_new_or_only_removed_is_no_rename() -> None:
    assert not settled(endpoint("old")).wants(endpoint("old"), endpoint("new")).plan().notes
    assert not settled(endpoint("old"), endpoint("kept")).wants(endpoint("kept")).plan().notes
    assert not settled(endpoint("old")).wants(endpoint("new")).plan(destroy=True).notes
