"""Whose endpoint is it? The plan's text for each way in which lock, marker, endpoint.json and service disagree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.actions import Adopt, Start
from reconciler.core.known import Blocked
from reconciler.core.live import Damaged, LiveDirectory, Unknown
from reconciler.core.marker import Marker
from reconciler.core.ownership import find_ground
from reconciler.core.reregistration import Renewal, renew
from tests.core.builders import (
    CONFIG_DIR,
    LOGIN_PATH,
    SITE,
    Scene,
    applied,
    edited,
    empty,
    endpoint,
    intent,
    lost,
    marked,
    pool,
    registration,
    says,
    settled,
    uuid,
)

RUNNING = applied(endpoint())
STOPPED = applied(endpoint(), running=False)
UNREGISTERED = applied(endpoint(), registered=False, running=False)


def exit_codes(scene: Scene) -> list[int]:
    """Return the exit codes of the refusals; a refused scene must have no action."""
    plan = scene.plan()
    assert not plan.actions
    return [refusal.exit_code for refusal in plan.refusals]


# --- the directory is missing


def test_lost_directory_of_an_offline_endpoint() -> None:
    says(
        lost(settled(endpoint(), pools=(pool("mpi"),)), main="offline").text(),
        """
        Plan for stack hrrr on ufe01:

          main: lost directory
            + create directory main with its UUID 00000000-0000-4000-8000-6d61696e0000
                + config.yaml
                    + debug: true
                + user_config_template.yaml.j2  builtin@1
                + user_environment.yaml
                    + PATH: "/opt/gce/bin:/usr/bin:/bin"
                + user_config_schema.json  builtin@1
            > start

        Plan: 1 to create, 1 to start.
        """,
    )


def test_lost_directory_that_is_online_elsewhere() -> None:
    scene = lost(settled(endpoint()), main="online")
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: its directory /home/jdoe/.globus_compute/main is missing, but 00000000-0000-4000-8000-6d61696e0000 is online: it runs elsewhere, or is about to end here
              next: stop it there first; if it died a moment ago, wait until the service says offline and run this again

        Plan: 1 refused.
        """,  # noqa: E501
    )
    assert exit_codes(scene) == [4]


def test_lost_directory_whose_registration_is_gone() -> None:
    scene = lost(settled(endpoint())).owns()
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: the service has no registration 00000000-0000-4000-8000-6d61696e0000 for this identity
              next: restore it at the service, or give up the UUID: `chiltepin apply --reregister main` makes a new one

        Plan: 1 refused.
        """,
    )
    assert exit_codes(scene) == [4]


@pytest.mark.parametrize(
    "changes", [{"registrations": Unknown("timeout")}, {"statuses": {uuid("main"): Unknown("timeout")}}]
)
def test_lost_directory_is_not_decided_without_the_service(changes: dict[str, object]) -> None:
    scene = lost(settled(endpoint())).sees(**changes)
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: not planned: the service could not be asked

        Plan: 1 not planned.
        """,
    )


def test_lost_directory_and_another_id_in_the_manifest() -> None:
    scene = lost(settled(endpoint())).wants(endpoint(id=uuid("other")))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: its UUID is not the same everywhere
              manifest (id): 00000000-0000-4000-8000-6f7468657200
              lock: 00000000-0000-4000-8000-6d61696e0000
              next: decide which is right, and run `chiltepin adopt main --id UUID`

        Plan: 1 refused.
        """,
    )


def test_lost_directory_that_another_host_claims() -> None:
    scene = lost(settled(endpoint())).locks(claim={"host": "hera"})
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: it is claimed by another host, user or config directory
              the lock says: jdoe on hera, ~/.globus_compute/main, identity me (production)
              here it is: jdoe, ~/.globus_compute/main, identity me (production)
              next: if that place is gone for good, move the claim here: `chiltepin adopt main --take-over`

        Plan: 1 refused.
        """,
    )


# --- new


