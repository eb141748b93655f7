"""Writes that were lost, found again on a real PostgreSQL by another connection: told right, ended, and nothing else touched."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from envtui.core.act import Act, SqlCall
from envtui.core.errors import Failed, InDoubt, Unreachable, Unsound
from envtui.core.ports import Fate, Handle, Started
from envtui.outside.sql.ending import SqlEnder
from envtui.outside.sql.writer import SqlWriter
from tests.servers.postgres import (
    PASSWORD,
    Collected,
    Database,
    Proxy,
    cluster,
    connector,
    database,
    permit_for,
    proxy,
    serving,
    write_act,
)

__all__ = ["cluster", "database"]  # fixtures
pytestmark = pytest.mark.servers
STATES = "select state, count(*) from orders group by 1 order by 1"
NONE = SqlCall(text="", transaction="none")
SLOW = "update orders set state = 'x'; select pg_sleep(300)"
PATIENCE = 30.0


class Kept:
    """What `sent` is given, and what the database held then."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.handle: dict[str, str] = {}
        self.seen: list[tuple[object, ...]] = []
        self.written = asyncio.Event()

    async def __call__(self, handle: Handle) -> None:
        self.handle = dict(handle)
        self.seen = await asyncio.to_thread(self.database.admin, STATES)
        self.written.set()


async def write(database: Database, act: Act, kept: Kept) -> None:
    permit = permit_for(act)
    writer = SqlWriter(permit, connector(database))
    try:
        await writer.write(permit, act, Collected(), kept)
    finally:
        await writer.close()


def started(database: Database, act: Act, handle: Handle) -> Started:
    """As another process finds it in the ledger: the way to the server is the straight one."""
    there = write_act(database, "select 1")
    return Started(act=there, permit="p-1", attempt=1, handle=handle)


@asynccontextmanager
async def ending(database: Database, **target: object) -> AsyncIterator[SqlEnder]:
    ender = SqlEnder(connector(database, **target))
    try:
        yield ender
    finally:
        await ender.close()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(true):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)


def there(database: Database, handle: Handle) -> list[tuple[object, ...]]:
    return database.admin(f"select state from pg_stat_activity where pid = {handle['pid']} and usename = 'writer'")


async def test_the_handle_is_known_before_anything_is_done(database: Database) -> None:
    for call in (SqlCall(text=""), NONE):
        kept = Kept(database)
        database.admin("update orders set state = 'new'")
        await write(database, write_act(database, "update orders set state = 'x'", call=call), kept)
        assert kept.seen == [("new", 10)]
        assert database.admin(STATES) == [("x", 10)]
        handle = kept.handle
        assert set(handle) == {
            "pid", "backend_start", "application_name", "role", "system", "timeline", "postmaster", "unbroken", "xid",
        }  # fmt: skip
        assert handle["application_name"] == "envtui:r-1:look"
        assert handle["system"] == database.system_identifier
        assert handle["timeline"] == "00000001"
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00", handle["backend_start"])
        assert bool(handle["xid"]) is (call is not NONE)
        if handle["xid"]:
            assert database.admin("select xmin::text from orders limit 1") == [(handle["xid"],)]


@pytest.mark.parametrize("call", [SqlCall(text=""), NONE])
async def test_what_cannot_be_written_down_is_not_done(database: Database, call: SqlCall) -> None:
    async def full(handle: Handle) -> None:
        raise OSError(28, "No space left on device")

    act = write_act(database, "update orders set state = 'x'", call=call)
    permit = permit_for(act)
    with pytest.raises(OSError, match="No space"):
        await SqlWriter(permit, connector(database)).write(permit, act, Collected(), full)
    assert database.admin(STATES) == [("new", 10)]


@pytest.mark.parametrize(
    ("how", "state", "left"),
    [("swallow", "committed", [("x", 10)]), ("close", "aborted", [("new", 10)]), ("half", "aborted", [("new", 10)])],
)
async def test_cut_at_commit(database: Database, how: str, state: str, left: list[tuple[object, ...]]) -> None:
    kept = Kept(database)
    async with proxy(database, how, lambda data: b"COMMIT" in data) as way:
        act = write_act(database, "update orders set state = 'x'", timeout=0.5, address=f"127.0.0.1:{way.port}")
        with pytest.raises(InDoubt, match="COMMIT was sent") as caught:
            await write(database, act, kept)
        assert not caught.value.overdue
        assert caught.value.seen == {}
    async with ending(database) as ender:
        fate = await ender.attach(started(database, act, kept.handle), Collected(), {}, PATIENCE)
    assert (fate.state, fate.dead) == (state, True)
    assert database.admin(STATES) == left


