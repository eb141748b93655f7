"""Something to read in full, and nothing to type."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from envtui.core.text import clean

from ..framed import words


class Read(ModalScreen[None]):
    """Shows a text; any of enter, escape and q closes it."""

    BINDINGS = [("escape,enter,q", "close", "back")]  # noqa: RUF012 - Textual's own form
    DEFAULT_CSS = """
    Read { align: center middle; background: $tone-ground 60%; }
    Read > Vertical { width: 100; max-width: 96%; height: auto; max-height: 90%; padding: 1 2; background: $tone-panel; border: heavy $tone-send; border-title-color: $tone-text; border-title-style: bold; }
    Read VerticalScroll { height: auto; max-height: 100%; }
    Read #hint { dock: bottom; height: 1; color: $tone-dim; }
    Read Vertical > VerticalScroll { margin-bottom: 2; }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(f" {clean(self._title, 80)} ")
            with VerticalScroll():
                yield Static(words((clean(self._text, 8000), "$tone-text")))
            yield Static(
                words(("↑ ↓", "bold $tone-text"), " scroll   ", ("esc", "bold $tone-text"), " back"), id="hint"
            )

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_close(self) -> None:
        self.dismiss(None)