def test_new_while_unclaimed_registrations_of_that_name_exist() -> None:
    ours = registration(endpoint_id=uuid("a"), display_name="Old main", hostname="ufe02")
    scene = empty(endpoint()).owns(registration(endpoint_id=uuid("b")), ours, registration("else"))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          ~ write the lockfile (new)
          ~ write the pools file (new)

          main: refused: this identity already owns 2 registrations named `main` that nothing claims
              00000000-0000-4000-8000-610000000000 (Old main) on ufe02
              00000000-0000-4000-8000-620000000000
              next: use one: `chiltepin adopt main --id UUID`; or make another: `chiltepin apply --new main`

        Plan: 1 refused.
        """,
    )
    assert exit_codes(scene) == [4]
    assert not scene.knows(new=frozenset({"main"})).plan().refusals


def test_registrations_that_something_claims_do_not_stand_in_the_way() -> None:
    locked = settled(endpoint("other", directory="x")).known
    scene = replace(empty(endpoint(), endpoint("other", directory="x")), known=locked)
    scene = scene.has(applied(endpoint("other", directory="x"))).owns(
        registration("main", uuid("other")), registration("x", uuid("other"))
    )
    assert not scene.plan().refusals


# --- somebody else's directory


def test_directory_without_a_marker() -> None:
    scene = empty(endpoint()).has(replace(RUNNING, marker=None))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          ~ write the lockfile (new)
          ~ write the pools file (new)

          main: refused: /home/jdoe/.globus_compute/main exists and it is not managed by chiltepin
              next: run `chiltepin adopt main` to manage it, or choose another `directory`

        Plan: 1 refused.
        """,
    )
    assert exit_codes(scene) == [4]


def test_directory_with_a_damaged_marker_that_the_lock_does_not_know() -> None:
    scene = empty(endpoint()).has(replace(RUNNING, marker=Damaged("cut short")))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          ~ write the lockfile (new)
          ~ write the pools file (new)

          main: refused: /home/jdoe/.globus_compute/main exists and its marker cannot be read (cut short)
              next: run `chiltepin adopt main` to manage it, or choose another `directory`

        Plan: 1 refused.
        """,
    )


@pytest.mark.parametrize("kind", ["link", "legacy", "other", "unreadable"])
def test_what_cannot_be_an_endpoint_directory_is_refused(kind: str) -> None:
    found = LiveDirectory("main", kind, problem="because")  # type: ignore[arg-type]
    assert exit_codes(empty(endpoint()).has(found)) == [4]


def test_an_endpoint_of_the_kind_before_templates_is_migrated_by_a_command_that_finds_it() -> None:
    found = LiveDirectory("main", "legacy")
    (refusal,) = empty(endpoint()).has(found).plan().refusals
    assert refusal.remedy == (
        "stop it: `globus-compute-endpoint -c /home/jdoe/.globus_compute stop main`; then `globus-compute-endpoint"
        " -c /home/jdoe/.globus_compute migrate-to-template-capable main` and `chiltepin adopt main`"
    )


def test_an_engine_that_was_written_into_what_we_made_is_removed_and_nothing_is_migrated() -> None:
    (refusal,) = settled(endpoint()).has(replace(RUNNING, kind="legacy")).plan().refusals
    assert "remove `engine` from /home/jdoe/.globus_compute/main/config.yaml" in refusal.remedy
    assert "migrate" not in refusal.remedy


def test_other_stack() -> None:
    scene = settled(endpoint()).has(marked(RUNNING, stack="rrfs"))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: /home/jdoe/.globus_compute/main belongs to stack `rrfs`
              this manifest's stack: hrrr
              the marker's stack: rrfs
              next: choose another `directory`, or `chiltepin forget -f FILE main`, FILE being that stack's manifest

        Plan: 1 refused.
        """,
    )
    assert exit_codes(scene) == [4]


def test_other_lineage() -> None:
    scene = settled(endpoint()).has(marked(RUNNING, lineage="07e4"))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: /home/jdoe/.globus_compute/main belongs to another manifest that also calls its stack `hrrr`
              the lock's lineage: 1ea6e
              the marker's lineage: 07e4
              next: restore the lockfile that belongs to this manifest; if the other manifest is gone for good: `chiltepin adopt main --take-over`

        Plan: 1 refused.
        """,  # noqa: E501
    )
    assert exit_codes(scene) == [4]


def test_other_endpoint_of_this_stack() -> None:
    scene = settled(endpoint()).has(marked(RUNNING, endpoint="old"))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: /home/jdoe/.globus_compute/main holds endpoint `old` of this stack
              next: write `moved: [{from: old, to: main}]`, or choose another `directory`

        Plan: 1 refused.
        """,
    )


