"""How fast the command line answers, against the bare interpreter in the same run.

Repeat: python -m pytest tests/bench/test_startup.py -s
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 15


def seconds(argv: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def test_version_is_at_most_three_bare_interpreters() -> None:
    bare, ours = [], []
    for _ in range(RUNS):
        bare.append(seconds([sys.executable, "-c", "pass"]))
        ours.append(seconds([sys.executable, "-m", "envtui", "--version"]))
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"\nenvtui --version: {ratio:.2f} x python -c pass")
    assert ratio <= 3
