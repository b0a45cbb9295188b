"""The pools file: PyYAML reads back the very values, and a pool without a UUID is not in it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.names import is_uuid
from reconciler.core.pools import pools_file
from tests.core.builders import desired, endpoint, pool, uuid

TRICKY = [
    "01:00:00",
    "0123",
    "yes",
    "1e3",
    "null",
    "~",
    "a\nb\n",
    "# no comment",
    " x ",
    "é",
    "${#a[@]}",
    "{{ x }}",
    "",
]
TEXT = st.sampled_from(TRICKY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
VALUES = st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=3) | st.floats(allow_nan=False)


@given(st.dictionaries(st.sampled_from(["walltime", "account", "environment", "cores_per_node"]), VALUES))
def test_pyyaml_reads_back_the_same_values(options: dict[str, Any]) -> None:
    text = pools_file(desired(pools=(pool("mpi", None, **options),)).pools, {}).text
    assert yaml.safe_load(text) == {"mpi": options}


@pytest.mark.parametrize("value", TRICKY)
def test_a_text_stays_a_text(value: str) -> None:
    text = pools_file(desired(pools=(pool("mpi", None, walltime=value, environment=[value]),)).pools, {}).text
    assert yaml.safe_load(text) == {"mpi": {"walltime": value, "environment": [value]}}


def test_text() -> None:
    pools = (pool("z", "main", walltime="01:00:00", mpi=True), pool("here", None), pool("id", uuid("x"), nodes=2))
    assert pools_file(desired(endpoint(), pools=pools).pools, {"main": uuid("main")}).text == (
        "# Written by chiltepin: executor pools for chiltepin.Workflow. Change the manifest instead of this file.\n"
        "here: {}\n"
        f'id:\n  endpoint: "{uuid("x")}"\n  nodes: 2\n'
        f'z:\n  endpoint: "{uuid("main")}"\n  walltime: "01:00:00"\n  mpi: true\n'
    )


def test_pools_without_a_uuid_are_left_out_by_name() -> None:
    pools = (pool("a"), pool("b", "far"), pool("c", None))
    found = pools_file(desired(endpoint(), pools=pools).pools, {"main": None, "other": uuid("o")})
    assert dict(found.left_out) == {"a": "endpoint `main` has no UUID yet", "b": "endpoint `far` has no UUID yet"}
    assert set(yaml.safe_load(found.text)) == {"c"}


def test_order_in_the_manifest_makes_no_difference() -> None:
    one = pools_file(desired(pools=(pool("a", None), pool("b", None))).pools, {})
    assert one == pools_file(desired(pools=(pool("b", None), pool("a", None))).pools, {})


def test_it_is_the_same_in_every_locale() -> None:
    options = {"environment": ["# \u00fc \u2603 \U0001f600"], "account": "\u00e9"}
    text = pools_file(desired(pools=(pool("\u00fc", **options),)).pools, {"main": uuid("main")}).text
    assert text.isascii()
    assert yaml.safe_load(text) == {"\u00fc": {"endpoint": uuid("main"), **options}}


def test_equal_values_are_spelt_out() -> None:
    shared = ["module load gcc"]
    pools = (pool("a", None, environment=shared), pool("b", None, environment=shared))
    assert "&" not in pools_file(desired(pools=pools).pools, {}).text


@pytest.mark.parametrize(
    ("text", "is_one"), [(uuid("x"), True), (uuid("x").upper(), True), ("main", False), ("", False)]
)
def test_is_uuid(text: str, *, is_one: bool) -> None:
    assert is_uuid(text) is is_one
