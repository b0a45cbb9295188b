"""The short form of `make chaos`: commands killed at random moments, and everything disturbed between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.campaign import run_campaign
from tests.e2e.support import sandbox_service

pytestmark = pytest.mark.e2e


@pytest.fixture
def troubled() -> Iterator[Path]:
    """A sandbox that can be told to fail."""
    with sandbox_service(faults=True) as state:
        yield state


def test_a_short_campaign(troubled: Path) -> None:
    assert run_campaign(troubled, seed=1, kills=20).kills == 20