async def test_a_backend_whose_client_is_out_of_reach_is_ended(database: Database) -> None:
    """COMMIT never arrived and neither did the end of the connection: the server waits for it, maybe for hours."""
    kept = Kept(database)
    async with proxy(database, "strand", lambda data: b"COMMIT" in data) as way:
        act = write_act(database, "update orders set state = 'x'", address=f"127.0.0.1:{way.port}")
        with pytest.raises(InDoubt):
            await write(database, act, kept)
        async with ending(database) as ender:
            lost = started(database, act, kept.handle)
            fate = await ender.attach(lost, Collected(), {}, 0.1)
            assert fate.state == "running"
            assert "idle in transaction; it waits for a client" in fate.why
            fate = await ender.stop(lost, PATIENCE)  # at no statement: nobody waits for the grace
            assert fate.state == "aborted"
        assert not there(database, kept.handle)
    assert database.admin(STATES) == [("new", 10)]


async def test_a_commit_whose_client_is_out_of_reach_is_told_at_once(database: Database) -> None:
    kept = Kept(database)
    done = asyncio.Event()
    swallowing = Proxy(database.cluster.port, "swallow", lambda data: b"COMMIT" in data)
    ends = swallowing._down

    async def stranded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ends(reader, writer)
        await done.wait()

    swallowing._down = stranded  # type: ignore[method-assign]  # the server's side stays open
    async with serving(swallowing.serve) as port:
        act = write_act(database, "update orders set state = 'x'", timeout=0.5, address=f"127.0.0.1:{port}")
        with pytest.raises(InDoubt):
            await write(database, act, kept)
        async with ending(database) as ender:
            fate = await ender.attach(started(database, act, kept.handle), Collected(), {}, PATIENCE)
            assert fate.state == "committed"
            assert (await ender.stop(started(database, act, kept.handle), 0.1)).state == "committed"
        done.set()


CHILD = """
import asyncio, json, sys
from types import SimpleNamespace
from envtui.core.act import SqlCall
from envtui.outside.sql.writer import SqlWriter
from tests.servers.postgres import Collected, connector, permit_for, write_act

database = SimpleNamespace(address=sys.argv[1], name=sys.argv[2])
act = write_act(database, sys.argv[3], timeout=600.0, call=SqlCall(text="", transaction=sys.argv[4]))
permit = permit_for(act)

async def sent(handle):
    print(json.dumps(handle), flush=True)

asyncio.run(SqlWriter(permit, connector(database)).write(permit, act, Collected(), sent))
"""


@pytest.mark.parametrize(
    ("text", "transaction", "state"),
    [(SLOW, "single", "aborted"), ("select pg_sleep(300)", "none", "gone")],
)
async def test_a_client_that_was_killed_leaves_a_backend_that_is_found_and_stopped(
    database: Database, text: str, transaction: str, state: str
) -> None:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, database.address, database.name, text, transaction],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    with process:
        assert process.stdout is not None
        handle = json.loads(await asyncio.to_thread(process.stdout.readline))
        asleep = f"select 1 from pg_stat_activity where pid = {handle['pid']} and wait_event = 'PgSleep'"
        await until(lambda: database.admin(asleep))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert database.admin(asleep)  # it goes on without a client
    lost = started(database, write_act(database, text), handle)
    async with ending(database) as ender:
        fate = await ender.look(lost)
        assert fate.state == "running"
        assert "active (PgSleep)" in fate.why
        assert (await ender.attach(lost, Collected(), {}, 0.1)).state == "running"
        assert (await ender.stop(lost, PATIENCE)).state == state
        assert (await ender.look(lost)).state == state
    assert not there(database, handle)
    assert database.admin(STATES) == [("new", 10)]


STUBBORN = """
do $$begin loop begin perform pg_sleep(300); exception when query_canceled then null; end; end loop; end$$
"""


async def test_what_does_not_end_when_it_is_told_to_is_ended_by_force(database: Database) -> None:
    kept = Kept(database)
    task = asyncio.create_task(write(database, write_act(database, STUBBORN, timeout=600.0, call=NONE), kept))
    await kept.written.wait()
    asleep = f"select 1 from pg_stat_activity where pid = {kept.handle['pid']} and wait_event = 'PgSleep'"
    await until(lambda: database.admin(asleep))
    async with ending(database) as ender:
        fate = await ender.stop(started(database, write_act(database, STUBBORN), kept.handle), 0.1)
    assert fate.state == "gone"
    with pytest.raises(InDoubt):
        await task


@asynccontextmanager
async def other(database: Database, role: str = "writer") -> AsyncIterator[tuple[psycopg.Connection, dict[str, str]]]:
    """A backend of somebody else, and a handle that would fit it."""
    with psycopg.connect(
        database.cluster.dsn(database.name, role, PASSWORD), autocommit=True, application_name="envtui:r-1:look"
    ) as connection:
        kept = Kept(database)
        await write(database, write_act(database, "select 1"), kept)
        row = database.admin(
            "select pid::text, to_char(backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'"
            f" from pg_stat_activity where pid = {connection.info.backend_pid}"
        )[0]
        yield connection, kept.handle | {"pid": str(row[0]), "backend_start": str(row[1])}


