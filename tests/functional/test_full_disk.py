"""Full and failing disks under the ledger and the spool: what is refused, what goes on, and what nobody can know."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envtui.core.errors import Failed, Unsound
from envtui.core.events import ActEnded, ActIntended, Noted, Probed, Resolved, RunEnded, StopAsked
from envtui.outside import spool as spool_module
from envtui.outside.ledger import SqliteJournal
from envtui.outside.ledger_verify import verify
from envtui.outside.spool import DiskSpool
from tests.functional.test_ledger import StillClock, note, until_full

INTENT = ActIntended(
    run="R1", step="s", act="s@gw1", act_digest="d", mode="write", target="gw", member="gw1", shows="revert"
)
ENDS = (
    ActEnded(run="R1", step="s", act="s@gw1", word="IN DOUBT"),
    Probed(run="R1", step="s", act="s@gw1", found="applied"),
    Resolved(run="R1", step="s", act="s@gw1", done=True, by="asha", why="seen"),
    StopAsked(run="R1", why="the disk is full"),
    RunEnded(run="R1", word="OK"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "production"
    folder.mkdir(mode=0o700)
    return folder / "ledger.sqlite3"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a small file system needs the right to mount one ({mounted.stderr.strip()})")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(b"\x00" * 4096)
    return filler


class FailingDisk:
    """SQLite's connection on a disk that fails at one statement. `after`: the statement itself was done first."""

    def __init__(
        self, real: sqlite3.Connection, statement: str, code: int, after: bool = False, times: int = 1
    ) -> None:
        self._real = real
        self._statement = statement
        self._code = code
        self._after = after
        self._times = times

    def _maybe(self, sql: str) -> None:
        if self._times and sql.startswith(self._statement):
            self._times -= 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self._code
            raise error

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if not self._after:
            self._maybe(sql)
        done = self._real.execute(sql, *values)
        self._maybe(sql)
        return done

    def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
        self._maybe(sql)
        return self._real.executemany(sql, rows)

    def close(self) -> None:
        self._real.close()


def fails(journal: SqliteJournal, statement: str, code: int, after: bool = False, times: int = 1) -> None:
    journal._writing = FailingDisk(journal._writing, statement, code, after, times)  # type: ignore[assignment]


# -- the ledger ------------------------------------------------------------------------------------------------------


async def test_a_full_disk_takes_the_ends_of_things_and_begins_nothing(disk: Path) -> None:
    ledger = disk / "production" / "ledger.sqlite3"
    ledger.parent.mkdir(mode=0o700)
    journal = SqliteJournal(ledger, StillClock())
    await journal.append(INTENT)
    filler = fill(disk)
    with pytest.raises(Unsound, match="full"):
        await until_full(journal)
    before = await journal.head()
    with pytest.raises(Unsound, match="full"):
        await journal.append_all((note("a" * 9_000), INTENT))
    with pytest.raises(Unsound, match="full"):
        await journal.append_all((*ENDS, INTENT))  # one that begins something: none of them
    assert await journal.head() == before
    for event in ENDS:
        assert (await journal.append(event)).event == event
    filler.unlink()
    await journal.append(INTENT)
    await journal.close()
    assert verify(ledger).sound
    assert verify(ledger).entries == before.seq + len(ENDS) + 1


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT", "COMMIT"])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE])
async def test_a_write_that_failed_is_not_there_and_the_next_one_is(path: Path, statement: str, code: int) -> None:
    journal = SqliteJournal(path, StillClock())
    await journal.append(note("before"))
    head = await journal.head()
    fails(journal, statement, code)
    with pytest.raises(Unsound):
        await journal.append_all((note("lost"), INTENT))
    assert await journal.head() == head
    assert (await journal.append(note("after"))).seq == head.seq + 1
    await journal.close()
    assert verify(path, [head]).sound


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT"])
async def test_a_failed_fsync_before_the_commit_changes_nothing(path: Path, statement: str) -> None:
    journal = SqliteJournal(path, StillClock())
    fails(journal, statement, sqlite3.SQLITE_IOERR_FSYNC)
    with pytest.raises(Unsound, match="gives an error"):
        await journal.append(INTENT)
    assert (await journal.append(INTENT)).seq == 1
    await journal.close()
    assert verify(path).sound


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("event", [INTENT, ENDS[0]], ids=["begins", "ends"])
@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_CORRUPT]
)
async def test_after_a_commit_that_nobody_knows_of_nothing_more_is_written(
    path: Path, code: int, event: ActIntended | ActEnded, durable: bool
) -> None:
    journal = SqliteJournal(path, StillClock())
    await journal.append(note("before"))
    fails(journal, "COMMIT", code, after=durable)
    for attempt in (event, *ENDS):  # the ends, too: they would build on a head that may not exist
        with pytest.raises(Unsound, match="not known") as refused:
            await journal.append(attempt)
        assert refused.value.remedy == "Close envtui, look at the disk, then verify the ledger."
    assert [entry.event for entry in await journal.read()] == [note("before"), *([event] if durable else [])]
    await journal.close()
    assert verify(path).sound
    again = SqliteJournal(path, StillClock())  # whoever opens it again sees which it was
    assert (await again.append(note("after"))).seq == 2 + durable
    await again.close()
    assert verify(path).sound


