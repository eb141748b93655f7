"""The sample books that change databases, run in the lab: what they leave behind, what their undo takes back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import psycopg
import pytest

from envtui.compose import World
from envtui.core.events import ActEnded, ActIntended, Probed, run_of
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.lab import cli
from envtui.lab.layout import Lab
from envtui.lab.people import command, variables
from envtui.lab.world import WORLDS
from envtui.outside.incident_file import register_of
from envtui.outside.ledger import read_entries
from envtui.rules.proposals import Done, Doubt, NeedsAnswer, NeedsDecision, Next, ReadyWrite

pytestmark = pytest.mark.servers

E = TypeVar("E")

Answers = Mapping[str, str | tuple[str, Mapping[str, str]]]

BOOK = "restore-from-backup"
SWAP: Answers = {"fits": "they fit: swap now", "tell": ("done", {"missing_since": "06:00 UTC"})}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="envtui-test-") as folder:
        lab = Lab(Path(folder) / "lab")
        daemon = cli.start(lab)
        yield lab
        cli.tell(lab, "down")
        daemon.wait(20)


@pytest.fixture(autouse=True)
def as_it_came_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HOME", str(lab.person("asha")))  # where ~ of a credential leads
    yield
    cli.tell(lab, "reset")


def world(lab: Lab, person: str = "asha") -> World:
    return World.of(variables(lab, person, os.environ))


def incident(lab: Lab, environment: str) -> str:
    """A new one, open."""
    tree, _, _ = world(lab).tree(environment)
    register = register_of(tree.environment.access.incident, tree.root)
    now_ms = time.time_ns() // 1_000_000
    return register.open(title="a test", environment=environment, by="asha", now_ms=now_ms).id


def backup(lab: Lab, environment: str) -> Path:
    host = {"production": "db1", "staging": "gw1"}[environment]
    (file,) = (Path(lab.facts().workspace) / "hosts" / environment / host / "backups").glob("gateway-*.dump")
    return file


async def signed(lab: Lab, session: EnvironmentSession, task: RunTask) -> None:
    """Asked for by asha under a new incident, signed by meera at another desk."""
    _, block = await session.ask_write(task, incident(lab, session.environment.name), "a test of the sample books")
    async with await world(lab, "meera").open(session.environment.name) as beside:
        answer = await beside.access.sign(await beside.access.review(block), "approve")
    await session.access.receive(task, answer)


async def through(lab: Lab, session: EnvironmentSession, task: RunTask, answers: Answers) -> Next:
    """On, with these answers by step, until the run ends or somebody is asked something else."""
    while True:
        proposed = await task.run_on()
        if isinstance(proposed, ReadyWrite):
            if task.run.grant is None or task.run.grant.ended:
                await signed(lab, session, task)
            await session.write(task, proposed.step)
        elif isinstance(proposed, NeedsAnswer | NeedsDecision) and proposed.step in answers:
            said = answers[proposed.step]
            if isinstance(proposed, NeedsDecision):
                await task.decide(proposed.step, str(said))
            else:
                answer, asked = (said, {}) if isinstance(said, str) else said
                await task.answer(proposed.step, answer, asked)
        else:
            return proposed


async def run_book(
    lab: Lab, session: EnvironmentSession, book: str, params: Mapping[str, str], answers: Answers
) -> tuple[RunTask, Next]:
    task = await session.start(session.plan(book, params))
    return task, await through(lab, session, task, answers)


async def granted(lab: Lab, book: str, params: Mapping[str, str]) -> Path:
    """A request for a run of it in production with the answer of meera, as a file for `run --grant`."""
    number = incident(lab, "production")
    async with await world(lab).open("production") as session:
        plan = session.plan(book, params, number)
        _, block = await session.access.ask(plan, number, "a test of the sample books", 0)
    async with await world(lab, "meera").open("production") as beside:
        answer = await beside.access.sign(await beside.access.review(block), "approve")
    file = lab.home / "grant"
    file.write_text(block + answer)
    return file


def ended(proposed: Next, word: str) -> str:
    """Why the run ended with this word."""
    assert isinstance(proposed, Done), proposed
    assert proposed.word == word, proposed.why
    return proposed.why


def connect(lab: Lab, environment: str, dbname: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    """As the write role."""
    described = next(each for each in WORLDS if each.name == environment)
    return psycopg.connect(
        host="127.0.0.1",
        port=cli.tell(lab, "status")[environment]["postgresql"],
        dbname=dbname,
        user=described.sql_write_role,
        password=(lab.person("asha") / ".envtui" / described.sql_write_file).read_text().strip(),
        autocommit=True,
    )


def rows(lab: Lab, environment: str, query: str, dbname: str = "postgres") -> list[tuple[object, ...]]:
    with connect(lab, environment, dbname) as connection:
        return connection.execute(query.encode()).fetchall()


class Base(NamedTuple):
    """A database of the server, by what does not change when it is renamed."""

    oid: object
    open: object
    note: str


def databases(lab: Lab, environment: str) -> dict[str, Base]:
    """Those that are not the server's own, by name."""
    query = """select datname, oid, datallowconn, coalesce(shobj_description(oid, 'pg_database'), '')
               from pg_database where not datistemplate and datname <> 'postgres'"""
    return {str(name): Base(oid, is_open, str(note)) for name, oid, is_open, note in rows(lab, environment, query)}


