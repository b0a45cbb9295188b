"""The lockfile: resolved UUIDs, claims and digests; an input of the next plan and an output of each apply."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from reconciler.core import safe_yaml
from reconciler.core.desired import CONFIG, SCHEMA, TEMPLATE, Desired, DesiredEndpoint
from reconciler.core.digest import digest_value
from reconciler.core.live import LiveDirectory
from reconciler.core.marker import Claim, Document
from reconciler.errors import UPGRADE, StateFileError

VERSION = 1
POOL_HOSTS = "hosts"
"""Key of a pool's entry below which its options stand by host; no option of a pool has this name."""
_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
HEADER = "# Resolved by chiltepin. Commit it; change the manifest instead of this file.\n"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Digests(Document):
    """What was resolved for an endpoint's files, without any secret.

    `template` and `schema` are `builtin@N` or `sha256:...`; `schema` may be `none`.
    """

    config: str
    template: str
    schema_: str = Field(alias="schema")
    user_environment: str


class LockedEndpoint(Document):
    """One endpoint: `id` is null until it has been registered."""

    id: str | None = Field(pattern=_UUID)
    claim: Claim
    state: Literal["running", "stopped", "unmanaged"]
    protect: bool
    digests: Digests


class Lock(Document):
    """The whole lockfile.

    Of a pool that belongs to every one of several hosts, the entry holds `hosts`: the options by host.
    """

    version: Literal[1] = 1
    stack: str
    lineage: str
    endpoints: dict[str, LockedEndpoint] = Field(default_factory=dict)
    pools: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("pools")
    @classmethod
    def _check_pools(cls, pools: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, entry in pools.items():
            hosts = entry.get(POOL_HOSTS, {})
            if not (isinstance(hosts, dict) and all(isinstance(options, dict) for options in hosts.values())):
                raise ValueError(f"`{POOL_HOSTS}` of {name} must be a mapping of mappings")
        return pools

    def with_endpoint(self, name: str, entry: LockedEndpoint) -> Lock:
        """Return a copy with this endpoint's entry."""
        return self.model_copy(update={"endpoints": {**self.endpoints, name: entry}})

    def without_endpoint(self, name: str) -> Lock:
        """Return a copy without this endpoint."""
        return self.model_copy(update={"endpoints": {k: v for k, v in self.endpoints.items() if k != name}})


_SAID = {
    "extra_forbidden": "this key is unknown",
    "missing": "this is missing",
    "string_pattern_mismatch": "not a UUID",
}
_ENTRY = re.compile(r"^  (\S[^\n]*?):[ \t]*$", re.MULTILINE)
_CONFLICT = re.compile(r"^(<{7}|={7}|>{7})", re.MULTILINE)


def read_lock(text: str, file: str) -> Lock:
    """Parse a lockfile.

    Args:
        text: its content.
        file: its name, for messages.

    Raises:
        StateFileError: it is damaged, holds a merge conflict, or is of a newer version.
    """
    remedy = f"restore {file} from version control, or move it away and apply: the markers rebuild it"
    if _CONFLICT.search(text):
        raise StateFileError(
            "the lockfile holds merge conflict markers", where=file, remedy=f"resolve the conflict in {file} first"
        )
    try:
        data = safe_yaml.load(text)
    except (yaml.YAMLError, ValueError) as e:
        raise StateFileError(
            "the lockfile is not valid YAML", where=file, why=" ".join(str(e).split()), remedy=remedy
        ) from e
    if not isinstance(data, dict):
        raise StateFileError("the lockfile does not hold a mapping", where=file, remedy=remedy)
    version = data.get("version")
    if version == VERSION and type(version) is not int:  # which `true` and `1.0` are equal to
        why = f"it is {version!r}, not the whole number {VERSION}"
        raise StateFileError("the lockfile is damaged at `version`", where=file, why=why, remedy=remedy)
    if isinstance(version, int) and version > VERSION:
        raise StateFileError(
            f"the lockfile has version {version}; this chiltepin reads version {VERSION}",
            where=file,
            remedy=UPGRADE,
        )
    twice = _named_twice(text)
    if twice:
        raise StateFileError(
            f"the lockfile names `{twice}` twice, as after a merge that kept both sides",
            where=file,
            remedy=f"keep the entry that is right, and remove the other from {file}",
        )
    try:
        return Lock.model_validate(data)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = _SAID.get(first["type"], first["msg"].removeprefix("Value error, "))
        raise StateFileError(f"the lockfile is damaged at `{where}`: {said}", where=file, remedy=remedy) from e


def _named_twice(text: str) -> str | None:
    """Return an endpoint or pool that occurs twice in a lock as we write it; YAML would keep the last in silence."""
    for section in text.split("\npools:"):
        seen: set[str] = set()
        for name in _ENTRY.findall(section):
            if name in seen:
                return str(name)
            seen.add(name)
    return None


def emit_lock(lock: Lock) -> str:
    """Return the lockfile's text: sorted, one value a line, the same for the same content."""
    parts = [HEADER, f"version: {VERSION}\n", _block({"stack": lock.stack}), _block({"lineage": lock.lineage})]
    if lock.endpoints:
        parts.append("endpoints:\n")
        parts += [_entry(name, lock.endpoints[name].model_dump_json(by_alias=True)) for name in sorted(lock.endpoints)]
    else:
        parts.append("endpoints: {}\n")
    if lock.pools:
        parts.append("pools:\n")
        parts += [_indent(_block({name: lock.pools[name]}, sort=True)) for name in sorted(lock.pools)]
    else:
        parts.append("pools: {}\n")
    return "".join(parts)


@lru_cache(maxsize=16384)
def _entry(name: str, content: str) -> str:
    # JSON is hashable: an entry that did not change is not formatted again.
    return _indent(_block({name: json.loads(content)}))


def _block(value: Mapping[str, Any], *, sort: bool = False) -> str:
    text: str = yaml.dump(
        dict(value), Dumper=_Dumper, sort_keys=sort, default_flow_style=False, allow_unicode=True, width=1_000_000
    )
    return text


def _indent(text: str) -> str:
    return "".join(f"  {line}" for line in text.splitlines(keepends=True))


def lock_entry(endpoint: DesiredEndpoint, claim: Claim, endpoint_id: str | None) -> LockedEndpoint:
    """Return what the lock says of an endpoint in its desired state."""
    environment = {
        name: value
        for name, value in endpoint.user_environment.items()
        if name not in endpoint.sensitive  # the lock is committed: not even a digest of a secret goes in
    }
    digests = Digests.model_validate(
        {
            "config": _short(digest_value(endpoint.config)),
            "template": _source(endpoint.template.label, endpoint.template.text),
            "schema": "none" if endpoint.schema is None else _source(endpoint.schema.label, endpoint.schema.text),
            "user_environment": _short(digest_value({"values": environment, "sensitive": sorted(endpoint.sensitive)})),
        }
    )
    return LockedEndpoint(id=endpoint_id, claim=claim, state=endpoint.state, protect=endpoint.protect, digests=digests)


def found_entry(directory: LiveDirectory, claim: Claim, endpoint_id: str | None, *, protect: bool) -> LockedEndpoint:
    """Return what the lock says of an endpoint that no manifest declares: its files as they are."""
    found = {name: _short(live_file.digest) for name, live_file in directory.files.items()}
    digests = Digests.model_validate(
        {
            "config": found.get(CONFIG, "none"),
            "template": found.get(TEMPLATE, "none"),
            "schema": found.get(SCHEMA, "none"),
            "user_environment": _short(digest_value({})),  # its file may hold secrets, and the lock is committed
        }
    )
    return LockedEndpoint(id=endpoint_id, claim=claim, state="stopped", protect=protect, digests=digests)


def _source(label: str, text: str) -> str:
    return label if label.startswith("builtin@") else _short(digest_value(text))


def _short(digest: str) -> str:
    return f"sha256:{digest}"


def known_ids(lock: Lock, desired: Desired) -> dict[str, str | None]:
    """Return the UUIDs by endpoint name; what another host has not renamed yet is known by its new name, too."""
    found = {name: entry.id for name, entry in lock.endpoints.items()}
    for name in {moved.new for moved in desired.moved} - found.keys():
        before = next((old for old in desired.formerly(name) if old in found), None)
        if before is not None:
            found[name] = found[before]
    return found


def final_lock(before: Lock, entries: Mapping[str, LockedEndpoint], gone: frozenset[str]) -> Lock:
    """Return the lock with its endpoints as they are when everything is done; those of other hosts stay untouched."""
    endpoints = {name: entry for name, entry in before.endpoints.items() if name not in gone}
    return before.model_copy(update={"endpoints": {**endpoints, **entries}})
