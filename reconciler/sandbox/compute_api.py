"""The Globus Compute routes for endpoints: version, register, update, get, list, status, lock, delete."""

from __future__ import annotations

import re
import time
import uuid
from datetime import datetime, timezone
from typing import Any

from aiohttp import web

from reconciler.sandbox.accounts import COMPUTE_SERVER, Accounts, Identity
from reconciler.sandbox.dispatch import Dispatcher
from reconciler.sandbox.registry import EndpointRow, Registry
from reconciler.sandbox.replies import Refusal, caller, check_fields, read_object, read_uuid

API_VERSION = "1.38.0"
LOCK_SECONDS = 60.0

_VERSIONS = {
    "api": API_VERSION,
    "min_sdk_version": "2.0.0",
    "min_ep_version": "2.0.0",
    "min_endpoint_version": "2.0.0",
    "git_sha": "sandbox",
}
_NAME = re.compile(r"[^\s./\\'\"][^\s/\\'\"]{0,127}")
_REQUIRED: dict[str, type] = {"endpoint_name": str, "metadata": dict}
_OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "display_name": str,
    "multi_user": bool,
    "high_assurance": bool,
    "public": bool,
    "allowed_functions": list,
    "authentication_policy": str,
    "subscription_uuid": str,
    "admins": list,
}
# Fields of a registration's metadata that `GET /v2/endpoints/ID` repeats.
_METADATA = (
    "endpoint_config",
    "user_config_template",
    "user_config_schema",
    "description",
    "hostname",
    "local_user",
    "ip_address",
    "endpoint_version",
    "sdk_version",
    "python_version",
)


