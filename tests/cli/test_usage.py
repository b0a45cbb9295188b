"""The command line itself: mistakes, help, colour, pipes, prompts and Ctrl-C."""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from reconciler.cli.ask import agreed
from reconciler.cli.carry import scope_of
from reconciler.cli.console import Console
from reconciler.cli.main import build_app, run
from reconciler.cli.signals import graceful
from reconciler.core.saved_plan import read_saved_plan, save_plan
from reconciler.core.schemas import SCHEMAS
from reconciler.core.scope import Scope
from tests.adapters.globus_stub import Reply
from tests.adapters.host_support import UUID_A, UUID_B, fake_environment
from tests.cli.command_lines import parse
from tests.cli.support import HEAD, ONE, POOLED, RENAMED, Done, Shell, chiltepin, environ
from tests.core.builders import endpoint, settled

MISTAKES: dict[str, tuple[str, ...]] = {
    "plam": ("there is no command `chiltepin plam`", "did you mean `plan`?", "`chiltepin --help`"),
    "nonsense": ("there is no command `chiltepin nonsense`", "`chiltepin --help` lists the commands"),
    "--versoin": ("`chiltepin` has no option --versoin", "did you mean `--version`?"),
    "plan --fils x": ("`chiltepin plan` has no option --fils", "did you mean `--file`?", "`chiltepin plan --help`"),
    "plan -Z": ("`chiltepin plan` has no option -Z",),
    "plan extra": ("chiltepin plan:", "unexpected extra argument", "`chiltepin plan --help`"),
    "plan --file": ("chiltepin plan:", "--file", "requires an argument"),
    "apply --parallelism many": ("chiltepin apply:", "--parallelism", "`chiltepin apply --help`"),
    "apply --parallelism 0": ("chiltepin apply:", "--parallelism"),
    "apply --max-deletes -1": ("chiltepin apply:", "--max-deletes"),
    "apply --yes --wait forever": ("--wait forever: not known", "use online or started"),
    "apply --yes --drain soon": ("--drain soon: this is no duration", "90s, 30m or 2h"),
    "destroy --yes --drain 30": ("--drain 30: this is no duration",),
    "restart main --yes --drain 5m --interrupt": ("--interrupt and --drain contradict each other", "leave one"),
    "plan -q -v": ("--quiet and --verbose contradict each other", "leave one of them out"),
    "apply --retry plan.json": ("--retry do not go with a kept plan", "leave them out"),
    "apply chiltepin.yaml": ("chiltepin.yaml: this is not a plan that can be applied", "`chiltepin apply -f FILE`"),
    "apply -f other.yaml chiltepin.yaml": ("chiltepin.yaml: this is not a plan that can be applied",),
    "apply /dev/null": ("/dev/null: this is a pipe or a device, and no plain file", "`chiltepin plan --out FILE`"),
    "apply .": (".: this is a directory", "`chiltepin plan --out FILE`"),
    "plan --out /dev/null": ("/dev/null: this is a pipe or a device", "name a file", "`--format json` prints it"),
    "plan --out .": (".: this is a directory", "name a file for the plan"),
    "plan -c /dev/null": ("/dev/null: the config directory is none", "name a directory"),
    "apply --yes -c chiltepin.yaml/x": ("chiltepin.yaml/x: the config directory is none", "name a directory"),
    "endpoint -c /dev/null list": ("/dev/null: the config directory is none",),
    "login -c /dev/null": ("/dev/null: the config directory is none",),
    "plan --purge": ("--purge goes with --destroy", "`chiltepin purge NAME`"),
    "lock exprot": ("there is no command `chiltepin lock exprot`", "did you mean `export`?"),
    "sandbox stats": ("there is no command `chiltepin sandbox stats`", "did you mean `status`?"),
    "sandbox exec": ("chiltepin sandbox exec:", "COMMAND"),
    "sandbox up --port 99999": ("99999 is no port number", "1 to 65535"),
    "schema": ("chiltepin schema:", "NAME"),
    "schema manifst": ("no schema is called manifst", "did you mean manifest?", "lock-export"),
    "plan --format xml": ("--format xml: not known", "use text or json"),
    "apply --yes --format xml": ("--format xml: not known", "use text or json"),
    "status --format xml": ("--format xml: not known", "use text or json"),
    "whoami --format xml": ("--format xml: not known", "use text or json"),
    "sandbox status --format xml": ("--format xml: not known", "use text or json"),
    "lock export --format xml": ("--format xml: not known", "use yaml or json or env"),
    "status --refresh some": ("--refresh some: not known", "use auto or full"),
    "plan --color sometimes": ("--color sometimes: not known", "use auto, always or never"),
    "plan --target mian": ("--target mian: no such endpoint", "did you mean main?"),
    "plan --exclude x": ("--exclude x: no such endpoint", "known are: main"),
    "plan --var account": ("--var: one is not of the form NAME=VALUE", "write --var NAME=VALUE"),
    "lock export": ("there is no lockfile yet", "run `chiltepin apply` first"),
    "init": ("chiltepin.yaml: there is a manifest already", "choose another with -f FILE"),
    "init -f nowhere/chiltepin.yaml": ("nowhere: there is no such directory", "make it (`mkdir -p`)"),
    "plan --lock chiltepin.yaml": ("chiltepin.yaml: --lock names the manifest itself", "name another file"),
    "lock export --lock ../project/chiltepin.yaml": ("--lock names the manifest itself",),
    "plan --lock chiltepin.pools.yaml": ("chiltepin.pools.yaml: --lock names the pools file itself",),
}


