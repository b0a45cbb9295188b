"""One endpoint by hand, over the ports in memory: what `reconciler.endpoint` and `chiltepin endpoint` do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest
import yaml

from reconciler import by_hand
from reconciler.core.live import Damaged
from reconciler.core.marker import Marker
from reconciler.core.pid_file import LISTED_AS_RUNNING, LOOKED_AT_EVERY
from reconciler.core.single import listing
from reconciler.errors import (
    EndpointCommandError,
    ExitCode,
    LeaseHeld,
    LoginRequired,
    Refused,
    ServiceRefused,
    ServiceUnreachable,
    TimedOut,
    UsageError,
)
from tests.core.builders import SCHEMA, TEMPLATE, endpoint
from tests.fakes import FakeClock, FakeStore, World
from tests.lab import YES, Lab, desired

Do = Callable[["Hands"], None]


class Hands:
    """Somebody who works by hand in a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = FakeClock(world)

    def configure(self, name: str = "byhand") -> None:
        by_hand.configure(self.world.outside, self.clock, name, template=TEMPLATE, schema=SCHEMA, patience=10)

    def start(self, name: str = "byhand") -> None:
        by_hand.start(self.world.outside, self.clock, name, patience=10)

    def stop(self, name: str = "byhand", seconds: float = 120) -> None:
        by_hand.stop(self.world.outside, self.clock, name, seconds=seconds)

    def delete(self, name: str = "byhand", *, deregister: bool = False) -> None:
        by_hand.delete(self.world.outside, self.clock, name, deregister=deregister, seconds=120)

    def undelete(self, name: str = "byhand", entry: str | None = None) -> None:
        by_hand.undelete(self.world.outside, self.clock, name, entry=entry, patience=10)

    def status(self, name: str = "byhand") -> str | None:
        return listing(self.world.outside.host.directories())[name]["status"]

    def id(self, name: str = "byhand") -> str:
        found = self.world.folders[name].endpoint_id
        assert isinstance(found, str)
        return found


@pytest.fixture
def hands() -> Hands:
    """An endpoint `byhand`, configured and never started."""
    made = Hands(World())
    made.configure()
    return made


@pytest.fixture
def running(hands: Hands) -> Hands:
    """The same, started."""
    hands.start()
    return hands


@pytest.fixture
def stack() -> tuple[Lab, Hands]:
    """A stack with one running endpoint, `main`."""
    lab = Lab(desired(endpoint()))
    assert lab.apply().code == ExitCode.OK
    return lab, Hands(lab.world)


def test_start_leaves_alone_what_runs_although_its_uuid_cannot_be_read(running: Hands) -> None:
    daemons = list(running.world.daemons)
    running.world.folders["byhand"].endpoint_id = Damaged("cut short")
    running.start()
    assert running.world.daemons == daemons


@pytest.mark.parametrize("is_said", [False, True], ids=["cut off", "its log says that it ended"])
def test_start_waits_for_one_on_another_node_that_may_not_have_looked_for_its_pid_file(
    running: Hands, is_said: bool
) -> None:
    """It has no connection: the service says offline at once."""
    world = running.world
    (daemon,) = world.daemons
    daemon.connects = math.inf
    world.node = "ufe02"
    if is_said:
        world.end(daemon, cleanly=True)
    else:
        world.folders["byhand"].pid = None
    began = world.now
    by_hand.start(world.outside, FakeClock(world), "byhand", patience=60.0)
    (new,) = world.daemons
    assert (new.node, new.id) == ("ufe02", daemon.id)
    assert (world.now - began >= LOOKED_AT_EVERY) is not is_said


# --- configure


