from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envtui.core.text import UNSAFE, clean, clean_line

PIECES = st.sampled_from(
    [
        "\x1b",
        "[",
        "]",
        "P",
        "0;",
        "52;c;",
        "\x07",
        "\x1b\\",
        "\x9b",
        "\x9c",
        "\x9d",
        "\r",
        "\n",
        "\x08",
        "m",
        "x",
        "1",
        " ",
    ]
)
HOSTILE = st.lists(PIECES | st.characters(), max_size=60).map("".join)
RAW = st.binary(max_size=200) | HOSTILE.map(lambda text: text.encode("utf-8", "replace"))


@given(HOSTILE | RAW)
def test_no_control_character_and_nothing_invisible_comes_out(text: str | bytes) -> None:
    assert UNSAFE.search(clean(text)) is None
    assert not set(clean_line(text)) & {"\n", "\t"}


@given(HOSTILE | RAW, st.integers(0, 80))
def test_cleaning_again_changes_nothing(text: str | bytes, limit: int) -> None:
    once = clean(text, limit)
    assert len(once) <= limit
    assert clean(once, limit) == once


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_plain_text_is_left_alone(text: str) -> None:
    assert clean(text, 10_000) == text
