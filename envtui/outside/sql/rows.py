"""Rows on their way: the head as text for matchers, all of them as a table for the spool, none kept in between."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from envtui.core.ports import HEAD_ROWS, Sink

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

_HEAD_BYTES = 1024 * 1024  # a thousand rows can be large ones
_WIDEST = 60  # a wider value stands out of its column: it is never cut
_NUMBERS = frozenset({20, 21, 23, 26, 700, 701, 790, 1700})  # type oids that align to the right
_ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})  # one row is one line

Row = tuple[str | None, ...]


class Rows:
    """Takes the results of one statement, writes a table to the sink, keeps the head."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._widths: list[int] = []
        self._right: list[bool] = []
        self._bytes = 0
        self.columns: tuple[str, ...] = ()
        self.head: list[Row] = []
        self.count = 0
        self.truncated = False

    def take(self, result: PGresult) -> None:
        """Rows of one chunk. A value that is not UTF-8 shows its bytes as \\xNN."""
        fields = range(result.nfields)
        if not fields:
            return
        rows: list[Row] = [
            tuple(_text(result.get_value(number, column)) for column in fields) for number in range(result.ntuples)
        ]
        if not self.columns:
            self._begin(result, rows)
        self.count += len(rows)
        self._keep(rows)
        if rows:
            self._sink.out("".join(self._line(row) for row in rows).encode())

    def end(self) -> None:
        """Write the number of rows, when there were columns."""
        if self.columns:
            self._sink.out(f"({self.count:,} {'row' if self.count == 1 else 'rows'})\n".encode())

    def _begin(self, result: PGresult, rows: Sequence[Row]) -> None:
        fields = range(result.nfields)
        self.columns = tuple((result.fname(column) or b"").decode(errors="backslashreplace") for column in fields)
        self._right = [result.ftype(column) in _NUMBERS for column in fields]
        self._widths = [
            min(_WIDEST, max([_width(_shown(name)), *(_width(_shown(row[at])) for row in rows)]))
            for at, name in enumerate(self.columns)
        ]
        rule = "-+-".join("-" * width for width in self._widths) + "\n"
        self._sink.out((self._line(self.columns) + rule).encode())

    def _keep(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._bytes += sum(len(value) for value in row if value)
            if len(self.head) >= HEAD_ROWS or self._bytes > _HEAD_BYTES:
                self.truncated = True
                return
            self.head.append(row)

    def _line(self, row: Row) -> str:
        cells = []
        for value, width, right in zip(row, self._widths, self._right, strict=True):
            shown = _shown(value)
            room = " " * (width - _width(shown))
            cells.append(room + shown if right else shown + room)
        return " | ".join(cells).rstrip() + "\n"


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _shown(value: str | None) -> str:
    return "NULL" if value is None else value.translate(_ESCAPES) if not value.isprintable() else value


def _width(text: str) -> int:
    """Columns on a screen: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
