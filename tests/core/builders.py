"""Values for tests of the core: an endpoint as an apply left it, a whole scene, and its plan as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from textwrap import dedent
from typing import Any

from reconciler.core.boot import origin
from reconciler.core.daemon import TITLE
from reconciler.core.desired import CONFIG, Desired, DesiredEndpoint, DesiredPool, TextFile
from reconciler.core.diff import new_file
from reconciler.core.digest import digest_bytes
from reconciler.core.documents import dump_mapping, file_specs
from reconciler.core.environment import Variable, given, variable
from reconciler.core.errands import ids_in_question
from reconciler.core.known import Known, Site
from reconciler.core.lines import as_text
from reconciler.core.live import (
    GONE,
    Identity,
    JournalEntry,
    LiveDirectory,
    LiveFile,
    LiveState,
    PidFile,
    Process,
    Registration,
    TrashEntry,
    Unknown,
    UserEndpoint,
)
from reconciler.core.lock import Lock, lock_entry
from reconciler.core.machine import EndpointTool, HostFacts
from reconciler.core.marker import Claim, DaemonRecord, Marker
from reconciler.core.plan import Plan, make_plan
from reconciler.core.pool_sharing import locked_pools
from reconciler.core.pools import pools_file
from reconciler.core.report import plan_lines
from reconciler.core.scope import Scope

STACK, LINEAGE = "hrrr", "1ea6e"
# What a daemon's log says as a session begins, ends, and ends for an error.
BEGINS = "2026-11-21 09:14:10,398 INFO start\n\n========== Core Endpoint begins: 591c821c\n"
ENDS = "Shutdown complete.\n---------- Core Endpoint ends: 591c821c\n\n"
GAVE_UP = "Unhandled exception; shutting down endpoint master\nTraceback ...\nLookupError: No authorized identities\n"

HOST = HostFacts("ufe01", "ufe01.noaa.gov", "boot-1", "jdoe", 1000, home="/home/jdoe", namespace="pid:[1]")
IDENTITY = Identity(service="production", id="me", client_id="client")
CONFIG_DIR = "/home/jdoe/.globus_compute"
SITE = Site(service="production", identity="me", user="jdoe", host=None, config_dir="~/.globus_compute")
TOOL = EndpointTool("/opt/gce/bin/globus-compute-endpoint", "/opt/gce", {"globus-compute-endpoint": "4.19.0"})
LOGIN_PATH = "/opt/gce/bin:/usr/bin:/bin"
KEPT = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "https_proxy": "http://proxy-1"}
TEMPLATE = TextFile("builtin@1", "engine:\n  type: GlobusComputeEngine\n")
SCHEMA = TextFile("builtin@1", '{"type": "object"}\n')


def here(**values: str) -> dict[str, Variable]:
    """Return the variables of a place where these are set; the home is as everywhere."""
    return {name: variable(name, value) for name, value in {"HOME": "/home/jdoe", **values}.items()}


ENVIRONMENT = here(https_proxy="http://proxy-1")


def uuid(name: str) -> str:
    """Return the UUID that endpoint `name` has in tests."""
    return f"00000000-0000-4000-8000-{name.encode().hex()[:12]:0<12}"


def endpoint(name: str = "main", **changes: Any) -> DesiredEndpoint:
    """Return a desired endpoint: `debug: true` in its config, the built-in template and schema."""
    values: dict[str, Any] = {"directory": name, "template": TEMPLATE, "schema": SCHEMA, "config": {"debug": True}}
    return DesiredEndpoint(name=name, **(values | changes))


def pool(name: str, of: str | None = "main", **options: Any) -> DesiredPool:
    """Return a pool of endpoint `of`."""
    return DesiredPool(name, of, options={"cores_per_node": 1, **options}, given=options)


def says(text: str, expected: str) -> None:
    """Assert that a plan's text is `expected`, which may be indented and stand between empty lines."""
    assert text.strip("\n") == dedent(expected).strip("\n")


def desired(*endpoints: DesiredEndpoint, pools: tuple[DesiredPool, ...] = (), **changes: Any) -> Desired:
    """Return a desired state of these endpoints and pools."""
    return Desired(STACK, endpoints={e.name: e for e in endpoints}, pools={p.name: p for p in pools}, **changes)


def live_file(content: bytes, mode: int = 0o600) -> LiveFile:
    """Return a file with this content."""
    return LiveFile(digest_bytes(content), content, mode)


