"""The ledger of one environment, in SQLite (port Journal). What is in it cannot be changed without `verify` showing it.

One thread writes: it takes what waits in its queue, reads the head inside the transaction, so that two processes never
build on the same entry, commits (WAL, synchronous=FULL) and only then lets `append` return. What waits together is
committed together. All sqlite3 exceptions are translated here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from envtui.core.canonical import canonical, canonical_record
from envtui.core.errors import EnvtuiError, LedgerBroken, Unsound
from envtui.core.events import ActEnded, Entry, Event, GrantEnded, Head, RunEnded, StepEnded
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

BUSY_SECONDS = 10.0
"""How long one process waits for another that is writing."""

POLL_SECONDS = 0.1
"""How often a follower looks whether another process has written."""

_ENDS = (ActEnded, StepEnded, RunEnded, GrantEnded)
_Result = TypeVar("_Result")


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
            raise _translated(error, path) from error
        self._ballast.take()
        self._reading: sqlite3.Connection | None = None
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="envtui-ledger", daemon=True)
        self._thread.start()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="envtui-ledger-read")

    async def append(self, event: Event) -> Entry:
        """Write one event down. Returns when it is durable. Raises Unsound when it cannot be written."""
        return (await self.append_all((event,)))[0]

    async def append_all(self, events: Sequence[Event]) -> Sequence[Entry]:
        """Write several down, in order, all or none. Returns when they are durable."""
        if self._closed:
            raise Unsound("The ledger is closed.", "Open the environment again.")
        if not events:
            return ()
        loop = asyncio.get_running_loop()
        bodies = [body_of(event) for event in events]
        events = [_as_read(event, body) for event, body in zip(events, bodies, strict=True)]
        waiting = _Waiting(events, loop, loop.create_future(), bodies)
        self._queue.put(waiting)
        return await waiting.future

    async def read(self, run: str | None = None) -> Sequence[Entry]:
        """Every entry, or those of one run, oldest first."""
        return await self._in_reader(partial(_entries, run=run))

    async def follow(self, after: int = 0) -> AsyncIterator[Entry]:
        """Every entry after sequence number `after`, then each new one, whichever process wrote it."""
        version: object = None
        while not self._closed:
            now = await self._in_reader(lambda connection: connection.execute("PRAGMA data_version").fetchone())
            if now != version:
                version = now
                for entry in await self._in_reader(partial(_entries, after=after)):
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

    async def _in_reader(self, ask: Callable[[sqlite3.Connection], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._asked, ask)

    def _asked(self, ask: Callable[[sqlite3.Connection], _Result]) -> _Result:
        try:
            if self._reading is None:
                self._reading = read_only(self._path)
            return ask(self._reading)
        except sqlite3.Error as error:
            raise _translated(error, self._path) from error

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
                _settle(batch[0], _translated(error, self._path))
        except EnvtuiError as error:
            for one in batch:
                if len(batch) == 1:
                    _settle(one, error)
                else:
                    self._commit([one])
        else:
            for one, entries in zip(batch, results, strict=True):
                _settle(one, entries)

    def _written(self, batch: list[_Waiting]) -> list[list[Entry]]:
        if not all(one.ends for one in batch) and not self._ballast.take():
            raise Unsound(f"The disk of {self._path} is full.", _ROOM)
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
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself when the disk is full
                connection.execute("ROLLBACK")
            raise
        self._witness.write(self._id, seq, prev)
        return results


def read_entries(path: Path, run: str | None = None) -> Sequence[Entry]:
    """The entries of a ledger that is not opened, or of one run in it; nothing when there is no such file.

    Raises LedgerBroken when it is no ledger.
    """
    if not path.exists():
        return ()
    try:
        with contextlib.closing(read_only(path)) as connection:
            return _entries(connection, run=run)
    except sqlite3.Error as error:
        raise _translated(error, path) from error


def exported(path: Path, run: str | None = None) -> Iterator[str]:
    """A ledger, or one run of it, as JSON Lines without newlines: canonical, so that each hash can be computed again.

    `event` in canonical form is the body that was hashed. Raises LedgerBroken.
    """
    import json

    if not path.exists():
        return
    try:
        with contextlib.closing(read_only(path)) as connection:
            ledger = ledger_id(connection).hex()
            wanted = None if run is None else {entry.seq for entry in _entries(connection, run=run)}
            rows = connection.execute("SELECT seq, at_ms, prev, body, hash FROM entries ORDER BY seq")
            for seq, at_ms, prev, body, digest in rows:
                if wanted is None or seq in wanted:
                    yield canonical(
                        {
                            "ledger": ledger,
                            "seq": seq,
                            "at_ms": at_ms,
                            "prev": prev.hex(),
                            "hash": digest.hex(),
                            "event": json.loads(body),
                        }
                    ).decode()
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    except ValueError as error:
        raise LedgerBroken(f"{path} has an entry that is no JSON.", KEEP) from error


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. On a read-only medium the file is read as it is."""
    uri = path.absolute().as_uri()
    connection = sqlite3.connect(
        f"{uri}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS
    )
    try:
        connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        connection = sqlite3.connect(
            f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )
    connection.execute("PRAGMA query_only = ON")
    return connection


def body_of(event: Event) -> bytes:
    """An event's canonical bytes. Text that is no Unicode (lone surrogates) is written as its escapes."""
    body = canonical_record(event)
    if b"\\ud" not in body:
        return body
    return canonical(_unicode(msgspec.to_builtins(event)))


def _as_read(event: Event, body: bytes) -> Event:
    """The event as a reader of the ledger will see it: itself, unless it had to be escaped."""
    return event if b"\\ud" not in body else _decoder().decode(body)


@functools.cache  # its making takes longer than a run's first ten entries, and a run writes more than it reads
def _decoder() -> msgspec.json.Decoder[Event]:
    return msgspec.json.Decoder(Event)


def _unicode(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_unicode(key): _unicode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_unicode(item) for item in value]
    return value


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


def _entries(connection: sqlite3.Connection, after: int = 0, run: str | None = None) -> list[Entry]:
    sql = "SELECT seq, at_ms, body, hash FROM entries WHERE seq > ?"
    values: list[object] = [after]
    if run is not None:
        sql += " AND instr(body, ?)"
        values.append(b'"run":' + canonical(run))
    entries: list[Entry] = []
    for seq, at_ms, body, digest in connection.execute(sql + " ORDER BY seq", values):
        try:
            event = _decoder().decode(body)
        except msgspec.DecodeError as error:
            raise LedgerBroken(
                f"Entry {seq} of the ledger cannot be read: {error}.",
                "If a newer envtui wrote it, use that one; else verify the ledger.",
            ) from error
        if run is None or getattr(event, "run", "") == run:
            entries.append(Entry(seq, at_ms, event, digest.hex()))
    return entries


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


_ROOM = "Free some space there; until then nothing is started, and what runs is ended and recorded."


def _no_room(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _translated(error: sqlite3.Error, path: Path) -> Unsound:
    """The one place where sqlite3's exceptions become ours, most specific first."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return Unsound(f"The disk of {path} is full.", _ROOM)
    if code == sqlite3.SQLITE_IOERR:
        return Unsound(f"The disk of {path} gives an error: {error}.", _ROOM)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unsound(
            f"Another process has been writing to {path} for {BUSY_SECONDS:.0f} s.", "Look which envtui still runs."
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return Unsound(f"{path} cannot be written: {error}.", "Look at its owner and mode, and at the disk.")
    return LedgerBroken(f"{path} is damaged: {error}.", KEEP)
