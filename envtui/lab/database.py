"""What is in the lab's databases: roles, tables, sample rows, and in production a line of sessions that wait.

A database may be renamed, closed and replaced by a restored one while everything runs: who writes to it connects again,
and a reset puts it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from envtui.lab.gateway import Access
from envtui.lab.world import PEOPLE, World

if TYPE_CHECKING:
    import psycopg

APPLICATION = "gateway_app"
"""The role of the gateways, which may do nothing but add to the access log."""

_MARKER = "create table envtui_identity (environment text primary key)"

_TABLES = """
create table access_log (at timestamptz not null, status int not null, path text not null, client text not null,
                         host text not null);
create index access_log_at on access_log (at);
create table orders (id bigint generated always as identity primary key, customer text not null, state text not null,
                     total_cents int not null, placed_at timestamptz not null);
create index orders_customer on orders (customer);
"""

_ORDERS = """
truncate orders restart identity;
insert into orders (customer, state, total_cents, placed_at)
select 'customer-' || (n % 97), (array['placed', 'paid', 'shipped', 'delivered'])[1 + n % 4], 500 + (n * 37) % 9000,
       now() - n * interval '3 minutes'
from generate_series(1, 2000) as n;
"""

_HISTORY = """
truncate access_log;
insert into access_log (at, status, path, client, host)
select now() - n * interval '1 second' * {gap}, case when n % 97 = 0 then 401 else 200 end,
       (array['/v1/orders', '/v1/cart', '/v1/profile', '/v1/search', '/v1/prices'])[1 + n % 5],
       (array['web', 'android', 'ios', 'partner-api', 'backoffice'])[1 + (n / 5) % 5], {host}
