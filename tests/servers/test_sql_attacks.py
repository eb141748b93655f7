"""Attacks on a real PostgreSQL, seen from outside: each works without protection, and none through the reader."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest

from envtui.core.errors import EnvtuiError
from envtui.outside.sql import wire
from envtui.outside.sql.gate import Called
from envtui.outside.sql.session import SqlReader
from envtui.outside.sql.statements import Statement, called_read
from tests.servers.postgres import Collected, connector, read_act
from tests.servers.sql_attacks_kit import VERSIONS, Range, changed, corpus, ranges, unprotected

pytestmark = pytest.mark.servers
Checked = Callable[[str, int], tuple[Statement, Sequence[Called]]]

CORPUS = corpus("sql_attacks.yaml")
OWN = corpus("sql_attacks_own.yaml")

_NO_LIBXML = "the lab's server is built without libxml"
_BEFORE = "needs a statement before it, which is refused by itself"
NOT_SHOWN = {
    "18": {
        "pg-file-write": "adminpack ended with PostgreSQL 16",
        "query-to-xml": _NO_LIBXML,
        "xpath-query": _NO_LIBXML,
        "dollar-quoted-text": _NO_LIBXML,
        "database-to-xml": _NO_LIBXML,
        "table-to-xml": _NO_LIBXML,
        "json-table-over-xml": f"needs PostgreSQL 17, and {_NO_LIBXML}",
        "dos-cartesian": "statement_timeout alone ends it",
        "cursor-to-xml": _BEFORE,
        "execute": _BEFORE,
        "lock-table": _BEFORE,
        "prepare-transaction": _BEFORE,
        "cast-as-function": "a row type is not called like a function",
        "sync-slots": "for a standby",
        "promote": "for a standby",
        "upgrade-only": "for a server that pg_upgrade started",
    }
}
"""What has no effect even without protection, on this server, and why."""

ONLY_15 = {"pg-file-write", "query-to-xml", "xpath-query", "dollar-quoted-text", "database-to-xml", "table-to-xml"}
"""What the lab's server cannot do, and Debian's can."""


@pytest.fixture(scope="module", params=list(VERSIONS))
def here(request: pytest.FixtureRequest) -> Iterator[Range]:
    bindir = VERSIONS[request.param]
    if bindir is not None and not bindir.is_dir():
        pytest.skip(f"NO POSTGRESQL {request.param} ON THIS MACHINE: the attacks ran against the lab's alone")
    with ranges(request.param, bindir) as made:
        yield made


def works(here: Range, attack: dict[str, Any]) -> bool:
    """Whether a superuser without protection has the effect. The database is as the attack before it left it, and only
    when that is in the way a new one: most of them can be seen again and again."""
    with contextlib.suppress(psycopg.Error):
        if _works(here, attack):
            return True
    here.fresh()
    return _works(here, attack)


def _works(here: Range, attack: dict[str, Any]) -> bool:
    here.bystanders("attacker")
    detect = attack.get("detect", {"kind": "everything"})
    query = here.filled(str(detect.get("query")))
    kind = detect["kind"]
    before: Any = here.look(query) if kind == "scalar" else here.snapshot() if kind == "everything" else None
    connection, outcome = unprotected(here, [here.filled(each) for each in attack["sql"]])
    try:
        if kind == "scalar":
            return here.look(query) != before
        if kind == "everything":
            return bool(changed(before, here.snapshot()))
        return {
            "returns_rows": outcome.rows > 0 and not outcome.error,
            "returns_true": outcome.true,
            "notify": here.heard() > 0,
            "no_error": not outcome.error,
            "accepted": not outcome.error,
            "duration": outcome.seconds > here.patience,
        }[kind]
    finally:
        connection.close()


def test_each_attack_works_where_nothing_protects(here: Range) -> None:
    """Otherwise that it has no effect through the reader would say nothing."""
    here.fresh()
    attacks = [each for each in CORPUS + OWN if here.version == "18" or each["id"] in ONLY_15]
    without = {attack["id"] for attack in attacks if not works(here, attack)}
    assert without == set(NOT_SHOWN.get(here.version, {}))


def ungated(text: str, binds: int = 0) -> tuple[Statement, tuple[Called, ...]]:
    """No gate at all: what is behind it has to hold."""
    return Statement(text, "SelectStmt"), ()


LEFT = """
select (select count(*) from pg_prepared_statements), (select count(*) from pg_listening_channels()),
       (select count(*) from pg_settings where source = 'session' and name <> all
          ('{application_name,statement_timeout,lock_timeout,work_mem,hash_mem_multiplier,max_parallel_workers_per_gather,transaction_read_only,transaction_isolation,transaction_deferrable}'))
