"""The actions on one endpoint that is ours: files first, then its daemon."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.actions import Adopt, Create, Note, Restart, Stop, StopElsewhere, WriteFile
from reconciler.core.changes import ABSENT, Cause, FieldChange, FileChange
from reconciler.core.daemon import DaemonState, is_recorded, judge_daemon
from reconciler.core.daemon_steps import Steps, marked, plan_daemon
from reconciler.core.desired import CONFIG, DOCUMENTS, ENDPOINT_JSON, USER_ENVIRONMENT, DesiredEndpoint
from reconciler.core.diff import diff_file, new_file, record_of
from reconciler.core.documents import FileSpec, file_specs
from reconciler.core.elsewhere_steps import found_elsewhere
from reconciler.core.known import Ground
from reconciler.core.live import Damaged, LiveDirectory, LiveState
from reconciler.core.marker import MARKER, FileRecord, Marker
from reconciler.core.preconditions import EndpointIdIs, FileIs, NameFree, Precondition
from reconciler.core.privileged import note_root
from reconciler.core.started import found_daemon
from reconciler.core.user_endpoints import on_previous_template, say_previous, say_soon_previous


def steps_for(
    endpoint: DesiredEndpoint, ground: Ground, live: LiveState, run_on: tuple[str, ...], *, retry: bool = False
) -> Steps:
    """Return what brings one endpoint to its desired state; its marker has all pins."""
    specs = file_specs(endpoint, ground.marker.path, f"{live.config_dir}/{endpoint.directory}")
    named = {spec.file for spec in specs}
    # What an earlier manifest asked for and this one does not (an identity mapping) goes.
    specs += tuple(FileSpec(file, "none") for file in sorted(ground.marker.files) if file not in named)
    steps = Steps()
    if ground.directory is None:
        steps.actions.append(_create(endpoint, ground, specs))
        config = new_file(specs[0])[1].digest
    else:
        writes = _writes(endpoint, ground, ground.directory, specs)
        repair = _repair(endpoint, ground, ground.directory, specs, writes, live)
        if repair:
            steps.actions.append(repair)
        steps.actions += writes
        config = _config_digest(ground.directory, writes)
    plan_daemon(endpoint, ground, live, steps, config, run_on, retry=retry)
    note_stale(endpoint, ground, steps)
    note_root(endpoint.name, ground.directory, live, steps)
    return steps


def _create(endpoint: DesiredEndpoint, ground: Ground, specs: tuple[FileSpec, ...]) -> Create:
    files: dict[str, tuple[bytes, int]] = {}
    records: dict[str, FileRecord] = {}
    changes: list[FileChange] = []
    for spec in specs:
        found = diff_file(spec, None, None)
        if found is None or found.content is None or found.record is None:
            continue
        files[spec.file] = (found.content, spec.mode)
        records[spec.file] = found.record
        changes.append(found.change)
    if ground.id:
        files[ENDPOINT_JSON] = (f'{{"endpoint_id": "{ground.id}"}}'.encode(), 0o644)
    marker = ground.marker.but(files=records)
    return Create(
        endpoint=endpoint.name,
        directory=endpoint.directory,
        cause=ground.cause,
        preconditions=(NameFree(),),
        changes=tuple(changes),
        files=files,
        marker=marker,
    )


def _writes(
    endpoint: DesiredEndpoint, ground: Ground, directory: LiveDirectory, specs: tuple[FileSpec, ...]
) -> list[WriteFile]:
    found: list[WriteFile] = []
    for spec in specs:
        live_file = directory.files.get(spec.file)
        diff = diff_file(spec, live_file, ground.marker.files.get(spec.file))
        if diff is None:
            continue
        if spec.file == USER_ENVIRONMENT and _only_path_renewed(endpoint, ground, directory):
            diff = replace(diff, change=replace(diff.change, cause=Cause.ENVIRONMENT))
        guard = FileIs(spec.file, live_file.digest if live_file else None)
        found.append(
            WriteFile(
                endpoint=endpoint.name,
                directory=endpoint.directory,
                cause=diff.change.cause,
                preconditions=(marked(ground.marker), guard),
                changes=(diff.change,),
                file=spec.file,
                content=diff.content,
                mode=diff.mode,
                backup=diff.backup,
                record=diff.record,
            )
        )
    if ground.id and not isinstance(directory.endpoint_id, str):
        found.append(mend_endpoint_json(endpoint, ground, directory.endpoint_id))
    return found


def _only_path_renewed(endpoint: DesiredEndpoint, ground: Ground, directory: LiveDirectory) -> bool:
    """Whether user_environment.yaml is as asked for but for the tool's directory in PATH."""
    was, record = directory.marker, ground.marker.files.get(USER_ENVIRONMENT)
    live_file = directory.files.get(USER_ENVIRONMENT)
    if not isinstance(was, Marker) or was.path in (None, ground.marker.path) or not record or not live_file:
        return False
    before = next(s for s in file_specs(endpoint, was.path, "") if s.file == USER_ENVIRONMENT)
    return (record.spec, record.digest) == (before.digest, live_file.digest)