def orders(lab: Lab, environment: str, dbname: str = "gateway") -> object:
    return rows(lab, environment, "select count(*) from orders", dbname)[0][0]


async def calls_arrive(lab: Lab, environment: str) -> None:
    """The gateways write into what is called gateway now."""
    newest = "select count(*) from access_log where at > clock_timestamp() - interval '2 seconds'"
    query = newest.replace("count(*)", "count(*) > 0")
    await asyncio.to_thread(eventually, lambda: rows(lab, environment, query, "gateway") == [(True,)])


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def events(lab: Lab, environment: str, run: str, kind: type[E]) -> list[E]:
    """The ledger's events of one kind in one run, in order."""
    entries = read_entries(world(lab).paths.ledger(environment))
    return [each.event for each in entries if isinstance(each.event, kind) and run_of(each.event) == run]


async def test_without_a_backup_named_the_restore_lists_them_and_changes_nothing(lab: Lab) -> None:
    before = databases(lab, "production")
    async with await world(lab).open("production") as session:
        task, proposed = await run_book(lab, session, BOOK, {}, {})
        assert isinstance(proposed, NeedsAnswer)
        transcript = task.transcript("backups@db1")
        assert transcript is not None
        listed = b"\n".join(transcript.line(number) for number in range(transcript.lines)).decode()
        assert backup(lab, "production").name in listed
        await task.answer("pick", "done")
        ended(await task.run_on(), "OK")
    assert databases(lab, "production") == before


