"""Reads on a real PostgreSQL: what they return, and that nothing that they try remains."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from envtui.core.act import Ref, SecretRef, SqlCall
from envtui.core.environment import Identity
from envtui.core.errors import (
    AuthenticationFailed,
    Failed,
    ProtectionTooLow,
    Refused,
    TimedOut,
    Unreachable,
    Unsound,
    WrongIdentity,
)
from envtui.core.ports import Reading
from envtui.outside.sql import wire
from envtui.outside.sql.gate import Called
from envtui.outside.sql.session import BOUNDS, SqlReader
from envtui.outside.sql.statements import Statement, called_read, parse
from tests.servers.postgres import (
    IDENTITY,
    PASSWORD,
    Collected,
    Database,
    cluster,
    connector,
    database,
    proxy,
    read_act,
    serving,
)

__all__ = ["cluster", "database"]  # fixtures
pytestmark = pytest.mark.servers


def ungated(text: str, binds: int = 0) -> tuple[Statement, tuple[Called, ...]]:
    """No gate at all: what is behind it has to hold."""
    return parse(text)[0], ()


async def read(
    database: Database,
    text: str,
    *binds: object,
    sink: Collected | None = None,
    checked: Callable[[str, int], tuple[Statement, Sequence[Called]]] = called_read,
    **more: object,
) -> Reading:
    reader = SqlReader(connector(database), checked)
    try:
        return await reader.read(read_act(database, text, *binds, **more), sink or Collected())  # type: ignore[arg-type]
    finally:
        await reader.close()


async def test_rows_come_back_as_text_and_as_a_table(database: Database) -> None:
    sink = Collected()
    reading = await read(database, "select id, state, null as nothing from orders order by id limit 2", sink=sink)
    assert reading.columns == ("id", "state", "nothing")
    assert reading.rows == (("1", "new", None), ("2", "new", None))
    assert (reading.row_count, reading.truncated, reading.affected) == (2, False, None)
    assert sink.text == ("id | state | nothing\n---+-------+--------\n 1 | new   | NULL\n 2 | new   | NULL\n(2 rows)\n")


async def test_what_a_connection_shows(database: Database) -> None:
    identity = Identity(query=IDENTITY.query, equals="staging", system_identifier=database.system_identifier)
    reader = SqlReader(connector(database, identity=identity))
    try:
        shown = await reader.open(read_act(database, "select 1"))
    finally:
        await reader.close()
    assert shown.protection == "session-enforced"
    assert (shown.target, shown.member) == ("db", "db1")
    for part in (f"{database.name} as reader", "primary", "staging", f"system {database.system_identifier}"):
        assert part in shown.shown


async def test_values_are_bound_and_never_text(database: Database) -> None:
    nasty = "'; drop table orders; --"
    reading = await read(database, "select $1::text, $2::int + 1, $1 || 'x'", nasty, "41")
    assert reading.rows == ((nasty, "42", nasty + "x"),)
    reading = await read(database, "select id from orders where id = $1 and state = $2", (("3",), "int8"), "new")
    assert reading.rows == (("3",),)


async def test_a_utility_statement_gets_literals(database: Database) -> None:
    reading = await read(database, "set application_name to $1", "it's \\ me", checked=ungated)
    assert reading.columns == ()
    with pytest.raises(Refused, match="inside quotes"):
        await read(database, "select '$1'", "x")
    with pytest.raises(Refused, match="SET changes the session"):
        await read(database, "set application_name to $1", "it's me")


async def test_a_secret_is_resolved_for_its_place_only(database: Database) -> None:
    place = (SecretRef("token", "file:password"),)
    assert (await read(database, "select $1 = 'pa''ss wörd\\'", (place, "text"))).rows == (("t",),)
    with pytest.raises(Refused):
        await read(database, "select $1", ((SecretRef("token", "file:none"),), "text"))
    with pytest.raises(Refused, match=r"vars\.x"):
        await read(database, "select $1", ((Ref("vars.x"),), "text"))
    with pytest.raises(Refused, match="no type"):
        await read(database, "select $1", (("1",), "nonsense"))
    with pytest.raises(Refused, match="NUL"):
        await read(database, "select $1", (("a\x00b",), "text"))


async def test_odd_values_arrive_whole(database: Database) -> None:
    sink = Collected()
    reading = await read(
        database,
        "select '\\x00ff'::bytea, E'a\\tb\\nc', E'\\x1b[31mred', '[/markup]', '日本', repeat('x', 300), ''",
        sink=sink,
    )
    assert reading.rows == (("\\x00ff", "a\tb\nc", "\x1b[31mred", "[/markup]", "日本", "x" * 300, ""),)
    assert sink.text.count("\n") == 4  # names, rule, one row, count: one row is one line
    assert "x" * 300 in sink.text


async def test_a_database_whose_bytes_are_not_utf8(database: Database) -> None:
    name = f"{database.name}_ascii"
    database.admin(f"create database {name} encoding sql_ascii template template0")
    try:
        raw = Database(database.cluster, name)
        raw.admin("create table envtui_identity as select 'staging'::text as environment")
        raw.admin("grant select on envtui_identity to reader")
        with pytest.raises(Failed, match="not UTF-8"):
            await read(raw, "select convert_from('\\xe9'::bytea, 'sql_ascii')")
        reading = await read(raw, "select convert_to(convert_from('\\xe9'::bytea, 'sql_ascii'), 'sql_ascii')")
        assert reading.rows == (("\\xe9",),)
    finally:
        database.admin(f"drop database {name} with (force)")


WRITES = {
    "two statements": "commit; insert into orders values (99)",
    "read write": "begin read write",
    "the transaction flipped": "set transaction read write",
    "the session flipped": "set session characteristics as transaction read write",
    "an insert": "insert into orders values (99)",
    "an insert in WITH": "with x as (insert into orders values (99) returning 1) select * from x",
    "a table made by EXPLAIN": "explain analyze create table made as select 1",
    "a table made by SELECT": "select 1 into made",
    "a large object": "select lo_from_bytea(0, 'x')",
    "a COMMIT in DO": "do $$begin commit; set transaction read write; insert into orders values (99); end$$",
    "a write in DO": "do $$begin insert into orders values (99); end$$",
    "chained": "rollback and chain",
    "a program": "copy orders to program 'true'",
    "rows from nobody": "copy orders from stdin",
    "a sequence": "create sequence made",
    "a temporary table": "create temp table made (a int)",
    "a setting of the role": "alter role reader set work_mem = '1MB'",
    "a message": "notify made",
}


@pytest.mark.parametrize("text", WRITES.values(), ids=WRITES)
async def test_nothing_that_a_read_tries_remains(database: Database, text: str) -> None:
    look = """select (select count(*) from orders), (select count(*) from pg_largeobject_metadata),
              (select count(*) from pg_class where relname = 'made'),
              (select count(*) from pg_db_role_setting)"""
    before = database.admin(look)
    reader = SqlReader(connector(database))
    try:
        with suppress(Refused, Failed):
            await reader.read(read_act(database, text), Collected())
        after = await reader.read(read_act(database, "show transaction_read_only"), Collected())
        assert after.rows == (("on",),)
        assert database.admin(look) == before
    finally:
        await reader.close()


async def test_nothing_outlives_its_read_in_the_session(database: Database) -> None:
    reader = SqlReader(connector(database), ungated)
    try:
        for text in (
            "select pg_advisory_lock(1)",
            "prepare p as select 1",
            "set search_path to nowhere",
            "set statement_timeout to 0",
        ):
            await reader.read(read_act(database, text), Collected())
        left = await reader.read(
            read_act(
                database,
                "select (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),"
                " (select count(*) from pg_prepared_statements), current_setting('search_path'),"
                " current_setting('statement_timeout'), current_setting('application_name')",
                timeout=7,
            ),
            Collected(),
        )
    finally:
        await reader.close()
    assert left.rows == (("0", "0", '"$user", public', "7s", "envtui:r-1:look"),)


async def test_what_the_server_says_is_translated(database: Database) -> None:
    with pytest.raises(Refused, match="READ ONLY"):
        await read(database, "delete from orders", checked=ungated)
    with pytest.raises(Failed, match=r'"nowhere" does not exist \[42P01\]; at character 15'):
        await read(database, "select * from nowhere")
    with pytest.raises(Failed, match="not allowed"):
        await read(database, "select * from pg_authid")
    with pytest.raises(Failed, match="division by zero"):
        await read(database, "select 1/0")
    sink = Collected()
    await read(database, "do $$begin raise notice 'half way'; end$$", sink=sink, checked=ungated)
    assert sink.errors == b"NOTICE: half way\n"


async def test_rows_before_an_error_are_kept(database: Database) -> None:
    sink = Collected()
    with pytest.raises(Failed, match="division"):
        await read(database, "select 1000 / (2000 - n) from generate_series(1, 3000) n", sink=sink)
    assert sink.text.count("\n") > 256


class Weighed(Collected):
    """Keeps nothing, and sees how much memory this process has while rows arrive: libpq's too."""

    def __init__(self) -> None:
        super().__init__(keep=False)
        self.pages: list[int] = []

    def out(self, data: bytes) -> None:
        super().out(data)
        with open("/proc/self/statm") as statm:
            self.pages.append(int(statm.read().split()[1]))


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="MEMORY IS SEEN ON LINUX ONLY")
async def test_a_million_rows_do_not_sit_in_memory(database: Database) -> None:
    sink = Weighed()
    many = "select n, repeat('x', 20) from generate_series(1, 1000000) n"
    reading = await read(database, many, sink=sink, timeout=120.0)
    assert (reading.row_count, len(reading.rows), reading.truncated) == (1_000_000, 1_000, True)
    assert sink.size > 25_000_000
    assert sink.largest < 64 * 1024
    grown = (max(sink.pages) - sink.pages[100]) * os.sysconf("SC_PAGE_SIZE")
    assert grown < 8_000_000


