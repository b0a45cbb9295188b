"""Chiltepin's Globus apps: for Compute, for Transfer, and for the Academy exchange where that is installed.

One login serves Chiltepin's workflows, data transfers and agents; each app has its own token store, as Chiltepin makes
them. Slow to import.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from globus_compute_sdk.sdk.auth.auth_client import ComputeAuthClient
from globus_compute_sdk.sdk.auth.globus_app import get_globus_app
from globus_sdk import AuthAPIError, ClientApp, GlobusApp, GlobusError, GlobusSDKUsageError, NetworkError, UserApp

from reconciler.adapters.auth import CLIENT_ID, settings
from reconciler.adapters.translate import network_reason, server_words, transient, unreachable
from reconciler.errors import LoginRequired

_NAME = "chiltepin"


def apps() -> tuple[GlobusApp, GlobusApp, GlobusApp | None]:
    """Return the apps of the client that the environment names, else of Chiltepin's own.

    Sets the environment variables from which globus_compute_sdk, the Globus CLI and Academy choose their client, as
    Chiltepin does: what a script does after its login acts as the same client.

    Raises:
        LoginRequired: there is a client secret without its client.
    """
    chosen = settings()
    os.environ[CLIENT_ID] = chosen.client_id
    if chosen.client_secret:
        for prefix in ("GLOBUS_CLI", "ACADEMY_GLOBUS"):
            os.environ[f"{prefix}_CLIENT_ID"] = chosen.client_id
            os.environ[f"{prefix}_CLIENT_SECRET"] = chosen.client_secret
    with translated():
        compute: GlobusApp = get_globus_app()
        scopes = {ComputeAuthClient.scopes.resource_server: ComputeAuthClient.default_scope_requirements}
        compute.add_scope_requirements(scopes)
        transfer: GlobusApp = (
            ClientApp(_NAME, client_id=chosen.client_id, client_secret=chosen.client_secret)
            if chosen.client_secret
            else UserApp(_NAME, client_id=chosen.client_id)
        )
        return compute, transfer, _academy()


def _academy() -> GlobusApp | None:
    try:
        from academy.exchange.cloud.login import get_globus_app as academy_app  # noqa: PLC0415  # may not be installed
        from academy.exchange.cloud.scopes import AcademyExchangeScopes  # noqa: PLC0415
    except ImportError:
        return None
    app: GlobusApp = academy_app()
    app.add_scope_requirements({AcademyExchangeScopes.resource_server: [AcademyExchangeScopes.academy_exchange]})
    return app


@contextmanager
def translated() -> Iterator[None]:
    """Raise the Globus SDK's errors as ours.

    Raises:
        LoginRequired: Globus Auth refused the login.
        ServiceUnreachable: it could not be asked.
    """
    remedy = "run `chiltepin login --force`, or check GLOBUS_COMPUTE_CLIENT_ID and _SECRET"
    try:
        yield
    except NetworkError as e:
        raise unreachable("Globus Auth", network_reason(e)) from e
    except AuthAPIError as e:
        said = server_words(e, _clean)
        if transient(e.http_status):
            raise unreachable("Globus Auth", f"It answered {e.http_status}: {said}") from e
        raise LoginRequired("Globus Auth refused the login.", why=said, remedy=remedy) from e
    except (GlobusError, GlobusSDKUsageError) as e:
        raise LoginRequired("The Globus login cannot be used.", why=str(e), remedy=remedy) from e
    except (ValueError, TypeError, LookupError) as e:
        # The SDK takes replies apart without looking at them first.
        raise unreachable("Globus Auth", "It answered something that is not a token.") from e


def _clean(text: str) -> str:
    """Return the text without the client secret, should a server have quoted it."""
    secret = settings().client_secret
    return text.replace(secret, "[secret]") if secret else text
