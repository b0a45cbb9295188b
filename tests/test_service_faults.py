"""Every action meets every fault of the service, and at each request that is made some, over the real HTTP adapter.

Which fault at which request is said in `sampling.py`; CHILTEPIN_TEST_WHOLE=1: every one at each.

Directories, daemons and files are in memory; the service is a server on loopback that knows the same registrations.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from globus_sdk.transport import RequestsTransport

from reconciler.adapters.web import GlobusCompute
from reconciler.core.desired import Moved
from reconciler.core.live import Identity, LiveDirectory, Registration
from reconciler.core.marker import Marker
from reconciler.core.scope import Errand
from reconciler.errors import EndpointCommandError, ExitCode, ReconcilerError, ServiceRefused
from reconciler.ports import Outside
from tests.adapters.globus_stub import CLIENT, SECRET, FakeClock, GlobusStub, Reply, Request, error, running_stub
from tests.core.builders import desired, endpoint, pool
from tests.fakes import Daemon, FakeHost, FakeScheduler, FakeStore, World
from tests.lab import YES, Lab, Result
from tests.sampling import STEP, STEP_OF_KINDS, sampled


class WorldStub(GlobusStub):
    """The service of a `World`; from request number `at` on it answers with `reply`, `times` times."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.reply: Reply | None = None
        self.at = 0
        self.times = 0
        self.number = 0
        self.loses = False

    def trouble(self, reply: Reply | None, at: int = 0, times: int = 0, *, loses: bool = False) -> None:
        """Misbehave from now on; with `loses`, do what was asked and close the connection without an answer."""
        self.reply, self.at, self.times, self.loses, self.number = reply, at, times, loses, 0

    def answer(self, request: Request) -> Reply:
        with self._lock:
            self.number += 1
            wrong = self.reply if self.at <= self.number < self.at + self.times else None
        if wrong is None or self.loses:
            well = super().answer(request)
            return Reply(drop=True) if wrong else well
        return wrong

    def _compute(self, request: Request) -> Reply:
        known = self.world.registrations
        entries = {
            r.id: {"uuid": r.id, "name": r.name, "hostname": r.hostname, "local_user": r.local_user}
            for r in known.values()
        }
        if request.path == "/v2/endpoints":
            return Reply(200, [{"uuid": e["uuid"], "name": e["name"]} for e in entries.values()])
        wanted = request.path.split("/")[3]
        if request.path == f"/v2/endpoints/{user_endpoint(0)}/status":
            report = {"outstanding_tasks": 3, "engine_type": "GlobusComputeEngine"}
            return Reply(200, {"status": "online", "details": report})
        if wanted not in entries:
            return error(404, f"Endpoint {wanted} could not be resolved")
        if request.path.endswith("/status"):
            return Reply(200, {"status": "online" if self.world.online(wanted) else "offline"})
        if request.method == "DELETE":
            del known[wanted]
            return Reply(200, {"result": 302})
        return Reply(200, entries[wanted])


class ServedWorld(World):
    """A world whose service is asked over HTTP, while `over_http` is set."""

    def __init__(self, stub: WorldStub, config_dirs: Iterator[Path]) -> None:
        super().__init__()
        self._config_dirs = config_dirs
        self.over_http = False
        self.identity = Identity("sandbox", CLIENT, CLIENT)
        stub.world = self

    @property
    def outside(self) -> Outside:
        """The ports, with a login that has no token yet."""
        if not self.over_http:
            return super().outside
        config_dir = next(self._config_dirs)
        service = GlobusCompute(str(config_dir), clock=FakeClock(), patience=2.0, timeout=0.3)
        return Outside(FakeHost(self), service, FakeStore(self), FakeScheduler(self))

    def read(self, name: str) -> LiveDirectory | None:
        """Return a directory whose user endpoints have UUIDs, as the service knows them."""
        found = super().read(name)
        if found is None or not self.over_http:
            return found
        below = tuple(replace(u, id=user_endpoint(n)) for n, u in enumerate(found.user_endpoints))
        return replace(found, user_endpoints=below)