async def test_the_head_is_bounded_in_bytes_too(database: Database) -> None:
    sink = Collected(keep=False)
    reading = await read(database, "select repeat('x', 100000) from generate_series(1, 50)", sink=sink)
    assert (reading.row_count, reading.truncated) == (50, True)
    assert sum(len(row[0] or "") for row in reading.rows) <= 1024 * 1024
    assert sink.size > 5_000_000


async def test_identity_is_asserted_before_anything_else(database: Database) -> None:
    system = database.system_identifier
    wrong = {
        "another environment": Identity(query=IDENTITY.query, equals="production"),
        "no marker": Identity(query="select environment from envtui_identity where false", equals="staging"),
        "another cluster": Identity(query=IDENTITY.query, equals="staging", system_identifier="1"),
        # A clone has the same system identifier: the marker tells it.
        "a clone": Identity(query=IDENTITY.query, equals="production", system_identifier=system),
    }
    for identity in wrong.values():
        reader = SqlReader(connector(database, identity=identity))
        with pytest.raises(WrongIdentity):
            await reader.read(read_act(database, "select 7"), Collected())
        await reader.close()
    for missing in (None, Identity(), Identity(query="select 1")):
        reader = SqlReader(connector(database, identity=missing))
        with pytest.raises(Unsound):
            await reader.open(read_act(database, "select 1"))
        await reader.close()


