"""An endpoint that gets another name (`moved` in the manifest), or whose directory gets one (`directory`). Pure.

The rename comes first, and all else is planned on the world as it is then. It keeps the UUID: the same
registration, the same files. Where the directory keeps its name, its daemon does not notice; else it is
stopped first, for a daemon whose directory is renamed under it lives on beside the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from reconciler.core.actions import EndpointAction, Refusal, Rename, Restart, Start, WriteFile
from reconciler.core.changes import Cause, FileChange
from reconciler.core.daemon import DaemonState, judge_daemon, refuse_doubled
from reconciler.core.daemon_steps import marked
from reconciler.core.deaths import deaths_of, found_ended
from reconciler.core.desired import CONFIG, Desired, DesiredEndpoint
from reconciler.core.draft import Draft
from reconciler.core.frozen import dataclass
from reconciler.core.known import WRONG_IDENTITY, Blocked, Ground, Known
from reconciler.core.live import JournalEntry, LiveDirectory, LiveState, Unknown
from reconciler.core.marker import Marker
from reconciler.core.ownership import find_ground, new_marker
from reconciler.core.preconditions import NameFree, Precondition
from reconciler.core.standstill import OUT_OF_REACH, bring_to_standstill
from reconciler.core.traces import Homes, Traces, find_traces

_T = TypeVar("_T")


@dataclass(frozen=True)
class Renaming:
    """What is done for a rename.

    Attributes:
        old: what the endpoint is called until then.
        actions: what ends its daemon if its directory moves, and the rename.
        marker: the marker from which the actions go on; None without a directory.
        live: the world as it is then.
        known: what is known then.
    """

    old: str
    actions: tuple[EndpointAction, ...]
    marker: Marker | None
    live: LiveState
    known: Known

    @property
    def source(self) -> str:
        """The directory as it is named until then."""
        return next(action.found_in for action in self.actions if isinstance(action, Rename))

    @property
    def stops(self) -> bool:
        """Whether its daemon is ended for it."""
        return any(action.kind == "Stop" for action in self.actions)


def find_renaming(
    endpoint: DesiredEndpoint, desired: Desired, live: LiveState, known: Known, homes: Homes
) -> Renaming | Refusal | Blocked | None:
    """Return how an endpoint comes by its name or its directory's, None when it has both, or what stands against it."""
    found = find_traces(endpoint, desired.formerly(endpoint.name), live, known, homes)
    if found is None or isinstance(found, Refusal):
        return found
    if endpoint.state == "unmanaged":
        # Only its key in the lock changes: its marker keeps the old name, and says it again in each plan.
        is_left = found.old != endpoint.name and known.entry(found.old) is not None
        return _in_the_lock(endpoint, found, live, known) if is_left else None
    source = found.source
    if source is not None and source.name != endpoint.directory and endpoint.directory in live.directories:
        return Refusal(
            endpoint.name,
            f"its directory {source.name} cannot be renamed to {endpoint.directory}: that exists",
            f"write `directory: {source.name}` in its block, or move {live.config_dir}/{endpoint.directory} away",
        )
    if source is None:
        renaming = _in_the_lock(endpoint, found, live, known)
        ground = find_ground(endpoint, renaming.live, renaming.known)
        return _named_as_before(endpoint, found.old, None, ground) if isinstance(ground, Refusal) else renaming
    return _on_disk(endpoint, found, source, live, known)


def renamed(renaming: Renaming, endpoint: DesiredEndpoint, draft: Draft) -> None:
    """Make a plan of the world after a rename, which begins with `renaming.actions`, one of the world as it is.

    A daemon is not stopped for a rename if it would not be started again.
    """
    starts = [isinstance(action, Start) and not action.hold for action in draft.actions]
    if renaming.stops and endpoint.state == "running" and not any(starts):
        holds = [action.hold for action in draft.actions if isinstance(action, Start) and action.hold]
        draft.actions.clear()
        draft.running.clear()
        draft.markers.clear()
        draft.entries.clear()
        if not (draft.refusals or draft.blocked):
            why = "; ".join([*holds, *(note.text for note in draft.notes)]) or "it could not be started again here"
            remedy = "run this where it may be started, or keep its `directory`"
            draft.refusals.append(Refusal(endpoint.name, f"it is not stopped for a rename: {why}", remedy))
        draft.notes.clear()
        return
    if renaming.stops:
        draft.actions[:] = [
            replace(action, cause=Cause.RENAMED) if start else action
            for action, start in zip(draft.actions, starts, strict=True)
        ]
    elif old := _shown_name(draft):
        text = f"`config: {{display_name: {old}}}` in its block would spare it the restart"
        draft.actions[:] = [
            replace(action, changes=(*action.changes, FileChange(text, "note", Cause.RENAMED)))
            if isinstance(action, Rename)
            else action
            for action in draft.actions
        ]
    if renaming.marker is not None:
        draft.markers[endpoint.name] = renaming.marker
    if renaming.old != endpoint.name:
        draft.gone.add(renaming.old)


