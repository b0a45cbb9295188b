"""What is read out of a daemon's log."""

from __future__ import annotations

import pytest

from reconciler.core.daemon_log import ending, have_ended, last_writer, says_connected
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
HEADER = "2026-11-29 06:13:09,398021 INFO MainProcess-{pid} Thread-4-1402 globus_compute_endpoint.endpoint:297 "
RETRIES = "_on_connection_closed ResultPublisher<✗; o:0; t:0> Unable to sustain connection; retrying ..."


def said(what: str, pid: int = 101) -> str:
    return HEADER.format(pid=pid) + what + "\n"


UNKNOWN = "run (GlobusAPIError) 401\n  of two lines\n    Failed to determine identity set; try `whoami` command?"


def begins(pid: int = 101) -> str:
    return said("start \n\n========== Core Endpoint begins: 591c821c", pid)


def ready(pid: int = 101) -> str:
    return said("_on_queue_verified ResultPublisher<✓; o:0; t:0> Ready to send results to exchange: heartbeats", pid)


@pytest.mark.parametrize(
    ("log", "answer"),
    [
        (begins() + said("run Opening connection") + ready(), True),
        (begins() + ready() + said("_start_consuming Lost it") + "Traceback ...\n", True),
        (begins() + ready() + said(RETRIES), False),
        (begins() + ready() + said(RETRIES) + ready(), True),
        (begins() + ready() + said(RETRIES.replace("ResultPublisher", "CommandQueueSubscriber")), True),
        (begins() + ready() + said(UNKNOWN), False),
        (begins() + ready() + said(UNKNOWN, 100), True),
        (begins() + said(UNKNOWN, 100), False),
        (begins() + said(UNKNOWN) + begins() + ready(), True),
        (begins(), False),
        (begins() + said("run Opening connection"), False),
        (begins(100) + ready(100) + begins() + said("run Opening connection"), False),
        (begins() + ready() + begins() + said("run Opening connection"), False),  # an earlier daemon had its PID too
        (begins() + said("start asks for `Ready to send results`"), False),
        (begins() + ready() + begins(102) + said("run Opening connection", 102), True),  # there are two of them
        (begins(100) + ready(100), None),  # its own session has not begun
        (begins() + ready(100), False),
        (begins(100) + ready(), None),
        (BEGINS + ready(), None),
        (ready(), True),  # it began long before what was read
        (said("_start_consuming Awaiting messages"), None),
        (ready(100), None),
        ("", None),
    ],
)
def test_whether_a_daemon_says_that_it_is_connected(log: str, answer: bool | None) -> None:
    assert says_connected(log, DAEMON) is answer


SHUT_DOWN = "run Shutdown complete.\n---------- Core Endpoint ends: 591c821c\n"


@pytest.mark.parametrize(
    ("log", "answer"),
    [
        (begins() + said(SHUT_DOWN), True),
        (begins() + ready(), False),
        (begins() + said(SHUT_DOWN) + begins(102), False),
        (begins() + said(SHUT_DOWN) + begins(102) + said(SHUT_DOWN, 102), True),
        (begins() + begins(102) + said(SHUT_DOWN), False),  # there were two; the later one may go on
        (begins() + begins(102) + said(SHUT_DOWN, 102) + ready(), False),  # the earlier one may
        (begins() + begins(102) + said(SHUT_DOWN, 102) + said(SHUT_DOWN), True),
        (begins() + begins(102) + said(SHUT_DOWN, 102), False),
        (begins() + said(SHUT_DOWN) + begins(), False),  # its PID came again
        (begins(102) + said(SHUT_DOWN, 102) + ready(), False),  # it began before what was read
        (begins() + said("_touch_pid PID file removed by another process; initiating shutdown"), False),
        (begins() + said("start asks for `Shutdown complete.` or so"), True),
        (ready() + said(SHUT_DOWN), True),  # it began before what was read
        (said(SHUT_DOWN) + said("run Opening connection", 102), False),
        (said("run\n---------- Endpoint Manager ends: 591c821c\n"), True),
        ("Shutdown complete.\n", False),
        ("", False),
    ],
)
def test_whether_all_daemons_of_a_log_have_ended(log: str, answer: bool) -> None:
    assert have_ended(log) is answer


def test_the_one_on_record_has_to_say_so_too() -> None:
    """On another node the last lines of a log may not be seen yet."""
    log = begins() + said(SHUT_DOWN)
    assert have_ended(log, 101)
    assert not have_ended(log, 102)
    assert not have_ended("", 102)


def test_who_wrote_last() -> None:
    assert last_writer(begins() + ready(102) + "not a message\n") == 102
    assert last_writer("Shutdown complete.\n") is None
    assert last_writer(said("x").replace("101", "9" * 5000)) is None


@pytest.mark.parametrize("run", ["=" * 300_000, "-" * 300_000, "\n" * 300_000])
def test_a_log_without_a_session_is_read_at_once(run: str) -> None:
    """It would take a minute where a run of characters is tried from each of them."""
    assert says_connected(said(run), DAEMON) is None
    assert ending(said(run)) == "unknown"
    assert ending(begins() + said(run)) == "cut off"
    assert not have_ended(begins() + said(run))


def test_a_daemon_in_a_container_writes_the_pid_that_it_has_there() -> None:
    inside = Process(5101, 10, 1000, "the daemon", 5.0, inner_pids=(101,))
    assert says_connected(begins() + ready(), inside) is True
    assert says_connected(begins(102) + ready(102), inside) is None


@pytest.mark.parametrize("line", [" A b-1" * 60_000, "ResultPublisher<" * 20_000 + " A b-1", "\n" * 300_000 + "="])
def test_a_long_line_of_whatever_is_read_at_once(line: str) -> None:
    """Each would take hours where patterns begin anew within a line."""
    assert says_connected(begins() + said(line) + ready(), DAEMON) is True
