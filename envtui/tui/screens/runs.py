"""The runs of the open environment: in doubt first, then those that go on, then the done."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from envtui.core.text import clean
from envtui.engine.runner import RunTask
from envtui.rules.state import Run

from .. import actions
from ..framed import FramedScreen, words
from ..moments import ago
from ..widgets.steps import GLYPHS
from .now import LEFT


class RunsScreen(FramedScreen):
    """Enter opens a run that goes on here, offers to take up one that was left or that failed, or tells what another did."""

    name_ = "runs"
    _runs: tuple[Run, ...] = ()
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("runs")  # type: ignore[assignment]
    CSS = """
    RunsScreen OptionList { height: 1fr; border: none; background: $tone-ground; background-tint: transparent; padding: 0; }
    RunsScreen OptionList > .option-list--option-highlighted { background: $tone-line; text-style: bold; }
    """

    def body(self) -> ComposeResult:
        yield Static(words(("runs\n", "bold $tone-text")))
        yield OptionList(id="runs")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(OptionList).focus()

    def on_screen_resume(self) -> None:
        self.call_later(self.read)

    async def read(self) -> None:
        """Read the ledger again."""
        session = self.envtui.session
        if session is None:
            return
        self._runs = await session.runs()
        options = self.query_one(OptionList)
        at = options.highlighted or 0
        options.clear_options()
        options.add_options([Option(_line(run)) for run in self._runs])
        if self._runs:
            options.highlighted = min(at, len(self._runs) - 1)
        doubt = sum(1 for run in self._runs if run.in_doubt)
        if doubt:
            self.now("in doubt", f"{doubt} of {len(self._runs)}: look at these before anything else.", "$tone-bad")
        else:
            self.now("", f"{len(self._runs)} runs" if self._runs else "No run yet: g b shows the runbooks.")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._open(event.option_index)

    def action_open(self) -> None:
        at = self.query_one(OptionList).highlighted
        if at is not None:
            self._open(at)

    def _open(self, at: int) -> None:
        run = self._runs[at]
        session = self.envtui.session
        task = session.task(run.id) if session is not None else None
        if task is not None:
            from .run import RunScreen

            self.envtui.run_task = task
            self.app.push_screen(RunScreen(task))
            return
        from .ledger import LedgerScreen

        self.app.push_screen(LedgerScreen(run.id))
        if not self._why_over(run):
            self._resume(run)

    def _why_over(self, run: Run) -> str:
        """Why a run cannot be taken up; '' when it can."""
        over = run.word is not None and run.word not in LEFT
        return (
            "it is over: u takes it back" if over else "it was one unscripted read: ask again" if run.lone_read else ""
        )

    def _resume(self, run: Run) -> None:
        from .mending import ask_resume

        self.envtui.work(ask_resume(self.envtui, run.id, self._show))

    def _show(self, task: RunTask) -> None:
        from .ledger import LedgerScreen
        from .run import RunScreen

        if isinstance(self.app.screen, LedgerScreen):  # what the run did was below the question
            self.app.pop_screen()
        self.envtui.run_task = task
        self.app.push_screen(RunScreen(task))

    def _chosen(self) -> Run | None:
        at = self.query_one(OptionList).highlighted
        return self._runs[at] if at is not None and at < len(self._runs) else None

    def action_resume(self) -> None:
        run = self._chosen()
        if run is None:
            return
        session = self.envtui.session
        task = session.task(run.id) if session is not None else None
        if task is not None and task.run.word is None:
            self._show(task)
        elif why := self._why_over(run):
            self.envtui.tell(why)
        else:
            self._resume(run)

    def action_undo(self) -> None:
        from .mending import ask_undo
        from .why_not import why_not

        run, session = self._chosen(), self.envtui.session
        if run is None or session is None:
            return
        task = session.task(run.id)
        why = why_not("undo", task) if task is not None else ""
        if run.in_doubt:
            why = "a write is in doubt: take the run up (P) and look, before anything"
        elif run.lone_read:
            why = "an unscripted read changes nothing"
        if why:
            self.envtui.tell(why)
        else:
            self.envtui.work(ask_undo(self.envtui, run.id, task, self._show))

    def action_back(self) -> None:
        self.app.pop_screen()


def _line(run: Run) -> Content:
    word = "IN DOUBT" if run.in_doubt else run.word or "open"
    glyph, tone = GLYPHS.get(word, ("▸", "$tone-wait"))
    step = f" at {run.current.id}" if run.word is None and run.current is not None else ""
    return words(
        (f"{glyph} {word:<10}", tone),
        (f"{clean(run.book, 40):<26} ", "$tone-text"),
        (f"{run.id[-6:]}  {clean(run.operator, 30)}  {ago(run.started_ms)}{step}", "$tone-dim"),
    )
