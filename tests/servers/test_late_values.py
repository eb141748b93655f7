"""Captured values in writes, against real servers: signed as slots, sent as data, asked about when they changed."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import psycopg
import pytest

from envtui.core.access import Request
from envtui.core.errors import Refused
from envtui.core.events import ActIntended, Captured, LateAccepted, PermitSpent
from envtui.engine.accepting import accept, asks
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.rules import grants, paste
from envtui.rules.proposals import Done, NeedsAnswer, ReadyWrite
from envtui.rules.run import fold
from tests.servers.postgres import PASSWORD
from tests.servers.sshd import Servers
from tests.servers.test_resume_cli import gate, killed
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one, until

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures

BOOK = """\
  - {{id: read, kind: ssh, argv: [cat, {folder}/value], capture: {{v: {{from: stdout}}}}}}
  - {{id: sure, kind: choose, options: {{again: read, yes: put}}}}
  - id: put
    kind: ssh
    mode: write
    argv: [touch, "{folder}/made-${{vars.v}}"]
    late: [{{name: v, pattern: "[a-z0-9]+", max_length: 8{more}}}]
    probe: {{argv: [test, -e, "{folder}/made-${{vars.v}}"], applied: {{exit: 0}}, absent: {{exit: 1}}}}
    undo: {{argv: [rm, "{folder}/made-${{vars.v}}"]}}
  - {{id: after, kind: ssh, argv: [cat, {folder}/value], capture: {{v: {{from: stdout}}}}}}