def user_endpoint(number: int) -> str:
    return f"eeeeeeee-0000-4000-8000-{number:012d}"


@pytest.fixture(scope="module")
def served() -> Iterator[WorldStub]:
    with running_stub(WorldStub()) as stub:
        assert isinstance(stub, WorldStub)
        yield stub


@pytest.fixture
def stub(served: WorldStub, monkeypatch: pytest.MonkeyPatch) -> WorldStub:
    variables = {"GLOBUS_COMPUTE_CLIENT_ID": CLIENT, "GLOBUS_COMPUTE_CLIENT_SECRET": SECRET, **served.environment()}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # Globus Auth is asked by the SDK's own means, which would wait in real time between its retries.
    monkeypatch.setattr(RequestsTransport, "_retry_sleep", lambda *_, **__: None)
    served.trouble(None)
    return served


@pytest.fixture
def new_lab(stub: WorldStub, tmp_path: Path) -> Callable[[], Lab]:
    config_dirs = (tmp_path / str(number) for number in itertools.count())

    def make() -> Lab:
        stub.trouble(None)
        return Lab(desired(endpoint(), pools=(pool("mpi"),)), ServedWorld(stub, config_dirs))

    return make


# --- what is done


@dataclass(frozen=True)
class Scenario:
    """A state to begin from, and the command that then meets the fault.

    Attributes:
        gives_up: whether it is meant to leave nothing.
        again: exit codes of the same command without the fault.
        renames: directories that may have another name afterwards.
        counts: whether what would be interrupted is counted at the service, so that silence makes it wait.
    """

    prepare: Callable[[Lab], None]
    command: dict[str, Any] = field(default_factory=dict)
    gives_up: bool = False
    again: frozenset[int] = frozenset({0})
    renames: dict[str, str] = field(default_factory=dict)
    counts: bool = False


def nothing(lab: Lab) -> None:
    """The first apply."""


def running(lab: Lab) -> None:
    assert lab.apply().code == ExitCode.OK


def changed(lab: Lab) -> None:
    running(lab)
    lab.wants(endpoint(config={"debug": False}))


def dead(lab: Lab) -> None:
    running(lab)
    lab.world.end(lab.world.daemons[0], cleanly=False)
    lab.world.now += 1000


def to_stop(lab: Lab) -> None:
    running(lab)
    lab.wants(endpoint(state="stopped"))


def lost_directory(lab: Lab) -> None:
    dead(lab)
    del lab.world.folders["main"]


def lost_marker(lab: Lab) -> None:
    running(lab)
    lab.world.folders["main"].marker = None


def removed(lab: Lab) -> None:
    assert lab.apply().code == ExitCode.OK
    lab.wants(endpoint(), endpoint("two"), pools=())
    assert lab.apply().code == ExitCode.OK
    lab.wants(endpoint("two"), pools=())


def deregistered(lab: Lab) -> None:
    dead(lab)
    lab.world.registrations.clear()


def cut_off(lab: Lab) -> None:
    """A first start registered, and its apply was killed before it knew."""
    points = ["create:after", "start:registered"]
    assert lab.crash(_point(lab, points[1]), starts_go_on=False)
    lab.world.now += 1000


def _point(lab: Lab, name: str) -> int:
    """Return the number of a point of the first apply."""
    twin = Lab(lab.desired)
    twin.apply()
    return twin.world.faults.passed.index(name) + 1


def by_hand(lab: Lab) -> None:
    running(lab)
    lab.world.folders["main"].marker = None
    lab.world.lock = None
    lab.world.journal.clear()


def renamed(lab: Lab) -> None:
    """Its directory gets another name, too, so that its daemon is stopped for it."""
    running(lab)
    lab.wants(endpoint("new"), pools=(pool("mpi", "new"),), moved=(Moved("main", "new"),))


