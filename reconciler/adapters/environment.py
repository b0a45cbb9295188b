"""The declared environment of daemons: an allow-list, so that a start from cron equals one from a shell."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

SECRETS = frozenset({"GLOBUS_COMPUTE_CLIENT_SECRET"})
"""Variables whose values may appear nowhere, not even as a plain digest of their own."""

_NEVER = frozenset({"GLOBUS_COMPUTE_ENDPOINT_DIR", "GLOBUS_COMPUTE_USER_DIR"})
# The first overrides the endpoint's name in every command of globus-compute-endpoint, the second is
# what `-c` says anyway.

_STEADY = frozenset(
    {
        *("HOME", "USER", "LOGNAME"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("SLURM_CONF", "GLOBUS_COMPUTE_CLIENT_ID", "GLOBUS_COMPUTE_CLIENT_SECRET"),
    }
)
_STEADY_PREFIXES = ("GLOBUS_SDK_",)

# These differ from one login session to the next (a loaded module, cron's bare environment) without
# making it another daemon: they are handed on, but a change of theirs is no reason to restart.
_SESSION = frozenset(
    {
        *("SHELL", "PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR", "LD_LIBRARY_PATH"),
        *("MODULEPATH", "MODULESHOME", "LOADEDMODULES", "_LMFILES_"),
    }
)
_SESSION_PREFIXES = ("LC_", "LMOD_")

_FALLBACK_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


def _steady(name: str) -> bool:
    return name not in _NEVER and (name in _STEADY or name.startswith(_STEADY_PREFIXES))


def _allowed(name: str) -> bool:
    return _steady(name) or name in _SESSION or name.startswith(_SESSION_PREFIXES)


def join_path(first: str, path: str) -> str:
    """Return a PATH with `first` in front, without duplicates and without relative or empty entries."""
    parts = [first, *(p for p in path.split(":") if p.startswith("/"))]
    return ":".join(dict.fromkeys(parts))


def declared(environ: Mapping[str, str], bin_dir: str) -> dict[str, str]:
    """Return the environment a daemon is given.

    Args:
        environ: what this process was given.
        bin_dir: the tool's bin directory; it leads PATH, because user endpoints are spawned through PATH.
    """
    chosen = {name: value for name, value in environ.items() if _allowed(name)}
    user = _user()
    if user is not None:
        chosen.setdefault("HOME", user[1])
        chosen.setdefault("USER", user[0])
        chosen.setdefault("LOGNAME", user[0])
    chosen["PATH"] = join_path(bin_dir, environ.get("PATH") or _FALLBACK_PATH)
    return chosen


def digest(environ: Mapping[str, str]) -> str:
    """Return the digest of what `declared` would give that makes a difference to a daemon.

    A secret goes in through a digest of its own that is salted with its name, so that equal secrets
    under two names do not show, and the whole reveals nothing of it.
    """
    chosen = declared(environ, "/")
    state = hashlib.sha256(b"chiltepin environment 1\0")
    for name in sorted(n for n in chosen if _steady(n)):
        value = os.fsencode(chosen[name])
        if name in SECRETS:
            value = hashlib.sha256(name.encode() + b"\0" + value).digest()
        state.update(os.fsencode(name) + b"=" + hashlib.sha256(value).digest())
    return state.hexdigest()


def _user() -> tuple[str, str] | None:
    """Return this user's name and home directory, None for a UID without a passwd entry."""
    import pwd  # noqa: PLC0415  # a directory service may be behind it: ask only when it is needed

    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return None
    return entry.pw_name, entry.pw_dir
