"""A process that dies in the middle: what was sent is in doubt, says so everywhere, and is never sent again by itself."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from envtui.core.errors import UsageError
from envtui.core.events import ActEnded, ActIntended, GrantEnded, PermitSpent, RunEnded
from envtui.rules.proposals import Doubt
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one, until

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


def fifo(folder: Path) -> Path:
    """What the write opens once it runs: opening it for reading here waits until then."""
    path = folder / "begun"
    os.mkfifo(path)
    return path


def begun(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the remote command has said that it runs."""
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ready, _, _ = select.select([reading], [], [], 30)
        assert ready, process.poll()
    finally:
        os.close(reading)


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL


def in_doubt_everywhere(kit: Kit, run: str) -> None:
    """In the ledger's fold, on the lobby's card, in `ledger show`; and a session does not touch it."""
    before = len(kit.entries())
    card = kit.world().lobby().card(NAME)
    assert card is not None
    assert [r.id for r in card.in_doubt] == [run]
    shown = kit.cli("ledger", "show", NAME, run)
    assert shown.returncode == 0
    assert "the run ended" not in shown.stdout
    assert f"IN DOUBT  {run}  change@" in shown.stdout.splitlines()[-1]
    assert "it is not sent again" in shown.stdout.splitlines()[-1]
    told = kit.cli("report", NAME, run)
    assert "**IN DOUBT: check before anything.**" in told.stdout
    assert kit.sound()

    async def look() -> None:
        async with kit.open() as session:
            found = (await session.runs())[0]
            assert found.id == run
            assert [act.word for act in found.in_doubt] == [None]
            assert session.task(run) is None

    asyncio.run(look())
    after = kit.entries()[before:]
    assert not [e for e in after if isinstance(e.event, ActIntended | PermitSpent | ActEnded)]


def test_killed_in_the_middle_of_a_write_over_ssh(kit: Kit, tmp_path: Path) -> None:
    gate, traces = fifo(tmp_path), tmp_path / "traces"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, repeatable: true, timeout: 60s, "
        f"sh: 'echo once >> {traces}; echo begun > {gate}; sleep 2'}}\n"
        "  - {id: after, kind: ssh, argv: [echo, after]}\n"
    )
    block = kit.request("book")
    process = kit.popen("run", NAME, "book", "--grant", str(block))
    begun(gate, process)
    kill(process)
    run = kit.run()
    assert run.word is None
    assert [act.id for act in run.in_doubt] == ["change@web1"]
    assert len(kit.events(PermitSpent)) == 1
    in_doubt_everywhere(kit, run.id)
    again = kit.cli("run", NAME, "book", "--grant", str(block))  # the same sign-off, pasted once more
    assert again.returncode == 5, again.stdout + again.stderr
    assert "change@web1 was sent, and nobody knows what became of it" in again.stderr
    assert len(kit.events(PermitSpent)) == 1
    assert [act.id for act in kit.run().in_doubt] == ["change@web1"]  # asking again has not made it forgotten
    fresh = kit.cli("run", NAME, "book")  # nor does a new run of the book go near it
    assert fresh.returncode == 3, fresh.stdout + fresh.stderr
    in_doubt_everywhere(kit, run.id)
    assert traces.read_text() == "once\n"


def test_the_remote_command_lives_on_and_the_ledger_does_not_pretend_to_know(kit: Kit, tmp_path: Path) -> None:
    """envtui is dead, the command is not: it does what it was told, and nothing here says OK or FAILED."""
    gate, traces = fifo(tmp_path), tmp_path / "traces"
    kit.book(
        "  - {id: change, kind: ssh, mode: write, repeatable: true, timeout: 60s, "
        f"sh: 'echo begun > {gate}; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo done >> {traces}'}}\n"
    )
    process = kit.popen("run", NAME, "book", "--grant", str(kit.request("book")))
    begun(gate, process)
    kill(process)
    (tmp_path / "go").touch()  # the command, still there, has waited for this
    asyncio.run(until(traces.exists))
    assert not kit.events(ActEnded)
    in_doubt_everywhere(kit, kit.run().id)


