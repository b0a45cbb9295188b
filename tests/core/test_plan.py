"""The planner on values: for each situation, the plan's text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.actions import Create, Restart, WriteFile
from reconciler.core.desired import CONFIG, SCHEMA, TEMPLATE, USER_ENVIRONMENT, HostView, TextFile
from reconciler.core.live import Damaged, Unknown
from reconciler.core.machine import EndpointTool
from reconciler.core.outputs import plan_output, to_json
from reconciler.core.problems import Problem
from tests.core import builders
from tests.core.builders import (
    LOGIN_PATH,
    STACK,
    applied,
    desired,
    edited,
    empty,
    endpoint,
    here,
    marked,
    pool,
    says,
    settled,
    uuid,
    with_user_endpoints,
)

RUNNING = applied(endpoint())
BUILTIN_2 = TextFile("builtin@2", builders.TEMPLATE.text + "  max_workers: 2\n")


# --- new, and as declared


def test_new_endpoint() -> None:
    says(
        empty(endpoint(), pools=(pool("mpi"),)).text(),
        """
        Plan for stack hrrr on ufe01:

          main: new
            + create directory main
                + config.yaml
                    + debug: true
                + user_config_template.yaml.j2  builtin@1
                + user_environment.yaml
                    + PATH: "/opt/gce/bin:/usr/bin:/bin"
                + user_config_schema.json  builtin@1
            > start, and register

          ~ write the lockfile (new)
              + pool mpi
          ~ write the pools file (new)

        Plan: 1 to create, 1 to start, 1 pool to add.
        """,
    )


def test_new_endpoint_takes_over_a_registration_by_its_id() -> None:
    scene = empty(endpoint(id=uuid("old"))).owns(builders.registration("main", uuid("old")))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: new
            + create directory main with its UUID 00000000-0000-4000-8000-6f6c64000000
                + config.yaml
                    + debug: true
                + user_config_template.yaml.j2  builtin@1
                + user_environment.yaml
                    + PATH: "/opt/gce/bin:/usr/bin:/bin"
                + user_config_schema.json  builtin@1
            > start

          ~ write the lockfile (new)
          ~ write the pools file (new)

        Plan: 1 to create, 1 to start.
        """,
    )


def test_nothing_to_do() -> None:
    says(
        settled(endpoint(), endpoint("spare", state="stopped"), pools=(pool("mpi"),)).text(),
        """
        No changes. 2 endpoints on ufe01 as declared.
        """,
    )


def test_no_endpoint_at_all() -> None:
    scene = empty(pools=(pool("here", None),))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          ~ write the lockfile (new)
              + pool here
          ~ write the pools file (new)

        Plan: 1 pool to add.
        """,
    )


def test_new_without_schema_and_with_an_identity_mapping() -> None:
    mapping = TextFile("mapping.json", "[]\n")
    plan = empty(endpoint(schema=None, identity_mapping=mapping)).plan()
    create = plan.actions[0]
    assert isinstance(create, Create)
    modes = {name: f"{mode:o}" for name, (_, mode) in create.files.items()}
    assert modes == {
        "config.yaml": "600",
        "user_config_template.yaml.j2": "644",
        "user_environment.yaml": "600",
        "identity_mapping_config.json": "600",
    }


def test_order_is_the_manifests() -> None:
    plan = empty(endpoint("zeta"), endpoint("alpha")).plan()
    assert [(a.endpoint, a.kind) for a in plan.actions] == [
        ("zeta", "Create"),
        ("zeta", "Start"),
        ("alpha", "Create"),
        ("alpha", "Start"),
    ]


# --- files


def test_config_changed() -> None:
    says(
        settled(endpoint()).wants(endpoint(config={"debug": False, "display_name": "Main"})).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write config.yaml
                ~ debug:        true -> false
                + display_name: "Main"
            ! restart (PID 100)
                config.yaml is not the one it started with

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change, 1 to restart.
        """,
    )


