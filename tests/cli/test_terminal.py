"""What other people's files say reaches the terminal as text, and nothing in it is obeyed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from reconciler.adapters import lease_file
from reconciler.cli.console import Console, print_error, shown
from reconciler.core.lines import Line
from reconciler.errors import ReconcilerError
from tests.cli.support import POOLED, RENAMED, Shell

ESCAPE = "\x1b[31mEVIL\x1b]0;title\x07\x9b2J\u202e"
HARMLESS = "\\u001b[31mEVIL\\u001b]0;title\\u0007\\u009b2J\\u202e"


def assert_harmless(text: str) -> None:
    assert [c for c in text if c not in "\n\t" and not c.isprintable()] == []


def test_what_a_terminal_obeys_is_spelt_out() -> None:
    assert shown(ESCAPE) == HARMLESS
    assert shown("a\r\x08\x7f\u2028\ud800b") == "a\\u000d\\u0008\\u007f\\u2028\\ud800b"
    for text in ("", "plain", "two\nlines\twith a tab", "é 日本語 \U0001f600", "no\xa0break"):
        assert shown(text) == text


def test_json_stays_the_same_json() -> None:
    document = {"a": "\x9b\u202e\x7f\u2066é"}
    text = json.dumps(document, ensure_ascii=False)
    assert shown(text) != text
    assert json.loads(shown(text)) == document


def test_everything_that_a_console_prints(capsys: pytest.CaptureFixture[str]) -> None:
    for color in ("never", "always"):
        console = Console(color)
        console.result(ESCAPE)
        console.lines([Line(ESCAPE, "add")])
        console.say(ESCAPE, "warning")
        console.warn(ESCAPE)
        console.markdown(ESCAPE, [Line(ESCAPE)])
        print_error(ReconcilerError(ESCAPE, where=ESCAPE, why=ESCAPE, remedy=ESCAPE), console)
        out, err = capsys.readouterr()
        for code in ("\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[0m"):
            out, err = out.replace(code, ""), err.replace(code, "")
        assert_harmless(out + err)
        assert HARMLESS in out
        assert HARMLESS in err


def test_a_leases_holder(shell: Shell) -> None:
    shell.registered()
    shell.write(RENAMED)
    holder = replace(lease_file.ourselves("run", 1.0), host=f"other{ESCAPE}", user=ESCAPE, run=ESCAPE)
    (shell.config_dir / ".chiltepin" / "lease.json").write_text(json.dumps(asdict(holder)))
    done = shell.refused("apply", "--yes", code=75, says=("EVIL",))
    assert_harmless(done.text)


def test_a_markers_claim(shell: Shell) -> None:
    shell.registered()
    marker = json.loads(shell.marker.read_text())
    marker["claim"]["host"] = marker["claim"]["config_dir"] = ESCAPE
    marker["stack"] = ESCAPE
    shell.marker.write_text(json.dumps(marker))
    assert_harmless(shell.run("status").text)
    assert_harmless(shell.run("plan").says("EVIL").text)


def test_a_kept_plan(shell: Shell) -> None:
    shell.write(POOLED)
    shell.ok("plan", "--out", "p.json")
    kept = json.loads((shell.project / "p.json").read_text())
    for action in kept["plan"]["actions"]:
        action["endpoint"] = ESCAPE
    kept["fingerprint"] = "00"
    (shell.project / "p.json").write_text(json.dumps(kept))
    done = shell.run("apply", "p.json", "--yes").says("EVIL")
    assert done.code == 4
    assert_harmless(done.text)
