"""The JSON documents that commands print, as models: the schemas in `schemas/` are generated from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reconciler.core.actions import (
    ABSENT,
    SENSITIVE,
    EndpointAction,
    FieldChange,
    FileChange,
    WriteLock,
    WritePools,
)
from reconciler.core.against_lock import LockChange
from reconciler.core.plan import Plan
from reconciler.core.progress import Outcome, Run
from reconciler.core.report import describe, summary
from reconciler.core.statuses import StatusRow, TrashRow
from reconciler.core.work import Work

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


def plan_output(plan: Plan) -> PlanOutput:
    """Return a plan as its document. Holds no secret."""
    return PlanOutput(
        stack=plan.desired.stack,
        host=plan.desired.host.name,
        config_dir=plan.config_dir,
        changes=not plan.is_empty,
        actions=[_action(action) for action in plan.actions],
        files=[_file_action(action) for action in plan.files],
        summary=summary(plan),
        **_remarks(plan),
    )


def _file_action(action: WriteLock | WritePools) -> FileActionOutput:
    pools = action.pools if isinstance(action, WriteLock) else ()
    changes = [PoolChangeOutput(name=p.name, kind=p.kind, fields=[_field(f) for f in p.fields]) for p in pools]
    return FileActionOutput.model_validate({"kind": action.kind, "cause": action.cause.value, "pools": changes})


def _remarks(plan: Plan) -> dict[str, Any]:
    return {
        "refusals": [
            RefusalOutput(
                endpoint=r.endpoint, what=r.what, remedy=r.remedy, evidence=list(r.evidence), exit_code=r.exit_code
            )
            for r in plan.refusals
        ],
        "blocked": [BlockedOutput(endpoint=b.endpoint, reason=b.reason) for b in plan.blocked],
        "notes": [NoteOutput(endpoint=n.endpoint, text=n.text) for n in plan.notes],
        "left_out": dict(plan.left_out),
    }


def _action(action: EndpointAction) -> ActionOutput:
    return ActionOutput(
        kind=action.kind,
        endpoint=action.endpoint,
        directory=action.directory,
        cause=action.cause.value,
        description=describe(action),
        interrupts=action.interrupts,
        work=_work(action.work) if action.work else None,
        hold=action.hold,
        preconditions=[type(p).__name__ for p in action.preconditions],
        changes=[_file(change) for change in action.changes],
    )


def _work(work: Work) -> WorkOutput:
    return WorkOutput(tasks=work.tasks, jobs=list(work.jobs), uncounted=list(work.uncounted))


def _file(change: FileChange) -> FileOutput:
    return FileOutput(
        file=change.file,
        kind=change.kind,
        cause=change.cause.value,
        label=change.label or None,
        fields=[_field(item) for item in change.fields],
        diff=list(change.diff),
    )


def _field(item: FieldChange) -> FieldOutput:
    kind: Literal["add", "change", "remove"] = "change"
    if item.old is ABSENT:
        kind = "add"
    elif item.new is ABSENT:
        kind = "remove"
    shown = {side: value for side, value in (("old", item.old), ("new", item.new)) if value is not ABSENT}
    if SENSITIVE in shown.values():
        return FieldOutput(path=item.path, kind=kind, sensitive=True)
    return FieldOutput(path=item.path, kind=kind, **shown)


def apply_output(plan: Plan, run: Run, exit_code: int) -> ApplyOutput:
    """Return what an apply did as its document."""
    ids = {name: entry.id for name, entry in run.lock.endpoints.items()} if run.lock else {}
    remarks = _remarks(plan) | {"left_out": dict(run.left_out)}
    texts = [*run.warnings, *([str(run.unwritten)] if run.unwritten else [])]
    remarks["notes"] = [*remarks["notes"], *(NoteOutput(endpoint=None, text=text) for text in texts)]
    return ApplyOutput(
        stack=plan.desired.stack,
        exit_code=exit_code,
        interrupted=run.interrupted,
        outcomes=[_outcome(o) for o in run.outcomes],
        unconfirmed=[
            UnconfirmedOutput(endpoint=daemon.endpoint, reason=daemon.reason, remedy=daemon.remedy)
            for daemon in run.unconfirmed
        ],
        endpoints=ids,
        **remarks,
    )


def _outcome(outcome: Outcome) -> OutcomeOutput:
    return OutcomeOutput(
        kind=outcome.action.kind,
        endpoint=outcome.action.endpoint,
        outcome=outcome.kind,
        id=outcome.endpoint_id,
        reason=outcome.reason,
        remedy=outcome.remedy,
        log=outcome.log,
        seconds=round(outcome.seconds, 3),
    )


def status_output(
    rows: tuple[StatusRow, ...],
    trash: tuple[TrashRow, ...] = (),
    *,
    stack: str,
    config_dir: str,
    service: str,
    unreachable: str | None,
) -> StatusOutput:
    """Return the status table as its document."""
    return StatusOutput(
        stack=stack,
        config_dir=config_dir,
        service=service,
        unreachable=unreachable,
        endpoints=[
            StatusEndpointOutput(
                endpoint=row.endpoint,
                host=row.host,
                declared=row.declared,
                state=row.state,
                id=row.id,
                service=row.service,
                pid=row.pid,
                age=None if row.age is None else round(row.age, 1),
                user_endpoints=row.user_endpoints,
                on_previous_template=row.on_previous_template,
                deaths=row.deaths,
                notes=list(row.notes),
                pools=list(row.pools),
                managed=row.managed,
                node=row.node,
                since=row.since,
            )
            for row in rows
        ],
        trash=[
            TrashOutput(
                endpoint=row.endpoint,
                entry=row.entry,
                id=row.id,
                age=None if row.age is None else round(row.age, 1),
                size=row.size,
                expired=row.expired,
                ours=row.ours,
            )
            for row in trash
        ],
    )


def against_lock_output(stack: str, changes: Sequence[LockChange]) -> AgainstLockOutput:
    """Return a comparison with the lock as its document."""
    return AgainstLockOutput(
        stack=stack,
        changes=[
            LockChangeOutput(
                what=c.what,
                name=c.name,
                old=c.old,
                kind=c.kind,
                host=c.host,
                id=c.id,
                fields=[_field(f) for f in c.fields],
            )
            for c in changes
        ],
    )


def to_json(document: Output) -> str:
    """Return a document as indented JSON text."""
    return document.model_dump_json(indent=2, exclude_none=False)
