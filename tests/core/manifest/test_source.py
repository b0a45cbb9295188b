"""YAML text to values with positions: what is read, where it stands, and every text that is refused."""

import textwrap

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.invalid import ManifestInvalid
from reconciler.core.manifest import source, tree
from reconciler.core.manifest.parsed import Parsed
from reconciler.core.manifest.source import parse


def refusal(text: str | bytes) -> str:
    with pytest.raises(ManifestInvalid) as raised:
        parse(text, "f.yaml")
    return str(raised.value)


def test_positions_of_keys_values_and_list_entries() -> None:
    parsed = parse("a: 1\nb:\n  c: [x, {d: z}]\n", "f.yaml")
    assert str(parsed.at(("a",))) == "f.yaml:1:4"
    assert str(parsed.at(("b", "c"), key=True)) == "f.yaml:3:3"
    assert str(parsed.at(("b", "c", 0))) == "f.yaml:3:7"
    assert str(parsed.at(("b", "c", 1, "d"))) == "f.yaml:3:14"
    assert str(parsed.at(("b", "missing", "deeper"))) == "f.yaml:3:3"
    assert parsed.has(("b", "c", 1, "d"))
    assert not parsed.has(("b", "x"))


def test_aliases_and_merge_keys_follow_yaml() -> None:
    text = textwrap.dedent("""\
        one: &one {a: 1, b: 1}
        two: &two {b: 2, c: 2}
        both:
          <<: [*one, *two]
          c: 3
        alias: *one
        """)
    parsed = parse(text, "f.yaml")
    assert parsed.root == yaml.safe_load(text)
    assert parsed.root["both"] == {"a": 1, "b": 1, "c": 3}
    # A merged value stands where it is written, an alias where it is used.
    assert str(parsed.at(("both", "a"))) == "f.yaml:1:15"
    assert str(parsed.at(("both", "c"))) == "f.yaml:5:6"
    assert str(parsed.at(("alias",))) == "f.yaml:6:8"


def test_the_parser_of_pyyaml_itself_gives_the_same() -> None:
    text = "a: &x {b: [1, 'two', \"three\"]}\nc: *x\nd: |\n  lines\n  of text\ne: 0123\n"
    fast, pure = tree.build(text, "f.yaml"), tree.build(text, "f.yaml", pure=True)
    assert fast.root == pure.root
    assert fast.problems == pure.problems
    assert [fast.at(path) for path in (("a", "b", 1), ("c",), ("d",))] == [
        pure.at(path) for path in (("a", "b", 1), ("c",), ("d",))
    ]


def test_all_problems_of_a_file_at_once_with_line_and_caret() -> None:
    assert refusal("walltime: 10:00:00\nmpi: yes\nmpi: true\n1: x\n") == textwrap.dedent("""\
        f.yaml:1:11: error: `10:00:00` means the number 36000 in YAML 1.1 and the text '10:00:00' in YAML 1.2
            walltime: 10:00:00
                      ^
            hint: quote it for the text: "10:00:00"
        f.yaml:2:6: error: `yes` means true in YAML 1.1 and the text 'yes' in YAML 1.2
            mpi: yes
                 ^
            hint: quote it for the text: "yes", or write true
        f.yaml:3:1: error: the key `mpi` occurs twice; first on line 2
            mpi: true
            ^
            hint: keep one of them
        f.yaml:4:1: error: a key must be text, and `1` is not
            1: x
            ^
            hint: quote it: "1"
        the manifest has 4 errors""")


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml:1:1: error: the file is empty"),
        ("# only a comment\n", "the file is empty"),
        (b"\xff\xfea\0", "the file is in UTF-16"),
        (b"a: 1\nb: \xff\n", "f.yaml:2:4: error: byte 0xff is not UTF-8"),
        (b"\x7fELF\x02\0\0", "control character U+007F is not allowed in YAML"),
        ("a: 1\nb: \0", "f.yaml:2:4: error: a NUL byte: this is not a text file"),
        ("a: \ud800", "control character U+D800 is not allowed in YAML"),
        ('a: "x\\0y"', "f.yaml:1:4: error: a NUL character cannot be part of a value"),
        ("x" * (source.MAX_BYTES + 1), "the file has 5,000,001 bytes; the limit is 5,000,000"),
        (b"x" * (source.MAX_BYTES + 1), "the file has 5,000,001 bytes; the limit is 5,000,000"),
        ("\u00fc" * 2_600_000, "the file has 5,200,000 bytes"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than 50 levels deep"),
        ("[" * 100_000, "nested more than 50 levels deep"),
        ("a: &a [*a]", "f.yaml:1:8: error: `*a` contains itself"),
        ("a: *nowhere", "f.yaml:1:4: error: `*nowhere` refers to no anchor before it"),
        ("a: &a 1\nb: &a 2", "f.yaml:2:4: error: the anchor `&a` is defined twice"),
        (LAUGHS, "more than 1,000,000 values after the expansion of aliases"),
        ("---\na: 1\n---\nb: 2\n", "f.yaml:3:1: error: a second YAML document begins here"),
        ("a: !!python/object/apply:os.system [id]", "the tag `!!python/object/apply:os.system` is not allowed here"),
        ("a: !secret x", "the tag `!secret` is not allowed here"),
        ("a: ! 5", "the tag `!` is not allowed here"),
        ("a: !!int '5'", "the tag `!!int` is not allowed here"),
        ("a: !!set {x}", "the tag `!!set` is not allowed here"),
        ("a:\n\tb: 1\n", "a tab in the indentation"),
        ("a:\n  b: 1\n c: 2\n", "f.yaml:3:2: error: not valid YAML"),
        ("a: b: c\n", "f.yaml:1:5: error: not valid YAML: mapping values are not allowed in this context"),
        ("a: [1, 2\nb: 3\n", "not valid YAML"),
        ("a: 'never closed", "not valid YAML: found unexpected end of stream"),
        ("a: {{ x }}", "f.yaml:1:4: error: `{{ ... }}` at the start of a value needs quotes"),
        ("a: {? {b: c} : d}", "a key must be a word, not a mapping or a list"),
        ("a: @x", "not valid YAML: found character that cannot start any token"),
        ("? [a]\n: b", "a key must be a word, not a mapping or a list"),
        ("true: 1", "a key must be text, and `true` is not"),
        ("~: 1", "a key must be text, and `~` is not"),
        ("on: 1", "`on` means true in YAML 1.1"),
        ("a: {<<: 5}", "`<<` merges mappings, and this is none"),
        ("x: &x {a: 1}\ny: {<<: *x, <<: *x}", "the merge key `<<` occurs twice here"),
    ],
)
def test_unreadable_texts_are_one_clear_error(text: str | bytes, message: str) -> None:
    assert message in refusal(text)


