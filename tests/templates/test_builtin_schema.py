"""What the strict schema refuses, on the option sets that went wrong with Chiltepin's own template."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from chiltepin.configure import create_globus_compute_executor
from globus_compute_sdk import Client
from globus_sdk import AccessTokenAuthorizer
from jsonschema import Draft202012Validator, ValidationError

from tests.templates.rendering import PROVIDERS, SCHEMA, build, provider_of, render, sent

UUID = "5c9f0cbd-7f5b-4f2e-9c2f-0e1d2c3b4a59"


def refused(options: dict[str, Any]) -> bool:
    """Whether the renderer of the installed package refuses `options` because of the schema."""
    try:
        render(options)
    except ValidationError:
        return True
    return False


def chiltepin_sends(pool: dict[str, Any]) -> dict[str, Any]:
    """Return what the installed Chiltepin makes of a pool's options; nothing is sent anywhere."""
    client = Client(authorizer=AccessTokenAuthorizer("unused"), do_version_check=False)
    executor = create_globus_compute_executor("pool", pool, client).executor
    try:
        return dict(executor.user_endpoint_config)
    finally:
        executor.shutdown(wait=False)


def test_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["additionalProperties"] is False
    assert all(declared["description"] for declared in SCHEMA["properties"].values())


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("mpi", [False, True])
def test_takes_what_chiltepin_itself_sends(provider: str, mpi: bool) -> None:
    """Asked of the installed Chiltepin: every option that it sends is declared, at its defaults and set."""
    pool = {"endpoint": UUID, "provider": provider, "mpi": mpi}
    full = pool | {
        "max_mpi_apps": 2,
        "cores_per_node": 192,
        "nodes_per_block": 3,
        "max_blocks": 2,
        "exclusive": False,
        "queue": "debug",
        "account": "gsd-hpcs",
        "walltime": "08:00:00",
        "environment": ["module use /contrib/spack-stack/modulefiles", 'export TMPDIR="/scratch/$USER"'],
    }
    for options in (pool, full):
        config = chiltepin_sends(options)
        assert set(config) <= set(SCHEMA["properties"])
        build(config)


def test_sent_is_what_chiltepin_sends() -> None:
    assert chiltepin_sends({"endpoint": UUID, "provider": "slurm"}) == sent("slurm")


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"exclusive": "False"}, id="trap 9: exclusive as text"),
        pytest.param({"mpi": "False"}, id="trap 10: mpi as text"),
        pytest.param({"mpi": 1}, id="mpi as a number"),
        pytest.param({"provider": "slrum"}, id="trap 11: misspelt provider"),
        pytest.param({"provider": "Slurm"}, id="trap 11: provider in capitals"),
        pytest.param({"provider": None}, id="trap 11: provider null"),
        pytest.param({"worker_init": "\n".join("module load intel")}, id="trap 12: environment as one text"),
        pytest.param({"worker_init": "\n".join("cd /tmp\nls")}, id="trap 12: environment as a block text"),
        pytest.param({"worker_init": ["module load intel"]}, id="worker_init as a list"),
        pytest.param({"worker_init": None}, id="worker_init null"),
        pytest.param({"walltime": 36000}, id="trap 13: walltime in base 60"),
        pytest.param({"account": 83}, id="trap 14: numeric account"),
        pytest.param({"mpi_launcher": "mpirun"}, id="trap 15: unknown launcher"),
        pytest.param({"max_mpi_apps": 0}, id="trap 16: no MPI program at all"),
        pytest.param({"cores_per_nodes": 4}, id="trap 17: unknown option"),
        pytest.param({"endpoint_setup": "rm -rf ~"}, id="commands outside the pool's jobs"),
        pytest.param({"_GC": {}}, id="reserved name"),
        pytest.param({"cores_per_node": 0}, id="no cores"),
        pytest.param({"cores_per_node": True}, id="cores as a boolean"),
        pytest.param({"cores_per_node": 1.5}, id="half a core"),
        pytest.param({"cores_per_node": "40"}, id="cores as text"),
        pytest.param({"nodes_per_block": 0}, id="no nodes"),
        pytest.param({"max_blocks": 0}, id="no blocks"),
        pytest.param({"init_blocks": -1}, id="negative blocks"),
        pytest.param({"cores_per_worker": 0}, id="workers without cores"),
        pytest.param({"max_workers_per_node": 0}, id="no workers"),
        pytest.param({"worker_init": "x" * 8193}, id="worker_init too long"),
    ],
)
def test_refuses(changed: dict[str, Any]) -> None:
    assert not refused(sent("slurm"))
    try:
        render(sent("slurm") | changed)
    except (ValidationError, ValueError):
        return
    pytest.fail(f"rendered with {changed}")


