"""Reading a ledger without opening it for writing, its entries as events, and sqlite3's exceptions as ours."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from envtui.core.canonical import canonical, canonical_record
from envtui.core.errors import LedgerBroken, Unsound
from envtui.core.events import Entry, Event
from envtui.outside.ledger_format import KEEP, Witness, ledger_id

LAST = 2**63 - 1
"""The highest sequence number there can be."""

BUSY_SECONDS = 10.0
"""How long one process waits for another that is writing."""


def read_entries(path: Path, run: str | None = None, holding: str = "") -> Sequence[Entry]:
    """The entries of a ledger that is not opened, or of one run in it, or those whose bytes hold a text; nothing when
    there is no such file.

    Raises LedgerBroken when it is no ledger.
    """
    if not path.exists():
        return ()
    try:
        with contextlib.closing(read_only(path)) as connection:
            if (
                not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
                and not Witness(path).path.exists()
            ):
                return ()  # another process is making it just now
            return entries_of(connection, run=run, holding=holding)
    except sqlite3.Error as error:
        raise translated(error, path) from error


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
            wanted = None if run is None else {entry.seq for entry in entries_of(connection, run=run)}
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
        raise translated(error, path) from error
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


def as_read(event: Event, body: bytes) -> Event:
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


def entries_of(
    connection: sqlite3.Connection, after: int = 0, run: str | None = None, until: int = LAST, holding: str = ""
) -> list[Entry]:
    """The entries after sequence number `after`, up to `until` with it, of one run or all, and of these the ones whose
    bytes hold a text. Raises LedgerBroken.

    A run is looked for in the bytes of every body, without an index: no hash would cover one, and an index that somebody
    changed would hide entries. Only what is found is decoded.
    """
    sql = "SELECT seq, at_ms, body, hash FROM entries WHERE seq > ? AND seq <= ?"
    values: list[object] = [after, until]
    if run is not None:
        sql += " AND instr(body, ?)"
        values.append(b'"run":' + canonical(run))
    if holding:
        sql += " AND instr(body, ?)"
        values.append(holding.encode())
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


ROOM = "Free some space there; until then nothing is started, and what runs is ended and recorded."


def translated(error: sqlite3.Error, path: Path) -> Unsound:
    """The one place where sqlite3's exceptions become ours, most specific first."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return Unsound(f"The disk of {path} is full.", ROOM)
    if code == sqlite3.SQLITE_IOERR:
        return Unsound(f"The disk of {path} gives an error: {error}.", ROOM)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unsound(
            f"Another process has been writing to {path} for {BUSY_SECONDS:.0f} s.", "Look which envtui still runs."
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return Unsound(f"{path} cannot be written: {error}.", "Look at its owner and mode, and at the disk.")
    return LedgerBroken(f"{path} is damaged: {error}.", KEEP)