async def test_another_backend_with_the_same_process_id_is_not_touched(database: Database) -> None:
    async with other(database) as (connection, handle), ending(database) as ender:
        act = write_act(database, SLOW)
        for changed, state in (
            ({"backend_start": "2020-01-01 00:00:00.000000+00", "xid": ""}, "gone"),
            ({"backend_start": "2020-01-01 00:00:00.000000+00"}, "committed"),  # its own transaction, long ago
            ({"application_name": "envtui:r-1:other"}, "unknown"),
        ):
            lost = started(database, act, handle | changed)
            assert (await ender.look(lost)).state == state
            assert (await ender.stop(lost, 0.1)).state == state
            assert connection.execute("select 1").fetchone() == (1,)
        assert (await ender.stop(started(database, act, handle | {"xid": ""}), 0.1)).state == "gone"  # all of it fits
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")


@pytest.mark.parametrize("role", ["reader", "boss"])
async def test_a_backend_of_another_role_cannot_be_ended(database: Database, role: str) -> None:
    async with other(database, role) as (connection, handle), ending(database) as ender:
        lost = started(database, write_act(database, SLOW), handle | {"xid": ""})
        assert (await ender.stop(lost, 0.1)).state == "gone"  # ours would show its start to its own role
        assert (await ender.stop(started(database, lost.act, lost.handle | {"role": role}), 0.1)).state == "unknown"
        assert connection.execute("select 1").fetchone() == (1,)


async def test_a_powerful_write_role_ends_no_backend_but_its_own(database: Database) -> None:
    async with other(database) as (connection, handle), ending(database) as ender:
        act = write_act(database, SLOW, user="boss")
        lost = Started(act=act, permit="p-1", attempt=1, handle=handle)
        fate = await ender.stop(lost, 0.1)
        assert fate.state == "unknown"
        assert connection.execute("select 1").fetchone() == (1,)


async def test_never_sent_is_told_without_asking_anybody(database: Database) -> None:
    act = write_act(database, SLOW, address="127.0.0.1:1")
    async with ending(database) as ender:
        for fate in (
            await ender.look(Started(act=act, permit="p-1", attempt=1)),
            await ender.attach(Started(act=act, permit="p-1", attempt=1), Collected(), {}, 1.0),
            await ender.stop(Started(act=act, permit="p-1", attempt=1), 1.0),
        ):
            assert (fate.state, fate.exit) == ("gone", None)
            assert "never sent" in fate.why
        with pytest.raises(Unreachable):
            await ender.look(Started(act=act, permit="p-1", attempt=1, handle=dict.fromkeys(_FIELDS, "1")))


_FIELDS = ("pid", "backend_start", "application_name", "role")


@pytest.mark.parametrize(
    "handle", [{"pid": "1"}, dict.fromkeys(_FIELDS, "x"), dict.fromkeys(_FIELDS, "1") | {"xid": "1 or true"}]
)
async def test_nonsense_is_unknown_and_nobody_is_asked(database: Database, handle: dict[str, str]) -> None:
    act = write_act(database, SLOW, address="127.0.0.1:1")
    async with ending(database) as ender:
        assert (await ender.stop(Started(act=act, permit="p-1", attempt=1, handle=handle), 0.1)).state == "unknown"


async def test_an_index_that_took_too_long_is_left_invalid_and_its_backend_gone(database: Database) -> None:
    kept = Kept(database)
    index = "create index concurrently slow on orders (state)"
    act = write_act(database, index, call=SqlCall(text="", transaction="none", statement_timeout=0.2))
    database.admin("alter table orders owner to writer")
    with psycopg.connect(database.cluster.dsn(database.name)) as holder:
        holder.execute("update orders set state = 'y' where id = 1")  # the index waits for this transaction
        with pytest.raises(InDoubt, match="a part of it may remain") as caught:
            await write(database, act, kept)
        assert caught.value.overdue
    async with ending(database) as ender:
        fate = await ender.stop(started(database, write_act(database, index), kept.handle), 1.0)
    assert fate.state == "gone"
    assert database.admin("select indisvalid from pg_index where indexrelid = 'slow'::regclass") == [(False,)]


