"""The files of an endpoint directory: what each should contain, given what is there.

Template, schema and identity mapping are whole texts. config.yaml and user_environment.yaml are merged
key by key: keys that the manifest never set survive, keys that it set and no longer sets are removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import yaml

from reconciler.core import safe_yaml
from reconciler.core.desired import (
    CONFIG,
    IDENTITY_MAPPING,
    SCHEMA,
    TEMPLATE,
    USER_ENVIRONMENT,
    DesiredEndpoint,
)
from reconciler.core.digest import digest_bytes, digest_value
from reconciler.core.environment import SECRETS
from reconciler.core.frozen import dataclass

KeyPath = tuple[str, ...]
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


WITHHELD = SECRETS
"""Variables that daemons have and user endpoints must not inherit; the file overrides what is inherited."""


class NotAMapping(ValueError):
    """A YAML file that should hold a mapping holds something else, or does not parse."""


@dataclass(frozen=True)
class FileSpec:
    """What the manifest asks of one file.

    Exactly one of `text` (the whole file) and `keys` (a mapping merged into the file) is given; both
    are None when the file must not be there.

    Attributes:
        label: where a text comes from, e.g. `builtin@1`.
        digest: of what is asked for; equal digests mean that nothing new is asked.
        mode: permission bits.
        sensitive: names of top-level keys whose values must never be shown.
    """

    file: str
    digest: str
    label: str = ""
    text: str | None = None
    keys: Mapping[str, Any] | None = None
    mode: int = 0o600
    sensitive: frozenset[str] = frozenset()

    @property
    def absent(self) -> bool:
        """Whether the file must not be there."""
        return self.text is None and self.keys is None


def file_specs(endpoint: DesiredEndpoint, path: str | None, directory: str) -> tuple[FileSpec, ...]:
    """Return what `endpoint` asks of each file.

    Args:
        endpoint: the endpoint.
        path: the PATH that `PATH: auto` stands for.
        directory: the endpoint's directory, an absolute path.
    """
    config = dict(endpoint.config)
    if endpoint.identity_mapping is not None:
        config["identity_mapping_config_path"] = f"{directory}/{IDENTITY_MAPPING}"
    environment = {
        name: (path if name == "PATH" and value == "auto" and path is not None else value)
        for name, value in endpoint.user_environment.items()
    }
    for name in WITHHELD - environment.keys():
        environment[name] = ""
    # Globus Compute's own `configure` makes the template world-readable when identities are mapped:
    # the user endpoint's process, which reads it, then belongs to somebody else.
    template_mode = 0o644 if endpoint.identity_mapping else 0o600
    specs = [
        FileSpec(CONFIG, digest_value(config), keys=config),
        _text_spec(TEMPLATE, endpoint.template.label, endpoint.template.text, template_mode),
        FileSpec(USER_ENVIRONMENT, digest_value(environment), keys=environment, sensitive=endpoint.sensitive),
    ]
    if endpoint.schema is None:
        specs.append(FileSpec(SCHEMA, "none"))
    else:
        specs.append(_text_spec(SCHEMA, endpoint.schema.label, endpoint.schema.text))
    if endpoint.identity_mapping is not None:
        mapping = endpoint.identity_mapping
        specs.append(_text_spec(IDENTITY_MAPPING, mapping.label, mapping.text))
    return tuple(specs)


def _text_spec(file: str, label: str, text: str, mode: int = 0o600) -> FileSpec:
    return FileSpec(file, digest_bytes(text.encode()), label=label, text=text, mode=mode)


def load_mapping(content: bytes) -> dict[str, Any]:
    """Parse a YAML file that holds a mapping; an empty file is an empty mapping.

    Raises:
        NotAMapping: it does not parse, or holds something else.
    """
    try:
        value = safe_yaml.load(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as e:
        # Only the place: the parser's own words may quote a secret.
        mark = getattr(e, "problem_mark", None)
        raise NotAMapping(f"not valid YAML at line {mark.line + 1}" if mark else "not valid YAML") from e
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise NotAMapping(f"it holds a {type(value).__name__}, not a mapping")
    return value


def dump_mapping(value: Mapping[str, Any]) -> bytes:
    """Return YAML text that PyYAML reads back as the same mapping, keys in the given order.

    It is ASCII: globus-compute-endpoint reads it in the locale's encoding, whatever that is.
    """
    if not value:
        return b"{}\n"
    text: str = yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=False)
    return text.encode()


def leaves(value: Mapping[str, Any], prefix: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the paths of all values that are not non-empty mappings, with the values."""
    for key, item in value.items():
        path = (*prefix, str(key))
        if isinstance(item, Mapping) and item:
            yield from leaves(item, path)
        else:
            yield path, item


def merge_keys(live: Mapping[str, Any], owned: Iterable[KeyPath], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `wanted` into `live`: set its leaves, remove the leaves that were `owned` and are wanted no more."""
    result = deepcopy(dict(live))
    now_owned = {path for path, _ in leaves(wanted)}
    for path in owned:
        if path not in now_owned:
            _remove(result, path)
    for path, value in leaves(wanted):
        _set(result, path, value)
    return result


def _remove(mapping: dict[str, Any], path: KeyPath) -> None:
    parents = [mapping]
    for key in path[:-1]:
        child = parents[-1].get(key)
        if not isinstance(child, dict):
            return
        parents.append(child)
    if isinstance(parents[-1].get(path[-1]), dict) and parents[-1][path[-1]]:
        return  # we set no mappings, only leaves: somebody else put these keys in its place
    parents[-1].pop(path[-1], None)
    # A mapping that existed only for the removed key goes with it.
    for parent, key in zip(reversed(parents[:-1]), reversed(path[:-1]), strict=True):
        if parent[key] == {}:
            del parent[key]


def _set(mapping: dict[str, Any], path: KeyPath, value: Any) -> None:
    for key in path[:-1]:
        child = mapping.get(key)
        if not isinstance(child, dict):
            child = mapping[key] = {}
        mapping = child
    if value == {} and isinstance(mapping.get(path[-1]), dict):
        return  # an empty mapping says nothing about the keys in it
    mapping[path[-1]] = deepcopy(value)


def parse_json(content: bytes) -> Any:
    """Parse JSON for a field-level comparison, or return None when it is not JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
