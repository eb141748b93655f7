"""Taking back what a run did: in reverse, only what is there, and looked at afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from envtui.core.errors import NeedsWrite, Refused, UsageError
from envtui.core.events import ActEnded, ActIntended, PermitSpent, Probed, UndoStarted
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.rules.proposals import Done, Doubt, NeedsDecision, ReadyWrite, UndoByHand
from tests.servers.world_kit import Kit, cluster, database, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


def change(step: str, folder: Path, more: str = "", write: str = "touch {file}", undo: str = "rm {file}") -> str:
    """A step that makes a file, with its probe and its undo."""
    file = folder / step
    return (
        f"  - {{id: {step}, kind: ssh, mode: write, sh: '{write.format(file=file)}', {more}"
        f"probe: {{argv: [test, -e, {file}], applied: {{exit: 0}}, absent: {{exit: 1}}}}, "
        f"undo: {{sh: 'echo undo {step} >> {folder}/order; {undo.format(file=file)}'}}}}\n"
    )


async def through(session: EnvironmentSession, task: RunTask) -> object:
    """Until a person is needed for something else than a write."""
    proposed = await task.run_on()
    if isinstance(proposed, ReadyWrite) and not task.run.write_active:
        await session.ask_write(task, "", "the tests need it")
    while isinstance(proposed, ReadyWrite):
        proposed = await session.write(task, proposed.step)
        if not isinstance(proposed, ReadyWrite):
            proposed = await task.run_on()
    return proposed


async def test_a_failed_look_takes_back_what_was_done_in_reverse(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        change("first", tmp_path)
        + change("second", tmp_path)
        + "  - {id: healthy, kind: ssh, argv: ['false'], on_failure: undo}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        done = await through(session, task)
        assert isinstance(done, Done)
        assert done.word == "UNDONE"
        assert "taken back: second, first" in done.why
    assert (tmp_path / "order").read_text() == "undo second\nundo first\n"
    assert not (tmp_path / "first").exists()
    assert not (tmp_path / "second").exists()
    assert [e.acts for e in kit.events(UndoStarted)] == [("second.undo@web1", "first.undo@web1")]
    found = [(e.act, e.found) for e in kit.events(Probed)]
    assert found == [
        ("second@web1", "applied"), ("second.undo@web1", "applied"),
        ("first@web1", "applied"), ("first.undo@web1", "applied"),
    ]  # fmt: skip
    spent = [e.act for e in kit.events(PermitSpent)]
    assert spent == ["first@web1", "second@web1", "second.undo@web1", "first.undo@web1"]
    assert kit.sound()


async def test_what_is_not_there_any_more_is_not_taken_back(kit: Kit, tmp_path: Path) -> None:
    kit.book(change("first", tmp_path) + change("second", tmp_path))
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        done = await through(session, task)
        assert isinstance(done, Done)
        assert done.word == "OK"
        (tmp_path / "second").unlink()  # somebody else was quicker
        await task.mending.undo("it was wrong")
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "UNDONE"
    assert (tmp_path / "order").read_text() == "undo first\n"
    assert not [e for e in kit.events(ActIntended) if e.act == "second.undo@web1"]


async def test_a_step_that_failed_half_way_is_taken_back_where_its_probe_finds_it(kit: Kit, tmp_path: Path) -> None:
    kit.book(change("half", tmp_path, "on_failure: undo, ", "touch {file}; exit 3"))
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        done = await through(session, task)
        assert isinstance(done, Done)
        assert done.word == "UNDONE"
    assert not (tmp_path / "half").exists()
    words = [(e.act, e.word) for e in kit.events(ActEnded) if ".probe" not in e.act]
    assert words == [("half@web1", "FAILED"), ("half.undo@web1", "OK")]


async def test_an_undo_that_says_ok_and_did_nothing_has_failed(kit: Kit, tmp_path: Path) -> None:
    kit.book(change("stays", tmp_path, undo="true"))
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await through(session, task)
        await task.mending.undo()
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "FAILED"
        assert "it is still there" in done.why
        # It may be tried again, as a second attempt of the same undo.
        await task.mending.undo("once more")
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "FAILED"
    attempts = [e.attempt for e in kit.events(ActIntended) if e.act == "stays.undo@web1"]
    assert attempts == [1, 2]


@pytest.mark.parametrize("last", ["'true'", "'false'"])
async def test_finally_is_undone_whatever_happened(kit: Kit, tmp_path: Path, last: str) -> None:
    kit.book(
        change("quiet", tmp_path, "finally: undo, ")
        + change("kept", tmp_path)
        + f"  - {{id: last, kind: ssh, argv: [{last}]}}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        done = await through(session, task)
        assert isinstance(done, Done)
        assert done.word == ("OK" if last == "'true'" else "FAILED")
    assert not (tmp_path / "quiet").exists()
    assert (tmp_path / "kept").exists()
    assert [e.cause for e in kit.events(UndoStarted)] == ["finally"]


async def test_finally_is_undone_when_a_person_stops_the_run(kit: Kit, tmp_path: Path) -> None:
    kit.book(change("quiet", tmp_path, "finally: undo, ") + "  - {id: go, kind: choose, options: {yes: end}}\n")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await through(session, task)
        await task.abandon("enough")
        assert (tmp_path / "quiet").exists()
        done = await task.run_on()
        assert isinstance(done, Done)
        assert (done.word, done.why) == ("CANCELLED", "enough")
    assert not (tmp_path / "quiet").exists()


async def test_a_person_decides_for_undo_when_a_step_failed(kit: Kit, tmp_path: Path) -> None:
    kit.book(change("first", tmp_path) + "  - {id: look, kind: ssh, argv: ['false'], on_failure: ask}\n")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        asked = await through(session, task)
        assert isinstance(asked, NeedsDecision)
        assert asked.choices == ("retry", "skip", "undo", "stop")
        await task.decide("look", "undo")
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "UNDONE"
    assert not (tmp_path / "first").exists()


async def test_what_a_person_did_is_taken_back_by_a_person(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        change("first", tmp_path)
        + "  - {id: call, kind: manual, mode: write, instructions: 'Call them.', probe: {kind: ssh, argv: ['true'], applied: {exit: 0}, absent: {exit: 1}}, undo: {instructions: 'Call again.'}}\n"
        + "  - {id: look, kind: ssh, argv: ['false'], on_failure: undo}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await through(session, task)
        await task.answer("call", "done")
        proposed = await task.run_on()
        assert isinstance(proposed, UndoByHand)
        assert proposed.instructions == "Call again."
        assert (tmp_path / "first").exists()
        await task.mending.by_hand("call", "called them")
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "UNDONE"
    assert not (tmp_path / "first").exists()


async def test_nothing_to_take_back(kit: Kit) -> None:
    kit.book("  - {id: look, kind: ssh, argv: ['true']}\n")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await task.run_on()
        with pytest.raises(UsageError, match="nothing to take back"):
            await task.mending.undo()


async def test_another_process_takes_it_back_for_as_long_as_was_signed(kit: Kit, tmp_path: Path) -> None:
    kit.book(change("first", tmp_path))
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await through(session, task)
        run = task.run.id
    async with kit.open() as session:
        task = await session.adopt(await session.left(run))
        await task.mending.undo("the day after")
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "UNDONE"
        with pytest.raises(UsageError, match="nothing to take back"):
            await task.mending.undo()
    assert not (tmp_path / "first").exists()
    assert kit.sound()


async def test_a_database_takes_its_change_back(kit_sql: Kit) -> None:
    kit = kit_sql
    assert kit.db is not None
    kit.book(
        "  - id: close\n    kind: sql\n    target: db\n    mode: write\n"
        "    query: \"update orders set state = 'closed' where id = 1\"\n"
        '    probe: {query: "select state from orders where id = 1", applied: {value: closed}, absent: {value: open}}\n'
        "    undo: {query: \"update orders set state = 'open' where id = 1\"}\n"
        "  - {id: look, kind: ssh, argv: ['false'], on_failure: undo}\n"
    )
    before = kit.db.admin("select state from orders where id = 1")
    kit.db.admin("update orders set state = 'open' where id = 1 returning 1")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        done = await through(session, task)
        assert isinstance(done, Done)
        assert done.word == "UNDONE"
    assert before
    assert kit.db.admin("select state from orders where id = 1") == [("open",)]


async def test_after_the_time_that_was_signed_an_undo_is_asked_for(kit: Kit, tmp_path: Path) -> None:
    kit.manifest(
        "  incident: {tracker: none, required: false}\n  signoff: {min: 0}\n  grant: {max: 1s, undo_for: 1s}\n"
    )
    kit.book(change("first", tmp_path, "timeout: 1s, "))
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        assert isinstance(await task.run_on(), ReadyWrite)
        await session.ask_write(task, "", "the tests need it")
        try:
            await session.write(task, "first")
        except (NeedsWrite, Refused):  # a second is short: it may be over before the write begins
            return
        run = task.run
        while session.ways.clock.wall_ms() < (run.grant.until_ms if run.grant else 0) + 1100:
            await session.ways.clock.sleep(0.05)
        await task.mending.undo()
        with pytest.raises((NeedsWrite, Refused)):
            await task.run_on()
    assert (tmp_path / "first").exists()
    assert not isinstance(task.next, Doubt)