def _shown_name(draft: Draft) -> str | None:
    """Return the display name that was the old name by default, if its change alone is why the daemon restarts."""
    if not any(isinstance(action, Restart) for action in draft.actions):
        return None
    writes = [action for action in draft.actions if isinstance(action, WriteFile) and action.file == CONFIG]
    fields = [field for action in writes for change in action.changes for field in change.fields]
    return str(fields[0].old) if [field.path for field in fields] == ["display_name"] else None


def _in_the_lock(endpoint: DesiredEndpoint, found: Traces, live: LiveState, known: Known) -> Renaming:
    """Rename what has no directory, or is left alone: only its key in the lock."""
    action = Rename(
        endpoint=endpoint.name,
        directory=endpoint.directory,
        cause=Cause.RENAMED,
        preconditions=() if endpoint.state == "unmanaged" else (NameFree(),),
        old=found.old,
        source=None,
        marker=None,
        id=found.entry.id if found.entry else None,
    )
    if endpoint.directory in live.directories:  # it is judged as what it is
        action = replace(action, preconditions=())
    known_then = _lock_then(endpoint, found, known)
    return Renaming(found.old, (action,), None, _journal_then(endpoint.name, found.old, live), known_then)


def _on_disk(
    endpoint: DesiredEndpoint, found: Traces, source: LiveDirectory, live: LiveState, known: Known
) -> Renaming | Refusal | Blocked:
    moves = source.name != endpoint.directory
    then = _directory_then(endpoint, source, live, known)
    known_then = _lock_then(endpoint, found, known)
    directories = {n: d for n, d in live.directories.items() if n != source.name} | {then.name: then}
    live_then = replace(
        _moved_then(endpoint, source, _journal_then(endpoint.name, found.old, live)), directories=directories
    )
    ground = find_ground(endpoint, live_then, known_then)
    if isinstance(ground, Blocked):
        return ground
    if isinstance(ground, Refusal):
        return _named_as_before(endpoint, found.old, source, ground)
    was = source.marker if isinstance(source.marker, Marker) else None
    marker = then.marker if isinstance(then.marker, Marker) else new_marker(endpoint, known_then, ground.id)
    marker = marker.but(path=was.path) if was else marker
    against = (
        _hindered(endpoint, found, source, ground, live) if moves else _left_behind(endpoint, source, ground, live)
    )
    if against:
        return against
    before: tuple[EndpointAction, ...] = ()
    guards: tuple[Precondition, ...] = (marked(was),) if was else ()
    if moves:
        start = was or marker
        daemon = judge_daemon(source, start, live)
        deaths = deaths_of(source, start, live)
        known_deaths = deaths if deaths != start.deaths else None
        still = bring_to_standstill(endpoint, source, start, daemon, Cause.RENAMED, known_deaths)
        before, guards = still.actions, still.guards
        if endpoint.restart == "never" and daemon.process:
            before = tuple(replace(action, hold="the manifest says `restart: never`") for action in before)
        marker = marker.but(daemon=None) if daemon.process else found_ended(marker, live.moment).but(deaths=deaths)
        left = replace(still.left, name=then.name, marker=marker if was else source.marker)
        directories[then.name] = left
        statuses = {i: status for i, status in live.statuses.items() if i != ground.id or not daemon.process}
        live_then = replace(live_then, directories=directories, statuses=statuses)  # what ran then has ended
    action = Rename(
        endpoint=endpoint.name,
        directory=endpoint.directory,
        cause=Cause.RENAMED,
        preconditions=guards,
        changes=_shown(source, ground.id, stops=any(a.kind == "Stop" for a in before)),
        old=found.old,
        source=source.name,
        marker=marker,
        id=ground.id,
    )
    return Renaming(found.old, (*before, action), was or marker, live_then, known_then)


def _shown(source: LiveDirectory, endpoint_id: str | None, *, stops: bool) -> tuple[FileChange, ...]:
    lines = [f"its UUID {endpoint_id} stays"] if endpoint_id else []
    if stops:
        lines.append(f"`directory: {source.name}` in its block would spare it the stop")
    return tuple(FileChange(text, "note", Cause.RENAMED) for text in lines)


def _named_as_before(endpoint: DesiredEndpoint, old: str, source: LiveDirectory | None, ground: Refusal) -> Refusal:
    """Return a refusal whose remedy works while the endpoint still has its former name."""
    if ground.exit_code == WRONG_IDENTITY:
        return ground  # whoever logs in as that identity needs no other name for it
    again = f"`directory: {source.name}`" if source and old == endpoint.name else f"its name `{old}`"
    remedy = f"give it {again} again for now; `chiltepin plan` then names what resolves this"
    return Refusal(ground.endpoint, ground.what, remedy, ground.evidence, ground.exit_code)