def test_copied_home() -> None:
    """Lock and marker came along with a copy; here the config directory is another."""
    scene = settled(endpoint()).knows(site=replace(SITE, config_dir="/scratch/jdoe/gc"))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: it is claimed by another host, user or config directory
              the marker in /home/jdoe/.globus_compute/main says: jdoe, ~/.globus_compute/main, identity me (production)
              here it is: jdoe, /scratch/jdoe/gc/main, identity me (production)
              next: if that place is gone for good, move the claim here: `chiltepin adopt main --take-over`

        Plan: 1 refused.
        """,
    )
    assert exit_codes(scene) == [4]


@pytest.mark.parametrize("claim", [{"host": "hera"}, {"user": "other"}, {"config_dir": "~/gc"}])
def test_marker_of_another_place(claim: dict[str, str]) -> None:
    marker = RUNNING.marker
    assert isinstance(marker, Marker)
    assert exit_codes(settled(endpoint()).has(marked(RUNNING, claim=marker.claim.model_copy(update=claim)))) == [4]


# --- the manifest has got a `hosts` section

URSA = replace(SITE, host="ursa")


def hosted(directory: LiveDirectory) -> Scene:
    """Return a scene in which `main` was applied before there were hosts."""
    return settled(endpoint()).knows(site=URSA).has(directory)


def test_hosts_section_is_new_and_its_daemon_runs_here() -> None:
    scene = hosted(RUNNING)
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: its host has a name by now
            = record what is there in the marker

          ~ write the lockfile (resolved state changed)

        Plan: 1 to record.
        """,
    )
    (adopt,) = scene.plan().actions
    assert isinstance(adopt, Adopt)
    assert adopt.marker.claim == URSA.claim("main") == scene.plan().entries["main"].claim


def last_run(**changes: object) -> LiveDirectory:
    """Return `main` as a daemon left it that died here."""
    marker = RUNNING.marker
    assert isinstance(marker, Marker)
    assert marker.daemon is not None
    return marked(STOPPED, daemon=marker.daemon.model_copy(update=changes))


@pytest.mark.parametrize("directory", [last_run(), UNREGISTERED])
def test_hosts_section_is_new_and_it_is_certainly_of_this_host(directory: LiveDirectory) -> None:
    assert "Adopt" in [action.kind for action in hosted(directory).plan().actions]


@pytest.mark.parametrize("directory", [STOPPED, last_run(host="hfe01"), last_run(boot_id="boot-9")])
def test_hosts_section_is_new_and_it_may_be_a_copied_home(directory: LiveDirectory) -> None:
    scene = hosted(directory)
    text = scene.text()
    assert exit_codes(scene) == [4]
    assert "its claim is from before the manifest had hosts" in text
    assert "`chiltepin adopt main --take-over`" in text


def test_hosts_section_is_new_and_the_directory_is_lost() -> None:
    assert exit_codes(lost(settled(endpoint()), main="offline").knows(site=URSA)) == [4]


@pytest.mark.parametrize("claim", [{"user": "other"}, {"config_dir": "~/gc"}, {"identity": "other"}])
def test_hosts_section_is_new_and_the_claim_is_another_anyway(claim: dict[str, str]) -> None:
    marker = RUNNING.marker
    assert isinstance(marker, Marker)
    scene = hosted(marked(RUNNING, claim=marker.claim.model_copy(update=claim)))
    assert exit_codes(scene) == [77 if "identity" in claim else 4]


# --- apply --take-over


