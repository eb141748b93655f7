"""Looking again and waiting, against real servers: `poll`, `wait: for` and `wait: until`, and how a person ends them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from envtui.core.events import ActEnded, Captured, StepEnded, WaitStarted
from envtui.engine.runner import RunTask
from envtui.outside.system_clock import SystemClock
from envtui.rules.proposals import Done, NeedsDecision, NeedsPick
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one, until

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


def words(kit: Kit) -> list[str]:
    return [event.word for event in kit.events(ActEnded)]


async def looked(task: RunTask, times: int) -> None:
    """Wait until so many looks have ended."""
    await until(lambda: any(a.word and a.attempt >= times for s in task.run.steps for a in s.acts))


def counting(folder: Path, good: str) -> str:
    """A script that says which look it is; it goes well when `good` (a shell pattern) matches that number."""
    return (
        f"echo x >> {folder}/looks; n=$(wc -l < {folder}/looks); echo look $n; case $n in {good}) exit 0;; esac; exit 1"
    )


def test_a_poll_looks_until_it_is_as_expected(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        f"  - {{id: a, kind: ssh, sh: '{counting(tmp_path, '3')}', poll: {{every: 10ms, for: 60s}}, "
        "capture: {said: {from: stdout}}}\n"
        "  - {id: b, kind: ssh, argv: [echo, '${vars.said}']}\n"
    )
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert words(kit) == ["FAILED", "FAILED", "OK", "OK"]
    assert [e.attempt for e in kit.events(ActEnded)] == [1, 2, 3, 1]
    assert [e.value.text for e in kit.events(Captured) if e.value] == ["look 3"]
    assert len(kit.events(WaitStarted)) == 1
    assert "| look 3" in done.stdout


def test_a_poll_wants_it_several_times_in_a_row(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        f"  - {{id: a, kind: ssh, sh: '{counting(tmp_path, '1|3|4|5')}', poll: {{every: 10ms, for: 60s, in_a_row: 3}}}}\n"
    )
    assert kit.cli("run", NAME, "book").returncode == 0
    assert words(kit) == ["OK", "FAILED", "OK", "OK", "OK"]


def test_good_at_the_end_and_not_often_enough_is_a_failure(kit: Kit) -> None:
    kit.book(
        "  - {id: a, kind: ssh, argv: ['true'], poll: {every: 500ms, for: 800ms, in_a_row: 50}, on_failure: 'goto:b'}\n"
        "  - {id: never, kind: ssh, argv: [echo, never]}\n"
        "  - {id: b, kind: ssh, argv: [echo, after]}\n"
    )
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    ended = {event.step: event for event in kit.events(StepEnded)}
    assert ended["a"].word == "FAILED"
    assert "50 in a row" in ended["a"].why
    assert "never" not in ended
    assert set(words(kit)) == {"OK"}


@pytest.mark.parametrize("limit", [1, 2])
def test_a_poll_gives_up_after_so_many_failed_looks(kit: Kit, limit: int) -> None:
    kit.book(f"  - {{id: a, kind: ssh, argv: ['false'], poll: {{every: 10ms, for: 60s, failure_limit: {limit}}}}}\n")
    assert kit.cli("run", NAME, "book").returncode == 1
    assert words(kit) == ["FAILED"] * limit


def test_a_poll_that_runs_out_fails_as_the_book_says(kit: Kit) -> None:
    kit.book(
        "  - {id: a, kind: ssh, argv: ['false'], poll: {every: 300ms, for: 500ms}, on_failure: ask}\n"
        "  - {id: b, kind: ssh, argv: [echo, after]}\n"
    )
    done = kit.cli("run", NAME, "book", "--answer", "a=skip")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| after" in done.stdout
    assert kit.events(StepEnded)[0].why.endswith("exit 1, expected 0")


@pytest.mark.parametrize("until", ["expect", "person"])
async def test_a_poll_that_a_person_stops_is_ok_and_not_cancelled(kit: Kit, until: str) -> None:
    program = "false" if until == "expect" else "true"
    kit.book(
        f"  - {{id: a, kind: ssh, argv: ['{program}'], poll: {{every: 50ms, for: 10m, until: {until}}}}}\n"
        "  - {id: b, kind: ssh, argv: [echo, after]}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        going = asyncio.create_task(task.run_on())
        await looked(task, 2)
        task.stop()
        await going
        assert [(s.id, s.word) for s in task.run.steps] == [("a", "OK"), ("b", None)]
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "OK"
    ended = kit.events(StepEnded)[0]
    assert (ended.word, ended.why) == ("OK", "stopped looking")
    assert "CANCELLED" not in words(kit)


async def test_a_stop_between_two_far_looks_does_not_wait_for_the_next(kit: Kit) -> None:
    kit.book("  - {id: a, kind: ssh, argv: ['false'], poll: {every: 1h, for: 2h}}\n")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        going = asyncio.create_task(task.run_on())
        await looked(task, 1)
        task.stop()
        done = await asyncio.wait_for(going, 30)
        assert isinstance(done, Done)
        assert done.word == "OK"


def test_a_database_is_looked_at_again(kit_sql: Kit) -> None:
    kit_sql.book(
        "  - {id: a, kind: sql, target: db, query: \"select currval('looks')\", "
        "poll: {every: 10ms, for: 60s, failure_limit: 1}, expect: {value: '>= 3'}}\n"
    )
    assert kit_sql.db is not None
    kit_sql.db.admin("create sequence looks")
    kit_sql.db.admin("grant usage on sequence looks to reader")
    done = kit_sql.cli("run", NAME, "book")
    # The database refuses to answer that. It is a failure of the look, not of envtui.
    assert done.returncode == 1
    assert "is not yet defined in this session" in done.stdout
    kit_sql.book(
        "  - {id: a, kind: sql, target: db, query: select count(*) from orders, poll: {every: 10ms, for: 60s}, "
        "expect: {value: '>= 11'}}\n"
    )
    process = kit_sql.popen("run", NAME, "book")
    while not [e for e in kit_sql.events(ActEnded) if e.attempt == 2]:
        assert process.poll() is None, process.communicate()
    kit_sql.db.admin("insert into orders values (11, 'new')")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, out + err


async def test_the_last_of_several_looks_is_what_is_picked_from(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        f"  - {{id: a, kind: ssh, sh: '{counting(tmp_path, '2|3')}; echo never', poll: {{every: 10ms, for: 60s, in_a_row: 2}}, "
        "capture: {row: {from: lines, pick: one}}}\n"
        "  - {id: b, kind: ssh, argv: [echo, 'took ${vars.row}'], capture: {said: {from: stdout}}}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        offered = await task.run_on()
        assert isinstance(offered, NeedsPick)
        assert offered.rows == (("look 3",),)
        await task.pick("a", "row", [0])
        assert isinstance(await task.run_on(), Done)
    assert [e.value.text for e in kit.events(Captured) if e.value] == ["took look 3"]


def test_a_wait_for_a_while_stores_its_end_and_goes_on(kit: Kit) -> None:
    kit.book("  - {id: a, kind: wait, for: 300ms}\n  - {id: b, kind: ssh, argv: [echo, after]}\n")
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    (started,) = kit.events(WaitStarted)
    ended = next(e for e in kit.entries() if isinstance(e.event, StepEnded))
    assert ended.at_ms >= started.until_ms
    assert [e.word for e in kit.events(StepEnded)] == ["OK", "OK"]


async def test_a_stop_ends_the_waiting_and_not_the_run(kit: Kit) -> None:
    kit.book("  - {id: a, kind: wait, for: 1h}\n")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        going = asyncio.create_task(task.run_on())
        await until(lambda: task.busy)
        task.stop()
        await asyncio.wait_for(going, 30)
        assert task.run.word is None
        await task.skip("the time has come")
        assert isinstance(task.next, Done)
    assert [e.word for e in kit.events(StepEnded)] == ["SKIPPED"]


def test_wait_until_a_read_shows_it(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        f"  - {{id: a, kind: wait, until: {{sh: '{counting(tmp_path, '*')}', expect: {{stdout_matches: 'look 3'}}}}, "
        "poll: {every: 10ms, for: 60s}}\n"
        "  - {id: b, kind: ssh, argv: [echo, after]}\n"
    )
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert words(kit) == ["FAILED", "FAILED", "OK", "OK"]


class Hurried(SystemClock):
    """Real time, in which nobody sleeps long. Says how long it was asked to."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await asyncio.sleep(min(seconds, 0.01))


