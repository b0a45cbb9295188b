"""The daemon's environment over fakes: pinned, shown by name when it changes, and no reason to quarrel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.changes import Cause
from reconciler.core.desired import RestartPolicy
from reconciler.core.machine import EndpointTool
from reconciler.core.scope import Errand
from reconciler.errors import (
    EndpointCommandError,
    ExitCode,
    LoginRequired,
    ReconcilerError,
    ServiceUnreachable,
)
from tests.core.builders import desired, endpoint
from tests.fakes import TOOL
from tests.lab import Lab


def running() -> Lab:
    """Return a lab in which `main` runs."""
    lab = Lab(desired(endpoint()))
    assert lab.apply().code == ExitCode.OK
    return lab


def test_without_the_tool_or_a_login_shell_what_is_new_is_refused_and_what_is_there_goes_on() -> None:
    lab = running()
    for failing in ("tool", "login_shell"):
        lab.wants(endpoint(config={"debug": True, "display_name": failing}), endpoint("new"))
        lab.world.faults.fail(failing, EndpointCommandError("not there", why="nobody knows"))
        sight = lab.sight()
        assert [(r.endpoint, r.evidence[0]) for r in sight.plan.refusals if r.endpoint == "new"]
        assert [a.endpoint for a in sight.plan.actions if a.kind == "WriteFile"] == ["main"]
        lab.world.faults.revive()


@pytest.mark.parametrize("wrong", [LoginRequired("refused"), ServiceUnreachable("no answer"), None])
def test_another_client_secret_restarts_nothing_before_globus_auth_accepted_it(wrong: ReconcilerError | None) -> None:
    lab = Lab(desired(endpoint()))
    name = "GLOBUS_COMPUTE_CLIENT_SECRET"
    lab.world.environment |= {name: "right"}
    lab.apply()
    if wrong:
        lab.world.faults.fail("check_secret", wrong)
    lab.assert_converged()  # the secret that daemons have is asked about no more
    lab.world.environment |= {name: "other"}
    if isinstance(wrong, LoginRequired):
        with pytest.raises(LoginRequired):
            lab.sight()
        with pytest.raises(LoginRequired):
            lab.apply()
    elif wrong:
        assert lab.apply().outcomes == {}
        assert lab.plan_code() == ExitCode.UNREACHABLE
    else:
        assert lab.apply().outcomes == {("main", "Restart"): "done"}


def test_a_cron_job_and_a_shell_do_not_restart_each_others_daemons() -> None:
    lab = Lab(desired(endpoint()))
    shell = {"HOME": "/home/jdoe", "https_proxy": "http://p", "SLURM_CONF": "/s", "LANG": "C", "TZ": "UTC"}
    cron = {"HOME": "/home/jdoe"}
    lab.world.environment = shell
    lab.apply()
    first = lab.world.daemons[0]
    for environment in (cron, shell, {**shell, "LANG": "de_DE", "LOADEDMODULES": "intel"}, cron):
        lab.world.environment = environment
        assert lab.sight().plan.is_empty
    lab.world.end(first, cleanly=False)
    assert lab.apply().code == ExitCode.OK
    assert lab.world.daemons[0].environment == {**shell, "PATH": "/usr/bin:/bin"}
    lab.world.environment = shell
    lab.assert_converged()


def test_a_variable_that_is_set_otherwise_restarts_once_and_stays() -> None:
    lab = running()
    lab.world.environment = {"HOME": "/home/jdoe", "https_proxy": "http://proxy-2"}
    assert lab.apply().outcomes == {("main", "Restart"): "done"}
    lab.world.environment = {"HOME": "/home/jdoe"}
    lab.assert_converged()
    lab.world.environment = {"HOME": "/home/jdoe", "https_proxy": ""}
    assert lab.apply().outcomes == {("main", "Restart"): "done"}
    assert "https_proxy" not in lab.world.daemons[0].environment
    lab.world.environment = {"HOME": "/home/jdoe"}
    lab.assert_converged()


def test_a_restart_by_hand_takes_the_session_anew() -> None:
    lab = running()
    lab.world.environment |= {"LD_LIBRARY_PATH": "/new", "TZ": "UTC"}
    assert lab.sight().plan.is_empty
    lab.apply(errand=Errand("restart", ("main",)))
    assert lab.world.daemons[0].environment["LD_LIBRARY_PATH"] == "/new"
    lab.world.environment = {"HOME": "/home/jdoe"}
    lab.assert_converged()
    assert lab.world.daemons[0].environment["TZ"] == "UTC"


@pytest.mark.parametrize(
    "tool",
    [
        replace(TOOL, prefix="/opt/new", command="/opt/new/bin/globus-compute-endpoint"),
        replace(TOOL, versions={**TOOL.versions, "globus-compute-endpoint": "4.20.0"}),
        replace(TOOL, versions={**TOOL.versions, "parsl": "2027.1.1"}),
    ],
)
@pytest.mark.parametrize("policy", ["now", "never"])
def test_another_python_environment_restarts_by_the_policy(tool: EndpointTool, policy: RestartPolicy) -> None:
    lab = Lab(desired(endpoint(restart=policy)))
    lab.world.tool = replace(TOOL, versions={**TOOL.versions, "parsl": "2026.1.1"})
    lab.apply()
    lab.world.tool = replace(tool, versions={"parsl": "2026.1.1", **tool.versions})
    result = lab.apply()
    assert {a.cause for a in result.sight.plan.actions} == {Cause.ENVIRONMENT}
    assert result.outcomes["main", "Restart"] == ("done" if policy == "now" else "deferred")
    content = lab.world.folders["main"].files["user_environment.yaml"].content
    assert f"PATH: {tool.prefix}/bin:".encode() in content
    if policy == "now":
        lab.assert_converged()
