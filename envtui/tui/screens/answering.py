"""What a person answers in a run: choices, rows, manual steps, and what they say about a write in doubt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from envtui.core.act import PlannedStep
from envtui.core.errors import EnvtuiError
from envtui.core.redact import shapes
from envtui.core.text import clean
from envtui.engine.runner import RunTask
from envtui.rules.proposals import Doubt, LookAt, NeedsAnswer, NeedsDecision, NeedsPick, UndoByHand
from envtui.rules.state import StepState

from ..dialogs.choose import Choose
from ..dialogs.prompt import Prompt
from ..dialogs.typed import TypedDialog
from ..framed import FramedScreen, words
from .why_not import why_not

DECISIONS = {
    "retry": "do it again",
    "look": "look whether something of it is there",
    "skip": "leave it out and go on",
    "undo": "take back what this run did",
    "stop": "end the run here",
    "go on": "I have seen it; the run goes on with what is now",
}
DOUBTS = {
    "look": "look at the target: whether it still runs, then its probe",
    "halt": "end what still runs of it at the target, then look",
    "done": "it is done: the run goes on as after a write that ended well",
    "not done": "nothing of it is there: it may be sent again, as another attempt",
}


class Answering(FramedScreen):
    """The part of the run screen that asks a person and hands the answer to the run."""

    run_task: RunTask
    _selected = ""  # '' follows the current step
    _asking = ""  # an act whose target is being asked what became of it

    @property
    def selected(self) -> StepState | None:
        """The step that is shown."""
        raise NotImplementedError

    def _planned(self, step: StepState) -> PlannedStep | None:
        return next((p for p in self.run_task.plan.steps if p.id == step.id), None)

    def why_not(self, action: str) -> str:
        return why_not(action, self.run_task)

    def _possible(self, action: str) -> bool:
        why = self.why_not(action)
        if why:
            self.envtui.tell(why)
        return not why

    def _masked(self, text: str) -> str:
        """Text without secrets: those that this session knows, and what has the shape of one."""
        session = self.envtui.session
        return session.ways.masked(text) if session is not None else shapes(text)

    async def _done(self, job: Awaitable[object]) -> None:
        """Await a part of the run. What was refused on the way is written down as the step's end, then shown."""
        try:
            await job
        except EnvtuiError:
            if not self.run_task.busy:
                await self.run_task.settle()
            raise

    async def _look(self, act: str, halt: bool = False) -> None:
        """Ask the target what became of an act; with `halt` end it there first."""
        self._asking = act
        try:
            await self._done(self.run_task.mending.look(halt))
        finally:
            self._asking = ""

    def action_answer(self) -> None:
        if not self._possible("answer"):
            return
        task, proposed = self.run_task, self.run_task.next
        self._selected = ""
        if isinstance(proposed, Doubt):
            self._doubt(proposed)
        elif isinstance(proposed, UndoByHand):
            self._by_hand(proposed)
        elif isinstance(proposed, NeedsDecision):
            self._decide(proposed)
        elif isinstance(proposed, NeedsPick):
            rows = [" │ ".join(row) for row in proposed.rows]
            self._choose(
                self._title(proposed.step),
                "",
                rows,
                lambda i: task.pick(proposed.step, proposed.name, [i]),
                " │ ".join(proposed.columns),
            )
        elif isinstance(proposed, NeedsAnswer) and proposed.options:
            labels = list(proposed.options)
            self._choose(
                self._title(proposed.step),
                proposed.instructions,
                labels,
                lambda i: task.answer(proposed.step, labels[i]),
            )
        elif isinstance(proposed, NeedsAnswer):
            self._manual(proposed, {}, list(proposed.ask))

    def _title(self, step_id: str) -> str:
        step = next((s for s in self.run_task.run.steps if s.id == step_id), None)
        return clean((step.title if step else "") or step_id)

    def _choose(
        self, title: str, text: str, options: list[str], then: Callable[[int], Awaitable[object]], head: str = ""
    ) -> None:
        def done(index: int | None) -> None:
            if index is not None:
                self.envtui.work(self._done(then(index)))

        shown = [self._masked(option) for option in options]
        self.app.push_screen(Choose(title, self._masked(text), shown, head), done)

    def _manual(self, proposed: NeedsAnswer, values: dict[str, str], names: list[str]) -> None:
        title = self._title(proposed.step)
        if names:

            def one(typed: str | None) -> None:
                if typed is not None:
                    self._manual(proposed, {**values, names[0]: typed}, names[1:])

            self.app.push_screen(
                Prompt(title, f"{proposed.instructions}\n\n{names[0]} ({proposed.ask[names[0]]}):"), one
            )
            return

        def confirm(typed: str | None) -> None:
            if typed is not None:
                self.envtui.work(
                    self._done(self.run_task.answer(proposed.step, typed if proposed.confirm else "done", values))
                )

        if proposed.confirm:
            self.app.push_screen(Prompt(title, f"{proposed.instructions}\n\nType in full: {proposed.confirm}"), confirm)
        elif values:
            confirm("done")
        else:
            self._choose(title, proposed.instructions, ["done"], lambda _: self.run_task.answer(proposed.step, "done"))

    # -- what did not go well --------------------------------------------------------------------------------------

    def _decide(self, proposed: NeedsDecision) -> None:
        choices = list(proposed.choices)
        known = any(step.id == proposed.step for step in self.run_task.run.steps)
        title = self._title(proposed.step) if known else "What was read has changed"

        def done(index: int | None) -> None:
            if index is None:
                return
            if choices[index] == "undo":
                self.undo(lambda task: task.decide(proposed.step, "undo"))
            else:
                self.envtui.work(self._done(self._decided(proposed.step, choices[index])))

        said = [f"{choice:<7} {DECISIONS.get(choice, '')}".rstrip() for choice in choices]
        self.app.push_screen(Choose(title, self._masked(proposed.why), said), done)

    async def _decided(self, step_id: str, choice: str) -> None:
        proposed = await self.run_task.decide(step_id, choice)
        if isinstance(proposed, LookAt):
            await self.run_task.step()

    def undo(self, begin: Callable[[RunTask], Awaitable[object]] | None = None) -> None:
        """Ask whether what was done is to be taken back; `begin` writes down that it is."""
        raise NotImplementedError

    def cut(self) -> None:
        """Ask for the word that ends what is under way, or what still runs of a write in doubt."""
        raise NotImplementedError

    def _doubt(self, proposed: Doubt) -> None:
        choices = list(proposed.choices)

        def done(index: int | None) -> None:
            if index is None:
                return
            choice = choices[index]
            if choice == "look":
                self.envtui.work(self._look(proposed.act))
            elif choice == "halt":
                self.cut()
            elif proposed.found == "unknown":
                self._reason(proposed, choice)
            else:
                self._say(proposed, choice, "")

        known = proposed.why or "nobody has looked yet"
        text = f"{proposed.act} was sent, and its outcome is not known. Check before anything.\n"
        text += f"found: {proposed.found}, {known}" if proposed.found else known
        said = [f"{choice:<9}{DOUBTS[choice]}" for choice in choices]
        self.app.push_screen(Choose("IN DOUBT", self._masked(text), said), done)

    def _reason(self, proposed: Doubt, choice: str) -> None:
        def done(reason: str | None) -> None:
            if reason is None:
                return
            if len(reason.strip()) < 3:
                self.envtui.tell("Nobody could tell, so your word needs a reason: a few words, for the ledger.")
                return
            self._say(proposed, choice, reason)

        self.app.push_screen(
            Prompt(f"{proposed.act}: {choice}", "Nobody could tell, so this is your word. How do you know?"), done
        )

    def _say(self, proposed: Doubt, choice: str, reason: str) -> None:
        def done(word: str | None) -> None:
            if word:
                self.envtui.work(self._done(self.run_task.mending.resolve(proposed.act, choice == "done", reason)))

        text = words(
            (f"{clean(proposed.act, 100)}\n", "bold $tone-text"),
            (f"{DOUBTS[choice]}\n", "$tone-text"),
            (
                f"found: {proposed.found}, {self._masked(clean(proposed.why, 600))}\n" if proposed.found else "",
                "$tone-dim",
            ),
            (self._masked(clean(reason, 600)), "$tone-dim"),
        )
        self.app.push_screen(
            TypedDialog(
                f"IT IS {choice.upper()}", text, {choice: "says so, in the ledger, in your name"}, "leaves it in doubt"
            ),
            done,
        )

    def _by_hand(self, proposed: UndoByHand) -> None:
        def done(word: str | None) -> None:
            if word:
                self.envtui.work(self._done(self.run_task.mending.by_hand(proposed.step)))

        text = words((self._masked(clean(proposed.instructions, 4000)), "$tone-text"))
        self.app.push_screen(
            TypedDialog(f"TAKE BACK: {self._title(proposed.step)}", text, {"done": "when you took it back"}, "not yet"),
            done,
        )
