"""The Globus SDK's app: renewing tokens, logging in and out, with every error translated.

Slow to import, and used only when a token has to be had from Globus Auth.
"""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import field, replace
from typing import Any
from uuid import UUID

from globus_sdk import (
    AccessTokenAuthorizer,
    AuthAPIError,
    AuthClient,
    AuthLoginClient,
    ClientApp,
    ConfidentialAppAuthClient,
    GlobusAPIError,
    GlobusApp,
    GlobusAppConfig,
    GlobusError,
    NativeAppAuthClient,
    NetworkError,
    UserApp,
)
from globus_sdk.config import get_service_url
from globus_sdk.login_flows import CommandLineLoginFlowManager
from globus_sdk.token_storage import MemoryTokenStorage, SQLiteTokenStorage, TokenStorage, TokenValidationError
from globus_sdk.token_storage.validating_token_storage import IdentityMismatchError
from globus_sdk.transport import RequestsTransport

from reconciler.adapters.globus_client import make_transport, retry_config
from reconciler.adapters.translate import Clean, network_reason, refused, server_words, transient, unreachable
from reconciler.core.frozen import dataclass
from reconciler.errors import LoginRequired, ReconcilerError, UsageError

RETRIES = 3

Ask = Callable[[str], str]


@dataclass(frozen=True)
class Account:
    """Which client to act as, and where its tokens are kept.

    Attributes:
        store: path of the store's file; None keeps the tokens in memory.
        required: makes the error for a login that is missing or refused, from a sentence and a remedy.
    """

    client_id: str
    client_secret: str | None = field(repr=False)
    environment: str
    namespace: str
    store: str | None
    scopes: dict[str, list[str]]
    clean: Clean
    required: Callable[..., LoginRequired]


@contextmanager
def globus_app(account: Account, ask: Ask | None = None) -> Iterator[GlobusApp]:
    """Open the app; whatever it raises in the block leaves it as one of our errors.

    Args:
        account: whose app.
        ask: shows a URL to the user and returns the code; without it no login is ever started.
    """

    url = _auth_url(account)
    with _translated(account, url), _opened(account, url, ask) as app:
        yield app


def revoke_all(account: Account) -> None:
    """Revoke the tokens of the account's namespace, and remove each from the store once it is revoked."""
    url = _auth_url(account)
    with _translated(account, url), closing(_storage(account)) as storage, closing(make_transport(url)) as transport:
        client = _login_client(account, transport)
        for server, token in sorted(storage.get_token_data_by_resource_server().items()):
            client.oauth2_revoke_token(token.access_token)
            if token.refresh_token:
                client.oauth2_revoke_token(token.refresh_token)
            storage.remove_token_data(server)


def identity_of(account: Account, access_token: str) -> str:
    """Ask Globus Auth whose token this is (one request)."""
    url = _auth_url(account)
    with _translated(account, url), closing(make_transport(url)) as transport:
        client = AuthClient(
            authorizer=AccessTokenAuthorizer(access_token),
            environment=account.environment,
            transport=transport,
            retry_config=retry_config(RETRIES),
        )
        return str(UUID(client.userinfo()["sub"]))


def _auth_url(account: Account) -> str:
    try:
        return get_service_url("auth", account.environment)
    except ValueError as error:
        raise UsageError(
            "The address of Globus Auth is not known.",
            why=f"The environment {account.environment!r} has none of its own.",
            remedy="set GLOBUS_SDK_SERVICE_URL_AUTH (`chiltepin sandbox env` prints it)",
        ) from error


@contextmanager
def _opened(account: Account, url: str, ask: Ask | None) -> Iterator[GlobusApp]:
    with closing(_storage(account)) as storage, closing(make_transport(url)) as transport:
        # The default error handler starts an interactive login.
        config = GlobusAppConfig(
            token_storage=storage,
            request_refresh_tokens=True,
            token_validation_error_handler=None,
            environment=account.environment,
        )
        client = _login_client(account, transport)
        name = platform.node()
        try:
            if isinstance(client, ConfidentialAppAuthClient):
                app: GlobusApp = ClientApp(name, login_client=client, config=config, scope_requirements=account.scopes)
            else:
                config = replace(config, login_flow_manager=None if ask is None else _Flow(client, ask))
                app = UserApp(name, login_client=client, config=config, scope_requirements=account.scopes)
        except ValueError as error:
            raise account.required(
                "The token store holds logins of different identities, or is damaged.",
                "run `chiltepin logout`, then `chiltepin login`",
            ) from error
        with app:
            yield app


def _login_client(account: Account, transport: RequestsTransport) -> ConfidentialAppAuthClient | NativeAppAuthClient:
    options: dict[str, Any] = {
        "environment": account.environment,
        "transport": transport,
        "retry_config": retry_config(RETRIES),
    }
    if account.client_secret:
        return ConfidentialAppAuthClient(account.client_id, account.client_secret, **options)
    return NativeAppAuthClient(account.client_id, **options)


def _storage(account: Account) -> TokenStorage:

    if account.store is None:
        return MemoryTokenStorage(namespace=account.namespace)
    return SQLiteTokenStorage(account.store, namespace=account.namespace, connect_params={"timeout": 10.0})


class _Flow(CommandLineLoginFlowManager):
    """Shows the URL and reads the code through `ask`, because the SDK's own prints to stdout."""

    def __init__(self, client: AuthLoginClient, ask: Ask) -> None:
        name = f"chiltepin on {platform.node()}"[:100]
        super().__init__(client, request_refresh_tokens=True, native_prefill_named_grant=name)
        self._ask = ask
        self._url = ""

    def print_authorize_url(self, authorize_url: str) -> None:
        self._url = authorize_url

    def prompt_for_code(self) -> str:
        return self._ask(self._url).strip()


@contextmanager
def _translated(account: Account, url: str) -> Iterator[None]:

    try:
        yield
    except ReconcilerError:
        raise
    except AuthAPIError as error:
        raise _auth_refused(account, error, url) from error
    except GlobusAPIError as error:
        raise refused(error, url, account.clean) from error
    except NetworkError as error:
        raise unreachable(url, network_reason(error)) from error
    except TokenValidationError as error:
        raise _invalid(account, error) from error
    except sqlite3.Error as error:
        raise account.required(f"The token store cannot be used: {error}.") from error
    except (GlobusError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # The SDK takes replies apart without looking at them first.
        why = "It answered something that is not a token."
        raise unreachable(url, why, remedy="run the command again later") from error


def _auth_refused(account: Account, error: AuthAPIError, url: str) -> ReconcilerError:
    if transient(error.http_status) or error.http_status not in (400, 401, 403):
        return refused(error, url, account.clean)
    said = f"Globus Auth refused the login: {server_words(error, account.clean)}."
    if account.client_secret:
        return account.required(said, "check GLOBUS_COMPUTE_CLIENT_ID and GLOBUS_COMPUTE_CLIENT_SECRET")
    # A refresh token works for the client that it was issued to only, and the store does not say which.
    return account.required(said)


def _invalid(account: Account, error: Exception) -> LoginRequired:

    if isinstance(error, IdentityMismatchError):
        return account.required(
            f"This login is of identity {error.new_id}; the token store has one of {error.stored_id}.",
            "log in as that identity, or run `chiltepin logout` first",
        )
    return account.required("The login in the token store does not serve the Compute service and its daemons.")
