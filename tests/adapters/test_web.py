from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from globus_sdk import AccessTokenAuthorizer, AuthClient

from reconciler.adapters.auth import AUTH, SCOPES, Login
from reconciler.adapters.budget import Unlimited
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.globus_client import compute_client
from reconciler.adapters.web import GIVEN_UP_FOR, GlobusCompute
from reconciler.core.live import Registration, StatusReport
from reconciler.errors import Interrupted, LoginRequired, ServiceRefused, ServiceUnreachable, UsageError
from reconciler.sandbox import lifecycle
from tests.adapters.globus_stub import (
    CLIENT,
    ENDPOINT,
    SECRET,
    FakeClock,
    GlobusStub,
    Reply,
    error,
    running_stub,
)
from tests.ports import free_port

LIST = "/v2/endpoints"
ONE = f"{LIST}/{ENDPOINT}"
STATUS = f"{ONE}/status"
ENTRY = {"uuid": ENDPOINT, "name": "main", "display_name": None, "owner": CLIENT}
HTML = Reply(200, body=b"<html><body>Please accept the terms</body></html>", headers={"Content-Type": "text/html"})


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GlobusStub]:
    with running_stub() as stub:
        for name in [n for n in os.environ if n.startswith(("GLOBUS_", "CHILTEPIN_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_ID", CLIENT)
        monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_SECRET", SECRET)
        for name, value in stub.environment().items():
            monkeypatch.setenv(name, value)
        stub.listing = [ENTRY]
        yield stub


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def service(stub: GlobusStub, clock: FakeClock, tmp_path: Path) -> GlobusCompute:
    return GlobusCompute(str(tmp_path / "gc"), clock=clock, patience=60)


CALLS: dict[str, tuple[str, Callable[[GlobusCompute], Any]]] = {
    "owned": (LIST, lambda service: service.owned()),
    "get": (ONE, lambda service: service.get(ENDPOINT)),
    "status": (STATUS, lambda service: service.status(ENDPOINT)),
    "delete": (ONE, lambda service: service.delete(ENDPOINT)),
}
every_call = pytest.mark.parametrize("name", CALLS)


def test_owned_is_one_get(stub: GlobusStub, service: GlobusCompute) -> None:
    assert service.owned() == {ENDPOINT: Registration(ENDPOINT, "main")}
    asked = [r for r in stub.requests if r.path == LIST]
    assert [(r.method, r.query) for r in asked] == [("GET", {"role": ["owner"]})]


def test_nothing_owned_is_an_empty_mapping(stub: GlobusStub, service: GlobusCompute) -> None:
    stub.listing = []
    assert service.owned() == {}


def test_get_tells_where_it_runs(stub: GlobusStub, service: GlobusCompute) -> None:
    stub.script[ONE] = [Reply(200, {**ENTRY, "display_name": "Main", "hostname": "ufe01", "local_user": "jdoe"})]
    assert service.get(ENDPOINT.upper()) == Registration(ENDPOINT, "main", "Main", "ufe01", "jdoe")


@pytest.mark.parametrize(
    ("word", "status"),
    [("online", "online"), ("offline", "offline"), ("Online", "offline"), ("initialized", "offline")],
)
def test_only_online_is_online(stub: GlobusStub, service: GlobusCompute, word: str, status: str) -> None:
    stub.script[STATUS] = [Reply(200, {"status": word})]
    assert service.status(ENDPOINT) == status


@pytest.mark.parametrize(
    ("reply", "report"),
    [
        ({"status": "online", "details": {"outstanding_tasks": 3}}, StatusReport("online", 3)),
        ({"status": "online", "details": {"heartbeat_period": 30.0}}, StatusReport("online", None)),
        ({"status": "online", "details": "none"}, StatusReport("online", None)),
        ({"status": "online"}, StatusReport("online", None)),
        ({"status": "offline", "details": {"outstanding_tasks": 3}}, StatusReport("offline", None)),
    ],
)
def test_a_report_counts_tasks_while_it_is_online(
    stub: GlobusStub, service: GlobusCompute, reply: dict[str, object], report: StatusReport
) -> None:
    stub.script[STATUS] = [Reply(200, reply)]
    assert service.report(ENDPOINT) == report


def test_404_about_an_endpoint_means_none(stub: GlobusStub, service: GlobusCompute) -> None:
    stub.listing = []
    assert service.get(ENDPOINT) is None
    assert service.status(ENDPOINT) is None
    assert service.report(ENDPOINT) is None
    service.delete(ENDPOINT)


def test_read_only_methods_send_gets_only(stub: GlobusStub, service: GlobusCompute) -> None:
    service.owned(), service.get(ENDPOINT), service.status(ENDPOINT), service.identity()
    assert stub.compute_methods() == {"GET"}
    service.delete(ENDPOINT)
    assert stub.compute_methods() == {"GET", "DELETE"}


BAD: dict[str, Reply] = {
    "html": HTML,
    "html 404": Reply(404, body=b"<html>no such page</html>", headers={"Content-Type": "text/html"}),
    "html 403": Reply(403, body=b"<html>blocked</html>", headers={"Content-Type": "text/html"}),
    "text": Reply(200, body=b"OK", headers={"Content-Type": "text/plain"}),
    "empty": Reply(200, body=b""),
    "half a document": Reply(200, body=b'[{"uuid": "'),
    "cut off": Reply(200, [ENTRY] * 50, cut=True),
    "dropped": Reply(drop=True),
    "500": error(500),
    "503": error(503),
    "520": error(520),
    "429": error(429),
    "502 html": Reply(502, body=b"<html>bad gateway</html>", headers={"Content-Type": "text/html"}),
}


@every_call
@pytest.mark.parametrize("bad", BAD)
def test_no_usable_answer_is_unreachable_never_absent(
    stub: GlobusStub, service: GlobusCompute, clock: FakeClock, name: str, bad: str
) -> None:
    path, call = CALLS[name]
    stub.script[path] = [BAD[bad]]
    with pytest.raises(ServiceUnreachable) as caught:
        call(service)
    assert caught.value.where == stub.url + path
    assert caught.value.why
    assert caught.value.remedy
    assert clock.slept <= 60


SHAPES: dict[str, list[Any]] = {
    "owned": [{}, {"endpoints": []}, "[]", 7, [1], [None], [{}], [{**ENTRY, "uuid": "x"}], [{**ENTRY, "name": 3}]],
    "get": [[], [ENTRY], {}, "x", {**ENTRY, "uuid": None}, {**ENTRY, "uuid": CLIENT}, {**ENTRY, "hostname": 3}],
    "delete": [[], {}, "deleted", 1, {"status": "online"}],
    "status": [[], {}, {"status": None}, {"status": True}, "online", {"state": "online"}],
}


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("name", CALLS)
def test_json_that_is_too_deep_is_unreachable(stub: GlobusStub, service: GlobusCompute, name: str, status: int) -> None:
    path, call = CALLS[name]
    stub.script[path] = [Reply(status, body=b"[" * 50_000, headers={"Content-Type": "application/json"})]
    gc.disable()  # what other tests left would be ended with no stack left, and be reported here
    try:
        with pytest.raises(ServiceUnreachable, match=r"could not be asked"):
            call(service)
    finally:
        gc.enable()


@pytest.mark.parametrize(("name", "document"), [(name, item) for name, items in SHAPES.items() for item in items])
def test_json_of_another_shape_is_unreachable(
    stub: GlobusStub, service: GlobusCompute, name: str, document: Any
) -> None:
    path, call = CALLS[name]
    stub.script[path] = [Reply(200, document)]
    with pytest.raises(ServiceUnreachable, match="form"):
        call(service)


NOT_THE_SERVICE: dict[str, Any] = {
    "a router": {"detail": "Not Found"},
    "a gateway": {"message": "no Route matched with those values"},
    "a load balancer": {"error": "not found", "status": 404},
    "a cloud": {"code": 404, "message": "default backend - 404"},
    "a list": [],
    "a word": "Not Found",
    "nothing": None,
}


@pytest.mark.parametrize("who", NOT_THE_SERVICE)
@every_call
def test_404_of_anybody_else_is_no_proof(stub: GlobusStub, service: GlobusCompute, name: str, who: str) -> None:
    path, call = CALLS[name]
    stub.script[path] = [Reply(404, NOT_THE_SERVICE[who])]
    with pytest.raises(ServiceUnreachable) as caught:
        call(service)
    assert caught.value.remedy


@every_call
def test_trouble_that_passes_is_waited_out(
    stub: GlobusStub, service: GlobusCompute, clock: FakeClock, name: str
) -> None:
    path, call = CALLS[name]
    good = {"owned": [ENTRY], "get": ENTRY, "status": {"status": "online"}, "delete": {"result": 302}}[name]
    passing = [error(503), Reply(drop=True), error(429), Reply(200, document=[1] * 99, cut=True), error(500)]
    stub.script[path] = [*passing, Reply(200, good)]
    call(service)
    assert 0 < clock.slept < 30


def test_a_delete_whose_reply_was_lost_is_done(stub: GlobusStub, service: GlobusCompute) -> None:
    stub.script[ONE] = [Reply(drop=True), error(404, "could not be resolved")]
    service.delete(ENDPOINT)


def test_retry_after_is_honoured(stub: GlobusStub, service: GlobusCompute, clock: FakeClock) -> None:
    stub.script[LIST] = [Reply(429, {}, headers={"Retry-After": "17"}), Reply(200, [])]
    service.owned()
    assert 17 <= clock.slept < 18


def test_retry_after_may_be_a_date(stub: GlobusStub, service: GlobusCompute, clock: FakeClock) -> None:
    date = formatdate(clock.now() + 20, usegmt=True)
    stub.script[LIST] = [Reply(503, {}, headers={"Retry-After": date}), Reply(200, [])]
    service.owned()
    assert 18 <= clock.slept < 21


@pytest.mark.parametrize("value", ["soon", "", "-5", "1.5", "²", "Wed, 99 Foo 2026", "0"])
def test_a_useless_retry_after_does_no_harm(
    stub: GlobusStub, service: GlobusCompute, clock: FakeClock, value: str
) -> None:
    stub.script[LIST] = [Reply(429, {}, headers={"Retry-After": value.encode("utf-8").decode("latin-1")})]
    with pytest.raises(ServiceUnreachable):
        service.owned()
    assert 30 < clock.slept <= 60
    assert stub.count("GET", LIST) < 20


def test_a_longer_wish_than_our_patience_is_passed_on_at_once(
    stub: GlobusStub, service: GlobusCompute, clock: FakeClock
) -> None:
    stub.script[LIST] = [Reply(429, {}, headers={"Retry-After": "3600"})]
    with pytest.raises(ServiceUnreachable, match="3600 seconds"):
        service.owned()
    assert clock.slept == 0


def test_after_giving_up_further_questions_fail_at_once(
    stub: GlobusStub, service: GlobusCompute, clock: FakeClock
) -> None:
    stub.script[LIST] = [error(503)]
    with pytest.raises(ServiceUnreachable):
        service.owned()
    asked, slept = len(stub.requests), clock.slept
    for _ in range(1000):
        with pytest.raises(ServiceUnreachable):
            service.status(ENDPOINT)
    assert (len(stub.requests), clock.slept) == (asked, slept)
    clock.sleep(GIVEN_UP_FOR)
    assert service.status(ENDPOINT) == "online"


def test_a_service_that_hangs_is_given_up(stub: GlobusStub, tmp_path: Path) -> None:
    done = threading.Event()
    stub.script[LIST] = [Reply(200, [], hold=done)]
    service = GlobusCompute(str(tmp_path), patience=0, timeout=0.2)
    try:
        with pytest.raises(ServiceUnreachable, match="in time"):
            service.owned()
    finally:
        done.set()


def test_nothing_that_listens(stub: GlobusStub, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ServiceUnreachable, match="Connection refused") as caught:
        GlobusCompute(str(tmp_path), base_url=url, patience=0).owned()
    assert "0x" not in str(caught.value)
    assert "sandbox up" in str(caught.value)


def test_a_name_that_does_not_resolve(stub: GlobusStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    service = GlobusCompute(str(tmp_path), base_url="https://compute.invalid", patience=0)
    with pytest.raises(ServiceUnreachable, match="resolved"):
        service.owned()


def test_tls_trouble(stub: GlobusStub, tmp_path: Path) -> None:
    service = GlobusCompute(str(tmp_path), base_url=stub.url.replace("http:", "https:"), patience=0)
    with pytest.raises(ServiceUnreachable, match="TLS"):
        service.owned()


def test_a_proxy_is_not_asked_for_this_machine_and_never_shown_with_its_password(
    stub: GlobusStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = f"http://someone:hunter2@127.0.0.1:{free_port()}"
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    service = GlobusCompute(str(tmp_path), patience=0)
    assert service.owned()
    with pytest.raises(ServiceUnreachable, match="proxy") as caught:
        GlobusCompute(str(tmp_path), login=service.login, base_url="https://compute.invalid", patience=0).owned()
    assert "hunter2" not in str(caught.value)


@every_call
def test_a_refused_token_is_renewed_once(stub: GlobusStub, service: GlobusCompute, name: str) -> None:
    service.owned()
    stub.valid.clear()
    CALLS[name][1](service)
    assert stub.count("POST", "/v2/oauth2/token") == 2


def test_a_new_token_that_is_refused_too_needs_a_login(stub: GlobusStub, service: GlobusCompute) -> None:
    stub.script[LIST] = [error(401, "no")]
    with pytest.raises(LoginRequired, match="chiltepin login"):
        service.owned()
    assert stub.count("GET", LIST) == 2
    assert stub.count("POST", "/v2/oauth2/token") == 2


def test_threads_renew_a_token_once(stub: GlobusStub, service: GlobusCompute) -> None:
    service.prepare()
    stub.valid.clear()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(service.status, [ENDPOINT] * 40)) == {"online"}
    assert stub.count("POST", "/v2/oauth2/token") == 2  # of prepare, and this one


@pytest.mark.parametrize("status", [400, 403, 409, 422, 423])
@every_call
def test_other_refusals_carry_their_status(stub: GlobusStub, service: GlobusCompute, name: str, status: int) -> None:
    path, call = CALLS[name]
    stub.script[path] = [error(status, "not you")]
    with pytest.raises(ServiceRefused, match="not you") as caught:
        call(service)
    assert caught.value.status == status
    assert stub.count("GET", path) + stub.count("DELETE", path) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"authorization_parameters": {"session_required_single_domain": ["noaa.gov"]}},
        {"code": "ConsentRequired", "required_scopes": sorted(SCOPES["funcx_service"])},
    ],
)
def test_a_missing_consent_or_session_needs_a_login(
    stub: GlobusStub, service: GlobusCompute, more: dict[str, Any]
) -> None:
    stub.script[LIST] = [error(403, "session", **more)]
    with pytest.raises(LoginRequired, match="--force"):
        service.owned()


