"""Templates that users supply: rendered as globus-compute-endpoint renders them, in bounded work.

A manifest may come from a pull request, and so may its template. Everything that can take long or make much
pays for it before it is done, from one account: passes of loops and macros, and the expanded size of every
value that is printed, compared, joined, filtered or passed on. What cannot be foreseen is not judged.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.runtime import Macro
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from reconciler.core import safe_yaml
from reconciler.core.manifest.allowance import RENDERING as BUDGET
from reconciler.core.manifest.allowance import Allowance

_CHARACTERS = 8
"""Characters that cost as much as one value."""

_COMPILED = 1  # what a character costs that is compiled

RESERVED = frozenset({"_GC", "parent_config", "mapped_identity", "user_runtime"})
"""What globus-compute-endpoint adds to the options; known only when a user endpoint starts."""

_UNFORESEEABLE = frozenset({"pprint", "striptags", "urlize", "wordwrap", "xmlattr"})
_WIDENING = frozenset({"batch", "center", "indent", "round", "slice", "tojson", "truncate"})
"""Filters whose result grows with a number that they are given."""

_WIDE = re.compile(r"\d{4}|\*|\{[^}]*\{")  # of a format: a large width, or one that comes as a value
_CONTAINERS = (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)


class _TooMuch(Exception):
    """The account is empty."""


class _Unjudged(Exception):
    """The template does something whose cost cannot be foreseen."""


def rendering_fault(text: str, options: Mapping[str, Any], allowance: Allowance | None = None) -> str | None:
    """Return why a template, rendered with the options that a pool sends, makes no configuration.

    A template that uses more than these options (`_GC`, or other files) is not judged.

    Args:
        allowance: what all renderings of the manifest may still cost.
    """
    if allowance and not allowance.spend(_COMPILED * len(text)):
        return None
    environment = _Environment()
    try:
        parsed = environment.parse(text)
        elsewhere = next(parsed.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None)
        if elsewhere is not None or meta.find_undeclared_variables(parsed) & RESERVED:
            return None
        rendered = environment.rendered(parsed, _quoted(dict(options)))
    except _Unjudged:
        return None
    except Exception as error:  # noqa: BLE001  whatever a foreign text makes of Jinja is the text's fault
        return f"it does not render: {_said(error)}"
    finally:
        if allowance:
            allowance.spend(BUDGET - environment.left)
    try:
        config = safe_yaml.load(rendered)
    except Exception as error:  # noqa: BLE001  as above
        return f"it does not render to YAML: {_said(error)}"
    return None if isinstance(config, dict) else "it does not render to a mapping"


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _quoted(value: Any) -> Any:
    """Return a value as globus-compute-endpoint hands it to a template: texts as quoted YAML."""
    if isinstance(value, dict):
        return {key: _quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    return "null" if value is None else json.dumps(value) if isinstance(value, str) else value


def _unforeseeable(*_: Any, **__: Any) -> Any:
    raise _Unjudged


class _Environment(SandboxedEnvironment):
    """globus-compute-endpoint's environment, with an account. One serves one rendering."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "**", "%"))

    def __init__(self) -> None:
        self.left = BUDGET
        super().__init__(undefined=jinja2.StrictUndefined, finalize=self._charged)
        self.charged = self._charged  # one object: `call` knows it again
        self.step = self._charge
        self.filters["shell_escape"] = lambda value: value  # stays what it is, a quoted text
        self.filters = {name: self._paid(name, act) for name, act in self.filters.items()}
        self.tests = {name: self._paid(name, act) for name, act in self.tests.items()}
        self.globals["lipsum"] = _unforeseeable

    def rendered(self, parsed: nodes.Template, values: Mapping[str, Any]) -> str:
        """Return a parsed template rendered."""
        counted = _Counting(self).visit(parsed)
        counted.set_environment(self)
        template = jinja2.Template.from_code(self, self.compile(counted), self.make_globals(None))
        return "".join(template.generate(values))

    def _charge(self, cost: int) -> bool:
        self.left -= cost
        if self.left < 0:
            raise _TooMuch("it makes more work than a check can give it: a loop or a text that grows without a bound?")
        return True

    def _charged(self, value: Any) -> Any:
        self._charge(self._size(value))
        return value

    def _size(self, *values: Any) -> int:
        """Return the number of values in them, as if they were written out; the account bounds it."""
        size, waiting = 0, list(values)
        while waiting:
            item = waiting.pop()
            size += 1
            if isinstance(item, str | bytes):
                size += len(item) // _CHARACTERS
            elif isinstance(item, dict):
                waiting += [*item.keys(), *item.values()]
            elif isinstance(item, _CONTAINERS):
                waiting += item
            elif isinstance(item, int):
                size += item.bit_length() // 64
            elif isinstance(item, range):
                size += len(item)
            elif isinstance(item, Namespace):
                raise _Unjudged  # it shows its content to nobody
            if size > self.left:
                self._charge(size)
        return size

    def _paid(self, name: str, act: Any) -> Callable[..., Any]:
        """Return a filter or test that pays for its value times its arguments, which bounds what any of them makes."""
        if name in _UNFORESEEABLE:
            return functools.wraps(act)(_unforeseeable)
        at = 1 if hasattr(act, "jinja_pass_arg") else 0

        @functools.wraps(act)
        def paid(*given: Any, **named: Any) -> Any:
            if len(given) <= at:
                return act(*given, **named)  # a TypeError
            value, others = given[at], (*given[at + 1 :], *named.values())
            if name == "sum" and not all(isinstance(item, int | float | str) for item in others):
                raise _Unjudged
            if name == "format" and _WIDE.search(str(value)):
                raise _Unjudged
            factor = self._size(*others) + 1
            if name in _WIDENING:
                factor += _largest(others)
            if isinstance(value, Iterator) and type(value).__module__ == "builtins":
                value = self._counted(value, factor)
            else:
                self._charge((self._size(value) + 1) * factor)
            return act(*given[:at], value, *given[at + 1 :], **named)

        return paid

    def _counted(self, items: Iterator[Any], factor: int) -> Iterator[Any]:
        for item in items:
            self._charge((self._size(item) + 1) * factor)
            yield item

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call an object, after it was paid for."""
        if __obj is __self.charged or __obj is __self.step:
            return __obj(*args)
        if not isinstance(__obj, Macro):  # whose body pays
            __self._pay_call(getattr(__obj, "__self__", None), (*args, *_given(kwargs)))
        return super().call(__context, __obj, *args, **kwargs)

    def _pay_call(self, owner: Any, given: tuple[Any, ...]) -> None:
        if isinstance(owner, str):
            self._charge((self._size(owner) + 1) * (self._size(*given) + 1 + _largest(given)))
        elif isinstance(owner, int | float | complex | bytes | range | type):
            raise _Unjudged
        else:
            self._charge(self._size(owner, *given))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return what takes the place of `str.format`."""
        made = super().wrap_str_format(value)
        if made is None:
            return None
        wrapped = made

        def paid(*given: Any, **named: Any) -> str:
            if _WIDE.search(value.__self__):
                raise _Unjudged
            self._charge((self._size(value.__self__) + 1) * (self._size(*given, *named.values()) + 1))
            return wrapped(*given, **named)

        return paid

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Pay for an operator by the size of its result."""
        if operator == "%" and isinstance(left, str):
            if _WIDE.search(left):
                raise _Unjudged
            self._charge((self._size(left) + 1) * self._size(right))
        else:
            self._charge(self._size(left) * _growth(operator, left, right) + self._size(right))
        return super().call_binop(context, operator, left, right)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Pay for what is looked up: it is hashed."""
        self._charge(self._size(argument))
        return super().getitem(obj, argument)


