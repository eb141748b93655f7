from __future__ import annotations

import pytest

from envtui.core.ports import HEAD_BYTES, Reading
from envtui.core.runbook import AnyExpect, HttpExpect, SqlExpect, SshExpect, SshStep
from envtui.rules.expect import Expect, judge, meets

ROWS = Reading(columns=("status", "n"), rows=(("403", "12"), ("200", "88")), row_count=2)


@pytest.mark.parametrize(
    ("expect", "reading"),
    [
        (SshExpect(), Reading(exit=0)),
        (SshExpect(exit=(0, 3)), Reading(exit=3)),
        (SshExpect(stdout_matches="^ok$"), Reading(exit=0, stdout=b"all\nok\n")),
        (SshExpect(stdout_absent="error"), Reading(exit=0, stdout=b"\xff fine")),
        (
            SshExpect(json={"/a/0/b~1c": "true", "/n": "< 5"}),
            Reading(exit=0, stdout=b'{"a": [{"b/c": true}], "n": 4.5}'),
        ),
        (SqlExpect(rows=2, rows_min=1, rows_max=2, value="403"), ROWS),
        (SqlExpect(value="> 400"), ROWS),
        (SqlExpect(affected_max=3), Reading(affected=3)),
        (HttpExpect(), Reading(status=204)),
        (HttpExpect(status=404), Reading(status=404)),
        (HttpExpect(value="== ok", json=None), Reading(status=200, stdout=b"ok\n")),
        (AnyExpect(rows_min=1), ROWS),
        (AnyExpect(stdout_matches="x"), Reading(exit=0, stdout=b"x")),
    ],
)
def test_as_expected(expect: Expect, reading: Reading) -> None:
    ok, why = meets(expect, reading, {})
    assert ok, why


@pytest.mark.parametrize(
    ("expect", "reading", "why"),
    [
        (SshExpect(), Reading(exit=1), "exit 1, expected 0"),
        (SshExpect(), Reading(signal="KILL"), "it was ended by signal KILL"),
        (SshExpect(), Reading(), "it ended without an exit status"),
        (SshExpect(stdout_matches="ok"), Reading(exit=0), "the output does not match ok"),
        (SshExpect(stdout_absent="err"), Reading(exit=0, stdout=b"an err"), "the output matches err"),
        (SshExpect(stdout_absent="err"), Reading(exit=0, stdout=b"a" * HEAD_BYTES), "may still be in it"),
        (SshExpect(stdout_matches="(x+x+)+y"), Reading(exit=0, stdout=b"x" * HEAD_BYTES), "steps"),
        (SshExpect(json={"/a": "1"}), Reading(exit=0, stdout=b"{}"), "nothing at /a"),
        (SshExpect(json={"/a": "1"}), Reading(exit=0, stdout=b"no"), "not JSON"),
        (SqlExpect(rows=1), ROWS, "2 rows, expected 1"),
        (SqlExpect(rows_min=3), ROWS, "2 rows, expected at least 3"),
        (SqlExpect(rows_max=0), Reading(columns=("a",), rows=(("1",),), row_count=1), "1 row, expected at most 0"),
        (SqlExpect(rows_min=0), Reading(affected=1), "It returned no table"),
        (SqlExpect(value="== 0"), ROWS, "the value is '403', expected '== 0'"),
        (SqlExpect(value="0"), Reading(columns=("a",), row_count=0), "There is no value"),
        (SqlExpect(value="0"), Reading(columns=("a",), rows=((None,),), row_count=1), "There is no value"),
        (SqlExpect(value="< 5"), Reading(columns=("a",), rows=(("NaN",),), row_count=1), "no number"),
        (SqlExpect(affected_max=3), Reading(affected=4), "it changed 4 rows, expected at most 3"),
        (SqlExpect(affected_max=3), Reading(), "did not say"),
        (HttpExpect(), Reading(status=302), "status 302, expected 2xx"),
        (HttpExpect(), Reading(exit=0), "no answer with a status"),
        (AnyExpect(stdout_matches="x"), Reading(exit=1, stdout=b"x"), "exit 1, expected 0"),
        (SshExpect(stdout_matches="${vars.v}"), Reading(exit=0), "no step has captured it"),
    ],
)
def test_not_as_expected_and_why(expect: Expect, reading: Reading, why: str) -> None:
    ok, said = meets(expect, reading, {})
    assert not ok
    assert why in said


def test_a_value_in_a_pattern_stands_for_itself() -> None:
    step = SshStep(id="s", argv=("x",), expect=SshExpect(stdout_matches="^v ${params.v}$"))
    assert judge(step, Reading(exit=0, stdout=b"v 1.2"), {"params.v": "1.2"})[0]
    assert not judge(step, Reading(exit=0, stdout=b"v 1x2"), {"params.v": "1.2"})[0]
    assert not judge(step, Reading(exit=0, stdout=b"v 1x2"), {"params.v": ".*"})[0]
