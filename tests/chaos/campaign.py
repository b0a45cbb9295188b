"""Kill commands at random moments, disturb everything between them, then apply once: nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.sandbox import lifecycle
from tests.chaos.disturbances import DISTURBANCES, Scene
from tests.e2e.support import BIN, Done, sandbox_user
from tests.sandbox.support import wait_for

KILLS_BETWEEN_SETTLINGS = 10
LONGEST = 3.0
"""Seconds within which most commands have ended; the moment of the kill lies between none and these."""

CONVERGE = ("apply", "--yes")
SETTLE = (*CONVERGE, "--retry")
"""Daemons are killed here more often than a plain apply lives with."""


@dataclass
class Campaign:
    """One user whose commands are killed.

    Attributes:
        kills: commands that died of our SIGKILL.
        counts: how often each command and disturbance happened.
        since: what happened since the last settling.
    """

    scene: Scene
    say: Callable[[str], None]
    kills: int = 0
    settlings: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    since: list[str] = field(default_factory=list)

    def run(self, kills: int) -> None:
        """Go on until `kills` commands were killed; settle every few, and at the end.

        Raises:
            AssertionError: a guarantee does not hold; says what happened since it last held.
        """
        self.scene.write()
        self.settle()
        while self.kills < kills:
            target = min(kills, self.kills + KILLS_BETWEEN_SETTLINGS)
            while self.kills < target:
                self.round()
            self.settle()

    def round(self) -> None:
        """Disturb, run a command, kill it."""
        for _ in range(self.scene.dice.choice((0, 1, 1, 2))):
            disturbance = self.scene.dice.choice(DISTURBANCES)
            self.counts[disturbance.__name__] += 1
            self.since.append(disturbance(self.scene))
        command = self._command()
        delay = self.scene.dice.uniform(0, LONGEST)
        died = self._killed(command, delay)
        self.kills += died
        self.counts[f"{command[0]} {'killed' if died else 'ended first'}"] += 1
        self.since.append(f"{' '.join(command)}: {f'killed after {delay:.2f} s' if died else 'ended before that'}")
        lifecycle.admin("DELETE", "/sandbox/faults", state_dir=self.scene.state)

    def _command(self) -> tuple[str, ...]:
        dice, name = self.scene.dice, self.scene.pick()
        return dice.choice(
            (
                CONVERGE,
                CONVERGE,
                CONVERGE,
                (*CONVERGE, "--parallelism", "1"),
                ("destroy", "--yes") if not self.scene.witnesses else CONVERGE,
                ("restart", name, "--yes", "--interrupt"),
                ("adopt", name, "--yes"),
                ("undelete", name, "--yes"),
                ("apply", "--yes", "--target", name),
            )
        )

    def _killed(self, command: tuple[str, ...], delay: float) -> bool:
        """Run a command; kill it after `delay`, by itself or with everything that it started in its group."""
        whole_group = self.scene.dice.random() < 0.3
        process = self.scene.user.spawn(str(BIN / "chiltepin"), *command, group=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=delay)
        running = process.poll() is None
        if running:
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
        out, err = process.communicate(timeout=120)
        done = Done(process.returncode, out, err)
        self._no_bug(command, done)
        return done.code == -signal.SIGKILL

    def _no_bug(self, command: tuple[str, ...], done: Done) -> None:
        if done.code == 70 or "Traceback" in done.err:
            self.fail(f"{' '.join(command)}: {done}")

    def settle(self) -> None:
        """Apply once; everything must be as declared, under the UUIDs that it had."""
        user, scene = self.scene.user, self.scene
        done = user.chiltepin(*SETTLE, expect=None)
        self._no_bug(SETTLE, done)
        if done.code != 0:
            self.fail(f"one apply does not converge: {done}")
        registered, processes = user.registrations(), user.processes()
        for name, block in scene.blocks.items():
            ids = user.known_ids(name)
            daemons = user.daemons(name)
            wanted = 0 if block.get("state") == "stopped" else 1
            self._check(len(ids) == 1 or not (wanted or ids), f"{name}: its records say {ids}")
            self._check(len(daemons) == wanted, f"{name}: {len(daemons)} daemons, PIDs {daemons}")
            before = scene.settled.get(name)
            self._check(before is None or ids == {before}, f"{name}: was {before}, and is {ids}")
            if ids:
                scene.settled[name] = next(iter(ids))
                self._check(user.locked()["endpoints"][name]["id"] in ids, f"{name}: the lock says otherwise")
            self._check(not wanted or user.online(*ids), f"{name}: runs, and is not online")
        double = Counter(registered.values())
        self._check(set(registered) == set(scene.settled.values()), f"registered: {registered}, used: {scene.settled}")
        self._check(all(count == 1 for count in double.values()), f"registered more than once: {double}")
        plan = user.chiltepin("plan", "--detailed-exitcode", expect=None)
        self._check(plan.code == 0, f"the plan is not empty: {plan}")
        self._check(not user.lease_file.exists(), "the lease is left")
        self.settlings += 1
        self.say(
            f"settled after {self.kills} kills: {len(processes)} processes, {', '.join(sorted(registered.values()))}"
        )
        self.since.clear()
        scene.witnesses.clear()

    def is_quiet(self) -> bool:
        """Whether nothing is online that is declared as stopped."""
        user, settled = self.scene.user, self.scene.settled
        stopped = (name for name, block in self.scene.blocks.items() if block.get("state") == "stopped")
        return not any(user.online(settled[name]) for name in stopped if name in settled)

    def _check(self, holds: bool, what: str) -> None:
        if not holds:
            self.fail(what)

    def fail(self, what: str) -> None:
        """Raise, with all that happened since everything was right, and what there is to look at."""
        happened, seen = "\n  ".join(self.since), "\n  ".join(self.scene.user.evidence())
        raise AssertionError(f"{what}\nsince the last settling:\n  {happened}\nwhat is there:\n  {seen}")


def run_campaign(state: Path, seed: int, kills: int, say: Callable[[str], None] = print) -> Campaign:
    """Run one campaign against the sandbox with this state directory, which must take faults.

    Raises:
        AssertionError: a guarantee does not hold.
    """
    began = time.monotonic()
    with sandbox_user(state) as user:
        campaign = Campaign(Scene(user, state, random.Random(seed)), lambda text: say(f"[seed {seed}] {text}"))
        try:
            campaign.run(kills)
        except pytest.fail.Exception as e:  # what was waited for has not come
            campaign.fail(str(e))
        # Of what was killed, and is declared as stopped, no registration ends before the service has missed it.
        wait_for(campaign.is_quiet, "the service has missed what does not run")
        user.chiltepin("destroy", "--yes", "--purge")
        wait_for(lambda: not user.processes(), "nothing is left running")
        assert user.registrations() == {}
    seconds = time.monotonic() - began
    campaign.say(
        f"{campaign.kills} kills, {campaign.settlings} settlings, {seconds:.0f} s: nothing lost, nothing doubled"
    )
    return campaign
