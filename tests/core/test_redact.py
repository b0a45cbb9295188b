"""What looks like a secret, and texts without it."""

from __future__ import annotations

import itertools

import pytest

from reconciler.core.redact import redact, redacted_lines
from reconciler.core.secret_names import is_secret_name, is_secret_value
from reconciler.core.url_secrets import has_password, url_passwords
from tests.sampling import STEP

LONG = 500_000 // STEP
"""Characters of a line that is long enough to tell a search that starts anew at each of them."""


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
        *(
            (f"TOKEN={value} B=1", "TOKEN=*** B=1")
            for value in (
                *("x$(curl -u me:a b)", "'it'\\''s it'", "'a'\"b c\"", 'a"b c"', r"a\ b", '`cat "a b"`', "[a b](c d)"),
                *('$(curl -d x"a)b c")', "'a',b"),
            )
        ),
        ('TOKEN="a $(f -d "b c" u)" B=1', 'TOKEN="***" B=1'),
        ("PASSWORD = 'a' 'b'", "PASSWORD = ***"),
        ("password=f('a', 'b'), x=1", "password=***, x=1"),
        ("f(token='a',x=1)", "f(token=***,x=1)"),
        ("TOKEN='a'; export B=1", "TOKEN='***'; export B=1"),
        ('{"password": "a" }', '{"password": "***" }'),
        ('curl "https://h/?token=a" -o f', 'curl "https://h/?token=***'),
        ("https://user:pa@ss@host", "https://***@host"),
        ("amqps://user:p/ss:w@ord@host:5671/v", "amqps://***@host:5671/v"),
        ("https://user:p?s#w@host/x", "https://***@host/x"),
        ("https://ghp_abc@github.com/o/r", "https://***@github.com/o/r"),
        ("got Bearer abcdefgh1234", "got Bearer ***"),
        ("Cookie: a=b; c=d, e=f", "Cookie: ***"),
        ("Set-Cookie: sid=abc; Path=/; HttpOnly\nHost: h", "Set-Cookie: ***\nHost: h"),
        ('Authorization: Digest username="me", realm="r", response="abc"', "Authorization: ***"),
        ("{'Cookie': 'a=b; c=d', 'Host': 'h'}", "{'Cookie': '***', 'Host': 'h'}"),
        ("https://h/x?se=1&sig=ab%2Fc%3D&sp=r", "https://h/x?se=1&sig=***&sp=r"),
        ("https://h/x?X-Amz-Signature=abc&X-Amz-Expires=3", "https://h/x?X-Amz-Signature=***&X-Amz-Expires=3"),
        ("https://h/x?signature=abc https://i", "https://h/x?signature=*** https://i"),
        ("tool --password hunter2 -v", "tool --password *** -v"),
        ("tool -token 'a b' --x", "tool -token '***' --x"),
        ('["tool", "--api-key", "a b", "-v"]', '["tool", "--api-key", "***", "-v"]'),
        ("curl -u me:pa:ss https://h", "curl -u me:*** https://h"),
        ("curl -sSu 'me:a b' https://h", "curl -sSu 'me:***' https://h"),
        ("curl -uadmin:1234 h --proxy-user=me:1234 h", "curl -uadmin:*** h --proxy-user=me:*** h"),
        ('wget --user "me:a b" h', 'wget --user "me:***" h'),
        ('["curl", "-u", "me:pw", "h"]', '["curl", "-u", "me:***", "h"]'),
        ('OPTS="-s -u me:pw"', 'OPTS="-s -u me:***'),
        ("args: -u me:pw", "args: -u me:***"),
        ("curl 'https://h?a=1&b=2' -u me:pw; sort -u a:b", "curl 'https://h?a=1&b=2' -u me:***; sort -u a:b"),
        ("http --user=me:pw h && docker run -u me:staff img", "http --user=me:*** h && docker run -u me:staff img"),
        ("sshpass -p hunter2 ssh host", "sshpass -p *** ssh host"),
        ("--token password: a b", "--token ***"),
        ("error: unrecognized arguments: --token in2", "error: unrecognized arguments: --token ***"),
        ("unknown option --token hunter2", "unknown option --token ***"),
        ("tool --password in x", "tool --password *** x"),
        ("SSHPASS=hunter2 sshpass -e ssh host", "SSHPASS=*** sshpass -e ssh host"),
        (
            "a\n-----BEGIN RSA PRIVATE KEY-----\n  MII\nabc\n-----END RSA PRIVATE KEY-----\nb",
            "a\n-----BEGIN RSA PRIVATE KEY-----\n  ***\n***\n-----END RSA PRIVATE KEY-----\nb",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMII", "-----BEGIN PRIVATE KEY-----\n***"),
        ("MII\n-----END PRIVATE KEY-----\nb", "***\n-----END PRIVATE KEY-----\nb"),
        (
            r'"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n"',
            r'"-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----\n"',
        ),
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
        "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n-----BEGIN PUBLIC KEY-----",
        "tool --password-file /x --no-password me --token-file=/y --password-stdin x --token | --token",
        "docker run -u 1000:1000 img; docker run -u $(id -u):$(id -g) img; set -eu; date -u +%H:%M; ssh -u host",
        "rsync -avu host:/data/x . && python -u run.py && squeue -u me -o %i:%j && journalctl --user -u a.service",
        "module load intel/2023:hpc; export OMP_NUM_THREADS=4 KMP_AFFINITY=compact,granularity=fine GITHUB_PATH=/x",
        "PATTERN=a.b COMPAT=1 patch: x FOO_PATCH=y bypass=1 cookiecutter: x cookie_path=/ KEY=value signature: f(x)",
        "https://h/?signature_version=4&design=a&sigma=2",
        'docker run --entrypoint="" -u me:staff img; docker run -e A= -u me:staff img',
        "docker run -u me:staff img; sort -u a:b; x --user jdoe:proj",
        "export BAND_PASS=3 lowPass=1e-3 token_lifetime=3600 tokens_left=5 password_expires_at=2026",
        "error: unknown option --cookie in config",
        "option --credentials requires an argument; option '--token' is deprecated, flag --password needs a value",
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
            "ENCRYPTION_KEY",
            "DATA_ENCRYPTION_KEY",
            "encryptKey",
        ),
        *(
            "SSHPASS",
            "DB_PASS",
            "GITHUB_PAT",
            "PAT",
            "AZURE_DEVOPS_EXT_PAT",
            "githubPat",
            "pat_2",
            "cookie",
            "Set-Cookie",
            "SESSION_COOKIE",
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
        *("PATTERN", "COMPAT", "spat", "pathPattern", "bypass", "encryption", "ENCRYPTION_KEY_FILE", "cookiecutter"),
        *("authorization_scheme", "authorization_policy", "authorizationPolicies"),
        *("token_lifetime", "tokenLifetimeSeconds", "token_refresh_secs", "token_expiry", "tokenExpiresIn"),
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
        *(("low_pass", "hunter22"), ("DB_PASS", "a1"), ("tokens_left", "ghp_1"), ("PAT", "a1"), ("db_pwd", 1234)),
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
            ("low_pass", 10),
            ("BAND_PASS", ".5"),
            ("lowPass", "1e-3"),
            ("pat_2", 5),
            ("tokens_left", 5),
            ("token_used", "5"),
            ("token_lifetime", 3600),
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
    "$22hunter",
    "$X$(cat hunter22)",
    "$(cat ${X:-hunter22})",
    '"$X"hunter22',
    "$(cat a)hunter22$(cat b)",
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("export HF_TOKEN=$(cat ~/.hf)\nmodule load a", "export HF_TOKEN=$(cat ~/.hf)\nmodule load a"),
        ('A_TOKEN="$(cat "$HOME/.t")" B_TOKEN=$X C_TOKEN=`cat t`; D=1', None),
        ("D_TOKEN=${X} E_TOKEN=$HOME/t F_TOKEN='$hunter22'", "D_TOKEN=${X} E_TOKEN=*** F_TOKEN='***'"),
        ('G_TOKEN=$(< ~/t) H_TOKEN="$(<"${HOME}/a")" I_TOKEN="Bearer $X" J_TOKEN=` cat \'t\' `; D=1', None),
        ('x --token $X --api-key "$(cat ~/k)" --password y', 'x --token $X --api-key "$(cat ~/k)" --password ***'),
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
        ("password: |  # was hunter22\n  b\na: 1", "password: ***\n  ***\na: 1"),
        ('PASSWORDS = {\n"a": {"x": 1},\n"b": "hunter22"', "PASSWORDS = ***\n***\n***"),
        ("A_TOKEN='a\nb' B_TOKEN='c\nhunter22'", "A_TOKEN='***\n***\n***"),
        ("password = <<EOF\nhunter22\nEOF", "password = ***\n***\n***"),
        ("password=decode(\n  'hunter22')", "password=***\n  ***"),
        ('"passwords":\n{\n"a": "hunter22"', '"passwords":\n***\n***'),
        ('{"a": 1, "password":\n"hunter22"}', '{"a": 1, "password":\n***'),
        ("tokens =\n  hunter22\na = 1", "tokens =\n  ***\na = 1"),
        ("if a; then\nTOKEN=$(cat f)\n  b\nfi", None),
        ('password: "\n  hunter22\n  "\nx: 1', 'password: "***\n  ***\n  ***\n***'),
        ("password: '\nhunter22'", "password: '***\n***"),
        ('"password": \'\nhunter22', '"password": \'***\n***'),
        ('password: b"\nhunter22"', 'password: b"***\n***'),
        ('password:\\"\nhunter22', 'password:\\"***\n***'),
        ('export TOKEN="\nhunter22"', 'export TOKEN="***\n***'),
        ('x --token "\nhunter22"', 'x --token "***\n***'),
        ('db_password: ""\n    # hunter22 was it\na: 1', 'db_password: ""\n    ***\na: 1'),
        ("token: null\n  hunter22\na: 1", "token: null\n  ***\na: 1"),
        ("token: true\n    # hunter22\na: 1", "token: true\n    ***\na: 1"),
        ("tokens:\n-\n  hunter22\na: 1", "tokens:\n***\n  ***\na: 1"),
        ("Authorization: [\nhunter22\n]", "Authorization: ***\n***\n***"),
        ("- Authorization: {\n# hunter22", "- Authorization: ***\n***"),
        ("# Authorization: [\nhunter22", "# Authorization: ***\n***"),
        ("password:\n  Authorization: [\nhunter22", "password:\n  ***\n***"),
        ("it's TOKEN=a'\\\nhunter22", "it's TOKEN=***\n***"),
        ("echo 'password: a'b\\\nhunter22", "echo 'password: ***\n***"),
        ('curl -H "X-Api-Key: a" -v \\\n  h', 'curl -H "X-Api-Key: ***\n  h'),
        ('curl -H "X-Api-Key: a" --token \\\n  hunter22', 'curl -H "X-Api-Key: ***\n  ***'),
        ('["--token=hunter22", "-x"]\na', '["--token=***\na'),
        ("curl -H 'X-Api-Key: hunter22' \\\n  -u me:hunter22 \\\n  h", "curl -H 'X-Api-Key: ***\n  -u me:*** \\\n  h"),
        (
            "k: |\n  -----BEGIN PRIVATE KEY-----\n  hunter22\n  -----END PRIVATE KEY-----\na: 1",
            "k: |\n  -----BEGIN PRIVATE KEY-----\n  ***\n  -----END PRIVATE KEY-----\na: 1",
        ),
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
    *("token=a'", 'token=a"$( ', 'token="$(', "token='a'b ", 'token="a"x', "token: 'a' ", 'a" token=a"$( '),
    *("-u ", "-u a:", "-u 'a:", "-ua", '-u "a:b" ', "--user=a:b ", "rsync -u a:b ", "-u 1:", "-u", "rsync "),
    *("--token ", "--token a ", '--token "', "--", "sshpass -p ", "Cookie: ", "Cookie:", 'Cookie: "', "token=<<,"),
    *("?sig=", "?sig=a&", "&", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "-----END PRIVATE KEY-----\n", "pat_"),
    *(
        "curl -u a:b ",
        "curl -u a:b; ",
        "x=-u a:b ",
        "option --token in ",
        "option ",
        "--token token: ",
        "pass_tokens_in ",
    ),
    *("token=[", "token=($(", "token=`", "(", "[]", "{'", "password: $(", "token=Token "),
)


@pytest.mark.parametrize("before", ["", 'token: "', "token: ["])
def test_a_line_of_half_a_megabyte_takes_no_longer_than_its_length(before: str) -> None:
    for unit in _UNITS:  # a search that starts anew at each of these would take an hour
        assert redact(before + unit * (LONG // len(unit)), ["hunter22"])


@pytest.mark.parametrize(
    "before",
    ["", "token:", "token=", "token=`", "token=$(", "token=$(cat ", 'token="$(cat "', "--token ", "max_tokens"],
)
def test_nor_does_it_among_the_lines_of_a_file(before: str) -> None:
    for unit in (" ", "- ", "-", "a", "|", "#", "<", "$", "/", '"', "token=$(", "token=Token ", "a:", '"a": ', "=|"):
        assert redacted_lines([f"{before}{unit * (LONG // len(unit))}x", "y"])
