"""`chiltepin endpoint`: single endpoints without a manifest, as upstream's command, with its output."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options as o
from reconciler.cli.signals import orderly

EPILOG = o.examples(
    """
    chiltepin endpoint list
    chiltepin endpoint -c DIR configure NAME
    chiltepin endpoint start NAME
    """
)

app = typer.Typer(
    help="Single endpoints without a manifest, as upstream does it.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "-c",
        "--config",
        "--config-dir",
        metavar="DIR",
        help="The config directory [default: $GLOBUS_COMPUTE_USER_DIR, ~/.globus_compute].",
    ),
]
"""Before the subcommand, as upstream's, and after it."""
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint's name: that of its directory.")]


@app.callback()
def endpoint(
    context: typer.Context,
    config_dir: ConfigOption = None,
) -> None:
    """Configure, list, start, stop, delete or bring back one endpoint that no manifest manages."""
    context.obj = config_dir


@app.command(epilog=o.examples("chiltepin endpoint configure test"))
def configure(context: typer.Context, name: NameArgument, config_dir: ConfigOption = None) -> None:
    """Make the directory of a new endpoint."""
    from reconciler import endpoint as single

    with orderly():
        single.configure(name, config_dir=config_dir or context.obj)


@app.command(
    "list",
    epilog=o.examples(
        """
        chiltepin endpoint list
        chiltepin endpoint list --deleted      what `endpoint undelete` brings back
        """
    ),
)
def list_endpoints(
    context: typer.Context,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="What was deleted by hand: name, UUID, entry of the trash.")
    ] = False,
    config_dir: ConfigOption = None,
) -> None:
    """List the endpoints of the config directory: name, UUID, status."""
    from reconciler import endpoint as single
    from reconciler.cli.console import Console
    from reconciler.core.report import plain

    where = config_dir or context.obj
    if deleted:
        rows = [(item["name"], item["id"], item["entry"]) for item in single.deleted(where)]
    else:
        rows = [(name, entry["id"], str(entry["status"])) for name, entry in single.show(where).items()]
    width = max((len(name) for name, _, _ in rows), default=0)
    lines = [f"{name:<{width}} {endpoint_id or 'None':<36} {last}" for name, endpoint_id, last in rows]
    none = "No endpoints were deleted by hand" if deleted else "No endpoints are configured"
    Console().result("\n".join(plain(line) for line in lines) if lines else none)


@app.command(epilog=o.examples("chiltepin endpoint start test"))
def start(context: typer.Context, name: NameArgument, config_dir: ConfigOption = None) -> None:
    """Start an endpoint and wait until it runs."""
    from reconciler import endpoint as single

    with orderly():
        single.start(name, config_dir=config_dir or context.obj)


@app.command(epilog=o.examples("chiltepin endpoint stop test"))
def stop(context: typer.Context, name: NameArgument, config_dir: ConfigOption = None) -> None:
    """Stop an endpoint on this node; its running tasks are lost."""
    from reconciler import endpoint as single

    with orderly():
        single.stop(name, config_dir=config_dir or context.obj)


@app.command(
    epilog=o.examples(
        """
        chiltepin endpoint delete test
        chiltepin endpoint delete test --deregister      its UUID never comes back
        """
    )
)
def delete(
    context: typer.Context,
    name: NameArgument,
    deregister: Annotated[
        bool, typer.Option("--deregister", help="Also end its registration at the service, for ever.")
    ] = False,
    config_dir: ConfigOption = None,
) -> None:
    """Move a stopped endpoint's directory to the trash."""
    from reconciler import endpoint as single

    with orderly():
        single.delete(name, config_dir=config_dir or context.obj, deregister=deregister)


@app.command(
    epilog=o.examples(
        """
        chiltepin endpoint undelete test
        chiltepin endpoint undelete test --entry ENTRY  of `endpoint list --deleted`
        """
    )
)
def undelete(
    context: typer.Context,
    name: NameArgument,
    entry: Annotated[
        str | None, typer.Option("--entry", metavar="ENTRY", help="Which entry of the trash, when there are several.")
    ] = None,
    config_dir: ConfigOption = None,
) -> None:
    """Bring back what was deleted by hand, stopped."""
    from reconciler import endpoint as single

    with orderly():
        single.undelete(name, config_dir=config_dir or context.obj, entry=entry)
