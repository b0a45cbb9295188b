"""Unmodified daemons, SDK and upstream Chiltepin against the sandbox: with its own broker and with RabbitMQ."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.sandbox import lifecycle
from tests.sandbox import support
from tests.sandbox.support import Api, default_api, end_endpoint, endpoint_id, other_api, unprivileged, wait_for

pytestmark = pytest.mark.e2e

_BIN = Path(sys.executable).parent

_TEMPLATE = """
endpoint_setup: {{ endpoint_setup|default() }}
heartbeat_period: 5
engine:
  type: GlobusComputeEngine
  address: 127.0.0.1
  encrypted: false
  max_workers_per_node: 2
  provider: {type: LocalProvider, init_blocks: 1, min_blocks: 1, max_blocks: 1}
"""

_TASKS = """
import sys
from globus_compute_sdk import Client, Executor

def add(a, b):
    return a + b

def fail():
    raise ValueError("on purpose")

with Executor(sys.argv[1]) as executor:
    first = executor.submit(add, 20, 22)
    print(first.result(120))
    print(*(f.result(60) for f in [executor.submit(add, n, n) for n in range(20)]))
    print("on purpose" in str(executor.submit(fail).exception(60)))
    print(Client().get_task(first.task_id)["status"])
    print(len(executor.submit(lambda: "x" * 500_000).result(60)))
"""

_BROKEN_SETUP = """
import sys
from globus_compute_sdk import Executor
with Executor(sys.argv[1], user_endpoint_config={"endpoint_setup": "exit 3"}) as executor:
    print(repr(executor.submit(len, "abc").exception(120)))
"""

_WORKFLOW = """
import sys
from chiltepin import Workflow
from chiltepin.tasks import python_task

@python_task
def add(a, b):
    return a + b

if __name__ == "__main__":
    pool = {"endpoint": sys.argv[1], "provider": "localhost", "init_blocks": 1}
    with Workflow({"remote": pool}, run_dir=sys.argv[2]):
        print(add(40, 2, executor=["remote"]).result(timeout=180))
