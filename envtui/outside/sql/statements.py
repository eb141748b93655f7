"""SQL text, parsed by PostgreSQL's own grammar before anything is sent: which statements there are, and which may not be.

Pure: no connection, no clock. Used when a tree is checked, when a plan is made, and once more before sending.

Why libpg_query, and why the postgast wheel: two permissively licensed bindings were compared (pglast is GPL).
postgast 0.2.0 (BSD-2) has the grammar of PostgreSQL 18, which is what the lab and new servers run; pgparse 1.0.3 (BSD-3)
has that of 17 and calls `… GENERATED ALWAYS AS (…) VIRTUAL` a syntax error. Both name the position of an error; both have
wheels for Linux and macOS on x86 and ARM (postgast one per Python version, pgparse one for all). Importing postgast takes
110 ms, for protobuf classes of a thousand node types; pgparse 34 ms. So the wheel is used as what it is for us, a carrier
of libpg_query: its C functions are documented and stable, and with the tree as JSON it takes 6 ms to load and 22 µs for a
ten-line query (postgast's own parse 81 µs, pgparse 45 µs).
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from envtui.core.act import Act, SqlCall
from envtui.core.errors import Refused

from .gate import Called, gate

TEXT_LIMIT = 1024 * 1024
"""Bytes of SQL in one step at most."""

_INLINE = 8 * 1024
_STACK = 512 * 1024 * 1024
# libpg_query writes its tree recursively and does not watch its stack: `1+1+1…` nests once for two bytes and ended the
# process at 200 KB. Half a million levels, all that TEXT_LIMIT allows, fit into this much; only touched pages are real.

_ROWS = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
ATOMIC = _ROWS | {"SelectStmt"}
"""Kinds that leave nothing behind when the server reports an error, even outside a transaction block."""

_BINDS = ATOMIC | {"ExplainStmt", "DeclareCursorStmt", "CreateTableAsStmt", "CallStmt"}


class Statement(msgspec.Struct, frozen=True):
    """One statement: its text, its kind (a node name of PostgreSQL's grammar: `SelectStmt`), and where `$n` stands in it.

    `places` are (offset in the UTF-8 bytes of `text`, n), in order.
    """

    text: str
    kind: str
    places: tuple[tuple[int, int], ...] = ()

    @property
    def counts_rows(self) -> bool:
        """Its command tag's number is of changed rows (a SELECT's is of rows that were read)."""
        return self.kind in _ROWS

    @property
    def needs_literals(self) -> bool:
        """A utility statement: PostgreSQL takes no bind parameter there."""
        return self.kind not in _BINDS

    def renumbered(self) -> tuple[str, tuple[int, ...]]:
        """The text with its places numbered $1… without gaps, and which bind of the whole text each of them was."""
        order = tuple(dict.fromkeys(sorted(number for _, number in self.places)))
        new = {number: f"${at}" for at, number in enumerate(order, 1)}
        return self._replaced(new), order

    def composed(self, literals: dict[int, str]) -> str:
        """The text with literals, quoted by the caller, in its places."""
        return self._replaced(literals)

    def _replaced(self, by: dict[int, str]) -> str:
        data = self.text.encode()
        parts: list[bytes] = []
        end = 0
        for offset, number in self.places:
            parts += (data[end:offset], by[number].encode())
            end = offset + len(f"${number}")
        return b"".join((*parts, data[end:])).decode()


def parse(text: str) -> tuple[Statement, ...]:
    """Every statement of `text`, comments and empty statements left out.

    Raises Refused with line and column of a syntax error, for text that is too long or nests too deeply, and for NUL.
    """
    return tuple(statement for statement, _ in _parsed(text))


def check_read(text: str, binds: int = 0) -> Statement:
    """The one statement of a read, through the gate. Raises Refused with the reason."""
    return called_read(text, binds)[0]


def called_read(text: str, binds: int = 0) -> tuple[Statement, tuple[Called, ...]]:
    """As `check_read`, with the functions that it names: whether they are PostgreSQL's own is the server's to say."""
    found = _parsed(text)
    if len(found) > 1:
        place = _at(text, _begins(text, found[1][0], after=len(found[0][0].text)))
        raise Refused(f"{place}A read is exactly one statement; this is {len(found)}.", "Make a step of each.")
    if not found:
        raise Refused("A read is exactly one statement; this is none.", "Write one, or remove the step.")
    statement, tree = found[0]
    begins = _begins(text, statement)
    if statement.kind == "TransactionStmt":
        raise Refused(
            f"{_at(text, begins)}{_verb(tree, statement)} is refused:"
            " a read runs inside a transaction that ends in ROLLBACK.",
            "Leave it out.",
        )
    if statement.kind == "CopyStmt":
        what = "COPY … PROGRAM starts a program on the server" if tree.get("is_program") else "COPY is no query"
        raise Refused(f"{_at(text, begins)}{what}: a read cannot do that.", "Write a SELECT.")
    try:
        called = gate(statement.kind, tree, text.encode(), len(text[:begins].encode()))
    except RecursionError as error:
        raise Refused("This SQL nests too deeply.", "Split the expression.") from error
    _check_places((statement,), binds)
    return statement, called


def check_write(
    text: str,
    transaction: Literal["single", "none"] = "single",
    binds: int = 0,
    affected_max: int | None = None,
) -> tuple[Statement, ...]:
    """The statements of a write, in order. Raises Refused with the reason.

    `single`: they run in one transaction that is ours to end: a COMMIT among them would let rows stay that a later error
    should have taken back. `none`: one statement that cannot run inside a transaction.
    """
    found = _parsed(text)
    if not found:
        raise Refused("There is no statement in this SQL.", "Write one, or remove the step.")
    if transaction == "none" and len(found) > 1:
        raise Refused(
            f"`transaction: none` is for one statement; these are {len(found)}.",
            "Make a step of each, so that each has an outcome of its own.",
        )
    if transaction == "none" and affected_max is not None:
        raise Refused(
            "`affected_max` cannot hold with `transaction: none`: it is checked before COMMIT.",
            "Use `transaction: single`.",
        )
    for statement, tree in found:
        if statement.kind == "TransactionStmt":
            raise Refused(
                f"{_verb(tree, statement)} is refused: the step's own transaction begins and ends outside of its SQL.",
                "Leave it out; for two transactions make two steps.",
            )
        if statement.kind == "CopyStmt" and not tree.get("filename"):
            raise Refused("COPY from or to the client is not possible: nobody feeds it.", "Write INSERT or SELECT.")
        if statement.kind == "CopyStmt" and tree.get("is_program"):
            raise Refused("COPY … PROGRAM starts a program on the database server.", "Use an ssh step for programs.")
        if affected_max is not None and any(kind in _ROWS for kind in _kinds(tree)):
            raise Refused(
                "`affected_max` cannot count rows that are changed inside WITH: PostgreSQL does not report them.",
                "Make a statement of its own of each.",
            )
    statements = tuple(statement for statement, _ in found)
    _check_places(statements, binds)
    return statements


def check_act(act: Act) -> None:
    """Everything that can be said of an sql act before it is sent; other kinds pass. For plans and lint. Raises Refused."""
    call = act.call
    if not isinstance(call, SqlCall):
        return
    if act.mode == "read":
        check_read(call.text, len(call.binds))
    else:
        check_write(call.text, call.transaction, len(call.binds), call.affected_max)


def needs_literals(text: str) -> bool:
    """Whether any statement takes no bind parameters, so that the driver composes literals. Raises Refused as `parse`."""
    return any(statement.needs_literals for statement in parse(text))


def quote_ident(name: str) -> str:
    """`name` as a quoted identifier, whatever is in it. Raises Refused for an empty one, NUL, or more than 63 bytes."""
    if not name or "\x00" in name:
        raise Refused("An identifier is empty or has a NUL in it.", "Give a name.")
    if len(name.encode("utf-8", "surrogatepass")) > 63:
        raise Refused(f"{name[:20]!r}… is longer than the 63 bytes of an identifier.", "Give the exact name.")
    return '"' + name.replace('"', '""') + '"'


def _check_places(statements: tuple[Statement, ...], binds: int) -> None:
    used = {number for statement in statements for _, number in statement.places}
    if missing := sorted(set(range(1, binds + 1)) - used):
        raise Refused(
            f"Value {missing[0]} of {binds} stands where PostgreSQL sees no parameter: inside quotes or a comment.",
            "Take the quotes away: a value is bound, and never pasted into the text.",
        )
    if extra := sorted(used - set(range(1, binds + 1))):
        raise Refused(f"${extra[0]} has no value.", "Write ${params.NAME}; numbers are given by the plan.")


def _verb(tree: dict[str, Any], statement: Statement) -> str:
    kind = str(tree.get("kind", "")).removeprefix("TRANS_STMT_").replace("_", " ")
    return kind or statement.text.split(None, 1)[0].upper()


def _parsed(text: str) -> list[tuple[Statement, dict[str, Any]]]:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"{_at(text, error.start)}this character is no text.", "Save the SQL as UTF-8.") from error
    if len(data) > TEXT_LIMIT:
        raise Refused(f"{len(data)} bytes of SQL are more than {TEXT_LIMIT}.", "Split it, or load data another way.")
    if (nul := text.find("\x00")) >= 0:
        # The parser is C and would see the text end here; what stands behind would go unread.
        raise Refused(f"{_at(text, nul)}a NUL is in this SQL.", "Remove it.")
    answer = _in_thread(data) if len(data) > _INLINE else _library().parse(data)
    if isinstance(answer, _Wrong):
        place = _at(text, answer.position - 1) if answer.position > 0 else ""
        raise Refused(f"{place}{answer.message}.", "Correct the SQL; PostgreSQL 18's grammar reads it.")
    try:
        return [_statement(data, raw) for raw in msgspec.json.decode(answer)["stmts"]]
    except RecursionError as error:
        raise Refused("This SQL nests too deeply.", "Split the expression.") from error


def _begins(text: str, statement: Statement, after: int = 0) -> int:
    """The offset of the statement's first word, in characters: what the parser takes for a part of it may be a comment."""
    at = text.find(statement.text, after)
    while found := _BLANK.match(text, at):
        at = found.end()
        if found[0] == "/*":
            depth = 1
            while depth and (edge := _EDGE.search(text, at)):
                depth += 1 if edge[0] == "/*" else -1
                at = edge.end()
    return at