def test_key_no_longer_set_is_removed_and_foreign_keys_survive() -> None:
    directory = edited(RUNNING, CONFIG, {"debug": True, "amqp_port": 443})
    scene = settled(endpoint()).has(directory).wants(endpoint(config={}))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed, and edited outside
            ~ write config.yaml (the edited one is kept as a backup)
                - debug: true
            ! restart (PID 100)
                config.yaml is not the one it started with

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change, 1 to restart.
        """,
    )
    write = next(a for a in scene.plan().actions if isinstance(a, WriteFile))
    assert write.content == b"amqp_port: 443\n"


def test_template_changed() -> None:
    directory = with_user_endpoints(RUNNING, 2)
    changed = TextFile("mine.j2", "engine:\n  type: ThreadPoolEngine\n")
    says(
        settled(endpoint()).has(directory).wants(endpoint(template=changed)).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write user_config_template.yaml.j2
                to mine.j2
                @@ -1,2 +1,2 @@
                 engine:
                -  type: GlobusComputeEngine
                +  type: ThreadPoolEngine

          ~ write the lockfile (resolved state changed)

          main: 2 user endpoints stay on the previous template until they end

        Plan: 1 to change.
        """,
    )


def test_built_in_template_updated() -> None:
    directory = with_user_endpoints(RUNNING, 1)
    says(
        settled(endpoint()).has(directory).wants(endpoint(template=BUILTIN_2)).text(),
        """
        Plan for stack hrrr on ufe01:

          main: built-in template updated
            ~ write user_config_template.yaml.j2
                to builtin@2
                @@ -1,2 +1,3 @@
                 engine:
                   type: GlobusComputeEngine
                +  max_workers: 2

          ~ write the lockfile (resolved state changed)

          main: 1 user endpoint stays on the previous template until it ends

        Plan: 1 to change.
        """,
    )


def test_schema_and_user_environment_changed() -> None:
    changed = endpoint(schema=TextFile("mine.json", '{"type": "object", "required": ["x"]}'))
    changed = replace(changed, user_environment={"PATH": "auto", "OMP_NUM_THREADS": "4"})
    says(
        settled(endpoint()).wants(changed).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write user_environment.yaml
                + OMP_NUM_THREADS: "4"
            ~ write user_config_schema.json
                to mine.json
                + required: ["x"]

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change.
        """,
    )


def test_schema_no_longer_wanted() -> None:
    says(
        settled(endpoint()).wants(endpoint(schema=None)).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ remove user_config_schema.json

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change.
        """,
    )


def test_identity_mapping_no_longer_wanted() -> None:
    before = endpoint(identity_mapping=TextFile("mapping.json", "[]\n"))
    says(
        settled(before).wants(endpoint()).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed, edited outside
            ~ write config.yaml
                - identity_mapping_config_path: "/home/jdoe/.globus_compute/main/identity_mapping_config.json"
            ~ write user_config_template.yaml.j2
                to builtin@1
                ~ (permissions): "0644" -> "0600"
            ~ remove identity_mapping_config.json
            ! restart (PID 100)
                config.yaml is not the one it started with

        Plan: 1 to change, 1 to restart.
        """,
    )


def test_permissions_are_repaired() -> None:
    template = replace(RUNNING.files[TEMPLATE], mode=0o666)
    directory = replace(RUNNING, files={**RUNNING.files, TEMPLATE: template})
    says(
        settled(endpoint()).has(directory).text(),
        """
        Plan for stack hrrr on ufe01:

          main: edited outside
            ~ write user_config_template.yaml.j2
                to builtin@1
                ~ (permissions): "0666" -> "0600"

        Plan: 1 to change.
        """,
    )


def test_owned_key_edited_outside() -> None:
    says(
        settled(endpoint()).has(edited(RUNNING, CONFIG, {"debug": False, "amqp_port": 443})).text(),
        """
        Plan for stack hrrr on ufe01:

          main: edited outside
            ~ write config.yaml (the edited one is kept as a backup)
                ~ debug: false -> true
            ! restart (PID 100)
                config.yaml is not the one it started with

        Plan: 1 to change, 1 to restart.
        """,
    )


def test_foreign_key_added_outside_is_kept() -> None:
    scene = settled(endpoint()).has(edited(RUNNING, CONFIG, {"debug": True, "amqp_port": 443}))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: edited outside, started with other configuration
            = record what is there in the marker
            ! restart (PID 100)
                config.yaml is not the one it started with

        Plan: 1 to record, 1 to restart.
        """,
    )