def test_killed_in_the_middle_of_a_sql_write(kit_sql: Kit) -> None:
    kit, database = kit_sql, kit_sql.db
    assert database is not None
    kit.book(
        "  - {id: change, kind: sql, target: db, mode: write, repeatable: true, timeout: 60s, "
        "query: \"update orders set state = 'changed' where id = 1\"}\n"
    )
    block = kit.request("book")
    import psycopg

    with psycopg.connect(database.cluster.dsn(database.name)) as holder:
        holder.execute("select * from orders where id = 1 for update")  # the write waits for this lock
        process = kit.popen("run", NAME, "book", "--grant", str(block))
        while not database.admin(
            "select 1 from pg_stat_activity where usename = 'writer' and wait_event_type = 'Lock'"
        ):
            assert process.poll() is None, process.communicate()
        kill(process)
        holder.rollback()
    run = kit.run()
    assert [act.id for act in run.in_doubt] == ["change@db1"]
    in_doubt_everywhere(kit, run.id)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_read(kit: Kit, tmp_path: Path, number: signal.Signals) -> None:
    gate = fifo(tmp_path)
    kit.book(
        f"  - {{id: look, kind: ssh, timeout: 300s, on_failure: 'goto:after', sh: 'echo begun > {gate}; exec sleep 240'}}\n"
        "  - {id: after, kind: ssh, argv: [echo, after]}\n"
    )
    process = kit.popen("run", NAME, "book")
    begun(gate, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert [e.word for e in kit.events(ActEnded)] == ["CANCELLED"]
    assert [e.word for e in kit.events(RunEnded)] == ["CANCELLED"]
    assert "[after]" not in out
    assert kit.sound()


def test_a_signal_in_the_middle_of_a_write_waits_for_its_outcome(kit: Kit, tmp_path: Path) -> None:
    gate, traces = fifo(tmp_path), tmp_path / "traces"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, repeatable: true, "
        f"sh: 'echo begun > {gate}; sleep 1; echo done >> {traces}'}}\n"
        f"  - {{id: more, kind: ssh, mode: write, repeatable: true, sh: 'echo more >> {traces}'}}\n"
    )
    process = kit.popen("run", NAME, "book", "--grant", str(kit.request("book")))
    begun(gate, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert traces.read_text() == "done\n"
    assert [(e.act, e.word) for e in kit.events(ActEnded)] == [("change@web1", "OK")]
    assert kit.run().word == "CANCELLED"
    assert not kit.run().in_doubt


async def test_a_doubtful_write_is_not_offered_again(kit: Kit, tmp_path: Path) -> None:
    """The connection ends in the middle; the run that goes on stops at the doubt."""
    traces = tmp_path / "traces"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, repeatable: true, timeout: 2s, "
        f"sh: 'echo once >> {traces}; kill -9 $PPID $(ps -o ppid= -p $PPID)'}}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, "", "the tests need it")
        proposed = await session.write(task, "change")
        assert isinstance(proposed, Doubt)
        with pytest.raises(UsageError):
            await session.write(task, "change")
        assert isinstance(await task.run_on(), Doubt)
    assert traces.read_text() == "once\n"
    assert [e.word for e in kit.events(ActEnded)] == ["IN DOUBT"]


async def test_leaving_in_the_middle_of_a_read_ends_it_in_the_ledger(kit: Kit, tmp_path: Path) -> None:
    gate = fifo(tmp_path)
    kit.book(
        f"  - {{id: look, kind: ssh, timeout: 300s, on_failure: 'goto:after', sh: 'echo begun > {gate}; exec sleep 240'}}\n"
        "  - {id: after, kind: ssh, argv: [echo, after]}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        looking = asyncio.create_task(task.run_on())
        await opened(gate)
    await asyncio.wait_for(looking, 30)
    assert [e.word for e in kit.events(ActEnded)] == ["CANCELLED"]
    assert [(e.word, e.why) for e in kit.events(RunEnded)] == [("CANCELLED", "left while it went on")]
    assert len(kit.events(ActIntended)) == 1
    assert kit.sound()


async def test_leaving_waits_for_a_write_and_gives_write_access_back(kit: Kit, tmp_path: Path) -> None:
    gate, traces = fifo(tmp_path), tmp_path / "traces"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, repeatable: true, "
        f"sh: 'echo begun > {gate}; sleep 1; echo done >> {traces}'}}\n"
        f"  - {{id: more, kind: ssh, mode: write, repeatable: true, sh: 'echo more >> {traces}'}}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, "", "the tests need it")
        writing = asyncio.create_task(session.write(task, "change"))
        await opened(gate)
        await session.close(deadline=30)
        await asyncio.wait_for(writing, 30)
    assert traces.read_text() == "done\n"
    assert [(e.act, e.word) for e in kit.events(ActEnded)] == [("change@web1", "OK")]
    assert [e.reason for e in kit.events(GrantEnded)] == ["GIVEN_BACK"]
    assert kit.run().word == "CANCELLED"
    assert kit.sound()


async def test_leaving_cuts_off_a_write_that_does_not_end_and_says_in_doubt(kit: Kit, tmp_path: Path) -> None:
    gate = fifo(tmp_path)
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, repeatable: true, timeout: 300s, "
        f"sh: 'echo begun > {gate}; exec sleep 240'}}\n"
        "  - {id: after, kind: ssh, argv: [echo, after]}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, "", "the tests need it")
        writing = asyncio.create_task(session.write(task, "change"))
        await opened(gate)
        await session.close(deadline=0.2)
    assert isinstance(await asyncio.wait_for(writing, 30), Doubt)
    assert [(e.act, e.word) for e in kit.events(ActEnded)] == [("change@web1", "IN DOUBT")]
    assert [e.reason for e in kit.events(GrantEnded)] != []
    assert not kit.events(RunEnded)
    assert [act.id for act in kit.run().in_doubt] == ["change@web1"]
    assert kit.sound()


async def opened(path: Path) -> None:
    """Wait until the remote command has said that it runs."""
    loop = asyncio.get_running_loop()
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    there = asyncio.Event()
    loop.add_reader(reading, there.set)
    try:
        await asyncio.wait_for(there.wait(), 30)
    finally:
        loop.remove_reader(reading)
        os.close(reading)
