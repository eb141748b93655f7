"""Revoked means ended: from another terminal, by signature, by closing the incident, by a clock that was set back; while a
write is under way on a real sshd and a real PostgreSQL, which are inspected afterwards from outside."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from envtui.core.errors import NeedsWrite
from envtui.core.events import ActEnded, ActIntended, GrantEnded, Noted, PermitSpent, Probed, SignedOff
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.rules.outside import NOTHING_LEFT
from envtui.rules.proposals import Done, Next
from tests.servers.test_keeper import HandClock, close, granted, opened
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one, until

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures
pytestmark = pytest.mark.servers

UNTOUCHED: list[tuple[object, ...]] = [("new", 10)]
STATES = "select state, count(*) from orders group by 1 order by 1"
BACKENDS = (
    "select count(*) from pg_stat_activity where application_name like 'envtui:%' and usename = 'writer'"
    " and datname = current_database()"
)


def over_ssh(kit: Kit, folder: Path, more: str = "timeout: 60s, ") -> None:
    """A write that starts children, says that it has begun, and whose effect would come at its end."""
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, {more}"
        f"sh: 'sleep 240 & echo $$ $! > {folder}/new; mv {folder}/new {folder}/pids; wait; touch {folder}/made', "
        f"probe: {{argv: [test, -e, {folder}/made], applied: {{exit: 0}}, absent: {{exit: 1}}}}, "
        f"undo: {{argv: [rm, {folder}/made]}}}}\n"
    )


def over_sql(kit: Kit, query: str) -> None:
    kit.book(
        "  - id: change\n    kind: sql\n    target: db\n    mode: write\n    timeout: 60s\n"
        f'    query: "{query}"\n    undo: {{query: "update orders set state = \'new\'"}}\n'
        '    probe: {query: "select state from orders where id = 1", applied: {value: x}, absent: {value: new}}\n'
    )


def processes(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "pids").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def state_of(permit: PermitSpent) -> Path:
    return Path.home() / ".envtui" / "web1" / permit.permit


async def writing(
    kit: Kit, session: EnvironmentSession, begun: Callable[[], bool]
) -> tuple[RunTask, asyncio.Task[Next]]:
    task = await session.start(session.plan("book", {}))
    await session.ask_write(task, "", "the tests need it")
    doing = asyncio.create_task(session.write(task, "change"))
    await until(lambda: begun() or doing.done())
    assert not doing.done(), doing.result()
    return task, doing


async def revoked(kit: Kit, run: str, *more: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(kit.cli, "revoke", NAME, run, *more)


def outcome(kit: Kit) -> ActEnded:
    [ended] = [event for event in kit.events(ActEnded) if event.act.startswith("change@")]
    return ended


async def test_a_revoke_from_another_terminal_ends_the_write_over_ssh(kit: Kit, tmp_path: Path) -> None:
    over_ssh(kit, tmp_path)
    async with kit.open() as session:
        task, doing = await writing(kit, session, (tmp_path / "pids").exists)
        said = await revoked(kit, task.run.id, "--reason", "wrong gateway")
        assert said.returncode == 0, said.stderr
        assert "goes on in another terminal" in said.stderr
        assert NOTHING_LEFT in said.stderr
        await asyncio.wait_for(doing, 30)
        assert not any(map(alive, processes(tmp_path)))
        await until(lambda: isinstance(task.next, Done))
        assert not task.run.write_active
        with pytest.raises(NeedsWrite):
            await session.access.spend(task, task.plan.writes[0], 2)
    [ended] = kit.events(GrantEnded)
    assert (ended.reason, ended.why.partition(": ")[2]) == ("REVOKED", "wrong gateway")
    assert ended.why.startswith("revoked by asha on ")
    assert (outcome(kit).word, outcome(kit).untouched) == ("CANCELLED", True)
    assert outcome(kit).why.startswith("Write access ended: revoked by asha")
    assert [event.found for event in kit.events(Probed)] == ["absent"]
    assert [event.text for event in kit.events(Noted)] == [NOTHING_LEFT]
    [spent] = kit.events(PermitSpent)
    assert not state_of(spent).exists()
    assert not (tmp_path / "made").exists()
    assert kit.sound()


@pytest.mark.parametrize(
    "query",
    [
        "update orders set state = 'x'; select pg_sleep(240)",
        "update orders set state = 'x' where pg_sleep(20) is not null",
    ],
    ids=["a transaction that waits", "a long update"],
)
async def test_a_revoke_from_another_terminal_ends_the_write_over_sql(kit_sql: Kit, query: str) -> None:
    kit = kit_sql
    assert kit.db is not None
    over_sql(kit, query)
    admin = kit.db.admin
    busy = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    async with kit.open() as session:
        task, doing = await writing(kit, session, lambda: admin(busy) == [(1,)])
        said = await revoked(kit, task.run.id)
        assert said.returncode == 0, said.stderr
        await asyncio.wait_for(doing, 30)
        await until(lambda: admin(BACKENDS) == [(0,)])
    assert admin(STATES) == UNTOUCHED
    assert [event.reason for event in kit.events(GrantEnded)] == ["REVOKED"]
    assert (outcome(kit).word, outcome(kit).untouched) == ("CANCELLED", True)
    assert [event.text for event in kit.events(Noted)] == [NOTHING_LEFT]
    assert kit.sound()


async def test_what_was_detached_is_ended_too(kit: Kit, tmp_path: Path) -> None:
    over_ssh(kit, tmp_path, "timeout: 200s, detach: true, ")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, "", "the tests need it")
        await session.write(task, "change")
        following = asyncio.create_task(task.run_on())
        await until((tmp_path / "pids").exists)
        said = await revoked(kit, task.run.id)
        assert said.returncode == 0, said.stderr
        await asyncio.wait_for(following, 30)
        assert not any(map(alive, processes(tmp_path)))
        assert not task.run.detached
    assert outcome(kit).word == "CANCELLED"
    assert [event.text for event in kit.events(Noted)] == [NOTHING_LEFT]


# --- found by the keeper ---


@pytest.fixture
def register(kit_sql: Kit, tmp_path: Path) -> Path:
    path = tmp_path / "register.jsonl"
    kit_sql.manifest(f"  incident: {{tracker: file, path: {path}}}\n  signoff: {{min: 0}}\n  grant: {{max: 10m}}\n")
    return path


def set_back(kit: Kit, register: Path, incident: str, clock: HandClock) -> None:
    clock.set_back_ms = 600_000


@pytest.mark.parametrize(("what", "reason"), [(close, "INCIDENT_CLOSED"), (set_back, "CLOCK_JUMP")])
async def test_what_the_keeper_finds_ends_the_write_over_sql(
    kit_sql: Kit, register: Path, what: Callable[[Kit, Path, str, HandClock], None], reason: str
) -> None:
    kit = kit_sql
    assert kit.db is not None
    over_sql(kit, "update orders set state = 'x'; select pg_sleep(240)")
    admin = kit.db.admin
    busy = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    incident = opened(kit)
    async with kit.open() as session:
        task, clock = await granted(kit, session, incident)
        doing = asyncio.create_task(session.write(task, "change"))
        await until(lambda: admin(busy) == [(1,)])
        what(kit, register, incident, clock)
        clock.tick()
        await asyncio.wait_for(doing, 30)
        await until(lambda: admin(BACKENDS) == [(0,)])
        await until(lambda: bool(kit.events(Noted)))
    assert admin(STATES) == UNTOUCHED
    assert [event.reason for event in kit.events(GrantEnded)] == [reason]
    assert outcome(kit).word == "CANCELLED"
    assert [event.text for event in kit.events(Noted)] == [NOTHING_LEFT]


async def test_a_clock_that_was_set_back_ends_the_write_over_ssh(kit_sql: Kit, register: Path, tmp_path: Path) -> None:
    kit = kit_sql
    over_ssh(kit, tmp_path)
    incident = opened(kit)
    async with kit.open() as session:
        task, clock = await granted(kit, session, incident)
        doing = asyncio.create_task(session.write(task, "change"))
        await until((tmp_path / "pids").exists)
        set_back(kit, register, incident, clock)
        clock.tick()
        await asyncio.wait_for(doing, 30)
        assert not any(map(alive, processes(tmp_path)))
        await until(lambda: bool(kit.events(Noted)))
    assert [event.reason for event in kit.events(GrantEnded)] == ["CLOCK_JUMP"]


# --- the process is gone ---


def killed_while_writing(kit: Kit, tmp_path: Path) -> str:
    """A client that was killed while its write was under way; the run's id."""
    block = kit.request("book")
    going = kit.popen("run", NAME, "book", "--grant", str(block))
    try:
        for _ in range(3000):
            if (tmp_path / "pids").exists() or going.poll() is not None:
                break
            signal.sigtimedwait([], 0.01)
        assert (tmp_path / "pids").exists(), going.communicate()
    finally:
        going.kill()
        going.communicate()
    return kit.run().id


