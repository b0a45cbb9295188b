"""A manifest's text to the desired state of this host: merging, hosts, secrets, and what is refused."""

import subprocess
import sys
import textwrap
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.desired import AUTO_PATH, Moved, Trash
from reconciler.core.invalid import ManifestInvalid
from reconciler.core.manifest import resolve
from reconciler.core.manifest.hosts import Machine
from reconciler.core.manifest.merge import merge
from reconciler.core.manifest.reading import read_leniently, read_manifest
from reconciler.core.manifest.resolve import build_desired, load
from reconciler.core.manifest.source import parse, scan
from reconciler.errors import ReconcilerError, Refused
from tests.core.manifest.manifests import HEAD, context, desired, problems

UUID = "5f1c7ad2-3f0a-4a4e-9d7e-0f1e2d3c4b5a"

LAPTOP = """\
endpoints:
  main: {config: {debug: true}}
  spare: {state: stopped, directory: other}
pools:
  here: {max_workers_per_node: 4}
  there: {endpoint: main, mpi: true}
  far: {endpoint: 5f1c7ad2-3f0a-4a4e-9d7e-0f1e2d3c4b5a}
"""

SITES = """\
variables: {account: gsd, partition: none-set}
hosts:
  ursa:
    match: ["ufe*"]
    run_on: [ufe01, "{{ host }}02"]
    config_dir: ~/.globus_compute
    python: /envs/{{ host }}
    variables: {partition: u1}
    defaults:
      pool: {provider: slurm, partition: "{{ partition }}", environment: [ursa]}
      endpoint: {config: {debug: true}}
  hera:
    match: ["hfe*"]
    variables: {partition: h1}
    defaults: {pool: {provider: slurm, partition: "{{ partition }}", cores_per_node: 40}}
defaults:
  pool: {account: "{{ account }}", walltime: "01:00:00", environment: [all]}
  endpoint: {config: {heartbeat_period: 60}, user_environment: {A: "1", B: "2"}}
endpoints:
  u: {host: ursa, config: {display_name: U}, user_environment: {B: "3", PATH: null}}
  h: {host: hera, directory: u}
pools:
  on-u: {endpoint: u, cores_per_node: 1}
  on-h: {endpoint: h, environment: ["{{ host }}"]}
  here: {provider: localhost}
"""


def test_a_laptop() -> None:
    state = desired(LAPTOP)
    main, spare = state.endpoints.values()
    assert (main.name, main.directory, main.state, main.restart) == ("main", "main", "running", "when-idle")
    assert (spare.directory, spare.state) == ("other", "stopped")
    assert main.config == {"display_name": "main", "debug": True}
    assert main.user_environment == {"PATH": AUTO_PATH}
    assert str(main.position) == "chiltepin.yaml:4:3"
    assert {name: pool.endpoint for name, pool in state.pools.items()} == {"here": None, "there": "main", "far": UUID}
    assert state.host.name is None
    assert state.declared
    assert state.warnings == ()


def test_the_three_steps_give_the_same_as_load() -> None:
    parsed = parse(HEAD + LAPTOP, "chiltepin.yaml")
    assert build_desired(read_manifest(parsed), parsed, context=context()) == desired(LAPTOP)


def test_the_steps_can_be_taken_apart_and_still_report_everything() -> None:
    parsed = scan(HEAD + "endpoints: {a: {stat: x}}\npools: {p: {endpoint: b, walltime: 30:00}}", "chiltepin.yaml")
    manifest, findings = read_leniently(parsed)
    assert manifest is not None
    for _ in range(2):
        with pytest.raises(ManifestInvalid) as raised:
            build_desired(manifest, parsed, context=context(), findings=findings)
        assert [str(problem.position) for problem in raised.value.problems] == [
            "chiltepin.yaml:3:17",
            "chiltepin.yaml:4:23",
            "chiltepin.yaml:4:36",
        ]