_BLANK = re.compile(r"\s+|--[^\n]*|/\*")
_EDGE = re.compile(r"/\*|\*/")


def _statement(data: bytes, raw: dict[str, Any]) -> tuple[Statement, dict[str, Any]]:
    begin = raw.get("stmt_location", 0)
    length = raw.get("stmt_len", 0)  # left out for the last statement: up to the end
    piece = data[begin : begin + length] if length else data[begin:]
    skipped = len(piece) - len(piece.lstrip())
    [(kind, tree)] = raw["stmt"].items()
    places = sorted({(at - begin - skipped, number) for at, number in _places(tree)})
    return Statement(piece.strip().decode(), kind, tuple(places)), tree


def _places(node: object) -> Iterator[tuple[int, int]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "ParamRef":
                yield value.get("location", 0), value.get("number", 0)
            else:
                yield from _places(value)
    elif isinstance(node, list):
        for item in node:
            yield from _places(item)


def _kinds(node: object) -> Iterator[str]:
    """Kinds of everything below `node`."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key[:1].isupper():
                yield key
            yield from _kinds(value)
    elif isinstance(node, list):
        for item in node:
            yield from _kinds(item)


def _at(text: str, offset: int) -> str:
    """'line 3, column 5: ' of a character offset."""
    before = text[:offset]
    return f"line {before.count(chr(10)) + 1}, column {offset - before.rfind(chr(10))}: "


def _in_thread(data: bytes) -> bytes | _Wrong:
    answers: list[bytes | _Wrong] = []
    before = threading.stack_size(_STACK)
    try:
        thread = threading.Thread(target=lambda: answers.append(_library().parse(data)))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    return answers[0]


class _Wrong(msgspec.Struct, frozen=True):
    message: str
    position: int  # in characters, from 1; 0: unknown


class _Error(ctypes.Structure):
    """PgQueryError of pg_query.h."""

    _fields_ = (
        ("message", ctypes.c_char_p),
        ("funcname", ctypes.c_char_p),
        ("filename", ctypes.c_char_p),
        ("lineno", ctypes.c_int),
        ("cursorpos", ctypes.c_int),
        ("context", ctypes.c_char_p),
    )


class _Result(ctypes.Structure):
    """PgQueryParseResult of pg_query.h."""

    _fields_ = (
        ("parse_tree", ctypes.c_char_p),
        ("stderr_buffer", ctypes.c_char_p),
        ("error", ctypes.POINTER(_Error)),
    )


class _Library:
    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self._parse = library.pg_query_parse
        self._parse.argtypes = [ctypes.c_char_p]
        self._parse.restype = _Result
        self._free = library.pg_query_free_parse_result
        self._free.argtypes = [_Result]
        self._free.restype = None

    def parse(self, data: bytes) -> bytes | _Wrong:
        """The tree as JSON, or what is wrong. `data` is UTF-8 without NUL."""
        result = self._parse(data)
        try:
            if result.error:
                error = result.error.contents
                return _Wrong(error.message.decode(errors="replace"), error.cursorpos)
            tree: bytes = result.parse_tree
            return tree
        finally:
            self._free(result)


@cache
def _library() -> _Library:
    """Raises Refused when the wheel is missing or has no library for this system."""
    name = {"darwin": "libpg_query.dylib", "win32": "pg_query.dll"}.get(sys.platform, "libpg_query.so")
    spec = importlib.util.find_spec("postgast")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / name).is_file():
            return _Library(path)
    raise Refused("PostgreSQL's parser (libpg_query, from postgast) is not installed.", "Install envtui again.")
