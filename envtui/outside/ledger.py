"""The ledger of one environment, in SQLite (port Journal). What is in it cannot be changed without `verify` showing it.

One thread writes: it takes what waits in its queue, reads the head inside the transaction, so that two processes never
build on the same entry, commits (WAL, synchronous=FULL) and only then lets `append` return. What waits together is
committed together. All sqlite3 exceptions are translated here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from envtui.core.errors import EnvtuiError, LedgerBroken, Unsound
from envtui.core.events import (
    ActEnded,
    Entry,
    Event,
    GrantEnded,
    Head,
    Probed,
    Resolved,
    RunEnded,
    StepEnded,
    StopAsked,
)
from envtui.core.ports import Clock
from envtui.outside.ledger_format import (
    APPLICATION_ID,
    ID_BYTES,
    KEEP,
    SCHEMA,
    Ballast,
    Witness,
    genesis,
    ledger_id,
    require_private,
    row_hash,
    schema_problem,
)
from envtui.outside.ledger_read import BUSY_SECONDS, ROOM, as_read, body_of, entries_of, translated
from envtui.outside.ledger_read import exported as exported
from envtui.outside.ledger_read import read_entries as read_entries
from envtui.outside.ledger_read import read_only as read_only

POLL_SECONDS = 0.1
"""How often a follower looks whether another process has written."""

_ENDS = (ActEnded, StepEnded, RunEnded, GrantEnded, Probed, Resolved, StopAsked)
_RUNS_KEPT = 4
_Result = TypeVar("_Result")


class _Known(msgspec.Struct):
    """What was read of one run, and how far the ledger had been looked through for it."""

    until: int = 0
    entries: list[Entry] = msgspec.field(default_factory=list)


class _Waiting(msgspec.Struct):
    events: Sequence[Event]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Sequence[Entry]]
    bodies: list[bytes] = msgspec.field(default_factory=list)

    @property
    def ends(self) -> bool:
        """Only says that something is over: recorded even when the disk is full."""
        return all(isinstance(event, _ENDS) for event in self.events)


class SqliteJournal:
    """An open ledger. Made on first use. Raises Unsound for a place that is not private or not local, LedgerBroken when
    the file is no ledger, its end does not fit its hash, or entries at its end are missing.

    Opening looks at the end only; `ledger_verify.verify` looks at everything.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._witness = Witness(path)
        self._ballast = Ballast(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_private(path)
        try:
            self._writing = _created(path, clock.randomness)
            self._id = _opened(self._writing, self._witness)
        except sqlite3.Error as error:
            raise translated(error, path) from error
        self._ballast.take()
        self._reading: sqlite3.Connection | None = None
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = False
        self._unknown: Unsound | None = None  # once set, nothing more is written
        self._known: dict[str, _Known] = {}
        self._thread = threading.Thread(target=self._write_all, name="envtui-ledger", daemon=True)
        self._thread.start()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="envtui-ledger-read")

    async def append(self, event: Event) -> Entry:
        """Write one event down. Returns when it is durable. Raises Unsound when it cannot be written.

        A disk that fails while an entry is being made durable leaves nobody knowing whether it is: from then on this
        journal writes nothing more, so that nothing is built on a head that may not be there after a power cut.
        """
        return (await self.append_all((event,)))[0]

    async def append_all(self, events: Sequence[Event]) -> Sequence[Entry]:
        """Write several down, in order, all or none. Returns when they are durable."""
        if self._closed:
            raise Unsound("The ledger is closed.", "Open the environment again.")
        if not events:
            return ()
        loop = asyncio.get_running_loop()
        bodies = [body_of(event) for event in events]
        events = [as_read(event, body) for event, body in zip(events, bodies, strict=True)]
        waiting = _Waiting(events, loop, loop.create_future(), bodies)
        self._queue.put(waiting)
        return await waiting.future

    async def read(self, run: str | None = None) -> Sequence[Entry]:
        """Every entry, or those of one run, oldest first. Of a run that was read before, only what is new is looked for."""
        return await self._in_reader(entries_of if run is None else partial(self._of_run, run))

    async def find(self, text: str) -> Sequence[Entry]:
        """The entries of all runs whose stored bytes hold `text`, oldest first; only these are decoded."""
        return await self._in_reader(partial(entries_of, holding=text))

    async def follow(self, after: int = 0) -> AsyncIterator[Entry]:
        """Every entry after sequence number `after`, then each new one, whichever process wrote it."""
        version: object = None
        while not self._closed:
            now = await self._in_reader(lambda connection: connection.execute("PRAGMA data_version").fetchone())
            if now != version:
                version = now
                for entry in await self._in_reader(partial(entries_of, after=after)):
                    after = entry.seq
                    yield entry
            else:
                await asyncio.sleep(POLL_SECONDS)

    async def head(self) -> Head:
        """The last entry's place and hash; sequence 0 and the genesis when there is none."""
        seq, digest = await self._in_reader(lambda connection: _head(connection, self._id))
        return Head(self._id.hex(), seq, digest.hex())

    async def close(self) -> None:
        """Write what waits, then close. Safe to call again."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(self._reader, self._close)
        self._reader.shutdown(wait=True)

    def _close(self) -> None:
        self._thread.join()
        if self._reading is not None:
            self._reading.close()
        with contextlib.suppress(sqlite3.Error):  # another process may be in it; it will do this
            self._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writing.close()
        self._witness.close()

    def _of_run(self, run: str, connection: sqlite3.Connection) -> list[Entry]:
        known = self._known.pop(run, None) or _Known()
        # How far, before what: an entry that is added in between is found the next time.
        until, _ = _head(connection, self._id)
        known.entries += entries_of(connection, known.until, run, until)
        known.until = until
        self._known[run] = known
        if len(self._known) > _RUNS_KEPT:
            del self._known[next(iter(self._known))]
        return list(known.entries)

    async def _in_reader(self, ask: Callable[[sqlite3.Connection], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._asked, ask)

    def _asked(self, ask: Callable[[sqlite3.Connection], _Result]) -> _Result:
        try:
            if self._reading is None:
                self._reading = read_only(self._path)
            return ask(self._reading)
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    # -- the writing thread --------------------------------------------------------------------------------------

    def _write_all(self) -> None:
        ending = False
        while not ending:
            batch: list[_Waiting] = []
            item = self._queue.get()
            while item is not None:
                batch.append(item)
                if self._queue.empty():
                    break
                item = self._queue.get()
            ending = item is None
            if batch:
                self._commit(batch)

    def _commit(self, batch: list[_Waiting]) -> None:
        try:
            results = self._written(batch)
        except sqlite3.Error as error:
            if len(batch) > 1:
                for one in batch:  # each on its own: some may be only the end of something
                    self._commit([one])
            elif batch[0].ends and _no_room(error) and self._ballast.release():
                self._commit(batch)
            else:
                _settle(batch[0], translated(error, self._path))
        except EnvtuiError as error:
            for one in batch:
                if len(batch) == 1 or self._unknown is not None:
                    _settle(one, error)
                else:
                    self._commit([one])
        else:
            for one, entries in zip(batch, results, strict=True):
                _settle(one, entries)
            # After the answer: nobody waits for it, and it is behind after a kill at this moment as after one before it.
            last = results[-1][-1]
            self._witness.write(self._id, last.seq, bytes.fromhex(last.hash))

    def _written(self, batch: list[_Waiting]) -> list[list[Entry]]:
        if self._unknown is not None:
            raise Unsound(self._unknown.message, self._unknown.remedy)
        if not all(one.ends for one in batch) and not self._ballast.take():
            raise Unsound(f"The disk of {self._path} is full.", ROOM)
        connection = self._writing
        results: list[list[Entry]] = []
        rows: list[tuple[int, int, bytes, bytes, bytes]] = []
        connection.execute("BEGIN IMMEDIATE")
        try:
            seq, prev = _head(connection, self._id)
            for one in batch:
                entries: list[Entry] = []
                for event, body in zip(one.events, one.bodies, strict=True):
                    seq += 1
                    at_ms = self._clock.wall_ms()
                    digest = row_hash(self._id, seq, at_ms, prev, body)
                    rows.append((seq, at_ms, prev, body, digest))
                    entries.append(Entry(seq, at_ms, event, digest.hex()))
                    prev = digest
                results.append(entries)
            connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", rows)
        except BaseException:
            self._roll_back()
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            if _surely_not(error):
                raise
            self._unknown = Unsound(
                f"Whether the last entry of {self._path} is on the disk is not known: {error}.",
                "Close envtui, look at the disk, then verify the ledger.",
            )
            raise self._unknown from error
        return results

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself when the disk is full
            self._writing.execute("ROLLBACK")


def _created(path: Path, randomness: Callable[[int], bytes]) -> sqlite3.Connection:
    # SQLite gives its own files (-wal, -shm) the mode of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
    try:
        # The first lock is taken by BEGIN, which waits for others; switching to WAL does not wait.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
            for sql in SCHEMA.values():
                connection.execute(sql)
            connection.execute("INSERT INTO meta VALUES ('ledger', ?)", (randomness(ID_BYTES),))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    for attempt in range(200):
        try:
            if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                return
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if attempt == 199:
                raise
            threading.Event().wait(0.01)


def _opened(connection: sqlite3.Connection, witness: Witness) -> bytes:
    problem = schema_problem(connection)
    if problem:
        raise LedgerBroken(problem, KEEP)
    ledger = ledger_id(connection)
    row = connection.execute("SELECT seq, at_ms, prev, body, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
    if row is not None and row_hash(ledger, row[0], row[1], row[2], row[3]) != row[4]:
        raise LedgerBroken(f"Entry {row[0]} of the ledger was changed.", KEEP)
    known = witness.read()
    if known is not None:
        problem = head_problem(connection, ledger, known)
        if problem:
            raise LedgerBroken(problem, KEEP)
    return ledger


def head_problem(connection: sqlite3.Connection, ledger: bytes, head: Head) -> str:
    """Why the ledger is not one that had this head, as a sentence; '' when it is."""
    if head.ledger != ledger.hex():
        return f"The ledger is another one than {head.ledger}, which was here."
    if head.seq == 0:
        return "" if head.hash == genesis(ledger).hex() else "The ledger's beginning is not the one that was signed."
    row = connection.execute("SELECT hash FROM entries WHERE seq = ?", (head.seq,)).fetchone()
    if row is None:
        return f"Entries are missing at the end: there was an entry {head.seq}."
    return "" if row[0].hex() == head.hash else f"Entry {head.seq} is not the one that was there."


def _head(connection: sqlite3.Connection, ledger: bytes) -> tuple[int, bytes]:
    row = connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
    return (0, genesis(ledger)) if row is None else (row[0], row[1])


def _settle(one: _Waiting, result: Sequence[Entry] | EnvtuiError) -> None:
    def settle() -> None:
        if one.future.done():  # whoever waited was cancelled; the entry is there
            return
        if isinstance(result, EnvtuiError):
            one.future.set_exception(result)
        else:
            one.future.set_result(result)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        one.loop.call_soon_threadsafe(settle)


def _no_room(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _surely_not(error: sqlite3.Error) -> bool:
    """Whether a COMMIT that raised this left nothing: no room, another's lock, or a write that was cut short. The record
    that makes entries count is written last, so what came before it does not count; of a failed fsync nobody can tell.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    return code == sqlite3.SQLITE_IOERR_WRITE or code & 0xFF in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )
