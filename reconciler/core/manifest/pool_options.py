"""A pool's options as upstream's Chiltepin fills them in, and what goes wrong with them later.

Chiltepin checks none of its options; most mistakes show when the first task runs, some never. Each
check here is one of them, told at plan time. Checks look at values that the models accepted already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from reconciler.core.frozen import dataclass
from reconciler.core.work import counted

Severity = Literal["error", "warning"]

SENT = (
    "mpi",
    "max_mpi_apps",
    "mpi_launcher",
    "provider",
    "cores_per_node",
    "nodes_per_block",
    "init_blocks",
    "min_blocks",
    "max_blocks",
    "exclusive",
    "partition",
    "queue",
    "account",
    "walltime",
)
"""Options that Chiltepin sends to an endpoint; `environment` goes as `worker_init`."""

MAX_ENVIRONMENT = 8_192
"""Characters of all environment lines together that the built-in schema accepts."""

_SCHEDULER_ONLY = ("partition", "queue", "account", "walltime", "exclusive", "nodes_per_block", "cores_per_node")
_WORDS: Mapping[str, str] = {
    "partition": r"([A-Za-z0-9_][A-Za-z0-9_.,+-]{0,255})?",
    "queue": r"([A-Za-z0-9_][A-Za-z0-9_.:@+-]{0,127})?",
    "account": r"([A-Za-z0-9_][A-Za-z0-9_.:@+-]{0,127})?",
}
_WALLTIME = r"[0-9]{1,4}:[0-5][0-9]:[0-5][0-9]"
_SHELL_TEXT = r"[\t\n\u0020-\u007e\u00a0-\ud7ff\ue000-\U0010ffff]*"
_BUILTIN_TEXT = r"[\u0000-\uffff]*"


@dataclass(frozen=True)
class Target:
    """Where a pool runs.

    Attributes:
        remote: through an endpoint, rather than as a local Parsl pool.
        builtin: the endpoint is ours and uses a built-in template.
        checked: whether a schema checks what arrives there, as far as is known.
        judged: whether it is known which template the endpoint uses.
    """

    remote: bool
    builtin: bool = False
    checked: bool = True
    judged: bool = True


class PoolFinding(NamedTuple):
    """One finding about the option `key` (None: about the whole pool)."""

    severity: Severity
    key: str | None
    message: str
    hint: str | None = None


def resolve(given: Mapping[str, Any], *, remote: bool) -> dict[str, Any]:
    """Return every option but `endpoint`, with upstream's defaults for what is not given.

    Args:
        remote: through an endpoint, where unset texts are sent empty and cores_per_node as 1.
    """
    unset = "" if remote else None
    defaults: dict[str, Any] = {
        "mpi": False,
        "max_mpi_apps": 1,
        "mpi_launcher": "srun" if given.get("provider") == "slurm" else "mpiexec",
        "provider": "localhost",
        "cores_per_node": 1 if remote else None,
        "nodes_per_block": 1,
        "init_blocks": 0,
        "min_blocks": 0,
        "max_blocks": 1,
        "exclusive": True,
        "partition": unset,
        "queue": unset,
        "account": unset,
        "walltime": "00:10:00",
        "environment": [],
        "cores_per_worker": 1,
        "max_workers_per_node": None,
    }
    return {**defaults, **given}


def sent(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user_endpoint_config that Chiltepin sends for a remote pool's resolved options."""
    return {**{key: options[key] for key in SENT}, "worker_init": "\n".join(options["environment"])}


def check_pool(given: Mapping[str, Any], own: frozenset[str], target: Target) -> Iterator[PoolFinding]:
    """Yield what is wrong with one pool.

    Args:
        given: the options that are set, defaults of the manifest merged.
        own: those that the pool's own block sets. A default that does not suit a pool is no finding
            when it has no effect there, an option written into its block is.
        target: where the pool runs.
    """
    options = resolve(given, remote=target.remote)
    yield from _check_texts(options, target)
    yield from _check_blocks(options)
    yield from _check_mpi(options, own)
    if target.remote:
        yield from _check_remote(given, options, target)
    if options["provider"] == "pbspro":
        yield from _check_pbs(given, options, own, target)
    elif options["provider"] == "slurm":
        if options["queue"] and not options["partition"]:
            message = "with slurm `queue` is the quality of service (QOS), never the partition"
            yield PoolFinding("warning", "queue", message, "name the partition with `partition`")
    elif without := [key for key in _SCHEDULER_ONLY if key in own]:
        message = f"without effect: the provider is localhost, which ignores {', '.join(without)}"
        yield PoolFinding("warning", without[0], message, "set `provider: slurm` or `pbspro`, or remove them")


