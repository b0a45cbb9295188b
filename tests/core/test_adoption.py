"""Adopt, forget, unprotect, restart and reregister: the plan's text for each way in which it is done or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.actions import Adopt, Create, Forget, Reregister, Restart, Start, Stop
from reconciler.core.live import Damaged, LiveDirectory, Unknown
from reconciler.core.preconditions import Idle
from reconciler.core.scope import Errand
from tests.core.builders import (
    CONFIG_DIR,
    HOST,
    LOGIN_PATH,
    SITE,
    Scene,
    applied,
    edited,
    empty,
    endpoint,
    marked,
    pool,
    process,
    registration,
    says,
    settled,
    trashed,
    uuid,
    with_user_endpoints,
)

RUNNING = applied(endpoint())
STOPPED = applied(endpoint(), running=False)
OTHER = uuid("other")


def unmanaged(directory: LiveDirectory) -> LiveDirectory:
    """Return the directory as its own command made it."""
    return replace(directory, marker=None)


def found(directory: LiveDirectory, **status: Any) -> Scene:
    """Return a scene in which this manifest meets a directory for the first time."""
    scene = empty(endpoint()).has(directory).owns(registration())
    return scene.sees(statuses={uuid("main"): "offline", **status})


def adopt(*names: str, **how: Any) -> dict[str, Errand]:
    return {"errand": Errand("adopt", names or ("main",), **how)}


def errand(kind: Any, name: str = "main", **how: Any) -> dict[str, Errand]:
    return {"errand": Errand(kind, (name,), **how)}


def kinds(scene: Scene, **scope: Any) -> list[str]:
    return [action.kind for action in scene.plan(**scope).actions]


def refused(scene: Scene, text: str, *, code: int = 4, **scope: Any) -> None:
    """Assert that nothing is done, and why."""
    plan = scene.plan(**scope)
    assert plan.is_empty
    assert [refusal.exit_code for refusal in plan.refusals] == [code]
    said = scene.text(**scope)
    assert text in said, said


# --- adopt: a directory that somebody else made


def test_running_endpoint_is_adopted_with_both_sides() -> None:
    says(
        found(unmanaged(RUNNING)).text(**adopt()),
        """
        Plan for stack hrrr on ufe01:

          main: asked for
            = record what is there in the marker
                there: /home/jdoe/.globus_compute/main, UUID 00000000-0000-4000-8000-6d61696e0000, daemon PID 100
                at the service: 00000000-0000-4000-8000-6d61696e0000
                becomes: endpoint main of stack hrrr: jdoe, ~/.globus_compute/main, identity me (production)

          ~ write the lockfile (new)
          ~ write the pools file (new)

        Plan: 1 to record.
        """,
    )


def after(scene: Scene, **scope: Any) -> Scene:
    """Return the scene as it is once the adoption is done: marker and lock say so."""
    plan = scene.plan(**scope)
    (action,) = plan.actions
    assert isinstance(action, Adopt)
    (directory,) = scene.live.directories.values()
    assert plan.lock is not None
    entry = plan.entries["main"]
    return scene.has(replace(directory, marker=action.marker)).knows(lock=plan.lock.with_endpoint("main", entry))


def test_what_was_adopted_needs_nothing_when_it_is_as_declared() -> None:
    scene = after(found(unmanaged(RUNNING)), **adopt())
    assert kinds(scene) == []
    assert kinds(scene, **adopt()) == []
    says(scene.text(**adopt()), "Nothing to do on ufe01.\n  main: it is managed already")


def test_what_differs_in_an_adopted_directory_is_a_change_that_keeps_a_backup() -> None:
    directory = edited(unmanaged(RUNNING), "config.yaml", {"debug": False, "theirs": 1})
    directory = edited(directory, "user_config_template.yaml.j2", b"engine:\n  type: Mine\n")
    says(
        after(found(directory), **adopt()).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write config.yaml (the edited one is kept as a backup)
                ~ debug: false -> true
            ~ write user_config_template.yaml.j2 (the edited one is kept as a backup)
                to builtin@1
                @@ -1,2 +1,2 @@
                 engine:
                -  type: Mine
                +  type: GlobusComputeEngine
            ! restart (PID 100)
                config.yaml is not the one it started with

          ~ write the pools file (new)

        Plan: 1 to change, 1 to restart.
        """,
    )


