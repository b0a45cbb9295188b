"""LocalHost with unmodified globus-compute-endpoint daemons against the sandbox."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.host_support import FILES, marker, wait_for
from tests.e2e.support import User, sandbox_service, sandbox_user

pytestmark = pytest.mark.e2e

_PRELUDE = f"""
import json, os, sys, threading, time
from reconciler.adapters.host import LocalHost
from reconciler.core.marker import Marker
from reconciler.errors import EndpointCommandError, Refused
from reconciler.ports import NewFile
FILES = {FILES!r}
marker = lambda: Marker.model_validate_json({marker().model_dump_json()!r})
host = LocalHost("~/.globus_compute", python=sys.prefix)
tool = host.tool()
say = lambda **values: print(json.dumps(values), flush=True)
def stop(name, process):
    host.signal_stop(name, process)
    assert host.wait_stopped(name, process, 30), "it did not stop"
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Path]:
    with sandbox_service() as state:
        yield state


@pytest.fixture
def user(service: Path) -> Iterator[User]:
    with sandbox_user(service) as user:
        yield user


def run(user: User, code: str, **variables: str) -> dict[str, Any]:
    """Run code as the user; return what it said last."""
    done = user.run(sys.executable, "-c", _PRELUDE + code, environ=variables)
    assert done.code == 0, str(done)
    return dict(json.loads(done.out.splitlines()[-1]))


def test_a_daemon_from_creation_to_the_trash_and_back(user: User) -> None:
    said = run(
        user,
        """
host.create("main", FILES, marker())
begun = time.monotonic()
first = host.start("main", None, tool)
took = time.monotonic() - begun
seen = host.directory("main")
assert [p.pid for p in seen.processes] == [first.process.pid] == [seen.pid_file.pid]
assert seen.endpoint_id == first.endpoint_id
assert host.start("main", first.endpoint_id, tool).process.pid == first.process.pid
try:
    host.to_trash("main")
except Refused as e:
    assert "still runs" in e.what
else:
    raise AssertionError("moved under a live daemon")
stop("main", first.process)
after = host.directory("main")
assert (after.processes, after.pid_file) == ((), None)
second = host.start("main", first.endpoint_id, tool)
stop("main", second.process)
entry = host.to_trash("main")
host.restore(entry, "main")
third = host.start("main", first.endpoint_id, tool)
say(ids=[first.endpoint_id, second.endpoint_id, third.endpoint_id], pid=third.process.pid,
    title=third.process.title, log=host.log_tail("main", 200), took=took)
""",
    )
    assert len(set(said["ids"])) == 1
    assert user.registrations() == {said["ids"][0]: "main"}
    wait_for(lambda: user.online(said["ids"][0]), "the service sees it")
    assert user.daemons("main") == [said["pid"]]
    assert f"({said['ids'][0]}, main)" in said["title"]
    assert "Core Endpoint begins" in said["log"]
    assert "amqp" not in said["log"] or "***@" in said["log"]


def test_many_start_side_by_side(user: User) -> None:
    """As apply does it, with the token in the store beforehand by a first start."""
    said = run(
        user,
        """
names = [f"ep{n}" for n in range(5)]
for name in names:
    host.create(name, FILES, marker())
started = {names[0]: host.start(names[0], None, tool)}
threads = [threading.Thread(target=lambda n=n: started.__setitem__(n, host.start(n, None, tool))) for n in names[1:]]
for t in threads: t.start()
for t in threads: t.join()
seen = host.directories()
for name in names:
    assert [p.pid for p in seen[name].processes] == [started[name].process.pid], name
say(ids={n: s.endpoint_id for n, s in started.items()})
""",
    )
    assert {uuid: name for name, uuid in said["ids"].items()} == user.registrations()


