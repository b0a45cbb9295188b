"""Finding globus-compute-endpoint and its versions without starting it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import pytest

from reconciler.adapters import tool
from reconciler.errors import EndpointCommandError
from tests.adapters.host_support import fake_environment


def test_the_installed_one(tmp_path: Path) -> None:
    found = tool.find(sys.prefix, {})
    assert found.command == f"{sys.prefix}/bin/globus-compute-endpoint"
    assert found.prefix == sys.prefix
    assert found.versions["globus-compute-endpoint"] == importlib.metadata.version("globus-compute-endpoint")
    assert found.versions["parsl"] == importlib.metadata.version("parsl")
    assert found.versions["python"] == platform.python_version()


def script(prefix: Path, head: str) -> Path:
    command = prefix / "bin" / tool.NAME
    command.write_text(head)
    command.chmod(0o755)
    return command


def test_an_environment_its_python_or_path_name_the_same_tool(tmp_path: Path) -> None:
    prefix = fake_environment(tmp_path / "env")
    for python, environ in (
        (str(prefix), {}),
        (str(prefix / "bin" / "python"), {}),
        (str(prefix / "bin"), {}),
        (None, {"PATH": f"relative::{tmp_path}:{prefix}/bin:/usr/bin"}),
    ):
        found = tool.find(python, environ)
        assert found.command == f"{prefix}/bin/{tool.NAME}"
        assert found.prefix == str(prefix)
        assert found.versions == {
            "globus-compute-endpoint": "4.19.0",
            "parsl": "2026.4.20",
            "python": "3.11.7",
        }


def test_our_own_environment_serves_when_path_has_none() -> None:
    assert tool.find(None, {"PATH": "/usr/bin:/bin"}).command == f"{sys.prefix}/bin/{tool.NAME}"


def test_a_long_first_line_in_pips_form_is_understood(tmp_path: Path) -> None:
    prefix = fake_environment(tmp_path / "env")
    (prefix / "bin" / "python3").symlink_to(sys.executable)
    script(prefix, f"#!/bin/sh\n'''exec' \"{prefix}/bin/python3\" \"$0\" \"$@\"\n' '''\n")
    assert tool.find(str(prefix), {}).prefix == str(prefix)


def test_a_tool_linked_from_another_directory_belongs_to_its_environment(tmp_path: Path) -> None:
    prefix = fake_environment(tmp_path / "env")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / tool.NAME).symlink_to(prefix / "bin" / tool.NAME)
    found = tool.find(None, {"PATH": f"{tmp_path}/bin"})
    assert found.prefix == str(prefix)
    assert found.versions["globus-compute-endpoint"] == "4.19.0"


@pytest.mark.parametrize("version", ["4.13.0", "4.99.1", "4.20.0rc1", "4.19.0.post1"])
def test_supported_versions(tmp_path: Path, version: str) -> None:
    assert tool.find(str(fake_environment(tmp_path / "env", version)), {}).versions[tool.NAME] == version


@pytest.mark.parametrize("version", ["4.12.9", "3.16.0", "5.0.0", "5.0.0a1", "10.0"])
def test_unsupported_versions_are_refused_with_the_range(tmp_path: Path, version: str) -> None:
    with pytest.raises(EndpointCommandError, match="not supported") as caught:
        tool.find(str(fake_environment(tmp_path / "env", version)), {})
    assert version in caught.value.what
    assert "4.13" in (caught.value.why or "")


def test_a_missing_tool_and_a_broken_environment_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(EndpointCommandError, match="was not found") as missing:
        tool.find(str(tmp_path), {})
    assert str(tmp_path) in (missing.value.where or "")
    assert "pip install" in (missing.value.remedy or "")
    prefix = fake_environment(tmp_path / "env")
    (prefix / "bin" / "python").unlink()
    with pytest.raises(EndpointCommandError, match="cannot run") as broken:
        tool.find(str(prefix), {})
    assert f"{prefix}/bin/python" in (broken.value.why or "")


def test_a_wrapper_without_metadata_is_asked(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script(tmp_path, "#!/bin/bash\necho 'Globus Compute endpoint version: 4.17.2'\n")
    assert tool.find(str(tmp_path), dict(os.environ)).versions == {tool.NAME: "4.17.2"}
    script(tmp_path, "#!/bin/bash\necho broken >&2; exit 3\n")
    with pytest.raises(EndpointCommandError, match="does not say its version") as caught:
        tool.find(str(tmp_path), dict(os.environ))
    assert (caught.value.code, caught.value.output) == (3, "broken\n")


def test_of_several_versions_left_by_an_upgrade_the_newest_counts(tmp_path: Path) -> None:
    prefix = fake_environment(tmp_path / "env", "4.9.0")
    (prefix / "lib" / "python3.11" / "site-packages" / "globus_compute_endpoint-4.13.0.dist-info").mkdir()
    assert tool.find(str(prefix), {}).versions[tool.NAME] == "4.13.0"


def test_an_environment_may_share_the_packages_of_another(tmp_path: Path) -> None:
    first = fake_environment(tmp_path / "first", "4.17.0")
    second = tmp_path / "second"
    site = second / "lib" / "python3.12" / "site-packages"
    site.mkdir(parents=True)
    (second / "bin").mkdir()
    (second / "pyvenv.cfg").write_text("version = 3.12.1\n")
    (second / "bin" / "python").symlink_to(sys.executable)
    script(second, f"#!{second}/bin/python\n")
    (site / "a.pth").write_bytes(b"\xff")
    (site / "b.pth").write_text(f"import nothing\n/not/there\n{first}/lib/python3.11/site-packages\n")
    found = tool.find(str(second), {})
    assert (found.prefix, found.versions) == (
        str(second),
        {"globus-compute-endpoint": "4.17.0", "parsl": "2026.4.20", "python": "3.12.1"},
    )
