"""Expressions: what they may use and become, what is passed literally, and what is refused."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.manifest import expressions
from reconciler.core.manifest.model import VariableSource
from reconciler.core.manifest.render import Rendered, Renderer
from reconciler.core.manifest.variables import variable_table

ENV = {"SITE_TOKEN": "hunter2", "HOME": "/home/u", "CHILTEPIN_VAR_from_env": "env", "CHILTEPIN_VAR_level": "env"}


def renderer(cli: dict[str, str] | None = None, env: dict[str, str] | None = None, **variables: Any) -> Renderer:
    declared: dict[str, Any] = {
        "account": "gsd",
        "nodes": 3,
        "flag": True,
        "octal": "012",
        "lines": ["a", "{{ account }}"],
        "level": "manifest",
        "host_level": "manifest",
        "nested": "{{ account }}-{{ nodes }}",
        "one": "{{ two }}",
        "two": "{{ one }}",
        "token": VariableSource(env="SITE_TOKEN", sensitive=True),
        "derived": "x{{ token }}",
        "unset": VariableSource(env="NOT_SET"),
        "unset_secret": VariableSource(env="NOT_SET", sensitive=True),
        "fallback": VariableSource(env="NOT_SET", default="d"),
        **variables,
    }
    layers = {("variables",): declared, ("hosts", "ursa", "variables"): {"host_level": "host"}}
    return Renderer(variable_table(layers, ENV if env is None else env, cli or {}, "ursa"))


@pytest.mark.parametrize(
    "text",
    [
        "{{ 0.1e999 }}",
        "{{ -0.1e999 }}",
        "x {{ 0.1e999 }}",
        "{{ [0.1e999] }}",
        "{{ 1e308 - -1e308 }}",
        "x {{ 1e308 - -1e308 }}",
        "{{ '1e999' | float }}",
        "{{ 'nan' | float }}",
        "x {{ {'a': 'nan' | float} | tojson }}",
    ],
)
def test_numbers_that_are_none(text: str) -> None:
    assert "a number is too large, or is none" in (renderer().render(text).error or "")


@pytest.mark.parametrize("text", ["%s", "x %s", "{{ [%s] }}", "{{ {%s: 1} }}", "{{ '}}' ~ %s }}"])
@pytest.mark.parametrize(("escape", "code"), [("\\ud800", "D800"), ("\\x00", "0000"), ("\\udcff", "DCFF")])
def test_characters_that_no_file_holds(text: str, escape: str, code: str) -> None:
    inner = f'"{escape}"'
    error = renderer().render(text % (inner if "{{" in text else f"{{{{ {inner} }}}}")).error
    assert f"the result holds the character U+{code}, which no file of text can" in (error or "")


def test_a_byte_of_the_environment_that_is_no_text() -> None:
    error = renderer(env={"X": "a\udcff"}).render("{{ env.X }}").error
    assert "U+DCFF" in (error or "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ account }}", "gsd"),
        ("{{ nodes }}", 3),
        ("{{ nodes * 2 }}", 6),
        ("{{ flag }}", True),
        ("{{ octal }}", "012"),
        ("{{- nodes -}}", 3),
        ("{{ -1 }}", -1),
        ("n={{ nodes }}", "n=3"),
        ("{{ account }}{{ nodes }}", "gsd3"),
        ("{{ nodes }}\n", "3\n"),
        ("{{ nested }}", "gsd-3"),
        ("{{ lines }}", ["a", "gsd"]),
        ("{{ lines | join(':') }}", "a:gsd"),
        ("{{ lines[1] }}", "gsd"),
        ("{{ range(2) }}", [0, 1]),
        ("{{ 'x' if flag else 'y' }}", "x"),
        ("{{ account.upper() }}", "GSD"),
        ("{{ account | replace('g', 'q') }}", "qsd"),
        ("{{ none }}", None),
        ("{{ host }}", "ursa"),
        ("{{ env.HOME }}", "/home/u"),
        ("{{ env['HOME'] }}", "/home/u"),
        ("{{ env.NOPE | default('d') }}", "d"),
        ("{{ 'HOME' in env }}", True),
        ("{{ missing | default('d') }}", "d"),
        ("{{ fallback }}", "d"),
        ("{{ from_env }}", "env"),
        ("{{ '{{' }}", "{{"),
        ("{{ account }} ${#a[@]} {% if x %} {# no comment #}", "gsd ${#a[@]} {% if x %} {# no comment #}"),
        ("{% raw %}{{ account }}", "{% raw %}gsd"),
    ],
)
def test_values(text: str, value: Any) -> None:
    result = renderer().render(text)
    assert (result.value, result.sensitive, result.error) == (value, False, None)
    assert type(result.value) is type(value)


@pytest.mark.parametrize(
    "text", ["{{ env.HOME }}", "{{ fallback }}", "{{ from_env }}", "{{ account }}", "{{ nested }}"]
)
def test_what_comes_from_outside_the_manifest_is_known(text: str) -> None:
    assert renderer(cli={"account": "x"}).render(text).outside
    assert not renderer().render("{{ account }}{{ lines[1] }}").outside


DEFAULTS = {
    "n": VariableSource(env="N", default=40),
    "x": VariableSource(env="X", default=1.5),
    "b": VariableSource(env="B", default=True),
    "t": VariableSource(env="T"),
}


def test_text_from_outside_takes_the_type_of_the_default() -> None:
    table = renderer(**DEFAULTS, env={"N": "48", "X": "2", "B": "false", "T": "4"})
    assert [table.variable(name).value for name in "nxbt"] == [48, 2.0, False, "4"]
    assert renderer(**DEFAULTS, env={"T": ""}, cli={"n": "7"}).render("{{ n }}").value == 7


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "1", "false", "False", "FALSE", "0"])
def test_what_is_true_or_false(text: str) -> None:
    for table in (renderer(**DEFAULTS, env={"B": text}), renderer({"b": text}, {}, **DEFAULTS)):
        assert table.variable("b").value is (text.lower() in ("true", "1"))


def test_an_environment_variable_of_nothing_is_not_set_where_no_text_is_wanted() -> None:
    empty = dict.fromkeys(("N", "X", "B", "T"), "")
    table = renderer(**DEFAULTS, env=empty | dict.fromkeys(("CHILTEPIN_VAR_nodes", "CHILTEPIN_VAR_account"), ""))
    assert [table.variable(name).value for name in ("n", "x", "b", "t")] == [40, 1.5, True, ""]
    assert [table.variable(name).value for name in ("nodes", "account")] == [3, ""]
    assert renderer(**DEFAULTS, env={"N": "7", "CHILTEPIN_VAR_n": ""}).variable("n").value == 7


MISFITS = [
    ("N", "the variable `n` must be a whole number, as here; N gives 'many'", None, 40),
    ("X", "the variable `x` must be a number, as here; X gives 'many'", None, 1.5),
    (
        "B",
        "the variable `b` must be true or false, as here; B gives 'many'",
        "give true or false, in any letter case, or 1 or 0",
        True,
    ),
]


@pytest.mark.parametrize(("variable", "message", "hint", "own"), MISFITS)
def test_text_that_the_type_of_the_default_does_not_fit(
    variable: str, message: str, hint: str | None, own: object
) -> None:
    """It is told once; what uses the variable goes on with the manifest's own value."""
    table = renderer(**DEFAULTS, env={variable: "many"})
    assert [(misfit.message, misfit.hint) for misfit in table.table.misfits] == [(message, hint)]
    assert table.variable(variable.lower()).value == own


