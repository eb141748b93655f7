"""Writes: one permitted act on a connection of its own, and an honest word on whether it happened.

`transaction: single`: until COMMIT is sent nothing can remain, so every failure before it is Failed, also a lost
connection; from then on only the server's answer counts, and without one the act is in doubt. `transaction: none`: in
doubt from the moment the statement is sent until the server answers. Before either, `sent` has written down what finds the
backend and its transaction again (`handle`). What is in doubt is not stopped here: the Ender does that.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from envtui.core.access import Permit
from envtui.core.act import Act, SqlCall
from envtui.core.errors import Failed, InDoubt, Refused, TimedOut, Unreachable, Unsound
from envtui.core.ports import Reading, Sent, Sink, unsent

from .connect import Connector, Server, check_settings
from .errors import CANCELLED, of_statement
from .handle import ELSEWHERE, begun, commit
from .rows import Rows
from .session import GRACE, Values, bound, milliseconds, run
from .statements import ATOMIC, Statement, check_write
from .wire import Lost, ServerSaid, Wire

_NOTHING = "It was rolled back: nothing remains."


class SqlWriter:
    """The Writer port for sql targets: for one permit, once."""

    def __init__(self, permit: Permit, connector: Connector) -> None:
        if not isinstance(permit, Permit):
            raise TypeError("a writer needs a permit")
        self.seen: dict[str, int] = {}
        self._permit = permit
        self._connector = connector
        self._used = False
        self._wire: Wire | None = None

    async def write(self, permit: Permit, act: Act, sink: Sink, sent: Sent = unsent) -> Reading:
        """Do the act. `affected` is the number of rows that its INSERT, UPDATE, DELETE, MERGE and COPY statements changed.
        `sent` is awaited with the transaction begun and nothing done in it, or before the lone statement.

        Raises Failed, TimedOut, Unreachable, AuthenticationFailed, Refused, Unsound: it surely did not happen.
        Raises InDoubt: it was sent and nobody knows.
        """
        call = self._permitted(permit, act)
        statements = check_write(call.text, call.transaction, len(call.binds), call.affected_max)
        values = await bound(call, self._connector.secrets)
        self._wire, server = await self._connector.connect(act, label=permit.run)
        try:
            self._connector.check_clock(server, permit.until_ms)
        except Refused:
            await self.close()
            raise
        writing = _Writing(self._wire, server, act, call, sink, sent)
        stop = self._wire.on_notice(lambda text: sink.err(text.encode()))
        try:
            return await writing.do(statements, values)
        finally:
            stop()
            await self.close()

    async def forget(self) -> None:
        """Nothing is kept there."""

    async def close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    def _permitted(self, permit: Permit, act: Act) -> SqlCall:
        if permit is not self._permit or permit.act_digest != act.digest():
            raise Refused(
                f"The permit is for another act than {act.id}.", "Nothing was sent. Ask for write access again."
            )
        if self._used:
            raise Refused("This permit was used.", "A second attempt needs a permit of its own.")
        if act.mode != "write" or not isinstance(act.call, SqlCall) or not act.complete:
            raise Refused(f"{act.id} is no complete sql write.", "Plan it again.")
        self._used = True
        return act.call


class _Writing:
    """One act on one open connection. `_sent` is true from when something may remain that cannot be taken back."""

    def __init__(self, wire: Wire, server: Server, act: Act, call: SqlCall, sink: Sink, sent: Sent) -> None:
        self._wire = wire
        self._server = server
        self._act = act
        self._call = call
        self._sink = sink
        self._write_down = sent
        self._sent = False
        self._affected = 0
        self._rows = Rows(sink)

    async def do(self, statements: tuple[Statement, ...], values: Values) -> Reading:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._check_server()
        try:
            async with asyncio.timeout(self._act.timeout + GRACE):
                if self._call.transaction == "single":
                    await self._single(statements, values)
                else:
                    await self._alone(statements[0], values)
        except ServerSaid as error:
            # Not from COMMIT nor from a lone statement, which answer for themselves: an error inside the transaction.
            raise of_statement(error.said, _NOTHING) from error
        except Lost as error:
            raise self._without_answer(str(error)) from error
        except TimeoutError as error:
            await self._stop_what_cannot_remain()
            raise self._without_answer("it did not answer in time", timed_out=True) from error
        except asyncio.CancelledError:
            with suppress(asyncio.CancelledError):
                await asyncio.shield(asyncio.ensure_future(self._stop_what_cannot_remain()))
            raise
        return Reading(
            columns=self._rows.columns,
            rows=tuple(self._rows.head),
            row_count=self._rows.count if self._rows.columns else None,
            affected=self._affected,
            truncated=self._rows.truncated,
            seconds=loop.time() - began,
        )

    async def _stop_what_cannot_remain(self) -> None:
        """Statements before COMMIT: the server need not go on until it notices that nobody is there any more."""
        if not self._sent:
            await self._wire.cancel()

    def _check_server(self) -> None:
        check_settings(self._wire, self._server.where)
        if self._wire.backend_pid != self._server.pid:
            raise self._pooled()
        if self._server.standby:
            raise Unsound(f"{self._server.where} is a standby: it takes no writes.", "Name the primary.")

    def _pooled(self) -> Unsound:
        return Unsound(
            f"{self._server.where} is behind a pooler: another process answers than the one that was connected to.",
            "Nothing remains. Name the server itself: behind a pooler nobody can say what became of a write.",
        )

    async def _begun(self, opening: str, xid: bool) -> dict[str, str]:
        handle = await begun(self._wire, opening, xid)
        if handle.get("pid") != str(self._server.pid):
            raise self._pooled()
        await self._write_down(handle)
        return handle

    async def _single(self, statements: tuple[Statement, ...], values: Values) -> None:
        handle = await self._begun(f"BEGIN; {self._limits('SET LOCAL')}", xid=True)
        for statement in statements:
            await self._run(statement, values)
            if not self._wire.in_transaction:
                self._sent = True
                raise Lost("a statement ended the transaction by itself")
        allowed = self._call.affected_max
        if allowed is not None and self._affected > allowed:
            await self._wire.ours("ROLLBACK")
            raise Failed(
                f"It would have changed {self._affected:,} rows, and {allowed:,} is the most that it may. {_NOTHING}",
                "Find out why there are more before you raise affected_max.",
            )
        self._sent = True
        try:
            tag = await self._wire.ours(commit(handle))
        except ServerSaid as error:
            self._sent = False  # the connection lives and the server says no: a deferred constraint, a serialization
            if error.said.sqlstate.startswith("08") or error.said.sqlstate == "40003":
                raise InDoubt(f"COMMIT on {self._server.where}: {error.said.message}.", _LOOK) from error
            if ELSEWHERE in error.said.message:
                raise self._pooled() from error
            raise
        if tag != "COMMIT":
            raise Failed(f"{self._server.where} answered COMMIT with {tag}. {_NOTHING}", "Read the server's log.")

    async def _alone(self, statement: Statement, values: Values) -> None:
        await self._begun(self._limits("SET"), xid=False)
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._sent = True
        try:
            await self._run(statement, values)
        except ServerSaid as error:
            if statement.kind in ATOMIC:
                raise of_statement(error.said, "Nothing remains of it.") from error
            raise InDoubt(
                f"{self._server.where} reported an error: {error.said.message} [{error.said.sqlstate}]. Outside a"
                " transaction a part of it may remain.",
                _LOOK,
                overdue=error.said.sqlstate == CANCELLED and loop.time() - began >= self._limit,
            ) from error

    async def _run(self, statement: Statement, values: Values) -> None:
        rows = Rows(self._sink)
        tail = ""
        async for result in run(self._wire, statement, values):
            rows.take(result)
            if statement.counts_rows or statement.kind == "CopyStmt":
                self._affected += result.command_tuples or 0
            if tag := (result.command_status or b"").decode(errors="replace"):
                tail = tag
        rows.end()
        self._sink.out(f"{tail}\n".encode())
        if rows.columns:
            self._rows = rows

    def _limits(self, verb: str) -> str:
        lock = milliseconds(self._call.lock_timeout) if self._call.lock_timeout else 0
        # The last one for a client that is gone without a word: its transaction ends at its server by itself.
        alone = milliseconds(self._act.timeout + GRACE)
        return (
            f"{verb} statement_timeout = {milliseconds(self._limit)}; {verb} lock_timeout = {lock};"
            f" {verb} idle_in_transaction_session_timeout = {alone}"
        )

    @property
    def _limit(self) -> float:
        """Seconds for one statement."""
        return min(self._call.statement_timeout or self._act.timeout, self._act.timeout)

    def _without_answer(self, why: str, timed_out: bool = False) -> Failed | InDoubt:
        where = self._server.where
        if self._sent:
            what = "COMMIT was sent" if self._call.transaction == "single" else "The statement was sent"
            return InDoubt(f"{what} to {where} and there was no answer: {why}.", _LOOK, overdue=timed_out)
        if timed_out:
            return TimedOut(
                f"{where} did not end the write within {self._act.timeout:g} s. COMMIT was never sent: nothing remains.",
                "Raise the timeout, or see what it waits for.",
            )
        return Unreachable(
            f"The connection to {where} ended: {why}. COMMIT was never sent: nothing remains.", "Try again."
        )


_LOOK = "Look whether it is there (the step's probe) before anything else."
