"""The runs of the open environment: in doubt first, then those that go on, then the done."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from envtui.core.text import clean
from envtui.rules.run import Run

from .. import actions
from ..framed import FramedScreen, words
from ..moments import ago
from ..widgets.steps import GLYPHS


class RunsScreen(FramedScreen):
    """Enter opens a run that goes on here, or the ledger's story of another."""

    name_ = "runs"
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
        self.call_later(self.read)

    async def read(self) -> None:
        """Read the ledger again."""
        session = self.envtui.session
        if session is None:
            return
        self._runs = await session.runs()
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(_line(run)) for run in self._runs])
        if self._runs:
            options.highlighted = 0
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
        else:
            from .ledger import LedgerScreen

            self.app.push_screen(LedgerScreen(run.id))

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
