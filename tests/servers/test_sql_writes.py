"""Writes on a real PostgreSQL: what happened, what surely did not, and what nobody can know."""

from __future__ import annotations

import asyncio

import pytest

from envtui.core.act import Act, SqlCall
from envtui.core.environment import Identity
from envtui.core.errors import EnvtuiError, Failed, InDoubt, Refused, TimedOut, Unreachable, Unsound, WrongIdentity
from envtui.core.ports import Reading
from envtui.outside.sql.writer import SqlWriter
from tests.servers.postgres import (
    IDENTITY,
    Collected,
    Database,
    cluster,
    connector,
    database,
    permit_for,
    proxy,
    write_act,
)

__all__ = ["cluster", "database"]  # fixtures
pytestmark = pytest.mark.servers
STATES = "select state, count(*) from orders group by 1 order by 1"


async def write(database: Database, act: Act, sink: Collected | None = None, **target: object) -> Reading:
    permit = permit_for(act)
    writer = SqlWriter(permit, connector(database, **target))
    try:
        return await writer.write(permit, act, sink or Collected())
    finally:
        await writer.close()


async def test_a_transaction_of_several_statements(database: Database) -> None:
    sink = Collected()
    text = "update orders set state = $1 where id <= $2;\n-- and more\ninsert into orders select n, $1 from generate_series(11, 12) n returning id"
    reading = await write(database, write_act(database, text, "held", "3"), sink)
    assert (reading.affected, reading.columns, reading.rows) == (5, ("id",), (("11",), ("12",)))
    assert database.admin(STATES) == [("held", 5), ("new", 7)]
    assert sink.text == "UPDATE 3\nid\n--\n11\n12\n(2 rows)\nINSERT 0 2\n"


async def test_reads_do_not_count_as_affected(database: Database) -> None:
    reading = await write(database, write_act(database, "select * from orders; delete from orders where id = 1"))
    assert reading.affected == 1


async def test_an_error_leaves_nothing(database: Database) -> None:
    act = write_act(database, "update orders set state = 'x'; insert into orders values (1)")
    with pytest.raises(Failed, match=r"duplicate key.*nothing remains"):
        await write(database, act)
    assert database.admin(STATES) == [("new", 10)]


async def test_an_error_at_commit_leaves_nothing(database: Database) -> None:
    with pytest.raises(Failed, match=r"foreign key.*nothing remains"):
        await write(database, write_act(database, "insert into audit values (99)"))
    assert database.admin("select count(*) from audit") == [(0,)]


async def test_more_rows_than_allowed_are_rolled_back(database: Database) -> None:
    call = SqlCall(text="", affected_max=9)
    with pytest.raises(Failed, match="would have changed 10 rows"):
        await write(database, write_act(database, "update orders set state = 'x'", call=call))
    assert database.admin(STATES) == [("new", 10)]
    reading = await write(database, write_act(database, "update orders set state = 'x' where id < 10", call=call))
    assert reading.affected == 9


@pytest.mark.parametrize("verb", ["begin", "commit", "rollback", "end", "savepoint a", "prepare transaction 'a'"])
async def test_a_transaction_inside_is_refused_before_anything_is_sent(database: Database, verb: str) -> None:
    with pytest.raises(Refused, match="own transaction"):
        await write(database, write_act(database, f"update orders set state = 'x'; {verb}; select 1"))
    assert database.admin(STATES) == [("new", 10)]


async def test_utility_statements_and_what_cannot_be_in_a_transaction(database: Database) -> None:
    act = write_act(database, "create table made (a int default $1); insert into made values (default), ($1)", "7")
    assert (await write(database, act)).affected == 2
    assert database.admin("select a from made") == [(7,), (7,)]
    index = "create index concurrently made_a on made (a)"
    with pytest.raises(Failed, match="transaction: none"):
        await write(database, write_act(database, index))
    await write(database, write_act(database, index, call=SqlCall(text="", transaction="none")))
    assert database.admin("select count(*) from pg_indexes where indexname = 'made_a'") == [(1,)]


async def test_errors_outside_a_transaction(database: Database) -> None:
    none = SqlCall(text="", transaction="none")
    with pytest.raises(Failed, match="Nothing remains"):
        await write(database, write_act(database, "insert into orders values (1)", call=none))
    # Half of it stays: nobody but a person can say what that means.
    halves = "do $$begin update orders set state = 'x'; commit; perform 1/0; end$$"
    with pytest.raises(InDoubt, match="a part of it may remain"):
        await write(database, write_act(database, halves, call=none))
    assert database.admin(STATES) == [("x", 10)]


async def test_a_permit_is_for_one_act_and_one_time(database: Database) -> None:
    act = write_act(database, "update orders set state = $1 where id = 1", "a")
    other = write_act(database, "update orders set state = $1 where id = 1", "b")
    permit = permit_for(act)
    writer = SqlWriter(permit, connector(database))
    with pytest.raises(Refused, match="another act"):
        await writer.write(permit, other, Collected())
    with pytest.raises(Refused, match="another act"):
        await writer.write(permit_for(other), other, Collected())
    await writer.write(permit, act, Collected())
    with pytest.raises(Refused, match="was used"):
        await writer.write(permit, act, Collected())
    assert database.admin(STATES) == [("a", 1), ("new", 9)]
    with pytest.raises(TypeError):
        SqlWriter(None, connector(database))  # type: ignore[arg-type]


