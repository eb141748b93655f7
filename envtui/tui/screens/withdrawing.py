"""Write access that ends before its time: given back by a key, and a word while a write is under way; or revoked by a block that
is pasted."""

from __future__ import annotations

from textual import events

from envtui.core.events import SignOffRefused
from envtui.core.text import clean

from ..dialogs.stop import give_back_dialog
from .mending import Mending
from .under_way import running, under_way


class Withdrawing(Mending):
    """The part of the run screen that gives write access back, and takes blocks."""

    def action_give_back(self) -> None:
        if self._possible("give_back"):
            self.envtui.work(self._give_back())

    async def _give_back(self) -> None:
        task, session = self.run_task, self.envtui.session
        assert session is not None
        going = tuple(one for one in await under_way(session, [task]) if one.act.mode == "write")
        if not going:
            await self._done(session.access.end(task, "GIVEN_BACK", "given back by the operator"))
            return
        shown = {one.act.id for one in going}

        def done(word: str | None) -> None:
            if word:
                self.envtui.work(self._give_back_and_end(shown))

        self.app.push_screen(give_back_dialog(going), done)

    async def _give_back_and_end(self, shown: set[str]) -> None:
        session = self.envtui.session
        assert session is not None
        await session.access.end(self.run_task, "GIVEN_BACK", "given back by the operator, while a write was under way")
        if shown & {act.id for act in running(self.run_task.run)}:  # else it ended by itself meanwhile
            await self._end(shown, "")

    def on_paste(self, event: events.Paste) -> None:
        """A block pasted anywhere on this screen is taken: an answer, or a revoke."""
        event.stop()
        if "ENVTUI" in event.text:
            self.envtui.work(self._taken(event.text))

    async def _taken(self, text: str) -> None:
        task, session = self.run_task, self.envtui.session
        assert session is not None
        answer = await session.access.receive(task, text)
        if isinstance(answer, SignOffRefused):
            self.envtui.say(answer.why)
        elif answer.verdict == "revoke":
            self.envtui.tell(f"{clean(answer.person, 60)} revoked it: nothing is permitted any more.")
        else:
            await session.arm(task)
            self.envtui.tell(f"{clean(answer.person, 60)} answered: {answer.verdict}.")
