"""Waivers on the screen that asks for write access: which required reads are left out, and why, before it is signed."""

from __future__ import annotations

from textual.widgets import Static

from envtui.core.access import Waiver
from envtui.core.text import clean
from envtui.engine.runner import RunTask
from envtui.rules.conditions import of_reason
from envtui.rules.waiving import unmet

from ..dialogs.choose import Choose
from ..dialogs.prompt import Prompt
from ..framed import FramedScreen, words
from .asked import asked


class Waiving(FramedScreen):
    """It has a place `#waivers` for what is waived by now; what was asked for already is not changed any more."""

    run_task: RunTask
    waivers: tuple[Waiver, ...] = ()

    def may_waive(self) -> tuple[str, ...]:
        """Ids of the required reads that were not OK in this run, and that nobody waived yet."""
        task = self.run_task
        lacking = unmet(task.run, task.plan, task.book, "") if asked(task) is None else ()
        return tuple(each for each in lacking if all(each != waiver.step for waiver in self.waivers))

    def action_waive(self) -> None:
        """Choose a read, and say why it is left out. Whoever signs reads both."""
        able = self.may_waive()
        if not able:
            self.envtui.tell("No required read is left that could be waived here.")
            return
        titles = {step.id: step.title for step in self.run_task.plan.steps}

        def chosen(index: int | None) -> None:
            if index is None:
                return
            step = able[index]
            question = (
                f"Why is {step} left out ({titles.get(step, '')})? Whoever signs reads it, and the ledger keeps it."
            )
            self.app.push_screen(Prompt("Waive a required read", question), lambda reason: self._waive(step, reason))

        text = "These have to be OK before anything is written. Which one is left out?"
        self.app.push_screen(Choose("Waive", text, [f"{each}: {titles.get(each, '')}" for each in able]), chosen)

    def _waive(self, step: str, reason: str | None) -> None:
        if reason is None:
            return
        for refusal in of_reason(reason.strip()):
            self.envtui.say(str(refusal))
            return
        self.waivers = (*self.waivers, Waiver(step=step, reason=reason.strip()))
        parts: list[str | tuple[str, str]] = []
        for waiver in self.waivers:
            parts += [("WAIVED  ", "bold $tone-bad"), (f"{waiver.step}: {clean(waiver.reason, 300)}\n", "$tone-text")]
        self.query_one("#waivers", Static).update(words(*parts))
        self.show_state()
