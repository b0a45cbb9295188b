"""Whose endpoint is it, row by row: refused with both sides, and the command that the refusal prints resolves it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest

from reconciler.core.actions import Refusal
from reconciler.core.desired import DesiredEndpoint, HostView, Moved
from reconciler.core.live import Identity, Registration
from reconciler.core.lock import emit_lock
from reconciler.core.marker import Marker
from reconciler.core.scope import Errand
from reconciler.errors import ExitCode, ServiceUnreachable
from tests.core.builders import desired, endpoint, pool
from tests.fakes import Daemon, Folder, World
from tests.lab import YES, Lab, Result

OTHER = "00000000-0000-4000-8000-0000000000ff"


def running() -> Lab:
    """Return a lab in which `main` runs."""
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    return lab


def daemon_of(lab: Lab) -> Daemon:
    (daemon,) = lab.world.daemons_of("main")
    return daemon


def stop(lab: Lab) -> None:
    lab.world.end(daemon_of(lab), cleanly=True)


def claimed(lab: Lab, **claim: Any) -> None:
    """Let the marker be of another place, and the lock with it."""
    folder = lab.world.folders["main"]
    assert isinstance(folder.marker, Marker)
    folder.marker = folder.marker.but(claim=folder.marker.claim.model_copy(update=claim))


# --- what happens; each takes a lab in which `main` runs


def marker_and_lock_lost(lab: Lab) -> None:
    lab.world.folders["main"].marker = None
    lab.world.lock = None


def copied_home(lab: Lab) -> None:
    stop(lab)
    claimed(lab, config_dir="~/old")


def host_renamed(lab: Lab) -> None:
    claimed(lab, host="ursa")
    lab.desired = replace(lab.desired, host=HostView("ufe"))
    assert lab.world.lock is not None
    lab.world.lock = lab.world.lock.replace("host: null", "host: ursa")


def moved_away(lab: Lab) -> None:
    """The claim was moved to another config directory; what was left behind here still says that it is of here."""
    stop(lab)
    assert lab.world.lock is not None
    lab.world.lock = lab.world.lock.replace("config_dir: ~/.globus_compute", "config_dir: /scratch/gce")


def moved_to_another_host(lab: Lab) -> None:
    lab.wants(*lab.desired.endpoints.values(), pools=(pool("mpi"),), host=HostView("ursa"))
    assert lab.apply().code == ExitCode.OK
    stop(lab)
    assert lab.world.lock is not None
    lab.world.lock = lab.world.lock.replace("host: ursa", "host: hera")


def moved_away_before_its_first_start(lab: Lab) -> None:
    moved_away(lab)
    lab.world.folders.clear()
    lab.world.registrations.clear()
    assert lab.world.lock is not None
    lab.world.lock = re.sub(r"id: '?0000.*", "id: null", lab.world.lock, count=1)
    lab.world.journal.clear()


def second_clone(lab: Lab) -> None:
    """Another lock of the same stack: the same manifest, applied without the lock somewhere else."""
    assert lab.world.lock is not None
    lab.world.lock = lab.world.lock.replace("lineage: lineage-1", "lineage: another")


def hosts_section_new_on_a_copy(lab: Lab) -> None:
    stop(lab)
    lab.world.node = "hfe01"
    lab.desired = replace(lab.desired, host=HostView("ursa"))


def uuids_disagree(lab: Lab) -> None:
    stop(lab)
    lab.world.folders["main"].endpoint_id = OTHER


def registration_gone(lab: Lab) -> None:
    lab.world.registrations.clear()


def owned_registration_of_the_name(lab: Lab) -> None:
    stop(lab)
    lab.world.folders.clear()
    lab.world.lock = None
    lab.world.journal.clear()


def unmanaged_directory(lab: Lab) -> None:
    marker_and_lock_lost(lab)
    stop(lab)
    lab.world.folders["main"].endpoint_id = None
    lab.world.registrations.clear()


def cut_off_and_two_candidates(lab: Lab) -> None:
    """A first start was cut off, and two registrations may be its own."""
    stop(lab)
    world = lab.world
    folder = world.folders["main"]
    assert isinstance(folder.marker, Marker)
    folder.marker, folder.endpoint_id = folder.marker.but(id=None, daemon=None), None
    assert world.lock is not None
    world.lock = re.sub(r"id: '?0000.*", "id: null", world.lock, count=1)
    world.journal = [entry for entry in world.journal if (entry.action, entry.event) != ("Start", "done")]
    first = next(iter(world.registrations.values()))
    world.registrations[OTHER] = replace(first, id=OTHER)


def renamed_without_moved(lab: Lab) -> None:
    lab.wants(endpoint("main2", directory="main"), pools=(pool("mpi", "main2"),))


@dataclass(frozen=True)
class Row:
    """A row of the table of situations.

    Attributes:
        code: of an apply.
        sides: what the refusal must show.
        keeps: whether the UUID is the same after its commands, all but the ones in `new`.
    """

    happens: Callable[[Lab], None]
    sides: tuple[str, ...]
    code: ExitCode = ExitCode.REFUSED
    new: tuple[str, ...] = ("--new", "--reregister")


ROWS = (
    Row(marker_and_lock_lost, ("not managed by chiltepin",)),
    Row(unmanaged_directory, ("not managed by chiltepin",), new=("adopt",)),
    Row(copied_home, ("~/old/main", "~/.globus_compute/main")),
    Row(host_renamed, ("on ursa", "on ufe")),
    Row(moved_away, ("the lock says: jdoe, /scratch/gce/main", "~/.globus_compute/main")),
    Row(moved_to_another_host, ("on hera", "on ursa")),
    Row(moved_away_before_its_first_start, ("/scratch/gce/main", "~/.globus_compute/main"), new=("adopt",)),
    Row(second_clone, ("lineage: another", "lineage: lineage-1")),
    Row(hosts_section_new_on_a_copy, ("on ursa", "jdoe, ~/.globus_compute/main")),
    Row(uuids_disagree, (f"endpoint.json: {OTHER}", "marker: 0000", "lock: 0000")),
    Row(registration_gone, ("no registration",)),
    Row(owned_registration_of_the_name, ("registration named `main`",)),
    Row(cut_off_and_two_candidates, (OTHER, "cut off")),
)


def name_of(row: Row) -> str:
    return row.happens.__name__


def refused(row: Row) -> tuple[Lab, Refusal, str | None]:
    """Return a lab in which it happened, the refusal, and the UUID that there was."""
    lab = running()
    uuid = lab.ids()["main"]
    row.happens(lab)
    before = lab.snapshot()
    result = lab.apply()
    assert result.code == row.code
    (refusal,) = result.sight.plan.refusals
    after = lab.snapshot()
    assert (before[:4], before[0]) == (after[:4], after[0])  # type: ignore[index]
    return lab, refusal, uuid


def commands_of(refusal: Refusal) -> list[str]:
    return re.findall(r"`chiltepin ([^`]*)`", refusal.remedy)


def run(lab: Lab, command: str, uuid: str | None) -> Result:
    """Do what a printed command line says, over the fakes."""
    words = [str(uuid) if word == "UUID" else word for word in shlex.split(command)]
    name = next((word for word in words[1:] if not word.startswith("-") and word != str(uuid)), "main")
    if words[0] == "adopt":
        chosen = uuid if "--id" in words else None
        return lab.apply(errand=Errand("adopt", (name,), id=chosen, take_over="--take-over" in words))
    assert words[0] == "apply", command
    if "--reregister" in words:
        return lab.apply(reregister=frozenset({name}))
    return lab.apply(new=frozenset({name}) if "--new" in words else frozenset())


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_refused_with_both_sides(row: Row) -> None:
    _, refusal, _ = refused(row)
    text = "\n".join((refusal.what, *refusal.evidence))
    for side in row.sides:
        assert side in text
    assert commands_of(refusal), refusal.remedy


@pytest.mark.parametrize(
    ("row", "index"), [pytest.param(row, i, id=f"{name_of(row)}-{i}") for row in ROWS for i in range(2)]
)
def test_the_printed_command_resolves_it(row: Row, index: int) -> None:
    lab, refusal, uuid = refused(row)
    commands = commands_of(refusal)
    if index >= len(commands):
        assert index == 1  # it prints one command only
        return
    assert run(lab, commands[index], uuid).code == ExitCode.OK
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    made_new = any(word in commands[index] for word in row.new)
    assert (lab.ids()["main"] != uuid) == made_new
    assert len({d.pid for d in lab.world.daemons}) == 1


@pytest.mark.parametrize("happens", [copied_home, host_renamed, moved_away, second_clone, hosts_section_new_on_a_copy])
def test_apply_take_over_resolves_it_and_goes_on(happens: Callable[[Lab], None]) -> None:
    lab = running()
    ids = lab.ids()
    happens(lab)
    assert lab.apply().code == ExitCode.REFUSED
    assert lab.apply(take_over=True).code == ExitCode.OK
    lab.assert_converged()
    assert lab.ids() == ids


@pytest.mark.parametrize("starts_go_on", [False, True])
def test_apply_take_over_that_is_killed_anywhere(starts_go_on: bool) -> None:
    at = 0
    while True:
        at += 1
        lab = running()
        ids = lab.ids()
        copied_home(lab)
        crashed = lab.crash(at, starts_go_on=starts_go_on, take_over=True)
        lab.world.now += 100
        assert lab.apply(take_over=True).code == ExitCode.OK
        lab.assert_converged()
        assert lab.ids() == ids
        assert len(lab.world.registrations) == 1
        if not crashed:
            return


@pytest.mark.parametrize(
    ("happens", "half_done"),
    [(copied_home, 0), (host_renamed, 2), (moved_away, 1), (second_clone, 0), (hosts_section_new_on_a_copy, 0)],
)
def test_adopt_take_over_that_is_killed_is_finished_by_what_apply_prints(
    happens: Callable[[Lab], None], half_done: int
) -> None:
    """At `half_done` moments the lock still has what the marker has no more."""
    at, found = 0, 0
    while True:
        at += 1
        lab = running()
        ids = lab.ids()
        happens(lab)
        crashed = lab.crash(at, starts_go_on=False, errand=Errand("adopt", ("main",), take_over=True))
        lab.world.now += 100
        result = lab.apply()
        for refusal in result.sight.plan.refusals:
            found += refusal.evidence[0].startswith("the lock says")
            (command,) = commands_of(refusal)
            assert command == "adopt main --take-over"
            assert run(lab, command, ids["main"]).code == ExitCode.OK
        assert lab.apply().code == ExitCode.OK
        lab.assert_converged()
        assert lab.ids() == ids
        if not crashed:
            assert not result.sight.plan.refusals
            assert found == half_done
            return


def with_a_copy(block: DesiredEndpoint) -> Lab:
    """Return a lab in which the directory was copied beside the original; `block` is that of the original by now."""
    lab = running()
    copied = deepcopy(lab.world.folders["main"])
    copied.pid = None
    lab.world.folders["copy"] = copied
    lab.wants(block, endpoint("copy", state="unmanaged"))
    return lab


def test_a_copy_beside_its_original_settles_when_both_are_left_alone() -> None:
    """As `init --from-existing` writes it: nothing of ours is at stake."""
    lab = with_a_copy(endpoint(state="unmanaged"))
    lab.world.lock = lab.world.folders["main"].marker = lab.world.folders["copy"].marker = None
    assert lab.apply().code == ExitCode.OK
    assert lab.ids()["main"] == lab.ids()["copy"]
    before = lab.snapshot()
    second = lab.apply()
    assert (second.code, second.sight.plan.is_empty) == (ExitCode.OK, True)
    assert (lab.snapshot(), lab.plan_code()) == (before, ExitCode.OK)


@pytest.mark.parametrize("in_the_lock", [False, True])
def test_a_copy_beside_what_is_managed_is_let_go_of_as_the_remedy_says(in_the_lock: bool) -> None:
    lab = with_a_copy(endpoint())
    if in_the_lock:
        main = lab.lock().endpoints["main"]
        claim = main.claim.model_copy(update={"directory": "copy"})
        entry = main.model_copy(update={"state": "unmanaged", "claim": claim})
        lab.world.lock = emit_lock(lab.lock().with_endpoint("copy", entry))
    for _ in range(2):
        result = lab.apply()
        assert result.code == ExitCode.REFUSED
        assert set(lab.ids()) == ({"main", "copy"} if in_the_lock else {"main"})
    assert "remove one of the two blocks, then `chiltepin forget NAME`" in result.sight.plan.refusals[-1].remedy
    lab.wants(endpoint())
    if in_the_lock:
        assert lab.apply(YES, errand=Errand("forget", ("copy",))).code == ExitCode.OK
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_take_over_is_refused_while_it_is_online_elsewhere() -> None:
    lab = running()
    daemon = daemon_of(lab)
    copied_home_alive = lab.world.folders["main"]
    claimed(lab, config_dir="~/old")
    daemon.node, copied_home_alive.pid = "hfe01", None
    before = lab.snapshot()
    result = lab.apply(take_over=True)
    assert result.code == ExitCode.REFUSED
    assert "runs elsewhere" in result.sight.plan.refusals[0].what
    assert lab.snapshot() == before


def test_hosts_section_is_new() -> None:
    """The claims gain the host's name, and nothing else happens."""
    lab = running()
    pid, ids = daemon_of(lab).pid, lab.ids()
    lab.desired = replace(lab.desired, host=HostView("ursa"))
    assert lab.apply().code == ExitCode.OK
    assert lab.lock().endpoints["main"].claim.host == "ursa"
    assert (daemon_of(lab).pid, lab.ids()) == (pid, ids)
    lab.assert_converged()


