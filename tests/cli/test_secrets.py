"""A canary in every place where a secret can enter; no command lets one out, and a changed one still shows.

What may hold them by its purpose is left out: the manifest and its template, user_environment.yaml, the
endpoint's log, the token store, and copies of these in backups and trash.
"""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.adapters.host import LocalHost
from reconciler.cli.main import run
from tests.adapters.globus_stub import SECRET, Reply, Request, error
from tests.cli.support import Shell

OF_ENVIRONMENT = "canary-of-the-environment-1"
OF_VARIABLE = "canary-of-chiltepin-var-2"
OF_OPTION = "canary-of-the-option-3"
WRITTEN = "canary-written-in-the-manifest-4"
OF_URL = "canary-of-a-url-5"
OF_PROXY = "canary-of-the-proxy-6"
OF_TEMPLATE = "canary-of-the-template-7"
OF_BROKER = "canary-of-the-broker-8"
OF_HEADER = "canary-of-a-header-9"
OF_HAND = "canary-of-an-edit-by-hand-10"
OF_FILE = "canary, of: a file that was there 11"

MANIFEST = f"""\
version: 1
stack: demo
variables:
  first: {{env: SITE_TOKEN, sensitive: true}}
  second: {{env: NOT_SET, sensitive: true}}
  third: {{env: NOT_SET, sensitive: true}}
endpoints:
  main:
    state: stopped
    template: main.yaml.j2
    user_environment:
      ONE: "{{{{ first }}}}"
      TWO: "x-{{{{ second }}}}"
      THREE: "{{{{ third }}}}"
      API_TOKEN: {WRITTEN}
      MIRROR: https://user:{OF_URL}@mirror.example/simple
pools:
  serial: {{endpoint: main, provider: localhost}}
"""
TEMPLATE = f"""\
engine:
  type: GlobusComputeEngine
  encrypted: false
  password: {OF_TEMPLATE}
  address: amqps://user:{OF_TEMPLATE}@broker.example
"""
SAID = f"""\
registered: {{'connection_url': 'amqps://ep:{OF_BROKER}@broker.example:5671/v', 'queue': 'q'}}
Authorization: Bearer {OF_HEADER}
Default environment: {{'ONE': '{OF_ENVIRONMENT}', 'https_proxy': 'http://user:{OF_PROXY}@proxy.example:3128'}}
the secret of the client is {SECRET}, and {OF_VARIABLE} and {OF_OPTION} and {WRITTEN}
"""
VAR = ("--var", f"third={OF_OPTION}")
# Where a canary may be, as paths below the user's directory.
MAY_HOLD = re.compile(
    r"^project/(chiltepin\.yaml|main\.yaml\.j2)$|user_environment\.yaml|user_config_template|backups/main/config\.yaml|endpoint\.log$|storage\.db"
)


@dataclass
class Aviary:
    """A shell whose every output is kept."""

    shell: Shell
    heard: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, code: int = 0) -> str:
        done = self.shell.run(*arguments)
        assert done.code == code, done.text
        self.heard[f"{len(self.heard)} {' '.join(arguments)[:60]}"] = done.text
        return done.text

    def stored(self) -> dict[str, str]:
        """Return every file that must hold no secret."""
        paths = [path for path in sorted(self.shell.base.rglob("*")) if path.is_file()]
        named = {str(path.relative_to(self.shell.base)): path for path in paths}
        return {name: p.read_text(errors="replace") for name, p in named.items() if not MAY_HOLD.search(name)}

    def canaries(self) -> list[str]:
        """Return every secret, the tokens in the store included."""
        with sqlite3.connect(self.shell.config_dir / "storage.db") as connection:
            rows = connection.execute("SELECT token_data_json FROM token_storage").fetchall()
        tokens = [json.loads(text)["access_token"] for (text,) in rows]
        assert tokens
        fixed = [value for name, value in globals().items() if name.isupper() and str(value).startswith("canary")]
        assert len(fixed) == 11
        return [*fixed, SECRET, *tokens]

    def assert_silent(self) -> None:
        places = {**self.heard, **self.stored()}
        found = [(place, canary) for canary in self.canaries() for place, text in places.items() if canary in text]
        assert not found


@pytest.fixture
def aviary(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aviary]:
    monkeypatch.setenv("SITE_TOKEN", OF_ENVIRONMENT)
    monkeypatch.setenv("CHILTEPIN_VAR_second", OF_VARIABLE)
    monkeypatch.setenv("https_proxy", f"http://user:{OF_PROXY}@proxy.example:3128")
    monkeypatch.setattr(tempfile, "tempdir", str(shell.base))
    (shell.project / "main.yaml.j2").write_text(TEMPLATE)
    shell.write(MANIFEST)
    made = Aviary(shell)
    yield made
    made.assert_silent()