def test_all_values_that_do_not_fit_are_told() -> None:
    assert len(renderer({"n": "", "b": "yes"}, {"X": "many"}, **DEFAULTS).table.misfits) == 3


def test_precedence() -> None:
    assert renderer(cli={"level": "cli"}).render("{{ level }}").value == "cli"
    assert renderer().render("{{ level }}").value == "env"
    assert renderer().render("{{ host_level }}").value == "host"
    assert renderer(env={}).render("{{ level }}").value == "manifest"


def test_values_from_outside_are_not_rendered_but_take_the_declared_type() -> None:
    assert renderer(cli={"account": "{{ nodes }}"}).render("{{ account }}").value == "{{ nodes }}"
    assert renderer(cli={"nodes": "7"}).render("{{ nodes }}").value == 7
    assert renderer(cli={"flag": "false"}).render("{{ flag }}").value is False
    [misfit] = renderer(cli={"nodes": "many"}).table.misfits
    assert "`nodes` must be a whole number" in misfit.message


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("{{ acount }}", "the variable `acount` is not defined", "did you mean `account`?"),
        ("{{ zzz }}", "the variable `zzz` is not defined", "declare it in `variables`, or pass --var NAME=VALUE"),
        ("{{ env.NOPE }}", "the expression failed: the environment variable NOPE is not set", None),
        (
            "{{ unset }}",
            "the variable `unset` comes from the environment variable NOT_SET, which is not set",
            "export NOT_SET, or pass --var unset=VALUE",
        ),
        (
            "{{ unset_secret }}",
            "the variable `unset_secret` comes from the environment variable NOT_SET, which is not set",
            "export NOT_SET",
        ),
        (
            "{{ one }}",
            (
                "in the variable `one`: in the variable `two`: the variables refer to each other in a circle: "
                "one -> two -> one"
            ),
            None,
        ),
        ("x {{ lines }}", "a list or mapping cannot stand inside text", None),
        ("{{ account", "not a valid expression: unexpected end of template", None),
        ("{{ }}", "not a valid expression: Expected an expression", None),
        ("{{ account | nofilter }}", "not a valid expression: No filter named 'nofilter'", None),
        ("{{ account + 1 }}", "the expression failed: ", None),
        ("{{ 1 / 0 }}", "the expression failed: division by zero", None),
    ],
)
def test_errors(text: str, error: str, hint: str | None) -> None:
    result = renderer().render(text)
    assert error in (result.error or "")
    assert result.hint == hint


