"""How far two clocks are apart, as far as it is sure."""

from __future__ import annotations

import pytest

from envtui.core.errors import Refused
from envtui.core.skew import check_write, said, skew


@pytest.mark.parametrize(
    ("theirs", "sent", "received", "grain", "found"),
    [
        (1_000, 1_000, 1_000, 0, 0),
        (5_000, 1_000, 1_000, 0, 4_000),
        (1_000, 5_000, 5_000, 0, -4_000),
        (5_000, 1_000, 3_000, 0, 2_000),  # the answer took 2 s: one of them is not sure
        (5_000, 1_000, 3_000, 500, 1_500),
        (2_400, 1_000, 3_000, 0, 0),  # anywhere between sent and received is the same clock
        (1_600, 1_000, 3_000, 0, 0),
        (500, 1_000, 3_000, 0, -500),
    ],
)
def test_only_what_is_sure_counts(theirs: int, sent: int, received: int, grain: int, found: int) -> None:
    assert skew(theirs, sent, received, grain) == found


@pytest.mark.parametrize(
    ("ahead", "words"),
    [(None, ""), (59_999, ""), (60_000, "its clock is 1 min ahead"), (-90_000, "its clock is 1 min 30 s behind")],
)
def test_it_is_said_from_a_minute_on(ahead: int | None, words: str) -> None:
    assert said(ahead) == words


@pytest.mark.parametrize("ahead", [None, 0, 60_000, -120_000, 120_000])
def test_a_write_may_start_while_it_is_within_two_minutes(ahead: int | None) -> None:
    check_write("gw1", ahead, 1_000_000, 1_120_000)


@pytest.mark.parametrize(
    ("ahead", "now", "until", "why"),
    [
        (120_001, 0, 1_000_000, "2 min ahead of"),
        (-120_001, 0, 1_000_000, "2 min behind"),
        (0, 1_001, 1_000, "write access is over"),
        (60_000, 950_000, 1_000_000, "write access is over"),  # over there, not yet here
    ],
)
def test_and_not_otherwise(ahead: int, now: int, until: int, why: str) -> None:
    with pytest.raises(Refused, match=why) as refusal:
        check_write("gw1", ahead, now, until)
    assert "Nothing was sent" in refusal.value.remedy
