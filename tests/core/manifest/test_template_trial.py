"""A user's template: rendered as globus-compute-endpoint renders it, and never for long."""

from __future__ import annotations

import json
import time
from typing import Any

import jinja2
import pytest
from jinja2.sandbox import SandboxedEnvironment

from reconciler.core.manifest import template_trial
from reconciler.core.manifest.template_trial import rendering_fault
from tests.core.manifest.manifests import problems

LOOP = "{% for a in range(90000) %}{% for b in range(90000) %}%s{% endfor %}{% endfor %}"


def _doubled(step: str, start: str = '"aaaaaaaaaaaaaaaa"') -> str:
    return "{% set x = " + start + " %}" + ("{% set x = " + step + " %}") * 60


ENDLESS = {
    "nested loops": LOOP.replace("%s", ""),
    "nested loops that print": LOOP.replace("%s", "x"),
    "loops that skip": "{% for a in range(90000) if a < 0 %}{% endfor %}" * 100,
    "loops whose condition loops": "{% macro m() %}{% for a in range(90000) if a < 0 %}{% endfor %}{% endmacro %}"
    "{% for a in range(90000) %}{{ m() }}{% endfor %}",
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "a recursive loop": "{% for a in [[[], []]] recursive %}{{ loop([a, a]) }}{{ loop([a, a]) }}{% endfor %}",
    "a long text": 'a: {{ "a" * 10**10 }}',
    "a long text, turned round": 'a: {{ 10**10 * "a" }}',
    "a long list": "a: {{ [1] * 10**10 }}",
    "a power": "a: {{ 9**(9**9) }}",
    "a product": _doubled("x * x", "9**99") + "a: {{ x }}",
    "a text that doubles": _doubled("x + x"),
    "a text that doubles by ~": _doubled("x ~ x"),
    "a text that doubles by replace": _doubled('x|replace("a", "aa")'),
    "a text that doubles by a block": "{% set x %}aaaaaaaa{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60,
    "a text that doubles by a method": _doubled('x.join(["", x, ""])'),
    "a text that doubles by format": _doubled('"{0}{0}".format(x)'),
    "a text that doubles by %": _doubled('"%s%s" % (x, x)'),
    "a list that doubles": _doubled("x + x", "[1, 2, 3]"),
    "a list that doubles by extend": "{% set x = [1] %}" + "{% set _ = x.extend(x) %}" * 60,
    "lists of lists, printed": _doubled("[x, x]", "[1]") + "a: {{ x }}",
    "lists of lists, compared": _doubled("[x, x]", "[1]") + "a: {{ x == x[0] }}",
    "lists of lists, in each other": _doubled("[x, x]", "[1]") + "a: {{ 5 in [x] }}",
    "lists of lists, as JSON": _doubled("[x, x]", "[1]") + "a: {{ x|tojson }}",
    "tuples of tuples, hashed": _doubled("(x, x)", "(1,)") + "a: {{ {x: 1} }}",
    "tuples of tuples, looked up": _doubled("(x, x)", "(1,)") + "a: {{ {}[x] }}",
    "lists of lists, as text": _doubled("[x, x]", "[1]") + "a: {{ x ~ 1 }}",
    "lists of lists, by dict": _doubled("dict(a=x, b=x)", "[1]") + "a: {{ x|string }}",
    "a list in itself": "{% set x = [1] %}{% set _ = x.append(x) %}a: {{ x }}",
    "center": 'a: {{ "a"|center(10**10) }}',
    "center by map": 'a: {{ ["a"]|map("center", 10**10)|list }}',
    "ljust": 'a: {{ "a".ljust(10**10) }}',
    "ljust by attr": 'a: {{ ("a"|attr("ljust"))(10**10) }}',
    "zfill": 'a: {{ "a".zfill(10**10) }}',
    "expandtabs": 'a: {{ ("\\t" * 100).expandtabs(10**10) }}',
    "indent": 'a: {{ "a\\nb"|indent(10**10) }}',
    "JSON, indented": "a: {{ [1]|tojson(10**10) }}",
    "batch": "a: {{ [1]|batch(10**10, 1)|list }}",
    "join": 'a: {{ range(90000)|join("a" * 90000) }}',
    "slices": "{% set x = 'a' * 900000 %}{% for a in range(90000) %}{% set y = x[:-1] %}{% endfor %}",
    "rounding": "a: {{ 5|round(-10**10) }}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_would_not_end(name: str) -> None:
    before = time.process_time()
    said = rendering_fault(ENDLESS[name], {})
    assert time.process_time() - before < 10
    assert said is not None
    assert said.startswith("it does not render: ")
    assert "more work than a check can give it" in said or "recursion" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {{ 0.1e999 }}", "inf"),
        ("a: {{ none.x() }}", ""),
        ('a: {{ {} | dictsort(by="x") }}', ""),
        ("{% macro m() %}{{ m() }}{% endmacro %}a: {{ m() }}", "recursion"),
        ("a: {{ " + "(" * 150 + "1" + ")" * 150 + " }}", ""),
        ("a: {{ x }}", "'x' is undefined"),
        ('a: {{ "".__class__ }}', "unsafe"),
        ("{% for a in 5 %}{% endfor %}", "not iterable"),
        ("a: {{ caller() }}", "'caller' is undefined"),
        ("a: {{ cycler().next() }}", ""),
        ("a: {{ [1].pop(5) }}", "pop"),
    ],
)
def test_whatever_fails_is_the_templates_fault(text: str, message: str) -> None:
    said = rendering_fault(text, {})
    if said is None:  # as with upstream: it renders
        assert isinstance(_upstream(text, {}), str)
    else:
        assert message in said


