"""PATH and session variables are captured once, and lead to the tool that starts the daemon."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reconciler.core.actions import Create, Restart, Start, WriteFile
from reconciler.core.desired import USER_ENVIRONMENT
from reconciler.core.digest import digest_bytes, digest_value
from reconciler.core.environment import given
from reconciler.core.live import Damaged, LiveDirectory, Unknown
from reconciler.core.machine import EndpointTool
from reconciler.core.marker import DaemonRecord, FileRecord, Marker
from reconciler.core.plan import Plan
from tests.core.builders import KEPT, LOGIN_PATH, applied, edited, empty, endpoint, here, marked, says, settled

NEW_TOOL = EndpointTool("/opt/new/bin/globus-compute-endpoint", "/opt/new", {"globus-compute-endpoint": "4.19.0"})
OWN_PATH = endpoint(user_environment={"PATH": "/own/bin"})


def started(plan: Plan) -> Start | Restart:
    return next(a for a in plan.actions if isinstance(a, Start | Restart))


def written(plan: Plan, file: str = USER_ENVIRONMENT) -> str:
    create = next(a for a in plan.actions if isinstance(a, Create))
    return create.files[file][0].decode()


def running(**marker: Any) -> LiveDirectory:
    return marked(applied(endpoint()), **marker)


def test_what_a_login_shell_sets_is_pinned_with_the_directory() -> None:
    scene = empty(endpoint()).sees(
        login_path="/site/bin", login_variables={"MODULEPATH": "/m"}, environment=here(TZ="Z")
    )
    create = next(a for a in scene.plan().actions if isinstance(a, Create))
    assert create.marker.path == "/opt/gce/bin:/site/bin"
    assert create.marker.environment == {"MODULEPATH": "/m", "TZ": "Z", "PATH": "/site/bin"}
    assert started(scene.plan()).environment == create.marker.environment


def test_a_login_shell_that_fails_refuses_the_endpoints_that_need_it_and_no_other() -> None:
    scene = empty(endpoint("a"), replace(OWN_PATH, name="b", directory="b"))
    scene = scene.sees(login_path=Unknown("the login shell's PATH could not be had: it ended with code 3"))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          b: new
            + create directory b
                + config.yaml
                    + debug: true
                + user_config_template.yaml.j2  builtin@1
                + user_environment.yaml
                    + PATH: "/own/bin"
                + user_config_schema.json  builtin@1
            > start, and register

          ~ write the lockfile (new)
          ~ write the pools file (new)

          a: refused: its PATH is to be that of a login shell, which could not be had
              the login shell's PATH could not be had: it ended with code 3
              next: mend the site's profile scripts, or write the PATH yourself (`user_environment: {PATH: ...}`)

        Plan: 1 to create, 1 to start, 1 refused.
        """,
    )
    assert "a" not in scene.plan().entries


def test_a_login_shell_that_fails_does_not_matter_where_its_path_is_pinned() -> None:
    assert settled(endpoint()).sees(login_path=Unknown("it hangs")).plan().is_empty


def test_without_the_tool_a_new_endpoint_is_refused_and_one_that_runs_is_as_declared() -> None:
    scene = settled(endpoint()).wants(endpoint(), endpoint("new")).sees(tool=Damaged("it was not found"))
    plan = scene.plan()
    assert [(r.endpoint, r.exit_code, r.evidence) for r in plan.refusals] == [("new", 4, ("it was not found",))]
    assert plan.actions == ()


def test_another_tool_leads_the_path_and_its_lack_does_not_bring_the_old_one_back() -> None:
    plan = settled(endpoint()).sees(tool=NEW_TOOL).plan()
    assert [(a.kind, a.cause.value) for a in plan.actions] == [
        ("WriteFile", "environment changed"),
        ("Restart", "environment changed"),
    ]
    write = plan.actions[0]
    assert isinstance(write, WriteFile)
    assert b"PATH: /opt/new/bin:/usr/bin:/bin\n" in (write.content or b"")
    after = plan.markers["main"]
    assert (after.path, after.environment["PATH"]) == ("/opt/new/bin:/usr/bin:/bin", "/usr/bin:/bin")
    scene = settled(endpoint()).sees(tool=NEW_TOOL)
    changed = applied(endpoint())
    done = marked(changed, path=after.path)
    assert isinstance(done.marker, Marker)
    assert write.record is not None
    done = replace(
        done,
        marker=done.marker.but(files={**done.marker.files, USER_ENVIRONMENT: write.record}),
        files={**done.files, USER_ENVIRONMENT: replace(done.files[USER_ENVIRONMENT], digest=write.record.digest)},
    )
    assert scene.has(done).sees(tool=Damaged("gone")).plan().is_empty