async def test_an_identity_query_cannot_write(database: Database) -> None:
    for query in ("insert into orders values (99) returning 'staging'", "select 'staging'; select 1", "commit"):
        reader = SqlReader(connector(database, identity=Identity(query=query, equals="staging")))
        with pytest.raises(Refused):
            await reader.open(read_act(database, "select 1"))
        await reader.close()
    assert database.admin("select count(*) from orders") == [(10,)]


@pytest.mark.parametrize("role", ["boss", "copier", "starter"])
async def test_a_role_that_read_only_does_not_hold_is_refused(database: Database, role: str) -> None:
    reader = SqlReader(connector(database))
    with pytest.raises(ProtectionTooLow, match=role):
        await reader.open(read_act(database, "select 1", user=role))
    await reader.close()


async def test_a_database_that_reads_backslashes_differently_is_overruled(database: Database) -> None:
    database.admin(f"alter database {database.name} set standard_conforming_strings = off")
    assert (await read(database, "select 'a\\'")).rows == (("a\\",),)


async def test_wrong_password_wrong_role_wrong_database(database: Database) -> None:
    reader = SqlReader(connector(database))
    for changes in ({"credential": "mistyped"}, {"user": "nobody-there"}):
        with pytest.raises(AuthenticationFailed) as caught:
            await reader.open(read_act(database, "select 1", **changes))
        assert PASSWORD not in str(caught.value)
    with pytest.raises(Unreachable, match="does not exist"):
        await reader.open(read_act(database, "select 1", dbname="nowhere"))
    with pytest.raises(Unsound, match="no sql credential for read"):
        await reader.open(read_act(database, "select 1", credential="change"))
    await reader.close()


