"""`make bench`: the peers side by side in one run. Exits 1 when a ratio is missed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cfengine import policy, work_directory
from benchmarks.fixtures import Farm, sandboxed
from benchmarks.measure import Row, compare, compare_procedures, table


def main() -> int:
    if os.getuid() == 0 and not os.environ.get("CHILTEPIN_BENCH_INSIDE"):
        # Daemons started by root are privileged ones; the benchmark is about a user's.
        os.environ["CHILTEPIN_BENCH_INSIDE"] = "1"
        os.execvp(
            "unshare",
            ["unshare", "--user", "--map-user=65534", "--map-group=65534", sys.executable, "-m", "benchmarks.run"],
        )
    bin_dir = Path(sys.executable).parent
    with tempfile.TemporaryDirectory(prefix="chiltepin-bench-") as temporary, sandboxed(Path(temporary), bin_dir):
        rows = [*_reading(Path(temporary), bin_dir), *_thousand(Path(temporary), bin_dir)]
        rows += _daemons(Path(temporary), bin_dir)
    print(table(rows))
    return int(not all(row.meets for row in rows))


def _reading(root: Path, bin_dir: Path) -> list[Row]:
    farm = Farm(root / "ten", bin_dir, 10)
    farm.create()
    ours, theirs = str(bin_dir / "chiltepin"), [str(bin_dir / "globus-compute-endpoint"), "-c", farm.config_dir, "list"]
    plan = [ours, "plan", "-c", farm.config_dir, "--detailed-exitcode"]
    return [
        compare("chiltepin --help / list of 10", [ours, "--help"], theirs, farm.directory, 0.3),
        compare("validate 10 / list of 10", [ours, "validate"], theirs, farm.directory, 0.3),
        compare("plan 10, nothing to do / list of 10", plan, theirs, farm.directory, 0.5),
    ]


def _thousand(root: Path, bin_dir: Path) -> list[Row]:
    agent = shutil.which("cf-agent") or shutil.which("cf-agent", path="/usr/sbin:/var/lib/cfengine3/bin")
    farm = Farm(root / "thousand", bin_dir, 1000)
    farm.create()
    ours = [str(bin_dir / "chiltepin"), "plan", "-c", farm.config_dir, "--detailed-exitcode"]
    if agent is None:
        print("cfengine3 is not installed (apt-get install cfengine3): no comparison for 1,000 endpoints")
        return []
    work_directory(farm, agent)
    rules = policy(farm)
    theirs = [agent, "--no-lock", "--dry-run", "--file", str(rules)]
    return [
        compare(
            "plan 1,000, nothing to do / CFEngine",
            ours,
            theirs,
            farm.directory,
            1.0,
            rounds=5,
            peak_limit=120,
        )
    ]


def _daemons(root: Path, bin_dir: Path) -> list[Row]:
    farm = Farm(root / "daemons", bin_dir, 10, state="stopped")
    farm.create()
    ours, theirs = str(bin_dir / "chiltepin"), str(bin_dir / "globus-compute-endpoint")

    def apply(state: str) -> None:
        farm.declare(state)
        subprocess.run([ours, "apply", "--yes", "--quiet", "-c", farm.config_dir], cwd=farm.directory, check=True)

    def one_by_one(*command: str) -> None:
        for name in farm.names:
            subprocess.run([theirs, "-c", farm.config_dir, *command, name], check=True, stdout=subprocess.DEVNULL)

    def all_stopped() -> None:
        farm.stop_all()

    apply("running")  # once, so that all are registered and tokens are there
    apply("stopped")
    start = compare_procedures(
        "apply that starts 10 / start one by one",
        lambda: apply("running"),
        lambda: one_by_one("start", "--detach"),
        all_stopped,
        0.75,
    )

    def all_started() -> None:
        apply("running")

    apply("running")
    stop = compare_procedures(
        "apply that stops 10 / stop one by one",
        lambda: apply("stopped"),
        lambda: one_by_one("stop"),
        all_started,
        0.2,
    )
    farm.stop_all()
    return [start, stop]


if __name__ == "__main__":
    sys.exit(main())