def _hindered(
    endpoint: DesiredEndpoint, found: Traces, source: LiveDirectory, ground: Ground, live: LiveState
) -> Refusal | Blocked | None:
    """Return what stands against moving a directory."""
    marker = source.marker if isinstance(source.marker, Marker) else ground.marker
    daemon = judge_daemon(source, marker, live)
    doubled = refuse_doubled(endpoint.name, source.name, daemon, live)
    if doubled:
        return doubled
    if daemon.state in OUT_OF_REACH:
        return Refusal(
            endpoint.name,
            f"its directory {source.name} is to be renamed, and its daemon is {daemon.state.value}",
            "see that one daemon of it runs, on this node, then run this again;"
            f" or write `directory: {source.name}` in its block",
        )
    if daemon.state is DaemonState.UNDECIDED:
        return Blocked(endpoint.name, "its daemon may run on another node")
    if daemon.process and endpoint.state == "running" and isinstance(live.registrations, Unknown):
        return Blocked(endpoint.name, live.registrations.reason)
    on_record = source.endpoint_id or marker.id or (found.entry.id if found.entry else None)
    intent = live.pending.get(found.old)
    if on_record is None and intent is not None and intent.action == "Start":
        return Refusal(
            endpoint.name,
            "its first start was cut off, and what became of it must be settled before its directory is renamed",
            f"write `directory: {source.name}` in its block and apply; then remove that again",
        )
    return None


def _left_behind(
    endpoint: DesiredEndpoint, source: LiveDirectory, ground: Ground, live: LiveState
) -> Refusal | Blocked | None:
    """Return what stands against a directory that was moved already: by a run that was cut off, or by hand."""
    marker = source.marker
    if not isinstance(marker, Marker) or marker.claim.directory == source.name or ground.id is None:
        return None
    if source.processes and all(f", {source.name})" in process.title for process in source.processes):
        return None  # it was started again since, under its new name
    if source.processes:
        return _under_its_daemon(endpoint, marker.claim.directory, f"process {source.processes[0].pid} lives")
    if isinstance(live.registrations, Unknown):
        return Blocked(endpoint.name, live.registrations.reason)
    status = live.status(ground.id)
    if isinstance(status, Unknown):
        return Blocked(endpoint.name, status.reason)
    return _under_its_daemon(endpoint, marker.claim.directory, f"{ground.id} is online") if status == "online" else None


def _under_its_daemon(endpoint: DesiredEndpoint, before: str, evidence: str) -> Refusal:
    return Refusal(
        endpoint.name,
        f"its directory was renamed from {before} while its daemon ran: {evidence}",
        "the daemon ends by itself within 15 s; when the service says offline, run this again",
    )


def _directory_then(endpoint: DesiredEndpoint, source: LiveDirectory, live: LiveState, known: Known) -> LiveDirectory:
    marker = source.marker
    if isinstance(marker, Marker) and (marker.stack, marker.lineage) == (known.stack, known.lineage):
        claimed = marker.claim.directory
        ours = claimed == source.name or (source.name == endpoint.directory and claimed not in live.directories)
        claim = marker.claim.model_copy(update={"directory": endpoint.directory}) if ours else marker.claim
        marker = marker.but(endpoint=endpoint.name, claim=claim)
    return replace(source, name=endpoint.directory, marker=marker)


def _lock_then(endpoint: DesiredEndpoint, found: Traces, known: Known) -> Known:
    if known.lock is None or found.entry is None:
        return known
    claim = found.entry.claim.model_copy(update={"directory": endpoint.directory})
    entry = found.entry.model_copy(update={"claim": claim})
    lock = known.lock.without_endpoint(found.old).with_endpoint(endpoint.name, entry)
    return replace(known, lock=lock)


def _journal_then(name: str, old: str, live: LiveState) -> LiveState:
    """What was begun under the old name was begun on this endpoint."""
    pending = _carried(live.pending, old, name)
    own = live.pending.get(name)
    if isinstance(own, JournalEntry) and own.begins_daemon:
        pending[name] = own
    return replace(live, pending=pending, candidates=_carried(live.candidates, old, name))


def _moved_then(endpoint: DesiredEndpoint, source: LiveDirectory, live: LiveState) -> LiveState:
    """What was begun in the directory was begun in it under its new name."""
    intent = live.pending.get(endpoint.name)
    if intent is None or intent.directory != source.name:
        return live
    moved = replace(intent, data={**intent.data, "directory": endpoint.directory})
    return replace(live, pending={**live.pending, endpoint.name: moved})


def _carried(values: Mapping[str, _T], old: str, name: str) -> dict[str, _T]:
    found = dict(values)
    if old in found:
        found[name] = found.pop(old)
    return found