def test_hosts_section_is_new_and_a_block_leaves() -> None:
    lab = Lab(desired(endpoint(), endpoint("two")))
    assert lab.apply().code == ExitCode.OK
    lab.wants(endpoint("two"), host=HostView("ursa"))
    assert lab.apply().code == ExitCode.REFUSED
    assert lab.apply(YES).code == ExitCode.OK
    assert list(lab.ids()) == ["two"]
    assert lab.world.daemons_of("main") == []


def test_another_identity_is_77_and_nothing_is_read_as_gone() -> None:
    lab = running()
    lab.world.identity = Identity("production", "somebody", "client")
    lab.world.registrations.clear()  # of that identity
    before = lab.snapshot()
    for scope in ({}, {"take_over": True}, {"reregister": frozenset({"main"})}):
        assert lab.apply(**scope).code == ExitCode.LOGIN
    assert lab.snapshot() == before


NOBODY = Identity("production", None, "client")


def without_identity(lab: Lab) -> None:
    """Claims as first versions wrote them when Globus Auth could not be asked."""
    folder = lab.world.folders["main"]
    assert isinstance(folder.marker, Marker)
    folder.marker = folder.marker.but(claim=folder.marker.claim.model_copy(update={"identity": None}))
    entry = lab.lock().endpoints["main"]
    claim = entry.claim.model_copy(update={"identity": None})
    lab.world.lock = emit_lock(lab.lock().with_endpoint("main", entry.model_copy(update={"claim": claim})))


