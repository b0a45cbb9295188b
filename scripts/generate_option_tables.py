"""Write reconciler/adapters/options/<X.Y>.json: what config.yaml of globus-compute-endpoint X.Y accepts.

    python scripts/generate_option_tables.py                      newest patch of every supported minor on PyPI
    python scripts/generate_option_tables.py --version 4.13.0     only these versions
    python scripts/generate_option_tables.py --installed          the package of this interpreter
    python scripts/generate_option_tables.py --installed --print  the same, to stdout, writing nothing

Each version is installed into a virtual environment of its own (temporary, or kept below --venvs) and
asked there by this same file, which therefore uses nothing but the standard library and the package.

The constructor of the core endpoint's configuration class declares the options. Up to 4.14 a pydantic v1
model checks config.yaml first, so an option must be declared in both. A declared type is only a candidate:
it is kept when the package's own loader takes a value of that type.
"""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import importlib
import importlib.metadata
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import types
import typing
import uuid
from pathlib import Path
from typing import Any

PACKAGE = "globus-compute-endpoint"
LOADER = "globus_compute_endpoint.endpoint.config.utils"
FIRST_MINOR = (4, 13)
LAST_MAJOR = 4
DESTINATION = Path(__file__).resolve().parent.parent / "reconciler" / "adapters" / "options"

# In this project's words; a name that is missing here gets no "doc".
DOCS = {
    "admins": "Globus identities that may administer the endpoint besides its owner; needs a subscription",
    "allowed_functions": "ids of the only functions that may run here",
    "amqp_port": "port of the message broker: 5671, 5672 or 443",
    "audit_log_path": "file for the audit trail of a high-assurance endpoint",
    "authentication_policy": "id of the Globus authentication policy that submitters must meet",
    "debug": "write debug messages to the log",
    "display_name": "name shown by the service; the directory's name when unset",
    "email": "address of the person responsible; required when the daemon runs as root",
    "environment": "service environment to talk to; for developers of the service",
    "heartbeat_period": "seconds between two heartbeats, at least 5",
    "high_assurance": "handle protected data; needs a subscription that covers it",
    "identity_mapping_config_path": "file that maps Globus identities to local users; required for root, else ignored",
    "local_compute_services": "talk to a service on this machine; for developers of the service",
    "mu_child_ep_grace_period_s": "seconds for which the latest request to start a user endpoint is kept",
    "pam": "authorize user endpoints through PAM",
    "public": "list the endpoint for everybody in the web interface; gives no access",
    "subscription_id": "subscription that the endpoint belongs to",
    "user_config_schema_path": "the schema's file, when it is not in the endpoint's directory",
    "user_config_template_path": "the template's file, when it is not in the endpoint's directory",
}

