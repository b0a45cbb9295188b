"""`chiltepin sandbox`: a Globus Compute service on this machine, to try everything without an account."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import options as o

EPILOG = o.examples(
    """
    chiltepin sandbox up
    chiltepin sandbox exec -- chiltepin apply
    chiltepin sandbox down
    """
)

app = typer.Typer(
    help="A Globus Compute service on this machine, without an account.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

StateDirOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        help="Where it keeps its state [default: $CHILTEPIN_SANDBOX_DIR, ~/.chiltepin-sandbox].",
    ),
]


@app.command(
    "up",
    epilog=o.examples(
        """
        chiltepin sandbox up
        chiltepin sandbox up --amqp-url amqp://guest:guest@127.0.0.1:5672/
        """
    ),
)
def up(
    state_dir: StateDirOption = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", help="Port on 127.0.0.1; globus_compute_sdk looks at 5000 only.")
    ] = 5000,
    amqp_url: Annotated[
        str | None,
        typer.Option(
            "--amqp-url",
            metavar="URL",
            help="Use this RabbitMQ instead of the embedded broker [default: $CHILTEPIN_SANDBOX_AMQP_URL, if set: "
            "the place for one with a password, which others could read here].",
        ),
    ] = None,
    faults: Annotated[bool, typer.Option("--faults", help="Let tests tell it to misbehave.")] = False,
) -> None:
    """Start the sandbox in the background."""
    from reconciler.cli.console import Console
    from reconciler.sandbox import lifecycle

    info = lifecycle.up(state_dir, port, amqp_url, faults=faults)
    Console().result(info.url or "")
    broker = "your RabbitMQ" if info.external_amqp else f"AMQP on 127.0.0.1:{info.amqp_port}"
    suffix = f" --state-dir {shlex.quote(str(state_dir))}" if state_dir else ""
    Console().say(
        f"The sandbox is {'already ' if info.already_up else ''}up ({broker}, process {info.pid}).\n"
        "Nothing it knows exists at Globus; its UUIDs mean something here only.\n"
        f'Next: eval "$(chiltepin sandbox env{suffix})"\n'
        f"  or: chiltepin sandbox exec{suffix} -- COMMAND\n"
        f"Stop: chiltepin sandbox down{suffix}"
    )


@app.command("down", epilog=o.examples("chiltepin sandbox down"))
def down(state_dir: StateDirOption = None) -> None:
    """Stop the sandbox. What is registered there stays for the next time."""
    from reconciler.cli.console import Console
    from reconciler.errors import ReconcilerError
    from reconciler.sandbox import lifecycle

    try:
        online = lifecycle.status(state_dir).online or 0
    except ReconcilerError:  # whatever answers there, or does not, it is to end
        online = 0
    was_up = lifecycle.down(state_dir)
    Console().say("The sandbox is down; its state is kept." if was_up else "The sandbox was not up.")
    if was_up and online:
        each = (
            "1 endpoint was online, and its daemon goes" if online == 1 else f"{online} were online: their daemons go"
        )
        Console().say(f"{each} on; to end what runs: `chiltepin sandbox up`, then stop or destroy it.")


@app.command(
    "status",
    epilog=o.examples(
        """
        chiltepin sandbox status
        chiltepin sandbox status --format json
        """
    ),
)
def status(
    state_dir: StateDirOption = None,
    output: o.FormatOption = "text",
) -> None:
    """Say whether the sandbox runs, and where. Exits 0 either way."""
    from reconciler.cli.console import Console, check_format
    from reconciler.sandbox import lifecycle

    check_format(output)
    info = lifecycle.status(state_dir)
    if output == "json":
        from reconciler.core.output_models import SandboxStatusOutput
        from reconciler.core.outputs import to_json

        Console().result(to_json(SandboxStatusOutput.model_validate(info.document())))
    elif info.running:
        online = "" if info.online is None else f", {info.online} online"
        broker = "external RabbitMQ" if info.external_amqp else f"127.0.0.1:{info.amqp_port} (embedded)"
        Console().result(
            f"sandbox    up at {info.url}\nprocess    {info.pid}\nbroker     {broker}\n"
            f"identity   {info.client_id}\nendpoints  {info.endpoints}{online}\n"
            f"state      {info.state_dir}"
        )
    else:
        Console().result(f"sandbox    down\nstate      {info.state_dir}")


@app.command("env", epilog=o.examples('eval "$(chiltepin sandbox env)"'))
def env(state_dir: StateDirOption = None) -> None:
    """Print the exports that point a shell at the sandbox. When it is not up, that is `false`."""
    from reconciler.cli.console import Console
    from reconciler.errors import ReconcilerError
    from reconciler.sandbox import lifecycle

    try:
        exports = lifecycle.environment(state_dir)
    except ReconcilerError:
        # What a shell evaluates fails then, too: a script under `set -e` must not go on with the real service.
        Console().result("false  # see the error")
        raise
    Console().result("# Chiltepin sandbox, not Globus. Holds a secret of the sandbox.")
    for name, value in exports.items():
        Console().result(f"export {name}={shlex.quote(value)}")


@app.command(
    "exec",
    context_settings={"ignore_unknown_options": True},
    epilog=o.examples(
        """
        chiltepin sandbox exec -- chiltepin apply
        chiltepin sandbox exec -- python workflow.py
        """
    ),
)
def exec_(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The command and its arguments, after --.")],
    state_dir: StateDirOption = None,
) -> None:
    """Run a command in the environment of the sandbox. The exit code is the command's."""
    from reconciler.errors import UsageError
    from reconciler.sandbox import lifecycle

    environment = {**os.environ, **lifecycle.environment(state_dir)}
    try:
        os.execvpe(command[0], command, environment)
    except OSError as e:
        remedy = "give the command and its arguments after --, as you would type them in a shell"
        raise UsageError("the command cannot be run", where=command[0], why=e.strerror, remedy=remedy) from e
