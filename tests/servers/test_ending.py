"""A write that is ended, or whose connection is lost, while the engine lives: its target is asked, and tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from envtui.core.events import ActEnded, ActIntended, Probed
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.rules.proposals import Done, Doubt, Following, NeedsDecision, Next
from tests.servers.world_kit import Kit, cluster, database, kit, kit_sql, machines, one, until

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


class Way:
    """A way to a server that can be cut, and mended."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[asyncio.StreamWriter] = []
        self.closed = False
        self.silent = False
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closed:
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._open += [writer, back]
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if not self.silent:
                    writer.write(data)
                    await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Every connection ends, and no new one is taken until it is mended."""
        self.closed = True
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    def mend(self) -> None:
        self.closed = False


@asynccontextmanager
async def way(kit: Kit) -> AsyncIterator[Way]:
    """The way to `web1` leads through this."""
    host, _, port = kit.one.address.rpartition(":")
    made = Way(int(port))
    server = await asyncio.start_server(made.serve, host, 0)
    made.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    kit.targets["web"] = f'kind: ssh, hosts: ["web1={made.address}"], read: shell, write: shell-write'
    key = kit.one.known().split(" ", 1)[1]
    kit.put("known_hosts", f"[127.0.0.1]:{made.address.rpartition(':')[2]} {key}")
    kit.manifest()
    try:
        yield made
    finally:
        made.cut()
        server.close()


def book(kit: Kit, folder: Path, sh: str, more: str = "timeout: 60s, ") -> None:
    """A write that says when it has begun, and whose probe is a file."""
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, {more}sh: 'echo $$ > {folder}/pid.new; mv {folder}/pid.new {folder}/pid; {sh}', "
        f"probe: {{argv: [test, -e, {folder}/made], applied: {{exit: 0}}, absent: {{exit: 1}}}}, "
        f"undo: {{argv: [rm, {folder}/made]}}}}\n"
    )


async def begun(kit: Kit, session: EnvironmentSession) -> tuple[RunTask, asyncio.Task[Next]]:
    task = await session.start(session.plan("book", {}))
    await session.ask_write(task, "", "the tests need it")
    writing = asyncio.create_task(session.write(task, "change"))
    pid = kit.folder / "pid"
    await until(lambda: pid.exists() or writing.done())
    assert not writing.done(), writing.result()
    return task, writing


def gone(folder: Path) -> bool:
    stat = Path("/proc", (folder / "pid").read_text().strip(), "stat")
    with suppress(OSError):
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"  # dead; nobody has looked after it yet
    return True


async def test_a_write_ended_now_leaves_no_process(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path, f"sleep 240 & wait; touch {tmp_path}/made")
    async with kit.open() as session:
        task, writing = await begun(kit, session)
        task.cut(writes=True)
        await asyncio.wait_for(writing, 30)
        assert gone(tmp_path)
        done = await task.settle()
        assert isinstance(done, Done)
        assert done.word == "CANCELLED"
    [ended] = [e for e in kit.events(ActEnded) if e.act == "change@web1"]
    assert (ended.word, ended.untouched) == ("CANCELLED", True)
    assert [e.found for e in kit.events(Probed)] == ["absent"]
    assert kit.sound()


async def test_a_write_ended_after_its_effect_is_done(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path, f"touch {tmp_path}/made; sleep 240")
    async with kit.open() as session:
        task, writing = await begun(kit, session)
        await until((tmp_path / "made").exists)
        task.cut(writes=True)
        await asyncio.wait_for(writing, 30)
        done = await task.settle()
        assert isinstance(done, Done)
        assert done.word == "OK"
        assert gone(tmp_path)


async def test_a_write_whose_time_is_over_is_stopped_and_looked_for(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path, f"trap : TERM; sleep 240 & wait; sleep 240; touch {tmp_path}/made", "timeout: 2s, ")
    async with kit.open() as session:
        task, writing = await begun(kit, session)
        done = await asyncio.wait_for(writing, 60)
        assert isinstance(done, Done)
        assert done.word == "TIMED OUT"
        assert gone(tmp_path)
        assert not task.run.in_doubt
    assert not (tmp_path / "made").exists()


async def test_a_silent_write_is_stopped(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path, "echo begun; sleep 240", "timeout: 200s, idle_timeout: 2s, ")
    async with kit.open() as session:
        _, writing = await begun(kit, session)
        done = await asyncio.wait_for(writing, 60)
        assert isinstance(done, Done)
        assert done.word == "TIMED OUT"
        assert gone(tmp_path)


async def test_a_lost_connection_is_made_again_and_the_write_waited_for(kit: Kit, tmp_path: Path) -> None:
    async with way(kit) as line:
        book(
            kit, tmp_path,
            f"echo before; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo after; touch {tmp_path}/made",
        )  # fmt: skip
        async with kit.open() as session:
            task, writing = await begun(kit, session)
            await until(lambda: (found := task.transcript("change@web1")) is not None and found.lines > 0)
            line.cut()
            (tmp_path / "go").touch()
            await until((tmp_path / "made").exists)
            line.mend()
            done = await asyncio.wait_for(writing, 60)
            assert isinstance(done, Done)
            assert done.word == "OK"
            transcript = task.transcript("change@web1")
            assert transcript is not None
            assert [transcript.line(n) for n in range(transcript.lines)] == [b"before", b"after"]
    [ended] = [e for e in kit.events(ActEnded) if e.act == "change@web1"]
    assert (ended.word, ended.exit) == ("OK", 0)
    assert len([e for e in kit.events(ActIntended) if e.act == "change@web1"]) == 1


async def test_a_target_that_does_not_come_back_leaves_a_doubt(kit: Kit, tmp_path: Path) -> None:
    async with way(kit) as line:
        book(kit, tmp_path, f"sleep 1; touch {tmp_path}/made", "timeout: 3s, ")
        async with kit.open() as session:
            task, writing = await begun(kit, session)
            line.cut()
            doubt = await asyncio.wait_for(writing, 120)
            assert isinstance(doubt, Doubt)
            line.mend()
            await until((tmp_path / "made").exists)
            doubt = await task.mending.look()
            assert isinstance(doubt, Doubt)
            assert doubt.found == "applied"
            done = await task.mending.resolve(doubt.act, done=True)
            assert isinstance(done, Done)
            assert done.word == "OK"


async def test_a_detached_write_goes_on_and_is_followed_another_day(kit: Kit, tmp_path: Path) -> None:
    book(
        kit, tmp_path, f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo late; touch {tmp_path}/made",
        "timeout: 120s, detach: true, ",
    )  # fmt: skip
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, "", "the tests need it")
        proposed = await session.write(task, "change")
        assert isinstance(proposed, Following)
        run = task.run.id
    await until((tmp_path / "pid").exists)
    assert not gone(tmp_path)
    (tmp_path / "go").touch()
    async with kit.open() as session:
        task = await session.resume(await session.left(run))
        done = await asyncio.wait_for(task.run_on(), 60)
        assert isinstance(done, Done)
        assert done.word == "OK"
        transcript = task.transcript("change@web1")
        assert transcript is not None
        assert transcript.line(0) == b"late"


async def test_a_detached_write_is_ended_from_another_process(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path, f"sleep 240; touch {tmp_path}/made", "timeout: 300s, detach: true, ")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, "", "the tests need it")
        await session.write(task, "change")
        run = task.run.id
    await until((tmp_path / "pid").exists)
    async with kit.open() as session:
        task = await session.resume(await session.left(run))
        done = await task.mending.look(halt=True)
        assert isinstance(done, Done)
        assert done.word == "CANCELLED"
        assert gone(tmp_path)


async def test_a_failed_write_is_looked_at_before_it_is_done_again(kit: Kit, tmp_path: Path) -> None:
    book(
        kit, tmp_path, f"test -e {tmp_path}/ready && touch {tmp_path}/made", "on_failure: ask, "
    )  # fmt: skip
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, "", "the tests need it")
        asked = await session.write(task, "change")
        assert isinstance(asked, NeedsDecision)
        assert asked.choices == ("look", "skip", "undo", "stop")
        (tmp_path / "ready").touch()
        doubt = await task.decide("change", "look")
        assert isinstance(doubt, Doubt)
        doubt = await task.mending.look()
        assert isinstance(doubt, Doubt)
        assert doubt.found == "absent"
        await task.mending.resolve(doubt.act, done=False)
        done = await session.write(task, "change")
        assert isinstance(done, Done)
        assert done.word == "OK"
    assert [e.attempt for e in kit.events(ActIntended) if e.act == "change@web1"] == [1, 2]


@pytest.mark.parametrize("attempts", [1, 2])
async def test_attempts_are_counted(kit: Kit, tmp_path: Path, attempts: int) -> None:
    book(kit, tmp_path, "exit 3", f"on_failure: ask, attempts: {attempts}, ")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, "", "the tests need it")
        asked = await session.write(task, "change")
        assert isinstance(asked, NeedsDecision)
        assert ("retry" in asked.choices) == (attempts == 2)
        if attempts == 2:
            await task.decide("change", "retry")
            asked = await session.write(task, "change")
            assert isinstance(asked, NeedsDecision)
            assert "retry" not in asked.choices
