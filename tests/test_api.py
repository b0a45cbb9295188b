"""The public API: `reconciler.load` and what it returns, and the snippets of docs/api.md."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import reconciler
from reconciler.core.actions import EndpointAction
from reconciler.core.progress import Outcome
from reconciler.core.work import Work
from reconciler.errors import LeaseHeld, LoginRequired, Refused, StateFileError, UsageError
from tests.adapters.globus_stub import ENDPOINT, GlobusStub, Reply, running_stub
from tests.cli.support import HEAD, ONE, POOLED, RENAMED, ROOT, Shell, json_of, shell_at
from tests.test_endpoint import shell as shell_with_daemons  # noqa: F401  # a fixture

PAGE = ROOT / "docs" / "api.md"


@pytest.fixture
def stub() -> Iterator[GlobusStub]:
    with running_stub() as stub:
        yield stub


@pytest.fixture
def shell(
    stub: GlobusStub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Shell]:
    with shell_at(tmp_path, capsys, stub, monkeypatch) as shell:
        shell.write(ONE)
        yield shell


class Heard:
    """Remembers what it heard."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[tuple[str, str]] = []

    def begin(self, action: EndpointAction) -> None:
        self.begun.append(action.kind)

    def wait(self, action: EndpointAction, work: Work, left: float) -> None:
        """Nothing here waits for tasks."""

    def end(self, outcome: Outcome) -> None:
        self.ended.append((outcome.action.kind, outcome.kind))


# --- the package


def test_importing_the_package_imports_nothing_of_it() -> None:
    code = "import sys, reconciler; print(*sorted(m for m in sys.modules if m.startswith(('reconciler', 'pydantic'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["reconciler"]


def test_everything_that_is_named_is_there_and_documented() -> None:
    page = PAGE.read_text()
    for name in reconciler.__all__:
        thing = getattr(reconciler, name)
        assert thing.__doc__, name
        assert re.search(rf"\b{name}\b", page) or name in ("Plan", "Run", "Outcome", "StatusRow"), name
    assert set(reconciler.__all__) <= set(dir(reconciler))


def test_what_is_not_there_is_said_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'reconciler' has no attribute 'nope'"):
        _ = reconciler.nope  # type: ignore[attr-defined]


# --- a stack


def test_plan_apply_status_and_lock_of_a_new_stack(shell: Shell) -> None:
    stack = reconciler.load("chiltepin.yaml")
    assert (stack.name, stack.config_dir, stack.lock_file, stack.pools_file) == (
        "demo",
        shell.config_dir,
        shell.lock,
        shell.pools,
    )
    assert stack.lock() is None
    before = shell.tree()
    planned = stack.plan()
    assert [row.state for row in stack.status().rows] == ["absent"]
    assert shell.tree() == before
    assert [(a.endpoint, a.kind) for a in planned.plan.actions] == [("main", "Create")]
    assert shell.ok("plan").out == f"{planned}\n"
    assert json_of(shell.ok("plan", "--format", "json")) == planned.document()
    jsonschema.validate(planned.document(), json_of(shell.ok("schema", "plan")))
    heard = Heard()
    applied = stack.apply(planned, events=heard)
    assert applied.exit_code is reconciler.ExitCode.OK
    assert (heard.begun, heard.ended) == (["Create"], [("Create", "done")])
    assert stack.plan().is_empty
    assert [(row.declared, row.state, row.managed) for row in stack.status().rows] == [("stopped", "stopped", True)]
    lock = stack.lock()
    assert lock is not None
    assert lock == reconciler.read_lock(shell.lock) == applied.run.lock
    assert shell.capture.readouterr().out == ""


def test_two_applies_of_one_stack_are_two_runs(shell: Shell) -> None:
    """An intent of the second may not be closed by the first's outcome of the same number."""
    stack = reconciler.load(shell.manifest)
    stack.apply()
    shell.write(RENAMED)
    reconciler.load(shell.manifest).apply()
    (shell.config_dir / "main" / "user_config_schema.json").unlink()
    assert [o.kind for o in stack.apply().run.outcomes]
    runs = {re.search(r'"run": ?"(\w+)"', line)[1] for line in shell.journal.read_text().splitlines()}  # type: ignore[index]
    assert len(runs) == 3


def test_a_plan_that_is_no_longer_true_is_refused(shell: Shell) -> None:
    stack = reconciler.load(shell.manifest)
    planned = stack.plan()
    stack.apply()
    before = shell.tree()
    with pytest.raises(Refused, match="moved on"):
        stack.apply(planned)
    after = shell.tree()
    assert {p: f for p, f in before.items() if ".chiltepin" not in p} == {
        p: f for p, f in after.items() if ".chiltepin" not in p
    }


def test_what_is_declared_is_what_was_loaded(shell: Shell) -> None:
    stack = reconciler.load(shell.manifest)
    shell.write(HEAD + "endpoints:\n  other: {state: stopped}\n")
    assert [a.endpoint for a in stack.plan().plan.actions] == ["main"]


def test_arguments_are_those_of_the_command_line(shell: Shell, tmp_path: Path) -> None:
    shell.write(HEAD + "variables: {n: a}\nendpoints:\n  main: {state: stopped, config: {display_name: '{{ n }}'}}\n")
    stack = reconciler.load(
        shell.manifest, config_dir=tmp_path / "gc", variables={"n": "from Python"}, lock=tmp_path / "x.lock.yaml"
    )
    assert stack.desired.endpoints["main"].config == {"display_name": "from Python"}
    stack.apply()
    assert (tmp_path / "gc" / "main" / "config.yaml").exists()
    assert (tmp_path / "x.lock.yaml").exists()