def test_configure_makes_what_nobody_manages(hands: Hands) -> None:
    folder = hands.world.folders["byhand"]
    assert folder.marker is None
    assert yaml.safe_load(folder.files["config.yaml"].content) == {"display_name": "byhand", "debug": True}
    environment = yaml.safe_load(folder.files["user_environment.yaml"].content)
    assert environment == {"PATH": "/opt/gce/bin:/usr/bin:/bin", "GLOBUS_COMPUTE_CLIENT_SECRET": ""}
    assert folder.files["user_config_template.yaml.j2"].content.decode() == TEMPLATE.text
    assert hands.world.registrations == {}
    assert hands.status() == "Initialized"


def test_configure_refuses_what_is_there(hands: Hands) -> None:
    before = dict(hands.world.folders["byhand"].files)
    with pytest.raises(Refused, match="byhand exists"):
        hands.configure()
    assert hands.world.folders["byhand"].files == before


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a/b", "-x", "uep.x", "00000000-0000-4000-8000-000000000000"])
def test_configure_refuses_a_name_that_is_none(name: str) -> None:
    world = World()
    with pytest.raises(UsageError):
        Hands(world).configure(name)
    assert world.folders == {}


# --- start and stop


def test_a_first_start_registers_and_the_next_keeps_the_uuid(running: Hands) -> None:
    first = running.id()
    assert running.status() == "Running"
    running.stop()
    assert running.status() == "Stopped"
    running.start()
    assert running.id() == first
    assert list(running.world.registrations) == [first]


def test_what_runs_is_left_alone_by_a_start_and_what_is_stopped_by_a_stop(running: Hands) -> None:
    daemons = [d.pid for d in running.world.daemons]
    running.start()
    assert [d.pid for d in running.world.daemons] == daemons
    running.stop()
    running.stop()
    assert running.world.daemons == []


def test_a_daemon_that_was_killed_is_stopped_once_its_pid_file_is_old(running: Hands) -> None:
    running.world.end(running.world.daemons[0], cleanly=False)
    assert running.status() == "Running"  # so says its PID file
    began = running.world.now
    running.stop()
    assert running.status() == "Stopped"
    assert LISTED_AS_RUNNING < running.world.now - began < LISTED_AS_RUNNING + LOOKED_AT_EVERY


def test_a_daemon_on_another_node_is_neither_stopped_nor_doubled_nor_deleted(running: Hands) -> None:
    running.world.node = "ufe02"
    do: Do
    for do in (Hands.stop, Hands.start, Hands.delete):
        with pytest.raises(Refused):
            do(running)
    assert [(d.node, d.phase) for d in running.world.daemons] == [("ufe01", "up")]
    assert "byhand" in running.world.folders


def test_an_old_pid_file_of_a_daemon_that_the_service_sees_is_no_reason_to_start(running: Hands) -> None:
    """The clocks of two nodes differ, or the daemon hangs: a second one would share its tasks."""
    world = running.world
    world.node = "ufe02"
    pid, world.folders["byhand"].pid = world.folders["byhand"].pid, 999_999
    world.folders["byhand"].touched = world.now - 1000
    assert pid is not None
    with pytest.raises(Refused, match="another node"):
        running.start()
    assert len(world.daemons) == 1


