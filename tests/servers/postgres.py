"""A throw-away PostgreSQL for tests, with the roles, the marker and the broken ways to it that they need.

Import the fixtures by name: `from tests.servers.postgres import cluster, database`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg import sql

from envtui.core.access import Permit
from envtui.core.act import Act, Place, SqlCall, Text, literal
from envtui.core.environment import Command, Credential, Environment, Identity, SqlTarget
from envtui.core.errors import Failed, Refused
from envtui.core.secret import Secret
from envtui.lab.postgres import Cluster, temporary_cluster
from envtui.outside.sql.connect import Connector

PASSWORD = "pa'ss wörd\\"  # everything that a connection string must quote
_numbers = itertools.count(1)

ROLES = """
create role reader login password {password};
create role writer login password {password};
create role boss login superuser password {password};
create role copier login replication password {password};
create role starter login password {password};
grant pg_execute_server_program to starter;
"""
SCHEMA = """
create table envtui_identity (environment text not null);
insert into envtui_identity values ('staging');
create table orders (id int primary key, state text not null default 'new');
insert into orders select n, 'new' from generate_series(1, 10) n;
create table audit (id int references orders deferrable initially deferred);
grant select on all tables in schema public to reader, boss, copier, starter;
grant all on all tables in schema public to writer;
grant create on schema public to writer, reader;
"""


@contextmanager
def running() -> Iterator[Cluster]:
    """A server with the roles of the tests; skips, loudly, where there are no programs for it."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(temporary_cluster("tests"))
        except Failed as error:
            pytest.skip(f"NO POSTGRESQL SERVER ON THIS MACHINE: {error}")
        with psycopg.connect(started.dsn(), autocommit=True) as admin:
            for statement in filter(str.strip, ROLES.split(";")):
                admin.execute(sql.SQL(statement).format(password=sql.Literal(PASSWORD)))
        yield started


@pytest.fixture(scope="session")
def cluster(shared_cluster: Cluster) -> Cluster:
    """The one server of this process: a fixture that is imported is made once in each module, that of conftest.py once."""
    return shared_cluster


