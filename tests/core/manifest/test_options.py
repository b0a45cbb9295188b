"""Options of config.yaml against the table of a version."""

from typing import Any

import pytest

from reconciler.core.manifest.options import OptionFinding, OptionTable, check_config, table_for
from tests.core.manifest.manifests import TABLES

TABLE = TABLES["4.19.0"]
UUID = "5f1c7ad2-3f0a-4a4e-9d7e-0f1e2d3c4b5a"


def told(config: dict[str, Any], table: OptionTable | None = TABLE) -> list[tuple[str, str, str | None]]:
    return [(finding.kind, finding.message, finding.hint) for finding in check_config(config, table)]


def test_good_options_give_no_findings() -> None:
    good = {
        "debug": True,
        "display_name": None,
        "heartbeat_period": 30,
        "admins": [UUID],
        "subscription_id": UUID,
        "pam": {"enable": True},
    }
    assert told(good) == []


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ({"debug": "true"}, "`debug` must be true or false", "write it without quotes"),
        (
            {"heartbeat_period": "30"},
            "`heartbeat_period` must be a number",
            "write it without quotes",
        ),
        ({"heartbeat_period": True}, "`heartbeat_period` must be a number", "quote it"),
        ({"display_name": 5}, "`display_name` must be text", "quote it"),
        ({"admins": UUID}, "`admins` must be a list of texts", f"write `[{UUID}]`"),
        ({"admins": [5]}, "`admins` must be a list of texts", None),
        ({"subscription_id": "x"}, "`subscription_id` must be a UUID", None),
        ({"pam": "x"}, "`pam` must be a mapping", None),
        ({"heartbeet_period": 30}, "unknown option `heartbeet_period`", "did you mean `heartbeat_period`?"),
    ],
)
def test_what_is_wrong_in_every_version(config: dict[str, Any], message: str, hint: str | None) -> None:
    found = told(config)
    assert found[0][:2] == ("invalid", message)
    if message != "`heartbeat_period` must be a number" or config["heartbeat_period"] is not True:
        assert found[0][2] == hint


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("engine", "`engine` in config.yaml is gone since 4.10.1"),
        ("multi_user", "`multi_user` is gone since 4.10.1: every endpoint serves user endpoints"),
        ("detach_endpoint", "`detach_endpoint` is gone since 4.10.1"),
        ("executors", "`executors` is gone since 4.6"),
        ("user_config_template_path", "the template's path is not set in `config`"),
        ("idle_heartbeats_soft", "`idle_heartbeats_soft` is an option of user endpoints, not of config.yaml"),
    ],
)
@pytest.mark.parametrize("table", [TABLE, None])
def test_options_that_are_gone_say_since_when_and_what_instead(name: str, why: str, table: OptionTable | None) -> None:
    [(kind, message, hint)] = told({name: True}, table)
    assert (kind, message) == ("invalid", why)
    assert hint


@pytest.mark.parametrize("value", [0, -5, -0.0, 86_401, 10**23, 1e300, float("nan"), float("inf")])
def test_a_period_that_is_none(value: float) -> None:
    said = "`heartbeat_period` must be more than 0 and at most 86,400 seconds"
    assert told({"heartbeat_period": value}) == [("invalid", said, None)]


@pytest.mark.parametrize("value", [0.5, 5, 86_400])
def test_a_period(value: float) -> None:
    assert told({"heartbeat_period": value}) == []


def test_options_of_other_versions_are_unsupported_here() -> None:
    assert told({"old_option": 1, "brand_new": 1, "zzzzzz": 1}) == [
        (
            "unsupported",
            "globus-compute-endpoint 4.19.0 does not know `old_option`, which exists up to 4.13.0 only",
            "leave the option out",
        ),
        (
            "unsupported",
            "globus-compute-endpoint 4.19.0 does not know `brand_new`, which exists since 4.20.0",
            "upgrade globus-compute-endpoint, or leave the option out",
        ),
        (
            "unsupported",
            "globus-compute-endpoint 4.19.0 does not know the option `zzzzzz`",
            (
                "known: admins, debug, display_name, heartbeat_period, identity_mapping_config_path, pam, "
                "subscription_id, waning"
            ),
        ),
    ]


def test_deprecated_options_are_warnings() -> None:
    assert told({"waning": 1}) == [("warning", "`waning` is deprecated: since 4.18, use `debug`", None)]


def test_the_table_for_an_installed_version() -> None:
    assert table_for(TABLES, "4.19.0") is TABLES["4.19.0"]
    assert table_for(TABLES, "4.19.3") is TABLES["4.19.0"]
    newest = table_for(TABLES, "4.25.0")
    assert newest is not None
    assert (newest.version, newest.exact) == ("4.20.0", False)
    assert table_for({}, "4.19.0") is None


def test_with_an_inexact_table_unknown_options_are_warnings_and_types_still_errors() -> None:
    table = table_for(TABLES, None)
    assert [kind for kind, _, _ in told({"heartbeat": 1, "zzz": 1, "old_option": 1, "debug": "x"}, table)] == [
        "warning",
        "warning",
        "warning",
        "invalid",
    ]
    assert told({"zzz": 1}, None) == []


def test_findings_name_the_option() -> None:
    assert check_config({"engine": {}}, None)[0] == OptionFinding(
        ("engine",),
        "invalid",
        "`engine` in config.yaml is gone since 4.10.1",
        "write it into the endpoint's `template`, which describes the user endpoints",
    )
