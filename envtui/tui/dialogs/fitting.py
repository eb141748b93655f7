"""What every dialog with a longer text needs: the text scrolls, so that what is typed or chosen below it stays in sight."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

T = TypeVar("T")

AROUND = 7
"""Lines of the terminal that a dialog leaves to the frame above and below it, and takes for its own border and padding."""


class Fitting(ModalScreen[T], Generic[T]):
    """`text` makes the scrolling part; `below` is how many lines stand under it. The cursor stays where it types."""

    BINDINGS: ClassVar[list[BindingType]] = [("pageup", "read(-1)", ""), ("pagedown", "read(1)", "")]
    DEFAULT_CSS = """
    Fitting #text { height: auto; scrollbar-size-vertical: 1; }
    """

    def text(self, content: Content) -> VerticalScroll:
        """The part that scrolls."""
        return VerticalScroll(Static(content), id="text", can_focus=False)

    def below(self) -> int:
        """Lines that stand under the text, whatever its length."""
        raise NotImplementedError

    def on_resize(self) -> None:
        for scroll in self.query("#text"):
            scroll.styles.max_height = max(3, self.size.height - AROUND - self.below())
        self.call_after_refresh(self._say_whether_there_is_more)

    def _say_whether_there_is_more(self) -> None:
        for scroll in self.query("#text"):
            more = scroll.virtual_size.height > scroll.size.height
            for box in self.query("Vertical").results(Vertical):
                box.border_subtitle = Content(" pgdn pgup reads on " if more else "")

    def action_read(self, by: int) -> None:
        scroll = self.query_one("#text", VerticalScroll)
        scroll.scroll_relative(y=by * max(1, scroll.size.height - 1), animate=False)