def test_pbs_has_no_partitions() -> None:
    """Trap 7: Parsl's PBS provider would drop it without a word."""
    assert refused(sent("pbspro", partition="compute"))
    assert not refused(sent("pbspro", queue="compute"))
    assert not refused(sent("slurm", partition="compute"))


@pytest.mark.parametrize("walltime", ["00:01:00", "00:10:00", "8:00:00", "168:00:00", "9999:59:59"])
def test_walltimes(walltime: str) -> None:
    assert provider_of(sent("slurm", walltime=walltime)).walltime == walltime


@pytest.mark.parametrize(
    "walltime",
    [
        "",
        "00:00:00",
        "0:00:59",
        "000:00:30",
        "10:00",
        "1-00:00:00",
        "00:60:00",
        "00:00:60",
        "1:2:3",
        "01:00:00\n",
        "\u0660\u0661:00:00",
    ],
)
def test_walltimes_that_parsl_misreads(walltime: str) -> None:
    assert refused(sent("slurm", walltime=walltime))


HOSTILE = [
    "a b",
    "a;id",
    "a$(id)",
    "a`id`",
    "a|id",
    "a&id",
    "a>x",
    "a'b",
    'a"b',
    "a\\b",
    "a\nb",
    "a\n#SBATCH --wrap=id",
    "a\n",
    "\na",
    "a\r",
    "a\tb",
    "a\x00b",
    "a#b",
    "a: b",
    "{{ 7 }}",
    "{% x %}",
    "${HOME}",
    "~root",
    "-A",
    "--wrap=id",
    "a/../b",
    "a*",
    "a?",
    "[a]",
    "!a",
    "a=b",
    "ä",
    "a\u2028b",
    "\U0001f336",
    " ",
]


@pytest.mark.parametrize("option", ["partition", "queue", "account"])
@pytest.mark.parametrize("value", HOSTILE)
def test_nothing_but_names_reaches_the_scheduler(option: str, value: str) -> None:
    for provider in PROVIDERS:
        assert refused(sent(provider, **{option: value}))


@pytest.mark.parametrize("option", ["partition", "queue", "account"])
@pytest.mark.parametrize("value", ["u1-compute", "a.b_c", "0123", "1e3", "null", "true", "no", "1_000", "12-34"])
def test_names_stay_the_text_that_they_are(option: str, value: str) -> None:
    attribute = "qos" if option == "queue" else option
    assert getattr(provider_of(sent("slurm", **{option: value})), attribute) == value
    if option != "partition":
        assert getattr(provider_of(sent("pbspro", **{option: value})), option) == value


@pytest.mark.parametrize("option", ["partition", "queue", "account"])
def test_names_have_a_length(option: str) -> None:
    limit = SCHEMA["properties"][option]["maxLength"]
    assert not refused(sent("slurm", **{option: "a" * limit}))
    assert refused(sent("slurm", **{option: "a" * (limit + 1)}))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "lines",
    [
        ["module purge", "module use -a /contrib/spack-stack/modulefiles", "module load stack-oneapi/2024.2.1"],
        ['export A="it\'s: {{ not }} {% jinja %} {# here #}"', "# a comment", "b=${#a[@]}; c=$(id -un)", "\tindented"],
        ["key: value", "- item", "'", '"', "\\", "\\n", "---", "%YAML", "!!python/object:os.system", "&a *a", "|"],
        ["null", "true", "0123", "10:00:00", "~"],
        ["", "", "after two empty lines", "  trailing  ", ""],
        ["grüße, τέστ, 試験, \u2028 \u00a0 \ufeff"],
        ["null"],
        ["~"],
    ],
)
def test_environment_lines_survive_as_they_are(provider: str, lines: list[str]) -> None:
    for mpi in (False, True):
        block = provider_of(sent(provider, mpi=mpi, worker_init="\n".join(lines)))
        expected = "\n".join(lines)
        assert block.worker_init == (expected + "\n" if provider == "slurm" else expected)


@pytest.mark.parametrize("character", ["\r", "\x00", "\x07", "\x1b", "\x7f", "\x85", "\U0001f336", "\ud83c"])
def test_characters_that_would_break_the_job_script(character: str) -> None:
    """A character beyond U+FFFF would come out of the renderer as two halves that no file can hold."""
    assert refused(sent(worker_init=f"echo {character}"))


def test_a_message_tells_what_to_write_instead() -> None:
    with pytest.raises(ValidationError) as caught:
        render(sent("pbspro", partition="compute"))
    assert "name a queue" in str(caught.value)


def test_rendered_text_is_plain_yaml_of_known_keys() -> None:
    rendered = yaml.safe_load(render(sent("slurm", worker_init="engine: {type: ThreadPoolEngine}\npaths: x")))
    assert sorted(rendered) == ["debug", "engine", "idle_heartbeats_hard", "idle_heartbeats_soft"]
