"""The manifest's models: every key and type that is wrong, all at once, each with its place and a way out."""

import textwrap
from typing import Any

import jsonschema
import pytest
import yaml

from reconciler.core.invalid import ManifestInvalid
from reconciler.core.manifest.model import MAX_ENDPOINTS, manifest_schema
from reconciler.core.manifest.reading import read_manifest
from reconciler.core.manifest.source import parse
from tests.core.manifest.manifests import HEAD, problems

FULL = """\
version: 1
stack: hrrr
x-anchors: {login: &login {debug: true}}
variables:
  account: gsd-hpcs
  token: {env: SITE_TOKEN, sensitive: true}
hosts:
  ursa:
    match: ["ufe*.rdhpcs.noaa.gov", {env: SITE=ursa}, {cluster: ursa}]
    run_on: [ufe01, ufe02]
    config_dir: ~/.globus_compute
    python: /contrib/envs/gce
    variables: {partition: u1-compute}
    defaults: {pool: {provider: slurm}}
defaults:
  pool: {account: "{{ account }}", walltime: "01:00:00"}
  endpoint: {config: *login}
endpoints:
  ursa-main:
    directory: main
    host: ursa
    state: running
    id: null
    protect: false
    restart: when-idle
    config: {}
    template: builtin
    schema: builtin
    user_environment: {PATH: auto}
    identity_mapping: null
  plain:
pools:
  mpi:
    endpoint: ursa-main
    mpi: true
    nodes_per_block: "{{ 3 }}"
    environment: ["module load stack-intel"]
  here:
moved: [{from: ursa-old, to: ursa-main}]
trash: {keep: 14d, max: 1GB}
"""


def test_a_manifest_with_every_section() -> None:
    manifest = read_manifest(parse(FULL, "m.yaml"))
    assert manifest.endpoints["ursa-main"].directory == "main"
    assert manifest.endpoints["plain"].template == "builtin"
    assert manifest.pools["here"].provider is None
    assert manifest.moved[0].from_ == "ursa-old"


def test_all_errors_at_once_as_a_user_sees_them() -> None:
    text = textwrap.dedent("""\
        version: 1
        stak: demo
        endpoints:
          main:
            restrat: never
            state: runing
        pools:
          p:
            mpi: "False"
            account: 12345
            environment: module load x
        """)
    with pytest.raises(ManifestInvalid) as raised:
        read_manifest(parse(text, "m.yaml"))
    assert str(raised.value) == textwrap.dedent("""\
        m.yaml:1:1: error: `stack` is missing
            version: 1
            ^
            hint: name what this file manages, e.g. `stack: demo`
        m.yaml:2:1: error: unknown key `stak`
            stak: demo
            ^
            hint: did you mean `stack`?
        m.yaml:5:5: error: unknown key `restrat`
                restrat: never
                ^
            hint: did you mean `restart`?
        m.yaml:6:12: error: `state` must be one of running, stopped, unmanaged, not the text 'runing'
                state: runing
                       ^
            hint: did you mean `running`?
        m.yaml:9:10: error: `mpi` must be true or false, not the text 'False'
                mpi: "False"
                     ^
            hint: write false, without quotes
        m.yaml:10:14: error: `account` must be text, not the number 12345
                account: 12345
                         ^
            hint: quote it: "12345"
        m.yaml:11:18: error: `environment` must be a list, not the text 'module load x'
                environment: module load x
                             ^
            hint: one line per entry: `- module load x`
        the manifest has 7 errors""")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pools: {p: {mpi: 1}}", "1:18: error: `mpi` must be true or false, not the number 1"),
        (
            "pools: {p: {cores_per_node: '4'}}",
            "1:29: error: `cores_per_node` must be a whole number, not the text '4'; write 4, without quotes",
        ),
        (
            "pools: {p: {cores_per_node: 1.5}}",
            "1:29: error: `cores_per_node` must be a whole number, not the number 1.5",
        ),
        ("pools: {p: {cores_per_node: true}}", "must be a whole number, not true"),
        ("pools: {p: {max_mpi_apps: 0}}", "1:27: error: `max_mpi_apps` must be at least 1, not the number 0"),
        ("pools: {p: {max_blocks: 10001}}", "`max_blocks` must be at most 10000, not the number 10001"),
        ("pools: {p: {cores_per_worker: 0}}", "`cores_per_worker` must be more than 0, not the number 0"),
        (
            "pools: {p: {provider: slrum}}",
            "must be one of localhost, slurm, pbspro, not the text 'slrum'; did you mean `slurm`?",
        ),
        (
            "pools: {p: {mpi_launcher: mpirun}}",
            "`mpi_launcher` must be one of srun, aprun, mpiexec, not the text 'mpirun'; did you mean `mpiexec`?",
        ),
        ("pools: {p: {environment: null}}", "1:26: error: `environment` must be a list, not null"),
        (
            "pools: {p: {environment: [module load x, 5]}}",
            '1:42: error: each entry of `environment` must be text, not the number 5; quote it: "5"',
        ),
        ("pools: {p: {walltime: 36000}}", '`walltime` must be text, not the number 36000; quote it: "36000"'),
        ("pools: {p: {acount: x}}", "1:13: error: unknown key `acount`; did you mean `account`?"),
        ("pools: {p: {foo: x}}", "1:13: error: unknown key `foo`; known keys: endpoint, mpi, max_mpi_apps, "),
        (
            "endpoints: {e: {id: 123}}",
            "1:21: error: `id` must be a UUID, not the number 123; e.g. 5f1c7ad2-3f0a-4a4e-9d7e-0f1e2d3c4b5a",
        ),
        ("pools: [a]", "1:8: error: `pools` must be a mapping, not a list"),
        ("pools: {p: {options: x}}", "unknown key `options`"),
        ("endpoints: 'main:'", "`endpoints` must be a mapping, not the text 'main:'"),
        ("endpoints: main", "not the text 'main'; end the name of an entry with a colon: `main:`"),
        ("pools: {p: 5}", "1:12: error: `p` must be a mapping, not the number 5"),
        ("endpoints: {e: {user_environment: {OMP: 4}}}", "1:41: error: `OMP` must be text; quote it"),
        ("endpoints: {e: {template: ''}}", "`template` is empty"),
        ("endpoints: {e: {schema: null}}", "`schema` must be text, not null; leave the key out, or give it a value"),
        ("endpoints: {e: {protect: 'yes'}}", "must be true or false, not the text 'yes'; write true, without quotes"),
        ("endpoints: {e: {config: [a]}}", "`config` must be a mapping, not a list"),
        (
            "hosts: {h: {match: [{name: x}]}}",
            "1:21: error: this matches no host; write a host name pattern, {env: VAR=VALUE} or",
        ),
        ("hosts: {h: {match: [{env: NOVALUE}]}}", "this matches no host"),
        ("hosts: {h: {defaults: {pools: {}}}}", "1:24: error: unknown key `pools`; did you mean `pool`?"),
        ("defaults: {endpoint: {directory: x}}", "1:23: error: unknown key `directory`"),
        ("defaults: {pool: {qeue: x}}", "unknown key `qeue`; did you mean `queue`?"),
        ("moved: [{from: a}]", "1:9: error: `to` is missing"),
        ("trash: {keep: 14}", "`keep` must be text, not the number 14; write its unit, too: 14d"),
        ("variables: {a: {evn: X}}", "unknown key `evn`; did you mean `env`?"),
        (
            "variables: {a: [[1]]}",
            "1:17: error: `a` must be text, a number, true, false, a list of these, or {env: NAME}",
        ),
        ("surprise: 1", "1:1: error: unknown key `surprise`; known keys: version, stack,"),
    ],
)
def test_each_wrong_key_or_value(body: str, expected: str) -> None:
    found = problems(body)
    assert any(expected in line for line in found), found
    assert len([line for line in found if "error" in line]) == 1, found


