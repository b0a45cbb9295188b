"""The JSON documents that commands print, as models: the schemas in `schemas/` are generated from them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION: Literal[1] = 1


class Output(BaseModel):
    """Base of what is printed as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldOutput(Output):
    """One value that changes; `old` or `new` is missing when it appears or goes, both when it is sensitive."""

    path: str
    old: Any = None
    new: Any = None
    kind: Literal["add", "change", "remove"]
    sensitive: bool = False


class FileOutput(Output):
    """One file that changes (or, with kind `note`, a remark in `file`)."""

    file: str
    kind: Literal["add", "change", "remove", "note"]
    cause: str
    label: str | None = None
    fields: list[FieldOutput] = Field(default_factory=list)
    diff: list[str] = Field(default_factory=list)


class WorkOutput(Output):
    """What stopping a daemon would end, beside its user endpoints; `uncounted` says what could not be counted."""

    tasks: int
    jobs: list[str]
    uncounted: list[str]


class ActionOutput(Output):
    """One action of a plan."""

    kind: str
    endpoint: str
    directory: str
    cause: str
    description: str
    interrupts: int
    work: WorkOutput | None
    hold: str | None
    preconditions: list[str]
    changes: list[FileOutput]


class PoolChangeOutput(Output):
    """A pool that comes, changes or goes; `fields` are the options that differ, of one that changes."""

    name: str
    kind: Literal["add", "change", "remove"]
    fields: list[FieldOutput] = Field(default_factory=list)


class FileActionOutput(Output):
    """WriteLock or WritePools; `pools` is what changes in the lock's."""

    kind: Literal["WriteLock", "WritePools"]
    cause: str
    pools: list[PoolChangeOutput] = Field(default_factory=list)


class RefusalOutput(Output):
    """A guard said no to an endpoint."""

    endpoint: str
    what: str
    remedy: str
    evidence: list[str]
    exit_code: int


class BlockedOutput(Output):
    """An endpoint that could not be planned without the service."""

    endpoint: str
    reason: str


class NoteOutput(Output):
    """Worth knowing, needs no action."""

    endpoint: str | None
    text: str


class PlanOutput(Output):
    """`chiltepin plan --format json`."""

    format_version: Literal[1] = FORMAT_VERSION
    kind: Literal["plan"] = "plan"
    stack: str
    host: str | None
    config_dir: str
    changes: bool
    actions: list[ActionOutput]
    files: list[FileActionOutput]
    refusals: list[RefusalOutput]
    blocked: list[BlockedOutput]
    notes: list[NoteOutput]
    left_out: dict[str, str]
    summary: str


class OutcomeOutput(Output):
    """What became of one action."""

    kind: str
    endpoint: str
    outcome: Literal["done", "failed", "deferred", "skipped"]
    id: str | None
    reason: str | None
    remedy: str | None
    log: str
    seconds: float


class UnconfirmedOutput(Output):
    """A daemon that runs and that the service does not see."""

    endpoint: str
    reason: str
    remedy: str | None


class ApplyOutput(Output):
    """`chiltepin apply --format json`."""

    format_version: Literal[1] = FORMAT_VERSION
    kind: Literal["apply"] = "apply"
    stack: str
    exit_code: int
    interrupted: bool
    outcomes: list[OutcomeOutput]
    unconfirmed: list[UnconfirmedOutput]
    refusals: list[RefusalOutput]
    blocked: list[BlockedOutput]
    notes: list[NoteOutput]
    left_out: dict[str, str]
    endpoints: dict[str, str | None]


class StatusEndpointOutput(Output):
    """One row of `chiltepin status`; `age` in seconds, `since` in seconds since the epoch."""

    endpoint: str
    host: str | None
    declared: str
    state: str
    id: str | None
    service: str | None
    pid: int | None
    age: float | None
    user_endpoints: int
    on_previous_template: int
    deaths: int
    notes: list[str]
    pools: list[str]
    managed: bool
    stack: str | None
    node: str | None
    since: float | None


class TrashOutput(Output):
    """A deleted endpoint; `age` in seconds, `size` in bytes and only when the manifest bounds the trash's size."""

    endpoint: str
    entry: str
    id: str | None
    age: float | None
    size: int | None
    expired: bool
    ours: bool


class StatusOutput(Output):
    """`chiltepin status --format json`."""

    format_version: Literal[1] = FORMAT_VERSION
    kind: Literal["status"] = "status"
    stack: str
    config_dir: str
    service: str
    unreachable: str | None
    endpoints: list[StatusEndpointOutput]
    trash: list[TrashOutput] = Field(default_factory=list)


class LockChangeOutput(Output):
    """An endpoint or pool that the lock would gain, change or lose; `old` is the name of one that has moved."""

    what: Literal["endpoint", "pool"]
    name: str
    old: str | None = None
    kind: Literal["add", "change", "move", "remove"]
    host: str | None
    id: str | None
    fields: list[FieldOutput]


class AgainstLockOutput(Output):
    """`chiltepin plan --against lock --format json`."""

    format_version: Literal[1] = FORMAT_VERSION
    kind: Literal["against-lock"] = "against-lock"
    stack: str
    changes: list[LockChangeOutput]


class WhoamiOutput(Output):
    """`chiltepin whoami --format json`; `identity` is null when only the service knows it."""

    format_version: Literal[1] = FORMAT_VERSION
    kind: Literal["whoami"] = "whoami"
    service: str
    identity: str | None
    client_id: str
    login: Literal["client", "user"]
    token_store: str


class LockExportOutput(Output):
    """`chiltepin lock export --format json`: UUIDs by endpoint; null when it was never registered."""

    format_version: Literal[1] = FORMAT_VERSION
    kind: Literal["lock-export"] = "lock-export"
    endpoints: dict[str, str | None]


class SandboxStatusOutput(Output):
    """`chiltepin sandbox status --format json`; what is not known while it is down is null."""

    format_version: Literal[1] = FORMAT_VERSION
    kind: Literal["sandbox-status"] = "sandbox-status"
    service: Literal["sandbox"] = "sandbox"
    state_dir: str
    running: bool
    pid: int | None
    url: str | None
    amqp_port: int | None
    external_amqp: bool
    faults: bool
    client_id: str | None
    endpoints: int | None
    online: int | None
