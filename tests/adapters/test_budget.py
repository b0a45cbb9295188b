from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.budget import (
    DOCUMENTED,
    VARIABLE,
    Pause,
    SlidingWindow,
    Unlimited,
    request_budget,
)
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.web import GlobusCompute
from reconciler.errors import Interrupted, UsageError
from tests.adapters.globus_stub import CLIENT, SECRET, FakeClock, GlobusStub, Reply, Request, running_stub

STEPS = st.lists(st.tuples(st.sampled_from(["acquire", "reserve", "idle"]), st.integers(1, 25)), max_size=60)


def most_in_a_window(times: list[float], period: float) -> int:
    """The largest number of requests in any window of `period` seconds, its ends included."""
    return max((sum(start <= t <= start + period for t in times) for start in times), default=0)


@given(steps=STEPS, limit=st.integers(1, 20), period=st.floats(0.5, 30))
def test_no_window_ever_holds_more_than_the_limit(steps: list[tuple[str, int]], limit: int, period: float) -> None:
    clock = FakeClock()
    budget = SlidingWindow(limit, period, clock)
    sent: list[float] = []
    for kind, number in steps:
        if kind == "idle":
            clock.sleep(number / 3)
            continue
        # One at a time shows when each one was granted, also when more than the limit is asked for.
        for _ in range(number):
            if kind == "acquire":
                budget.acquire()
                sent.append(clock.monotonic())
                continue
            with budget.reserve(1):
                if limit > 1 and number % 3 == 0:  # others go on while it takes its time
                    budget.acquire()
                    sent.append(clock.monotonic())
                clock.sleep(number * 5 if number % 2 else 0)
                sent.append(clock.monotonic())
    assert most_in_a_window(sent, period) <= limit


@given(sizes=st.lists(st.integers(1, 19), max_size=30))
def test_requests_that_are_granted_together_fit_together(sizes: list[int]) -> None:
    clock = FakeClock()
    budget = SlidingWindow(19, 10, clock)
    sent: list[float] = []
    for size in sizes:
        budget.acquire(size)
        sent.extend([clock.monotonic()] * size)
    assert most_in_a_window(sent, 10) <= 19


def test_does_not_wait_longer_than_it_has_to() -> None:
    clock = FakeClock()
    budget = SlidingWindow(19, 10, clock)
    for _ in range(19 * 5):
        budget.acquire()
    assert 40 <= clock.slept <= 42


def test_a_reservation_counts_until_its_requests_can_have_been_sent() -> None:
    """A start from a cold file system takes most of two minutes, and registers at its end."""
    clock = FakeClock()
    budget = SlidingWindow(5, 10, clock)
    with budget.reserve(4):
        budget.acquire()
        clock.sleep(110)
        budget.acquire()
    began = clock.slept
    budget.acquire(4)
    assert 10 <= clock.slept - began <= 10.5


def test_a_reservation_ends_with_a_start_that_failed() -> None:
    clock = FakeClock()
    budget = SlidingWindow(4, 10, clock)
    with pytest.raises(ZeroDivisionError), budget.reserve(4):
        raise ZeroDivisionError
    budget.acquire(4)
    assert 10 <= clock.slept <= 10.5


def test_a_reservation_of_more_than_the_limit_ends_nevertheless() -> None:
    clock = FakeClock()
    budget = SlidingWindow(3, 10, clock)
    with budget.reserve(4):
        began = clock.slept
    budget.acquire()
    assert clock.slept - began <= 10.5


def test_who_waits_for_the_end_of_a_reservation_lets_others_pass() -> None:
    budget = SlidingWindow(5, 0.2, SystemClock())
    over, waits = threading.Event(), threading.Event()

    def start() -> None:
        waits.set()
        with budget.reserve(4):
            over.set()

    other = threading.Thread(target=start)
    with budget.reserve(4):
        other.start()
        waits.wait(10)
        for _ in range(3):
            budget.acquire()
        assert not over.is_set()
    other.join(10)
    assert over.is_set()


