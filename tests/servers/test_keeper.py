"""The keeper of a grant: every minute it looks at the grounds again, and gives write access back by itself. Nobody waits
here: the clock is handed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from envtui.core.errors import NeedsWrite
from envtui.core.events import ActEnded, GrantEnded, Noted, PermitSpent
from envtui.engine.keeping import RECHECK_SECONDS
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.engine.writing import WriteAccess
from envtui.outside.system_clock import SystemClock
from envtui.rules.outside import NOTHING_LEFT
from tests.servers.world_kit import NAME, Kit, kit, machines, one, until

__all__ = ["kit", "machines", "one"]  # fixtures


class HandClock(SystemClock):
    """Sleeps end by `tick` alone, which moves time by what the sleeper asked for."""

    def __init__(self) -> None:
        self.moved_ms = 0
        self.set_back_ms = 0
        self.asked: list[float] = []
        self._waiting: list[asyncio.Future[None]] = []

    def wall_ms(self) -> int:
        return super().wall_ms() + self.moved_ms - self.set_back_ms

    def boot_ms(self) -> int:
        return super().boot_ms() + self.moved_ms

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._waiting.append(asyncio.get_running_loop().create_future())
        await self._waiting[-1]

    def tick(self) -> None:
        self.moved_ms += round(self.asked[-1] * 1000)
        self._waiting.pop().set_result(None)


@pytest.fixture
def register(kit: Kit, tmp_path: Path) -> Path:
    path = tmp_path / "register.jsonl"
    kit.manifest(f"  incident: {{tracker: file, path: {path}}}\n  signoff: {{min: 0}}\n  grant: {{max: 150s}}\n")
    kit.book(f"  - {{id: a, kind: ssh, mode: write, repeatable: true, argv: [touch, {tmp_path}/sent], timeout: 10s}}\n")
    return path


async def granted(kit: Kit, session: EnvironmentSession, incident: str) -> tuple[RunTask, HandClock]:
    """A run with write access, kept by a clock of ours."""
    clock = HandClock()
    session.ways = msgspec.structs.replace(session.ways, clock=clock)
    session.access = WriteAccess(session.access.terms, session.ways, session.replan)
    task = await session.start(session.plan("book", {}))
    await session.ask_write(task, incident, "the tests need it")
    await session.access.activate(task)
    await until(lambda: len(clock.asked) == 1)
    assert task.run.write_active
    return task, clock


def opened(kit: Kit) -> str:
    done = kit.cli("incident", "open", NAME, "--title", "403 for everyone")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_every_minute_and_at_its_end(kit: Kit, register: Path) -> None:
    incident = opened(kit)
    async with kit.open() as session:
        task, clock = await granted(kit, session, incident)
        for looks in (2, 3):
            clock.tick()
            await until(lambda looks=looks: len(clock.asked) == looks)  # type: ignore[misc]
            assert task.run.write_active
        assert clock.asked[:2] == [RECHECK_SECONDS, RECHECK_SECONDS]
        assert 25 < clock.asked[2] <= 30  # what is left of 150 s
        clock.tick()
        await until(lambda: not task.run.write_active)
        with pytest.raises(NeedsWrite):
            await session.write(task, "a")
    assert [e.reason for e in kit.events(GrantEnded)] == ["EXPIRED"]
    assert not kit.events(PermitSpent)


def close(kit: Kit, register: Path, incident: str, clock: HandClock) -> None:
    assert kit.cli("incident", "close", NAME, incident).returncode == 0


def lose(kit: Kit, register: Path, incident: str, clock: HandClock) -> None:
    register.unlink()


def damage(kit: Kit, register: Path, incident: str, clock: HandClock) -> None:
    register.write_text(register.read_text() + "{not json\n")


def set_back(kit: Kit, register: Path, incident: str, clock: HandClock) -> None:
    clock.set_back_ms = 600_000


@pytest.mark.parametrize(
    ("what", "reason"),
    [(close, "INCIDENT_CLOSED"), (lose, "INCIDENT_CLOSED"), (damage, "INCIDENT_CLOSED"), (set_back, "CLOCK_JUMP")],
)
async def test_when_its_grounds_are_gone_it_ends_within_a_minute_and_without_an_act(
    kit: Kit,
    register: Path,
    tmp_path: Path,
    what: Callable[[Kit, Path, str, HandClock], None],
    reason: str,
) -> None:
    incident = opened(kit)
    async with kit.open() as session:
        task, clock = await granted(kit, session, incident)
        what(kit, register, incident, clock)
        clock.tick()
        await until(lambda: not task.run.write_active)
        with pytest.raises(NeedsWrite):
            await session.write(task, "a")
    (ended,) = kit.events(GrantEnded)
    assert ended.reason == reason
    assert ended.why
    assert not kit.events(PermitSpent)
    assert not (tmp_path / "sent").exists()
    assert kit.sound()


def long_write(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        f"  - id: a\n    kind: ssh\n    mode: write\n    timeout: 60s\n"
        f"    sh: 'echo $$ > {tmp_path}/pid; touch {tmp_path}/sent; until [ -e {tmp_path}/go ]; do sleep 0.05; done'\n"
        f"    undo: {{argv: [rm, {tmp_path}/sent]}}\n"
        f"    probe: {{argv: [test, -e, {tmp_path}/sent], applied: {{exit: 0}}, absent: {{exit: 1}}}}\n"
        f"  - {{id: b, kind: ssh, mode: write, repeatable: true, argv: [touch, {tmp_path}/more], timeout: 10s}}\n"
    )


async def test_a_closed_incident_ends_the_write_that_is_under_way_and_it_may_be_taken_back(
    kit: Kit, register: Path, tmp_path: Path
) -> None:
    long_write(kit, tmp_path)
    incident = opened(kit)
    async with kit.open() as session:
        task, clock = await granted(kit, session, incident)
        writing = asyncio.create_task(session.write(task, "a"))
        await until((tmp_path / "sent").exists)
        close(kit, register, incident, clock)
        clock.tick()
        await asyncio.wait_for(writing, 30)
        await until(lambda: bool(kit.events(Noted)))
        [ended] = [e for e in kit.events(ActEnded) if e.act == "a@web1"]
        assert ended.word == "OK"  # its probe found it: what was done stays done until it is taken back
        assert ended.why.startswith(f"Write access ended: {incident} was closed")
        assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
        with pytest.raises(NeedsWrite, match="incident closed"):
            await session.write(task, "b")
        await task.mending.undo("it did not help")
        assert str(await task.run_on()).startswith("Done(word='UNDONE'")
    assert [e.reason for e in kit.events(GrantEnded)] == ["INCIDENT_CLOSED"]
    assert [e.act.partition("@")[0] for e in kit.events(PermitSpent)] == ["a", "a.undo"]
    assert [e.text for e in kit.events(Noted)] == [NOTHING_LEFT]
    assert not (tmp_path / "sent").exists()
    assert not (tmp_path / "more").exists()
    assert kit.sound()


async def test_a_register_that_cannot_be_read_ends_write_access_and_not_the_write_that_is_under_way(
    kit: Kit, register: Path, tmp_path: Path
) -> None:
    long_write(kit, tmp_path)
    incident = opened(kit)
    async with kit.open() as session:
        task, clock = await granted(kit, session, incident)
        writing = asyncio.create_task(session.write(task, "a"))
        await until((tmp_path / "sent").exists)
        damage(kit, register, incident, clock)
        clock.tick()
        await until(lambda: not task.run.write_active)
        assert not kit.events(ActEnded)
        (tmp_path / "go").touch()
        await writing
        assert [e.word for e in kit.events(ActEnded)] == ["OK"]
        with pytest.raises(NeedsWrite):
            await session.write(task, "b")
    assert [e.reason for e in kit.events(GrantEnded)] == ["INCIDENT_CLOSED"]


async def test_a_write_that_is_under_way_when_its_time_is_over_goes_on(
    kit: Kit, register: Path, tmp_path: Path
) -> None:
    long_write(kit, tmp_path)
    incident = opened(kit)
    async with kit.open() as session:
        task, clock = await granted(kit, session, incident)
        writing = asyncio.create_task(session.write(task, "a"))
        await until((tmp_path / "sent").exists)
        for looks in (2, 3):
            clock.tick()
            await until(lambda looks=looks: len(clock.asked) == looks)  # type: ignore[misc]
        clock.tick()
        await until(lambda: not task.run.write_active)
        assert not kit.events(ActEnded)
        (tmp_path / "go").touch()
        await writing
        assert [e.word for e in kit.events(ActEnded)] == ["OK"]
    assert [e.reason for e in kit.events(GrantEnded)] == ["EXPIRED"]
    assert not kit.events(Noted)
