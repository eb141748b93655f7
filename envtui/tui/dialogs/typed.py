"""A dialog that is answered by typing a word by hand: what a single key, or a paste, must never do.

No single key and no pasted burst confirms it (measured: a pasted `r TAB CR` walked through a dialog with a button). The
dialog takes no key for its first 300 ms, and letters that arrive faster than people type are forgotten.
"""

from __future__ import annotations

import time

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from envtui.core.text import clean

from ..framed import words
from .fitting import Fitting

DEAF = 0.3
"""Seconds after opening in which keys are ignored."""

BURST = 0.03
"""Seconds between two keys below which they were not typed by a person."""


class TypedDialog(Fitting[str]):
    """Dismisses with the word that was typed and confirmed by Enter, '' on escape.

    `answers`: each word with what it does; the dialog shows both. `back` says what escape leaves, `wrong` what another word did.
    """

    BINDINGS = [("escape", "cancel", "back")]  # noqa: RUF012 - Textual's own form
    DEFAULT_CSS = """
    TypedDialog { align: center middle; background: $tone-ground 60%; }
    TypedDialog > Vertical { width: 92; max-width: 98%; height: auto; max-height: 95%; padding: 1 2; background: $tone-panel; border: heavy $tone-bad; border-title-color: $tone-bad; border-title-style: bold; }
    TypedDialog Input { border: none; background: $tone-line; height: 1; padding: 0 1; margin-top: 1; }
    TypedDialog Input:focus { border: none; }
    TypedDialog #hint { margin-top: 1; color: $tone-dim; }
    """

    def __init__(
        self, title: str, content: Content, answers: dict[str, str], back: str, wrong: str = "Nothing was done."
    ) -> None:
        super().__init__()
        self._title = title
        self._content = content
        self._answers = answers
        self._word = next(iter(answers))
        self._back = back
        self._wrong = wrong
        self._opened = time.monotonic()
        self._last = 0.0

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(f" {clean(self._title, 80)} ")
            yield self.text(self._content)
            yield from self.above()
            for word, does in self._answers.items():
                yield Static(
                    words(
                        ("type  ", "$tone-label"),
                        (clean(word, 200), "bold $tone-bad"),
                        (f"  {clean(does, 200)}", "$tone-dim"),
                    )
                )
            yield _Typed(placeholder="", id="typed")
            yield Static(words(("esc", "bold $tone-text"), (f" {self._back}", "$tone-dim")), id="hint")

    def above(self) -> ComposeResult:
        """What else stands between the text and what is typed."""
        yield from ()

    def below(self) -> int:
        return 4 + sum(
            1 + (len(word) + len(does)) // max(20, self.size.width - 18) for word, does in self._answers.items()
        )

    def on_mount(self) -> None:
        field = self.query_one(Input)
        field.cursor_blink = False
        field.focus()

    def too_early(self, event: events.Key) -> bool:
        """Whether this key was not typed by a person who has seen the dialog. Such a key takes everything typed with it."""
        now = event.time  # when it was read, not when a busy machine came to look at it
        burst = now - self._last < BURST
        self._last = now
        return event.key != "escape" and (burst or now - self._opened < DEAF)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        typed = event.value.strip()
        if typed in self._answers:
            self.dismiss(typed)
        else:
            self.query_one("#typed", Input).value = ""
            self.query_one("#hint", Static).update(words(("That is not it. ", "$tone-bad"), (self._wrong, "$tone-dim")))

    def action_cancel(self) -> None:
        self.dismiss("")


class _Typed(Input):
    """Takes typed keys only: the dialog judges each one first, and pasting does nothing."""

    def _on_key(self, event: events.Key) -> None:  # type: ignore[override]  # Textual calls Input's own after this one
        screen = self.screen
        assert isinstance(screen, TypedDialog)
        if screen.too_early(event):
            event.stop()
            event.prevent_default()
            self.value = ""

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.value = ""