def test_hosts_defaults_and_variables() -> None:
    state = desired(SITES)
    assert state.host == resolve.HostView("ursa", ("ufe01", "ursa02"), "~/.globus_compute", "/envs/ursa")
    assert state.elsewhere == {"h": "hera"}
    assert list(state.endpoints) == ["u"]
    assert state.endpoints["u"].config == {"display_name": "U", "heartbeat_period": 60, "debug": True}
    assert state.endpoints["u"].user_environment == {"A": "1", "B": "3"}
    pools = {name: pool.given for name, pool in state.pools.items()}
    assert pools["on-u"] == {
        "account": "gsd",
        "walltime": "01:00:00",
        "environment": ["ursa"],
        "provider": "slurm",
        "partition": "u1",
        "cores_per_node": 1,
    }
    # A pool takes the defaults and variables of the host that it runs on, not of the one that reads this.
    assert pools["on-h"]["partition"] == "h1"
    assert pools["on-h"]["environment"] == ["hera"]
    assert pools["here"]["provider"] == "localhost"


def test_the_other_hosts_view() -> None:
    state = desired(SITES, machine=Machine("hfe07", "hfe07.x"))
    assert (state.host.name, list(state.endpoints), state.elsewhere) == ("hera", ["h"], {"u": "ursa"})
    assert desired(SITES, host="hera").endpoints == state.endpoints


def test_no_host_is_refused_but_what_is_wrong_in_the_file_comes_first() -> None:
    with pytest.raises(Refused, match="no host matches"):
        desired(SITES, machine=Machine("laptop", "laptop"))
    with pytest.raises(ManifestInvalid, match="1 error"):
        desired("hosts: {a: {mtach: [x]}}", machine=Machine("laptop", "laptop"))


def test_merging_is_pure_and_mappings_merge_while_lists_replace() -> None:
    low: dict[str, Any] = {"a": {"x": 1, "l": [1, 2]}, "b": 1}
    high: dict[str, Any] = {"a": {"y": 2, "l": [3]}, "b": {"c": 1}}
    assert merge(low, high) == {"a": {"x": 1, "l": [3], "y": 2}, "b": {"c": 1}}
    assert (low, high) == ({"a": {"x": 1, "l": [1, 2]}, "b": 1}, {"a": {"y": 2, "l": [3]}, "b": {"c": 1}})


nested = st.recursive(
    st.integers(0, 2), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6
)
layer = st.dictionaries(st.sampled_from("abc"), nested, max_size=3)


