"""Manifest to `Desired`: the local host chosen, defaults merged, expressions rendered, everything checked.

READ FIRST of the reading side: `build_desired` tells the story in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from reconciler.core.desired import Desired, DesiredEndpoint, HostView, TextFile
from reconciler.core.environment import SECRETS
from reconciler.core.frozen import dataclass
from reconciler.core.manifest.endpoints import EndpointBuilder, leak
from reconciler.core.manifest.findings import Findings, suggestion
from reconciler.core.manifest.hosts import Machine, local_host
from reconciler.core.manifest.model import Manifest
from reconciler.core.manifest.moves import read_moved
from reconciler.core.manifest.named_files import NamedFiles
from reconciler.core.manifest.options import OptionTable
from reconciler.core.manifest.parsed import Parsed, Path, walk
from reconciler.core.manifest.pools import PoolBuilder
from reconciler.core.manifest.reading import read_leniently, require
from reconciler.core.manifest.render import OPEN, Rendered, Renderer
from reconciler.core.manifest.renderers import Renderers
from reconciler.core.manifest.retention import read_trash
from reconciler.core.manifest.source import scan
from reconciler.core.names import canonical_uuid, name_fault
from reconciler.errors import Refused

MAX_COPIES = 5_000_000
"""Values of defaults times blocks that take them; 10,000 endpoints with 100 options have a fifth of it."""


@dataclass(frozen=True)
class Context:
    """What a manifest depends on besides its own text.

    Attributes:
        file: the manifest, as shown in messages.
        machine: what this machine is called.
        read_file: returns the bytes of a template, schema or identity mapping; the path is as in the
            manifest, relative to it. Raises ReconcilerError.
        env: the environment, for `{env: NAME}`, `env.NAME` and `CHILTEPIN_VAR_*`.
        cli_variables: `--var NAME=VALUE`.
        on_command_line: whether these stood in the arguments of a command, where others see them.
        host: `--host NAME`.
        templates, schemas: built-in documents by `builtin`, `builtin@1`, ...; the label of `builtin`
            names its version.
        option_table: options of the installed globus-compute-endpoint; None when nothing is known.
        allow_outside: `--allow-outside`: paths may leave the manifest's directory.
    """

    file: str
    machine: Machine
    read_file: Callable[[str], bytes]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cli_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    on_command_line: bool = True
    host: str | None = None
    templates: Mapping[str, TextFile] = field(default_factory=dict)
    schemas: Mapping[str, TextFile] = field(default_factory=dict)
    option_table: OptionTable | None = None
    allow_outside: bool = False


def load(text: str | bytes, *, context: Context) -> Desired:
    """Read a manifest's text into the local host's desired state; all problems of all stages at once.

    Raises:
        ManifestInvalid: with everything that is wrong.
        Refused: no host of the manifest is this machine, or several are.
        UsageError: `--host` names no host.
    """
    parsed = scan(text, context.file)
    manifest, findings = read_leniently(parsed)
    return _build(require(manifest, findings), findings, context)


def build_desired(manifest: Manifest, parsed: Parsed, *, context: Context, findings: Findings | None = None) -> Desired:
    """Return the local host's view of `manifest`.

    Args:
        parsed: where the manifest came from: positions for problems.
        findings: of `read_leniently`, to report its problems together with those found here.

    Raises:
        ManifestInvalid: with everything that is wrong.
        Refused: no host of the manifest is this machine, or several are.
        UsageError: `--host` names no host.
    """
    return _build(manifest, findings.copy() if findings else Findings(parsed), context)


def _build(manifest: Manifest, findings: Findings, context: Context) -> Desired:
    try:
        local = local_host(manifest.hosts, context.machine, context.env, override=context.host, file=context.file)
    except Refused:
        findings.finish()  # a misspelt `match` says more than "no host matches"
        raise
    raw = manifest.model_dump(by_alias=True, exclude_unset=True)
    _bound_defaults(raw, findings)
    hosts = _hosts_of_endpoints(manifest, findings)
    renderers = Renderers(manifest, findings, context.machine.name, context.env, context.cli_variables)
    files = NamedFiles(context.read_file, context.templates, context.schemas, context.allow_outside)
    builder = EndpointBuilder(findings, renderers.of(local), files, context.option_table)
    endpoints: dict[str, DesiredEndpoint] = {}
    for name, host in hosts.items():
        if host == local and (built := builder.build(name, _layers(raw, "endpoint", ("endpoints", name), local))):
            endpoints[name] = built
    _check_unique(manifest, hosts, endpoints, findings)
    pools = PoolBuilder(findings, local, hosts, endpoints, renderers.of).build(
        {name: _PoolLayers(raw, name) for name in manifest.pools}
    )
    moved = read_moved(manifest, findings)
    view = _host_view(manifest, local, renderers.of(local), findings)
    trash = read_trash(manifest, findings)
    renderers.warn_unused()
    if context.on_command_line:
        renderers.warn_visible()
    return Desired(
        stack=manifest.stack,
        host=view,
        endpoints=endpoints,
        elsewhere={name: host for name, host in hosts.items() if host is not None and host != local},
        hosts=tuple(manifest.hosts),
        pools=pools,
        moved=moved,
        declared=bool(manifest.endpoints),
        refused=builder.refused,
        options=context.option_table,
        warnings=findings.finish(),
        trash=trash,
        secrets=(renderers.secrets() | builder.secrets | {context.env.get(name, "") for name in SECRETS}) - {""},
        secret_variables=renderers.secret_variables(),
    )


def _bound_defaults(raw: Mapping[str, Any], findings: Findings) -> None:
    """Refuse defaults that, copied into every block, would take more than a little memory.

    Raises:
        ManifestInvalid: when they would.
    """
    blocks = len(raw.get("endpoints", ())) + len(raw.get("pools", ()))
    for path in (("defaults",), *(("hosts", host, "defaults") for host in raw.get("hosts", ()))):
        block: Any = raw
        for step in path:
            block = block.get(step, {})
        size = sum(1 for _ in walk(block))
        if size * blocks > MAX_COPIES:
            findings.error(path, f"defaults of {size:,} values are too large for {blocks:,} blocks", key=True)
            findings.finish()


def _layers(raw: Mapping[str, Any], kind: str, own: Path, host: str | None) -> dict[Path, Mapping[str, Any]]:
    """Return the blocks that make up the one at `own`, weakest first."""
    paths: list[Path] = [("defaults", kind)]
    if host is not None:
        paths.append(("hosts", host, "defaults", kind))
    layers: dict[Path, Mapping[str, Any]] = {}
    for path in (*paths, own):
        block: Any = raw
        for step in path:
            block = block.get(step, {})
        layers[path] = block
    return layers


@dataclass(frozen=True)
class _PoolLayers:
    """The blocks of one pool, given the host that it runs on."""

    raw: Mapping[str, Any]
    name: str

    def __call__(self, host: str | None) -> dict[Path, Mapping[str, Any]]:
        return _layers(self.raw, "pool", ("pools", self.name), host)


def _hosts_of_endpoints(manifest: Manifest, findings: Findings) -> dict[str, str | None]:
    """Return the host of every endpoint (None without a `hosts` section), checking names on the way."""
    only = next(iter(manifest.hosts)) if len(manifest.hosts) == 1 else None
    hosts: dict[str, str | None] = {}
    for name, block in manifest.endpoints.items():
        if fault := name_fault(name):
            findings.error(("endpoints", name), f"{name!r} cannot be an endpoint's name: {fault}", key=True)
        host = block.host or only
        if block.host is not None and block.host not in manifest.hosts:
            hint = suggestion(block.host, manifest.hosts, "hosts") or "declare it in `hosts`"
            findings.error(("endpoints", name, "host"), f"there is no host `{block.host}`", hint)
            host = None
        elif host is None and manifest.hosts and ("endpoints", name) not in findings.broken:
            hint = f"add `host:` with one of {', '.join(manifest.hosts)}"
            findings.error(("endpoints", name), f"`{name}` does not say on which host it lives", hint, key=True)
        hosts[name] = host
    return hosts


def _check_unique(
    manifest: Manifest, hosts: Mapping[str, str | None], built: Mapping[str, DesiredEndpoint], findings: Findings
) -> None:
    """Report endpoints that share a directory of one host, or a UUID.

    Other hosts' blocks are not rendered here, so those that hold an expression are left to their host.
    """
    directories: dict[tuple[str | None, str], str] = {}
    ids: dict[str, str] = {}
    for name, block in manifest.endpoints.items():
        directory = built[name].directory if name in built else block.directory or name
        uuid = built[name].id if name in built else canonical_uuid(block.id or "")
        if OPEN not in directory:
            if name not in built and (fault := name_fault(directory)) and directory != name:
                message = f"{directory!r} cannot be a directory's name: {fault}"
                findings.error(("endpoints", name, "directory"), message)
            first = directories.setdefault((hosts[name], directory), name)
            if first != name:
                message = f"the directory `{directory}` is that of the endpoint `{first}` already"
                findings.error(("endpoints", name, "directory"), message, "give each endpoint a directory of its own")
        if uuid and ids.setdefault(uuid, name) != name:
            findings.error(("endpoints", name, "id"), f"`{ids[uuid]}` has this UUID already")


def _host_view(manifest: Manifest, host: str | None, renderer: Renderer, findings: Findings) -> HostView:
    if host is None:
        return HostView()
    block = manifest.hosts[host]

    def text(value: Any, *inner: str | int) -> Any:
        def report(path: Path, result: Rendered) -> None:
            if result.error:
                findings.error(path, result.error, result.hint)
            elif result.sensitive:
                findings.error(path, *leak(path[2:]))
            elif not isinstance(result.value, str):
                findings.error(path, f"`{inner[0]}` must be text")

        return renderer.tree(value, ("hosts", host, *inner), report)

    return HostView(
        name=host,
        run_on=tuple(text(block.run_on, "run_on")),
        config_dir=text(block.config_dir, "config_dir"),
        python=text(block.python, "python"),
    )


__all__ = ["Context", "Machine", "build_desired", "load"]
