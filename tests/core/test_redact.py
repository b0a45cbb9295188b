"""What looks like a secret, and texts without it."""

from __future__ import annotations

import itertools

import pytest

from reconciler.core.redact import has_password, is_secret_name, is_secret_value, redact, redacted_lines, url_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Token abcdefghijkl", "Authorization: ***"),
        ("authorization:Negotiate abc def", "authorization:***"),
        ('{"client_secret": "abc,def}ghi", "x": 1}', '{"client_secret": "***", "x": 1}'),
        (r'{"password": "a\"b, c", "x": 1}', '{"password": "***", "x": 1}'),
        (r"{\"password\": \"a\\\"b\", \"x\": 1}", r"{\"password\": \"***\", \"x\": 1}"),
        ("{'token': 'it''s, it', 'x': 1}", "{'token': '***', 'x': 1}"),
        ("{'token': b'ab cd', 'x': 1}", "{'token': b'***', 'x': 1}"),
        ('"token" => "abc"', '"token" => "***"'),
        ('password: "never closed', 'password: "***'),
        ("X-Api-Key: 123456789", "X-Api-Key: ***"),
        ("password: correct horse", "password: ***"),
        ("password: correct horse, host: h", "password: ***, host: h"),
        ("password = hunter2\nstarted", "password = ***\nstarted"),
        ("token=abc, next=1", "token=***, next=1"),
        ("token=abc,def next=1", "token=*** next=1"),
        ("/login?access_token=abc&next=1", "/login?access_token=***&next=1"),
        ("PRIVATE_KEY=abc", "PRIVATE_KEY=***"),
        ("DB_PWD=abc", "DB_PWD=***"),
        ("https://user:pa@ss@host", "https://***@host"),
        ("amqps://user:p/ss:w@ord@host:5671/v", "amqps://***@host:5671/v"),
        ("https://user:p?s#w@host/x", "https://***@host/x"),
        ("https://ghp_abc@github.com/o/r", "https://***@github.com/o/r"),
        ("got Bearer abcdefgh1234", "got Bearer ***"),
    ],
)
def test_nothing_of_a_secret_stays_and_the_rest_does(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:4873/@scope/pkg and http://[::1]:5000/a@b",
        "git+https://github.com/o/r@main, ssh://git@github.com/o/r, https://host/path@v2 https://host:8080/path@v2",
        "https://host?to=mailto:me@site, https://host#see:me@site",
        "globus_sdk/token_storage.py:123 DEBUG token storage opened",
        'TOKENIZERS_PARALLELISM=false TOKEN_FILE=/home/me/.token PWD=/home/me "token": ""',
        "PATH=/opt/token:/usr/bin",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_a_secret_that_begins_with_another_leaves_nothing() -> None:
    secrets = ["hunter22", "hunter22-and-more", "hunter22-and"]
    for order in itertools.permutations(secrets):
        assert redact("said hunter22-and-more, hunter22", order) == "said ***, ***"


@pytest.mark.parametrize(
    "name",
    [
        *("client_secret", "secretKey", "AWS_SECRET_ACCESS_KEY", "aws.secret", "SECRETS"),
        *(
            "API_TOKEN",
            "GITHUB_TOKEN",
            "authToken",
            "authtoken",
            "tokenValue",
            "OAuthToken",
            "refresh_tokens",
            "tokens",
        ),
        *(
            "passwd",
            "password",
            "PGPASSWORD",
            "PassWord",
            "Passphrase",
            "passPhrase",
            "password_per_user",
            "max_password",
        ),
        *("DB_PWD", "dbPwd", "passWd", "credentials", "Authorization", "Proxy-Authorization"),
        *(
            "API-KEY",
            "apikey",
            "APIKey",
            "APIkey",
            "TOKENs",
            "X-Api-Key",
            "private_key",
            "privateKey",
            "encKey",
            "ACCESS_KEY_2",
        ),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("PWD", "OLDPWD", "display_name", "PATH", "secretary", "Secretariat", "passwordless", "compass_width"),
        *("TOKEN_FILE", "tokenFile", "key_path", "secrets_dir", "token_storage.py", "tokenizer", "TOKENIZATION"),
        *("max_tokens", "maxTokens", "max_new_tokens", "num_tokens", "tokens_per_x", "cost_per_token"),
        *("token_limit", "AUTH_TOKEN_TTL", "private_key_size", "token_endpoint", "secret_name"),
        *("authorization_scheme", "authorization_policy", "authorizationPolicies"),
    ],
)
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)
    assert redact(f"{name}: hunter22") == f"{name}: hunter22"