async def test_what_a_role_may_not_ask_is_not_guessed(database: Database) -> None:
    """An administrator took the functions away that tell the system: no word on the transaction, though it is dead."""
    database.admin("revoke execute on function pg_control_system() from public")
    kept = Kept(database)
    await write(database, write_act(database, "update orders set state = 'x'"), kept)
    assert database.admin(STATES) == [("x", 10)]
    assert kept.handle["system"] == ""
    assert kept.handle["timeline"] == "00000001"
    assert kept.handle["xid"]
    async with ending(database) as ender:
        fate = await ender.look(started(database, write_act(database, SLOW), kept.handle))
        assert fate.state == "gone"
        assert "cannot be read" in fate.why
    database.admin("revoke execute on function pg_postmaster_start_time() from public")
    async with ending(database) as ender:
        fate = await ender.look(started(database, write_act(database, SLOW), kept.handle))
        assert fate.state == "unknown"
        assert "not proven to be the server" in fate.why


@asynccontextmanager
async def switching(database: Database, until: Callable[[bytes], bool]) -> AsyncIterator[int]:
    """A pooler that tells the true process id and hands out another backend later: from the message that `until` names."""
    with psycopg.connect(database.cluster.dsn(database.name, "writer", PASSWORD), autocommit=True) as second:
        taken = socket.socket(fileno=os.dup(second.fileno()))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            one = await asyncio.open_connection("127.0.0.1", database.cluster.port)
            two = await asyncio.open_connection(sock=taken)

            async def down(source: asyncio.StreamReader) -> None:
                while data := await source.read(65536):
                    writer.write(data)

            tasks = [asyncio.create_task(down(one[0])), asyncio.create_task(down(two[0]))]
            target = one[1]
            try:
                while data := await reader.read(65536):
                    target = two[1] if until(data) else target
                    target.write(data)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                one[1].transport.abort()
                two[1].transport.abort()

        async with serving(serve) as port:
            yield port


@pytest.mark.parametrize("message", [b"BEGIN;", b"; COMMIT"])
async def test_a_pooler_that_tells_the_true_process_is_found_out_before_commit(
    database: Database, message: bytes
) -> None:
    async with switching(database, lambda data: message in data) as port:
        act = write_act(database, "update orders set state = 'x'", timeout=5.0, address=f"127.0.0.1:{port}")
        with pytest.raises(Unsound, match="behind a pooler"):
            await write(database, act, Kept(database))
    await until(lambda: database.admin(STATES) == [("new", 10)])


async def test_through_a_pooler_nothing_is_believed(database: Database) -> None:
    kept = Kept(database)
    await write(database, write_act(database, "update orders set state = 'x'"), kept)
    async with proxy(database, "relabel", lambda data: False) as way, ending(database) as ender:
        act = write_act(database, SLOW, address=f"127.0.0.1:{way.port}")
        fate = await ender.look(Started(act=act, permit="p-1", attempt=1, handle=kept.handle))
    assert fate == Fate(state="unknown", why=fate.why)
    assert "pooler" in fate.why


async def test_a_server_that_falls_silent_is_unreachable_and_asked_again_later(database: Database) -> None:
    kept = Kept(database)
    await write(database, write_act(database, "update orders set state = 'x'"), kept)
    once = iter([True])

    def asked(data: bytes) -> bool:
        return b"pg_xact_status" in data and next(once, False)

    async with proxy(database, "close", asked) as way, ending(database) as ender:
        act = write_act(database, SLOW, address=f"127.0.0.1:{way.port}")
        lost = Started(act=act, permit="p-1", attempt=1, handle=kept.handle)
        with pytest.raises(Unreachable, match="did not answer"):
            await ender.look(lost)
        way.broken.clear()
        assert (await ender.look(lost)).state == "committed"  # on a new connection


async def test_a_cancelled_write_is_found_rolled_back(database: Database) -> None:
    kept = Kept(database)
    act = write_act(database, SLOW, timeout=600.0)
    task = asyncio.create_task(write(database, act, kept))
    await kept.written.wait()
    asleep = f"select 1 from pg_stat_activity where pid = {kept.handle['pid']} and wait_event = 'PgSleep'"
    await until(lambda: database.admin(asleep))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with ending(database) as ender:
        assert (await ender.stop(started(database, act, kept.handle), PATIENCE)).state == "aborted"


async def test_a_timeout_before_commit_is_no_doubt_and_one_of_a_lone_statement_is_overdue(database: Database) -> None:
    kept = Kept(database)
    with pytest.raises(Failed, match="nothing remains"):
        await write(database, write_act(database, SLOW, timeout=0.05), kept)
    async with proxy(database, "hang", lambda data: b"pg_sleep" in data) as way:
        act = write_act(
            database,
            "do $$begin perform pg_sleep(300); end$$",
            timeout=0.05,
            call=NONE,
            address=f"127.0.0.1:{way.port}",
        )
        with pytest.raises(InDoubt) as caught:
            await write(database, act, kept)
        assert caught.value.overdue
