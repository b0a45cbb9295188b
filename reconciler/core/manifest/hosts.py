"""Which host of the manifest is this machine."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

from reconciler.core.frozen import dataclass
from reconciler.core.live import Unknown
from reconciler.core.manifest.findings import suggestion
from reconciler.core.manifest.model import ClusterMatch, EnvMatch, HostBlock
from reconciler.errors import Refused, UsageError


@dataclass(frozen=True)
class Machine:
    """What this machine is called: short name, FQDN, and Slurm's cluster name if there is a Slurm that can be asked."""

    name: str
    fqdn: str
    cluster: str | Unknown | None = None


def local_host(
    hosts: Mapping[str, HostBlock], machine: Machine, env: Mapping[str, str], *, override: str | None, file: str
) -> str | None:
    """Return the name of the local host, or None when the manifest has no `hosts`.

    Args:
        env: the environment, for {env: VAR=VALUE}.
        override: `--host NAME`.
        file: the manifest, as shown.

    Raises:
        UsageError: `--host` names no host of the manifest.
        Refused: none matches, or more than one does.
    """
    if override is not None:
        if override in hosts:
            return override
        if not hosts:
            raise UsageError(f"--host {override}: {file} has no `hosts` section", remedy="leave --host out")
        hint = suggestion(override, hosts, "hosts")
        raise UsageError(f"--host {override}: {file} declares no host of that name", remedy=hint)
    if not hosts:
        return None
    matching = [name for name, block in hosts.items() if matches(name, block, machine, env)]
    if len(matching) == 1:
        return matching[0]
    tried = ", ".join(dict.fromkeys((machine.name, machine.fqdn)))
    cluster = f", Slurm cluster {machine.cluster}" if machine.cluster else ""
    remedy = "correct `match`, or say which one with --host NAME"
    if isinstance(machine.cluster, Unknown):
        cluster = f"; its Slurm cluster is not known, as Slurm could not be asked: {machine.cluster.reason}"
        if not matching:
            remedy = "say which one with --host NAME; on its nodes, see that `scontrol show config` answers here"
    raise Refused(
        f"two hosts match this machine: {', '.join(matching)}" if matching else "no host matches this machine",
        where=file,
        why=f"this machine is {tried}{cluster}; hosts: {', '.join(_tried(name, hosts[name]) for name in hosts)}",
        remedy=remedy,
    )


def _tried(name: str, block: HostBlock) -> str:
    """Return a host with the patterns that were tried, when it has some."""
    if block.match is None:
        return name
    shown = [p if isinstance(p, str) else _said(p) for p in block.match]
    return f"{name} (match: {', '.join(shown) or 'nothing'})"


def _said(pattern: EnvMatch | ClusterMatch) -> str:
    return f"env {pattern.env}" if isinstance(pattern, EnvMatch) else f"cluster {pattern.cluster}"


def matches(name: str, block: HostBlock, machine: Machine, env: Mapping[str, str]) -> bool:
    """Say whether any entry of the host's `match` fits; without `match` its name must be this machine's."""
    patterns = block.match if block.match is not None else [name]
    return any(_fits(pattern, machine, env) for pattern in patterns)


def _fits(pattern: str | EnvMatch | ClusterMatch, machine: Machine, env: Mapping[str, str]) -> bool:
    if isinstance(pattern, EnvMatch):
        variable, _, wanted = pattern.env.partition("=")
        return variable in env and fnmatch.fnmatchcase(env[variable], wanted)
    if isinstance(pattern, ClusterMatch):
        return isinstance(machine.cluster, str) and fnmatch.fnmatchcase(machine.cluster, pattern.cluster)
    # Host names are compared without regard to case, as DNS does.
    return any(fnmatch.fnmatchcase(known.lower(), pattern.lower()) for known in (machine.name, machine.fqdn))
