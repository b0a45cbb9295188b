"""Deleted endpoints over fakes: they come back with their UUID, or end for ever; cut off anywhere and run again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler import by_hand
from reconciler.core.actions import DELETING, EndpointAction
from reconciler.core.consent import Consent
from reconciler.core.desired import CONFIG, DesiredEndpoint, Moved, Trash
from reconciler.core.elsewhere import MISSED_WITHIN
from reconciler.core.lock import emit_lock
from reconciler.core.marker import Marker
from reconciler.core.scope import Errand
from reconciler.errors import EndpointCommandError, ExitCode, FileSystemError, ServiceUnreachable, UsageError
from tests.core.builders import SCHEMA, TEMPLATE, desired, endpoint, pool
from tests.fakes import FakeClock
from tests.lab import YES, Lab, Result

MPI = (pool("mpi"),)
BOTH = pytest.mark.parametrize("starts_go_on", [False, True])
DAY = 86_400.0
ONE = Consent(deletes=True, max_deletes=1)


def errand(kind: Any, name: str = "old", **how: Any) -> dict[str, Any]:
    return {"errand": Errand(kind, (name,), **how)}


def deleted(*names: str) -> tuple[Lab, dict[str, str | None]]:
    """Return a lab in which `main` runs and these endpoints were deleted, with their UUIDs."""
    names = names or ("old",)
    lab = Lab(desired(endpoint(), *(endpoint(name) for name in names), pools=MPI))
    assert lab.apply().code == ExitCode.OK
    uuids = dict(lab.ids())
    for name in names:  # one after the other, so that their ages differ
        left = [e for e in lab.desired.endpoints.values() if e.name != name]
        lab.wants(*left)
        assert lab.apply(YES).code == ExitCode.OK
        lab.world.now += DAY
    return lab, uuids


def keeps(lab: Lab, keep: float | None = None, max_bytes: int | None = None) -> None:
    """Write the trash's retention into the manifest."""
    lab.desired = replace(lab.desired, trash=Trash(int(keep) if keep is not None else None, max_bytes))


def in_trash(lab: Lab) -> list[str]:
    """Return the names of the endpoints in the trash."""
    return sorted(f.marker.endpoint for f in lab.world.trash.values() if isinstance(f.marker, Marker))


def refused(result: Result, *words: str) -> None:
    """Check that it was refused with these words, and that nothing was done."""
    assert result.code == ExitCode.REFUSED
    assert result.run.outcomes == ()
    said = " ".join(f"{r.what} {r.remedy} {' '.join(r.evidence)}" for r in result.sight.plan.refusals)
    for word in words:
        assert word in said


# --- undelete


def test_undelete_brings_back_directory_marker_and_lock_and_starts_nothing() -> None:
    lab, uuids = deleted()
    files = dict(next(iter(lab.world.trash.values())).files)
    result = lab.apply(**errand("undelete"))
    assert result.code == ExitCode.OK
    assert (lab.world.trash, lab.world.daemons_of("old")) == ({}, [])
    assert lab.world.folders["old"].files == files
    assert lab.ids() == uuids
    assert any("would delete it again" in note.text for note in result.sight.plan.notes)


def test_an_undeleted_endpoint_that_is_not_declared_is_planned_to_be_deleted_again() -> None:
    lab, _ = deleted()
    lab.apply(**errand("undelete"))
    assert lab.sight().plan.deletes == ("old",)
    assert lab.apply().code == ExitCode.REFUSED  # nothing is deleted without consent
    assert "old" in lab.world.folders


def test_an_undeleted_endpoint_whose_block_is_back_is_started_with_its_uuid() -> None:
    lab, uuids = deleted()
    lab.apply(**errand("undelete"))
    lab.wants(endpoint(), endpoint("old"))
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == uuids


def test_an_undelete_may_come_after_the_block_too() -> None:
    lab, uuids = deleted()
    lab.wants(endpoint(), endpoint("old"))
    assert lab.apply(**errand("undelete")).code == ExitCode.OK
    assert lab.world.daemons_of("old") == []
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == uuids


def test_undelete_twice_says_that_it_is_there() -> None:
    lab, _ = deleted()
    lab.apply(**errand("undelete"))
    before = lab.snapshot()
    result = lab.apply(**errand("undelete"))
    assert result.code == ExitCode.OK
    assert "it is not in the trash" in result.sight.plan.notes[0].text
    assert lab.snapshot() == before


@BOTH
@pytest.mark.parametrize("declared", [False, True])
def test_undelete_that_is_killed_anywhere_is_finished_by_the_same_command(declared: bool, starts_go_on: bool) -> None:
    at = 0
    while True:
        at += 1
        lab, uuids = deleted()
        if declared:
            lab.wants(endpoint(), endpoint("old"))
        crashed = lab.crash(at, starts_go_on=starts_go_on, **errand("undelete"))
        assert lab.apply(**errand("undelete")).code == ExitCode.OK
        assert (lab.world.trash, lab.world.going) == ({}, [])
        assert lab.ids() == uuids
        lab.wants(endpoint(), endpoint("old"))
        assert lab.apply().code == ExitCode.OK
        lab.assert_converged()
        assert lab.ids() == uuids
        assert set(lab.world.registrations) == set(uuids.values())
        assert lab.world.outside.store.unfinished() == ()
        if not crashed:
            assert at > 4
            return


