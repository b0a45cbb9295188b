"""A plan kept for review: `plan --out FILE`, `apply FILE`. Pure.

What is applied is planned again, from the state at that moment; the saved plan says whether it is still the
same. So a file that somebody changed, or a world that moved on, can only lead to a refusal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from shlex import quote
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from reconciler.core.daemon_steps import awaits_absence
from reconciler.core.digest import digest_bytes
from reconciler.core.live import PidFile, Process
from reconciler.core.lock import emit_lock
from reconciler.core.marker import Marker
from reconciler.core.output_models import FORMAT_VERSION, Output, PlanOutput
from reconciler.core.outputs import plan_output
from reconciler.core.plan import Plan
from reconciler.core.scope import Scope
from reconciler.errors import Refused, StateFileError, UsageError

# A plan holds no secret, but what it is compared by depends on them: a slow hash keeps guessing hopeless.
_COST = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}


class SavedScope(Output):
    """What the plan was limited to."""

    targets: list[str]
    exclude: list[str]
    destroy: bool
    purge: bool
    reregister: list[str] = Field(default_factory=list)
    take_over: bool = False
    retry: bool = False


class SavedPlan(Output):
    """The file that `plan --out` writes.

    Attributes:
        plan: what was shown.
        lineage: of the lock; where there is none yet, the one that it will get.
        salt: random, in hex.
        fingerprint: of everything that the plan would do, contents of files included; in hex.
    """

    format_version: Literal[1] = FORMAT_VERSION
    kind: Literal["saved-plan"] = "saved-plan"
    plan: PlanOutput
    scope: SavedScope
    new: list[str]
    lineage: str
    salt: str = Field(pattern="^[0-9a-f]{32}$")
    fingerprint: str


def fingerprint(plan: Plan, salt: str) -> str:
    """Return what two plans share exactly when they would do the same to the same."""
    # An apply waits until nobody can be left, and looks again: in a plan of a minute later nothing is held for it.
    actions = (replace(a, hold=None, instead=None) if awaits_absence(a) else a for a in plan.actions)
    plan = replace(plan, actions=tuple(actions))
    # What is running changes from minute to minute: it is looked at again at the moment of each action.
    passing: Any = {"notes": True, "summary": True, "actions": {"__all__": {"work"}}}
    shown = plan_output(plan).model_dump(mode="json", exclude=passing)
    # Not only what is shown: everything that any of it writes, starts or asks for.
    done = [plan.actions, plan.markers, plan.entries, plan.desired.pools, plan.file_pools, plan.environment]
    lock = emit_lock(plan.lock) if plan.lock else ""
    text = json.dumps([shown, _substance(done), lock], sort_keys=True)
    return hashlib.scrypt(text.encode(), salt=bytes.fromhex(salt), **_COST).hex()


_PASSING_OF_A_MARKER: Any = {"daemon": {"started", "ended"}, "deaths": True}


def _substance(value: Any) -> Any:
    """Return a value as JSON has it, without what passes with the minutes: ages, and what is under way."""
    if isinstance(value, Process):
        return [value.pid, value.start_time]
    if isinstance(value, PidFile):
        return [value.pid]
    if isinstance(value, Marker):
        return value.model_dump(mode="json", by_alias=True, exclude=_PASSING_OF_A_MARKER)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, bytes):
        return digest_bytes(value)
    if is_dataclass(value):
        fields_ = {f.name: _substance(getattr(value, f.name)) for f in fields(value) if f.name != "work"}
        return [type(value).__name__, fields_]
    if isinstance(value, Mapping):
        return {str(key): _substance(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_substance(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def save_plan(plan: Plan, scope: Scope, new: frozenset[str], salt: str) -> SavedPlan:
    """Return the document of a plan; `salt` is 16 random bytes in hex."""
    return SavedPlan(
        plan=plan_output(plan),
        scope=SavedScope(
            targets=sorted(scope.targets),
            exclude=sorted(scope.exclude),
            destroy=scope.destroy,
            purge=scope.purge,
            reregister=sorted(scope.reregister),
            take_over=scope.take_over,
            retry=scope.retry,
        ),
        new=sorted(new),
        lineage=plan.lock.lineage if plan.lock else "",
        salt=salt,
        fingerprint=fingerprint(plan, salt),
    )


def is_saved_plan(text: str) -> bool:
    """Say whether a file is, or was meant to be, a plan that `plan --out` kept."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("kind") == "saved-plan"


def _is_cut_off(text: str) -> bool:
    """Whether it is a part of a JSON document: a kept plan is one, a manifest is none."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text.lstrip().startswith("{")
    return False


def read_saved_plan(text: str, file: str) -> SavedPlan:
    """Parse a saved plan.

    Raises:
        UsageError: it is something else than a plan.
        StateFileError: it is damaged, or of a newer version.
    """
    if not is_saved_plan(text):
        if _is_cut_off(text):
            again = f"make it again: `chiltepin plan --out {quote(file)}`"
            raise StateFileError("this plan is damaged", where=file, why="it is no whole JSON document", remedy=again)
        raise UsageError(
            "this is not a plan that can be applied",
            where=file,
            why="`chiltepin plan --out FILE` keeps one",
            remedy="a manifest is named with -f: `chiltepin apply -f FILE`",
        )
    try:
        return SavedPlan.model_validate_json(text)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StateFileError(
            f"this is not a plan that can be applied: `{where}`: {first['msg']}",
            where=file,
            remedy=f"make it again: `chiltepin plan --out {quote(file)}`",
        ) from e


def moved_on(saved: SavedPlan, plan: Plan) -> tuple[str, ...]:
    """Return how the plan of this moment differs from the saved one, one line each; empty when it is the same."""
    if fingerprint(plan, saved.salt) == saved.fingerprint:
        return ()
    before = [f"{a.endpoint}: {a.description} ({a.cause})" for a in saved.plan.actions]
    now = [f"{a.endpoint}: {a.description} ({a.cause})" for a in plan_output(plan).actions]
    lines = [f"no longer planned: {line}" for line in before if line not in now]
    lines += [f"planned by now: {line}" for line in now if line not in before]
    return tuple(lines) or ("the same actions, on a manifest, lock or files that have changed",)


def check_same(saved: SavedPlan, plan: Plan) -> None:
    """Refuse a plan that is not the one which was reviewed.

    Raises:
        Refused: with the differences.
    """
    differences = moved_on(saved, plan)
    if differences:
        raise Refused(
            "the world has moved on since this plan was made, so nothing was done",
            why="\n".join(differences),
            remedy="look at `chiltepin plan` and keep a new one with --out",
        )
