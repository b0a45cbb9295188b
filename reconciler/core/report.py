"""A plan as stable text and as JSON. The text is what tests compare; colour is only a hint beside each line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.core.actions import (
    Adopt,
    ClearStalePid,
    Create,
    Delete,
    EndpointAction,
    Forget,
    Purge,
    Rename,
    Reregister,
    Restart,
    Start,
    Stop,
    StopElsewhere,
    Undelete,
    WriteFile,
    WriteLock,
    WritePools,
)
from reconciler.core.busy import waits
from reconciler.core.changes import ABSENT, SENSITIVE, Cause, FieldChange, FileChange
from reconciler.core.lines import Line, Style
from reconciler.core.plan import Plan
from reconciler.core.pool_changes import PoolChangeKind
from reconciler.core.work import Work, counted

_SYMBOL: dict[type, tuple[str, Style]] = {
    Create: ("+", "add"),
    WriteFile: ("~", "change"),
    ClearStalePid: ("~", "change"),
    Start: (">", "add"),
    Stop: ("#", "remove"),
    StopElsewhere: ("#", "remove"),
    Restart: ("!", "restart"),
    Adopt: ("=", "change"),
    Rename: ("=>", "change"),
    Reregister: ("-/+", "remove"),
    Undelete: ("+", "add"),
    Delete: ("-", "remove"),
    Purge: ("-", "remove"),
    Forget: ("-", "remove"),
}


def plan_lines(plan: Plan, *, where: str) -> Iterator[Line]:
    """Yield the plan as text.

    Args:
        plan: the plan.
        where: the host and config directory, for the first line.
    """
    if plan.is_empty and not plan.refusals and not plan.blocked:
        beside = f" Not looked at: {', '.join(plan.beside)}." if plan.beside else ""
        if plan.errand:
            yield Line(f"Nothing to do on {where}.", "head")
        elif plan.is_destroy and not plan.unreachable:
            yield Line(f"Nothing to destroy of stack {plan.desired.stack} on {where}.{beside}", "head")
        elif plan.unreachable:
            yield Line(f"No changes on {where}, as far as can be told without the service.", "head")
        else:
            looked_at = counted(len(plan.entries.keys() - set(plan.beside)), "endpoint")
            yield Line(f"No changes. {looked_at} on {where} as declared.{beside}", "head")
        yield from _remarks(plan)
        return
    yield Line(f"Plan for stack {plan.desired.stack} on {where}:", "head")
    yield Line("")
    for name, actions in plan.by_endpoint():
        yield from _endpoint_lines(name, actions)
        yield Line("")
    for action in plan.files:
        what = "lockfile" if action.kind == "WriteLock" else "pools file"
        yield Line(f"  ~ write the {what} ({action.cause.value})", "change")
        yield from _pool_lines(action)
    if plan.files:
        yield Line("")
    yield from trouble_lines(plan)
    yield from _remarks(plan)
    yield Line(summary(plan), "head")


def _endpoint_lines(name: str, actions: tuple[EndpointAction, ...]) -> Iterator[Line]:
    causes = dict.fromkeys(action.cause.value for action in actions)
    yield Line(f"  {name}: {', '.join(causes)}", "head")
    for action in actions:
        symbol, style = _SYMBOL[type(action)]
        yield Line(f"    {symbol} {describe(action)}", style)
        for change in action.changes:
            yield from _change_lines(change, action)
        if isinstance(action, Delete) and action.id and not any(isinstance(a, Purge) for a in actions):
            yield Line(f"        its registration {action.id} stays", "dim")
        if action.hold:
            yield Line(f"        waits: {action.hold}", "warning")
            continue
        work = action.work or Work(action.interrupts)
        if not work.is_idle:
            text = f"waits until idle: {work.holds()}" if waits(action) else f"interrupts {work.losses()}"
            yield Line(f"        {text}", "warning")


def describe(action: EndpointAction) -> str:
    """Return what an action does, in a few words."""
    if isinstance(action, Create):
        known = f" with its UUID {action.marker.id}" if action.marker.id else ""
        return f"create directory {action.directory}{known}"
    if isinstance(action, WriteFile):
        verb = "remove" if action.content is None else "write"
        one = "damaged" if action.cause is Cause.DAMAGED else "edited"
        return f"{verb} {action.file}{f' (the {one} one is kept as a backup)' if action.backup else ''}"
    if isinstance(action, ClearStalePid):
        return f"clear daemon.pid of the dead process {action.pid_file.pid}"
    if isinstance(action, Start):
        return "start" if action.id else "start, and register"
    if isinstance(action, Stop | StopElsewhere):
        return _describe_stop(action)
    if isinstance(action, Restart):
        return f"restart (PID {action.process.pid})"
    if isinstance(action, Adopt):
        kept = " (the damaged one is kept as a backup)" if action.backup else ""
        return f"record what is there in the marker{kept}"
    if isinstance(action, Rename):
        return _describe_rename(action)
    if isinstance(action, Undelete):
        known = f" with its UUID {action.id}" if action.id else ""
        return f"bring back directory {action.directory}{known} from the trash ({action.trash_entry})"
    return _describe_end(action)


def _describe_rename(action: Rename) -> str:
    directory = f"its directory from {action.source} to {action.directory}" if action.moves else ""
    if action.old == action.endpoint:
        return f"rename {directory}" if directory else f"record that its directory is {action.directory}"
    return f"{action.old} has moved to {action.endpoint}{', ' if directory else ''}{directory}"


def _describe_stop(action: Stop | StopElsewhere) -> str:
    if isinstance(action, Stop):
        return f"stop (PID {action.process.pid})"
    how = "by removing its PID file" if action.pid_file else "it has lost its PID file, and ends by itself"
    return f"stop (on {action.node or 'another node'}, {how})"


def _describe_end(action: Reregister | Delete | Purge | Forget) -> str:
    if isinstance(action, Reregister):
        return f"replace its UUID {action.id}, whose registration is gone, by a new one"
    if isinstance(action, Delete):
        return f"delete directory {action.directory} (to the trash)"
    if isinstance(action, Purge):
        dropped = f"drop {action.trash_entry or action.directory} from the trash"
        if action.id is None:
            return f"{dropped} (no registration ends)"
        return f"deregister {action.id} for ever{f', {dropped}' if action.trash_entry else ''}"
    left = (
        "directory, daemon and registration stay as they are" if action.marked else "what is left of it stays as it is"
    )
    return f"forget {action.id or 'it'} ({left})"


def _change_lines(change: FileChange, action: EndpointAction) -> Iterator[Line]:
    if change.kind == "note":
        yield Line(f"        {change.file}", "dim")
        return
    if isinstance(action, Create):
        source = f"  {change.label}" if change.label else ""
        yield Line(f"        + {change.file}{source}", "add")
    elif change.label:
        yield Line(f"        to {change.label}", "dim")
    indent = "            " if isinstance(action, Create) else "        "
    width = max((len(f.path) for f in change.fields), default=0)
    for item in change.fields:
        yield _field_line(item, indent, width)
    for text in change.diff:
        style: Style = "add" if text.startswith("+") else "remove" if text.startswith("-") else "dim"
        yield Line(f"{indent}{plain(text)}", style, quoted=True)


def _field_line(item: FieldChange, indent: str, width: int) -> Line:
    name = f"{plain(item.path)}:".ljust(width + 1)
    if item.old is ABSENT:
        return Line(f"{indent}+ {name} {show(item.new)}", "add", quoted=True)
    if item.new is ABSENT:
        return Line(f"{indent}- {name} {show(item.old)}", "remove", quoted=True)
    return Line(f"{indent}~ {name} {show(item.old)} -> {show(item.new)}", "change", quoted=True)


def show(value: Any) -> str:
    """Return a value as it would stand in YAML, shortened to one line of at most 120 characters."""
    if value is SENSITIVE or value is ABSENT:
        return repr(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = f'"{value}"' if isinstance(value, str) else str(value)
    if isinstance(value, list | dict):
        text = json.dumps(value, ensure_ascii=False, default=str)
    text = plain(text)
    return text if len(text) <= 120 else f"{text[:117]}..."


def plain(text: str) -> str:
    """Return the text with control characters spelt out: it is one line, and nothing that a terminal obeys."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


