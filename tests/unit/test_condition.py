from __future__ import annotations

import pytest

from envtui.core.errors import UsageError
from envtui.rules.condition import holds, split

VALUES = {"vars.state": "down", "vars.n": "10", "vars.version": "1.10"}


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "${vars.state} == down",
        '${vars.state} == "down"',
        "${vars.state} != up",
        "${vars.n} > 9",
        "${vars.n}<=10.0",
        "${vars.version} != 1.1",
    ],
)
def test_holds(expression: str) -> None:
    assert holds(expression, VALUES)


@pytest.mark.parametrize("expression", ["${vars.state} == up", "${vars.n} < 9", "${vars.n} == 10.0"])
def test_holds_not(expression: str) -> None:
    assert not holds(expression, VALUES)


@pytest.mark.parametrize(
    "expression",
    [
        "${vars.none} == x",
        "${vars.state} > 3",
        "${vars.n} > many",
        "vars.n > 3",
        "${vars.n}",
        "${oops} == 1",
        "a ${vars.n} == 1",
    ],
)
def test_nothing_is_decided_for_lack_of_data(expression: str) -> None:
    with pytest.raises(UsageError):
        holds(expression, VALUES)


def test_split_is_what_lint_asks() -> None:
    assert split("${vars.leader.name} >= 3") == ("vars.leader.name", ">=", "3")
