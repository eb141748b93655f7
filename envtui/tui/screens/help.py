"""Help for the screen one came from, made from the action registry."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from .. import actions
from ..framed import FramedScreen, words


class HelpScreen(FramedScreen):
    name_ = "help"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("help")  # type: ignore[assignment]

    def __init__(self, about: str) -> None:
        super().__init__()
        self._about = about

    def body(self) -> ComposeResult:
        parts: list[str | tuple[str, str]] = [(f"{self._about}\n\n", "bold $tone-text")]
        for action in actions.of(self._about):
            parts += [
                (f"  {actions.shown_key(action):<7}", "bold $tone-text"),
                (f"{action.label:<14}", "$tone-dim"),
                (action.about + "\n", "$tone-text"),
            ]
        parts += [
            ("\nReads\n", "bold $tone-text"),
            (
                "  Everybody may read. What protects a read is in the frame: advisory means the account alone.\n",
                "$tone-dim",
            ),
            ("\nWrites\n", "bold $tone-text"),
            (
                "  A write needs a recorded incident and a signature over exactly this plan. e asks, w does it.\n",
                "$tone-dim",
            ),
            ("\nWords\n", "bold $tone-text"),
            (
                "  OK · FAILED · TIMED OUT · CANCELLED · REFUSED · SKIPPED · IN DOUBT: check before anything\n",
                "$tone-dim",
            ),
        ]
        with VerticalScroll():
            yield Static(words(*parts))

    def action_back(self) -> None:
        self.app.pop_screen()
