"""A server on loopback that plays Globus Auth and Globus Compute, and misbehaves as it is told to.

Real HTTP: what a test scripts here is what globus_sdk gets to read from a socket.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from reconciler.adapters.auth import AUTH, COMPUTE, SCOPES

ENDPOINT = "3d9f1bbb-3a3e-4b53-a5f6-6a3f0d0d2f7a"
USER = "0b1a6f9c-9f5e-4d0a-8f3f-1f2e3d4c5b6a"
OTHER_USER = "99999999-9f5e-4d0a-8f3f-1f2e3d4c5b6a"
CLIENT = "11cd9b70-3c06-4b2c-8738-cc1b615572ff"
SECRET = "the-secret-of-the-client"


class FakeClock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._start = time.time()
        self._lock = threading.Lock()

    def now(self) -> float:
        return self._start + self._offset

    def monotonic(self) -> float:
        return 1000.0 + self._offset

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._offset += seconds

    @property
    def slept(self) -> float:
        return self._offset


@dataclass(frozen=True)
class Reply:
    """One answer; `drop` closes the connection without one, `cut` in the middle of the body."""

    status: int = 200
    document: Any = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    cut: bool = False
    hold: threading.Event | None = None

    def bytes(self) -> bytes:
        return self.body if self.body is not None else json.dumps(self.document).encode()


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, list[str]]
    authorization: str
    form: Mapping[str, str]


def error(status: int, reason: str = "because", **more: Any) -> Reply:
    """An error reply in the Compute service's form."""
    body = {"status": "Failed", "code": "X", "reason": reason, "error_args": [], "http_status_code": status}
    return Reply(status, {**body, **more})


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class GlobusStub:
    """What the server knows, was asked, and is to answer.

    `script` holds answers for a path, given in turn; the last one stays. Paths without a script get
    the answer of a healthy service.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: dict[str, list[Reply]] = {}
        self.valid: set[str] = set()  # access tokens that the Compute service accepts
        self.refresh: dict[str, str] = {}  # refresh tokens, and the resource server of each
        self.login_as = USER
        self.listing: list[dict[str, Any]] = []
        self.says = "online"  # of every endpoint that no daemon registered by itself
        self.online_while: Path | None = None  # a file: an endpoint is online for as long as it is there
        self.registered_since: Callable[[], list[dict[str, Any]]] = list  # what daemons add by themselves
        self._lock = threading.Lock()
        self.url = ""

    def count(self, method: str, path: str) -> int:
        return sum((r.method, r.path) == (method, path) for r in self.requests)

    def compute_methods(self) -> set[str]:
        return {r.method for r in self.requests if r.path.startswith("/v2/endpoints")}

    def answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            scripted = self.script.get(request.path)
            if scripted:
                return scripted.pop(0) if len(scripted) > 1 else scripted[0]
            return self._healthy(request)

    def _healthy(self, request: Request) -> Reply:
        if request.path == "/v2/oauth2/token":
            return self._token(request)
        if request.path == "/v2/oauth2/token/revoke":
            self.valid.discard(request.form["token"])
            self.refresh.pop(request.form["token"], None)
            return Reply(200, {"active": False})
        if request.path == "/.well-known/openid-configuration":
            jwks = f"{self.url}/jwk.json"
            return Reply(200, {"jwks_uri": jwks, "id_token_signing_alg_values_supported": ["RS256"]})
        if request.path == "/jwk.json":
            return Reply(200, {"keys": [json.loads(RSAAlgorithm.to_jwk(_key().public_key()))]})
        if request.authorization.removeprefix("Bearer ") not in self.valid:
            return error(401, "token unknown")
        return self._compute(request)

    def _compute(self, request: Request) -> Reply:
        by_daemons = self.registered_since()
        listing = [*self.listing, *by_daemons]
        if request.path == "/v2/endpoints":
            return Reply(200, listing)
        known = {item["uuid"]: item for item in listing}
        wanted = request.path.split("/")[3]
        if wanted not in known:
            return error(404, f"Endpoint {wanted} could not be resolved")
        if request.path.endswith("/status"):
            online = any(item["uuid"] == wanted for item in by_daemons)
            online = online or (self.online_while is not None and self.online_while.exists())
            return Reply(200, {"status": "online" if online else self.says, "details": {}})
        if request.method != "DELETE":
            return Reply(200, known[wanted])
        self.listing = [item for item in self.listing if item["uuid"] != wanted]
        return Reply(200, {"result": 302})

    def issue(self, server: str, *, renewable: bool) -> dict[str, Any]:
        """Issue a token as Globus Auth's reply describes it."""
        access, refresh = f"access-{uuid.uuid4().hex}", f"refresh-{uuid.uuid4().hex}"
        if server == COMPUTE:
            self.valid.add(access)
        if renewable:
            self.refresh[refresh] = server
        reply = {"access_token": access, "resource_server": server, "expires_in": 172800, "token_type": "Bearer"}
        return {**reply, "scope": " ".join(sorted(SCOPES[server])), **({"refresh_token": refresh} if renewable else {})}

    def _token(self, request: Request) -> Reply:
        grant = request.form["grant_type"]
        if grant == "client_credentials":
            expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            if request.authorization != f"Basic {expected}":
                return Reply(401, {"error": "invalid_client"})
            tokens = [self.issue(server, renewable=False) for server in (COMPUTE, AUTH)]
            return Reply(200, {**tokens[0], "other_tokens": tokens[1:]})
        if grant == "refresh_token":
            server = self.refresh.get(request.form["refresh_token"])
            if server is None:
                return Reply(400, {"error": "invalid_grant", "error_description": "the refresh token is not valid"})
            return Reply(200, {**self.issue(server, renewable=True), "other_tokens": []})
        tokens = [self.issue(server, renewable=True) for server in (COMPUTE, AUTH)]
        claims = {"sub": self.login_as, "aud": request.form["client_id"], "exp": time.time() + 600}
        signed = jwt.encode(claims, _key(), algorithm="RS256")
        return Reply(200, {**tokens[0], "other_tokens": tokens[1:], "id_token": signed})

    def environment(self) -> dict[str, str]:
        """Return the variables that point globus_sdk and us here."""
        return {
            "GLOBUS_SDK_ENVIRONMENT": "local",
            "GLOBUS_SDK_SERVICE_URL_AUTH": f"{self.url}/",
            "GLOBUS_SDK_SERVICE_URL_COMPUTE": f"{self.url}/",
        }


@contextmanager
def running_stub(stub: GlobusStub | None = None) -> Iterator[GlobusStub]:
    stub = stub or GlobusStub()
    server = _Server(("127.0.0.1", 0), _handler(stub.answer))
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that waits no longer is no error of the test."""


def _handler(answer: Callable[[Request], Reply]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            authorization = self.headers.get("Authorization", "")
            reply = answer(Request(self.command, parts.path, parse_qs(parts.query), authorization, form))
            if reply.hold is not None:
                reply.hold.wait(30)
            if reply.drop:
                self._close()
                return
            content = b"" if reply.status == 204 else reply.bytes()
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if reply.cut else content)
            if reply.cut:
                self._close()

        def _close(self) -> None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))

        do_GET = do_POST = do_PUT = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Tests print nothing."""

    return Handler