def _given(named: Mapping[str, Any]) -> list[Any]:
    """Return the arguments of a call without what Jinja adds to them."""
    return [value for name, value in named.items() if not name.startswith("_")]


def _largest(values: tuple[Any, ...]) -> int:
    return max((abs(value) for value in values if isinstance(value, int)), default=0)


def _growth(operator: str, left: Any, right: Any) -> int:
    """Return how many times larger than the left side an operator's result may be."""
    if operator not in ("*", "**") or not isinstance(right, int):
        return max(1, left) if operator == "*" and isinstance(left, int) else 1
    if isinstance(left, int):
        return 1 + (left.bit_length() * abs(right) if operator == "**" else right.bit_length()) // 64
    return 1 if isinstance(left, float) else max(1, right)


class _Counting(NodeTransformer):
    """Puts the account into a template: where it repeats, and where Jinja would work on a value unasked."""

    def __init__(self, environment: _Environment) -> None:
        self._environment = environment

    def _paying(self, node: Any) -> nodes.Expr:
        return self._call("charged", node)

    def _call(self, name: str, argument: nodes.Expr, line: int | None = None) -> nodes.Call:
        target = nodes.EnvironmentAttribute(name)
        made = nodes.Call(target, [argument], [], None, None)
        made.set_lineno(line or argument.lineno or 1)
        return made

    def _step(self, node: nodes.Node) -> nodes.Call:
        cost = 1
        for part in node.find_all(nodes.Node):
            cost += 1
            if isinstance(part, nodes.TemplateData):
                cost += len(part.data) // _CHARACTERS
        return self._call("step", nodes.Const(cost), node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        step = self._step(node)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        if node.test is not None:
            node.test = nodes.And(step, node.test, lineno=node.lineno)
        return node

    def _repeatable(self, node: Any) -> nodes.Node:
        step = self._step(node)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        return node  # type: ignore[no-any-return]

    visit_Macro = visit_CallBlock = visit_Block = _repeatable

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [self._paying(part) for part in node.nodes]
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = self._paying(node.expr)
        for operand in node.ops:
            operand.expr = self._paying(operand.expr)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        node.key = self._paying(node.key)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):  # others go through `getitem`
            node.node = self._paying(node.node)
        return node