"""


def book(kit: Kit, folder: Path, more: str = "", value: str = "one") -> None:
    kit.book(BOOK.format(folder=folder, more=more))
    (folder / "value").write_text(value)


async def to_the_question(session: EnvironmentSession) -> RunTask:
    task = await session.start(session.plan("book", {}))
    assert isinstance(await task.run_on(), NeedsAnswer)
    return task


async def ready(task: RunTask) -> ReadyWrite:
    proposed = await task.answer("sure", "yes")
    assert isinstance(proposed, ReadyWrite), proposed
    return proposed


def made(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("made-*"))


def request_in(block: str) -> Request:
    return grants.parse_request(paste.read(block, "request").body.encode())


async def test_what_was_known_when_it_was_signed_is_sent_and_taken_back_as_it_was(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    async with kit.open() as session:
        task = await to_the_question(session)
        asked, _ = await session.ask_write(task, "", "the tests need it")
        assert asked.late == {"v": "one"}
        await session.arm(task)
        proposed = await ready(task)
        assert proposed.granted
        assert not proposed.held
        assert not proposed.asks
        planned = proposed.act
        (tmp_path / "value").write_text("two")
        await session.write(task, "put")
        assert isinstance(await task.run_on(), Done)  # `after` captured v anew
        assert task.run.values()["vars.v"] == "two"
        assert made(tmp_path) == ["made-one"]
        await task.mending.undo()
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "UNDONE", done.why
        assert made(tmp_path) == []
        assert task.run == fold(kit.entries(), task.run.id)
    forward, undo = (e for e in kit.events(ActIntended) if e.mode == "write")
    assert forward.late == undo.late == {"v": "one"}
    assert "made-one" in forward.shows
    assert "made-one" in undo.shows
    spent = kit.events(PermitSpent)
    assert spent[0].act_digest == planned.digest() != forward.act_digest == spent[0].bound
    assert undo.act_digest == spent[1].bound
    assert not kit.events(LateAccepted)
    assert kit.sound()


async def test_another_value_than_the_signed_one_asks_a_person(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    async with kit.open() as session:
        task = await to_the_question(session)
        await session.ask_write(task, "", "the tests need it")
        (tmp_path / "value").write_text("two")
        await task.answer("sure", "again")
        assert isinstance(await task.run_on(), NeedsAnswer)
        await session.arm(task)
        proposed = await ready(task)
        (value,) = proposed.asks
        assert (value.name, value.signed, value.value, value.step) == ("v", "one", "two", "read")
        with pytest.raises(Refused, match="v is 'two' on web1, and 'one' was signed"):
            await session.write(task, "put")
        assert made(tmp_path) == []
        assert not kit.events(PermitSpent)
        await accept(task, asks(task, "put"))
        await session.write(task, "put")
        assert made(tmp_path) == ["made-two"]
        assert task.run == fold(kit.entries(), task.run.id)
    assert [e.values for e in kit.events(LateAccepted)] == [{"v": "two"}]


async def test_what_was_let_pass_is_that_value_and_no_other(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    async with kit.open() as session:
        task = await to_the_question(session)
        await session.ask_write(task, "", "the tests need it")
        (tmp_path / "value").write_text("two")
        await task.answer("sure", "again")
        await task.run_on()
        await session.arm(task)
        await accept(task, asks(task, "put"))
        (tmp_path / "value").write_text("three")
        await task.answer("sure", "again")
        await task.run_on()
        assert [value.value for value in (await ready(task)).asks] == ["three"]


async def test_a_fixed_value_is_sent_as_it_was_signed_or_not_at_all(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path, ", fixed: true")
    early = kit.cli("request", NAME, "book", "--reason", "the tests need it")
    assert early.returncode == 1, early.stderr
    assert "is fixed by the sign-off, and no value is known yet" in early.stderr
    assert "Run the read that captures it first, then ask." in early.stderr
    async with kit.open() as session:
        task = await to_the_question(session)
        await session.ask_write(task, "", "the tests need it")
        (tmp_path / "value").write_text("two")
        await task.answer("sure", "again")
        await task.run_on()
        await session.arm(task)
        proposed = await ready(task)
        assert "v is fixed: signed was 'one', and it is 'two' now. Ask again, for this value." in proposed.held
        with pytest.raises(Refused, match="fixed"):
            await session.write(task, "put")
        await accept(task, [(proposed.act, proposed.late)])  # a person's word is no way around it
        with pytest.raises(Refused, match="fixed"):
            await session.write(task, "put")
        assert not kit.events(PermitSpent)
        again, _ = await session.ask_write(task, "", "the value is another one now")
        assert again.late == {"v": "two"}
        await session.arm(task)
    assert made(tmp_path) == []


@pytest.mark.parametrize("value", ["-rf", "../up", "a b", "toolongforthis", "A", "", "a\nb", "\u202eab"])
async def test_a_value_that_its_slot_refuses_is_not_sent(kit: Kit, tmp_path: Path, value: str) -> None:
    book(kit, tmp_path, value=value)
    async with kit.open() as session:
        task = await to_the_question(session)
        asked, _ = await session.ask_write(task, "", "the tests need it")
        assert asked.late == {}
        await session.arm(task)
        proposed = await ready(task)
        assert "cannot be sent with what was captured" in proposed.held
        with pytest.raises(Refused, match="cannot be sent with what was captured"):
            await session.write(task, "put")
        await accept(task, [(proposed.act, proposed.late)])
        with pytest.raises(Refused, match="cannot be sent with what was captured"):
            await session.write(task, "put")
    assert not kit.events(PermitSpent)
    assert made(tmp_path) == []


async def test_each_host_has_its_own_value(kit: Kit, machines: Servers, tmp_path: Path) -> None:
    other = machines.start("staging:one", accepts=("reader", "writer"))
    kit.targets["web"] = (
        f'kind: ssh, hosts: ["web1={kit.one.address}", "web2={other.address}"], read: shell, write: shell-write'
    )
    kit.put("known_hosts", kit.one.known() + other.known())
    kit.manifest()
    kit.book(
        f'  - {{id: read, kind: ssh, argv: [cat, "{tmp_path}/${{run.host}}"], capture: {{v: {{from: stdout, per_host: true}}}}}}\n'
        "  - {id: sure, kind: choose, options: {again: read, yes: put}}\n"
        f'  - {{id: put, kind: ssh, mode: write, repeatable: true, argv: [touch, "{tmp_path}/made-${{run.host}}-${{vars.v}}"],\n'
        "     late: [{name: v, pattern: '[a-z]+'}]}\n"
    )
    (tmp_path / "web1").write_text("red")
    (tmp_path / "web2").write_text("blue")
    async with kit.open() as session:
        task = await to_the_question(session)
        asked, _ = await session.ask_write(task, "", "the tests need it")
        assert asked.late == {"v@web1": "red", "v@web2": "blue"}
        (tmp_path / "web2").write_text("green")
        await task.answer("sure", "again")
        await task.run_on()
        await session.arm(task)
        await ready(task)
        ((act, values),) = asks(task, "put")
        assert act.place.member == "web2"
        assert [(v.signed, v.value) for v in values] == [("blue", "green")]
        await accept(task, asks(task, "put"))
        await session.write(task, "put")
    assert made(tmp_path) == ["made-web1-red", "made-web2-green"]


TERMINATE = """\
  - id: who
    kind: sql
    target: db
    query: "select pid, application_name as name from pg_stat_activity where application_name = 'blocker'"
    capture: {who: {from: rows, columns: {pid: int, name: string}}}
  - id: stop
    kind: sql
    target: db
    mode: write
    query: "select pg_terminate_backend(pid) from pg_stat_activity where pid = ${vars.who.pid} and application_name = ${vars.who.name}"
    late:
      - {name: who.pid, type: int, pattern: "[0-9]+", max_length: 10}
      - {name: who.name, pattern: "[a-z]+"}
    probe:
      query: "select 1 from pg_stat_activity where pid = ${vars.who.pid} and application_name = ${vars.who.name}"
      applied: {rows: 0}
      absent: otherwise
    point_of_no_return: the session is gone
