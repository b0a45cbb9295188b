"""undelete, purge and consent to deletes on the command line: mistakes, questions, outputs, exit codes."""

from __future__ import annotations

import io
import json

import pytest

from tests.adapters.globus_stub import ENDPOINT, Reply
from tests.cli.support import HEAD, POOLED, Done, Shell, json_of

OTHER = HEAD + "endpoints:\n  other: {state: stopped}\n"
BOTH = POOLED.replace("endpoints:\n", "endpoints:\n  other: {state: stopped}\n")
KEEP_NOTHING = OTHER + "trash: {keep: 0s}\n"
MISTAKES: dict[str, tuple[str, ...]] = {
    "undelete": ("chiltepin undelete:", "NAME"),
    "undelete mian --yes": ("mian: no such endpoint", "did you mean main?"),
    "undelete zz --yes": ("zz: no such endpoint", "in the trash are: main"),
    "purge --yes": ("purge needs a NAME or --all",),
    "purge main --all --yes": ("purge needs a NAME or --all",),
    "purge --all --entry x --yes": ("--entry is for one endpoint",),
    "purge mian --yes": ("mian: no such endpoint", "did you mean main?"),
    "purge zz --yes": ("zz: no such endpoint", "in the trash are: main"),
    "purge main": (
        "nobody can be asked: the input is not a terminal",
        "--yes, with --allow-delete and --max-deletes N",
    ),
    "undelete main": ("nobody can be asked: the input is not a terminal", "next: use --yes"),
    "purge main --max-deletes -1": ("chiltepin purge:", "--max-deletes"),
}


class Terminal(io.StringIO):
    """An input at which somebody types."""

    def isatty(self) -> bool:
        return True


def typed(shell: Shell, monkeypatch: pytest.MonkeyPatch, answers: str, *command: str) -> Done:
    """Run a command at a terminal at which `answers` are typed, a line each."""
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", Terminal(answers))
        return shell.run(*command)


@pytest.fixture
def deleted(shell: Shell) -> Shell:
    """A user who has deleted `main`."""
    shell.registered()
    shell.stub.script[f"/v2/endpoints/{ENDPOINT}/status"] = [Reply(200, {"status": "offline"})]
    shell.write(OTHER)
    shell.ok("apply", "--yes", "--allow-delete")
    assert not shell.marker.exists()
    return shell


def trash(shell: Shell) -> list[str]:
    return sorted(p.name for p in (shell.config_dir / ".chiltepin" / "trash").iterdir())


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake(deleted: Shell, line: str) -> None:
    deleted.refused(*line.split(), code=64, says=MISTAKES[line])


def test_undelete_and_apply(deleted: Shell) -> None:
    done = deleted.ok("undelete", "main", "--yes")
    done.says("bring back directory main with its UUID " + ENDPOINT, "put its block back", "1 done")
    assert json.loads(deleted.marker.read_text())["id"] == ENDPOINT
    assert ENDPOINT in deleted.lock.read_text()
    assert trash(deleted) == []
    deleted.refused("plan", code=0, says=("1 to delete",))
    done = deleted.refused("apply", "--yes", code=4, says=("1 to delete, not done without --allow-delete: main",))
    done.says("next: when all of these are to go, run it again with --allow-delete")
    deleted.refused("undelete", "main", "--yes", code=0, says=("it is not in the trash",))
    deleted.write(BOTH)
    deleted.apply()
    deleted.ok("plan").says("No changes.")
    assert ENDPOINT in deleted.pools.read_text()


def test_a_block_that_is_declared_again_comes_back_in_a_kept_plan(deleted: Shell) -> None:
    deleted.write(BOTH)
    (entry,) = trash(deleted)
    deleted.ok("plan", "--out", "plan.json").says(f"from the trash ({entry})", "1 to bring back")
    deleted.ok("apply", "plan.json")
    assert json.loads(deleted.marker.read_text())["id"] == ENDPOINT
    deleted.ok("plan").says("No changes.")


