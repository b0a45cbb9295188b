"""Rendering `{{ expression }}` in string values, and following secrets through it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any

from reconciler.core.frozen import dataclass
from reconciler.core.manifest.findings import nearest
from reconciler.core.manifest.parsed import Path
from reconciler.core.manifest.variables import RESERVED, Source, VariableTable, telling_name
from reconciler.core.secret_names import is_secret_value

OPEN = "{{"


@dataclass(frozen=True)
class Rendered:
    """The result of rendering one string.

    Attributes:
        value: what it became.
        sensitive: whether a secret went into it.
        outside: whether a value from outside the manifest went into it.
        error: why there is no value; never contains a secret.
        doubtful: the names of variables that went into it, look like a secret, and are not said to be sensitive.
    """

    value: Any = field(default=None, repr=False)
    sensitive: bool = False
    error: str | None = None
    hint: str | None = None
    outside: bool = False
    doubtful: frozenset[str] = frozenset()


@dataclasses.dataclass
class Renderer:
    """Renders the values of one host's view; the same text is rendered once.

    Attributes:
        used: names of variables that expressions used so far.
    """

    table: VariableTable
    used: set[str] = field(default_factory=set)
    _cache: dict[str, Rendered] = field(default_factory=dict)
    _variables: dict[str, Rendered] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)

    def render(self, text: str) -> Rendered:
        """Return `text` rendered; text without an expression comes back as it is."""
        if OPEN not in text:
            return Rendered(text)
        result = self._cache.get(text)
        if result is None:
            result = self._render(text)
            if not self._open:  # inside a cycle the answer depends on where one entered it
                self._cache[text] = result
        return result

    def tree(self, value: Any, path: Path, report: Callable[[Path, Rendered], None]) -> Any:
        """Return `value` with all strings in it rendered.

        Args:
            path: of `value`, for `report`.
            report: called for each string that was rendered, with its path and result.
        """
        if isinstance(value, str):
            if OPEN not in value:
                return value
            result = self.render(value)
            report(path, result)
            return value if result.error else result.value
        if isinstance(value, dict):
            return {key: self.tree(item, (*path, key), report) for key, item in value.items()}
        if isinstance(value, list):
            return [self.tree(item, (*path, index), report) for index, item in enumerate(value)]
        return value

    def _render(self, text: str) -> Rendered:
        # Jinja costs 50 ms to import: only manifests with expressions pay for it.
        from reconciler.core.manifest import expressions  # noqa: PLC0415

        try:
            names = expressions.names(text)
        except expressions.ERRORS as error:
            return Rendered(error=f"not a valid expression: {_first_line(error)}")
        values: dict[str, Any] = {}
        sensitive = outside = False
        doubtful: frozenset[str] = frozenset()
        for name in sorted(names - RESERVED):
            self.used.add(name)
            if name not in self.table.sources:
                continue
            part = self.variable(name)
            sensitive, outside = sensitive or part.sensitive, outside or part.outside
            doubtful |= part.doubtful
            if part.error:
                return Rendered(error=part.error, hint=part.hint, sensitive=sensitive)
            values[name] = part.value
        env = expressions.Env(self.table.env)
        values |= {"env": env, "host": self.table.host}
        try:
            value = expressions.evaluate(text, values)
        except expressions.ERRORS as error:
            sensitive = sensitive or not env.read.isdisjoint(self.table.secret_env)
            return self._failure(error, names, sensitive=sensitive)
        sensitive = sensitive or not env.read.isdisjoint(self.table.secret_env)
        doubtful |= {
            name for name in env.read - self.table.secret_env if is_secret_value(name, self.table.env.get(name) or None)
        }
        return Rendered(value, sensitive, outside=outside or bool(env.read), doubtful=doubtful)

    def variable(self, name: str) -> Rendered:
        """Return the value of a variable, rendered with the variables that it uses itself."""
        known = self._variables.get(name)
        if known is not None:
            return known
        source = self.table.sources[name]
        if name in self._open:
            cycle = " -> ".join([*self._open[self._open.index(name) :], name])
            return Rendered(error=f"the variables refer to each other in a circle: {cycle}")
        if source.missing is not None:
            result = Rendered(
                error=f"the variable `{name}` comes from the environment variable {source.missing}, which is not set",
                hint=f"export {source.missing}, or pass --var {name}=VALUE"
                if not source.sensitive
                else f"export {source.missing}",
                sensitive=source.sensitive,
            )
        elif source.literal:
            result = Rendered(source.value, source.sensitive, outside=source.outside)
        else:
            result = self._declared(name, source)
        told = telling_name(name, source, result.value)
        if told and not source.sensitive and result.value:
            result = dataclasses.replace(result, doubtful=result.doubtful | {told})
        self._variables[name] = result
        return result

    def _declared(self, name: str, source: Source) -> Rendered:
        seen: list[Rendered] = []
        self._open.append(name)
        try:
            rendered = self.tree(source.value, (), lambda _path, result: seen.append(result))
        finally:
            self._open.pop()
        failed = next((part for part in seen if part.error), None)
        sensitive = source.sensitive or any(part.sensitive for part in seen)
        if failed is not None:
            return Rendered(error=f"in the variable `{name}`: {failed.error}", hint=failed.hint, sensitive=sensitive)
        outside = source.outside or any(part.outside for part in seen)
        doubtful = frozenset[str]().union(*(part.doubtful for part in seen))
        return Rendered(rendered, sensitive, outside=outside, doubtful=doubtful)

    def _failure(self, error: Exception, names: Iterable[str], *, sensitive: bool) -> Rendered:
        known: Mapping[str, Any] = self.table.sources
        undefined = sorted(name for name in names if name not in known and name not in RESERVED)
        message = _first_line(error)
        if undefined and f"'{undefined[0]}'" in message:
            name = undefined[0]
            close = nearest(name, [*known, *RESERVED])
            hint = f"did you mean `{close}`?" if close else "declare it in `variables`, or pass --var NAME=VALUE"
            return Rendered(error=f"the variable `{name}` is not defined", hint=hint, sensitive=sensitive)
        if sensitive:
            return Rendered(error="the expression failed (details withheld: it uses a secret)", sensitive=True)
        return Rendered(error=f"the expression failed: {message}")


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0]
    return line if len(line) <= 200 else line[:200] + "..."