"""


async def test_a_captured_pid_ends_that_backend_and_no_other(kit_sql: Kit) -> None:
    db = kit_sql.db
    assert db is not None
    kit_sql.book(TERMINATE)
    host, _, port = db.address.rpartition(":")

    async def connect(name: str) -> psycopg.AsyncConnection[object]:
        return await psycopg.AsyncConnection.connect(
            host=host, port=int(port), dbname=db.name, user="writer", password=PASSWORD, application_name=name,
            sslmode="disable", autocommit=True,
        )  # fmt: skip

    blocker, bystander = await connect("blocker"), await connect("bystander")
    try:
        async with kit_sql.open() as session:
            task = await session.start(session.plan("book", {}))
            proposed = await task.run_on()
            assert isinstance(proposed, ReadyWrite), task.run
            pid = str(blocker.info.backend_pid)
            asked, _ = await session.ask_write(task, "", "the tests need it")
            assert asked.late == {"who.pid": pid, "who.name": "blocker"}
            await session.arm(task)
            done = await session.write(task, "stop")
            assert isinstance(done, Done)
            assert done.word == "OK", done.why
        with pytest.raises(psycopg.OperationalError):
            await blocker.execute("select 1")
        await bystander.execute("select 1")
    finally:
        await blocker.close()
        await bystander.close()
    (sent,) = (e for e in kit_sql.events(ActIntended) if e.mode == "write")
    assert sent.late == {"who.pid": pid, "who.name": "blocker"}
    assert pid in sent.shows


# --- as processes -----------------------------------------------------------------------------------------------------


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_without_a_screen_a_value_nobody_knew_is_said_in_full(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    missing = kit.cli("run", NAME, "book", "--grant", str(kit.request("book")), "--answer", "sure=yes")
    assert missing.returncode == 2, said(missing)
    assert "v on web1: none was known when it was signed, now one (found by read)" in missing.stderr
    assert "--answer put.v='one'" in missing.stderr
    assert made(tmp_path) == []
    grant = str(kit.request("book"))
    wrong = kit.cli("run", NAME, "book", "--grant", grant, "--answer", "sure=yes", "--answer", "put.v=two")
    assert wrong.returncode == 2, said(wrong)
    assert "'two' was said, and it is 'one' now" in wrong.stderr
    grant = str(kit.request("book"))
    done = kit.cli("run", NAME, "book", "--grant", grant, "--answer", "sure=yes", "--answer", "put.v=one")
    assert done.returncode == 0, said(done)
    assert "asha lets put@web1 be sent with v=one, other than signed" in done.stdout
    assert made(tmp_path) == ["made-one"]


def test_the_approver_reads_slot_and_value(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    block = kit.request("book").read_text()
    shown = kit.cli("sign", NAME, "--yes", "--deny", stdin=block)
    words = " ".join(shown.stderr.split())
    assert "Late put: v, not known yet (string, pattern [a-z0-9]+, at most 8 characters; asha is asked" in words, words

    async def ask() -> str:
        async with kit.open() as session:
            task = await to_the_question(session)
            _, later = await session.ask_write(task, "", "the tests need it")
            return later

    shown = kit.cli("sign", NAME, "--yes", "--deny", stdin=asyncio.run(ask()))
    words = " ".join(shown.stderr.split())
    assert "Late put: v = one (string, pattern [a-z0-9]+, at most 8 characters; any other value asks asha)" in words
    assert "made-‹vars.v›" in words


KILLED = """\
  - {{id: read, kind: ssh, argv: [cat, {folder}/value], capture: {{v: {{from: stdout}}}}}}
  - id: put
    kind: ssh
    mode: write
    attempts: 2
    sh: '{wait}touch {folder}/made-"$1"'
    args: ["${{vars.v}}"]
    late: [{{name: v, pattern: "[a-z0-9]+", max_length: 8}}]
    probe: {{argv: [test, -e, "{folder}/made-${{vars.v}}"], applied: {{exit: 0}}, absent: {{exit: 1}}}}
    undo: {{argv: [rm, "{folder}/made-${{vars.v}}"]}}
