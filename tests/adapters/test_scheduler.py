"""Questions to Slurm, with stand-ins for its commands; tests/e2e/test_slurm.py asks a real one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters.process import lives, start_time
from reconciler.adapters.scheduler import Slurm
from reconciler.core.live import BatchJob
from reconciler.errors import SchedulerError

SEPARATOR = r"\037"
Command = Callable[[str, str], dict[str, str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Put a shell script on PATH as a command of Slurm; return the variables that find it."""

    def make(name: str, script: str) -> dict[str, str]:
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return {"PATH": f"{program.parent}:{os.environ['PATH']}", "HERE": str(tmp_path)}

    return make


def test_jobs_have_their_ids_and_paths(command: Command) -> None:
    lines = f"17{SEPARATOR}/home/jdoe/a b|c/script{SEPARATOR}/home/jdoe\\n 18{SEPARATOR}(null){SEPARATOR}/\\n"
    found = Slurm().jobs(command("squeue", f"printf '{lines}'"))
    assert found == (BatchJob("17", ("/home/jdoe/a b|c/script", "/home/jdoe")), BatchJob("18", ("(null)", "/")))


def test_an_empty_queue(command: Command) -> None:
    assert Slurm().jobs(command("squeue", "exit 0")) == ()


def test_only_our_own_jobs_are_asked_for_unless_we_are_root(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = command("squeue", 'for word in "$@"; do echo "$word" >>"$HERE/asked"; done')
    for uid in (0, 1234):
        monkeypatch.setattr("os.getuid", lambda uid=uid: uid)
        Slurm().jobs(environ)
    asked = (Path(environ["HERE"]) / "asked").read_text().splitlines()
    assert [word for word in asked if word.startswith("--user")] == ["--user=1234"]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", "Unable to contact slurm"),
        ("exit 3", "squeue failed with code 3"),
        ("echo JOBID PARTITION", "something else than jobs: 'JOBID PARTITION'"),
    ],
)
def test_what_squeue_cannot_say_is_an_error_and_never_an_empty_queue(command: Command, script: str, why: str) -> None:
    with pytest.raises(SchedulerError) as caught:
        Slurm().jobs(command("squeue", script))
    assert why in (caught.value.why or "")
    assert caught.value.remedy


def test_a_squeue_that_hangs_is_given_up_and_ended(command: Command) -> None:
    environ = command("squeue", 'echo $$ >"$HERE/pid"; exec sleep 300')
    with pytest.raises(SchedulerError) as caught:
        Slurm(timeout=0.5).jobs(environ)
    assert "gave no answer" in (caught.value.why or "")
    pid = int((Path(environ["HERE"]) / "pid").read_text())
    started = start_time(pid)
    assert started is None or not lives(pid, started)


def test_no_squeue_at_all(tmp_path: Path) -> None:
    with pytest.raises(SchedulerError) as caught:
        Slurm().jobs({"PATH": str(tmp_path)})
    assert caught.value.why == "there is no squeue on PATH"


def test_many_who_ask_at_once_share_an_answer(command: Command) -> None:
    environ = command("squeue", f'echo x >>"$HERE/calls"; printf "1{SEPARATOR}/a{SEPARATOR}/\\n"')
    slurm = Slurm()
    answers: list[tuple[BatchJob, ...]] = []
    threads = [threading.Thread(target=lambda: answers.append(slurm.jobs(environ))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) == {(BatchJob("1", ("/a", "/")),)}
    assert (Path(environ["HERE"]) / "calls").read_text().count("x") < 20


def test_a_failure_is_not_kept_as_an_answer(command: Command) -> None:
    environ = command("squeue", '[ -e "$HERE/well" ] || exit 1')
    slurm = Slurm()
    with pytest.raises(SchedulerError):
        slurm.jobs(environ)
    (Path(environ["HERE"]) / "well").touch()
    assert slurm.jobs(environ) == ()


def test_cluster_and_partitions(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'case "$*" in *config) echo "ClusterName = ursa";; *) echo "PartitionName=debug MaxTime=30";; esac'
    monkeypatch.setenv("PATH", command("scontrol", script)["PATH"])
    assert Slurm().cluster() == "ursa"
    assert Slurm().partitions() == {"debug": {"PartitionName": "debug", "MaxTime": "30"}}


@pytest.mark.parametrize("name", ["cluster", "partitions"])
def test_a_scontrol_that_fails_is_not_no_slurm(command: Command, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    script = "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1"
    monkeypatch.setenv("PATH", command("scontrol", script)["PATH"])
    with pytest.raises(SchedulerError) as caught:
        getattr(Slurm(), name)()
    assert "Unable to contact slurm controller" in (caught.value.why or "")


def test_the_shells_habits_hide_no_jobs(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SQUEUE_STATES", "SQUEUE_PARTITION", "SCONTROL_LOCAL", "SLURM_CONF"):
        monkeypatch.setenv(variable, "x")
    environ = command("squeue", 'env | grep -E "^(SQUEUE|SCONTROL|SLURM)_" >"$HERE/seen"; echo "$*" >"$HERE/asked"')
    Slurm().jobs({**environ, "SQUEUE_USERS": "nobody"})
    assert (Path(environ["HERE"]) / "seen").read_text() == "SLURM_CONF=x\n"
    assert "--all" in (Path(environ["HERE"]) / "asked").read_text()


def test_no_slurm_is_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (Slurm().cluster(), Slurm().partitions()) == (None, {})
