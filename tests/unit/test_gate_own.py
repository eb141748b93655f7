"""The gate against SQL of our own: PostgreSQL 15 to 18, functions that run text, effects in every clause of a SELECT.

What the text shows is refused, and not because it could not be read. No server: that effects stay away is not shown here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from envtui.core.errors import Refused
from envtui.outside.sql.statements import check_read

ATTACKS: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[1] / "corpora" / "sql_attacks_own.yaml").read_text()
)["attacks"]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack["id"])
def test_what_the_text_shows_is_refused_for_what_it_does(attack: dict[str, Any]) -> None:
    if not attack.get("seen", True):
        check_read(attack["sql"])
        return
    with pytest.raises(Refused) as caught:
        check_read(attack["sql"])
    assert "syntax" not in str(caught.value).lower()
