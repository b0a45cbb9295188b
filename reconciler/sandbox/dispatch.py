"""From a submission to a result: user endpoints, start commands, tasks, heartbeats, results.

A task waits in the queue of a user endpoint, whose UUID follows from the endpoint and the options, so
that the same options reuse the same one. The core endpoint is told to start it at submission, and
again at its own heartbeats while results are owed and the user endpoint is silent: that heals a restart
of anything. A user endpoint that was just asked for has time to start first, since an endpoint that is told
twice starts it once more when it ends. Commands are only sent to an endpoint that is online, since endpoints answer
a command older than three minutes with a failure.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from datetime import datetime, timezone
from typing import Any

from reconciler.sandbox.accounts import Accounts, Identity
from reconciler.sandbox.messaging import Messaging
from reconciler.sandbox.registry import EndpointRow, Registry, TaskRow

_TIME_TO_START = 60.0
"""Seconds for which nobody is told again to start a user endpoint of which nothing was heard."""

_VERSION = b"\x01"  # of globus_compute_common's messagepack protocol: one byte, then JSON
_NAMESPACE = uuid.UUID("6f1cf2d4-5f0f-4c8e-9c0c-4d3a6c0f6d11")
log = logging.getLogger(__name__)


def pack(kind: str, data: dict[str, Any]) -> bytes:
    """Encode a message as globus_compute_common does."""
    return _VERSION + json.dumps({"message_type": kind, "data": data}).encode()


def unpack(body: bytes) -> tuple[str, dict[str, Any]]:
    """Decode such a message into its type and data.

    Raises:
        ValueError: it is none.
    """
    if body[:1] != _VERSION:
        raise ValueError("unknown protocol version")
    envelope = json.loads(body[1:])
    if not isinstance(envelope, dict) or not isinstance(envelope.get("data"), dict):
        raise ValueError("not an envelope")
    return str(envelope.get("message_type")), envelope["data"]


def user_endpoint_id(endpoint: str, identity: str, options: dict[str, Any]) -> str:
    """Return the UUID of the user endpoint for these options."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps([endpoint, identity, options], sort_keys=True)))


