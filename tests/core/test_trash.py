"""What is shown of the trash: endpoints that come back, that end for ever, and what status says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.cli.status_table import size_text, trash_lines
from reconciler.core.actions import Undelete
from reconciler.core.consent import Allowed, Consent, consented, waiting
from reconciler.core.desired import DesiredEndpoint, Moved, Trash
from reconciler.core.lines import as_text
from reconciler.core.live import Damaged, TrashEntry, Unknown
from reconciler.core.outputs import plan_output
from reconciler.core.progress import lock_after
from reconciler.core.scope import Errand
from reconciler.core.statuses import TrashRow, trash_rows
from reconciler.core.undeletion import bring_back
from tests.core.builders import Scene, applied, endpoint, live_file, registration, says, settled, trashed, uuid

KEPT, OLD = endpoint("kept"), endpoint("old")


def scene(*items: TrashEntry, **desired: object) -> Scene:
    """Return a scene in which `old` was deleted, and has its registration."""
    found = settled(KEPT).owns(registration("kept"), registration("old"))
    found = found.sees(trash=items or (trashed(OLD),), login_path="/usr/bin:/bin")
    return found.wants(KEPT, **desired) if desired else found


def test_a_block_that_is_declared_again() -> None:
    says(
        scene().wants(KEPT, endpoint("old", config={"debug": False})).text(),
        """
        Plan for stack hrrr on ufe01:

          old: declared again, spec changed, not running
            + bring back directory old with its UUID 00000000-0000-4000-8000-6f6c64000000 from the trash (old~1)
                for another UUID instead: `chiltepin apply --new old`
            ~ write config.yaml
                ~ debug: true -> false
            > start

          ~ write the lockfile (resolved state changed)

        Plan: 1 to bring back, 1 to change, 1 to start.
        """,
    )


# --- declared again under another name

NEW = endpoint("new")
MOVED = (Moved("old", "new"),)


def renamed_meanwhile(*items: TrashEntry, wanted: DesiredEndpoint = NEW, moved: tuple[Moved, ...] = MOVED) -> Scene:
    return scene(*items).wants(KEPT, wanted, moved=moved)


def test_a_block_that_is_declared_again_under_another_name() -> None:
    says(
        renamed_meanwhile().text(),
        """
        Plan for stack hrrr on ufe01:

          new: declared again, renamed, not running
            + bring back directory old with its UUID 00000000-0000-4000-8000-6f6c64000000 from the trash (old~1)
                for another UUID instead: `chiltepin apply --new new`
            => old has moved to new, its directory from old to new
                its UUID 00000000-0000-4000-8000-6f6c64000000 stays
            > start

          ~ write the lockfile (resolved state changed)

        Plan: 1 to rename, 1 to bring back, 1 to start.
        """,
    )


def test_in_the_directory_that_it_had() -> None:
    plan = renamed_meanwhile(wanted=endpoint("new", directory="old")).plan()
    assert [(a.kind, a.directory) for a in plan.actions] == [("Undelete", "old"), ("Rename", "old"), ("Start", "old")]
    assert {name: entry.id for name, entry in plan.entries.items()} == {"kept": uuid("kept"), "new": uuid("old")}


def test_by_way_of_several_names() -> None:
    scene = renamed_meanwhile(moved=(Moved("older", "old"), *MOVED))
    assert [a.kind for a in scene.plan().actions] == ["Undelete", "Rename", "Start"]
    scene = renamed_meanwhile(moved=(Moved("old", "between"), Moved("between", "new")))
    assert [a.kind for a in scene.plan().actions] == ["Undelete", "Rename", "Start"]


def test_what_was_deleted_under_the_present_name_goes_before() -> None:
    scene = renamed_meanwhile(trashed(OLD), trashed(NEW, 2)).owns(
        registration("kept"), registration("old"), registration("new")
    )
    undelete, start = scene.plan().actions
    assert isinstance(undelete, Undelete)
    assert (undelete.id, start.kind) == (uuid("new"), "Start")


def test_another_uuid_by_consent() -> None:
    assert [a.kind for a in renamed_meanwhile().knows(new=frozenset({"new"})).plan().actions] == ["Create", "Start"]


def test_a_registration_that_is_gone_cannot_come_back() -> None:
    gone = renamed_meanwhile().owns(registration("kept"))
    assert [a.kind for a in gone.plan().actions] == ["Create", "Start"]


def test_it_stays_in_the_trash_while_the_service_is_silent() -> None:
    plan = renamed_meanwhile().sees(registrations=Unknown("no answer")).plan()
    assert (plan.actions, [b.endpoint for b in plan.blocked]) == ((), ["new"])


def test_several_former_names_with_different_uuids() -> None:
    items = (trashed(OLD), trashed(endpoint("older"), 2))
    scene = renamed_meanwhile(*items, moved=(Moved("older", "old"), *MOVED))
    scene = scene.owns(registration("kept"), registration("old"), registration("older"))
    (refusal,) = scene.plan().refusals
    assert refusal.what == "several that `new` was called are in the trash, with different UUIDs"
    assert refusal.remedy.startswith("bring one back: `chiltepin undelete old`; or ")
    assert len(refusal.evidence) == 2


@pytest.mark.parametrize(
    ("changes", "what", "remedy"),
    [
        (
            {"statuses": {uuid("old"): "online"}},
            "as old, which it was called: it was deleted here, but",
            "stop it there",
        ),
        (
            {"directories": {"old": applied(endpoint("kept")), "kept": applied(KEPT)}},
            "where it was, exists",
            "move that away",
        ),
    ],
    ids=["online", "its place is taken"],
)
def test_it_is_not_registered_anew_for_what_stands_against_it(
    changes: dict[str, object], what: str, remedy: str
) -> None:
    plan = renamed_meanwhile().sees(**changes).plan()
    (refusal,) = plan.refusals
    assert (refusal.endpoint, what in refusal.what, remedy in refusal.remedy) == ("new", True, True)
    assert "`chiltepin apply --new new`" in refusal.remedy
    assert plan.actions == ()


def test_several_entries_of_the_former_name() -> None:
    items = (trashed(endpoint("old", id=uuid("other")), 1), trashed(OLD, 2))
    scene = renamed_meanwhile(*items).owns(registration("kept"), registration("old"), registration("o", uuid("other")))
    (refusal,) = scene.plan().refusals
    assert "`chiltepin undelete old --entry ENTRY`; or register another: `chiltepin apply --new new`" in refusal.remedy


def test_the_retention_does_not_end_what_comes_back_under_another_name() -> None:
    scene = scene_with_retention().sees(statuses={uuid("old"): "online"})
    assert "Purge" not in [a.kind for a in scene.plan().actions]
    assert "Purge" not in [a.kind for a in scene_with_retention().plan().actions]


def scene_with_retention() -> Scene:
    return scene(trashed(OLD, age=3 * 86_400.0)).wants(KEPT, NEW, moved=MOVED, trash=Trash(keep=86_400))


def test_undelete_of_what_is_to_be_renamed_says_what_comes_next() -> None:
    text = renamed_meanwhile().text(errand=Errand("undelete", ("old",)))
    assert "`chiltepin apply` renames it to new, as `moved` says" in text


def test_undelete_of_what_is_not_declared() -> None:
    says(
        scene().text(errand=Errand("undelete", ("old",))),
        """
        Plan for stack hrrr on ufe01:

          old: asked for
            + bring back directory old with its UUID 00000000-0000-4000-8000-6f6c64000000 from the trash (old~1)

          ~ write the lockfile (resolved state changed)

          old: the manifest does not declare it: put its block back before the next apply, which would delete it again

        Plan: 1 to bring back.
        """,
    )


def test_purge() -> None:
    says(
        scene().text(errand=Errand("purge", ("old",))),
        """
        Plan for stack hrrr on ufe01:

          old: asked for
            - deregister 00000000-0000-4000-8000-6f6c64000000 for ever, drop old~1 from the trash

        Plan: 1 to purge.
        """,
    )


def test_purge_of_what_is_gone_at_the_service() -> None:
    says(
        scene().owns(registration("kept")).text(errand=Errand("purge", ("old",))),
        """
        Plan for stack hrrr on ufe01:

          old: asked for
            - drop old~1 from the trash (no registration ends)
                its registration 00000000-0000-4000-8000-6f6c64000000 is gone already

        Plan: 1 to purge.
        """,
    )


def test_the_retention_beside_other_changes_of_the_same_name() -> None:
    older = trashed(endpoint("old"))
    assert older.marker is not None
    older = replace(older, marker=older.marker.but(id=uuid("older")), directory=None)
    again = settled(OLD).owns(registration("old"), registration("old", uuid("older"))).sees(trash=(older,))
    again = again.wants(endpoint("old", config={"debug": False}), trash=Trash(keep=10))
    says(
        again.text(),
        """
        Plan for stack hrrr on ufe01:

          old: spec changed
            ~ write config.yaml
                ~ debug: true -> false
            ! restart (PID 100)
                config.yaml is not the one it started with

          old: retention ended
            - deregister 00000000-0000-4000-8000-6f6c64657200 for ever, drop old~1 from the trash

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change, 1 to restart, 1 to purge.
        """,
    )
    plan = again.plan()
    allowed = consented(plan, Consent())
    limited, left = allowed.plan, allowed.left
    assert left is None
    assert [a.kind for a in limited.actions] == ["WriteFile", "Restart"]
    assert [p.trash_entry for p in waiting(plan, limited)] == ["old~1"]
    assert consented(plan, Consent(deletes=True)) == Allowed(plan)


def test_what_is_dropped_from_the_trash_is_named_in_the_plan() -> None:
    (action,) = plan_output(scene().plan(errand=Errand("purge", ("old",)))).actions
    assert "old~1" in action.description


def test_a_purge_from_the_trash_leaves_the_lock_entry_of_a_namesake() -> None:
    lock = settled(OLD).known.lock
    assert lock is not None
    (purge,) = scene().plan(errand=Errand("purge", ("old",))).actions
    same = lock_after(lock, purge, None, None)
    assert "old" not in same.endpoints  # the very UUID that ended
    other = lock.with_endpoint("old", lock.endpoints["old"].model_copy(update={"id": None}))
    assert lock_after(other, purge, None, None) == other


def test_what_cannot_be_read_in_the_trash_is_not_brought_back() -> None:
    item = trashed(OLD)
    assert item.directory is not None
    broken = replace(item, directory=replace(item.directory, endpoint_id=Damaged("cut short"), kind="unreadable"))
    plan = scene(broken).wants(KEPT, OLD).plan()
    assert [(r.endpoint, "cannot be used" in r.what) for r in plan.refusals] == [("old", True)]
    assert not plan.actions


def test_uuids_that_disagree_in_the_trash_are_not_brought_back() -> None:
    item = trashed(OLD)
    assert item.directory is not None
    wrong = replace(item, directory=replace(item.directory, endpoint_id=uuid("kept2")))
    plan = scene(wrong).owns(registration("kept"), registration("old", uuid("kept2"))).wants(KEPT, OLD).plan()
    assert [r.what for r in plan.refusals] == ["its UUID is not the same everywhere"]


def test_a_uuid_that_another_endpoint_has_taken_is_not_brought_back() -> None:
    taken = scene().locks("kept", id=uuid("old"))
    assert bring_back(OLD, taken.live, taken.known) is None
    (refusal,) = taken.plan(errand=Errand("undelete", ("old",))).refusals
    assert "is taken: by endpoint kept in the lock" in refusal.what


def test_the_declared_id_decides_which_one_comes_back() -> None:
    again = scene().wants(KEPT, endpoint("old", id=uuid("other"))).owns(registration("old", uuid("other")))
    assert "Undelete" not in [a.kind for a in again.plan().actions]
    again = scene().wants(KEPT, endpoint("old", id=uuid("old")))
    assert [a.kind for a in again.plan().actions] == ["Undelete", "Start"]


def test_a_restored_endpoint_is_locked_without_digests_of_secrets() -> None:
    item = trashed(OLD)
    assert item.directory is not None
    files = {**item.directory.files, "user_environment.yaml": live_file(b"TOKEN: s3cret\n")}
    plans = [
        scene(replace(item, directory=replace(item.directory, files=f))).plan(errand=Errand("undelete", ("old",)))
        for f in (files, item.directory.files)
    ]
    assert plans[0].entries == plans[1].entries


def test_status_lists_what_is_in_the_trash() -> None:
    items = (
        trashed(endpoint("a"), age=20.0, size=1_500_000),
        trashed(OLD, age=3 * 86_400.0 + 7_200, size=700),
        trashed(endpoint("b"), age=None),
        trashed(endpoint("c"), age=-5.0),
        replace(trashed(endpoint("x")), marker=None, directory=None),
    )
    found = scene(*items, trash=Trash(keep=86_400))
    rows = trash_rows(found.desired, found.live, found.known)
    assert rows[1] == TrashRow("old", "old~1", uuid("old"), 3 * 86_400.0 + 7_200, 700, expired=True, ours=True)
    undated = "since when is not known"
    assert as_text(trash_lines(rows)).splitlines()[1:] == [
        f"4 in the trash: a (20s, 1.5 MB), old (3d 2h, 700 B, retention ended), b ({undated}), c ({undated})",
        "  back with its UUID: `chiltepin undelete c`; for ever gone: `chiltepin purge c`",
    ]
    foreign = trash_rows(found.desired, found.live, replace(found.known, lineage="other"))
    assert not any(row.ours or row.expired for row in foreign)


def test_sizes() -> None:
    assert [size_text(n) for n in (0, 999, 1_000, 12_345, 2 * 10**9)] == ["0 B", "999 B", "1.0 KB", "12 KB", "2.0 GB"]
