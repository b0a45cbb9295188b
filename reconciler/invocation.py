"""From the shared options to this host's view of the manifest."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from reconciler.core.desired import Desired, TextFile
from reconciler.core.frozen import dataclass
from reconciler.core.invalid import ManifestInvalid
from reconciler.core.live import Unknown
from reconciler.core.manifest.hosts import Machine, local_host
from reconciler.core.manifest.model import ClusterMatch, Manifest
from reconciler.core.manifest.options import OptionTable
from reconciler.core.manifest.resolve import Context, build_desired
from reconciler.errors import EndpointCommandError, Refused, SchedulerError, UsageError
from reconciler.paths import absolute


@dataclass(frozen=True)
class Invocation:
    """What the shared options say.

    Attributes:
        file: the manifest.
        config_dir: of `-c`, or None.
        variables: of `--var`, each as NAME=VALUE.
        lock: the lockfile, or None for the one beside the manifest.
        on_command_line: whether this was read from the arguments of a command.
    """

    file: Path
    config_dir: str | None = None
    host: str | None = None
    variables: tuple[str, ...] = ()
    lock: Path | None = None
    allow_outside: bool = False
    on_command_line: bool = True

    def __post_init__(self) -> None:
        if not self.file.name:
            remedy = "name a file: -f chiltepin.yaml"
            raise UsageError("this is a directory, and no manifest", where=str(self.file), remedy=remedy)
        for path in (self.file, self.lock):
            if path is not None:
                absolute(path)  # refuses what no path could be relative to
        # An apply would put its lockfile in the place of what it was made from.
        for other, what in ((self.file, "the manifest"), (self.pools_path, "the pools file")):
            if self.lock is not None and os.path.realpath(self.lock) == os.path.realpath(other):
                remedy = "leave it out, or name another file"
                raise UsageError(f"--lock names {what} itself", where=str(self.lock), remedy=remedy)

    @property
    def lock_path(self) -> Path:
        """The lockfile."""
        return self.lock or self.file.with_name(f"{self.file.stem}.lock.yaml")

    @property
    def pools_path(self) -> Path:
        """The pools file."""
        return self.file.with_name(f"{self.file.stem}.pools.yaml")


def read_desired(invocation: Invocation) -> Desired:
    """Read the manifest and return this host's view of it.

    Raises:
        ManifestInvalid: with every problem of it.
        Refused: no host matches, or two do.
    """
    return _read(invocation)[0]


def read_views(invocation: Invocation) -> list[Desired]:
    """Read the manifest and return the view of each of its hosts; one view without a `hosts` section.

    Raises:
        ManifestInvalid: with every problem of one host's view.
    """
    return _read(invocation, every_host=invocation.host is None)


def _read(invocation: Invocation, *, every_host: bool = False) -> list[Desired]:
    from reconciler.adapters.manifest_files import read_manifest_text
    from reconciler.core.manifest.reading import read_leniently
    from reconciler.core.manifest.source import scan

    parsed = scan(read_manifest_text(invocation.file), str(invocation.file))
    manifest, findings = read_leniently(parsed)
    if manifest is None:
        raise ManifestInvalid(findings.problems)
    views: list[Desired] = []
    for host in manifest.hosts if every_host and manifest.hosts else [invocation.host]:
        context = _context(manifest, replace(invocation, host=host))
        try:
            python = _python_of(manifest, context)
        except Refused:
            findings.finish()  # a `match` that is none says more than "no host matches"
            raise
        if python and "{{" in python:  # rendering needs the whole view
            python = build_desired(manifest, parsed, context=context, findings=findings).host.python
        table = _option_table(path_of_host(python, invocation.file))
        context = replace(context, option_table=table)
        views.append(build_desired(manifest, parsed, context=context, findings=findings))
    return views


def _python_of(manifest: Manifest, context: Context) -> str | None:
    """Return what the manifest says of the environment that the local host uses, None for PATH's."""
    local = local_host(manifest.hosts, context.machine, context.env, override=context.host, file=context.file)
    return manifest.hosts[local].python if local else None


def path_of_host(path: str | None, manifest: Path) -> str | None:
    """Return where a host's `python` or `config_dir` is: a relative path counts from the manifest, wherever we run.

    A `~` stays: whether its user is known matters only on the host that the path belongs to. An empty text, such as an
    expression may become, names nothing, and is not the manifest's own directory.
    """
    return path if not path or path.startswith("~") else str(absolute(manifest).parent / path)


def _option_table(python: str | None) -> OptionTable | None:
    from reconciler.adapters.resources import option_tables
    from reconciler.core.manifest.options import option_tables as read_tables
    from reconciler.core.manifest.options import table_for

    return table_for(read_tables(option_tables().values()), installed_version(python))


def installed_version(python: str | None) -> str | None:
    """Return the installed globus-compute-endpoint's version, or None when there is none that can be used."""
    from reconciler.adapters import tool

    try:
        return tool.find(python, os.environ).versions.get("globus-compute-endpoint")
    except EndpointCommandError:
        return None


def _context(manifest: Manifest, invocation: Invocation) -> Context:
    from reconciler.adapters import machine
    from reconciler.adapters.manifest_files import NamedFileReader
    from reconciler.adapters.resources import available_versions, builtin_schema, builtin_template

    name = machine.node_name()
    by_cluster = any(isinstance(p, ClusterMatch) for host in manifest.hosts.values() for p in host.match or ())
    cluster = _cluster() if by_cluster else None
    directory = invocation.file.absolute().parent
    versions: list[int | None] = [None, *available_versions()]
    return Context(
        file=str(invocation.file),
        machine=Machine(name, machine.full_name() if manifest.hosts else name, cluster),
        read_file=NamedFileReader(directory, allow_outside=invocation.allow_outside),
        env=os.environ,
        cli_variables=_variables(invocation.variables),
        on_command_line=invocation.on_command_line,
        host=invocation.host,
        templates={_builtin(v): TextFile(*builtin_template(v)) for v in versions},
        schemas={_builtin(v): TextFile(*builtin_schema(v)) for v in versions},
        allow_outside=invocation.allow_outside,
    )


def _cluster() -> str | Unknown | None:
    from reconciler.adapters.scheduler import Slurm

    try:
        return Slurm().cluster()
    except SchedulerError as e:
        return Unknown(e.why or str(e))


def _builtin(version: int | None) -> str:
    return "builtin" if version is None else f"builtin@{version}"


def _variables(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            # Not what was written: it may be a secret.
            raise UsageError("--var: one is not of the form NAME=VALUE", remedy="write --var NAME=VALUE")
        found[name] = value
    return found


def read_lock_text(path: Path) -> str | None:
    """Return a lockfile's text, None when there is none."""
    from reconciler.adapters import store

    return store.read_lock_text(absolute(path))
