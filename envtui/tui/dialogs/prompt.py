"""A question with one line to type."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from envtui.core.text import clean

from ..framed import words
from .fitting import Fitting


class Prompt(Fitting[str | None]):
    """Dismisses with what was typed, or None on escape."""

    BINDINGS = [("escape", "cancel", "back")]  # noqa: RUF012 - Textual's own form
    DEFAULT_CSS = """
    Prompt { align: center middle; background: $tone-ground 60%; }
    Prompt > Vertical { width: 76; max-width: 96%; height: auto; max-height: 90%; padding: 1 2; background: $tone-panel; border: heavy $tone-send; border-title-color: $tone-text; border-title-style: bold; }
    Prompt Input { border: none; background: $tone-line; height: 1; padding: 0 1; margin-top: 1; }
    Prompt Input:focus { border: none; }
    Prompt #hint { margin-top: 1; color: $tone-dim; }
    """

    def __init__(self, title: str, text: str, placeholder: str = "", value: str = "") -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._placeholder = placeholder
        self._value = value

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(f" {clean(self._title, 80)} ")
            yield self.text(words((clean(self._text, 4000), "$tone-text")))
            yield Input(value=self._value, placeholder=clean(self._placeholder, 100))
            yield Static(
                words(("enter", "bold $tone-text"), " done   ", ("esc", "bold $tone-text"), " back"), id="hint"
            )

    def below(self) -> int:
        return 4

    def on_mount(self) -> None:
        field = self.query_one(Input)
        field.cursor_blink = False
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_cancel(self) -> None:
        self.dismiss(None)
