"""A user's schema: nothing is fetched, everything ends, and what is wrong with it is said."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validators

from reconciler.core.manifest.named_files import Fault, NamedFiles
from reconciler.core.manifest.schema_trial import schema_fault, schema_faults
from tests.core.manifest.manifests import context, problems

NOWHERE = "leads to nothing in this file"


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"$ref": "https://example.org/s.json"}, NOWHERE),
        ({"properties": {"a": {"items": {"$ref": "http://127.0.0.1:9/s"}}}}, NOWHERE),
        ({"$ref": "file:///etc/passwd"}, NOWHERE),
        ({"$ref": "#/$defs/gone"}, NOWHERE),
        ({"$dynamicRef": "#x"}, NOWHERE),
        ({"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveRef": "x"}, NOWHERE),
        ({"$schema": 5}, "`$schema` must be a text"),
        ({"$schema": []}, "`$schema` must be a text"),
        ({"$id": "http://[", "$ref": "x"}, "not a valid JSON Schema"),
        ({"pattern": "a{99999999999999}"}, "not a valid JSON Schema"),
        ({"$id": 5}, "not a valid JSON Schema"),
    ],
)
def test_a_schema_that_cannot_be_used(schema: Any, message: str) -> None:
    assert message in (schema_fault(schema) or "")


def test_a_number_of_thousands_of_digits() -> None:
    made = context({"s": '{"maximum": ' + "9" * 5000 + "}"})
    fault = NamedFiles(made.read_file, {}, {}).get("schema", "s")
    assert fault == Fault("s: not usable JSON: a number has too many digits")


def test_references_inside_the_file_are_followed() -> None:
    schemas: list[dict[str, Any]] = [
        {"$defs": {"n": {"maximum": 2}}, "properties": {"a": {"$ref": "#/$defs/n"}}},
        {"$id": "https://x.org/s", "$defs": {"n": {"$anchor": "k", "maximum": 2}}, "properties": {"a": {"$ref": "#k"}}},
        {"$defs": {"n": {"$id": "https://x.org/n", "maximum": 2}}, "properties": {"a": {"$ref": "https://x.org/n"}}},
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "definitions": {"n": {"maximum": 2}},
            "properties": {"a": {"$ref": "#/definitions/n"}},
        },
    ]
    for schema in schemas:
        assert schema_fault(schema) is None
        assert schema_faults(json.dumps(schema), {"a": 3}) == ["a: 3 is greater than the maximum of 2"]
        assert schema_faults(json.dumps(schema), {"a": 1}) == []


DRAFTS = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
]
SCHEMAS: list[dict[str, Any]] = [
    {"not": {}},
    {"not": {"required": ["a"]}},
    {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": False},
    {"properties": {"l": {"contains": {"type": "string"}, "minItems": 3}}},
    {"oneOf": [{"required": ["a"]}, {"required": ["l"]}]},
    {"anyOf": [{"required": ["x"]}, {"properties": {"a": {"enum": [2]}}}]},
    {"dependentSchemas": {"a": {"required": ["z"]}}, "unevaluatedProperties": False},
    {"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
    {"$defs": {"e": {"type": "object", "maxProperties": 1}}, "allOf": [{"$ref": "#/$defs/e"}, {"not": {"$ref": "#"}}]},
    {"propertyNames": {"maxLength": 0}, "required": ["q"], "type": ["array", "object"]},
]


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_it_judges_as_the_library_does(schema: dict[str, Any], draft: str) -> None:
    document, instance = {"$schema": draft, **schema}, {"a": 1, "l": [1, 2]}
    try:
        errors = sorted(validators.validator_for(document)(document).iter_errors(instance), key=lambda e: e.json_path)
        expected = [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in errors]
    except RecursionError:
        expected = ["the schema cannot be applied: it refers to itself without an end"]
    assert schema_faults(json.dumps(document), instance) == expected


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also not from a place that only applying the schema reaches: no keyword that holds schemas."""
    (tmp_path / "s.json").write_text('{"maximum": 1}')
    opened: list[Any] = []
    monkeypatch.setattr(socket, "create_connection", opened.append)
    for reference in ("http://127.0.0.1:9/s", (tmp_path / "s.json").as_uri()):
        hidden = {"elsewhere": {"n": {"$ref": reference}}, "properties": {"a": {"$ref": "#/elsewhere/n"}}}
        assert schema_faults(json.dumps(hidden), {"a": 3})[0].startswith("the schema cannot be applied")
    assert opened == []


def _doubling(levels: int, **more: Any) -> dict[str, Any]:
    steps = {f"d{n}": {**more, "allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": steps | {f"d{levels}": {}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize("more", [{}, {"$schema": "https://json-schema.org/draft/2019-09/schema"}])
def test_references_that_multiply_end(more: dict[str, Any]) -> None:
    schema = _doubling(40, **more)
    assert schema_fault(schema) is None
    before = time.process_time()
    assert schema_faults(json.dumps(schema), {}) == ["the schema cannot be applied: it takes more than 50,000 steps"]
    assert time.process_time() - before < 20


def test_a_schema_that_is_itself_ends() -> None:
    said = schema_faults('{"$ref": "#"}', {})
    assert said == ["the schema cannot be applied: it refers to itself without an end"]


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "(a+)+$"}}},
        {"properties": {"a": {"pattern": "^a*a*a*a*a*a*a*a*b"}}},
        {"properties": {"b": {"patternProperties": {"^(a|a)+$": {}}}}},
        {"properties": {"b": {"additionalProperties": False, "patternProperties": {"^(a|aa)+$": {}}}}},
    ],
)
def test_patterns_that_might_not_end_are_not_judged(schema: dict[str, Any]) -> None:
    text = "a" * 40 + "!"
    assert schema_faults(json.dumps(schema), {"a": text, "b": {text: 1}}) == []


def test_ordinary_patterns_are_judged() -> None:
    schema = json.dumps({"properties": {"walltime": {"pattern": r"^\d+(:\d\d){1,2}$"}, "q": {"pattern": "^[a-z]+$"}}})
    assert schema_faults(schema, {"walltime": "01:00:00", "q": "batch" * 20}) == []
    assert len(schema_faults(schema, {"walltime": "an hour", "q": "Batch"})) == 2


def test_it_stands_at_the_schemas_place_in_the_manifest() -> None:
    place = "2:15: error: s.json: not a usable JSON Schema: its reference 'http://127.0.0.1:9/s' leads to nothing"
    found = problems("endpoints:\n  e: {schema: s.json}\n", files={"s.json": '{"$ref": "http://127.0.0.1:9/s"}'})
    assert found == [f"{place} in this file"]