def test_what_the_server_says_is_shown_without_secrets_and_control_characters(
    stub: GlobusStub, service: GlobusCompute
) -> None:
    token = service.login.access_token()
    long = "Ag" + "x" * 90
    said = f"bad {token} and {SECRET} and {long}\x1b[2J\r\nsecond line " + "so long " * 200
    stub.script[LIST] = [error(422, said)]
    with pytest.raises(ServiceRefused) as caught:
        service.owned()
    text = str(caught.value) + repr(caught.value)
    for hidden in (token, SECRET, long, "\x1b", "\r"):
        assert hidden not in text
    assert "second line" in text
    assert len(text) < 1000


def test_no_repr_shows_a_secret(stub: GlobusStub, service: GlobusCompute) -> None:
    service.prepare()
    token = service.login.access_token()
    login = service.login
    text = repr([service, login, login.settings, login.store, login.store.read(), login._account()])
    assert SECRET not in text
    assert token not in text


def test_every_attempt_counts_against_the_budget(stub: GlobusStub, clock: FakeClock, tmp_path: Path) -> None:
    class Counting(Unlimited):
        acquired = 0
        reserved = 0

        def acquire(self, requests: int = 1) -> None:
            self.acquired += requests

        def reserve(self, requests: int) -> AbstractContextManager[None]:
            self.reserved += requests
            return super().reserve(requests)

    budget = Counting()
    service = GlobusCompute(str(tmp_path), clock=clock, budget=budget, patience=60)
    service.owned()
    stub.script[LIST] = [error(503), error(401), error(429), Reply(200, [])]
    service.owned()
    with service.reserve(4):
        pass
    assert budget.acquired == stub.count("GET", LIST) == 5
    assert budget.reserved == 4


