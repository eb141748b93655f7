"""A list to choose from: options of a step, rows of a table, people who may sign."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from envtui.core.text import clean

from ..framed import words
from .fitting import AROUND, Fitting


class Choose(Fitting[int | None]):
    """Dismisses with the index chosen, or None. A cursor and Enter; digits choose at once."""

    BINDINGS = [("escape", "cancel", "back")]  # noqa: RUF012 - Textual's own form
    DEFAULT_CSS = """
    Choose { align: center middle; background: $tone-ground 60%; }
    Choose > Vertical { width: 100; max-width: 96%; height: auto; max-height: 90%; padding: 1 2; background: $tone-panel; border: heavy $tone-send; border-title-color: $tone-text; border-title-style: bold; }
    Choose OptionList { height: auto; max-height: 16; margin-top: 1; border: none; background: $tone-panel; padding: 0; }
    Choose OptionList:focus { border: none; background-tint: transparent; }
    Choose OptionList > .option-list--option-highlighted { background: $tone-line; color: $tone-text; text-style: bold; }
    Choose #hint { margin-top: 1; color: $tone-dim; }
    """

    def __init__(self, title: str, text: str, options: Sequence[str], head: str = "", limit: int = 4000) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._options = options
        self._head = head
        self._limit = limit  # characters of the text

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(f" {clean(self._title, 80)} ")
            if self._text:
                yield self.text(words((clean(self._text, self._limit), "$tone-text")))
            if self._head:
                yield Static(words(("   " + clean(self._head, 400), "$tone-label")))
            yield OptionList(
                *(
                    Option(words((f"{i} ", "$tone-label"), (clean(o, 400), "$tone-text")))
                    for i, o in enumerate(self._options, 1)
                )
            )
            yield Static(
                words(("enter", "bold $tone-text"), " choose   ", ("esc", "bold $tone-text"), " back"), id="hint"
            )

    def below(self) -> int:
        head_and_hint = bool(self._head) + 3
        return head_and_hint + min(self._rows(), 2 * len(self._options))

    def _rows(self) -> int:
        """Lines that the list may take: half of what there is when a text stands above it."""
        room = self.size.height - AROUND - 4
        return max(4, min(16, room // 2 if self._text else room))

    def on_resize(self) -> None:
        super().on_resize()
        self.query_one(OptionList).styles.max_height = self._rows()

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_index)

    def key_digit(self, digit: int) -> None:
        if 1 <= digit <= len(self._options):
            self.dismiss(digit - 1)

    def on_key(self, event: object) -> None:
        key = getattr(event, "key", "")
        if key.isdigit() and key != "0":
            self.key_digit(int(key))

    def action_cancel(self) -> None:
        self.dismiss(None)