"""
"""What an attack left in the session of the read itself."""


async def through(here: Range, role: str, attacks: list[dict[str, Any]], checked: Checked = called_read) -> str:
    """Try them all over one connection for reads; the level that it claimed."""
    reader = SqlReader(connector(here.database), checked)
    try:
        shown = await reader.open(read_act(here.database, "select 1", user=role))
        for attack in attacks:
            for text in attack["sql"]:
                with contextlib.suppress(EnvtuiError):
                    act = read_act(here.database, here.filled(text), user=role, timeout=here.patience / 2)
                    await reader.read(act, Collected())
        left = await reader.read(read_act(here.database, LEFT, user=role), Collected())
        assert left.rows == (("0", "0", "0"),)
        return shown.protection
    finally:
        await reader.close()


async def who_has_an_effect(
    here: Range, role: str, attacks: list[dict[str, Any]], checked: Checked = called_read
) -> set[str]:
    """One by one, each on a database that the one before it left unchanged."""
    found = set()
    here.fresh(hardened=True)
    for attack in attacks:
        here.bystanders(role)
        before = here.snapshot()
        await through(here, role, [attack], checked)
        if differs := changed(before, here.snapshot()):
            print(attack["id"], differs)
            found.add(attack["id"])
            here.fresh(hardened=True)
    return found


@pytest.mark.parametrize(("role", "level"), [("looker", "role-enforced"), ("app_owner", "session-enforced")])
async def test_no_attack_has_an_effect_through_the_reader(here: Range, role: str, level: str) -> None:
    """For a role that can only read, and for one that owns everything: there the gate and the transaction hold alone."""
    attacks = [each for each in CORPUS + OWN if (role, each["id"]) not in BY_DESIGN]
    here.fresh(hardened=True)
    here.bystanders(role)
    before = here.snapshot()
    claimed = await through(here, role, attacks)
    if differs := changed(before, here.snapshot()):
        pytest.fail(f"{differs} changed by {await who_has_an_effect(here, role, attacks)}")
    assert claimed.startswith(level)


BY_DESIGN = {
    ("app_owner", "program-view"): "its owner made a foreign table of a program, and a view that this role may read",
}


async def test_what_remains_by_design_is_that_and_nothing_else(here: Range) -> None:
    for role, attack in BY_DESIGN:
        assert await who_has_an_effect(here, role, named(attack)) == {attack}


def named(*ids: str) -> list[dict[str, Any]]:
    found = [each for each in CORPUS + OWN if each["id"] in ids]
    assert {each["id"] for each in found} == set(ids)
    return found


async def test_without_the_gate_these_get_through_even_with_a_role_that_only_reads(here: Range) -> None:
    attacks = named("prepare-transaction", "adm-terminate-samerole", "terminate")
    assert await who_has_an_effect(here, "looker", attacks, ungated) == {each["id"] for each in attacks}


async def test_without_the_transaction_these_get_past_the_gate(here: Range, monkeypatch: pytest.MonkeyPatch) -> None:
    _commits(monkeypatch)
    attacks = named("table-cmd-view", "fn-view", "fn-operator", "fn-attr-notation")
    assert await who_has_an_effect(here, "app_owner", attacks) == {each["id"] for each in attacks}
    casts = named(
        "own-cast",
        "explicit-cast",
        "domain-in-column",
        "domain-in-record",
        "domain-of-column",
        "domain-array",
        "typed-literal",
    )
    assert await who_has_an_effect(here, "app_owner", casts) == set()


async def test_without_gate_and_transaction_it_is_the_role_that_holds(
    here: Range, monkeypatch: pytest.MonkeyPatch
) -> None:
    _commits(monkeypatch)
    held = {"dml-insert", "seq-setval", "lo-put", "ddl-comment", "fn-view", "call-proc", "sel-into", "own-operator"}
    attacks = named(*held, "in-order-by")
    assert await who_has_an_effect(here, "app_owner", attacks, ungated) == held | {"in-order-by"}
    assert await who_has_an_effect(here, "looker", attacks, ungated) == {"in-order-by"}  # NOTIFY needs no privilege


def _commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if reads began a transaction that may write, and ended it with COMMIT."""
    assert (wire.BEGIN, wire.AFTER) == (b"BEGIN READ ONLY", (b"ROLLBACK", b"DISCARD ALL"))
    monkeypatch.setattr(wire, "BEGIN", b"BEGIN")
    monkeypatch.setattr(wire, "AFTER", (b"COMMIT", b"DISCARD ALL"))
