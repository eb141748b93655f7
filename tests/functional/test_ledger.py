"""The ledger against everything that can happen to a file: bytes flipped, rows moved, ends cut, disks full, kills."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from envtui.core.canonical import canonical
from envtui.core.errors import LedgerBroken, Unsound
from envtui.core.events import ActEnded, ActIntended, Event, Head, Noted, Requested, RunEnded, RunStarted, SignedOff
from envtui.outside.ledger import SqliteJournal, exported, read_entries
from envtui.outside.ledger_format import Ballast, Witness, file_system, genesis, require_private, row_hash
from envtui.outside.ledger_verify import Verdict, verify


class StillClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_763_834_400_000

    def wall_ms(self) -> int:
        self.now += 1
        return self.now

    def boot_ms(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    def randomness(self, count: int) -> bytes:
        return bytes(range(count))


def note(text: str, run: str = "R1") -> Noted:
    return Noted(run=run, text=text, by="asha")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "production"
    folder.mkdir(mode=0o700)
    return folder / "ledger.sqlite3"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(path, StillClock())
    yield journal
    await journal.close()


async def filled(path: Path, *events: Event) -> Head:
    journal = SqliteJournal(path, StillClock())
    await journal.append_all(events or tuple(note(f"entry {number}") for number in range(1, 9)))
    head = await journal.head()
    await journal.close()
    return head


@contextlib.contextmanager
def unlocked(path: Path) -> Iterator[sqlite3.Connection]:
    """The database without its triggers, as somebody with a shell would have it; the triggers come back at the end."""
    connection = sqlite3.connect(path, isolation_level=None)
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    yield connection
    for _, sql in triggers:
        connection.execute(sql)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


# -- what it does --------------------------------------------------------------------------------------------------


async def test_what_was_appended_is_read_back_in_order_with_a_chain(journal: SqliteJournal, path: Path) -> None:
    first = await journal.append(note("one"))
    second, third = await journal.append_all((note("two", "R2"), RunEnded(run="R1", word="OK")))
    assert [entry.seq for entry in (first, second, third)] == [1, 2, 3]
    assert await journal.read() == [first, second, third]
    assert await journal.read("R1") == [first, third]
    assert read_entries(path, "R2") == [second]
    head = await journal.head()
    assert head == Head(bytes(range(16)).hex(), 3, third.hash)
    assert verify(path, [head]).sound


async def test_an_empty_ledger_is_sound_and_begins_with_its_own_id(journal: SqliteJournal, path: Path) -> None:
    head = await journal.head()
    assert head == Head(bytes(range(16)).hex(), 0, genesis(bytes(range(16))).hex())
    assert verify(path, [head]) == Verdict(head=head, entries=0, compared=1)


async def test_a_word_in_another_field_does_not_make_an_entry_another_runs(journal: SqliteJournal) -> None:
    await journal.append(note('"run":"R9"', "R1"))
    assert await journal.read("R9") == []


async def test_a_follower_sees_each_entry_once_whoever_wrote_it(journal: SqliteJournal, path: Path) -> None:
    await journal.append_all((note("1"), note("2")))
    seen: list[int] = []

    async def follow() -> None:
        async for entry in journal.follow(1):
            seen.append(entry.seq)
            if entry.seq == 4:
                return

    following = asyncio.create_task(follow())
    await journal.append(note("3"))
    other = SqliteJournal(path, StillClock())
    await other.append(note("4"))
    await other.close()
    await asyncio.wait_for(following, 30)
    assert seen == [2, 3, 4]


async def test_text_that_is_no_unicode_is_kept_as_its_escapes(journal: SqliteJournal, path: Path) -> None:
    entry = await journal.append(note("bad \udc80 \x00"))
    assert entry.event == note("bad \\udc80 \x00")
    assert read_entries(path) == [entry]


async def test_the_files_are_this_users_alone(path: Path) -> None:
    old = os.umask(0)
    try:
        journal = SqliteJournal(path, StillClock())
        await journal.append(note("x"))
        while not Path(f"{path}.head").exists():  # noqa: ASYNC110  # a file has no event
            await asyncio.sleep(0.01)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        await journal.close()
    finally:
        os.umask(old)
    assert set(modes) == {f"ledger.sqlite3{end}" for end in ("", "-wal", "-shm", ".head", ".ballast")}
    assert set(modes.values()) == {0o600}


async def test_a_closed_journal_says_so(path: Path) -> None:
    journal = SqliteJournal(path, StillClock())
    await journal.close()
    await journal.close()
    with pytest.raises(Unsound, match="closed"):
        await journal.append(note("late"))


async def test_whoever_stops_waiting_does_not_stop_the_entry(path: Path) -> None:
    journal = SqliteJournal(path, StillClock())
    waiting = asyncio.create_task(journal.append(note("x")))
    await asyncio.sleep(0)
    waiting.cancel()
    await journal.close()
    assert [entry.event for entry in read_entries(path)] == [note("x")]


async def test_an_export_can_be_verified_from_its_lines_alone(path: Path) -> None:
    await filled(path, note("user=x\n2026-01-01 12:00:00 APPROVED by=bob"), note("\x1b]0;x\x07é"))
    lines = list(exported(path))
    assert len(lines) == 2
    prev = genesis(bytes(range(16)))
    for line in lines:
        assert line.isascii()
        assert line.isprintable()
        row = json.loads(line)
        body = canonical(row["event"])
        assert row["prev"] == prev.hex()
        prev = row_hash(bytes.fromhex(row["ledger"]), row["seq"], row["at_ms"], prev, body)
        assert row["hash"] == prev.hex()


# -- where it may be -----------------------------------------------------------------------------------------------


def test_a_folder_that_others_may_enter_is_refused(path: Path) -> None:
    path.parent.chmod(0o750)
    with pytest.raises(Unsound, match="Others may enter"):
        SqliteJournal(path, StillClock())


async def test_a_file_that_others_may_open_is_refused(path: Path) -> None:
    await filled(path)
    path.chmod(0o640)
    with pytest.raises(Unsound, match="Others may open"):
        SqliteJournal(path, StillClock())


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unsound, match="not a file of this user's"):
        SqliteJournal(path, StillClock())


def test_a_network_file_system_is_refused(path: Path) -> None:
    mounts = f"21 1 0:19 / / rw - ext4 /dev/vda rw\n22 21 0:20 / {path.parent} rw shared:1 - nfs4 server:/home rw\n"
    with pytest.raises(Unsound, match="network file system"):
        require_private(path, mounts)
    require_private(path, mounts.replace("nfs4", "xfs"))


def test_the_file_system_is_that_of_the_nearest_mount() -> None:
    mounts = "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /home rw - nfs b rw\n3 2 0:3 / /home/my\\040place rw - btrfs c rw\n"
    assert file_system(Path("/home/asha"), mounts) == "nfs"
    assert file_system(Path("/homes"), mounts) == "ext4"
    assert file_system(Path("/home/my place/x"), mounts) == "btrfs"
    assert file_system(Path("/home"), "") == ""


# -- what cannot be done to it unseen --------------------------------------------------------------------------------


async def test_one_flipped_bit_in_any_stored_byte_is_found(path: Path) -> None:
    await filled(path, *(note(f"entry {number}") for number in range(1, 4)))
    Witness(path).path.unlink()
    missed: list[tuple[str, int, int]] = []
    count = 0
    with unlocked(path) as connection:
        rows = connection.execute("SELECT seq, prev, body, hash FROM entries").fetchall()
    for seq, *values in rows:
        for column, value in zip(("prev", "body", "hash"), values, strict=True):
            for at in range(len(value)):
                count += 1
                flipped = value[:at] + bytes([value[at] ^ (1 << at % 8)]) + value[at + 1 :]
                copy = path.with_name("copy")
                shutil.copy(path, copy)
                with unlocked(copy) as connection:
                    connection.execute(f"UPDATE entries SET {column} = ? WHERE seq = ?", (flipped, seq))
                verdict = verify(copy)
                if verdict.sound or verdict.seq != seq:
                    missed.append((column, seq, at))
    assert missed == []
    assert count > 3 * (32 + 32 + 40)


async def test_no_byte_of_the_file_changes_what_it_says_unseen(path: Path) -> None:
    """Every byte of every page is flipped in turn: found, or nothing that is said depends on it."""
    await filled(path, note("one"), note("two"))
    Witness(path).path.unlink()
    content = path.read_bytes()
    said = [(entry.seq, entry.at_ms, entry.event) for entry in read_entries(path)]
    copy = path.with_name("copy")
    found = 0
    for at in range(len(content)):
        if content[at] == 0 and at % 64:  # the free middle of pages: a sample of it
            continue
        copy.write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :])
        copy.chmod(0o600)
        if verify(copy).sound:
            assert [(entry.seq, entry.at_ms, entry.event) for entry in read_entries(copy)] == said, at
        else:
            found += 1
    assert found > 1000


@pytest.mark.parametrize(
    ("change", "seq"),
    [
        ("UPDATE entries SET at_ms = at_ms + 1 WHERE seq = 4", 4),
        ("UPDATE entries SET seq = 99 WHERE seq = 8", 8),
        ("DELETE FROM entries WHERE seq = 3", 3),
        ("DELETE FROM entries WHERE seq = 1", 1),
        ("UPDATE entries SET body = (SELECT body FROM entries WHERE seq = 5) WHERE seq = 4", 4),
        (
            "CREATE TEMP TABLE t AS SELECT * FROM entries; DELETE FROM entries WHERE seq IN (4, 5);"
            "INSERT INTO entries SELECT 9 - seq, at_ms, prev, body, hash FROM t WHERE seq IN (4, 5)",
            4,
        ),
        ("INSERT INTO entries SELECT 9, at_ms, hash, body, prev FROM entries WHERE seq = 8", 9),
        ("INSERT INTO entries SELECT 0, at_ms, prev, body, hash FROM entries WHERE seq = 1", 1),
        ("DELETE FROM entries WHERE seq = 8", None),
        ("DELETE FROM entries", None),
        ("UPDATE meta SET value = x'00112233445566778899aabbccddeeff'", 1),
        ("INSERT INTO meta VALUES ('more', x'00')", None),
        ("CREATE TABLE more (x)", None),
        ("CREATE VIEW more AS SELECT 1", None),
        ("PRAGMA application_id = 7", None),
    ],
)
async def test_a_changed_removed_reordered_or_added_entry_is_found(path: Path, change: str, seq: int | None) -> None:
    await filled(path)
    with unlocked(path) as connection:
        connection.executescript(change)
    verdict = verify(path)
    assert not verdict.sound
    assert verdict.seq == seq


async def test_a_missing_or_weakened_trigger_is_found_and_nothing_opens(path: Path) -> None:
    await filled(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DROP TRIGGER entries_no_update")
    connection.close()
    assert "entries_no_update is missing" in verify(path).why
    with pytest.raises(LedgerBroken, match="entries_no_update is missing"):
        SqliteJournal(path, StillClock())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET at_ms = 0",
        "DELETE FROM entries",
        "INSERT INTO entries VALUES (4, 0, x'', x'', x'')",
        "INSERT OR REPLACE INTO entries VALUES (8, 0, x'', x'', x'')",
        "REPLACE INTO entries VALUES (1, 0, x'', x'', x'')",
        "UPDATE meta SET value = x''",
        "DELETE FROM meta",
    ],
)
async def test_the_database_itself_refuses_what_is_not_an_append(path: Path, statement: str) -> None:
    await filled(path)
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()
    assert verify(path).sound


async def test_a_cut_end_is_found_by_any_head_from_elsewhere(path: Path) -> None:
    head = await filled(path)
    cut = "DELETE FROM entries WHERE seq > 6"
    with unlocked(path) as connection:
        connection.execute(cut)
    assert verify(path).why == "Entries are missing at the end: there was an entry 8."
    with pytest.raises(LedgerBroken, match="missing at the end"):
        SqliteJournal(path, StillClock())
    Witness(path).path.unlink()
    alone = verify(path)
    assert alone.sound
    assert alone.compared == 0  # and the words of the command line say so
    assert not verify(path, [head]).sound


async def test_a_write_ahead_log_that_is_cut_or_gone_is_found(path: Path) -> None:
    journal = SqliteJournal(path, StillClock())
    await journal.append_all([note(f"entry {number}") for number in range(8)])
    copy = path.with_name("copy")
    while not Path(f"{path}.head").exists():  # noqa: ASYNC110  # written after the waiter has its answer; a file has no event
        await asyncio.sleep(0.01)
    for end in ("", "-wal", ".head"):
        shutil.copy(f"{path}{end}", f"{copy}{end}")
    await journal.close()
    assert verify(copy).sound
    log = Path(f"{copy}-wal")
    content = log.read_bytes()
    for broken in (content[: len(content) // 2], content[:100] + bytes([content[100] ^ 1]) + content[101:], b""):
        Path(f"{copy}-shm").unlink(missing_ok=True)
        log.write_bytes(broken)
        assert not verify(copy).sound


async def test_a_ledger_written_anew_does_not_fit_a_signed_head(path: Path) -> None:
    journal = SqliteJournal(path, StillClock())
    await journal.append_all([note("one"), note("two")])
    head = await journal.head()
    await journal.append(carrying(head))
    await journal.close()
    assert verify(path).compared == 2  # the request's head, and the one beside the file
    rewritten(path, lambda seq, body: canonical({**json.loads(body), "text": "never happened"}) if seq == 1 else body)
    verdict = verify(path)
    assert verdict.seq == 3
    assert "signature over another past" in verdict.why


async def test_another_ledgers_head_in_a_request_is_no_fault_of_this_one(path: Path) -> None:
    await filled(path, carrying(Head("ff" * 16, 40, "00" * 32)))
    assert verify(path).sound


async def test_a_moved_away_ledger_is_not_silently_begun_anew(path: Path) -> None:
    await filled(path)
    path.unlink()
    with pytest.raises(LedgerBroken, match="another one than"):
        SqliteJournal(path, SecondClock())


class SecondClock(StillClock):
    def randomness(self, count: int) -> bytes:
        return bytes(reversed(range(count)))


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"SQLite format 3\x00" + b"\x00" * 5000])
def test_a_file_that_is_no_ledger_is_broken_and_never_a_traceback(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    assert not verify(path).sound
    if content:
        with pytest.raises(LedgerBroken):
            SqliteJournal(path, StillClock())
        with pytest.raises(LedgerBroken):
            read_entries(path)


def test_no_file_is_no_sound_ledger(path: Path) -> None:
    assert verify(path).why == "There is no ledger."
    assert read_entries(path) == ()
    assert list(exported(path)) == []


def carrying(head: Head) -> SignedOff | Requested:
    statement = {"ledger": head.ledger, "ledger_seq": head.seq, "ledger_hash": head.hash}
    bundle = canonical({"kind": "request", "body": canonical(statement).decode(), "signature": "…"}).decode()
    return Requested(run="R1", request="Q1", request_sha256="", incident="INC-1", reason="r", bundle=bundle)


def rewritten(path: Path, change: Callable[[int, bytes], bytes]) -> None:
    """Change bodies and compute the whole chain again, as somebody who knows this code would; the witness too."""
    with unlocked(path) as connection:
        ledger = connection.execute("SELECT value FROM meta").fetchone()[0]
        prev = genesis(ledger)
        for seq, at_ms, body in connection.execute("SELECT seq, at_ms, body FROM entries ORDER BY seq").fetchall():
            body = change(seq, body)
            digest = row_hash(ledger, seq, at_ms, prev, body)
            connection.execute(
                "UPDATE entries SET prev = ?, body = ?, hash = ? WHERE seq = ?", (prev, body, digest, seq)
            )
            prev = digest
    witness = Witness(path)
    witness.write(ledger, seq, prev)
    witness.close()


# -- two processes, kills, full disks ------------------------------------------------------------------------------

_APPENDER = """
import asyncio, os, sys, time
from pathlib import Path
from envtui.core.events import Noted
from envtui.outside.ledger import SqliteJournal

