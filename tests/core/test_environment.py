"""Which variables reach a daemon, what is kept of them, and which changes make it another daemon."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from reconciler.core import environment
from reconciler.core.environment import (
    Variable,
    changed,
    given,
    keep,
    not_at_hand,
    pin_session,
    renew_session,
    variable,
)

PROXY = "http://user:s3cret-pass@proxy:3128"
NAMES = ["HOME", "https_proxy", "NO_PROXY", "SLURM_CONF", "GLOBUS_COMPUTE_CLIENT_SECRET", "GLOBUS_SDK_HTTP_TIMEOUT"]
VALUES = st.sampled_from(["", "a", "b", PROXY])


def here(**values: str) -> dict[str, Variable]:
    return {name: variable(name, value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("name", "sort"),
    [
        ("HOME", "selecting"),
        ("GLOBUS_COMPUTE_CLIENT_SECRET", "selecting"),
        ("GLOBUS_SDK_SERVICE_URL_AUTH", "selecting"),
        ("https_proxy", "kept"),
        ("SLURM_CONF", "kept"),
        ("GLOBUS_SDK_VERIFY_SSL", "kept"),
        ("LC_ALL", "session"),
        ("LOADEDMODULES", "session"),
        ("TZ", "session"),
        ("TMPDIR", None),
        ("PYTHONPATH", None),
        ("AWS_SECRET_ACCESS_KEY", None),
        ("GLOBUS_COMPUTE_ENDPOINT_DIR", None),
    ],
)
def test_each_variable_is_of_one_sort(name: str, sort: str | None) -> None:
    sorts = {"selecting": environment.is_selecting, "kept": environment.is_kept, "session": environment.is_session}
    assert [s for s, is_of in sorts.items() if is_of(name)] == ([sort] if sort else [])
    assert environment.is_declared(name) == (sort is not None)


def test_cron_without_them_changes_nothing_and_its_daemons_are_given_what_was_kept() -> None:
    shell = here(HOME="/h", https_proxy="http://p", SLURM_CONF="/s", LANG="C")
    kept = keep(pin_session(shell, {}), shell)
    assert kept == {"LANG": "C", "SLURM_CONF": "/s", "https_proxy": "http://p"}
    cron = here(HOME="/h", LANG="de_DE")
    assert changed(given(kept, shell), kept, cron) == ()
    assert keep(kept, cron) == kept
    assert given(kept, cron) == given(kept, shell)


def test_what_is_set_otherwise_is_a_change_that_says_its_name_and_values() -> None:
    shell = here(HOME="/h", https_proxy="http://p", SLURM_CONF="/s")
    kept = keep({}, shell)
    now = here(HOME="/h", https_proxy="http://q", SLURM_CONF="", NO_PROXY="*")
    assert changed(given(kept, shell), kept, now) == (
        'NO_PROXY: (not set) -> "*"',
        'SLURM_CONF: "/s" -> (not set)',
        'https_proxy: "http://p" -> "http://q"',
    )
    assert keep(kept, now) == {"NO_PROXY": "*", "https_proxy": "http://q"}
    assert changed(given(keep(kept, now), now), keep(kept, now), now) == ()


def test_a_login_that_is_set_no_more_is_a_change() -> None:
    before = given({}, here(GLOBUS_COMPUTE_CLIENT_ID="x", GLOBUS_COMPUTE_CLIENT_SECRET="hush-hush"))
    now = here(GLOBUS_COMPUTE_CLIENT_ID="x")
    assert changed(before, {}, now) == ("GLOBUS_COMPUTE_CLIENT_SECRET: it is no longer set",)


def test_a_changed_secret_shows_and_neither_value_does() -> None:
    before = given({}, here(GLOBUS_COMPUTE_CLIENT_SECRET="hush-hush", https_proxy=PROXY))
    now = here(GLOBUS_COMPUTE_CLIENT_SECRET="hush-hush-2", https_proxy=PROXY.replace("s3cret", "0ther"))
    assert changed(before, {}, now) == (
        "GLOBUS_COMPUTE_CLIENT_SECRET: (not shown) -> (not shown)",
        "https_proxy: (not shown) -> (not shown)",
    )


def test_a_password_is_neither_kept_nor_hashed_cheaply() -> None:
    set_here = here(GLOBUS_COMPUTE_CLIENT_SECRET="hush-hush", https_proxy=PROXY)
    kept = keep({"https_proxy": "http://earlier"}, set_here)
    assert kept == {}
    digests = given(kept, set_here)
    for name, value in (("GLOBUS_COMPUTE_CLIENT_SECRET", "hush-hush"), ("https_proxy", PROXY)):
        for text in (value, f"{name}={value}", f"{name}\0{value}"):
            assert hashlib.sha256(text.encode()).hexdigest()[:32] != digests[name]
    assert not_at_hand(digests, kept, here()) == ("https_proxy",)
    assert not_at_hand(digests, kept, set_here) == ()


def test_a_proxy_with_a_user_and_no_password_is_kept_for_cron() -> None:
    shell = here(HOME="/h", https_proxy="http://jdoe@proxy:3128")
    kept = keep({}, shell)
    assert kept == {"https_proxy": "http://jdoe@proxy:3128"}
    assert not_at_hand(given(kept, shell), kept, here(HOME="/h")) == ()


def test_session_variables_are_the_sites_with_the_sessions_over_them_and_pinned() -> None:
    site = {"LANG": "C.UTF-8", "MODULEPATH": "/site", "https_proxy": "http://site", "SLURM_CONF": PROXY, "EDITOR": "vi"}
    kept = pin_session(here(MODULEPATH="/mine", LD_LIBRARY_PATH="/lib"), site)
    assert kept == {
        "LANG": "C.UTF-8",
        "MODULEPATH": "/mine",
        "LD_LIBRARY_PATH": "/lib",
        "https_proxy": "http://site",
    }
    other = here(LD_LIBRARY_PATH="/other", TZ="UTC")
    assert keep(kept, other) == kept
    assert changed(given(kept, {}), kept, other) == ()
    renewed = renew_session({**kept, "PATH": "/usr/bin"}, other)
    assert renewed == {"https_proxy": "http://site", "LD_LIBRARY_PATH": "/other", "TZ": "UTC", "PATH": "/usr/bin"}


def test_what_a_daemon_of_a_first_version_or_of_somebody_else_was_given_is_not_known() -> None:
    assert changed({}, {}, here(https_proxy="http://p")) == ()


def test_a_value_that_is_no_text_is_not_kept() -> None:
    set_here = here(SLURM_CONF="/\udcff", NO_PROXY="a\nb")
    assert keep({}, set_here) == {}
    assert set(given({}, set_here)) == {"SLURM_CONF", "NO_PROXY"}


@for_all(
    st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), VALUES),
)
def test_after_a_restart_from_anywhere_nothing_has_changed_there(
    earlier: list[dict[str, str]], now: dict[str, str]
) -> None:
    kept: dict[str, str] = {}
    for place in (*earlier, now):
        kept = keep(kept, here(**place))
    digests = given(kept, here(**now))
    assert changed(digests, kept, here(**now)) == ()
    assert keep(kept, here(**now)) == kept
    assert "s3cret-pass" not in f"{kept}{digests}"
