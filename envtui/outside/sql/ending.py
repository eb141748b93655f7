"""Finding and ending what a write started on a PostgreSQL server, by any process and at any time: the Ender of sql targets.

It connects with the write credential and without a permit, and sends nothing but the constant queries of this file: a look
at pg_stat_activity, pg_xact_status, and the request to cancel or end one backend. A backend is the write's only when process
id, start to the microsecond, name and role all fit; the server checks that in the statement that ends it.

What is believed, and of whom:

- No handle: it was never sent, because the handle is durable before anything of the act can remain.
- The backend is there: it runs, also when it only waits for a client that will not come back.
- The backend is not there, on a server that is proven to be the one: the same system and timeline, or the very same
  postmaster. Then nothing of it goes on. Any other server (a failover, a standby) proves nothing: the old one may live.
- pg_xact_status, only on the same system and timeline. `aborted` is true always: an id that was committed is not handed
  out again. So is an id that the server has not come to: nothing of it was durable. `committed` and `in progress` are true
  unless the server recovered from a crash since, which makes it forget ids and give them to others; then nobody has a word,
  and the step's probe looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

import msgspec

from envtui.core.errors import Refused, Unreachable
from envtui.core.ports import Fate, Handle, Sink, Started

from .connect import Connector, Server
from .errors import of_statement
from .handle import number
from .handle import server as which_server
from .wire import Lost, ServerSaid, Wire

FIRST = 0.05
"""Seconds until it is looked again for the first time; each time twice as long."""

SLOWEST = 1.0
"""Seconds between two looks, at most."""

DEATH = 5.0
"""Seconds that a backend has to go once it was ended by force."""

ANSWER = 10.0
"""Seconds that the server has to answer one of our questions."""

_SETTINGS = (
    "SET search_path = pg_catalog; SET default_transaction_read_only = on;"
    f" SET statement_timeout = {round(ANSWER * 1000)}; SET lock_timeout = 0"
)
# The start of a backend stands here as in handle.STARTED; the server compares text with text.
_BACKEND = """
select to_char(backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00', application_name, usename::text,
       state, wait_event
from pg_catalog.pg_stat_activity where pid = $1::int
"""
_END = """
select case $4 when 'end' then pg_catalog.pg_terminate_backend(pid) else pg_catalog.pg_cancel_backend(pid) end::text
from pg_catalog.pg_stat_activity
where pid = $1::int and application_name = $3 and usename = session_user
  and to_char(backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00' = $2
"""
_STATUS = "select pg_catalog.pg_xact_status($1::pg_catalog.xid8)"
_NOT_YET = "22023"  # invalid_parameter_value: the id is in the future


class _Found(msgspec.Struct, frozen=True):
    """The backend of a handle, as the server shows it now. `state` '' when it is not there."""

    state: str = ""
    waits: str = ""
    strange: str = ""  # why nobody can say whether it is there

    @property
    def there(self) -> bool:
        return self.state != ""

    @property
    def idle(self) -> bool:
        return self.state.startswith("idle")


class SqlEnder:
    """The Ender port for sql targets: one connection, made when it is first needed, for one place."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._open: tuple[Wire, Server, dict[str, str]] | None = None

    async def look(self, started: Started) -> Fate:
        """What is known of it now. Raises as `Connector.connect` does, Unreachable, Refused."""
        return (await self._look(started))[0]

    async def attach(self, started: Started, sink: Sink, seen: Mapping[str, int], seconds: float) -> Fate:
        """Look again and again until it is no longer running, or for `seconds`. A backend's output reaches its own client
        only, so nothing goes to the sink."""
        return await self._until(started, seconds)

    async def stop(self, started: Started, grace: float) -> Fate:
        """Cancel its statement; after `grace` seconds end the backend. One that is at no statement is ended at once: there
        is nothing that it could end in order. A COMMIT that was under way may win: then it is `committed`."""
        fate, found = await self._look(started)
        if fate.dead or not found.there:
            return fate
        if not found.idle:
            await self._end(started.handle, "cancel")
            fate, found = await self._settled(started, grace)
        if found.there and not fate.dead:
            await self._end(started.handle, "end")
            fate = await self._until(started, DEATH)
        if fate.state == "running":
            return Fate(state="running", why=f"It was ended by force and is still there. {fate.why}".strip())
        return fate

    async def forget(self, started: Started) -> None:
        """Nothing is kept there."""

    async def close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            await opened[0].close()

    async def _until(self, started: Started, seconds: float) -> Fate:
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + seconds, FIRST
        while True:
            fate, _ = await self._look(started)
            left = until - loop.time()
            if fate.state != "running" or left <= 0:
                return fate
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, SLOWEST)

    async def _settled(self, started: Started, grace: float) -> tuple[Fate, _Found]:
        """After a cancel: until it is gone or at no statement, for `grace` seconds."""
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + grace, FIRST
        while True:
            fate, found = await self._look(started)
            left = until - loop.time()
            if not found.there or found.idle or left <= 0:
                return fate, found
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, SLOWEST)

    async def _look(self, started: Started) -> tuple[Fate, _Found]:
        handle = started.handle
        if not handle:
            return Fate(state="gone", why="It was never sent: nothing of it was begun there."), _Found()
        if (wrong := _wrong(handle)) is not None:
            return Fate(state="unknown", why=wrong), _Found()
        wire, server, now = await self._connected(started)
        where = server.where
        if wire.backend_pid != server.pid:
            return Fate(state="unknown", why=f"{where} is behind a pooler, which hides the backends."), _Found()
        found = await self._backend(wire, server, handle)
        if found.strange:
            return Fate(state="unknown", why=found.strange), found
        if not found.there:
            return await self._gone(wire, server, now, handle), found
        if found.state == "idle" and (told := await self._told(wire, server, now, handle)).state in (
            "committed",
            "aborted",
        ):
            return told, found  # its client does not know, and sends nothing more
        return Fate(state="running", why=_running(handle, found)), found

    async def _backend(self, wire: Wire, server: Server, handle: Handle) -> _Found:
        row = await self._ask(wire, server, _BACKEND, handle["pid"])
        if not row:
            return _Found()
        began, name, role, state, waits = row
        if began is None:
            # Somebody else's, whose start is not for us to see; ours would be shown to the role that it belongs to.
            if server.role == handle["role"] != role:
                return _Found()
            return _Found(
                strange=f"Process {handle['pid']} on {server.where} is of {role}: its start is not shown to us."
            )
        if began != handle["backend_start"]:
            return _Found()
        if name != handle["application_name"] or role != server.role:
            return _Found(strange=f"Its backend on {server.where} is there and calls itself {name!r} of {role} now.")
        return _Found(state=state or "running", waits=waits or "")

    async def _gone(self, wire: Wire, server: Server, now: Mapping[str, str], handle: Handle) -> Fate:
        """There is no such backend here. What that proves depends on which server this is."""
        if server.standby:
            return Fate(state="unknown", why=f"{server.where} is a standby: it cannot tell what the primary does.")
        same_history = _equal(now, handle, "system") and _equal(now, handle, "timeline")
        if not same_history and not _equal(now, handle, "postmaster"):
            return Fate(state="unknown", why=_elsewhere(server, now, handle))
        return await self._told(wire, server, now, handle)

    async def _told(self, wire: Wire, server: Server, now: Mapping[str, str], handle: Handle) -> Fate:
        """The server's word on the transaction of a backend that does nothing more."""
        where, xid = server.where, handle.get("xid", "")
        gone = f"Its backend on {where} is gone"
        if not xid:
            return Fate(state="gone", why=f"{gone}.")
        if not (_equal(now, handle, "system") and _equal(now, handle, "timeline")):
            return Fate(
                state="gone", why=f"{gone}; system or timeline cannot be read, so its transaction is not asked for."
            )
        status = await self._status(wire, server, xid)
        if status == "aborted":
            return Fate(state="aborted", why=f"{where}: transaction {xid} was rolled back.")
        if status == "":
            return Fate(state="gone", why=f"{gone}; its transaction is too old to be known.")
        if not _equal(now, handle, "unbroken"):
            why = f"{gone}; the server recovered from a crash since, and may have given the id of its transaction to another."
            return Fate(state="gone", why=why)
        if status == "committed":
            return Fate(state="committed", why=f"{where}: transaction {xid} is committed.")
        return Fate(state="running", why=f"{gone}, and its transaction {xid} is still in progress.")

    async def _status(self, wire: Wire, server: Server, xid: str) -> str:
        """'committed', 'aborted', 'in progress', or '' when the server does not know any more."""
        try:
            row = await self._asked(wire, server, _STATUS, xid)
        except ServerSaid as error:
            if error.said.sqlstate == _NOT_YET:
                return "aborted"
            raise of_statement(error.said, f"{server.where} was asked for a transaction.") from error
        return (row[0] or "") if row else ""

    async def _end(self, handle: Handle, how: Literal["cancel", "end"]) -> None:
        wire, server, _ = self._require()
        who = (handle["pid"], handle["backend_start"], handle["application_name"])
        await self._ask(wire, server, _END, *who, how)

    def _require(self) -> tuple[Wire, Server, dict[str, str]]:
        if self._open is None:
            raise Unreachable("The connection to the database ended.", "Try again.")
        return self._open

    async def _connected(self, started: Started) -> tuple[Wire, Server, dict[str, str]]:
        act = started.act
        if act.mode != "write" or act.place.kind != "sql":
            raise Refused(f"{act.id} is no sql write.", "Plan it again.")
        if self._open is not None and not self._open[0].alive:
            await self.close()
        if self._open is None:
            wire, server = await self._connector.connect(act, label="end")
            self._open = (wire, server, {})
            try:
                async with asyncio.timeout(ANSWER):
                    await wire.ours(_SETTINGS)
                    self._open = (wire, server, await which_server(wire))
            except ServerSaid as error:
                await self.close()
                raise of_statement(error.said, f"{server.where} was asked who it is.") from error
            except (TimeoutError, Lost) as error:
                await self.close()
                raise _lost(server, error) from error
            except BaseException:
                await self.close()
                raise
        return self._open

    async def _ask(self, wire: Wire, server: Server, text: str, *values: str) -> tuple[str | None, ...]:
        try:
            return await self._asked(wire, server, text, *values)
        except ServerSaid as error:
            raise of_statement(error.said, f"{server.where} was asked what became of a write.") from error

    async def _asked(self, wire: Wire, server: Server, text: str, *values: str) -> tuple[str | None, ...]:
        try:
            async with asyncio.timeout(ANSWER):
                return await wire.value_row(text, *values)
        except ServerSaid:
            raise
        except (TimeoutError, Lost) as error:
            await self.close()
            raise _lost(server, error) from error
        except BaseException:
            await self.close()  # cut off in the middle of an answer: nothing more can be asked on it
            raise


