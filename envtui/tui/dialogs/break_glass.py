"""Breaking the glass: what it means, a reason that says something, and the environment's name, typed by hand. Red."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Input, Static

from envtui.core.act import Plan
from envtui.core.environment import Environment
from envtui.core.text import clean
from envtui.rules.break_glass import REASON_LETTERS, letters, warning
from envtui.rules.shows import shows

from ..framed import words
from .typed import TypedDialog


class BreakGlassDialog(TypedDialog):
    """Dismisses with the reason, once the environment's name was typed too; '' on escape. `ttl_ms` 0: all there is."""

    DEFAULT_CSS = """
    BreakGlassDialog > Vertical { border: thick $tone-bad; border-title-color: $tone-ground; border-title-background: $tone-bad; }
    BreakGlassDialog #count { margin-top: 1; }
    BreakGlassDialog #reason { margin-top: 0; }
    """

    def __init__(self, environment: Environment, plan: Plan, incident: str, reason: str, ttl_ms: int) -> None:
        loud, *rest = warning(environment, plan, ttl_ms)
        parts: list[str | tuple[str, str]] = [(clean(loud, 300) + "\n", "bold $tone-bad")]
        parts += [(clean(line, 300) + "\n", "$tone-text") for line in rest]
        parts += [("\nincident  ", "$tone-label"), (clean(incident, 100) or "none", "$tone-text"), "\n"]
        for act in plan.writes:
            where = f"{act.place.member} as {act.place.as_ or act.place.user}"
            parts += [(f"{clean(where, 80)}  ", "$tone-label"), (clean(shows(act), 400) + "\n", "bold $tone-send")]
        name = environment.name
        super().__init__(
            f"BREAK-GLASS: {name.upper()}",
            words(*parts),
            {name: "by hand, then enter"},
            "leaves everything as it is",
            "Nothing was signed.",
        )
        self._reason = reason

    def above(self) -> ComposeResult:
        yield Static(self._counted(self._reason), id="count")
        yield Input(self._reason, placeholder="what is broken, and why it cannot wait", id="reason")

    def below(self) -> int:
        return super().below() + 3

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one("#typed" if self._enough() else "#reason").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "reason":
            self.query_one("#count", Static).update(self._counted(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        event.prevent_default()  # else the base class judges it too
        typed = self.query_one("#typed", Input)
        if not self._enough():
            said = f"The reason has fewer than {REASON_LETTERS} letters. "
            self.query_one("#hint", Static).update(words((said, "$tone-bad"), (self._wrong, "$tone-dim")))
            self.query_one("#reason").focus()
        elif event.input is not typed:
            typed.focus()
        elif typed.value.strip() in self._answers:
            self.dismiss(self.query_one("#reason", Input).value.strip())
        else:
            typed.value = ""
            self.query_one("#hint", Static).update(words(("That is not it. ", "$tone-bad"), (self._wrong, "$tone-dim")))

    def _enough(self) -> bool:
        return letters(self.query_one("#reason", Input).value) >= REASON_LETTERS

    def _counted(self, reason: str) -> Content:
        count = letters(reason)
        tone = "$tone-good" if count >= REASON_LETTERS else "$tone-wait"
        return words(("reason  ", "$tone-label"), (f"{min(count, REASON_LETTERS)} of {REASON_LETTERS} letters", tone))