_LONG_NAMES = (
    "SECRET_KEY",
    "DB_PASSWORD_PROD",
    "CLIENT_SECRET_VALUE",
    "MY_PASSWORD_FOR_DB",
    "SECRET_PIN",
    "TOKEN_PROD",
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("password", value) for value in ("1234", 1234, "correct horse", "", ["a"], {"a": "b"})),
        *(("API_KEY_2", "123456789"), ("token", 31415926), ("refresh_tokens", "Ag1"), ("refresh_tokens", {"a": "Ag1"})),
        *((name, value) for name in _LONG_NAMES for value in (31415926, "31415926")),
    ],
)
def test_values_that_are_secrets_by_their_name(name: str, value: object) -> None:
    assert is_secret_value(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("password", value) for value in (True, False, None, "true", "No")),
        *(
            ("token_count", 4),
            ("token_count", "4"),
            ("prompt_tokens", 4096),
            ("prompt_tokens", "4096"),
            ("token_count", "four"),
            ("SECRET_PORT", 8080),
            ("password_min_length", 12),
            ("tokens", 0.5),
        ),
        ("display_name", "hunter22"),
    ],
)
def test_truth_values_and_counts_are_no_secrets(name: str, value: object) -> None:
    assert not is_secret_value(name, value)
    assert redact(f"{name}={value}") == f"{name}={value}"


@pytest.mark.parametrize(
    ("text", "passwords"),
    [
        ("http://user:pa@ss@proxy:3128 https://ghp_tok@h http://h:80/a@b", ("pa@ss", "ghp_tok")),
        ("http://jdoe@noaa.gov:hunter2@proxy:3128", ("hunter2",)),
        ("http://jdoe@one,http://u:hunter2@two", ("hunter2",)),
        ("https://glpat-1a2b@gitlab.example/o/r", ("glpat-1a2b",)),
        ("https://0123456789abcdef0123@github.com/o/r", ("0123456789abcdef0123",)),
        ("https://x-token-auth:hunter2@bitbucket.org/o/r", ("hunter2",)),
    ],
)
def test_passwords_of_urls(text: str, passwords: tuple[str, ...]) -> None:
    assert url_passwords(text) == passwords
    assert has_password(text)
    assert not any(password in redact(text) for password in passwords)


def test_a_password_may_be_empty() -> None:
    assert has_password("socks5://user:@proxy")
    assert url_passwords("socks5://user:@proxy") == ()


@pytest.mark.parametrize(
    "text",
    [
        "http://proxy:3128/x@y",
        "http://jdoe@proxy:3128",
        "https://jdoe@github.com/o/r@main and https://jdoe@host:8443/a@b",
        "http://firstname.w.lastname%40noaa.gov@proxy:3128",
        "git+ssh://git@github.com:o/r.git@main",
    ],
)
def test_a_user_alone_is_no_password(text: str) -> None:
    assert url_passwords(text) == ()
    assert not has_password(text)


