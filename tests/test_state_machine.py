"""A user, a cluster and an apply that fails and dies, in any order: the guarantees hold throughout.

After every step: no daemon is doubled, no UUID changes, nobody else's directory is touched. After an apply
that says that all is done: everything runs as declared, nothing was registered twice, and a second apply
changes nothing.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any
from unittest import mock

import yaml
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reconciler.core.actions import Delete, Forget, Purge, Undelete
from reconciler.core.consent import Consent
from reconciler.core.desired import CONFIG, SCHEMA, TEMPLATE, DesiredEndpoint, Moved, TextFile, Trash
from reconciler.core.live import Damaged
from reconciler.core.lock import Lock, read_lock
from reconciler.core.marker import Marker
from reconciler.core.scope import Errand
from reconciler.errors import (
    EndpointCommandError,
    ExitCode,
    FileSystemError,
    ReconcilerError,
    ServiceUnreachable,
    UsageError,
)
from tests.core.builders import applied, desired, endpoint, pool
from tests.fakes import Crash, Folder
from tests.lab import Lab, Result
from tests.sampling import STEP

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
SETTINGS = settings(
    max_examples=1000 if THOROUGH else 200 // STEP,
    stateful_step_count=40 if THOROUGH else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

NAMES = st.sampled_from(["a", "b"])
"""Of directories; their endpoints are called so, or have another name."""
CALLED = {"a": ("a", "a-renamed"), "b": ("b", "b-renamed")}
CONFIGS = st.sampled_from([{}, {"debug": True}, {"debug": False, "display_name": "x"}, {"pam": {"enable": True}}])
TEMPLATES = st.sampled_from([TextFile("builtin@1", "engine: 1\n"), TextFile("builtin@2", "engine: 2\n")])
CONTENTS = st.sampled_from([b"debug: 1.5\n", b"debug: [\n", b"", None])
FAILURES = st.sampled_from(
    [
        ("write_lock", FileSystemError("disk full")),
        ("write_pools", FileSystemError("disk full")),
        ("append", FileSystemError("disk full")),
        ("write_marker", FileSystemError("disk full")),
        ("write_file", FileSystemError("disk full")),
        ("create", FileSystemError("disk full")),
        ("to_trash", FileSystemError("disk full")),
        ("restore", FileSystemError("disk full")),
        ("purge", FileSystemError("disk full")),
        ("delete", ServiceUnreachable("no answer")),
        ("directory", FileSystemError("input/output error")),
        ("start", EndpointCommandError("did not come up")),
        ("start:up", EndpointCommandError("ended after it registered")),
        ("status", ServiceUnreachable("no answer")),
        ("owned", ServiceUnreachable("no answer")),
        ("get", ServiceUnreachable("no answer")),
    ]
)
FOREIGN = {"amqp_port": 443}


class Reconciling(RuleBasedStateMachine):
    """One user's manifest of up to two endpoints, on a home that two login nodes share."""

    def __init__(self) -> None:
        super().__init__()
        # One thread: what hypothesis replays must happen in the same order again.
        self.patch = mock.patch("reconciler.apply.MAX_THREADS", 1)
        self.patch.start()
        self.lab = Lab(desired())
        self.world = self.lab.world
        self.blocks: dict[str, DesiredEndpoint] = {}  # by directory
        self.called = {"a": "a", "b": "b"}
        self.keep: int | None = None
        self.uuids: dict[str, str] = {}  # of each endpoint since it was made, also when it was deleted meanwhile
        self.retired: set[str] = set()  # registrations of endpoints that were let go of
        self.foreign: set[str] = set()  # directories whose config.yaml somebody added a key to
        self.world.folders["theirs"] = Folder({"config.yaml": applied(endpoint()).files[CONFIG]}, "their-uuid")
        other = applied(endpoint("other"), running=False)
        assert isinstance(other.marker, Marker)
        self.world.folders["other"] = Folder(
            dict(other.files), other.endpoint_id, other.marker.but(stack="another stack")
        )
        self.untouched = self.not_ours()

    def teardown(self) -> None:
        self.patch.stop()

    def not_ours(self) -> list[object]:
        """Return what is in directories that are not this stack's."""
        folders = [self.world.folders.get(name) for name in ("theirs", "other")]
        return [(dict(f.files), f.endpoint_id, f.marker, f.pid) if f else None for f in folders]

    def lock(self) -> Lock | None:
        return read_lock(self.world.lock, "lock") if self.world.lock is not None else None

    def there(self, name: str) -> Folder | None:
        return self.world.folders.get(name)

    # the user

    @initialize(protect=st.booleans(), up=st.booleans(), deleted=st.booleans())
    def begin(self, protect: bool, up: bool, deleted: bool) -> None:
        """Two endpoints are declared, and as a rule they are up, or one is in the trash, before anything happens."""
        self.blocks = {"a": endpoint("a", protect=protect), "b": endpoint("b", config={"pam": {"enable": True}})}
        self._write_manifest()
        if up or deleted:
            self.settle(consent=False)
        if deleted:
            self.remove_block("b")
            self.settle(consent=True)

    @rule(
        name=NAMES,
        config=CONFIGS,
        template=TEMPLATES,
        schema=st.booleans(),
        restart=st.sampled_from(["when-idle", "when-idle", "now", "never"]),
        state=st.sampled_from(["running", "running", "running", "stopped"]),
        protect=st.sampled_from([False, False, True]),
    )
    def declare(self, name: str, schema: bool, **values: Any) -> None:
        block = endpoint(name, **values)
        self.blocks[name] = block if schema else endpoint(name, schema=None, **values)
        self._write_manifest()

    @precondition(lambda self: self.blocks)
    @rule(name=NAMES)
    def remove_block(self, name: str) -> None:
        self.blocks.pop(name, None)
        self._write_manifest()

    @rule(name=NAMES, other=st.booleans())
    def rename(self, name: str, other: bool) -> None:
        if name in self._in_trash():  # a deleted one has the name that it had
            return
        self.called[name] = CALLED[name][other]
        self._write_manifest()

    def _write_manifest(self) -> None:
        pools = (pool("p", self.called["a"]), pool("here", None))
        blocks = [replace(block, name=self.called[name]) for name, block in self.blocks.items()]
        moved = tuple(Moved(old, b.name) for b in blocks for old in CALLED[b.directory] if old != b.name)
        trash = Trash(self.keep, None)
        self.lab.wants(*blocks, pools=pools, declared=bool(blocks), moved=moved, trash=trash)

    @precondition(lambda self: self.world.trash)
    @rule(consent=st.booleans())
    def declare_again(self, consent: bool) -> None:
        """The blocks of deleted endpoints come back, as they were."""
        for name, called in self._in_trash().items():
            self.blocks.setdefault(name, endpoint(name))
            self.called[name] = called
        self._write_manifest()
        self.apply(consent)

    @precondition(lambda self: self.world.trash)
    @rule(keep=st.sampled_from([None, 50, 150]))
    def keep_deleted_ones_for(self, keep: int | None) -> None:
        self.keep = keep
        self._write_manifest()

    def _in_trash(self) -> dict[str, str]:
        """Return what is in the trash: its directory as it was, and the endpoint's name."""
        markers = [folder.marker for folder in self.world.trash.values()]
        return {m.claim.directory: m.endpoint for m in markers if isinstance(m, Marker)}

    @rule(name=NAMES, file=st.sampled_from([CONFIG, TEMPLATE, SCHEMA]), content=CONTENTS)
    def edit(self, name: str, file: str, content: bytes | None) -> None:
        if self.there(name):
            self.world.edit(name, file, content)
            if file == CONFIG:
                self.foreign.discard(name)

    @rule(name=NAMES)
    def add_foreign_key(self, name: str) -> None:
        folder = self.there(name)
        try:
            config = yaml.safe_load(folder.files[CONFIG].content) if folder and CONFIG in folder.files else None
        except yaml.YAMLError:
            return
        if isinstance(config, dict):
            self.world.edit(name, CONFIG, yaml.safe_dump(config | FOREIGN).encode())
            self.foreign.add(name)

    @rule(name=NAMES)
    def restart_by_hand(self, name: str) -> None:
        for daemon in self.world.daemons_of(name):
            self.world.end(daemon, cleanly=True)
            if not self.world.service_down:
                again = self.world.spawn(name, daemon.id)
                self.world.register(again)
                self.world.bring_up(again)

    # the cluster

    @rule(name=NAMES, cleanly=st.booleans())
    def daemon_ends(self, name: str, cleanly: bool) -> None:
        for daemon in self.world.daemons_of(name):
            self.world.end(daemon, cleanly=cleanly)

    @rule(name=NAMES)
    def daemon_hangs(self, name: str) -> None:
        for daemon in self.world.daemons_of(name):
            daemon.deaf = daemon.phase == "up"

    @rule(name=NAMES, count=st.integers(0, 2))
    def user_endpoints(self, name: str, count: int) -> None:
        if self.world.daemons_of(name):
            self.world.user_endpoints[name] = count
            self.world.tasks[name] = 2 * count

    @rule(name=NAMES, jobs=st.sampled_from([(), ("17",)]))
    def batch_jobs(self, name: str, jobs: tuple[str, ...]) -> None:
        if self.world.daemons_of(name):
            self.world.submit(name, *jobs)

    @rule()
    def reboot(self) -> None:
        self.world.reboot()

    @rule(name=NAMES)
    def lose_directory(self, name: str) -> None:
        for daemon in self.world.daemons_of(name):
            self.world.end(daemon, cleanly=True)
        self.world.folders.pop(name, None)
        self.foreign.discard(name)

    @rule(name=NAMES, damaged=st.booleans())
    def lose_marker(self, name: str, damaged: bool) -> None:
        if folder := self.there(name):
            folder.marker = Damaged("cut short") if damaged else None

    @rule(name=NAMES, damaged=st.booleans())
    def lose_endpoint_json(self, name: str, damaged: bool) -> None:
        if folder := self.there(name):
            folder.endpoint_id = Damaged("cut short") if damaged else None

    @rule()
    def lose_lock(self) -> None:
        self.world.lock = None

    @rule(down=st.booleans())
    def service(self, down: bool) -> None:
        self.world.service_down = down

    @rule(node=st.sampled_from(["ufe01", "ufe01", "ufe02"]))
    def log_in_on(self, node: str) -> None:
        self.world.node = node

    @rule(name=NAMES)
    def pid_file_is_removed(self, name: str) -> None:
        """The documented way to stop a daemon on another node, by hand."""
        if folder := self.there(name):
            folder.pid = None

    @rule(count=st.integers(0, 2))
    def touches_that_race(self, count: int) -> None:
        self.world.touches_that_race = count

    @rule(proxy=st.sampled_from([None, "", "http://proxy-1", "http://proxy-2", "http://user:password@proxy"]))
    def environment(self, proxy: str | None) -> None:
        self.world.environment = {"HOME": "/home/jdoe", **({} if proxy is None else {"https_proxy": proxy})}

    @rule()
    def time_passes(self) -> None:
        self.world.now += 100

    # applies

    @rule(consent=st.booleans(), retry=st.sampled_from([False, False, True]), drain=st.sampled_from([0.0, 0.0, 60.0]))
    def apply(self, consent: bool, retry: bool = False, drain: float = 0.0) -> None:
        result = self._apply(consent=consent, retry=retry, drain=drain)
        assert result is not None
        event(f"apply: {result.code.name}")
        if result.code == ExitCode.OK and not self._is_seen_wrongly():
            self._all_done()

    def _is_seen_wrongly(self) -> bool:
        """Whether the service sees what has just died on another node: for a minute nobody can know better."""
        alive = {daemon.id for daemon in self.world.daemons}
        return any(self.world.now < until for i, until in self.world.missed.items() if i not in alive)

    @rule(name=NAMES, jobs=st.booleans(), drain=st.sampled_from([0.0, 30.0]))
    def a_change_while_there_is_work(self, name: str, jobs: bool, drain: float) -> None:
        if name not in self.blocks or not self.world.daemons_of(name):
            return
        if jobs:
            self.world.submit(name, "18")
        else:
            self.world.user_endpoints[name] = 1
        config = {"debug": not self.blocks[name].config.get("debug", False)}
        self.blocks[name] = replace(self.blocks[name], config=config)
        self._write_manifest()
        self.apply(consent=False, drain=drain)

    @rule(name=NAMES)
    def keeps_dying(self, name: str) -> None:
        for _ in range(4):
            for daemon in self.world.daemons_of(name):
                self.world.end(daemon, cleanly=False)
            self.world.now += 100
            self.apply(consent=False)

    @rule(consent=st.booleans())
    def settle(self, consent: bool) -> None:
        """Everything outside is well again, and time passes: what can be done is done."""
        self.world.service_down = False
        self.world.user_endpoints.clear()
        self.world.jobs.clear()
        self.world.now += 100
        self.apply(consent, retry=True)

    @rule(consent=st.booleans(), failure=FAILURES, after=st.sampled_from([0, 0, 0, 1, 2, 4]))
    def apply_with_a_failure(self, consent: bool, failure: tuple[str, ReconcilerError], after: int) -> None:
        name, error = failure
        self.world.faults.fail(name, error, after=after)
        self._apply(consent=consent)
        self.world.faults.revive()

    @rule(consent=st.booleans(), at=st.integers(1, 40), starts_go_on=st.booleans())
    def apply_that_dies(self, consent: bool, at: int, starts_go_on: bool) -> None:
        """What it had begun goes on by itself, which may bring a daemon up or down after it."""
        self.world.faults.passed.clear()
        self.world.faults.crash_at = at
        self._apply(consent=consent)
        self.world.after_crash(starts_go_on=starts_go_on)

    @precondition(lambda self: self.world.trash)
    @rule(name=NAMES, at=st.sampled_from([None, None, 1, 2, 3, 4, 5, 6, 8, 10]))
    def undelete(self, name: str, at: int | None) -> None:
        """Bring one back, and perhaps die on the way; nothing else changes."""
        folders = set(self.world.folders)
        self.world.faults.passed.clear()
        self.world.faults.crash_at = at
        self._apply(consent=False, errand=Errand("undelete", (self.called[name],)))
        self.world.after_crash(starts_go_on=True)
        assert set(self.world.folders) - folders <= {name}

    @precondition(lambda self: self.world.trash)
    @rule(name=NAMES, consent=st.booleans(), at=st.sampled_from([None, None, 1, 2, 3, 4, 5, 6, 8]))
    def purge(self, name: str, consent: bool, at: int | None) -> None:
        """End a deleted one for ever; what is not deleted stays."""
        folders = set(self.world.folders)
        self.world.faults.passed.clear()
        self.world.faults.crash_at = at
        self._apply(consent=consent, errand=Errand("purge", (self.called[name],)))
        self.world.after_crash(starts_go_on=True)
        assert set(self.world.folders) == folders

    def _apply(
        self, *, consent: bool, retry: bool = False, drain: float = 0.0, errand: Errand | None = None
    ) -> Result | None:
        """Apply; whatever comes of it, only what may be deleted is, no task is lost, and nothing dies for ever."""
        busy, dying = self._busy(), self._dying() if not retry else []
        try:
            return self._apply_and_look(consent=consent, errand=errand, retry=retry, drain=drain)
        finally:
            assert busy.items() <= {d.directory: d.pid for d in self.world.daemons if d.phase == "up"}.items()
            assert not any(self.world.daemons_of(name) for name in dying)

    def _busy(self) -> dict[str, int]:
        """Return the daemons that nobody may end now, with their PIDs: they have work, and no policy allows it."""
        found = {}
        for daemon in self.world.daemons:
            name = daemon.directory
            # Somebody removed its PID file, or a run that was killed told it to end before it had work.
            if self.world.folders[name].pid is None or daemon.signalled is not None:
                continue
            marker = self.world.folders[name].marker
            policies = {self.blocks[name].restart if name in self.blocks else None}
            policies |= {marker.restart if isinstance(marker, Marker) else None}
            jobs = self.world.jobs.get(name) if daemon.id in self.world.submitted.get(name, ()) else None
            works = self.world.user_endpoints.get(name) or jobs
            if works and daemon.phase == "up" and "now" not in policies:
                found[name] = daemon.pid
        return found

    def _dying(self) -> list[str]:
        """Return the endpoints that nobody may start now: three deaths within a day are on record."""
        found = []
        for name in ("a", "b"):
            folder = self.there(name)
            if folder and isinstance(folder.marker, Marker) and not self.world.daemons_of(name):
                times = [death.at for death in folder.marker.deaths]
                found += [name] if len(times) == 3 and max(times) - min(times) <= 86_400 else []
        return found

    def _apply_and_look(self, *, consent: bool, errand: Errand | None, retry: bool, drain: float) -> Result | None:
        before = {name: (self._protected(name), name in self.blocks) for name in self.world.folders}
        held, known = self._held(), set(self.world.registrations)
        deletable = self._deletable(errand)
        result = None
        try:
            consented = Consent(deletes=consent, max_deletes=1)
            result = self.lab.apply(consented, errand=errand, retry=retry, drain=drain)
        except UsageError:  # the errand's name is one that nothing knows
            assert errand is not None
        except (ReconcilerError, Crash):  # before its first action, or killed
            assert self.world.faults.dead or self.world.faults.failing
        ended = known - set(self.world.registrations)
        assert not ended or consent
        assert len(ended) <= 1
        assert ended <= deletable - held
        gone = [name for name in before if name not in self.world.folders]
        assert len(gone) + len(ended) <= 1
        for name in gone:
            assert consent
            assert before[name] == (False, False)
            self.foreign.discard(name)
            self.called[name] = self._in_trash().get(name, self.called[name])  # it comes back under that name
        for name in [o.action.directory for o in result.run.outcomes if _is_forgotten(o)] if result else []:
            self.retired |= {r.id for r in self.world.registrations.values() if r.name == name}
            self.uuids.pop(name, None)
        for outcome in result.run.outcomes if result else ():
            if outcome.kind == "done" and isinstance(outcome.action, Delete | Undelete | Purge):
                event(f"{outcome.action.kind} ({outcome.action.cause.value})")
        self.uuids = {name: uuid for name, uuid in self.uuids.items() if uuid not in ended}
        for name in set(self.world.folders) - set(before):  # what came back may hold keys of somebody else's
            config = self.world.folders[name].files.get(CONFIG)
            if config is not None and b"amqp_port" in config.content:
                self.foreign.add(name)
        return result

    def _held(self) -> set[str]:
        """Return the UUIDs that directories name: their registrations may not end."""
        found: set[str] = set()
        for folder in self.world.folders.values():
            found |= {folder.endpoint_id} if isinstance(folder.endpoint_id, str) else set()
            found |= {folder.marker.id} if isinstance(folder.marker, Marker) and folder.marker.id else set()
        return found

    def _deletable(self, errand: Errand | None) -> set[str]:
        """Return the UUIDs of what lies in the trash, and may end now: by name, or after its time."""
        found: set[str] = set()
        for entry, folder in self.world.trash.items():
            marker = folder.marker
            if not isinstance(marker, Marker) or marker.id is None:
                continue
            age = self.world.now - (self.world.deleted_at[entry] or 0.0)
            by_name = errand is not None and errand.kind == "purge" and marker.endpoint in errand.names
            by_time = errand is None and self.keep is not None and age > self.keep
            if by_name or by_time:
                found.add(marker.id)
        return found

    def _protected(self, name: str) -> bool:
        folder, lock = self.world.folders[name], self.lock()
        marker = folder.marker if isinstance(folder.marker, Marker) else None
        entries = [lock.endpoints[n] for n in CALLED.get(name, ()) if n in lock.endpoints] if lock else []
        return bool((marker and marker.protect) or any(entry.protect for entry in entries))

    def _all_done(self) -> None:
        # A delete whose lock could not be written is undone when its block comes back: the UUID is in use again.
        lock = self.lock()
        self.retired -= {entry.id for entry in lock.endpoints.values() if entry.id} if lock else set()
        for name, block in self.blocks.items():
            self._as_declared(name, block)
        before = self.lab.snapshot()
        second = self.lab.apply()
        assert second.code == ExitCode.OK
        rest = second.sight.plan.without_expiries()  # they wait for consent
        assert rest.is_empty, [(a.kind, a.cause) for a in rest.all_actions]
        assert self.lab.snapshot() == before

    def _as_declared(self, name: str, block: DesiredEndpoint) -> None:
        folder, daemons = self.world.folders[name], self.world.daemons_of(name)
        config = yaml.safe_load(folder.files[CONFIG].content) or {}
        assert all(config[key] == value for key, value in block.config.items())
        assert (name in self.foreign) == (config.get("amqp_port") == FOREIGN["amqp_port"])
        assert (SCHEMA in folder.files) == (block.schema is not None)
        assert folder.files[TEMPLATE].content == block.template.text.encode()
        if block.state == "stopped":
            assert (daemons, folder.pid) == ([], None)
            return
        (daemon,) = daemons
        assert (daemon.phase, folder.pid, folder.endpoint_id) == ("up", daemon.pid, daemon.id)
        made = {r.id for r in self.world.registrations.values() if r.name == name} - self.retired
        assert made == {daemon.id}

    # what always holds

    @invariant()
    def nothing_is_doubled(self) -> None:
        for name in ("a", "b"):
            assert len(self.world.daemons_of(name)) <= 1

    @invariant()
    def uuids_are_stable(self) -> None:
        lock = self.lock()
        for name in ("a", "b"):
            folder = self.there(name)
            marker = folder.marker if folder and isinstance(folder.marker, Marker) else None
            found = {
                folder.endpoint_id if folder and isinstance(folder.endpoint_id, str) else None,
                marker.id if marker else None,
                *(lock.endpoints[n].id for n in CALLED[name] if lock and n in lock.endpoints),
            } - {None}
            assert len(found) <= 1
            for endpoint_id in found:
                assert endpoint_id is not None
                assert self.uuids.setdefault(name, endpoint_id) == endpoint_id
                assert endpoint_id in self.world.registrations

    @invariant()
    def nobody_elses_directory_is_touched(self) -> None:
        assert self.not_ours() == self.untouched


def _is_forgotten(outcome: Any) -> bool:
    return outcome.kind == "done" and isinstance(outcome.action, Forget)


TestReconciling = Reconciling.TestCase
TestReconciling.settings = SETTINGS