def test_edited_outside_and_spec_changed() -> None:
    directory = edited(RUNNING, CONFIG, {"debug": False})
    says(
        settled(endpoint()).has(directory).wants(endpoint(config={"debug": True, "amqp_port": 443})).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed, and edited outside
            ~ write config.yaml (the edited one is kept as a backup)
                + amqp_port: 443
                ~ debug:     false -> true
            ! restart (PID 100)
                config.yaml is not the one it started with

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change, 1 to restart.
        """,
    )


def test_file_removed_outside() -> None:
    says(
        settled(endpoint()).has(edited(RUNNING, TEMPLATE, None)).text(),
        """
        Plan for stack hrrr on ufe01:

          main: edited outside
            ~ write user_config_template.yaml.j2
                to builtin@1

        Plan: 1 to change.
        """,
    )


def test_config_that_cannot_be_read_is_replaced_and_kept_as_a_backup() -> None:
    says(
        settled(endpoint()).has(edited(RUNNING, CONFIG, b"debug: [\n")).text(),
        """
        Plan for stack hrrr on ufe01:

          main: damaged
            ~ write config.yaml (the damaged one is kept as a backup)
                the file cannot be read: not valid YAML at line 2

        Plan: 1 to change.
        """,
    )


def test_order_of_keys_in_the_manifest_means_nothing() -> None:
    before = endpoint(config={"debug": True, "amqp_port": 443})
    after = endpoint(config={"amqp_port": 443, "debug": True})
    assert settled(before).wants(after).plan().is_empty


def test_login_path_is_pinned() -> None:
    assert settled(endpoint()).sees(login_path="/other").plan().is_empty


def test_several_files_and_a_restart() -> None:
    changed = endpoint(config={"debug": False}, template=BUILTIN_2)
    plan = settled(endpoint()).wants(changed).plan()
    assert [a.kind for a in plan.actions] == ["WriteFile", "WriteFile", "Restart"]


# --- daemons


def test_stopped_daemon_is_started() -> None:
    says(
        settled(endpoint()).has(applied(endpoint(), running=False)).text(),
        """
        Plan for stack hrrr on ufe01:

          main: not running
            > start

        Plan: 1 to start.
        """,
    )


def test_declared_stopped() -> None:
    says(
        settled(endpoint()).wants(endpoint(state="stopped")).text(),
        """
        Plan for stack hrrr on ufe01:

          main: declared stopped
            # stop (PID 100)

          ~ write the lockfile (resolved state changed)

        Plan: 1 to stop.
        """,
    )


def test_declared_stopped_while_tasks_may_run() -> None:
    directory = with_user_endpoints(RUNNING, 2)
    says(
        settled(endpoint()).has(directory).wants(endpoint(state="stopped")).text(),
        """
        Plan for stack hrrr on ufe01:

          main: declared stopped
            # stop (PID 100)
                waits until idle: 2 user endpoints alive below it

          ~ write the lockfile (resolved state changed)

        Plan: 1 to stop.
        """,
    )


def test_stopped_and_never_registered() -> None:
    says(
        empty(endpoint(state="stopped"), pools=(pool("mpi"),)).text(),
        """
        Plan for stack hrrr on ufe01:

          main: new
            + create directory main
                + config.yaml
                    + debug: true
                + user_config_template.yaml.j2  builtin@1
                + user_environment.yaml
                    + PATH: "/opt/gce/bin:/usr/bin:/bin"
                + user_config_schema.json  builtin@1

          ~ write the lockfile (new)
              + pool mpi
          ~ write the pools file (new)

          pool mpi is left out of the pools file: endpoint `main` has no UUID yet

        Plan: 1 to create, 1 pool to add.
        """,
    )


def test_unmanaged_is_left_alone_and_kept_in_the_lock() -> None:
    foreign = replace(RUNNING, marker=None)
    scene = empty(endpoint(state="unmanaged"), pools=(pool("mpi"),)).has(foreign)
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          ~ write the lockfile (new)
              + pool mpi
          ~ write the pools file (new)

        Plan: 1 pool to add.
        """,
    )
    entry = scene.plan().entries["main"]
    assert (entry.id, entry.state) == (uuid("main"), "unmanaged")


