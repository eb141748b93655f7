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
        (("", None, None), Reach()),
        (("", "{}", "{}"), Reach()),
        (
            ("", '{"function public.a \\"b\\\\c,d",plain}', "{lower,upper}"),
            Reach(channels=('function public.a "b\\c,d', "plain"), beside=frozenset({"lower", "upper"})),
        ),
    ],
)
def test_what_the_answer_says(row: tuple[str | None, ...], found: Reach) -> None:
    assert reach(row) == found
