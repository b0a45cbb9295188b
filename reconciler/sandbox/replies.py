"""How the service says no, and how requests are read and callers recognised."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from reconciler.errors import ReconcilerError
from reconciler.sandbox.accounts import Accounts, Identity, Token
from reconciler.sandbox.codec import AmqpFault

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(Exception):
    """A request the service refuses, as HTTP status, code and reason."""

    def __init__(self, status: int, code: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.reason = reason

    def response(self, path: str) -> web.Response:
        """Render it in the shape of the service that `path` belongs to."""
        if path.startswith("/v2/oauth2/token") and self.status in (400, 401):
            return web.json_response({"error": self.code, "error_description": self.reason}, status=self.status)
        if path.startswith(("/v2/oauth2", "/v2/api")):
            error = {"code": self.code, "detail": self.reason, "title": self.code, "status": str(self.status)}
            return web.json_response({"errors": [{**error, "id": str(uuid.uuid4())}]}, status=self.status)
        body = {"status": "Failed", "code": self.code, "reason": self.reason, "error_args": []}
        return web.json_response({**body, "http_status_code": self.status}, status=self.status)


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals, and aiohttp's own 404 and 405, into the service's replies."""
    try:
        return await handler(request)
    except Refusal as e:
        return e.response(request.path)
    except (AmqpFault, ReconcilerError) as e:
        return Refusal(503, "SERVICE_UNAVAILABLE", f"The AMQP broker failed: {e}").response(request.path)
    except web.HTTPException as e:
        return Refusal(e.status, e.reason.upper().replace(" ", "_"), e.reason).response(request.path)


def authenticate(request: web.Request, accounts: Accounts, server: str | None = None) -> Token:
    """Return the caller's token.

    Raises:
        Refusal: 401 without a valid token, 403 if it is for another resource server.
    """
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    token = accounts.find(value.strip()) if scheme.lower() == "bearer" else None
    if token is None:
        raise Refusal(401, "UNAUTHORIZED", "Missing, invalid, expired or revoked token")
    if server is not None and token.resource_server != server:
        raise Refusal(403, "FORBIDDEN", f"The token has no scope of {server}")
    return token


def caller(request: web.Request, accounts: Accounts, server: str) -> Identity:
    """Return who calls; refusals as `authenticate`'s."""
    return authenticate(request, accounts, server).identity


async def read_object(request: web.Request) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Raises:
        Refusal: 400 if it is no JSON, 422 if it is no object.
    """
    try:
        value = json.loads(await request.read())
    except ValueError:
        raise Refusal(400, "BAD_REQUEST", "The request body is not valid JSON") from None
    if not isinstance(value, dict):
        raise Refusal(422, "UNPROCESSABLE_ENTITY", "The request body must be a JSON object")
    return value


def read_uuid(text: object, what: str) -> str:
    """Return a UUID in its usual form, or refuse with 422."""
    try:
        return str(uuid.UUID(text if isinstance(text, str) else ""))
    except ValueError:
        raise Refusal(422, "UNPROCESSABLE_ENTITY", f"{what} is not a UUID") from None


def check_fields(
    value: dict[str, Any], required: dict[str, type], optional: dict[str, type | tuple[type, ...]]
) -> None:
    """Refuse with 422 what lacks a required field or has one of the wrong type."""
    for name, kind in required.items():
        if name not in value:
            raise Refusal(422, "UNPROCESSABLE_ENTITY", f"{name}: field required")
        if not isinstance(value[name], kind):
            raise Refusal(422, "UNPROCESSABLE_ENTITY", f"{name}: wrong type")
    for name, kinds in optional.items():
        if value.get(name) is not None and not isinstance(value[name], kinds):
            raise Refusal(422, "UNPROCESSABLE_ENTITY", f"{name}: wrong type")
