"""Does a daemon that no process here is run on another node of this home directory? Pure.

The witnesses are the record of its start (node, boot, PID namespace, PID), the PID file (which every node sees, and
whose age is the file server's), the intent of a start that was cut off, the service, and the host name in the
registration, which is that of the last start. The service's "online" outweighs all but one proof: the daemon of the
record, or of the intent, would show here, and does not. A host name proves nothing: a copy of the home may lie on
another machine of that name. What they leave open is not guessed.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timezone
from enum import Enum

from reconciler.core.actions import Refusal
from reconciler.core.boot import is_from_here, is_of_this_boot, is_proof, would_show
from reconciler.core.daemon_log import have_ended, last_writer
from reconciler.core.frozen import dataclass
from reconciler.core.live import GONE, JournalEntry, LiveDirectory, LiveState, PidFile, Unknown
from reconciler.core.machine import HostFacts
from reconciler.core.marker import DaemonRecord, Marker
from reconciler.core.pid_file import LOOKED_AT_EVERY, START_REFUSES, is_fresh, is_stale

ABSENT_FOR = LOOKED_AT_EVERY + 5.0
"""Seconds for which a PID file must stay away until every daemon has looked for it."""


STILL_ONLINE = "stop it there first; if it died a moment ago, wait until the service says offline and run this again"
"""What to do about an endpoint that is online and shows no daemon here."""

MISSED_WITHIN = 300.0
"""Seconds after which the service has certainly missed a daemon that was cut off (three heartbeats, and some)."""


class Away(Enum):
    """What is known of a daemon that has no process on this node."""

    GONE = "gone"  # it runs nowhere
    RUNS = "runs"  # on another node
    DOUBTFUL = "doubtful"  # its PID file was touched a moment ago, and the service sees no daemon
    LINGERS = "lingers"  # it ran under this node's name, before a reboot, until a moment ago, and is seen online still
    ABROAD = "abroad"  # it is online, and nothing of this home directory shows it: this may be a copy
    UNDECIDED = "undecided"  # only the service can tell, and it was not, or could not be, asked


NOT_OF_HERE = (Away.LINGERS, Away.ABROAD)
"""What the service sees, and nothing of this home directory shows."""


@dataclass(frozen=True)
class Sighting:
    """What is known, and where it runs or ran, as far as known.

    Attributes:
        node: short name of the node.
        since: when it was started, in seconds since the epoch by that node's clock.
        record: what the marker says of just this daemon.
        is_registered_here: whether the last start that registered was on this node.
    """

    away: Away
    node: str | None = None
    since: float | None = None
    record: DaemonRecord | None = None
    is_registered_here: bool = False


def sight_elsewhere(
    directory: LiveDirectory, marker: Marker | None, live: LiveState, *, is_managed: bool | None = None
) -> Sighting:
    """Judge a daemon of which no process runs on this node.

    Args:
        is_managed: whether it is ours, or will be once its marker is repaired; by default if there is a marker.
    """
    record, pid_file = on_record(marker, live), directory.pid_file
    endpoint_id = _id_of(directory, marker)
    status = live.statuses.get(endpoint_id) if endpoint_id else None
    if pid_file is None and record is None and status is None:
        return Sighting(Away.GONE)  # nothing points to one, and nobody thought it worth asking
    if status == GONE or (status is None and _is_unregistered(endpoint_id, live)):
        status = "offline"
    mine = record if record and _is_of(record, pid_file, live.host) else None
    if _ended_here(pid_file, marker, mine, live, endpoint_id, status):
        return Sighting(Away.GONE)
    away = _judge(
        pid_file, mine, live.host, status, is_managed=marker is not None if is_managed is None else is_managed
    )
    if mine is not None:
        known = away is not Away.ABROAD
        return Sighting(away, (mine.host or None) if known else None, mine.started if known else None, mine)
    node = _registered_on(live, endpoint_id)
    here = _is_this(node, live.host)
    return Sighting(away, None if here else node, is_registered_here=here)


def on_record(marker: Marker | None, live: LiveState) -> DaemonRecord | None:
    """Return what the marker says of a daemon that the service may see still.

    One that was found to have ended is not seen any more after a while. What is online then is another one,
    perhaps that of a copy of the directory; so it is on another node, or since another boot.
    """
    record = marker.daemon if marker else None
    if record is None or record.ended is None:
        return record
    seconds = live.moment.seconds - record.ended
    return record if would_show(record, live.host) and 0 <= seconds <= MISSED_WITHIN else None


def has_ended_here(directory: LiveDirectory, marker: Marker | None, live: LiveState) -> bool:
    """Whether the daemon on record is proven to have ended; there is no process of it here."""
    record, pid_file = on_record(marker, live), directory.pid_file
    return record is not None and _is_of(record, pid_file, live.host) and is_proof(record, pid_file, live.host)


def may_be_left(directory: LiveDirectory, marker: Marker | None, live: LiveState) -> bool:
    """Whether a daemon on another node may be left whose PID file is gone since a moment ago.

    It lives until it looks for the file, and the service need not see it: before its first heartbeat, or where it
    reaches no broker. A start before that would bring the file back, and it would live on beside the new one. That
    nobody is left is told by its log, by how long the file has been away, or by where the last start was.
    """
    log = live.log_ends.get(directory.name, "")
    if not is_left_unsaid(directory, log):
        return False
    if _is_left_by_record(marker, live):
        return True
    endpoint_id = _id_of(directory, marker)
    if endpoint_id is None:
        return False
    node = _registered_on(live, endpoint_id)
    record = marker.daemon if marker else None
    if record is not None and record.ended is not None and node == record.host and last_writer(log) == record.pid:
        return False  # it was found to have ended, with a PID file that nobody touched any more
    if node is None:
        # Where there is a process here, the last start may well have been here.
        return not directory.processes and (endpoint_id in live.asked_where or _is_unregistered(endpoint_id, live))
    return not _is_this(node, live.host)


def is_left_unsaid(directory: LiveDirectory, log: str) -> bool:
    """Whether a PID file is gone since a moment ago, and the log does not say that its daemons ended."""
    if not lost_its_pid_file_just_now(directory):
        return False
    record = directory.marker.daemon if isinstance(directory.marker, Marker) else None
    return not have_ended(log, record.pid if record is not None and record.ended is None else None)


def _is_left_by_record(marker: Marker | None, live: LiveState) -> bool:
    """Whether the daemon on record is of another node, and is not known to have ended."""
    record = on_record(marker, live)
    return record is not None and _ran_elsewhere(record, live.host)


def lost_its_pid_file_just_now(directory: LiveDirectory) -> bool:
    """Whether there was a PID file until so short a time ago, perhaps, that its daemon has not looked for it since.

    Every daemon has a log, but for its first moment: without one there was none. Whatever is here, another one may be
    left. Where it cannot be told when the directory changed, it may have been just now.
    """
    is_away = directory.pid_file is None and directory.logged is not None
    return is_away and (directory.changed is None or abs(directory.changed) <= ABSENT_FOR)


def _ran_elsewhere(record: DaemonRecord, host: HostFacts) -> bool:
    """Whether the daemon on record is of another node, or another container of this one."""
    return record.host != host.name or (is_of_this_boot(record, host) and not would_show(record, host))


def _is_of(record: DaemonRecord, pid_file: PidFile | None, host: HostFacts) -> bool:
    """Whether a record is about the daemon of this PID file, an empty one being what a daemon's touch brought back."""
    if pid_file is None or pid_file.pid == record.pid:
        return True
    return pid_file.pid is None and record.host != host.name


