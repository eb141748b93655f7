"""The engine against real servers, in this process and as `envtui run`: what is sent, what is not, and what is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from envtui.core.errors import NeedsWrite, Refused
from envtui.core.events import (
    ActEnded,
    ActIntended,
    Captured,
    GrantActivated,
    GrantEnded,
    PermitSpent,
    RunEnded,
    RunStarted,
)
from envtui.rules.proposals import Done, NeedsAnswer, NeedsDecision, NeedsPick, ReadyWrite
from envtui.rules.run import fold
from tests.servers.sshd import Servers, free_port
from tests.servers.world_kit import NAME, PEOPLE, Kit, cluster, database, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


def test_another_identity_is_refused_and_nothing_is_sent(kit: Kit, machines: Servers, tmp_path: Path) -> None:
    other = machines.start("production:one", accepts=("reader", "writer"))
    kit.targets["other"] = f'kind: ssh, hosts: ["o1={other.address}"], read: shell, write: shell-write'
    kit.put("known_hosts", kit.one.known() + other.known())
    kit.manifest()
    kit.book(f"  - {{id: a, kind: ssh, target: other, argv: [touch, {tmp_path}/sent]}}\n")
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 6, done.stdout + done.stderr
    assert [e.word for e in kit.events(ActEnded)] == ["REFUSED"]
    assert not (tmp_path / "sent").exists()


@pytest.mark.parametrize(
    ("on_failure", "code", "after"), [("stop", 1, False), ("goto:after", 0, True), ("ask", 0, True)]
)
def test_an_unreachable_target(kit: Kit, on_failure: str, code: int, after: bool) -> None:
    port = free_port()
    kit.targets["gone"] = f'kind: ssh, hosts: ["g1=127.0.0.1:{port}"], read: shell'
    kit.put("known_hosts", kit.one.known() + kit.one.known().replace(str(kit.one.port), str(port)))
    kit.manifest()
    kit.book(
        f"  - {{id: a, kind: ssh, target: gone, argv: [echo, hello], on_failure: '{on_failure}'}}\n"
        "  - {id: after, kind: ssh, argv: [echo, here]}\n"
    )
    done = kit.cli("run", NAME, "book", *(("--answer", "a=skip") if on_failure == "ask" else ()))
    assert done.returncode == code, done.stdout + done.stderr
    assert kit.events(ActEnded)[0].word == "FAILED"
    assert ("| here" in done.stdout) is after


async def test_choose_manual_and_a_captured_value(kit: Kit) -> None:
    kit.book(
        "  - {id: a, kind: choose, options: {left: l, right: r}}\n"
        "  - {id: l, kind: ssh, argv: [echo, left], next: end}\n"
        "  - {id: r, kind: manual, instructions: Look., ask: {count: int}}\n"
        '  - {id: b, kind: ssh, argv: [echo, "n=${vars.r.count}"], capture: {said: {from: stdout}}}\n'
        "  - {id: c, kind: ssh, if: '${vars.said} == n=8', argv: [echo, never]}\n"
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        assert isinstance(await task.run_on(), NeedsAnswer)
        await task.answer("a", "right")
        await task.answer("r", "", {"count": "7"})
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "OK"
        live = task.run
    assert [e.value.text for e in kit.events(Captured) if e.value] == ["n=7"]
    assert live == fold(kit.entries(), live.id)
    assert [s.word for s in live.steps] == ["OK", None, "OK", "OK", "SKIPPED"]


async def test_a_picked_row_feeds_a_later_read(kit_sql: Kit) -> None:
    kit_sql.book(
        '  - {id: a, kind: sql, target: db, query: "select id, state from orders order by id", '
        "capture: {row: {from: rows, pick: one, columns: {id: int, state: string}}}}\n"
        '  - {id: b, kind: sql, target: db, query: "select id from orders where id = ${vars.row.id}", expect: {value: "3"}}\n'
    )
    async with kit_sql.open() as session:
        task = await session.start(session.plan("book", {}))
        offered = await task.run_on()
        assert isinstance(offered, NeedsPick)
        await task.pick("a", "row", [2])
        done = await task.run_on()
        assert isinstance(done, Done)
        assert done.word == "OK", done.why


async def test_a_decision_after_a_failure(kit: Kit) -> None:
    kit.book("  - {id: a, kind: ssh, argv: ['false'], on_failure: ask}\n")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        assert isinstance(await task.run_on(), NeedsDecision)
        await task.decide("a", "retry")
        assert isinstance(await task.run_on(), NeedsDecision)
        await task.decide("a", "stop")
    assert [e.word for e in kit.events(RunEnded)] == ["FAILED"]


def test_a_write_without_a_grant_sends_nothing(kit: Kit, tmp_path: Path) -> None:
    kit.book(f"  - {{id: a, kind: ssh, mode: write, repeatable: true, argv: [touch, {tmp_path}/sent]}}\n")
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 3, done.stdout + done.stderr
    assert not (tmp_path / "sent").exists()
    assert not kit.events(ActIntended)


def test_a_write_under_a_grant(kit: Kit, tmp_path: Path) -> None:
    kit.book(f"  - {{id: a, kind: ssh, mode: write, repeatable: true, argv: [touch, {tmp_path}/sent]}}\n")
    done = kit.cli("run", NAME, "book", "--grant", str(kit.request("book")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "sent").exists()
    kinds = (GrantActivated, PermitSpent, ActIntended, ActEnded, GrantEnded)
    assert [type(e.event) for e in kit.entries() if isinstance(e.event, kinds)] == list(kinds)
    assert kit.events(GrantActivated)[0].plan_digest == kit.events(RunStarted)[0].plan_digest


@pytest.mark.parametrize("full", [True, False])
def test_a_book_edited_after_signing_is_refused_by_naming_the_difference(kit: Kit, tmp_path: Path, full: bool) -> None:
    step = (
        f"  - {{id: look, kind: ssh, argv: [touch, {tmp_path}/looked]}}\n"
        f"  - {{id: a, kind: ssh, mode: write, repeatable: true, argv: [touch, {tmp_path}/NAME]}}\n"
    )
    kit.book(step.replace("NAME", "one"))
    block = kit.request("book", *(["--full"] if full else []))
    kit.book(step.replace("NAME", "two"))
    done = kit.cli("run", NAME, "book", "--grant", str(block))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "The book book of the request" in done.stderr
    assert "is not the one here" in done.stderr
    if full:
        assert f'"{tmp_path}/one" there, "{tmp_path}/two" here' in done.stderr
    else:
        assert "--full" in done.stderr
    assert not (tmp_path / "two").exists()
    assert not (tmp_path / "looked").exists()  # it says so before it begins
    assert not kit.events(RunStarted)
    assert not kit.events(PermitSpent)
    kit.book(step.replace("NAME", "one"))  # taken back: what was signed runs
    assert kit.cli("run", NAME, "book", "--grant", str(block)).returncode == 0
    assert (tmp_path / "one").exists()


def test_a_file_that_a_step_sends_counts_like_the_book(kit: Kit, tmp_path: Path) -> None:
    kit.put("files/payload", "one\n")
    kit.book(
        f"  - {{id: a, kind: ssh, mode: write, repeatable: true, argv: [tee, {tmp_path}/sent], stdin: {{file: files/payload}}}}\n"
    )
    block = kit.request("book", "--full")
    kit.put("files/payload", "two\n")
    done = kit.cli("run", NAME, "book", "--grant", str(block))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "The plan of the request" in done.stderr
    assert "stdin" in done.stderr
    assert not (tmp_path / "sent").exists()


async def test_a_book_edited_while_a_session_is_open_changes_nothing_in_it(kit: Kit, tmp_path: Path) -> None:
    """Nothing is read again after it was taken: the run is the one that was planned, shown and signed."""
    step = f"  - {{id: a, kind: ssh, mode: write, repeatable: true, argv: [touch, {tmp_path}/NAME]}}\n"
    kit.book(step.replace("NAME", "one"))
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, "", "the tests need it")
        kit.book(step.replace("NAME", "two"))
        await session.write(task, "a")
    assert (tmp_path / "one").exists()
    assert not (tmp_path / "two").exists()


def test_a_request_is_for_one_run(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        f"  - {{id: a, kind: ssh, mode: write, repeatable: true, argv: [sh, -c, 'echo once >> {tmp_path}/sent']}}\n"
    )
    block = kit.request("book")
    assert kit.cli("run", NAME, "book", "--grant", str(block)).returncode == 0
    again = kit.cli("run", NAME, "book", "--grant", str(block))
    assert again.returncode == 1, again.stdout + again.stderr
    assert "was started from this request before (OK)" in again.stderr
    assert (tmp_path / "sent").read_text() == "once\n"
    assert kit.run().word == "OK"
    assert len(kit.events(RunStarted)) == 1


def test_without_the_other_signature_nothing_begins_and_the_request_stays_good(kit: Kit, tmp_path: Path) -> None:
    kit.put(
        "access/people.yaml", PEOPLE.replace("}}", "}, meera: {name: Meera, principals: [meera], roles: [on-call]}}")
    )
    spaces = f"request.v1.{NAME}@envtui,approve.v1.{NAME}@envtui"
    kit.put(
        "access/allowed_signers",
        "".join(
            f'{who} namespaces="{spaces}" {kit.servers.public(key)}\n'
            for who, key in (("asha", "operator"), ("meera", "meera"))
        ),
    )
    kit.manifest("  incident: {tracker: none, required: false}\n  signoff: {min: 1, same_machine: allowed}\n")
    kit.book(f"  - {{id: a, kind: ssh, mode: write, repeatable: true, argv: [touch, {tmp_path}/sent]}}\n")
    block = kit.request("book")
    done = kit.cli("run", NAME, "book", "--grant", str(block))
    assert done.returncode == 3, done.stdout + done.stderr
    assert not kit.events(RunStarted)
    signed = kit.cli("sign", NAME, "--yes", "--key", f"file:{kit.servers.key('meera')}", stdin=block.read_text())
    assert signed.returncode == 0, signed.stdout + signed.stderr
    block.write_text(block.read_text() + signed.stdout)
    done = kit.cli("run", NAME, "book", "--grant", str(block))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "sent").exists()


async def test_write_access_runs_out_by_itself(kit: Kit, tmp_path: Path) -> None:
    kit.manifest("  incident: {tracker: none, required: false}\n  signoff: {min: 0}\n  grant: {max: 1s}\n")
    kit.book(
        "".join(
            f"  - {{id: {n}, kind: ssh, mode: write, repeatable: true, timeout: 500ms, argv: [touch, {tmp_path}/{n}]}}\n"
            for n in "ab"
        )
    )
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, "", "the tests need it")
        await session.access.activate(task)
        while task.run.write_active:
            await session.ways.clock.sleep(0.05)
        assert task.run.grant is not None
        assert task.run.grant.ended == "EXPIRED"
        assert isinstance(task.next, ReadyWrite)
        with pytest.raises(NeedsWrite):
            await session.write(task, "a")
    assert not (tmp_path / "a").exists()


def test_a_secret_appears_nowhere(kit: Kit) -> None:
    secret = "hunter2-kept-between-us"
    kit.more["TOKEN"] = secret
    kit.book(
        "  - {id: a, kind: ssh, argv: [cat], stdin: {text: '${params.token}'}}\n",
        more="params: {token: {type: secret, required: true}}\n",
    )
    done = kit.cli("run", NAME, "book", "-p", "token=env:TOKEN")
    assert done.returncode == 0, done.stdout + done.stderr
    assert secret not in done.stdout + done.stderr
    files = [f for f in (kit.folder / "state").rglob("*") if f.is_file()]
    assert any("spool" in str(f) for f in files)
    assert not [f for f in files if secret.encode() in f.read_bytes()]


async def test_closing_the_incident_ends_write_access_before_the_next_act(kit: Kit, tmp_path: Path) -> None:
    kit.manifest(f"  incident: {{tracker: file, path: {tmp_path}/register.jsonl}}\n  signoff: {{min: 0}}\n")
    kit.book(f"  - {{id: a, kind: ssh, mode: write, repeatable: true, argv: [touch, {tmp_path}/sent]}}\n")
    incident = kit.cli("incident", "open", NAME, "--title", "403 for everyone").stdout.strip()
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, incident, "the tests need it")
        await session.access.activate(task)
        assert kit.cli("incident", "close", NAME, incident).returncode == 0
        with pytest.raises(Refused, match="closed"):
            await session.write(task, "a")
        assert not task.run.write_active
    assert [e.reason for e in kit.events(GrantEnded)] == ["INCIDENT_CLOSED"]
    assert not kit.events(PermitSpent)
    assert not (tmp_path / "sent").exists()
