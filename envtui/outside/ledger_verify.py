"""Verifying a ledger offline: every hash computed again from the bytes as they are stored, nothing parsed on the way.

A chain shows every changed, removed, reordered or added entry, but not that its end was cut off, nor that all of it was
written anew. For that there are heads from elsewhere: the one kept beside the file, the ones in requests and sign-offs
inside it (other people signed those), and one that the caller has.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from envtui.core.errors import EnvtuiError
from envtui.core.events import Head
from envtui.outside.ledger import head_problem
from envtui.outside.ledger_format import DOMAIN, NUMBERS, Witness, genesis, ledger_id, schema_problem
from envtui.outside.ledger_read import read_only


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `why` is '' for a sound ledger; `seq` is the first entry that is wrong, None when it is no entry."""

    why: str = ""
    seq: int | None = None
    head: Head | None = None
    entries: int = 0
    compared: int = 0
    """Heads from elsewhere that were compared and fit; 0 means that a missing end could not be seen."""

    @property
    def sound(self) -> bool:
        return not self.why


def verify(path: Path, expected: Sequence[Head] = ()) -> Verdict:
    """Look at everything in the ledger at `path`, and whether it had every head in `expected`. Changes nothing."""
    if not path.is_file():
        return Verdict(why="There is no ledger.")
    try:
        with contextlib.closing(read_only(path)) as connection:
            connection.execute("BEGIN")  # one snapshot, whoever appends meanwhile
            return _verdict(connection, Witness(path).read(), expected)
    except sqlite3.Error as error:
        return Verdict(why=f"The database is damaged: {error}.")
    except EnvtuiError as error:
        return Verdict(why=error.message)
    except (TypeError, ValueError, struct.error, OverflowError):
        return Verdict(why="The database holds values of another type than it says.")


def _verdict(connection: sqlite3.Connection, witness: Head | None, expected: Sequence[Head]) -> Verdict:
    problem = schema_problem(connection)
    if problem:
        return Verdict(why=problem)
    ledger = ledger_id(connection)
    signed: list[tuple[int, bytes]] = []
    seq, prev = 0, genesis(ledger)
    pack, begun = NUMBERS.pack, hashlib.sha256(DOMAIN + ledger).copy
    # This loop is the speed of verify: a million entries pass through it. Copying a hash that has begun takes half the
    # time of beginning one.
    for found, at_ms, before, body, digest in connection.execute(
        "SELECT seq, at_ms, prev, body, hash FROM entries ORDER BY seq"
    ):
        seq += 1
        if found != seq:
            return Verdict(why=f"Entry {seq} is missing.", seq=seq, entries=seq - 1)
        own = begun()
        own.update(b"".join((prev, pack(seq, at_ms, len(body)), body)))
        if before != prev or own.digest() != digest:
            return Verdict(why=_what(ledger, seq, at_ms, prev, before, body, digest), seq=seq, entries=seq - 1)
        prev = digest
        if b'"bundle":"' in body:
            signed.append((seq, body))
    head = Head(ledger.hex(), seq, prev.hex())
    compared = 0
    for outside in [*([witness] if witness else []), *expected]:
        problem = head_problem(connection, ledger, outside)
        if problem:
            return Verdict(why=problem, head=head, entries=seq)
        compared += 1
    for carrier, body in signed:
        for inside in _signed_heads(body):
            # A request from another ledger is kept with what it says; only one of ours can be compared.
            problem = head_problem(connection, ledger, inside) if inside.ledger == ledger.hex() else ""
            if problem:
                return Verdict(
                    why=f"Entry {carrier} holds a signature over another past: {problem}", seq=carrier, head=head
                )
            compared += inside.ledger == ledger.hex()
    problem = _integrity(connection)
    return Verdict(why=problem, head=head, entries=seq, compared=compared)


def _what(ledger: bytes, seq: int, at_ms: int, prev: bytes, before: bytes, body: bytes, digest: bytes) -> str:
    own = hashlib.sha256(b"".join((DOMAIN, ledger, before, NUMBERS.pack(seq, at_ms, len(body)), body))).digest()
    if before != prev and own == digest:
        return f"Entry {seq} follows another entry than the one before it."
    return f"Entry {seq} was changed."


def _signed_heads(body: bytes) -> Iterator[Head]:
    try:
        statement = json.loads(json.loads(json.loads(body)["bundle"])["body"])
        yield Head(str(statement["ledger"]), int(statement["ledger_seq"]), str(statement["ledger_hash"]))
    except (ValueError, TypeError, KeyError):
        return  # no request and no sign-off: a word in somebody's note


def _integrity(connection: sqlite3.Connection) -> str:
    # The chain covers what is in the rows; this covers what holds them: a page outside the tree, a cell out of order.
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    return "" if found == ("ok",) else f"The database is damaged: {found[0] if found else 'no answer'}."
