"""The lab's undertaker: a tiny process that outlives the lab by a moment and ends whatever it left behind.

The kernel ends a child of the lab when the lab dies, but not that child's children (a `sleep` started by a shell over
SSH). This process waits for its standard input to close, which happens however the lab ends, and then kills every
process that carries the lab's token in its environment. Standard library only; started as a plain file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path


def carriers(token: str) -> list[int]:
    """Ids of live processes, other than this one, whose environment holds `token`. Linux; elsewhere none."""
    wanted = token.encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone, or somebody else's
            if entry.name != str(os.getpid()) and wanted in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def bury(token: str, seconds: float = 5.0) -> None:
    """Kill the carriers until there are none: one that forks meanwhile is found the next time round."""
    deadline = time.monotonic() + seconds
    while (pids := carriers(token)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    bury(sys.argv[1])


if __name__ == "__main__":
    main()