async def test_identity_is_asserted_for_writes_too(database: Database) -> None:
    with pytest.raises(WrongIdentity):
        await write(
            database,
            write_act(database, "delete from orders"),
            identity=Identity(query=IDENTITY.query, equals="production"),
        )
    with pytest.raises(Unsound, match="no sql credential for write"):
        await write(database, write_act(database, "delete from orders", credential="look"))
    assert database.admin(STATES) == [("new", 10)]


async def test_its_name_is_in_the_servers_list(database: Database) -> None:
    act = write_act(
        database, "create table seen as select application_name from pg_stat_activity where pid = pg_backend_pid()"
    )
    await write(database, act)
    assert database.admin("select * from seen") == [("envtui:r-1:look",)]


async def test_timeouts_before_commit_leave_nothing(database: Database) -> None:
    slow = "update orders set state = 'x'; select pg_sleep(60)"
    with pytest.raises(TimedOut, match="nothing remains"):
        await write(database, write_act(database, slow, timeout=0.05))
    with pytest.raises(TimedOut, match="nothing remains"):
        await write(database, write_act(database, slow, call=SqlCall(text="", statement_timeout=0.05)))
    assert database.admin(STATES) == [("new", 10)]


async def test_a_lock_that_is_not_free(database: Database) -> None:
    import psycopg

    with psycopg.connect(database.cluster.dsn(database.name)) as holder:
        holder.execute("lock table orders")
        call = SqlCall(text="", lock_timeout=0.05)
        with pytest.raises(Failed, match="A lock was not free"):
            await write(database, write_act(database, "lock table orders in access exclusive mode", call=call))


async def test_a_backend_killed_in_the_middle_leaves_nothing(database: Database) -> None:
    act = write_act(database, "update orders set state = 'x'; select pg_sleep(60)")
    task = asyncio.create_task(write(database, act))
    mine = f"from pg_stat_activity where datname = '{database.name}' and usename = 'writer' and wait_event = 'PgSleep'"
    while not await asyncio.to_thread(database.admin, f"select 1 {mine}"):
        assert not task.done()
    await asyncio.to_thread(database.admin, f"select pg_terminate_backend(pid) {mine}")
    with pytest.raises(Unreachable, match="nothing remains"):
        await task
    assert database.admin(STATES) == [("new", 10)]


@pytest.mark.parametrize(
    ("how", "error", "left"),
    [
        ("swallow", InDoubt, [("x", 10)]),  # the server committed and its answer was lost
        ("close", InDoubt, [("new", 10)]),  # the server never saw the COMMIT
        ("half", InDoubt, [("new", 10)]),
        ("hang", InDoubt, [("new", 10)]),
    ],
)
async def test_a_connection_lost_at_commit_is_in_doubt(
    database: Database, how: str, error: type[EnvtuiError], left: list[tuple[object, ...]]
) -> None:
    async with proxy(database, how, lambda data: b"COMMIT" in data) as way:
        act = write_act(database, "update orders set state = 'x'", timeout=0.5, address=f"127.0.0.1:{way.port}")
        with pytest.raises(error, match="COMMIT was sent"):
            await write(database, act)
        if how == "swallow":
            await way.answered.wait()
    assert database.admin(STATES) == left


@pytest.mark.parametrize("how", ["close", "half", "hang"])
async def test_a_connection_lost_before_commit_leaves_nothing(database: Database, how: str) -> None:
    async with proxy(database, how, lambda data: b"update orders" in data) as way:
        act = write_act(database, "update orders set state = 'x'", timeout=0.5, address=f"127.0.0.1:{way.port}")
        with pytest.raises(Failed, match="COMMIT was never sent"):
            await write(database, act)
    assert database.admin(STATES) == [("new", 10)]


async def test_a_connection_lost_outside_a_transaction_is_in_doubt(database: Database) -> None:
    async with proxy(database, "swallow", lambda data: b"update orders" in data) as way:
        act = write_act(
            database,
            "update orders set state = 'x'",
            call=SqlCall(text="", transaction="none"),
            address=f"127.0.0.1:{way.port}",
        )
        with pytest.raises(InDoubt, match="there was no answer"):
            await write(database, act)
        await way.answered.wait()
    assert database.admin(STATES) == [("x", 10)]


async def test_behind_a_pooler_a_write_is_refused(database: Database) -> None:
    """A pooler hands out a process id of its own making: so does this way to the server."""

    async with proxy(database, "relabel", lambda data: False) as way:
        act = write_act(database, "update orders set state = 'x'", address=f"127.0.0.1:{way.port}")
        with pytest.raises(Unsound, match="behind a pooler"):
            await write(database, act)
    assert database.admin(STATES) == [("new", 10)]


async def test_a_cancelled_write_leaves_nothing(database: Database) -> None:
    act = write_act(database, "update orders set state = 'x'; select pg_sleep(60)")
    task = asyncio.create_task(write(database, act))
    asleep = f"select 1 from pg_stat_activity where datname = '{database.name}' and wait_event = 'PgSleep'"
    while not await asyncio.to_thread(database.admin, asleep):
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert database.admin(STATES) == [("new", 10)]
    while await asyncio.to_thread(database.admin, asleep):
        pass