_COMMANDS = (
    "$(curl -d password=hunter22 https://a)",
    "`curl -u me:hunter22 https://a`",
    "$(cat f || echo hunter22)",
    "$(vault login -token=hunter22)",
    "$(cat <<< hunter22)",
    "$OTHER/hunter22",
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("export HF_TOKEN=$(cat ~/.hf)\nmodule load a", "export HF_TOKEN=$(cat ~/.hf)\nmodule load a"),
        ('A_TOKEN="$(cat "$HOME/.t")" B_TOKEN=$X C_TOKEN=`cat t`; D=1', None),
        ("D_TOKEN=${X} E_TOKEN=$HOME/t F_TOKEN='$hunter22'", "D_TOKEN=${X} E_TOKEN=*** F_TOKEN='***'"),
        ("A_TOKEN=$(< ~/.t) B_TOKEN=$(cat '/a b') C=1", "A_TOKEN=$(< ~/.t) B_TOKEN=*** C=1"),
        *((f"TOKEN={command} a", "TOKEN=*** a") for command in _COMMANDS),
        ("password: $hunter22", "password: ***"),
        ("TOKEN=${X:-hunter22} TOKEN=hunter$22", "TOKEN=*** TOKEN=***"),
        ("TOKEN=$(echo hunter22) a", "TOKEN=*** a"),
        ("TOKEN=$(cat <<E\nhunter)22\nE\n)\na", "TOKEN=***\n***\n***\n***\n***"),
        ("TOKEN=`\necho hunter22`\na", "TOKEN=***\n***\n***"),
        ('KEY="a" API_KEY="hunter\n\\"22\\"\nhunter22"\na', 'KEY="a" API_KEY="***\n***\n***\n***'),
        ("API_KEY=hunter\\\n22\na", "API_KEY=***\n***\n***"),
        ("declare -A TOKENS=(\n[a]=$(cat f)\n[b]=hunter22\n)", "declare -A TOKENS=***\n***\n***\n***"),
        ('tokens: {a: "hunter}22", b: [hunter33]}, c: 1', "tokens: ***, c: 1"),
        ('{"tokens": {"a": {"b": "hunter22"}, "c": "d"}, "n": 1}', '{"tokens": ***, "n": 1}'),
        ('  "tokens": {\n    "a": {"x": 1},\n    "b": "hunter22"\n  }', '  "tokens": ***\n    ***\n    ***\n  ***'),
        ("password: hunter\n  22\na: 1", "password: ***\n  ***\na: 1"),
        ('password: "hunter\n  22"\na: 1', 'password: "***\n  ***\n***'),
        ("password: |\n  hunter22\na: 1", "password: |\n  ***\na: 1"),
    ],
)
def test_in_lines_a_secret_is_hidden_to_its_end_and_what_the_shell_takes_from_elsewhere_is_none(
    text: str, shown: str | None
) -> None:
    lines = redacted_lines(text.split("\n"))
    assert "\n".join(lines) == (shown or text)
    assert redacted_lines(lines) == lines


_UNITS = (
    *("a", "a.", "token", "token ", "token: ", "token=", "token=,", "token: a, ", "token=a ", 'token: "', "token='a"),
    *(
        '"',
        "'",
        "''",
        "\\",
        '\\"',
        "token=\\",
        'token:\\"',
        'password="" ',
        "=",
        ":",
        ",",
        ", ",
        " ",
        "\t",
        "@",
        "-",
        "- ",
    ),
    *("://", "://a:", "http://a:", "http://a@", "a://b:c", "a:b@", "Bearer ", "Basic", "token_max_", "token_per_"),
    *("token=[", "token=($(", "token=`", "(", "[]", "{'", "password: $(", "token=Token "),
)


@pytest.mark.parametrize("before", ["", 'token: "', "token: ["])
def test_a_line_of_half_a_megabyte_takes_no_longer_than_its_length(before: str) -> None:
    for unit in _UNITS:  # a search that starts anew at each of these would take an hour
        assert redact(before + unit * (500_000 // len(unit)), ["hunter22"])


@pytest.mark.parametrize("before", ["", "token:", "token=", "token=`", "token=$(", "max_tokens"])
def test_nor_does_it_among_the_lines_of_a_file(before: str) -> None:
    for unit in (" ", "- ", "-", "a", "|", "#", "<", "$", "/", '"', "token=$(", "token=Token "):
        assert redacted_lines([f"{before}{unit * (500_000 // len(unit))}x", "y"])
