"""`chiltepin sandbox`: a Globus Compute service on this machine, to try everything without an account."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="A Globus Compute service on this machine: no account, no network, no root.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

StateDirOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir", help="Where it keeps its state [default: $CHILTEPIN_SANDBOX_DIR, ~/.chiltepin-sandbox]"
    ),
]


@app.command("up")
def up(
    state_dir: StateDirOption = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; globus_compute_sdk looks at 5000 only")] = 5000,
    amqp_url: Annotated[
        str | None, typer.Option("--amqp-url", help="Use this RabbitMQ (amqp://...) instead of the embedded broker")
    ] = None,
    faults: Annotated[bool, typer.Option("--faults", help="Let tests tell it to misbehave")] = False,
) -> None:
    """Start the sandbox in the background."""
    from reconciler.sandbox import lifecycle

    info = lifecycle.up(state_dir, port, amqp_url, faults=faults)
    typer.echo(info.url)
    broker = "your RabbitMQ" if info.external_amqp else f"AMQP on 127.0.0.1:{info.amqp_port}"
    suffix = f" --state-dir {shlex.quote(str(state_dir))}" if state_dir else ""
    typer.echo(
        f"The sandbox is {'already ' if info.already_up else ''}up ({broker}, process {info.pid}).\n"
        "Nothing it knows exists at Globus; its UUIDs mean something here only.\n"
        f'Next: eval "$(chiltepin sandbox env{suffix})"\n'
        f"  or: chiltepin sandbox exec{suffix} -- COMMAND\n"
        f"Stop: chiltepin sandbox down{suffix}",
        err=True,
    )


@app.command("down")
def down(state_dir: StateDirOption = None) -> None:
    """Stop the sandbox; what is registered there stays for the next time."""
    from reconciler.sandbox import lifecycle

    was_up = lifecycle.down(state_dir)
    typer.echo("The sandbox is down; its state is kept." if was_up else "The sandbox was not up.", err=True)


@app.command("status")
def status(
    state_dir: StateDirOption = None,
    output: Annotated[str, typer.Option("--format", help="text or json")] = "text",
) -> None:
    """Say whether the sandbox runs, and where. Exits 0 either way."""
    from reconciler.errors import UsageError
    from reconciler.sandbox import lifecycle

    if output not in ("text", "json"):
        raise UsageError(f"Unknown format {output!r}", remedy="use --format text or --format json")
    info = lifecycle.status(state_dir)
    if output == "json":
        typer.echo(json.dumps(info.document(), indent=2))
    elif info.running:
        broker = "external RabbitMQ" if info.external_amqp else f"127.0.0.1:{info.amqp_port} (embedded)"
        typer.echo(
            f"sandbox    up at {info.url}\nprocess    {info.pid}\nbroker     {broker}\n"
            f"identity   {info.client_id}\nendpoints  {info.endpoints}\nstate      {info.state_dir}"
        )
    else:
        typer.echo(f"sandbox    down\nstate      {info.state_dir}")


@app.command("env")
def env(state_dir: StateDirOption = None) -> None:
    """Print the exports that point a shell at the sandbox."""
    from reconciler.sandbox import lifecycle

    typer.echo("# Chiltepin sandbox, not Globus. Holds a secret of the sandbox.")
    for name, value in lifecycle.environment(state_dir).items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command("exec", context_settings={"ignore_unknown_options": True})
def exec_(
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after --")],
    state_dir: StateDirOption = None,
) -> None:
    """Run a command inside the sandbox's environment; its exit code is the command's."""
    from reconciler.errors import UsageError
    from reconciler.sandbox import lifecycle

    environment = {**os.environ, **lifecycle.environment(state_dir)}
    try:
        os.execvpe(command[0], command, environment)
    except OSError as e:
        raise UsageError("The command cannot be run", where=command[0], why=e.strerror) from e