@given(layer, layer, layer)
def test_merging_is_associative_and_the_last_layer_wins(
    one: dict[str, Any], two: dict[str, Any], three: dict[str, Any]
) -> None:
    assert merge(one, {}) == merge({}, one) == one
    merged = merge(one, two)
    assert all(merged[key] == value for key, value in two.items() if not isinstance(value, dict))
    assert set(merged) == set(one) | set(two)
    assert merge(merge(one, two), two) == merged
    assert set(merge(merged, three)) == set(merged) | set(three)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("endpoints: {a b: }", "1:13: error: 'a b' cannot be an endpoint's name: it contains white space"),
        ("endpoints: {../a: }", "'../a' cannot be an endpoint's name: it contains a slash"),
        (f"endpoints: {{{UUID}: }}", "cannot be an endpoint's name: it looks like a UUID"),
        (
            "endpoints: {a: {directory: .b}}",
            "1:28: error: '.b' cannot be a directory's name: it begins with a dot; 1 to 128",
        ),
        ("endpoints: {a: , b: {directory: a}}", "1:33: error: the directory `a` is that of the endpoint `a` already"),
        ("endpoints: {a: {id: x}}", "1:21: error: 'x' is not a UUID"),
        (f"endpoints: {{a: {{id: {UUID}}}, b: {{id: {UUID.upper()}}}}}", "`a` has this UUID already"),
        (
            "endpoints: {a: {host: x}}\npools: {p: {endpoint: a}}",
            "1:23: error: there is no host `x`; declare it in `hosts`",
        ),
        ("endpoints: {a: {config: {engine: {}}}}", "1:26: error: `engine` in config.yaml is gone since 4.10.1"),
        (
            "endpoints: {a: {config: {debug: 'yes'}}}",
            "1:33: error: `debug` must be true or false; write true",
        ),
        ("endpoints: {a: {user_environment: {A-B: x}}}", "1:36: error: 'A-B' is no name of an environment variable"),
        (
            "endpoints: {a: {identity_mapping: m, config: {identity_mapping_config_path: x}}}",
            "1:35: error: set `identity_mapping` or `config.identity_mapping_config_path`, not both",
        ),
        ("endpoints: {a: {config: {display_name: '{{ nme }}'}}}", "1:40: error: the variable `nme` is not defined"),
        (
            "endpoints: {a: {state: '{{ 1 + 1 }}'}}",
            "1:24: error: `state` must be one of running, stopped, unmanaged, not the number 2",
        ),
        (
            "endpoints: {a: {directory: '{{ \"x/y\" }}'}}",
            "1:28: error: 'x/y' cannot be a directory's name: it contains a slash",
        ),
        (
            "variables: {n: '3'}\npools: {p: {nodes_per_block: '{{ n }}'}}",
            "must be a whole number, not the text '3'; the expression's value must have that type; `| int` makes",
        ),
        ('pools: {p: {mpi: \'{{ "{" + "{" }}\'}}', "1:18: error: `mpi` cannot be this text"),
        ("pools: {a/b: }", "'a/b' cannot be a pool's name: it contains a slash"),
        ("moved: [{from: a, to: b}]", "1:23: error: there is no endpoint `b`; remove this entry if its block is gone"),
        (
            "endpoints: {met-10: }\nmoved: [{from: o, to: met-one}]",
            "2:23: error: there is no endpoint `met-one`; did you mean `met-10`? remove this entry",
        ),
        ("endpoints: {a: }\nmoved: [{from: a, to: a}]", "2:23: error: `a` is moved to itself; remove this entry"),
        ("endpoints: {a: , b: }\nmoved: [{from: a, to: b}]", "2:16: error: `a` is still declared in `endpoints`"),
        ("endpoints: {c: }\nmoved: [{from: a, to: c}, {from: a, to: c}]", "2:34: error: `a` is moved twice"),
        ("moved: [{from: a, to: b}, {from: b, to: a}]", "1:23: error: `b` is moved on to no endpoint, in a circle"),
        ("pools: {p: {provider: localhost}}\nmoved: [{from: o, to: p}]", "2:23: error: there is no endpoint `p`"),
        ("trash: {keep: soon}", "1:15: error: 'soon' is no duration; e.g. 14d, 12h or 2w"),
        ("trash: {max: much}", "1:14: error: 'much' is no size; e.g. 1GB or 500MB"),
        ("variables: {env: x}", "1:13: error: `env` is a name that expressions have anyway"),
        ("variables: {a-b: x}", "`a-b` cannot be used in an expression"),
        ("variables: {a: {default: x}}", "`a` needs either `env` or `value`"),
        ("hosts: {u: {match: [ufe*], python: '{{ nothing }}'}}", "1:36: error: the variable `nothing` is not defined"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(body: str, expected: str) -> None:
    errors = [line for line in problems(body) if "error: " in line]
    assert len(errors) == 1, errors
    assert expected in errors[0]


VOCABULARY = """
    a b ursa x.j2 ../x builtin none auto running unmanaged slurm pbspro 01:00:00 14d ufe* local yes 010 {{
    {{v}} {{s}} {{nope}} {{n}} {{l}} {{env.E}} {{host}}x 5f1c7ad2-3f0a-4a4e-9d7e-0f1e2d3c4b5a
"""
WORDS = st.sampled_from(VOCABULARY.split())
ANYTHING = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers(-1, 3) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)


def block(*keys: str, known: dict[str, Any] | None = None) -> Any:
    fields = dict.fromkeys(keys, ANYTHING) | (known or {})
    return st.fixed_dictionaries({}, optional=fields) | ANYTHING