def test_undelete_of_a_name_that_nothing_knows() -> None:
    lab, _ = deleted()
    with pytest.raises(UsageError, match="odl: no such endpoint"):
        lab.apply(**errand("undelete", "odl"))


def test_undelete_of_what_is_not_in_the_trash() -> None:
    lab, _ = deleted()
    lab.wants(endpoint(), endpoint("new"))
    refused(lab.apply(**errand("undelete", "new")), "it is not in the trash")


def test_undelete_never_replaces_a_directory() -> None:
    lab, _ = deleted()
    lab.wants(endpoint(), endpoint("old"))
    assert lab.apply(new=frozenset({"old"})).code == ExitCode.OK
    files, entry = dict(lab.world.folders["old"].files), next(iter(lab.world.trash))
    refused(lab.apply(**errand("undelete")), "/old exists", "`chiltepin purge old`", entry)
    assert lab.world.folders["old"].files == files


def test_undelete_when_the_registration_is_gone() -> None:
    lab, uuids = deleted()
    del lab.world.registrations[str(uuids["old"])]
    refused(lab.apply(**errand("undelete")), f"its registration {uuids['old']} is gone", "`chiltepin purge old`")
    assert in_trash(lab) == ["old"]


def test_undelete_without_the_service() -> None:
    lab, _ = deleted()
    lab.world.service_down = True
    assert lab.apply(**errand("undelete")).code == ExitCode.UNREACHABLE
    assert in_trash(lab) == ["old"]


def test_undelete_while_it_is_online_elsewhere() -> None:
    lab, uuids = deleted()
    daemon = lab.world.spawn("elsewhere", uuids["old"])
    daemon.node, daemon.phase = "hfe01", "up"
    refused(lab.apply(**errand("undelete")), "is online: it runs elsewhere")


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        ({"config_dir": "~/copied"}, ExitCode.REFUSED),
        ({"host": "hera"}, ExitCode.REFUSED),
        ({"user": "other"}, ExitCode.REFUSED),
        ({"identity": "somebody"}, ExitCode.LOGIN),
        ({"service": "sandbox"}, ExitCode.LOGIN),
    ],
)
@pytest.mark.parametrize("how", ["undelete", "apply"])
def test_what_was_deleted_at_another_place_or_as_somebody_else_stays_there(
    how: str, claim: dict[str, str], code: ExitCode
) -> None:
    lab, _ = deleted()
    (folder,) = lab.world.trash.values()
    assert isinstance(folder.marker, Marker)
    folder.marker = folder.marker.but(claim=folder.marker.claim.model_copy(update=claim))
    lab.wants(endpoint(), endpoint("old"))
    before = lab.snapshot()
    result = lab.apply(**errand("undelete")) if how == "undelete" else lab.apply()
    assert result.code == code
    assert lab.snapshot() == before


def test_undelete_of_one_that_was_deleted_twice_with_different_uuids() -> None:
    lab, uuids = deleted()
    lab.wants(endpoint(), endpoint("old"))
    lab.apply(new=frozenset({"old"}))
    later = lab.ids()["old"]
    lab.wants(endpoint())
    lab.apply(YES)
    first, second = lab.world.trash
    refused(lab.apply(**errand("undelete")), f"{first}: {uuids['old']}", f"{second}: {later}", "--entry ENTRY")
    refused(lab.apply(**errand("undelete", entry="old~0")), "it is not in the trash as old~0")
    lab.wants(endpoint(), endpoint("old"))
    refused(lab.apply(), "with different UUIDs", "`chiltepin apply --new old`")
    assert lab.apply(**errand("undelete", entry=first)).code == ExitCode.OK
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids()["old"] == uuids["old"]
    assert list(lab.world.trash) == [second]


def test_undelete_of_one_that_was_deleted_twice_with_one_uuid_takes_the_newest() -> None:
    lab, uuids = deleted()
    (older,) = lab.world.trash
    lab.wants(endpoint(), endpoint("old", id=str(uuids["old"]), config={"pam": {"enable": True}}))
    folder = lab.world.trash.pop(older)  # brought back by its id, before the trash knew how
    at = lab.world.deleted_at[older]
    assert lab.apply().code == ExitCode.OK
    lab.world.trash[older], lab.world.deleted_at[older] = folder, at
    lab.wants(endpoint())
    assert lab.apply(YES).code == ExitCode.OK
    assert lab.apply(**errand("undelete")).code == ExitCode.OK
    assert list(lab.world.trash) == [older]
    assert b"pam" in lab.world.folders["old"].files[CONFIG].content


# --- a block that is declared again


def test_a_block_that_is_declared_again_comes_back_with_its_uuid_and_its_edits() -> None:
    lab, uuids = deleted()
    folder = next(iter(lab.world.trash.values()))
    lab.world.folders["for-a-moment"] = folder
    lab.world.edit("for-a-moment", CONFIG, b"debug: true\ntheirs: 1\n")
    del lab.world.folders["for-a-moment"]
    lab.wants(endpoint(), endpoint("old", config={"debug": False}), pools=(*MPI, pool("again", "old")))
    result = lab.apply()
    assert result.code == ExitCode.OK
    assert [a.kind for a in result.sight.plan.actions] == ["Undelete", "WriteFile", "Start"]
    lab.assert_converged()
    assert lab.ids() == uuids
    assert b"theirs: 1" in lab.world.folders["old"].files[CONFIG].content
    assert lab.world.pools is not None
    assert str(uuids["old"]) in lab.world.pools