def process(pid: int = 100, name: str = "main", start_time: int = 5000) -> Process:
    """Return a daemon that is up."""
    return Process(pid, start_time, HOST.uid, f"{TITLE}*({uuid(name)}, {name})", 3600.0)


def record(config: str, pid: int = 100, **changes: Any) -> DaemonRecord:
    """Return what the marker says of a daemon that was started here with this config digest."""
    values: dict[str, Any] = {
        "host": HOST.name,
        "boot_id": HOST.boot_id,
        "pid": pid,
        "start_time": 5000,
        "namespace": HOST.namespace,
        "prefix": TOOL.prefix,
        "versions": dict(TOOL.versions),
        "config": config,
        "environment": given(KEPT, ENVIRONMENT),
    }
    return DaemonRecord(**(values | changes))


def applied(wanted: DesiredEndpoint, *, registered: bool = True, running: bool = True) -> LiveDirectory:
    """Return the directory of an endpoint as an apply leaves it."""
    files: dict[str, LiveFile] = {}
    records = {}
    for spec in file_specs(wanted, LOGIN_PATH, f"{CONFIG_DIR}/{wanted.directory}"):
        if not spec.absent:
            content, records[spec.file] = new_file(spec)
            files[spec.file] = live_file(content, spec.mode)
    endpoint_id = (wanted.id or uuid(wanted.name)) if registered else None
    marker = Marker(
        stack=STACK,
        lineage=LINEAGE,
        endpoint=wanted.name,
        id=endpoint_id,
        claim=SITE.claim(wanted.directory),
        protect=wanted.protect,
        restart=wanted.restart,
        files=records,
        path=LOGIN_PATH,
        environment=KEPT,
        daemon=record(files[CONFIG].digest) if running else None,
    )
    return LiveDirectory(
        name=wanted.directory,
        kind="endpoint",
        files=files,
        endpoint_id=endpoint_id,
        marker=marker,
        pid_file=PidFile(100, 3.0) if running else None,
        processes=(process(name=wanted.name),) if running else (),
    )


def marked(directory: LiveDirectory, **changes: Any) -> LiveDirectory:
    """Return the directory with changes in its marker."""
    assert isinstance(directory.marker, Marker)
    return replace(directory, marker=directory.marker.but(**changes))


def edited(directory: LiveDirectory, file: str, content: bytes | Mapping[str, Any] | None) -> LiveDirectory:
    """Return the directory with one file changed by somebody else (None: removed)."""
    files = {name: found for name, found in directory.files.items() if name != file}
    if content is not None:
        files[file] = live_file(content if isinstance(content, bytes) else dump_mapping(content))
    return replace(directory, files=files)


def with_user_endpoints(directory: LiveDirectory, count: int) -> LiveDirectory:
    """Return the directory with so many user endpoints alive."""
    found = tuple(UserEndpoint(f"uep.x.{n}", uuid(f"uep{n}"), 200 + n, 3.0) for n in range(count))
    return replace(directory, user_endpoints=found)


def registration(name: str = "main", endpoint_id: str | None = None, **changes: Any) -> Registration:
    """Return a registration."""
    return Registration(id=endpoint_id or uuid(name), name=name, **changes)


def trashed(wanted: DesiredEndpoint, number: int = 1, *, registered: bool = True, **changes: Any) -> TrashEntry:
    """Return the trash's entry of a deleted endpoint."""
    directory = applied(wanted, registered=registered, running=False)
    assert isinstance(directory.marker, Marker)
    name = f"{wanted.name}~{number}"
    item = TrashEntry(
        name=name,
        path=f"{CONFIG_DIR}/.chiltepin/trash/{name}",
        marker=directory.marker,
        deleted_at=1000.0 * number,
        age=100.0,
        directory=directory,
    )
    return replace(item, **changes)


def intent(name: str = "main", action: str = "Start", **data: Any) -> JournalEntry:
    """Return an intent without outcome."""
    values = {"directory": name, "id": None, **origin(HOST), **data}
    return JournalEntry("run-1", 1, "intent", action, name, values, 1000.0)


