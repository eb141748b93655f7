"""Attacks on a real PostgreSQL, seen from outside: each works without protection, and none through the reader."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.servers.sql_attacks_kit import VERSIONS, Range, changed, corpus, ranges, unprotected

pytestmark = pytest.mark.servers

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
