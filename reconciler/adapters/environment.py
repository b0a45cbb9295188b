"""The environment of daemons on this machine: what is set here, and what a start is given."""

from __future__ import annotations

import os
from collections.abc import Mapping

from reconciler.core.environment import PATH, SECRETS, Variable, is_declared, is_selecting, is_session, join_path
from reconciler.core.environment import variable as known_variable
from reconciler.core.url_secrets import url_passwords

_FALLBACK_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


def variables(environ: Mapping[str, str]) -> dict[str, Variable]:
    """Return what may be known of the variables in `environ` that may reach a daemon."""
    return {name: known_variable(name, value) for name, value in _with_user(environ).items() if is_declared(name)}


def declared(environ: Mapping[str, str], bin_dir: str, kept: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment a daemon is given.

    Args:
        environ: what this process was given.
        bin_dir: the tool's bin directory; it leads PATH, because user endpoints are spawned through PATH.
        kept: what the endpoint keeps; its session variables and PATH count, and those of `environ` do not. None for
            an endpoint that keeps nothing.
    """
    pinned = kept is not None
    kept = kept or {}
    chosen = {name: value for name, value in kept.items() if is_declared(name) and not is_selecting(name)}
    chosen |= {n: v for n, v in _with_user(environ).items() if is_declared(n) and not (pinned and is_session(n))}
    chosen[PATH] = join_path(bin_dir, kept.get(PATH) or environ.get(PATH) or _FALLBACK_PATH)
    return {name: value for name, value in chosen.items() if value}


def secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets in `environ` that a daemon may write into its log."""
    found = [value for name, value in environ.items() if name in SECRETS]
    for name, value in environ.items():
        if is_declared(name):
            found += url_passwords(value)
    return tuple(dict.fromkeys(found))


def _with_user(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` with the variables that a login sets and that cron, or a container, may not."""
    found = dict(environ)
    if all(found.get(name) for name in ("HOME", "USER", "LOGNAME")):
        return found
    user = _user()
    for name, value in (("USER", user[0]), ("LOGNAME", user[0]), ("HOME", user[1])) if user else ():
        found[name] = found.get(name) or value
    return found


def _user() -> tuple[str, str] | None:
    """Return this user's name and home directory, None for a UID without a passwd entry."""
    import pwd  # noqa: PLC0415  # a directory service may be behind it: ask only when it is needed

    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return None
    return entry.pw_name, entry.pw_dir
