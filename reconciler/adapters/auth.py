"""The login: which client and identity we are, and tokens that are valid, without asking anybody.

One login serves the reconciler, the daemons and upstream's `chiltepin`: the same client (Chiltepin's
own, unless GLOBUS_COMPUTE_CLIENT_ID names another), the same store, the same namespace in it. A token
that is in the store and valid is used without importing the SDK's app machinery; only a missing,
expired or refused one is renewed, by refresh token or client secret, and only `login` talks to a user.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Set
from contextlib import AbstractContextManager
from dataclasses import field, replace
from typing import TYPE_CHECKING

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.tokens import Token, TokenStore, default_directories, login_command, parse
from reconciler.core.frozen import dataclass
from reconciler.core.live import Identity
from reconciler.core.names import usual_form
from reconciler.errors import LoginRequired, ServiceRefused, ServiceUnreachable, UsageError
from reconciler.ports import Clock

if TYPE_CHECKING:
    from globus_sdk import GlobusApp

    from reconciler.adapters.globus_app import Account

log = logging.getLogger(__name__)

CLIENT_ID = "GLOBUS_COMPUTE_CLIENT_ID"
CLIENT_SECRET = "GLOBUS_COMPUTE_CLIENT_SECRET"  # noqa: S105 - the variable's name
ENVIRONMENT = "GLOBUS_SDK_ENVIRONMENT"

# Chiltepin's registered native client.
CHILTEPIN_CLIENT = "7d8b6bed-4a3d-4bf7-93c5-9fc58569e4e5"

COMPUTE = "funcx_service"
AUTH = "auth.globus.org"
# What a daemon wants to find in the store; with less it logs in by itself, and several at once race.
SCOPES: Mapping[str, frozenset[str]] = {
    COMPUTE: frozenset({"https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"}),
    AUTH: frozenset({"openid", "urn:globus:auth:scope:auth.globus.org:manage_projects"}),
}

# Seconds that a token must still be valid: the SDK renews within the last minute, and a daemon that is
# started with one must not be the next to renew it.
SPARE = 60.0
SPARE_FOR_DAEMONS = 600.0

# The Compute service of each SDK environment; globus_sdk itself does not know `local`.
URLS: Mapping[str, str] = {
    "production": "https://compute.api.globus.org",
    "preview": "https://compute.api.preview.globus.org",
    # The SDK says localhost; where that is ::1 first, something else may listen there.
    "local": "http://127.0.0.1:5000",
    **{name: f"https://compute.api.{name}.globuscs.info" for name in ("sandbox", "test", "integration", "staging")},
}


@dataclass(frozen=True)
class Settings:
    """The client and the service, as the environment variables select them.

    Attributes:
        client_id: the OAuth client.
        client_secret: its secret; without one, a user logs in.
        environment: the SDK's environment, "production" or "local" or one of Globus's own.
        local_url: where the sandbox is, unless at the SDK's address.
    """

    client_id: str
    client_secret: str | None = field(repr=False)
    environment: str
    local_url: str | None = None

    @property
    def namespace(self) -> str:
        """Our name in the token store; must be the one that globus_compute_sdk computes."""
        if self.client_secret:
            return f"clientprofile/{self.environment}/{self.client_id}"
        return f"user/{self.environment}"

    @property
    def who(self) -> str:
        """Whose login it is, in words."""
        if self.client_secret:
            return f"the client {self.client_id} at service {self.service}"
        return f"a user, by client {self.client_id}, at service {self.service}"

    @property
    def service(self) -> str:
        """The service's name in claims; ours on this machine is "sandbox", Globus's own of that name is not."""
        return {"local": "sandbox", "sandbox": "globus-sandbox"}.get(self.environment, self.environment)

    @property
    def url(self) -> str:
        """The Compute service's base URL."""
        # Elsewhere the daemons' SDK ignores GLOBUS_SDK_SERVICE_URL_COMPUTE, so we must, too.
        return self.local_url if self.local_url and self.environment == "local" else URLS[self.environment]


def settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        LoginRequired: a client secret without its client.
        UsageError: the SDK environment is not one that the SDK knows.
    """
    client_id, secret = environ.get(CLIENT_ID), environ.get(CLIENT_SECRET)
    if secret and not client_id:
        raise LoginRequired(
            f"${CLIENT_SECRET} is set, but ${CLIENT_ID} is not.",
            remedy=f"set both to log in as a client, or unset {CLIENT_SECRET} to log in as a user",
        )
    environment = environ.get(ENVIRONMENT, "production")
    if environment not in URLS:
        raise UsageError(
            f"${ENVIRONMENT} names no Globus environment: {environment!r}.",
            why=f"Known are {', '.join(sorted(URLS))}.",
            remedy=f"unset {ENVIRONMENT} for the production service",
        )
    return Settings(
        client_id or CHILTEPIN_CLIENT, secret or None, environment, environ.get("GLOBUS_SDK_SERVICE_URL_COMPUTE")
    )


def client_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that make a daemon use this login and service (the client secret among them)."""
    chosen = settings(environ)
    variables = {CLIENT_ID: chosen.client_id}
    if chosen.client_secret:
        variables[CLIENT_SECRET] = chosen.client_secret
    if chosen.environment != "production":
        variables[ENVIRONMENT] = chosen.environment
    variables.update({name: value for name, value in environ.items() if name.startswith("GLOBUS_SDK_SERVICE_URL_")})
    return variables


