"""The command line: one thin file for each command. The only package that prints, prompts and exits."""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run `chiltepin` and exit with its code."""
    # Imports and values of a short run make next to no cyclic garbage, and looking for it costs a tenth.
    gc.set_threshold(100_000, 50, 50)
    # A stream that the caller closed (`>&-`) is None, which nobody expects.
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: PTH123, SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    # Looking for pydantic's plugins reads the metadata of every installed package; we use none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        # From the first moment on; a SIGHUP that `nohup` ignores stays ignored.
        numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
        for number in numbers:
            signal.signal(number, _interrupt)
        from reconciler.cli.main import run
    except KeyboardInterrupt:  # Ctrl-C this early, too, ends with its exit code and without a traceback
        sys.exit(130)
    code = run(sys.argv[1:])
    for number in numbers:  # it ends anyway, with the exit code that says what was done
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()  # the interpreter looks for garbage once more before it ends
    sys.exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does."""
    del number, frame
    raise KeyboardInterrupt
