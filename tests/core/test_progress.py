"""What an outcome means for marker and lock."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.actions import (
    Adopt,
    ClearStalePid,
    Create,
    Delete,
    Forget,
    Purge,
    Restart,
    Start,
    Stop,
    StopElsewhere,
    WriteFile,
)
from reconciler.core.changes import Cause
from reconciler.core.deaths import found_ended
from reconciler.core.desired import CONFIG, SCHEMA, TEMPLATE, USER_ENVIRONMENT
from reconciler.core.environment import given
from reconciler.core.live import PidFile
from reconciler.core.lock import Lock, lock_entry
from reconciler.core.machine import Moment
from reconciler.core.marker import DaemonRecord, FileRecord, Marker
from reconciler.core.progress import lock_after, marker_after
from reconciler.core.started import begun_with, daemon_record
from tests.core.builders import ENVIRONMENT, HOST, LINEAGE, SITE, STACK, TOOL, applied, endpoint, process, record, uuid

DIRECTORY = applied(endpoint())
MARKER = DIRECTORY.marker
assert isinstance(MARKER, Marker)
OF: dict[str, Any] = {"endpoint": "main", "directory": "main", "cause": Cause.SPEC}
LOCK = Lock(stack=STACK, lineage=LINEAGE, endpoints={"main": lock_entry(endpoint(), SITE.claim("main"), uuid("main"))})


NOW = Moment(HOST.boot_id, 4000.06)


def after(action: Any, endpoint_id: str | None = None, daemon: Any = None) -> Marker:
    assert isinstance(MARKER, Marker)
    return marker_after(MARKER, action, endpoint_id, daemon, NOW)


def test_a_written_file_is_recorded_and_a_removed_one_is_not() -> None:
    new = FileRecord(digest="d", spec="s")
    write = WriteFile(**OF, file=CONFIG, content=b"", mode=0o600, backup=False, record=new)
    assert after(write).files[CONFIG] == new
    remove = WriteFile(**OF, file=SCHEMA, content=None, mode=0o600, backup=False, record=None)
    assert set(after(remove).files) == {CONFIG, TEMPLATE, USER_ENVIRONMENT}


def test_create_and_adopt_carry_their_marker() -> None:
    other = MARKER.but(protect=True) if isinstance(MARKER, Marker) else None
    assert other is not None
    assert after(Create(**OF, files={}, marker=other)) == other
    assert after(Adopt(**OF, marker=other)) == other


def test_a_start_records_uuid_and_daemon_and_an_end_is_recorded() -> None:
    daemon = record("digest", pid=7)
    starts: list[Any] = [Start(**OF, id=None, environment={"TZ": "UTC"})]
    starts.append(Restart(**OF, process=process(), id=uuid("main"), environment={"TZ": "UTC"}))
    for action in starts:
        expected = MARKER.but(id="new", daemon=daemon, environment={"TZ": "UTC"})  # type: ignore[union-attr]
        assert after(action, "new", daemon) == expected
    left = after(ClearStalePid(**OF, pid_file=PidFile(1, 1.0))).daemon
    assert left is not None, "while the service has not missed it, its record proves that it is gone"
    assert left.ended == 4000.0
    assert after(Stop(**OF, process=process())).daemon is None, "it has told the service itself"
    away = StopElsewhere(**OF, pid_file=PidFile(1, 1.0), node="ufe02", id=uuid("main"))
    assert after(away).daemon is None, "the service has said that it is offline"


def test_what_was_found_to_have_ended_before_did_so_then() -> None:
    assert isinstance(MARKER, Marker)
    once = found_ended(MARKER, NOW)
    assert found_ended(once, Moment(HOST.boot_id, 9000.0)) == once
    assert found_ended(MARKER.but(daemon=None), NOW).daemon is None


def test_when_a_daemon_of_another_boot_ended_is_not_known_by_this_ones_clock() -> None:
    assert isinstance(MARKER, Marker)
    left = found_ended(MARKER, Moment("another", 4000.0)).daemon
    assert left is not None
    assert left.ended == 0.0


@pytest.mark.parametrize(("written", "read"), [(True, 0.0), (False, None), (7.5, 7.5)])
def test_first_versions_recorded_only_whether_it_had_ended(written: object, read: float | None) -> None:
    assert DaemonRecord.model_validate({**record("c").model_dump(), "ended": written}).ended == read


def test_what_a_daemon_was_started_with_is_recorded() -> None:
    found = daemon_record(process(), HOST, begun_with(TOOL, given({}, ENVIRONMENT), DIRECTORY))
    assert (found.pid, found.start_time, found.boot_id, found.prefix) == (100, 5000, "boot-1", "/opt/gce")
    assert found.config == DIRECTORY.files[CONFIG].digest
    assert found.documents == {n: DIRECTORY.files[n].digest for n in (TEMPLATE, SCHEMA, USER_ENVIRONMENT)}


def test_a_known_uuid_is_never_dropped_from_the_lock() -> None:
    entry = lock_entry(endpoint(protect=True), SITE.claim("main"), None)
    write = WriteFile(**OF, file=CONFIG, content=b"", mode=0o600, backup=False, record=None)
    assert lock_after(LOCK, write, entry, None).endpoints["main"] == entry.model_copy(update={"id": uuid("main")})
    assert lock_after(LOCK, Start(**OF, id=None), entry, "new").endpoints["main"].id == "new"
    assert lock_after(LOCK, write, None, None) == LOCK


def test_what_ends_leaves_the_lock() -> None:
    for action in (
        Delete(**OF, id=uuid("main")),
        Forget(**OF, id=uuid("main")),
        Purge(**OF, id=uuid("main")),
    ):
        assert lock_after(LOCK, action, None, None).endpoints == {}


def test_a_purge_of_an_older_endpoint_of_that_name_leaves_the_present_one() -> None:
    for older in (uuid("older"), None):
        assert lock_after(LOCK, Purge(**OF, id=older, trash_entry="main~1"), None, None) == LOCK