@BOTH
def test_a_return_that_is_killed_anywhere_is_finished_by_the_next_apply(starts_go_on: bool) -> None:
    at = 0
    while True:
        at += 1
        lab, uuids = deleted()
        lab.wants(endpoint(), endpoint("old", config={"debug": False}))
        crashed = lab.crash(at, starts_go_on=starts_go_on)
        lab.world.now += 100
        assert lab.apply().code == ExitCode.OK
        lab.assert_converged()
        assert lab.ids() == uuids
        assert set(lab.world.registrations) == set(uuids.values())
        assert (lab.world.trash, lab.world.going) == ({}, [])
        if not crashed:
            assert at > 4
            return


def test_a_stopped_block_comes_back_stopped() -> None:
    lab, uuids = deleted()
    lab.wants(endpoint(), endpoint("old", state="stopped"))
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == uuids


def test_another_uuid_takes_new() -> None:
    lab, uuids = deleted()
    lab.wants(endpoint(), endpoint("old"))
    assert lab.apply(new=frozenset({"old"})).code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids()["old"] not in (None, uuids["old"])
    assert in_trash(lab) == ["old"]


def test_a_block_whose_uuid_is_gone_is_registered_anew() -> None:
    lab, uuids = deleted()
    del lab.world.registrations[str(uuids["old"])]
    lab.wants(endpoint(), endpoint("old"))
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids()["old"] not in (None, uuids["old"])


def test_nothing_is_registered_anew_as_long_as_the_service_cannot_say() -> None:
    lab, uuids = deleted()
    lab.wants(endpoint(), endpoint("old"))
    lab.world.faults.fail("status", ServiceUnreachable("no answer"))
    assert lab.apply().code == ExitCode.UNREACHABLE
    assert set(lab.world.registrations) == set(uuids.values())
    lab.world.faults.revive()
    assert lab.apply().code == ExitCode.OK
    assert lab.ids() == uuids


def test_a_block_of_another_directory_is_told_which_it_was() -> None:
    lab, _ = deleted()
    lab.wants(endpoint(), replace(endpoint("old"), directory="other"))
    refused(lab.apply(), "deleted as directory `old`", "`directory: old`", "`chiltepin apply --new old`")


def test_lock_lost_after_the_delete_finds_the_lineage_in_the_trash() -> None:
    lab, uuids = deleted()
    lab.apply(YES, destroy=True)
    lab.world.lock = None
    lab.wants(endpoint(), endpoint("old"))
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == uuids


def test_the_trash_of_another_manifest_is_left_alone() -> None:
    lab, _ = deleted()
    (folder,) = lab.world.trash.values()
    assert isinstance(folder.marker, Marker)
    folder.marker = folder.marker.but(lineage="another")
    lab.wants(endpoint(), endpoint("old"))
    refused(lab.apply(), "another manifest, or lock", "restore the lockfile", "--new old")
    refused(lab.apply(**errand("undelete")), "it is not in the trash", "is of another lock")
    refused(lab.apply(YES, **errand("purge")), "it is not in the trash")
    keeps(lab, 0)
    assert not lab.sight().plan.expiries
    assert in_trash(lab) == ["old"]


# --- purge


def test_purge_ends_the_registration_and_drops_the_entry() -> None:
    lab, uuids = deleted()
    assert lab.apply(ONE, **errand("purge")).code == ExitCode.OK
    assert (lab.world.trash, lab.world.deregistered) == ({}, [uuids["old"]])
    lab.assert_converged()


def test_purge_needs_consent() -> None:
    lab, _ = deleted()
    before = lab.snapshot()
    assert lab.apply(**errand("purge")).code == ExitCode.REFUSED
    assert lab.snapshot() == before


@BOTH
def test_purge_that_is_killed_anywhere_is_finished_by_the_same_command(starts_go_on: bool) -> None:
    at = 0
    while True:
        at += 1
        lab, uuids = deleted()
        crashed = lab.crash(at, starts_go_on=starts_go_on, consent=ONE, **errand("purge"))
        lab.wants(endpoint(), endpoint("old"))  # a name that is known, also when all is gone
        assert lab.apply(ONE, **errand("purge")).code == ExitCode.OK
        lab.wants(endpoint())
        assert lab.apply().code == ExitCode.OK
        assert (lab.world.trash, lab.world.going) == ({}, [])
        assert uuids["old"] not in lab.world.registrations
        lab.assert_converged()
        if not crashed:
            assert at > 4
            return


def test_the_journal_forgets_a_purge_that_was_cut_off() -> None:
    lab, _ = deleted()
    lab.world.faults.passed.clear()
    lab.apply(ONE, **errand("purge"))
    last = len(lab.world.faults.passed)
    lab, _ = deleted()
    lab.world.faults.passed.clear()
    assert lab.crash(last - 1, starts_go_on=True, consent=ONE, **errand("purge"))
    assert [e.action for e in lab.world.outside.store.unfinished()] == ["Purge"]
    lab.wants(endpoint(config={}))
    assert lab.apply().code == ExitCode.OK
    assert lab.world.outside.store.unfinished() == ()