def test_endpoint_that_was_never_registered_is_adopted() -> None:
    scene = found(unmanaged(applied(endpoint(), registered=False, running=False))).owns()
    (action,) = scene.plan(**adopt()).actions
    assert isinstance(action, Adopt)
    assert action.marker.id is None
    assert kinds(after(scene, **adopt())) == ["Start"]


def test_unknown_daemon_is_recorded() -> None:
    (action,) = found(unmanaged(RUNNING)).plan(**adopt()).actions
    assert isinstance(action, Adopt)
    assert action.marker.daemon is not None
    assert (action.marker.daemon.pid, action.marker.daemon.host) == (100, HOST.name)


def test_all_adopts_what_has_a_directory_and_is_not_managed() -> None:
    wanted = (endpoint(), endpoint("two"), endpoint("three"), endpoint("four", state="unmanaged"))
    scene = settled(*wanted)
    directories = {d.name: d for d in scene.live.directories.values() if d.name != "three"}
    directories |= {n: unmanaged(directories[n]) for n in ("two", "four")}
    plan = scene.sees(directories=directories).plan(errand=Errand("adopt"))
    assert [(a.endpoint, a.kind) for a in plan.actions] == [("two", "Adopt")]
    assert not plan.refusals


@pytest.mark.parametrize(
    ("directory", "text"),
    [
        (replace(unmanaged(RUNNING), kind="link"), "is a symbolic link"),
        (replace(unmanaged(RUNNING), kind="legacy"), "the kind before templates"),
        (replace(unmanaged(RUNNING), marker=Damaged("version 9", newer=True)), "upgrade chiltepin-reconciler"),
        (replace(unmanaged(RUNNING), processes=(process(), process(101, start_time=1))), "2 daemons run"),
        (replace(unmanaged(RUNNING), processes=()), "its daemon runs on another node of this home directory"),
        (marked(RUNNING, stack="other"), "belongs to stack `other`"),
        (marked(RUNNING, endpoint="old"), "holds endpoint `old` of this stack"),
    ],
)
def test_what_is_not_adopted(directory: LiveDirectory, text: str) -> None:
    scene = settled(endpoint()).has(directory)
    refused(scene, text, **adopt())
    refused(scene, text, **adopt(take_over=True))


def test_damaged_marker_is_written_anew() -> None:
    scene = found(replace(RUNNING, marker=Damaged("not JSON")))
    assert kinds(scene, **adopt()) == ["Adopt"]


def test_copy_of_a_directory_whose_endpoint_runs_elsewhere() -> None:
    directory = replace(unmanaged(STOPPED), pid_file=None)
    scene = found(directory).sees(statuses={uuid("main"): "online"})
    refused(scene, "is online, and does not run here", **adopt())
    scene = scene.sees(statuses={uuid("main"): Unknown("timeout")})
    assert [b.endpoint for b in scene.plan(**adopt()).blocked] == ["main"]


def test_nothing_is_adopted_without_the_service() -> None:
    plan = found(unmanaged(RUNNING)).sees(registrations=Unknown("timeout")).plan(**adopt())
    assert not plan.actions
    assert [b.endpoint for b in plan.blocked] == ["main"]


@pytest.mark.parametrize(
    ("statuses", "code", "text"),
    [
        ({uuid("main"): "offline"}, 77, "belongs to another Globus identity"),
        ({}, 4, "the service has no registration"),
    ],
)
def test_uuid_that_this_identity_does_not_own(statuses: Any, code: int, text: str) -> None:
    refused(found(unmanaged(STOPPED)).owns().sees(statuses=statuses), text, code=code, **adopt())


def test_uuid_that_another_endpoint_has() -> None:
    scene = settled(endpoint(), endpoint("copy"))
    copy = replace(unmanaged(STOPPED), name="copy")
    scene = scene.has(STOPPED, copy).sees(statuses={uuid("main"): "offline"})
    scene = scene.knows(lock=scene.known.lock.without_endpoint("copy"))  # type: ignore[union-attr]
    refused(scene, "is taken: by endpoint main in the lock", **adopt("copy"))


