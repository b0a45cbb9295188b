"""A stand-in for globus-compute-endpoint, endpoint directories to try things on, and processes to kill.

The stand-in behaves as upstream's `start --detach` does towards a host (session, title, PID file,
endpoint.json, in that order and with its delays), without a service behind it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters import process as processes
from reconciler.core.marker import Claim, Marker
from reconciler.ports import NewFile

UUID_A = "0a0a0a0a-1111-4222-8333-444444444444"
UUID_B = "0b0b0b0b-1111-4222-8333-444444444444"
ROOT = Path(__file__).resolve().parents[2]

FILES = {
    "config.yaml": NewFile(b"display_name: main\n"),
    "user_config_template.yaml.j2": NewFile(b"engine:\n  type: GlobusComputeEngine\n"),
    "user_environment.yaml": NewFile(b"PATH: /usr/bin\n"),
}

_TOOL = """#!{python}
import json, os, pathlib, signal, sys, time
import setproctitle

words = sys.argv[1:]
config_dir = pathlib.Path(words[words.index("-c") + 1])
name = words[-1]
mode = (config_dir / "behave").read_text() if (config_dir / "behave").exists() else "up"
uuid = words[words.index("--endpoint-uuid") + 1] if "--endpoint-uuid" in words else "{uuid}"
here = config_dir / name
(config_dir / "environment.json").write_text(json.dumps(dict(os.environ)))
with (config_dir / "starts").open("a") as starts:
    starts.write(" ".join(words) + "\\n")
if mode.startswith("exit"):
    print("amqps://user:hunter22@broker/ refused")
    sys.exit(int(mode.split()[1]))
if mode == "hang":
    time.sleep(600)
if mode == "slow":
    time.sleep(1.0)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.chdir(here)
log = (here / "endpoint.log").open("a")
log.write("begins\\ntoken: abcdefgh12345\\n")
log.flush()
if mode == "dies":
    sys.exit(1)
if mode == "slow":
    time.sleep(0.3)
pid_file = here / "daemon.pid"
pid_file.write_text(str(os.getpid()) + "\\n")

def end(*_):
    if mode != "stubborn":
        pid_file.unlink(missing_ok=True)
        os._exit(0)

signal.signal(signal.SIGTERM, end)
(here / "endpoint.json").write_text(json.dumps({{"endpoint_id": uuid}}))
setproctitle.setproctitle("Globus Compute Endpoint *(" + uuid + ", " + name + ") [" + setproctitle.getproctitle() + "]")
log.write("2026-11-29 06:13:09,398021 INFO MainProcess-" + str(os.getpid()))
log.write(" Thread-4-1402 stand-in:1 run Ready to send results to exchange: none\\n")
log.flush()
deadline = time.monotonic() + 120
while time.monotonic() < deadline:
    time.sleep(0.1)
"""


def fake_environment(prefix: Path, version: str = "4.19.0") -> Path:
    """Make an environment with the metadata of `version` and a tool that is never run; return its directory."""
    fake_tool(prefix, version)
    (prefix / "bin" / "python").symlink_to(sys.executable)
    (prefix / "bin" / "globus-compute-endpoint").write_text(f"#!{prefix}/bin/python\n")
    return prefix


def fake_tool(prefix: Path, version: str = "4.19.0") -> Path:
    """Make an environment with the stand-in, which runs in our own Python; return its directory."""
    site = prefix / "lib" / "python3.11" / "site-packages"
    (site / f"globus_compute_endpoint-{version}.dist-info").mkdir(parents=True)
    (site / "parsl-2026.4.20.dist-info").mkdir()
    (prefix / "bin").mkdir()
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.7\n")
    tool = prefix / "bin" / "globus-compute-endpoint"
    tool.write_text(_TOOL.format(python=sys.executable, uuid=UUID_A))
    tool.chmod(0o755)
    return prefix


def marker(name: str = "main", **changes: object) -> Marker:
    """Return a marker of endpoint `name`."""
    claim = Claim(service="sandbox", identity=None, user="u", host=None, config_dir="~/.g", directory=name)
    return Marker(stack="s", lineage="f" * 32, endpoint=name, claim=claim).but(**changes)


def names(directory: Path) -> list[str]:
    """Return the names of everything in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait until `condition` holds; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def python(code: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Run `code` in a Python of its own, with this checkout importable."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def outcome(child: subprocess.Popen[str], seconds: float = 60.0) -> tuple[int, str, str]:
    """Wait for a child; return its exit code and output."""
    out, err = child.communicate(timeout=seconds)
    return child.returncode, out, err


def unprivileged(code: str, *arguments: str) -> tuple[int, str, str]:
    """Run Python code as a user who may not override permissions; as root, in a user namespace."""
    command = [sys.executable, "-c", code, *arguments]
    if os.getuid() == 0:
        if shutil.which("unshare") is None:
            pytest.skip("root without unshare (util-linux): permissions cannot be tested")
        command = ["unshare", "--user", "--map-user=65534", "--map-group=65534", *command]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def fake_daemon(
    directory: Path, name: str, uuid: str, config_dir: Path | None = None, *, stopping: bool = False
) -> subprocess.Popen[bytes]:
    """Run a process that looks like the daemon of an endpoint and works in `directory`."""
    prefix = "[shutdown in progress] " if stopping else ""
    option = f"-c {config_dir} " if config_dir is not None else ""
    title = f"{prefix}Globus Compute Endpoint *({uuid}, {name}) [python globus-compute-endpoint {option}start {name}]"
    child = subprocess.Popen([title, "300"], executable=shutil.which("sleep"), cwd=directory)
    wait_for(lambda: processes.daemon_at(child.pid) is not None, "the stand-in has its title")
    return child


def end(child: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Kill a child and reap it."""
    child.kill()
    child.wait()


def endpoint(config_dir: Path, name: str = "main", uuid: str | None = UUID_A, **files: str) -> Path:
    """Write an endpoint directory by hand."""
    directory = config_dir / name
    directory.mkdir(parents=True)
    directory.chmod(0o700)
    (directory / "config.yaml").write_text(files.pop("config", "display_name: x\n"))
    if uuid is not None:
        (directory / "endpoint.json").write_text(json.dumps({"endpoint_id": uuid}))
    for file, text in files.items():
        (directory / file).write_text(text)
    return directory
