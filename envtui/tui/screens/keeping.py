"""What of a run leaves the screen: the clipboard, a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from envtui.core.ports import Transcript
from envtui.core.text import clean
from envtui.rules.shows import clipboard

from ..dialogs.choose import Choose
from ..dialogs.prompt import Prompt
from ..widgets.output import OutputView
from .answering import Answering


class Keeping(Answering):
    """The part of the run screen that copies and saves."""

    def action_copy(self) -> None:
        step = self.selected
        planned = self._planned(step) if step else None
        view = self.query_one(OutputView)
        options = [f"the run's id  {self.run_task.run.id}"]
        if planned is not None and planned.acts:
            options.append(f"the command  {self._masked(clean(clipboard(planned.acts[0]), 200))}")
        if view.transcript is not None:
            options.append(f"the output  {view.transcript.lines} lines")

        def done(index: int | None) -> None:
            if index == 0:
                self.envtui.copy(self.run_task.run.id)
            elif index is not None and options[index].startswith("the command") and planned is not None:
                self.envtui.copy(clipboard(planned.acts[0]))
            elif index is not None and view.transcript is not None:
                lines = min(view.transcript.lines, 2_000)
                self.envtui.copy("\n".join(self._masked(clean(view.transcript.line(i))) for i in range(lines)))

        self.app.push_screen(Choose("Copy", "A copied write is a comment line.", options), done)

    async def _save(self, transcript: Transcript, name: str) -> None:
        def write() -> None:
            with Path(name).expanduser().open("x", encoding="utf-8") as file:
                for number in range(transcript.lines):
                    file.write(self._masked(clean(transcript.line(number))) + "\n")

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            self.envtui.say(f"{name}: {error.strerror}")
        else:
            self.envtui.tell(f"{transcript.lines} lines in {name}")

    def action_save(self) -> None:
        transcript = self.query_one(OutputView).transcript
        step = self.selected
        if transcript is None or step is None:
            self.envtui.tell("There is no output to save.")
            return

        def done(name: str | None) -> None:
            if not name:
                return
            self.envtui.work(self._save(transcript, name))

        self.app.push_screen(
            Prompt("Save the whole output", "A new file:", value=f"{self.run_task.run.id}-{step.id}.txt"), done
        )