@pytest.mark.parametrize(
    "expression",
    [
        "'a' * 10**9",
        "10**9 * 'a'",
        "[1] * 100000",
        "9**9**9",
        "2**51",
        "range(10**9)",
        "range(10**9) | list",
        "'%999999999d' % 1",
        "'{:>999999999}'.format(1)",
        "'{0.__class__}'.format(1)",
        "'a'.ljust(10**9)",
        "'a' | center(10**9)",
        "'a'.replace('', 'b')",
        "lipsum(10**6)",
        "''.__class__",
        "account.__init__.__globals__",
        "env.__class__",
        "env | list",
        "(1).to_bytes(10**9)",
        "1.5 | round(10**9, 'ceil')",
        "cycler",
        "self",
        "range",
        "env",
        "(" * 1500 + "1" + ")" * 1500,
        "-" * 3000 + "1",
        "1 " + "+ 1" * 3000,
        "[" * 25 + "]" * 25,
        "('x' * 60000) + ('x' * 60000)",
        "['x' * 60000, 'x' * 60000]",
        "['x' * 60000, 'x' * 60000] | join",
    ],
)
def test_expressions_that_reach_or_ask_too_far_are_errors(expression: str) -> None:
    for text in (f"{{{{ {expression} }}}}", f"x{{{{ {expression} }}}}"):
        result = renderer().render(text)
        # Rounding to a thousand million digits is harmless: it is bounded, and no error.
        assert result.error or expression.startswith("1.5"), result.value


def test_variables_that_double_each_other_are_bounded() -> None:
    chain: dict[str, Any] = {"v0": "x" * 100}
    chain |= {f"v{i}": f"{{{{ v{i - 1} }}}}{{{{ v{i - 1} }}}}" for i in range(1, 40)}
    assert "larger than 65,536 characters" in (renderer(**chain).render("{{ v39 }}").error or "")
    lists: dict[str, Any] = {"v0": ["x"] * 100}
    lists |= {f"v{i}": f"{{{{ [v{i - 1}, v{i - 1}] }}}}" for i in range(1, 40)}
    assert "more than 4,096 values" in (renderer(**lists).render("{{ v39 }}").error or "")


@pytest.mark.parametrize(
    "text",
    [
        "{{ token }}",
        "a{{ token }}b",
        "{{ derived }}",
        "{{ env.SITE_TOKEN }}",
        "{{ env['SITE_' + 'TOKEN'] }}",
        "{{ token | length }}",
        "{{ 'x' if token else 'y' }}",
        "{{ [token] }}",
    ],
)
def test_whatever_a_secret_went_into_is_sensitive(text: str) -> None:
    assert renderer().render(text).sensitive


@pytest.mark.parametrize(
    "text", ["{{ {}[token] }}", "{{ token + 1 }}", "{{ {}[derived] }}", "{{ {}[env.SITE_TOKEN] }}"]
)
def test_errors_do_not_tell_the_secret(text: str) -> None:
    result = renderer().render(text)
    assert result.sensitive
    assert "hunter2" not in (result.error or "")
    assert "withheld" in (result.error or "")


def test_a_secret_given_another_way_stays_one() -> None:
    assert renderer(cli={"token": "other"}).render("{{ token }}") == Rendered("other", sensitive=True, outside=True)
    assert renderer(env={"CHILTEPIN_VAR_token": "x"}).render("{{ env.CHILTEPIN_VAR_token }}").sensitive


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_an_expression_is_untouched(text: str) -> None:
    assert renderer().render(text) == Rendered(text)


@given(st.text(alphabet="{}%# abn|'0.()[]-~", max_size=40))
def test_any_expression_has_a_value_or_an_error(text: str) -> None:
    result = renderer().render("{{" + text)
    assert result.error is None or result.value is None


@example("{{{0}}")
@given(st.text(alphabet="{}ab n-+|.01 \n", max_size=30))
def test_the_short_way_to_a_value_agrees_with_jinja(text: str) -> None:
    values = {"a": "x", "b": [1], "n": 3}
    try:
        short = expressions.evaluate("{{ a }}" + text, values)
    except expressions.ERRORS:
        return
    assert short == expressions._evaluate_any("{{ a }}" + text, values)