def renamed_in_place(lab: Lab) -> None:
    running(lab)
    wanted = endpoint("new", directory="main", config={"debug": False})
    lab.wants(wanted, pools=(pool("mpi", "new"),), moved=(Moved("main", "new"),))


def deleted(lab: Lab) -> None:
    """It lies in the trash; the manifest that declares it is not applied yet."""
    removed(lab)
    assert lab.apply(YES).code == ExitCode.OK
    lab.wants(endpoint(), endpoint("two"), pools=(pool("mpi"),))


def deleted_and_renamed(lab: Lab) -> None:
    deleted(lab)
    lab.wants(endpoint("new"), endpoint("two"), pools=(pool("mpi", "new"),), moved=(Moved("main", "new"),))


def on_another_node(lab: Lab) -> None:
    running(lab)
    lab.world.node = "ufe02"


def to_stop_elsewhere(lab: Lab) -> None:
    on_another_node(lab)
    lab.wants(endpoint(state="stopped"))


def to_move_here(lab: Lab) -> None:
    on_another_node(lab)
    lab.wants(endpoint(config={"debug": False}))


def interrupted(lab: Lab) -> None:
    """A restart that is not to wait, of a daemon with user endpoints."""
    lab.wants(endpoint(restart="now"))
    running(lab)
    lab.wants(endpoint(restart="now", config={"debug": False}))
    lab.world.user_endpoints["main"] = 2


SCENARIOS: dict[str, Scenario] = {
    "Create, Start": Scenario(nothing),
    "nothing to do": Scenario(running),
    "WriteFile, Restart": Scenario(changed),
    "ClearStalePid, Start": Scenario(dead),
    "Stop": Scenario(to_stop),
    "Create with its UUID": Scenario(lost_directory),
    "Adopt (repair)": Scenario(lost_marker),
    "Start that was cut off": Scenario(cut_off),
    "Delete": Scenario(removed, {"consent": YES}),
    "Purge": Scenario(running, {"destroy": True, "purge": True, "consent": YES}, gives_up=True),
    "Reregister": Scenario(deregistered, {"reregister": frozenset({"main"})}, again=frozenset({0, 4})),
    "adopt": Scenario(by_hand, {"errand": Errand("adopt", ("main",))}),
    "restart": Scenario(running, {"errand": Errand("restart", ("main",))}),
    "forget": Scenario(removed, {"errand": Errand("forget", ("main",)), "consent": YES}, again=frozenset({0, 64})),
    "Stop, Rename, Start": Scenario(renamed, renames={"main": "new"}),
    "Rename, WriteFile, Restart": Scenario(renamed_in_place),
    "Undelete, Start": Scenario(deleted),
    "Undelete, Rename, Start": Scenario(deleted_and_renamed),
    "undelete": Scenario(deleted, {"errand": Errand("undelete", ("main",))}),
    "StopElsewhere": Scenario(to_stop_elsewhere, counts=True),
    "StopElsewhere, Start": Scenario(to_move_here, counts=True),
    "Restart that interrupts": Scenario(interrupted),
}

# --- what goes wrong

HTML = {"Content-Type": "text/html"}
PASSING: dict[str, Reply] = {
    "500": error(500),
    "503": error(503),
    "502 of a proxy": Reply(502, body=b"<html>bad gateway</html>", headers=HTML),
    "429": Reply(429, {}, headers={"Retry-After": "1"}),
    "429 with a date": Reply(429, {}, headers={"Retry-After": formatdate(0, usegmt=True)}),
    "dropped": Reply(drop=True),
    "truncated": Reply(200, [1] * 200, cut=True),
}
STAYING = ("503", "429", "dropped", "truncated")
NONSENSE: dict[str, Reply] = {
    "a portal": Reply(200, body=b"<html>Log in to the airport</html>", headers=HTML),
    "nothing": Reply(200, body=b""),
    "half a document": Reply(200, body=b'{"uuid": "'),
    "a list of numbers": Reply(200, [1, 2]),
    "a document without keys": Reply(200, {}),
    "other types": Reply(200, [{"uuid": 5, "name": []}]),
    "404 of a proxy": Reply(404, body=b"<html>no such page</html>", headers=HTML),
    "404 of a gateway": Reply(404, {"message": "no Route matched with those values"}),
    "423": error(423, "locked"),
    "403": error(403, "not for you"),
    "403 of a proxy": Reply(403, body=b"<html>blocked</html>", headers=HTML),
}
REFUSED: dict[str, Reply] = {"401": error(401, "token unknown")}
ALWAYS = 10_000