class EndpointApi:
    """Handlers; `routes` lists them."""

    def __init__(self, registry: Registry, accounts: Accounts, dispatcher: Dispatcher) -> None:
        self._registry = registry
        self._accounts = accounts
        self._dispatcher = dispatcher

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        one = "/v2/endpoints/{endpoint}"
        return [
            web.get("/v2/version", self.version),
            web.get("/v2/endpoints", self.list),
            web.post("/v2/endpoints", self.register),
            web.get(one, self.get),
            web.get(f"{one}/status", self.status),
            web.delete(one, self.delete),
            web.post(f"{one}/lock", self.lock),
            web.post("/v3/endpoints", self.register),
            web.put("/v3/endpoints/{endpoint}", self.update),
            web.post("/v3/endpoints/{endpoint}/lock", self.lock),
            web.get("/v3/endpoints/{endpoint}/allowed_functions", self.allowed_functions),
        ]

    async def version(self, request: web.Request) -> web.Response:
        """Say which versions the service accepts; no login needed."""
        wanted = request.query.get("service")
        return web.json_response(_VERSIONS if wanted == "all" else API_VERSION)

    async def list(self, request: web.Request) -> web.Response:
        """List the caller's endpoints, with ``role=any`` also public ones."""
        who = caller(request, self._accounts, COMPUTE_SERVER)
        role = request.query.get("role", "owner")
        if role not in ("owner", "any"):
            raise Refusal(422, "UNPROCESSABLE_ENTITY", "role must be owner or any")
        body = self._registry.listing(who.id) if role == "owner" else self._registry.public_listing(who.id)
        return web.Response(body=body, content_type="application/json")

    async def register(self, request: web.Request) -> web.Response:
        """Register a new endpoint."""
        who = caller(request, self._accounts, COMPUTE_SERVER)
        document = _check_registration(await read_object(request))
        if document.get("endpoint_uuid"):
            return await self._update(who, read_uuid(document["endpoint_uuid"], "endpoint_uuid"), document)
        return await self._save(who, str(uuid.uuid4()), document)

    async def update(self, request: web.Request) -> web.Response:
        """Register a known endpoint again; only its owner may, and not while it is locked."""
        who = caller(request, self._accounts, COMPUTE_SERVER)
        endpoint = read_uuid(request.match_info["endpoint"], "endpoint UUID")
        return await self._update(who, endpoint, _check_registration(await read_object(request)))

    async def _update(self, who: Identity, endpoint: str, document: dict[str, Any]) -> web.Response:
        row = self._owned(who, endpoint)
        if row.locked_until > time.time():
            until = _timestamp(row.locked_until)
            raise Refusal(423, "ENDPOINT_LOCKED", f"Endpoint {endpoint} is locked until {until}; try again later")
        # What the client leaves out stays as it was: the real client cannot send a removal either.
        return await self._save(who, endpoint, {**row.document, **document})

    async def _save(self, who: Identity, endpoint: str, document: dict[str, Any]) -> web.Response:
        reply = await self._dispatcher.registered(endpoint)
        self._registry.save_endpoint(endpoint, owner=who.id, name=document["endpoint_name"], document=document)
        return web.json_response(reply)

    def _known(self, endpoint: str) -> EndpointRow:
        row = self._registry.endpoint(endpoint)
        if row is None or row.deleted:
            raise Refusal(404, "ENDPOINT_NOT_FOUND", f"Endpoint {endpoint} could not be resolved")
        return row

    def _owned(self, who: Identity, endpoint: str) -> EndpointRow:
        row = self._known(endpoint)
        if row.owner != who.id:
            raise Refusal(403, "FORBIDDEN", f"Unauthorized access to endpoint {endpoint}")
        return row

    def _visible(self, request: web.Request) -> EndpointRow:
        who = caller(request, self._accounts, COMPUTE_SERVER)
        row = self._known(read_uuid(request.match_info["endpoint"], "endpoint UUID"))
        return row if row.public else self._owned(who, row.uuid)

    async def get(self, request: web.Request) -> web.Response:
        """Describe an endpoint; policy, admins and owner are not told, as by the real service."""
        row = self._visible(request)
        document, metadata = row.document, row.document.get("metadata") or {}
        reply = {
            "uuid": row.uuid,
            "name": row.name,
            "display_name": row.display_name,
            "multi_user": bool(document.get("multi_user")),
            "high_assurance": bool(document.get("high_assurance")),
            "public": row.public,
            **{key: metadata[key] for key in _METADATA if metadata.get(key) is not None},
        }
        if document.get("subscription_uuid"):
            reply["subscription_uuid"] = document["subscription_uuid"]
        return web.json_response(reply)

    async def status(self, request: web.Request) -> web.Response:
        """Say whether an endpoint is online, with the content of its last heartbeat."""
        row = self._visible(request)
        online = row.online(time.time())
        return web.json_response({"status": "online" if online else "offline", "details": row.report})

    async def lock(self, request: web.Request) -> web.Response:
        """Refuse registration for a while and drop the connections: how ``stop --remote`` works."""
        row = self._owned(
            caller(request, self._accounts, COMPUTE_SERVER), read_uuid(request.match_info["endpoint"], "endpoint UUID")
        )
        until = time.time() + LOCK_SECONDS
        self._registry.lock_endpoint(row, until)
        await self._dispatcher.cut_off(row)
        return web.json_response({"endpoint_id": row.uuid, "lock_expiration_timestamp": _timestamp(until)})

    async def delete(self, request: web.Request) -> web.Response:
        """Delete an endpoint, for good."""
        row = self._owned(
            caller(request, self._accounts, COMPUTE_SERVER), read_uuid(request.match_info["endpoint"], "endpoint UUID")
        )
        await self._dispatcher.forget(row)
        self._registry.delete_endpoint(row)
        return web.json_response({"result": 302})

    async def allowed_functions(self, request: web.Request) -> web.Response:
        """List the functions that an endpoint is restricted to."""
        row = self._visible(request)
        functions = row.document.get("allowed_functions") or []
        return web.json_response({"endpoint_id": row.uuid, "restricted": bool(functions), "functions": functions})


def _check_registration(document: dict[str, Any]) -> dict[str, Any]:
    check_fields(document, _REQUIRED, _OPTIONAL)
    if not _NAME.fullmatch(document["endpoint_name"]):
        raise Refusal(422, "UNPROCESSABLE_ENTITY", "endpoint_name: not a valid endpoint name")
    for field in ("authentication_policy", "subscription_uuid"):
        if document.get(field) is not None:
            read_uuid(document[field], field)
    for field in ("allowed_functions", "admins"):
        for item in document.get(field) or []:
            read_uuid(item, field)
    return document


def _timestamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat()