@pytest.mark.parametrize(
    "text", ["\ufeffa: 1", b"\xef\xbb\xbfa: 1", "---\na: 1\n...\n", "%YAML 1.2\n---\na: 1", "a: 1\r\n"]
)
def test_harmless_dressing_is_accepted(text: str | bytes) -> None:
    assert parse(text, "f.yaml").root == {"a": 1}


def test_single_letters_are_keys_but_not_values() -> None:
    assert parse("y: 1\nN: 2\n", "f").root == {"y": 1, "N": 2}
    assert "`y` means true in YAML 1.1" in refusal("x: y")


def test_string_tags_and_block_scalars() -> None:
    assert parse("a: !!str 0123\nc: |\n  x\n  y\nd: >-\n  x\n  y\n", "f").root == {
        "a": "0123",
        "c": "x\ny\n",
        "d": "x y",
    }


@pytest.mark.parametrize(
    "line", ["API_TOKEN: hunter2", "  password: 'hunter2'", "- client_secret: hunter2", '"apikey": hunter2']
)
def test_lines_that_look_like_secrets_are_masked(line: str) -> None:
    shown = parse(line, "f").line(1)
    assert shown is not None
    assert "hunter2" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("password: hunter2{{ x }}", "password: ***"),
        ("password: '{{ x }}hunter2'", "password: '***'"),
        ("token: {env: NAME, default: hunter2}", "token: ***"),
        ("token: \"{{ x or 'hunter2' }}\"", 'token: "***"'),
        ("token: hunter2 {env: NAME}", "token: ***"),
        *(
            (line, line)
            for line in (
                "password: {{ x }}",
                "password: '{{ x }}{{ y.z[:3] }}'",
                'auth_token: "Bearer {{ x }}"',
                "token: {env: NAME, sensitive: true}",
                "token: {sensitve: true, env: 'NAME'}, a: 1",
            )
        ),
    ],
)
def test_of_a_secret_an_excerpt_shows_only_where_it_is_taken_from(line: str, shown: str) -> None:
    assert Parsed("f", line, {}).line(1) == shown


@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        parse(data, "f")
    except ManifestInvalid as error:
        assert str(error)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,? \n\t<01~.\\", max_size=60))
@settings(max_examples=300)
def test_yaml_soup_is_read_as_pyyaml_does_or_refused(text: str) -> None:
    try:
        ours = parse(text, "f").root
    except ManifestInvalid as error:
        assert error.problems
        return
    assert repr(ours) == repr(yaml.load(text, Loader=yaml.CSafeLoader))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), values, max_size=4).map(lambda root: {"root": root}), st.booleans())
def test_what_pyyaml_writes_is_read_back(root: object, flow: bool) -> None:
    text = yaml.safe_dump(root, default_flow_style=flow, allow_unicode=True)
    try:
        ours = parse(text, "f").root
    except ManifestInvalid as error:
        # PyYAML leaves some words unquoted that YAML 1.2 reads differently.
        assert all("YAML 1." in p.message or "leading zeros" in p.message or "NUL" in p.message for p in error.problems)
        return
    assert ours == yaml.safe_load(text)
