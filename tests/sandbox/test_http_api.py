"""The HTTP side: what it grants, what it refuses, what it remembers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import globus_sdk
import pytest
import requests

from reconciler.errors import ReconcilerError, Refused
from reconciler.sandbox import lifecycle
from tests.ports import free_port
from tests.sandbox.support import COMPUTE_SCOPE, Api, default_api, other_api, sandbox


@pytest.fixture
def api(state_dir: Path) -> Api:
    return default_api(state_dir)


@pytest.fixture
def other(state_dir: Path) -> Api:
    return other_api(state_dir)


# Auth


def test_one_token_per_resource_server(api: Api) -> None:
    scope = (
        f"openid email urn:globus:auth:scope:auth.globus.org:manage_projects {COMPUTE_SCOPE} "
        "urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.globus.org/scopes/x/data_access] "
        "https://auth.globus.org/scopes/ca1e2fbf-4e73-40a6-b2ab-c9458e5fcf99/academy_exchange"
    )
    reply = api.token(grant_type="client_credentials", scope=scope).json()
    tokens = {t["resource_server"]: t for t in [reply, *reply["other_tokens"]]}
    assert set(tokens) == {
        "auth.globus.org",
        "funcx_service",
        "transfer.api.globus.org",
        "ca1e2fbf-4e73-40a6-b2ab-c9458e5fcf99",
    }
    assert tokens["auth.globus.org"]["scope"].split() == [
        "openid",
        "email",
        "urn:globus:auth:scope:auth.globus.org:manage_projects",
    ]
    assert tokens["transfer.api.globus.org"]["scope"] == "urn:globus:auth:scope:transfer.api.globus.org:all"
    assert all(t["token_type"] == "Bearer" and t["expires_in"] == 172800 for t in tokens.values())


def test_wrong_secret_and_unknown_client_get_no_token(api: Api) -> None:
    for client in ((api.client[0], "wrong"), (str(uuid.uuid4()), api.client[1])):
        form = {"grant_type": "client_credentials", "scope": "openid"}
        reply = requests.post(f"{api.url}/v2/oauth2/token", data=form, auth=client, timeout=10)
        assert (reply.status_code, reply.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "invalid_scope"),
        ({"grant_type": "refresh_token", "refresh_token": "nonsense"}, "invalid_grant"),
    ],
)
def test_bad_token_requests(api: Api, form: dict[str, str], error: str) -> None:
    reply = api.token(**form)
    assert (reply.status_code, reply.json()["error"]) == (400, error)


def test_refresh_token(api: Api, other: Api) -> None:
    first = api.token(grant_type="client_credentials", scope=f"{COMPUTE_SCOPE} offline_access").json()
    again = api.token(grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert again["access_token"] != first["access_token"]
    assert (again["scope"], again["resource_server"]) == (COMPUTE_SCOPE, "funcx_service")
    assert other.token(grant_type="refresh_token", refresh_token=first["refresh_token"]).status_code == 400
    api.token("/v2/oauth2/token/revoke", token=first["refresh_token"])
    assert api.token(grant_type="refresh_token", refresh_token=first["refresh_token"]).status_code == 400


def test_userinfo_and_identities(api: Api, other: Api) -> None:
    info = api.call("GET", "/v2/oauth2/userinfo", server="auth.globus.org").json()
    assert info["sub"] == api.client[0]
    assert info["preferred_username"] == f"{api.client[0]}@clients.auth.globus.org"
    assert [i["sub"] for i in info["identity_set"]] == [api.client[0]]
    query = {"ids": f"{api.client[0]},{other.client[0]},{uuid.uuid4()}"}
    found = api.call("GET", "/v2/api/identities", server="auth.globus.org", params=query).json()["identities"]
    assert [i["id"] for i in found] == [api.client[0], other.client[0]]
    assert api.call("GET", "/v2/api/identities", server="auth.globus.org").status_code == 400


def test_introspect_and_revoke(api: Api, other: Api) -> None:
    token = api.tokens["funcx_service"]
    described = api.token("/v2/oauth2/token/introspect", token=token).json()
    assert described["active"]
    assert (described["sub"], described["scope"]) == (api.client[0], COMPUTE_SCOPE)
    assert api.token("/v2/oauth2/token/introspect", token="nonsense").json() == {"active": False}
    other.token("/v2/oauth2/token/revoke", token=token)
    assert api.call("GET", "/v2/endpoints").status_code == 200  # not theirs to revoke
    assert api.token("/v2/oauth2/token/revoke", token=token).json() == {"active": False}
    assert api.token("/v2/oauth2/token/introspect", token=token).json() == {"active": False}
    assert api.call("GET", "/v2/endpoints").status_code == 401


NOBODYS = "5d5cb2e0-7a5e-4f43-9d0a-0f0a4f3a5c11"  # the same in every lane that collects the tests
ROUTES = [
    ("GET", "/v2/endpoints"),
    ("POST", "/v3/endpoints"),
    ("PUT", f"/v3/endpoints/{NOBODYS}"),
    ("GET", f"/v2/endpoints/{NOBODYS}"),
    ("GET", f"/v2/endpoints/{NOBODYS}/status"),
    ("DELETE", f"/v2/endpoints/{NOBODYS}"),
    ("POST", f"/v3/endpoints/{NOBODYS}/lock"),
    ("POST", f"/v3/endpoints/{NOBODYS}/submit"),
    ("POST", "/v3/functions"),
    ("GET", f"/v2/tasks/{NOBODYS}"),
    ("GET", "/v2/get_amqp_result_connection_url"),
    ("GET", "/v2/oauth2/userinfo"),
]


@pytest.mark.parametrize("token", [None, "Bearer nonsense", "Basic eDp5", "Bearer"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_valid_token(api: Api, method: str, path: str, token: str | None) -> None:
    headers = {"Authorization": token} if token else {}
    assert requests.request(method, api.url + path, headers=headers, json={}, timeout=10).status_code == 401


def test_token_of_another_service(api: Api) -> None:
    assert api.call("GET", "/v2/endpoints", server="auth.globus.org").status_code == 403
    assert api.call("GET", "/v2/oauth2/userinfo", server="funcx_service").status_code == 403


# endpoints


def test_version_needs_no_login(api: Api) -> None:
    versions = requests.get(f"{api.url}/v2/version?service=all", timeout=10).json()
    assert {"api", "min_sdk_version", "min_ep_version"} <= set(versions)
    assert requests.get(f"{api.url}/v2/version", timeout=10).json() == versions["api"]


def test_registration_reply(api: Api) -> None:
    body = {"endpoint_name": "main", "metadata": {"hostname": "h"}}
    reply = api.call("POST", "/v3/endpoints", body).json()
    endpoint = str(uuid.UUID(reply["endpoint_id"]))
    assert endpoint in reply["command_queue_info"]["queue"]
    assert endpoint in reply["task_queue_info"]["queue"]
    for kind in ("result_queue_info", "heartbeat_queue_info"):
        info = reply[kind]
        assert info["queue_publish_kwargs"]["exchange"] == info["exchange"]
        assert info["connection_url"].startswith(f"amqp://{endpoint}:")
        assert "@127.0.0.1:" in info["connection_url"]


def test_what_was_registered_can_be_read(api: Api) -> None:
    metadata = {
        "endpoint_version": "4.19.0",
        "python_version": "3.11.7",
        "hostname": "login1",
        "local_user": "jdoe",
        "endpoint_config": "display_name: x\n",
        "user_config_template": "engine: {}\n",
        "user_config_schema": {"type": "object"},
    }
    endpoint = api.register("one", metadata=metadata, display_name="Number One", public=False)
    described = api.call("GET", f"/v2/endpoints/{endpoint}").json()
    assert described == {
        "uuid": endpoint,
        "name": "one",
        "display_name": "Number One",
        "multi_user": False,
        "high_assurance": False,
        "public": False,
        **metadata,
    }
    assert api.call("GET", f"/v2/endpoints/{endpoint}/status").json() == {"status": "offline", "details": {}}
    listed = [e for e in api.call("GET", "/v2/endpoints?role=owner").json() if e["uuid"] == endpoint]
    assert listed == [{"uuid": endpoint, "name": "one", "display_name": "Number One", "owner": api.client[0]}]


def test_update_keeps_the_uuid_and_what_is_not_sent(api: Api) -> None:
    policy = str(uuid.uuid4())
    endpoint = api.register("one", display_name="A", subscription_uuid=policy)
    body = {"endpoint_name": "two", "metadata": {"hostname": "other"}}
    assert api.call("PUT", f"/v3/endpoints/{endpoint}", body).json()["endpoint_id"] == endpoint
    described = api.call("GET", f"/v2/endpoints/{endpoint}").json()
    assert (described["name"], described["hostname"], described["display_name"]) == ("two", "other", "A")
    assert described["subscription_uuid"] == policy


def test_unknown_and_deleted_endpoints(api: Api) -> None:
    deleted = api.register("gone")
    assert api.call("DELETE", f"/v2/endpoints/{deleted}").status_code == 200
    body = {"endpoint_name": "gone", "metadata": {"a": 1}}
    for endpoint in (deleted, str(uuid.uuid4())):
        calls = [
            api.call("GET", f"/v2/endpoints/{endpoint}"),
            api.call("GET", f"/v2/endpoints/{endpoint}/status"),
            api.call("DELETE", f"/v2/endpoints/{endpoint}"),
            api.call("PUT", f"/v3/endpoints/{endpoint}", body),
            api.call("POST", "/v3/endpoints", {**body, "endpoint_uuid": endpoint}),
            api.call("POST", f"/v3/endpoints/{endpoint}/lock"),
            api.call("POST", f"/v3/endpoints/{endpoint}/submit", {"tasks": {}}),
        ]
        assert [c.status_code for c in calls] == [404] * len(calls)
    assert deleted not in [e["uuid"] for e in api.call("GET", "/v2/endpoints").json()]


def test_locked_endpoint(api: Api) -> None:
    endpoint = api.register("locked")
    locked = api.call("POST", f"/v3/endpoints/{endpoint}/lock").json()
    assert locked["endpoint_id"] == endpoint
    reply = api.call("PUT", f"/v3/endpoints/{endpoint}", {"endpoint_name": "locked", "metadata": {"a": 1}})
    assert (reply.status_code, reply.json()["code"]) == (423, "ENDPOINT_LOCKED")
    assert api.call("GET", f"/v2/endpoints/{endpoint}").status_code == 200


def test_another_identity(api: Api, other: Api) -> None:
    endpoint, public = api.register("mine"), api.register("shown", public=True)
    body = {"endpoint_name": "mine", "metadata": {"a": 1}}
    calls = [
        other.call("GET", f"/v2/endpoints/{endpoint}"),
        other.call("GET", f"/v2/endpoints/{endpoint}/status"),
        other.call("DELETE", f"/v2/endpoints/{endpoint}"),
        other.call("PUT", f"/v3/endpoints/{endpoint}", body),
        other.call("POST", f"/v3/endpoints/{endpoint}/lock"),
        other.call("POST", f"/v3/endpoints/{endpoint}/submit", {"tasks": {}}),
        other.call("DELETE", f"/v2/endpoints/{public}"),
    ]
    assert [c.status_code for c in calls] == [403] * len(calls)
    assert other.call("GET", f"/v2/endpoints/{public}").status_code == 200
    assert other.call("GET", "/v2/endpoints?role=owner").json() == []
    assert public in [e["uuid"] for e in other.call("GET", "/v2/endpoints?role=any").json()]
    assert endpoint not in [e["uuid"] for e in other.call("GET", "/v2/endpoints?role=any").json()]


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {"a": 1}},
        {"endpoint_name": "x"},
        {"endpoint_name": 1, "metadata": {}},
        {"endpoint_name": "x", "metadata": "text"},
        {"endpoint_name": "a b", "metadata": {}},
        {"endpoint_name": "x" * 129, "metadata": {}},
        {"endpoint_name": "x", "metadata": {}, "display_name": 5},
        {"endpoint_name": "x", "metadata": {}, "public": "yes"},
        {"endpoint_name": "x", "metadata": {}, "authentication_policy": "no-uuid"},
        {"endpoint_name": "x", "metadata": {}, "allowed_functions": ["no-uuid"]},
        ["x"],
    ],
)
def test_malformed_registration(api: Api, body: Any) -> None:
    assert api.call("POST", "/v3/endpoints", body).status_code == 422


def test_malformed_requests(api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.tokens['funcx_service']}", "Content-Type": "application/json"}
    broken = requests.post(f"{api.url}/v3/endpoints", data=b"{broken", headers=headers, timeout=10)
    assert broken.status_code == 400
    assert api.call("GET", "/v2/endpoints/not-a-uuid").status_code == 422
    assert api.call("GET", "/v2/endpoints?role=king").status_code == 422
    assert api.call("GET", "/v2/nothing-here").status_code == 404
    assert api.call("PATCH", "/v2/endpoints").status_code == 405


# functions and tasks


def function(api: Api) -> str:
    body = {"function_name": "f", "function_code": "4\ncode", "meta": {"python_version": "3.11"}}
    return str(api.call("POST", "/v3/functions", body).json()["function_uuid"])


def test_functions(api: Api, other: Api) -> None:
    made = function(api)
    assert api.call("GET", f"/v2/functions/{made}").json()["function_code"] == "4\ncode"
    assert api.call("POST", "/v3/functions", {"function_name": "f"}).status_code == 422
    assert other.call("DELETE", f"/v2/functions/{made}").status_code == 403
    assert api.call("DELETE", f"/v2/functions/{made}").status_code == 200
    assert api.call("GET", f"/v2/functions/{made}").status_code == 404


def test_submission_and_task_status(api: Api, other: Api) -> None:
    endpoint, made = api.register(), function(api)
    submission = {"tasks": {made: ["a", "b"]}, "create_queue": True, "user_endpoint_config": {"x": 1}}
    reply = api.call("POST", f"/v3/endpoints/{endpoint}/submit", submission).json()
    assert reply["endpoint_id"] == endpoint
    first, second = reply["tasks"][made]
    task = api.call("GET", f"/v2/tasks/{first}").json()
    assert (task["task_id"], task["status"]) == (first, "pending")
    batch = api.call("POST", "/v2/batch_status", {"task_ids": [first, second, str(uuid.uuid4())]}).json()
    assert set(batch["results"]) == {first, second}
    group = api.call("GET", f"/v2/taskgroup/{reply['task_group_id']}").json()
    assert [t["id"] for t in group["tasks"]] == [first, second]
    assert other.call("GET", f"/v2/tasks/{first}").status_code == 403
    assert other.call("GET", f"/v2/taskgroup/{reply['task_group_id']}").status_code == 403
    assert api.call("GET", f"/v2/tasks/{uuid.uuid4()}").status_code == 404
    api.call("DELETE", f"/v2/endpoints/{endpoint}")
    failed = api.call("GET", f"/v2/tasks/{first}").json()
    assert (failed["status"], failed["exception"]) == ("failed", "The endpoint was deleted")


def test_malformed_submissions(api: Api, other: Api) -> None:
    endpoint, made = api.register(), function(api)
    group = api.call("POST", f"/v3/endpoints/{endpoint}/submit", {"tasks": {made: ["a"]}}).json()["task_group_id"]
    path = f"/v3/endpoints/{endpoint}/submit"
    assert api.call("POST", path, {}).status_code == 422
    assert api.call("POST", path, {"tasks": {}}).status_code == 422
    assert api.call("POST", path, {"tasks": {made: "a"}}).status_code == 422
    assert api.call("POST", path, {"tasks": {"no-uuid": ["a"]}}).status_code == 422
    assert api.call("POST", path, {"tasks": {str(uuid.uuid4()): ["a"]}}).status_code == 404
    assert api.call("POST", path, {"tasks": {made: ["a"]}, "user_endpoint_config": []}).status_code == 422
    theirs = other.register()
    foreign = {"tasks": {made: ["a"]}, "task_group_id": group}
    assert other.call("POST", f"/v3/endpoints/{theirs}/submit", foreign).status_code == 403


def test_allowed_functions(api: Api) -> None:
    allowed, forbidden = function(api), function(api)
    endpoint = api.register(allowed_functions=[allowed])
    listed = api.call("GET", f"/v3/endpoints/{endpoint}/allowed_functions").json()
    assert listed == {"endpoint_id": endpoint, "restricted": True, "functions": [allowed]}
    path = f"/v3/endpoints/{endpoint}/submit"
    assert api.call("POST", path, {"tasks": {allowed: ["a"]}}).status_code == 200
    assert api.call("POST", path, {"tasks": {forbidden: ["a"]}}).status_code == 403


# the real client


def test_globus_sdk_reads_the_refusals(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in lifecycle.environment(state_dir).items():
        monkeypatch.setenv(name, value)
    client_id, secret = default_api(state_dir).client
    auth = globus_sdk.ConfidentialAppAuthClient(client_id, secret)
    authorizer = globus_sdk.ClientCredentialsAuthorizer(auth, COMPUTE_SCOPE)
    client = globus_sdk.ComputeClientV2(authorizer=authorizer)
    assert client.get_version("all")["min_ep_version"]
    with pytest.raises(globus_sdk.GlobusAPIError) as refused:
        client.get_endpoint(uuid.uuid4())
    assert (refused.value.http_status, refused.value.code) == (404, "ENDPOINT_NOT_FOUND")


# the sandbox's own routes


def test_admin_routes_need_the_admin_token(api: Api) -> None:
    for method, path in (("GET", "/sandbox/requests"), ("POST", "/sandbox/identities"), ("POST", "/sandbox/faults")):
        assert requests.request(method, api.url + path, json={}, timeout=10).status_code == 401


def test_requests_are_counted(state_dir: Path, api: Api) -> None:
    lifecycle.admin("DELETE", "/sandbox/requests", state_dir=state_dir)
    api.call("GET", "/v2/endpoints?role=owner")
    api.call("GET", "/v2/endpoints?role=owner")
    requests.get(f"{api.url}/sandbox/health", timeout=10)
    assert lifecycle.admin("GET", "/sandbox/requests", state_dir=state_dir) == {
        "requests": [{"method": "GET", "path": "/v2/endpoints", "count": 2}],
        "total": 2,
    }


@pytest.fixture
def faults(state_dir: Path) -> Iterator[Any]:
    def add(**rule: Any) -> None:
        lifecycle.admin("POST", "/sandbox/faults", {"rules": [rule]}, state_dir=state_dir)

    yield add
    lifecycle.admin("DELETE", "/sandbox/faults", state_dir=state_dir)


def test_faults(api: Api, faults: Any) -> None:
    faults(method="GET", path="^/v2/endpoints$", status=429, headers={"Retry-After": "1"}, times=2)
    replies = [api.call("GET", "/v2/endpoints") for _ in range(3)]
    assert [r.status_code for r in replies] == [429, 429, 200]
    assert replies[0].headers["Retry-After"] == "1"
    faults(path="/v2/endpoints", drop=True)
    with pytest.raises(requests.ConnectionError):
        api.call("GET", "/v2/endpoints")
    faults(path="/v2/version", truncate=True)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        api.call("GET", "/v2/version")
    faults(path="/v2/version", delay=0.3)
    began = time.monotonic()
    assert api.call("GET", "/v2/version").status_code == 200
    assert time.monotonic() - began >= 0.3


def test_a_lost_reply_is_of_something_that_was_done(api: Api, faults: Any) -> None:
    before = {e["uuid"] for e in api.call("GET", "/v2/endpoints").json()}
    faults(method="POST", path="^/v3/endpoints$", lost=True)
    with pytest.raises(requests.ConnectionError):
        api.register("lost")
    made = [e["name"] for e in api.call("GET", "/v2/endpoints").json() if e["uuid"] not in before]
    assert made == ["lost"]


def test_the_busiest_window_is_counted(api: Api, state_dir: Path) -> None:
    lifecycle.admin("DELETE", "/sandbox/requests", state_dir=state_dir)
    for _ in range(3):
        api.call("GET", "/v2/version")
    api.token(grant_type="client_credentials", scope="openid")  # Globus Auth's limits are others
    counted = lifecycle.admin("GET", "/sandbox/requests?window=60", state_dir=state_dir)
    assert (counted["busiest"], counted["total"]) == (3, 4)
    assert "busiest" not in lifecycle.admin("GET", "/sandbox/requests", state_dir=state_dir)
    with pytest.raises(ReconcilerError):
        lifecycle.admin("GET", "/sandbox/requests?window=soon", state_dir=state_dir)


def test_faults_need_the_option(tmp_path: Path) -> None:
    with sandbox(tmp_path / "s"), pytest.raises(Refused):
        lifecycle.admin("POST", "/sandbox/faults", {"rules": []}, state_dir=tmp_path / "s")


# across a restart


def test_state_survives_a_restart(tmp_path: Path) -> None:
    state, port = tmp_path / "s", free_port()
    with sandbox(state, port):
        api = default_api(state)
        other = other_api(state)
        kept, deleted, locked = api.register("kept"), api.register("deleted"), api.register("locked")
        api.call("DELETE", f"/v2/endpoints/{deleted}")
        api.call("POST", f"/v3/endpoints/{locked}/lock")
        first = api.call("PUT", f"/v3/endpoints/{kept}", {"endpoint_name": "kept", "metadata": {"a": 1}}).json()
        made = function(api)
        task = api.call("POST", f"/v3/endpoints/{kept}/submit", {"tasks": {made: ["a"]}}).json()["tasks"][made][0]
        revoked = Api(api.url, *api.client)
        revoked.token("/v2/oauth2/token/revoke", token=revoked.tokens["funcx_service"])
    with sandbox(state, port):
        assert [e["uuid"] for e in api.call("GET", "/v2/endpoints").json()] == [kept, locked]
        body = {"endpoint_name": "kept", "metadata": {"a": 1}}
        assert api.call("PUT", f"/v3/endpoints/{kept}", body).json() == first  # also the AMQP URLs
        assert api.call("PUT", f"/v3/endpoints/{locked}", body).status_code == 423
        assert api.call("PUT", f"/v3/endpoints/{deleted}", body).status_code == 404
        assert other.call("GET", f"/v2/endpoints/{kept}").status_code == 403
        assert api.call("GET", f"/v2/tasks/{task}").json()["status"] == "pending"
        assert revoked.call("GET", "/v2/endpoints").status_code == 401


def test_listing_a_thousand_is_quick(tmp_path: Path) -> None:
    with sandbox(tmp_path / "s"):
        api = default_api(tmp_path / "s")
        for number in range(1000):
            api.register(f"ep{number}", metadata={"user_config_template": "x" * 6000})
        times = []
        for _ in range(20):
            began = time.perf_counter()
            listed = api.call("GET", "/v2/endpoints?role=owner")
            times.append(time.perf_counter() - began)
        assert len(listed.json()) == 1000
        # About 1.5 ms, half of it this client's; the bound leaves room for a busy machine.
        assert sorted(times)[len(times) // 2] < 0.02
