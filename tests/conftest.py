"""What holds for every test: a clean environment, a home of its own, and skips that fail where none is allowed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from reconciler.adapters import machine

NO_SKIP = "CHILTEPIN_TEST_NO_SKIP"
# A busy machine is no defect: no test judges how long an example takes.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# CI asks whether this change holds, always with the same examples; everybody else looks for new ones.
settings.register_profile("ci", settings.get_profile("steady"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "steady")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _foreign() -> list[str]:
    """Return the variables that would let the developer's login or settings into a test."""
    return [n for n in os.environ if n.startswith(("GLOBUS_", "CHILTEPIN_")) and not n.startswith("CHILTEPIN_TEST_")]


def pytest_configure() -> None:
    """Hide the developer's settings from fixtures that outlive a test, too."""
    for name in _foreign():
        del os.environ[name]
    # A job in the background ignores these, and so would every command that a test sends them to.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_sessionstart() -> None:
    """Fail no test for a finalizer that found no stack: a text nested too deeply was being parsed when it was called.

    The collector runs where a parser allocates, however deep that is. What it finalizes there is anything that
    earlier tests left, and pytest, which reports a finalizer's exception, has no stack left to format it either.
    """
    report = sys.unraisablehook

    def unless_too_deep(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, RecursionError):
            report(unraisable)

    sys.unraisablehook = unless_too_deep  # pytest puts back its predecessor's at the end


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Path, None, None]:
    """Give the home that the test has instead of the developer's; nothing of an earlier test is left."""
    for name in [*_foreign(), "NO_COLOR", "COLUMNS"]:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    machine.facts.cache_clear()  # who we are and where our home is holds for a process, not for a test
    yield home
    machine.facts.cache_clear()  # a test may have been somebody else


def _no_skip(report: Report, name: str) -> Report:
    """Turn a skip into a failure when CHILTEPIN_TEST_NO_SKIP=1; the reason is what is printed."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(NO_SKIP) == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{name}: {reason} ({NO_SKIP}=1 allows no skip)"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the skip of a test."""
    return _no_skip((yield), item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the skip of a whole module."""
    return _no_skip((yield), collector.nodeid)