def test_purge_after_a_delete_that_was_cut_off_before_the_lock_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.apply.MAX_THREADS", 1)  # the lock that is put back has the same UUIDs
    lab, uuids = deleted()
    lab.world.lock, now = _with_entry_of_old(), lab.world.lock
    assert now != lab.world.lock
    assert lab.ids() == uuids
    assert lab.apply(ONE, **errand("purge")).code == ExitCode.OK
    assert (lab.world.deregistered, lab.world.trash) == ([uuids["old"]], {})
    assert lab.world.lock == now


def _with_entry_of_old() -> str:
    """Return the lock of a lab in which `old` is not deleted yet."""
    lab = Lab(desired(endpoint(), endpoint("old"), pools=MPI))
    lab.apply()
    lab.wants(endpoint())
    lab.apply()
    assert lab.world.lock is not None
    return lab.world.lock


def test_purge_of_what_is_gone_at_the_service_drops_the_entry_and_says_so() -> None:
    lab, uuids = deleted()
    del lab.world.registrations[str(uuids["old"])]
    result = lab.apply(ONE, **errand("purge"))
    assert result.code == ExitCode.OK
    assert lab.world.trash == {}
    (action,) = result.sight.plan.actions
    assert action.changes[0].file == f"its registration {uuids['old']} is gone already"


@pytest.mark.parametrize("name", ["owned", "status", "delete"])
def test_purge_without_the_service_loses_nothing(name: str) -> None:
    lab, _ = deleted()
    before = lab.snapshot()
    lab.world.faults.fail(name, ServiceUnreachable("no answer"))
    assert lab.apply(ONE, **errand("purge")).code == ExitCode.UNREACHABLE
    assert lab.snapshot() == before
    lab.world.faults.revive()
    assert lab.apply(ONE, **errand("purge")).code == ExitCode.OK


def test_purge_whose_entry_cannot_be_removed_is_repeated() -> None:
    lab, uuids = deleted()
    lab.world.faults.fail("purge", FileSystemError("input/output error"))
    assert lab.apply(ONE, **errand("purge")).code == ExitCode.PARTIAL
    assert lab.world.deregistered == [uuids["old"]]
    lab.world.faults.revive()
    assert lab.apply(ONE, **errand("purge")).code == ExitCode.OK
    assert (lab.world.trash, lab.world.deregistered) == ({}, [uuids["old"]])


def test_what_was_deleted_by_hand_comes_back_by_hand() -> None:
    lab, _ = deleted()
    outside, clock = lab.world.outside, FakeClock(lab.world)
    by_hand.configure(outside, clock, "new", template=TEMPLATE, schema=SCHEMA, patience=10)
    by_hand.delete(outside, clock, "new", deregister=False, seconds=10)
    lab.wants(endpoint(), endpoint("new"))
    refused(lab.apply(ONE, **errand("undelete", "new")), "it is not in the trash", "`chiltepin endpoint undelete new`")


def test_what_no_block_declares_is_no_endpoint_of_the_stack_and_is_there_all_the_same() -> None:
    lab, _ = deleted()
    by_hand.configure(lab.world.outside, FakeClock(lab.world), "mine", template=TEMPLATE, schema=SCHEMA, patience=10)
    with pytest.raises(UsageError, match="mine: this manifest does not declare it") as caught:
        lab.apply(**errand("adopt", "mine"))
    assert (caught.value.remedy or "").startswith("write a block for it first")


def test_purge_of_what_was_not_deleted() -> None:
    lab, _ = deleted()
    refused(lab.apply(ONE, **errand("purge", "main")), "it is not in the trash", "--allow-delete --target main")


def test_purge_of_what_was_protected() -> None:
    lab, _ = deleted()
    (folder,) = lab.world.trash.values()
    assert isinstance(folder.marker, Marker)
    folder.marker = folder.marker.but(protect=True)
    refused(lab.apply(ONE, **errand("purge")), "was protected", "`chiltepin undelete old`")
    keeps(lab, 0)
    assert not lab.sight().plan.expiries


def test_purge_of_what_is_online_elsewhere() -> None:
    lab, uuids = deleted()
    daemon = lab.world.spawn("elsewhere", uuids["old"])
    daemon.node, daemon.phase = "hfe01", "up"
    refused(lab.apply(ONE, **errand("purge")), "is online: it runs elsewhere")


def test_purge_of_what_comes_online_between_plan_and_apply() -> None:
    lab, uuids = deleted()

    def come_up() -> None:
        daemon = lab.world.spawn("elsewhere", uuids["old"])
        daemon.node, daemon.phase = "hfe01", "up"

    result = lab.apply(ONE, between=come_up, **errand("purge"))
    assert result.code == ExitCode.DEFERRED
    assert [o.remedy for o in result.run.outcomes] == ["stop it there first, then run this again"]
    assert in_trash(lab) == ["old"]
    assert lab.world.deregistered == []


