"""From a request to a verified grant, without the time that people take: two laptops' work in a row, with real ssh-keygen, a
real ledger and a register on disk.

The goal is absolute: somebody waits. Beside it stands the same number of ssh-keygen's own calls as cannot be done without:
two signatures, and three verifications (the request by its approver, both by the requester).

    .venv/bin/python -m pytest -s -p no:xdist tests/bench/test_access.py
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))

from access_kit import World, make_keys
from access_steps import activated, asked, received, reviewed, signed

from envtui.core.environment import IncidentPolicy
from envtui.outside.incident_file import FileTracker, Register
from envtui.outside.ledger import SqliteJournal
from envtui.outside.ssh_keygen import Keygen, KeygenVerifier
from envtui.outside.system_clock import SystemClock

ROUNDS = 15


class Laptops(World):
    """As two processes are: each has one verifier for as long as it lives."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.both = [KeygenVerifier(self.roster, self.clock, Keygen()) for _ in range(2)]
        self.at = 0

    @property
    def verifier(self) -> KeygenVerifier:
        return self.both[self.at]


GOAL = 0.150


def bare(folder: Path, key: Path) -> float:
    """Two signatures and three verifications by ssh-keygen, one after the other."""
    signer = folder / "allowed"
    signer.write_text(f"asha {' '.join((key.with_suffix('.pub')).read_text().split()[:2])}\n")
    message = b"x" * 1500
    sign = ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", "bench"]
    verify = ["ssh-keygen", "-Y", "verify", "-f", str(signer), "-I", "asha", "-n", "bench", "-s", str(folder / "sig")]
    began = time.perf_counter()
    for _ in range(2):
        (folder / "sig").write_bytes(subprocess.run(sign, input=message, capture_output=True, check=True).stdout)
    for _ in range(3):
        subprocess.run(verify, input=message, capture_output=True, check=True)
    return time.perf_counter() - began


async def test_from_request_to_grant(tmp_path: Path) -> None:
    keys = make_keys(tmp_path)
    register = Register(tmp_path / "register.jsonl", IncidentPolicy().pattern)
    clock = SystemClock()
    register.open(title="403", environment="production", by="asha", now_ms=clock.wall_ms(), incident="INC-1001")
    ours, theirs = [], []
    for number in range(ROUNDS):
        world = Laptops(keys)
        world.clock = clock  # type: ignore[assignment]  # real ones in the places of those that tests move
        world.tracker = FileTracker(register, clock)  # type: ignore[assignment]
        world.journal = SqliteJournal(tmp_path / f"ledger-{number}.db", clock)  # type: ignore[assignment]
        await world.journal.head()
        began = time.perf_counter()
        block = await asked(world)
        world.at = 1
        answer = await signed(world, await reviewed(world, block))
        world.at = 0
        await received(world, answer)
        grant = await activated(world)
        ours.append(time.perf_counter() - began)
        assert grant.signed_by == ("meera",)
        await world.journal.close()
        theirs.append(await asyncio.to_thread(bare, tmp_path, keys.path("asha")))
    mine, peer = statistics.median(ours), statistics.median(theirs)
    print(
        f"\nrequest to grant: {mine * 1e3:.0f} ms (goal {GOAL * 1e3:.0f}), shortest {min(ours) * 1e3:.0f};"
        f" ssh-keygen's share alone {peer * 1e3:.0f} ms: {mine / peer:.2f}x"
    )
    assert mine <= GOAL
