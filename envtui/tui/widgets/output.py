"""The output of an act while it grows: only the visible lines are ever read.

Measured: a ScrollView over an indexed spool takes a million lines a second where 20,000 writes into a log widget take
six seconds. Bytes never pass through here; 30 times a second it looks how many lines there are.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from rich.segment import Segment
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from envtui.core.ports import Transcript
from envtui.core.redact import shapes
from envtui.core.text import clean_line

REFRESH = 1 / 30
PAUSE = 0.2
"""Seconds between two drawings while lines keep coming: nobody reads faster, and a key waits for a drawing at most."""

WIDEST = 2_000
"""Columns of one line that are shown; the transcript has all of it."""

BEYOND = 512
"""Letters after the last column that are looked at: a secret that begins on the screen may end beyond it."""


class OutputView(ScrollView, can_focus=True):
    """Shows one transcript. Follows its end only while the view is at the bottom."""

    DEFAULT_CSS = """
    OutputView { height: 1fr; background: $tone-panel; color: $tone-text; padding: 0 1; overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self._transcript: Transcript | None = None
        self._shown = -1
        self._drawn = 0.0
        self._following = True
        self._placeholder = ""
        self._masked: Callable[[str], str] = shapes

    def on_mount(self) -> None:
        self.set_interval(REFRESH, self._look)

    def show(self, transcript: Transcript | None, placeholder: str = "", masked: Callable[[str], str] = shapes) -> None:
        """Show another transcript from its end, or a sentence where there is none. `masked`: text without secrets."""
        self._masked = masked
        if transcript is self._transcript and placeholder == self._placeholder:
            return
        self._transcript = transcript
        self._placeholder = placeholder
        self._shown = -1
        self._following = True
        self._look()
        self.refresh()

    @property
    def transcript(self) -> Transcript | None:
        return self._transcript

    @property
    def below(self) -> int:
        """Lines that came after the last visible one."""
        return max(0, self._shown - self.scroll_offset.y - self.size.height)

    def find(self, text: str) -> bool:
        """Scroll to the next line that has `text`, from the one below the top. False: there is none."""
        if self._transcript is None:
            return False
        at = self._transcript.search(text, self.scroll_offset.y + 1)
        if at is None:
            at = self._transcript.search(text, 0)
        if at is None:
            return False
        self._following = False
        self.scroll_to(y=at, animate=False, immediate=True)
        return True

    def _look(self) -> None:
        lines = self._transcript.lines if self._transcript is not None else 0
        if lines == self._shown or (self._shown > 0 and monotonic() - self._drawn < PAUSE):
            return
        self._drawn = monotonic()
        if self._shown > 0:
            self._following = self.below == 0 or (
                self._following and self.scroll_offset.y >= self._shown - self.size.height - 1
            )
        self._shown = lines
        # Not by assignment: that would lay out the whole screen again, 30 times a second.
        extent = Size(self.size.width, max(lines, 1))
        self.set_reactive(ScrollView.virtual_size, extent)
        self._scroll_update(extent)
        if self._following:
            self.scroll_to(y=max(0, lines - self.size.height), animate=False, immediate=True, force=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        style = self.rich_style
        width = self.size.width
        number = y + self.scroll_offset.y
        if self._transcript is None or self._shown <= 0:
            text = self._placeholder if y == 0 else ""
        elif number < self._shown:
            text = self._masked(clean_line(self._transcript.line(number))[: min(WIDEST, width + BEYOND)])
        else:
            text = ""
        return Strip([Segment(text, style)]).adjust_cell_length(width, style).crop(0, width)