def applied(*endpoints: DesiredEndpoint) -> Lab:
    """Return a lab in which these endpoints run."""
    lab = Lab(desired(*endpoints, pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    return lab


@pytest.mark.parametrize("what", ["lost", "stopped"])
def test_a_destroy_ends_no_registration_of_what_comes_online_elsewhere(what: str) -> None:
    lab = applied(endpoint())
    uuid = lab.ids()["main"]
    lab.world.end(lab.world.daemons_of("main")[0], cleanly=True)
    if what == "lost":
        del lab.world.folders["main"]

    def come_up() -> None:
        daemon = lab.world.spawn("elsewhere", uuid)
        daemon.node, daemon.phase = "hfe01", "up"

    result = lab.apply(YES, between=come_up, destroy=True, purge=True)
    assert (result.code, result.outcomes["main", "Purge"]) == (ExitCode.DEFERRED, "deferred")
    assert lab.world.deregistered == []
    (daemon,) = lab.world.daemons
    lab.world.end(daemon, cleanly=True)
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
    assert lab.world.deregistered == [uuid]


@pytest.mark.parametrize("cleared", [False, True])
def test_a_destroy_waits_until_the_service_has_missed_what_died_here(cleared: bool) -> None:
    """The rest is done meanwhile. Found by `make chaos`: it was refused as something that runs elsewhere."""
    lab = applied(endpoint(), endpoint("two"))
    uuids = lab.ids()
    lab.world.end(lab.world.daemons_of("main")[0], cleanly=False)
    if cleared:  # its PID file is gone, and its record has its end
        lab.wants(endpoint(state="stopped"), endpoint("two"))
        assert lab.apply().code == ExitCode.OK
        assert lab.world.folders["main"].pid is None
    result = lab.apply(YES, destroy=True, purge=True)
    (refusal,) = result.sight.plan.refusals
    assert (result.code, refusal.endpoint) == (ExitCode.DEFERRED, "main")
    assert "has ended here" in refusal.what
    assert lab.world.deregistered == [uuids["two"]]
    lab.world.now += 1000
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
    assert lab.world.deregistered == [uuids["two"], uuids["main"]]


def killed_and_deleted() -> Lab:
    """Return a lab in which the directory of a daemon that died was moved to the trash."""
    lab = applied(endpoint(), endpoint("old"))
    lab.world.end(lab.world.daemons_of("old")[0], cleanly=False)
    lab.wants(endpoint())
    assert lab.apply(YES).code == ExitCode.OK
    lab.wants(endpoint(), endpoint("old"))
    return lab


def test_what_died_and_was_deleted_comes_back_before_the_service_has_missed_it() -> None:
    """Found by `make chaos`: it was refused as something that runs elsewhere."""
    lab = killed_and_deleted()
    uuid = lab.world.trash[next(iter(lab.world.trash))].endpoint_id
    assert lab.world.online(str(uuid))
    assert lab.apply().code == ExitCode.OK
    assert lab.ids()["old"] == uuid
    lab.assert_converged()


@pytest.mark.parametrize("rebooted", [False, True])
def test_what_is_online_long_after_it_died_and_was_deleted_runs_elsewhere(rebooted: bool) -> None:
    lab = killed_and_deleted()
    if rebooted:
        lab.world.reboot()
    else:
        lab.world.now += MISSED_WITHIN + 1
    daemon = lab.world.spawn("elsewhere", str(next(iter(lab.world.trash.values())).endpoint_id))
    daemon.node, daemon.phase = "hfe01", "up"
    (refusal,) = lab.apply().sight.plan.refusals
    assert "is online: it runs elsewhere" in refusal.what


def test_a_directory_in_which_a_daemon_comes_up_at_the_last_moment_stays_and_nothing_failed() -> None:
    """After its preconditions, within the move itself: no other endpoint is to wait for it."""
    lab = applied(endpoint(), endpoint("old"), endpoint("older"))
    for name in ("old", "older"):
        lab.world.end(lab.world.daemons_of(name)[0], cleanly=True)
    lab.wants(endpoint())

    def come_up(action: EndpointAction) -> None:
        if (action.endpoint, action.kind) == ("old", "Delete"):
            daemon = lab.world.spawn("old", lab.ids()["old"])
            lab.world.bring_up(daemon)

    result = lab.apply(YES, during=come_up)
    assert result.code == ExitCode.DEFERRED
    assert (result.outcomes["old", "Delete"], result.outcomes["older", "Delete"]) == ("deferred", "done")
    assert not lab.world.outside.store.unfinished()


def test_purge_of_another_identitys_registration() -> None:
    lab, uuids = deleted()
    full = lab.world.registrations
    owned = {k: v for k, v in full.items() if k != uuids["old"]}
    lab.world.owned = owned
    assert lab.apply(ONE, **errand("purge")).code == ExitCode.LOGIN
    assert in_trash(lab) == ["old"]


def test_purge_without_a_lock() -> None:
    lab, _ = deleted()
    lab.apply(YES, destroy=True)
    lab.world.lock = None
    refused(lab.apply(YES, **errand("purge")), "without a lockfile")


def test_purge_keeps_the_registration_of_what_came_back_by_hand() -> None:
    lab, uuids = deleted()
    (entry,) = lab.world.trash
    lab.world.folders["old"] = replace(lab.world.trash[entry])
    lab.wants(endpoint(), endpoint("old"))
    assert lab.apply().code == ExitCode.OK
    assert lab.apply(ONE, **errand("purge")).code == ExitCode.OK
    assert lab.world.trash == {}
    lab.assert_converged()
    assert lab.ids() == uuids


def test_purge_of_one_entry_keeps_the_registration_that_another_entry_needs() -> None:
    lab, uuids = deleted()
    (entry,) = lab.world.trash
    lab.world.trash["old~1"], lab.world.deleted_at["old~1"] = replace(lab.world.trash[entry]), 1.0
    assert lab.apply(ONE, **errand("purge", entry="old~1")).code == ExitCode.OK
    assert lab.world.deregistered == []
    assert lab.apply(**errand("undelete")).code == ExitCode.OK
    assert lab.ids() == uuids


def test_purge_of_all_stays_within_the_cap() -> None:
    lab, uuids = deleted("a", "b")
    everything = {"errand": Errand("purge")}
    assert lab.apply(ONE, **everything).code == ExitCode.REFUSED
    assert in_trash(lab) == ["a", "b"]
    assert lab.apply(YES, **everything).code == ExitCode.OK
    assert lab.world.trash == {}
    assert set(lab.world.registrations) == {uuids["main"]}
    assert lab.apply(YES, **everything).sight.plan.is_empty


def test_purge_of_all_leaves_what_another_host_deleted() -> None:
    lab, _ = deleted("a", "b")
    folder = next(f for f in lab.world.trash.values() if isinstance(f.marker, Marker) and f.marker.endpoint == "a")
    assert isinstance(folder.marker, Marker)
    folder.marker = folder.marker.but(claim=folder.marker.claim.model_copy(update={"host": "hera"}))
    assert lab.apply(ONE, errand=Errand("purge")).code == ExitCode.OK
    assert in_trash(lab) == ["a"]


def test_purge_of_a_never_registered_one() -> None:
    lab = Lab(desired(endpoint(), endpoint("old", state="stopped"), pools=MPI))
    lab.apply()
    lab.wants(endpoint())
    lab.apply(YES)
    assert lab.apply(ONE, **errand("purge")).code == ExitCode.OK
    assert (lab.world.trash, lab.world.deregistered) == ({}, [])


# --- retention


def test_a_purge_is_planned_when_the_retention_ends_and_not_before() -> None:
    lab, uuids = deleted()
    keeps(lab, 14 * DAY)
    assert lab.sight().plan.is_empty
    lab.world.now += 14 * DAY
    (purge,) = lab.sight().plan.expiries
    assert (purge.endpoint, purge.id, purge.cause.value) == ("old", uuids["old"], "retention ended")


def test_an_apply_without_consent_leaves_it_and_all_is_well() -> None:
    lab, _ = deleted()
    keeps(lab, 0)
    before = lab.snapshot()
    result = lab.apply()
    assert result.code == ExitCode.OK
    assert result.run.outcomes == ()
    assert lab.snapshot() == before


def test_an_apply_with_consent_purges_the_oldest_within_the_cap() -> None:
    lab, uuids = deleted("a", "b", "c")
    keeps(lab, 0)
    assert [p.endpoint for p in lab.sight().plan.expiries] == ["a", "b", "c"]
    assert lab.apply(ONE).code == ExitCode.OK
    assert in_trash(lab) == ["b", "c"]
    assert lab.apply(Consent(deletes=True, max_deletes=2)).code == ExitCode.OK
    assert lab.world.trash == {}
    assert set(lab.world.registrations) == {uuids["main"]}
    lab.assert_converged()


def test_deletes_take_precedence_over_the_retention_within_the_cap() -> None:
    lab, _ = deleted("a")
    lab.wants(endpoint(), endpoint("b"))
    lab.apply()
    lab.wants(endpoint())
    keeps(lab, 0)
    assert lab.apply(ONE).code == ExitCode.OK
    assert in_trash(lab) == ["a", "b"]
    assert lab.apply(ONE).code == ExitCode.OK
    assert in_trash(lab) == ["b"]


def test_nothing_that_a_wrong_clock_dated_is_purged() -> None:
    lab, _ = deleted("future", "undated", "past")
    keeps(lab, DAY / 2)
    future, undated, _ = lab.world.trash
    lab.world.deleted_at[future] = lab.world.now + 600
    lab.world.deleted_at[undated] = None
    assert [p.endpoint for p in lab.sight().plan.expiries] == ["past"]
    keeps(lab, max_bytes=0)
    lab.world.sizes = dict.fromkeys(lab.world.trash, 10)
    assert [p.endpoint for p in lab.sight().plan.expiries] == ["past"]


def test_the_bound_on_size_drops_the_oldest_first() -> None:
    lab, _ = deleted("a", "b", "c")
    lab.world.sizes = dict.fromkeys(lab.world.trash, 100)
    keeps(lab, max_bytes=300)
    assert lab.sight().plan.is_empty
    keeps(lab, max_bytes=250)
    assert [p.endpoint for p in lab.sight().plan.expiries] == ["a"]
    keeps(lab, max_bytes=100)
    assert [p.endpoint for p in lab.sight().plan.expiries] == ["a", "b"]


def test_the_retention_does_not_end_what_is_declared_again() -> None:
    lab, uuids = deleted()
    keeps(lab, 0)
    lab.desired = replace(lab.desired, endpoints={**lab.desired.endpoints, "old": endpoint("old")})
    assert lab.apply(YES).code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == uuids


def test_the_retention_leaves_an_endpoint_of_the_same_name_alone() -> None:
    lab, uuids = deleted()
    lab.wants(endpoint(), endpoint("old"))
    lab.apply(new=frozenset({"old"}))
    newer = lab.ids()["old"]
    lab.wants(endpoint(), endpoint("old", config={"debug": False}))
    keeps(lab, 0)
    assert lab.apply().outcomes == {("old", "WriteFile"): "done", ("old", "Restart"): "done"}
    assert lab.apply(ONE).outcomes == {("old", "Purge"): "done"}
    assert lab.world.deregistered == [uuids["old"]]
    lab.assert_converged()
    assert lab.ids()["old"] == newer


def test_the_retention_and_a_lock_entry_of_the_same_name_that_must_be_written() -> None:
    lab, _ = deleted()
    lab.wants(endpoint(), endpoint("old"))
    lab.apply(new=frozenset({"old"}))
    whole = lab.world.lock
    lab.world.lock = emit_lock(lab.lock().without_endpoint("old"))
    keeps(lab, 0)
    assert lab.apply(ONE).outcomes == {("old", "Purge"): "done"}
    assert lab.world.lock == whole


def test_the_retention_leaves_what_became_another_identitys() -> None:
    lab, uuids = deleted()
    keeps(lab, 0)
    lab.world.owned = {k: v for k, v in lab.world.registrations.items() if k != uuids["old"]}
    result = lab.apply(YES)
    assert result.code == ExitCode.OK
    assert "stays in the trash: the registration" in result.sight.plan.notes[0].text
    assert in_trash(lab) == ["old"]


def test_the_retention_waits_for_the_service() -> None:
    lab, _ = deleted()
    keeps(lab, 0)
    lab.world.service_down = True
    assert not lab.apply(YES).sight.plan.expiries
    assert in_trash(lab) == ["old"]


def test_the_retention_keeps_to_its_scope() -> None:
    lab, _ = deleted("a", "b")
    keeps(lab, 0)
    assert [p.endpoint for p in lab.sight(targets=frozenset({"b", "main"})).plan.expiries] == ["b"]
    lab.world.lock = None
    assert not lab.sight().plan.expiries


@BOTH
def test_the_end_of_a_retention_that_is_killed_anywhere(starts_go_on: bool) -> None:
    at = 0
    while True:
        at += 1
        lab, uuids = deleted("a", "b")
        keeps(lab, 0)
        crashed = lab.crash(at, starts_go_on=starts_go_on, consent=YES)
        assert lab.apply(YES).code == ExitCode.OK
        lab.apply()
        assert (lab.world.trash, lab.world.going) == ({}, [])
        assert set(lab.world.registrations) == {uuids["main"]}
        lab.assert_converged()
        if not crashed:
            assert at > 4
            return


# --- last, and only when all went well


def test_a_failure_of_another_endpoint_keeps_what_would_be_deleted() -> None:
    lab = Lab(desired(endpoint("old"), pools=()))
    assert lab.apply().code == ExitCode.OK
    lab.wants(endpoint("new"))
    lab.world.faults.fail("start", EndpointCommandError("did not come up"))
    result = lab.apply(YES)
    assert result.code == ExitCode.PARTIAL
    assert [d.phase for d in lab.world.daemons_of("old")] == ["up"]
    left = [o for o in result.run.outcomes if o.action.endpoint == "old"]
    assert {o.kind for o in left} == {"skipped"}
    assert all(o.reason == "nothing is deleted in a run in which something failed: new" for o in left)
    lab.world.faults.revive()
    assert lab.apply(YES).code == ExitCode.OK
    assert "old" not in lab.world.folders


def test_what_only_waits_does_not_keep_deletes_from_being_done() -> None:
    lab = Lab(desired(endpoint(), endpoint("old"), pools=MPI))
    lab.apply()
    lab.world.user_endpoints["main"] = 1
    lab.wants(endpoint(config={}))
    result = lab.apply(YES)
    assert result.code == ExitCode.DEFERRED
    assert in_trash(lab) == ["old"]


def test_one_delete_that_fails_does_not_keep_the_others() -> None:
    lab = Lab(desired(endpoint(), endpoint("a"), endpoint("b"), pools=MPI))
    lab.apply()
    lab.wants(endpoint())
    lab.world.faults.fail("to_trash", FileSystemError("input/output error"), after=1)
    result = lab.apply(YES)
    kinds = sorted(o.kind for o in result.run.outcomes if isinstance(o.action, DELETING))
    assert kinds == ["done", "failed"]


def test_destroy_purge_ends_just_what_the_plan_named() -> None:
    lab, uuids = deleted()

    def another_is_deleted() -> None:
        entry = next(iter(lab.world.trash))
        lab.world.trash["old~later"] = replace(lab.world.trash[entry])
        lab.world.deleted_at["old~later"] = lab.world.now

    assert lab.apply(YES, between=another_is_deleted, destroy=True, purge=True).code == ExitCode.OK
    assert list(lab.world.trash) == ["old~later"]
    assert set(lab.world.deregistered) == set(uuids.values())


def test_destroy_purge_of_what_runs_and_is_in_the_trash_under_the_same_uuid() -> None:
    """It was made anew under its UUID while an older directory of it was in the trash: what is online ends here."""
    lab, _ = deleted()
    entry, older = next(iter(lab.world.trash.items()))
    lab.wants(endpoint("old"), endpoint("two"))
    assert lab.apply(YES).code == ExitCode.OK
    lab.world.trash[entry], lab.world.deleted_at[entry] = older, lab.world.now
    uuids = lab.ids()
    assert lab.apply(YES, destroy=True, purge=True).code == ExitCode.OK
    assert (lab.world.trash, lab.world.daemons, lab.world.registrations) == ({}, [], {})
    assert {*uuids.values()} <= {*lab.world.deregistered}
    assert len(lab.world.deregistered) == len({*lab.world.deregistered}), "a registration ends once"


# --- what must not leave with what leaves


@pytest.mark.parametrize("scope", [{}, {"exclude": frozenset({"new"})}, {"targets": frozenset({"new"})}])
def test_a_block_renamed_without_moved_loses_nothing_to_deletes(scope: dict[str, Any]) -> None:
    lab = Lab(desired(endpoint("old"), endpoint("two")))
    assert lab.apply().code == ExitCode.OK
    uuids = lab.ids()
    lab.wants(endpoint("new", directory="old"), endpoint("two"))
    for _ in range(2):
        result = lab.apply(YES, **scope)
        assert all("moved" in refusal.remedy for refusal in result.sight.plan.refusals)
        assert (lab.ids(), len(lab.world.daemons), in_trash(lab)) == (uuids, 2, [])
    lab.wants(endpoint("new", directory="old"), endpoint("two"), moved=(Moved("old", "new"),))
    assert lab.apply(YES).code == ExitCode.OK
    assert lab.ids() == {"new": uuids["old"], "two": uuids["two"]}


def test_a_lost_directory_that_is_another_endpoints_by_now_leaves_the_lock_by_consent() -> None:
    lab = Lab(desired(endpoint("old"), endpoint("two")))
    assert lab.apply().code == ExitCode.OK
    lab.world.end(lab.world.daemons_of("old")[0], cleanly=True)
    del lab.world.folders["old"]
    lab.world.now += 3600
    lab.wants(endpoint("new", directory="old"), endpoint("two"))
    assert lab.apply(targets=frozenset({"new"})).code == ExitCode.OK
    assert set(lab.ids()) == {"old", "new", "two"}
    assert lab.apply().code == ExitCode.REFUSED
    assert lab.apply(YES).outcomes == {("old", "Forget"): "done"}
    assert set(lab.ids()) == {"new", "two"}
    lab.assert_converged()


@pytest.mark.parametrize("scope", [{"destroy": True, "purge": True}, {"destroy": True}, {}])
def test_an_endpoint_that_was_made_anew_by_hand_is_told_and_keeps_both_uuids(scope: dict[str, bool]) -> None:
    lab = Lab(desired(endpoint("old"), endpoint("two")))
    assert lab.apply().code == ExitCode.OK
    world, uuids = lab.world, lab.ids()
    world.end(world.daemons_of("old")[0], cleanly=True)
    folder = world.folders["old"]
    folder.marker = folder.endpoint_id = folder.pid = None
    by_hand = world.spawn("old", None)
    world.register(by_hand)
    world.bring_up(by_hand)
    world.now += 3600
    if not scope:
        lab.wants(endpoint("two"))
    result = lab.apply(YES, **scope)
    assert result.code == ExitCode.REFUSED
    assert [r.endpoint for r in result.sight.plan.refusals] == ["old"]
    assert (by_hand.phase, lab.ids()["old"]) == ("up", uuids["old"])
    assert {uuids["old"], by_hand.id} <= set(world.registrations)


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize("name", ["old", "new"])
def test_destroy_knows_an_endpoint_by_both_names_until_it_is_renamed(name: str, purge: bool) -> None:
    for key, left in (("exclude", "old"), ("targets", "two")):
        lab = Lab(desired(endpoint("old"), endpoint("two")))
        assert lab.apply().code == ExitCode.OK
        lab.wants(endpoint("new", directory="old"), endpoint("two"), moved=(Moved("old", "new"),))
        assert lab.apply(YES, destroy=True, purge=purge, **{key: frozenset({name})}).code == ExitCode.OK
        assert list(lab.world.folders) == [left]


def test_destroy_leaves_the_directory_of_what_is_excluded_whatever_its_marker_calls_it() -> None:
    lab = Lab(desired(endpoint("old"), endpoint("two")))
    assert lab.apply().code == ExitCode.OK
    lab.wants(endpoint("new", directory="old"), endpoint("two"))
    assert lab.apply(YES, destroy=True, purge=True, exclude=frozenset({"new"})).code == ExitCode.OK
    assert list(lab.world.folders) == ["old"]


@pytest.mark.parametrize("what", ["all", "trash", "target"])
def test_destroy_purge_without_a_lock_ends_no_registration(what: str) -> None:
    lab, uuids = deleted("old")
    if what == "trash":
        assert lab.apply(YES, destroy=True).code == ExitCode.OK
    lab.world.lock = None
    scope: dict[str, Any] = {"targets": frozenset({"old"})} if what == "target" else {}
    refused(lab.apply(YES, destroy=True, purge=True, **scope), "without a lockfile")
    assert set(lab.world.registrations) == set(uuids.values())


def test_an_empty_section_ends_no_retention() -> None:
    lab, uuids = deleted("old")
    keeps(lab, 0)
    lab.desired = replace(lab.desired, endpoints={}, pools={}, declared=False)
    refused(lab.apply(YES), "section is empty")
    assert set(lab.world.registrations) == set(uuids.values())
    assert in_trash(lab) == ["old"]
