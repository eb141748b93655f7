"""Several members of one target: values of each, the one that answers, the one that is meant, and rows to pick."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from envtui.core.errors import UsageError
from envtui.core.events import ActEnded, ActIntended, Captured, IdentityShown
from envtui.rules.proposals import Done, NeedsPick
from tests.servers.silent import closing, hanging, refusing
from tests.servers.sshd import Server, Servers
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


@pytest.fixture(scope="session")
def two(machines: Servers) -> Server:
    return machines.start("staging:one", accepts=("reader", "writer"))


@pytest.fixture
def pair(kit: Kit, two: Server) -> Kit:
    """`web` is two members, of which `$SSH_CONNECTION` tells which is which."""
    kit.targets["web"] = (
        f'kind: ssh, hosts: ["web1={kit.one.address}", "web2={two.address}"], read: shell, write: shell-write'
    )
    kit.put("known_hosts", kit.one.known() + two.known())
    kit.manifest()
    return kit


PORT = "set -- $SSH_CONNECTION; echo port $4"


def captured(kit: Kit) -> list[tuple[str, str]]:
    return [(e.member, e.value.text) for e in kit.events(Captured) if e.value]


def answered(kit: Kit) -> list[tuple[str, str]]:
    """(member, word) of each act, in the order of the intents."""
    ended = {(e.act, e.attempt): e.word for e in kit.events(ActEnded)}
    return [(e.member, ended[(e.act, e.attempt)]) for e in kit.events(ActIntended)]


def test_each_member_has_its_own_value_and_later_reads_use_it(pair: Kit, two: Server) -> None:
    pair.book(
        f"  - {{id: a, kind: ssh, sh: '{PORT}', capture: {{port: {{from: stdout, regex: 'port (.*)', type: int, per_host: true}}}}}}\n"
        "  - {id: b, kind: ssh, argv: [echo, '${run.host}', '${vars.port}', '${vars.port.host}'], "
        "capture: {said: {from: stdout, per_host: true}}}\n"
    )
    done = pair.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(captured(pair)) == sorted(
        [
            ("web1", str(pair.one.port)),
            ("web2", str(two.port)),
            ("web1", f"web1 {pair.one.port} web1"),
            ("web2", f"web2 {two.port} web2"),
        ]
    )


def test_a_value_that_one_member_lacks_fails_there_alone_and_is_never_anothers(pair: Kit, two: Server) -> None:
    pair.book(
        f"  - {{id: a, kind: ssh, sh: '{PORT}', expect: {{stdout_matches: 'port {two.port}', any_host: true}}, "
        "capture: {leader: {from: stdout, per_host: true}}}\n"
        "  - {id: b, kind: ssh, argv: [echo, '${vars.leader}'], expect: {any_host: true}}\n"
    )
    done = pair.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert captured(pair) == [("web2", f"port {two.port}")]
    refused = [e for e in pair.events(ActEnded) if e.word == "REFUSED"]
    assert [(e.step, e.act) for e in refused] == [("b", "b@web1")]
    assert not [e for e in pair.events(ActIntended) if (e.step, e.member) == ("b", "web1")]


def test_the_host_that_was_found_is_the_one_that_is_meant(pair: Kit, two: Server) -> None:
    """`host: ${vars.leader.host}`: of two members only one is the leader."""
    pair.book(
        f"  - {{id: a, kind: ssh, sh: '{PORT}', expect: {{stdout_matches: 'port {two.port}', any_host: true}}, "
        "capture: {leader: {from: stdout, per_host: true}}}\n"
        "  - {id: b, kind: ssh, host: '${vars.leader.host}', argv: [echo, 'on ${run.host}'], capture: {said: {from: stdout}}}\n"
    )
    done = pair.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert captured(pair)[-1] == ("", "on web2")


def test_without_per_host_the_first_member_that_is_as_expected_gives_the_value(pair: Kit, two: Server) -> None:
    pair.book(
        f"  - {{id: a, kind: ssh, sh: '{PORT}', expect: {{stdout_matches: 'port {two.port}', any_host: true}}, "
        "capture: {port: {from: stdout}}}\n"
    )
    assert pair.cli("run", NAME, "book").returncode == 0
    assert captured(pair) == [("", f"port {two.port}")]


@pytest.mark.parametrize("how", ["refusing", "closing", "unknown name"])
def test_any_host_goes_to_the_next_when_the_first_cannot_be_reached(kit: Kit, how: str) -> None:
    with ExitStack() as stack:
        address = (
            "nowhere.invalid:22"
            if how == "unknown name"
            else stack.enter_context({"refusing": refusing, "closing": closing}[how]())
        )
        kit.targets["web"] = f'kind: ssh, hosts: ["gone={address}", "web1={kit.one.address}"], read: shell'
        kit.manifest()
        kit.book(
            "  - {id: a, kind: ssh, host: any, argv: [echo, 'from ${run.host}'], "
            "capture: {said: {from: stdout, per_host: true}}}\n"
            "  - {id: b, kind: ssh, host: '${vars.said.host}', argv: [echo, 'again ${run.host}'], capture: {more: {from: stdout}}}\n"
        )
        done = kit.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert captured(kit) == [("web1", "from web1"), ("", "again web1")]
    assert answered(kit) == [("web1", "OK"), ("web1", "OK")]
    assert next((e.act, e.member) for e in kit.events(ActIntended)) == ("a@gone", "web1")
    assert next(s.acts[0].member for s in kit.run().steps) == "web1"


def test_any_host_when_none_can_be_reached_says_why(kit: Kit) -> None:
    with refusing() as first, refusing() as second:
        kit.targets["web"] = f'kind: ssh, hosts: ["g1={first}", "g2={second}"], read: shell'
        kit.manifest()
        kit.book("  - {id: a, kind: ssh, host: any, argv: [echo, hello]}\n")
        done = kit.cli("run", NAME, "book")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "refused the connection" in done.stdout
    assert [e.word for e in kit.events(ActEnded)] == ["FAILED"]


def test_any_host_does_not_go_around_a_wrong_identity(kit: Kit, machines: Servers) -> None:
    """A host that answers and is another one is no reason to look elsewhere: it is a finding."""
    other = machines.start("production:one", accepts=("reader", "writer"))
    kit.targets["web"] = f'kind: ssh, hosts: ["o1={other.address}", "web1={kit.one.address}"], read: shell'
    kit.put("known_hosts", kit.one.known() + other.known())
    kit.manifest()
    kit.book("  - {id: a, kind: ssh, host: any, argv: [echo, hello]}\n")
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 6, done.stdout + done.stderr
    assert "| hello" not in done.stdout


@pytest.mark.parametrize("how", ["refusing", "closing"])
def test_a_database_has_other_servers(kit_sql: Kit, how: str) -> None:
    database = kit_sql.db
    assert database is not None
    with {"refusing": refusing, "closing": closing}[how]() as address:
        kit_sql.targets["db"] = (
            f'kind: sql, hosts: ["gone={address}", "db1={database.address}"], dbname: {database.name}, tls: disable, read: look'
        )
        kit_sql.manifest()
        kit_sql.book('  - {id: a, kind: sql, target: db, query: "select 7", expect: {value: "7"}}\n')
        done = kit_sql.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [e.member for e in kit_sql.events(IdentityShown)] == ["db1"]


def test_a_write_to_any_host_does_not_try_another(kit: Kit, tmp_path: Path) -> None:
    """One member was signed for. Whether it can be reached or not, no other one is written to."""
    with refusing() as address:
        kit.targets["web"] = (
            f'kind: ssh, hosts: ["gone={address}", "web1={kit.one.address}"], read: shell, write: shell-write'
        )
        kit.manifest()
        kit.book(
            f"  - {{id: a, kind: ssh, mode: write, host: any, repeatable: true, argv: [touch, {tmp_path}/sent]}}\n"
        )
        done = kit.cli("run", NAME, "book", "--grant", str(kit.request("book")))
    assert done.returncode == 1, done.stdout + done.stderr
    assert not (tmp_path / "sent").exists()
    assert answered(kit) == [("gone", "FAILED")]


def test_any_host_goes_on_when_the_first_hangs(kit: Kit) -> None:
    with hanging() as address:
        kit.targets["web"] = f'kind: ssh, hosts: ["hung={address}", "web1={kit.one.address}"], read: shell'
        kit.manifest()
        kit.book("  - {id: a, kind: ssh, host: any, argv: [echo, hello]}\n")
        done = kit.hurried("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert answered(kit) == [("web1", "OK")]


async def test_several_rows_are_picked_and_one_is_not_enough_of_a_wrong_call(kit_sql: Kit) -> None:
    kit_sql.book(
        '  - {id: a, kind: sql, target: db, query: "select id, state from orders order by id", '
        "capture: {rows: {from: rows, pick: many, columns: {id: int, state: string}}}}\n"
        '  - {id: b, kind: sql, target: db, query: "select 1"}\n'
    )
    async with kit_sql.open() as session:
        task = await session.start(session.plan("book", {}))
        offered = await task.run_on()
        assert isinstance(offered, NeedsPick)
        assert offered.many
        assert len(offered.rows) == 10
        for wrong in ([], [0, 0], [10], [-1]):
            with pytest.raises(UsageError):
                await task.pick("a", "rows", wrong)
        await task.pick("a", "rows", [4, 1])
        assert isinstance(await task.run_on(), Done)
    taken = kit_sql.events(Captured)
    assert [e.rows for e in taken] == [(("5", "new"), ("2", "new"))]


def test_rows_are_picked_by_number_or_first_cell_on_the_command_line(kit_sql: Kit) -> None:
    kit_sql.book(
        "  - {id: a, kind: sql, target: db, query: \"select 'r' || id as name, id from orders order by id\", "
        "capture: {row: {from: rows, pick: one, columns: {name: string, id: int}}}}\n"
        '  - {id: b, kind: sql, target: db, query: "select ${vars.row.name}", capture: {said: {from: rows}}}\n'
    )
    for answer, name in (("3", "r3"), ("r7", "r7")):
        done = kit_sql.cli("run", NAME, "book", "--answer", f"a={answer}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert kit_sql.events(Captured)[-1].rows == ((name,),)
    missing = kit_sql.cli("run", NAME, "book")
    assert missing.returncode == 2, missing.stdout
    assert "Step a needs an answer" in missing.stderr
    two = kit_sql.cli("run", NAME, "book", "--answer", "a=1,2")
    assert two.returncode == 2, two.stdout
