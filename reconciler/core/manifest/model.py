"""The manifest's models: what `chiltepin.yaml` may say, before defaults are merged and text rendered.

Types are strict: a number is never taken for a string, nor `"False"` for false. Wherever a value may
be written as `{{ expression }}`, the models take such a string too; the rendered result is checked
against the same models again.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

FORMAT_VERSION = 1
"""The manifest's `version` that this program reads."""

MAX_ENDPOINTS = 10_000
"""Endpoints of one manifest, over all hosts."""

PROVIDERS = ("localhost", "slurm", "pbspro")
LAUNCHERS = ("srun", "aprun", "mpiexec")

Expression: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"\{\{"), Field(description="A {{ expression }}, rendered after parsing.")
]
Text: TypeAlias = str
Flag: TypeAlias = bool | Expression
# Upper bounds are those of the built-in schema: what lies above is a slip of the keyboard.
Count: TypeAlias = Annotated[int, Field(ge=1, le=65_536)] | Expression
Blocks: TypeAlias = Annotated[int, Field(ge=1, le=10_000)] | Expression
BlocksOrNone: TypeAlias = Annotated[int, Field(ge=0, le=10_000)] | Expression
Word: TypeAlias = Annotated[str, StringConstraints(min_length=1)]


def _empty_block(value: Any) -> Any:
    """Read `name:` without anything after it as an empty block."""
    return {} if value is None else value


class Block(BaseModel):
    """Base of the manifest's mappings: unknown keys are errors, types are strict."""

    # Built at first use: what stands only within another model is built once, as a part of that.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class VariableSource(Block):
    """A variable that comes from the environment, or a value with attributes."""

    env: Word | None = Field(None, description="Name of the environment variable that holds the value.")
    value: str | int | float | bool | list[str | int | float | bool] | None = Field(
        None, description="The value itself; not for sensitive variables."
    )
    default: str | int | float | bool | None = Field(None, description="Used when the environment variable is not set.")
    sensitive: bool = Field(
        False, description="May be used in user_environment only, and is never shown, stored or uploaded."
    )


Variables: TypeAlias = dict[str, str | int | float | bool | list[str | int | float | bool] | VariableSource | None]


class PoolBlock(Block):
    """One executor pool, or defaults for pools: Chiltepin's own options, checked."""

    endpoint: Text | None = Field(
        None, description="An endpoint of this manifest, a UUID, or absent for a local Parsl pool."
    )
    mpi: Flag | None = Field(None, description="Run MPI applications; default false.")
    max_mpi_apps: Count | None = Field(None, description="MPI applications at once per block; default 1.")
    mpi_launcher: Literal["srun", "aprun", "mpiexec"] | Expression | None = Field(
        None, description="Default srun with slurm, otherwise mpiexec."
    )
    provider: Literal["localhost", "slurm", "pbspro"] | Expression | None = Field(
        None, description="Where blocks run; default localhost."
    )
    cores_per_node: Count | None = Field(None, description="Cores of a node; default 1 through an endpoint.")
    nodes_per_block: Count | None = Field(None, description="Nodes of one batch job; default 1.")
    init_blocks: BlocksOrNone | None = Field(None, description="Batch jobs at the start; default 0.")
    min_blocks: BlocksOrNone | None = Field(None, description="Least number of batch jobs; default 0.")
    max_blocks: Blocks | None = Field(None, description="Greatest number of batch jobs; default 1.")
    exclusive: Flag | None = Field(None, description="Whole nodes (Slurm); default true.")
    partition: Text | None = Field(None, description="Slurm's partition.")
    queue: Text | None = Field(None, description="The queue with pbspro; the QOS with slurm.")
    account: Text | None = Field(None, description="The account that is charged; quote it when it is a number.")
    walltime: Text | None = Field(None, description='"HH:MM:SS", quoted; default "00:10:00".')
    environment: list[Text] | Expression = Field(
        default_factory=list, description="Shell lines run before the workers start, e.g. module load."
    )
    cores_per_worker: Annotated[float, Field(gt=0, le=65_536, allow_inf_nan=False)] | Expression | None = Field(
        None, description="Cores of one worker; local pools only; default 1."
    )
    max_workers_per_node: Count | None = Field(None, description="Workers on one node; local pools only.")


class EndpointDefaults(Block):
    """What endpoints have in common."""

    state: Literal["running", "stopped", "unmanaged"] | Expression = Field(
        "running", description="`unmanaged` is left alone and kept in the lock."
    )
    protect: Flag = Field(False, description="Refuse to delete it, also after its block is gone.")
    restart: Literal["when-idle", "now", "never"] | Expression = Field(
        "when-idle", description="When a change that needs a restart may interrupt it."
    )
    config: Annotated[dict[str, Any], BeforeValidator(_empty_block)] = Field(
        default_factory=dict, description="Options of config.yaml of the installed globus-compute-endpoint."
    )
    template: Word = Field("builtin", description="`builtin`, `builtin@VERSION` or a path.")
    # Aliased because BaseModel has a method of that name.
    schema_: Word = Field("builtin", alias="schema", description="`builtin`, `builtin@VERSION`, a path, or `none`.")
    user_environment: Annotated[dict[str, str | None], BeforeValidator(_empty_block)] = Field(
        default_factory=dict,
        description="Environment of user endpoints; PATH is `auto` (the login PATH, captured once) unless set; "
        "null leaves a variable out.",
    )
    identity_mapping: Word | None = Field(None, description="Path of an identity mapping; privileged endpoints only.")