def test_take_over_moves_the_claim_and_goes_on() -> None:
    scene = settled(endpoint(config={"debug": False})).knows(site=URSA).has(last_run(host="hfe01"))
    scene = scene.sees(statuses={uuid("main"): "offline"})
    assert [action.kind for action in scene.plan(take_over=True).actions] == ["Adopt", "WriteFile", "Start"]
    assert scene.plan(take_over=True).entries["main"].claim == URSA.claim("main")
    assert not scene.plan(take_over=True, targets=["other"]).actions


def test_take_over_of_a_lost_directory() -> None:
    scene = lost(settled(endpoint()), main="offline").locks(claim={"host": "hera"})
    assert exit_codes(scene) == [4]
    assert [action.kind for action in scene.plan(take_over=True).actions] == ["Create", "Start"]
    online = scene.sees(statuses={uuid("main"): "online"})
    assert "it runs elsewhere" in online.text(take_over=True)
    assert online.plan(take_over=True).is_empty


def test_take_over_while_it_is_online_elsewhere() -> None:
    scene = settled(endpoint()).knows(site=URSA).has(STOPPED).sees(statuses={uuid("main"): "online"})
    assert "it runs elsewhere" in scene.text(take_over=True)
    assert not scene.plan(take_over=True).actions


def test_take_over_of_what_is_claimed_here_changes_nothing() -> None:
    assert settled(endpoint()).plan(take_over=True).is_empty


def test_take_over_never_of_another_identity_or_stack() -> None:
    other = replace(SITE, identity="somebody")
    assert not settled(endpoint()).knows(site=other).plan(take_over=True).actions
    assert not settled(endpoint()).has(marked(RUNNING, stack="other")).plan(take_over=True).actions


def test_other_identity() -> None:
    scene = settled(endpoint()).knows(site=replace(SITE, identity="somebody")).owns()
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: it belongs to another Globus identity or service than this login's
              the marker in /home/jdoe/.globus_compute/main says: jdoe, ~/.globus_compute/main, identity me (production)
              here it is: jdoe, ~/.globus_compute/main, identity somebody (production)
              next: log in as that identity: `chiltepin whoami` shows the present one, `chiltepin login` changes it

        Plan: 1 refused.
        """,
    )
    assert exit_codes(scene) == [77]


def test_other_service() -> None:
    assert exit_codes(settled(endpoint()).knows(site=replace(SITE, service="sandbox")).owns()) == [77]


def test_other_identity_of_a_lost_directory() -> None:
    scene = lost(settled(endpoint())).knows(site=replace(SITE, identity="somebody")).owns()
    assert exit_codes(scene) == [77]


def test_registration_gone() -> None:
    scene = settled(endpoint()).owns()
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: the service has no registration 00000000-0000-4000-8000-6d61696e0000 for this identity
              next: restore it at the service, or give up the UUID: `chiltepin apply --reregister main` makes a new one

        Plan: 1 refused.
        """,
    )
    assert exit_codes(scene) == [4]


# --- UUIDs


