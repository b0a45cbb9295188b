"""`make chaos`: python -m tests.chaos [--kills N] [--seed N ...]; exits 1 when a guarantee does not hold."""

from __future__ import annotations

import argparse
import secrets
import sys
import time

from tests.chaos.campaign import run_campaign
from tests.e2e.support import sandbox_service


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="commands to kill, for each seed")
    parser.add_argument("--seed", type=int, action="append", help="may be given more than once; default: a random one")
    options = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f}  {text}", flush=True)

    failed = 0
    with sandbox_service(faults=True) as state:
        for seed in options.seed or [secrets.randbelow(10**6)]:
            try:
                campaign = run_campaign(state, seed, options.kills, say)
            except AssertionError as e:
                failed += 1
                say(f"[seed {seed}] FAILED: {e}")
            else:
                for what, count in sorted(campaign.counts.items()):
                    say(f"[seed {seed}]   {count:5}  {what}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
