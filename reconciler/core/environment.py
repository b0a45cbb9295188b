"""The environment of a daemon: which variables it is given, where each comes from, and what makes it another one.

Three sorts of variables, so that a start from cron equals one from a shell, and the two never plan
restarts against each other:

- *selecting* ones say which login and which service are used. They are as they are here; one that is
  set no more is a change, too.
- *kept* ones (proxies, certificates, SLURM_CONF) stay as they were until something else is set here:
  a cron job that does not set them changes nothing. Set to nothing, they are taken away.
- *session* ones (locale, modules, library path) differ from one shell to the next without making it
  another daemon. They are pinned when the endpoint is made, and taken anew by `chiltepin restart`.

Nothing else reaches a daemon. Kept and session variables are remembered in the marker, but for values that
may hold a secret: of those only a digest is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache

from reconciler.core.frozen import dataclass
from reconciler.core.url_secrets import has_password

PATH = "PATH"

SECRETS = frozenset({"GLOBUS_COMPUTE_CLIENT_SECRET"})
"""Variables whose values may appear nowhere."""

_NEVER = frozenset({"GLOBUS_COMPUTE_ENDPOINT_DIR", "GLOBUS_COMPUTE_USER_DIR"})
# The first overrides the endpoint's name in every command of globus-compute-endpoint, the second is
# what `-c` says anyway.

_SELECTING = frozenset(
    {
        *("HOME", "USER", "LOGNAME"),
        *("GLOBUS_COMPUTE_CLIENT_ID", "GLOBUS_COMPUTE_CLIENT_SECRET", "GLOBUS_SDK_ENVIRONMENT"),
    }
)
_SELECTING_PREFIX = "GLOBUS_SDK_SERVICE_URL_"

_KEPT = frozenset(
    {
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SLURM_CONF"),
    }
)
_KEPT_PREFIX = "GLOBUS_SDK_"

# Not TMPDIR and XDG_RUNTIME_DIR: they may name directories that end with the session.
_SESSION = frozenset(
    {
        *("SHELL", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH"),
        *("MODULEPATH", "MODULEPATH_ROOT", "MODULESHOME", "LOADEDMODULES", "_LMFILES_"),
    }
)
_SESSION_PREFIXES = ("LC_", "LMOD_")

# So slow that guessing a password from its digest is no use, and a plan does not feel it.
_COST = {"n": 2**12, "r": 8, "p": 1, "dklen": 16}


@dataclass(frozen=True)
class Variable:
    """A variable that is set where this program runs.

    Attributes:
        digest: of its value; empty when it is set to nothing.
        value: the value, None when it may hold a secret (or is no text).
    """

    digest: str
    value: str | None = None


def is_selecting(name: str) -> bool:
    """Whether a variable says which login and service are used."""
    return name in _SELECTING or name.startswith(_SELECTING_PREFIX)


def is_kept(name: str) -> bool:
    """Whether a variable stays as it was until something else is set."""
    return not is_selecting(name) and (name in _KEPT or name.startswith(_KEPT_PREFIX))


def is_session(name: str) -> bool:
    """Whether a variable may differ between sessions without making it another daemon."""
    return name in _SESSION or name.startswith(_SESSION_PREFIXES)


def is_declared(name: str) -> bool:
    """Whether a variable may reach a daemon, PATH aside."""
    return name not in _NEVER and (is_selecting(name) or is_kept(name) or is_session(name))


def is_secret(name: str, value: str) -> bool:
    """Whether a value may be neither shown nor kept: a client secret, or a URL with a password."""
    return name in SECRETS or has_password(value)


def variable(name: str, value: str) -> Variable:
    """Return what may be known of a variable that is set here."""
    if not value:
        return Variable("")
    readable = not is_secret(name, value) and value.isprintable()
    return Variable(_digest(name, value), value if readable else None)


def _digest(name: str, value: str) -> str:
    if is_secret(name, value):
        return _slow_digest(name, value)
    return hashlib.sha256(f"{name}\0{value}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


@lru_cache(maxsize=64)
def _slow_digest(name: str, value: str) -> str:
    content = value.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(content, salt=f"chiltepin environment {name}".encode(), **_COST).hex()


def pin_session(here: Mapping[str, Variable], login: Mapping[str, str]) -> dict[str, str]:
    """Return what an endpoint that is made now keeps: as a login shell sets it, with this session's values over it."""
    kept = {n: v for n, v in login.items() if (is_kept(n) or is_session(n)) and variable(n, v).value}
    return {**kept, **{n: v.value for n, v in here.items() if is_session(n) and v.value}}


def renew_session(kept: Mapping[str, str], here: Mapping[str, Variable]) -> dict[str, str]:
    """Return `kept` with the session variables of here; PATH stays."""
    stays = {n: v for n, v in kept.items() if not is_session(n)}
    return {**stays, **{n: v.value for n, v in here.items() if is_session(n) and v.value}}


def keep(kept: Mapping[str, str], here: Mapping[str, Variable]) -> dict[str, str]:
    """Return what a daemon that is started now is given besides what is set here, and what its endpoint keeps."""
    taken = {n: v for n, v in here.items() if is_kept(n)}
    stays = {n: v for n, v in kept.items() if n not in taken}
    return dict(sorted({**stays, **{n: v.value for n, v in taken.items() if v.value}}.items()))


def given(kept: Mapping[str, str], here: Mapping[str, Variable]) -> dict[str, str]:
    """Return the digests of what makes a difference to a daemon that is started now."""
    digests = {n: _digest(n, v) for n, v in kept.items() if is_kept(n)}
    set_here = {n: v.digest for n, v in here.items() if is_selecting(n) or is_kept(n)}
    return {n: digest for n, digest in sorted({**digests, **set_here}.items()) if digest}


def changed(before: Mapping[str, str], kept: Mapping[str, str], here: Mapping[str, Variable]) -> tuple[str, ...]:
    """Say which variables would not be as they were when the daemon started; empty when that is not known.

    Args:
        before: the digests of then.
        kept: what the endpoint keeps.
        here: what is set here.
    """
    if not before:
        return ()
    found = []
    for name, now in sorted(here.items()):
        if now.digest != before.get(name, "") and (is_selecting(name) or is_kept(name)):
            old = kept.get(name) if name in before else ""
            found.append(f"{name}: {_said(old)} -> {_said(now.value if now.digest else '')}")
    found += [f"{name}: it is no longer set" for name in sorted(before) if is_selecting(name) and name not in here]
    return tuple(found)


def _said(value: str | None) -> str:
    if value is None:
        return "(not shown)"
    return json.dumps(value, ensure_ascii=False) if value else "(not set)"


def not_at_hand(before: Mapping[str, str], kept: Mapping[str, str], here: Mapping[str, Variable]) -> tuple[str, ...]:
    """Return the variables that a daemon had, and that a start from here could not give it again."""
    return tuple(n for n in sorted(before) if is_kept(n) and n not in kept and n not in here)


def join_path(first: str, path: str) -> str:
    """Return a PATH with `first` in front, without duplicates and without relative or empty entries."""
    parts = [first, *(p for p in path.split(":") if p.startswith("/"))]
    return ":".join(dict.fromkeys(parts))