@pytest.mark.parametrize("line", [line for line in MISTAKES if line.startswith("apply --parallelism")])
def test_a_wrong_number_is_told_in_our_words(shell: Shell, line: str) -> None:
    shell.write(ONE)
    assert "Input should be" not in shell.refused(*line.split(), code=64).err


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_on_the_command_line(shell: Shell, line: str) -> None:
    shell.write(ONE)
    done = shell.refused(*line.split(), code=64, says=("error: ", "next: ", *MISTAKES[line]))
    assert done.out == ""
    assert shell.stub.compute_methods() <= {"GET"}


@pytest.mark.parametrize("command", ["plan", "apply --yes", "destroy --yes", "restart main --yes", "forget main --yes"])
def test_the_format_is_judged_before_anything_else(shell: Shell, command: str) -> None:
    # There is not even a manifest.
    shell.refused(*command.split(), "--format", "yaml", code=64, says=("--format yaml: not known", "use text or json"))


def test_a_plan_is_kept_only_in_a_directory_that_is_there(shell: Shell) -> None:
    shell.write(ONE)
    done = shell.refused("plan", "--out", "nowhere/p.json", code=64)
    done.says(f"{shell.project}/nowhere: the plan cannot be kept there: the directory does not exist", "next: make it")


def test_names_that_are_known_are_listed_once(shell: Shell) -> None:
    shell.write(ONE)
    shell.apply()  # the lock names it, too
    done = shell.refused("logs", "nope", code=64)
    assert done.err == "error: nope: no such endpoint\n  next: known are: main\n"


# --- help


def test_help_is_a_command_too(shell: Shell) -> None:
    assert shell.ok("help").out == shell.ok("--help").out
    assert shell.ok("help", "lock", "export").out == shell.ok("lock", "export", "--help").out
    shell.refused("help", "plam", code=64, says=("did you mean `plan`?",))


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("apply", "[PLAN]"),
        ("adopt", "[NAME]"),
        ("forget", "NAME"),
        ("endpoint delete", "NAME"),
        ("sandbox exec", "COMMAND..."),
    ],
)
def test_arguments_are_named_as_everybody_does(shell: Shell, command: str, usage: str) -> None:
    out = shell.ok(*command.split(), "--help").out
    assert out.startswith(f"Usage: chiltepin {command} [OPTIONS] {usage}\n")
    assert re.search(r"<(str|path|int|list)|\{NAME", out) is None


def test_the_help_of_schema_names_every_schema(shell: Shell) -> None:
    words = re.findall(r"[a-z-]+", shell.ok("schema", "--help").out.replace("-\n        ", "-"))
    assert set(SCHEMAS) <= set(words)


