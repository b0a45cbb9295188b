"""A workflow on the generated pools file: one task on each pool, with unmodified Chiltepin."""

import sys

from chiltepin import Workflow
from chiltepin.tasks import python_task

POOLS = ("forecast", "verification", "plots", "scripts")


@python_task
def where() -> str:
    import os

    return f"process {os.getpid()} says {6 * 7}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '-')}"


if __name__ == "__main__":
    wanted = sys.argv[1:] or POOLS
    with Workflow("chiltepin.pools.yaml", include=list(wanted)):
        waiting = {pool: where(executor=[pool]) for pool in wanted}
        for pool, future in waiting.items():
            print(f"{pool:>12}: {future.result()}")
