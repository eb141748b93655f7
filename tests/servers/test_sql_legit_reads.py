"""What on-call people ask a database: the reader gives the very rows that a plain connection of the same role gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import yaml

from envtui.core.errors import EnvtuiError, Refused
from envtui.outside.sql.session import BOUNDS, SqlReader
from tests.servers.postgres import PASSWORD, Collected, connector, read_act
from tests.servers.sql_attacks_kit import CORPORA, Range, ranges

pytestmark = pytest.mark.servers

READS: list[dict[str, Any]] = yaml.safe_load((CORPORA / "sql_legit_reads.yaml").read_text())["must_pass"]
BY_DESIGN = {"r068": "COPY … TO STDOUT: a SELECT says the same"}
HEAD = 1000
"""Rows that come back from a read; the others are in its table only."""


@pytest.fixture(scope="module")
def here() -> Iterator[Range]:
    with ranges("18", None) as made:
        made.fresh(hardened=True)
        yield made


Answer = tuple[tuple[str, ...], list[tuple[str | None, ...]], int] | str


def plainly(connection: psycopg.Connection, text: str) -> Answer:
    """Columns, the first rows as text and how many there are; the SQLSTATE of an error."""
    result = connection.pgconn.exec_(text.encode())
    if state := result.error_field(psycopg.pq.DiagnosticField.SQLSTATE):
        return state.decode()
    cells = [[result.get_value(row, column) for column in range(result.nfields)] for row in range(result.ntuples)]
    rows = [tuple(None if cell is None else cell.decode() for cell in row) for row in cells[:HEAD]]
    return tuple((result.fname(at) or b"").decode() for at in range(result.nfields)), rows, len(cells)


async def test_the_rows_are_those_of_a_plain_connection(here: Range) -> None:
    reader = SqlReader(connector(here.database))
    answered, wrong = 0, {}
    # What a read says of itself is true of it.
    bounds = f"BEGIN; {'; '.join(f'SET LOCAL {name} = {value!r}' for name, value in BOUNDS.items())}".encode()
    with psycopg.connect(here.cluster.dsn("att", "looker", PASSWORD), autocommit=True) as plain:
        for read in READS:
            plain.pgconn.exec_(bounds if read["sql"].lower().startswith("select") else b"BEGIN")
            theirs = plainly(plain, read["sql"])
            plain.pgconn.exec_(b"ROLLBACK")
            try:
                got = await reader.read(read_act(here.database, read["sql"], user="looker"), Collected())
            except Refused as error:
                if read["id"] not in BY_DESIGN:
                    wrong[read["id"]] = str(error)
                continue
            except EnvtuiError as error:
                if not (isinstance(theirs, str) and f"[{theirs}]" in str(error)):
                    wrong[read["id"]] = str(error)
                continue
            ours: Answer = (got.columns, list(got.rows), got.row_count)
            if read.get("moving"):
                ours, theirs = ours[0], theirs[0]  # type: ignore[assignment]  # the columns alone
            if ours != theirs:
                wrong[read["id"]] = f"{ours}\n{theirs}"[:600]
            answered += 1
    await reader.close()
    assert not wrong, "\n".join(f"{name}: {said}" for name, said in wrong.items())
    assert answered >= 125
