"""One PostgreSQL connection, as far as envtui talks to it: constant text of ours, and one statement of somebody's.

psycopg connects and cancels; statements go through its documented libpq layer (`psycopg.pq`), because its cursors send
the simple protocol whenever there are no parameters, and that one takes several statements in one text (`COMMIT; INSERT`
would leave the read-only transaction). Here nothing that a tree says can reach the simple protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.errors import Diagnostic
    from psycopg.pq.abc import PGresult

_CHUNK = 256  # rows that libpq hands over at a time: what bounds memory


BEGIN = b"BEGIN READ ONLY"
AFTER = (b"ROLLBACK", b"DISCARD ALL")
"""Around every read. DISCARD ALL for what outlives a transaction: advisory locks, prepared statements, settings."""

_MARK = "extract(epoch from pg_catalog.now())"
"""When the transaction began: the same before and after a statement that did not leave it. libpq does not tell in a pipeline."""


class Lost(Exception):
    """The connection ended, or the server ended it."""


class Left(Exception):
    """A statement ended the transaction that it was in."""


class ServerSaid(Exception):
    """The server answered with an error. The connection lives; a transaction, if there was one, is aborted."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.message)
        self.said = said


class Said(msgspec.Struct, frozen=True):
    """The fields of an error message of the server's, as text."""

    sqlstate: str
    message: str
    severity: str = "ERROR"
    detail: str = ""
    hint: str = ""
    position: int = 0  # in characters of the statement, from 1