def _check_texts(options: Mapping[str, Any], target: Target) -> Iterator[PoolFinding]:
    walltime = options["walltime"]
    if not re.fullmatch(_WALLTIME, walltime):
        message = f"`walltime` must be HH:MM:SS, not {walltime!r}"
        yield PoolFinding("error", "walltime", message, 'in quotes, e.g. "01:30:00" for an hour and a half')
    elif int(walltime.split(":")[0]) == 0 and walltime.split(":")[1] == "00":
        yield PoolFinding("error", "walltime", f"`walltime` must be at least one minute, not {walltime!r}")
    if options["provider"] != "localhost" or target.builtin:
        for key, pattern in _WORDS.items():
            if not re.fullmatch(pattern, options[key] or ""):
                message = f"`{key}` must be one word of letters, digits and `_.+-`, not {options[key]!r}"
                yield PoolFinding("error", key, message)
    lines = "\n".join(options["environment"])
    if not re.fullmatch(_SHELL_TEXT, lines):
        message = "`environment` contains a control character"
        yield PoolFinding("error", "environment", message, "line ends are line feeds; no carriage returns")
    elif target.builtin and not re.fullmatch(_BUILTIN_TEXT, lines):
        yield PoolFinding("error", "environment", "`environment` contains a character beyond U+FFFF")
    elif target.builtin and len(lines) > MAX_ENVIRONMENT:
        message = f"`environment` has {len(lines):,} characters; the limit is {MAX_ENVIRONMENT:,}"
        yield PoolFinding("error", "environment", message, "put the lines into a file on the host and source it")
    if lines.count("\n") >= 4 and all(len(line) <= 1 for line in lines.split("\n")):
        message = "`environment` has one character per line"
        yield PoolFinding("error", "environment", message, "write a list of whole lines")


def _check_blocks(options: Mapping[str, Any]) -> Iterator[PoolFinding]:
    for key in ("init_blocks", "min_blocks"):
        if options[key] > options["max_blocks"]:
            message = f"`{key}` is {options[key]}, more than `max_blocks`, {options['max_blocks']}"
            yield PoolFinding("error", key, message)


def _check_mpi(options: Mapping[str, Any], own: frozenset[str]) -> Iterator[PoolFinding]:
    if not options["mpi"]:
        for key in ("max_mpi_apps", "mpi_launcher"):
            if key in own:
                yield PoolFinding("warning", key, f"`{key}` has no effect without `mpi: true`")
        return
    # On localhost the nodes are those of the batch job around the endpoint, which nobody knows here.
    if options["provider"] != "localhost" and options["max_mpi_apps"] > options["nodes_per_block"]:
        message = (
            f"`max_mpi_apps` is {options['max_mpi_apps']}, more than the"
            f" {counted(options['nodes_per_block'], 'node')} of a block"
        )
        yield PoolFinding("error", "max_mpi_apps", message, "each MPI application needs a node of its own")
    for key in ("cores_per_worker", "max_workers_per_node"):
        if key in own:
            yield PoolFinding("warning", key, f"`{key}` has no effect with `mpi: true`")


def _check_remote(given: Mapping[str, Any], options: Mapping[str, Any], target: Target) -> Iterator[PoolFinding]:
    if "cores_per_worker" in given:
        message = "`cores_per_worker` has no effect: Chiltepin does not send it to an endpoint"
        yield PoolFinding("warning", "cores_per_worker", message)
    if "max_workers_per_node" in given:
        message = "`max_workers_per_node` has no effect: Chiltepin does not send it to an endpoint"
        hint = "`cores_per_node` is the number of workers there"
        if options["provider"] == "localhost":
            hint = "remove it; one worker runs there for each core"
        yield PoolFinding("warning", "max_workers_per_node", message, hint)
    shared = not options["mpi"] or not options["exclusive"]
    if options["provider"] != "localhost" and shared and "cores_per_node" not in given:
        message = "`cores_per_node` is not set: Chiltepin sends 1, so each node runs one worker"
        yield PoolFinding("warning", None, message, "set it to the cores of a node, or to 1 to say that you mean it")
    if not target.checked:
        message = "the endpoint says `schema: none`: wrong pool options show when the first task runs"
        yield PoolFinding("warning", None, message, "use `schema: builtin`")


def _check_pbs(
    given: Mapping[str, Any], options: Mapping[str, Any], own: frozenset[str], target: Target
) -> Iterator[PoolFinding]:
    if not target.remote:
        if options["mpi"]:
            message = "a local PBS pool with `mpi: true` cannot be submitted: Chiltepin asks for `ncpus=None`"
            yield PoolFinding("error", "mpi", message, "run it through an endpoint")
        elif "cores_per_node" not in given:
            message = "a local PBS pool without `cores_per_node` cannot be submitted: Chiltepin asks for `ncpus=None`"
            yield PoolFinding("error", None, message, "set `cores_per_node`")
    elif not target.builtin and target.judged:
        if options["mpi"]:
            message = "with PBS and MPI Chiltepin's own template always asks for one core per node"
            yield PoolFinding("warning", "mpi", message, "use an endpoint with `template: builtin`")
        if not (options["queue"] and options["account"]):
            told = {
                (False, False): "without queue and account Chiltepin's own template submits `qsub -q  -A  SCRIPT`:"
                " `-A` becomes the queue",
                (True, False): "without account Chiltepin's own template submits `qsub -q QUEUE -A  SCRIPT`:"
                " the script becomes the account",
                (False, True): "without queue Chiltepin's own template submits `qsub -q  -A ACCOUNT SCRIPT`:"
                " `-A` becomes the queue",
            }
            message = told[bool(options["queue"]), bool(options["account"])]
            hint = "set both `queue` and `account`, or use an endpoint with `template: builtin`"
            yield PoolFinding("warning", None, message, hint)
    if options["partition"] and target.builtin:
        yield PoolFinding("error", "partition", "PBS has no partitions", "name the queue with `queue`")
    elif "partition" in own:
        message = "`partition` has no effect with PBS"
        yield PoolFinding("warning", "partition", message, "name the queue with `queue`")
    if "exclusive" in own and not target.builtin and target.judged:
        yield PoolFinding("warning", "exclusive", "Chiltepin ignores `exclusive` with PBS")
