"""What is read out of a daemon's log."""

from __future__ import annotations

import pytest

from reconciler.core.daemon_log import ending, says_connected
from reconciler.core.live import Process
from tests.core.builders import BEGINS, ENDS, GAVE_UP


@pytest.mark.parametrize(
    ("log", "how"),
    [
        (BEGINS + "Awaiting messages\n", "cut off"),
        (BEGINS + ENDS, "shut down"),
        (BEGINS + GAVE_UP + ENDS, "gave up"),
        (BEGINS + GAVE_UP + ENDS + BEGINS + ENDS, "shut down"),
        (BEGINS + ENDS + BEGINS, "cut off"),
        (
            BEGINS.replace("Core Endpoint", "Endpoint Manager") + ENDS.replace("Core Endpoint", "Endpoint Manager"),
            "shut down",
        ),
        (ENDS, "shut down"),  # it began before what was read
        (GAVE_UP + ENDS, "gave up"),
        ("", "unknown"),
        ("something else\n", "unknown"),
    ],
)
def test_how_the_last_session_ended(log: str, how: str) -> None:
    assert ending(log) == how


DAEMON = Process(101, 10, 1000, "the daemon", 5.0, inner_pids=())
HEADER = "2026-11-29 06:13:09,398 INFO MainProcess-{pid} ResultPublisher-1402 globus_compute_endpoint.endpoint:297 "


def said(what: str, pid: int = 101) -> str:
    return HEADER.format(pid=pid) + what + "\n"


def ready(pid: int = 101) -> str:
    return said("_on_queue_verified <ResultPublisher> Ready to send results to exchange: heartbeats", pid)


@pytest.mark.parametrize(
    ("log", "answer"),
    [
        (BEGINS + said("run Starting") + ready(), True),
        (BEGINS + ready() + said("Lost it") + "Traceback ...\n", True),
        (BEGINS + said("run Starting"), False),
        (BEGINS + ready(100) + BEGINS + said("run Starting"), False),
        (BEGINS + ready() + BEGINS + said("run Starting"), False),  # a PID that an earlier daemon had too
        (BEGINS + said("start asks for `Ready to send results`"), False),
        (BEGINS + ready(100), None),  # its own session has not begun
        (BEGINS + ready(100) + said("start \n\n========== Core Endpoint begins: 591c821c"), False),
        (BEGINS + ready() + said("start \n\n========== Core Endpoint begins: 591c821c", 102), None),
        (ready(), None),  # its beginning is not in what was read
        ("", None),
    ],
)
def test_whether_a_daemon_says_that_it_is_connected(log: str, answer: bool | None) -> None:
    assert says_connected(log, DAEMON) is answer


def test_a_daemon_in_a_container_writes_the_pid_that_it_has_there() -> None:
    inside = Process(5101, 10, 1000, "the daemon", 5.0, inner_pids=(101,))
    assert says_connected(BEGINS + ready(), inside) is True
    assert says_connected(BEGINS + ready(102), inside) is None
