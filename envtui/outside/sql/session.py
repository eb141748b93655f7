"""Reads: one connection for each place, and every statement in a READ ONLY transaction that ends in ROLLBACK.

What holds ("session-enforced"): BEGIN READ ONLY and a query of ours that pins its snapshot, so that it cannot be turned
into READ WRITE; one statement by the extended protocol; ROLLBACK whatever happened, because some writes pass READ ONLY
(EXPLAIN ANALYZE CREATE TABLE AS and large objects on PostgreSQL 15); then DISCARD ALL, for what outlives a transaction
(advisory locks, prepared statements). What does not: a role that may write and opens a second connection (dblink).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from envtui.core.act import Act, Ref, SecretRef, SqlCall
from envtui.core.errors import Refused, TimedOut, Unreachable, Unsound
from envtui.core.ports import Reading, Secrets, Shown, Sink

from .connect import Connector, Server, check_settings
from .errors import of_statement
from .gate import Called
from .rows import Rows
from .statements import Statement, called_read
from .wire import Left, Lost, ServerSaid, Wire

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

GRACE = 1.0
"""Seconds that the server has to end a statement by itself before the client does it. A statement can switch the server's
own timeout off, and a server can hang."""


REMEMBERED = 32
"""Statements whose reading by the gate is remembered; what it says depends on the text alone."""


BOUNDS = {"work_mem": "32MB", "hash_mem_multiplier": "1", "max_parallel_workers_per_gather": "0"}
"""What a read may take of the server's memory: for each sort and hash, and by one process. Temporary files only a superuser
can bound: `envtui harden` does."""

_AS_IT_IS = ("ExplainStmt", "VariableShowStmt")
"""They tell what the server would do: with its own bounds."""


class _Session:
    """An open connection to one place."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wire: Wire | None = None
        self.server: Server | None = None

    async def connected(self, connector: Connector, act: Act) -> tuple[Wire, Server]:
        if self.wire is None or self.server is None or not self.wire.alive or not self.wire.still_there():
            await self.drop()
            self.wire, self.server = await connector.connect(act)
        return self.wire, self.server

    async def drop(self) -> None:
        wire, self.wire = self.wire, None
        if wire is not None:
            await wire.close()


class SqlReader:
    """The Reader port for sql targets. Reads on one place wait for each other; places are independent.

    `checked` is the gate: what of it a test takes away, the layers behind it have to hold.
    """

    def __init__(
        self, connector: Connector, checked: Callable[[str, int], tuple[Statement, Sequence[Called]]] = called_read
    ) -> None:
        self._connector = connector
        self._checked = lru_cache(REMEMBERED)(checked)  # polls ask the same again and again; refusals are not kept
        self._sessions: dict[tuple[str, ...], _Session] = {}

    async def open(self, act: Act) -> Shown:
        """Connect to the act's place, or reuse the connection. Raises as `Connector.connect` does."""
        _call(act)
        session = self._session(act)
        async with session.lock:
            _, server = await session.connected(self._connector, act)
        return Shown(
            target=act.place.target,
            member=act.place.member,
            shown=server.shown,
            protection=server.reach.protection,
            skew_ms=server.skew_ms,
            lacks=server.reach.lacks,
        )

    async def read(self, act: Act, sink: Sink) -> Reading:
        """One statement; all of its rows go to the sink as a table, at most 1,000 come back.

        Raises Refused, Failed (the server refused it), TimedOut, Unreachable (the connection ended; nothing changed),
        Unsound, and what `open` raises.
        """
        call = _call(act)
        statement, called = self._checked(call.text, len(call.binds))
        values = await bound(call, self._connector.secrets)
        session = self._session(act)
        async with session.lock:
            wire, server = await session.connected(self._connector, act)
            check_settings(wire, server.where)
            server.reach.check(called)
            try:
                return await self._timed(wire, server, act, statement, values, sink)
            except Lost as error:
                raise Unreachable(
                    f"The connection to {server.where} ended during the read: {error}.", "Nothing changed. Try again."
                ) from error
            finally:
                # Also when this task is cancelled: what is not known to be clean is closed, and the server rolls back.
                if not wire.settled:
                    await session.drop()

    async def close(self) -> None:
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.drop()

    def _session(self, act: Act) -> _Session:
        place = act.place
        key = (place.target, place.member, place.address, place.user, place.dbname, place.via, place.credential)
        return self._sessions.setdefault(key, _Session())

    async def _timed(
        self, wire: Wire, server: Server, act: Act, statement: Statement, values: Values, sink: Sink
    ) -> Reading:
        stop = wire.on_notice(lambda text: sink.err(text.encode()))
        try:
            async with asyncio.timeout(act.timeout + GRACE):
                return await _read(
                    wire, server, self._settings(wire, act, statement.kind), sending(wire, statement, values), sink
                )
        except TimeoutError as error:
            await wire.cancel()
            await wire.close()
            raise TimedOut(
                f"{server.where} did not end the read within {act.timeout:g} s; the connection was closed.",
                "Raise the timeout, or ask less.",
            ) from error
        except asyncio.CancelledError:
            # The connection is closed by `read`; the request tells the server to stop now, not at the statement's end.
            with suppress(asyncio.CancelledError):
                await asyncio.shield(asyncio.ensure_future(wire.cancel()))
            raise
        finally:
            stop()

    def _settings(self, wire: Wire, act: Act, kind: str) -> str:
        """Expressions that set what holds in the transaction of this read."""
        call = _call(act)
        limit = min(call.statement_timeout or act.timeout, act.timeout)
        settings = {
            "application_name": wire.literal(self._connector.application_name(act.step)),
            "statement_timeout": f"'{milliseconds(limit)}'",
            "lock_timeout": f"'{milliseconds(call.lock_timeout) if call.lock_timeout else 0}'",
        }
        if kind not in _AS_IT_IS:
            settings |= {name: f"'{value}'" for name, value in BOUNDS.items()}
        return ", ".join(f"pg_catalog.set_config('{name}', {value}, true)" for name, value in settings.items())