def test_more_than_the_limit_is_granted_in_parts() -> None:
    clock = FakeClock()
    SlidingWindow(3, 10, clock).acquire(7)
    assert 20 <= clock.slept <= 21


def test_threads_share_it() -> None:
    clock = FakeClock()
    budget = SlidingWindow(5, 10, clock)
    sent: list[float] = []
    record = threading.Lock()

    def work() -> None:
        for _ in range(10):
            budget.acquire()
            # The moment of the grant, or an earlier one that is as crowded.
            with record:
                sent.append(clock.monotonic())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == 80
    assert clock.slept >= (80 / 5 - 1) * 10


def test_a_wait_can_be_ended_from_another_thread() -> None:
    clock = SystemClock()
    pause = Pause(clock)
    budget = SlidingWindow(1, 3600, clock, pause=pause)
    budget.acquire()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            budget.acquire()
        except Interrupted as error:
            raised.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    pause.interrupt()
    for thread in threads:
        thread.join(10)
    assert len(raised) == 3


def test_ctrl_c_passes_through_and_leaves_the_budget_usable() -> None:
    class Interrupting(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if 0 < self.slept < 1:
                raise KeyboardInterrupt

    clock = Interrupting()
    budget = SlidingWindow(1, 10, clock)
    budget.acquire()
    with pytest.raises(KeyboardInterrupt):
        budget.acquire()
    clock.sleep(1)
    budget.acquire()
    assert clock.slept >= 10


def test_production_stays_below_the_documented_limit() -> None:
    budget = request_budget("production", FakeClock(), environ={})
    assert isinstance(budget, SlidingWindow)
    assert (budget.limit, budget.period) == (19, 10)


def test_the_sandbox_has_no_limit_unless_one_is_set() -> None:
    assert isinstance(request_budget("sandbox", FakeClock(), environ={}), Unlimited)
    budget = request_budget("sandbox", FakeClock(), environ={"CHILTEPIN_REQUEST_BUDGET": "5/2.5"})
    assert isinstance(budget, SlidingWindow)
    assert (budget.limit, budget.period) == (4, 2.5)


@pytest.mark.parametrize("text", ["20", "1/10", "0/10", "20/0", "-3/10", "x/y", "20/10/5", "20/inf", "20/1e9"])
def test_nonsense_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="CHILTEPIN_REQUEST_BUDGET"):
        request_budget("production", FakeClock(), environ={"CHILTEPIN_REQUEST_BUDGET": text})


def test_a_hundred_endpoints_stay_within_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted at the service: a hundred first starts with what their daemons send, and a hundred statuses."""
    clock = FakeClock()
    arrived: list[float] = []

    class Service(GlobusStub):
        def _compute(self, request: Request) -> Reply:
            arrived.append(clock.monotonic())
            return super()._compute(request)

    with running_stub(Service()) as stub:
        login = {"GLOBUS_COMPUTE_CLIENT_ID": CLIENT, "GLOBUS_COMPUTE_CLIENT_SECRET": SECRET}
        for name, value in {**stub.environment(), **login, VARIABLE: DOCUMENTED}.items():
            monkeypatch.setenv(name, value)
        service = GlobusCompute(str(tmp_path), clock=clock)
        service.prepare()
        stub.listing = [{"uuid": str(uuid.UUID(int=n)), "name": f"e{n}"} for n in range(1, 101)]
        for number, endpoint in enumerate(service.owned()):
            service.owned()  # just before a first start
            with service.reserve(4):
                # A daemon sends them some time after it was granted a place, and not all at once.
                began = clock.monotonic()
                clock.sleep(2)
                arrived += [began + ((number * 7 + n) % 10) / 5 for n in range(4)]
            service.status(endpoint)
    assert len(arrived) == 1 + 100 * 6
    assert most_in_a_window(arrived, 10) < 20
    assert clock.slept < 600 / 19 * 13, "and no longer than that takes"
