"""The last look before a write: what will be sent where, and three letters to type.

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

from envtui.core.act import Act
from envtui.core.text import clean
from envtui.rules.shows import shows

from ..framed import words
from .fitting import Fitting

DEAF = 0.3
"""Seconds after opening in which keys are ignored."""

BURST = 0.03
"""Seconds between two keys below which they were not typed by a person."""


class WriteDialog(Fitting[bool]):
    """Dismisses True when `letters` (or the step's phrase) were typed by hand and Enter was pressed."""

    BINDINGS = [("escape", "cancel", "back to reading")]  # noqa: RUF012 - Textual's own form
    DEFAULT_CSS = """
    WriteDialog { align: center middle; background: $tone-ground 60%; }
    WriteDialog > Vertical { width: 92; max-width: 98%; height: auto; max-height: 95%; padding: 1 2; background: $tone-panel; border: heavy $tone-bad; border-title-color: $tone-bad; border-title-style: bold; }
    WriteDialog Input { border: none; background: $tone-line; height: 1; padding: 0 1; margin-top: 1; }
    WriteDialog Input:focus { border: none; }
    WriteDialog #hint { margin-top: 1; color: $tone-dim; }
    """

    def __init__(
        self,
        step: str,
        title: str,
        acts: tuple[Act, ...],
        letters: str,
        phrase: str | None,
        undo: str,
        final: str | None,
    ) -> None:
        super().__init__()
        self._step = step
        self._title = title
        self._acts = acts
        self._word = phrase or letters
        self._undo = undo
        self._final = final
        self._opened = time.monotonic()
        self._last = 0.0

    def compose(self) -> ComposeResult:
        parts: list[str | tuple[str, str]] = [(clean(self._title, 200) + "\n\n", "bold $tone-text")]
        for act in self._acts:
            where = f"{act.place.member} as {act.place.user}"
            parts += [(f"{clean(where, 80)}  ", "$tone-label"), (clean(shows(act), 600) + "\n", "bold $tone-send")]
        hosts = len(self._acts)
        parts += [
            ("\nblast   ", "$tone-label"),
            (f"{hosts} place{'' if hosts == 1 else 's'}, one after the other\n", "$tone-text"),
        ]
        if self._final:
            parts += [("        ", ""), (f"POINT OF NO RETURN: {clean(self._final, 300)}\n", "bold $tone-bad")]
        elif self._undo:
            parts += [("undo    ", "$tone-label"), (f"by hand: {clean(self._undo, 400)}\n", "$tone-dim")]
        with Vertical() as box:
            box.border_title = Content(f" WRITE: {clean(self._step)} ")
            yield self.text(words(*parts))
            yield Static(
                words(
                    ("type  ", "$tone-label"),
                    (clean(self._word, 200), "bold $tone-bad"),
                    ("  by hand, then enter", "$tone-dim"),
                )
            )
            yield _Typed(placeholder="", id="typed")
            yield Static(words(("esc", "bold $tone-text"), (" leaves everything as it is", "$tone-dim")), id="hint")

    def below(self) -> int:
        return 5

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
        if event.value.strip() == self._word:
            self.dismiss(True)
        else:
            self.query_one(Input).value = ""
            self.query_one("#hint", Static).update(
                words(("That is not it. ", "$tone-bad"), ("Nothing was sent.", "$tone-dim"))
            )

    def action_cancel(self) -> None:
        self.dismiss(False)


class _Typed(Input):
    """Takes typed keys only: the dialog judges each one first, and pasting does nothing."""

    def _on_key(self, event: events.Key) -> None:  # type: ignore[override]  # Textual calls Input's own after this one
        screen = self.screen
        assert isinstance(screen, WriteDialog)
        if screen.too_early(event):
            event.stop()
            event.prevent_default()
            self.value = ""

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.value = ""
