"""The example manifests are valid, unambiguous YAML, and their pools are what the built-in schema takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import validate

from reconciler.core.manifest.hosts import Machine, local_host
from reconciler.core.manifest.reading import read_manifest
from reconciler.core.manifest.source import parse
from tests.templates.rendering import SCHEMA

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
NAMES = ["gitops", "laptop", "noaa", "slurm"]
EXPRESSION = re.compile(r"\{\{.*\}\}")


def text_of(name: str) -> str:
    return (EXAMPLES / name / "chiltepin.yaml").read_text(encoding="utf-8")


def manifest_of(name: str) -> Any:
    return read_manifest(parse(text_of(name), f"examples/{name}/chiltepin.yaml"))


def test_every_example_has_a_manifest_and_says_what_it_shows() -> None:
    assert sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()) == NAMES
    for name in NAMES:
        assert "chiltepin" in (EXAMPLES / name / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_is_a_valid_manifest(name: str) -> None:
    manifest = manifest_of(name)
    assert manifest.endpoints
    for pool_name, pool in manifest.pools.items():
        endpoint = pool.endpoint or manifest.defaults.pool.endpoint
        assert endpoint in manifest.endpoints or (name, pool_name) == ("laptop", "scripts")


@pytest.mark.parametrize("name", NAMES)
def test_reads_the_same_with_pyyaml(name: str) -> None:
    """No word in it is one thing for this program and another for PyYAML (YAML 1.1)."""
    assert parse(text_of(name), name).root == yaml.safe_load(text_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_pools_are_taken_by_the_builtin_schema(name: str) -> None:
    manifest = manifest_of(name)
    defaults = manifest.defaults.pool.model_dump(exclude_unset=True)
    for pool in manifest.pools.values():
        options = defaults | pool.model_dump(exclude_unset=True)
        if not options.pop("endpoint", None):
            continue
        lines = options.pop("environment", [])
        plain = {key: value for key, value in options.items() if not EXPRESSION.search(str(value))}
        validate(plain | {"worker_init": "\n".join(lines)}, SCHEMA)


@pytest.mark.parametrize(
    ("machine", "host"),
    [
        (Machine("hfe07", "hfe07.hera.example"), "hera"),
        (Machine("ufe02", "ufe02.rdhpcs.noaa.gov"), "ursa"),
        (Machine("h1c05", "h1c05.example", "hera"), "hera"),
        (Machine("hercules-login-3", "hercules-login-3.hpc.msstate.edu", "hercules"), "hercules"),
    ],
)
def test_each_noaa_login_node_is_one_host(machine: Machine, host: str) -> None:
    assert local_host(manifest_of("noaa").hosts, machine, {}, override=None, file="chiltepin.yaml") == host


@pytest.mark.parametrize("workflow", ["gitops/.gitlab-ci.yml", "gitops/.github/workflows/chiltepin.yml"])
def test_ci_plans_against_the_lock(workflow: str) -> None:
    text = (EXAMPLES / workflow).read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    assert "chiltepin plan --against lock --detailed-exitcode" in text
    assert 'pip install "chiltepin-reconciler @ git+https://' in text  # the name alone is on no index
