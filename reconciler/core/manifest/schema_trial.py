"""Schemas that users supply: checked and applied without leaving the file, and in bounded work.

A manifest may come from a pull request, and so may its schema: nothing is fetched that a `$ref` names, and
neither references that multiply nor a pattern that backtracks may keep a plan from ending.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reconciler.core.manifest.allowance import CHECK as MAX_STEPS
from reconciler.core.manifest.allowance import Allowance

_CHARACTERS = 1_000  # of a schema, that are read in the time of some steps
_MAX_BACKTRACKING = 1_000_000.0
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_WITH_PATTERNS = ("pattern", "patternProperties", "additionalProperties", "unevaluatedProperties")


class _TooMuch(Exception):
    """The schema takes more steps than a check has."""


class _Unjudged(Exception):
    """Only trying would show how long a pattern takes."""


def schema_fault(schema: Any) -> str | None:
    """Return why a JSON value cannot be used as a schema."""
    if not isinstance(schema, dict):
        return "a JSON Schema is an object"
    if not isinstance(schema.get("$schema", ""), str):
        return "not a valid JSON Schema: `$schema` must be a text"
    from jsonschema import exceptions, validators  # noqa: PLC0415  80 ms that a built-in schema does not cost

    kind = validators.validator_for(schema)
    try:
        kind.check_schema(schema)
        reference = _leading_outside(schema, kind.META_SCHEMA)
    except exceptions.SchemaError as error:
        return f"not a valid JSON Schema: {error.json_path}: {error.message}"
    except RecursionError:
        return "not a valid JSON Schema: nested too deeply"
    except Exception as error:  # noqa: BLE001  whatever a foreign text makes of the library is the text's fault
        return f"not a valid JSON Schema: {_said(error)}"
    if reference is not None:
        return f"not a usable JSON Schema: its reference {reference!r} leads to nothing in this file"
    return None


def schema_faults(text: str, instance: Mapping[str, Any], allowance: Allowance | None = None) -> list[str]:
    """Return what `instance`, the options that a pool sends, breaks in a schema in which `schema_fault` found none.

    Args:
        allowance: the steps that all checks of the manifest may still take.
    """
    if allowance and not allowance.spend(len(text) // _CHARACTERS):
        return []
    from jsonschema import validators  # noqa: PLC0415  80 ms
    from referencing import Registry  # noqa: PLC0415

    schema = json.loads(text)
    steps = [0]
    try:
        checker = _bounded(validators.validator_for(schema), steps)(schema, registry=Registry())  # retrieves nothing
        errors = sorted(checker.iter_errors(dict(instance)), key=lambda error: str(error.json_path))
    except _Unjudged:
        return []
    except Exception as error:  # noqa: BLE001  as above
        return [f"the schema cannot be applied: {_said(error)}"]
    finally:
        if allowance:
            allowance.spend(steps[0])
    return [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in errors]


def _said(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it refers to itself without an end"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _leading_outside(schema: dict[str, Any], meta_schema: Any) -> str | None:
    """Return a reference that leads to nothing in the schema itself."""
    from referencing import Registry, Resource, exceptions, jsonschema  # noqa: PLC0415

    draft = jsonschema.specification_with(str(meta_schema.get("$schema", "")), default=jsonschema.DRAFT202012)
    root: Resource[Any] = draft.create_resource(schema)
    registry: Registry[Any] = Registry()
    waiting = [(root, registry.resolver_with_root(root))]
    while waiting:
        resource, resolver = waiting.pop()
        for key in _REFERENCES:
            reference = resource.contents.get(key) if isinstance(resource.contents, dict) else None
            if isinstance(reference, str):
                try:
                    resolver.lookup(reference)
                except exceptions.Unresolvable:
                    return reference
        waiting += [(part, resolver.in_subresource(part)) for part in resource.subresources()]
    return None


def _bounded(kind: Any, steps: list[int]) -> Any:
    """Return a class of validators that counts its steps, also where a part of the schema names another draft."""
    from jsonschema import validators  # noqa: PLC0415

    def counted(keyword: str, apply: Any) -> Callable[..., Iterator[Any] | None]:
        def count(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
            steps[0] += 1
            if steps[0] > MAX_STEPS:
                raise _TooMuch(f"it takes more than {MAX_STEPS:,} steps")
            if keyword in _WITH_PATTERNS:
                _refuse_backtracking(schema, instance)
            result: Iterator[Any] | None = apply(validator, value, instance, schema)
            return result

        return count

    def evolve(self: Any, **changes: Any) -> Any:
        # The library's own would choose the class anew by `$schema`, and lose the count.
        evolved = copy.copy(self)
        for name, value in changes.items():
            setattr(evolved, name, value)
        evolved.__attrs_post_init__()  # what is made of the schema beforehand is made of the new one
        return evolved

    extend: Any = validators.extend
    made: Any = extend(kind, {name: counted(name, apply) for name, apply in kind.VALIDATORS.items()})
    made.evolve = evolve
    return made


def _refuse_backtracking(schema: Mapping[str, Any], instance: Any) -> None:
    patterns = [schema.get("pattern"), *(schema.get("patternProperties") or ())]
    texts = [instance] if isinstance(instance, str) else list(instance) if isinstance(instance, dict) else []
    longest = max((len(text) for text in texts), default=0)
    for pattern in patterns:
        if isinstance(pattern, str) and _backtracking(pattern, longest) > _MAX_BACKTRACKING:
            raise _Unjudged


def _backtracking(pattern: str, length: int) -> float:
    """Return how many ways, at the worst, there are to try a pattern on a text."""
    nested = len(re.findall(r"\)[*+{]", pattern))
    free = len(re.findall(r"[*+]|\{\d*,\d*\}", pattern))
    either = len(re.findall(r"[?|]", pattern))
    try:
        return float((nested + 1.0) ** length * max(1.0, length) ** free * 2.0**either)
    except OverflowError:
        return float("inf")
