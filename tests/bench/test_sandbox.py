"""What the sandbox adds to a read over SSH: the same commands with and without it, in turns, on connections that are open.

Absolute milliseconds, because that is the goal; the account's login shell is dash without start files.
    .venv/bin/python -m pytest -p no:randomly tests/bench/test_sandbox.py -s
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "servers"))

from ssh_house import House
from sshd import ME, SSHD, Servers, servers
from test_ssh_sandbox import LANDLOCK

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(SSHD is None, reason="NO sshd: the speed of SSH WAS NOT MEASURED"),
    pytest.mark.skipif(LANDLOCK < 3, reason="NO LANDLOCK: the sandbox WAS NOT MEASURED"),
]

ROUNDS = 40
GOAL = 25.0
"""Milliseconds that the sandbox may add, at the median."""


@pytest.fixture(scope="module")
def world() -> Iterator[Servers]:
    with servers() as made:
        yield made


@pytest.fixture
async def houses(world: Servers) -> AsyncIterator[tuple[House, House]]:
    user = world.account(f"held{time.monotonic_ns() % 10**6}", "/bin/dash") if os.getuid() == 0 else ME
    server = world.start("test:one")
    made = (House(world), House(world))
    made[1].least = "kernel-enforced"
    for each in made:
        each.target("gw", server, user=user)
        await each.open("gw")
    yield made
    for each in made:
        await each.close()


@pytest.mark.parametrize("argv", [("true",), ("cat", "/proc/loadavg"), ("sh", "-c", "ps | head -3; echo 'done'")])
async def test_what_the_sandbox_adds_to_a_read(houses: tuple[House, House], argv: tuple[str, ...]) -> None:
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for house, times in zip(houses, took, strict=True):
            began = time.perf_counter()
            assert (await house.read("gw", *argv)).exit == 0
            times.append(1000 * (time.perf_counter() - began))
    bare, held = map(statistics.median, took)
    print(f"\n{' '.join(argv):<30} bare {bare:.1f} ms, in the sandbox {held:.1f} ms: +{held - bare:.1f} ms")
    assert held - bare <= GOAL