_POOL_SYMBOL: Mapping[PoolChangeKind, tuple[str, Style]] = {
    "add": ("+", "add"),
    "change": ("~", "change"),
    "remove": ("-", "remove"),
}


def _pool_lines(action: WriteLock | WritePools) -> Iterator[Line]:
    for pool in action.pools if isinstance(action, WriteLock) else ():
        symbol, style = _POOL_SYMBOL[pool.kind]
        yield Line(f"      {symbol} pool {pool.name}", style)
        width = max((len(f.path) for f in pool.fields), default=0)
        for item in pool.fields:
            yield _field_line(item, "          ", width)


def trouble_lines(plan: Plan) -> Iterator[Line]:
    """Yield what is refused, and what could not be planned."""
    for refusal in plan.refusals:
        yield Line(f"  {refusal.endpoint}: refused: {refusal.what}", "error")
        for text in refusal.evidence:
            yield Line(f"      {text}", "dim")
        yield Line(f"      next: {refusal.remedy}")
        yield Line("")
    for blocked in plan.blocked:
        yield Line(f"  {blocked.endpoint}: not planned: the service could not be asked", "warning")
    if plan.blocked:
        yield Line("")


def unreachable_lines(why: str | None, but: str = "what needs it is not planned") -> Iterator[Line]:
    """Yield why the service could not be asked, when it could not, and what that costs."""
    if why:
        yield Line(f"the service could not be asked; {but}", "error")
        yield from (Line(f"  {text.strip()}") for text in why.splitlines())


