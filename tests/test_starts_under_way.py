"""What a daemon is recorded to have been started with, when its files change while it starts."""

from __future__ import annotations

import pytest

from reconciler.core.desired import CONFIG
from reconciler.core.marker import Marker
from reconciler.errors import ExitCode
from tests.core.builders import desired, endpoint, pool
from tests.lab import Lab, killed_at

MPI = (pool("mpi"),)


def killed_while_it_starts() -> Lab:
    """Return a lab in which a first apply was killed, and its start command goes on."""
    lab = killed_at("start:spawned", endpoint())
    lab.world.faults.revive()
    assert [d.phase for d in lab.world.daemons] == ["starting"]
    return lab


def recorded(lab: Lab) -> str:
    """Return the digest of config.yaml that the marker says the daemon started with."""
    marker = lab.world.folders["main"].marker
    assert isinstance(marker, Marker)
    assert marker.daemon is not None
    return marker.daemon.config


def digest(lab: Lab) -> str:
    """Return the digest of config.yaml as it is."""
    return lab.world.folders["main"].files[CONFIG].digest


def planned(lab: Lab) -> list[str]:
    """Return the kinds of the actions in a plan."""
    return [action.kind for action in lab.sight().plan.actions]


@pytest.mark.parametrize("killed_again", [False, True])
def test_a_manifest_that_changes_during_a_start_is_not_forgotten(killed_again: bool) -> None:
    lab = killed_while_it_starts()
    read = digest(lab)
    lab.wants(endpoint(config={"debug": False}))
    # The daemon that comes up has read the old file, so an exit code of 0 would be a lie.
    assert lab.apply().code == ExitCode.DEFERRED
    assert digest(lab) != read
    if killed_again:
        assert lab.apply().code == ExitCode.DEFERRED
    lab.world.after_crash(starts_go_on=True)
    assert planned(lab) == ["Adopt", "Restart"]
    assert lab.apply().code == ExitCode.OK
    assert recorded(lab) == digest(lab)
    lab.assert_converged()


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_start_under_way_with_what_is_not_wanted_any_more_is_waited_for_before_the_plan(goes_on: bool) -> None:
    """One apply is enough: it restarts what came up, or starts what did not."""
    lab = killed_while_it_starts()
    lab.wants(endpoint(config={"debug": False}))
    lab.world.slept = lambda: lab.world.after_crash(starts_go_on=goes_on)
    assert lab.apply().code == ExitCode.OK
    assert recorded(lab) == digest(lab)
    lab.assert_converged()


def test_a_start_under_way_of_what_is_to_be_stopped_is_waited_for_before_the_plan() -> None:
    """Its command forks: by the time of the stop, the daemon is another process than the plan saw."""
    lab = killed_while_it_starts()
    lab.wants(endpoint(state="stopped"))

    def forks() -> None:
        for daemon in lab.world.daemons:
            if daemon.phase == "starting":
                daemon.pid += 1
        lab.world.after_crash(starts_go_on=True)

    lab.world.slept = forks
    assert lab.apply(between=forks).code == ExitCode.OK
    lab.assert_converged()


def test_a_start_under_way_that_fails_is_begun_anew_with_the_new_configuration() -> None:
    lab = killed_while_it_starts()
    lab.wants(endpoint(config={"debug": False}))
    assert lab.apply().code == ExitCode.DEFERRED
    lab.world.after_crash(starts_go_on=False)
    assert lab.apply().code == ExitCode.OK
    assert recorded(lab) == digest(lab)
    lab.assert_converged()


def test_a_start_under_way_with_nothing_changed_is_waited_for() -> None:
    lab = killed_while_it_starts()
    (daemon,) = lab.world.daemons
    assert lab.apply().code == ExitCode.OK
    assert lab.world.daemons == [daemon]
    lab.assert_converged()


def test_a_start_that_shows_only_after_the_plan_was_made_is_waited_for() -> None:
    """A killed apply asked for it; the process that starts daemons had not come to it when the next one looked."""
    lab = killed_while_it_starts()
    (daemon,) = lab.world.daemons
    lab.world.daemons.remove(daemon)
    assert lab.apply(between=lambda: lab.world.daemons.append(daemon)).code == ExitCode.OK
    assert lab.world.daemons == [daemon]
    lab.assert_converged()


def test_a_daemon_that_somebody_starts_after_the_plan_was_made_is_left_to_the_next_run() -> None:
    lab = Lab(desired(endpoint(), pools=MPI))
    assert lab.apply().code == ExitCode.OK
    (daemon,) = lab.world.daemons
    lab.world.end(daemon, cleanly=True)
    assert lab.apply(between=lambda: lab.world.spawn("main", daemon.id)).code == ExitCode.DEFERRED


def test_an_edit_while_somebody_waits_for_a_start_under_way() -> None:
    """Neither apply has written what is edited: the intent of the one that was killed says what was read."""
    lab = killed_while_it_starts()
    read = digest(lab)
    lab.apply(between=lambda: lab.world.edit("main", CONFIG, b"debug: true\nforeign: 1\n"))
    assert recorded(lab) == read
    assert planned(lab) == ["Adopt", "Restart"]


def test_an_edit_during_a_start_leaves_a_restart_in_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(desired(endpoint(), pools=MPI))
    bring_up = lab.world.bring_up

    def edited_meanwhile(daemon: object) -> None:
        bring_up(daemon)  # type: ignore[arg-type]
        lab.world.edit("main", CONFIG, b"debug: true\nforeign: 1\n")

    monkeypatch.setattr(lab.world, "bring_up", edited_meanwhile)
    lab.apply()
    monkeypatch.undo()
    assert recorded(lab) != digest(lab)
    assert planned(lab) == ["Adopt", "Restart"]
    assert lab.apply().code == ExitCode.OK
    lab.assert_converged()


def test_a_start_by_somebody_else_is_judged_by_the_file_that_was_there() -> None:
    lab = Lab(desired(endpoint(), pools=MPI))
    assert lab.apply().code == ExitCode.OK
    (daemon,) = lab.world.daemons
    lab.world.end(daemon, cleanly=True)
    lab.world.spawn("main", daemon.id)
    lab.wants(endpoint(config={"debug": False}))
    assert lab.apply().code == ExitCode.DEFERRED
    lab.world.after_crash(starts_go_on=True)
    (restart,) = [a for a in lab.sight().plan.actions if a.kind == "Adopt"]
    assert restart


def killed_in_a_restart(at: int) -> Lab:
    """Return a lab in which a restart for another configuration was killed at point number `at`."""
    lab = Lab(desired(endpoint(restart="now")))
    assert lab.apply().code == ExitCode.OK
    lab.wants(endpoint(restart="now", config={"debug": False}))
    assert lab.crash(at, starts_go_on=True)
    return lab


def test_what_it_was_started_with_is_what_its_record_says_and_no_older_intent() -> None:
    """Found by `make chaos`: the apply after a restart that was killed is killed before it closes that one's intent."""
    ended = next(at for at in range(1, 100) if not killed_in_a_restart(at).world.daemons)
    for at in range(1, 1000):
        lab = killed_in_a_restart(ended)
        lab.wants(endpoint(restart="now", config={"debug": True}))
        if not lab.crash(at, starts_go_on=True):
            break
        assert lab.apply().code == ExitCode.OK
        lab.assert_converged()
        assert recorded(lab) == digest(lab)
    assert at > 10