def _judge(
    pid_file: PidFile | None, record: DaemonRecord | None, host: HostFacts, status: object, *, is_managed: bool
) -> Away:
    age = pid_file.age if pid_file else None
    other = record is not None and record.host != host.name
    if status == "online":
        if pid_file is None and record is None:
            return Away.ABROAD  # nobody of this home is on record for it: it may be that of a copy, or of the original
        if other or record is None or is_fresh(age):
            return Away.RUNS
        return Away.LINGERS if age is not None and 0 <= age <= MISSED_WITHIN else Away.ABROAD
    if is_fresh(age):
        if other and status != "offline":
            return Away.RUNS
        return Away.UNDECIDED if isinstance(status, Unknown) else Away.DOUBTFUL
    if status == "offline":
        # A node that hangs for a moment comes back, and touches the PID file again.
        return Away.GONE if pid_file is None or is_stale(age) else Away.DOUBTFUL
    return Away.UNDECIDED if is_managed or age is None else Away.GONE


def _ended_here(
    pid_file: PidFile | None,
    marker: Marker | None,
    record: DaemonRecord | None,
    live: LiveState,
    endpoint_id: str | None,
    status: object,
) -> bool:
    """Whether it was a daemon of this node: its process would be here, and is not.

    By the record of its start; else by the intent of one that was cut off here; else by the registration, which
    names the host of the last start, if the service says that nobody is connected. Its word is also needed for
    the daemon of an earlier boot: another machine may have this node's name.
    """
    here = live.host
    if record is not None:
        rebooted = record.host == here.name and record.boot_id != here.boot_id
        quiet = pid_file is None or not is_fresh(pid_file.age)
        return is_proof(record, pid_file, here) or (rebooted and quiet and status == "offline")
    intent = live.pending.get(marker.endpoint) if marker else None
    if intent is not None and intent.begins_daemon and is_from_here(intent.data, here):
        return True
    return status == "offline" and _is_this(_registered_on(live, endpoint_id), here)