def test_restart_waits_until_idle() -> None:
    directory = with_user_endpoints(RUNNING, 1)
    says(
        settled(endpoint()).has(directory).wants(endpoint(config={"debug": False})).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write config.yaml
                ~ debug: true -> false
            ! restart (PID 100)
                config.yaml is not the one it started with
                waits until idle: 1 user endpoint alive below it

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change, 1 to restart.
        """,
    )


def test_restart_now_says_what_it_interrupts() -> None:
    directory = with_user_endpoints(applied(endpoint(restart="now")), 3)
    scene = settled(endpoint(restart="now")).has(directory)
    says(
        scene.wants(endpoint(restart="now", config={"debug": False})).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write config.yaml
                ~ debug: true -> false
            ! restart (PID 100)
                config.yaml is not the one it started with
                interrupts 3 user endpoints and any task of them

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change, 1 to restart.
        """,
    )


def test_restart_never_stays_in_the_plan() -> None:
    scene = settled(endpoint(restart="never")).wants(endpoint(restart="never", config={"debug": False}))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write config.yaml
                ~ debug: true -> false
            ! restart (PID 100)
                config.yaml is not the one it started with
                waits: the manifest says `restart: never`

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change, 1 to restart.
        """,
    )


def test_policy_and_protection_go_into_the_marker() -> None:
    says(
        settled(endpoint()).wants(endpoint(restart="now", protect=True)).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            = record what is there in the marker
                ~ protect: false -> true
                ~ restart: "when-idle" -> "now"

          ~ write the lockfile (resolved state changed)

        Plan: 1 to record.
        """,
    )


def test_started_with_other_configuration() -> None:
    directory = marked(RUNNING, daemon=builders.record("the digest of an earlier config.yaml"))
    says(
        settled(endpoint()).has(directory).text(),
        """
        Plan for stack hrrr on ufe01:

          main: started with other configuration
            ! restart (PID 100)
                config.yaml is not the one it started with

        Plan: 1 to restart.
        """,
    )


def test_environment_changed() -> None:
    says(
        settled(endpoint()).sees(environment=here(https_proxy="http://proxy-2", NO_PROXY="*")).text(),
        """
        Plan for stack hrrr on ufe01:

          main: environment changed
            ! restart (PID 100)
                NO_PROXY: (not set) -> "*"
                https_proxy: "http://proxy-1" -> "http://proxy-2"

        Plan: 1 to restart.
        """,
    )


def test_versions_and_prefix_changed() -> None:
    tool = EndpointTool("/opt/new/bin/globus-compute-endpoint", "/opt/new", {"globus-compute-endpoint": "4.20.0"})
    says(
        settled(endpoint()).sees(tool=tool).text(),
        """
        Plan for stack hrrr on ufe01:

          main: environment changed
            ~ write user_environment.yaml
                ~ PATH: "/opt/gce/bin:/usr/bin:/bin" -> "/opt/new/bin:/usr/bin:/bin"
            ! restart (PID 100)
                globus-compute-endpoint 4.19.0 -> 4.20.0
                prefix /opt/gce -> /opt/new

        Plan: 1 to change, 1 to restart.
        """,
    )


def test_damaged_tool_asks_for_no_restart() -> None:
    assert settled(endpoint()).sees(tool=Damaged("not there")).plan().is_empty