def test_manifest_must_want_it() -> None:
    scene = found(unmanaged(RUNNING))
    refused(scene.wants(endpoint(state="unmanaged")), "`state: unmanaged`", **adopt())
    refused(scene.wants(), "the manifest does not declare it", **adopt())
    refused(scene.wants(elsewhere={"main": "hera"}), "it is an endpoint of host hera", **adopt())


def test_without_a_lock_the_markers_come_first() -> None:
    scene = settled(endpoint(), endpoint("two")).knows(lock=None)
    scene = scene.has(RUNNING, unmanaged(applied(endpoint("two"))))
    refused(scene, "`chiltepin apply` first", **adopt("two"))
    refused(scene, "`chiltepin apply` first", **errand("forget"))


# --- adopt: which UUID


DISAGREE = replace(STOPPED, endpoint_id=OTHER)


def test_disagreeing_uuids_need_a_decision() -> None:
    scene = settled(endpoint()).has(DISAGREE).owns(registration(), registration(endpoint_id=OTHER))
    refused(scene, "its UUID is not the same everywhere", **adopt())


def test_decision_for_the_uuid_of_the_lock() -> None:
    scene = settled(endpoint()).has(DISAGREE).owns(registration(), registration(endpoint_id=OTHER))
    says(
        scene.text(**adopt(id=uuid("main"))),
        """
        Plan for stack hrrr on ufe01:

          main: asked for
            ~ write endpoint.json (the edited one is kept as a backup)
                ~ endpoint_id: "00000000-0000-4000-8000-6f7468657200" -> "00000000-0000-4000-8000-6d61696e0000"

        Plan: 1 to change.
        """,
    )


def test_decision_for_the_uuid_of_endpoint_json() -> None:
    scene = settled(endpoint(), pools=(pool("mpi"),)).has(DISAGREE)
    scene = scene.owns(registration(), registration(endpoint_id=OTHER))
    says(
        scene.text(**adopt(id=OTHER)),
        """
        Plan for stack hrrr on ufe01:

          main: asked for
            = record what is there in the marker
                marker: 00000000-0000-4000-8000-6d61696e0000
                lock: 00000000-0000-4000-8000-6d61696e0000
                at the service: 00000000-0000-4000-8000-6f7468657200
                becomes: endpoint main of stack hrrr: jdoe, ~/.globus_compute/main, identity me (production)

          ~ write the lockfile (resolved state changed)
          ~ write the pools file (resolved state changed)

        Plan: 1 to record.
        """,
    )
    assert kinds(scene.knows(lock=scene.plan(**adopt(id=OTHER)).lock), **adopt(id=OTHER)) == ["Adopt"]


@pytest.mark.parametrize(
    ("scene", "text", "code"),
    [
        (
            settled(endpoint()).has(STOPPED).owns(registration(), registration(endpoint_id=OTHER)),
            "which nothing doubts",
            4,
        ),
        (settled(endpoint(id=uuid("main"))), "the manifest says `id: ", 4),
        (settled(endpoint()).has(replace(RUNNING, endpoint_id=OTHER)), "its daemon runs under", 4),
        (settled(endpoint()).has(DISAGREE).owns(registration()), "the service has no registration", 4),
        (
            settled(endpoint()).has(DISAGREE).owns(registration()).sees(statuses={OTHER: "offline"}),
            "belongs to another Globus identity",
            77,
        ),
        (
            settled(endpoint())
            .has(DISAGREE)
            .owns(registration(), registration(endpoint_id=OTHER))
            .sees(statuses={OTHER: "online"}),
            "it runs elsewhere",
            4,
        ),
    ],
)
def test_decision_that_is_refused(scene: Scene, text: str, code: int) -> None:
    refused(scene, text, code=code, **adopt(id=OTHER))


def unclaimed(*directories: LiveDirectory, **changes: Any) -> Scene:
    """Return a scene in which a registration of that name is there that nothing claims."""
    scene = empty(endpoint()).has(*directories).owns(registration(endpoint_id=OTHER, **changes))
    return scene.sees(statuses={OTHER: "offline"})


def test_unclaimed_registration_is_taken_by_a_directory_without_uuid() -> None:
    scene = unclaimed(unmanaged(applied(endpoint(), registered=False, running=False)))
    assert kinds(scene, **adopt(id=OTHER)) == ["Adopt", "WriteFile"]
    assert scene.plan(**adopt(id=OTHER)).entries["main"].id == OTHER


