from __future__ import annotations

import pytest

from envtui.core.act import Ref, SecretRef, Value
from envtui.core.errors import UsageError
from envtui.rules.template import Scope, join, names, parse, pieces, plain, prose

SCOPE = Scope(
    known={
        "params.v": Value(type="string", text="${params.v} $${x}"),
        "params.token": Value(type="secret", secret=True, reference="env:T"),
    },
    later={"vars.pid": "int", "vars.row.*": "string"},
)


def test_parse() -> None:
    assert parse("a ${params.v}${vars.a.b}") == ("a ", Ref("params.v"), Ref("vars.a.b"))
    assert parse("$${params.v} $$$ $ {} $$${x}") == ("${params.v} $$$ $ {} $${x}",)
    assert names("${run.id} ${vars.x}") == ("run.id", "vars.x")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ab ${params.v", "character 4: '${params.v' names nothing"),
        ("${}", "character 1"),
        ("${params}", "names nothing"),
        ("${params.a.b.c}", "names nothing"),
        ("${ params.v }", "names nothing"),
        ("${secrets.v}", "names nothing"),
        ("a\nb ${x}", "line 2, character 3"),
    ],
)
def test_what_names_nothing_says_where(text: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text)
    assert why in error.value.message


def test_values_go_in_once_and_stay_what_they_are() -> None:
    text = join(pieces("a ${params.v} ${params.token} ${vars.pid}${vars.row.name}", SCOPE))
    assert text == ("a ${params.v} $${x} ", SecretRef("token", "env:T"), " ", Ref("vars.pid"), Ref("vars.row.name"))


def test_unknown_names_come_with_the_nearest_known() -> None:
    with pytest.raises(UsageError, match=r"Did you mean \$\{params.token\}"):
        pieces("${params.tokn}", SCOPE)
    with pytest.raises(UsageError, match="belongs to a step with `each`"):
        pieces("${each.x}", SCOPE)


def test_what_is_fixed_when_planned_has_no_later_values() -> None:
    for text in ("${vars.pid}", "${params.token}"):
        with pytest.raises(UsageError, match="cannot stand here"):
            plain(text, SCOPE, "step s, cwd")


def test_prose_never_fails() -> None:
    assert prose("kill ${vars.pid} of ${params.v}", {"params.v": "x"}) == "kill ‹vars.pid› of x"
    assert prose("costs ${", {}) == "costs ${"