async def test_wait_until_looks_again_without_a_word_about_it(kit: Kit, tmp_path: Path) -> None:
    """Nobody writes `poll` under a wait to say that it waits."""
    kit.book(
        f"  - {{id: a, kind: wait, until: {{sh: '{counting(tmp_path, '3')}', expect: {{exit: 0}}}}, timeout: 60s}}\n"
    )
    async with kit.open() as session:
        clock = Hurried()
        session.ways = msgspec.structs.replace(session.ways, clock=clock)
        task = await session.start(session.plan("book", {}))
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "OK"
    assert words(kit) == ["FAILED", "FAILED", "OK"]
    assert clock.asked == [5.0, 5.0]
    (started,) = kit.events(WaitStarted)
    assert 55_000 < started.until_ms - kit.entries()[0].at_ms < 90_000


def test_wait_until_something_that_never_comes_fails(kit: Kit) -> None:
    kit.book("  - {id: a, kind: wait, until: {argv: ['false'], expect: {exit: 0}}, timeout: 1s}\n")
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 1, done.stdout + done.stderr
    assert words(kit) == ["FAILED"]


async def test_a_decision_after_a_poll_looks_all_over_again(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        f"  - {{id: a, kind: ssh, sh: '{counting(tmp_path, '3')}', poll: {{every: 10ms, for: 60s, failure_limit: 2}}, "
        "on_failure: ask}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        assert isinstance(await task.run_on(), NeedsDecision)
        await task.decide("a", "retry")
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "OK"
    assert words(kit) == ["FAILED", "FAILED", "OK"]