ENDPOINT = block(
    "directory", "host", "state", "id", "protect", "restart", "config", "template", "schema", "user_environment"
)
POOL = block("endpoint", "mpi", "provider", "nodes_per_block", "walltime", "environment", "account", "cores_per_worker")
DEFAULTS = block(known={"pool": POOL, "endpoint": ENDPOINT})
VARIABLES = st.dictionaries(st.sampled_from(["v", "n", "l", "env"]), ANYTHING, max_size=3) | ANYTHING
HOST = block("match", "run_on", "config_dir", "python", known={"defaults": DEFAULTS, "variables": VARIABLES})
MANIFEST = block(
    known={
        "version": st.just(1) | ANYTHING,
        "stack": st.just("s") | ANYTHING,
        "variables": VARIABLES,
        "hosts": st.dictionaries(WORDS, HOST, max_size=2) | ANYTHING,
        "defaults": DEFAULTS,
        "endpoints": st.dictionaries(WORDS, ENDPOINT, max_size=3) | ANYTHING,
        "pools": st.dictionaries(WORDS, POOL, max_size=3) | ANYTHING,
        "moved": ANYTHING | st.lists(block("from", "to"), max_size=2),
        "trash": block("keep", "max"),
    }
)


@given(MANIFEST, st.booleans())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_manifest_is_a_state_or_a_problem_and_no_secret_is_told(manifest: Any, secret: bool) -> None:
    secret = secret and isinstance(manifest, dict) and isinstance(manifest.setdefault("variables", {}), dict)
    if secret:
        manifest["variables"]["s"] = {"env": "E", "sensitive": True}
    text = yaml.safe_dump(manifest, allow_unicode=True)
    try:
        state = load(text, context=context({"x.j2": "{}"}, env={"E": "hunter2-hunter2"}))
    except ReconcilerError as error:
        assert isinstance(error, ManifestInvalid | Refused)
        if secret:
            assert "hunter2" not in str(error)
    else:
        assert all(problem.severity == "warning" for problem in state.warnings)


def test_an_endpoint_must_say_its_host_only_when_there_are_several() -> None:
    assert desired("hosts: {u: {match: [ufe*]}}\nendpoints: {a: }").endpoints["a"].name == "a"
    assert problems("hosts: {u: {match: [ufe*]}, v: }\nendpoints: {a: }") == [
        "2:13: error: `a` does not say on which host it lives; add `host:` with one of u, v"
    ]


def test_problems_of_all_stages_come_together() -> None:
    body = textwrap.dedent("""\
        endpoints:
          a: {state: runing}
          b: {template: gone}
          c: {config: {debug: on}}
        pools:
          p: {endpoint: d, walltime: 30:00}
        """)
    assert problems(body) == [
        (
            "2:14: error: `state` must be one of running, stopped, unmanaged, not the text 'runing'; "
            "did you mean `running`?"
        ),
        "3:17: error: the template `gone` cannot be read: no such file",
        (
            "4:23: error: `on` means true in YAML 1.1 and the text 'on' in YAML 1.2; "
            'quote it for the text: "on", or write true'
        ),
        "6:17: error: there is no endpoint `d`; endpoints: a, b, c",
        (
            "6:30: error: `30:00` means the number 1800 in YAML 1.1 and the text '30:00' in YAML 1.2; "
            'quote it for the text: "30:00"'
        ),
    ]


@pytest.mark.parametrize("path", ["", "bin:.", "/bin:", ":/bin", "/a::/b", "~/bin:/bin", "$HOME/bin", "{{ 'bin' }}"])
def test_a_path_that_depends_on_where_a_program_runs(path: str) -> None:
    [found] = problems(f'endpoints: {{a: {{user_environment: {{PATH: "{path}"}}}}}}')
    assert found.startswith("1:36: error: an entry of `PATH` is empty or relative: what it finds depends on where")
    good = "endpoints: {a: {user_environment: {PATH: '/a b/bin:/bin'}}, b: {user_environment: {PATH: null}}}"
    assert problems(good) == []


@pytest.mark.parametrize(
    ("given", "named", "left"),
    [
        (":/usr/bin", "''", "/usr/bin"),
        ("/usr/bin:", "''", "/usr/bin"),
        (".:/usr/bin::~/bin:/bin:.", "'.', '', '~/bin'", "/usr/bin:/bin"),
    ],
)
def test_a_path_of_the_caller_is_taken_without_such_entries(given: str, named: str, left: str) -> None:
    body = 'endpoints: {a: {user_environment: {PATH: "/opt/x:{{ env.PATH }}"}}}'
    assert desired(body, env={"PATH": given}).endpoints["a"].user_environment == {"PATH": f"/opt/x:{left}"}
    [found] = problems(body, env={"PATH": given})
    assert found.startswith(f"1:36: warning: each empty or relative entry of `PATH` ({named}) is left out: what it")
    assert problems(body, env={"PATH": "/a:/b"}) == []


