"""Facts about this machine: its names, and the globus-compute-endpoint installed on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from reconciler.core.frozen import dataclass


@dataclass(frozen=True)
class EndpointTool:
    """The installed globus-compute-endpoint.

    Attributes:
        command: absolute path of the executable.
        prefix: sys.prefix of its Python.
        versions: of `globus-compute-endpoint`, `python`, `parsl`, ...
    """

    command: str
    prefix: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class LoginShell:
    """What a login shell sets up for everybody: PATH, and the other variables that may reach a daemon."""

    path: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Moment:
    """A point in time on one node, however its clock is set: `seconds` from the boot of that `boot_id`."""

    boot_id: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class HostFacts:
    """This machine and this user.

    Attributes:
        name: the short host name.
        boot_id: the kernel's.
        home: an absolute path.
        namespace: the PID namespace; empty where the kernel has only one.
    """

    name: str
    fqdn: str
    boot_id: str
    user: str
    uid: int
    home: str = ""
    namespace: str = ""
