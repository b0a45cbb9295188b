"""Fixtures of the end-to-end tests: a sandbox for a module's tests, a user of it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support import User, sandbox_service, sandbox_user


@pytest.fixture(scope="module")
def service() -> Iterator[Path]:
    """The state directory of a sandbox that is up on port 5000 for the whole module."""
    with sandbox_service() as state:
        yield state


@pytest.fixture
def user(service: Path) -> Iterator[User]:
    """A user with a home of their own; none of their processes outlives the test."""
    with sandbox_user(service) as user:
        yield user
