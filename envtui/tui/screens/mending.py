"""The keys for what did not go well: ending now, looking, taking back, taking up again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from envtui.engine.runner import RunTask
from envtui.rules.proposals import Doubt, Following

from ..dialogs.resume import ResumeDialog
from ..dialogs.stop import stop_dialog
from ..dialogs.undo import UndoDialog, covered
from .answering import Answering
from .under_way import running, under_way

if TYPE_CHECKING:
    from envtui.engine.resuming import Left

    from ..app import EnvtuiApp

LETTERS = "abcdefghijkmnopqrstuvwxyz"

Begin = Callable[[RunTask], Awaitable[object]]
Show = Callable[[RunTask], None]


class Mending(Answering):
    """The part of the run screen that mends."""

    def follow(self, task: RunTask) -> None:
        """Look at this task from now on: the run was taken up again."""
        self.run_task = task
        self.envtui.run_task = task
        self._selected = ""
        self.show_state()

    def action_cut(self) -> None:
        if self._possible("cut"):
            self.cut()

    def cut(self) -> None:
        self.envtui.work(self._ask_to_end())

    async def _ask_to_end(self) -> None:
        task, session = self.run_task, self.envtui.session
        assert session is not None
        proposed = task.next
        going = await under_way(session, [task])
        doubt = proposed.act if isinstance(proposed, Doubt) and not task.busy else ""
        shown = {one.act.id for one in going}

        def done(word: str | None) -> None:
            if word:
                self.envtui.work(self._end(shown, doubt))

        self.app.push_screen(stop_dialog(() if doubt else going, doubt), done)

    async def _end(self, shown: set[str], doubt: str) -> None:
        task = self.run_task
        if not doubt and shown and not shown & {act.id for act in running(task.run)}:
            task.stop()  # what comes after it was not shown
            self.envtui.tell("It had ended by itself. Nothing more begins.")
            return
        following = isinstance(task.next, Following)
        if task.busy and not doubt:
            self.envtui.tell("Ending it now; what became of it is looked for.")
            task.cut(writes=True)
            await task.idle()
            if not following:  # else that ended the wait alone
                await task.settle()
        proposed = task.next
        if (isinstance(proposed, Doubt) and proposed.act == doubt) or (
            isinstance(proposed, Following) and following and proposed.act in shown
        ):
            await self._look(proposed.act, halt=True)

    def action_examine(self) -> None:
        if self._possible("examine"):
            proposed = self.run_task.next
            assert isinstance(proposed, Doubt)
            self._selected = ""
            self.envtui.work(self._look(proposed.act))

    def action_undo(self) -> None:
        if self._possible("undo"):
            self.undo()

    def undo(self, begin: Begin | None = None) -> None:
        self.envtui.work(ask_undo(self.envtui, self.run_task.run.id, self.run_task, self.follow, begin))

    def action_edit(self) -> None:
        if self._possible("edit"):
            self.envtui.work(self._edit())

    async def _edit(self) -> None:
        """The run goes on with its book as it is edited now. What was signed before covers nothing of that."""
        from ..editing import edit_book

        session, task = self.envtui.session, self.run_task
        assert session is not None
        book = task.plan.book
        text = session.text_of(task.plan) or session.bringing.checkout(book) or ""

        async def judge(now: str) -> tuple[Left, Sequence[str]]:
            found = await session.left(task.run.id, now, f"{book}.yaml")
            brought = session.bringing.of(task.run.id, found.book.sha256)
            lines = session.bringing.difference(brought) if brought is not None else ("as the checkout has it",)
            return found, lines

        taken = await edit_book(self.envtui, book, text, judge)
        if taken is not None:
            # Again: what was read of the run before the editor was opened may be old by now.
            found = await session.left(task.run.id, taken[1], f"{book}.yaml")
            self.follow(await session.resume(found, accepted=True))

    def action_resume(self) -> None:
        if self._possible("resume"):
            self.envtui.work(ask_resume(self.envtui, self.run_task.run.id, self.follow))


async def ask_undo(app: EnvtuiApp, run_id: str, task: RunTask | None, show: Show, begin: Begin | None = None) -> None:
    """Show what would be taken back of a run; when a person says so, `show` it and do it.

    Without a `task` that goes on here, the run is read from the ledger and adopted. Raises as `session.left` does.
    """
    session = app.session
    assert session is not None
    found = None
    if task is None or task.run.word is not None:
        found = await session.left(run_id)
    if found is not None:
        run, plan, book, differences = found.run, found.plan, found.book.runbook, found.differences
    else:
        assert task is not None
        run, plan, book, differences = task.run, task.plan, task.book, ()
    access = covered(run, session.environment.access, session.ways.clock.wall_ms())
    letters = "".join(random.SystemRandom().sample(LETTERS, 3))

    async def back() -> None:
        going = task
        if found is not None:
            going = await session.adopt(found)
        assert going is not None
        await (begin(going) if begin is not None else going.mending.undo())
        show(going)
        await going.run_on()

    def done(word: str | None) -> None:
        if word:
            app.work(back())

    app.push_screen(UndoDialog(run, plan, book, letters, session.ways.masked, access, differences), done)


async def ask_resume(app: EnvtuiApp, run_id: str, show: Show) -> None:
    """Show where a run that was left stands; when a person says so, take it up and `show` it. Nothing is sent yet."""
    session = app.session
    assert session is not None
    found = await session.left(run_id)

    async def again() -> None:
        show(await session.resume(found, accepted=bool(found.differences)))

    def done(word: str | None) -> None:
        if word:
            app.work(again())

    app.push_screen(ResumeDialog(found, session.ways.masked), done)
