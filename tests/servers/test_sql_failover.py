"""Another server, or the same one after a crash, and what the ids of lost transactions mean there: nothing, mostly."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg import sql

from envtui.core.errors import Failed, WrongIdentity
from envtui.core.ports import Fate, Handle, Started
from envtui.lab.postgres import Cluster, temporary_cluster
from envtui.outside.sql.ending import SqlEnder
from envtui.outside.sql.writer import SqlWriter
from tests.servers.postgres import (
    PASSWORD,
    ROLES,
    SCHEMA,
    Collected,
    Database,
    connector,
    permit_for,
    write_act,
)

pytestmark = pytest.mark.servers
SLOW = "update orders set state = 'x'; select pg_sleep(300)"
STATES = "select distinct state from orders"


def served(settings: dict[str, str]) -> Iterator[Database]:
    try:
        running = temporary_cluster("primary", {"autovacuum": "off", **settings})
        started = running.__enter__()
    except Failed as error:
        pytest.skip(f"NO POSTGRESQL SERVER ON THIS MACHINE: {error}")
    try:
        made = Database(started, "postgres")
        for statement in filter(str.strip, (ROLES + SCHEMA).split(";")):
            made.admin(sql.SQL(statement).format(password=sql.Literal(PASSWORD)).as_string())
        made.admin("checkpoint")
        yield made
    finally:
        running.__exit__(None, None, None)


@pytest.fixture
def primary() -> Iterator[Database]:
    """A server whose place another one can take."""
    yield from served({})


@pytest.fixture
def alone() -> Iterator[Database]:
    """A server that is crashed. Nothing in the background makes transactions' ids durable, as it may at any time."""
    yield from served({"wal_level": "minimal", "max_wal_senders": "0"})