async def test_of_several_that_wait_together_none_is_written_twice_after_a_failed_fsync(path: Path) -> None:
    journal = SqliteJournal(path, StillClock())
    fails(journal, "COMMIT", sqlite3.SQLITE_IOERR_FSYNC, after=True)
    waiting = [journal.append(Noted(run="R1", text=str(number), by="asha")) for number in range(20)]
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, Unsound) for one in told)
    await journal.close()
    texts = [entry.event.text for entry in await _read_again(path) if isinstance(entry.event, Noted)]
    assert len(texts) == len(set(texts))
    assert verify(path).sound


async def _read_again(path: Path) -> Any:
    journal = SqliteJournal(path, StillClock())
    try:
        return await journal.read()
    finally:
        await journal.close()


async def test_reads_that_fail_are_said_and_do_not_end_the_ledger(path: Path) -> None:
    journal = SqliteJournal(path, StillClock())
    await journal.append(note("one"))
    await journal.read()
    assert journal._reading is not None
    journal._reading = FailingDisk(journal._reading, "SELECT", sqlite3.SQLITE_IOERR_READ)  # type: ignore[assignment]
    with pytest.raises(Unsound, match="gives an error"):
        await journal.read("R1")
    assert len(await journal.read("R1")) == 1
    await journal.close()


async def test_a_run_that_is_read_again_is_what_a_first_reading_would_be(path: Path) -> None:
    journal = SqliteJournal(path, StillClock())
    other = SqliteJournal(path, StillClock())
    for number in range(6):
        await journal.append(note(str(number), f"R{number % 6}"))
        await other.append(note("more", "R1"))
        for run in ("R1", "R0", "R2", "R3", "R4", "R5"):
            first = await journal.read(run)
            assert first == await other.read(run)
            assert first == [entry for entry in await other.read() if getattr(entry.event, "run", "") == run]
            first.clear()  # type: ignore[attr-defined]  # what a caller does with it is its own
    await journal.close()
    await other.close()


# -- the spool -------------------------------------------------------------------------------------------------------


def test_output_on_a_full_disk_is_cut_and_readable(disk: Path) -> None:
    recording = DiskSpool(disk).record("s", ())
    recording.out(b"first\n")
    fill(disk)
    for _ in range(100):
        recording.out(b"more\n" * 1000)
        recording.err(b"oh\n")
    assert recording.line(0) == b"first"
    digest, size, cut = recording.finish()
    assert cut
    assert "No space left" in recording.why
    assert recording.received == 6 + 100 * 5003
    content = DiskSpool(disk).path("s").read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest)
    recording.close()
    following = DiskSpool(disk).record("next", ())
    following.out(b"x\n" * 9000)
    assert following.finish()[2]
    following.close()


@pytest.mark.parametrize("failing", ["write", "close"])
def test_a_disk_that_fails_is_no_error_of_whoever_hands_output_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    recording = DiskSpool(tmp_path).record("s", ())
    recording.out(b"kept\n")
    real = getattr(os, failing)

    def broken(fd: int, *data: bytes) -> int:
        if failing == "close":
            real(fd)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(spool_module.os, failing, broken)
        recording.out(b"lost\n")
        recording.err(b"lost\n")
        digest, size, cut = recording.finish()
        assert recording.finish() == (digest, size, cut)
    content = DiskSpool(tmp_path).path("s").read_bytes()
    assert cut
    assert recording.why == f"{len(content)} bytes were kept, then: Input/output error"
    assert (digest, size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert recording.line(0) == b"kept"
    recording.close()


def test_a_disk_that_cannot_be_read_or_cleared_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = DiskSpool(tmp_path)
    recording = spool.record("s", ())
    recording.out(b"kept\n")

    def broken(*_: object, **__: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(spool_module.os, "pread", broken)
    with pytest.raises(Failed, match="Input/output error"):
        recording.line(0)
    monkeypatch.setattr(Path, "unlink", broken)
    spool.forget("s")  # the file stays; what came of the act is not touched by that
    recording.close()
