"""Questions to PBS, with stand-ins for its commands: no server of it can be installed here.

The replies have the form of those that users of OpenPBS 20 to 23 published, with our paths in them, and the faults of
the same sort: numbers without quotes, environments that are not escaped, jobs that are left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.host import LocalHost
from reconciler.adapters.machine import facts
from reconciler.adapters.pbs import Pbs
from reconciler.adapters.scheduler import BatchSystems
from reconciler.core.live import BatchJob, Identity
from reconciler.core.work import Work
from reconciler.errors import SchedulerError
from reconciler.ports import Outside
from reconciler.workload import Workload
from tests.adapters.host_support import UUID_A, UUID_B
from tests.fakes import FakeService, FakeStore, World

UEP = f"/home/jdoe/.globus_compute/uep.{UUID_A}.{UUID_B}"
SCRIPT = f"{UEP}/submit_scripts/parsl.GlobusComputeEngine-0.block-0.1764271234.5"
ANSWER = """{
    "timestamp":1764272222,
    "pbs_version":"23.06.06",
    "pbs_server":"pbs-01",
    "Jobs":{
%s
    }
}
"""
JOB = """        "%(number)s.pbs-01":{
            "Job_Name":"parsl.GlobusComp",
            "Job_Owner":"jdoe@login-02.site.gov",
            "resources_used":{
                "cpupercent":0,
                "cput":"00:00:00",
                "mem":"12272kb",
                "ncpus":5,
                "walltime":"00:01:50"
            },
            "job_state":"%(state)s",
            "queue":"prod",
            "server":"pbs-01",
            "Checkpoint":"u",
            "ctime":"Thu Nov 27 19:20:07 2025",
            "Error_Path":"login-02.site.gov:%(script)s.stderr",
            "exec_vnode":"(node-1:ncpus=5)",
            "Hold_Types":"n",
            "Join_Path":"n",
            "Output_Path":"login-02.site.gov:%(script)s.stdout",
            "Priority":0,
            "Rerunable":"True",
            "Resource_List":{
                "ncpus":5,
                "place":"scatter:excl",
                "select":"1:ncpus=5",
                "walltime":"01:00:00"
            },
            "session_id":16971,
            "jobdir":"/home/jdoe",
            "substate":42,
            "Variable_List":{
                "PBS_O_HOME":"/home/jdoe",
                "PBS_O_PATH":"/usr/local/bin:/usr/bin:/bin:/opt/pbs/bin",
                "PBS_O_WORKDIR":"%(workdir)s",
                "PBS_O_SYSTEM":"Linux",
                %(more)s"PBS_O_HOST":"login-02.site.gov"
            },
            "run_count":1,
            "Submit_arguments":" -q prod -A hpcs %(script)s",
            "project":"_pbs_project_default",
            "Submit_Host":"login-02.site.gov"
        }"""

Commands = Callable[..., dict[str, str]]


def job(number: int | str, state: str = "R", script: str = SCRIPT, more: str = "") -> str:
    return JOB % {"number": number, "state": state, "script": script, "workdir": UEP, "more": more}


def answer(*jobs: str) -> str:
    return ANSWER % ",\n".join(jobs)


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """Put stand-ins of qselect and qstat on PATH; return the variables that find them."""

    def make(selected: str, reply: str = "", *, code: int = 0, error: str = "") -> dict[str, str]:
        (tmp_path / "selected").write_text(selected)
        (tmp_path / "reply").write_text(reply)
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        asked = f'echo "$0 $*" | sed "s|.*/||" >>{tmp_path}/asked'
        for name, text in (
            ("qselect", f"{asked}; cat {tmp_path}/selected"),
            ("qstat", f"{asked}; cat {tmp_path}/reply; echo '{error}' >&2; exit {code}"),
        ):
            (programs / name).write_text(f"#!/bin/sh\n{text}\n")
            (programs / name).chmod(0o755)
        return {"PATH": f"{programs}:{os.environ['PATH']}"}

    return make


def why(environ: dict[str, str]) -> str:
    with pytest.raises(SchedulerError) as caught:
        Pbs().jobs(environ)
    assert caught.value.what.startswith("PBS could not be asked")
    assert caught.value.remedy
    return caught.value.why or ""


def test_jobs_have_their_ids_and_paths(commands: Commands) -> None:
    replies = answer(job(1006), job("1007[]", "Q", "/home/jdoe/other.pbs"))
    found = Pbs().jobs(commands("1006.pbs-01\n1007[].pbs-01\n", replies))
    script = f" -q prod -A hpcs {SCRIPT}"
    outputs = (f"login-02.site.gov:{SCRIPT}.stdout", f"login-02.site.gov:{SCRIPT}.stderr")
    assert found[0] == BatchJob("1006.pbs-01", (script, *outputs, UEP))
    assert [j.id for j in found] == ["1006.pbs-01", "1007[].pbs-01"]


def test_an_empty_queue_needs_no_second_question(commands: Commands, tmp_path: Path) -> None:
    assert Pbs().jobs(commands("")) == ()
    assert (tmp_path / "asked").read_text().split()[0] == "qselect"
    assert "qstat" not in (tmp_path / "asked").read_text()


def test_only_our_own_jobs_are_asked_for_unless_we_are_root(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = commands("5.pbs-01\n", answer(job(5)))
    for uid in (0, 1234):
        monkeypatch.setattr("os.getuid", lambda uid=uid: uid)
        Pbs().jobs(environ)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [
        "qselect ",
        "qstat -x -f -F json 5.pbs-01",
        f"qselect -u {facts().user}",
        "qstat -x -f -F json 5.pbs-01",
    ]


@pytest.mark.parametrize("state", ["R", "Q", "H", "W", "S", "T", "E", "B", "M"])
def test_whatever_has_not_ended_counts(commands: Commands, state: str) -> None:
    assert len(Pbs().jobs(commands("5.pbs-01\n", answer(job(5, state))))) == 1


@pytest.mark.parametrize("state", ["F", "X"])
def test_a_job_that_ends_between_the_questions_is_none(commands: Commands, state: str) -> None:
    found = Pbs().jobs(commands("5.pbs-01\n6.pbs-01\n", answer(job(5, state), job(6))))
    assert [j.id for j in found] == ["6.pbs-01"]


def test_ids_that_are_cut_off_are_the_same_jobs(commands: Commands) -> None:
    found = Pbs().jobs(commands("5.pbs-01.hsn.cm.site.gov\n", answer(job(5))))
    assert [j.id for j in found] == ["5.pbs-01"]


def test_line_breaks_in_a_jobs_environment_are_read(commands: Commands) -> None:
    function = '"BASH_FUNC_module()":"() {  eval `modulecmd bash $*`\n\treturn\n}",\n                '
    assert len(Pbs().jobs(commands("5.pbs-01\n", answer(job(5, more=function))))) == 1


@pytest.mark.parametrize(
    "oddity",
    ['"RUN":005,', '"NAME":"say "hello"",', '"TEXT":"ab\\,c",', '"LIMIT":inf,', '"CUT":"'],
    ids=["a number that is none", "quotes", "a backslash", "a word", "cut off"],
)
def test_what_pbs_does_not_escape_is_an_error_and_never_an_empty_queue(commands: Commands, oddity: str) -> None:
    said = why(commands("5.pbs-01\n", answer(job(5, more=f"{oddity}\n                "))))
    assert "no valid JSON" in said


def test_jobs_that_are_left_out_are_an_error(commands: Commands) -> None:
    assert why(commands("5.pbs-01\n16.pbs-01\n", answer(job(5)))) == "qstat left out jobs: 16"
    assert why(commands("5.pbs-01\n", '{"timestamp":1764272222,"pbs_server":"pbs-01"}')) == "qstat left out jobs: 5"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"job_state": 7}, "qstat does not say where job 5.pbs-01 comes from"),
        ({"Submit_arguments": 17, "Output_Path": None}, "qstat does not say where job 5.pbs-01 comes from"),
    ],
)
def test_fields_that_are_no_texts(commands: Commands, changed: dict[str, Any], said: str) -> None:
    document = json.loads(answer(job(5)))
    document["Jobs"]["5.pbs-01"].update(changed)
    assert why(commands("5.pbs-01\n", json.dumps(document))) == said


def test_one_text_is_enough(commands: Commands) -> None:
    document = json.loads(answer(job(5)))
    document["Jobs"]["5.pbs-01"].update({"Submit_arguments": 17, "Error_Path": None, "Variable_List": "PBS_O_X=1"})
    (found,) = Pbs().jobs(commands("5.pbs-01\n", json.dumps(document)))
    assert found.paths == (f"login-02.site.gov:{SCRIPT}.stdout",)


@pytest.mark.parametrize("reply", ["[]", "null", '{"Jobs":[]}', '{"Jobs":null}', "", "Job id  Name  User"])
def test_something_else_than_jobs(commands: Commands, reply: str) -> None:
    assert why(commands("5.pbs-01\n", reply))


def test_commands_that_fail_or_are_not_there(commands: Commands, tmp_path: Path) -> None:
    assert why(commands("5.pbs-01\n", code=153, error="qstat: Unknown Job Id 5.pbs-01")) == (
        "qstat failed: qstat: Unknown Job Id 5.pbs-01"
    )
    assert "something else than jobs: 'Usage:'" in why(commands("Usage: qselect\n"))
    assert why({"PATH": str(tmp_path)}) == "there is no qselect on PATH"


# --- over the whole way: scripts in the directories of user endpoints, commands on PATH


def work(tmp_path: Path, environ: dict[str, str]) -> Work:
    """Return what an endpoint is busy with whose user endpoint once submitted to PBS."""
    config_dir = tmp_path / "home"
    (config_dir / "main").mkdir(parents=True, exist_ok=True)
    (config_dir / "main" / "config.yaml").write_text("display_name: main\n")
    (config_dir / "main" / "endpoint.json").write_text(json.dumps({"endpoint_id": UUID_A}))
    (config_dir / "main" / "user_environment.yaml").write_text(f"PATH: {environ['PATH']}\n")
    scripts = config_dir / f"uep.{UUID_A}.{UUID_B}" / "submit_scripts"
    scripts.mkdir(parents=True, exist_ok=True)
    (scripts / "parsl.block-0.17").write_text("#!/bin/bash\n\n#PBS -S /bin/bash\n#PBS -N parsl\n")
    world = World()
    world.identity = Identity("sandbox", "me", "client")
    host = LocalHost(str(config_dir))
    directory = host.directory("main")
    assert directory is not None
    return Workload(Outside(host, FakeService(world), FakeStore(world), BatchSystems())).of(directory)


def test_its_jobs_are_what_an_endpoint_is_busy_with(commands: Commands, tmp_path: Path) -> None:
    elsewhere = SCRIPT.replace(UUID_A, UUID_B)
    replies = answer(job(5), job(6, "Q"), job(7, script="/home/jdoe/own.pbs"), job(8, script=elsewhere))
    replies = replies.replace(f'"PBS_O_WORKDIR":"{UEP}"', '"PBS_O_WORKDIR":"/home/jdoe"')
    found = work(tmp_path, commands("5.pbs-01\n6.pbs-01\n7.pbs-01\n8.pbs-01\n", replies))
    assert found == Work(jobs=("5.pbs-01", "6.pbs-01"))
    assert found.why_busy() == "2 batch jobs are in the queue (5.pbs-01, 6.pbs-01)"


def test_what_cannot_be_read_is_busy(commands: Commands, tmp_path: Path) -> None:
    found = work(tmp_path, commands("5.pbs-01\n", answer(job(5))[:200]))
    assert not found.is_idle
    assert found.why_busy().startswith("its batch jobs could not be counted: what qstat answers is no valid JSON")


def test_idle_when_the_queue_is_empty(commands: Commands, tmp_path: Path) -> None:
    assert work(tmp_path, commands("")).is_idle