def test_unclaimed_registration_is_taken_by_a_new_directory() -> None:
    plan = unclaimed().plan(**adopt(id=OTHER))
    (action,) = plan.actions
    assert isinstance(action, Create)
    assert b"endpoint_id" in action.files["endpoint.json"][0]
    assert (action.marker.id, plan.entries["main"].id) == (OTHER, OTHER)


def test_registration_of_another_name_or_in_the_trash_is_not_taken() -> None:
    refused(unclaimed(name="else"), "is named `else`", **adopt(id=OTHER))
    trash = (trashed(endpoint(id=OTHER)),)
    refused(unclaimed().sees(trash=trash), "in the trash", **adopt(id=OTHER))


def test_nothing_to_adopt() -> None:
    refused(empty(endpoint()), "there is no directory to adopt", **adopt())


# --- adopt: whose claim

THERE = {"host": "hera", "config_dir": "~/elsewhere"}


def claimed_elsewhere() -> Scene:
    claim = SITE.claim("main").model_copy(update=THERE)
    scene = settled(endpoint()).has(replace(marked(STOPPED, claim=claim), pid_file=None))
    return scene.locks(claim=THERE).sees(statuses={uuid("main"): "offline"})


def test_claim_of_another_place_needs_consent() -> None:
    refused(claimed_elsewhere(), "it is claimed by another host", **adopt())


def test_claim_is_moved_with_both_sides() -> None:
    says(
        claimed_elsewhere().text(**adopt(take_over=True)),
        """
        Plan for stack hrrr on ufe01:

          main: asked for
            = record what is there in the marker
                the lock says: jdoe on hera, ~/elsewhere/main, identity me (production)
                here it is: jdoe, ~/.globus_compute/main, identity me (production)
                the marker in /home/jdoe/.globus_compute/main says: jdoe on hera, ~/elsewhere/main, identity me (production)
                at the service: 00000000-0000-4000-8000-6d61696e0000
                becomes: endpoint main of stack hrrr: jdoe, ~/.globus_compute/main, identity me (production)

          ~ write the lockfile (resolved state changed)

        Plan: 1 to record.
        """,  # noqa: E501
    )


def test_claim_is_not_moved_while_it_is_online_there() -> None:
    scene = claimed_elsewhere().sees(statuses={uuid("main"): "online"})
    refused(scene, "it runs elsewhere", **adopt(take_over=True))
    running = claimed_elsewhere().has(marked(RUNNING, claim=SITE.claim("main").model_copy(update=THERE)))
    running = running.sees(statuses={uuid("main"): "online"})
    assert kinds(running, **adopt(take_over=True)) == ["Adopt"]


def test_claim_of_a_place_without_a_directory_here_makes_one() -> None:
    scene = claimed_elsewhere().has().sees(login_path=LOGIN_PATH)
    assert kinds(scene, **adopt(take_over=True)) == ["Create"]


def test_claim_of_another_identity_is_never_moved() -> None:
    scene = settled(endpoint()).locks(claim={"identity": "somebody"})
    refused(scene, "another Globus identity", code=77, **adopt(take_over=True))


def test_marker_of_another_lock_needs_consent() -> None:
    scene = settled(endpoint()).has(marked(RUNNING, lineage="0ther"))
    refused(scene, "`chiltepin adopt main --take-over`", **adopt())
    (action,) = scene.plan(**adopt(take_over=True)).actions
    assert isinstance(action, Adopt)
    assert action.marker.lineage == scene.known.lineage
    assert "the marker's lineage: 0ther" in scene.text(**adopt(take_over=True))


# --- forget


def test_forget_removes_marker_and_entry() -> None:
    scene = settled(endpoint(), endpoint("two")).wants(endpoint("two"))
    says(
        scene.text(**errand("forget")),
        """
        Plan for stack hrrr on ufe01:

          main: asked for
            - forget 00000000-0000-4000-8000-6d61696e0000 (directory, daemon and registration stay as they are)
                removes /home/jdoe/.globus_compute/main/.chiltepin.json

          ~ write the lockfile (resolved state changed)

        Plan: 1 to forget.
        """,
    )