"""


@dataclass(frozen=True)
class Site:
    """A sandbox, a home directory, and the environment that a user of the sandbox has."""

    state: Path
    home: Path
    environ: dict[str, str]
    amqp_url: str | None

    def run(self, *command: str, check: bool = True, seconds: float = 150) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            unprivileged(list(command)),
            env=self.environ,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def python(self, code: str, *arguments: str) -> list[str]:
        script = self.home / "script.py"
        script.write_text(code)
        return self.run(sys.executable, str(script), *arguments).stdout.splitlines()

    def endpoint(self, command: str, name: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        config = str(self.config_dir)
        return self.run("globus-compute-endpoint", "-c", config, command, name, *options, check=check)

    @property
    def config_dir(self) -> Path:
        return self.home / "gc"

    def status(self, api: Api, endpoint: str) -> str:
        return str(api.call("GET", f"/v2/endpoints/{endpoint}/status").json()["status"])


@pytest.fixture(scope="module", params=["embedded", "rabbitmq"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    # A short path of its own: engines put Unix sockets below it, and their paths are limited to 107 bytes.
    base = Path(tempfile.mkdtemp(prefix="sbx-"))
    state, home = base / "state", base / "home"
    home.mkdir()
    reason = support.rabbitmq_missing() if request.param == "rabbitmq" else None
    if reason:
        pytest.skip(reason)
    try:
        with support.port_5000() as port:
            if request.param == "rabbitmq":
                with support.rabbitmq() as url, support.sandbox(state, port, amqp_url=url):
                    yield _site(state, home, url)
            else:
                with support.sandbox(state, port):
                    yield _site(state, home, None)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _site(state: Path, home: Path, amqp_url: str | None) -> Site:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GLOBUS", "ACADEMY", "CHILTEPIN"))}
    path = f"{_BIN}:{inherited['PATH']}"
    environ = {**inherited, **lifecycle.environment(state), "HOME": str(home), "PATH": path}
    return Site(state, home, environ, amqp_url)


@pytest.fixture
def api(site: Site) -> Api:
    return default_api(site.state)


@pytest.fixture(scope="module")
def running(site: Site) -> Iterator[Path]:
    """The directory of an endpoint whose daemon runs."""
    site.endpoint("configure", "main")
    directory = site.config_dir / "main"
    (directory / "user_config_template.yaml.j2").write_text(_TEMPLATE)
    try:
        start(site, directory)
        yield directory
    finally:
        end_endpoint(directory)


def start(site: Site, directory: Path) -> str:
    site.endpoint("start", directory.name, "--detach")
    endpoint = wait_for(lambda: endpoint_id(directory), "the endpoint records its UUID")
    api = default_api(site.state)
    wait_for(lambda: site.status(api, endpoint) == "online", "the endpoint is online")
    return str(endpoint)


def test_endpoint_registers_and_comes_online(site: Site, api: Api, running: Path) -> None:
    endpoint = endpoint_id(running)
    listed = {e["uuid"]: e["name"] for e in api.call("GET", "/v2/endpoints?role=owner").json()}
    assert listed[endpoint] == "main"
    described = api.call("GET", f"/v2/endpoints/{endpoint}").json()
    assert described["user_config_template"].strip() == _TEMPLATE.strip()
    assert described["endpoint_version"]
    assert site.status(api, str(endpoint)) == "online"


def test_executor_gets_results(site: Site, running: Path) -> None:
    endpoint = str(endpoint_id(running))
    expected = ["42", " ".join(str(2 * n) for n in range(20)), "True", "success", "500000"]
    assert site.python(_TASKS, endpoint) == expected


def test_sandbox_restart_under_a_running_endpoint(site: Site, running: Path) -> None:
    endpoint = str(endpoint_id(running))
    lifecycle.down(site.state)
    lifecycle.up(site.state, 5000, site.amqp_url)
    assert site.python(_TASKS, endpoint)[0] == "42"


def test_user_endpoint_that_fails_to_start_fails_its_tasks(site: Site, running: Path) -> None:
    (answer,) = site.python(_BROKEN_SETUP, str(endpoint_id(running)))
    assert answer.startswith("TaskExecutionFailed")
    assert "Failed to start" in answer


def test_another_identity_cannot_submit(site: Site, running: Path) -> None:
    other = other_api(site.state)
    assert other.call("POST", f"/v3/endpoints/{endpoint_id(running)}/submit", {"tasks": {}}).status_code == 403


def test_stop_is_seen_and_the_uuid_kept(site: Site, api: Api) -> None:
    site.endpoint("configure", "again")
    directory = site.config_dir / "again"
    try:
        first = start(site, directory)
        end_endpoint(directory)
        assert site.status(api, first) == "offline"
        assert start(site, directory) == first
        # The remote stop: the service cuts the daemon off, and refuses it until the lock ends.
        assert api.call("POST", f"/v3/endpoints/{first}/lock").status_code == 200
        wait_for(lambda: not (directory / "daemon.pid").exists(), "the daemon stops by itself")
        wait_for(lambda: site.status(api, first) == "offline", "the endpoint is offline")
        refused = site.endpoint("start", "again", "--detach", check=False)
        assert (refused.returncode, "ENDPOINT_LOCKED" in refused.stdout) == (69, True)
    finally:
        end_endpoint(directory)


def test_start_with_a_deleted_registration_is_refused(site: Site, api: Api) -> None:
    site.endpoint("configure", "gone")
    directory = site.config_dir / "gone"
    try:
        endpoint = start(site, directory)
        end_endpoint(directory)
        assert api.call("DELETE", f"/v2/endpoints/{endpoint}").status_code == 200
        assert site.endpoint("start", "gone", "--detach", check=False).returncode == 69
    finally:
        end_endpoint(directory)


def test_upstream_chiltepin(site: Site, api: Api) -> None:
    """Upstream's own login, endpoint commands and a workflow."""
    if not (_BIN / "globus-compute-endpoint").exists():
        pytest.skip("globus-compute-endpoint is not installed beside this Python")
    upstream = [sys.executable, "-c", "from chiltepin.cli import main; main()"]
    config = str(site.config_dir)
    directory = site.config_dir / "upstream"
    site.run(*upstream, "login")
    site.run(*upstream, "endpoint", "-c", config, "configure", "upstream")
    try:
        site.run(*upstream, "endpoint", "-c", config, "start", "upstream")
        endpoint = str(wait_for(lambda: endpoint_id(directory), "the endpoint records its UUID"))
        wait_for(lambda: site.status(api, endpoint) == "online", "the endpoint is online")
        assert site.python(_WORKFLOW, endpoint, str(site.home / "runs"))[-1] == "42"
        site.run(*upstream, "endpoint", "-c", config, "stop", "upstream")
        wait_for(lambda: site.status(api, endpoint) == "offline", "the endpoint is offline")
    finally:
        end_endpoint(directory)
    site.run(*upstream, "logout")