@dataclass(frozen=True)
class Scene:
    """Everything a plan is made from."""

    desired: Desired
    live: LiveState
    known: Known
    pools_text: str | None

    def plan(self, **scope: Any) -> Plan:
        """Return the plan; names in `targets` and `exclude` as a list."""
        sets: dict[str, Any] = {
            key: frozenset(value) if isinstance(value, list) else value for key, value in scope.items()
        }
        asked = self.asked(Scope(**sets))
        return make_plan(self.desired, asked.live, self.known, pools_text=self.pools_text, scope=Scope(**sets))

    def asked(self, scope: Scope) -> Scene:
        """Return the scene in which the service was asked what a run asks it; where nothing else is said, it is well.

        That is: what it lists is offline, and what it does not list is gone.
        """
        live, listed = self.live, self.live.registrations
        if isinstance(listed, Unknown):
            return self
        there = live.directories
        missing = [e.id for e in self.desired.endpoints.values() if e.directory not in there]
        entries = self.known.lock.endpoints.values() if self.known.lock else ()
        held = {i for d in there.values() for i in d.ids}
        missing += [entry.id for entry in entries if entry.claim.directory not in there or entry.id not in held]
        ids = {i for i in missing if i} | ids_in_question(scope, self.desired, live, self.known)
        return self.sees(statuses={i: "offline" if i in listed else GONE for i in ids} | dict(live.statuses))

    def text(self, **scope: Any) -> str:
        """Return the plan as text."""
        return as_text(plan_lines(self.plan(**scope), where="ufe01"))

    def wants(self, *endpoints: DesiredEndpoint, **changes: Any) -> Scene:
        """Return the scene with another manifest of the same pools."""
        values: dict[str, Any] = {"endpoints": {e.name: e for e in endpoints}, **changes}
        return replace(self, desired=replace(self.desired, **values))

    def sees(self, **changes: Any) -> Scene:
        """Return the scene with another live state."""
        return replace(self, live=replace(self.live, **changes))

    def has(self, *directories: LiveDirectory) -> Scene:
        """Return the scene with exactly these directories."""
        return self.sees(directories={d.name: d for d in directories})

    def owns(self, *registrations: Registration) -> Scene:
        """Return the scene with exactly these registrations."""
        return self.sees(registrations={r.id: r for r in registrations})

    def knows(self, **changes: Any) -> Scene:
        """Return the scene with other knowledge: lock, lineage, site, new."""
        return replace(self, known=replace(self.known, **changes))

    def locks(self, name: str = "main", *, claim: Mapping[str, Any] | None = None, **changes: Any) -> Scene:
        """Return the scene with changes in the lock's entry of `name`, or in its claim."""
        lock = self.known.lock
        assert lock is not None
        entry = lock.endpoints[name]
        new_claim = Claim(**{**entry.claim.model_dump(), **(claim or {})})
        return self.knows(lock=lock.with_endpoint(name, entry.model_copy(update={**changes, "claim": new_claim})))


def settled(*endpoints: DesiredEndpoint, pools: tuple[DesiredPool, ...] = ()) -> Scene:
    """Return a scene in which all is as declared: endpoints run (or are stopped), registered and recorded."""
    wanted = desired(*endpoints, pools=pools)
    lock = Lock(
        stack=STACK,
        lineage=LINEAGE,
        endpoints={e.name: lock_entry(e, SITE.claim(e.directory), e.id or uuid(e.name)) for e in endpoints},
        pools=locked_pools(wanted),
    )
    state = LiveState(
        host=HOST,
        identity=IDENTITY,
        config_dir=CONFIG_DIR,
        directories={e.directory: applied(e, running=e.state == "running") for e in endpoints},
        registrations={r.id: r for r in (registration(e.directory, e.id or uuid(e.name)) for e in endpoints)},
        tool=TOOL,
        login_path=LOGIN_PATH,
        environment=ENVIRONMENT,
    )
    text = pools_file(wanted.pools, {name: entry.id for name, entry in lock.endpoints.items()}).text
    return Scene(wanted, state, Known(SITE, STACK, LINEAGE, lock), text)


def empty(*endpoints: DesiredEndpoint, pools: tuple[DesiredPool, ...] = ()) -> Scene:
    """Return a scene in which nothing is there yet."""
    state = LiveState(
        host=HOST,
        identity=IDENTITY,
        config_dir=CONFIG_DIR,
        tool=TOOL,
        login_path=LOGIN_PATH,
        environment=ENVIRONMENT,
    )
    return Scene(desired(*endpoints, pools=pools), state, Known(SITE, STACK, LINEAGE, None), None)


def lost(scene: Scene, **statuses: Any) -> Scene:
    """Return the scene without its directories; `statuses` by endpoint name."""
    return scene.sees(
        directories={}, login_path=LOGIN_PATH, statuses={uuid(name): status for name, status in statuses.items()}
    )