@dataclass(frozen=True)
class Met:
    """What a run under a fault came to; `error` when it ended with one."""

    code: ExitCode
    result: Result | None = None
    error: ReconcilerError | None = None


def run(lab: Lab, scenario: Scenario, *, over_http: bool = False) -> Met:
    assert isinstance(lab.world, ServedWorld)
    lab.world.over_http = over_http
    try:
        result = lab.apply(**scenario.command)
    except ReconcilerError as e:
        return Met(e.exit_code, error=e)
    finally:
        lab.world.over_http = False
    return Met(result.code, result)


def requests_of(new_lab: Callable[[], Lab], scenario: Scenario, stub: WorldStub) -> int:
    """Return how many requests the scenario makes when nothing goes wrong."""
    lab = new_lab()
    scenario.prepare(lab)
    stub.trouble(None)
    assert run(lab, scenario, over_http=True).code == ExitCode.OK
    return stub.number


def meet(
    new_lab: Callable[[], Lab],
    stub: WorldStub,
    name: str,
    reply: Reply,
    times: int,
    *,
    kinds: Sequence[str] = (),
    kind: str = "",
    loses: bool = False,
) -> Iterator[tuple[int, Met]]:
    """Let the fault begin at each request in turn, or at some if it is one of many `kinds`; check what always holds."""
    scenario = SCENARIOS[name]
    step = STEP_OF_KINDS if kinds else STEP
    sweep = list(SCENARIOS).index(name) + (kinds.index(kind) if kinds else 0)
    for at in sampled(requests_of(new_lab, scenario, stub), step, sweep):
        lab = new_lab()
        scenario.prepare(lab)
        registered, folders = set(lab.world.registrations), set(lab.world.folders)
        stub.trouble(reply, at, times, loses=loses)
        met = run(lab, scenario, over_http=True)
        stub.trouble(None)
        tells(met)
        true_to_the_world(met, lab)
        if not scenario.gives_up:
            assert registered <= set(lab.world.registrations)
            there = set(lab.world.folders) | {name.partition("~")[0] for name in lab.world.trash}
            assert {name for name in folders if name not in there and scenario.renames.get(name) not in there} == set()
        lab.world.now += 1000
        converges(lab, scenario)
        yield at, met


def tells(met: Met) -> None:
    """Whatever was not done is said with what to do about it."""
    if met.error is not None:
        assert met.error.what
        assert met.error.remedy
    if met.result is None:
        return
    for outcome in met.result.run.outcomes:
        if outcome.kind == "failed":
            assert outcome.reason
            assert outcome.remedy, outcome.reason
    plan = met.result.sight.plan
    if plan.unreachable is not None:
        assert "next: " in plan.unreachable
        assert met.code == ExitCode.UNREACHABLE


