"""What there is, as the JSON documents that commands print. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from reconciler.core.actions import EndpointAction, WriteLock, WritePools
from reconciler.core.against_lock import LockChange
from reconciler.core.changes import ABSENT, SENSITIVE, FieldChange, FileChange
from reconciler.core.output_models import (
    ActionOutput,
    AgainstLockOutput,
    ApplyOutput,
    BlockedOutput,
    FieldOutput,
    FileActionOutput,
    FileOutput,
    LockChangeOutput,
    NoteOutput,
    OutcomeOutput,
    Output,
    PlanOutput,
    PoolChangeOutput,
    RefusalOutput,
    StatusEndpointOutput,
    StatusOutput,
    TrashOutput,
    UnconfirmedOutput,
    WorkOutput,
)
from reconciler.core.plan import Plan
from reconciler.core.progress import Outcome, Run
from reconciler.core.report import describe, summary
from reconciler.core.statuses import StatusRow, TrashRow
from reconciler.core.work import Work


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


def apply_output(plan: Plan, run: Run, exit_code: int, *, left: str | None = None) -> ApplyOutput:
    """Return what an apply did as its document; `left` says why deletes were left out, when they were."""
    ids = {name: entry.id for name, entry in run.lock.endpoints.items()} if run.lock else {}
    remarks = _remarks(plan) | {"left_out": dict(run.left_out)}
    texts = [*([left] if left else []), *run.warnings, *([str(run.unwritten)] if run.unwritten else [])]
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
                stack=row.stack,
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