def manifest_files(shell: Shell) -> str:
    directory = shell.config_dir / "main"
    return "".join((directory / n).read_text() for n in ("user_environment.yaml", "user_config_template.yaml.j2"))


def test_plans_applies_and_reports(aviary: Aviary) -> None:
    shell = aviary.shell
    aviary.run("validate", *VAR)
    for options in ((), ("--format", "json"), ("--format", "markdown"), ("-v",), ("--out", "plan.json")):
        aviary.run("plan", *VAR, *options)
    assert aviary.run("plan", *VAR).count("(sensitive)") == 5
    aviary.run("apply", "plan.json", *VAR)
    held = manifest_files(shell)
    for canary in (OF_ENVIRONMENT, OF_VARIABLE, OF_OPTION, WRITTEN, OF_URL, OF_TEMPLATE):
        assert canary in held, "the canary never was where it belongs"
    aviary.run("plan", *VAR, "--against", "lock")
    aviary.run("lock", "export")
    aviary.run("whoami")
    for words in (("status",), ("status", "--format", "json"), ("unprotect", "main", "--yes")):
        aviary.run(*words, *VAR)
    for errand in ("restart", "forget"):
        aviary.run(errand, "main", "--yes", *VAR, code=4)
    (shell.config_dir / "main" / ".chiltepin.json").unlink()
    aviary.run("adopt", "main", "--yes", *VAR)
    aviary.run("init", "--from-existing", "-f", "other.yaml")
    aviary.run("destroy", "--yes", *VAR)
    assert "trash" in " ".join(aviary.stored())
    aviary.assert_silent()
    aviary.run("destroy", "--yes", "--purge", *VAR)


