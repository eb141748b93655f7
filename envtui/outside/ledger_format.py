"""How a ledger is laid out: one SQLite file, its schema, the chain of hashes, and the head that is kept beside it.

    hash = sha256(DOMAIN ‖ ledger id ‖ prev ‖ seq ‖ at_ms ‖ length of body ‖ body)

All numbers are 8 bytes, big-endian; `prev` is the hash of the entry before, of the first one sha256(DOMAIN ‖ ledger id).
The random ledger id is in every hash, so an entry cannot move from one ledger to another. The body is hashed as it is
stored: verifying parses nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import struct
from pathlib import Path

from envtui.core.errors import LedgerBroken, Unsound
from envtui.core.events import Head

DOMAIN = b"envtui ledger v1"
APPLICATION_ID = 0x656E7674  # "envt", what `file` sees
ID_BYTES = 16

SCHEMA = {
    "meta": "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "entries": (
        "CREATE TABLE entries (seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, prev BLOB NOT NULL,"
        " body BLOB NOT NULL, hash BLOB NOT NULL) STRICT"
    ),
    "entries_only_at_the_end": (
        "CREATE TRIGGER entries_only_at_the_end BEFORE INSERT ON entries"
        " WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM entries)"
        " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    ),
    **{
        f"{table}_no_{action.lower()}": (
            f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table}"
            " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        )
        for table in ("entries", "meta")
        for action in ("UPDATE", "DELETE")
    },
}

NUMBERS = struct.Struct(">QqQ")
_WITNESS = struct.Struct(">16sQ32s8s")
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "ceph",
    "lustre",
    "glusterfs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "ncpfs",
}


def genesis(ledger: bytes) -> bytes:
    """What the first entry has as `prev`."""
    return hashlib.sha256(DOMAIN + ledger).digest()


def row_hash(ledger: bytes, seq: int, at_ms: int, prev: bytes, body: bytes) -> bytes:
    """The hash of an entry. Every field has a fixed length or says it, so that two entries never hash the same bytes."""
    return hashlib.sha256(b"".join((DOMAIN, ledger, prev, NUMBERS.pack(seq, at_ms, len(body)), body))).digest()


def schema_problem(connection: sqlite3.Connection) -> str:
    """What differs from the schema above, as a sentence; '' when nothing does."""
    found: dict[str, str] = dict(connection.execute("SELECT name, sql FROM sqlite_schema"))
    for name, sql in SCHEMA.items():
        if name not in found:
            return f"{name} is missing from the database."
        if found[name] != sql:
            return f"{name} was changed in the database."
    strange = sorted(set(found) - set(SCHEMA))
    if strange:
        return f"{strange[0]} does not belong in the database."
    if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
        return "The file is not marked as a ledger."
    return ""


def ledger_id(connection: sqlite3.Connection) -> bytes:
    """The ledger's own random id. Raises LedgerBroken when the row is missing, changed in shape, or not alone."""
    rows = connection.execute("SELECT name, value FROM meta").fetchall()
    if len(rows) != 1 or rows[0][0] != "ledger" or len(rows[0][1]) != ID_BYTES:
        raise LedgerBroken("The ledger's own id was changed.", KEEP)
    value: bytes = rows[0][1]
    return value


KEEP = "Keep the file as it is, compare its head with the requests that were signed, and look for a copy."
"""The remedy for everything that is broken in a ledger."""


class Witness:
    """The head, kept beside the database: shows that its end was cut off, which no chain can show by itself.

    Written after each commit and not synced: it may be behind after a power cut, never ahead. It is no protection against
    someone who changes both; the heads in signed requests are.
    """

    def __init__(self, ledger_path: Path) -> None:
        self.path = ledger_path.with_name(ledger_path.name + ".head")
        self._fd = -1

    def read(self) -> Head | None:
        """The head that was written last; None when there is none or it is half written."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        if len(content) != _WITNESS.size:
            return None
        ledger, seq, digest, check = _WITNESS.unpack(content)
        if hashlib.sha256(content[:-8]).digest()[:8] != check:
            return None
        return Head(ledger.hex(), seq, digest.hex())

    def write(self, ledger: bytes, seq: int, digest: bytes) -> None:
        """Best effort: the ledger is durable already."""
        content = _WITNESS.pack(ledger, seq, digest, b"")[:-8]
        with contextlib.suppress(OSError):
            if self._fd < 0:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.pwrite(self._fd, content + hashlib.sha256(content).digest()[:8], 0)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Ballast:
    """Space that is given up when the disk is full, so that the end of a run can still be written down."""

    SIZE = 256 * 1024

    def __init__(self, ledger_path: Path) -> None:
        self._path = ledger_path.with_name(ledger_path.name + ".ballast")

        self._taken = False

    def take(self) -> bool:
        """Have the space, taking it if need be. False when the disk has no room for it."""
        if not self._taken:
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError:
                return False
            try:
                if os.fstat(fd).st_size < self.SIZE:
                    os.pwrite(fd, bytes(self.SIZE), 0)
                self._taken = os.fstat(fd).st_size >= self.SIZE
            except OSError:
                pass
            finally:
                os.close(fd)
            if not self._taken:
                self.release()  # a part of it is room that somebody else needs
        return self._taken

    def release(self) -> bool:
        """Give the space up. False when there was none."""
        self._taken = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


def require_private(path: Path, mounts: str | None = None) -> None:
    """Raises Unsound unless `path` is in a folder of this user's alone, on a disk of this machine.

    `mounts` is the text of /proc/self/mountinfo; None reads it where there is one.
    """
    folder = path.parent
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise Unsound(f"{folder} belongs to another user.", "Choose another place with ENVTUI_STATE.")
    if found.st_mode & 0o077:
        raise Unsound(f"Others may enter {folder}, where the ledger is.", f"chmod 700 {folder}")
    with contextlib.suppress(FileNotFoundError):
        own = path.lstat()
        if not stat.S_ISREG(own.st_mode) or own.st_uid != os.geteuid():
            raise Unsound(f"{path} is not a file of this user's.", KEEP)
        if own.st_mode & 0o077:
            raise Unsound(f"Others may open {path}.", f"chmod 600 {path}")
    kind = file_system(folder.resolve(), _mounts() if mounts is None else mounts)
    if kind in _NETWORK:
        raise Unsound(
            f"{folder} is on a network file system ({kind}), where two writers can damage a ledger.",
            "Set ENVTUI_STATE to a folder on a local disk.",
        )


def file_system(folder: Path, mounts: str) -> str:
    """The type of the file system that `folder` is on, from the text of /proc/self/mountinfo; '' when it does not say."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(fields[4].encode().decode("unicode_escape"))  # spaces are \040
        # The last of equals wins: a later mount covers an earlier one.
        if (point == folder or point in folder.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text()
    except OSError:
        return ""
