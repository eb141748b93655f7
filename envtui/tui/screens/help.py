"""Help for the screen one came from, made from the action registry."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from .. import actions
from ..framed import FramedScreen, words
from ..widgets.rows import BLANK, Row, Rows, line, row

MORE = {
    "environments": (("1 2 3", "Open the environment of that number."), ("tab", "The next environment.")),
    "run": (
        ("↑ ↓ k j", "Look at another step; esc goes back to the current one."),
        ("[ ]", "The output of another host of this step, of its probe, of its undo."),
        ("ctrl+c", "Copies what is selected; else stops after the current act; C ends the act itself."),
    ),
    "escalate": (
        ("tab", "The next field."),
        ("enter", "In a field: the next one; in the last: sign the request with your key."),
        ("F1", "Copy the request's block, for whoever signs."),
        ("F2", "Somebody beside you signs here, where the policy allows it."),
        ("F3", "Take the answer that came back; pasting it anywhere on this screen does the same."),
        (
            "F4",
            "Break the glass: nobody else signs, where the policy names you. It asks for a reason and the environment's name.",
        ),
        ("esc", "Back to the run; the request stays."),
    ),
}
"""Keys that mean something on one screen only and are no actions of the registry: what moves, and what a form takes."""

WORDS = (
    ("Reads", "Everybody may read. What protects a read is in the frame: advisory means the account alone."),
    (
        "Writes",
        "A write needs what the environment's policy says, as a rule a recorded incident and a signature over exactly this "
        "plan. e asks, w does it: you type the letters that its dialog shows.",
    ),
    (
        "Doubt",
        "A write that was sent and whose outcome nobody knows. Nothing goes on before that is cleared: l looks at its target, "
        "a is your word. It is never sent again while it may have been done.",
    ),
    ("Words", "OK · FAILED · TIMED OUT · CANCELLED · REFUSED · SKIPPED · UNDONE · IN DOUBT: check before anything"),
)


class HelpScreen(FramedScreen):
    name_ = "help"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("help")  # type: ignore[assignment]

    def __init__(self, about: str) -> None:
        super().__init__()
        self._about = about

    def body(self) -> ComposeResult:
        rows = [line((f"{self._about}", "bold $tone-text")), BLANK]
        for action in actions.of(self._about):
            rows.append(_key(actions.shown_key(action), action.label, action.about))
        rows += [_key(key, "", about) for key, about in MORE.get(self._about, ())]
        for title, about in WORDS:
            rows += [BLANK, line((title, "bold $tone-text")), row("  ", about, "$tone-dim")]
        with VerticalScroll() as scroll:
            scroll.can_focus = True
            yield Static(Rows(rows))

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(VerticalScroll).focus()

    def action_back(self) -> None:
        self.app.pop_screen()


def _key(key: str, label: str, about: str) -> Row:
    return Row(words((f"  {key:<9}", "bold $tone-text"), (f"{label:<14}", "$tone-dim")), words((about, "$tone-text")))