def test_deletes_need_consent(shell: Shell) -> None:
    reconciler.load(shell.manifest).apply()
    shell.write(HEAD + "endpoints:\n  other: {state: stopped}\n")
    stack = reconciler.load(shell.manifest)
    applied = stack.apply()
    assert applied.exit_code is reconciler.ExitCode.REFUSED
    assert "main" in (applied.left or "")
    assert (shell.config_dir / "main").exists()
    assert stack.apply(allow_delete=True).exit_code is reconciler.ExitCode.OK
    assert not (shell.config_dir / "main").exists()


def test_a_destroy_is_planned_and_applied(shell: Shell) -> None:
    stack = reconciler.load(shell.manifest)
    stack.apply()
    planned = stack.plan(destroy=True)
    assert stack.apply(planned).exit_code is reconciler.ExitCode.REFUSED
    assert stack.apply(planned, allow_delete=True).exit_code is reconciler.ExitCode.OK
    assert not (shell.config_dir / "main").exists()


def test_stop_begins_nothing(shell: Shell) -> None:
    stop = threading.Event()
    stop.set()
    applied = reconciler.load(shell.manifest).apply(stop=stop)
    assert applied.run.interrupted
    assert applied.exit_code is reconciler.ExitCode.INTERRUPTED
    assert not (shell.config_dir / "main").exists()


def test_ctrl_c_finishes_the_step_and_begins_no_other(shell: Shell) -> None:
    shell.write(HEAD + "endpoints:\n" + "".join(f"  e{i:02}: {{state: stopped}}\n" for i in range(80)))
    stack, stop, sent = reconciler.load(shell.manifest), threading.Event(), threading.Lock()

    class Impatient(Heard):
        def begin(self, action: EndpointAction) -> None:
            super().begin(action)
            if sent.acquire(blocking=False):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            assert stop.wait(20)  # nobody goes on before Ctrl-C was heard

    with pytest.raises(KeyboardInterrupt):
        stack.apply(events=Impatient(), stop=stop)
    made = [path for path in shell.config_dir.iterdir() if not path.name.startswith(".")]
    assert 0 < len(made) < 80
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not (shell.config_dir / ".chiltepin" / "lease.json").exists()
    assert stack.apply().exit_code is reconciler.ExitCode.OK


def test_status_asks_about_many_only_when_told_to(shell: Shell) -> None:
    shell.registered()
    stack = reconciler.load(shell.manifest)
    shell.stub.script[f"/v2/endpoints/{ENDPOINT}/status"] = [Reply(200, {"status": "online"})]
    assert [row.service for row in stack.status().rows] == ["online"]
    names = [f"e{i:02}" for i in range(16)]
    for name in names:
        directory = shell.config_dir / name
        directory.mkdir()
        (directory / "config.yaml").touch()
        (directory / "endpoint.json").write_text(f'{{"endpoint_id": "{ENDPOINT[:-2]}{name[1:]}"}}')
    assert {row.service for row in stack.status().rows if row.declared != "-"} == {None}
    assert "online" in {row.service for row in stack.status(full=True).rows}


def test_a_service_that_is_away_is_said_in_the_status(shell: Shell) -> None:
    stack = reconciler.load(shell.manifest)
    shell.stub.script["/v2/endpoints"] = [Reply(404, {"detail": "Not Found"})]
    found = stack.status()
    assert found.unreachable
    assert [row.state for row in found.rows] == ["absent"]


# --- errors


def test_errors_of_a_manifest_come_all_at_once(shell: Shell) -> None:
    shell.write(HEAD + "endpoints:\n  a: {stat: running}\n  b: {state: runing}\n")
    with pytest.raises(reconciler.ManifestInvalid) as caught:
        reconciler.load(shell.manifest)
    assert len(caught.value.problems) == 2


def test_each_error_is_of_its_own_class(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = reconciler.load(shell.manifest)
    with pytest.raises(UsageError):
        stack.plan(targets=["mian"])
    with pytest.raises(UsageError):
        reconciler.read_lock(shell.lock)
    stack.apply()
    with pytest.raises(Refused):
        shell.write(ONE.replace("demo", "other"))
        reconciler.load(shell.manifest).plan()
    shell.lock.write_text("version: 99\n")
    with pytest.raises(StateFileError):
        stack.lock()
    with pytest.raises(StateFileError):
        reconciler.read_lock(shell.lock)
    monkeypatch.delenv("GLOBUS_COMPUTE_CLIENT_SECRET")
    shell.lock.unlink()
    with pytest.raises(LoginRequired):
        stack.status()


def test_the_lease_is_held_by_one(shell: Shell) -> None:
    stack = reconciler.load(shell.manifest)
    problems: list[reconciler.ReconcilerError] = []

    class Rival(Heard):
        def begin(self, action: EndpointAction) -> None:
            try:
                reconciler.load(shell.manifest).apply()
            except reconciler.ReconcilerError as e:
                problems.append(e)

    assert stack.apply(events=Rival()).exit_code is reconciler.ExitCode.OK
    assert [type(e) for e in problems] == [LeaseHeld]


# --- the documentation


def snippets() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_snippets_of_the_documentation_run(shell_with_daemons: Shell) -> None:  # noqa: F811
    shell_with_daemons.write(POOLED)
    names: dict[str, Any] = {}
    printed: list[str] = []
    for text in snippets():
        out = StringIO()
        with redirect_stdout(out):
            exec(compile(text, str(PAGE), "exec"), names)
        printed.append(out.getvalue())
    assert len(printed) == 6
    assert "create directory main" in printed[0]
    assert "main stopped stopped None None" in printed[2]
    assert names["uuids"] == {"main": None}
    assert "'status': 'Running'" in printed[5]
