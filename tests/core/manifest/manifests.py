"""Reading manifests in tests: a context without a machine behind it, and problems as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.core.desired import Desired, TextFile
from reconciler.core.invalid import ManifestInvalid
from reconciler.core.manifest.options import option_tables
from reconciler.core.manifest.resolve import Context, Machine, load
from reconciler.errors import FileSystemError

TEMPLATE = TextFile("builtin@2", "engine: {type: ThreadPoolEngine}\n")
OLD_TEMPLATE = TextFile("builtin@1", "engine: {type: ProcessPoolEngine}\n")
SCHEMA = TextFile("builtin@2", "{}\n")
OLD_SCHEMA = TextFile("builtin@1", '{"type": "object"}\n')

TABLES = option_tables(
    [
        {"version": "4.13.0", "options": {"debug": {"types": ["bool"]}, "old_option": {"types": ["any"]}}},
        {
            "version": "4.19.0",
            "options": {
                "debug": {"types": ["bool"]},
                "display_name": {"types": ["null", "str"]},
                "heartbeat_period": {"types": ["float", "int"]},
                "admins": {"types": ["list[str]", "null"]},
                "subscription_id": {"types": ["null", "uuid"]},
                "pam": {"types": ["dict", "null"]},
                "identity_mapping_config_path": {"types": ["null", "path"]},
                "waning": {"types": ["any"], "deprecated": "since 4.18, use `debug`"},
            },
        },
        {"version": "4.20.0", "options": {"debug": {"types": ["bool"]}, "brand_new": {"types": ["any"]}}},
    ]
)


def context(files: Mapping[str, bytes | str] | None = None, **changes: Any) -> Context:
    """Return a context on the node ufe01; `files` are those beside the manifest."""
    stored = dict(files or {})

    def read_file(path: str) -> bytes:
        if path not in stored:
            raise FileSystemError("no such file", where=path)
        content = stored[path]
        return content.encode() if isinstance(content, str) else content

    values: dict[str, Any] = {
        "file": "chiltepin.yaml",
        "machine": Machine("ufe01", "ufe01.rdhpcs.noaa.gov"),
        "read_file": read_file,
        "templates": {"builtin": TEMPLATE, "builtin@1": OLD_TEMPLATE, "builtin@2": TEMPLATE},
        "schemas": {"builtin": SCHEMA, "builtin@1": OLD_SCHEMA, "builtin@2": SCHEMA},
        "option_table": TABLES["4.19.0"],
    }
    return Context(**(values | changes))


HEAD = "version: 1\nstack: test\n"


def desired(body: str, **changes: Any) -> Desired:
    """Return the desired state of a manifest whose first two lines are version and stack."""
    return load(HEAD + body, context=context(**changes))


def problems(body: str, **changes: Any) -> list[str]:
    """Return `line:column: severity: message; hint` of everything found in such a manifest."""
    try:
        found = desired(body, **changes).warnings
    except ManifestInvalid as error:
        found = error.problems
    lines = []
    for problem in found:
        at = f"{problem.position.line - 2}:{problem.position.column}: " if problem.position else ""
        hint = f"; {problem.hint}" if problem.hint else ""
        lines.append(f"{at}{problem.severity}: {problem.message}{hint}")
    return lines
