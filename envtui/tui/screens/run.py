"""A run: steps at the left, what the current one means and said at the right. It only shows and asks; the task acts."""

from __future__ import annotations

import random
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static

from envtui.core.text import clean
from envtui.engine.accepting import accept, asks
from envtui.engine.runner import RunTask
from envtui.rules.late import about_to, as_sent
from envtui.rules.proposals import (
    Doubt,
    Following,
    LookAt,
    NeedsAnswer,
    NeedsDecision,
    NeedsPick,
    ReadyUndo,
    ReadyWrite,
    UndoByHand,
)
from envtui.rules.shows import shows
from envtui.rules.state import ActState, StepState
from envtui.rules.undo import items

from .. import actions
from ..dialogs.prompt import Prompt
from ..dialogs.write import WriteDialog
from ..framed import words
from ..moments import moment
from ..widgets.output import OutputView
from ..widgets.rows import Rows
from ..widgets.steps import GLYPHS, Steps, took
from .about import about
from .keeping import Keeping
from .mending import LETTERS
from .now import now
from .runbooks import ask_unscripted
from .withdrawing import Withdrawing


class RunScreen(Withdrawing, Keeping):
    """Looks at `task`; leaving the screen leaves the run as it is."""

    name_ = "run"
    BINDINGS: ClassVar[list[BindingType]] = [
        *actions.bindings("run"),
        ("up", "select(-1)", ""),
        ("down", "select(1)", ""),
        ("k", "select(-1)", ""),
        ("j", "select(1)", ""),
        ("enter", "enter", ""),
        ("left_square_bracket", "member(-1)", ""),
        ("right_square_bracket", "member(1)", ""),
    ]
    CSS = """
    RunScreen #left { width: 42%; max-width: 56; border-right: solid $tone-line; padding: 0 1 0 0; }
    RunScreen #right { width: 1fr; padding: 0 0 0 2; }
    RunScreen #about { height: auto; max-height: 60%; margin: 0 0 1 0; }
    RunScreen #head { height: 1; }
    RunScreen #tabs { height: 1; }
    RunScreen.full #left, RunScreen.full #about, RunScreen.full #head { display: none; }
    RunScreen.narrow #right { display: none; }
    RunScreen.narrow.full #right { display: block; }
    RunScreen.narrow #left { width: 1fr; max-width: 100%; border-right: none; padding: 0; }
    """

    def __init__(self, task: RunTask) -> None:
        super().__init__()
        self.run_task = task
        self._member = -1  # of the tabs; -1 follows what goes on

    def body(self) -> ComposeResult:
        yield Static("", id="head")
        with Horizontal():
            with VerticalScroll(id="left", can_focus=False):
                yield Steps(id="steps")
                yield Static("", id="notes")
            with Vertical(id="right"):
                yield Static("", id="about")
                yield Static("", id="tabs")
                yield OutputView(id="output")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(OutputView).focus()
        self.show_state()

    # -- looking ---------------------------------------------------------------------------------------------------

    def show_state(self) -> None:
        """Draw the run as it is now."""
        run = self.run_task.run
        self.put(
            "#head",
            words(
                (clean(run.title, 120), "bold $tone-text"), (f"  run {run.id[-6:]} · {clean(run.book)}", "$tone-dim")
            ),
        )
        left = self.query_one("#left")
        width = max(20, left.content_size.width)
        undone = items(run, self.run_task.plan)
        self.query_one(Steps).show(run, self.selected.id if self.selected else "", width, undone)
        notes: list[str | tuple[str, str]] = []
        if run.notes:
            notes.append(("\nnotes\n", "$tone-label"))
            for note in run.notes[-5:]:
                notes += [(f"{moment(note.at_ms)[:5]} ", "$tone-label"), (clean(note.text, 300) + "\n", "$tone-dim")]
        self.put("#notes", words(*notes))
        self._show_step()
        self._show_now()
        self.show_keys()

    @property
    def selected(self) -> StepState | None:
        """The step that is shown: the chosen one, else the last that has something to show."""
        run = self.run_task.run
        if self._selected:
            return run.step(self._selected)
        mended = self.run_task.next
        if isinstance(mended, Doubt | Following | LookAt | ReadyUndo | UndoByHand):
            return run.step(mended.step)
        current = run.current
        if current is not None and not any(a.intended for a in current.acts) and run.word is None:
            proposed = self.run_task.next
            if isinstance(proposed, ReadyWrite | NeedsPick | NeedsDecision):
                return current
            done = [s for s in run.steps if any(a.intended for a in s.acts)]
            return done[-1] if done and not isinstance(proposed, NeedsAnswer) else current
        if current is not None:
            return current
        ended = [s for s in run.steps if s.word is not None and any(a.intended for a in s.acts)]
        return ended[-1] if ended else run.steps[-1] if run.steps else None

    def _show_step(self) -> None:
        step = self.selected
        if step is None:
            self.put("#about", words(""))
            return
        self.put("#about", Rows(about(step, self._planned(step), self.run_task.step_of(step.id))))
        self._show_output(step)

    def _evidence(self, step: StepState) -> StepState:
        """The step whose output is shown: its own, or the last one before it, on which a person decides."""
        steps = self.run_task.run.steps
        before = steps[: steps.index(step) + 1] if step in steps else (step,)
        return next((s for s in reversed(before) if shown_acts(s)), step)

    def _show_output(self, chosen: StepState) -> None:
        step = self._evidence(chosen)
        acts = shown_acts(step)
        tabs: list[str | tuple[str, str]] = [(f"{clean(step.id)}  ", "$tone-label")] if acts else []
        at_member = self._shown(acts)
        for at, act in enumerate(acts):
            glyph, tone = GLYPHS.get(act.word or "", ("◐", "$tone-wait"))
            here = "bold $tone-text" if at == at_member else "$tone-dim"
            tabs += [
                (f"{_part(act)}{clean(act.member, 40)} ", here),
                (f"{glyph} ", tone),
                (f"{_facts(act)}   ", "$tone-dim"),
            ]
        view = self.query_one(OutputView)
        if view.below:
            tabs.append((f"{view.below} new lines below", "$tone-wait"))
        if len(acts) > 1:
            tabs.append(("[ ] the other", "$tone-label"))
        self.put("#tabs", words(*tabs))
        if acts:
            act = acts[at_member]
            view.show(self.run_task.transcript(act.id), "" if act.word else "…", self._masked)
        else:
            view.show(None, "" if step.kind in ("choose", "manual") else "nothing sent yet")

    def _shown(self, acts: list[ActState]) -> int:
        """Which of the tabs: the chosen one, else what goes on, else the last undo, else the first."""
        if self._member >= 0:
            return min(self._member, max(0, len(acts) - 1))
        undo = [at for at, act in enumerate(acts) if _part(act) == "undo "]
        return next((at for at, act in enumerate(acts) if act.running), undo[-1] if undo else 0)

    def _show_now(self) -> None:
        session = self.envtui.session
        policy = session.environment.access if session is not None else None
        self.now(*now(self.run_task, policy, self._asking))

    # -- acting ----------------------------------------------------------------------------------------------------

    def action_select(self, by: int) -> None:
        steps = self.run_task.run.steps
        if not steps:
            return
        here = self.selected
        at = next((i for i, s in enumerate(steps) if here is not None and s.id == here.id), 0)
        self._selected = steps[max(0, min(len(steps) - 1, at + by))].id
        self._member = -1
        self.show_state()

    def action_member(self, by: int) -> None:
        step = self.selected
        acts = shown_acts(self._evidence(step)) if step is not None else []
        self._member = max(0, min(len(acts) - 1, self._shown(acts) + by))
        self.show_state()

    def action_enter(self) -> None:
        if isinstance(self.run_task.next, NeedsAnswer | NeedsPick | NeedsDecision | Doubt | UndoByHand):
            self.action_answer()

    def action_step(self) -> None:
        if self._possible("step"):
            self._selected = ""
            self.envtui.work(self._done(self.run_task.step()))

    def action_run_on(self) -> None:
        if self._possible("run_on"):
            self._selected = ""
            self.envtui.work(self._done(self.run_task.run_on()))

    def action_stop(self) -> None:
        if self._possible("stop"):
            self.run_task.stop()
            self.envtui.tell("Stopping after the current act; polls and waits stop now. C ends the act itself.")
            self.show_state()

    def action_write(self) -> None:
        if not self._possible("write"):
            return
        task, proposed = self.run_task, self.run_task.next
        assert isinstance(proposed, ReadyWrite)
        session = self.envtui.session
        assert session is not None
        step = task.step_of(proposed.step)
        state = task.run.step(proposed.step)
        planned = self._planned(state) if state else None
        left = tuple(
            a
            for a in (planned.acts if planned else ())
            if state and any(s.id == a.id and not s.intended for s in state.acts)
        )
        letters = "".join(random.SystemRandom().sample(LETTERS, 3))
        undo = "; ".join(dict.fromkeys(shows(as_sent(task.run, task.plan, a)) for a in planned.undo)) if planned else ""
        late = tuple(value for a in left for value in about_to(task.run, a, planned.late)) if planned else ()
        asked = asks(task, proposed.step)

        async def write() -> None:
            if asked:
                await accept(task, asked)  # as they were shown
            if isinstance(await session.write(task, proposed.step), ReadyUndo | LookAt) and not task.stopping:
                await task.run_on()  # the book says what follows a failure, and it was signed

        def done(word: str | None) -> None:
            if word:
                self._selected = ""
                self.envtui.work(self._done(write()))

        self.app.push_screen(
            WriteDialog(
                proposed.step,
                step.title or proposed.step,
                tuple(as_sent(task.run, task.plan, a) for a in left),
                letters,
                step.confirm,
                undo,
                step.point_of_no_return,
                late,
            ),
            done,
        )

    def action_escalate(self) -> None:
        if self._possible("escalate"):
            from .escalate import EscalateScreen

            self.app.push_screen(EscalateScreen(self.run_task))

    def action_skip(self) -> None:
        if self._possible("skip"):
            current = self.run_task.run.current

            def done(reason: str | None) -> None:
                if reason is not None:
                    self.envtui.work(self._done(self.run_task.skip(reason)))

            self.app.push_screen(
                Prompt(
                    "Leave out a step", f"Why is {current.id if current else ''} left out? It goes into the ledger."
                ),
                done,
            )

    def action_note(self) -> None:
        def done(text: str | None) -> None:
            if text:
                self.envtui.work(self.run_task.note(text))

        self.app.push_screen(Prompt("Note", "For whoever reads the ledger:"), done)

    def action_ask(self) -> None:
        ask_unscripted(self)

    def action_propose(self) -> None:
        from .propose import ProposeScreen

        self.app.push_screen(ProposeScreen())

    def action_output(self) -> None:
        self.toggle_class("full")
        self.query_one(OutputView).focus()

    def action_back(self) -> None:
        if self.has_class("full"):
            self.remove_class("full")
        elif self._selected:
            self._selected = ""
            self.show_state()
        else:
            self.app.pop_screen()


def shown_acts(step: StepState) -> list[ActState]:
    """What of a step has output: its acts, what looked for them, what took them back."""
    return [act for act in (*step.acts, *step.probes, *step.undo) if act.intended]


def _part(act: ActState) -> str:
    """`undo ` or `probe `, for what is not the act itself."""
    last = act.id.partition("@")[0].rpartition(".")[2]
    return f"{last} " if last in ("undo", "probe") and "." in act.id.partition("@")[0] else ""


def _facts(act: ActState) -> str:
    said = []
    if act.exit is not None:
        said.append(f"exit {act.exit}")
    if act.status is not None:
        said.append(str(act.status))
    if act.rows is not None:
        said.append(f"{act.rows} rows")
    if act.affected is not None:
        said.append(f"{act.affected} affected")
    if act.word is not None:
        said.append(took(act.milliseconds))
    if act.truncated:
        said.append("truncated")
    return " ".join(said)
