"""What the benchmarks run on: a sandbox, and manifests with many endpoints."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import yaml


@contextmanager
def sandboxed(root: Path, bin_dir: Path) -> Iterator[None]:
    """Run a sandbox, and let this process and its children use it."""
    from reconciler.sandbox import lifecycle

    home = root / "home"
    home.mkdir()
    os.environ |= {"HOME": str(home), "PATH": f"{bin_dir}:{os.environ['PATH']}"}
    state = root / "sandbox"
    lifecycle.up(state)
    os.environ.update(lifecycle.environment(state))
    try:
        yield
    finally:
        lifecycle.down(state)


class Farm:
    """A manifest with `count` endpoints and one pool each, its config directory, and what makes it so."""

    def __init__(self, directory: Path, bin_dir: Path, count: int, *, state: str = "stopped") -> None:
        self.directory = directory
        self.config_dir = str(directory / "config")
        self.names = [f"endpoint-{i:04}" for i in range(count)]
        self._bin_dir = bin_dir
        self._ids: dict[str, str] = {}
        directory.mkdir()
        self.declare(state)

    def declare(self, state: str) -> None:
        """Write the manifest with all endpoints in one state."""
        endpoints = {}
        for name in self.names:
            endpoints[name] = {"state": state, "restart": "now", "config": {"display_name": f"Bench {name}"}}
            if name in self._ids:
                endpoints[name]["id"] = self._ids[name]
        manifest = {
            "version": 1,
            "stack": "bench",
            "endpoints": endpoints,
            "pools": {f"pool-{name}": {"endpoint": name, "provider": "localhost"} for name in self.names},
        }
        (self.directory / "chiltepin.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))

    def create(self) -> None:
        """Register every endpoint, and apply: the directories are there and nothing is left to do."""
        token = _token()
        for name in self.names:
            reply = requests.post(
                f"{os.environ['GLOBUS_SDK_SERVICE_URL_COMPUTE']}v3/endpoints",
                json={"endpoint_name": name, "metadata": {}},
                headers={"Authorization": f"Bearer {token}"},
                timeout=30,
            )
            reply.raise_for_status()
            self._ids[name] = str(uuid.UUID(reply.json()["endpoint_id"]))
        self.declare("stopped")
        subprocess.run(
            [self._bin_dir / "chiltepin", "apply", "--yes", "--quiet", "-c", self.config_dir],
            cwd=self.directory,
            check=True,
        )

    def stop_all(self) -> None:
        """Stop every daemon."""
        self.declare("stopped")
        subprocess.run(
            [self._bin_dir / "chiltepin", "apply", "--yes", "--quiet", "-c", self.config_dir],
            cwd=self.directory,
            check=True,
        )


def _token() -> str:
    reply = requests.post(
        f"{os.environ['GLOBUS_SDK_SERVICE_URL_AUTH']}v2/oauth2/token",
        data={
            "grant_type": "client_credentials",
            "scope": "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all",
        },
        auth=(os.environ["GLOBUS_COMPUTE_CLIENT_ID"], os.environ["GLOBUS_COMPUTE_CLIENT_SECRET"]),
        timeout=30,
    )
    reply.raise_for_status()
    return str(reply.json()["access_token"])
