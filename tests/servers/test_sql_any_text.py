"""Ten thousand statements drawn at random: what the gate passes leaves everything on the server unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from envtui.core.errors import EnvtuiError, Refused
from envtui.outside.sql.session import SqlReader
from envtui.outside.sql.statements import check_read
from tests.servers.postgres import Collected, connector, read_act
from tests.servers.sql_attacks_kit import Range, changed, ranges
from tests.servers.sql_texts import Texts

pytestmark = pytest.mark.servers
HOW_MANY = 10_000
SEED = 5


@pytest.fixture(scope="module")
def here() -> Iterator[Range]:
    with ranges("18", None) as made:
        made.fresh(hardened=True)
        yield made


def passed() -> list[str]:
    texts = Texts(SEED)
    drawn = [texts.one() for _ in range(HOW_MANY)]
    found = []
    for text in dict.fromkeys(drawn):
        try:
            check_read(text)
        except Refused:
            continue
        found.append(text)
    return found


@pytest.mark.parametrize("role", ["looker", "app_owner"])
async def test_what_the_gate_passes_changes_nothing(here: Range, role: str) -> None:
    texts = passed()
    here.bystanders(role)
    before = here.snapshot()
    reader = SqlReader(connector(here.database))
    outcomes: Counter[str] = Counter()
    try:
        for text in texts:
            try:
                await reader.read(read_act(here.database, text, user=role, timeout=5.0), Collected())
                outcomes["answered"] += 1
            except EnvtuiError as error:
                outcomes[type(error).__name__] += 1
    finally:
        await reader.close()
    print(len(texts), outcomes)
    assert changed(before, here.snapshot()) == []
    assert outcomes["answered"] > 200
