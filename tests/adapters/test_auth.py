from __future__ import annotations

import inspect
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import typer
from globus_sdk.token_storage import SQLiteTokenStorage, TokenStorageData
from typer.testing import CliRunner

from reconciler.adapters import globus_app
from reconciler.adapters.auth import (
    AUTH,
    CHILTEPIN_CLIENT,
    COMPUTE,
    SCOPES,
    URLS,
    Login,
    client_environment,
    settings,
)
from reconciler.cli import login as commands
from reconciler.core.live import Identity
from reconciler.errors import LoginRequired, ServiceUnreachable, UsageError
from tests.adapters.globus_stub import (
    CLIENT,
    OTHER_USER,
    SECRET,
    USER,
    FakeClock,
    GlobusStub,
    Reply,
    running_stub,
)
from tests.ports import free_port

TOKEN_PATH = "/v2/oauth2/token"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in [n for n in os.environ if n.startswith(("GLOBUS_", "CHILTEPIN_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(globus_app, "RETRIES", 0)  # the SDK waits between its own with the real clock
    return tmp_path


@pytest.fixture
def stub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlobusStub]:
    with running_stub() as stub:
        for name, value in stub.environment().items():
            monkeypatch.setenv(name, value)
        yield stub


@pytest.fixture
def as_client(stub: GlobusStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_ID", CLIENT)
    monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_SECRET", SECRET)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def log_in(stub: GlobusStub, directory: Path, **options: Any) -> Login:
    login = Login(str(directory), **options)
    assert login.log_in(lambda url: "the-code")
    return login


def rows(store: Path) -> dict[tuple[str, str], dict[str, Any]]:
    with sqlite3.connect(store) as connection:
        found = connection.execute("SELECT namespace, resource_server, token_data_json FROM token_storage").fetchall()
    return {(namespace, server): json.loads(text) for namespace, server, text in found}


def put(store: Path, namespace: str, server: str, **changed: Any) -> None:
    """Write a token as the SDK does."""
    data = {
        "resource_server": server,
        "identity_id": USER,
        "scope": " ".join(sorted(SCOPES.get(server, {"other"}))),
        "access_token": f"stored-{namespace}-{server}",
        "refresh_token": None,
        "expires_at_seconds": 4102444800,
        "token_type": "Bearer",
        **changed,
    }
    storage = SQLiteTokenStorage(store, namespace=namespace)
    storage.store_token_data_by_resource_server({server: TokenStorageData(**data)})
    storage.close()


def umask_probe(directory: Path) -> int:
    """Return the permission bits that a new file gets now."""
    probe = directory / "probe"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    return mode


def daemon_login(directory: Path, environ: Mapping[str, str]) -> Any:
    """Ask the installed globus-compute-endpoint whether it would have to log in, with Auth out of reach."""
    code = (
        "import json\n"
        "from globus_compute_endpoint.auth import get_globus_app_with_scopes\n"
        "app = get_globus_app_with_scopes()\n"
        "token = app.get_authorizer('funcx_service').get_authorization_header()\n"
        "print(json.dumps([app.login_required(), token]))\n"
    )
    offline = {"GLOBUS_SDK_SERVICE_URL_AUTH": f"http://127.0.0.1:{free_port()}/"}
    environment = {**os.environ, **environ, **offline, "GLOBUS_COMPUTE_USER_DIR": str(directory)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


# What must be as globus_compute_sdk, the daemons and upstream's Chiltepin have it


@pytest.mark.parametrize("environment", [None, "production", "preview", "local", "test"])
@pytest.mark.parametrize(
    "client", [{}, {"GLOBUS_COMPUTE_CLIENT_ID": CLIENT}, {"GLOBUS_COMPUTE_CLIENT_ID": CLIENT, "SECRET": SECRET}]
)
def test_namespace_is_the_sdks(
    home: Path, monkeypatch: pytest.MonkeyPatch, environment: str | None, client: dict[str, str]
) -> None:
    from globus_compute_sdk.sdk.auth.token_storage import get_token_storage  # noqa: PLC0415  # slow

    for name, value in client.items():
        monkeypatch.setenv(name if name.startswith("GLOBUS") else "GLOBUS_COMPUTE_CLIENT_SECRET", value)
    if environment is not None:
        monkeypatch.setenv("GLOBUS_SDK_ENVIRONMENT", environment)
    storage = get_token_storage(environment=environment)
    login = Login(str(home / ".globus_compute"))
    assert login.settings.namespace == storage.namespace
    assert str(login.store.path) == storage.filepath
    storage.close()


def test_urls_are_the_sdks() -> None:
    from globus_compute_sdk.sdk._environments import get_web_service_url  # noqa: PLC0415  # slow

    for environment, url in URLS.items():
        assert url == get_web_service_url(environment).replace("//localhost:", "//127.0.0.1:")


def test_scopes_are_the_daemons(home: Path) -> None:
    from globus_compute_endpoint.auth import get_globus_app_with_scopes  # noqa: PLC0415  # slow

    needed = get_globus_app_with_scopes().scope_requirements
    assert {server: {str(scope) for scope in scopes} for server, scopes in needed.items()} == dict(SCOPES)


def test_default_client_is_upstreams(home: Path) -> None:
    from chiltepin.endpoint import CHILTEPIN_CLIENT_UUID  # noqa: PLC0415  # slow

    assert settings({}).client_id == CHILTEPIN_CLIENT == CHILTEPIN_CLIENT_UUID


def test_upstream_and_ours_share_one_login(stub: GlobusStub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import chiltepin.endpoint  # noqa: PLC0415  # slow

    log_in(stub, home / ".globus_compute")
    monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_ID", "replaced by upstream, which sets it")
    monkeypatch.delenv("GLOBUS_COMPUTE_CLIENT_ID")
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", stub.url)
    compute_app = chiltepin.endpoint.get_chiltepin_apps()[0]
    assert not compute_app.login_required()
    compute_app.close()


# Settings


def test_services_have_names_of_their_own() -> None:
    names = {environment: settings({"GLOBUS_SDK_ENVIRONMENT": environment}).service for environment in URLS}
    assert names["production"] == "production"
    assert names["local"] == "sandbox"
    assert len(set(names.values())) == len(names)


def test_a_secret_without_its_client_needs_a_login() -> None:
    with pytest.raises(LoginRequired, match="GLOBUS_COMPUTE_CLIENT_ID") as caught:
        settings({"GLOBUS_COMPUTE_CLIENT_SECRET": SECRET})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["", "prod", "dev"])
def test_an_unknown_environment_is_refused_not_taken_for_production(name: str) -> None:
    with pytest.raises(UsageError, match="GLOBUS_SDK_ENVIRONMENT"):
        settings({"GLOBUS_SDK_ENVIRONMENT": name})


def test_only_the_local_environment_has_an_address_of_its_own() -> None:
    elsewhere = {"GLOBUS_SDK_SERVICE_URL_COMPUTE": "http://127.0.0.1:5055/"}
    assert settings(elsewhere).url == URLS["production"]
    assert settings({**elsewhere, "GLOBUS_SDK_ENVIRONMENT": "local"}).url == "http://127.0.0.1:5055/"


def test_daemons_are_told_the_client_and_the_service() -> None:
    assert client_environment({"HOME": "/home/x"}) == {"GLOBUS_COMPUTE_CLIENT_ID": CHILTEPIN_CLIENT}
    chosen = {
        "GLOBUS_COMPUTE_CLIENT_ID": CLIENT,
        "GLOBUS_COMPUTE_CLIENT_SECRET": SECRET,
        "GLOBUS_SDK_ENVIRONMENT": "local",
        "GLOBUS_SDK_SERVICE_URL_AUTH": "http://localhost:5000/",
    }
    assert client_environment({**chosen, "HOME": "/home/x"}) == chosen


# Tokens


def test_a_valid_token_in_the_store_is_used_as_it_is(stub: GlobusStub, home: Path) -> None:
    store = home / "gc" / "storage.db"
    put(store, "user/local", COMPUTE)
    put(store, "user/production", COMPUTE)
    before = store.read_bytes()
    login = Login(str(home / "gc"))
    assert login.access_token() == f"stored-user/local-{COMPUTE}"
    assert login.identity() == Identity("sandbox", USER, CHILTEPIN_CLIENT)
    assert stub.requests == []
    assert store.read_bytes() == before


def test_an_expired_token_is_renewed_in_the_store_and_nothing_else_is(
    stub: GlobusStub, home: Path, clock: FakeClock
) -> None:
    store = home / "gc" / "storage.db"
    put(store, "user/local", COMPUTE, expires_at_seconds=int(clock.now()) + 30, refresh_token="renew-me")
    put(store, "user/local", AUTH, refresh_token="leave-me")
    put(store, "user/production", COMPUTE, expires_at_seconds=1)
    stub.refresh["renew-me"] = COMPUTE
    before = rows(store)
    login = Login(str(home / "gc"), clock=clock)
    token = login.access_token()
    after = rows(store)
    assert token in stub.valid
    assert after.pop(("user/local", COMPUTE))["access_token"] == token
    before.pop(("user/local", COMPUTE))
    assert after == before
    assert login.access_token() == token
    assert stub.count("POST", TOKEN_PATH) == 1


def test_another_services_token_in_the_namespace_does_not_matter(stub: GlobusStub, home: Path) -> None:
    store = home / "gc" / "storage.db"
    put(store, "user/local", COMPUTE, expires_at_seconds=1, refresh_token="renew-me")
    put(store, "user/local", "transfer.api.globus.org", expires_at_seconds=1)
    stub.refresh["renew-me"] = COMPUTE
    assert Login(str(home / "gc")).access_token() in stub.valid


def test_a_token_that_a_daemon_renewed_meanwhile_is_used(stub: GlobusStub, home: Path, clock: FakeClock) -> None:
    store = home / "gc" / "storage.db"
    put(store, "user/local", COMPUTE, access_token="first")
    login = Login(str(home / "gc"), clock=clock)
    assert login.access_token() == "first"
    put(store, "user/local", COMPUTE, access_token="second")
    assert login.access_token(refused="first") == "second"
    assert stub.requests == []


def test_a_token_with_too_few_scopes_is_not_used(stub: GlobusStub, home: Path) -> None:
    put(home / "gc" / "storage.db", "user/local", COMPUTE, scope="something_else", refresh_token="r")
    with pytest.raises(LoginRequired, match="chiltepin login"):
        Login(str(home / "gc")).access_token()


@pytest.mark.parametrize("refresh", [None, "revoked"])
def test_what_cannot_be_renewed_needs_a_login(stub: GlobusStub, home: Path, refresh: str | None) -> None:
    store = home / "gc" / "storage.db"
    put(store, "user/local", COMPUTE, expires_at_seconds=1, refresh_token=refresh)
    with pytest.raises(LoginRequired) as caught:
        Login(str(home / "gc")).access_token()
    text = str(caught.value)
    assert str(store) in text
    assert CHILTEPIN_CLIENT in text
    assert "chiltepin login" in text
    assert "stored-" not in text
    assert rows(store)["user/local", COMPUTE].get("refresh_token") == refresh


def test_nobody_logged_in(stub: GlobusStub, home: Path) -> None:
    login = Login(str(home / "gc"))
    for ask in (login.access_token, login.identity, login.prepare):
        with pytest.raises(LoginRequired, match="chiltepin login"):
            ask()
    assert stub.requests == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, {}),
        Reply(429, {}),
        Reply(503, body=b"<html>", headers={"Content-Type": "text/html"}),
        Reply(drop=True),
        Reply(200, {"access_token": "x"}),
        Reply(200, []),
        Reply(200, body=b"<html>", headers={"Content-Type": "text/html"}),
        Reply(200, {"access_token": "x" * 20}, cut=True),
    ],
)
@pytest.mark.parametrize("client", [True, False])
def test_auth_without_a_usable_answer_is_unreachable(
    stub: GlobusStub, home: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply, client: bool
) -> None:
    if client:
        monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_ID", CLIENT)
        monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_SECRET", SECRET)
    put(home / "gc" / "storage.db", "user/local", COMPUTE, expires_at_seconds=1, refresh_token="r")
    stub.script[TOKEN_PATH] = [reply]
    with pytest.raises(ServiceUnreachable) as caught:
        Login(str(home / "gc")).access_token()
    assert caught.value.where is not None
    assert caught.value.where.startswith(stub.url)
    assert rows(home / "gc" / "storage.db")["user/local", COMPUTE]["refresh_token"] == "r"


def test_a_wrong_secret_names_the_variables(stub: GlobusStub, as_client: None, home: Path) -> None:
    login = Login(str(home), environ={**os.environ, "GLOBUS_COMPUTE_CLIENT_SECRET": "wrong-secret"})
    with pytest.raises(LoginRequired, match="GLOBUS_COMPUTE_CLIENT_SECRET") as caught:
        login.access_token()
    assert "wrong-secret" not in str(caught.value)


def test_a_secret_is_checked_although_the_store_has_a_token_of_the_right_one(
    stub: GlobusStub, as_client: None, home: Path
) -> None:
    right = Login(str(home / "gc"))
    right.prepare()
    right.check_secret()
    assert stub.count("POST", TOKEN_PATH) == 1  # the token that it just got says it already
    wrong = Login(str(home / "gc"), environ={**os.environ, "GLOBUS_COMPUTE_CLIENT_SECRET": "wrong-secret"})
    assert wrong.access_token() in stub.valid
    with pytest.raises(LoginRequired, match="GLOBUS_COMPUTE_CLIENT_SECRET"):
        wrong.check_secret()
    assert Login(str(home / "gc")).access_token() in stub.valid


def test_a_users_login_has_no_secret_to_check(stub: GlobusStub, home: Path) -> None:
    Login(str(home / "gc")).check_secret()
    assert stub.requests == []


def test_an_unknown_address_of_auth(home: Path) -> None:
    chosen = {"GLOBUS_SDK_ENVIRONMENT": "local", "GLOBUS_COMPUTE_CLIENT_ID": CLIENT}
    with pytest.raises(UsageError, match="GLOBUS_SDK_SERVICE_URL_AUTH"):
        Login(str(home), environ={**chosen, "GLOBUS_COMPUTE_CLIENT_SECRET": SECRET}).access_token()


def test_a_clients_identity_is_the_client(stub: GlobusStub, as_client: None, home: Path) -> None:
    assert Login(str(home / "gc")).identity() == Identity("sandbox", CLIENT, CLIENT)
    assert stub.requests == []


def test_reading_leaves_no_files(stub: GlobusStub, as_client: None, home: Path) -> None:
    login = Login(str(home / "gc"))
    assert login.access_token() in stub.valid
    assert login.access_token() in stub.valid
    assert stub.count("POST", TOKEN_PATH) == 1
    assert list(home.iterdir()) == []


def test_different_identities_in_one_store(stub: GlobusStub, home: Path) -> None:
    store = home / "gc" / "storage.db"
    put(store, "user/local", COMPUTE, expires_at_seconds=1, refresh_token="r")
    put(store, "user/local", AUTH, identity_id=OTHER_USER)
    login = Login(str(home / "gc"))
    for ask in (login.identity, login.access_token):
        with pytest.raises(LoginRequired, match="chiltepin logout"):
            ask()
    assert login.log_out()
    assert rows(store) == {}


# The store


def test_a_store_elsewhere_serves_until_prepare_links_it(stub: GlobusStub, home: Path) -> None:
    default = home / ".globus_compute" / "storage.db"
    log_in(stub, home / ".globus_compute")
    login = Login(str(home / "scratch" / "gc"))
    token = login.access_token()
    assert login.store.path == default
    assert not (home / "scratch").exists()
    login.prepare()
    own = home / "scratch" / "gc" / "storage.db"
    assert own.is_symlink()
    assert own.resolve() == default
    assert stat.S_IMODE(own.parent.stat().st_mode) == 0o700
    assert Login(str(own.parent)).access_token() == token


def test_the_sdks_own_directory_is_a_default_too(stub: GlobusStub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOBUS_COMPUTE_USER_DIR", str(home / "elsewhere"))
    log_in(stub, home / "elsewhere")
    assert Login(str(home / "gc")).access_token() in stub.valid


def test_a_store_of_its_own_is_kept(stub: GlobusStub, home: Path) -> None:
    log_in(stub, home / ".globus_compute")
    put(home / "gc" / "storage.db", "user/local", COMPUTE, access_token="mine")
    login = Login(str(home / "gc"))
    assert login.access_token() == "mine"
    login.store.prepare()
    assert not login.store.own.is_symlink()


def test_a_dangling_link_gets_its_target(stub: GlobusStub, as_client: None, home: Path) -> None:
    (home / "gc").mkdir()
    (home / "gc" / "storage.db").symlink_to(home / "gone" / "tokens.db")
    login = Login(str(home / "gc"))
    login.prepare()
    assert (home / "gone" / "tokens.db").is_file()
    assert (home / "gc" / "storage.db").is_symlink()


def test_prepare_makes_a_private_store_once_for_all(stub: GlobusStub, as_client: None, home: Path) -> None:
    bits = umask_probe(home)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(Login(str(home / "gc")).prepare) for _ in range(8)]:
            done.result()
    assert umask_probe(home) == bits  # the SDK's own way of making a store changes the umask
    store = home / "gc" / "storage.db"
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert [path.name for path in store.parent.iterdir()] == ["storage.db"]
    assert {server for _, server in rows(store)} == {COMPUTE, AUTH}


def test_a_new_store_is_as_the_sdk_makes_it(stub: GlobusStub, home: Path) -> None:
    SQLiteTokenStorage(home / "sdk.db").close()
    Login(str(home / "gc")).store.prepare()

    def content(path: Path) -> list[Any]:
        with sqlite3.connect(path) as connection:
            tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name")
            described = [(name, " ".join(sql.split())) for name, sql in tables]
            query = "SELECT * FROM sdk_storage_adapter_internal WHERE attribute != 'globus-sdk.version'"
            return [described, connection.execute(query).fetchall()]

    assert content(home / "gc" / "storage.db") == content(home / "sdk.db")


def test_prepare_again_asks_nobody(stub: GlobusStub, as_client: None, home: Path) -> None:
    Login(str(home / "gc")).prepare()
    asked = len(stub.requests)
    Login(str(home / "gc")).prepare()
    assert len(stub.requests) == asked == 1


def test_prepare_renews_what_would_expire_under_the_daemons(
    stub: GlobusStub, as_client: None, home: Path, clock: FakeClock
) -> None:
    store = home / "gc" / "storage.db"
    Login(str(home / "gc")).prepare()
    put(store, f"clientprofile/local/{CLIENT}", AUTH, expires_at_seconds=int(clock.now()) + 300, identity_id=None)
    Login(str(home / "gc"), clock=clock).prepare()
    assert rows(store)[f"clientprofile/local/{CLIENT}", AUTH]["expires_at_seconds"] > clock.now() + 1000


def test_prepare_needs_refresh_tokens_of_a_user(stub: GlobusStub, home: Path) -> None:
    for server in SCOPES:
        put(home / "gc" / "storage.db", "user/local", server)
    with pytest.raises(LoginRequired, match="chiltepin login"):
        Login(str(home / "gc")).prepare()


@pytest.mark.parametrize("client", [True, False])
def test_daemons_find_all_they_need(
    stub: GlobusStub, home: Path, monkeypatch: pytest.MonkeyPatch, client: bool
) -> None:
    if client:
        monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_ID", CLIENT)
        monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_SECRET", SECRET)
    else:
        log_in(stub, home / ".globus_compute")
    login = Login(str(home / "gc"))
    login.prepare()
    needed, header = daemon_login(home / "gc", client_environment())
    assert needed is False
    assert header == f"Bearer {login.access_token()}"


@pytest.mark.parametrize("content", [b"this is no database at all, but long enough" * 20, b"SQLite format 3\0junk"])
def test_a_damaged_store_is_said_to_be_one(stub: GlobusStub, home: Path, content: bytes) -> None:
    store = home / "gc" / "storage.db"
    store.parent.mkdir()
    store.write_bytes(content)
    for ask in (
        Login(str(home / "gc")).identity,
        Login(str(home / "gc")).access_token,
        Login(str(home / "gc")).prepare,
    ):
        with pytest.raises(LoginRequired, match="token store") as caught:
            ask()
        assert str(store) in str(caught.value)
    assert store.read_bytes() == content


@pytest.mark.parametrize("text", ["", "null", "[]", "7", "{", '{"access_token": 3}', '{"access_token": "x"}'])
def test_a_row_in_another_format_is_no_login(stub: GlobusStub, home: Path, text: str) -> None:
    store = home / "gc" / "storage.db"
    put(store, "user/local", COMPUTE)
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE token_storage SET token_data_json = ?", (text,))
    with pytest.raises(LoginRequired):
        Login(str(home / "gc")).identity()


def test_a_store_that_is_just_being_made_is_empty(stub: GlobusStub, home: Path) -> None:
    (home / "gc").mkdir()
    (home / "gc" / "storage.db").touch()
    assert Login(str(home / "gc")).store.read() == {}


def test_a_writer_that_was_killed_is_rolled_back(stub: GlobusStub, home: Path) -> None:
    store = home / "gc" / "storage.db"
    put(store, "user/local", COMPUTE)
    code = (
        "import os, signal, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1])\n"
        "c.execute('PRAGMA cache_size = 1')\n"
        "c.execute('BEGIN IMMEDIATE')\n"
        "c.execute('DELETE FROM token_storage')\n"
        "c.executemany('INSERT INTO token_storage VALUES (?, ?, ?)', [(str(n), 'x', 'y' * 4000) for n in range(99)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(store)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert store.with_name("storage.db-journal").exists()
    assert Login(str(home / "gc")).access_token().startswith("stored-")


# login, logout, whoami


@pytest.fixture
def cli() -> typer.Typer:
    app = typer.Typer()
    for command in (commands.login, commands.logout, commands.whoami):
        app.command()(command)
    return app


def run(cli: typer.Typer, *arguments: str, **options: Any) -> Any:
    # Before click 8.2 the runner mixes the two streams unless told otherwise.
    mixing = "mix_stderr" in inspect.signature(CliRunner.__init__).parameters
    runner = CliRunner(**({"mix_stderr": False} if mixing else {}))
    return runner.invoke(cli, list(arguments), **options)


def test_login_shows_the_address_and_reads_the_code(stub: GlobusStub, home: Path, cli: typer.Typer) -> None:
    result = run(cli, "login", input="the-code\n")
    assert result.exit_code == 0, result.exception
    assert result.stdout == ""
    assert f"{stub.url}/v2/oauth2/authorize?" in result.stderr
    assert CHILTEPIN_CLIENT in result.stderr
    assert USER in result.stderr
    sent = next(r for r in stub.requests if r.path == TOKEN_PATH)
    assert sent.form["code"] == "the-code"
    stored = rows(home / ".globus_compute" / "storage.db")
    assert set(stored) == {("user/local", COMPUTE), ("user/local", AUTH)}
    assert all(token["refresh_token"] and token["identity_id"] == USER for token in stored.values())
    assert stat.S_IMODE((home / ".globus_compute" / "storage.db").stat().st_mode) == 0o600
    for token in stored.values():
        assert token["access_token"] not in result.output
        assert token["refresh_token"] not in result.output


def test_login_again_does_nothing_unless_forced(stub: GlobusStub, home: Path, cli: typer.Typer) -> None:
    run(cli, "login", input="code\n")
    asked = len(stub.requests)
    result = run(cli, "login")
    assert result.exit_code == 0
    assert "Already logged in" in result.stderr
    assert len(stub.requests) == asked
    forced = run(cli, "login", "--force", input="code\n")
    assert "Logged in" in forced.stderr
    assert stub.count("POST", TOKEN_PATH) == 2


def test_login_without_an_answer(stub: GlobusStub, home: Path, cli: typer.Typer) -> None:
    result = run(cli, "login", input="")
    assert isinstance(result.exception, LoginRequired)
    assert rows(home / ".globus_compute" / "storage.db") == {}


def test_login_with_a_code_that_is_refused(stub: GlobusStub, home: Path, cli: typer.Typer) -> None:
    stub.script[TOKEN_PATH] = [Reply(401, {"error": "invalid_grant", "error_description": "bad code"})]
    result = run(cli, "login", input="wrong\n")
    assert isinstance(result.exception, LoginRequired)
    assert "bad code" in str(result.exception)


def test_login_of_a_client_asks_nobody(stub: GlobusStub, as_client: None, home: Path, cli: typer.Typer) -> None:
    result = run(cli, "login", "-c", str(home / "gc"))
    assert result.exit_code == 0, result.exception
    assert CLIENT in result.stderr
    assert {namespace for namespace, _ in rows(home / "gc" / "storage.db")} == {f"clientprofile/local/{CLIENT}"}
    assert SECRET not in result.output
    assert run(cli, "login", "-c", str(home / "gc"), "--force").exit_code == 0
    assert stub.count("POST", TOKEN_PATH) == 2


def test_another_identity_does_not_replace_the_login(stub: GlobusStub, home: Path, cli: typer.Typer) -> None:
    run(cli, "login", input="code\n")
    before = rows(home / ".globus_compute" / "storage.db")
    stub.login_as = OTHER_USER
    result = run(cli, "login", "--force", input="code\n")
    assert isinstance(result.exception, LoginRequired)
    assert USER in str(result.exception)
    assert OTHER_USER in str(result.exception)
    assert rows(home / ".globus_compute" / "storage.db") == before


def test_logout_revokes_and_removes_ours_only(stub: GlobusStub, home: Path, cli: typer.Typer) -> None:
    store = home / ".globus_compute" / "storage.db"
    run(cli, "login", input="code\n")
    ours = rows(store)
    put(store, "user/production", COMPUTE)
    put(store, f"clientprofile/local/{CLIENT}", COMPUTE)
    result = run(cli, "logout")
    assert result.exit_code == 0, result.exception
    assert {namespace for namespace, _ in rows(store)} == {"user/production", f"clientprofile/local/{CLIENT}"}
    revoked = {r.form["token"] for r in stub.requests if r.path.endswith("/revoke")}
    assert revoked == {token[kind] for token in ours.values() for kind in ("access_token", "refresh_token")}
    again = run(cli, "logout")
    assert again.exit_code == 0
    assert "Nobody was logged in" in again.stderr


def test_logout_keeps_what_it_could_not_revoke(stub: GlobusStub, home: Path, cli: typer.Typer) -> None:
    run(cli, "login", input="code\n")
    before = rows(home / ".globus_compute" / "storage.db")
    stub.script["/v2/oauth2/token/revoke"] = [Reply(503, {})]
    result = run(cli, "logout")
    assert isinstance(result.exception, ServiceUnreachable)
    assert rows(home / ".globus_compute" / "storage.db") == before


def test_whoami_as_json(stub: GlobusStub, home: Path, cli: typer.Typer) -> None:
    run(cli, "login", input="code\n")
    result = run(cli, "whoami", "--format", "json")
    assert json.loads(result.stdout) == {
        "format_version": 1,
        "kind": "whoami",
        "service": "sandbox",
        "identity": USER,
        "client_id": CHILTEPIN_CLIENT,
        "login": "user",
        "token_store": str(home / ".globus_compute" / "storage.db"),
    }
    text = run(cli, "whoami").stdout
    assert USER in text
    assert CHILTEPIN_CLIENT in text


def test_whoami_of_nobody(stub: GlobusStub, home: Path, cli: typer.Typer) -> None:
    assert isinstance(run(cli, "whoami").exception, LoginRequired)
    assert isinstance(run(cli, "whoami", "--format", "xml").exception, UsageError)
    assert list(home.iterdir()) == []


USERINFO = "/v2/oauth2/userinfo"


def test_an_identity_that_the_store_does_not_say_is_asked_for(stub: GlobusStub, home: Path, cli: typer.Typer) -> None:
    run(cli, "login", input="code\n")
    store = home / ".globus_compute" / "storage.db"
    login = Login(str(store.parent))
    assert login.ask_identity().id == USER
    assert stub.count("GET", USERINFO) == 0, "the store says it"
    for server in (COMPUTE, AUTH):
        known = rows(store)[login.settings.namespace, server]
        put(store, login.settings.namespace, server, **{**known, "identity_id": None})
    assert login.identity().id is None
    stub.script[USERINFO] = [Reply(200, {"sub": OTHER_USER.upper()})]
    assert login.ask_identity().id == OTHER_USER
    [asked] = [r for r in stub.requests if r.path == USERINFO]
    assert asked.authorization == f"Bearer {rows(store)[login.settings.namespace, AUTH]['access_token']}"
    assert OTHER_USER in run(cli, "whoami").stdout


@pytest.mark.parametrize(
    "reply", [Reply(503, {}), Reply(401, {}), Reply(200, {"sub": "me"}), Reply(200, []), Reply(drop=True)]
)
def test_an_identity_that_cannot_be_had_is_nobodys(
    stub: GlobusStub, home: Path, cli: typer.Typer, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.adapters.globus_app.RETRIES", 0)
    run(cli, "login", input="code\n")
    store = home / ".globus_compute" / "storage.db"
    login = Login(str(store.parent))
    for server in (COMPUTE, AUTH):
        known = rows(store)[login.settings.namespace, server]
        put(store, login.settings.namespace, server, **{**known, "identity_id": None})
    stub.script[USERINFO] = [reply]
    assert login.ask_identity().id is None


@pytest.mark.parametrize("written", [CLIENT.upper(), CLIENT.replace("-", "")])
def test_a_clients_identity_is_the_same_however_it_is_written(home: Path, written: str) -> None:
    environ = {"GLOBUS_COMPUTE_CLIENT_ID": written, "GLOBUS_COMPUTE_CLIENT_SECRET": SECRET}
    assert Login(str(home / "gc"), environ=environ).identity().id == CLIENT
