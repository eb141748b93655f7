"""Whether this machine's kernel can hold reads, as production asks for it: where it cannot, the lab asks for less and says so."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys

_LANDLOCK = 444
"""landlock_create_ruleset, the same number on x86-64 and aarch64."""

ASKED, LOWERED = "{ssh: kernel-enforced,", "{ssh: advisory,"
"""What production's manifest says, and what the lab's copy says where it must."""


def landlock() -> int:
    """The version of Landlock here; 0 when there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, int(ctypes.CDLL(None).syscall(_LANDLOCK, None, 0, 1)))


def why_not(system: str, machine: str, version: int, python: str | None) -> str:
    """Why reads cannot be held there; '' when they can."""
    if system != "Linux":
        return f"{system} has no Landlock"
    if machine not in ("x86_64", "aarch64"):
        return f"there is no list of system calls for {machine}"
    if version < 3:
        return f"this kernel has Landlock {version or 'not at all'}, and version 3 (Linux 6.2) is needed"
    return "" if python else "there is no python3 for the hosts' accounts"


def here(path: str) -> str:
    """The same of this machine; `path` is the PATH of its accounts."""
    return why_not(platform.system(), os.uname().machine, landlock(), shutil.which("python3", path=path))
