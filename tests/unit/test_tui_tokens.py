"""What can be said of the screens without drawing one: contrast, keys, the banner, wrapping."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content

from envtui.core.act import Mode
from envtui.rules.state import ActState, Run, StepState
from envtui.tui import actions
from envtui.tui.theme import PALETTES, TONE
from envtui.tui.widgets.rows import NARROWEST, Rows, paragraphs, row
from envtui.tui.widgets.steps import GLYPHS, took

ENOUGH = 4.5  # WCAG AA for text
TUI = Path(actions.__file__).parent
TEXTS = ("text", "dim", "label", "good", "wait", "bad", "send", "first", "between", "last")


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_measure_itself_is_the_one_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(("theme", "tone", "ground"), list(product(PALETTES, TEXTS, ("ground", "panel"))))
def test_every_text_can_be_read_on_every_ground(theme: str, tone: str, ground: str) -> None:
    palette = PALETTES[theme]
    assert contrast(getattr(palette, tone), getattr(palette, ground)) >= ENOUGH


@pytest.mark.parametrize(("theme", "badge"), list(product(PALETTES, ("good", "wait", "bad", "send"))))
def test_a_filled_badge_can_be_read(theme: str, badge: str) -> None:
    palette = PALETTES[theme]
    assert contrast(palette.ground, getattr(palette, badge)) >= ENOUGH


@pytest.mark.parametrize("theme", PALETTES)
def test_what_the_cursor_is_on_can_be_read(theme: str) -> None:
    assert contrast(PALETTES[theme].text, PALETTES[theme].line) >= ENOUGH


def test_every_colour_in_the_code_is_a_token() -> None:
    for path in TUI.rglob("*.py"):
        if path.name != "theme.py":
            assert not re.search(r"#[0-9a-fA-F]{6}\b", path.read_text()), path


def test_one_key_means_one_thing_on_a_screen() -> None:
    for screen in {s for action in actions.ACTIONS for s in action.screens} - {"*"}:
        keys = [action.key for action in actions.of(screen)]
        assert len(keys) == len(set(keys)), screen


def test_nothing_needs_a_control_key_and_everything_has_words() -> None:
    for action in actions.ACTIONS:
        assert not action.key.startswith("ctrl")
        assert action.label
        assert action.about.endswith(".")


def test_every_shape_has_its_colour_and_every_outcome_its_glyph() -> None:
    assert set(TONE) == {"light", "double", "heavy"}
    from typing import get_args

    from envtui.core.events import Word

    assert set(GLYPHS) == set(get_args(Word))


def test_values_wrap_under_themselves() -> None:
    shown = Rows([row("when    ", "one two three four five six seven")]).wrapped(28).plain.split("\n")
    assert [line.rstrip() for line in shown] == ["when    one two three four", "        five six seven"]


def test_a_label_too_wide_for_the_screen_stands_above_its_value() -> None:
    shown = Rows([row("a label of twenty...", "value")]).wrapped(NARROWEST + 4).plain.split("\n")
    assert [s.rstrip() for s in shown] == ["a label of twenty...", "value"]


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=200), st.integers(20, 200))
def test_no_line_is_wider_than_the_screen(text: str, width: int) -> None:
    rows = Rows([row("label   ", text)])
    lines = rows.wrapped(width).split("\n", allow_blank=True)
    assert all(line.cell_length <= width for line in lines)
    assert rows.get_height({}, width) == len(lines)


def test_paragraphs_are_reflowed() -> None:
    assert paragraphs("one\ntwo\n\nthree\n") == "one two\n\nthree"


@pytest.mark.parametrize(
    ("milliseconds", "said"), [(0, "0 ms"), (31, "31 ms"), (1900, "1.9 s"), (9_999, "10.0 s"), (94_000, "94 s")]
)
def test_times_have_units(milliseconds: int, said: str) -> None:
    assert took(milliseconds) == said


@pytest.mark.parametrize("width", [20, 33, 34, 40, 56])
def test_a_step_is_one_line_whatever_its_title(width: int) -> None:
    from envtui.tui.widgets.steps import _line

    mode: Mode = "write"
    act = ActState(id="a@b", target="t", member="b", mode=mode, shows="x")
    step = StepState(id="x" * 24, kind="ssh", mode=mode, title="[/oops] " + "w" * 300, acts=(act,))
    drawn = _line(Run(id="1", steps=(step,)), step, True, width)
    assert "\n" not in drawn.plain
    assert drawn.cell_length <= width
    assert isinstance(drawn, Content)