class Clock:
    def wall_ms(self): return time.time_ns() // 1_000_000
    def boot_ms(self): return 0
    async def sleep(self, seconds): ...
    def randomness(self, count): return os.urandom(count)

async def main(path, who, count):
    journal = SqliteJournal(Path(path), Clock())
    for number in range(int(count)):
        entry = await journal.append(Noted(run=who, text=str(number), by=who))
        os.write(1, f"{entry.seq}\\n".encode())
    await journal.close()

asyncio.run(main(*sys.argv[1:]))
"""


def appender(path: Path, who: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _APPENDER, str(path), who, str(count)], stdout=subprocess.PIPE)


def test_two_processes_append_and_nothing_is_lost(path: Path) -> None:
    both = [appender(path, who, 300) for who in ("a", "b")]
    seqs = [[int(line) for line in process.communicate()[0].split()] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(seqs[0] + seqs[1]) == list(range(1, 601))
    assert verify(path).entries == 600
    assert verify(path).sound
    for who in ("a", "b"):
        assert [entry.event.text for entry in read_entries(path, who)] == [str(n) for n in range(300)]  # type: ignore[union-attr]


def test_a_killed_process_loses_no_entry_that_was_acknowledged(path: Path) -> None:
    process = appender(path, "a", 1_000_000)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().split(b"\n")[:-1]]
    process.stdout.close()
    process.wait()
    verdict = verify(path)
    assert verdict.sound
    assert verdict.entries >= acknowledged[-1] >= 200


def test_killed_at_any_moment_and_opened_again_it_is_sound_and_has_all_that_was_acknowledged(path: Path) -> None:
    """Twenty times in the same ledger: each process goes on where the killed one was, at whatever it was doing."""
    chance = random.Random(20)
    acknowledged: set[int] = set()
    for life in range(20):
        process = appender(path, f"life{life}", 1_000_000)
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 60)):
            acknowledged.add(int(process.stdout.readline()))
        threading.Event().wait(chance.random() / 500)  # somewhere within an append, not always at its end
        process.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in process.stdout.read().split(b"\n")[:-1]}
        process.stdout.close()
        process.wait()
        verdict = verify(path)
        assert verdict.why == ""
        assert verdict.compared == 1  # the head beside the file is one that the ledger had
        assert {entry.seq for entry in read_entries(path)} >= acknowledged
    assert Ballast(path).take()


_FULL = """
import asyncio, os, resource, sys
from pathlib import Path
from envtui.core.errors import Unsound
from envtui.core.events import Noted
from envtui.outside.ledger import SqliteJournal
from tests.functional.test_ledger import StillClock

