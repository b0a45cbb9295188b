"""Routes of the sandbox itself, for its own commands and for tests: health, identities, counts, faults.

All but health need the admin token from the state directory in ``X-Sandbox-Admin``.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from reconciler.sandbox.accounts import Accounts
from reconciler.sandbox.registry import Registry
from reconciler.sandbox.replies import Handler, Refusal, check_fields, read_object

ADMIN_HEADER = "X-Sandbox-Admin"
_OWN_ROUTES = "/sandbox/"
_AUTH_ROUTES = "/v2/oauth2/"
_MOMENTS = 100_000


@dataclass
class Fault:
    """What to do to the next `times` requests that match: answer, delay, drop, truncate, or lose the reply."""

    method: str
    path: re.Pattern[str]
    times: int
    status: int | None
    delay: float
    drop: bool
    lost: bool
    truncate: bool
    body: str
    headers: dict[str, str]


class AdminApi:
    """Handlers and the two middlewares (counting, faults)."""

    def __init__(
        self, registry: Registry, accounts: Accounts, *, admin_token: str, about: dict[str, Any], faults: bool
    ) -> None:
        self._registry = registry
        self._accounts = accounts
        self._token = admin_token
        self._about = about
        self._requests: Counter[tuple[str, str]] = Counter()
        self._moments: deque[float] = deque(maxlen=_MOMENTS)
        self._faults: list[Fault] = []
        self._faults_allowed = faults

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/sandbox/health", self.health),
            web.post("/sandbox/identities", self.add_identity),
            web.get("/sandbox/requests", self.requests),
            web.delete("/sandbox/requests", self.reset_requests),
            web.post("/sandbox/faults", self.add_faults),
            web.delete("/sandbox/faults", self.reset_faults),
        ]

    def _check(self, request: web.Request) -> None:
        if not hmac.compare_digest(request.headers.get(ADMIN_HEADER, "").encode(), self._token.encode()):
            raise Refusal(401, "UNAUTHORIZED", "The sandbox's admin token is needed")

    async def health(self, _request: web.Request) -> web.Response:
        """Say that this is a sandbox, which one, and how much it holds."""
        counts = {"endpoints": self._registry.count_endpoints(), "online": self._registry.count_online(time.time())}
        return web.json_response({**self._about, "sandbox": True, **counts})

    async def add_identity(self, request: web.Request) -> web.Response:
        """Create a further client identity; its secret is told once."""
        self._check(request)
        document = await read_object(request)
        check_fields(document, {}, {"name": str})
        secret = secrets.token_urlsafe(32)
        identity = self._accounts.add(secret, name=document.get("name") or "Another sandbox identity")
        return web.json_response({"client_id": identity.id, "client_secret": secret, "username": identity.username})

    async def requests(self, request: web.Request) -> web.Response:
        """List how often each method and path was requested, the sandbox's own routes left out.

        With `?window=SECONDS` also the most requests to Compute that any window of that length has seen.
        """
        self._check(request)
        counts = [{"method": m, "path": p, "count": n} for (m, p), n in sorted(self._requests.items())]
        reply: dict[str, Any] = {"requests": counts, "total": sum(self._requests.values())}
        if "window" in request.query:
            reply["busiest"] = _busiest(self._moments, _seconds(request.query["window"]))
        return web.json_response(reply)

    async def reset_requests(self, request: web.Request) -> web.Response:
        """Start counting from zero."""
        self._check(request)
        self._requests.clear()
        self._moments.clear()
        return web.json_response({})

    async def add_faults(self, request: web.Request) -> web.Response:
        """Misbehave as told: ``{"rules": [{method, path, times, status|delay|drop|lost|truncate, body, headers}]}``."""
        self._check(request)
        if not self._faults_allowed:
            raise Refusal(403, "FORBIDDEN", "The sandbox was not started with --faults")
        document = await read_object(request)
        check_fields(document, {"rules": list}, {})
        self._faults += [_fault(rule) for rule in document["rules"]]
        return web.json_response({"rules": len(self._faults)})

    async def reset_faults(self, request: web.Request) -> web.Response:
        """Behave again."""
        self._check(request)
        self._faults.clear()
        return web.json_response({})

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a request by method and path."""
        if not request.path.startswith(_OWN_ROUTES):
            self._requests[request.method, request.path] += 1
            if not request.path.startswith(_AUTH_ROUTES):
                self._moments.append(time.monotonic())
        return await handler(request)

    @web.middleware
    async def misbehave(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Apply the first rule that matches."""
        fault = None if request.path.startswith(_OWN_ROUTES) else self._next_fault(request)
        if fault is None:
            return await handler(request)
        await asyncio.sleep(fault.delay)
        if fault.drop:
            _hang_up(request)
            raise asyncio.CancelledError
        if fault.status is not None:
            headers = {"Content-Type": "application/json", **fault.headers}
            return web.Response(status=fault.status, body=fault.body.encode(), headers=headers)
        response = await handler(request)
        if fault.lost:
            _hang_up(request)
            raise asyncio.CancelledError
        if fault.truncate:
            return await _truncated(request, response)
        return response

    def _next_fault(self, request: web.Request) -> Fault | None:
        for fault in self._faults:
            if fault.times and fault.method in ("*", request.method) and fault.path.search(request.path):
                fault.times -= 1
                return fault
        return None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Refusal(422, "UNPROCESSABLE_ENTITY", "window: not a number of seconds") from None


def _busiest(moments: Iterable[float], window: float) -> int:
    """Return the largest number of moments that lie within `window` seconds."""
    most, recent = 0, deque[float]()
    for moment in moments:
        recent.append(moment)
        while recent[0] <= moment - window:
            recent.popleft()
        most = max(most, len(recent))
    return most


def _fault(rule: Any) -> Fault:
    if not isinstance(rule, dict):
        raise Refusal(422, "UNPROCESSABLE_ENTITY", "a rule must be an object")
    optional: dict[str, type | tuple[type, ...]] = {
        "method": str,
        "times": int,
        "status": int,
        "delay": (int, float),
        "drop": bool,
        "lost": bool,
        "truncate": bool,
        "body": str,
        "headers": dict,
    }
    check_fields(rule, {"path": str}, optional)
    try:
        path = re.compile(rule["path"])
    except re.error as e:
        raise Refusal(422, "UNPROCESSABLE_ENTITY", f"path: {e}") from None
    return Fault(
        method=rule.get("method", "*").upper(),
        path=path,
        times=rule.get("times", 1),
        status=rule.get("status"),
        delay=rule.get("delay", 0),
        drop=rule.get("drop", False),
        lost=rule.get("lost", False),
        truncate=rule.get("truncate", False),
        body=rule.get("body", ""),
        headers=rule.get("headers", {}),
    )


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _truncated(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Announce the whole reply, send half of it, hang up."""
    body = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else b""
    half = web.StreamResponse(status=response.status, headers={"Content-Length": str(len(body))})
    half.content_type = response.content_type
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    _hang_up(request)
    return half