def test_forget_of_what_is_declared() -> None:
    refused(settled(endpoint()), "the manifest declares it", **errand("forget"))


def test_forget_of_what_is_declared_unmanaged_keeps_the_uuid_for_its_pools() -> None:
    scene = settled(endpoint(), pools=(pool("mpi"),)).wants(endpoint(state="unmanaged"))
    plan = scene.plan(**errand("forget"))
    (action,) = plan.actions
    assert isinstance(action, Forget)
    assert action.marked
    assert (plan.entries["main"].id, plan.entries["main"].state) == (uuid("main"), "unmanaged")


@pytest.mark.parametrize(
    ("directories", "marked_there"),
    [((unmanaged(RUNNING),), False), ((replace(RUNNING, marker=Damaged("not JSON")),), True), ((), False)],
)
def test_forget_without_a_readable_marker(directories: tuple[LiveDirectory, ...], marked_there: bool) -> None:
    (action,) = settled(endpoint()).wants().has(*directories).plan(**errand("forget")).actions
    assert isinstance(action, Forget)
    assert action.marked is marked_there


def test_forget_leaves_the_marker_of_another_lock() -> None:
    (action,) = settled(endpoint()).wants().has(marked(RUNNING, lineage="0ther")).plan(**errand("forget")).actions
    assert isinstance(action, Forget)
    assert not action.marked


# --- unprotect


def test_unprotect_clears_marker_and_lock() -> None:
    scene = settled(endpoint(protect=True), endpoint("two")).wants(endpoint("two"))
    says(
        scene.text(**errand("unprotect")),
        """
        Plan for stack hrrr on ufe01:

          main: asked for
            = record what is there in the marker
                ~ protect: true -> false

          ~ write the lockfile (resolved state changed)

        Plan: 1 to record.
        """,
    )
    assert scene.plan(**errand("unprotect")).entries["main"].protect is False


def test_unprotect_while_the_manifest_protects() -> None:
    refused(settled(endpoint(protect=True)), "the manifest says `protect: true`", **errand("unprotect"))


@pytest.mark.parametrize("kind", ["unprotect", "purge"])
@pytest.mark.parametrize("is_locked", [True, False])
def test_what_another_stack_manages_is_refused_by_name(kind: str, is_locked: bool) -> None:
    scene = settled(endpoint())
    scene = scene.has(marked(scene.live.directories["main"], stack="gfs", protect=True))
    scene = scene if is_locked else scene.knows(lock=None)
    refused(scene, f"{CONFIG_DIR}/main belongs to stack `gfs`", **errand(kind))


def test_a_protection_in_the_lock_is_lifted_wherever_the_directory_went() -> None:
    scene = settled(endpoint()).locks(protect=True)
    scene = scene.has(marked(scene.live.directories["main"], stack="gfs", protect=True))
    plan = scene.plan(**errand("unprotect"))
    assert (plan.actions, plan.refusals, plan.entries["main"].protect) == ((), (), False)


def test_unprotect_of_what_is_not_protected() -> None:
    plan = settled(endpoint()).plan(**errand("unprotect"))
    assert plan.is_empty
    assert [note.text for note in plan.notes] == ["it is not protected"]


# --- restart


def test_restart_is_not_held_by_never_and_waits_for_idle() -> None:
    busy = with_user_endpoints(applied(endpoint(restart="never")), 1)
    says(
        settled(endpoint(restart="never")).has(busy).text(**errand("restart")),
        """
        Plan for stack hrrr on ufe01:

          main: asked for
            ! restart (PID 100)
                waits until idle: 1 user endpoint alive below it

          main: `chiltepin restart main --interrupt` does not wait, and ends the tasks

        Plan: 1 to restart.
        """,
    )


@pytest.mark.parametrize(
    ("policy", "interrupt", "waits"),
    [("when-idle", False, True), ("when-idle", True, False), ("now", False, False), ("never", True, False)],
)
def test_restart_waits_unless(policy: Any, interrupt: bool, waits: bool) -> None:
    (action,) = settled(endpoint(restart=policy)).plan(**errand("restart", interrupt=interrupt)).actions
    assert isinstance(action, Restart)
    assert any(isinstance(p, Idle) for p in action.preconditions) is waits
    assert action.hold is None