def test_a_daemon_that_does_not_end_is_said_to(running: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = running.world.daemons[0]

    def never_stops(*_: object) -> bool:
        daemon.phase, daemon.signalled = "stopping", None
        return False

    monkeypatch.setattr("tests.fakes.FakeHost.wait_stopped", never_stops)
    with pytest.raises(TimedOut) as caught:
        running.stop(seconds=5)
    pid = running.world.daemons[0].pid
    assert caught.value.why == f"its daemon is stopping, process {pid}"
    again = "run `chiltepin endpoint stop byhand` again"
    assert (
        caught.value.remedy == f"no user endpoint of it is left to end, so it may hang: `kill -9 {pid}`, then {again}"
    )
    running.world.user_endpoints["byhand"] = 1
    with pytest.raises(TimedOut) as caught:
        running.stop(seconds=5)
    assert caught.value.remedy == f"it may be ending its user endpoints; wait, then {again}"


def test_a_managed_endpoint_that_is_started_by_hand_has_its_environment(hands: Hands) -> None:
    hands.world.environment = {"HOME": "/home/jdoe", "SLURM_CONF": "/s", "LANG": "C"}
    lab = Lab(desired(endpoint()), hands.world)
    lab.apply()
    hands.stop("main")
    hands.world.environment = {"HOME": "/home/jdoe", "LANG": "de_DE"}
    hands.start("main")
    given = hands.world.daemons[0].environment
    assert (given["SLURM_CONF"], given["PATH"]) == ("/s", "/usr/bin:/bin")
    lab.assert_converged()


def test_a_start_that_fails_raises_and_registers_nothing(hands: Hands) -> None:
    hands.world.service_down = True
    with pytest.raises(RuntimeError) as caught:
        hands.start()
    assert isinstance(caught.value, EndpointCommandError)
    assert hands.world.registrations == {}


def test_without_a_login_nothing_is_started(hands: Hands) -> None:
    hands.world.faults.fail("prepare", LoginRequired("nobody is logged in"))
    with pytest.raises(LoginRequired):
        hands.start()
    assert hands.world.daemons == []


def test_a_uuid_that_cannot_be_read_is_not_replaced(running: Hands) -> None:
    running.stop()
    running.world.folders["byhand"].endpoint_id = Damaged("cut short")
    with pytest.raises(Refused, match="UUID"):
        running.start()
    assert len(running.world.registrations) == 1
    assert listing(running.world.outside.host.directories())["byhand"]["id"] == "[failed to read endpoint id]"


@pytest.mark.parametrize("do", [Hands.start, Hands.stop, Hands.delete])
def test_a_name_that_is_none_of_these_is_met_with_the_nearest(hands: Hands, do: Callable[[Hands, str], None]) -> None:
    with pytest.raises(UsageError) as caught:
        do(hands, "byhnad")
    assert caught.value.remedy == "did you mean byhand?"


def copied(hands: Hands, name: str, *, pid_file: bool) -> None:
    """This is a copy of the home from now on, on a machine of the same name; the daemon is the original's."""
    hands.world.copied(pid_file=pid_file)
    hands.world.now += 3600


@pytest.mark.parametrize("pid_file", [True, False], ids=["its PID file was copied", "without a PID file"])
def test_what_is_online_and_not_here_is_not_started(running: Hands, pid_file: bool) -> None:
    copied(running, "byhand", pid_file=pid_file)
    before = list(running.world.daemons)
    with pytest.raises(Refused, match="online"):
        running.start()
    running.world.service_down = True
    with pytest.raises(ServiceUnreachable):
        running.start()
    assert running.world.daemons == before
    running.world.service_down = False
    running.world.end(before[0], cleanly=True)
    running.start()
    assert [d.node for d in running.world.daemons] == ["ufe01"]


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("pid_file", [True, False], ids=["its PID file was copied", "without a PID file"])
def test_what_a_stack_manages_and_is_online_and_not_here_is_not_started(
    stack: tuple[Lab, Hands], recorded: bool, pid_file: bool
) -> None:
    lab, hands = stack
    copied(hands, "main", pid_file=pid_file)
    folder = lab.world.folders["main"]
    assert isinstance(folder.marker, Marker)
    folder.marker = folder.marker if recorded else folder.marker.but(daemon=None)
    before = list(lab.world.daemons)
    with pytest.raises(Refused):
        hands.start("main")
    assert lab.world.daemons == before


def test_a_daemon_that_died_here_is_started_without_waiting_for_the_service(stack: tuple[Lab, Hands]) -> None:
    lab, hands = stack
    began = lab.world.now
    lab.world.end(lab.world.daemons[0], cleanly=False)
    lab.world.faults.fail("status", ServiceUnreachable("no answer"))
    hands.start("main")
    assert (len(lab.world.daemons), lab.world.now) == (1, began)


# --- delete


def test_delete_goes_to_the_trash_and_deregisters_nothing(running: Hands) -> None:
    uuid = running.id()
    running.stop()
    running.delete()
    assert running.world.folders == {}
    assert len(running.world.trash) == 1
    assert list(running.world.registrations) == [uuid]


def test_delete_deregisters_its_own_when_told_to(running: Hands) -> None:
    running.configure("other")
    running.start("other")
    uuid, other = running.id(), running.id("other")
    running.stop()
    running.delete(deregister=True)
    assert running.world.deregistered == [uuid]
    assert list(running.world.registrations) == [other]
    assert sorted(running.world.folders) == ["other"]


def test_what_runs_is_not_deleted(running: Hands) -> None:
    for deregister in (False, True):
        with pytest.raises(Refused, match="byhand runs"):
            running.delete(deregister=deregister)
    assert running.status() == "Running"
    assert running.world.deregistered == []


def test_what_the_service_sees_somewhere_is_not_deleted(running: Hands) -> None:
    """Another copy of the directory, on another host, runs under the same UUID."""
    uuid = running.id()
    running.stop()
    elsewhere = running.world.spawn("byhand", uuid)
    elsewhere.phase, elsewhere.node = "up", "hera"
    with pytest.raises(Refused, match="byhand runs"):
        running.delete(deregister=True)
    assert running.world.deregistered == []
    assert "byhand" in running.world.folders


def test_without_the_service_it_is_not_known_whether_it_runs_so_it_is_not_deleted(running: Hands) -> None:
    running.stop()
    running.world.service_down = True
    with pytest.raises(ServiceUnreachable):
        running.delete()
    assert "byhand" in running.world.folders


def test_a_registration_that_cannot_be_ended_keeps_its_directory(running: Hands) -> None:
    running.stop()
    running.world.faults.fail("delete", ServiceRefused("not yours", status=403))
    with pytest.raises(ServiceRefused):
        running.delete(deregister=True)
    assert "byhand" in running.world.folders


def test_a_damaged_uuid_deregisters_nothing(running: Hands) -> None:
    running.stop()
    running.world.folders["byhand"].endpoint_id = Damaged("cut short")
    with pytest.raises(Refused, match="which registration"):
        running.delete(deregister=True)
    assert running.world.deregistered == []
    running.delete()
    assert running.world.folders == {}


# --- what a stack manages


# --- undelete


def test_what_was_deregistered_comes_back_without_its_uuid(running: Hands) -> None:
    uuid = running.id()
    running.stop()
    running.delete(deregister=True)
    running.undelete()
    assert running.world.folders["byhand"].endpoint_id is None
    running.start()
    assert running.id() != uuid


def test_what_was_deleted_comes_back_under_its_uuid(running: Hands) -> None:
    uuid = running.id()
    running.stop()
    running.delete()
    running.undelete()
    assert running.id() == uuid
    assert running.world.trash == {}
    running.start()
    assert list(running.world.registrations) == [uuid]


def test_of_several_with_one_uuid_the_newest_comes_back(running: Hands) -> None:
    running.stop()
    kept = running.world.folders["byhand"]
    running.delete()
    running.world.folders["byhand"] = replace(kept, files={**kept.files, "new": kept.files["config.yaml"]})
    running.delete()
    running.undelete()
    assert "new" in running.world.folders["byhand"].files


def test_of_several_with_different_uuids_one_must_be_named(running: Hands) -> None:
    first = running.id()
    running.stop()
    running.delete()
    running.configure()
    running.start()
    running.stop()
    running.delete()
    with pytest.raises(Refused, match="several times") as refused:
        running.undelete()
    assert all(entry in (refused.value.why or "") for entry in (*running.world.trash, first))
    running.undelete(entry=next(iter(running.world.trash)))
    assert running.id() == first


def test_what_was_not_deleted_does_not_come_back(running: Hands) -> None:
    with pytest.raises(UsageError, match="nothing of that name"):
        running.undelete()
    running.stop()
    running.delete()
    with pytest.raises(UsageError) as near:
        running.undelete("byhandd")
    assert near.value.remedy == "did you mean byhand?"
    with pytest.raises(UsageError, match="other~1"):
        running.undelete(entry="other~1")
    assert len(running.world.trash) == 1


def test_a_name_that_is_taken_stays_as_it_is(running: Hands) -> None:
    running.stop()
    running.delete()
    running.configure()
    with pytest.raises(Refused, match="exists"):
        running.undelete()
    assert running.world.folders["byhand"].endpoint_id is None
    assert len(running.world.trash) == 1


@pytest.mark.parametrize("damaged", [False, True])
def test_what_a_stack_deleted_is_left_to_its_manifest(stack: tuple[Lab, Hands], *, damaged: bool) -> None:
    lab, hands = stack
    lab.wants()
    lab.apply(YES)
    (entry,) = lab.world.trash
    if damaged:
        lab.world.trash[entry].marker = Damaged("not JSON")
    with pytest.raises(Refused, match="not brought back by hand") as refused:
        hands.undelete("main")
    assert (refused.value.remedy == "with its manifest: `chiltepin undelete main`") is not damaged
    assert list(lab.world.trash) == [entry]


def test_whoever_lost_the_lease_brings_nothing_back(running: Hands) -> None:
    running.stop()
    running.delete()
    running.world.faults.fail("check_lease", LeaseHeld("lost"))
    with pytest.raises(LeaseHeld):
        running.undelete()
    assert running.world.folders == {}


def test_a_stacks_endpoint_is_neither_configured_nor_deleted_by_hand(stack: tuple[Lab, Hands]) -> None:
    lab, hands = stack
    hands.stop("main")
    before = lab.snapshot()
    for do in (hands.configure, hands.delete):
        with pytest.raises(Refused, match="stack `hrrr`") as caught:
            do("main")
        assert "chiltepin apply" in (caught.value.remedy or "")
    assert lab.snapshot() == before


def test_a_marker_that_cannot_be_read_is_a_stacks_all_the_same(stack: tuple[Lab, Hands]) -> None:
    lab, hands = stack
    hands.stop("main")
    lab.world.folders["main"].marker = Damaged("cut short")
    for do in (hands.configure, hands.delete, hands.start, hands.stop):
        with pytest.raises(Refused, match=r"managed by a stack|marker of main"):
            do("main")
    assert lab.world.trash == {}


def test_stop_and_start_by_hand_keep_the_marker_true(stack: tuple[Lab, Hands]) -> None:
    lab, hands = stack
    uuid = hands.id("main")
    hands.stop("main")
    stopped = lab.world.folders["main"].marker
    assert isinstance(stopped, Marker)
    assert stopped.daemon is None
    assert [(a.kind, a.cause.value) for a in lab.sight().plan.actions] == [("Start", "not running")]
    hands.start("main")
    started = lab.world.folders["main"].marker
    assert isinstance(started, Marker)
    assert started.daemon is not None
    assert started.daemon.pid == lab.world.daemons[0].pid
    assert hands.id("main") == uuid
    lab.assert_converged()


def test_a_start_by_hand_clears_the_pid_file_of_a_dead_daemon(stack: tuple[Lab, Hands]) -> None:
    lab, hands = stack
    lab.world.end(lab.world.daemons[0], cleanly=False)
    hands.start("main")
    lab.assert_converged()


def test_a_running_daemon_with_an_old_config_is_not_recorded_as_one_with_the_new(stack: tuple[Lab, Hands]) -> None:
    lab, hands = stack
    lab.wants(endpoint(config={"debug": False}, restart="never"))
    lab.apply()
    hands.start("main")
    lab.wants(endpoint(config={"debug": False}, restart="now"))
    assert "Restart" in [a.kind for a in lab.sight().plan.actions]


def test_a_stacks_first_start_is_left_to_its_apply(stack: tuple[Lab, Hands]) -> None:
    lab, hands = stack
    lab.wants(endpoint(), endpoint("new", state="stopped"))
    assert lab.apply().code == ExitCode.OK
    with pytest.raises(Refused, match="never registered"):
        hands.start("new")
    assert len(lab.world.registrations) == 1


def test_a_stacks_daemon_on_another_node_is_named_with_it(stack: tuple[Lab, Hands]) -> None:
    lab, hands = stack
    lab.world.node = "ufe02"
    do: Callable[[str], None]
    for do in (hands.stop, hands.start):
        with pytest.raises(Refused, match="runs on ufe01"):
            do("main")
    assert [d.phase for d in lab.world.daemons] == ["up"]


# --- one at a time


class BusyStore(FakeStore):
    """Somebody else holds the lease until `until`."""

    def __init__(self, world: World, until: float) -> None:
        super().__init__(world)
        self._until = until

    def lease(self) -> AbstractContextManager[None]:
        return self._held()

    @contextmanager
    def _held(self) -> Iterator[None]:
        if self._world.now < self._until:
            raise LeaseHeld("another apply is at work")
        yield


@pytest.mark.parametrize(("seconds", "held"), [(5, False), (60, True)])
def test_whoever_is_at_work_is_waited_for_as_long_as_was_said(hands: Hands, seconds: float, held: bool) -> None:
    world = hands.world
    ports = world.outside
    busy = replace(ports, store=BusyStore(world, world.now + seconds))
    if held:
        with pytest.raises(LeaseHeld):
            by_hand.start(busy, hands.clock, "byhand", patience=10)
        assert world.daemons == []
    else:
        by_hand.start(busy, hands.clock, "byhand", patience=10)
        assert hands.status() == "Running"


@pytest.mark.parametrize("checks", [1, 2])
def test_whoever_lost_the_lease_writes_no_marker(stack: tuple[Lab, Hands], checks: int) -> None:
    """Another apply took it over: before the start, or while the daemon was coming up."""
    lab, hands = stack
    hands.stop("main")
    before = lab.world.folders["main"].marker
    lab.world.faults.fail("check_lease", LeaseHeld("taken over"), after=checks)
    with pytest.raises(LeaseHeld):
        hands.start("main")
    assert lab.world.folders["main"].marker == before
    assert len(lab.world.daemons) == checks - 1
    lab.world.faults.revive()
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_whoever_lost_the_lease_deletes_and_deregisters_nothing(running: Hands) -> None:
    running.stop()
    running.world.faults.fail("check_lease", LeaseHeld("taken over"), after=1)
    with pytest.raises(LeaseHeld):
        running.delete(deregister=True)
    assert running.world.deregistered == []
    assert running.status() == "Stopped"


def beside_another(running: Hands) -> None:
    """Let a second daemon run on another node, which was started while the PID file was away."""
    (first,) = running.world.daemons
    running.world.folders["byhand"].pid = None
    second = running.world.spawn("byhand", first.id)
    second.node = "ufe02"
    running.world.bring_up(second)


@pytest.mark.parametrize("do", [Hands.start, Hands.delete])
def test_beside_a_second_daemon_on_another_node_nothing_is_done_and_the_remedy_told(running: Hands, do: Do) -> None:
    beside_another(running)
    with pytest.raises(Refused) as refused:
        do(running)
    assert "names" in refused.value.what
    assert "daemon.pid` ends both" in (refused.value.remedy or "")
    assert len(running.world.daemons) == 2


def test_a_stop_beside_a_second_daemon_ends_both(running: Hands) -> None:
    """The one here takes the PID file with it, whosever it is; the other one misses it."""
    beside_another(running)
    running.stop()
    running.world.tick()
    running.world.now += LOOKED_AT_EVERY + 1
    running.world.tick()
    assert not running.world.daemons
