"""What differs between a file as it is and as the manifest wants it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given

from reconciler.core.changes import ABSENT, SENSITIVE, Cause, FieldChange
from reconciler.core.desired import CONFIG, SCHEMA, TEMPLATE, USER_ENVIRONMENT
from reconciler.core.diff import diff_file, field_changes, new_file, unified
from reconciler.core.digest import digest_bytes, digest_value, same_value
from reconciler.core.documents import FileSpec, load_mapping, merge_keys
from tests.core.builders import live_file
from tests.core.test_documents import DOCUMENTS, paths


def keys(values: dict[str, Any], **changes: Any) -> FileSpec:
    return FileSpec(changes.pop("file", CONFIG), digest_value(values), keys=values, **changes)


def text(content: str, label: str = "mine.j2", file: str = TEMPLATE) -> FileSpec:
    return FileSpec(file, digest_bytes(content.encode()), label=label, text=content)


@given(DOCUMENTS)
def test_a_new_file_is_clean_afterwards(values: dict[str, Any]) -> None:
    content, record = new_file(keys(values))
    assert diff_file(keys(values), live_file(content), record) is None


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_what_a_diff_writes_is_what_is_wanted_and_clean_afterwards(
    foreign: dict[str, Any], before: dict[str, Any], wanted: dict[str, Any]
) -> None:
    _, record = new_file(keys(before))
    live = live_file(new_file(keys(merge_keys(foreign, (), before)))[0])
    found = diff_file(keys(wanted), live, record)
    merged = merge_keys(load_mapping(live.content), paths(before), wanted)
    if found is None:
        assert same_value(merged, load_mapping(live.content))
        return
    assert found.content is not None
    assert load_mapping(found.content) == merged
    assert diff_file(keys(wanted), live_file(found.content), found.record) is None


@given(DOCUMENTS, DOCUMENTS)
def test_field_changes_say_something_exactly_when_documents_differ(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert bool(field_changes(old, new)) == (not same_value(old, new))


def test_field_changes() -> None:
    old = {"a": 1, "gone": "x", "deep": {"list": [1, 2], "same": 0}}
    new = {"a": 2, "deep": {"list": [1, 3], "same": 0, "new": None}}
    assert field_changes(old, new) == (
        FieldChange("a", 1, 2),
        FieldChange("deep.list[1]", 2, 3),
        FieldChange("deep.new", ABSENT, None),
        FieldChange("gone", "x", ABSENT),
    )


def test_a_change_of_type_is_a_change() -> None:
    assert field_changes({"a": "1"}, {"a": 1}) == (FieldChange("a", "1", 1),)
    assert field_changes({"a": 1, "b": [0]}, {"a": True, "b": [False]}) == (
        FieldChange("a", 1, True),
        FieldChange("b[0]", 0, False),
    )
    assert field_changes({"a": 30, "b": True}, {"a": 30.0, "b": False}) == (FieldChange("b", True, False),)


def test_a_truth_value_is_no_number() -> None:
    content, record = new_file(keys({"debug": 1}))
    found = diff_file(keys({"debug": True}), live_file(content), record)
    assert found is not None
    assert found.content == b"debug: true\n"
    assert found.change.fields == (FieldChange("debug", 1, True),)
    again = diff_file(keys({"debug": True}), live_file(b"debug: 1\n"), found.record)
    assert again is not None
    assert again.change.cause is Cause.EDITED


def test_sensitive_values_are_replaced_on_both_sides() -> None:
    found = field_changes({"TOKEN": "old", "A": "1"}, {"TOKEN": "new", "A": "2"}, ["TOKEN"])
    assert found == (FieldChange("A", "1", "2"), FieldChange("TOKEN", SENSITIVE, SENSITIVE))


def test_a_secret_that_leaves_or_is_no_longer_declared_secret_is_not_shown() -> None:
    before = keys({"TOKEN": "hunter22", "A": "1"}, file=USER_ENVIRONMENT, sensitive=frozenset({"TOKEN"}))
    content, record = new_file(before)
    for values in ({"A": "1"}, {"A": "1", "TOKEN": "plain"}):
        found = diff_file(keys(values, file=USER_ENVIRONMENT), live_file(content), record)
        assert found is not None
        assert "hunter" not in repr(found.change)


def test_what_is_named_a_secret_is_hidden_whatever_stands_on_either_side() -> None:
    old = {"MY_TOKEN": "hunter22", "GLOBUS_COMPUTE_CLIENT_SECRET": "hunter22", "A": "1"}
    new = {"MY_TOKEN": "", "GLOBUS_COMPUTE_CLIENT_SECRET": "", "A": "2", "API_KEY": "hunter22"}
    for found in (field_changes(old, new), field_changes(new, old)):
        assert "hunter" not in repr(found)
        assert [change.path for change in found if change.path != "A"] == sorted({*old, *new} - {"A"})


def test_a_count_or_a_truth_value_under_such_a_name_is_shown_unless_the_other_side_may_be_a_secret() -> None:
    old = {"a": {"prompt_tokens": 1, "max_tokens": 2}, "use_token": True, "token": None, "password": 1234}
    new = {"a": {"prompt_tokens": 2, "max_tokens": 3}, "use_token": False, "token": "hunter22", "password": 5678}
    assert field_changes(old, new) == (
        FieldChange("a.max_tokens", 2, 3),
        FieldChange("a.prompt_tokens", 1, 2),
        FieldChange("password", SENSITIVE, SENSITIVE),
        FieldChange("token", SENSITIVE, SENSITIVE),
        FieldChange("use_token", True, False),
    )
    assert field_changes({}, {"e": old}) == (FieldChange("e", ABSENT, {**old, "password": "***"}),)


def test_a_secret_inside_of_a_value_is_hidden_and_the_rest_is_shown() -> None:
    mapping = {"engine": {"password": "hunter22", "max": 3}}
    assert field_changes({}, mapping) == (FieldChange("engine", ABSENT, {"password": "***", "max": 3}),)
    lines = ["export API_TOKEN=hunter22", "module load x"]
    assert field_changes({"a": "none"}, {"a": lines}) == (
        FieldChange("a", "none", ["export API_TOKEN=***", "module load x"]),
    )
    lines = ["module load x", 'export API_TOKEN="hunter', '22"', "a\nb", "c"]
    assert field_changes({"a": "none"}, {"a": lines}) == (
        FieldChange("a", "none", ["module load x", 'export API_TOKEN="***', "***", "***\n***", "***"]),
    )
    words = ["tool", "--password", "hunter22", "-v", "--token-file", "/x", "-u"]
    assert field_changes({"a": "none"}, {"a": words}) == (
        FieldChange("a", "none", ["tool", "--password", "***", *words[3:]]),
    )
    words = ["tool", "--low-pass", "10", "-u", "me:staff"]
    assert field_changes({"a": "none"}, {"a": words}) == (FieldChange("a", "none", words),)
    text = 'export API_KEY: "\n  hunter22"\n'
    assert field_changes({"worker_init": text}, {"worker_init": text.replace("22", "33")}) == (
        FieldChange("worker_init", SENSITIVE, SENSITIVE),
    )
    assert field_changes({"a": "none"}, {"a": []}) == (FieldChange("a", "none", []),)
    assert field_changes({"a": [1, {"deep": {"token": "x"}}]}, {"a": [1, {"deep": {"token": "y"}}]}) == (
        FieldChange("a[1].deep.token", SENSITIVE, SENSITIVE),
    )


def test_a_diff_of_texts_shows_no_secret_also_below_its_name() -> None:
    old = (
        "a: 1\nb: 2\nc: 3\nengine:\n  secrets:\n  - hunter22\n  - hunter33\n  x: 1\n"
        "  token: |  # all of it\n    hunter44\n\n    hunter55\n  y: 1\nz: 1\n"
    )
    new = old.replace("x: 1", "x: 2").replace("hunter55", "hunter66").replace("b: 2\n", "") + "password: hunter77\n"
    assert unified(old.encode(), new.encode(), "t") == (
        "@@ -1,4 +1,3 @@",
        " a: 1",
        "-b: 2",
        " c: 3",
        " engine:",
        "@@ -6,9 +5,10 @@",
        "   ***",
        "   ***",
        "-  x: 1",
        "+  x: 2",
        "   token: ***",
        "     ***",
        " ",
        "-    ***",
        "+    ***",
        "   y: 1",
        " z: 1",
        "+password: ***",
    )


def test_a_diff_of_texts_shows_no_secret_that_starts_on_the_line_below_its_quote() -> None:
    old = b'engine:\n  password: "\n    hunter22-first\n    "\n  x: 1\n'
    assert unified(old, old.replace(b"first", b"second"), "t") == (
        "@@ -1,5 +1,5 @@",
        " engine:",
        '   password: "***',
        "-    ***",
        "+    ***",
        "     ***",
        "   ***",
    )


def test_a_diff_of_texts_shows_what_is_only_named_like_a_secret() -> None:
    old = "token_limit:\n  a: 1\nmax_tokens: 4096\nprivate_key_size:\n  bits: 2048\n"
    assert unified(old.encode(), old.replace("1\n", "2\n").encode(), "t") == (
        "@@ -1,4 +1,4 @@",
        " token_limit:",
        "-  a: 1",
        "+  a: 2",
        " max_tokens: 4096",
        " private_key_size:",
    )


def test_causes() -> None:
    content, record = new_file(text("one\n"))
    one, two = text("one\n"), text("two\n")
    edited = live_file(b"edited\n")

    def cause(spec: FileSpec, live: Any, of: Any = record) -> Cause | None:
        found = diff_file(spec, live, of)
        return found.change.cause if found else None

    assert cause(one, live_file(content)) is None
    assert cause(two, live_file(content)) is Cause.SPEC
    assert cause(text("two\n", "builtin@2"), live_file(content)) is Cause.TEMPLATE_UPDATED
    assert cause(one, edited) is Cause.EDITED
    assert cause(two, edited) is Cause.SPEC_AND_EDITED
    assert cause(one, None) is Cause.EDITED
    assert cause(one, None, None) is Cause.NEW
    assert cause(one, edited, None) is Cause.EDITED
    assert cause(one, replace(live_file(content), mode=0o666)) is Cause.EDITED


def test_only_what_somebody_else_wrote_is_backed_up() -> None:
    content, record = new_file(text("one\n"))
    ours = diff_file(text("two\n"), live_file(content), record)
    theirs = diff_file(text("two\n"), live_file(b"edited\n"), record)
    unknown = diff_file(text("two\n"), live_file(content), None)
    assert [d.backup for d in (ours, theirs, unknown) if d] == [False, True, True]


def test_a_file_that_must_not_be_there() -> None:
    spec = FileSpec(SCHEMA, "none")
    _, record = new_file(text("{}", file=SCHEMA))
    assert diff_file(spec, None, record) is None
    ours, theirs = diff_file(spec, live_file(b"{}"), record), diff_file(spec, live_file(b"[]"), record)
    assert ours is not None
    assert theirs is not None
    assert (ours.content, ours.backup, theirs.backup) == (None, False, True)


def test_key_order_makes_no_difference() -> None:
    one, other = keys({"a": 1, "b": {"c": 2, "d": 3}}), keys({"b": {"d": 3, "c": 2}, "a": 1})
    assert new_file(one)[1].keys == new_file(other)[1].keys
    assert one.digest == other.digest
