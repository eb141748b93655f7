"""One write that is in no book: a form with a field for what it does, how it is looked at, and how it is taken back."""

from __future__ import annotations

import shlex
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Input, Static

from envtui.core.environment import SqlTarget
from envtui.core.errors import UsageError
from envtui.core.text import clean
from envtui.rules.unscripted import Proposal, target_of

from ..framed import FramedScreen, words

FIELDS = {
    "target": ("target", ""),
    "member": ("on", "one member of it, else all"),
    "words": ("does", "a command, a statement, or METHOD PATH"),
    "probe": ("probe", "a read that tells whether it is there"),
    "applied": ("  there", "what the probe shows then: a pattern, or a value"),
    "check": ("or check", "what a person looks at, where no read can tell"),
    "undo": ("undo", "what takes it back"),
    "no_undo": ("or none", "why nothing takes it back"),
}
"""Field: label, and what stands in it while it is empty."""

LAST = list(FIELDS)[-1]


class ProposeScreen(FramedScreen):
    """Enter goes to the next field, and from the last one on to the request. Nothing is sent, nothing is asked for yet."""

    name_ = "propose"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "next", "next", priority=True),  # before the field sees it, so that no letter comes in between
        ("escape", "back", "back"),
        ("f1", "propose", "propose"),
    ]
    CSS = """
    ProposeScreen Input { border: none; background: $tone-line; height: 1; padding: 0 1; width: 1fr; }
    ProposeScreen Horizontal { height: 1; margin: 0 0 1 0; }
    ProposeScreen .label { color: $tone-label; width: 10; }
    ProposeScreen #form { height: 1fr; }
    """

    def body(self) -> ComposeResult:
        session = self.envtui.session
        assert session is not None
        targets = ", ".join(session.environment.targets)
        with VerticalScroll(id="form", can_focus=False):
            yield Static(words(("UNSCRIPTED ", "bold $tone-bad"), ("one write that is in no book\n", "$tone-dim")))
            for name, (label, hint) in FIELDS.items():
                with Horizontal():
                    yield Static(label, classes="label")
                    yield Input(placeholder=clean(hint or targets, 200), id=name)
            yield Static("", id="said")

    def on_mount(self) -> None:
        super().on_mount()
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one("#target").focus()
        self.show_state()

    def show_state(self) -> None:
        """What the form leads to."""
        self.show_keys()
        said = words(("F1", "bold $tone-text"), (" makes the plan, then asks for it; nothing is sent", "$tone-dim"))
        self.now("unscripted", said, "$tone-send")

    def show_keys(self) -> None:
        self.put(
            "#keys",
            words(
                *(
                    part
                    for key, label in (("enter", "next field"), ("F1", "make the plan"), ("esc", "back"))
                    for part in ((key, "bold $tone-text"), (f" {label}   ", "$tone-dim"))
                )
            ),
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enter in the last field is the field's own: what was typed before it is in it by then."""
        return not (action == "next" and self.focused is not None and self.focused.id == LAST)

    def action_next(self) -> None:
        """The next field, before the keys that follow are looked at: fast typing lands where it belongs."""
        names = list(FIELDS)
        at = names.index(self.focused.id) if self.focused is not None and self.focused.id in names else -1
        self.set_focus(self.query_one(f"#{names[at + 1]}"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_propose()

    def action_propose(self) -> None:
        session = self.envtui.session
        if session is None:
            return
        said = {name: self.query_one(f"#{name}", Input).value.strip() for name in FIELDS}

        async def propose() -> None:
            from .escalate import EscalateScreen
            from .run import RunScreen

            target = target_of(session.environment, said["target"])
            try:
                does = (said["words"],) if isinstance(target, SqlTarget) else tuple(shlex.split(said["words"]))
            except ValueError as error:
                raise UsageError(f"The command cannot be split: {error}.", "Close the quote.") from error
            others = {name: text for name, text in said.items() if name != "words"}
            task = await session.start(session.propose(Proposal(words=does, **others)))
            self.envtui.run_task = task
            self.app.switch_screen(RunScreen(task))
            self.app.push_screen(EscalateScreen(task))

        self.envtui.work(propose())

    def action_back(self) -> None:
        self.app.pop_screen()