class Wire:
    """Not for concurrent use: one thing at a time, until its iterator has ended."""

    def __init__(self, connection: AsyncConnection) -> None:
        from psycopg import pq

        self._connection = connection
        self._pgconn = connection.pgconn
        self._pgconn.nonblocking = 1
        self._escaping = pq.Escaping(self._pgconn)
        self._ok = pq.ConnStatus.OK
        self._in_transaction = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)
        self._rows = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_CHUNK)
        self._done = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY)
        self._error = pq.ExecStatus.FATAL_ERROR
        self._skipped = pq.ExecStatus.PIPELINE_ABORTED
        self._idle = pq.TransactionStatus.IDLE

    @property
    def alive(self) -> bool:
        return not self._connection.closed and self._pgconn.status == self._ok

    @property
    def in_transaction(self) -> bool:
        return self._pgconn.transaction_status in self._in_transaction

    def still_there(self) -> bool:
        """Whether nobody has ended the connection since it was last used, as far as this side was told. Asks nobody."""
        from psycopg import OperationalError

        poll = select.poll()
        poll.register(self._pgconn.socket, select.POLLIN)
        try:
            while self.alive and poll.poll(0):  # its end, its last words, or a setting that changed
                self._pgconn.consume_input()
                self._pgconn.is_busy()
        except OperationalError:
            return False
        return self.alive

    @property
    def settled(self) -> bool:
        """Nothing is under way, and no transaction is open."""
        return self.alive and self._pgconn.transaction_status == self._idle

    @property
    def backend_pid(self) -> int:
        """As the server said when the connection was made; a pooler makes it up."""
        return self._pgconn.backend_pid

    def setting(self, name: str) -> str:
        """A setting that the server reports by itself whenever it changes; '' when it does not."""
        value = self._pgconn.parameter_status(name.encode())
        return value.decode(errors="replace") if value else ""

    def literal(self, value: str) -> str:
        return bytes(self._escaping.escape_literal(value.encode())).decode()

    def on_notice(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Hand notices to `callback` until the returned function is called."""

        def handler(notice: Diagnostic) -> None:
            callback(f"{notice.severity or 'NOTICE'}: {notice.message_primary or ''}\n")

        self._connection.add_notice_handler(handler)
        return lambda: self._connection.remove_notice_handler(handler)

    async def ours(self, text: str) -> str:
        """Send constant text by the simple protocol; the last command tag. Raises ServerSaid, Lost."""
        self._send(lambda: self._pgconn.send_query(text.encode()))
        tag = ""
        async for result in self._results():
            tag = (result.command_status or b"").decode(errors="replace") or tag
        return tag

    async def enclosed(
        self, settings: str, text: str, values: Sequence[bytes], types: Sequence[int]
    ) -> AsyncIterator[PGresult]:
        """One statement in a READ ONLY transaction that ends in ROLLBACK, all in one round trip; its results as they come.

        `settings` are expressions of ours that the query before it carries out: that query pins the snapshot, too. The server
        carries out nothing more of these once one of them failed, and ROLLBACK and DISCARD ALL whatever happened. Raises
        ServerSaid, Lost, and Left when the statement ended its transaction.
        """
        statements: tuple[tuple[bytes, Sequence[bytes], Sequence[int]], ...] = (
            (BEGIN, (), ()),
            (f"SELECT {_MARK}, {settings}".encode(), (), ()),
            (text.encode(), values, types),
            (f"SELECT {_MARK}".encode(), (), ()),
        )

        def send() -> None:
            self._pgconn.enter_pipeline_mode()
            for one, its_values, its_types in statements:
                self._pgconn.send_query_params(one, list(its_values), param_types=list(its_types))
            self._pgconn.pipeline_sync()
            for one in AFTER:
                self._pgconn.send_query_params(one, None)
                self._pgconn.pipeline_sync()

        self._send(send)
        said: list[ServerSaid] = []
        await self._drained(said)
        mark = await self._drained(said)
        if not said:
            self._send(lambda: self._pgconn.set_chunked_rows_mode(_CHUNK))
        try:
            async for result in self._results():
                yield result
        except ServerSaid as error:
            said.append(error)
        left = mark != await self._drained(said)
        await self._synced()
        for _ in AFTER:
            await self._drained(said)
            await self._synced()
        self._send(self._pgconn.exit_pipeline_mode)
        if said:
            raise said[0]
        if left:
            raise Left

    async def _drained(self, said: list[ServerSaid]) -> str | None:
        """Take the results of one statement of ours: the first value of its first row."""
        value = None
        try:
            async for result in self._results():
                value = next(iter(_row(result)), None)
        except ServerSaid as error:
            said.append(error)
        return value

    async def _synced(self) -> None:
        """Take the mark at which the server is ready again."""
        from psycopg import OperationalError

        try:
            await self._result()
        except OperationalError as error:
            raise Lost(_first_line(error)) from error

    async def our_row(self, text: str) -> tuple[str | None, ...]:
        """Like `ours`, when the last statement of several is a query: its first row. Raises ServerSaid, Lost."""
        self._send(lambda: self._pgconn.send_query(text.encode()))
        row: tuple[str | None, ...] = ()
        async for result in self._results():
            row = _row(result) or row
        return row

    async def statement(
        self, text: str, values: Sequence[bytes] = (), types: Sequence[int] = ()
    ) -> AsyncIterator[PGresult]:
        """Send one statement by the extended protocol; its results as they come, rows in chunks.

        Raises ServerSaid, Lost. The server itself refuses a second statement in the text.
        """
        self._send(lambda: self._pgconn.send_query_params(text.encode(), list(values), param_types=list(types)))
        self._pgconn.set_chunked_rows_mode(_CHUNK)
        async for result in self._results():
            yield result

    async def value_row(self, text: str, *values: str) -> tuple[str | None, ...]:
        """The first row of one statement, as text; () when there is none. Raises ServerSaid, Lost."""
        row: tuple[str | None, ...] = ()
        async for result in self.statement(text, [value.encode() for value in values], [0] * len(values)):
            row = row or _row(result)
        return row

    async def cancel(self, seconds: float = 2.0) -> None:
        """Ask the server to end what it is doing; it may not."""
        from psycopg import Error

        with contextlib.suppress(Error):  # the caller closes the connection next
            await self._connection.cancel_safe(timeout=seconds)

    async def close(self) -> None:
        await self._connection.close()

    def _send(self, send: Callable[[], None]) -> None:
        from psycopg import OperationalError

        try:
            send()
        except OperationalError as error:
            raise Lost(_first_line(error)) from error

    async def _results(self) -> AsyncIterator[PGresult]:
        """Every result of what was sent. An error is raised after the last one, when the connection is ready again."""
        from psycopg import OperationalError

        said: Said | None = None
        try:
            await self._flush()
            while (result := await self._result()) is not None:
                if result.status == self._error:
                    said = _said(result)
                if result.status in (self._error, self._skipped):
                    continue
                if result.status in self._rows or result.status in self._done:
                    yield result
                    if result.ntuples == _CHUNK:
                        await asyncio.sleep(0)  # a fast server must not hold the loop
                else:  # COPY in either direction: nobody is at this end of it
                    await self._connection.close()
                    raise Lost("the server began a COPY with the client")
        except OperationalError as error:
            raise Lost(said.message if said else _first_line(error)) from error
        if said is not None:
            if said.severity in ("FATAL", "PANIC") or not self.alive:
                raise Lost(said.message)
            raise ServerSaid(said)

    async def _flush(self) -> None:
        while self._pgconn.flush():
            await self._ready(write=True)
            self._pgconn.consume_input()

    async def _result(self) -> PGresult | None:
        while self._pgconn.is_busy():
            await self._ready()
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    async def _ready(self, write: bool = False) -> None:
        loop = asyncio.get_running_loop()
        socket = self._pgconn.socket
        ready = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(socket, wake)
        if write:
            loop.add_writer(socket, wake)
        try:
            await ready
        finally:
            loop.remove_reader(socket)
            if write:
                loop.remove_writer(socket)


def _row(result: PGresult) -> tuple[str | None, ...]:
    """The first row of a result, as text."""
    if not result.ntuples:
        return ()
    values = (result.get_value(0, column) for column in range(result.nfields))
    return tuple(None if value is None else value.decode(errors="replace") for value in values)


def _said(result: PGresult) -> Said:
    from psycopg.pq import DiagnosticField as Field

    def field(name: Field) -> str:
        return (result.error_field(name) or b"").decode(errors="replace")

    position = field(Field.STATEMENT_POSITION)
    return Said(
        sqlstate=field(Field.SQLSTATE),
        message=field(Field.MESSAGE_PRIMARY) or result.error_message.decode(errors="replace").strip(),
        severity=field(Field.SEVERITY_NONLOCALIZED) or "ERROR",
        detail=field(Field.MESSAGE_DETAIL),
        hint=field(Field.MESSAGE_HINT),
        position=int(position) if position.isdigit() else 0,
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
