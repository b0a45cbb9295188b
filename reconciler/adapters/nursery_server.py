"""Runs in the Python of globus-compute-endpoint: imports it once, then forks for each daemon to start.

A started daemon is the same as one that the command starts by itself: the same entry point runs with the
same arguments, in a session of its own. Only the import, half a second and 30 MiB for each, is shared.
Imports nothing of ours: it is run as a script, by an environment that may not have us.

Reads requests from stdin, a JSON object a line: {"n": number, "argv": [...], "output": path}. Writes to
its stdout {"ready": true}, and for each request {"n": number} from its process when that is there, and
{"n": number, "code": exit code} when the command ended (the daemon goes on). Ends at the end of its input.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

Entry = Callable[[], Any]


def limited(limits: Callable[[int], tuple[int, int]]) -> Callable[[int], tuple[int, int]]:
    """Return getrlimit with a modest limit of open files.

    python-daemon keeps a set of all file descriptors there may be: 50 MiB where a million are allowed.
    """

    def getrlimit(which: int) -> tuple[int, int]:
        soft, hard = limits(which)
        if which == resource.RLIMIT_NOFILE and (hard == resource.RLIM_INFINITY or hard > 8192):
            return (min(soft, 8192) if soft != resource.RLIM_INFINITY else 8192), 8192
        return soft, hard

    return getrlimit


def load() -> Entry:
    """Import what every daemon needs, and return the command's entry point."""
    original = resource.getrlimit
    resource.getrlimit = limited(original)
    try:
        import daemon.daemon  # noqa: F401
    finally:
        resource.getrlimit = original
    from globus_compute_endpoint.cli import cli_run

    entry: Entry = cli_run
    return entry


def become(entry: Entry, request: dict[str, Any], answers: int) -> NoReturn:
    """In the child: run the command to its end. The daemon detaches from here on the way."""
    import setproctitle

    os.setsid()
    # Said by the child, before anything else: however its parent ends, either this is read or nothing was begun.
    say(answers, {"n": request["n"]})
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(request["output"], os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    sys.argv = list(request["argv"])
    # Whoever looks for a start under way knows it by this command line.
    setproctitle.setproctitle(" ".join([sys.executable, *sys.argv]))
    try:
        code = entry()
    except SystemExit as e:
        code = e.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _wake(_number: int, _frame: object) -> None:
    """Let the wake-up descriptor do it: a child ended."""


def serve(entry: Entry, answers: int) -> None:
    """Fork for each request until the input ends."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    os.set_blocking(readable, False)
    signal.set_wakeup_fd(writable)
    signal.signal(signal.SIGCHLD, _wake)
    children: dict[int, int] = {}
    pending = b""
    while True:
        ready, _, _ = select.select([0, readable], [], [])
        if readable in ready:
            os.read(readable, 4096)
        for pid in list(children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                say(answers, {"n": children.pop(pid), "code": os.waitstatus_to_exitcode(status)})
        if 0 not in ready:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                become(entry, request, answers)
            children[pid] = request["n"]


def say(answers: int, message: dict[str, Any]) -> None:
    """Write one answer."""
    os.write(answers, json.dumps(message).encode() + b"\n")


def main() -> None:
    """Take over stdout for the answers, load, serve."""
    answers = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    # The entry point takes a bare name for a module to run; a path it takes as it is.
    sys.argv = [sys.argv[1]]
    entry = load()
    gc.collect()
    gc.freeze()  # what is loaded stays shared: the collector would touch, and so copy, every page
    say(answers, {"ready": True})
    serve(entry, answers)


if __name__ == "__main__":
    main()
