"""How fast an entry is durable and a ledger verified, against the disk's and the hash's own speed in the same run.

Repeat: python -m pytest tests/bench/test_ledger.py -s
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import subprocess
import time
from pathlib import Path

from envtui.core.events import Noted
from envtui.outside.ledger import SqliteJournal
from envtui.outside.ledger_verify import verify
from envtui.outside.spool import DiskSpool

APPENDS = 400
ROUNDS = 4
EVENT = Noted(run="01K8RUN000000001", text="x" * 200, by="asha")  # a body of about 300 bytes


class Clock:
    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def randomness(self, count: int) -> bytes:
        return os.urandom(count)


def floor(path: Path) -> list[float]:
    """Seconds for each write of 300 bytes with its fsync."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    taken = []
    for _ in range(APPENDS):
        began = time.perf_counter()
        os.write(fd, b"x" * 300)
        os.fsync(fd)
        taken.append(time.perf_counter() - began)
    os.close(fd)
    return taken


async def appended(journal: SqliteJournal) -> list[float]:
    taken = []
    for _ in range(APPENDS):
        began = time.perf_counter()
        await journal.append(EVENT)
        taken.append(time.perf_counter() - began)
    return taken


async def test_a_durable_append_is_at_least_half_as_fast_as_write_and_fsync(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    journal = SqliteJournal(tmp_path / "ledger.sqlite3", Clock())
    disk: list[float] = []
    ours: list[float] = []
    for _ in range(ROUNDS):  # interleaved: the machine drifts
        disk += floor(tmp_path / "raw")
        ours += await appended(journal)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        await asyncio.gather(*(journal.append(EVENT) for _ in range(APPENDS)))
    together = (time.perf_counter() - began) / (ROUNDS * APPENDS)
    await journal.close()
    ratio = statistics.median(disk) / statistics.median(ours)
    print(
        f"\nappend {statistics.median(ours) * 1e3:.2f} ms, write+fsync {statistics.median(disk) * 1e3:.2f} ms:"
        f" {ratio:.2f} of its speed; {together * 1e3:.3f} ms each when many wait"
    )
    assert ratio >= 0.5


async def test_verify_is_at_most_two_and_a_half_sha256sums(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "ledger.sqlite3"
    journal = SqliteJournal(path, Clock())
    for _ in range(20):
        await journal.append_all([EVENT] * 10_000)
    await journal.close()
    ours, peer = [], []
    for _ in range(3):
        began = time.perf_counter()
        assert verify(path).sound
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        subprocess.run(["sha256sum", str(path)], check=True, stdout=subprocess.DEVNULL)
        peer.append(time.perf_counter() - began)
    ratio = statistics.median(ours) / statistics.median(peer)
    print(f"\nverify of 200,000 entries: {statistics.median(ours):.2f} s, {ratio:.2f} x sha256sum of the file")
    assert ratio <= 2.5


def test_output_goes_to_the_spool_at_a_million_lines_a_second(tmp_path: Path) -> None:
    """The peer is what must be done anyway: write the bytes and hash them."""
    piece = b"2026-11-22T09:46:01Z gw1 nginx[991]: 403 GET /api/v1/items?tenant=acme&id=123456 0.003 ua=curl x\n" * 650
    rounds = 100_000_000 // len(piece)
    began = time.perf_counter()
    recording = DiskSpool(tmp_path).record("s", ())
    for _ in range(rounds):
        recording.out(piece)
    recording.finish()
    ours = time.perf_counter() - began
    lines = recording.lines
    recording.close()
    began = time.perf_counter()
    digest = hashlib.sha256()
    with (tmp_path / "raw").open("wb", buffering=0) as raw:
        for _ in range(rounds):
            raw.write(piece)
            digest.update(piece)
    peer = time.perf_counter() - began
    print(f"\nspool: {lines / ours / 1e6:.2f} million lines/s, {ours / peer:.2f} x writing and hashing the same bytes")
    assert lines / ours >= 1_000_000