def test_uuids_disagree() -> None:
    scene = settled(endpoint()).has(replace(marked(RUNNING, id=uuid("b")), endpoint_id=uuid("a"))).locks(id=uuid("c"))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: its UUID is not the same everywhere
              its daemon: 00000000-0000-4000-8000-6d61696e0000
              endpoint.json: 00000000-0000-4000-8000-610000000000
              marker: 00000000-0000-4000-8000-620000000000
              lock: 00000000-0000-4000-8000-630000000000
              next: decide which is right, and run `chiltepin adopt main --id UUID`

        Plan: 1 refused.
        """,
    )
    assert exit_codes(scene) == [4]


def test_manifest_disagrees() -> None:
    assert exit_codes(settled(endpoint()).wants(endpoint(id=uuid("z")))) == [4]


def test_endpoint_json_damaged() -> None:
    says(
        settled(endpoint()).has(replace(RUNNING, endpoint_id=Damaged("cut short"))).text(),
        """
        Plan for stack hrrr on ufe01:

          main: damaged
            ~ write endpoint.json (the damaged one is kept as a backup)
                what is there is damaged: cut short
                + endpoint_id: "00000000-0000-4000-8000-6d61696e0000"

        Plan: 1 to change.
        """,
    )


def test_endpoint_json_lost() -> None:
    says(
        settled(endpoint()).has(replace(RUNNING, endpoint_id=None)).text(),
        """
        Plan for stack hrrr on ufe01:

          main: edited outside
            ~ write endpoint.json
                + endpoint_id: "00000000-0000-4000-8000-6d61696e0000"

        Plan: 1 to change.
        """,
    )


# --- one witness is missing


def test_marker_lost() -> None:
    says(
        settled(endpoint()).has(replace(RUNNING, marker=None)).sees(login_path=LOGIN_PATH).text(),
        """
        Plan for stack hrrr on ufe01:

          main: lost marker
            = record what is there in the marker

        Plan: 1 to record.
        """,
    )


def test_marker_damaged_and_files_edited() -> None:
    directory = edited(replace(RUNNING, marker=Damaged("cut short")), "config.yaml", {"debug": False, "amqp_port": 443})
    says(
        settled(endpoint()).has(directory).sees(login_path=LOGIN_PATH).text(),
        """
        Plan for stack hrrr on ufe01:

          main: lost marker, edited outside
            = record what is there in the marker (the damaged one is kept as a backup)
            ~ write config.yaml (the edited one is kept as a backup)
                ~ debug: false -> true
            ! restart (PID 100)
                config.yaml is not the one it started with

        Plan: 1 to change, 1 to record, 1 to restart.
        """,
    )


def test_marker_lost_and_claimed_elsewhere() -> None:
    scene = settled(endpoint()).has(replace(RUNNING, marker=None)).locks(claim={"host": "hera"})
    assert exit_codes(scene) == [4]


def test_marker_lost_is_not_decided_without_the_service() -> None:
    plan = settled(endpoint()).has(replace(RUNNING, marker=None)).sees(registrations=Unknown("timeout")).plan()
    assert [b.endpoint for b in plan.blocked] == ["main"]
    assert not plan.actions


def test_lock_lost() -> None:
    scene = settled(endpoint(), endpoint("gone")).wants(endpoint()).knows(lock=None)
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          ~ write the lockfile (lost; made again from the markers)

          gone: refused: it is not deleted in this run: without a lockfile nothing tells that it is this manifest's own
              next: look at what this run writes into the lockfile, then run this again

        Plan: 1 refused.
        """,
    )
    assert scene.plan().entries["main"].id == uuid("main")


# --- a first start that was cut off


def cut_off(*candidates: str, **of: str) -> Scene:
    """Return a scene in which a first start has an intent and no outcome; `of` describes the candidates."""
    found = tuple(registration(endpoint_id=uuid(name), **of) for name in candidates)
    scene = settled(endpoint()).locks(id=None).has(UNREGISTERED).owns(*found)
    return scene.sees(pending={"main": intent(known=())}, candidates={"main": found})


def test_cut_off_before_it_registered() -> None:
    says(
        cut_off().text(),
        """
        Plan for stack hrrr on ufe01:

          main: not running
            > start, and register

          ~ write the lockfile (resolved state changed)

        Plan: 1 to start.
        """,
    )


def test_cut_off_after_it_registered() -> None:
    scene = cut_off("main", hostname="ufe01.noaa.gov", local_user="jdoe")
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: an earlier apply was interrupted, not running
            = record what is there in the marker
            ~ write endpoint.json
                + endpoint_id: "00000000-0000-4000-8000-6d61696e0000"
            > start

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change, 1 to record, 1 to start.
        """,
    )
    adopt, _, start = scene.plan().actions
    assert isinstance(adopt, Adopt)
    assert isinstance(start, Start)
    assert adopt.marker.id == start.id == uuid("main")


def test_cut_off_and_two_registrations_may_be_its_own() -> None:
    scene = cut_off("a", "b", hostname="ufe01", local_user="jdoe")
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: an earlier start was cut off, and it cannot be told which registration is its own
              00000000-0000-4000-8000-610000000000 on ufe01
              00000000-0000-4000-8000-620000000000 on ufe01
              next: look at them: `chiltepin adopt main --id UUID` takes one, `chiltepin apply --new main` none

        Plan: 1 refused.
        """,
    )
    assert exit_codes(scene) == [4]


