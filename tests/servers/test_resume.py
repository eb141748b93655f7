"""A run taken up again from what the ledger knows: where it stood, with what changed, and nothing done twice."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from pathlib import Path

import pytest

from envtui.core.errors import Refused, UsageError
from envtui.core.events import ActIntended, Captured, GrantEnded, Probed, Resolved, Resumed
from envtui.rules.proposals import Done, Doubt, NeedsAnswer, NeedsDecision, ReadyWrite
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one, until

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


def probe(file: Path) -> str:
    return (
        f"probe: {{argv: [test, -e, {file}], applied: {{exit: 0}}, absent: {{exit: 1}}}}, undo: {{argv: [rm, {file}]}}"
    )


def killed(kit: Kit, gate: Path, *words: str, waits: bool = True) -> str:
    """`envtui run …`, killed when the remote command has opened the gate. Returns the run's id.

    `waits`: it then opens the gate to read, and goes on when whoever started it is dead.
    """
    os.mkfifo(gate)
    process = kit.popen("run", NAME, *words)
    reading = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ready, _, _ = select.select([reading], [], [], 30)
        assert ready, process.communicate()
    finally:
        os.close(reading)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    if waits:
        os.close(os.open(gate, os.O_WRONLY))
    return kit.run().id


async def test_a_failed_read_is_done_again_where_it_failed(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        f"  - {{id: first, kind: ssh, sh: 'echo once >> {tmp_path}/first'}}\n"
        f"  - {{id: second, kind: ssh, argv: [test, -e, {tmp_path}/there]}}\n"
        "  - {id: third, kind: ssh, argv: ['true']}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "FAILED"
        run = task.run.id
    (tmp_path / "there").touch()
    async with kit.open() as session:
        found = await session.left(run)
        assert not found.differences
        task = await session.resume(found)
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "OK"
        with pytest.raises(Refused, match="is over"):
            await session.resume(await session.left(run))
    assert (tmp_path / "first").read_text() == "once\n"
    assert len(kit.events(Resumed)) == 1
    assert kit.sound()


async def test_before_is_read_again_and_what_changed_is_asked(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "version").write_text("7")
    kit.book(
        "  - {id: go, kind: choose, options: {yes: look}}\n  - {id: look, kind: ssh, argv: ['true']}\n",
        more=(
            "before:\n"
            f"  - {{id: version, kind: ssh, target: web, argv: [cat, {tmp_path}/version], capture: {{version: {{from: stdout}}}}}}\n"
        ),
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        assert isinstance(await task.run_on(), NeedsAnswer)
        run = task.run.id
    async with kit.open() as session:  # nothing changed: it goes on
        task = await session.resume(await session.left(run))
        assert isinstance(await task.run_on(), NeedsAnswer)
    (tmp_path / "version").write_text("8")
    async with kit.open() as session:
        found = await session.left(run)
        assert found.again == ("version",)
        task = await session.resume(found)
        asked = await task.run_on()
        assert isinstance(asked, NeedsDecision)
        assert "version was '7' and is '8'" in asked.why
        await task.decide("resume", "go on")
        assert isinstance(await task.run_on(), NeedsAnswer)
        await task.answer("go", "yes")
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "OK"
    assert [e.value.text for e in kit.events(Captured) if e.value is not None] == ["7", "7", "8"]


async def test_a_changed_book_is_shown_as_a_difference_and_asked_for(kit: Kit, tmp_path: Path) -> None:
    steps = "  - {{id: go, kind: choose, options: {{yes: look}}}}\n  - {{id: look, kind: ssh, argv: [echo, {word}]}}\n"
    kit.book(steps.format(word="old"))
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await task.run_on()
        run = task.run.id
    kit.book(steps.format(word="new"))
    async with kit.open() as session:
        found = await session.left(run)
        assert found.differences == ("- look on web1: echo old", "+ look on web1: echo new")
        with pytest.raises(Refused, match="another one than when it was left"):
            await session.resume(found)
        task = await session.resume(found, accepted=True)
        await task.answer("go", "yes")
        done = await task.run_on()
        assert isinstance(done, Done)
    async with kit.open() as session:
        assert not (await session.left(run)).differences  # what was accepted is what it is
    assert [e.shows for e in kit.events(ActIntended)] == ["echo new"]


@pytest.mark.parametrize("effect", [True, False])
async def test_killed_in_a_write_then_found_by_its_probe(kit: Kit, tmp_path: Path, effect: bool) -> None:
    file, gate, traces = tmp_path / "made", tmp_path / "gate", tmp_path / "traces"
    does = f"touch {file}; " if effect else ""
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, sh: 'echo once >> {traces}; {does}echo > {gate}; : < {gate}', {probe(file)}}}\n"
        "  - {id: after, kind: ssh, argv: ['true']}\n"
    )
    block = kit.request("book")
    run = await asyncio.to_thread(killed, kit, gate, "book", "--grant", str(block))
    async with kit.open() as session:
        task = await session.resume(await session.left(run))
        doubt = await task.run_on()
        assert isinstance(doubt, Doubt)
        assert doubt.choices == ("look",)
        doubt = await task.mending.look()
        assert isinstance(doubt, Doubt)
        assert doubt.found == ("applied" if effect else "absent")
        if effect:
            await task.mending.resolve(doubt.act, done=True)
            done = await task.run_on()
            assert isinstance(done, Done)
            assert done.word == "OK"
        else:
            with pytest.raises(UsageError, match="is not possible here"):
                await task.mending.resolve(doubt.act, done=True)
            proposed = await task.mending.resolve(doubt.act, done=False)
            assert isinstance(proposed, ReadyWrite)
            assert (proposed.attempt, proposed.granted) == (2, False)  # it is signed afresh, then it may be done
            await session.ask_write(task, "", "it was not there when we looked")
            file.touch()  # what the second attempt would do; its gate has no reader any more
    assert traces.read_text() == "once\n"
    assert [e.reason for e in kit.events(GrantEnded)][:1] == ["GIVEN_BACK"]
    assert kit.sound()


async def test_killed_in_a_write_that_still_runs(kit: Kit, tmp_path: Path) -> None:
    file, gate, pid = tmp_path / "made", tmp_path / "gate", tmp_path / "pid"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, timeout: 300s, "
        f"sh: 'echo $$ > {pid}; echo > {gate}; sleep 240; touch {file}', {probe(file)}}}\n"
    )
    run = await asyncio.to_thread(killed, kit, gate, "book", "--grant", str(kit.request("book")), waits=False)
    process = Path("/proc") / pid.read_text().strip()
    assert process.exists()
    async with kit.open() as session:
        task = await session.resume(await session.left(run))
        doubt = await task.mending.look()
        assert isinstance(doubt, Doubt)
        assert doubt.found == "unknown"
        assert "halt" in doubt.choices
        doubt = await task.mending.look(halt=True)
        await until(lambda: not process.exists())
        assert isinstance(doubt, Doubt)
        assert doubt.found == "absent"
    assert not file.exists()


async def test_nobody_can_tell_so_a_person_says_it_with_a_reason(kit: Kit, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, sh: 'echo > {gate}; : < {gate}', probe: {{argv: ['true'], "
        "applied: {stdout_matches: done}, absent: {stdout_matches: nothing}}, undo: {argv: ['true']}}\n"
    )
    run = await asyncio.to_thread(killed, kit, gate, "book", "--grant", str(kit.request("book")))
    async with kit.open() as session:
        task = await session.resume(await session.left(run))
        doubt = await task.mending.look()
        assert isinstance(doubt, Doubt)
        assert doubt.found == "unknown"
        with pytest.raises(UsageError, match="needs a reason"):
            await task.mending.resolve(doubt.act, done=True)
        done = await task.mending.resolve(doubt.act, done=True, why="I looked at the host")
        assert isinstance(done, Done)
    assert [(e.done, e.by, e.why) for e in kit.events(Resolved)] == [(True, "asha", "I looked at the host")]
    assert [e.found for e in kit.events(Probed)] == ["unknown"]


async def test_two_terminals_do_not_drive_one_run(kit: Kit) -> None:
    kit.book("  - {id: go, kind: choose, options: {yes: end}}\n")
    async with kit.open() as mine:
        task = await mine.start(mine.plan("book", {}))
        await task.run_on()
        async with kit.open() as other:
            with pytest.raises(Refused, match="another terminal"):
                await other.resume(await other.left(task.run.id))
    async with kit.open() as other:
        assert isinstance((await other.resume(await other.left(task.run.id))).next, NeedsAnswer)


async def test_what_cannot_be_resumed_says_why(kit: Kit) -> None:
    kit.book("  - {id: look, kind: ssh, argv: ['true']}\n")
    async with kit.open() as session:
        with pytest.raises(UsageError, match="has no run"):
            await session.left("0000000000000000")
        task = await session.ask("web", ["true"])
        await task.run_on()
        with pytest.raises(UsageError, match="unscripted"):
            await session.left(task.run.id)


async def test_a_wait_keeps_its_deadline(kit: Kit) -> None:
    kit.book("  - {id: pause, kind: wait, for: 1h}\n")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        run, until_ms = task.run.id, task.run.steps[0].wait_until_ms
        assert until_ms
    async with kit.open() as session:
        task = await session.resume(await session.left(run))
        assert task.run.steps[0].wait_until_ms == until_ms