async def _read(wire: Wire, server: Server, settings: str, sent: Sending, sink: Sink) -> Reading:
    loop = asyncio.get_running_loop()
    began = loop.time()
    seconds = 0.0
    rows = Rows(sink)
    try:
        async for result in wire.enclosed(settings, *sent):
            rows.take(result)
            seconds = loop.time() - began
        rows.end()
    except ServerSaid as error:
        raise of_statement(error.said) from error
    except Left as error:
        await wire.close()
        raise Unsound(
            f"The read on {server.where} left its READ ONLY transaction.",
            "Look at what the statement does, in the ledger.",
        ) from error
    return Reading(
        columns=rows.columns,
        rows=tuple(rows.head),
        row_count=rows.count,
        truncated=rows.truncated,
        seconds=seconds,
    )


Sending = tuple[str, Sequence[bytes], Sequence[int]]
"""Text of a statement, and its values with the oids of their types."""

Values = Sequence[tuple[str, int]]
"""Text of each bind and the oid of its type (0: the server finds it out)."""


async def bound(call: SqlCall, secrets: Secrets) -> Values:
    """The binds of a call, secrets resolved. Raises SecretMissing, Refused (an open place, NUL, an unknown type)."""
    values: list[tuple[str, int]] = []
    for text, type_name in call.binds:
        parts: list[str] = []
        for part in text:
            if isinstance(part, Ref):
                raise Refused(f"${{{part.name}}} has no value yet.", "Run the step that captures it.")
            if isinstance(part, SecretRef):
                parts.append((await secrets.resolve(part.reference, part.name)).reveal())
            else:
                parts.append(part)
        value = "".join(parts)
        if "\x00" in value:
            raise Refused("A value has a NUL in it, which PostgreSQL's text cannot hold.", "Remove it.")
        values.append((value, _oid(type_name)))
    return values


def _oid(name: str) -> int:
    if not name:
        return 0
    from psycopg.postgres import types

    try:
        return types.get_oid(name)
    except KeyError as error:
        raise Refused(
            f"{name!r} is no type that a value can have.", "Leave it out: PostgreSQL finds it out."
        ) from error


def sending(wire: Wire, statement: Statement, values: Values) -> Sending:
    """One statement with its share of the values, as the server takes it."""
    if statement.needs_literals:
        literals = {number: wire.literal(values[number - 1][0]) for _, number in statement.places}
        return statement.composed(literals), (), ()
    text, order = statement.renumbered()
    return text, [values[number - 1][0].encode() for number in order], [values[number - 1][1] for number in order]


def run(wire: Wire, statement: Statement, values: Values) -> AsyncIterator[PGresult]:
    """Send one statement with its share of the values; its results as they come. Raises ServerSaid, Lost."""
    return wire.statement(*sending(wire, statement, values))


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, at least one: 0 would switch the timeout off."""
    return max(1, round(seconds * 1000))


def _call(act: Act) -> SqlCall:
    if act.mode != "read" or not isinstance(act.call, SqlCall):
        raise Refused(f"{act.id} is no sql read.", "Plan it again.")
    return act.call