async def test_a_backup_that_broke_off_is_found_before_anything_is_written(lab: Lab) -> None:
    whole = backup(lab, "production")
    broken = whole.with_name("gateway-20200101T000000Z.dump")
    content = whole.read_bytes()
    broken.write_bytes(content[: len(content) * 3 // 4])
    try:
        async with await world(lab).open("production") as session:
            task, proposed = await run_book(lab, session, BOOK, {"backup": broken.name}, {})
            ended(proposed, "FAILED")
            assert [e.word for e in events(lab, "production", task.run.id, ActEnded)] == ["OK", "OK", "FAILED"]
    finally:
        broken.unlink()


async def test_a_restored_backup_takes_the_place_of_the_damaged_database_and_its_undo_gives_it_back(lab: Lab) -> None:
    before = databases(lab, "production")["gateway"]
    with connect(lab, "production", "gateway") as connection:
        connection.execute("delete from orders where id between 1001 and 2000")
    params = {"backup": backup(lab, "production").name, "keep_as": "gateway_before_inc_1001"}
    async with await world(lab).open("production") as session:
        task, proposed = await run_book(lab, session, BOOK, params, SWAP)
        ended(proposed, "OK")
        after = databases(lab, "production")
        assert set(after) == {"gateway", "gateway_before_inc_1001"}
        assert after["gateway_before_inc_1001"] == Base(before.oid, False, "")  # kept as it was, and closed
        assert after["gateway"].open
        assert after["gateway"].note.startswith(f"restored from {params['backup']} by run {task.run.id}: 2000 orders")
        assert orders(lab, "production") == 2000
        await calls_arrive(lab, "production")
        run = task.run.id
    assert rows(lab, "production", "select tableowner from pg_tables where tablename = 'orders'", "gateway") == [
        ("gateway_owner",)
    ]
    async with await world(lab).open("production") as session:  # another terminal, later
        task = await session.adopt(await session.left(run))
        await task.mending.undo("the wrong backup")
        why = ended(await task.run_on(), "UNDONE")
        assert "open, swap, close, restore" in why
    assert databases(lab, "production") == {"gateway": Base(before.oid, True, "")}
    assert orders(lab, "production") == 1000
    await calls_arrive(lab, "production")


async def test_a_swap_that_fails_leaves_the_names_and_undo_opens_the_database_again(lab: Lab) -> None:
    before = databases(lab, "production")["gateway"]
    params = {"backup": backup(lab, "production").name, "keep_as": "gateway_before_taken"}
    with connect(lab, "production") as connection:
        connection.execute("create database gateway_before_taken")
    async with await world(lab).open("production") as session:
        answers = {**SWAP, "databases": "skip"}
        task, proposed = await run_book(lab, session, BOOK, params, answers)
        assert isinstance(proposed, NeedsDecision)
        assert "already exists" in proposed.why
        assert proposed.choices == ("retry", "skip", "undo", "stop")
        assert databases(lab, "production")["gateway"] == Base(before.oid, False, "")
        await task.decide("swap", "undo")
        ended(await task.run_on(), "UNDONE")
        intended = [e.act for e in events(lab, "production", task.run.id, ActIntended)]
        assert "swap.undo@db1" not in intended  # it is not there, so it is not taken back
    assert databases(lab, "production")["gateway"] == Base(before.oid, True, "")
    assert "gateway_restored" not in databases(lab, "production")


def killed_while_it_swaps(lab: Lab, words: list[str]) -> None:
    """`envtui WORDS` as asha, killed once its swap is at work on the server."""
    query = "select count(*) > 0 from pg_stat_activity where application_name like 'envtui:%:swap' and state = 'active'"
    first = subprocess.Popen(
        command(words),
        env=variables(lab, "asha", os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with connect(lab, "production") as watcher:
            eventually(lambda: first.poll() is not None or watcher.execute(query.encode()).fetchone() == (True,), 60)
        by_itself = first.poll()
    finally:
        first.kill()
        said, _ = first.communicate(timeout=30)
    assert by_itself is None, said


async def test_killed_in_the_middle_of_the_swap_it_is_picked_up_elsewhere_and_ends_right(lab: Lab) -> None:
    before = databases(lab, "production")["gateway"]
    params = {"backup": backup(lab, "production").name}
    words = ["run", "production", BOOK, "--plain", "--grant", str(await granted(lab, BOOK, params))]
    words += ["--answer", "fits=they fit: swap now"]
    with connect(lab, "production", "gateway") as stuck:
        pid = stuck.info.backend_pid
        os.kill(pid, signal.SIGSTOP)  # a session that does not end when it is told to: the swap waits for it
        try:
            await asyncio.to_thread(killed_while_it_swaps, lab, words)
        finally:
            os.kill(pid, signal.SIGCONT)
    async with await world(lab, "asha").open("production") as session:
        run = (await session.runs())[0]
        assert [act.id for act in run.in_doubt] == ["swap@db1"]
        task = await session.resume(await session.left(run.id))
        assert isinstance(await task.run_on(), Doubt)
        doubt = await task.mending.look(halt=True)
        if isinstance(doubt, Doubt):
            assert (doubt.found, "not done" in doubt.choices) == ("absent", True)
            await task.mending.resolve("swap@db1", done=False)
        ended(await through(lab, session, task, {**SWAP, "swap": "retry"}), "OK")
        attempts = [e.act for e in events(lab, "production", run.id, ActIntended)]
        assert attempts.count("swap@db1") == 2
        assert [attempts.count(f"{each}@db1") for each in ("create", "restore", "close", "open")] == [1] * 4
    after = databases(lab, "production")
    assert after["gateway_before_restore"] == Base(before.oid, False, "")
    assert after["gateway"].note.startswith("restored from ")
    await calls_arrive(lab, "production")


async def test_the_drill_lives_on_the_copy_and_ends_where_it_began(lab: Lab) -> None:
    before = databases(lab, "staging")
    answers: Answers = {"note": ("done", {"restore_seconds": "1"})}
    async with await world(lab).open("staging") as session:
        params = {"backup": backup(lab, "staging").name}
        task, proposed = await run_book(lab, session, "restore-drill", params, {})
        assert isinstance(proposed, NeedsAnswer)
        during = databases(lab, "staging")
        assert during["drill_aside"] == Base(before["gateway"].oid, False, "")
        assert during["gateway"] == Base(during["gateway"].oid, True, f"drill {task.run.id}: complete")
        ended(await through(lab, session, task, answers), "OK")
        undone = [e.act for e in events(lab, "staging", task.run.id, ActIntended) if ".undo@" in e.act]
        assert undone == ["open.undo@pg1", "trade.undo@pg1", "close.undo@pg1", "fill.undo@pg1"]
    assert databases(lab, "staging") == before
    await calls_arrive(lab, "staging")


async def test_an_index_that_timed_out_is_seen_as_invalid_and_the_next_run_ends_right(lab: Lab) -> None:
    valid = "select indisvalid from pg_index where indexrelid = to_regclass('orders_placed_at')"
    async with await world(lab).open("production") as session:
        # nightly-billing holds what the build waits for
        task, proposed = await run_book(lab, session, "index-orders-placed-at", {}, {"in-the-way": "skip"})
        assert isinstance(proposed, Doubt)
        assert proposed.choices == ("look", "done", "not done")
        assert rows(lab, "production", valid, "gateway") == [(False,)]
        assert [e.found for e in events(lab, "production", task.run.id, Probed)] == ["unknown"]
        await task.mending.resolve("build@db1", done=False, why="the index is there and invalid")
        assert isinstance(await task.run_on(), ReadyWrite)
        await task.abandon("begun afresh")
        cli.tell(lab, "settle")
        task, proposed = await run_book(lab, session, "index-orders-placed-at", {}, {"in-the-way": "retry"})
        ended(proposed, "OK")
        assert [step.word for step in task.run.steps] == ["OK"] * 5
        assert rows(lab, "production", valid, "gateway") == [(True,)]
        await task.mending.undo("it is not used")
        assert "build" in ended(await task.run_on(), "UNDONE")
    assert rows(lab, "production", valid, "gateway") == []
