"""Several login nodes share one home: real daemons, on nodes with host names and processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.nodes import OnNode, clock_off_by, node_of
from tests.e2e.support import BIN, TITLE, User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e

_POOLS = {"work": {"endpoint": "one", "environment": ["export WHERE=here"]}}


@pytest.fixture
def ufe01(user: User) -> Iterator[OnNode]:
    """A node on which the endpoint was started."""
    with node_of(user, "ufe01") as node:
        node.write(_one())
        node.apply()
        yield node


@pytest.fixture
def ufe02(user: User) -> Iterator[OnNode]:
    with node_of(user, "ufe02") as node:
        yield node


def _one(**block: object) -> str:
    return manifest(endpoints={"one": block}, pools=_POOLS)


def _state(node: OnNode) -> tuple[str, str | None, str | None]:
    """Return state, node and the service's word of the endpoint, as `status` on this node has them."""
    document = json.loads(node.chiltepin("status", "--format", "json").out)
    (row,) = document["endpoints"]
    return row["state"], row["node"], row["service"]


def _runs_on(user: User) -> str:
    """Return the host name of the node on which the one daemon runs, as the marker has it and the kernel."""
    pid = user.daemon("one")
    recorded = str(user.marker("one")["daemon"]["host"])
    environment = Path(f"/proc/{pid}/ns/uts").readlink()
    assert environment != Path("/proc/self/ns/uts").readlink()
    return recorded


def _log(user: User) -> str:
    return (user.directory("one") / "endpoint.log").read_text()


def test_a_daemon_on_another_node_is_satisfied_and_said(ufe01: OnNode, ufe02: OnNode) -> None:
    daemon = ufe01.daemon("one")
    said = ufe02.plan("--detailed-exitcode")
    assert "No changes." in said
    assert "its daemon runs on ufe01, another node of this home directory, since 20" in said
    assert _state(ufe02) == ("elsewhere", "ufe01", "online")
    assert _state(ufe01) == ("running", "ufe01", "online")
    assert "elsewhere on ufe01" in ufe02.chiltepin("status").out
    before = ufe01.snapshot("one")
    ufe02.apply()
    assert ufe01.snapshot("one") == before
    assert ufe01.daemon("one") == daemon


def test_a_copy_of_the_home_on_a_node_of_the_same_name_starts_and_ends_nothing(ufe01: OnNode, user: User) -> None:
    daemon, uuid = ufe01.daemon("one"), ufe01.id("one")
    copy = user.base / "copied-home"
    subprocess.run(["cp", "-a", user.home, copy], check=True)
    pid_file = copy / ".globus_compute" / "one" / "daemon.pid"
    then = time.time() - 3600
    os.utime(pid_file, (then, then))
    with node_of(user, "ufe01", home=copy) as other:
        for command in (("apply", "--yes"), ("destroy", "--purge", "--yes"), ("endpoint", "start", "one")):
            said = other.chiltepin(*command, expect=4)
            assert "it runs elsewhere" in said.out + said.err or "runs on another node" in said.out + said.err
        pid_file.unlink()
        assert "it runs elsewhere" in other.plan(expect=4)
    assert ufe01.daemons("one") == [daemon]
    assert list(ufe01.registrations()) == [uuid]


def test_another_container_of_this_node_leaves_its_daemon_alone(ufe01: OnNode, user: User) -> None:
    """The same host name and boot, and processes of its own."""
    daemon = ufe01.daemon("one")
    with node_of(user, "ufe01") as other:
        assert "No changes." in other.plan("--detailed-exitcode")
        other.apply()
        assert ufe01.daemons("one") == [daemon]
        assert int((ufe01.directory("one") / "daemon.pid").read_text()) > 0


def test_stop_on_another_node_ends_it_by_its_pid_file(ufe01: OnNode, ufe02: OnNode) -> None:
    uuid = ufe01.id("one")
    ufe02.write(_one(state="stopped"))
    assert "stop (on ufe01, by removing its PID file)" in ufe02.plan()
    ufe02.apply()
    assert ufe01.daemons("one") == []
    assert "PID file removed by another process; initiating shutdown" in _log(ufe01)
    assert not (ufe01.directory("one") / "daemon.pid").exists()
    assert not ufe01.online(uuid)
    assert list(ufe01.registrations()) == [uuid]
    assert "No changes" in ufe02.plan("--detailed-exitcode")
    assert "No changes" in ufe01.plan("--detailed-exitcode")