def test_an_edit_and_another_tool_at_once_are_not_only_a_changed_environment() -> None:
    wanted = endpoint(user_environment={"PATH": "auto", "A": "1"})
    plan = settled(endpoint()).wants(wanted).sees(tool=NEW_TOOL).plan()
    assert plan.actions[0].cause.value == "spec changed"


def test_a_path_of_its_own_needs_no_login_shell_and_is_the_daemons_too() -> None:
    scene = empty(OWN_PATH).sees(login_path=None, environment=here(TZ="Z"))
    assert started(scene.plan()).environment == {"PATH": "/own/bin", "TZ": "Z"}
    assert "PATH: /own/bin\n" in written(scene.plan())


def test_from_a_path_of_its_own_back_to_the_login_shells() -> None:
    own = settled(OWN_PATH).has(marked(applied(OWN_PATH), path=None, environment={"PATH": "/own/bin", "TZ": "Z"}))
    plan = own.wants(endpoint()).sees(login_path="/site/bin").plan()
    assert [a.kind for a in plan.actions] == ["WriteFile"]
    assert plan.markers["main"].path == "/opt/gce/bin:/site/bin"
    assert plan.markers["main"].environment["PATH"] == "/site/bin"


def test_a_marker_of_a_first_version_keeps_its_path() -> None:
    old = running(environment={})
    assert settled(endpoint()).has(old).plan().is_empty
    plan = settled(endpoint(config={"debug": False})).has(old).sees(environment=here(TZ="Z")).plan()
    assert plan.markers["main"].path == LOGIN_PATH
    assert started(plan).environment == {"PATH": LOGIN_PATH, "TZ": "Z"}


def test_the_environment_of_a_daemon_of_a_first_version_is_unknown_and_asks_for_nothing() -> None:
    record = applied(endpoint()).marker.daemon  # type: ignore[union-attr]
    assert isinstance(record, DaemonRecord)
    old = DaemonRecord.model_validate({**record.model_dump(), "environment": "0f1e2d"})
    assert old.environment == {}
    assert settled(endpoint()).has(running(daemon=old)).sees(environment=here(NO_PROXY="*")).plan().is_empty


def test_a_restart_by_hand_takes_the_session_anew_and_an_apply_does_not() -> None:
    scene = settled(endpoint()).sees(environment=here(TZ="Z", https_proxy="http://proxy-1"))
    assert scene.plan().is_empty
    changed = scene.wants(endpoint(config={"debug": False})).plan()
    assert started(changed).environment == KEPT


def test_a_password_that_a_start_cannot_give_again_is_named() -> None:
    had = given({}, here(https_proxy="http://u:pw@proxy"))
    record = applied(endpoint()).marker.daemon  # type: ignore[union-attr]
    assert record is not None
    daemon = record.model_copy(update={"environment": had})
    without = {name: value for name, value in KEPT.items() if name != "https_proxy"}
    scene = settled(endpoint()).has(running(daemon=daemon, environment=without)).sees(environment=here())
    assert scene.plan().is_empty
    noted = scene.wants(endpoint(config={"debug": False})).plan().notes
    assert "had https_proxy, not kept because a password is in it" in noted[0].text


def test_a_config_directory_with_a_blank_is_warned_of() -> None:
    scene = settled(endpoint())
    assert scene.plan().notes == ()
    [note] = scene.sees(config_dir="/home/j doe/.globus_compute").plan().notes
    assert "tasks never run" in note.text
    assert "'/home/j doe/.globus_compute'" in note.text


def test_an_endpoint_of_before_the_client_secret_was_withheld_gets_one_write_and_no_restart() -> None:
    old = applied(endpoint())
    assert isinstance(old.marker, Marker)
    content = f"PATH: {LOGIN_PATH}\n".encode()
    spec = digest_value({"PATH": LOGIN_PATH})
    record = FileRecord(digest=digest_bytes(content), spec=spec, keys=(("PATH",),))
    files = {**old.marker.files, USER_ENVIRONMENT: record}
    old = edited(marked(old, files=files), USER_ENVIRONMENT, content)
    says(
        settled(endpoint()).has(old).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write user_environment.yaml
                + GLOBUS_COMPUTE_CLIENT_SECRET: ""

        Plan: 1 to change.
        """,
    )