from generate_series(1, {rows}) as n;
"""
HISTORY_SECONDS = 1800

WAITING = ("nightly-billing", "checkout-1", "checkout-2", "checkout-3")
"""Application names of the sessions in production: the first holds a lock, the others wait behind it."""


async def connect(dsn: str, application: str = "envtui-lab") -> psycopg.AsyncConnection[Any]:
    import psycopg

    return await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name=application)


def make_passwords(world: World) -> dict[str, str]:
    """A new password for each role of an environment."""
    roles = [*PEOPLE, APPLICATION, world.sql_write_role, *(("billing", "shop") if world.database_behind else ())]
    return {role: secrets.token_urlsafe(12) for role in roles}


async def seed(dsn_of: Any, world: World, passwords: Mapping[str, str]) -> str:
    """Make database, roles and rows. `dsn_of(dbname)` connects as superuser. Returns the system identifier."""
    writer, owner_role = world.sql_write_role, world.owner or world.sql_write_role
    async with await connect(dsn_of("postgres")) as admin:
        for role, password in passwords.items():
            await _execute(admin, "create role {role} login password {password}", role=role, password=password)
        if world.owner:
            await _execute(admin, "create role {role} nologin", role=world.owner)
            await _execute(admin, "grant {granted} to {role}", role=writer, granted=world.owner)
        await _execute(admin, "create database gateway owner {role}", role=owner_role)
        # Everybody may make temporary tables by default; who only reads need not, and its level then says so.
        await admin.execute("revoke temporary on database gateway, postgres from public")
        # What a restore beside and swap takes: to make a database, and to end the sessions of others. No superuser.
        await _execute(admin, "alter role {role} createdb", role=writer)
        await _execute(admin, "grant pg_signal_backend to {role}", role=writer)
        await _mark(admin, world)
        cursor = await admin.execute("select system_identifier::text from pg_control_system()")
        row = await cursor.fetchone()
        assert row is not None
        identifier: str = row[0]
    async with await connect(dsn_of("gateway")) as owner:
        await owner.execute(_TABLES)
        await _mark(owner, world)
        for table in ("orders", "access_log", "envtui_identity"):
            await _execute(owner, f"alter table {table} owner to {{role}}", role=owner_role)
        for person in PEOPLE:  # a role for each engineer: what they may see is granted, never pg_read_all_data
            await _execute(owner, "grant pg_monitor to {role}", role=person)
            await _execute(owner, "grant select on all tables in schema public to {role}", role=person)
        await _execute(owner, "grant insert on access_log to {role}", role=APPLICATION)
        await _execute(owner, "grant create on schema public to {role}", role=writer)
        for role in passwords.keys() & {"billing", "shop"}:
            await _execute(owner, "grant select, update on orders to {role}", role=role)
        await refill(owner, world)
    return identifier


async def _mark(connection: psycopg.AsyncConnection[Any], world: World) -> None:
    """Say whose this database is. Everybody may read that: it is asked before anything else."""
    await connection.execute(_MARKER)
    await connection.execute("insert into envtui_identity values (%s)", [world.name])
    await connection.execute("grant select on envtui_identity to public")


async def put_back(dsn_of: Any, world: World) -> None:
    """One database `gateway`, open to everybody, with the rows of the start; what a restore left beside it is dropped."""
    async with await connect(dsn_of("postgres")) as admin:
        others = "select datname from pg_database where not datistemplate and datname not in ('postgres', 'gateway')"
        for (name,) in await (await admin.execute(others)).fetchall():
            await _execute(admin, "drop database {database} with (force)", database=name)
        await admin.execute("alter database gateway allow_connections true")
        await admin.execute("comment on database gateway is null")
    async with await connect(dsn_of("gateway")) as owner:
        await refill(owner, world)


async def refill(owner: psycopg.AsyncConnection[Any], world: World) -> None:
    """Put the rows back to what they are when the lab starts: half an hour of good traffic, orders, no new column."""
    await owner.execute("alter table orders drop column if exists promised_at")
    await owner.execute("drop index if exists orders_placed_at")
    await owner.execute(_ORDERS)
    await _execute(
        owner,
        _HISTORY,
        gap=round(1 / world.requests_per_second, 4),
        rows=HISTORY_SECONDS * world.requests_per_second,
        host=world.gateways[0].fqdn,
    )
    await owner.execute("analyze")


async def _execute(connection: psycopg.AsyncConnection[Any], text: str, **parts: Any) -> None:
    """`role`, `granted` and `database` become identifiers, everything else a literal."""
    from psycopg import sql

    names = ("role", "granted", "database")
    filled = {name: sql.Identifier(part) if name in names else sql.Literal(part) for name, part in parts.items()}
    await connection.execute(sql.SQL(text).format(**filled))


class AccessLog:
    """Writes what the gateways decided, in batches. `add` never waits.

    A connection that ended, or a database that takes none for a while, loses no line: they are kept until it does.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._lines: deque[Access] = deque(maxlen=100_000)
        self._writing = asyncio.Lock()

    def add(self, line: Access) -> None:
        self._lines.append(line)

    async def flush(self) -> None:
        """Everything added before this call is in the table afterwards. Raises psycopg.Error when it cannot be."""
        async with self._writing:
            if not self._lines:
                return
            lines, self._lines = self._lines, deque(maxlen=self._lines.maxlen)
            try:
                await self._write(lines)
            except BaseException:
                self._lines.extendleft(reversed(lines))
                await self._drop()
                raise

    async def _write(self, lines: Iterable[Access]) -> None:
        if self._connection is None:
            self._connection = await connect(self._dsn)
        async with (
            self._connection.cursor() as cursor,
            cursor.copy("copy access_log (at, status, path, client, host) from stdin") as copy,
        ):
            for line in lines:
                at = datetime.fromtimestamp(line.at, UTC)
                await copy.write_row((at, line.status, line.path, line.client, line.host))

    async def run(self, seconds: float) -> None:
        """Flush again and again until it is cancelled."""
        import psycopg

        while True:
            await asyncio.sleep(seconds)
            with contextlib.suppress(psycopg.Error):  # the next turn connects again
                await self.flush()

    async def close(self) -> None:
        await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class Line:
    """Sessions in production that really wait for one another, and one query that takes long.

    nightly-billing updated order 1 and sits in its transaction. checkout-1 updated order 2 and waits for order 1;
    checkout-2 wants order 1 too and checkout-3 order 2, so both stand behind checkout-1.
    """

    def __init__(self, dsn_of: Any, passwords: Mapping[str, str]) -> None:
        self._dsn_of = dsn_of
        self._passwords = passwords
        self._connections: list[psycopg.AsyncConnection[Any]] = []
        self._waiting: list[asyncio.Task[None]] = []

    async def form(self) -> None:
        """Return when the sessions stand in line."""
        head = await self._session("billing", WAITING[0])
        await head.execute("begin")
        await head.execute("update orders set state = 'billed' where id = 1")
        first = await self._session("shop", WAITING[1])
        await first.execute("begin")
        await first.execute("update orders set state = 'paid' where id = 2")
        await self._stand(first, 1)
        await self._stand(await self._session("shop", WAITING[2]), 1)
        await self._stand(await self._session("shop", WAITING[3]), 2)
        slow = await self._session("shop", "monthly-report")
        self._wait(slow, "select o.state, sum(o.total_cents), pg_sleep(86400) from orders o group by o.state")

    async def _session(self, role: str, application: str) -> psycopg.AsyncConnection[Any]:
        connection = await connect(self._dsn_of("gateway", role, self._passwords[role]), application)
        self._connections.append(connection)
        return connection

    async def _stand(self, session: psycopg.AsyncConnection[Any], order: int) -> None:
        """Ask for an order that is locked. Returns once the session waits, so that the line is the same each time."""
        self._wait(session, f"update orders set state = 'paid' where id = {order:d}")  # noqa: S608 - 1 or 2
        waits = "select exists (select from pg_stat_activity where pid = %s and wait_event_type = 'Lock')"
        async with await connect(self._dsn_of("gateway")) as watcher:
            while (await (await watcher.execute(waits, [session.info.backend_pid])).fetchone()) != (True,):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)

    def _wait(self, session: psycopg.AsyncConnection[Any], text: str) -> None:
        async def wait() -> None:
            import psycopg

            with contextlib.suppress(psycopg.Error):  # somebody ended it, or the lab goes down
                await session.execute(text.encode())

        self._waiting.append(asyncio.create_task(wait()))

    async def dissolve(self) -> None:
        """End the sessions."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        for connection in self._connections:
            await connection.close()
        self._waiting.clear()
        self._connections.clear()
