"""What a connection for reads claims of itself, on a real PostgreSQL: by the role, and by what it could reach."""

from __future__ import annotations

import pytest

from envtui.core.errors import Refused
from envtui.outside.sql.functions import EXTENSIONS, STEADY, VOLATILE
from envtui.outside.sql.probe import Reach, reach
from envtui.outside.sql.session import SqlReader
from tests.servers.postgres import Collected, Database, cluster, connector, database, read_act

__all__ = ["cluster", "database"]  # fixtures
pytestmark = pytest.mark.servers

CLOSED = """
revoke temp on database {name} from public;
revoke create on schema public from reader;
"""


async def level(database: Database) -> str:
    reader = SqlReader(connector(database))
    try:
        return (await reader.open(read_act(database, "select 1"))).protection
    finally:
        await reader.close()


def closed(database: Database) -> None:
    """As its owner leaves it for a role that only reads."""
    for statement in CLOSED.format(name=f'"{database.name}"').split(";"):
        if statement.strip():
            database.admin(statement)


async def test_a_role_that_can_change_nothing_is_what_enforces(database: Database) -> None:
    closed(database)
    assert await level(database) == "role-enforced"


@pytest.mark.parametrize(
    "power",
    [
        "grant insert on orders to reader",
        "grant update (state) on orders to public",
        "grant truncate on audit to reader",
        "create view v as select * from orders; grant delete on v to reader",
        "grant create on schema public to reader",
        "create sequence s; grant usage on sequence s to reader",
        "create table mine (a int); alter table mine owner to reader",
        "create schema other; grant create on schema other to public",
        "create table parts (a int) partition by list (a); grant insert on parts to reader",
        "create role power_{name} createrole; grant pg_maintain to reader",
    ],
)
async def test_a_role_that_could_write_is_held_by_the_session_alone(database: Database, power: str) -> None:
    closed(database)
    try:
        for statement in power.format(name=database.name).split(";"):
            database.admin(statement)
        assert await level(database) == "session-enforced"
    finally:
        database.admin("revoke pg_maintain from reader")


async def test_side_channels_are_counted_and_named(database: Database) -> None:
    closed(database)
    for statement in (
        "create function tick() returns int language sql volatile as 'select 1'",
        "create function asks() returns int language sql stable security definer as 'select 1'",
        "create function harmless() returns int language sql stable as 'select 1'",
        "create function hidden() returns int language sql volatile as 'select 1'",
        "revoke execute on function hidden() from public",
    ):
        database.admin(statement)
    assert await level(database) == "role-enforced, 2 side channels: function public.asks, function public.tick"
    database.admin(f'grant temp on database "{database.name}" to public')
    assert (await level(database)).startswith("role-enforced, 3 side channels: ")


async def test_a_function_beside_one_of_postgresqls_own_is_not_called_by_its_bare_name(database: Database) -> None:
    database.admin("create table audit2 (said text)")
    database.admin(
        "create function public.lower(varchar) returns text language plpgsql security definer as"
        " $$begin insert into audit2 values ('shadow'); return 'x'; end$$"
    )
    database.admin("create function public.similarity(text, text) returns real language sql as 'select 0.5::real'")
    reader = SqlReader(connector(database))
    try:
        for text in ("select lower('A'::varchar)", "select similarity('a', 'b')", "select public.similarity('a', 'b')"):
            with pytest.raises(Refused, match=r"somebody's own"):
                await reader.read(read_act(database, text), Collected())
        answer = await reader.read(read_act(database, "select pg_catalog.lower('A'), upper('a')"), Collected())
    finally:
        await reader.close()
    assert answer.rows == (("a", "A"),)
    assert database.admin("select count(*) from audit2") == [(0,)]


async def test_a_cast_to_a_type_that_may_run_a_function_is_refused(database: Database) -> None:
    for statement in (
        "create function checks(text) returns bool language sql as 'select true'",
        "create domain mine as text check (checks(value))",
        "create domain inner_mine as mine",
        "create domain short as varchar(3)",
        "create type mood as enum ('ok')",
        "create type pair as (a mine, b int)",
        "create extension citext",
        "create type made as enum ('x')",
        "create function make(text) returns made language sql as $$select 'x'::made$$",
        "create cast (text as made) with function make(text) as implicit",
        "create domain pg_lsn as text check (checks(value))",
    ):
        database.admin(statement)
    reader = SqlReader(connector(database))
    try:
        for text in (
            *("select 'a'::public.mine", "select cast('a' as mine)", "select mine 'a'", "select '{a}'::mine[]"),
            *(
                "select 'a'::inner_mine",
                "select null::pair",
                "select null::orders",
                "select 'x'::text::made",
                "select 'a'::_mine",
            ),
            *("select * from json_table('[1]', '$[*]' columns (a mine path '$')) j", "select 'a'::nowhere.mine"),
            *("select * from json_to_record('{}') as x(a mine)", "select json_value('1', '$' returning mine)"),
            *("select xmlserialize(content '<a/>' as mine)", "select '0/0'::pg_lsn", "select '0/0'::public.pg_lsn"),
        ):
            with pytest.raises(Refused, match="may run somebody's function"):
                await reader.read(read_act(database, text), Collected())
        kinds = "select 'a'::text, 1::int4, 'ok'::mood, 'ok'::public.mood, 'abcd'::short, 'A'::citext, '{a}'::text[]"
        more = ", '{1}'::_int4, 'orders'::regclass, now()::date, 1::bigint, '0/0'::pg_catalog.pg_lsn, '1 day'::interval hour"
        assert (await reader.read(read_act(database, kinds + more), Collected())).row_count == 1
        database.admin("create domain later as text check (checks(value))")
        with pytest.raises(Refused, match="later is no type"):
            await reader.read(read_act(database, "select 'a'::later"), Collected())
    finally:
        await reader.close()


async def test_a_foreign_table_behind_views_is_a_side_channel(database: Database) -> None:
    closed(database)
    for statement in (
        "create extension file_fdw",
        "create server files foreign data wrapper file_fdw",
        "create foreign table far (x text) server files options (program 'echo 1')",
        "create view near as select * from far",
        "create view nearer as select * from near",
        "revoke execute on all functions in schema public from public",
    ):
        database.admin(statement)
    assert await level(database) == "role-enforced"
    database.admin("grant select on nearer to reader")
    assert await level(database) == "role-enforced, 1 side channel: foreign table public.far"


def test_the_list_of_functions_is_what_the_server_says_of_them(database: Database) -> None:
    """Every overload of the steady ones is immutable or stable; the others are there, and volatile."""
    known = dict(
        database.admin(
            "select proname::text, bool_and(provolatile in ('i', 's')) from pg_proc"
            " where pronamespace = 'pg_catalog'::regnamespace group by 1"
        )
    )
    assert {name for name in STEADY if known.get(name) is not True} == set()
    assert {name for name in VOLATILE if known.get(name) is not False} == set()
    assert {name for name in EXTENSIONS if name in known} == set()


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ((), Reach(powers="unknown to the server")),
        (("", None, None, None), Reach()),
        (("", "{}", "{}", "{}"), Reach()),
        (
            ("", '{"function public.a \\"b\\\\c,d",plain}', "{lower,upper}", "{int4,public.mood}"),
            Reach(
                channels=('function public.a "b\\c,d', "plain"),
                beside=frozenset({"lower", "upper"}),
                types=frozenset({"int4", "public.mood"}),
            ),
        ),
    ],
)
def test_what_the_answer_says(row: tuple[str | None, ...], found: Reach) -> None:
    assert reach(row) == found
