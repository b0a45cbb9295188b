"""The laptop loop with RabbitMQ, the reference broker, in the place of the sandbox's own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support import User, sandbox_service
from tests.sandbox.support import rabbitmq, rabbitmq_missing

pytestmark = pytest.mark.e2e

_EXAMPLE = Path(__file__).parents[2] / "examples" / "laptop" / "chiltepin.yaml"
_NAMES = ("laptop-models", "laptop-plots")


@pytest.fixture(scope="module")
def service() -> Iterator[Path]:
    """The state directory of a sandbox on port 5000 that uses a RabbitMQ."""
    reason = rabbitmq_missing()
    if reason:
        pytest.skip(reason)
    with rabbitmq() as url, sandbox_service(amqp_url=url) as state:
        yield state


def test_whole_loop(user: User) -> None:
    shutil.copy(_EXAMPLE, user.manifest)
    user.apply()
    user.assert_converged(*_NAMES)
    asked = ("forecast:OMP_NUM_THREADS", "verification:OMP_NUM_THREADS", "plots:MPLBACKEND")
    assert user.workflow(*asked) == {"forecast": "1", "verification": "2", "plots": "Agg"}
    before = user.snapshot(*_NAMES)
    user.apply()
    assert user.snapshot(*_NAMES) == before
    user.chiltepin("destroy", "--yes", "--purge")
    assert user.registrations() == {}
    assert user.processes() == {}