async def test_the_users_own_environment_changes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    for name, value in {
        "PGHOSTADDR": "192.0.2.1",
        "PGOPTIONS": "-c default_transaction_read_only=off -c statement_timeout=1",
        "PGSSLMODE": "verify-full",
        "PGDATABASE": "nowhere",
        "PGUSER": "boss",
        "PGPASSWORD": "x",
        "PGCLIENTENCODING": "LATIN1",
        "PGTARGETSESSIONATTRS": "standby",
        "PGAPPNAME": "x",
        "PGREQUIREAUTH": "none",
    }.items():
        monkeypatch.setenv(name, value)
    assert (await read(database, "select current_user, 'ü'")).rows == (("reader", "ü"),)


async def test_refused_unknown_and_silent_hosts(database: Database) -> None:
    reader = SqlReader(connector(database, seconds=1.0))
    with pytest.raises(Unreachable, match="cannot be reached"):
        await reader.open(read_act(database, "select 1", address="127.0.0.1:1"))
    with pytest.raises(Unreachable):
        await reader.open(read_act(database, "select 1", address="nowhere.invalid:5432"))

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(never) as port:
        with pytest.raises(Unreachable, match="did not answer"):
            await reader.open(read_act(database, "select 1", address=f"127.0.0.1:{port}"))
    # The first that answers and is of the right kind is taken.
    await reader.open(read_act(database, "select 1", address=f"127.0.0.1:1,{database.address}"))
    await reader.close()


async def test_a_primary_is_no_standby(database: Database) -> None:
    reader = SqlReader(connector(database, session="standby"))
    with pytest.raises(WrongIdentity, match="is a primary, not a standby"):
        await reader.open(read_act(database, "select 1"))
    await reader.close()
    reader = SqlReader(connector(database, session="any"))
    await reader.open(read_act(database, "select 1"))
    await reader.close()


class Tunnel:
    def __init__(self, port: int) -> None:
        self._port = port
        self.asked: list[tuple[str, str, int]] = []

    async def forward(self, via: str, host: str, port: int) -> tuple[str, int]:
        self.asked.append((via, host, port))
        return "127.0.0.1", self._port


async def test_through_a_tunnel(database: Database) -> None:
    tunnel = Tunnel(database.cluster.port)
    reader = SqlReader(connector(database, tunnels=tunnel))
    shown = await reader.open(read_act(database, "select 1", via="bastion", address="db1.internal:6000"))
    await reader.close()
    assert tunnel.asked == [("bastion", "db1.internal", 6000)]
    assert "staging" in shown.shown
    reader = SqlReader(connector(database))
    with pytest.raises(Unsound, match="no way there"):
        await reader.open(read_act(database, "select 1", via="bastion"))