def test_a_daemon_whose_pid_file_was_removed_is_waited_out(user: User) -> None:
    """The documented way to stop one from another node; it takes up to 15 seconds to notice."""
    said = run(
        user,
        """
host.create("main", FILES, marker())
first = host.start("main", None, tool)
os.unlink(os.path.expanduser("~/.globus_compute/main/daemon.pid"))
second = host.start("main", first.endpoint_id, tool)
say(first=first.process.pid, second=second.process.pid, same=first.endpoint_id == second.endpoint_id)
""",
    )
    assert said["same"]
    assert said["first"] != said["second"]
    assert user.daemons("main") == [said["second"]]


def test_after_a_crash_the_stale_pid_file_is_cleared_and_it_starts_again(user: User) -> None:
    first = run(user, "host.create('main', FILES, marker()); s = host.start('main', None, tool); say(id=s.endpoint_id)")
    user.kill("main")
    said = run(
        user,
        """
try:
    host.start("main", None, tool)
except EndpointCommandError as e:
    code = e.code
seen = host.directory("main")
assert seen.processes == ()
host.clear_pid_file("main", seen.pid_file)
s = host.start("main", seen.endpoint_id, tool)
say(id=s.endpoint_id, code=code)
""",
    )
    assert said == {"id": first["id"], "code": 73}


@pytest.mark.parametrize("point", ["start.spawned", "start.up", "stop.signalled", "stop.gone"])
def test_killed_at_any_point_a_rerun_leaves_one_daemon_and_one_registration(user: User, point: str) -> None:
    run(user, "host.create('main', FILES, marker()); say()")
    life = """
s = host.start("main", (host.directory("main").endpoint_id), tool)
stop("main", s.process)
say()
"""
    done = user.run(sys.executable, "-c", _PRELUDE + life, environ={"CHILTEPIN_FAULT": point})
    assert done.code == -signal.SIGKILL, str(done)
    if point.startswith("stop"):
        wait_for(lambda: not user.daemons("main"), "it stops, asked for or not")
    said = run(user, "s = host.start('main', None, tool); say(id=s.endpoint_id, pid=s.process.pid)")
    assert user.daemons("main") == [said["pid"]]
    assert user.registrations() == {said["id"]: "main"}


def test_a_bad_configuration_is_reported_in_upstreams_words(user: User) -> None:
    said = run(
        user,
        """
host.create("main", {**FILES, "config.yaml": NewFile(b"no_such_option: 1\\n")}, marker())
try:
    host.start("main", None, tool)
except EndpointCommandError as e:
    say(code=e.code, output=e.output, why=e.why)
""",
    )
    assert said["code"] == 1
    assert "no_such_option" in said["output"]
    assert user.daemons("main") == []


def test_no_login_and_nobody_to_ask(user: User) -> None:
    said = run(
        user,
        """
host.create("main", FILES, marker())
bare = LocalHost("~/.globus_compute", python=sys.prefix,
                 environ={k: v for k, v in os.environ.items() if not k.startswith("GLOBUS_COMPUTE_CLIENT")})
begun = time.monotonic()
try:
    bare.start("main", None, tool)
except EndpointCommandError as e:
    say(code=e.code, remedy=e.remedy, seconds=time.monotonic() - begun)
""",
    )
    assert said["code"] == 1
    assert "chiltepin login" in said["remedy"]
    assert said["seconds"] < 60


def test_upstreams_own_commands_agree(user: User) -> None:
    """A daemon that upstream's CLI started is found and stopped; ours shows as running there."""
    said = run(user, "host.create('main', FILES, marker()); say()")
    assert said == {}
    command = f"{sys.prefix}/bin/globus-compute-endpoint"
    done = user.run(command, "start", "main", "--detach")
    assert done.code == 0, str(done)
    wait_for((user.directory("main") / "endpoint.json").exists, "it is up")
    begun = time.monotonic()
    found = run(user, "s = host.start('main', None, tool); stop('main', s.process); say(pid=s.process.pid)")
    assert found["pid"] > 0
    assert time.monotonic() - begun < 30
    assert user.daemons("main") == []
    run(user, "host.start('main', host.directory('main').endpoint_id, tool); say()")
    done = user.run(command, "stop", "main")
    assert done.code == 0, str(done)
    wait_for(lambda: not user.daemons("main"), "upstream stops ours")