@pytest.mark.parametrize("given", ["", ":", ".", "bin:~/bin"])
def test_a_path_of_the_caller_of_which_nothing_is_left(given: str) -> None:
    [found] = problems('endpoints: {a: {user_environment: {PATH: "{{ env.PATH }}"}}}', env={"PATH": given})
    assert found.startswith("1:36: error: an entry of `PATH` is empty or relative")


@pytest.mark.parametrize("declared", ["{env: SITE_PATH, sensitive: true}", "{env: SITE_TOKENS}", "{env: P}"])
def test_what_is_left_out_of_a_path_is_not_named_where_it_is_a_secret(declared: str) -> None:
    body = f"variables: {{p: {declared}}}\nendpoints: {{a: {{user_environment: {{PATH: '{{{{ p }}}}'}}}}}}"
    env = dict.fromkeys(("SITE_PATH", "SITE_TOKENS"), "hunter2:/bin") | {"P": "https://me:hunter2@host:/bin"}
    state = desired(body, env=env)
    assert state.endpoints["a"].user_environment["PATH"].endswith("/bin")
    assert state.endpoints["a"].sensitive == {"PATH"}
    [warning] = state.warnings
    assert "entry of `PATH` is left out" in str(warning)
    assert "hunter2" not in str(warning)


def test_a_problem_from_defaults_stands_there() -> None:
    assert problems("defaults: {endpoint: {config: {debug: 5}}}\nendpoints: {a: , b: }") == [
        "1:39: error: `debug` must be true or false"
    ]


def test_options_of_another_version_refuse_that_endpoint_only() -> None:
    state = desired("endpoints:\n  a: {config: {brand_new: 1}}\n  b:\n")
    assert list(state.endpoints) == ["a", "b"]
    assert [str(problem).splitlines()[0] for problem in state.refused["a"]] == [
        (
            "chiltepin.yaml:4:16: error: globus-compute-endpoint 4.19.0 does not know `brand_new`, "
            "which exists since 4.20.0"
        )
    ]
    assert "b" not in state.refused


def test_a_variable_that_is_refused_is_one_problem() -> None:
    body = textwrap.dedent("""\
        variables: {cores: {env: CORES, default: 4}, name: demo, flag: {env: FLAG, default: false}}
        endpoints: {a: {config: {display_name: "{{ name }}", debug: "{{ flag }}"}}}
        pools: {p: {max_workers_per_node: "{{ cores }}"}, q: {max_workers_per_node: "{{ coers }}"}}
        """)
    assert problems(body, env={"CORES": "many", "FLAG": "yes"}) == [
        "1:20: error: the variable `cores` must be a whole number, as here; CORES gives 'many'",
        (
            "1:64: error: the variable `flag` must be true or false, as here; FLAG gives 'yes'; "
            "give true or false, in any letter case, or 1 or 0"
        ),
        "3:77: error: the variable `coers` is not defined; did you mean `cores`?",
    ]


SECRET = "variables: {token: {env: SITE_TOKEN, sensitive: true}}\n"


