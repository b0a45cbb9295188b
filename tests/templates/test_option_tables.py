"""The shipped option tables, and the installed globus-compute-endpoint beside its own."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from reconciler.adapters.resources import (
    available_versions,
    builtin_schema,
    builtin_template,
    option_table,
    option_tables,
)
from reconciler.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent.parent
TYPES = {"any", "bool", "dict", "float", "int", "list", "list[str]", "null", "path", "str", "uuid"}
SUPPORTED = ["4.13", "4.14", "4.15", "4.16", "4.17", "4.18", "4.19"]


def test_the_installed_package_accepts_what_its_table_says() -> None:
    script = ROOT / "scripts" / "generate_option_tables.py"
    command = [sys.executable, str(script), "--installed", "--print"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    table = option_table(version("globus-compute-endpoint"))
    assert table is not None, "run scripts/generate_option_tables.py for the new minor version"
    assert json.loads(done.stdout)["options"] == table["options"]


def test_there_is_a_table_for_every_supported_minor_version() -> None:
    assert set(SUPPORTED) <= set(option_tables())


@pytest.mark.parametrize("minor", SUPPORTED)
def test_tables_are_as_the_script_writes_them(minor: str) -> None:
    path = ROOT / "reconciler" / "adapters" / "options" / f"{minor}.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    assert path.read_text(encoding="utf-8") == json.dumps(table, indent=2, sort_keys=True) + "\n"
    assert table["version"].startswith(f"{minor}.")
    for name, option in table["options"].items():
        assert option["types"] == sorted(option["types"]), name
        assert option["types"], name
        assert set(option["types"]) <= TYPES, name


@pytest.mark.parametrize("minor", SUPPORTED)
def test_what_a_core_endpoint_refuses_is_in_no_table(minor: str) -> None:
    options = option_tables()[minor]["options"]
    assert not {"engine", "multi_user", "detach_endpoint", "idle_heartbeats_soft", "endpoint_setup"} & set(options)
    assert {"display_name", "debug", "heartbeat_period", "allowed_functions"} <= set(options)


def test_options_that_came_later() -> None:
    assert "email" not in option_tables()["4.15"]["options"]
    assert option_tables()["4.16"]["options"]["email"]["types"] == ["null", "str"]
    assert option_tables()["4.14"]["options"]["heartbeat_period"]["types"] == ["int"]
    assert option_tables()["4.15"]["options"]["heartbeat_period"]["types"] == ["float", "int"]


@pytest.mark.parametrize("installed", ["4.17.0", "4.17.1", "4.17.9", "4.17.2.dev1", "4.17rc1", "4.17.1+local", "4.17"])
def test_any_build_of_a_minor_version_has_its_table(installed: str) -> None:
    table = option_table(installed)
    assert table is not None
    assert table["version"].startswith("4.17.")


@pytest.mark.parametrize("installed", ["4.99.0", "5.0.0", "4.12.0", "4.1.0", "4.1", "4", "", "unknown", "14.17.0"])
def test_nothing_is_said_about_unknown_versions(installed: str) -> None:
    assert option_table(installed) is None


@pytest.mark.parametrize("number", [0, -1, available_versions()[-1] + 1])
def test_an_unknown_template_version_is_refused_by_name(number: int) -> None:
    for read in (builtin_template, builtin_schema):
        with pytest.raises(UsageError, match=str(number)) as caught:
            read(number)
        assert "builtin@1" in str(caught.value.remedy)


def test_resources_import_nothing_of_globus() -> None:
    code = (
        "import sys; from reconciler.adapters import resources as r; r.builtin_template(); r.option_tables();"
        "print([name for name in sys.modules if name.split('.')[0].startswith(('globus', 'parsl', 'jinja2'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