def mend_endpoint_json(endpoint: DesiredEndpoint, ground: Ground, found: object) -> WriteFile:
    """Return the action that writes the UUID into endpoint.json, in which `found` was read."""
    cause = Cause.DAMAGED if isinstance(found, Damaged) else ground.repair or Cause.EDITED
    was = found if isinstance(found, str) else ABSENT
    changes = [FileChange(ENDPOINT_JSON, "change", cause, (FieldChange("endpoint_id", was, ground.id),))]
    if isinstance(found, Damaged):
        changes.insert(0, FileChange(f"what is there is damaged: {found.reason}", "note", cause))
    return WriteFile(
        endpoint=endpoint.name,
        directory=endpoint.directory,
        cause=cause,
        preconditions=(marked(ground.marker),),
        changes=tuple(changes),
        file=ENDPOINT_JSON,
        content=f'{{"endpoint_id": "{ground.id}"}}'.encode(),
        mode=0o644,
        backup=found is not None,
        record=None,
    )


def _config_digest(directory: LiveDirectory, writes: list[WriteFile]) -> str:
    """Return the digest that config.yaml has when the writes are done."""
    for write in writes:
        if write.file == CONFIG and write.record:
            return write.record.digest
    live_file = directory.files.get(CONFIG)
    return live_file.digest if live_file else ""


def _repair(
    endpoint: DesiredEndpoint,
    ground: Ground,
    directory: LiveDirectory,
    specs: tuple[FileSpec, ...],
    writes: list[WriteFile],
    live: LiveState,
) -> Adopt | None:
    """Return the action that makes the marker say what is, or None when it does.

    Files that already are as wanted, but not as recorded (an apply was cut off between file and marker, or
    somebody edited keys that the manifest does not set), are recorded here.
    """
    marker, cause = ground.marker, ground.repair
    rewritten = {write.file for write in writes}
    records = dict(marker.files)
    for spec in specs:
        live_file = directory.files.get(spec.file)
        if live_file is None or spec.file in rewritten or spec.absent:
            continue
        record = record_of(spec, live_file.digest)
        if records.get(spec.file) != record:
            cause = cause or _why_recorded(records.get(spec.file), record)
            records[spec.file] = record
    marker = marker.but(files=records)
    was = directory.marker
    if isinstance(was, Marker) and was.path is None and marker.path and USER_ENVIRONMENT not in rewritten:
        cause = cause or Cause.RESOLVED  # else the login shell would be asked each time
    fields = _policies(endpoint, marker)
    if fields:
        marker = marker.but(protect=endpoint.protect, restart=endpoint.restart)
        cause = cause or Cause.SPEC
    marker, cause = with_daemon(marker, cause, directory, live)
    if cause is None:
        return None
    expected: tuple[Precondition, ...] = (marked(was),) if isinstance(was, Marker) else ()
    return Adopt(
        endpoint=endpoint.name,
        directory=endpoint.directory,
        cause=cause,
        preconditions=(*expected, EndpointIdIs(directory.endpoint_id))
        if not isinstance(directory.endpoint_id, Damaged)
        else expected,
        changes=(FileChange(MARKER, "change", Cause.SPEC, fields),) if fields else (),
        marker=marker,
        backup=isinstance(was, Damaged),
    )


def _policies(endpoint: DesiredEndpoint, marker: Marker) -> tuple[FieldChange, ...]:
    """Return what changes of what the marker keeps for when the endpoint's block is gone."""
    pairs = (("protect", marker.protect, endpoint.protect), ("restart", marker.restart, endpoint.restart))
    return tuple(FieldChange(name, old, new) for name, old, new in pairs if old != new)


def _why_recorded(before: FileRecord | None, now: FileRecord) -> Cause:
    if before is not None and before.digest != now.digest:
        return Cause.EDITED
    return Cause.INTERRUPTED if before is None or before.sensitive == now.sensitive else Cause.SPEC


def with_daemon(
    marker: Marker, cause: Cause | None, directory: LiveDirectory, live: LiveState
) -> tuple[Marker, Cause | None]:
    """Record a daemon that runs and that the marker does not know."""
    daemon = judge_daemon(directory, marker, live)
    away = found_elsewhere(daemon.sighting, directory)
    if away is not None:
        return marker.but(daemon=away), cause or Cause.LOST_MARKER
    if daemon.state is not DaemonState.RUNNING or daemon.process is None:
        return marker, cause
    if is_recorded(marker.daemon, daemon.process, live.host):
        return marker, cause
    pending = live.pending.get(marker.endpoint)
    ours = pending is not None and pending.begins_daemon
    record = found_daemon(daemon.process, marker.endpoint, directory, live)
    return marker.but(daemon=record), cause or (Cause.INTERRUPTED if ours else Cause.LOST_MARKER)


def note_stale(endpoint: DesiredEndpoint, ground: Ground, steps: Steps) -> None:
    """Say what user endpoints keep that go on: they read template, schema and environment when they start."""
    directory = ground.directory
    if directory is None or any(isinstance(a, Restart | Stop | StopElsewhere) for a in steps.actions):
        return
    if any(isinstance(a, WriteFile) and a.file in DOCUMENTS for a in steps.actions):
        if count := len(directory.user_endpoints):
            steps.notes.append(Note(endpoint.name, say_soon_previous(count)))
    elif count := on_previous_template(directory):
        steps.notes.append(Note(endpoint.name, say_previous(count)))