def test_run_on_other_nodes() -> None:
    host = HostView(run_on=("ufe02", "ufe03"))
    scene = empty(endpoint(), pools=(pool("mpi"),)).wants(endpoint(), host=host)
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: new
            + create directory main
                + config.yaml
                    + debug: true
                + user_config_template.yaml.j2  builtin@1
                + user_environment.yaml
                    + PATH: "/opt/gce/bin:/usr/bin:/bin"
                + user_config_schema.json  builtin@1
            > start, and register
                waits: daemons run on ufe02 or ufe03, and this is ufe01

          ~ write the lockfile (new)
              + pool mpi
          ~ write the pools file (new)

          pool mpi is left out of the pools file: endpoint `main` has no UUID yet

        Plan: 1 to create, 1 to start, 1 pool to add.
        """,
    )
    start = scene.plan().actions[-1]
    assert start.instead == "run the same command on ufe02 or ufe03"


def test_run_on_other_nodes_reports_the_same_again_and_writes_nothing() -> None:
    scene = settled(endpoint()).wants(endpoint(), host=HostView(run_on=("ufe02",)))
    scene = scene.has(applied(endpoint(), registered=False, running=False)).locks(id=None)
    plan = scene.owns().plan()
    assert [(a.kind, a.hold is not None) for a in plan.actions] == [("Start", True)]
    assert [f.kind for f in plan.files if f.kind == "WriteLock"] == []


def test_run_on_other_nodes_clears_no_pid_file_and_restarts_nothing() -> None:
    host = HostView(run_on=("ufe02",))
    dead = replace(applied(endpoint()), processes=())
    plan = settled(endpoint()).has(dead).wants(endpoint(), host=host).plan()
    assert [(a.kind, a.hold is not None) for a in plan.actions] == [("Start", True)]
    changed = settled(endpoint()).wants(endpoint(config={"debug": False}), host=host).plan()
    assert [(a.kind, a.hold is not None) for a in changed.actions] == [("WriteFile", False), ("Restart", True)]


def test_run_on_other_nodes_stops_all_the_same() -> None:
    plan = settled(endpoint()).wants(endpoint(state="stopped"), host=HostView(run_on=("ufe02",))).plan()
    assert [(a.kind, a.hold) for a in plan.actions] == [("Stop", None)]


@pytest.mark.parametrize("node", ["ufe01", "ufe01.noaa.gov", "ufe0*", "UFE01*", "*.noaa.gov", "ufe0[12]"])
def test_run_on_this_node(node: str) -> None:
    plan = empty(endpoint()).wants(endpoint(), host=HostView(run_on=("ufe02", node))).plan()
    assert [(a.kind, a.hold) for a in plan.actions] == [("Create", None), ("Start", None)]


@pytest.mark.parametrize("node", ["ufe0", "ufe011", "hfe*", "*.gov.org"])
def test_run_on_that_does_not_name_this_node(node: str) -> None:
    plan = empty(endpoint()).wants(endpoint(), host=HostView(run_on=(node,))).plan()
    assert [(a.kind, a.hold is None) for a in plan.actions] == [("Create", True), ("Start", False)]


# --- the service cannot be reached


def test_service_unreachable() -> None:
    scene = settled(endpoint(), endpoint("spare"), endpoint("new"))
    scene = scene.wants(endpoint(config={"debug": False}), endpoint("spare", state="stopped"), endpoint("new"))
    scene = scene.has(applied(endpoint()), applied(endpoint("spare")))
    says(
        scene.sees(registrations=Unknown("timeout")).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write config.yaml
                ~ debug: true -> false

          spare: declared stopped
            # stop (PID 100)

          ~ write the lockfile (resolved state changed)

          main: not planned: the service could not be asked
          new: not planned: the service could not be asked

        Plan: 1 to change, 1 to stop, 2 not planned.
        """,
    )


def test_what_runs_is_as_declared_without_the_service() -> None:
    plan = settled(endpoint()).sees(registrations=Unknown("timeout")).plan()
    assert plan.is_empty
    assert not plan.blocked
    assert plan.unreachable == "timeout"


# --- options, scope, pools


