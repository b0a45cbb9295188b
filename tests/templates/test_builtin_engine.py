"""What the built-in template makes of the options that Chiltepin sends, as a real engine."""

from __future__ import annotations

import itertools

import pytest
import yaml
from jinja2.exceptions import UndefinedError

from reconciler.adapters.resources import available_versions, builtin_schema, builtin_template
from tests.templates.rendering import PARSL_PROVIDER, PROVIDERS, SCHEMA, build, provider_of, render, sent

LAUNCHERS = {"localhost": "SingleNodeLauncher", "slurm": "SrunLauncher", "pbspro": "MpiExecLauncher"}


@pytest.mark.parametrize(("provider", "mpi"), list(itertools.product(PROVIDERS, (False, True))))
def test_builds_the_engine_of_every_provider(provider: str, mpi: bool) -> None:
    options = sent(
        provider,
        mpi=mpi,
        max_mpi_apps=2,
        cores_per_node=40,
        nodes_per_block=3,
        min_blocks=1,
        init_blocks=2,
        max_blocks=4,
        queue="batch",
        account="gsd-hpcs",
        walltime="01:30:00",
        worker_init="module purge\nmodule load stack-intel",
    )

    engine = build(options).engine
    block = engine.executor.provider

    assert type(engine).__name__ == ("GlobusMPIEngine" if mpi else "GlobusComputeEngine")
    assert type(block).__name__ == PARSL_PROVIDER[provider]
    assert type(block.launcher).__name__ == ("SimpleLauncher" if mpi else LAUNCHERS[provider])
    assert (block.init_blocks, block.min_blocks, block.max_blocks) == (2, 1, 4)
    assert block.worker_init.rstrip("\n") == "module purge\nmodule load stack-intel"
    assert engine.run_in_sandbox is True
    if mpi:
        assert engine.executor.max_workers_per_block == 2
        assert engine.executor.mpi_launcher == options["mpi_launcher"]
    if provider != "localhost":
        assert (block.nodes_per_block, block.walltime, block.account) == (3, "01:30:00", "gsd-hpcs")
        assert (block.qos if provider == "slurm" else block.queue) == "batch"


def test_an_executor_without_options_gets_one_block_on_this_host() -> None:
    config = build({})

    block = config.engine.executor.provider
    assert type(config.engine).__name__ == "GlobusComputeEngine"
    assert type(block).__name__ == "LocalProvider"
    assert (block.init_blocks, block.min_blocks, block.max_blocks, block.worker_init) == (0, 0, 1, "")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_defaults_are_those_of_chiltepin(provider: str) -> None:
    """What is left out means what Chiltepin sends for it, cores_per_node aside."""
    left_out = {"provider": provider, "cores_per_node": 1}
    assert yaml.safe_load(render(left_out)) == yaml.safe_load(render(sent(provider)))
    assert yaml.safe_load(render(left_out | {"mpi": True})) == yaml.safe_load(render(sent(provider, mpi=True)))


def test_an_idle_user_endpoint_ends_after_an_hour() -> None:
    config = build(sent())
    assert config.idle_heartbeats_soft * config.heartbeat_period == 3600
    assert config.idle_heartbeats_hard * config.heartbeat_period == 48 * 3600


@pytest.mark.parametrize(("core_config", "debug"), [("", False), ("debug: false", False), ("debug: true", True)])
def test_debug_follows_the_core_endpoint(core_config: str, debug: bool) -> None:
    assert build(sent(), core_config=core_config).debug is debug


@pytest.mark.parametrize("provider", ["slurm", "pbspro"])
@pytest.mark.parametrize("empty", ["", None])
def test_empty_scheduler_options_are_left_to_the_site(provider: str, empty: str | None) -> None:
    block = provider_of(sent(provider, queue=empty, account=empty, partition=empty))
    assert block.account is None
    assert (block.qos if provider == "slurm" else block.queue) is None
    assert provider == "pbspro" or block.partition is None


def test_slurm_takes_partition_qos_and_exclusive() -> None:
    options = sent("slurm", partition="hera,service", queue="debug", account="gsd-hpcs", exclusive=False)
    directives = provider_of(options).scheduler_options.split("\n")
    assert [line for line in directives if line] == [
        "#SBATCH --partition=hera,service",
        "#SBATCH --account=gsd-hpcs",
        "#SBATCH --qos=debug",
    ]
    assert "#SBATCH --exclusive" in provider_of(options | {"exclusive": True}).scheduler_options


@pytest.mark.parametrize(
    ("exclusive", "cores", "expected"), [(True, 40, 40), (True, 1, 1), (True, None, None), (False, None, 1)]
)
def test_slurm_cores(exclusive: bool, cores: int | None, expected: int | None) -> None:
    """None leaves the cores of an exclusive node to the workers, all of them."""
    assert provider_of(sent("slurm", exclusive=exclusive, cores_per_node=cores)).cores_per_node == expected