"""


def again(kit: Kit, run: str) -> tuple[str, Request]:
    done = kit.cli("request", NAME, "--resume", run, "--reason", "it has to be done again")
    assert done.returncode == 0, said(done)
    file = kit.folder / "again.block"
    file.write_text(done.stdout)
    return str(file), request_in(done.stdout)


def test_killed_in_the_write_its_probe_looks_for_what_was_sent(kit: Kit, tmp_path: Path) -> None:
    """The process dies while the write waits at its host; the value at its source is another one by then."""
    path = gate(tmp_path)
    kit.book(KILLED.format(folder=tmp_path, wait=f"echo > {path}; while ! test -e {tmp_path}/go; do sleep 0.1; done; "))
    (tmp_path / "value").write_text("one")
    run = killed(kit, path, "book", "--grant", str(kit.request("book")), "--answer", "put.v=one")
    (tmp_path / "go").touch()
    asyncio.run(until(lambda: made(tmp_path) == ["made-one"]))  # it goes on by itself
    (tmp_path / "value").write_text("two")
    done = kit.cli("run", NAME, "--resume", run, "--answer", "put=done", "--answer", "resume=go on")
    assert done.returncode == 0, said(done)
    assert made(tmp_path) == ["made-one"]
    assert "made-one" in next(e.shows for e in kit.events(ActIntended) if ".probe" in e.act)
    undone = kit.cli("undo", NAME, run, "--yes")
    assert undone.returncode == 0, said(undone)
    assert "made-one" in undone.stderr
    assert made(tmp_path) == []
    assert kit.sound()


def test_killed_before_the_write_the_value_is_read_again_and_a_change_is_asked_about(kit: Kit, tmp_path: Path) -> None:
    path = gate(tmp_path)
    kit.book(
        "  - {id: first, kind: ssh, argv: ['true']}\n"
        f"  - {{id: read, kind: ssh, argv: [cat, {tmp_path}/value], capture: {{v: {{from: stdout}}}}}}\n"
        f"  - {{id: wait, kind: ssh, sh: 'test -e {tmp_path}/go || {{ echo > {path}; sleep 60; }}'}}\n"
        f'  - {{id: put, kind: ssh, mode: write, repeatable: true, argv: [touch, "{tmp_path}/made-${{vars.v}}"],\n'
        '     late: [{name: v, pattern: "[a-z0-9]+"}]}\n'
    )
    (tmp_path / "value").write_text("one")
    run = killed(kit, path, "book")
    (tmp_path / "go").touch()
    grant, request = again(kit, run)
    assert request.late == {"v": "one"}
    (tmp_path / "value").write_text("two")
    stopped = kit.cli("run", NAME, "--resume", run, "--grant", grant)
    assert stopped.returncode == 2, said(stopped)
    assert "v was 'one' and is 'two'" in stopped.stderr
    stopped = kit.cli("run", NAME, "--resume", run, "--answer", "resume=go on")
    assert stopped.returncode == 2, said(stopped)
    assert "v on web1: signed one, now two (found by read)" in stopped.stderr
    grant, request = again(kit, run)
    assert request.late == {"v": "two"}
    (tmp_path / "value").write_text("three")
    done = kit.cli(
        "run", NAME, "--resume", run, "--grant", grant, "--answer", "resume=go on", "--answer", "put.v=three"
    )
    assert done.returncode == 0, said(done)
    assert made(tmp_path) == ["made-three"]
    assert [e.values for e in kit.events(LateAccepted)] == [{"v": "three"}]
    assert next(e.value.text for e in kit.events(Captured) if e.value) == "one"
    assert kit.sound()
