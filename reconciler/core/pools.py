"""The pools file: exactly what an unmodified `chiltepin.Workflow` loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from reconciler.core import safe_yaml
from reconciler.core.desired import DesiredPool
from reconciler.core.frozen import dataclass
from reconciler.core.names import is_uuid

HEADER = "# Written by chiltepin: executor pools for chiltepin.Workflow. Change the manifest instead of this file.\n"


@dataclass(frozen=True)
class PoolsFile:
    """The text of the pools file, and the pools left out of it with the reason."""

    text: str
    left_out: Mapping[str, str]


class _Quoted(str):
    __slots__ = ()


_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _PoolDumper(_Dumper):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - every pool is spelt out, no anchors
        return True


_PoolDumper.add_representer(
    _Quoted, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style='"')
)


def pools_file(wanted: Mapping[str, DesiredPool], ids: Mapping[str, str | None]) -> PoolsFile:
    """Render the pools file.

    A pool whose endpoint has no UUID yet is left out: upstream would run it on the submitting host.

    Args:
        wanted: the pools, by name.
        ids: UUIDs by endpoint name, of all hosts.
    """
    pools: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for name in sorted(wanted):
        pool = wanted[name]
        if pool.endpoint is None:
            pools[name] = dict(pool.given)
            continue
        endpoint_id = pool.endpoint if is_uuid(pool.endpoint) else ids.get(pool.endpoint)
        if endpoint_id is None:
            left_out[name] = f"endpoint `{pool.endpoint}` has no UUID yet"
        else:
            pools[name] = {"endpoint": endpoint_id, **pool.given}
    text = yaml.dump(
        {name: _quoted(options) for name, options in pools.items()},
        Dumper=_PoolDumper,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=False,  # Chiltepin reads it in the locale's encoding, whatever that is
        width=1_000_000,
    )
    return PoolsFile(HEADER + text, left_out)


def read_pools(text: str) -> dict[str, dict[str, Any]]:
    """Return the pools that a pools file holds, with their options; none when it cannot be read."""
    try:
        pools = safe_yaml.load(text)
    except (yaml.YAMLError, ValueError):
        return {}
    found = pools.items() if isinstance(pools, dict) else ()
    return {str(name): options for name, options in found if isinstance(options, dict)}


def _quoted(value: Any) -> Any:
    """Quote every string, so that no YAML 1.1 reader takes one for a number, a time or a boolean."""
    if isinstance(value, str):
        return _Quoted(value)
    if isinstance(value, Mapping):
        return {key: _quoted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_quoted(item) for item in value]
    return value