async def test_the_servers_timeout(database: Database) -> None:
    reader = SqlReader(connector(database))
    try:
        with pytest.raises(TimedOut, match="statement timeout"):
            await reader.read(read_act(database, "select pg_sleep(60)", timeout=0.05), Collected())
        assert (await reader.read(read_act(database, "select 1"), Collected())).rows == (("1",),)
    finally:
        await reader.close()


async def test_a_statement_that_switches_the_timeout_off_is_ended_by_the_client(database: Database) -> None:
    runaway = "do $$begin perform set_config('statement_timeout', '0', true); loop begin perform pg_sleep(60); exception when query_canceled then end; end loop; end$$"
    with pytest.raises(TimedOut, match="connection was closed"):
        await read(database, runaway, timeout=0.05, checked=ungated)
    await nobody_is_left(database)


async def nobody_is_left(database: Database) -> None:
    there = f"select 1 from pg_stat_activity where datname = '{database.name}' and usename = 'reader'"
    for _ in range(1500):
        if not await asyncio.to_thread(database.admin, there):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("a backend goes on")


DIES = """
import asyncio, os, sys
from types import SimpleNamespace
from tests.servers.postgres import Collected, Database, connector, read_act
from envtui.outside.sql.session import SqlReader
database = Database(SimpleNamespace(port=int(sys.argv[1])), sys.argv[2])
asyncio.run(SqlReader(connector(database)).read(read_act(database, "select pg_sleep(600)", timeout=900.0), Collected()))
"""


async def test_a_client_that_is_killed_leaves_no_backend_behind(database: Database) -> None:
    root = str(Path(__file__).parents[2])
    words = [sys.executable, "-c", DIES, str(database.cluster.port), database.name]
    client = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": root})
    try:
        asleep = f"select 1 from pg_stat_activity where datname = '{database.name}' and wait_event = 'PgSleep'"
        while not await asyncio.to_thread(database.admin, asleep):
            assert client.poll() is None
    finally:
        client.kill()
        client.wait()
    await nobody_is_left(database)


async def test_a_read_has_bounds_and_lifts_none_of_them(database: Database) -> None:
    for name, value in BOUNDS.items():
        other = {"work_mem": "64MB", "hash_mem_multiplier": "4"}.get(name, "2")
        database.admin(f"alter role reader in database {database.name} set {name} = '{other}'")
        assert (await read(database, f"select current_setting('{name}')")).rows == ((value,),)
        assert (await read(database, f"show {name}")).rows == ((other,),)  # the server's own
    with pytest.raises(Refused):
        await read(database, "select set_config('work_mem', '10GB', false)")


async def test_explain_tells_the_plan_that_the_server_would_take(database: Database) -> None:
    database.admin("create table big as select n as a from generate_series(1, 200000) n; grant select on big to reader")
    database.admin("analyze big")
    for name, value in (("parallel_setup_cost", 0), ("parallel_tuple_cost", 0), ("min_parallel_table_scan_size", 0)):
        database.admin(f"alter role reader in database {database.name} set {name} = {value}")
    text = "explain select count(*) from big where a % 7 = 0"
    assert "Gather" in str((await read(database, text)).rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_encoding", "LATIN1"),
        ("standard_conforming_strings", "off"),
        ("bytea_output", "escape"),
        ("datestyle", "German"),
        ("intervalstyle", "sql_standard"),
        ("statement_timeout", "0"),
        ("default_transaction_read_only", "off"),
        ("default_transaction_isolation", "serializable"),
        ("idle_in_transaction_session_timeout", "5000"),
        ("application_name", "somebody"),
        ("row_security", "off"),
    ],
)
async def test_what_an_owner_sets_for_the_role_reads_the_same(database: Database, name: str, value: str) -> None:
    text = r"select 'é\' || chr(39), '\x00ff'::bytea, date '2026-11-23', interval '1 day 2 hours', $1"
    before = (await read(database, text, "it's")).rows
    database.admin(f"alter role reader in database {database.name} set {name} = '{value}'")
    assert (await read(database, text, "it's")).rows == before
    with pytest.raises(Refused):
        await read(database, "insert into orders values (99)")
    with pytest.raises(Refused, match="READ ONLY"):
        await read(database, "insert into orders values (99)", checked=ungated)


