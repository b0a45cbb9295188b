"""What happens to a user between two commands: changes of the manifest, hand edits, losses, a service in trouble.

Each changes the world and returns a line that says what it did. None takes away the last witness of a UUID:
lock, marker and endpoint.json are lost one at a time until the next settling. Nor the last witness of the node on
which a daemon ran that was killed: where neither marker nor registration names it, an apply rightly waits until its
PID file is stale.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reconciler.sandbox import lifecycle
from tests.e2e.support import User, manifest
from tests.sandbox.support import wait_for

NAMES = ("alpha", "beta", "gamma")


@dataclass
class Scene:
    """One user of the sandbox, and what was done to them.

    Attributes:
        blocks: the endpoints of the manifest.
        settled: the UUIDs at the last settling.
        witnesses: endpoints that lost one of their records since.
    """

    user: User
    state: Path
    dice: random.Random
    blocks: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in NAMES})
    settled: dict[str, str] = field(default_factory=dict)
    witnesses: set[str] = field(default_factory=set)

    def write(self) -> None:
        """Write the manifest."""
        pools = {f"pool-{name}": {"endpoint": name} for name in self.blocks}
        self.user.write(manifest(endpoints=self.blocks, pools=pools))

    def pick(self) -> str:
        """Return one of the endpoints."""
        return self.dice.choice(sorted(self.blocks))


def change_config(scene: Scene) -> str:
    name = scene.pick()
    config = {"mu_child_ep_grace_period_s": scene.dice.randint(10, 99)}
    scene.blocks[name].setdefault("config", {}).update(config)
    scene.write()
    return f"config of {name}"


def change_state(scene: Scene) -> str:
    name = scene.pick()
    stopped = scene.blocks[name].pop("state", None)
    if stopped is None:
        scene.blocks[name]["state"] = "stopped"
    scene.write()
    return f"{name} is {scene.blocks[name].get('state', 'running')}"


def change_schema(scene: Scene) -> str:
    name = scene.pick()
    if scene.blocks[name].pop("schema", None) is None:
        scene.blocks[name]["schema"] = "none"
    scene.write()
    return f"schema of {name}"


def edit_by_hand(scene: Scene) -> str:
    file = scene.user.directory(scene.pick()) / scene.dice.choice(("config.yaml", "user_config_template.yaml.j2"))
    if not file.exists():
        return f"no {file.name} to edit"
    if file.suffix == ".yaml":
        config = yaml.safe_load(file.read_text()) or {}
        config["debug"] = not config.get("debug", False)
        file.write_text(yaml.safe_dump(config))
    else:
        file.write_text(file.read_text() + "\n# by hand\n")
    return f"{file.parent.name}/{file.name} edited"


def kill_daemon(scene: Scene) -> str:
    name = scene.pick()
    if not set(scene.user.daemons(name)) <= {_recorded_pid(scene, name)}:
        return f"nobody recorded the daemon of {name}: it lives"
    for pid in scene.user.daemons(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return f"daemon of {name} killed"


def _recorded_pid(scene: Scene, name: str) -> int | None:
    """Return the PID of the daemon that the marker records."""
    try:
        record = scene.user.marker(name)["daemon"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return record["pid"] if record else None


def lose_marker(scene: Scene) -> str:
    return _lose(scene, ".chiltepin.json")


def lose_endpoint_json(scene: Scene) -> str:
    return _lose(scene, "endpoint.json")


def _lose(scene: Scene, file: str) -> str:
    name = _with_all_records(scene)
    if name is None:
        return "nothing to lose"
    killed = (scene.user.directory(name) / "daemon.pid").exists() and not scene.user.daemons(name)
    if killed and file == ".chiltepin.json":
        return f"the marker of {name} alone says where its daemon ran"
    (scene.user.directory(name) / file).unlink(missing_ok=True)
    scene.witnesses.add(name)
    return f"{name}/{file} lost"


def lose_directory(scene: Scene) -> str:
    """The daemon died, and scratch was purged; by the time anybody looks the service says offline."""
    name = _with_all_records(scene)
    if name is None:
        return "no directory to lose"
    wait_for(lambda: not _kill_all(scene, name), f"{name} is dead")
    shutil.rmtree(scene.user.directory(name), ignore_errors=True)
    scene.witnesses.add(name)
    wait_for(lambda: not scene.user.online(scene.settled[name]), f"{name} is offline")
    return f"directory of {name} lost"


def _kill_all(scene: Scene, name: str) -> set[int]:
    """Kill the daemons of this name and what a killed apply left that would become one; return what there was."""
    titles = scene.user.processes()
    found = {pid for pid, title in titles.items() if " start --detach " in title and title.endswith(f" {name}")}
    found |= {*scene.user.daemons(name)}
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def lose_lock(scene: Scene) -> str:
    whole = [name for name in scene.blocks if name not in scene.witnesses and _has_all_records(scene, name)]
    if len(whole) != len(scene.blocks):
        return "the lock is the last witness"
    scene.user.lock_file.unlink(missing_ok=True)
    scene.witnesses |= set(scene.blocks)
    return "lock lost"


def lose_pools(scene: Scene) -> str:
    scene.user.pools_file.unlink(missing_ok=True)
    return "pools file lost"


def trouble_the_service(scene: Scene) -> str:
    """Let the service answer some of the next requests with a fault.

    A reply of a registration is never lost: the daemon's SDK would send it again, and two would be right.
    """
    path = scene.dice.choice(("^/v2/endpoints$", "/status$", "/v2/oauth2/token", "/v2/version", "userinfo"))
    rule: dict[str, Any] = {"path": path, "times": scene.dice.choice((1, 2, 5))}
    rule |= scene.dice.choice(
        (
            {"status": 500},
            {"status": 503},
            {"status": 429, "headers": {"Retry-After": "1"}},
            {"drop": True},
            {"truncate": True},
            {"delay": 1.5},
        )
    )
    lifecycle.admin("POST", "/sandbox/faults", {"rules": [rule]}, state_dir=scene.state)
    return f"service in trouble: {rule}"


def _has_all_records(scene: Scene, name: str) -> bool:
    uuid = scene.settled.get(name)
    try:
        marker = scene.user.marker(name)["id"]
    except (FileNotFoundError, ValueError):
        return False
    locked = scene.user.locked()["endpoints"].get(name, {}).get("id")
    return uuid is not None and marker == locked == uuid and (scene.user.directory(name) / "endpoint.json").exists()


def _with_all_records(scene: Scene) -> str | None:
    """Return an endpoint of which one record may be lost, because the others are there."""
    whole = [n for n in sorted(scene.blocks) if n not in scene.witnesses and _has_all_records(scene, n)]
    return scene.dice.choice(whole) if whole else None


DISTURBANCES = (
    *(change_config, change_state, change_schema, edit_by_hand, kill_daemon, trouble_the_service) * 2,
    *(lose_marker, lose_endpoint_json, lose_directory, lose_lock, lose_pools),
)
