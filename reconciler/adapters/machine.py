"""Names of this machine and user, without waiting for a name server."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from reconciler.core.machine import HostFacts
from reconciler.threads import started

_NAME_SERVER_PATIENCE = 1.0
"""Seconds that a look-up of the full host name may take; an unreachable name server takes minutes."""


@lru_cache(maxsize=1)
def facts() -> HostFacts:
    """Return this machine's and this user's names (they do not change while a process lives)."""
    return HostFacts(
        name=node_name(),
        fqdn=full_name(),
        boot_id=boot_id(),
        user=_user(),
        uid=os.getuid(),
        home=_home(),
        namespace=pid_namespace(),
    )


def node_name() -> str:
    """Return this machine's name without its domain."""
    return os.uname().nodename.partition(".")[0]


@lru_cache(maxsize=1)
def full_name() -> str:
    """Return this machine's fully qualified name: from /etc/hosts, else from the resolver within a second."""
    node = os.uname().nodename
    return node if "." in node else _full_name(node)


def boot_id() -> str:
    """Return the kernel's boot id, or the boot time where /proc hides it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # a container that masks /proc/sys
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
            if line.startswith("btime "):
                return line.replace(" ", "-")
        return "unknown"


def pid_namespace() -> str:
    """Return the PID namespace's name: PIDs mean something only within one."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # a kernel without namespaces has only one
        return ""


def _user() -> str:
    import pwd  # noqa: PLC0415  # a directory service may be behind it

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a UID without a passwd entry
        return os.environ.get("USER") or str(os.getuid())


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:  # neither HOME nor a passwd entry
        return ""


def _full_name(node: str) -> str:
    try:
        table = Path("/etc/hosts").read_text(encoding="utf-8", errors="replace")
    except OSError:  # optional
        table = ""
    for line in table.splitlines():
        words = line.partition("#")[0].split()[1:]
        if node in words:
            qualified = next((w for w in words if w.startswith(f"{node}.")), None)
            if qualified is not None:
                return qualified
    return _ask_resolver(node)


def _ask_resolver(node: str) -> str:
    import socket  # noqa: PLC0415  # only for hosts that /etc/hosts does not name

    answers: list[str] = []
    asking = started(lambda: answers.append(socket.getfqdn(node)), "resolver")
    asking.join(_NAME_SERVER_PATIENCE)
    return answers[0] if answers and answers[0].startswith(node) else node
