"""`chiltepin login`, `logout` and `whoami`: the one login that the reconciler, the daemons and upstream share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import options as o

if TYPE_CHECKING:
    from reconciler.adapters.auth import Login

LOGIN_EPILOG = o.examples(
    """
    chiltepin login
    chiltepin login --force      as another identity, or with a fresh session
    """
)
LOGOUT_EPILOG = o.examples(
    """
    chiltepin logout
    """
)
WHOAMI_EPILOG = o.examples(
    """
    chiltepin whoami
    chiltepin whoami --format json
    """
)

ConfigDirOption = Annotated[
    Path | None,
    typer.Option(
        "--config-dir",
        "--config",
        "-c",
        metavar="DIR",
        help="The Globus Compute config directory [default: $GLOBUS_COMPUTE_USER_DIR, ~/.globus_compute].",
    ),
]


def login(
    config_dir: ConfigDirOption = None,
    force: Annotated[bool, typer.Option("--force", help="Log in again, also when there is a login.")] = False,
) -> None:
    """Log in to Globus Compute. With $GLOBUS_COMPUTE_CLIENT_ID and _SECRET as that client, else as yourself."""
    from reconciler.cli.console import Console

    account = _login(config_dir)
    new = account.log_in(_ask, force=force)
    who = account.identity()
    Console().say(
        f"{'Logged in' if new else 'Already logged in'} at {who.service} as {who.id or 'an unknown identity'} "
        f"(client {who.client_id}); tokens are in {account.store.path}."
    )


def logout(config_dir: ConfigDirOption = None) -> None:
    """Revoke the login's tokens and remove them from the token store."""
    from reconciler.cli.console import Console

    account = _login(config_dir)
    if account.log_out():
        Console().say(
            f"Logged out: the tokens in {account.store.path} are revoked. "
            "Daemons that still run had them too, and cannot renew theirs."
        )
    else:
        Console().say(f"Nobody was logged in: {account.store.path} has no login of {account.settings.who}.")


def whoami(
    config_dir: ConfigDirOption = None,
    output: o.FormatOption = "text",
) -> None:
    """Say who is logged in, by which client, at which service. Exits 77 when nobody is."""
    from reconciler.cli.console import Console, check_format

    check_format(output)
    account = _login(config_dir)
    who = account.ask_identity()
    account.access_token()
    document = {
        "service": who.service,
        "identity": who.id,
        "client_id": who.client_id,
        "login": "client" if account.settings.client_secret else "user",
        "token_store": str(account.store.path),
    }
    if output == "json":
        from reconciler.core.output_models import WhoamiOutput
        from reconciler.core.outputs import to_json

        Console().result(to_json(WhoamiOutput.model_validate(document)))
        return
    for name, value in document.items():
        Console().result(f"{name.replace('_', ' '):12} {value or 'unknown'}")


def _login(config_dir: Path | None) -> Login:
    from reconciler.adapters.auth import Login
    from reconciler.paths import config_directory

    return Login(str(config_directory(config_dir)))


def _ask(url: str) -> str:
    """Show the URL and read the code that the user gets there, from any browser on any machine."""
    from reconciler.cli.console import prompt
    from reconciler.errors import LoginRequired

    prompt(f"Open this address in a browser, on any machine, and log in:\n\n{url}\n\n")
    prompt("Then paste the authorization code here: ")
    try:
        return input().strip()
    except EOFError as error:
        raise LoginRequired(
            "No authorization code was given.",
            why="The input ended.",
            remedy="run `chiltepin login` in a terminal, or set GLOBUS_COMPUTE_CLIENT_ID and _SECRET of a client",
        ) from error