def true_to_the_world(met: Met, lab: Lab) -> None:
    """What is told as done is so; a run that ends well left nothing undone."""
    if met.result is None:
        return
    world, outcomes = lab.world, met.result.run.outcomes
    for outcome in outcomes:
        if outcome.kind != "done":
            assert met.code != ExitCode.OK
            continue
        action = outcome.action
        if action.kind in ("Start", "Restart"):
            assert world.online(outcome.endpoint_id or "")
            assert lab.ids()[action.endpoint] == outcome.endpoint_id
        elif action.kind in ("Stop", "StopElsewhere"):
            assert [d for d in world.daemons_of(action.directory) if d.phase != "up"] == []
        elif action.kind == "Undelete":
            assert lab.ids()[action.endpoint] == action.id  # type: ignore[union-attr]
            assert action.id in {f.endpoint_id for f in world.folders.values()}  # type: ignore[union-attr]
        elif action.kind == "Rename":
            folder = world.folders[action.directory]
            assert isinstance(folder.marker, Marker)
            assert (folder.marker.endpoint, folder.endpoint_id) == (action.endpoint, action.id)  # type: ignore[union-attr]
            assert lab.ids()[action.endpoint] == folder.endpoint_id
        elif action.kind == "Delete":
            assert action.directory not in world.folders
        elif action.kind == "Purge":
            assert action.id not in world.registrations  # type: ignore[union-attr]


def converges(lab: Lab, scenario: Scenario) -> None:
    """Without the fault the same command does the rest, and there is one registration for each endpoint."""
    again = run(lab, scenario)
    assert int(again.code) in scenario.again, again
    if scenario.gives_up:
        assert lab.world.registrations == {}
        assert lab.world.folders == {}
        return
    assert lab.apply(YES).code == ExitCode.OK
    lab.assert_converged()
    kept = {folder.endpoint_id for folder in (*lab.world.folders.values(), *lab.world.trash.values())}
    assert set(lab.world.registrations) == kept


every_scenario = pytest.mark.parametrize("scenario", SCENARIOS)


@every_scenario
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_waited_out(new_lab: Callable[[], Lab], stub: WorldStub, scenario: str, fault: str) -> None:
    for at, met in meet(new_lab, stub, scenario, PASSING[fault], 1, kinds=[*PASSING], kind=fault):
        assert met.code == ExitCode.OK, (at, met)


@every_scenario
@pytest.mark.parametrize("fault", STAYING)
def test_what_stays_is_unreachable(new_lab: Callable[[], Lab], stub: WorldStub, scenario: str, fault: str) -> None:
    for at, met in meet(new_lab, stub, scenario, PASSING[fault], ALWAYS, kinds=STAYING, kind=fault):
        fits = warned(met) or proven(met) or waits(met, SCENARIOS[scenario])
        assert met.code == ExitCode.UNREACHABLE or fits, (at, met)


@every_scenario
@pytest.mark.parametrize(("fault", "times"), [*((fault, ALWAYS) for fault in NONSENSE), ("a portal", 1)])
def test_nonsense_proves_nothing(
    new_lab: Callable[[], Lab], stub: WorldStub, scenario: str, fault: str, times: int
) -> None:
    for at, met in meet(new_lab, stub, scenario, NONSENSE[fault], times, kinds=[*NONSENSE], kind=fault):
        codes = {ExitCode.UNREACHABLE, ExitCode.PARTIAL, ExitCode.LOGIN}
        if isinstance(met.error, ServiceRefused):  # Globus Auth said no in so many words, before anything was done
            codes = {ExitCode.FAILED}
        fits = warned(met) or proven(met) or waits(met, SCENARIOS[scenario])
        assert met.code in codes or fits, (at, met)


@every_scenario
def test_a_refused_token(new_lab: Callable[[], Lab], stub: WorldStub, scenario: str) -> None:
    for at, met in meet(new_lab, stub, scenario, REFUSED["401"], ALWAYS):
        assert met.code == ExitCode.LOGIN or warned(met) or proven(met), (at, met)


@every_scenario
def test_a_lost_reply(new_lab: Callable[[], Lab], stub: WorldStub, scenario: str) -> None:
    for at, met in meet(new_lab, stub, scenario, Reply(), 1, loses=True):
        assert met.code == ExitCode.OK, (at, met)