def test_secrets_may_go_to_user_environment() -> None:
    body = SECRET + "endpoints: {a: {user_environment: {X: 'Bearer {{ token }}', Y: plain}}}"
    endpoint = desired(body, env={"SITE_TOKEN": "hunter2"}).endpoints["a"]
    assert endpoint.user_environment == {"PATH": "auto", "X": "Bearer hunter2", "Y": "plain"}
    assert endpoint.sensitive == {"X"}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("endpoints: {a: {config: {display_name: '{{ token }}'}}}", "2:40: "),
        ("endpoints: {a: {config: {pam: {x: ['{{ token }}']}}}}", "2:36: "),
        ("endpoints: {a: {template: '{{ token }}'}}", "2:27: "),
        ("endpoints: {a: {directory: '{{ token }}'}}", "2:28: "),
        ("endpoints: {a: {state: '{{ token }}'}}", "2:24: "),
        ("pools: {p: {account: '{{ token }}'}}", "2:22: "),
        ("pools: {p: {environment: ['export T={{ env.SITE_TOKEN }}']}}", "2:27: "),
        ("pools: {p: {endpoint: '{{ token }}'}}", "2:23: "),
        ("hosts: {u: {match: [ufe*], python: '/{{ token }}'}}", "2:36: "),
    ],
)
def test_secrets_elsewhere_are_refused_and_not_shown(body: str, where: str) -> None:
    found = problems(SECRET + body, env={"SITE_TOKEN": "hunter2"})
    assert len(found) == 1, found
    assert found[0].startswith(f"{where}error: a sensitive value may be used in user_environment only, not in ")
    assert "hunter2" not in found[0]


def test_what_looks_like_a_secret_in_the_manifest_is_a_warning_and_hidden() -> None:
    body = "endpoints:\n  a: {user_environment: {API_TOKEN: hunter2}}\n"
    state = desired(body)
    assert state.endpoints["a"].sensitive == {"API_TOKEN"}
    assert "hunter2" not in "".join(map(str, state.warnings))
    assert problems(body)[0].startswith("2:26: warning: `API_TOKEN` looks like a secret written in the manifest")


def test_a_count_or_a_truth_value_is_no_secret_whatever_its_name() -> None:
    head = "variables: {use_token: {env: USE_TOKEN}, max_tokens: {env: MAX_TOKENS}}\n"
    own = "USE_TOKEN: 'true', MAX_TOKENS: '4096', TOKEN_COUNT: '4'"
    block = f"{{user_environment: {{{own}}}, config: {{display_name: '{{{{ use_token }}}} {{{{ max_tokens }}}}'}}}}"
    state = desired(f"{head}endpoints: {{a: {block}}}\n", env={"USE_TOKEN": "yes", "MAX_TOKENS": "1"})
    assert state.endpoints["a"].sensitive == frozenset()
    assert state.warnings == ()


def test_a_number_is_a_secret_under_the_name_of_one_wherever_it_goes() -> None:
    head = "variables: {db_password_prod: 91827364, pin: {env: SECRET_PIN, default: 0}}\n"
    own = "SECRET_KEY: '91827364', A: 'x{{ db_password_prod }}', B: 'x{{ pin }}'"
    state = desired(f"{head}endpoints:\n  a: {{user_environment: {{{own}}}}}\n", env={"SECRET_PIN": "4711"})
    assert state.endpoints["a"].sensitive == {"SECRET_KEY", "A", "B"}
    [warning] = state.warnings
    assert warning.message == "`SECRET_KEY` looks like a secret written in the manifest"


@pytest.mark.parametrize(
    ("env", "given", "default"),
    [
        ({"MY_PASSWORD": "hunter22"}, {}, ""),
        ({"CHILTEPIN_VAR_x": "hunter22"}, {}, ""),
        ({}, {"x": "hunter22"}, ""),
        ({}, {}, ", default: hunter22"),
    ],
)
def test_a_variable_is_a_secret_by_the_name_of_its_env_whatever_gives_the_value(
    env: dict[str, str], given: dict[str, str], default: str
) -> None:
    head = f"variables: {{x: {{env: MY_PASSWORD{default}}}}}\n"
    body = "endpoints:\n  a: {user_environment: {A: 'as {{ x }}'}}\npools: {p: {account: '{{ x }}'}}\n"
    state = desired(head + body, env=env, cli_variables=given)
    assert state.endpoints["a"].sensitive == {"A"}
    assert state.secret_variables == {"x"}
    assert any(
        w.message.startswith("`MY_PASSWORD` looks like a secret, and goes into `account`") for w in state.warnings
    )