def test_nothing_is_registered_while_nobody_can_say_whose_login_it_is() -> None:
    lab = Lab(desired(endpoint(), endpoint("resting", state="stopped")))
    lab.world.identity = NOBODY
    assert lab.apply().code == ExitCode.LOGIN
    assert (lab.world.registrations, list(lab.world.folders)) == ({}, ["resting"])
    lab.world.identity = Identity("production", "me", "client")
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()
    assert {entry.claim.identity for entry in lab.lock().endpoints.values()} == {"me"}


def test_a_registration_that_is_gone_is_not_replaced_while_nobody_can_say_whose_login_it_is() -> None:
    lab = running()
    without_identity(lab)
    registration_gone(lab)
    lab.world.identity = NOBODY
    before = lab.snapshot()
    assert lab.apply(reregister=frozenset({"main"})).code == ExitCode.LOGIN
    assert lab.snapshot() == before


@pytest.mark.parametrize("lost", ["", "directory", "marker", "lock"])
def test_a_claim_without_an_identity_gains_the_one_that_owns_its_registration(lost: str) -> None:
    lab = running()
    ids = lab.ids()
    without_identity(lab)
    if lost == "directory":
        stop(lab)
        lab.world.folders.clear()
    elif lost == "marker":
        lab.world.folders["main"].marker = None
    elif lost == "lock":
        lab.world.lock = None
    if not lost:
        assert [a.kind for a in lab.sight().plan.all_actions] == ["Adopt", "WriteLock"]
    assert lab.apply().code == ExitCode.OK
    marker = lab.world.folders["main"].marker
    assert isinstance(marker, Marker)
    assert marker.claim.identity == lab.lock().endpoints["main"].claim.identity == "me"
    lab.assert_converged()
    assert lab.ids() == ids