PROBES: dict[str, Any] = {
    "bool": True,
    "dict": {},
    "float": 37.5,
    "int": 443,
    "list": [],
    "list[str]": ["00000000-0000-4000-8000-000000000000"],
    "null": None,
    "path": str(Path(__file__).resolve()),
    "str": "text",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
"""A harmless value of each type, as JSON (and so as YAML)."""


def type_names(annotation: Any) -> set[str]:
    """Translate one annotation into names of the tables' vocabulary ("any" when nothing fits)."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {typing.Union, types.UnionType}:
        names = set().union(*(type_names(argument) for argument in arguments))
        # `str | UUID` means a UUID as text, `str | PathLike` a path as text.
        return names - {"str"} if names & {"uuid", "path"} else names
    if origin in {list, tuple, set, collections.abc.Iterable, collections.abc.Sequence}:
        return {"list[str]"} if type_names(arguments[0]) & {"str", "uuid"} else {"list"}
    return class_names(annotation) if inspect.isclass(annotation) else {"null" if annotation is None else "any"}


def class_names(cls: type) -> set[str]:
    """Translate a plain class: `float` takes integers too, a dataclass is written as a mapping."""
    if cls in {bool, int, str, list, dict}:
        return {cls.__name__}
    if cls is float:
        return {"float", "int"}
    if cls is type(None):
        return {"null"}
    if issubclass(cls, uuid.UUID):
        return {"uuid"}
    is_path = issubclass(cls, (os.PathLike, pathlib.PurePath)) or cls.__name__ == "FilePath"
    return {"path"} if is_path else {"dict" if dataclasses.is_dataclass(cls) else "any"}


def declared_options() -> dict[str, set[str]]:
    """Return what the installed package declares for config.yaml: option name -> type names."""
    config = importlib.import_module("globus_compute_endpoint.endpoint.config")
    names = ("CoreEndpointConfig", "ManagerEndpointConfig")  # the class was renamed in 4.18
    core = next(found for name in names if (found := getattr(config, name, None)))
    options: dict[str, set[str]] = {}
    for cls in reversed(core.__mro__[:-1]):
        hints = typing.get_type_hints(inspect.unwrap(cls.__init__))
        for parameter in inspect.signature(cls.__init__).parameters.values():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                options[parameter.name] = type_names(hints[parameter.name])
    model = next((found for name in names if (found := getattr(config, f"{name}Model", None))), None)
    if model is None:
        return options
    modelled = {name: type_names(hint) for name, hint in typing.get_type_hints(model).items()}
    return {name: declared & modelled[name] for name, declared in options.items() if name in modelled}


def accepted(option: str, names: set[str]) -> list[str]:
    """Keep those of `names` of which the package's own loader takes a value, sorted."""
    load = importlib.import_module(LOADER).load_config_yaml
    kept = []
    for name in sorted(names):
        try:
            if name != "any":
                load(json.dumps({option: PROBES[name]}))
        except Exception as refusal:  # noqa: BLE001 - whatever the loader raises means no
            print(f"{option}: declared as {name}, refused: {str(refusal).splitlines()[0]}", file=sys.stderr)
        else:
            kept.append(name)
    return kept


def installed_table() -> dict[str, Any]:
    """Return the table of the package that this interpreter imports."""
    options = {}
    for name, declared in sorted(declared_options().items()):
        if kept := accepted(name, declared):
            options[name] = {"types": kept} | ({"doc": DOCS[name]} if name in DOCS else {})
    return {"version": importlib.metadata.version(PACKAGE), "options": options}


def table_of(version: str, venvs: Path) -> dict[str, Any]:
    """Install `version` below `venvs` unless it is there, and return its table."""
    directory = venvs / version
    python = directory / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"{PACKAGE}=={version}"], check=True)
    command = [str(python), str(Path(__file__).resolve()), "--installed", "--print"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    table: dict[str, Any] = json.loads(done.stdout)
    return table


def supported_versions() -> list[str]:
    """Return the newest patch of every supported minor that the package index offers, oldest first."""
    command = [sys.executable, "-m", "pip", "index", "versions", PACKAGE]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    listing = next(line for line in done.stdout.splitlines() if line.startswith("Available versions:"))
    newest: dict[tuple[int, int], int] = {}
    for major, minor, patch in re.findall(r"\b(\d+)\.(\d+)\.(\d+)(?=,|$)", listing):
        key = (int(major), int(minor))
        if key >= FIRST_MINOR and key[0] <= LAST_MAJOR:
            newest[key] = max(newest.get(key, 0), int(patch))
    return [f"{major}.{minor}.{patch}" for (major, minor), patch in sorted(newest.items())]


def as_text(table: dict[str, Any]) -> str:
    """Return the table as it is stored: sorted, indented, with a final newline."""
    return json.dumps(table, indent=2, sort_keys=True) + "\n"


def write(table: dict[str, Any], destination: Path) -> None:
    """Store the table under its minor version and say where."""
    destination.mkdir(parents=True, exist_ok=True)
    path = destination / (".".join(table["version"].split(".")[:2]) + ".json")
    path.write_text(as_text(table), encoding="utf-8")
    print(f"{path}: {table['version']}, {len(table['options'])} options", file=sys.stderr)


def main() -> None:
    """Parse the command line and write, or print, the tables it asks for."""
    parser = argparse.ArgumentParser(description="Write the option tables of globus-compute-endpoint.")
    parser.add_argument("--version", nargs="+", metavar="X.Y.Z", help="only these versions")
    parser.add_argument("--installed", action="store_true", help="the package of this interpreter")
    parser.add_argument("--print", action="store_true", help="with --installed: to stdout, writing nothing")
    parser.add_argument("--out", type=Path, default=DESTINATION, help="where to write (default: %(default)s)")
    parser.add_argument("--venvs", type=Path, help="keep the virtual environments here and use them again")
    options = parser.parse_args()
    if options.installed:
        table = installed_table()
        if options.print:
            sys.stdout.write(as_text(table))
        else:
            write(table, options.out)
        return
    with tempfile.TemporaryDirectory() as temporary:
        for version in options.version or supported_versions():
            write(table_of(version, options.venvs or Path(temporary)), options.out)


if __name__ == "__main__":
    main()