def test_the_set_budget_is_kept(
    stub: GlobusStub, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHILTEPIN_REQUEST_BUDGET", "20/10")
    service = GlobusCompute(str(tmp_path), clock=clock)
    for _ in range(19):
        service.status(ENDPOINT)
    assert clock.slept == 0
    service.status(ENDPOINT)
    assert clock.slept >= 10


def test_interrupt_ends_retries_in_other_threads(stub: GlobusStub, tmp_path: Path) -> None:
    stub.script[LIST] = [Reply(429, {}, headers={"Retry-After": "50"})]
    service = GlobusCompute(str(tmp_path), clock=SystemClock(), patience=60)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            service.owned()
        except Interrupted as problem:
            raised.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    service.interrupt()
    thread.join(20)
    assert len(raised) == 1


def test_ctrl_c_ends_a_retry(stub: GlobusStub, tmp_path: Path) -> None:
    class Interrupting(FakeClock):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

    stub.script[LIST] = [error(503)]
    with pytest.raises(KeyboardInterrupt):
        GlobusCompute(str(tmp_path), clock=Interrupting()).owned()


def test_what_is_no_uuid_never_becomes_part_of_a_url(stub: GlobusStub, service: GlobusCompute) -> None:
    for text in ("../functions", "", "main", f"{ENDPOINT}/status"):
        with pytest.raises(UsageError):
            service.delete(text)
    assert stub.compute_methods() == set()


@pytest.mark.parametrize("name", ["GLOBUS_SDK_HTTP_TIMEOUT", "GLOBUS_SDK_VERIFY_SSL"])
def test_a_bad_setting_of_the_sdk_is_a_usage_error(
    stub: GlobusStub, service: GlobusCompute, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "maybe")
    with pytest.raises(UsageError, match=name):
        service.owned()


def test_against_the_sandbox(stub: GlobusStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "sandbox"
    lifecycle.up(state, port=free_port())
    try:
        for name, value in lifecycle.environment(state).items():
            monkeypatch.setenv(name, value)
        service = GlobusCompute(str(tmp_path / "gc"))
        service.prepare()
        client = compute_client("local", service.url, None)
        client.authorizer = AccessTokenAuthorizer(service.login.access_token())
        metadata = {"hostname": "ufe01", "local_user": "jdoe", "endpoint_version": "4.19.0"}
        created = client.post("/v3/endpoints", data={"endpoint_name": "main", "metadata": metadata})
        endpoint = str(created["endpoint_id"])
        assert service.owned() == {endpoint: Registration(endpoint, "main", "main")}
        assert service.get(endpoint) == Registration(endpoint, "main", "main", "ufe01", "jdoe")
        assert service.status(endpoint) == "offline"
        service.delete(endpoint)
        service.delete(endpoint)
        assert (service.owned(), service.get(endpoint), service.status(endpoint)) == ({}, None, None)
        authorizer = AccessTokenAuthorizer(service.login.store.read()[AUTH].access_token)
        who = AuthClient(environment="local", authorizer=authorizer)
        assert who.userinfo()["sub"] == service.identity().id
    finally:
        lifecycle.down(state)


def test_imports_stay_small(stub: GlobusStub, tmp_path: Path) -> None:
    """Importing costs no SDK; a question with a valid token in the store costs none of its app machinery."""
    Login(str(tmp_path / "gc")).prepare()
    code = (
        "import json, sys\n"
        "from reconciler.adapters.web import GlobusCompute\n"
        "first = sorted(m for m in sys.modules if m.startswith(('globus', 'requests')))\n"
        f"GlobusCompute({str(tmp_path / 'gc')!r}).owned()\n"
        "print(json.dumps([first, sorted(sys.modules)]))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, later = json.loads(run.stdout)
    assert first == []
    slow = ("globus_sdk.globus_app", "globus_sdk.services.auth", "globus_sdk.token_storage", "globus_compute", "jwt")
    assert [m for m in later if m.startswith(slow)] == []
