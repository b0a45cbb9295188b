"""One endpoint's merged and rendered block to a `DesiredEndpoint`, with every rule that it must keep."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.desired import AUTO_PATH, DesiredEndpoint, TextFile
from reconciler.core.manifest.findings import Findings, Layers
from reconciler.core.manifest.merge import merge
from reconciler.core.manifest.model import EndpointBlock
from reconciler.core.manifest.named_files import BUILTIN, NONE, Fault, Kind, NamedFiles
from reconciler.core.manifest.options import OptionTable, check_config
from reconciler.core.manifest.parsed import Path
from reconciler.core.manifest.reading import ID_HINT, validate_block
from reconciler.core.manifest.render import Rendered, Renderer
from reconciler.core.names import canonical_uuid, name_fault
from reconciler.core.problems import Position, Problem
from reconciler.core.secret_names import is_secret_value, is_telling
from reconciler.core.url_secrets import has_password

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = "config, template and schema are uploaded to the service, and pools are written to plain files"
_DIRECTORIES = "write directories as absolute paths, or `auto`"
_NAME_RULE = "1 to 128 characters and at most 200 bytes, no white space, slash, backslash or quote, no dot at the start"


@dataclass
class EndpointBuilder:
    """Turns blocks into endpoints.

    Attributes:
        findings: where problems go.
        renderer: of the host that the endpoints live on.
        files: reads templates and schemas.
        table: options of the installed globus-compute-endpoint, if known.
        refused: collects, by endpoint, the options that the installed version does not know.
        secrets: collects the values of hidden variables that may be looked for in texts.
    """

    findings: Findings
    renderer: Renderer
    files: NamedFiles
    table: OptionTable | None
    refused: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    def build(self, name: str, layers: Mapping[Path, Mapping[str, Any]]) -> DesiredEndpoint | None:
        """Return endpoint `name`, or None when its block is too wrong to go on.

        Args:
            layers: the blocks that it is made of by their path, weakest first; the last is its own.
        """
        places = Layers(*reversed(tuple(layers)))
        merged = merge({"user_environment": {"PATH": AUTO_PATH}}, *layers.values())
        block, results = self._render(merged, places)
        if block is None:
            return None
        if results:
            faults = validate_block(EndpointBlock, block, results)
            for inner, message, hint in faults:
                self._error(places, inner, message, hint)
            if faults:
                return None
        directory = block.get("directory") or name
        if directory != name and (fault := name_fault(directory)):
            self._error(places, ("directory",), f"{directory!r} cannot be a directory's name: {fault}", _NAME_RULE)
        config = {"display_name": name, **block.get("config", {})}
        self._check_config(name, config, places)
        environment, hidden = self._user_environment(block["user_environment"], results, places)
        template = self._file("template", block.get("template", BUILTIN), places)
        return DesiredEndpoint(
            name=name,
            directory=directory,
            template=template or TextFile("", ""),
            schema=self._schema(block, places),
            state=block.get("state", "running"),
            id=self._id(block.get("id"), places),
            protect=block.get("protect", False),
            restart=block.get("restart", "when-idle"),
            config=config,
            user_environment=environment,
            sensitive=hidden,
            identity_mapping=self._identity_mapping(block, places),
            position=self.findings.parsed.at(places.paths[0], key=True),
        )

    def _error(self, places: Layers, inner: Path, message: str, hint: str | None = None) -> None:
        self.findings.at(places.place(self.findings.parsed, inner), message, hint)

    def _warn(self, places: Layers, inner: Path, message: str, hint: str) -> None:
        place = places.place(self.findings.parsed, inner)
        self.findings.at(place, message, hint, severity="warning", show=False)

    def _render(self, merged: dict[str, Any], places: Layers) -> tuple[dict[str, Any] | None, dict[Path, Rendered]]:
        """Return the rendered block and what was rendered in it.

        The block is None when an expression failed, or when a secret went to the wrong place: such a
        value must not reach any later message.
        """
        results: dict[Path, Rendered] = {}
        block = self.renderer.tree(merged, (), results.__setitem__)
        failed = False
        for path, result in results.items():
            if result.error:
                self._error(places, path, result.error, result.hint)
            elif result.sensitive and path[0] != "user_environment":
                self._error(places, path, *leak(path))
            else:
                if result.doubtful and path[0] != "user_environment":
                    self._warn(places, path, *doubt(result.doubtful, path))
                continue
            failed = True
        return (None if failed else block), results

    def _check_config(self, name: str, config: Mapping[str, Any], places: Layers) -> None:
        unsupported: list[Problem] = []
        for finding in check_config(config, self.table):
            position = places.place(self.findings.parsed, ("config", *finding.path), key=not finding.at_value)
            if finding.kind == "unsupported":
                unsupported.append(self.findings.parsed.problem(finding.message, position, finding.hint))
            else:
                severity = "warning" if finding.kind == "warning" else "error"
                self.findings.at(position, finding.message, finding.hint, severity=severity)
        if unsupported:
            self.refused[name] = tuple(unsupported)

    def _user_environment(
        self, values: Mapping[str, str | None], results: Mapping[Path, Rendered], places: Layers
    ) -> tuple[dict[str, str], frozenset[str]]:
        """Return the variables that are set, and the names of those that must not be shown."""
        kept: dict[str, str] = {}
        hidden: set[str] = set()
        for variable, value in values.items():
            inner = ("user_environment", variable)
            result = results.get(inner)
            place = places.place(self.findings.parsed, inner, key=True)
            if not _ENV_NAME.fullmatch(variable):
                self.findings.at(place, f"{variable!r} is no name of an environment variable")
            elif result is not None and (result.sensitive or (value and result.doubtful)):
                hidden.add(variable)
            elif value and (is_secret_value(variable, value) or has_password(value)):
                hidden.add(variable)
                if result is None:
                    message = f"`{variable}` looks like a secret written in the manifest"
                    hint = "take it from the environment: a variable `{env: NAME, sensitive: true}`"
                    self.findings.at(place, message, hint, severity="warning", show=False)
            if value is None:
                continue
            kept[variable] = value
            if variable == "PATH" and value != AUTO_PATH:
                outside = result is not None and result.outside
                kept[variable] = self._path(value, place, outside=outside, shown=variable not in hidden)
            if variable in hidden and ((result is not None and result.sensitive) or is_telling(value)):
                self.secrets.add(value)
        return kept, frozenset(hidden)

    def _path(self, path: str, place: Position, *, outside: bool, shown: bool) -> str:
        """Return a PATH without empty and relative entries: in a caller's they are usual, in a manifest a mistake."""
        entries = path.split(":")
        absolute = [entry for entry in entries if entry.startswith("/")]
        if len(absolute) == len(entries):
            return path
        depends = "what it finds depends on where a program runs"
        if not (outside and absolute):
            message = f"an entry of `PATH` is empty or relative: {depends}"
            self.findings.at(place, message, _DIRECTORIES, show=False)
            return path
        dropped = dict.fromkeys(repr(entry) for entry in entries if not entry.startswith("/"))
        named = f" ({', '.join(dropped)})" if shown else ""
        message = f"each empty or relative entry of `PATH`{named} is left out: {depends}"
        self.findings.at(place, message, _DIRECTORIES, severity="warning", show=False)
        return ":".join(absolute)

    def _file(self, kind: Kind, name: str, places: Layers) -> TextFile | None:
        found = self.files.get(kind, name)
        if isinstance(found, Fault):
            self._error(places, (kind,), found.message, found.hint)
            return None
        return found

    def _schema(self, block: Mapping[str, Any], places: Layers) -> TextFile | None:
        name = block.get("schema", BUILTIN)
        if name == NONE:
            return None
        template = block.get("template", BUILTIN)
        # A pinned template needs the schema of its own version.
        if name == BUILTIN and template in self.files.schemas:
            name = template
        return self._file("schema", name, places)

    def _identity_mapping(self, block: Mapping[str, Any], places: Layers) -> TextFile | None:
        name = block.get("identity_mapping")
        if name is None:
            return None
        if "identity_mapping_config_path" in block.get("config", {}):
            message = "set `identity_mapping` or `config.identity_mapping_config_path`, not both"
            self._error(places, ("identity_mapping",), message)
            return None
        return self._file("identity_mapping", name, places)

    def _id(self, text: str | None, places: Layers) -> str | None:
        if text is None:
            return None
        uuid = canonical_uuid(text)
        if uuid is None:
            self._error(places, ("id",), f"{text!r} is not a UUID", ID_HINT)
        return uuid


def leak(path: Path) -> tuple[str, str]:
    """Return message and hint for a secret that would go to `path` of a block."""
    return f"a sensitive value may be used in user_environment only, not in `{dotted(path)}`", _PLAIN


def doubt(names: Collection[str], path: Path) -> tuple[str, str]:
    """Return message and hint for what looks like a secret, is not said to be one, and goes to `path` of a block."""
    message = f"`{min(names)}` looks like a secret, and goes into `{dotted(path)}`: {_PLAIN}"
    return message, "if it is one, take it as a variable `{env: NAME, sensitive: true}`, into user_environment only"


def dotted(path: Path) -> str:
    """Return a path in a block for a message."""
    return ".".join(map(str, path))
