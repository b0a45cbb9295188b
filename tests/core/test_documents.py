"""Merging keys into a document, and YAML that reads back as what was written."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.desired import CONFIG, IDENTITY_MAPPING, SCHEMA, TEMPLATE, USER_ENVIRONMENT, TextFile
from reconciler.core.documents import NotAMapping, dump_mapping, file_specs, leaves, load_mapping, merge_keys
from tests.core.builders import endpoint

KEYS = st.sampled_from(["a", "b", "c", "yes", "1"])
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["01:00", "0123", "1e3"])
VALUES = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=2), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)
FULL = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=2), lambda inner: st.dictionaries(KEYS, inner, min_size=1), max_leaves=6
)


def at(document: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Return the value at `path`."""
    value: Any = document
    for key in path:
        value = value[key]
    return value


def paths(document: dict[str, Any]) -> set[tuple[str, ...]]:
    return {path for path, _ in leaves(document)}


def apart(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether no leaf of one lies on or below a leaf of the other."""
    return not any(p[: len(q)] == q or q[: len(p)] == p for p in paths(one) for q in paths(other))


@given(DOCUMENTS, DOCUMENTS)
def test_set_keys_win(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    merged = merge_keys(live, (), wanted)
    for path, value in leaves(wanted):
        found = at(merged, path)
        assert found == value or (value == {} and isinstance(found, dict))


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_foreign_keys_survive(foreign: dict[str, Any], before: dict[str, Any], wanted: dict[str, Any]) -> None:
    if not (apart(foreign, before) and apart(foreign, wanted)):
        return
    live = merge_keys(foreign, (), before)
    merged = merge_keys(live, paths(before), wanted)
    for path, value in leaves(foreign):
        assert at(merged, path) == value


@given(st.dictionaries(KEYS, FULL, max_size=4), DOCUMENTS)
def test_removing_all_that_was_set_returns_the_foreign_document(foreign: dict[str, Any], ours: dict[str, Any]) -> None:
    if apart(foreign, ours):
        assert merge_keys(merge_keys(foreign, (), ours), paths(ours), {}) == foreign


@given(DOCUMENTS, DOCUMENTS)
def test_merging_twice_is_merging_once_and_changes_no_argument(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    kept = deepcopy((live, wanted))
    once = merge_keys(live, (), wanted)
    assert merge_keys(once, paths(wanted), wanted) == once
    assert (live, wanted) == kept


def test_an_empty_mapping_does_not_clear_what_others_put_into_it() -> None:
    assert merge_keys({"pam": {"theirs": 1}}, [("pam",)], {"pam": {}}) == {"pam": {"theirs": 1}}
    assert merge_keys({"pam": {"theirs": 1}}, [("pam",)], {}) == {"pam": {"theirs": 1}}
    assert merge_keys({"pam": {}}, [("pam",)], {}) == {}


def test_a_mapping_that_only_held_a_removed_key_goes_with_it() -> None:
    live = {"pam": {"enable": True}, "debug": True}
    assert merge_keys(live, [("pam", "enable")], {}) == {"debug": True}


def test_a_scalar_becomes_a_mapping_and_back() -> None:
    assert merge_keys({"x": 1}, [("x",)], {"x": {"y": 2}}) == {"x": {"y": 2}}
    assert merge_keys({"x": {"y": 2}}, [("x", "y")], {"x": 1}) == {"x": 1}


@given(DOCUMENTS)
def test_what_is_written_reads_back_the_same_to_any_yaml_reader(document: dict[str, Any]) -> None:
    text = dump_mapping(document)
    assert load_mapping(text) == document == yaml.safe_load(text)
    assert dump_mapping(load_mapping(text)) == text
    assert text.isascii()  # its readers take the locale's encoding


@pytest.mark.parametrize("content", [b"[1]\n", b"text\n", b"a: [\n", b"a: 1\na: *b\n", b"\xff", b"a: 2024-99-99\n"])
def test_what_is_no_mapping_is_said_without_quoting_it(content: bytes) -> None:
    with pytest.raises(NotAMapping) as caught:
        load_mapping(content)
    assert "*b" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"null\n", b"{}\n"])
def test_empty_file_is_an_empty_mapping(content: bytes) -> None:
    assert load_mapping(content) == {}


def test_specs_of_an_endpoint() -> None:
    wanted = endpoint(schema=None, identity_mapping=TextFile("mapping.json", "[]"))
    found = {spec.file: spec for spec in file_specs(wanted, "/usr/bin", "/home/jdoe/.globus_compute/main")}
    assert set(found) == {CONFIG, TEMPLATE, USER_ENVIRONMENT, SCHEMA, IDENTITY_MAPPING}
    assert found[SCHEMA].absent
    assert found[USER_ENVIRONMENT].keys == {"PATH": "/usr/bin", "GLOBUS_COMPUTE_CLIENT_SECRET": ""}
    assert found[TEMPLATE].mode == 0o644
    assert found[CONFIG].keys == {
        "debug": True,
        "identity_mapping_config_path": "/home/jdoe/.globus_compute/main/identity_mapping_config.json",
    }
