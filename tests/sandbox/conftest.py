"""Fixtures shared by the tests of the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox import support


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    reason = support.rabbitmq_missing()
    if reason is not None:
        pytest.skip(reason)
    with support.rabbitmq() as url:
        yield url


@pytest.fixture(scope="session")
def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with support.embedded_broker(tmp_path_factory.mktemp("broker")) as url:
        yield url


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A sandbox on a free port that is up for the whole module."""
    path = tmp_path_factory.mktemp("sandbox") / "state"
    with support.sandbox(path, faults=True):
        yield path
