"""The renderers of a manifest: one for each host's view, with that host's variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.manifest.findings import Findings, suggestion
from reconciler.core.manifest.model import Manifest, Variables
from reconciler.core.manifest.parsed import Path
from reconciler.core.manifest.render import Renderer
from reconciler.core.manifest.variables import (
    PREFIX,
    VariableTable,
    check_variable,
    telling_name,
    variable_table,
)


@dataclass
class Renderers:
    """One renderer for each host's view, made when it is needed.

    Attributes:
        machine: what this machine is called; `host` where the manifest has no hosts.
        env: the environment.
        given: values of `--var`.
    """

    manifest: Manifest
    findings: Findings
    machine: str
    env: Mapping[str, str]
    given: Mapping[str, str]
    _made: dict[str | None, Renderer] = field(default_factory=dict)

    def of(self, host: str | None) -> Renderer:
        if host not in self._made:
            self._made[host] = Renderer(self._table(host))
        return self._made[host]

    def _table(self, host: str | None) -> VariableTable:
        layers: dict[Path, Variables] = {("variables",): self.manifest.variables}
        if host is not None:
            layers["hosts", host, "variables"] = self.manifest.hosts[host].variables
        name = host or self.machine
        for path, section in layers.items():
            _check_variables(path, section, self.findings)
        table = variable_table(layers, self.env, self.given, name)
        for misfit in table.misfits:
            self.findings.error(misfit.path, misfit.message, misfit.hint)
        return table

    def secrets(self) -> frozenset[str]:
        """Return the values of sensitive variables: a part of a value may be shown where the whole is not."""
        tables = [renderer.table for renderer in self._made.values()]
        values = {str(s.value) for table in tables for s in table.sources.values() if s.sensitive and s.value}
        return frozenset(values | {table.env.get(name, "") for table in tables for name in table.secret_env} - {""})

    def secret_variables(self) -> frozenset[str]:
        """Return the variables whose values may not be shown: they are sensitive, or one of their names says so."""
        sources = [item for renderer in self._made.values() for item in renderer.table.sources.items()]
        return frozenset(n for n, source in sources if source.sensitive or telling_name(n, source, source.value))

    def warn_unused(self) -> None:
        """Warn about `--var` names that nothing declares or uses."""
        used = set().union(*(renderer.used for renderer in self._made.values()))
        declared = set(self.manifest.variables).union(*(host.variables for host in self.manifest.hosts.values()))
        for name in self.given:
            if name not in used | declared:
                message = f"--var {name}: no variable of that name is declared or used"
                self.findings.general(message, suggestion(name, sorted(used | declared)))

    def warn_visible(self) -> None:
        """Warn about `--var` of sensitive variables."""
        tables = [renderer.table for renderer in self._made.values()]
        for name in self.given:
            if any(name in table.sources and table.sources[name].sensitive for table in tables):
                message = (
                    f"--var {name}: this variable is sensitive, and every user here can read it in the process list"
                )
                self.findings.general(message, f"export {PREFIX}{name}, or the variable that its `env` names")


def _check_variables(path: Path, section: Mapping[str, Any], findings: Findings) -> None:
    for name, entry in section.items():
        if (*path, name) not in findings.broken and (fault := check_variable(name, entry)):
            findings.error((*path, name), fault[0], fault[1], key=True)