def test_slurm_mpi_on_shared_nodes_asks_for_a_core_per_rank() -> None:
    shared = provider_of(sent("slurm", mpi=True, cores_per_node=40, exclusive=False))
    whole = provider_of(sent("slurm", mpi=True, cores_per_node=40))
    assert "#SBATCH --ntasks-per-node=40" in shared.scheduler_options
    assert "ntasks" not in whole.scheduler_options
    assert shared.cores_per_node is whole.cores_per_node is None


@pytest.mark.parametrize("mpi", [False, True])
@pytest.mark.parametrize(("cores", "expected"), [(128, 128), (1, 1), (None, 1)])
def test_pbs_asks_for_the_cores_also_under_mpi(mpi: bool, cores: int | None, expected: int) -> None:
    assert provider_of(sent("pbspro", mpi=mpi, cores_per_node=cores)).cpus_per_node == expected


@pytest.mark.parametrize(
    ("options", "workers"),
    [
        ({"cores_per_node": 8}, 8),
        ({"cores_per_node": 1}, 1),
        ({"cores_per_node": 8, "cores_per_worker": 2}, 4),
        ({"cores_per_node": 8, "cores_per_worker": 0.5}, 16),
        ({"cores_per_node": 8, "cores_per_worker": 16}, 1),
        ({"cores_per_node": 8, "max_workers_per_node": 3}, 3),
        ({"cores_per_node": 8, "max_workers_per_node": 30}, 8),
    ],
)
def test_pbs_starts_no_more_workers_than_it_has_cores(options: dict[str, float], workers: int) -> None:
    executor = build(sent("pbspro", **options)).engine.executor
    assert executor.max_workers_per_node == workers
    assert executor.workers_per_node == workers


@pytest.mark.parametrize(("exclusive", "place"), [(True, "place=scatter:excl"), (False, "place=scatter")])
def test_pbs_takes_exclusive_and_spreads_the_nodes(exclusive: bool, place: str) -> None:
    block = provider_of(sent("pbspro", exclusive=exclusive, nodes_per_block=3))
    assert block.scheduler_options == f"#PBS -l {place}"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_worker_limits_that_only_other_clients_send(provider: str) -> None:
    executor = build(sent(provider, cores_per_node=8, cores_per_worker=2, max_workers_per_node=3)).engine.executor
    assert (executor.cores_per_worker, executor.max_workers_per_node) == (2, 3)
    unlimited = build(sent(provider, max_workers_per_node=None, mpi=True, cores_per_worker=4)).engine.executor
    assert unlimited.max_workers_per_block == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_max_blocks_is_never_exceeded(provider: str) -> None:
    block = provider_of(sent(provider, init_blocks=9, min_blocks=5, max_blocks=2))
    assert (block.init_blocks, block.min_blocks, block.max_blocks) == (2, 2, 2)


@pytest.mark.parametrize(("provider", "workers"), [("slurm", 3), ("pbspro", 3), ("localhost", 8)])
def test_no_more_mpi_programs_than_nodes(provider: str, workers: int) -> None:
    """On localhost the nodes are those of the batch job around the endpoint, and not known here."""
    engine = build(sent(provider, mpi=True, max_mpi_apps=8, nodes_per_block=3)).engine
    assert engine.executor.max_workers_per_block == workers


@pytest.mark.parametrize("provider", PROVIDERS)
def test_whole_numbers_may_come_as_floats(provider: str) -> None:
    """JSON Schema counts 2.0 as an integer, Parsl does not."""
    numbers = {"cores_per_node": 2.0, "nodes_per_block": 2.0, "init_blocks": 0.0, "min_blocks": 0.0, "max_blocks": 2.0}
    for mpi in (False, True):
        block = provider_of(sent(provider, mpi=mpi, max_mpi_apps=2.0, **numbers))
        assert isinstance(block.max_blocks, int)
        assert isinstance(block.nodes_per_block, int)


@pytest.mark.parametrize(
    ("option", "value"),
    [("provider", "slrum"), ("provider", None), ("mpi", "False"), ("mpi", None), ("exclusive", "no")],
)
def test_without_a_schema_nonsense_fails_instead_of_meaning_something_else(option: str, value: str | None) -> None:
    with pytest.raises(UndefinedError):
        render(sent("slurm") | {option: value}, schema=None)


def test_a_schema_that_is_switched_off_changes_nothing() -> None:
    for provider, mpi in itertools.product(PROVIDERS, (False, True)):
        options = sent(provider, mpi=mpi, account="a", worker_init="x\ny")
        assert render(options, schema=None) == render(options)


def test_what_is_rendered_fits_the_pipe_to_the_user_endpoint() -> None:
    """The renderer hands the text over as JSON through a pipe of 64 KiB, with credentials beside it."""
    longest = "\u00e9" * SCHEMA["properties"]["worker_init"]["maxLength"]
    text = render(sent("slurm", mpi=True, exclusive=False, worker_init=longest))
    assert len(yaml.dump(text, width=1_000_000)) < 60_000


def test_every_version_has_template_and_schema() -> None:
    assert available_versions()[0] == 1
    for version in available_versions():
        assert builtin_template(version)[0] == builtin_schema(version)[0] == f"builtin@{version}"
    assert builtin_template() == builtin_template(available_versions()[-1])
