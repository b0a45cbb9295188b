"""Globus Compute over HTTP: the `ComputeService` port on globus_sdk's ComputeClientV2.

Every request waits for the budget, carries a valid token, has a timeout, and is retried while the
trouble may pass. A reply counts only when it has the shape that the service documents; anything else
(a captive portal, a proxy's page, half a document) is `ServiceUnreachable`, never "not there".
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from reconciler.adapters.auth import Login
from reconciler.adapters.budget import Budget, Pause, request_budget
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.translate import (
    network_reason,
    own_words,
    refused,
    server_words,
    transient,
    unreachable,
    without_query,
)
from reconciler.core.frozen import dataclass
from reconciler.core.heartbeat import outstanding_tasks
from reconciler.core.live import Identity, Registration, Status, StatusReport
from reconciler.errors import LoginRequired, ServiceUnreachable, UsageError
from reconciler.ports import Clock

if TYPE_CHECKING:
    from globus_sdk import ComputeAPIError, ComputeClientV2, GlobusHTTPResponse

log = logging.getLogger(__name__)

# Seconds after which a request that keeps failing is given up. Nothing that listens on this machine
# needs minutes to come back.
PATIENCE = 60.0
LOCAL_PATIENCE = 5.0
# The longest wait that is not the service's own wish.
LONGEST_BACKOFF = 10.0
# For so many seconds after giving up, further requests fail at once: a plan that asks for a thousand
# endpoints must not wait a thousand times.
GIVEN_UP_FOR = 10.0

_WORTH_SAYING = 0.1
"""Seconds of waiting for the budget from which on the log says it."""

Call = Callable[["ComputeClientV2"], "GlobusHTTPResponse"]


@dataclass(frozen=True)
class _Later:
    """A failure that may pass: why, and in how many seconds the service wants to be asked again."""

    why: str
    after: float | None = None
    cause: Exception | None = None


@dataclass(frozen=True)
class _Absent:
    """The service said that there is no such thing (404)."""


class GlobusCompute:
    """The Compute service (implements `reconciler.ports.ComputeService`); safe to use from several threads.

    Args:
        config_dir: the Globus Compute config directory, for the token store.
        login: the login to use; made from the environment by default.
        clock: time; the system's by default.
        budget: the request budget; by default the service's documented limit.
        base_url: the service's URL; by default the login's.
        patience: seconds after which a request that keeps failing is given up.
        timeout: seconds without a byte after which one attempt has failed.
    """

    def __init__(
        self,
        config_dir: str,
        *,
        login: Login | None = None,
        clock: Clock | None = None,
        budget: Budget | None = None,
        base_url: str | None = None,
        patience: float | None = None,
        timeout: float | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self.login = login or Login(config_dir, clock=self._clock)
        self.url = (base_url or self.login.settings.url).rstrip("/")
        self._pause = Pause(self._clock)
        service = self.login.settings.service
        self._budget = budget or request_budget(service, self._clock, pause=self._pause)
        local = service == "sandbox"
        self._patience = patience if patience is not None else (LOCAL_PATIENCE if local else PATIENCE)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._client: ComputeClientV2 | None = None
        self._sent_token = ""
        self._gave_up: tuple[float, ServiceUnreachable] | None = None

    def interrupt(self) -> None:
        """End all waits, in every thread, with `Interrupted`."""
        self._pause.interrupt()

    def identity(self) -> Identity:
        return self.login.ask_identity()

    def prepare(self) -> None:
        self.login.prepare()

    def check_secret(self) -> None:
        self.login.check_secret()

    def reserve(self, requests: int) -> AbstractContextManager[None]:
        return self._budget.reserve(requests)

    def owned(self) -> Mapping[str, Registration]:
        path = "/v2/endpoints"
        document = self._ask(path, lambda client: client.get_endpoints(role="owner"))
        if not isinstance(document, list):
            raise self._nonsense(path)
        registrations = [self._registration(path, item) for item in document]
        return {registration.id: registration for registration in registrations}

    def get(self, endpoint_id: str) -> Registration | None:
        endpoint = _uuid(endpoint_id)
        path = f"/v2/endpoints/{endpoint}"
        document = self._ask(path, lambda client: client.get_endpoint(endpoint), may_lack=True)
        if isinstance(document, _Absent):
            return None
        registration = self._registration(path, document)
        if registration.id != endpoint:
            raise self._nonsense(path)
        return registration

    def status(self, endpoint_id: str) -> Status | None:
        report = self.report(endpoint_id)
        return report.status if report else None

    def report(self, endpoint_id: str) -> StatusReport | None:
        endpoint = _uuid(endpoint_id)
        path = f"/v2/endpoints/{endpoint}/status"
        document = self._ask(path, lambda client: client.get_endpoint_status(endpoint), may_lack=True)
        if isinstance(document, _Absent):
            return None
        if not isinstance(document, dict) or not isinstance(document.get("status"), str):
            raise self._nonsense(path)
        # Free text; everything but this word means that it does not serve.
        if document["status"] != "online":
            return StatusReport("offline")  # what it reported before it went away says nothing now
        return StatusReport("online", outstanding_tasks(document.get("details")))

    def delete(self, endpoint_id: str) -> None:
        endpoint = _uuid(endpoint_id)
        path = f"/v2/endpoints/{endpoint}"
        log.info("deregister %s", endpoint)
        document = self._ask(path, lambda client: client.delete_endpoint(endpoint), may_lack=True)
        # Only the service's own word counts as done; asked again, it says that there is none.
        if not isinstance(document, _Absent) and not (isinstance(document, dict) and "result" in document):
            raise self._nonsense(path)

    def _ask(self, path: str, call: Call, *, may_lack: bool = False) -> Any:
        """Make one request, again and again while the failure may pass; return the reply's JSON document."""
        url = self.url + path
        self._fail_fast()
        try:
            document = self._persist(url, call, may_lack)
        except ServiceUnreachable as error:
            self._gave_up = (self._clock.monotonic(), error)
            raise
        self._gave_up = None
        return document

    def _fail_fast(self) -> None:
        if self._gave_up is not None and self._clock.monotonic() < self._gave_up[0] + GIVEN_UP_FOR:
            last = self._gave_up[1]
            raise ServiceUnreachable(last.what, where=last.where, why=last.why, remedy=last.remedy) from last

    def _persist(self, url: str, call: Call, may_lack: bool) -> Any:
        deadline = self._clock.monotonic() + self._patience
        attempt = 0
        while True:
            try:
                result = self._attempt(url, call, may_lack)
            except RecursionError as error:
                raise unreachable(url, "Its answer is nested too deeply.") from error
            if not isinstance(result, _Later):
                return result
            wait = max(result.after or 0.0, _backoff(attempt))
            if self._clock.monotonic() + wait > deadline:
                again = f"run the command again in {wait:.0f} seconds" if result.after else None
                raise unreachable(url, result.why, remedy=again) from result.cause
            log.info("again in %.1f s", wait)
            self._pause.wait(wait)
            attempt += 1

    def _attempt(self, url: str, call: Call, may_lack: bool) -> Any:
        """Send the request once (twice when the token has to be renewed)."""
        from globus_sdk import ComputeAPIError, NetworkError  # noqa: PLC0415  # slow

        token = self.login.access_token()
        for renewed in (False, True):
            begun = self._clock.monotonic()
            self._budget.acquire()
            if (waited := self._clock.monotonic() - begun) > _WORTH_SAYING:
                log.info("waited %.1f s: the service takes so many requests only", waited)
            begun = self._clock.monotonic()
            try:
                response = call(self._authorized(token))
                self._log(url, response.http_status, begun)
                return self._document(url, response)
            except NetworkError as error:
                reason = network_reason(error)
                self._log(url, reason, begun)
                return _Later(reason, cause=error)
            except ComputeAPIError as error:
                self._log(url, error.http_status, begun)
                if error.http_status == 401 and not renewed:
                    token = self.login.access_token(refused=token)
                    continue
                return self._error_reply(error, url, may_lack)
        raise AssertionError("the second attempt returns")

    def _log(self, url: str, answer: object, begun: float) -> None:
        log.info("%s: %s, %.2f s", without_query(url), answer, self._clock.monotonic() - begun)

    def _error_reply(self, error: ComputeAPIError, url: str, may_lack: bool) -> _Later | _Absent:
        if error.http_status == 404 and may_lack and own_words(error.raw_json):
            return _Absent()
        words = server_words(error, self.login.clean)
        if transient(error.http_status):
            after = _retry_after(error.headers.get("Retry-After"), self._clock.now())
            return _Later(f"It answered {error.http_status}: {words}", after, error)
        if error.http_status == 401:
            raise LoginRequired(
                "The service does not accept the login, not even a new one.",
                where=without_query(url),
                why=f"It answered 401: {words}",
                remedy="run `chiltepin login --force`",
            ) from error
        raise refused(error, url, self.login.clean) from error

    def _document(self, url: str, response: GlobusHTTPResponse) -> Any:
        if response.http_status == 204:
            return {"result": 204}
        if response.data is None:
            raise unreachable(url, "It answered with something that is not JSON.")
        return response.data

    def _authorized(self, token: str) -> ComputeClientV2:
        from globus_sdk import AccessTokenAuthorizer  # noqa: PLC0415  # slow

        from reconciler.adapters.globus_client import compute_client  # noqa: PLC0415  # slow

        with self._lock:
            if self._client is None:
                self._client = compute_client(self.login.settings.environment, self.url, self._timeout)
            if token != self._sent_token:
                self._client.authorizer = AccessTokenAuthorizer(token)
                self._sent_token = token
            return self._client

    def _registration(self, path: str, item: Any) -> Registration:
        try:
            return Registration(
                id=str(uuid.UUID(item["uuid"])),
                name=_text(item["name"]) or "",
                display_name=_text(item.get("display_name")),
                hostname=_text(item.get("hostname")),
                local_user=_text(item.get("local_user")),
            )
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise self._nonsense(path) from error

    def _nonsense(self, path: str) -> ServiceUnreachable:
        return unreachable(self.url + path, "Its answer does not have the documented form.")


def _uuid(text: str) -> str:
    """Return a UUID in its usual form; it becomes part of a URL."""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise UsageError(f"{text!r} is not an endpoint's UUID.") from error


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _backoff(attempt: int) -> float:
    """Return how many seconds to wait before the next attempt: doubling, with jitter, bounded."""
    return min(LONGEST_BACKOFF, 0.5 * 2.0 ** min(attempt, 10)) * SystemRandom().uniform(0.5, 1.0)


def _retry_after(header: str | None, now: float) -> float | None:
    """Return the seconds in a Retry-After header (a number or a date), None without a valid one."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  # slow, and loaded by requests meanwhile

    if header is None:
        return None
    if header.isascii() and header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None
