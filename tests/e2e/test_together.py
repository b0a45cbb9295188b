"""Interrupts, and several applies at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest

from tests.e2e.support import BIN, User, manifest
from tests.sandbox.support import wait_for

pytestmark = pytest.mark.e2e

_NAMES = ("one", "two", "three")


def _journal(user: User) -> list[dict[str, Any]]:
    journal = user.config_dir / ".chiltepin" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _begun(user: User, event: str, action: str) -> list[str]:
    return [e["endpoint"] for e in _journal(user) if (e["event"], e["action"]) == (event, action)]


def _apply(user: User, *options: str, group: bool = False) -> subprocess.Popen[str]:
    return user.spawn(str(BIN / "chiltepin"), "apply", "--yes", *options, group=group)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_finishes_the_start_in_flight_and_begins_no_other(user: User, number: signal.Signals) -> None:
    user.write(manifest(*_NAMES, pools={f"pool-{name}": {"endpoint": name} for name in _NAMES}))
    with _apply(user, "--parallelism", "1") as process:
        (first,) = wait_for(lambda: _begun(user, "intent", "Start"), "a start is in flight")
        process.send_signal(number)
        _, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert _begun(user, "intent", "Start") == _begun(user, "done", "Start") == [first]
    others = [name for name in _NAMES if name != first]
    (said,) = [line for line in err.splitlines() if line.startswith("not begun: ")]
    assert said.endswith("; next: run it again")
    assert all(f"{name} (Start)" in said for name in others)
    assert first not in said
    assert [user.daemons(name) for name in others] == [[], []]
    assert list(user.registrations()) == [user.locked()["endpoints"][first]["id"]]
    assert user.workflow_pools() == {f"pool-{first}": user.id(first)}
    assert not user.lease_file.exists()
    kept = user.daemon(first)
    user.apply()
    user.assert_converged(*_NAMES)
    assert user.daemon(first) == kept


def test_interrupt_at_the_terminal_reaches_no_daemon(user: User) -> None:
    """Ctrl-C goes to the whole process group; the start command and the daemon are in none of it."""
    user.write(manifest("one"))
    with _apply(user, group=True) as process:
        wait_for(lambda: any(" start " in title for title in user.processes().values()), "the start command runs")
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    user.assert_converged("one")


def test_second_apply_at_the_same_time_is_told_who_is_at_work(user: User) -> None:
    user.write(manifest("one", "two"))
    with _apply(user) as first:
        wait_for(user.lease_file.exists, "the first apply holds the lease")
        second = user.apply(expect=75)
        assert str(first.pid) in second.err
        assert "another apply" in second.err
        _, err = first.communicate(timeout=200)
    assert first.returncode == 0, err
    user.assert_converged("one", "two")


def test_plan_needs_no_lease(user: User) -> None:
    user.write(manifest("one"))
    with _apply(user) as first:
        wait_for(user.lease_file.exists, "the apply holds the lease")
        user.plan(expect=0)
        assert first.wait(60) == 0


def test_many_applies_at_once_make_one_registration_each(user: User) -> None:
    user.write(manifest("one", "two"))
    processes = [_apply(user) for _ in range(4)]
    codes = []
    for process in processes:
        process.communicate(timeout=100)
        codes.append(process.returncode)
    assert set(codes) <= {0, 75}
    assert 0 in codes
    user.assert_converged("one", "two")


def test_two_manifests_share_a_config_directory(user: User) -> None:
    """Two stacks in one config directory leave each other's endpoints, files and deletes alone."""
    user.write(manifest("one"))
    user.apply()
    before = user.snapshot("one")
    project = user.base / "other"
    project.mkdir()
    other = project / "chiltepin.yaml"
    other.write_text(manifest("two", stack="other"))
    user.chiltepin("apply", "--yes", "-f", str(other))
    assert user.snapshot("one") == before
    user.chiltepin("destroy", "--yes", "-f", str(other))
    assert user.snapshot("one") == before
    assert (len(user.daemons("one")), user.daemons("two")) == (1, [])