def test_a_value_of_the_wrong_type_is_not_shown_where_a_name_says_that_it_is_a_secret() -> None:
    body = "variables: {pin: {env: SECRET_PIN, default: 0}, token: 0}\n"
    found = problems(body, cli_variables={"pin": "hunter22", "token": "hunter22"})
    assert len(found) == 2
    assert "hunter22" not in " ".join(found)


def test_what_only_its_name_says_is_a_secret_is_looked_for_in_texts_when_it_can_be_nothing_else() -> None:
    written = "A_TOKEN: abc123, B_TOKEN: '1234567890', C_TOKEN: debug, D_TOKEN: hunter22"
    body = f"a: {{user_environment: {{{written}, E: '{{{{ token[:3] }}}}', F: '{{{{ token and none }}}}'}}}}"
    state = desired(f"{SECRET}endpoints:\n  {body}\n", env={"SITE_TOKEN": "true"})
    assert state.endpoints["a"].sensitive == {"A_TOKEN", "B_TOKEN", "C_TOKEN", "D_TOKEN", "E", "F"}
    assert state.secrets == {"hunter22", "true", "tru"}


@pytest.mark.parametrize("body", ["a: {{user_environment: {{X: '{}'}}}}", "a: {{config: {{display_name: '{}'}}}}"])
@pytest.mark.parametrize("expression", ["{{ token }}", "{{ other }}", "{{ env.SITE_TOKEN }}"])
def test_what_looks_like_a_secret_and_is_not_said_to_be_sensitive(body: str, expression: str) -> None:
    head = "variables: {token: {env: SITE_TOKEN}, other: 'x {{ token }}'}\nendpoints:\n  "
    found = desired(head + body.format(expression) + "\n", env={"SITE_TOKEN": "hunter2"})
    said = [
        f"{p.message}; {p.hint}"
        for p in found.warnings
        if p.position and (p.position.line, p.position.column) == (5, 30)
    ]
    if "config" in body:
        [warning] = said
        assert warning.startswith("`SITE_TOKEN` looks like a secret, and goes into `config.display_name`: config, ")
        assert "`{env: NAME, sensitive: true}`" in warning
    else:
        assert found.endpoints["a"].sensitive == {"X"}
        assert not said
    assert "hunter2" not in "".join(map(str, found.warnings))


@pytest.mark.parametrize(
    ("pool", "where", "said"),
    [
        ("{environment: ['true', export API_TOKEN=ghp_1234]}", "2:29", "`API_TOKEN` looks like a secret written in"),
        ("{environment: ['TOKEN=$(curl -d password=hunter2 h)']}", "2:21", "`password` looks like a secret written in"),
        ("{environment: ['curl -u me:hunter2 h']}", "2:21", "`-u` looks like a secret written in"),
        ("{environment: ['x --password hunter2']}", "2:21", "`--password` looks like a secret written in"),
        ("{environment: ['curl https://me:hunter2@host']}", "2:21", "there is a URL with a password or a token in"),
        ("{environment: ['git clone https://ghp_1234@github.com/o/r']}", "2:21", "there is a URL with a password or"),
        (
            "{account: '{{ env.SITE_TOKEN }}', provider: slurm}",
            "2:16",
            "`SITE_TOKEN` looks like a secret, and goes into",
        ),
    ],
)
def test_a_secret_in_a_pool_is_a_warning(pool: str, where: str, said: str) -> None:
    body = f"pools:\n  p: {pool}\n  q: {{}}\n"
    [warning] = problems(body, env={"SITE_TOKEN": "ghp_1234"})
    assert warning.startswith(f"{where}: warning: {said}")
    assert "lock" in warning or "plain files" in warning
    assert "hunter2" not in warning
    assert "ghp_" not in warning


def test_a_secret_in_the_defaults_of_pools_is_one_warning() -> None:
    body = "defaults: {pool: {environment: [export API_KEY=hunter2]}}\npools: {p: {}, q: {}, r: {max_blocks: 2}}\n"
    assert [line.split("`")[1] for line in problems(body) if "secret" in line] == ["API_KEY"]


