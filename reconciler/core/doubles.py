"""Registrations that a first start made and nobody uses: the reply to the first request was lost. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from reconciler.core.frozen import dataclass
from reconciler.core.live import LiveState, Registration
from reconciler.core.machine import EndpointTool


@dataclass(frozen=True)
class FirstStart:
    """A start that registered.

    Attributes:
        id: the UUID that the daemon runs under.
        known: the UUIDs of that name that the identity owned just before.
    """

    endpoint: str
    directory: str
    id: str
    known: Set[str]


def left_over(
    starts: Iterable[FirstStart], registrations: Mapping[str, Registration], claimed: Set[str]
) -> dict[str, tuple[str, ...]]:
    """Return, by endpoint, the UUIDs of its name that came up with its first start and are not its own.

    Args:
        starts: this run's first starts.
        registrations: what the identity owns now.
        claimed: UUIDs that are known to be some endpoint's.
    """
    found: dict[str, tuple[str, ...]] = {}
    for start in starts:
        not_it = {start.id} | start.known | claimed
        extra = sorted(r.id for r in registrations.values() if r.name == start.directory and r.id not in not_it)
        if extra:
            found[start.endpoint] = tuple(extra)
    return found


def say_left_over(endpoint: str, own: str, extra: Iterable[str], live: LiveState) -> str:
    """Return the warning about one endpoint, with the command that ends each of `extra`."""
    python = f"{live.tool.prefix}/bin/python" if isinstance(live.tool, EndpointTool) else "python"
    code = "; ".join(f"c.delete_endpoint('{uuid}')" for uuid in extra)
    command = f'{python} -c "from globus_compute_sdk import Client; c = Client(); {code}"'
    if live.config_dir != f"{live.host.home}/.globus_compute":
        command = f"GLOBUS_COMPUTE_USER_DIR={live.config_dir} {command}"
    return (
        f"{endpoint}: it runs as {own}, and its first start also registered {', '.join(extra)}, because a reply of the"
        f" service was lost. Nothing uses that one, and it was not removed. To remove it for ever: `{command}`"
    )