def test_a_claim_without_an_identity_is_not_filled_in_by_who_does_not_own_it() -> None:
    lab = running()
    without_identity(lab)
    lab.world.identity = Identity("production", "somebody", "client")
    lab.world.owned = {}
    before = lab.snapshot()
    for scope in ({}, {"take_over": True}, {"reregister": frozenset({"main"})}):
        result = lab.apply(**scope)
        assert result.code == ExitCode.LOGIN
        assert "--reregister" not in result.sight.plan.refusals[0].remedy
    assert lab.snapshot() == before
    lab.world.faults.fail("status", ServiceUnreachable("no answer"))
    assert lab.apply().code == ExitCode.UNREACHABLE, "not asked is not gone"


def test_renamed_without_moved_prints_the_entry() -> None:
    lab = running()
    renamed_without_moved(lab)
    (refusal,) = lab.apply().sight.plan.refusals
    assert "`moved: [{from: main, to: main2}]`" in refusal.remedy


def test_only_a_registration_of_this_user_and_host_is_taken_for_the_one_that_a_start_made() -> None:
    for changes, taken in (
        ({}, True),
        ({"hostname": "ufe02.noaa.gov"}, False),
        ({"local_user": "somebody"}, False),
    ):
        lab = running()
        uuid = lab.ids()["main"]
        cut_off_and_two_candidates(lab)
        world = lab.world
        del world.registrations[OTHER]
        assert uuid is not None
        world.registrations[uuid] = replace(world.registrations[uuid], **changes)
        assert (lab.apply().code == ExitCode.OK) == taken
        assert len(world.registrations) == 1