class Login:
    """Tokens for one config directory; safe to use from several threads.

    Args:
        config_dir: the Globus Compute config directory.
        clock: tells when tokens expire.
        environ: the environment variables.
    """

    def __init__(self, config_dir: str, *, clock: Clock | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self.settings = settings(environ)
        self.store = TokenStore(config_dir, self.settings.namespace, default_directories(environ))
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._tokens: dict[str, Token] = {}
        self._renewed = False

    def __repr__(self) -> str:
        return f"Login({self.settings.namespace!r}, store={str(self.store.own)!r})"

    def identity(self) -> Identity:
        """Return who we are; a client's own identity has the client's UUID, a user's is in the store.

        Raises:
            LoginRequired: no user has logged in.
        """
        if self.settings.client_secret:
            return Identity(self.settings.service, usual_form(self.settings.client_id), self.settings.client_id)
        tokens = self.store.read()
        if COMPUTE not in tokens:
            raise self._required("Nobody is logged in.")
        known = sorted({usual_form(token.identity_id) for token in tokens.values() if token.identity_id})
        if len(known) > 1:
            raise self._required(
                "The token store holds logins of different identities.",
                "run `chiltepin logout`, then `chiltepin login`",
            )
        return Identity(self.settings.service, known[0] if known else None, self.settings.client_id)

    def ask_identity(self) -> Identity:
        """Return who we are, and ask Globus Auth where the store does not say it.

        Logins that others made may lack it. When it cannot be had the identity is None: nobody's, not anybody's.

        Raises:
            LoginRequired: no user has logged in.
        """
        who = self.identity()
        if who.id is not None:
            return who
        from reconciler.adapters.globus_app import identity_of  # noqa: PLC0415  # slow

        try:
            with self._lock:
                token = self.store.read().get(AUTH)
                if token is None or not self._good(AUTH, token, SPARE):
                    self._renew({AUTH})
                    token = self._tokens.get(AUTH)
            return who if token is None else replace(who, id=identity_of(self._account(), token.access_token))
        except (LoginRequired, ServiceUnreachable, ServiceRefused):
            return who

    def access_token(self, *, refused: str | None = None) -> str:
        """Return a valid access token for the Compute service, renewed when need be.

        Args:
            refused: a token that the service did not accept; it is not returned again.

        Raises:
            LoginRequired: there is none, and none can be had without a user.
            ServiceUnreachable: Globus Auth could not be asked for a new one.
        """
        with self._lock:
            token = self._tokens.get(COMPUTE)
            if token is None or not self._good(COMPUTE, token, SPARE) or token.access_token == refused:
                # Daemons share the store, and may have renewed it meanwhile.
                self._tokens = self.store.read()
                token = self._tokens.get(COMPUTE)
            if token is None or not self._good(COMPUTE, token, SPARE) or token.access_token == refused:
                self._renew({COMPUTE})
                token = self._tokens[COMPUTE]
            return token.access_token

    def prepare(self) -> None:
        """Put into the store all that a daemon needs, valid for long enough to start many.

        Raises:
            LoginRequired: a user has to log in first.
            ServiceUnreachable: Globus Auth could not be asked.
            FileSystemError: the store could not be made.
        """
        with self._lock:
            self.store.prepare()
            self._tokens = self.store.read()
            stale = {server for server in SCOPES if not self._fit_for_daemons(server)}
            if stale:
                self._renew(stale)
                if still := [server for server in stale if not self._fit_for_daemons(server)]:
                    raise self._required(f"Globus Auth issued no lasting token for {' and '.join(sorted(still))}.")

    def check_secret(self) -> None:
        """Have Globus Auth accept the client secret: a token in the store may come from another one.

        Asks once; nothing is asked of a user's login, which has no secret.

        Raises:
            LoginRequired: Globus Auth refuses it.
            ServiceUnreachable: Globus Auth could not be asked.
        """
        with self._lock:
            if self.settings.client_secret and not self._renewed:
                self._renew(SCOPES.keys())

    def log_in(self, ask: Callable[[str], str], *, force: bool = False) -> bool:
        """Log in unless that is done already; return whether it had to be.

        Args:
            ask: shows the URL to the user and returns the code that the user got there.
            force: log in again in any case.
        """
        if not force:
            try:
                self.prepare()
            except LoginRequired:
                if self.settings.client_secret:
                    raise
            else:
                return False
        with self._lock:
            self.store.prepare()
            with self._app(ask) as app:
                app.login(force=True)
            self._tokens = self.store.read()
        return True

    def log_out(self) -> bool:
        """Revoke our namespace's tokens and remove them from the store; return whether there were any."""
        with self._lock:
            if not self.store.read():
                return False
            from reconciler.adapters.globus_app import revoke_all  # noqa: PLC0415  # slow

            revoke_all(self._account())
            self._tokens = {}
            return True

    def clean(self, text: str) -> str:
        """Return the text without our secrets, should a server have quoted one."""
        secrets = {token.access_token for token in self._tokens.values()} | {self.settings.client_secret or ""}
        for secret in secrets - {""}:
            text = text.replace(secret, "[secret]")
        return text

    def _good(self, server: str, token: Token, spare: float) -> bool:
        return SCOPES[server] <= token.scopes and self._clock.now() + spare < token.expires_at

    def _fit_for_daemons(self, server: str) -> bool:
        token = self._tokens.get(server)
        if token is None or not self._good(server, token, SPARE_FOR_DAEMONS):
            return False
        return token.renewable or self.settings.client_secret is not None

    def _renew(self, servers: Set[str]) -> None:
        """Get new tokens and keep them, in the store if there is one; the caller holds the lock."""
        if not self.settings.client_secret and not self.store.exists():
            raise self._required("Nobody is logged in.")
        begun = self._clock.monotonic()
        with self._app() as app:
            if self.settings.client_secret:
                app.login(force=True)  # one request for all scopes, so daemons find theirs too
            else:
                for server in sorted(servers):
                    authorizer = app.get_authorizer(server)
                    authorizer.handle_missing_authorization()  # drops the access token that it holds
                    authorizer.get_authorization_header()  # fetches and stores the next
            # Without a store, a client's tokens live as long as the app does, and here.
            held = {} if self.store.exists() else app.token_storage.get_token_data_by_resource_server()
        tokens = {server: parse(data.to_dict()) for server, data in held.items()}
        self._tokens = {server: token for server, token in tokens.items() if token is not None} or self.store.read()
        self._renewed = True
        log.info("new tokens for %s: %.2f s", self.settings.who, self._clock.monotonic() - begun)
        if COMPUTE not in self._tokens:
            raise self._required("Globus Auth issued no token for the Compute service.")

    def _app(self, ask: Callable[[str], str] | None = None) -> AbstractContextManager[GlobusApp]:
        from reconciler.adapters.globus_app import globus_app  # noqa: PLC0415  # slow

        return globus_app(self._account(), ask)

    def _account(self) -> Account:
        from reconciler.adapters.globus_app import Account  # noqa: PLC0415  # slow

        return Account(
            client_id=self.settings.client_id,
            client_secret=self.settings.client_secret,
            environment=self.settings.environment,
            namespace=self.settings.namespace,
            store=str(self.store.path) if self.store.exists() else None,
            scopes={server: sorted(scopes) for server, scopes in SCOPES.items()},
            clean=self.clean,
            required=self._required,
        )

    def _required(self, what: str, remedy: str | None = None) -> LoginRequired:
        why = f"What is needed is the login of {self.settings.who}."
        remedy = remedy or f"run {login_command(self.store.own)}"
        return LoginRequired(what, where=str(self.store.path), why=why, remedy=remedy)