def test_whoever_drives_the_run_without_a_screen_reads_why_it_ended(kit: Kit, tmp_path: Path) -> None:
    over_ssh(kit, tmp_path)
    block = kit.request("book")
    going = kit.popen("run", NAME, "book", "--grant", str(block))
    for _ in range(3000):
        if (tmp_path / "pids").exists() or going.poll() is not None:
            break
        signal.sigtimedwait([], 0.01)
    said = kit.cli("revoke", NAME, kit.run().id, "--reason", "wrong gateway")
    assert said.returncode == 0, said.stderr
    out, err = going.communicate(timeout=60)
    assert going.returncode == 1, err
    assert "READ-ONLY again · revoked · revoked by asha" in out
    assert "change@web1: CANCELLED" in out
    assert not any(map(alive, processes(tmp_path)))


def test_after_a_kill_the_revoke_itself_ends_what_is_left(kit: Kit, tmp_path: Path) -> None:
    over_ssh(kit, tmp_path)
    run = killed_while_writing(kit, tmp_path)
    assert all(map(alive, processes(tmp_path)))
    listed = kit.cli("doctor", NAME, "--leftovers")
    assert run in listed.stdout + listed.stderr
    said = kit.cli("revoke", NAME, run, "--reason", "its laptop is gone")
    assert said.returncode == 0, said.stderr
    assert NOTHING_LEFT in said.stderr
    assert not any(map(alive, processes(tmp_path)))
    assert [event.reason for event in kit.events(GrantEnded)] == ["REVOKED"]
    assert [(event.found, event.dead) for event in kit.events(Probed)] == [("absent", True)]
    assert kit.sound()