def test_an_ambiguous_number_is_one_error_not_two() -> None:
    assert problems("pools: {p: {nodes_per_block: 010}}") == [
        (
            "1:30: error: `010` means the number 8 in YAML 1.1 and the number 10 in YAML 1.2; "
            'quote it for the text: "010", or write 10'
        )
    ]


def test_an_error_through_an_alias_is_told_once() -> None:
    body = "pools:\n  a: &a {walltime: 5}\n  b: {<<: *a}\n  c: *a\n"
    assert problems(body) == ['2:20: error: `walltime` must be text, not the number 5; quote it: "5"']


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", "f:1:1: error: a manifest is a mapping with `version` and `stack`"),
        ("null\n", "the file is empty"),
        ("version: 2\nnew: things\n", "version 2 is newer than this program reads (1)"),
        ("version: 0\nstack: x\n", "`version` must be one of 1, not the number 0"),
        ("version: '1'\nstack: x\n", "`version` must be one of 1, not the text '1'"),
        ("version: 1\nstack: a b\n", "`stack` is 1 to 64 letters, digits"),
        (
            HEAD + "endpoints:\n" + "".join(f"  e{i}:\n" for i in range(MAX_ENDPOINTS + 1)),
            "10,001 endpoints; the limit is 10,000",
        ),
    ],
)
def test_the_file_as_a_whole(text: str, expected: str) -> None:
    with pytest.raises(ManifestInvalid) as raised:
        read_manifest(parse(text, "f"))
    assert expected in str(raised.value)
    assert len(raised.value.problems) == 1


def test_escapes_and_length_of_a_name_do_not_reach_the_terminal() -> None:
    assert problems('"\\e[31mred": 1')[0].startswith("1:1: error: unknown key `\\x1b[31mred`")
    assert len(problems(f"? {'x' * 5000}\n: 1")[0]) < 800


def test_a_secret_in_the_manifest_is_refused_and_never_shown() -> None:
    body = textwrap.dedent("""\
        variables: {token: {value: hunter2, sensitive: true}, wrong: {sensitive: 5}}
        endpoints:
          e: {user_environment: {PIN: 5, TOKEN: "{{ token }}"}}
        """)
    with pytest.raises(ManifestInvalid) as raised:
        read_manifest(parse(HEAD + body, "f"))
    assert "hunter2" not in str(raised.value)
    found = problems(body)
    assert any("`token` is sensitive and must not be written in the manifest" in line for line in found)
    assert "hunter2" not in " ".join(found)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return manifest_schema()


def test_the_schema_is_one_and_accepts_what_the_models_accept(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(FULL))


@pytest.mark.parametrize(
    "body", ["pools: {p: {mpi: 'False'}}", "endpoints: {e: {stat: running}}", "pools: {p: {account: 5}}"]
)
def test_the_schema_refuses_what_the_models_refuse(schema: dict[str, Any], body: str) -> None:
    assert not jsonschema.Draft202012Validator(schema).is_valid(yaml.safe_load(HEAD + body))


def test_every_option_is_described(schema: dict[str, Any]) -> None:
    for block in ("PoolBlock", "EndpointBlock", "HostBlock"):
        for name, option in schema["$defs"][block]["properties"].items():
            assert "description" in option or name in ("variables", "defaults"), (block, name)
