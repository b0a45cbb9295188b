"""Pool blocks to `DesiredPool`s: where each runs, its merged and rendered options, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.desired import DesiredEndpoint, DesiredPool
from reconciler.core.manifest.allowance import CHECKS, RENDERINGS, Allowance
from reconciler.core.manifest.endpoints import doubt, leak
from reconciler.core.manifest.findings import Findings, Layers, suggestion
from reconciler.core.manifest.merge import merge
from reconciler.core.manifest.model import PoolBlock
from reconciler.core.manifest.named_files import template_fault
from reconciler.core.manifest.parsed import Path, walk
from reconciler.core.manifest.pool_options import Target, check_pool, resolve, sent
from reconciler.core.manifest.reading import validate_block
from reconciler.core.manifest.render import Rendered, Renderer
from reconciler.core.manifest.schema_trial import schema_faults
from reconciler.core.named_secrets import named_secrets
from reconciler.core.names import canonical_uuid, pool_name_fault
from reconciler.core.url_secrets import url_passwords

LayersOf = Callable[["str | None"], "dict[Path, Mapping[str, Any]]"]
"""The blocks that make up a pool, weakest first, given the host that it runs on."""

_HINTS = 50
"""Unknown endpoints for which the nearest name is looked up; in a large manifest that takes a millisecond."""

_NOT_TEXT = frozenset(PoolBlock.model_fields) - {"endpoint", "partition", "queue", "account", "walltime"}


_EXPANDS = re.compile(r"[$`]")
"""What the shell makes something of: where a secret comes from there, a warning would be wrong too often."""
_WRITTEN = "and pools are written to plain files: lock and pools file"
_READ = (
    "keep it in a file on the host that only you can read, and let a line take it from there: `export NAME=$(cat FILE)`"
)


@dataclass
class PoolBuilder:
    """Turns pool blocks into pools.

    A pool takes the defaults and variables of the host that it runs on: its endpoint's host, or the
    local host for a local pool and for an endpoint that is known by its UUID only.

    Attributes:
        local: the local host's name.
        hosts: the host of every endpoint of the manifest.
        endpoints: the local host's endpoints that could be built.
        renderer: returns the renderer for a host.
    """

    findings: Findings
    local: str | None
    hosts: Mapping[str, str | None]
    endpoints: Mapping[str, DesiredEndpoint]
    renderer: Callable[[str | None], Renderer]
    _unknown: int = 0
    _sent: dict[tuple[str, str], str] = field(default_factory=dict)
    _renderings: Allowance = field(default_factory=lambda: Allowance(RENDERINGS))
    _checks: Allowance = field(default_factory=lambda: Allowance(CHECKS))

    def build(self, pools: Mapping[str, LayersOf]) -> dict[str, DesiredPool]:
        """Return the pools that could be built; what is wrong goes to the findings."""
        built = {name: self._pool(name, layers) for name, layers in pools.items()}
        return {name: pool for name, pool in built.items() if pool is not None}

    def _pool(self, name: str, layers_of: LayersOf) -> DesiredPool | None:
        endpoint, host, usable = self._endpoint(layers_of(self.local))
        self._check_name(name, local=usable and endpoint is None)
        layers = layers_of(host)
        places = Layers(*reversed(tuple(layers)))
        merged = merge(*layers.values())
        merged.pop("endpoint", None)
        given, outside = self._render(merged, host, places)
        if given is None or not usable or not self.findings.broken.isdisjoint(layers):
            return None
        if endpoint is None:  # Parsl would submit the empty text, as a queue or an account of no name
            given = {key: value for key, value in given.items() if value != ""}
        own = frozenset(key for key, value in layers[places.paths[0]].items() if value is not None)
        target = self._target(endpoint)
        before = len(self.findings.problems)
        for finding in check_pool(given, own, target):
            inner = (finding.key,) if finding.key else ()
            position = places.place(self.findings.parsed, inner)
            self.findings.at(position, finding.message, finding.hint, severity=finding.severity)
        options = resolve(given, remote=target.remote)
        if endpoint is not None and all(p.severity != "error" for p in self.findings.problems[before:]):
            self._check_sent(name, endpoint, sent(options), places)
        position = self.findings.parsed.at(("pools", name), key=True)
        return DesiredPool(name, endpoint, options, given, position, outside)

    def _check_name(self, name: str, *, local: bool) -> None:
        path: Path = ("pools", name)
        if fault := pool_name_fault(name, local=local):
            self.findings.error(path, f"{name!r} cannot be a pool's name: {fault}", key=True)
        elif name == "local":
            message = "a pool named `local` replaces the one that Chiltepin always adds under that name"
            self.findings.warning(path, message, "another name keeps both", key=True)

    def _endpoint(self, layers: Mapping[Path, Mapping[str, Any]]) -> tuple[str | None, str | None, bool]:
        """Return endpoint (name, UUID or None), the host whose defaults apply, and whether that is settled."""
        set_by = [path for path, block in layers.items() if "endpoint" in block]
        text = layers[set_by[-1]]["endpoint"] if set_by else None
        if text is None:
            return None, self.local, True
        place: Path = (*set_by[-1], "endpoint")
        result = self.renderer(self.local).render(text)
        if result.error:
            self.findings.error(place, result.error, result.hint)
        elif result.sensitive:
            self.findings.error(place, *leak(("endpoint",)))
        elif result.value is None:
            return None, self.local, True
        elif result.value == "":
            message = "an empty `endpoint` would silently make this a local pool on the submitting host"
            self.findings.error(place, message, "name an endpoint, or leave the key out for a local pool")
        elif result.value in self.hosts:
            return result.value, self.hosts[result.value], True
        elif uuid := canonical_uuid(str(result.value)):
            return uuid, self.local, True
        else:
            self._unknown += 1
            hint = suggestion(str(result.value), self.hosts, "endpoints") if self._unknown < _HINTS else None
            self.findings.error(place, f"there is no endpoint `{result.value}`", hint)
        return None, self.local, False

    def _render(
        self, merged: dict[str, Any], host: str | None, places: Layers
    ) -> tuple[dict[str, Any] | None, frozenset[str]]:
        """Return the options that are set, rendered and checked, and which of them come from outside the manifest.

        The options are None when an expression went wrong.
        """
        results: dict[Path, Rendered] = {}
        block = self.renderer(host).tree(merged, (), results.__setitem__)
        faults: list[tuple[Path, str, str | None]] = []
        for path, result in results.items():
            if result.error:
                faults.append((path, result.error, result.hint))
            elif result.sensitive:
                faults.append((path, *leak(path)))
            elif isinstance(result.value, str) and len(path) == 1 and path[0] in _NOT_TEXT and "{{" in result.value:
                faults.append((path, f"`{path[0]}` cannot be this text", None))
        if results and not faults:
            faults = validate_block(PoolBlock, block, results)
        for path, message, hint in faults:
            self.findings.at(places.place(self.findings.parsed, path), message, hint)
        outside = frozenset(str(path[0]) for path, result in results.items() if result.outside)
        if faults:
            return None, outside
        for path, value in walk(block):
            if path in results and results[path].doubtful:
                self._warn(places, path, *doubt(results[path].doubtful, path))
            elif isinstance(value, str):
                self._check_literal(path, value, places)
        return {key: value for key, value in block.items() if value is not None}, outside

    def _check_literal(self, path: Path, text: str, places: Layers) -> None:
        """Warn of a secret in a pool's text; what the shell makes is none, unless one is written in its command."""
        named = [(each.name, text[each.start : each.end]) for each in named_secrets(text)]
        within = [(each.name, value[each.start : each.end]) for _, value in named for each in named_secrets(value)]
        names = [name for name, value in (*named, *within) if not _EXPANDS.search(value)]
        if names:
            self._warn(places, path, f"`{names[0]}` looks like a secret written in the manifest, {_WRITTEN}", _READ)
        elif any(not _EXPANDS.search(password) for password in url_passwords(text)):
            self._warn(places, path, f"there is a URL with a password or a token in this text, {_WRITTEN}", _READ)

    def _warn(self, places: Layers, path: Path, message: str, hint: str) -> None:
        place = places.place(self.findings.parsed, path)
        self.findings.at(place, message, hint, severity="warning", show=False)

    def _target(self, endpoint: str | None) -> Target:
        if endpoint is None:
            return Target(remote=False)
        known = self.endpoints.get(endpoint)
        if known is None:  # of an endpoint that is wrong itself, or of another host, nothing more is known here
            return Target(remote=True, judged=endpoint not in self.hosts)
        if known.state == "unmanaged":
            return Target(remote=True)
        return Target(True, known.template.label.startswith("builtin"), known.schema is not None)

    def _check_sent(self, name: str, endpoint: str, options: Mapping[str, Any], places: Layers) -> None:
        """Check what Chiltepin will send: with the endpoint's own template and schema file, and for a twin."""
        known = self.endpoints.get(endpoint)
        if known and known.state == "unmanaged":
            known = None
        if (
            known
            and not known.template.label.startswith("builtin")
            and (why := template_fault(known.template, options, self._renderings))
        ):
            message = f"`{endpoint}`'s template {known.template.label} cannot serve this pool: {why}"
            self.findings.at(places.place(self.findings.parsed, ()), message)
        schema = known.schema if known else None
        if schema is not None and schema.text and not schema.label.startswith("builtin"):
            for fault in schema_faults(schema.text, options, self._checks):
                position = places.place(self.findings.parsed, ())
                self.findings.at(position, f"`{endpoint}`'s schema {schema.label} refuses this pool: {fault}")
        twin = self._sent.setdefault((endpoint, repr(options)), name)
        if twin != name:
            message = f"this pool is the same as `{twin}`: the two share one user endpoint and its workers"
            self.findings.warning(("pools", name), message, key=True)
