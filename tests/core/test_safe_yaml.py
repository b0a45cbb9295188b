"""YAML that others may have written: loaded as PyYAML loads it, or refused before it can do harm."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core import safe_yaml

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab*[{-? :\n"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab*&", max_size=5), inner, max_size=4),
)


_PIECES = """
a:\x20|-\x20|?\x20|b|\n|\n  |\n    |1|0o7|017|1:30|1e3|~|yes|'q'|"d"|[a, b]|{c: d}|\
!x\x20|--- |...\n|<<:\x20|=|# c|2001-01-01|&n\x20
""".strip()
PIECES = st.lists(st.sampled_from([*_PIECES.split("|"), "|\n  t\n", ">-\n  t\n"]), max_size=12).map("".join)
"""Texts that are YAML more often than any would be."""


@given(PLAIN, st.booleans())
def test_what_pyyaml_writes_is_loaded_unchanged(value: Any, flow: bool) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow)
    assert safe_yaml.load(text) == value
    assert safe_yaml.load(text.encode()) == value


def pyyaml(text: str | bytes) -> tuple[str, Any]:
    try:
        return "value", yaml.load(text, Loader=safe_yaml._LOADER)
    except (yaml.YAMLError, ValueError) as e:
        return "error", type(e)


@given(st.text("ab:-? []{},\n#!'\"<=1.05_xeE+~yn|>%\t\r\u0085\ufeff", max_size=40) | PIECES)
@example("<<: {a: 1}\nb: 2\n")
@example("=: 1\n")
@example("a: 2001-01-01\nb: 2001-99-99\n")
@example("a: .nan\n1: x\ntrue: y\n1.0: z\n")
@example("a\n--- b\n")
@example("? [a]\n: b\n")
@example("a: !!set {b, c}\n")
@example("&x a: &y b\n")
@example("a: &x 1\nb: &x 2\n")
@example("a: 1\nb: 2\na: 3\n")
def test_any_text_is_loaded_as_pyyaml_loads_it(text: str) -> None:
    expected = pyyaml(text)
    for given_as in (text, text.encode()):
        try:
            found: tuple[str, Any] = ("value", safe_yaml.load(given_as))
        except (yaml.YAMLError, ValueError) as e:
            found = ("error", type(e))
        assert repr(found) == repr(expected)


def nested(levels: int) -> dict[str, str]:
    return {
        "lists": "[" * levels + "]" * levels,
        "mappings": "{a: " * levels + "x" + "}" * levels,
        "blocks": "".join(f"{' ' * n}a:\n" for n in range(levels)),
        "compact lists": "- " * levels + "x",
        "tabs": "-\t" * levels + "x",
        "questions": "? " * levels + "x",
        "mixed": "- ? " * (levels // 2) + "x",
    }


@pytest.mark.parametrize("shape", nested(1))
@pytest.mark.parametrize("levels", [400, 20_000])
def test_no_depth_reaches_the_loader(shape: str, levels: int) -> None:
    """20,000 levels of a block are 200 MB of indentation; what it takes to overflow a stack comes otherwise."""
    if shape == "blocks":
        levels = 400
    for text in (nested(levels)[shape], nested(levels)[shape].encode()):
        with pytest.raises(yaml.YAMLError):
            safe_yaml.load(text)


def test_reasonable_depth_is_fine() -> None:
    assert safe_yaml.load("[" * safe_yaml.MAX_DEPTH + "]" * safe_yaml.MAX_DEPTH)
    with pytest.raises(safe_yaml.Unfit, match="nested more than 100 levels deep"):
        safe_yaml.load("[" * (safe_yaml.MAX_DEPTH + 1) + "]" * (safe_yaml.MAX_DEPTH + 1))


def test_aliases() -> None:
    assert safe_yaml.load("a: &x {b: 1}\nc: *x\nd: {<<: *x}\n") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1}}
    for text in ("&a [*a]", "a: &a {b: *a}", "a: &a\n  <<: *a\n"):
        with pytest.raises(safe_yaml.Unfit, match=r"`\*a` contains itself"):
            safe_yaml.load(text)
    bomb = "x0: &x0 [1]\n" + "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 8))
    with pytest.raises(safe_yaml.Unfit, match="its aliases stand for more than 1,000,000 values"):
        safe_yaml.load(bomb)


def test_keys_have_places() -> None:
    found = safe_yaml.top_level_keys(b"a: &x {c: 1}\n# b:\n'b' : [2]\n3: *x\n")
    assert [(key.name, key.line, key.column) for key in found] == [("a", 1, 1), ("b", 3, 1), ("3", 4, 1)]
    merged = safe_yaml.top_level_keys("b: 1\n<<: {a: 1}\n")
    assert [(key.name, key.line, key.column) for key in merged] == [("a", 2, 1), ("b", 1, 1)]
    assert safe_yaml.top_level_keys("{a: 1, b: 2}")[1].column == 8


@pytest.mark.parametrize("text", ["", "[a]", "a", "{", "&a {b: *a}", "[" * 20_000, b"\xff\xfe\x00"])
def test_what_is_no_mapping_has_no_keys(text: str | bytes) -> None:
    assert safe_yaml.top_level_keys(text) == ()


@pytest.mark.parametrize("text", ["{", "a: [", "\t", "*unknown", "!!python/name:os.system x", b"\xff\xfe\x00"])
def test_what_is_no_plain_yaml(text: str | bytes) -> None:
    with pytest.raises(yaml.YAMLError):
        safe_yaml.load(text)