@dataclass
class Database:
    """A database of its own on the cluster; `admin` is a superuser's look at what really is there."""

    cluster: Cluster
    name: str

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.cluster.port}"

    def admin(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.cluster.dsn(self.name), autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def system_identifier(self) -> str:
        return str(self.admin("select system_identifier from pg_control_system()")[0][0])


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    made = Database(cluster, f"test{next(_numbers)}")
    with psycopg.connect(cluster.dsn(), autocommit=True) as admin:
        admin.execute(f'create database "{made.name}"')
    for statement in filter(str.strip, SCHEMA.split(";")):
        made.admin(statement)
    yield made
    with psycopg.connect(cluster.dsn(), autocommit=True) as admin:
        admin.execute(f'drop database "{made.name}" with (force)')


class FakeSecrets:
    """References `file:password` and `file:other`; anything else does not exist."""

    async def resolve(self, reference: str | Command, name: str) -> Secret:
        values = {"file:password": PASSWORD, "file:other": "wrong"}
        if not isinstance(reference, str) or reference not in values:
            raise Refused(f"{reference} is not allowed.")
        return Secret(name, values[reference])

    def key_file(self, reference: str) -> Path:
        raise Refused(f"{reference} is not allowed.")


IDENTITY = Identity(query="select environment from envtui_identity", equals="staging")


def environment(database: Database, **changes: object) -> Environment:
    """One target `db` with read and write credentials; `changes` go to the target."""
    target = SqlTarget(
        read="look",
        write="change",
        hosts=(f"db1={database.address}",),
        dbname=database.name,
        tls="disable",
        identity=IDENTITY,
    )
    return Environment(
        schema="envtui/environment@1",
        name="staging",
        purpose="tests",
        data="synthetic",
        credentials={
            "look": Credential(kind="sql", access="read", user="reader", secret="file:password"),
            "change": Credential(kind="sql", access="write", user="writer", secret="file:password"),
            "mistyped": Credential(kind="sql", access="read", user="reader", secret="file:other"),
        },
        targets={"db": msgspec.structs.replace(target, **changes)},
    )


def connector(database: Database, seconds: float = 10.0, tunnels: object = None, **changes: object) -> Connector:
    return Connector(
        environment(database, **changes),
        Path("/nowhere").joinpath,
        FakeSecrets(),
        tunnels=tunnels,  # type: ignore[arg-type]  # tests hand in objects with `forward` alone
        label="r-1",
        seconds=seconds,
    )


def place(database: Database, mode: str = "read", **changes: object) -> Place:
    standard = Place(
        target="db",
        kind="sql",
        member="db1",
        address=database.address,
        user="reader" if mode == "read" else "writer",
        dbname=database.name,
        credential="look" if mode == "read" else "change",
    )
    return msgspec.structs.replace(standard, **changes)


def read_act(database: Database, text: str, *binds: str | tuple[Text, str], timeout: float = 20.0, **at: object) -> Act:
    return _act("read", place(database, **at), text, binds, timeout, SqlCall(text=text))


def write_act(
    database: Database,
    text: str,
    *binds: str | tuple[Text, str],
    timeout: float = 20.0,
    call: SqlCall | None = None,
    **at: object,
) -> Act:
    return _act("write", place(database, "write", **at), text, binds, timeout, call or SqlCall(text=text))


def _act(mode: str, where: Place, text: str, binds: tuple[object, ...], timeout: float, call: SqlCall) -> Act:
    given = tuple((literal(bind), "") if isinstance(bind, str) else bind for bind in binds)
    full = msgspec.structs.replace(call, text=text, binds=given)
    return Act(step="look", mode=mode, place=where, call=full, timeout=timeout)  # type: ignore[arg-type]


def permit_for(act: Act) -> Permit:
    """A permit as `rules.grants` issues one; tests of the writer have no grant."""
    made = Permit._issue(id="p-1", grant="g-1", run="r-1", act_digest=act.digest(), attempt=1, until_ms=1 << 60)
    assert isinstance(made, Permit)
    return made


@dataclass
class Collected:
    """A Sink that keeps what it is given; `largest` is the longest piece."""

    data: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    keep: bool = True
    size: int = 0
    largest: int = 0

    def out(self, data: bytes) -> None:
        self.size += len(data)
        self.largest = max(self.largest, len(data))
        if self.keep:
            self.data += data

    def err(self, data: bytes) -> None:
        self.errors += data

    @property
    def text(self) -> str:
        return self.data.decode()


class Proxy:
    """A way to the server that can be broken in the middle.

    `until` sees each message of the client's; when it says so, the proxy does `then`: 'hang' (forward nothing any more),
    'close' (end both sides), 'half' (tell the client that the server has ended, and go on reading), 'swallow' (let the
    message through, and end the client's side when the server answers), or 'strand' (end the client's side, and keep the
    server's open until the end of the test, as a network does that fell apart). 'relabel' changes the process id that the server
    tells, as a pooler does.
    """

    def __init__(self, port: int, then: str, until: Callable[[bytes], bool]) -> None:
        self._port = port
        self._then = then
        self._until = until
        self.port = 0
        self.broken = asyncio.Event()
        self.answered = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            if self.broken.is_set() and self._then == "hang":
                await reader.read()  # also the request to cancel gets no answer
            async with asyncio.TaskGroup() as both:
                both.create_task(self._up(reader, writer, upstream))
                both.create_task(self._down(upstream_reader, writer))
        except* (ConnectionError, OSError):
            pass
        finally:
            upstream.transport.abort()

    async def _up(
        self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, upstream: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            if not self.broken.is_set() and self._until(data):
                self.broken.set()
                if self._then == "swallow":
                    upstream.write(data)
                    continue
                if self._then == "half":
                    back.write_eof()
                if self._then == "close":
                    back.transport.abort()
                    upstream.close()
                    return
                if self._then == "strand":
                    back.transport.abort()
                    await asyncio.Event().wait()
                while await reader.read(65536):
                    pass
                upstream.transport.abort()
                return
            upstream.write(data)
            await upstream.drain()
        upstream.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.broken.is_set():
                self.answered.set()
                if self._then == "swallow":
                    writer.transport.abort()
                    return
                continue
            writer.write(_relabelled(data) if self._then == "relabel" else data)
            await writer.drain()


def _relabelled(data: bytes) -> bytes:
    """The process id in a BackendKeyData message (K, length 12 in protocol 3.0) changed."""
    at = data.find(b"K\x00\x00\x00\x0c")
    return data if at < 0 else data[: at + 5] + b"\x00\x00\x00\x01" + data[at + 9 :]


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    """A loopback port on which `serve` answers; whatever is open at the end is ended."""
    tasks: list[asyncio.Task[None]] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(lambda r, w: tasks.append(asyncio.ensure_future(one(r, w))), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close in the next turn of the loop


@asynccontextmanager
async def proxy(database: Database, then: str, until: Callable[[bytes], bool]) -> AsyncIterator[Proxy]:
    made = Proxy(database.cluster.port, then, until)
    async with serving(made.serve) as port:
        made.port = port
        yield made
