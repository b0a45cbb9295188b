"""The Globus Compute routes for functions, submissions, tasks, and the submitter's AMQP URL."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from typing import Any

from aiohttp import web

from reconciler.sandbox.accounts import COMPUTE_SERVER, Accounts, Identity
from reconciler.sandbox.dispatch import Dispatcher
from reconciler.sandbox.registry import EndpointRow, Registry, TaskRow
from reconciler.sandbox.replies import Refusal, caller, check_fields, read_object, read_uuid


class TaskApi:
    """Handlers; `routes` lists them."""

    def __init__(self, registry: Registry, accounts: Accounts, dispatcher: Dispatcher) -> None:
        self._registry = registry
        self._accounts = accounts
        self._dispatcher = dispatcher

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/v2/get_amqp_result_connection_url", self.amqp_url),
            web.post("/v2/functions", self.register_function),
            web.post("/v3/functions", self.register_function),
            web.get("/v2/functions/{function}", self.get_function),
            web.delete("/v2/functions/{function}", self.delete_function),
            web.post("/v3/endpoints/{endpoint}/submit", self.submit),
            web.get("/v2/tasks/{task}", self.task),
            web.post("/v2/batch_status", self.batch_status),
            web.get("/v2/taskgroup/{group}", self.task_group),
        ]

    def _caller(self, request: web.Request) -> Identity:
        return caller(request, self._accounts, COMPUTE_SERVER)

    async def amqp_url(self, request: web.Request) -> web.Response:
        """Tell a submitter where results arrive."""
        who = self._caller(request)
        messaging = self._dispatcher.messaging
        if messaging is None:
            raise Refusal(503, "SERVICE_UNAVAILABLE", "The sandbox is starting")
        return web.json_response(
            {"queue_prefix": messaging.group_prefix, "connection_url": messaging.endpoint_url(who.id)}
        )

    async def register_function(self, request: web.Request) -> web.Response:
        """Register a function."""
        who = self._caller(request)
        document = await read_object(request)
        optional: dict[str, type | tuple[type, ...]] = {"serialized": bool, "meta": dict, "description": str}
        check_fields(document, {"function_name": str, "function_code": str}, optional)
        function = str(uuid.uuid4())
        self._registry.add_function(function, who.id, document)
        return web.json_response({"function_uuid": function})

    def _function(self, request: web.Request) -> tuple[str, str, dict[str, Any]]:
        function = read_uuid(request.match_info["function"], "function UUID")
        known = self._registry.function(function)
        if known is None:
            raise Refusal(404, "FUNCTION_NOT_FOUND", f"Function {function} could not be resolved")
        return (function, *known)

    async def get_function(self, request: web.Request) -> web.Response:
        """Describe a function."""
        self._caller(request)
        function, _, document = self._function(request)
        reply = {key: document.get(key) for key in ("function_name", "function_code", "description")}
        return web.json_response({"function_uuid": function, **reply, "metadata": document.get("meta")})

    async def delete_function(self, request: web.Request) -> web.Response:
        """Delete a function of the caller."""
        who = self._caller(request)
        function, owner, _ = self._function(request)
        if owner != who.id:
            raise Refusal(403, "FORBIDDEN", f"Unauthorized access to function {function}")
        self._registry.delete_function(function)
        return web.json_response({"result": 302})

    async def submit(self, request: web.Request) -> web.Response:
        """Submit tasks to an endpoint of the caller."""
        who = self._caller(request)
        endpoint = read_uuid(request.match_info["endpoint"], "endpoint UUID")
        row = self._registry.endpoint(endpoint)
        if row is None or row.deleted or row.parent is not None:
            raise Refusal(404, "ENDPOINT_NOT_FOUND", f"Endpoint {endpoint} could not be resolved")
        if row.owner != who.id:
            raise Refusal(403, "FORBIDDEN", f"Unauthorized access to endpoint {endpoint}")
        submission = await read_object(request)
        functions = self._check_submission(who, row, submission)
        return web.json_response(await self._dispatcher.submit(row, who, submission, functions))

    def _check_submission(
        self, who: Identity, row: EndpointRow, submission: dict[str, Any]
    ) -> dict[str, dict[str, Any]]:
        optional: dict[str, type | tuple[type, ...]] = {
            "user_endpoint_config": dict,
            "user_runtime": dict,
            "resource_specification": dict,
            "result_serializers": list,
            "create_queue": bool,
        }
        check_fields(submission, {"tasks": dict}, optional)
        if not submission["tasks"]:
            raise Refusal(422, "UNPROCESSABLE_ENTITY", "tasks: there are none")
        group = submission.get("task_group_id")
        if group is not None:
            submission["task_group_id"] = group = read_uuid(group, "task_group_id")
            if self._registry.task_group_owner(group) not in (None, who.id):
                raise Refusal(403, "FORBIDDEN", f"Unauthorized access to task group {group}")
        allowed = row.document.get("allowed_functions")
        functions = {}
        for function, arguments in submission["tasks"].items():
            read_uuid(function, "function UUID")
            if not isinstance(arguments, list) or not all(isinstance(a, str) for a in arguments):
                raise Refusal(422, "UNPROCESSABLE_ENTITY", "tasks: each function needs a list of strings")
            known = self._registry.function(function)
            if known is None:
                raise Refusal(404, "FUNCTION_NOT_FOUND", f"Function {function} could not be resolved")
            if allowed and function not in allowed:
                raise Refusal(403, "FUNCTION_NOT_PERMITTED", f"Function {function} not permitted on {row.uuid}")
            functions[function] = known[1]
        return functions

    async def task(self, request: web.Request) -> web.Response:
        """Say how a task of the caller stands."""
        who = self._caller(request)
        task = self._registry.task(read_uuid(request.match_info["task"], "task UUID"))
        if task is None:
            raise Refusal(404, "TASK_NOT_FOUND", "The task could not be resolved")
        if task.owner != who.id:
            raise Refusal(403, "FORBIDDEN", "Unauthorized access to task")
        return web.json_response(_describe(task))

    async def batch_status(self, request: web.Request) -> web.Response:
        """Say how several tasks stand; unknown ones and those of others are left out."""
        who = self._caller(request)
        document = await read_object(request)
        check_fields(document, {"task_ids": list}, {})
        found = [self._registry.task(read_uuid(t, "task UUID")) for t in document["task_ids"]]
        results = {t.uuid: _describe(t) for t in found if t is not None and t.owner == who.id}
        return web.json_response({"response": "batch", "results": results})

    async def task_group(self, request: web.Request) -> web.Response:
        """List the tasks of a group."""
        who = self._caller(request)
        group = read_uuid(request.match_info["group"], "task group UUID")
        owner = self._registry.task_group_owner(group)
        if owner is None:
            raise Refusal(404, "TASK_GROUP_NOT_FOUND", f"Task group {group} could not be resolved")
        if owner != who.id:
            raise Refusal(403, "FORBIDDEN", f"Unauthorized access to task group {group}")
        tasks = [
            {"id": t.uuid, "created_at": datetime.fromtimestamp(t.created, timezone.utc).isoformat()}
            for t in self._registry.tasks_of_group(group)
        ]
        return web.json_response({"taskgroup_id": group, "create_websockets_queue": True, "tasks": tasks})


def _describe(task: TaskRow) -> dict[str, Any]:
    reply: dict[str, Any] = {"task_id": task.uuid, "task_group_id": task.task_group, "details": task.details}
    if task.status == "waiting":
        return {**reply, "status": "pending"}
    outcome = "exception" if task.status == "failed" else "result"
    return {**reply, "status": task.status, outcome: task.result, "completion_t": str(task.completed)}
