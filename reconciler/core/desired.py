"""The desired state: what one host's endpoints and pools should be, fully resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from reconciler.core.frozen import dataclass
from reconciler.core.manifest.options import OptionTable
from reconciler.core.problems import Position, Problem

EndpointState = Literal["running", "stopped", "unmanaged"]
RestartPolicy = Literal["when-idle", "now", "never"]

CONFIG = "config.yaml"
TEMPLATE = "user_config_template.yaml.j2"
SCHEMA = "user_config_schema.json"
USER_ENVIRONMENT = "user_environment.yaml"
IDENTITY_MAPPING = "identity_mapping_config.json"

DOCUMENTS = (TEMPLATE, SCHEMA, USER_ENVIRONMENT)
"""What a user endpoint reads when it starts."""
"""The files of an endpoint directory that a manifest determines."""

ENDPOINT_JSON = "endpoint.json"
"""The file in which globus-compute-endpoint keeps the UUID."""

AUTO_PATH = "auto"
"""Value of `user_environment.PATH` that stands for the login PATH, captured once and pinned."""


@dataclass(frozen=True)
class TextFile:
    """A file whose whole text is given: a template, a schema, an identity mapping.

    `label` names where it comes from in plan and lock: `builtin@1`, or the path as in the manifest.
    """

    label: str
    text: str


@dataclass(frozen=True)
class DesiredEndpoint:
    """One endpoint of the local host.

    Attributes:
        config: the keys of config.yaml that the manifest sets, merged and rendered (JSON-like values).
        schema: None when the manifest says `schema: none`.
        user_environment: variables of the user endpoints; PATH may be AUTO_PATH.
        sensitive: names in `user_environment` whose values must never be shown.
    """

    name: str
    directory: str
    template: TextFile
    schema: TextFile | None
    state: EndpointState = "running"
    id: str | None = None
    protect: bool = False
    restart: RestartPolicy = "when-idle"
    config: Mapping[str, Any] = field(default_factory=dict)
    user_environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": AUTO_PATH})
    sensitive: frozenset[str] = frozenset()
    identity_mapping: TextFile | None = None
    position: Position | None = None


@dataclass(frozen=True)
class DesiredPool:
    """One executor pool.

    Attributes:
        endpoint: the name of an endpoint of this manifest (of any host), a UUID, or None for local Parsl.
        options: every option of the pool but `endpoint`, defaults filled in, in upstream's types.
        given: the options that the manifest (or its defaults) sets, in upstream's types.
        outside: options into which a value from outside the manifest went: the environment, or the command line.
    """

    name: str
    endpoint: str | None
    options: Mapping[str, Any]
    given: Mapping[str, Any] = field(default_factory=dict)
    position: Position | None = None
    outside: frozenset[str] = frozenset()


@dataclass(frozen=True)
class HostView:
    """How the manifest sees the local host.

    Attributes:
        name: the host's name in the manifest; None without a `hosts` section.
        run_on: short names or FQDNs, or patterns of them, of the nodes where daemons may be started; empty means any.
        config_dir: as written in the manifest (may begin with `~`), or None for the default.
        python: the environment whose globus-compute-endpoint is used, or None for PATH.
    """

    name: str | None = None
    run_on: tuple[str, ...] = ()
    config_dir: str | None = None
    python: str | None = None


@dataclass(frozen=True)
class Moved:
    """A rename: the endpoint known as `old` is now called `new`."""

    old: str
    new: str


@dataclass(frozen=True)
class Trash:
    """How long deleted endpoints are kept, in seconds, and how many bytes they may take; None: no bound."""

    keep: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True)
class Desired:
    """The local host's view of a manifest.

    Attributes:
        endpoints: endpoints of this host, by name, in the manifest's order.
        elsewhere: names of endpoints of other hosts, with the host's name.
        hosts: names of all hosts of the manifest.
        declared: whether the manifest declares any endpoint at all (an empty section deletes nothing).
        refused: by endpoint, options that the installed globus-compute-endpoint does not know.
        options: those that it knows; None when it is not known which it does.
        warnings: findings that do not stop the run.
        secrets: values that nobody may see, wherever they stand: of what is declared sensitive, and what can be nothing
            but a secret.
        secret_variables: names of the manifest's variables whose values nobody may see.
    """

    stack: str
    host: HostView = field(default_factory=HostView)
    endpoints: Mapping[str, DesiredEndpoint] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    pools: Mapping[str, DesiredPool] = field(default_factory=dict)
    moved: tuple[Moved, ...] = ()
    declared: bool = True
    refused: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    options: OptionTable | None = None
    warnings: tuple[Problem, ...] = ()
    trash: Trash = field(default_factory=Trash)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    secret_variables: frozenset[str] = frozenset()

    def formerly(self, name: str) -> tuple[str, ...]:
        """Return what an endpoint was called before, by `moved`; the latest name first."""
        found: list[str] = []
        ahead = [name] if self.moved else []
        for current in ahead:
            older = [m.old for m in self.moved if m.new == current and m.old not in (name, *found)]
            found += older
            ahead += older
        return tuple(found)

    def block_of(self, name: str) -> DesiredEndpoint | None:
        """Return the block of an endpoint, also one under the name that it is to have."""
        if name in self.endpoints or not self.moved:
            return self.endpoints.get(name)
        return next((endpoint for new, endpoint in self.endpoints.items() if name in self.formerly(new)), None)