@pytest.mark.parametrize("options", [(), ("--format", "json"), ("--format", "markdown")])
def test_a_changed_secret_shows_as_changed(
    aviary: Aviary, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    aviary.run("apply", "--yes", *VAR)
    monkeypatch.setenv("SITE_TOKEN", f"{OF_ENVIRONMENT}-changed")
    said = aviary.run("plan", *VAR, *options)
    assert "ONE" in said
    assert "sensitive" in said
    (aviary.shell.project / "main.yaml.j2").write_text(TEMPLATE.replace(OF_TEMPLATE, f"{OF_TEMPLATE}-changed"))
    aviary.shell.write(MANIFEST.replace(OF_URL, f"{OF_URL}-changed").replace(WRITTEN, f"{WRITTEN}-changed"))
    said = aviary.run("plan", *VAR, *options)
    for name in ("ONE", "API_TOKEN", "MIRROR", "password: ***"):
        assert name in said
    environment = aviary.shell.config_dir / "main" / "user_environment.yaml"
    environment.write_text(environment.read_text().replace(WRITTEN, OF_HAND).replace(OF_URL, OF_HAND))
    assert "edited outside" in aviary.run("plan", *VAR, *options)
    aviary.run("apply", "--yes", *VAR)
    assert f"{OF_ENVIRONMENT}-changed" in environment.read_text()


def test_secrets_in_files_that_were_there_are_not_shown_as_old_values(aviary: Aviary) -> None:
    shell, files = aviary.shell, aviary.shell.config_dir / "main"
    shell.write(MANIFEST.replace("ONE:", 'MY_TOKEN: ""\n      NOTE: none\n      ONE:'))
    aviary.run("apply", "--yes", *VAR)
    (files / ".chiltepin.json").unlink()
    held = f"GLOBUS_COMPUTE_CLIENT_SECRET: {SECRET}\nMY_TOKEN: '{OF_FILE}'\nNOTE: it is {SECRET}\nOTHER: '{OF_FILE}'\n"
    (files / "user_environment.yaml").write_text(held)
    (files / "user_config_template.yaml.j2").write_text(f"{TEMPLATE}x: {SECRET}\nsecret_of_it: {OF_FILE}\n")
    (files / "config.yaml").write_text(f"display_name: {SECRET}\nsome_secret: '{OF_FILE}'\n")
    aviary.run("adopt", "main", "--yes", *VAR)
    for options in ((), ("--format", "json"), ("--format", "markdown"), ("-v",), ("--out", "plan.json")):
        said = aviary.run("plan", *VAR, *options)
        for name in ("GLOBUS_COMPUTE_CLIENT_SECRET", "MY_TOKEN", "NOTE", "display_name", "x: ***"):
            assert name in said, "that it changes is shown"
    aviary.run("apply", "plan.json", *VAR)
    assert OF_FILE in (files / "config.yaml").read_text(), "keys that the manifest never set survive"
    (files / "config.yaml").unlink()  # it is the user's, and may hold what it held
    aviary.run("status", *VAR)


@pytest.mark.parametrize("options", [(), ("--format", "json")])
def test_a_start_that_fails_shows_its_log(aviary: Aviary, options: tuple[str, ...]) -> None:
    tool = aviary.shell.tool / "bin" / "globus-compute-endpoint"
    tool.write_text(f"#!/bin/sh\ncat <<'EOF'\n{SAID}EOF\nexit 1\n")
    aviary.shell.write(MANIFEST.replace("stopped", "running"))
    said = aviary.run("apply", "--yes", *VAR, *options, code=3)
    assert "the secret of the client is ***" in said
    (aviary.shell.config_dir / "main" / "endpoint.log").write_text(SAID)
    assert "connection_url" in aviary.run("logs", "main", *VAR)
    tool.write_text("#!/bin/sh\nexit 1\n")
    said = aviary.run("apply", "--yes", *VAR, *options, code=3)
    assert "the secret of the client is ***" in said, "the log of the endpoint is shown, too"


def test_the_service_quotes_what_it_was_sent(aviary: Aviary, monkeypatch: pytest.MonkeyPatch) -> None:
    aviary.run("apply", "--yes", *VAR)
    stub = aviary.shell.stub
    healthy = stub._healthy

    def quoting(request: Request) -> Reply:
        answer = healthy(request)
        return error(403, f"no: {request.authorization}") if request.path == "/v2/endpoints" else answer

    monkeypatch.setattr(stub, "_healthy", quoting)
    for command in (("plan", "-v"), ("apply", "--yes", "-v"), ("status", "-v")):
        assert "It answered 403: no: " in aviary.run(*command, *VAR, code=69)


def test_the_report_of_a_bug(aviary: Aviary, monkeypatch: pytest.MonkeyPatch) -> None:
    aviary.run("apply", "--yes", *VAR)
    token = aviary.canaries()[-1]

    def fails(self: LocalHost) -> None:
        raise ValueError(f"{SAID} Bearer {token} https://user:{OF_URL}@mirror.example password={OF_HAND}")

    monkeypatch.setattr(LocalHost, "directories", fails)
    aviary.shell.capture.readouterr()
    assert run(["plan", *VAR]) == 70
    out, err = aviary.shell.capture.readouterr()
    aviary.heard["bug"] = out + err
    [report] = aviary.shell.base.glob("chiltepin-bug-*.txt")
    assert "the secret of the client is ***" in report.read_text()


@pytest.mark.parametrize(
    "broken",
    [
        ("API_TOKEN: canary", "API_TOKEN: [canary"),
        ("{env: SITE_TOKEN, sensitive: true}", f"{{value: {WRITTEN}, sensitive: true}}"),
        ("state: stopped", "state: stopped\n    config: {display_name: '{{ first }}'}"),
        ('TWO: "x-', 'TWO: "{{ first.{} }} {{ second }}'),
        ("provider: localhost", "provider: localhost, environment: ['export A={{ second }}']"),
    ],
)
def test_an_invalid_manifest(aviary: Aviary, broken: tuple[str, str]) -> None:
    assert broken[0] in MANIFEST
    aviary.run("apply", "--yes", *VAR)
    aviary.shell.write(MANIFEST.replace(*broken))
    for command in (("validate",), ("plan",), ("apply", "--yes")):
        aviary.run(*command, *VAR, code=65)


def test_a_variable_that_is_written_wrongly(aviary: Aviary) -> None:
    aviary.run("apply", "--yes", *VAR)
    aviary.run("plan", "--var", f"third:{OF_OPTION}", code=64)
    aviary.run("plan", "--vra", f"third={OF_OPTION}", code=64)


def test_where_canaries_may_be_they_are_private(aviary: Aviary) -> None:
    aviary.run("apply", "--yes", *VAR)
    for path in (aviary.shell.config_dir / "main").iterdir():
        if path.is_file() and any(canary in path.read_text() for canary in (WRITTEN, OF_TEMPLATE)):
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_canary_that_gets_out_is_found(aviary: Aviary) -> None:
    aviary.run("apply", "--yes", *VAR)
    leak = Path(aviary.shell.config_dir / ".chiltepin" / "leak")
    for canary in aviary.canaries():
        leak.write_text(f"a {canary}.")
        with pytest.raises(AssertionError):
            aviary.assert_silent()
    leak.unlink()
