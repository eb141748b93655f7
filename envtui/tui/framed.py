"""The base of every screen: a frame that says where one is, a line that says what matters now, and the keys.

Nothing from outside is ever markup: text reaches widgets as `Content`, cleaned, and the application filters what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from . import actions
from .banner import Banner
from .theme import TONE
from .widgets.rows import Rows

if TYPE_CHECKING:
    from .app import EnvtuiApp


def words(*parts: str | tuple[str, str]) -> Content:
    """Pieces of text, plain or with a style; never markup."""
    return Content.assemble(*parts)


def key(text: str) -> tuple[str, str]:
    """A key, as a piece for `words`."""
    return text, "bold $tone-text"


def dim(text: str) -> tuple[str, str]:
    """Words that explain, as a piece for `words`."""
    return text, "$tone-dim"


class FramedScreen(Screen[None]):
    """`name_` is the screen's name in the action registry. `body` gives what stands in the frame."""

    name_: ClassVar[str] = ""

    DEFAULT_CSS = """
    FramedScreen { background: $tone-ground; color: $tone-text; layout: vertical; }
    FramedScreen #frame { height: 1fr; padding: 0 1; border: round $tone-line; border-title-style: bold; border-title-color: $tone-text; border-subtitle-color: $tone-dim; }
    FramedScreen #frame.light { border: round $tone-first; border-title-color: $tone-first; border-subtitle-color: $tone-dim; }
    FramedScreen #frame.double { border: double $tone-between; border-title-color: $tone-between; border-subtitle-color: $tone-dim; }
    FramedScreen #frame.heavy { border: heavy $tone-last; border-title-color: $tone-last; border-subtitle-color: $tone-dim; }
    FramedScreen #frame.broken { border: thick $tone-bad; background: $tone-bad 12%; }
    FramedScreen #frame.write { border-title-color: $tone-ground; border-title-background: $tone-bad; border-subtitle-color: $tone-bad; }
    FramedScreen #body { height: 1fr; }
    FramedScreen #now { height: auto; max-height: 3; }
    FramedScreen #keys { height: 1; padding: 0 1; color: $tone-dim; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._put: dict[str, Content | Rows] = {}
        self._said: tuple[Banner, int] | None = None

    @property
    def envtui(self) -> EnvtuiApp:
        from .app import EnvtuiApp

        assert isinstance(self.app, EnvtuiApp)
        return self.app

    def compose(self) -> ComposeResult:
        with Vertical(id="frame"):
            with Vertical(id="body"):
                yield from self.body()
            yield Static("", id="now")
        yield Static("", id="keys")

    def body(self) -> ComposeResult:
        """The widgets inside the frame."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self.show_banner()
        self.show_keys()

    def on_screen_resume(self) -> None:
        self.show_state()
        self.show_banner()
        self.show_keys()

    def show_state(self) -> None:
        """Draw what may have changed; called while the screen is seen."""

    def show_banner(self) -> None:
        """Take the frame's words and shape from the state, as it is now."""
        if not self.is_mounted:
            return
        said: Banner = self.envtui.banner()
        if (said, self.size.width) == self._said:  # once a second, and classes are matched with all styles again
            return
        self._said = (said, self.size.width)
        frame = self.query_one("#frame")
        frame.border_title = Content(said.title)
        frame.border_subtitle = Content(_fit(said.subtitle, self.size.width - 8))
        marks = {said.shape or "": said.shape is not None, "write": said.write, "broken": said.broken}
        frame.set_classes([mark for mark, holds in marks.items() if holds])

    def put(self, selector: str, shown: Content | Rows) -> None:
        """Show something in a `Static`, unless it is there already: an update lays the whole screen out again."""
        widget = self.query_one(selector, Static)
        before = self._put.get(selector)
        if before is None or not _same(before, shown):
            self._put[selector] = shown
            height = widget.styles.height
            widget.update(shown, layout=height is None or height.is_auto)

    def now(self, badge: str = "", text: Content | str = "", tone: str = "$tone-last") -> None:
        """The one thing that matters now, and the key for it."""
        content = text if isinstance(text, Content) else words((text, "$tone-text"))
        if badge:
            content = words((f" {badge} ", f"bold $tone-ground on {tone}"), "  ") + content
        self.put("#now", content)

    def show_keys(self) -> None:
        """The footer: what is possible here and now, the most likely first; what is not stays in help, with the reason."""
        parts: list[tuple[str, str]] = []
        room = self.size.width - 2
        shown = [a for a in actions.of(self.name_) if a.footer and not self.why_not(a.id)]
        last = [a for a in shown if a.id in ("help", "quit")]
        for action in (*(a for a in shown if a not in last), *last):
            key = actions.shown_key(action)
            need = len(key) + len(action.label) + 4
            kept = 0 if action in last else sum(len(actions.shown_key(a)) + len(a.label) + 4 for a in last[:1])
            if room - kept < need:
                continue
            room -= need
            parts += [(key, "bold $tone-text"), (f" {action.label}   ", "$tone-dim")]
        self.put("#keys", words(*parts))

    def why_not(self, action: str) -> str:
        """Why an action is not possible here and now; '' when it is."""
        return ""

    def on_resize(self) -> None:
        self.set_class(self.size.width < 80, "narrow")
        self.call_after_refresh(self.show_keys)
        self.call_after_refresh(self.show_banner)


def accent(widget: Widget) -> str:
    """The colour token of the open environment."""
    app: Any = widget.app
    shape = app.banner().shape
    return TONE.get(shape, "$tone-send")


def _same(one: Content | Rows, other: Content | Rows) -> bool:
    if isinstance(one, Content) and isinstance(other, Content):
        return one.plain == other.plain and one.spans == other.spans
    if isinstance(one, Rows) and isinstance(other, Rows) and len(one.rows) == len(other.rows):
        pairs = zip(one.rows, other.rows, strict=True)
        return all(_same(a.label, b.label) and _same(a.value, b.value) for a, b in pairs)
    return False


def _fit(text: str, width: int) -> str:
    """Drop leading parts (who and reachability) until it fits: what protects matters more than who one is."""
    parts = text.strip().split(" · ")
    while len(parts) > 1 and len(" · ".join(parts)) + 2 > width:
        parts.pop(0)
    return f" {' · '.join(parts)} " if parts != [""] else ""
