"""`envtui`: the one entry point. Only the standard library is imported before the arguments are known."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from . import cycles


def process() -> NoReturn:
    """Be the process: run the command line and end with its exit code.

    What must last was closed when `main` returned. Taking the interpreter apart after that would take as long as two steps
    of a book, and would wait for threads that nobody waits for any more.
    """
    cycles.pause()  # a verb that goes on for long settles it
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
