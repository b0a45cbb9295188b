"""Heartbeats, start commands, tasks and results, with pika in the part of the endpoint and of the submitter."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import EPStatusReport, Result, Task

from tests.ports import free_port
from tests.sandbox.support import Api, default_api, embedded_broker, sandbox, wait_for


class FakeEndpoint:
    """Registers, then does on request what a daemon does by itself."""

    def __init__(self, api: Api) -> None:
        self.api = api
        body = {"endpoint_name": "fake", "metadata": {"hostname": "h"}}
        self.info = api.call("POST", "/v3/endpoints", body).json()
        self.id = str(self.info["endpoint_id"])
        url = self.info["command_queue_info"]["connection_url"]
        self.channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
        self.channel.confirm_delivery()

    def publish(self, info: dict[str, Any], body: bytes) -> None:
        keywords = dict(info["queue_publish_kwargs"])
        keywords["properties"] = pika.BasicProperties(**keywords["properties"])
        self.channel.basic_publish(body=body, **keywords)

    def heartbeat(self, period: float, endpoint: str | None = None, **state: Any) -> None:
        report = EPStatusReport(
            endpoint_id=uuid.UUID(endpoint or self.id),
            global_state={"heartbeat_period": period, **state},
            task_statuses={},
        )
        self.publish(self.info["heartbeat_queue_info"], messagepack.pack(report))

    def command(self) -> tuple[Any, dict[str, Any]] | None:
        method, properties, body = self.channel.basic_get(self.info["command_queue_info"]["queue"], auto_ack=True)
        return None if method is None else (properties, json.loads(body))

    def status(self) -> str:
        return str(self.api.call("GET", f"/v2/endpoints/{self.id}/status").json()["status"])


@pytest.fixture
def api(state_dir: Path) -> Api:
    return default_api(state_dir)


@pytest.fixture
def endpoint(api: Api) -> Iterator[FakeEndpoint]:
    fake = FakeEndpoint(api)
    yield fake
    fake.channel.connection.close()


@pytest.fixture
def function(api: Api) -> str:
    body = {"function_name": "f", "function_code": "4\ncode"}
    return str(api.call("POST", "/v3/functions", body).json()["function_uuid"])


def submit(endpoint: FakeEndpoint, function: str, **more: Any) -> dict[str, Any]:
    body = {"tasks": {function: ["args"]}, "create_queue": True, **more}
    reply = endpoint.api.call("POST", f"/v3/endpoints/{endpoint.id}/submit", body)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_online_while_heartbeats_are_fresh(endpoint: FakeEndpoint) -> None:
    assert endpoint.status() == "offline"
    endpoint.heartbeat(0.4)
    sent = time.monotonic()
    wait_for(lambda: endpoint.status() == "online", "online", 1)
    wait_for(lambda: endpoint.status() == "offline", "offline once heartbeats are missing", 5)
    assert time.monotonic() - sent > 0.8  # two missed ones are forgiven


def test_goodbye_is_offline_at_once(endpoint: FakeEndpoint) -> None:
    endpoint.heartbeat(30)
    wait_for(lambda: endpoint.status() == "online", "online")
    endpoint.heartbeat(0)
    wait_for(lambda: endpoint.status() == "offline", "offline", 2)


def test_start_command_and_task(endpoint: FakeEndpoint, function: str) -> None:
    endpoint.heartbeat(30)
    wait_for(lambda: endpoint.status() == "online", "online")
    options = {"account": "x", "init_blocks": 1}
    reply = submit(
        endpoint,
        function,
        user_endpoint_config=options,
        user_runtime={"python": {"version": "3.11.7"}},
        resource_specification={"num_nodes": 2},
        result_serializers=["a.B"],
    )
    properties, command = wait_for(endpoint.command, "the start command")
    assert properties.content_type == "application/json"
    assert abs(properties.timestamp - time.time()) < 30
    assert command["command"] == "cmd_start_endpoint"
    assert command["globus_effective_identity"] == endpoint.api.client[0]
    assert [i["sub"] for i in command["globus_identity_set"]] == [endpoint.api.client[0]]
    keywords = command["kwargs"]
    worker = keywords["amqp_creds"]["endpoint_id"]
    assert keywords["name"] == f"uep.{endpoint.id}.{worker}"
    assert keywords["user_opts"] == options
    assert keywords["user_runtime"] == {"python": {"version": "3.11.7"}}

    queue = keywords["amqp_creds"]["task_queue_info"]["queue"]
    _, task_properties, body = endpoint.channel.basic_get(queue)
    task = messagepack.unpack(body)
    assert isinstance(task, Task)
    assert (str(task.task_id), task.task_buffer) == (reply["tasks"][function][0], "4\ncodeargs")
    assert task_properties.headers == {
        "task_uuid": str(task.task_id),
        "function_uuid": function,
        "resource_specification": '{"num_nodes": 2}',
        "result_serializers": ["a.B"],
    }


def test_same_options_same_user_endpoint(endpoint: FakeEndpoint, function: str) -> None:
    endpoint.heartbeat(30)
    wait_for(lambda: endpoint.status() == "online", "online")
    names = []
    for options in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2}):
        submit(endpoint, function, user_endpoint_config=options)
        names.append(wait_for(endpoint.command, "a start command")[1]["kwargs"]["name"])
    assert names[0] == names[1] != names[2]


def test_submission_to_an_offline_endpoint_waits_for_it(endpoint: FakeEndpoint, function: str) -> None:
    submit(endpoint, function)
    assert endpoint.command() is None
    endpoint.heartbeat(30)
    worker = wait_for(endpoint.command, "the start command")[1]["kwargs"]["amqp_creds"]["endpoint_id"]
    endpoint.heartbeat(30)  # it has time to start, so nobody is told again
    endpoint.heartbeat(30, worker, active=True)
    endpoint.heartbeat(30)  # the user endpoint runs, so nobody is told again
    endpoint.heartbeat(30, worker, active=False)
    endpoint.heartbeat(30)
    assert wait_for(endpoint.command, "the start command, as the user endpoint is gone")
    assert endpoint.command() is None


def test_results_reach_the_submitter_and_the_task_status(endpoint: FakeEndpoint, function: str) -> None:
    reply = submit(endpoint, function)
    task = reply["tasks"][function][0]
    body = messagepack.pack(Result(task_id=uuid.UUID(task), data="data", details={"python_version": "3"}))
    endpoint.publish(endpoint.info["result_queue_info"], b"noise")
    endpoint.publish(endpoint.info["result_queue_info"], messagepack.pack(Result(task_id=uuid.uuid4(), data="x")))
    endpoint.publish(endpoint.info["result_queue_info"], body)
    endpoint.publish(endpoint.info["result_queue_info"], body)  # delivered twice, counts once
    where = endpoint.api.call("GET", "/v2/get_amqp_result_connection_url").json()
    submitter = pika.BlockingConnection(pika.URLParameters(where["connection_url"])).channel()
    queue = where["queue_prefix"] + reply["task_group_id"]
    _, properties, received = wait_for(lambda: _got(submitter, queue), "the result")
    assert received == body
    assert properties.timestamp
    described = endpoint.api.call("GET", f"/v2/tasks/{task}").json()
    assert (described["status"], described["result"], described["task_id"]) == ("success", "data", task)
    assert described["details"] == {"python_version": "3"}
    assert _got(submitter, queue) is None
    submitter.connection.close()


def _got(channel: Any, queue: str) -> Any:
    got = channel.basic_get(queue, auto_ack=True)
    return None if got[0] is None else got


def test_user_endpoint_that_cannot_start_fails_its_tasks(endpoint: FakeEndpoint, function: str) -> None:
    endpoint.heartbeat(30)
    wait_for(lambda: endpoint.status() == "online", "online")
    reply = submit(endpoint, function)
    keywords = wait_for(endpoint.command, "the start command")[1]["kwargs"]
    endpoint.heartbeat(3, keywords["amqp_creds"]["endpoint_id"], error="no such template")
    path = f"/v2/tasks/{reply['tasks'][function][0]}"
    wait_for(lambda: endpoint.api.call("GET", path).json()["status"] == "failed", "the task failed")
    assert endpoint.api.call("GET", path).json()["exception"] == "no such template"
    queue = keywords["amqp_creds"]["task_queue_info"]["queue"]
    assert endpoint.channel.queue_declare(queue, passive=True).method.message_count == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",
        b"\x02{}",
        b"\x01[]",
        b'\x01{"message_type": "x"}',
        b'\x01{"message_type":"ep_status_report","data":{}}',
    ],
)
def test_undecodable_heartbeats_change_nothing(endpoint: FakeEndpoint, body: bytes) -> None:
    endpoint.publish(endpoint.info["heartbeat_queue_info"], body)
    endpoint.heartbeat(30)
    wait_for(lambda: endpoint.status() == "online", "the next heartbeat counts")


def test_registering_again_drops_stale_commands(endpoint: FakeEndpoint, function: str) -> None:
    endpoint.heartbeat(30)
    wait_for(lambda: endpoint.status() == "online", "online")
    submit(endpoint, function)
    body = {"endpoint_name": "fake", "metadata": {"hostname": "h"}}
    assert endpoint.api.call("PUT", f"/v3/endpoints/{endpoint.id}", body).json() == endpoint.info
    assert endpoint.command() is None
    endpoint.heartbeat(30)
    assert wait_for(endpoint.command, "a new command, as the result is still owed")


def test_password_of_another_sandbox_is_refused(endpoint: FakeEndpoint) -> None:
    parameters = pika.URLParameters(endpoint.info["command_queue_info"]["connection_url"])
    parameters.credentials = pika.PlainCredentials(str(uuid.uuid4()), parameters.credentials.password)
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(parameters)


def test_broker_outage(tmp_path: Path) -> None:
    """An external broker goes away and comes back: requests fail meanwhile, then all is as before."""
    port, state = free_port(), tmp_path / "s"
    (tmp_path / "b").mkdir()
    with embedded_broker(tmp_path / "b", port) as url, sandbox(state, amqp_url=url):
        api = default_api(state)
        first = FakeEndpoint(api)
        first.channel.connection.close()
    with embedded_broker(tmp_path / "b", port) as url:
        again = sandbox(state, amqp_url=url)
        again.__enter__()
    try:
        api = default_api(state)
        body = {"endpoint_name": "fake", "metadata": {"hostname": "h"}}
        assert api.call("POST", "/v3/endpoints", body).status_code == 503
        assert api.call("GET", "/v2/endpoints").status_code == 200
        with embedded_broker(tmp_path / "b", port):
            wait_for(lambda: api.call("POST", "/v3/endpoints", body).status_code == 200, "the broker is found again")
            fake = FakeEndpoint(api)
            fake.heartbeat(30)
            wait_for(lambda: fake.status() == "online", "heartbeats are consumed again")
            fake.channel.connection.close()
    finally:
        again.__exit__(None, None, None)