def test_a_kept_plan_refuses_another_entry_than_the_one_that_it_names(deleted: Shell) -> None:
    deleted.write(BOTH)
    deleted.ok("plan", "--out", "plan.json")
    (entry,) = (deleted.config_dir / ".chiltepin" / "trash").iterdir()
    entry.rename(entry.with_name("main~20300101T000000Z-00000000"))
    deleted.refused("apply", "plan.json", code=4, says=("the world has moved on", "main~20300101T000000Z-00000000"))


def test_purge_in_a_pipeline_needs_both_consents(deleted: Shell) -> None:
    deleted.refused("purge", "main", "--yes", code=4, says=("1 to delete, not done without --allow-delete: main",))
    before = deleted.lock.read_text()
    document = json_of(deleted.ok("purge", "main", "--yes", "--allow-delete", "--format", "json"))
    assert [(o["kind"], o["outcome"]) for o in document["outcomes"]] == [("Purge", "done")]
    assert deleted.stub.compute_methods() >= {"DELETE"}
    assert trash(deleted) == []
    assert deleted.lock.read_text() == before


@pytest.mark.parametrize(("answer", "code"), [("main\n", 0), ("yes\n", 4), ("\n", 4), ("", 4), ("mai\n", 4)])
def test_purge_at_a_terminal_wants_the_name(
    deleted: Shell, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    done = typed(deleted, monkeypatch, answer, "purge", "main")
    assert done.code == code
    assert "Only `main` is taken as yes" in done.err
    assert (trash(deleted) == []) == (code == 0)
    assert ("DELETE" in deleted.stub.compute_methods()) == (code == 0)


def test_apply_at_a_terminal_wants_the_name_of_what_it_deletes(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.registered()
    shell.write(HEAD + "endpoints:\n  other: {state: stopped}\n")
    done = typed(shell, monkeypatch, "no\nyes\n", "apply")
    assert done.code == 4
    done.says("main would be deleted. Only `main`", "not deleted, for want of consent: main")
    done.says("Apply the rest (1 to create, 1 pool to remove)?")
    assert shell.marker.exists()
    assert (shell.config_dir / "other").exists()
    done = typed(shell, monkeypatch, "main\n", "apply")
    assert done.code == 0
    assert "Apply this plan?" not in done.err  # its name was the yes
    assert not shell.marker.exists()


def test_a_kept_plan_promises_no_delete_that_a_refusal_holds_back(shell: Shell) -> None:
    shell.registered()
    (shell.config_dir / "other").mkdir()
    (shell.config_dir / "other" / "config.yaml").write_text("debug: true\n")
    shell.write(OTHER)
    held = "1 to delete, not done before all else is well: main"
    remedy = "mend what is said of other, then make a new plan and apply that; or make one with --exclude other"
    done = shell.run("plan", "--out", "plan.json").says(f"without its {held}", remedy)
    assert "--allow-delete" not in done.err
    assert shell.run("apply", "plan.json", "--allow-delete").says(held, f"next: {remedy}").code == 4
    shell.run("apply", "--yes", "--allow-delete").says(held, "leave it out by --exclude, and run it again")
    assert shell.marker.exists()
    shell.ok("plan", "--out", "plan.json", "--exclude", "other").says("plan.json --allow-delete")
    shell.ok("apply", "plan.json", "--allow-delete")
    assert not shell.marker.exists()


def test_a_refusal_holds_back_the_end_of_a_retention_too(deleted: Shell) -> None:
    (deleted.config_dir / "new").mkdir()
    (deleted.config_dir / "new" / "config.yaml").write_text("debug: true\n")
    deleted.write(KEEP_NOTHING.replace("endpoints:\n", "endpoints:\n  new: {state: stopped}\n"))
    done = deleted.run("apply", "--yes", "--allow-delete")
    done.says("1 in the trash past their retention, kept until all else is well: main")
    assert (done.code, len(trash(deleted))) == (4, 1)
    deleted.ok("apply", "--yes", "--allow-delete", "--exclude", "new")
    assert trash(deleted) == []


def test_more_than_the_cap_is_not_even_asked_about(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write(HEAD + "endpoints:\n  a: {state: stopped}\n  b: {state: stopped}\n  c: {state: stopped}\n")
    shell.apply()
    shell.write(HEAD + "endpoints:\n  c: {state: stopped}\n")
    done = typed(shell, monkeypatch, "yes\n", "apply")
    assert done.code == 4
    done.says("2 to delete, more than --max-deletes 1 allows", "run it again with --max-deletes 2")
    shell.ok("plan").says("its deletes need consent: apply it with --allow-delete --max-deletes 2")
    shell.run("apply", "--yes").says("not done without --allow-delete", "again with --allow-delete --max-deletes 2")
    assert "would be deleted" not in done.err
    assert typed(shell, monkeypatch, "a\nno\nyes\n", "apply", "--max-deletes", "2").code == 4
    assert (shell.config_dir / "b").exists()
    assert not (shell.config_dir / "a").exists()


@pytest.mark.parametrize("answer", ["no\n", "y\n", "", "YES\n"])
def test_a_declined_apply_does_nothing_and_says_so_with_its_exit_code(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    shell.write(POOLED)
    done = typed(shell, monkeypatch, answer, "apply")
    assert done.code == 1
    done.says("nothing was done")
    assert not shell.lock.exists()
    assert not shell.marker.exists()


@pytest.mark.parametrize(("answer", "code"), [("demo\n", 0), ("yes\n", 1), ("main\n", 1), ("", 1)])
def test_destroy_wants_the_name_of_the_stack(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    shell.registered()
    done = typed(shell, monkeypatch, answer, "destroy")
    assert done.code == code
    done.says("Destroy all of this? Only `demo` is taken as yes")
    assert shell.marker.exists() == (code != 0)


def test_what_is_past_its_retention_is_shown_and_mentioned_and_no_failure(deleted: Shell) -> None:
    deleted.write(KEEP_NOTHING)
    deleted.refused("plan", code=0, says=("main: retention ended", "1 to purge"))
    deleted.refused("plan", "--detailed-exitcode", code=2)
    deleted.refused(
        "apply", "--yes", code=0, says=("1 in the trash past their retention, kept for want of consent: main",)
    )
    assert deleted.refused("apply", "--yes", "--quiet", code=0).text == ""
    deleted.ok("apply", "--yes", "--allow-delete").says("main purged", "1 done")
    assert trash(deleted) == []
    deleted.ok("plan", "--detailed-exitcode").says("No changes.")


def test_the_bound_on_size(deleted: Shell) -> None:
    deleted.write(OTHER + "trash: {max: 1GB}\n")
    deleted.refused("plan", code=0, says=("No changes.",))
    deleted.refused("status", code=0, says=("1 in the trash: main (", "KB)"))
    deleted.write(OTHER + "trash: {max: 1KB}\n")
    deleted.refused("plan", code=0, says=("main: retention ended",))


def test_status_shows_what_is_in_the_trash(deleted: Shell) -> None:
    deleted.refused("status", code=0, says=("1 in the trash: main (", "`chiltepin undelete main`"))
    document = json_of(deleted.ok("status", "--format", "json"))
    (item,) = document["trash"]
    assert (item["endpoint"], item["id"], item["entry"]) == ("main", ENDPOINT, trash(deleted)[0])
    assert (item["size"], item["expired"], item["ours"]) == (None, False, True)
    assert 0 <= item["age"] < 600


def test_a_purge_without_the_service_loses_nothing(deleted: Shell) -> None:
    deleted.stub.script["/v2/endpoints"] = [Reply(503, {})] * 50
    deleted.refused("purge", "main", "--yes", "--allow-delete", code=69)
    deleted.refused("undelete", "main", "--yes", code=69)