@pytest.mark.parametrize("line", ["endpoint -c {} list", "endpoint list -c {}", "endpoint list --config {}"])
def test_where_the_config_directory_of_endpoint_is_named(shell: Shell, line: str) -> None:
    shell.registered()
    (shell.base / "other").mkdir()
    assert shell.ok("endpoint", "list").out.startswith("main ")
    assert shell.ok(*line.format(shell.base / "other").split()).out == "No endpoints are configured\n"


# --- upstream's commands


def test_upstream_is_imported_only_for_a_command_that_it_may_know(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = shell.base / "site" / "chiltepin"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    (package / "cli.py").write_text("commands.add_parser('brew')\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "chiltepin"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(package.parent))
    shell.refused("plam", code=64, says=("did you mean `plan`?",))
    with pytest.raises(SystemExit, match="imported"):
        run(["brew"])


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command line that has a help text, with its command."""

    def below(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield path, command
        for name, sub in getattr(command, "commands", {}).items():
            yield from below(f"{path} {name}", sub)

    yield from below("chiltepin", typer.main.get_command(build_app()))


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS)
def test_help_shows_examples_that_parse(shell: Shell, path: str) -> None:
    done = shell.refused(*path.split()[1:], "--help", code=0)
    assert done.err == ""
    block = done.out.partition("  Examples:\n\n")[2].partition("\n\n")[0].splitlines()
    assert block, "no examples"
    for line in block:
        assert line.startswith("    "), f"{line!r} is not on a line of its own"
        assert len(line) <= 80, f"{line!r} is cut in two by a terminal"
        example = re.split(r"  +", line.strip())[0]
        assert path in example
        parse(example)


@pytest.mark.parametrize("path", COMMANDS)
def test_help_mentions_each_option_once_and_says_what_it_is_for(shell: Shell, path: str) -> None:
    out = shell.ok(*path.split()[1:], "--help").out
    options = out.partition("\nOptions:\n")[2].partition("\n\n")[0]
    heads = [re.split(r"  +", line.strip()) for line in options.splitlines() if line.startswith("  -")]
    named = [word for head in heads for word in re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", head[0])]
    declared = [name for item in COMMANDS[path].params for name in item.opts if name.startswith("-")]
    assert sorted(named) == sorted({*declared, "-h", "--help"})
    assert "..." not in options
    for command in getattr(COMMANDS[path], "commands", {}):
        line = next(line for line in out.splitlines() if line.startswith(f"  {command} "))
        assert not line.endswith("..."), f"cut short: {line}"


def test_help_of_all_explains_the_exit_codes(shell: Shell) -> None:
    done = shell.ok()
    assert done.out == shell.ok("--help").out == shell.ok("-h").out
    done.says("0 done or no changes", "64 usage", "65 invalid manifest", "77 login needed", "130 interrupted")


def test_version(shell: Shell) -> None:
    assert re.fullmatch(r"chiltepin-reconciler \d+\.\d+\.\d+\S*\n", shell.ok("--version").out)


# --- colour

ESCAPE = "\x1b["


@pytest.mark.parametrize("command", ["plan", "status", "validate"])
def test_colour_when_asked_for_and_never_into_a_pipe(
    shell: Shell, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.write(POOLED)
    plain = shell.ok(command)
    assert ESCAPE not in plain.text
    assert ESCAPE in shell.ok(command, "--color", "always").text
    assert shell.ok(command, "--color", "never").text == plain.text
    assert shell.ok(command, "--color=auto").text == plain.text
    painted = shell.ok(command, "--color", "always").text
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == plain.text
    monkeypatch.setenv("NO_COLOR", "1")
    assert shell.ok(command).text == plain.text


def test_errors_follow_the_option_too(shell: Shell) -> None:
    assert ESCAPE in shell.refused("plan", "--color", "always", code=64).err
    assert ESCAPE not in shell.refused("plan", "--color", "never", code=64).err


def on_terminal(*arguments: str, **variables: str) -> tuple[int, str]:
    """Run `chiltepin` with its output on a terminal; return its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        chiltepin(*arguments), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environ(**variables)
    ) as child:
        os.close(theirs)
        got = b""
        try:
            while part := os.read(ours, 65536):
                got += part
        except OSError:  # Linux says EIO when the other side is closed
            pass
        finally:
            os.close(ours)
        return child.wait(), got.decode()


@pytest.mark.parametrize(
    ("variables", "colored"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colour_on_a_terminal(shell: Shell, variables: dict[str, str], colored: bool) -> None:
    shell.write(POOLED)
    code, text = on_terminal("plan", **variables)
    assert code == 0, text
    assert (ESCAPE in text) is colored
    assert "create directory main" in text


# --- streams


def run_apart(*arguments: str, **streams: Any) -> Done:
    done = subprocess.run(
        chiltepin(*arguments),
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        text=True,
        env=environ(),
        check=False,
        timeout=60,
    )
    return Done(done.returncode, done.stdout or "", done.stderr or "")


@pytest.fixture
def broken_pipe() -> Iterator[int]:
    """A pipe that nobody reads any more, like `| head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("line", ["plan", "status --format json", "schema manifest", "--help", "lock export", "whoami"])
def test_a_reader_that_goes_away(shell: Shell, line: str, broken_pipe: int) -> None:
    shell.registered()
    done = run_apart(*line.split(), stdout=broken_pipe)
    assert (done.code, done.err) == (0, "")


def test_an_apply_goes_on_when_its_reader_goes_away(shell: Shell, broken_pipe: int) -> None:
    shell.registered()
    shell.write(RENAMED)
    assert run_apart("apply", "--yes", stdout=broken_pipe).code == 0
    shell.ok("plan").says("No changes.")


def test_an_exit_code_survives_a_broken_pipe(shell: Shell, broken_pipe: int) -> None:
    shell.write(POOLED)
    assert run_apart("plan", "--detailed-exitcode", stdout=broken_pipe).code == 2


def test_output_that_cannot_be_written(shell: Shell) -> None:
    shell.write(POOLED)
    with Path("/dev/full").open("w") as full:
        done = run_apart("plan", stdout=full)
    assert done.code == 1, done.err
    done.says("the output cannot be written", "No space left on device", "redirected")


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["--version"], [], ["lock"]])
def test_help_that_cannot_be_written(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = run_apart(*arguments, stdout=full)
    assert done.code == 1, done.err
    done.says("the output cannot be written", "No space left on device", "redirected")


def test_an_apply_goes_on_when_nobody_can_be_told(shell: Shell) -> None:
    shell.registered()
    shell.write(RENAMED)
    with Path("/dev/full").open("w") as full:
        assert run_apart("apply", "--yes", stderr=full).code == 0
    shell.ok("plan").says("No changes.")


@pytest.mark.parametrize(
    "arguments",
    [["init"], ["lock", "export"], ["login"], ["logout"], ["sandbox", "down", "--state-dir", "no-sandbox"]],
)
def test_a_command_has_done_its_work_when_nobody_can_be_told(shell: Shell, arguments: list[str]) -> None:
    shell.write(POOLED)
    shell.apply()
    shell.manifest.unlink()
    with Path("/dev/full").open("w") as full:
        assert run_apart(*arguments, stderr=full).code == 0


def test_a_question_that_cannot_be_asked_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("no\n"))
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert not agreed("Sure?")


def test_an_apply_goes_on_when_its_terminal_goes_away(shell: Shell) -> None:
    shell.registered()
    shell.write(RENAMED)
    ours, theirs = pty.openpty()
    environment = {**environ(), "TERM": "xterm"}
    command = chiltepin("apply", "--yes", "--color", "always")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    os.read(ours, 1)  # the plan is being printed; nothing was done yet
    os.close(ours)
    assert process.wait(timeout=60) == 0
    shell.ok("plan").says("No changes.")


def test_closed_streams(shell: Shell) -> None:
    shell.write(POOLED)
    line = f"{shlex.join(chiltepin('plan'))} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", line], env=environ(), check=False, timeout=60).returncode == 0


# --- prompts


def test_without_a_terminal_nobody_can_be_asked(shell: Shell) -> None:
    shell.registered()
    shell.write(RENAMED)
    for command, plan in (("apply", "`chiltepin plan`"), ("destroy", "`chiltepin plan --destroy`")):
        says = ("nobody can be asked: the input is not a terminal", plan, "--yes")
        shell.refused(command, code=64, says=says)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal for stdin; what is written to it was typed."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
    os.close(ours)


@pytest.mark.parametrize("typed", ["y\n", "Yes\n", "YES\n", "yes please\n", "no\n", "\n", "\x04"])
def test_anything_but_yes_is_no(shell: Shell, terminal: int, typed: str) -> None:
    shell.registered()
    shell.write(RENAMED)
    os.write(terminal, typed.encode())
    done = shell.refused("apply", code=1, says=("Apply this plan? Only `yes` is taken as yes: ", "nothing was done"))
    assert "display_name" in done.out


def test_yes_is_yes(shell: Shell, terminal: int) -> None:
    shell.registered()
    shell.write(RENAMED)
    os.write(terminal, b"yes\n")
    shell.ok("apply").says("Apply this plan?", "1 done")
    shell.ok("plan").says("No changes.")


@pytest.mark.parametrize("output", ["json", "markdown"])
def test_who_is_asked_sees_what_for(shell: Shell, terminal: int, output: str) -> None:
    shell.registered()
    shell.write(RENAMED)
    os.write(terminal, b"no\n")
    done = shell.refused("apply", "--format", output, code=1, says=("Apply this plan?", "nothing was done"))
    assert "display_name" in done.err
    assert done.out == ""
    shell.apply()
    assert shell.ok("apply", "--format", output).err == ""  # nothing to ask about


def test_destroy_asks_too(shell: Shell, terminal: int) -> None:
    shell.registered()
    os.write(terminal, b"yes\ndemo\n")
    shell.refused("destroy", code=1, says=("Destroy all of this?", "nothing was done"))
    shell.ok("destroy").says("Destroy all of this?")
    assert not (shell.config_dir / "main").exists()


# --- Ctrl-C


class Gate(threading.Event):
    """Holds an answer back, and tells when it is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.arrived.set()
        return super().wait(timeout)


NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("command", ["plan", "status"])
def test_a_signal_ends_a_wait_for_the_service(shell: Shell, command: str, number: signal.Signals) -> None:
    shell.registered()
    before = shell.tree()
    gate = Gate()
    shell.stub.script["/v2/endpoints"] = [Reply(drop=True, hold=gate)]
    with subprocess.Popen(
        chiltepin(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ()
    ) as child:
        assert gate.arrived.wait(60)
        gate.arrived.clear()
        child.send_signal(number)
        # The service is still silent: it is let go only after the command has ended.
        out, err = child.communicate(timeout=20)
        gate.set()
    assert (child.returncode, out, err) == (130, "", "\ninterrupted\n")
    assert shell.tree() == before


def signalled_while_it_loads(number: signal.Signals, handler: str) -> subprocess.CompletedProcess[bytes]:
    program = f"""
import os, signal, sys
signal.signal({int(number)}, {handler})
class Finder:
    def find_spec(self, name, *_):
        if name == "reconciler.cli.main":
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Finder())
from reconciler.cli import main
main()
"""
    command = [sys.executable, "-c", program, "--version"]
    return subprocess.run(command, capture_output=True, env=environ(), check=False, timeout=60)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_before_anything_is_loaded(number: signal.Signals) -> None:
    usual = "signal.default_int_handler" if number == signal.SIGINT else "signal.SIG_DFL"
    done = signalled_while_it_loads(number, usual)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    done = signalled_while_it_loads(signal.SIGHUP, "signal.SIG_IGN")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("python", ["../other", "../{{ 'other' }}"])
def test_a_relative_python_counts_from_the_manifest(shell: Shell, monkeypatch: pytest.MonkeyPatch, python: str) -> None:
    """Both the options and the daemons are of that environment, wherever the command is run."""
    fake_environment(shell.base / "other", "4.14.0")
    hosts = f"hosts: {{here: {{match: ['*'], python: \"{python}\"}}}}\n"
    monkeypatch.chdir(shell.home)
    manifest = ("-f", str(shell.manifest))
    shell.write(HEAD + hosts + "endpoints:\n  main: {state: stopped}\n")
    assert f"{shell.project}/../other/bin" in shell.ok("plan", *manifest).out
    shell.write(HEAD + hosts + "endpoints:\n  main: {state: stopped, config: {email: a@b.example}}\n")
    done = shell.run("plan", *manifest)
    assert done.code == 3
    done.says("4.14", "email")


def test_a_relative_config_dir_counts_from_the_manifest(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write(HEAD + "hosts: {here: {match: ['*'], config_dir: gc}}\nendpoints:\n  main: {state: stopped}\n")
    shell.apply()
    assert (shell.project / "gc" / "main" / "config.yaml").exists()
    monkeypatch.chdir(shell.home)
    shell.ok("plan", "-f", str(shell.manifest), "--detailed-exitcode")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_apply_that_is_ended_while_it_plans_gives_the_lease_back(shell: Shell, number: signal.Signals) -> None:
    shell.registered()
    before = shell.tree()
    gate = Gate()
    shell.stub.script["/v2/endpoints"] = [Reply(drop=True, hold=gate)]
    lease = shell.config_dir / ".chiltepin" / "lease.json"
    with subprocess.Popen(
        chiltepin("apply", "--yes"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ()
    ) as child:
        assert gate.arrived.wait(60)
        gate.arrived.clear()
        held = lease.exists()
        child.send_signal(number)
        out, err = child.communicate(timeout=20)
        gate.set()
    assert held
    assert (child.returncode, out, err) == (130, "", "\ninterrupted\n")
    assert not lease.exists()
    assert shell.tree() == before


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_is_ignored_stays_ignored_while_things_are_done(number: signal.Signals) -> None:
    """`nohup` is used so that a lost connection does not end an apply half way."""
    stop = threading.Event()
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with graceful(stop, Console("never", quiet=True)):
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)  # delivered after it
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert stop.is_set(), "SIGTERM is heard"


def test_ignored_signals_alone_stop_nothing() -> None:
    stop = threading.Event()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with graceful(stop, Console("never", quiet=True)):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not stop.is_set()


KEPT_TO = {
    "the manifest": "chiltepin.yaml",
    "the lock": "chiltepin.lock.yaml",
    "the pools file": "chiltepin.pools.yaml",
    "anything else": "notes.txt",
}


@pytest.mark.parametrize("what", KEPT_TO)
def test_a_plan_is_never_kept_over_another_file(shell: Shell, what: str) -> None:
    shell.registered()
    (shell.project / "notes.txt").write_text("mine\n")
    shell.refused("plan", "--out", KEPT_TO[what], code=64, says=("is no kept plan", "choose another name"))


def test_a_plan_is_kept_over_an_older_one(shell: Shell) -> None:
    shell.registered()
    shell.ok("plan", "--out", "plan.json")
    shell.write(RENAMED)
    shell.ok("plan", "--out", "plan.json")
    shell.ok("apply", "plan.json").says("1 done")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--out", "-"), "`--format json` prints the plan"),
        (("--out", "."), "name a file"),
        (("--out", "x.json", "--against", "lock"), "--out does not go with --against"),
    ],
)
def test_where_no_plan_can_be_kept(shell: Shell, options: tuple[str, ...], says: str) -> None:
    shell.registered()
    shell.refused("plan", *options, code=64, says=(says,))


def test_a_manifest_is_no_plan(shell: Shell) -> None:
    shell.registered()
    shell.refused("apply", "chiltepin.yaml", code=64, says=("not a plan", "`chiltepin apply -f FILE`"))


# --- what is asked for must make sense


@pytest.mark.parametrize("file", [".", "/", ""])
@pytest.mark.parametrize("command", ["validate", "plan", "status", "apply"])
def test_a_directory_is_no_manifest(shell: Shell, command: str, file: str) -> None:
    shell.refused(command, "-f", file, code=64, says=("this is a directory, and no manifest", "-f chiltepin.yaml"))


def test_what_was_not_looked_at_is_not_said_to_be_as_declared(shell: Shell) -> None:
    shell.write(ONE.replace("main:", "two: {state: stopped}\n  main:"))
    shell.apply()
    for option in (("--target", "main"), ("--exclude", "two")):
        shell.ok("plan", *option).says("No changes. 1 endpoint on ", "as declared. Not looked at: two.")
    assert "Not looked at" not in shell.ok("plan").out
    shell.refused("plan", "--target", "main", "--exclude", "main", code=64, says=("leave nothing to look at",))


@pytest.mark.parametrize(
    "option", [["--target", "main"], ["--exclude", "main"], ["--new", "main"], ["--take-over"], ["--destroy"]]
)
def test_a_comparison_with_the_lock_takes_no_other_options(shell: Shell, option: list[str]) -> None:
    shell.write(ONE)
    shell.apply()
    shell.refused("plan", "--against", "lock", *option, code=64, says=(f"{option[0]} does not go with --against",))


def test_a_kept_plan_says_with_which_options_it_is_done(shell: Shell) -> None:
    shell.write(ONE.replace("main:", "two: {state: stopped}\n  three: {state: stopped}\n  main:"))
    shell.apply()
    shell.write(ONE)
    command = shell.ok("plan", "--out", "p.json").err.partition("to do just this: chiltepin ")[2].split()
    assert command == ["apply", "p.json", "--allow-delete", "--max-deletes", "2"]
    shell.run("apply", "p.json").says("make a new plan of what is left, and apply that with --allow-delete")
    command = shell.ok("plan", "--out", "p.json").err.partition("to do just this: chiltepin ")[2].split()
    assert "2 done" in shell.ok(*command).err


def test_the_command_for_a_kept_plan_is_whole(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = shell.base / "its place" / "m.yaml"
    manifest.parent.mkdir()
    (shell.base / "t").write_text("engine: {type: ThreadPoolEngine}\n")
    declared = "variables: {token: {env: TOKEN, sensitive: true}, debug: false}\n"
    declared += "hosts: {a: {match: [one]}, b: {match: [two]}}\n"
    block = (
        "host: b, state: stopped, template: ../t, config: {debug: '{{ debug }}'}, user_environment: {T: '{{ token }}'}"
    )
    manifest.write_text(f"{HEAD}{declared}endpoints:\n  main: {{{block}}}\n")
    options = ["-f", str(manifest), "-c", str(shell.base / "c"), "--host", "b", "--lock", "l.yaml"]
    more = ["--var", "debug=true", "--var", "token=s3same", "--allow-outside"]
    said = shell.ok("plan", *options, *more, "--out", "p 1.json").err
    assert "s3same" not in said
    words = shlex.split(said.partition("to do just this: ")[2])
    assert words == ["chiltepin", "apply", *options, *more[:3], "token=VALUE", "--allow-outside", "p 1.json"]
    shell.ok(*(word.replace("VALUE", "s3same") for word in words[1:])).says("1 done")


def test_what_is_named_a_secret_is_in_no_printed_command_and_its_short_value_hides_nothing_else(shell: Shell) -> None:
    environment = "user_environment: {API_TOKEN: '{{ given }}', NOTE: debug it}"
    shell.write(f"{HEAD}endpoints:\n  main: {{state: stopped, {environment}}}\n")
    done = shell.ok("plan", "--var", "given=debug", "--out", "p.json")
    assert "given=VALUE" in done.err
    done.says('NOTE: "debug it"', "API_TOKEN: (sensitive)")
    shell.write(
        f"{HEAD}endpoints:\n  main: {{state: stopped, user_environment: {{SAYS: 'it is {{{{ api_token }}}}'}}}}\n"
    )
    assert "hunter22" not in shell.ok("plan", "--var", "api_token=hunter22", "--out", "q.json").err


def test_a_secret_that_is_a_part_of_a_value_is_in_no_printed_command(shell: Shell) -> None:
    declared = "variables: {pin: {env: SECRET_PIN, default: 0}, plain: {env: PLAIN, default: 0}}\n"
    given = {
        "api_token": "hunter22",
        "mirror": "https://me:hunter22@host",
        "options": "-v --password hunter22",
        "held": "with hunter22 in it",
        "pin": "4711",
        "plain": "4711",
        "n_tokens": "3",
    }
    used = ", ".join(f"V{number}: 'x {{{{ {name} }}}}'" for number, name in enumerate(given))
    environment = f"user_environment: {{API_TOKEN: '{{{{ api_token }}}}', {used}}}"
    shell.write(f"{HEAD}{declared}endpoints:\n  main: {{state: stopped, {environment}}}\n")
    options = [word for name, value in given.items() for word in ("--var", f"{name}={value}")]
    words = shlex.split(shell.ok("plan", *options, "--out", "p.json").err.partition("to do just this: ")[2])
    shown = [f"{name}={value if name in ('plain', 'n_tokens') else 'VALUE'}" for name, value in given.items()]
    assert words[2:-1] == [word for each in shown for word in ("--var", each)]


def test_the_limits_of_a_kept_plan_are_those_that_it_was_made_with() -> None:
    scope = Scope(frozenset("a"), frozenset("b"), True, True, frozenset("c"), True, retry=True)
    saved = save_plan(settled(endpoint()).plan(), scope, frozenset(), "0" * 32)
    assert scope_of(read_saved_plan(saved.model_dump_json(), "p.json")) == scope


def test_a_destroy_that_purges_is_shown_and_kept(shell: Shell) -> None:
    shell.registered()
    shell.refused("plan", "--destroy", "--purge", code=0, says=("- ", "deregister"))
    assert "deregister" not in shell.ok("plan", "--destroy").out
    shell.ok("plan", "--destroy", "--purge", "--out", "p.json")
    shell.ok("apply", "p.json", "--allow-delete")
    assert not (shell.config_dir / "main").exists()
    assert list((shell.config_dir / ".chiltepin" / "trash").iterdir()) == []


def test_quiet_says_nothing_when_the_lock_has_all(shell: Shell) -> None:
    shell.write(ONE)
    shell.ok("plan", "--against", "lock", "-q").says("+ endpoint main")
    shell.apply()
    assert shell.ok("plan", "--against", "lock", "-q").text == ""


def test_what_a_marker_keeps_of_the_manifest_is_in_the_plan(shell: Shell) -> None:
    shell.write(ONE.replace("stopped}", "stopped, protect: true}"))
    shell.apply()
    shell.write(ONE.replace("stopped}", "stopped, restart: now}"))
    shell.ok("plan").says("~ protect: true -> false", '~ restart: "when-idle" -> "now"')
    shell.write(ONE.replace("stopped}", "unmanaged}"))
    shell.ok("plan").says("main: is unmanaged from now on")
    shell.apply()
    assert "from now on" not in shell.ok("plan").out


def test_two_endpoints_are_never_one_variable(shell: Shell) -> None:
    blocks = f"a-b: {{state: stopped, id: {UUID_A}}}\n  a_b: {{state: stopped, id: {UUID_B}}}\n  main:"
    shell.register(UUID_A, "a-b")
    shell.register(UUID_B, "a_b")
    shell.write(ONE.replace("main:", blocks))
    shell.apply()
    shell.refused("lock", "export", "--format", "env", code=64, says=("a-b and a_b would be one variable",))
    assert set(yaml.safe_load(shell.ok("lock", "export").out)) == {"a-b", "a_b"}


def test_a_lock_that_cannot_be_written_is_not_said_to_be(shell: Shell) -> None:
    shell.write(ONE)
    shell.apply()
    done = shell.run("apply", "--yes", "--lock", "nodir/x.lock")
    assert done.code != 0
    assert "only our own files written" not in done.text
    assert "what was done" not in done.text
    done.says("nodir/x.lock: cannot write the lockfile")


def test_a_variable_that_does_not_fit_is_said_to_come_from_outside(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.write(ONE + "variables: {cores: 4}\n")
    says = "the variable `cores` must be a whole number, as here;"
    shell.refused("validate", "--var", "cores=many", code=65, says=(says, "--var cores gives 'many'"))
    monkeypatch.setenv("CHILTEPIN_VAR_cores", "many")
    shell.refused("validate", code=65, says=(says, "CHILTEPIN_VAR_cores gives 'many'"))


def test_a_first_manifest_of_another_config_directory_says_how_to_go_on(shell: Shell) -> None:
    shell.ok("init", "--from-existing", "-c", str(shell.base / "gc")).says(f"chiltepin plan -c {shell.base}/gc")