def test_a_secret_that_a_pool_takes_from_elsewhere_is_none() -> None:
    lines = [
        "export API_TOKEN=$(cat ~/.token)",
        "export API_TOKEN=`cat x`",
        "export GITHUB_TOKEN=$(gh auth token)",
        "curl -u me:$PW h --token $X",
        "export TOKEN_FILE=/x",
        "curl https://me:$PW@h",
        "git clone https://jdoe@github.com/o/r",
    ]
    assert problems(f"pools: {{p: {{environment: {lines}}}}}\n") == []


def test_a_number_or_a_group_that_is_only_named_like_a_secret_is_no_warning() -> None:
    variables = {"low_pass": 10, "token_lifetime": 3600, "tokens_left": 5}
    names = " ".join(f"{{{{ {name} }}}}" for name in variables)
    lines = ["export BAND_PASS=3", "docker run -u me:staff img", "sort -u a:b", "x --user jdoe:proj"]
    endpoints = f"{{a: {{config: {{display_name: '{names}'}}}}}}"
    assert problems(f"variables: {variables}\nendpoints: {endpoints}\npools: {{p: {{environment: {lines}}}}}\n") == []


def test_a_context_does_not_show_its_environment() -> None:
    assert "hunter2" not in repr(context(env={"SITE_TOKEN": "hunter2"}, cli_variables={"token": "hunter2"}))


def test_a_misspelt_var_is_a_warning() -> None:
    assert problems("variables: {account: x}", cli_variables={"acount": "y"}) == [
        "warning: --var acount: no variable of that name is declared or used; did you mean `account`?"
    ]
    assert problems("pools: {p: {account: '{{ free }}', provider: slurm}}", cli_variables={"free": "y"}) == []


def test_a_secret_on_the_command_line_is_a_warning() -> None:
    body = "variables: {first: {env: FIRST, sensitive: true}, account: x}\n"
    given = {"first": "hunter2", "account": "y"}
    [warning] = problems(body, cli_variables=given)
    assert warning == (
        "warning: --var first: this variable is sensitive, and every user here can read it in the process list;"
        " export CHILTEPIN_VAR_first, or the variable that its `env` names"
    )
    assert problems(body, cli_variables=given, on_command_line=False) == []
    assert problems(body, env={"CHILTEPIN_VAR_first": "hunter2"}) == []


def test_an_empty_endpoints_section_declares_nothing() -> None:
    assert not desired("endpoints:\n").declared
    assert not desired("pools: {p: }").declared
    assert desired("endpoints: {a: }").declared


def test_moved_and_trash() -> None:
    state = desired("endpoints: {c: }\nmoved: [{from: a, to: b}, {from: b, to: c}]\ntrash: {keep: 2w, max: 1.5 GiB}")
    assert state.moved == (Moved("a", "b"), Moved("b", "c"))
    assert state.trash == Trash(14 * 86_400, 3 * 2**29)
    assert desired("").trash == Trash()


def test_defaults_that_would_explode_are_refused() -> None:
    wide = "{pam: {x: [" + "1, " * 60_000 + "]}}"
    body = f"defaults: {{endpoint: {{config: {wide}}}}}\nendpoints:\n" + "".join(f"  e{i}:\n" for i in range(100))
    assert "values are too large for 100 blocks" in problems(body)[0]


def test_jinja_and_jsonschema_are_imported_only_when_needed() -> None:
    script = textwrap.dedent(f"""\
        import sys
        from reconciler.core.desired import TextFile
        from reconciler.core.manifest.resolve import Context, Machine, load
        builtin = {{"builtin": TextFile("builtin@1", "")}}
        load({HEAD + LAPTOP!r}, context=Context("f", Machine("a", "a"), str.encode, templates=builtin, schemas=builtin))
        loaded = {{"jinja2", "jsonschema", "deepdiff"}} & set(sys.modules)
        assert not loaded, loaded
        """)
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_same_text_gives_the_same_state_whatever_the_order_of_layers() -> None:
    assert load(HEAD + SITES, context=context()) == load((HEAD + SITES).encode(), context=context())
    reordered = yaml.safe_dump(yaml.safe_load(HEAD + SITES), sort_keys=True)
    assert {name: pool.given for name, pool in load(reordered, context=context()).pools.items()} == {
        name: pool.given for name, pool in desired(SITES).pools.items()
    }