def _is_this(node: str | None, host: HostFacts) -> bool:
    return node in (host.name, host.fqdn.partition(".")[0])


def _id_of(directory: LiveDirectory, marker: Marker | None) -> str | None:
    found = directory.endpoint_id if isinstance(directory.endpoint_id, str) else None
    return (marker.id if marker else None) or found


def _is_unregistered(endpoint_id: str | None, live: LiveState) -> bool:
    return endpoint_id is None or (
        not isinstance(live.registrations, Unknown) and endpoint_id not in live.registrations
    )


def _registered_on(live: LiveState, endpoint_id: str | None) -> str | None:
    """Return the node that started the endpoint last, as its registration names it; None when that is not known."""
    if endpoint_id is None or isinstance(live.registrations, Unknown):
        return None
    registration = live.registrations.get(endpoint_id)
    name = (registration.hostname if registration else None) or ""
    return name.partition(".")[0] if name and not name.startswith("localhost") else None


# --- what must be asked


def in_doubt(
    directories: Iterable[LiveDirectory],
    live: LiveState,
    resting: Collection[str] = (),
    ids: Mapping[str, str] | None = None,
) -> set[str]:
    """Return the UUIDs whose status decides what is to be done with one of `directories`.

    Args:
        resting: names of those that are neither to be started nor to go: without any sign of a daemon, nothing is
            asked about them. The others are asked about all the same: a daemon whose PID file somebody has just
            removed lives for up to 15 seconds more, and must not be started a second time, or be moved under.
        ids: by directory, the UUID under which it is to be started if it says none itself.
    """
    found: set[str] = set()
    for directory in directories:
        marker = directory.marker if isinstance(directory.marker, Marker) else None
        endpoint_id = _id_of(directory, marker)
        if directory.processes:
            continue
        if endpoint_id is None:
            found |= {ids[directory.name]} if ids and directory.name in ids else set()
            continue
        traceless = directory.pid_file is None and on_record(marker, live) is None
        if traceless and directory.name not in resting:
            found.add(endpoint_id)
        away = sight_elsewhere(directory, marker, live, is_managed=True).away
        if away in (Away.DOUBTFUL, Away.UNDECIDED):
            found.add(endpoint_id)
    return found


def of_starts_that_were_cut_off(live: LiveState) -> set[str]:
    """Return the registrations that first starts may have made, but those whose daemons would show here."""
    return {
        registration.id
        for name, registrations in live.candidates.items()
        if not isinstance(registrations, Unknown) and not _would_show(live.pending[name], live)
        for registration in registrations
    }