@pytest.mark.parametrize(
    "text",
    [
        "a: {{ lipsum() }}",
        'a: {{ "a b"|wordwrap(1) }}',
        'a: {{ "%9999s" % 1 }}',
        'a: {{ "{:>{}}".format(1, 9) }}',
        'a: {{ "%9999s"|format(1) }}',
        "a: {{ (5).to_bytes(2, 'big') }}",
        "{% set n = namespace(a=1) %}a: {{ n }}",
        "{% include 'x' %}",
        "a: {{ _GC.env }}",
    ],
)
def test_what_cannot_be_foreseen_is_not_judged(text: str) -> None:
    assert rendering_fault(text, {}) is None


ORDINARY = """
{%- macro line(key, value=1) -%}
{{ key }}: {{ value|tojson }}{% for m in varargs %} # {{ m }}{% endfor %}{{ kwargs|length }}
{{ caller(1) if caller is defined }}
{%- endmacro %}
{%- set ns = namespace(total=0, names=[]) %}
engine:
  type: GlobusComputeEngine
  {{ line("nodes", nodes_per_block|default(1), "a", "b", c=3) }}
  {%- for part in environment|default([]) if part %}
  {{ loop.index }}{{ loop.length }}{{ loop.last }}: {{ part|shell_escape }}
  {%- set ns.total = ns.total + loop.index0 * 2 ** 3 - 1 // 1 % 5 / 2 %}
  {%- set _ = ns.names.append(part) %}
  {%- else %}
  none: true
  {%- endfor %}
  {%- for tree in [{"n": "a", "c": [{"n": "b", "c": []}]}] recursive %}
  {{ tree.n }}: "{{ loop(tree.c) }}"
  {%- endfor %}
  {%- call(x) line("called") %}inside {{ x }}{% endcall %}
  total: {{ ns.total }}{{ ns.names|map("upper")|join(", ")|replace("A", "B")|indent(4) }}
  {% filter upper %}loud {{ "x".join(["a", "b"]) }}{% endfilter %}
  {% block b %}block: {{ "%s-%03d" % ("a", 5) }} {{ "{}-{a}".format(1, a=2) }}{% endblock %}
  {{ self.b() }}
  {% with y = [1, 2, 3][1:] %}y: {{ y }} {{ y == [2, 3] and 2 in y and 1 < 2 <= 3 }} {{ y[0] ~ "z" }}{% endwith %}
  {% set z %}{{ "a"|center(9) }}{% endset %}z: {{ z.strip().upper().ljust(4) }}
  {{ range(3)|list }} {{ dict(a=1).items()|list }}
  {{ [3, 1, 2]|sort|reverse|list }} {{ [1, 2, 3]|batch(2, 0)|list }} {{ [{"a": 1}, {"a": 2}]|groupby("a")|list }}
  {{ [1, 2]|sum }} {{ "x" is defined }} {{ 5 is divisibleby 5 }} {{ [1, 2]|select("odd")|first }} {{ 2.567|round(1) }}
  {{ {"k": {"v": 1}}["k"]["v"] }} {{ "abc"|length }} {{ -5|abs }} {{ not true }} {{ "a,b".split(",") }} {{ 3 * "a" }}
"""


def _upstream(text: str, options: dict[str, Any]) -> str:
    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    environment.filters["shell_escape"] = lambda value: value
    return environment.from_string(text).render(template_trial._quoted(options))


@pytest.mark.parametrize("options", [{}, {"nodes_per_block": 3, "environment": ["module load x", "", "é"]}])
def test_it_renders_as_upstream_does(options: dict[str, Any]) -> None:
    environment = template_trial._Environment()
    text = environment.rendered(environment.parse(ORDINARY), template_trial._quoted(options))
    assert text == _upstream(ORDINARY, options)
    assert environment.left > template_trial.BUDGET * 0.98


def test_a_long_but_honest_loop() -> None:
    assert rendering_fault("a:\n{% for n in range(5000) %}- {{ n }}\n{% endfor %}", {}) is None


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("template", "{% for n in range(500) %}{{ n }}{% endfor %}{{ nope }}"),
        ("schema", json.dumps({"allOf": [{"allOf": [{}]}] * 1000, "not": {}})),
    ],
)
def test_the_pools_of_a_manifest_share_an_allowance(option: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each within its bound, thousands together would take hours."""
    monkeypatch.setattr("reconciler.core.manifest.pools.RENDERINGS", 20_000)
    monkeypatch.setattr("reconciler.core.manifest.pools.CHECKS", 5_000)
    body = f"endpoints: {{e: {{{option}: f}}}}\npools:\n"
    body += "".join(f"  p{n}: {{endpoint: e, max_blocks: {n + 1}}}\n" for n in range(50))
    refused = [line for line in problems(body, files={"f": text}) if "error" in line]
    assert 2 < len(refused) < 20


def test_it_stands_at_the_pool() -> None:
    body = "endpoints:\n  e: {template: t.j2}\npools:\n  p: {endpoint: e}\n"
    found = [line for line in problems(body, files={"t.j2": 'a: {{ "a" * 10**10 }}'}) if "error" in line]
    place = (
        "4:3: error: `e`'s template t.j2 cannot serve this pool: it does not render: it makes more work than a check"
    )
    assert found == [f"{place} can give it: a loop or a text that grows without a bound?"]


def test_a_number_of_thousands_of_digits_is_no_template() -> None:
    found = problems("endpoints:\n  e: {template: t.j2}\n", files={"t.j2": "a: {{ " + "9" * 5000 + " }}"})
    assert "t.j2: not a valid Jinja template: " in found[0]