async def test_a_transaction_that_does_not_begin_carries_nothing_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "BEGIN", b"BEGIN READ SOMETHING")
    with pytest.raises(Failed, match="syntax"):
        await read(database, "create table made (a int)", checked=ungated)
    monkeypatch.setattr(wire, "BEGIN", b"BEGIN")
    monkeypatch.setattr(wire, "AFTER", (b"COMMIT", b"DISCARD ALL"))
    await read(database, "create table made (a int)", checked=ungated)  # so it would have been
    assert database.admin("select count(*) from made") == [(0,)]


async def test_a_server_that_hangs(database: Database) -> None:
    async with proxy(database, "hang", lambda data: b"orders" in data) as way:
        reader = SqlReader(connector(database))
        with pytest.raises(TimedOut):
            await reader.read(
                read_act(database, "select * from orders", timeout=0.05, address=f"127.0.0.1:{way.port}"), Collected()
            )
        await reader.close()


@pytest.mark.parametrize("how", ["close", "half"])
async def test_a_connection_that_ends_during_the_read(database: Database, how: str) -> None:
    async with proxy(database, how, lambda data: b"orders" in data) as way:
        reader = SqlReader(connector(database))
        with pytest.raises(Unreachable, match="ended during the read"):
            await reader.read(read_act(database, "select * from orders", address=f"127.0.0.1:{way.port}"), Collected())
        await reader.close()


async def test_a_killed_backend_during_and_between_reads(database: Database) -> None:
    reader = SqlReader(connector(database))
    kill = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database.name}' and usename = 'reader'"
    try:
        task = asyncio.create_task(reader.read(read_act(database, "select pg_sleep(60)"), Collected()))
        asleep = f"select 1 from pg_stat_activity where datname = '{database.name}' and wait_event = 'PgSleep'"
        while not await asyncio.to_thread(database.admin, asleep):
            assert not task.done()
        await asyncio.to_thread(database.admin, kill)
        with pytest.raises(Unreachable, match="terminating connection"):
            await task
        assert (await reader.read(read_act(database, "select 1"), Collected())).row_count == 1
        await asyncio.to_thread(database.admin, kill)
        there = f"select 1 from pg_stat_activity where datname = '{database.name}' and usename = 'reader'"
        while await asyncio.to_thread(database.admin, there):
            pass
        assert (await reader.read(read_act(database, "select 1"), Collected())).row_count == 1
    finally:
        await reader.close()


async def test_a_cancelled_read_leaves_no_backend_behind(database: Database) -> None:
    reader = SqlReader(connector(database))
    sleeping = f"select 1 from pg_stat_activity where datname = '{database.name}' and wait_event = 'PgSleep'"
    task = asyncio.create_task(reader.read(read_act(database, "select pg_sleep(60)"), Collected()))
    while not await asyncio.to_thread(database.admin, sleeping):
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while await asyncio.to_thread(database.admin, sleeping):
            pass
    assert (await reader.read(read_act(database, "select 1"), Collected())).row_count == 1
    await reader.close()


async def test_reads_on_one_place_take_turns(database: Database) -> None:
    reader = SqlReader(connector(database))
    try:
        readings = await asyncio.gather(
            *(
                reader.read(read_act(database, "select pg_backend_pid(), $1::int", str(n)), Collected())
                for n in range(5)
            )
        )
    finally:
        await reader.close()
    assert len({reading.rows[0][0] for reading in readings}) == 1
    assert [reading.rows[0][1] for reading in readings] == ["0", "1", "2", "3", "4"]


async def test_a_write_is_no_read(database: Database) -> None:
    reader = SqlReader(connector(database))
    act = read_act(database, "select 1")
    with pytest.raises(Refused, match="no sql read"):
        await reader.read(
            type(act)(step="x", mode="write", place=act.place, call=SqlCall(text="select 1")), Collected()
        )