async def main(path):
    journal = SqliteJournal(Path(path), StillClock())
    await journal.append(Noted(run="R", text="before", by="a"))
    log = os.stat(path + "-wal").st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (log, resource.RLIM_INFINITY))
    try:
        await journal.append(Noted(run="R", text="x" * 200_000, by="a"))
    except Unsound as error:
        print(error.message.split(" gives ")[0].rsplit("/", 1)[1], "|", error.remedy)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print((await journal.append(Noted(run="R", text="after", by="a"))).seq)
    await journal.close()

asyncio.run(main(sys.argv[1]))
"""


def test_a_disk_that_takes_no_more_is_said_and_the_ledger_goes_on_after(path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(path)],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "ledger.sqlite3 | Free some space there; until then nothing is started, and what runs is ended and recorded.",
        "2",
    ]
    assert verify(path).sound


async def test_on_a_full_disk_nothing_starts_but_the_end_of_a_run_is_recorded(path: Path, small_disk: Path) -> None:
    ledger = small_disk / "production" / "ledger.sqlite3"
    journal = SqliteJournal(ledger, StillClock())
    intent = ActIntended(
        run="R1", step="s", act="s@gw1", act_digest="d", mode="write", target="gw", member="gw1", shows="revert"
    )
    await journal.append(intent)
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"\x00" * 4096)
    with pytest.raises(Unsound, match="full"):
        await until_full(journal)
    ended = await journal.append(ActEnded(run="R1", step="s", act="s@gw1", word="OK"))
    await journal.append(RunEnded(run="R1", word="OK"))
    with pytest.raises(Unsound, match="full"):
        await journal.append(intent)
    (small_disk / "filler").unlink()
    again = await journal.append(intent)
    assert again.seq == ended.seq + 2
    assert Ballast(ledger).take()
    await journal.close()
    assert verify(ledger).sound


async def until_full(journal: SqliteJournal) -> None:
    for _ in range(1_000):  # the log may have had room left
        await journal.append(note("y" * 5_000))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a small file system needs the right to mount one ({mounted.stderr.strip()})")
    (disk / "production").mkdir(mode=0o700)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_the_digest_of_a_row_covers_every_field_by_its_place() -> None:
    base = row_hash(b"l" * 16, 1, 2, b"p" * 32, b"body")
    assert (
        base
        == hashlib.sha256(
            b"envtui ledger v1"
            + b"l" * 16
            + b"p" * 32
            + b"\0" * 7
            + b"\1"
            + b"\0" * 7
            + b"\2"
            + b"\0" * 7
            + b"\4"
            + b"body"
        ).digest()
    )


async def test_a_run_is_read_with_the_plan_it_started_with(journal: SqliteJournal) -> None:
    started = RunStarted(
        run="R1", book="b", book_sha256="", title="t", plan_digest="", operator="asha", plan='{"steps":[]}'
    )
    await journal.append(started)
    assert [entry.event for entry in await journal.read("R1")] == [started]