def test_restart_touches_neither_files_nor_pools() -> None:
    scene = settled(endpoint(), pools=(pool("mpi"),)).wants(
        endpoint(config={"debug": False}), pools={"other": pool("other")}
    )
    plan = scene.plan(**errand("restart"))
    assert [a.kind for a in plan.all_actions] == ["Restart"]


def test_restart_starts_what_died() -> None:
    dead = replace(RUNNING, processes=())
    assert kinds(settled(endpoint()).has(dead), **errand("restart")) == ["ClearStalePid", "Start"]


def test_restart_records_a_lost_marker_first() -> None:
    assert kinds(settled(endpoint()).has(unmanaged(RUNNING)), **errand("restart")) == ["Adopt", "Restart"]


@pytest.mark.parametrize(
    ("scene", "text"),
    [
        (settled(endpoint(state="stopped")), "`state: stopped`"),
        (settled(endpoint()).has(), "its directory is not there"),
        (empty(endpoint()).has(applied(endpoint(), registered=False, running=False)), "the lockfile"),
        (settled(endpoint()).wants(), "the manifest does not declare it"),
    ],
)
def test_restart_is_refused(scene: Scene, text: str) -> None:
    scene = scene.sees(statuses={uuid("main"): "offline"})
    refused(scene, text, **errand("restart"))


def test_restart_needs_the_service() -> None:
    plan = settled(endpoint()).sees(registrations=Unknown("timeout")).plan(**errand("restart"))
    assert not plan.actions
    assert [b.endpoint for b in plan.blocked] == ["main"]


# --- reregister

RENEW: dict[str, Any] = {"reregister": ["main"]}


def test_reregister_is_shown_as_replace() -> None:
    says(
        settled(endpoint(), pools=(pool("mpi"),)).has(STOPPED).owns().text(**RENEW),
        """
        Plan for stack hrrr on ufe01:

          main: asked for, not running
            -/+ replace its UUID 00000000-0000-4000-8000-6d61696e0000, whose registration is gone, by a new one
                ~ id: "00000000-0000-4000-8000-6d61696e0000" -> "a new one"
            > start, and register

          ~ write the lockfile (resolved state changed)
          ~ write the pools file (resolved state changed)

        Plan: 1 to replace, 1 to start.
        """,
    )


def test_reregister_stops_a_daemon_first() -> None:
    plan = settled(endpoint()).owns().plan(**RENEW)
    stop, renewal, start = plan.actions
    assert isinstance(stop, Stop)
    assert isinstance(renewal, Reregister)
    assert isinstance(start, Start)
    assert (renewal.id, start.id) == (uuid("main"), None)


def test_reregister_of_a_lost_directory() -> None:
    scene = settled(endpoint()).has().owns().sees(login_path=LOGIN_PATH)
    assert kinds(scene, **RENEW) == ["Reregister", "Create", "Start"]


def test_reregister_with_a_lost_marker() -> None:
    scene = settled(endpoint()).has(unmanaged(STOPPED)).owns().sees(login_path=LOGIN_PATH)
    assert kinds(scene, **RENEW) == ["Reregister", "Adopt", "Start"]


@pytest.mark.parametrize(
    ("scene", "text", "code"),
    [
        (settled(endpoint()), "the service still has its registration", 4),
        (settled(endpoint()).owns().sees(statuses={uuid("main"): "offline"}), "another Globus identity", 77),
        (settled(endpoint(id=uuid("main"))).owns(), "take `id` out", 4),
        (settled(endpoint()).has(replace(STOPPED, pid_file=RUNNING.pid_file)).owns(), "is elsewhere", 4),
    ],
)
def test_reregister_is_refused(scene: Scene, text: str, code: int) -> None:
    refused(scene, text, code=code, **RENEW)


def test_reregister_needs_the_name() -> None:
    assert kinds(settled(endpoint()).owns()) == []


def test_reregister_without_the_service() -> None:
    scene = settled(endpoint()).owns().sees(statuses={uuid("main"): Unknown("timeout")})
    assert [b.endpoint for b in scene.plan(**RENEW).blocked] == ["main"]
    assert kinds(settled(endpoint()).sees(registrations=Unknown("timeout")), **RENEW) == []