def test_a_start_that_was_cut_off_on_another_login_node_is_known_by_that_one() -> None:
    for node, taken in (("ufe01.noaa.gov", True), ("ufe02.noaa.gov", False)):
        lab = running()
        uuid = lab.ids()["main"]
        assert uuid is not None
        cut_off_and_two_candidates(lab)
        world = lab.world
        del world.registrations[OTHER]
        world.registrations[uuid] = replace(world.registrations[uuid], hostname=node)
        world.node = "ufe02"
        assert (lab.apply().code == ExitCode.OK) == taken
        assert list(world.registrations) == [uuid]


def test_a_registration_that_was_there_before_the_start_is_not_its_own() -> None:
    world = World()
    world.registrations[OTHER] = Registration(OTHER, "main", hostname="ufe01.noaa.gov", local_user="jdoe")
    lab = Lab(desired(endpoint()), world)
    at = 0
    while lab.crash(at := at + 1, starts_go_on=False, new=frozenset({"main"})):
        world.now += 100
    assert lab.ids()["main"] not in (None, OTHER)
    assert len(world.registrations) == 2
    assert isinstance(world.folders["main"], Folder)


# --- blocks that are gone, renamed, or ask for a UUID


@pytest.mark.parametrize("way", ["adopt", "forget"])
@pytest.mark.parametrize("happens", [copied_home, uuids_disagree])
def test_a_removed_block_is_told_what_works_without_it(happens: Callable[[Lab], None], way: str) -> None:
    """`adopt` needs the block; `forget` does not."""
    lab = running()
    uuid = lab.ids()["main"]
    happens(lab)
    lab.wants(endpoint("other"))
    (refusal,) = lab.apply(YES).sight.plan.refusals
    assert "with its block in the manifest again; or `chiltepin forget main`" in refusal.remedy
    if way == "forget":
        assert lab.apply(YES, errand=Errand("forget", ("main",))).code == ExitCode.OK
        assert "main" not in lab.ids()
        assert uuid in lab.world.registrations
        return
    lab.wants(endpoint(), endpoint("other"))
    assert run(lab, commands_of(refusal)[0], uuid).code == ExitCode.OK
    assert lab.ids()["main"] == uuid