def test_restart_on_another_node_moves_it_only_after_it_has_ended(ufe01: OnNode, ufe02: OnNode) -> None:
    uuid, before = ufe01.id("one"), ufe01.daemon("one")
    ufe02.write(_one(config={"display_name": "Changed"}))
    assert [kind for _, kind, _ in ufe02.planned()] == ["WriteFile", "Stop", "Start"]
    ufe02.apply()
    ufe02.assert_converged("one")
    assert (ufe02.id("one"), _runs_on(ufe02)) == (uuid, "ufe02")
    assert ufe02.daemon("one") != before
    assert _state(ufe01) == ("elsewhere", "ufe02", "online")
    assert ufe02.workflow("work:WHERE") == {"work": "here"}


def test_restart_by_hand_moves_it_here(ufe01: OnNode, ufe02: OnNode) -> None:
    uuid = ufe01.id("one")
    ufe02.chiltepin("restart", "one", "--yes")
    ufe02.assert_converged("one")
    assert (ufe02.id("one"), _runs_on(ufe02)) == (uuid, "ufe02")


def test_a_process_of_the_same_pid_on_this_node_is_never_signalled(ufe01: OnNode, user: User) -> None:
    pid = int((ufe01.directory("one") / "daemon.pid").read_text())
    count = f"while :; do sleep 1000 & [ $! -eq {pid} ] && break; [ $! -gt {pid} ] && exit 1; kill $!; done; echo; wait"
    with node_of(user, "ufe02") as ufe02:
        process = subprocess.Popen(ufe02.as_user(["sh", "-c", count]), stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n", "no process could be given that PID"
        ufe02.write(_one(state="stopped"))
        ufe02.apply()
        assert ufe02.run("kill", "-0", str(pid)).code == 0, "the stranger was killed"
        assert ufe01.daemons("one") == []
    process.wait()


def test_a_node_that_went_down_is_replaced_when_that_is_certain(ufe01: OnNode, ufe02: OnNode) -> None:
    uuid, pid_file = ufe01.id("one"), ufe01.directory("one") / "daemon.pid"
    ufe01.crash()
    assert ufe01.daemons("one") == []
    ufe02.apply("--wait", "started")  # its PID file is fresh: it counts as running there
    assert ufe02.daemons("one") == []
    wait_for(lambda: not ufe02.online(uuid), "the service noticed", 60)
    then = time.time() - 60
    os.utime(pid_file, (then, then))
    done = ufe02.apply(expect=5)
    assert "its PID file was touched less than 90 s ago by a daemon on ufe01" in done.err
    assert ufe02.daemons("one") == []
    then = time.time() - 100
    os.utime(pid_file, (then, then))
    ufe02.apply()
    ufe02.assert_converged("one")
    assert (ufe02.id("one"), _runs_on(ufe02)) == (uuid, "ufe02")


def test_started_by_hand_on_another_node_becomes_ours_where_it_is(ufe01: OnNode, ufe02: OnNode) -> None:
    uuid = ufe01.id("one")
    ufe01.write(_one(state="stopped"))
    ufe01.apply()
    done = ufe02.run("globus-compute-endpoint", "-c", str(ufe02.config_dir), "start", "one", "--detach")
    assert done.code == 0, str(done)
    wait_for(lambda: (ufe02.directory("one") / "daemon.pid").exists() and ufe02.online(uuid), "it is online")
    daemon = ufe02.daemon("one")
    ufe01.write(_one())
    ufe01.apply()
    assert ufe01.daemon("one") == daemon
    assert _state(ufe01) == ("elsewhere", "ufe02", "online")
    assert "No changes" in ufe01.plan("--detailed-exitcode")


def test_two_daemons_of_one_uuid_on_two_nodes_are_told(ufe01: OnNode, ufe02: OnNode) -> None:
    """Upstream's daemon looks every 15 s whether there is a PID file, not whether it is its own."""
    pid_file, first = ufe01.directory("one") / "daemon.pid", ufe01.daemon("one")
    os.kill(first, signal.SIGSTOP)  # it does not look just now
    pid_file.unlink()
    done = ufe02.run("globus-compute-endpoint", "-c", str(ufe02.config_dir), "start", "one", "--detach")
    wait_for(lambda: pid_file.exists() and len(ufe02.daemons("one")) == 2, "the second one is up")
    os.kill(first, signal.SIGCONT)
    assert done.code == 0, str(done)
    said = ufe01.chiltepin("plan", expect=4).out
    assert f"its PID file names {pid_file.read_text().strip()}, which is none of it here" in said
    assert f"`rm {pid_file}` ends both" in said
    ufe01.chiltepin("apply", "--yes", expect=4)
    assert _state(ufe01)[0] == "doubled"
    assert len(ufe01.daemons("one")) == 2
    pid_file.unlink()
    wait_for(lambda: not ufe01.daemons("one"), "both have ended")
    ufe01.apply()
    ufe01.assert_converged("one")


def test_run_on_names_the_nodes_where_daemons_are_started(user: User, ufe02: OnNode) -> None:
    hosts = {"ufe": {"match": ["ufe*"], "run_on": ["ufe0[13]"]}}
    ufe02.write(manifest("one", pools=_POOLS, hosts=hosts))
    done = ufe02.apply(expect=5)
    assert "Start deferred: daemons run on ufe0[13], and this is ufe02" in done.err
    assert ufe02.daemons("one") == []
    assert ufe02.registrations() == {}
    before = ufe02.snapshot("one")
    ufe02.apply(expect=5)
    assert ufe02.snapshot("one") == before
    with node_of(user, "ufe01") as ufe01:
        ufe01.apply()
        ufe01.assert_converged("one")
        assert _runs_on(ufe01) == "ufe01"
        ufe02.apply()


@pytest.mark.parametrize("off", [-600, 600])
def test_a_node_whose_clock_is_off_judges_as_the_others_do(ufe01: OnNode, ufe02: OnNode, off: int) -> None:
    environ = clock_off_by(ufe02, off)
    local = float(ufe02.run(str(BIN / "python"), "-c", "import time; print(time.time())", environ=environ).out)
    assert abs(local - time.time() - off) < 60, "the clock is off"
    daemon = ufe01.daemon("one")
    assert "No changes" in ufe02.plan("--detailed-exitcode", environ=environ)
    ufe02.apply(environ=environ)
    assert ufe01.daemon("one") == daemon
    # A dead one on this node, and the lease of a holder elsewhere: neither is older or younger for it.
    ufe02.write(_one(config={"display_name": "Changed"}))
    ufe02.apply(environ=environ)
    assert _runs_on(ufe02) == "ufe02"
    lease = {"token": "x", "host": "ufe09", "boot_id": "b", "namespace": "n", "pid": 1, "start_time": 1}
    ufe02.lease_file.write_text(json.dumps({**lease, "user": "u", "run": "r", "since": 0.0}))
    for age, code in ((200, 75), (320, 0)):
        then = time.time() - age
        os.utime(ufe02.lease_file, (then, then))
        ufe02.apply(environ=environ, expect=code)
    ufe02.assert_converged("one")


def test_four_applies_at_once_on_two_nodes(user: User, ufe02: OnNode) -> None:
    names = ("one", "two")
    user.write(manifest(*names))
    with node_of(user, "ufe01") as ufe01:
        processes = [node.spawn(str(BIN / "chiltepin"), "apply", "--yes") for node in (ufe01, ufe02) * 2]
        said = [process.communicate(timeout=150) for process in processes]
        codes = [process.returncode for process in processes]
        assert set(codes) <= {0, 75}, said
        assert 0 in codes
        assert sorted(user.registrations().values()) == sorted(names)
        for name in names:
            title = TITLE.match(user.processes()[user.daemon(name)])
            assert title is not None
            assert title[1] == user.id(name)
        for node in (ufe01, ufe02):
            node.apply()
            node.assert_converged(*names)


def test_an_apply_on_another_node_is_told_who_is_at_work(ufe02: OnNode, user: User) -> None:
    user.write(manifest("one"))
    with node_of(user, "ufe01") as ufe01, ufe01.spawn(str(BIN / "chiltepin"), "apply", "--yes") as first:
        wait_for(user.lease_file.exists, "the first apply holds the lease")
        second = ufe02.apply(expect=75)
        assert "on ufe01" in second.err
        _, err = first.communicate(timeout=60)
        assert first.returncode == 0, err
