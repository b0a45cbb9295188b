"""The nursery dies, or hangs, before it began what it was asked for: the caller may then run the ordinary command."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters import nursery as nurseries
from reconciler.adapters.nursery import Brood, Nursery
from reconciler.core.machine import EndpointTool
from tests.adapters.host_support import wait_for

TOOL = EndpointTool(f"{sys.prefix}/bin/globus-compute-endpoint", sys.prefix, {})
VERSION = (TOOL.command, "version")


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    nursery = Nursery(TOOL, environment)
    try:
        assert nursery.serves(TOOL, environment)
        yield nursery
    finally:
        nursery._process.kill()
        nursery.close()


@pytest.fixture
def output(tmp_path: Path) -> Iterator[tuple[str, int]]:
    path = tmp_path / "output"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    yield str(path), descriptor
    os.close(descriptor)


def test_a_command_runs_to_its_end(nursery: Nursery, output: tuple[str, int]) -> None:
    brood = nursery.start(VERSION, *output)
    assert brood is not None
    wait_for(lambda: brood.code() is not None, "it ended")
    assert brood.code() == 0
    assert "version" in brood.said()


def test_killed_with_an_unread_request_it_has_begun_nothing(nursery: Nursery, output: tuple[str, int]) -> None:
    answers: list[Brood | None] = []
    nursery._process.send_signal(signal.SIGSTOP)
    asking = threading.Thread(target=lambda: answers.append(nursery.start(VERSION, *output)))
    asking.start()
    wait_for(lambda: nursery._count == 1, "the request is on its way")
    nursery._process.kill()
    asking.join(20)
    assert answers == [None], "the ordinary command serves"
    assert Path(output[0]).read_bytes() == b""


def test_one_that_hangs_is_ended(nursery: Nursery, output: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nurseries, "END_LIMIT", 0.3)
    nursery._process.send_signal(signal.SIGSTOP)
    assert nursery.start(VERSION, *output) is None
    assert nursery._process.wait(20) == -signal.SIGKILL
    assert nursery.start(VERSION, *output) is None, "and stays ended"


def test_what_it_began_goes_on_without_it(nursery: Nursery, output: tuple[str, int]) -> None:
    brood = nursery.start(VERSION, *output)
    nursery._process.kill()
    assert brood is not None
    wait_for(lambda: brood.code() is not None, "its end is taken note of")
    wait_for(lambda: "version" in brood.said(), "the command went on")
