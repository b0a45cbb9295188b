"""Plain scalars: the words on which YAML 1.1 and 1.2 differ, and agreement with PyYAML on all others."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifest.scalars import read_plain


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("10:00:00", "means the number 36000 in YAML 1.1 and the text '10:00:00' in YAML 1.2"),
        ("30:00", "means the number 1800 in YAML 1.1 and the text '30:00' in YAML 1.2"),
        ("1:30.5", "means a number in base 60 in YAML 1.1 and the text '1:30.5' in YAML 1.2"),
        ("0123", "means the number 83 in YAML 1.1 and the number 123 in YAML 1.2"),
        ("-0123", "means the number -83 in YAML 1.1 and the number -123 in YAML 1.2"),
        ("089", "means the text '089' in YAML 1.1 and the number 89 in YAML 1.2"),
        ("007", "is the number 7: its leading zeros are lost"),
        ("0o17", "means the text '0o17' in YAML 1.1 and the number 15 in YAML 1.2"),
        ("0b11", "means the number 3 in YAML 1.1 and the text '0b11' in YAML 1.2"),
        ("1_000", "means the number 1000 in YAML 1.1 and the text '1_000' in YAML 1.2"),
        ("1e3", "means the text '1e3' in YAML 1.1 and the number 1000.0 in YAML 1.2"),
        ("1.5e3", "means the text '1.5e3' in YAML 1.1 and the number 1500.0 in YAML 1.2"),
        ("+.5", "means the text '+.5' in YAML 1.1 and the number 0.5 in YAML 1.2"),
        ("2024-01-01", "means a date in YAML 1.1 and the text '2024-01-01' in YAML 1.2"),
        ("2024-01-01 10:00:00", "means a date in YAML 1.1"),
        ("=", "is a special value in YAML 1.1 and text in YAML 1.2"),
        ("<<", "is a special value in YAML 1.1 and text in YAML 1.2"),
        *((word, "means true in YAML 1.1") for word in ("yes", "Yes", "YES", "on", "On", "ON", "y", "Y")),
        *((word, "means false in YAML 1.1") for word in ("no", "No", "NO", "off", "Off", "OFF", "n", "N")),
        ("1" * 500, "a number of this length is not supported"),
    ],
)
def test_ambiguous_words_are_doubtful_and_stay_text(text: str, doubt: str) -> None:
    reading = read_plain(text)
    assert reading.doubt is not None
    assert doubt in reading.doubt
    assert reading.value == text
    assert "quote it" in (reading.advice or "")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("on", 'quote it for the text: "on", or write true'),
        ("0123", 'quote it for the text: "0123", or write 123'),
        ("30:00", 'quote it for the text: "30:00"'),
    ],
)
def test_the_advice_says_what_to_write(text: str, advice: str) -> None:
    assert read_plain(text).advice == advice


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("01:00:00", "01:00:00"),
        ("00:30", "00:30"),
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("0", 0),
        ("-7", -7),
        ("0x1F", 31),
        (".5", 0.5),
        ("1.", 1.0),
        ("1.5e+3", 1500.0),
        ("module load x", "module load x"),
        ("4.19.0", "4.19.0"),
        ("1-2", "1-2"),
        ("yesterday", "yesterday"),
        ("nan", "nan"),
    ],
)
def test_clear_words(text: str, value: object) -> None:
    reading = read_plain(text)
    assert reading.doubt is None
    assert reading.value == value
    assert type(reading.value) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.INF", "+.Inf", ".nan", ".NaN", "1.0e+400", "-1.0e+400"])
def test_numbers_that_are_none(text: str) -> None:
    reading = read_plain(text)
    assert reading.value == text
    assert reading.doubt is not None
    assert "number" in reading.doubt


@given(st.text(alphabet="0123456789+-.:_eExobinfatyTru~", max_size=12))
def test_without_a_doubt_pyyaml_reads_the_same(text: str) -> None:
    reading = read_plain(text)
    if reading.doubt is not None:
        return
    loader = yaml.SafeLoader("")
    node = yaml.ScalarNode(loader.resolve(yaml.ScalarNode, text, (True, False)), text)
    expected = loader.construct_object(node)
    assert type(reading.value) is type(expected)
    assert repr(reading.value) == repr(expected)