@every_scenario
def test_no_answer_in_time(
    new_lab: Callable[[], Lab], stub: WorldStub, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOBUS_SDK_HTTP_TIMEOUT", "0.3")
    never = threading.Event()
    try:
        for at, met in meet(new_lab, stub, scenario, Reply(200, [], hold=never), 1):
            assert met.code == ExitCode.OK, (at, met)
    finally:
        never.set()


def warned(met: Met) -> bool:
    """All was done, and what could only have been looked at afterwards is named."""
    return met.code == ExitCode.OK and met.result is not None and bool(met.result.run.warnings)


def proven(met: Met) -> bool:
    """Whether all was done without the answer: the processes of this host prove that a daemon runs no task."""
    outcomes = met.result.run.outcomes if met.result else ()
    return met.code == ExitCode.OK and {(o.action.kind, o.kind) for o in outcomes} == {("Stop", "done")}


def waits(met: Met, scenario: Scenario) -> bool:
    """Whether nothing was ended because nobody could say what that would interrupt."""
    outcomes = met.result.run.outcomes if met.result else ()
    reasons = [o.reason or "" for o in outcomes if o.kind != "done" and not (o.reason or "").startswith("comes after ")]
    uncounted = bool(reasons) and all(r.startswith("its tasks could not be counted: ") for r in reasons)
    return scenario.counts and met.code == ExitCode.DEFERRED and uncounted


# --- a first start that registered twice


def lab_that_lost_a_reply() -> tuple[Lab, str, str]:
    """Return a lab after a first apply, the UUID that its daemon has, and the one that is left over."""
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    lab.world.lost_replies = 1
    done = lab.apply()
    assert done.code == ExitCode.OK
    extra, own = sorted(lab.world.registrations)
    assert lab.ids() == {"main": own}
    (said,) = done.run.warnings
    assert (extra in said, own in said, f"delete_endpoint('{extra}')" in said) == (True, True, True)
    assert f"delete_endpoint('{own}')" not in said
    return lab, own, extra


def test_a_second_registration_is_named_and_stays() -> None:
    lab, own, extra = lab_that_lost_a_reply()
    assert lab.apply().run.warnings == ()
    lab.assert_converged()
    assert sorted(lab.world.registrations) == [extra, own]


def test_registrations_of_that_name_that_were_there_before_are_none_of_it() -> None:
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    lab.world.registrations["00000000-0000-4000-8000-000000000001"] = Registration(
        "00000000-0000-4000-8000-000000000001", "main", hostname="ufe01.noaa.gov", local_user="jdoe"
    )
    done = lab.apply(new=frozenset({"main"}))
    assert (done.code, done.run.warnings) == (ExitCode.OK, ())


def test_what_another_host_registers_meanwhile_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    bring_up = lab.world.bring_up

    def and_elsewhere(daemon: Daemon) -> None:
        bring_up(daemon)
        other = "00000000-0000-4000-8000-000000000001"
        lab.world.registrations[other] = Registration(other, "main", hostname=elsewhere, local_user="jdoe")

    monkeypatch.setattr(lab.world, "bring_up", and_elsewhere)
    elsewhere = "hfe01.noaa.gov"
    done = lab.apply()
    assert (done.code, len(lab.world.registrations), done.run.warnings) == (ExitCode.OK, 2, ())


def test_a_crash_between_the_start_and_the_look_loses_no_warning() -> None:
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    lab.world.lost_replies = 1
    twin = Lab(lab.desired)
    twin.world.lost_replies = 1
    twin.apply()
    at = twin.world.faults.passed.index("start:after") + 1
    assert lab.crash(at, starts_go_on=True)
    done = lab.apply()
    assert done.code == ExitCode.OK
    assert len(done.run.warnings) == 1


def test_two_lost_replies_and_a_failed_start_are_not_guessed_about() -> None:
    lab = Lab(desired(endpoint(), pools=(pool("mpi"),)))
    lab.world.lost_replies = 1
    lab.world.faults.fail("start:up", EndpointCommandError("it died", code=75))
    assert lab.apply().code == ExitCode.PARTIAL
    lab.world.faults.revive()
    lab.world.now += 1000
    done = lab.apply()
    assert done.code == ExitCode.REFUSED
    assert len(lab.world.registrations) == 2