def test_nothing_to_revoke_is_said(kit: Kit, tmp_path: Path) -> None:
    over_ssh(kit, tmp_path)
    done = kit.cli("revoke", NAME, "01ABCDEF")
    assert done.returncode == 1
    assert "has no write access that could be revoked" in done.stderr


def test_a_request_that_was_revoked_is_not_activated(kit: Kit, tmp_path: Path) -> None:
    over_ssh(kit, tmp_path)
    block = kit.request("book")
    run = kit.run().id
    assert kit.cli("revoke", NAME, run, "--reason", "not today").returncode == 0
    done = kit.cli("run", NAME, "book", "--grant", str(block))
    assert done.returncode == 3, done.stderr
    assert "was revoked by asha" in done.stderr
    assert "not today" in done.stderr
    assert not kit.events(ActIntended)


def test_a_revoke_that_travels_as_a_block(kit: Kit, tmp_path: Path) -> None:
    over_ssh(kit, tmp_path)
    run = killed_while_writing(kit, tmp_path)
    block = (kit.folder / "book.block").read_text()
    signed = kit.cli("revoke", NAME, "--reason", "wrong gateway", stdin=block)
    assert signed.returncode == 0, signed.stderr
    quoted = "".join(f"> {line}\n" for line in signed.stdout.splitlines())
    done = kit.cli("revoke", NAME, run, "--grant", "-", stdin=quoted)
    assert done.returncode == 0, done.stderr
    assert not any(map(alive, processes(tmp_path)))
    assert [event.verdict for event in kit.events(SignedOff)] == ["revoke"]
    assert [event.why for event in kit.events(GrantEnded)] == ["revoked by asha: wrong gateway"]
    assert "revoked" in kit.cli("ledger", "show", NAME, run).stdout