def test_a_removed_block_that_the_lock_gives_to_another_identity_is_77() -> None:
    lab = running()
    stop(lab)
    uuid = lab.ids()["main"]
    assert lab.world.lock is not None
    lab.world.lock = lab.world.lock.replace("identity: me", "identity: somebody")
    lab.wants(endpoint("other"))
    result = lab.apply(YES)
    assert result.code == ExitCode.LOGIN
    assert "log in as that identity" in result.sight.plan.refusals[0].remedy
    assert lab.ids()["main"] == uuid


def test_a_uuid_in_the_manifest_that_is_gone_is_replaced_as_the_remedy_says() -> None:
    lab = Lab(desired(endpoint(id=OTHER)))
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    assert (
        "take `id` out of its block, then `chiltepin apply --reregister main`" in result.sight.plan.refusals[0].remedy
    )
    lab.wants(endpoint())
    assert lab.apply(reregister=frozenset({"main"})).code == ExitCode.OK
    lab.assert_converged()


def test_a_marker_that_is_lost_does_not_hide_that_the_manifest_asks_for_another_uuid() -> None:
    lab = running()
    uuid = lab.ids()["main"]
    assert uuid is not None
    lab.world.folders["main"].marker = None
    lab.world.registrations[OTHER] = replace(lab.world.registrations[uuid], id=OTHER)
    lab.wants(endpoint(id=OTHER))
    before = lab.snapshot()
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    assert f"manifest (id): {OTHER}" in result.sight.plan.refusals[0].evidence
    assert lab.snapshot() == before


def test_a_rename_of_what_is_another_identitys_is_77() -> None:
    lab = running()
    without_identity(lab)
    lab.world.identity = Identity("production", "somebody", "client")
    lab.world.owned = {}
    lab.wants(endpoint("new", directory="main"), pools=(), moved=(Moved("main", "new"),))
    before, pid = lab.ids(), daemon_of(lab).pid
    result = lab.apply()
    assert result.code == ExitCode.LOGIN
    assert "log in as that identity" in result.sight.plan.refusals[0].remedy
    lab.world.faults.fail("status", ServiceUnreachable("no answer"))
    assert lab.apply().code == ExitCode.UNREACHABLE, "not asked is not gone"
    assert (lab.ids(), daemon_of(lab).pid) == (before, pid)


@pytest.mark.parametrize("other", [OTHER, None], ids=["nobody's", "another endpoint's"])
def test_a_lock_that_was_merged_wrongly_sends_no_pool_elsewhere(other: str | None) -> None:
    """Daemon, endpoint.json and marker agree: what the lock alone says reaches the pools file of nobody."""
    lab = Lab(desired(endpoint(), endpoint("two"), pools=(pool("mpi"),)))
    assert lab.apply().code == ExitCode.OK
    right, wrong = lab.ids()["main"], other or lab.ids()["two"]
    assert lab.world.lock is not None
    assert right is not None
    assert wrong is not None
    lab.world.lock = lab.world.lock.replace(right, wrong)
    before = lab.world.pools
    result = lab.apply()
    assert result.code == ExitCode.REFUSED
    assert lab.world.pools == before
    assert any("the pools file stays as it is" in note.text for note in result.sight.plan.notes)
