"""kill -9 at every durable point of a run that reads, writes over SSH and SQL, and takes it all back.

Enumerated, not sampled: the process dies before each append to the ledger (what it did since the last one is not written
down) and after each (what follows was not begun). Another process takes the run up and brings it to its end. Nothing is
lost, nothing is done twice, and what the ledger said in between was true.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from envtui.core.events import Entry, Event
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.outside.ledger import SqliteJournal
from envtui.rules.proposals import Done, Doubt, ReadyWrite
from envtui.rules.run import fold_all
from tests.servers.world_kit import Kit, cluster, database, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures

BOOK = """\
  - {{id: look, kind: ssh, argv: ['true']}}
  - id: file
    kind: ssh
    mode: write
    sh: 'echo done >> {folder}/did; touch {folder}/made'
    probe: {{argv: [test, -e, {folder}/made], applied: {{exit: 0}}, absent: {{exit: 1}}}}
    undo: {{sh: 'echo undone >> {folder}/did; rm {folder}/made'}}
  - id: row
    kind: sql
    target: db
    mode: write
    query: "insert into audit values (1)"
    probe: {{query: "select 1 from audit", applied: {{rows_min: 1}}, absent: {{rows: 0}}}}
    undo: {{query: "delete from audit"}}
  - {{id: count, kind: sql, target: db, query: "select count(*) from audit"}}
  - {{id: healthy, kind: ssh, argv: ['false'], on_failure: undo}}
"""


async def to_its_end(session: EnvironmentSession, task: RunTask) -> None:
    """What a person does who says the truth: looks, accepts what was found, has the rest signed."""
    proposed = await task.run_on()
    for _ in range(300):
        match proposed:
            case Done():
                return
            case Doubt(found="applied" | "absent"):
                await task.mending.resolve(proposed.act, done=proposed.found == "applied")
            case Doubt():  # unknown while it is still at it
                await task.mending.look()
            case ReadyWrite():
                if not task.run.write_active:
                    await session.ask_write(task, "", "the tests need it")
                await session.write(task, proposed.step)
            case _:
                raise AssertionError(proposed)
        proposed = await task.run_on()
    raise AssertionError(f"it does not come to an end: {proposed}")


def dies(kit: Kit, at: int, before: bool) -> None:
    """In a process of its own: the run, killed at the given append. 0: never."""
    count = 0
    append = SqliteJournal.append_all

    async def counted(self: SqliteJournal, events: Sequence[Event]) -> Sequence[Entry]:
        nonlocal count
        count += 1
        if before and count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        entries = await append(self, events)
        if not before and count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return entries

    async def go() -> None:
        async with kit.open() as session:
            task = await session.start(session.plan("book", {}))
            await to_its_end(session, task)

    SqliteJournal.append_all = counted  # type: ignore[method-assign]  # in this child alone
    os.environ.update(kit.variables)
    asyncio.run(go())
    Path(kit.folder, "appends").write_text(str(count))
    os._exit(0)


def child(kit: Kit, at: int, before: bool) -> int:
    process = multiprocessing.get_context("fork").Process(target=dies, args=(kit, at, before))
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def told_right(kit: Kit) -> None:
    """In doubt is exactly what has an intent and no outcome."""
    for run in fold_all(kit.entries()):
        for act in run.in_doubt:
            assert act.intended
            assert act.word is None
        assert run.word is None or not run.in_doubt


@pytest.fixture
def whole(kit_sql: Kit) -> Kit:
    kit_sql.book(BOOK.format(folder=kit_sql.folder))
    return kit_sql


def test_killed_at_every_durable_point(whole: Kit) -> None:
    kit = whole
    assert kit.db is not None
    assert child(kit, 0, before=True) == 0
    points = int((kit.folder / "appends").read_text())
    assert points > 20
    assert fold_all(kit.entries())[0].word == "UNDONE"
    for before in (True, False):
        for at in range(1, points + 1):
            there = {run.id for run in fold_all(kit.entries())}
            (kit.folder / "did").write_text("")
            assert child(kit, at, before) == -signal.SIGKILL, (at, before)
            assert kit.sound()
            told_right(kit)
            new = [run for run in fold_all(kit.entries()) if run.id not in there]
            if new:
                word = asyncio.run(taken_up(kit, new[0].id))
                assert word == "UNDONE", (at, before)
                assert (kit.folder / "did").read_text() == "done\nundone\n", (at, before)
            else:
                assert (kit.folder / "did").read_text() == ""
            assert not (kit.folder / "made").exists()
            assert kit.db.admin("select * from audit") == []
    assert kit.sound()


async def taken_up(kit: Kit, run: str) -> str | None:
    async with kit.open() as session:
        found = await session.left(run)
        if found.run.word == "UNDONE":  # it was over, and only its grant or its session was not
            return found.run.word
        task = await session.resume(found)
        await to_its_end(session, task)
        return task.run.word if task.run.word == "UNDONE" else f"{task.run.word}: {task.run.why}"
