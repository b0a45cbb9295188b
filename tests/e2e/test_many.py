"""Many endpoints at once: daemons from one process that imported globus-compute-endpoint once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.support import BIN, User, manifest

pytestmark = pytest.mark.e2e

NAMES = ("one", "two", "three", "four")
POOLS = {"work": {"endpoint": "three", "environment": ["export WHERE=here"]}}


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("PPid:\t")[1].splitlines()[0])


def test_daemons_of_the_nursery_are_like_any_other(user: User) -> None:
    user.write(manifest(*NAMES, pools=POOLS))
    user.apply()
    user.assert_converged(*NAMES)
    daemons = [user.daemon(name) for name in NAMES]
    assert len({os.getsid(pid) for pid in daemons}) == len(NAMES), "each has a session of its own"
    assert not [title for title in user.processes().values() if "nursery_server" in title], "the nursery is gone"
    assert user.workflow("work:WHERE") == {"work": "here"}
    assert user.workflow("work:GLOBUS_COMPUTE_CLIENT_SECRET") == {"work": ""}, "tasks do not see the daemon's secret"
    before = {name: user.id(name) for name in NAMES}
    stopped = user.run(str(BIN / "globus-compute-endpoint"), "-c", str(user.config_dir), "stop", "two")
    assert stopped.code == 0, str(stopped)
    user.apply()
    user.assert_converged(*NAMES)
    assert {name: user.id(name) for name in NAMES} == before
    assert [user.daemon(name) for name in NAMES if name != "two"] == [p for p in daemons if p != daemons[1]]


def test_one_that_cannot_start_does_not_keep_the_others(user: User) -> None:
    user.write(manifest(endpoints={"bad": {"state": "stopped"}}))
    user.apply()
    (user.directory("bad") / "endpoint.log").mkdir()
    user.write(manifest(*NAMES[:3], "bad"))
    done = user.apply(expect=3)
    assert "endpoint bad did not come up" in done.err
    assert "endpoint.log" in done.err.rsplit("Start failed", 1)[1], "the end of its output says why"
    assert sorted(user.registrations().values()) == sorted(NAMES[:3])
    (user.directory("bad") / "endpoint.log").rmdir()
    user.apply()
    user.assert_converged(*NAMES[:3], "bad")


@pytest.mark.parametrize("point", ["start.begin", "start.spawned", "start.up"])
def test_killed_among_many_starts(user: User, point: str) -> None:
    user.write(manifest(*NAMES))
    user.killed_at(f"{point}:2")
    known = {name: user.known_ids(name) for name in NAMES if user.directory(name).exists()}
    user.apply()
    user.assert_converged(*NAMES)
    for name, ids in known.items():
        assert not ids or ids == {user.id(name)}