def until(true: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


@asynccontextmanager
async def writing(database: Database, text: str = SLOW) -> AsyncIterator[dict[str, str]]:
    """The handle of a write that sleeps on the server, and that does not end well."""
    handle: dict[str, str] = {}
    begun = asyncio.Event()

    async def sent(there: Handle) -> None:
        handle.update(there)
        begun.set()

    act = write_act(database, text)
    permit = permit_for(act)
    task = asyncio.create_task(SqlWriter(permit, connector(database)).write(permit, act, Collected(), sent))
    await begun.wait()
    asleep = f"select 1 from pg_stat_activity where pid = {handle['pid']} and wait_event = 'PgSleep'"
    await asyncio.to_thread(until, lambda: database.admin(asleep))
    yield handle
    with pytest.raises(Failed, match="nothing remains"):
        await task


async def found(database: Database, handle: Handle, **target: object) -> Fate:
    ender = SqlEnder(connector(database, **target))
    try:
        return await ender.look(Started(act=write_act(database, SLOW), permit="p-1", attempt=1, handle=handle))
    finally:
        await ender.close()


def crash(cluster: Cluster) -> None:
    process = cluster._process
    assert process is not None
    process.send_signal(signal.SIGQUIT)  # an immediate shutdown
    process.wait()
    cluster.start()


def spend(database: Database, until_xid: str) -> None:
    """Others commit, until the ids have come to that one."""
    with psycopg.connect(database.cluster.dsn(database.name), autocommit=True) as connection:
        while True:
            row = connection.execute("select pg_current_xact_id()::text::bigint").fetchone()
            assert row is not None
            if row[0] >= int(until_xid):
                return


def naive(database: Database, xid: str) -> object:
    return database.admin(f"select pg_xact_status('{xid}'::xid8)")[0][0]


@pytest.mark.parametrize("how", ["in order", "crash"])
async def test_a_server_restarted_in_the_middle(alone: Database, how: str) -> None:
    async with writing(alone) as handle:
        if how == "in order":
            alone.cluster.stop()
            alone.cluster.start()
        else:
            crash(alone.cluster)
    fate = await found(alone, handle)
    assert fate.state == "aborted", fate
    assert alone.admin(STATES) == [("new",)]


async def test_a_commit_before_a_clean_restart_is_still_known_and_after_a_crash_it_is_looked_for(
    alone: Database,
) -> None:
    handle: dict[str, str] = {}

    async def sent(there: Handle) -> None:
        handle.update(there)

    act = write_act(alone, "update orders set state = 'x'")
    permit = permit_for(act)
    await SqlWriter(permit, connector(alone)).write(permit, act, Collected(), sent)
    assert (await found(alone, handle)).state == "committed"
    alone.cluster.stop()
    alone.cluster.start()
    assert (await found(alone, handle)).state == "committed"
    crash(alone.cluster)
    fate = await found(alone, handle)
    assert fate.state == "gone"
    assert "recovered from a crash" in fate.why


@pytest.mark.parametrize("whole", [True, False], ids=["the server", "one backend"])
async def test_after_a_crash_the_id_of_a_lost_transaction_is_given_to_others(alone: Database, whole: bool) -> None:
    """Same system, same timeline, and `pg_xact_status` says committed of what was thrown away: it is not believed."""
    postmaster = alone.admin("select pg_postmaster_start_time()")
    async with writing(alone, "select pg_sleep(300)") as handle:
        if whole:
            crash(alone.cluster)
        else:
            with psycopg.connect(alone.cluster.dsn(alone.name), autocommit=True) as other:
                os.kill(other.info.backend_pid, signal.SIGKILL)
            await asyncio.to_thread(until, lambda: _answers(alone))
    assert (alone.admin("select pg_postmaster_start_time()") == postmaster) is not whole
    spend(alone, handle["xid"])
    assert naive(alone, handle["xid"]) == "committed"
    fate = await found(alone, handle)
    assert fate.state == "gone", fate
    assert "given the id of its transaction to another" in fate.why


def _answers(database: Database) -> bool:
    """After the crash of a backend: the server has recovered, which it has not when it has not noticed yet."""
    try:
        said = database.admin("select pg_stat_get_bgwriter_stat_reset_time() > pg_postmaster_start_time()")
    except psycopg.OperationalError:
        return False
    return said == [(True,)]


@pytest.fixture
def standby(primary: Database) -> Iterator[Database]:
    """A real standby that has streamed, and then was cut off: it lags from here on."""
    workspace = primary.cluster.workspace
    copy = Cluster(workspace, "standby", primary.cluster.settings)
    copy.directory.mkdir(mode=0o700)
    workspace.own(copy.directory)
    argv = [str(workspace.bindir / "pg_basebackup"), "-D", str(copy.data), "-d", primary.cluster.dsn()]
    backup = workspace.popen(
        [*argv, "-R", "-X", "stream", "-c", "fast", "--no-sync"], copy.directory, subprocess.DEVNULL
    )
    assert backup.wait() == 0
    copy.password = primary.cluster.password
    copy.start()
    try:
        made = Database(copy, "postgres")
        until(lambda: primary.admin("select 1 from pg_stat_replication where state = 'streaming'"))
        made.admin("alter system set primary_conninfo = ''")
        made.admin("select pg_reload_conf()")
        until(lambda: not primary.admin("select 1 from pg_stat_replication"))
        yield made
    finally:
        copy.stop()


async def test_failover_to_a_lagging_standby_after_which_the_id_was_given_to_others(
    primary: Database, standby: Database
) -> None:
    async with writing(primary) as handle:
        primary.admin(f"select pg_terminate_backend({handle['pid']})")
    until(lambda: not primary.admin(f"select 1 from pg_stat_activity where pid = {handle['pid']}"))
    assert (await found(primary, handle)).state == "aborted"
    with pytest.raises(WrongIdentity, match="is a standby, not a primary"):
        await found(standby, handle)
    fate = await found(standby, handle, session="any")
    assert (fate.state, fate.dead) == ("unknown", False)
    assert "is a standby" in fate.why

    standby.admin("select pg_promote()")
    spend(standby, handle["xid"])
    assert naive(standby, handle["xid"]) == "committed"  # somebody else's
    assert standby.system_identifier == handle["system"]
    for _ in range(2):
        fate = await found(standby, handle)
        assert (fate.state, fate.dead) == ("unknown", False)
        assert "not proven to be the server that it was sent to" in fate.why
        assert "timeline 00000001 then, 00000002 now" in fate.why
        standby.admin("checkpoint")
    # Nor is a write without a transaction of its own proven dead: the old primary lives, and could be at it.
    assert (await found(standby, handle | {"xid": ""})).state == "unknown"
    assert primary.admin(STATES) == [("new",)]