def _remarks(plan: Plan) -> Iterator[Line]:
    yield from note_lines(plan)
    for name, reason in plan.left_out.items():
        yield Line(f"  pool {name} is left out of the pools file: {reason}", "dim")
    if plan.notes or plan.left_out:
        yield Line("")


def note_lines(plan: Plan) -> Iterator[Line]:
    """Yield what is worth knowing beside the plan."""
    for note in plan.notes:
        style: Style = "warning" if note.text.startswith("warning:") else "dim"
        yield Line(f"  {note.endpoint}: {note.text}" if note.endpoint else f"  {note.text}", style)


def summary(plan: Plan) -> str:
    """Return the last line: how many endpoints are touched in which way."""
    kinds: Counter[str] = Counter()
    for _, actions in plan.by_endpoint():
        present = {type(a) for a in actions}
        for kind, word in (
            (Rename, "to rename"),
            (Reregister, "to replace"),
            (Create, "to create"),
            (Undelete, "to bring back"),
            (WriteFile, "to change"),
            (Adopt, "to record"),
            (ClearStalePid, "to clear"),
            (Start, "to start"),
            (Restart, "to restart"),
            (Stop, "to stop"),
            (StopElsewhere, "to stop"),
            (Delete, "to delete"),
            (Purge, "to purge"),
            (Forget, "to forget"),
        ):
            if kind in present:
                kinds[word] += 1
    parts = [f"{count} {word}" for word, count in kinds.items()]
    pools = Counter(pool.kind for action in plan.files if isinstance(action, WriteLock) for pool in action.pools)
    parts += [f"{counted(pools[kind], 'pool')} to {kind}" for kind in _POOL_SYMBOL if pools[kind]]
    if plan.refusals:
        parts.append(f"{len(plan.refusals)} refused")
    if plan.blocked:
        parts.append(f"{len(plan.blocked)} not planned")
    if not parts:
        parts = ["only our own files to write"] if plan.files else ["no changes"]
    return f"Plan: {', '.join(parts)}."
