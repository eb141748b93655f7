from __future__ import annotations

import pytest

from envtui.core.errors import Failed, UsageError
from envtui.core.ports import HEAD_BYTES, Reading
from envtui.core.runbook import Capture
from envtui.rules.capture import Offer, Taken, capture, picked

OUT = Reading(exit=0, stdout=b"version 1.2\r\nworker 7\n\nworker 9\n")
ROWS = Reading(columns=("pid", "role"), rows=(("7", "web"), ("9", None), ("11", "web")), row_count=3)


def value(spec: Capture, reading: Reading = OUT) -> str:
    found = capture("x", spec, reading, {"params.role": "web"})
    assert isinstance(found, Taken)
    assert found.value is not None
    assert found.value.origin == "capture"
    return found.value.text


def rows(spec: Capture, reading: Reading = ROWS) -> tuple[tuple[str, ...], ...]:
    found = capture("x", spec, reading, {"params.role": "web"})
    assert isinstance(found, Taken)
    return found.rows


def test_one_value() -> None:
    assert value(Capture(from_="stdout", regex=r"version (\S+)")) == "1.2"
    assert value(Capture(from_="stdout"), Reading(stdout=b"  a\n")) == "a"
    assert value(Capture(from_="stdout", regex=r"\d+", type="int"), Reading(stdout=b"n 007")) == "7"
    assert value(Capture(from_="json", path="/a/1"), Reading(stdout=b'{"a": [0, {"b": 1}]}')) == '{"b":1}'
    assert value(Capture(from_="headers", path="ETag"), Reading(headers=(("etag", ' "x" '),))) == '"x"'
    assert value(Capture(from_="lines", regex=r"^version (\S+)")) == "1.2"


def test_tables() -> None:
    assert rows(Capture(from_="lines", regex=r"worker (\d+)", pick="all"), OUT) == (("7",), ("9",))
    assert rows(Capture(from_="rows", where={"pid": "9"})) == (("9", ""),)
    assert rows(Capture(from_="rows", where={"role": "${params.role}"}, columns={"pid": "int"}, pick="all")) == (
        ("7",),
        ("11",),
    )


def test_a_person_picks() -> None:
    offer = capture("x", Capture(from_="rows", pick="one"), ROWS)
    assert offer == Offer(columns=("pid", "role"), rows=(("7", "web"), ("9", ""), ("11", "web")))
    assert isinstance(offer, Offer)
    assert picked(offer, [1]).rows == (("9", ""),)
    for indexes in ([], [0, 1], [3], [-1]):
        with pytest.raises(UsageError):
            picked(offer, indexes)
    many = capture("x", Capture(from_="lines", pick="many"), OUT)
    assert isinstance(many, Offer)
    assert picked(many, [0, 2]).rows == (("version 1.2",), ("worker 9",))
    with pytest.raises(UsageError):
        picked(many, [0, 0])


@pytest.mark.parametrize(
    ("spec", "reading", "why"),
    [
        (Capture(from_="stdout", regex="nothing"), OUT, "nothing in the output matches"),
        (Capture(from_="stdout", type="int"), OUT, "x:"),
        (Capture(from_="stdout"), Reading(stdout=b"a" * HEAD_BYTES), "longer"),
        (Capture(from_="stdout"), Reading(stdout=b"\x1b[31mred"), "control character"),
        (Capture(from_="json", path="/a"), OUT, "not JSON"),
        (Capture(from_="headers", path="ETag"), OUT, "0 headers"),
        (Capture(from_="lines"), OUT, "3 and not exactly one"),
        (Capture(from_="lines", regex="none"), OUT, "0 and not exactly one"),
        (Capture(from_="lines", pick="all"), Reading(stdout=b"a", truncated=True), "more than what is read"),
        (Capture(from_="lines", pick="one"), Reading(), "nothing to pick"),
        (Capture(from_="rows"), ROWS, "3 and not exactly one"),
        (Capture(from_="rows", columns={"gone": "int"}), ROWS, "0 columns 'gone'"),
        (Capture(from_="rows", columns={"role": "ident"}, pick="all"), ROWS, "role is null"),
        (Capture(from_="rows", pick="all"), Reading(columns=("a",), rows=(("1",),), row_count=2), "more than"),
        (Capture(from_="rows"), Reading(columns=("a", "a"), rows=(("1", "2"),), row_count=1), "2 columns 'a'"),
        (Capture(from_="answer"), OUT, "person's answer"),
    ],
)
def test_not_there_is_a_failure_that_says_so(spec: Capture, reading: Reading, why: str) -> None:
    with pytest.raises(Failed) as error:
        capture("x", spec, reading)
    assert why in error.value.message
