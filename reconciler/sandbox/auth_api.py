"""The Globus Auth routes: tokens, userinfo, introspection, revocation, identities."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from aiohttp import web

from reconciler.sandbox.accounts import AUTH_SERVER, Accounts, Identity, resource_server, split_scopes
from reconciler.sandbox.replies import Refusal, authenticate


class AuthApi:
    """Handlers; `routes` lists them."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/v2/oauth2/token", self.token),
            web.post("/v2/oauth2/token/introspect", self.introspect),
            web.post("/v2/oauth2/token/revoke", self.revoke),
            web.post("/v2/oauth2/token/validate", self.introspect),
            web.route("*", "/v2/oauth2/userinfo", self.userinfo),
            web.get("/v2/api/identities", self.identities),
            web.get("/v2/api/identities/{identity}/consents", self.consents),
        ]

    async def token(self, request: web.Request) -> web.Response:
        """Grant client_credentials or refresh_token."""
        form = dict(await request.post())
        client = self._client(request, form)
        grant = form.get("grant_type")
        if grant == "client_credentials":
            return web.json_response(self._grant(client, str(form.get("scope") or "")))
        if grant == "refresh_token":
            return web.json_response(self._refresh(client, str(form.get("refresh_token") or "")))
        raise Refusal(400, "unsupported_grant_type", "The sandbox grants client_credentials and refresh_token")

    def _client(self, request: web.Request, form: dict[str, Any]) -> Identity:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        name, secret = str(form.get("client_id") or ""), str(form.get("client_secret") or "")
        if scheme.lower() == "basic":
            try:
                name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise Refusal(400, "invalid_request", "Malformed Authorization header") from None
        identity = self._accounts.check_secret(name, secret)
        if identity is None:
            raise Refusal(401, "invalid_client", "Unknown client or wrong secret")
        return identity

    def _grant(self, client: Identity, scope: str) -> dict[str, Any]:
        scopes = split_scopes(scope)
        refreshable = "offline_access" in scopes
        by_server: dict[str, list[str]] = {}
        for item in scopes:
            if item != "offline_access":
                by_server.setdefault(resource_server(item), []).append(item)
        if not by_server:
            raise Refusal(400, "invalid_scope", "No scope was asked for")
        replies = [self._reply(client, s, server, refreshable=refreshable) for server, s in by_server.items()]
        return {**replies[0], "other_tokens": replies[1:]}

    def _refresh(self, client: Identity, token: str) -> dict[str, Any]:
        known = self._accounts.find(token, kind="refresh")
        if known is None or known.identity != client:
            raise Refusal(400, "invalid_grant", "The refresh token is invalid, expired or revoked")
        reply = self._reply(client, known.scope.split(), known.resource_server, refreshable=False)
        return {**reply, "refresh_token": token, "other_tokens": []}

    def _reply(self, client: Identity, scopes: list[str], server: str, *, refreshable: bool) -> dict[str, Any]:
        access, seconds = self._accounts.issue(client, scopes, server)
        reply: dict[str, Any] = {
            "access_token": access,
            "scope": " ".join(scopes),
            "expires_in": seconds,
            "token_type": "Bearer",
            "resource_server": server,
        }
        if refreshable:
            reply["refresh_token"] = self._accounts.issue(client, scopes, server, kind="refresh")[0]
        return reply

    async def introspect(self, request: web.Request) -> web.Response:
        """Say what a token is; an invalid one is only "not active"."""
        form = dict(await request.post())
        self._client(request, form)
        token = self._accounts.find(str(form.get("token") or ""))
        if token is None:
            return web.json_response({"active": False})
        reply = {
            "active": True,
            "scope": token.scope,
            "client_id": token.identity.id,
            "sub": token.identity.id,
            "username": token.identity.username,
            "name": token.identity.name,
            "email": token.identity.email,
            "iat": token.issued,
            "nbf": token.issued,
            "exp": token.expires,
            "iss": "https://auth.globus.org",
            "aud": [token.resource_server],
            "identity_set": [token.identity.id],
        }
        return web.json_response(reply)

    async def revoke(self, request: web.Request) -> web.Response:
        """Revoke a token of the client."""
        form = dict(await request.post())
        client = self._client(request, form)
        self._accounts.revoke(str(form.get("token") or ""), client)
        return web.json_response({"active": False})

    async def userinfo(self, request: web.Request) -> web.Response:
        """Say who the caller is; endpoints honour start requests from this identity set only."""
        who = authenticate(request, self._accounts, AUTH_SERVER).identity
        described = {"sub": who.id, "name": who.name, "email": who.email, "organization": "Chiltepin sandbox"}
        linked = {**described, "username": who.username, "identity_provider_display_name": "Chiltepin sandbox"}
        return web.json_response({**described, "preferred_username": who.username, "identity_set": [linked]})

    async def identities(self, request: web.Request) -> web.Response:
        """Look identities up by ids or usernames; unknown ones are left out, as the service does."""
        authenticate(request, self._accounts, AUTH_SERVER)
        wanted = request.query.get("ids") or request.query.get("usernames")
        if not wanted:
            raise Refusal(400, "BAD_REQUEST", "ids or usernames is required")
        found = [self._accounts.get(item.strip()) for item in wanted.split(",")]
        described = [
            {"id": i.id, "username": i.username, "name": i.name, "email": i.email, "status": "used"} for i in found if i
        ]
        return web.json_response({"identities": described})

    async def consents(self, request: web.Request) -> web.Response:
        """Client identities consent to everything they ask for, so there is nothing to list."""
        authenticate(request, self._accounts, AUTH_SERVER)
        return web.json_response({"consents": []})