def test_option_that_the_installed_version_does_not_know() -> None:
    problem = Problem("`brand_new` is not an option of globus-compute-endpoint 4.19.0", hint="install 4.20")
    scene = settled(endpoint(), endpoint("other"))
    scene = scene.wants(endpoint(config={"brand_new": 1}), endpoint("other"), refused={"main": (problem,)})
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          main: refused: `brand_new` is not an option of globus-compute-endpoint 4.19.0
              next: install 4.20

        Plan: 1 refused.
        """,
    )
    assert [r.exit_code for r in scene.plan().refusals] == [3]


def test_target_and_exclude() -> None:
    scene = empty(endpoint("a"), endpoint("b"), endpoint("c"))
    assert [name for name, _ in scene.plan(targets=["a", "c"]).by_endpoint()] == ["a", "c"]
    assert [name for name, _ in scene.plan(exclude=["b"]).by_endpoint()] == ["a", "c"]
    assert [name for name, _ in scene.plan(targets=["a", "b"], exclude=["b"]).by_endpoint()] == ["a"]


def test_endpoint_outside_the_scope_keeps_its_lock_entry() -> None:
    scene = settled(endpoint("a"), endpoint("b")).wants(endpoint("a"), endpoint("b", config={"debug": False}))
    assert scene.plan(targets=["a"]).is_empty


def test_sensitive_values_are_never_shown() -> None:
    secret = "hunter22"
    before = endpoint(user_environment={"TOKEN": "old-hunter", "A": "1"}, sensitive=frozenset({"TOKEN"}))
    after = replace(before, user_environment={"TOKEN": secret, "A": "2"})
    says(
        settled(before).wants(after).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write user_environment.yaml
                ~ A:     "1" -> "2"
                ~ TOKEN: (sensitive) -> (sensitive)

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change.
        """,
    )
    for scene in (settled(before).wants(after), empty(after), settled(before).wants(endpoint())):
        plan = scene.plan()
        assert "hunter" not in scene.text() + to_json(plan_output(plan)) + repr(plan.actions)


def test_a_changed_secret_alone_still_shows_as_changed() -> None:
    before = endpoint(user_environment={"TOKEN": "one"}, sensitive=frozenset({"TOKEN"}))
    after = replace(before, user_environment={"TOKEN": "two"})
    says(
        settled(before).wants(after).text(),
        """
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write user_environment.yaml
                ~ TOKEN: (sensitive) -> (sensitive)

        Plan: 1 to change.
        """,
    )


def test_of_a_text_that_holds_a_secret_the_other_lines_are_shown() -> None:
    lines = "export HF_TOKEN=$(cat ~/.hf)\nexport API_TOKEN={}\nmodule load intel/{}\n"
    before = endpoint(config={"engine": {"worker_init": lines.format("hunter22", 2023)}})
    after = endpoint(config={"engine": {"worker_init": lines.format("hunter22", 2024)}})
    shown = r"export HF_TOKEN=$(cat ~/.hf)\nexport API_TOKEN=***\nmodule load intel/{}\n"
    says(
        settled(before).wants(after).text(),
        f"""
        Plan for stack hrrr on ufe01:

          main: spec changed
            ~ write config.yaml
                ~ engine.worker_init: "{shown.format(2023)}" -> "{shown.format(2024)}"
            ! restart (PID 100)
                config.yaml is not the one it started with

          ~ write the lockfile (resolved state changed)

        Plan: 1 to change, 1 to restart.
        """,
    )
    other = endpoint(config={"engine": {"worker_init": lines.format("hunter33", 2023)}})
    assert "~ engine.worker_init: (sensitive) -> (sensitive)" in settled(before).wants(other).text()


def test_damaged_user_environment_does_not_quote_a_secret() -> None:
    wanted = endpoint(user_environment={"TOKEN": "hunter22"}, sensitive=frozenset({"TOKEN"}))
    scene = settled(wanted).has(edited(applied(wanted), USER_ENVIRONMENT, b"TOKEN: *hunter22\n"))
    assert "hunter" not in scene.text()
    assert [a.kind for a in scene.plan().actions] == ["WriteFile"]


def test_pools_whose_uuid_is_not_known_are_left_out() -> None:
    pools = (pool("here", None), pool("mpi"), pool("far", "hera-main"), pool("id", uuid("x")))
    scene = empty(endpoint(state="stopped"), pools=pools).wants(
        endpoint(state="stopped"), elsewhere={"hera-main": "hera"}
    )
    assert dict(scene.plan().left_out) == {
        "far": "endpoint `hera-main` has no UUID yet",
        "mpi": "endpoint `main` has no UUID yet",
    }


