"""The JSON Schemas of everything that chiltepin reads or prints, generated from the models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reconciler.core.lock import Lock
from reconciler.core.manifest.model import manifest_schema
from reconciler.core.output_models import (
    AgainstLockOutput,
    ApplyOutput,
    LockExportOutput,
    PlanOutput,
    SandboxStatusOutput,
    StatusOutput,
    WhoamiOutput,
)
from reconciler.core.saved_plan import SavedPlan

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "manifest": manifest_schema,
    "lock": lambda: Lock.model_json_schema(by_alias=True),
    "plan": lambda: PlanOutput.model_json_schema(mode="serialization"),
    "saved-plan": lambda: SavedPlan.model_json_schema(mode="serialization"),
    "against-lock": lambda: AgainstLockOutput.model_json_schema(mode="serialization"),
    "apply": lambda: ApplyOutput.model_json_schema(mode="serialization"),
    "status": lambda: StatusOutput.model_json_schema(mode="serialization"),
    "lock-export": lambda: LockExportOutput.model_json_schema(mode="serialization"),
    "whoami": lambda: WhoamiOutput.model_json_schema(mode="serialization"),
    "sandbox-status": lambda: SandboxStatusOutput.model_json_schema(mode="serialization"),
}
"""Makers of the schemas, by name; `schemas/NAME.schema.json` holds what they make."""


def schema_of(name: str) -> dict[str, Any]:
    """Return one schema; `name` must be a key of SCHEMAS."""
    return {"$schema": _DIALECT, **SCHEMAS[name]()}
