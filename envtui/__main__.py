"""`envtui`: the one entry point. Only the standard library is imported before the arguments are known."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import NoReturn

COLLECT = (50_000, 20, 100)
"""Thresholds of the collector of cycles. With Python's own ones it looks through everything that lives again and again: a
tenth of the time that importing takes, and, as one drawing makes 10,000 short-lived objects, pauses of 30 to 90 ms in which
no key is handled."""


def process() -> NoReturn:
    """Be the process: run the command line and end with its exit code.

    What must last was closed when `main` returned. Taking the interpreter apart after that would take as long as two steps
    of a book, and would wait for threads that nobody waits for any more.
    """
    gc.set_threshold(*COLLECT)
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody there, or closed
            stream.flush()
    os._exit(code)


def main() -> int:
    """Run the command line and return its exit code (docs/command-line.md)."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from . import __version__

        try:
            print(f"envtui {__version__}", flush=True)  # noqa: T201 - the fast path does not load the command line
        except OSError:
            return 1
        return 0
    from .cli.main import main as command_line

    return command_line(sys.argv[1:])


if __name__ == "__main__":
    process()
