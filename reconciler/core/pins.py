"""What an endpoint's daemons are given whoever starts them: PATH and session variables, pinned in its marker. Pure."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.actions import Refusal
from reconciler.core.desired import AUTO_PATH, DesiredEndpoint
from reconciler.core.environment import PATH, join_path, keep, pin_session, renew_session
from reconciler.core.known import Ground
from reconciler.core.live import Damaged, LiveState, Unknown
from reconciler.core.machine import EndpointTool
from reconciler.core.marker import Marker


def takes_login_path(endpoint: DesiredEndpoint) -> bool:
    """Whether the manifest leaves PATH to the login shell."""
    return endpoint.user_environment.get(PATH, AUTO_PATH) == AUTO_PATH


def pinned(endpoint: DesiredEndpoint, ground: Ground, live: LiveState) -> Ground | Refusal:
    """Return `ground` with all pins in its marker; what is pinned already stays.

    PATH leads to the tool: user endpoints are started through it, and must be of the same Python environment
    as their daemon. So the login shell's PATH is pinned, and the tool's directory put in front of it each time.
    """
    marker = ground.marker
    if not takes_login_path(endpoint):
        kept = marker.environment or _first_kept(live)
        chosen = {**kept, PATH: endpoint.user_environment[PATH]}
        return replace(ground, marker=marker.but(path=None, environment=chosen))
    if marker.path is None:
        if not isinstance(live.login_path, str):
            return _no_login_path(endpoint, live.login_path)
        kept = {**_first_kept(live), PATH: live.login_path}
    else:
        kept = {PATH: marker.path, **(marker.environment or _first_kept(live))}
    path = marker.path
    if isinstance(live.tool, EndpointTool):
        path = join_path(live.tool.command.rpartition("/")[0], kept[PATH])
    if path is None:
        return _no_tool(endpoint, live.tool)
    return replace(ground, marker=marker.but(path=path, environment=kept))


def _first_kept(live: LiveState) -> dict[str, str]:
    return keep(pin_session(live.environment, live.login_variables), live.environment)


def environment_for(marker: Marker, live: LiveState, *, renew: bool = False) -> dict[str, str]:
    """Return what a daemon that is started now is given besides what is set here.

    Args:
        marker: with its pins.
        live: what is set here.
        renew: take session variables from here.
    """
    kept = renew_session(marker.environment, live.environment) if renew else marker.environment
    return keep(kept, live.environment)


def _no_login_path(endpoint: DesiredEndpoint, why: Unknown | None) -> Refusal:
    reason = (why.reason if why else "it was not asked").splitlines()
    return Refusal(
        endpoint.name,
        "its PATH is to be that of a login shell, which could not be had",
        "mend the site's profile scripts, or write the PATH yourself (`user_environment: {PATH: ...}`)",
        tuple(line.strip() for line in reason),
    )


def _no_tool(endpoint: DesiredEndpoint, why: Damaged | EndpointTool | None) -> Refusal:
    reason = (why.reason if isinstance(why, Damaged) else "it was not looked for").splitlines()
    return Refusal(
        endpoint.name,
        "globus-compute-endpoint cannot be used, and its PATH must lead there",
        "install globus-compute-endpoint >=4.13,<5 and put it on PATH, or set `python` of the host",
        tuple(line.strip() for line in reason),
    )
