"""`envtui`: the one entry point. Only the standard library is imported before the arguments are known."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line and return its exit code (docs/command-line.md)."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from . import __version__

        try:
            print(f"envtui {__version__}", flush=True)  # noqa: T201 - the fast path does not load the command line
        except OSError:
            sys.stdout = None  # a full disk, or nobody: the interpreter would try again at its end, and complain
            return 1
        return 0
    from .cli.main import main as command_line

    return command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