def _would_show(intent: JournalEntry, live: LiveState) -> bool:
    """Whether the daemon of this start would be seen: begun here, in a directory that is still there."""
    return is_from_here(intent.data, live.host) and intent.directory in live.directories


def without_a_node(directories: Iterable[LiveDirectory], live: LiveState, starting: Collection[str] = ()) -> set[str]:
    """Return the UUIDs whose registration's host name says where a daemon runs or ran, or whose PID file that is.

    Args:
        starting: names of those that are to run.
    """
    found: set[str] = set()
    for directory in directories:
        marker = directory.marker if isinstance(directory.marker, Marker) else None
        endpoint_id = _id_of(directory, marker)
        if endpoint_id is None or _registered_on(live, endpoint_id):
            continue
        log = live.log_ends.get(directory.name, "")
        unsaid = directory.name in starting and is_left_unsaid(directory, log) and not _is_left_by_record(marker, live)
        if unsaid or (not directory.processes and _is_nameless(sight_elsewhere(directory, marker, live))):
            found.add(endpoint_id)
    return found


def _is_nameless(sighting: Sighting) -> bool:
    return sighting.away in (Away.DOUBTFUL, Away.RUNS) and sighting.record is None


# --- in words


def say_where(sighting: Sighting) -> str:
    """Return where a daemon runs, and since when, as far as that is known."""
    where = f"on {sighting.node}, another node" if sighting.node else "on another node"
    since = ""
    if sighting.since is not None:
        since = f", since {datetime.fromtimestamp(sighting.since, timezone.utc):%Y-%m-%d %H:%M} UTC"
    return f"{where} of this home directory{since}"


def say_lingering(sighting: Sighting) -> str:
    """Return why nothing can be started yet after a reboot."""
    return (
        f"it ran on {sighting.node} before that, or its container, was started anew, and the service still says"
        " online, as it does until it has missed some heartbeats"
    )


def refuse_abroad(name: str, endpoint_id: str, sighting: Sighting, host: HostFacts) -> Refusal:
    """Refuse what would end, or double, a daemon that is online and is not of this home directory."""
    record = sighting.record
    before = (f"recorded: PID {record.pid} on {record.host}, boot {record.boot_id}",) if record else ()
    return Refusal(
        name,
        f"{endpoint_id} is online, and neither a process nor a PID file that is touched shows its daemon here:"
        " it runs elsewhere, and this may be a copy of its directory",
        STILL_ONLINE,
        (*before, f"here: {host.name}, boot {host.boot_id}"),
    )


def say_doubt(sighting: Sighting) -> str:
    """Return why nothing can be started beside a PID file that was touched a moment ago."""
    who = f"by a daemon on {sighting.node}" if sighting.node else "by a daemon that has no process here"
    return (
        f"its PID file was touched less than {START_REFUSES:.0f} s ago {who}, and the service does not see one:"
        " it is starting, or has just died"
    )


MAY_BE_LEFT = (
    "its PID file is gone, perhaps since a moment ago, and a daemon on another node lives until it looks for it, every"
    f" {LOOKED_AT_EVERY:.0f} s"
)
"""Why nothing can be started yet where a daemon may be left."""


# --- run_on


def may_run_here(run_on: tuple[str, ...], host: HostFacts) -> bool:
    """Whether daemons may be started on this node; an empty `run_on` means any.

    Its entries are patterns of a short name or FQDN, without regard to case, as DNS has none.
    """
    names = {host.name.lower(), host.fqdn.lower()}
    return not run_on or any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in run_on for name in names)


def say_run_on(run_on: tuple[str, ...], host: HostFacts) -> str:
    """Return why no daemon is started on this node."""
    return f"daemons run on {' or '.join(run_on)}, and this is {host.name}"


def remedy_run_on(run_on: tuple[str, ...]) -> str:
    """Return what to do about it."""
    return f"run the same command on {' or '.join(run_on)}"