class Dispatcher:
    """Moves tasks and results; reads heartbeats."""

    def __init__(self, registry: Registry, accounts: Accounts) -> None:
        self._registry = registry
        self._accounts = accounts
        self.messaging: Messaging | None = None
        self._told: dict[str, float] = {}  # when a user endpoint was last asked for, until it is heard of

    @property
    def _messages(self) -> Messaging:
        if self.messaging is None:
            raise RuntimeError("the server has not started messaging yet")
        return self.messaging

    # registrations

    async def registered(self, endpoint: str) -> dict[str, Any]:
        """Make an endpoint's queues and return what a registration is answered with."""
        messages = self._messages
        commands = messages.inbox(endpoint, "commands")
        await messages.declare(commands, messages.inbox(endpoint, "tasks"))
        # What was meant for the previous process is stale; what is still owed is asked for again.
        await messages.purge(commands)
        for worker in self._registry.user_endpoints(endpoint):
            self._told.pop(worker.uuid, None)
        return {
            "endpoint_id": endpoint,
            "command_queue_info": messages.inbox_info(endpoint, "commands"),
            **self._queues(endpoint),
        }

    def _queues(self, endpoint: str) -> dict[str, Any]:
        messages = self._messages
        return {
            "task_queue_info": messages.inbox_info(endpoint, "tasks"),
            "result_queue_info": messages.queue_info(endpoint, "results"),
            "heartbeat_queue_info": messages.queue_info(endpoint, "heartbeats"),
        }

    async def cut_off(self, row: EndpointRow) -> None:
        """Drop the connections of an endpoint: without its queues it shuts itself down."""
        await self._messages.delete(self._messages.inbox(row.uuid, "commands"))

    async def forget(self, row: EndpointRow) -> None:
        """Remove all queues of an endpoint and its user endpoints; what they owe has failed."""
        messages = self._messages
        for each in [row, *self._registry.user_endpoints(row.uuid)]:
            await messages.delete(messages.inbox(each.uuid, "commands"), messages.inbox(each.uuid, "tasks"))
            await self._fail_all(each.uuid, "The endpoint was deleted")

    # submissions

    async def submit(
        self, row: EndpointRow, who: Identity, submission: dict[str, Any], functions: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """Queue the tasks of a checked submission and start their user endpoint; return the reply."""
        options = submission.get("user_endpoint_config") or {}
        worker = user_endpoint_id(row.uuid, who.id, options)
        group = submission.get("task_group_id") or str(uuid.uuid4())
        runtime = submission.get("user_runtime") or {}
        name = f"uep.{row.uuid}.{worker}"
        self._registry.save_endpoint(
            worker, owner=who.id, name=name, document={}, parent=row.uuid, options=options, runtime=runtime
        )
        await self._messages.declare(self._messages.inbox(worker, "tasks"), f"{self._messages.group_prefix}{group}")
        now = time.time()
        tasks: dict[str, list[str]] = {}
        rows, payloads = [], []
        for function, arguments in submission["tasks"].items():
            tasks[function] = [str(uuid.uuid4()) for _ in arguments]
            for task, argument in zip(tasks[function], arguments, strict=True):
                rows.append(TaskRow(task, group, function, worker, who.id, now, "waiting", None, {}, None))
                payloads.append(_code(functions[function]) + argument)
        self._registry.add_tasks(rows)
        for task_row, payload in zip(rows, payloads, strict=True):
            await self._send_task(task_row, payload, submission)
        current = self._registry.endpoint(row.uuid)
        if current is not None and current.online(now):
            await self._start(current, worker)
        return {"request_id": str(uuid.uuid4()), "task_group_id": group, "endpoint_id": row.uuid, "tasks": tasks}

    async def _send_task(self, row: TaskRow, payload: str, submission: dict[str, Any]) -> None:
        body = pack("task", {"task_id": row.uuid, "container_id": None, "container": None, "task_buffer": payload})
        headers: dict[str, Any] = {"task_uuid": row.uuid, "function_uuid": row.function}
        if submission.get("resource_specification"):
            headers["resource_specification"] = json.dumps(submission["resource_specification"])
        if submission.get("result_serializers"):
            headers["result_serializers"] = submission["result_serializers"]
        await self._messages.send(self._messages.inbox(row.endpoint, "tasks"), body, headers=headers)

    async def _start(self, row: EndpointRow, worker: str) -> None:
        known = self._registry.endpoint(worker)
        who = None if known is None else self._accounts.get(known.owner)
        if known is None or who is None:
            return
        command = {
            "command": "cmd_start_endpoint",
            "args": [],
            "kwargs": {
                "name": known.name,
                "user_opts": known.options,
                "user_runtime": known.runtime,
                "amqp_creds": {"endpoint_id": worker, **self._queues(worker)},
            },
            "globus_username": who.username,
            "globus_effective_identity": who.id,
            "globus_identity_set": [{"sub": who.id, "username": who.username, "name": who.name, "email": who.email}],
        }
        self._told[worker] = time.monotonic()
        await self._messages.send(
            self._messages.inbox(row.uuid, "commands"),
            json.dumps(command).encode(),
            content_type="application/json",
            timestamp=datetime.now(timezone.utc),
        )

    # what endpoints send

    async def on_heartbeat(self, body: bytes) -> None:
        """Take note of a heartbeat, or of the failure of a user endpoint to start."""
        try:
            kind, data = unpack(body)
            endpoint, report = str(uuid.UUID(data["endpoint_id"])), dict(data.get("global_state") or {})
            period = float(report.get("heartbeat_period") or 0)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            log.warning("an undecodable heartbeat was dropped: %s", e)
            return
        row = self._registry.endpoint(endpoint)
        if kind != "ep_status_report" or row is None or row.deleted:
            return
        if "error" in report:
            await self._failed_to_start(row, str(report["error"]))
            return
        self._told.pop(endpoint, None)
        active = bool(report.get("active", True))
        self._registry.heartbeat(endpoint, period=period if active else 0, report=report)
        if row.parent is None and period:
            await self._remind(row)

    async def _remind(self, row: EndpointRow) -> None:
        now = time.time()
        for worker in self._registry.user_endpoints(row.uuid, waiting_only=True):
            is_starting = time.monotonic() - self._told.get(worker.uuid, -_TIME_TO_START) < _TIME_TO_START
            if not (worker.online(now) or is_starting):
                await self._start(row, worker.uuid)

    async def _failed_to_start(self, row: EndpointRow, message: str) -> None:
        log.info("user endpoint %s failed to start", row.uuid)
        self._registry.heartbeat(row.uuid, period=0, report={"error": message})
        await self._messages.declare(self._messages.inbox(row.uuid, "tasks"))
        await self._messages.purge(self._messages.inbox(row.uuid, "tasks"))
        await self._fail_all(row.uuid, message)

    async def _fail_all(self, endpoint: str, message: str) -> None:
        error = {"code": "ENDPOINT_FAILURE", "user_message": message}
        for task in self._registry.waiting_tasks(endpoint):
            result = {"task_id": task.uuid, "data": message, "error_details": error, "task_statuses": []}
            await self.on_result(pack("result", result))

    async def on_result(self, body: bytes) -> None:
        """Keep a result and pass it on to the submitter's task group."""
        try:
            kind, data = unpack(body)
            task = self._registry.task(str(uuid.UUID(data["task_id"])))
            result = str(data["data"])
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            log.warning("an undecodable result was dropped: %s", e)
            return
        # A redelivered task may run twice; the first result counts.
        if kind != "result" or task is None or task.status != "waiting":
            return
        queue = f"{self._messages.group_prefix}{task.task_group}"
        await self._messages.declare(queue)
        await self._messages.send(queue, body, timestamp=datetime.now(timezone.utc))
        failed = data.get("error_details") is not None
        self._registry.finish_task(task.uuid, failed=failed, result=result, details=data.get("details") or {})


def _code(function: dict[str, Any]) -> str:
    """Return a function's code as the first of the three buffers that make up a task."""
    code = str(function["function_code"])
    if function.get("serialized", True):
        return code
    source = f"st\n{function['function_name']}:{code}"
    return f"{len(source)}\n{source}"