class EndpointBlock(EndpointDefaults):
    """One Globus Compute endpoint."""

    directory: Word | None = Field(None, description="Name of its directory; default: its name here.")
    host: Word | None = Field(None, description="The host it lives on; may be left out with one host.")
    id: Word | None = Field(None, description="UUID of a registration to take over or restore.")


class Defaults(Block):
    """Defaults for all endpoints and pools; blocks override them, mappings merge, lists replace."""

    pool: Annotated[PoolBlock, BeforeValidator(_empty_block)] = Field(default_factory=PoolBlock)
    endpoint: Annotated[EndpointDefaults, BeforeValidator(_empty_block)] = Field(default_factory=EndpointDefaults)


class EnvMatch(Block):
    """Matches when an environment variable has a value: `VAR=VALUE`, VALUE may be a pattern."""

    env: Annotated[str, StringConstraints(pattern=r"^[^=\s]+=")]


class ClusterMatch(Block):
    """Matches when Slurm's cluster has this name."""

    cluster: Word


class HostBlock(Block):
    """A machine on which endpoints of this manifest live: one or several login nodes with one home."""

    match: list[Word | EnvMatch | ClusterMatch] | None = Field(
        None, description="Patterns of host name or FQDN, {env: VAR=VALUE} or {cluster: NAME}; default: its name."
    )
    run_on: list[Word] = Field(
        default_factory=list, description="Nodes where daemons may be started, names or patterns; default: any."
    )
    config_dir: Word | None = Field(None, description="The Globus Compute directory; default ~/.globus_compute.")
    python: Word | None = Field(
        None, description="Environment whose globus-compute-endpoint is used; default: the one on PATH."
    )
    variables: Annotated[Variables, BeforeValidator(_empty_block)] = Field(default_factory=dict)
    defaults: Annotated[Defaults, BeforeValidator(_empty_block)] = Field(default_factory=Defaults)


class MovedBlock(Block):
    """A rename: the endpoint `from` is now called `to`; it keeps its UUID."""

    from_: Word = Field(alias="from")
    to: Word


class TrashBlock(Block):
    """How long deleted endpoints can be undone."""

    keep: Word | None = Field(None, description='A duration such as "14d", "12h" or "2w".')
    max: Word | None = Field(None, description='A size such as "1GB" or "500MB".')


class Manifest(Block):
    """The whole manifest."""

    version: Literal[1] = Field(description="Version of this format.")
    stack: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="Names what this file manages; recorded in every endpoint directory that it manages."
    )
    variables: Annotated[Variables, BeforeValidator(_empty_block)] = Field(default_factory=dict)
    hosts: Annotated[dict[str, Annotated[HostBlock, BeforeValidator(_empty_block)]], BeforeValidator(_empty_block)] = (
        Field(default_factory=dict, description="Optional with one host.")
    )
    defaults: Annotated[Defaults, BeforeValidator(_empty_block)] = Field(default_factory=Defaults)
    endpoints: Annotated[
        dict[str, Annotated[EndpointBlock, BeforeValidator(_empty_block)]], BeforeValidator(_empty_block)
    ] = Field(default_factory=dict, description="Endpoints by a name unique in this file.")
    pools: Annotated[dict[str, Annotated[PoolBlock, BeforeValidator(_empty_block)]], BeforeValidator(_empty_block)] = (
        Field(default_factory=dict, description="Executor pools by name.")
    )
    moved: list[MovedBlock] = Field(default_factory=list, description="Endpoints that were renamed.")
    trash: TrashBlock | None = None


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a manifest, for editors and `chiltepin schema manifest`."""
    schema = Manifest.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "chiltepin.yaml"
    schema["patternProperties"] = {"^x-": {"description": "Ignored: a place for anchors."}}
    for block in (schema, *schema["$defs"].values()):
        for name in ("endpoints", "pools", "hosts", "variables", "defaults", "pool", "endpoint", "config"):
            _allow_null(block.get("properties", {}).get(name))
        for properties in block.get("properties", {}).values():
            inner = properties.get("additionalProperties")
            if isinstance(inner, dict) and "$ref" in inner:
                properties["additionalProperties"] = {"anyOf": [inner, {"type": "null"}]}
    return schema


def _allow_null(field: dict[str, Any] | None) -> None:
    """`name:` with nothing after it is an empty block; say so in the schema of that field."""
    if field is None or "anyOf" in field:
        return
    if "$ref" in field:
        field["anyOf"] = [{"$ref": field.pop("$ref")}, {"type": "null"}]
    elif field.get("type") == "object":
        field["type"] = ["object", "null"]