def test_a_pools_file_that_is_held_leaves_out_nothing_that_it_holds() -> None:
    scene = settled(endpoint(), endpoint("far"), pools=(pool("mpi"), pool("gone", "far")))
    scene = scene.has(marked(scene.live.directories["main"], stack="gfs"), scene.live.directories["far"])
    pools = (pool("mpi"), pool("new"))
    scene = replace(scene.locks(id=None), desired=desired(endpoint(), endpoint("far"), pools=pools))
    says(
        scene.text(),
        """
        Plan for stack hrrr on ufe01:

          ~ write the lockfile (resolved state changed)
              - pool gone
              + pool new

          main: refused: /home/jdoe/.globus_compute/main belongs to stack `gfs`
              this manifest's stack: hrrr
              the marker's stack: gfs
              next: choose another `directory`, or `chiltepin forget -f FILE main`, FILE being that stack's manifest

          the pools file stays as it is, for it holds pools of endpoints that are refused or not planned: mpi
          until then pools change in the lockfile only
          pool new is left out of the pools file: endpoint `main` has no UUID yet

        Plan: 1 pool to add, 1 pool to remove, 1 refused.
        """,
    )


def test_pools_file_alone_is_written() -> None:
    scene = settled(endpoint(), pools=(pool("mpi"),))
    says(
        replace(scene, desired=desired(endpoint(), pools=(pool("mpi", walltime="01:00:00"),))).text(),
        """
        Plan for stack hrrr on ufe01:

          ~ write the lockfile (resolved state changed)
              ~ pool mpi
                  + walltime: "01:00:00"
          ~ write the pools file (resolved state changed)

        Plan: 1 pool to change.
        """,
    )


def test_what_changes_in_pools_is_shown() -> None:
    before = (pool("gone"), pool("mpi", walltime="01:00:00", max_blocks=2, exclusive=False))
    after = (pool("mpi", walltime="02:00:00", max_blocks=2, partition="u1"), pool("new"))
    says(
        replace(settled(endpoint(), pools=before), desired=desired(endpoint(), pools=after)).text(),
        """
        Plan for stack hrrr on ufe01:

          ~ write the lockfile (resolved state changed)
              - pool gone
              ~ pool mpi
                  - exclusive: false
                  + partition: "u1"
                  ~ walltime:  "01:00:00" -> "02:00:00"
              + pool new
          ~ write the pools file (resolved state changed)

        Plan: 1 pool to add, 1 pool to change, 1 pool to remove.
        """,
    )


def test_pool_of_an_endpoint_that_is_new_is_written_once_that_has_its_uuid() -> None:
    scene = settled(endpoint(), pools=(pool("mpi"),))
    plan = replace(scene, desired=desired(endpoint(), endpoint("two"), pools=(pool("mpi"), pool("big", "two")))).plan()
    assert [file.kind for file in plan.files] == ["WriteLock", "WritePools"]
    assert plan.left_out == {}


def test_pools_file_lost() -> None:
    says(
        replace(settled(endpoint(), pools=(pool("mpi"),)), pools_text=None).text(),
        """
        Plan for stack hrrr on ufe01:

          ~ write the pools file (new)

        Plan: only our own files to write.
        """,
    )


# --- the plan's own guards


def test_every_change_is_guarded_by_the_marker() -> None:
    changed = endpoint(config={"debug": False}, template=BUILTIN_2, schema=None)
    for action in settled(endpoint()).wants(changed).plan().actions:
        assert any(type(p).__name__ == "MarkedAs" and p.stack == STACK for p in action.preconditions), action  # type: ignore[union-attr]


def test_restart_keeps_the_uuid() -> None:
    actions = settled(endpoint()).wants(endpoint(config={"debug": False})).plan().actions
    assert [a.id for a in actions if isinstance(a, Restart)] == [uuid("main")]


def test_path_of_the_login_is_written_where_the_manifest_says_auto() -> None:
    create = empty(endpoint()).plan().actions[0]
    assert isinstance(create, Create)
    assert create.files[USER_ENVIRONMENT][0] == f"PATH: {LOGIN_PATH}\nGLOBUS_COMPUTE_CLIENT_SECRET: ''\n".encode()
    assert create.files[SCHEMA][0] == builders.SCHEMA.text.encode()