@pytest.mark.parametrize("of", [{"hostname": "hera01"}, {"local_user": "other"}])
def test_cut_off_and_the_only_candidate_is_of_another_place(of: dict[str, str]) -> None:
    assert exit_codes(cut_off("a", **of)) == [4]


def test_cut_off_and_a_candidate_could_not_be_looked_at() -> None:
    plan = cut_off("a").sees(candidates={"main": Unknown("timeout")}).plan()
    assert [b.endpoint for b in plan.blocked] == ["main"]
    assert not plan.actions


def test_cut_off_is_not_decided_without_the_service() -> None:
    plan = cut_off("a").sees(registrations=Unknown("timeout")).plan()
    assert [b.endpoint for b in plan.blocked] == ["main"]


def test_cut_off_after_the_daemon_came_up() -> None:
    """endpoint.json knows the UUID, marker and lock do not yet."""
    directory = marked(RUNNING, id=None, daemon=None)
    scene = settled(endpoint()).locks(id=None).has(directory)
    config = RUNNING.files["config.yaml"].digest
    scene = scene.sees(pending={"main": intent(config=config, environment="environment-1", prefix="/opt/gce")})
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: an earlier apply was interrupted
            = record what is there in the marker
            > start

          ~ write the lockfile (resolved state changed)

        Plan: 1 to record, 1 to start.
        """,
    )
    adopt = scene.plan().actions[0]
    assert isinstance(adopt, Adopt)
    assert adopt.marker.id == uuid("main")
    assert adopt.marker.daemon is not None
    assert adopt.marker.daemon.config == config


def test_directory_of_ours_that_was_never_started() -> None:
    scene = settled(endpoint(state="stopped")).locks(id=None).has(UNREGISTERED).owns().wants(endpoint())
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: not running
            > start, and register

          ~ write the lockfile (resolved state changed)

        Plan: 1 to start.
        """,
    )


def test_directory_of_ours_that_was_never_started_and_an_unclaimed_registration() -> None:
    scene = settled(endpoint()).locks(id=None).has(UNREGISTERED)
    assert exit_codes(scene) == [4]


def test_text_names_the_directory_in_full() -> None:
    (refusal,) = empty(endpoint()).has(replace(STOPPED, marker=None)).plan().refusals
    assert f"{CONFIG_DIR}/main" in refusal.what


def test_an_identity_that_cannot_be_told_passes_as_nobodys() -> None:
    nobody = replace(SITE, identity=None)
    for scene in (settled(endpoint()), settled(endpoint()).has().sees(statuses={uuid("main"): "offline"})):
        plan = scene.knows(site=nobody).plan()
        assert plan.actions == ()
        [refusal] = plan.refusals
        assert refusal.exit_code == 77
        assert "cannot be told" in refusal.what
        assert "identity me" in refusal.evidence[0]
        assert "identity None" in refusal.evidence[1]


def test_lost_directory_about_which_nobody_asked_is_not_taken_for_offline() -> None:
    scene = lost(settled(endpoint()))
    found = find_ground(scene.desired.endpoints["main"], scene.live, scene.known)
    assert found == Blocked("main", "the service was not asked whether it is online")
    contradicted = lost(settled(endpoint()), main="gone")
    assert isinstance(find_ground(scene.desired.endpoints["main"], contradicted.live, scene.known), Blocked)


def test_what_was_not_asked_is_not_gone() -> None:
    scene = settled(endpoint()).owns()
    wanted = scene.desired.endpoints["main"]
    found = find_ground(wanted, scene.live, scene.known)
    assert isinstance(renew(wanted, found, scene.live, scene.known), Blocked)
    gone = scene.sees(statuses={uuid("main"): "gone"})
    assert isinstance(renew(wanted, found, gone.live, scene.known), Renewal)


def test_lock_lost_and_nothing_of_it_here() -> None:
    copy = marked(applied(endpoint()), claim=SITE.claim("main").model_copy(update={"config_dir": "~/old"}))
    scene = settled(endpoint()).has(copy).knows(lock=None)
    assert [file.cause.value for file in scene.plan().files] == ["new"]
