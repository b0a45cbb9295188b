"""The built-in template, rendered and built by the installed globus-compute-endpoint itself."""

from __future__ import annotations

import json
import os
import pwd
import uuid
from pathlib import Path
from typing import Any

from globus_compute_endpoint.endpoint.config.utils import load_config_yaml, render_config_user_template
from globus_compute_endpoint.endpoint.identity_mapper import MappedPosixIdentity

from reconciler.adapters.resources import builtin_schema, builtin_template

PROVIDERS = ("localhost", "slurm", "pbspro")
SCHEMA: dict[str, Any] = json.loads(builtin_schema()[1])
PARSL_PROVIDER = {"localhost": "LocalProvider", "slurm": "SlurmProvider", "pbspro": "PBSProProvider"}


def sent(provider: str = "localhost", **changed: Any) -> dict[str, Any]:
    """The 15 options that Chiltepin 0.1.7 always sends, at its defaults unless changed."""
    return {
        "mpi": False,
        "max_mpi_apps": 1,
        "mpi_launcher": "srun" if provider == "slurm" else "mpiexec",
        "provider": provider,
        "cores_per_node": 1,
        "nodes_per_block": 1,
        "init_blocks": 0,
        "min_blocks": 0,
        "max_blocks": 1,
        "exclusive": True,
        "partition": "",
        "queue": "",
        "account": "",
        "walltime": "00:10:00",
        "worker_init": "",
        **changed,
    }


def render(options: dict[str, Any], *, schema: dict[str, Any] | None = SCHEMA, core_config: str = "") -> str:
    """Return the text that a user endpoint would be given for `options`, as the service hands them over."""
    identity = MappedPosixIdentity(
        local_user_record=pwd.getpwuid(os.getuid()),
        matched_identity=uuid.UUID(int=0),
        globus_identity_candidates=[],
    )
    text: str = render_config_user_template(
        parent_config=load_config_yaml(core_config),
        user_config_template=builtin_template()[1],
        user_config_template_path=Path(__file__),
        mapped_identity=identity,
        user_config_schema=schema,
        user_opts=json.loads(json.dumps(options)),
        user_runtime={"globus_compute_sdk_version": "4.19.0", "python": {"version": "3.12.1"}},
    )
    return text


def build(options: dict[str, Any], **how: Any) -> Any:
    """Return the user endpoint's configuration object with its engine, built but not started."""
    return load_config_yaml(render(options, **how))


def provider_of(options: dict[str, Any], **how: Any) -> Any:
    """Return the Parsl provider that `options` lead to."""
    return build(options, **how).engine.executor.provider