def _lost(server: Server, error: Exception) -> Unreachable:
    return Unreachable(
        f"{server.where} did not answer: {error or 'no reply'}.", "Look at the server and the way to it."
    )


def _equal(now: Mapping[str, str], handle: Handle, name: str) -> bool:
    """Both say it, and the same."""
    return now.get(name, "") != "" and now.get(name) == handle.get(name)


def _wrong(handle: Handle) -> str | None:
    """Why a handle cannot be used; None when it can."""
    try:
        number(handle["pid"])
        if handle.get("xid"):
            number(handle["xid"])
        if not (handle["backend_start"] and handle["application_name"] and handle["role"]):
            raise ValueError("an empty field")
    except (KeyError, ValueError) as error:
        return f"What was written down of it cannot be used ({error}): it cannot be found again."
    return None


def _running(handle: Handle, found: _Found) -> str:
    what = f"Its backend {handle['pid']} is there: {found.state}"
    if found.state.startswith("idle in transaction"):
        return f"{what}; it waits for a client, and what it did is not committed."
    return what + (f" ({found.waits})." if found.waits else ".")


def _elsewhere(server: Server, now: Mapping[str, str], handle: Handle) -> str:
    def told(name: str) -> str:
        return f"{name} {handle.get(name) or 'unknown'} then, {now.get(name) or 'unknown'} now"

    return (
        f"{server.where} is not proven to be the server that it was sent to ({told('system')}; {told('timeline')}): after a"
        " failover the old one may still be at it, and the ids of its transactions mean nothing here."
    )
