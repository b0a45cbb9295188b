"""Pools: every mistake that upstream finds late or never, found when the manifest is read."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.resources import builtin_schema
from reconciler.core.manifest.pool_options import Target, check_pool, resolve, sent
from tests.core.manifest.manifests import desired, problems

UUID = "5f1c7ad2-3f0a-4a4e-9d7e-0f1e2d3c4b5a"
ENDPOINTS = "endpoints: {e: , theirs: {state: unmanaged}, bare: {schema: none}}\n"

REMOTE = Target(remote=True, builtin=True)
OTHER = Target(remote=True)
LOCAL = Target(remote=False)


def told(target: Target, *, inherited: dict[str, Any] | None = None, **own: Any) -> list[str]:
    """Return `severity key: message` of a pool's findings; `inherited` comes from the manifest's defaults."""
    given_options = {**(inherited or {}), **own}
    return [f"{f.severity} {f.key}: {f.message}" for f in check_pool(given_options, frozenset(own), target)]


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        # 1 and 2: not sent to an endpoint
        (
            REMOTE,
            {"cores_per_worker": 2},
            "warning cores_per_worker: `cores_per_worker` has no effect: Chiltepin does not",
        ),
        (REMOTE, {"max_workers_per_node": 10}, "warning max_workers_per_node: `max_workers_per_node` has no effect"),
        # 3: one worker on an exclusive node
        (
            REMOTE,
            {"provider": "slurm"},
            "warning None: `cores_per_node` is not set: Chiltepin sends 1, so each node runs one worker",
        ),
        # 4: local PBS
        (LOCAL, {"provider": "pbspro"}, "error None: a local PBS pool without `cores_per_node` cannot be submitted"),
        (
            LOCAL,
            {"provider": "pbspro", "mpi": True, "cores_per_node": 4},
            "error mpi: a local PBS pool with `mpi: true` cannot be submitted",
        ),
        # 5 and 6: Chiltepin's own template and PBS
        (
            OTHER,
            {"provider": "pbspro", "mpi": True, "queue": "q", "account": "a"},
            "warning mpi: with PBS and MPI Chiltepin's own template",
        ),
        (OTHER, {"provider": "pbspro", "cores_per_node": 4}, "warning None: without queue and account"),
        (OTHER, {"provider": "pbspro", "cores_per_node": 4, "queue": "q"}, "warning None: without account"),
        (OTHER, {"provider": "pbspro", "cores_per_node": 4, "account": "a"}, "warning None: without queue Chiltepin's"),
        # 7: PBS ignores Slurm's words
        (
            OTHER,
            {"provider": "pbspro", "queue": "q", "account": "a", "cores_per_node": 4, "partition": "p"},
            "warning partition: `partition` has no effect with PBS",
        ),
        (
            REMOTE,
            {"provider": "pbspro", "cores_per_node": 4, "partition": "p"},
            "error partition: PBS has no partitions",
        ),
        (LOCAL, {"provider": "pbspro", "cores_per_node": 4, "exclusive": True}, "warning exclusive: Chiltepin ignores"),
        # 8: the queue is the QOS
        (
            REMOTE,
            {"provider": "slurm", "cores_per_node": 4, "queue": "debug"},
            "warning queue: with slurm `queue` is the quality",
        ),
        # 13: wall time
        (
            REMOTE,
            {"provider": "slurm", "cores_per_node": 1, "walltime": "36000"},
            "error walltime: `walltime` must be HH:MM:SS, not '36000'",
        ),
        (
            LOCAL,
            {"provider": "slurm", "cores_per_node": 1, "walltime": "30:00"},
            "error walltime: `walltime` must be HH:MM:SS, not '30:00'",
        ),
        (
            LOCAL,
            {"provider": "slurm", "cores_per_node": 1, "walltime": "1-00:00:00"},
            "error walltime: `walltime` must be HH:MM:SS",
        ),
        (
            LOCAL,
            {"provider": "slurm", "cores_per_node": 1, "walltime": "00:00:30"},
            "error walltime: `walltime` must be at least one minute",
        ),
        # 16: more MPI applications than nodes
        (
            REMOTE,
            {"provider": "slurm", "mpi": True, "max_mpi_apps": 4, "nodes_per_block": 3},
            "error max_mpi_apps: `max_mpi_apps` is 4, more than the 3 nodes of a block",
        ),
        # 19: more blocks at once than at most
        (REMOTE, {"init_blocks": 2}, "error init_blocks: `init_blocks` is 2, more than `max_blocks`, 1"),
        (REMOTE, {"min_blocks": 5, "max_blocks": 4}, "error min_blocks: `min_blocks` is 5, more than `max_blocks`, 4"),
        # 22: options that localhost drops
        (
            REMOTE,
            {"account": "x", "walltime": "01:00:00"},
            "warning account: without effect: the provider is localhost, which ignores account, walltime",
        ),
        # 23: nothing checks what is sent
        (Target(True, True, checked=False), {}, "warning None: the endpoint says `schema: none`"),
        # and what else would surprise
        (REMOTE, {"mpi_launcher": "srun"}, "warning mpi_launcher: `mpi_launcher` has no effect without `mpi: true`"),
        (
            LOCAL,
            {"mpi": True, "max_workers_per_node": 2},
            "warning max_workers_per_node: `max_workers_per_node` has no effect with",
        ),
        (
            REMOTE,
            {"provider": "slurm", "cores_per_node": 1, "account": "a b"},
            "error account: `account` must be one word",
        ),
        (
            REMOTE,
            {"provider": "slurm", "cores_per_node": 1, "partition": "p\n#SBATCH -x"},
            "error partition: `partition` must be one word",
        ),
        (
            REMOTE,
            {"environment": ["\U0001f600"]},
            "error environment: `environment` contains a character beyond",
        ),
        (REMOTE, {"environment": ["a\r"]}, "error environment: `environment` contains a control character"),
        (
            REMOTE,
            {"environment": ["x" * 9000]},
            "error environment: `environment` has 9,000 characters; the limit is 8,192",
        ),
        (LOCAL, {"environment": list("module load x")}, "error environment: `environment` has one character per line"),
    ],
)
def test_findings(target: Target, options: dict[str, Any], expected: str) -> None:
    found = told(target, **options)
    assert len(found) == 1, found
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("provider", "hint"),
    [
        ("slurm", "`cores_per_node` is the number of workers there"),
        ("localhost", "remove it; one worker runs there for each core"),
    ],
)
def test_what_to_set_instead_has_an_effect(provider: str, hint: str) -> None:
    given_options = {"provider": provider, "max_workers_per_node": 10, "cores_per_node": 4}
    found = check_pool(given_options, frozenset({"max_workers_per_node"}), REMOTE)
    assert [f.hint for f in found if f.key == "max_workers_per_node"] == [hint]


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (REMOTE, {}),
        (LOCAL, {"cores_per_worker": 2, "max_workers_per_node": 10}),
        (LOCAL, {"provider": "slurm"}),
        (LOCAL, {"environment": ["# \U0001f600"]}),
        (REMOTE, {"provider": "slurm", "mpi": True, "nodes_per_block": 3, "partition": "u1", "queue": "debug"}),
        (REMOTE, {"provider": "pbspro", "mpi": True, "cores_per_node": 128}),
        (REMOTE, {"provider": "pbspro", "cores_per_node": 128, "exclusive": False}),
        (REMOTE, {"mpi": True, "max_mpi_apps": 4}),
        (REMOTE, {"environment": ["module load a", "export X=${#a[@]}\nexport Y=1"]}),
        (LOCAL, {"walltime": "100:00:00", "provider": "slurm"}),
    ],
)
def test_good_pools_have_no_findings(target: Target, options: dict[str, Any]) -> None:
    assert told(target, **options) == []


def test_defaults_that_do_not_concern_a_pool_are_no_findings() -> None:
    shared = {"account": "x", "walltime": "01:00:00", "partition": "p", "exclusive": True, "max_mpi_apps": 1}
    assert told(REMOTE, inherited=shared) == []
    assert told(OTHER, inherited={**shared, "provider": "pbspro", "cores_per_node": 4, "queue": "q"}) == []


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        # 9, 10: text for a boolean
        ("{mpi: 'False'}", "`mpi` must be true or false, not the text 'False'; write false, without quotes"),
        ("{exclusive: 'False'}", "`exclusive` must be true or false, not the text 'False'"),
        # 11: a misspelt provider
        ("{provider: slrum}", "`provider` must be one of localhost, slurm, pbspro"),
        # 12: environment
        ("{environment: module load x}", "`environment` must be a list, not the text 'module load x'"),
        ("{environment: null}", "`environment` must be a list, not null"),
        # 13, 14: YAML 1.1
        ("{walltime: 10:00:00}", "`10:00:00` means the number 36000 in YAML 1.1"),
        ("{walltime: 30:00}", "`30:00` means the number 1800 in YAML 1.1"),
        ("{account: 12345}", '`account` must be text, not the number 12345; quote it: "12345"'),
        ("{account: 0123}", "`0123` means the number 83 in YAML 1.1"),
        # 15: the launcher
        ("{mpi_launcher: mpirun}", "`mpi_launcher` must be one of srun, aprun, mpiexec"),
        # 16
        ("{max_mpi_apps: 0}", "`max_mpi_apps` must be at least 1"),
        # 17: unknown keys
        ("{cores_per_nod: 1}", "unknown key `cores_per_nod`; did you mean `cores_per_node`?"),
        # 18: the endpoint
        ("{endpoint: ''}", "an empty `endpoint` would silently make this a local pool on the submitting host"),
        ("{endpoint: thiers}", "there is no endpoint `thiers`; did you mean `theirs`?"),
        ("{endpoint: 'not there'}", "there is no endpoint `not there`; endpoints: e, theirs, bare"),
    ],
)
def test_wrong_values_are_errors_in_the_manifest(pool: str, expected: str) -> None:
    found = [line for line in problems(ENDPOINTS + f"pools: {{p: {pool}}}") if "error: " in line]
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize("place", ["{}: {{state: nope}}", "{}: {{config: {{display_name: '{{{{ nope }}}}'}}}}"])
def test_a_template_is_not_judged_when_its_endpoint_is_wrong_itself(place: str) -> None:
    pools = "pools: {p: {endpoint: x, provider: pbspro, mpi: true, cores_per_node: 4, exclusive: true}}"
    [found] = problems(f"endpoints: {{{place.format('x')}}}\n{pools}\n")
    assert "1:" in found
    assert "template" not in found


def test_01_00_00_without_quotes_stays_text_and_is_accepted() -> None:
    pool = desired("pools: {p: {walltime: 01:00:00, provider: slurm}}").pools["p"]
    assert pool.given["walltime"] == "01:00:00"


@pytest.mark.parametrize("provider", ["pbspro", "slurm"])
def test_an_empty_text_of_a_local_pool_is_as_if_it_were_not_set(provider: str) -> None:
    block = f"{{provider: {provider}, cores_per_node: 4, queue: '{{{{ q }}}}', account: '', partition: ''}}"
    pool = desired(f"variables: {{q: {{env: QUEUE, default: ''}}}}\npools: {{p: {block}}}").pools["p"]
    assert pool.given == {"provider": provider, "cores_per_node": 4}
    assert (pool.options["queue"], pool.options["account"], pool.options["partition"]) == (None, None, None)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("{'a&b': {}}", "'a&b' cannot be a pool's name"),
        ("{'x;y': {}}", "it contains `;`, and Parsl puts a local pool's name into a shell's command line"),
        ("{'a&b': {endpoint: nowhere}}", "there is no endpoint `nowhere`"),
        ("{_parsl_internal: {endpoint: e}}", "'_parsl_internal' cannot be a pool's name: Parsl uses it itself"),
    ],
)
def test_names_that_parsl_cannot_take(pool: str, expected: str) -> None:
    [found] = [line for line in problems(f"{ENDPOINTS}pools: {pool}") if "error: " in line]
    assert expected in found
    assert problems(ENDPOINTS + "pools: {'a&b': {endpoint: e}, 'a-B_1.2': {}}") == []


def test_a_pool_named_local_is_a_warning() -> None:
    assert problems("pools:\n  local: {}\n") == [
        (
            "2:3: warning: a pool named `local` replaces the one that Chiltepin always adds under that name; "
            "another name keeps both"
        )
    ]


def test_pools_that_share_a_user_endpoint_are_a_warning() -> None:
    pools = "pools:\n  a: {endpoint: e}\n  b: {endpoint: e, nodes_per_block: 1}\n  c: {endpoint: theirs}\n"
    assert [line for line in problems(ENDPOINTS + pools) if "same as" in line] == [
        "4:3: warning: this pool is the same as `a`: the two share one user endpoint and its workers"
    ]


def test_a_warning_about_a_default_is_told_once() -> None:
    body = (
        "defaults: {pool: {cores_per_worker: 2}}\n"
        + ENDPOINTS
        + "pools: {a: {endpoint: e, mpi: true}, b: {endpoint: e}}"
    )
    assert len([line for line in problems(body) if "cores_per_worker" in line]) == 1


def test_resolved_options_have_upstreams_defaults() -> None:
    assert resolve({"provider": "slurm", "nodes_per_block": 3}, remote=True) == {
        "mpi": False,
        "max_mpi_apps": 1,
        "mpi_launcher": "srun",
        "provider": "slurm",
        "cores_per_node": 1,
        "nodes_per_block": 3,
        "init_blocks": 0,
        "min_blocks": 0,
        "max_blocks": 1,
        "exclusive": True,
        "partition": "",
        "queue": "",
        "account": "",
        "walltime": "00:10:00",
        "environment": [],
        "cores_per_worker": 1,
        "max_workers_per_node": None,
    }
    local = resolve({}, remote=False)
    assert (local["mpi_launcher"], local["cores_per_node"], local["queue"]) == ("mpiexec", None, None)


def test_endpoint_given_and_options_of_a_pool() -> None:
    pools = desired(
        ENDPOINTS + f"pools: {{a: {{endpoint: e, queue: null, mpi: true}}, b: {{endpoint: {UUID.upper()}}}, c: }}"
    ).pools
    assert pools["a"].endpoint == "e"
    assert pools["a"].given == {"mpi": True}
    assert pools["a"].options["mpi"] is True
    assert pools["b"].endpoint == UUID
    assert pools["c"].endpoint is None
    assert str(pools["b"].position) == "chiltepin.yaml:4:51"


texts = st.text(alphabet="ab1_-.,:@ \n'\u00e9\U0001f600", max_size=6)
pools = st.fixed_dictionaries(
    {},
    optional={
        "mpi": st.booleans(),
        "max_mpi_apps": st.integers(1, 4),
        "mpi_launcher": st.sampled_from(["srun", "aprun", "mpiexec"]),
        "provider": st.sampled_from(["localhost", "slurm", "pbspro"]),
        "cores_per_node": st.integers(1, 300),
        "nodes_per_block": st.integers(1, 4),
        "init_blocks": st.integers(0, 3),
        "min_blocks": st.integers(0, 3),
        "max_blocks": st.integers(1, 3),
        "exclusive": st.booleans(),
        "partition": texts,
        "queue": texts,
        "account": texts,
        "walltime": st.sampled_from(["00:10:00", "100:00:00", "00:00:01", "1:00", "01:60:00", "x", "00:01:00\n"]),
        "environment": st.lists(texts, max_size=6),
    },
)


@given(pools)
def test_a_pool_without_errors_passes_the_built_in_schema(options: dict[str, Any]) -> None:
    if any(f.severity == "error" for f in check_pool(options, frozenset(options), REMOTE)):
        return
    jsonschema.validate(sent(resolve(options, remote=True)), json.loads(builtin_schema()[1]))
