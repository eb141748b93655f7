"""A run that goes on: does what `decide` proposes and writes down what happened.

A run belongs to its session, never to a screen. All methods may be called from any task of the loop; one act at a time is
under way. Nobody's answer is waited for here: when a person is needed, the method returns and `next` says what for.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envtui.core.access import Permit
from envtui.core.act import Act, Plan, Value
from envtui.core.environment import Environment
from envtui.core.errors import Failed, NeedsWrite, Refused, UsageError
from envtui.core.events import (
    ActEnded,
    Answered,
    Captured,
    Entry,
    Event,
    Noted,
    RunEnded,
    StepEnded,
    StopAsked,
    UndoStarted,
    WaitStarted,
    WriteNeeded,
)
from envtui.core.ports import Shown, Transcript
from envtui.core.runbook import ChooseStep, ManualStep, Runbook, Step
from envtui.rules.capture import Offer, picked
from envtui.rules.decide import decide, step_of
from envtui.rules.looking import poll_of
from envtui.rules.proposals import (
    Done,
    EndStep,
    Finish,
    Following,
    LookAt,
    NeedsAnswer,
    NeedsDecision,
    NeedsPick,
    Next,
    ReadyRead,
    ReadyUndo,
    ReadyWrite,
    StartUndo,
    StartWait,
    Waiting,
)
from envtui.rules.run import RESUME, STAYS, apply
from envtui.rules.state import Run
from envtui.rules.values import typed_answer
from envtui.rules.waiving import waived

from .accepting import refuse_held
from .acting import Acting
from .reads import ReadSteps, ended
from .stopping import Stopping
from .ways import Ways

if TYPE_CHECKING:
    from .mending import Mending
    from .writes import WriteSteps

Spend = Callable[["RunTask", Act, int, bool, Mapping[str, str]], Awaitable[Permit]]
"""A permit for an act of a run as it was signed, an attempt, whether it is an undo, and the late values (slot -> value) that
are in what is sent; consumed in the ledger before it is returned."""


class RunTask:
    """One run in this process."""

    def __init__(
        self,
        run: Run,
        plan: Plan,
        book: Runbook,
        environment: Environment,
        ways: Ways,
        changed: Callable[[], None],
        connected: Callable[[Shown, str], None],
        spend: Spend,
        hold: Callable[[], None],
        begun: int = 0,
    ) -> None:
        self.run = run
        self._came_ended_ms = run.ended_ms
        self.plan = plan
        self.book = book
        self._ways = ways
        self._changed = changed
        self._spend = spend
        self._hold = hold
        self._acting = Acting(run.id, environment, ways, self._append_act, self.recording, connected, begun)
        self.observers: list[Callable[[Entry], None]] = []
        self.lock = asyncio.Lock()
        self._stopping = Stopping(ways.clock)
        self._reads = ReadSteps(self, self._acting, ways, self._stopping)
        self._live: dict[str, Transcript] = {}
        self._decided: tuple[Run, Plan, Next] | None = None

    @functools.cached_property
    def _writes(self) -> WriteSteps:
        from .writes import WriteSteps  # most runs only read

        return WriteSteps(self, self._acting, self._ways, self._stopping)

    @functools.cached_property
    def mending(self) -> Mending:
        """What a person does about writes that did not go well: doubts, and undo."""
        from .mending import Mending

        return Mending(self, self._writes, self._ways, self._stopping, self.lock)

    @property
    def next(self) -> Next:
        """What comes next, as of the last event."""
        if self._decided is None or self._decided[0] is not self.run or self._decided[1] is not self.plan:
            self._decided = (self.run, self.plan, decide(self.run, self.plan, self.book))
        return self._decided[2]

    @property
    def over(self) -> bool:
        """It ended here: one that had ended before is taken up to be gone on with."""
        return self.run.word is not None and self.run.ended_ms != self._came_ended_ms

    def keep(self) -> None:
        """Have the run for this process although it is over: it is about to go on. Raises Refused when another has it."""
        self._came_ended_ms = self.run.ended_ms
        self._hold()

    @property
    def busy(self) -> bool:
        return self.lock.locked()

    @property
    def stopping(self) -> bool:
        return self._stopping.asked

    @property
    def cutting(self) -> bool:
        """Whether what is under way is being ended now, after `cut`."""
        return self._stopping.cutting

    async def append(self, *events: Event) -> Sequence[Entry]:
        """Write events down, durably and in order; then everyone who looks sees them. Returns their entries."""
        entries = await self._ways.journal.append_all(events)
        self.take(*entries)
        return entries

    def take(self, *entries: Entry) -> None:
        """What the ledger has of the run now, written here or by another process, is seen by everyone who looks."""
        for entry in entries:
            self.run = apply(self.run, entry)
            for observe in tuple(self.observers):
                observe(entry)
        self._changed()

    async def _append_act(self, *events: Event) -> Sequence[Entry]:
        """As `append`; the end of a step that the last act decides is written with it: one wait for the disk less."""
        return await self.append(*events, *self._end_with(events))

    def _end_with(self, events: Sequence[Event]) -> Sequence[Event]:
        last = events[-1]
        if self._stopping.now or not isinstance(last, ActEnded) or "." in last.act.partition("@")[0]:
            return ()
        step = self.step_of(last.step)
        if step.capture or poll_of(step, self.book) is not None:  # more is written about this step
            return ()
        run = self.run
        for event in events:
            run = apply(run, Entry(seq=0, at_ms=0, event=event, hash=""))
        proposed = decide(run, self.plan, self.book)
        return (ended(self.run.id, proposed),) if isinstance(proposed, EndStep) and proposed.step == step.id else ()

    def recording(self, act_id: str, transcript: Transcript) -> None:
        """An act's output begins: a screen may follow it."""
        self._live[act_id] = transcript
        self._changed()

    def transcript(self, act_id: str) -> Transcript | None:
        """The output of an act, growing while it runs; None when it has none."""
        live = self._live.get(act_id)
        if live is not None:
            return live
        state = self.run.act(act_id)
        if state is None or not state.transcript:
            return None
        try:
            return self._ways.spool.replay(state.transcript)
        except Failed:
            return None  # not kept, or removed since: its digest is in the ledger

    # -- going on ------------------------------------------------------------------------------------------------

    async def settle(self) -> Next:
        """Write down what follows by itself (ends of steps, skips, deadlines, the run's end) and say what is next."""
        while True:
            proposed = self.next
            match proposed:
                case EndStep():
                    await self.append(ended(self.run.id, proposed))
                case StartUndo():
                    await self.append(
                        UndoStarted(run=self.run.id, acts=proposed.acts, cause=proposed.cause, why=proposed.why)
                    )
                case Finish():
                    await self.append(RunEnded(run=self.run.id, word=proposed.word, why=proposed.why))
                case StartWait():
                    until = self._ways.clock.wall_ms() + round(proposed.seconds * 1000)
                    await self.append(WaitStarted(run=self.run.id, step=proposed.step, until_ms=until))
                case Waiting() if self._ways.clock.wall_ms() >= proposed.until_ms:
                    await self.append(StepEnded(run=self.run.id, step=proposed.step, word="OK"))
                case _:
                    return proposed

    async def step(self) -> Next:
        """Do the next thing that needs nobody. Returns what is next; does nothing where a person is needed."""
        async with self.lock:
            self._stopping.go_on()
            return await self._once(await self.settle())

    async def run_on(self) -> Next:
        """Do what needs nobody (reads, waits, an undo that was begun) until a person is needed, the run ends, or `stop`.

        Raises Refused when the undo is not permitted any more.
        """
        async with self.lock:
            self._stopping.go_on()
            proposed = await self.settle()
            while _needs_nobody(proposed) and not self._stopping.asked:
                proposed = await self._once(proposed)
            return proposed

    def stop(self) -> None:
        """Stop after the current act; a poll or a wait stops now."""
        self._stopping.ask()

    def cut(self, writes: bool = False) -> None:
        """End what is under way now: a read is cancelled; with `writes` a write is ended at its target, too.

        What became of the write is found out and written down; whoever waits for the act learns it then.
        """
        self._stopping.cut(writes)

    def interrupt(self, writes: bool = False) -> None:
        """As `cut`, and for good: nothing more begins. With `writes` a write is left alone where it is, and in doubt."""
        self._stopping.interrupt(writes)

    async def idle(self) -> None:
        """Returns when nothing is under way."""
        async with self.lock:
            pass

    async def abandon(self, why: str, by: str = "") -> Next:
        """End the run here, by a person's word. What is undone `finally` comes first: then it is not over yet."""
        async with self.lock:
            if not isinstance(self.next, Done):
                await self.append(StopAsked(run=self.run.id, why=why, by=by or self.run.operator))
            return await self.settle()

    async def _once(self, proposed: Next) -> Next:
        if self._stopping.for_good:
            return proposed
        if isinstance(proposed, Waiting):
            await self._stopping.pause((proposed.until_ms - self._ways.clock.wall_ms()) / 1000)
            return await self.settle()
        match proposed:
            case ReadyRead():
                doing: Coroutine[Any, Any, None] = self._reads.look(self.step_of(proposed.step), proposed.acts)
            case LookAt():
                doing = self._writes.look_at(proposed.step, proposed.acts)
            case Following():
                doing = self._writes.follow(proposed.step, proposed.act)
            case ReadyUndo() if proposed.granted:
                doing = self._writes.undo(proposed, functools.partial(self._permit, undo=True))
            case _:
                return await self.settle()
        if not await self._stopping.cuttable(doing, writes=isinstance(proposed, ReadyUndo)):
            return self.next  # where a cancelled step would lead is not followed now
        return await self.settle()

    # -- a person's part -----------------------------------------------------------------------------------------

    async def answer(self, step_id: str, answer: str, asked: Mapping[str, str] | None = None, by: str = "") -> Next:
        """The chosen label of a `choose`, or `done` and the asked values of a `manual` step."""
        async with self.lock:
            proposed = self.next
            if not isinstance(proposed, NeedsAnswer) or proposed.step != step_id:
                raise UsageError(f"Step {step_id} is not waiting for an answer.", "Look at what the run waits for.")
            step = self.step_of(step_id)
            given: dict[str, Value] = {}
            if isinstance(step, ChooseStep):
                if answer not in step.options:
                    raise UsageError(
                        f"{answer!r} is no answer to {step_id}.", "One of: " + "; ".join(step.options) + "."
                    )
            elif isinstance(step, ManualStep):
                if step.mode == "write" and not self.run.write_active:
                    raise NeedsWrite(f"Step {step_id} changes something by hand.", "Ask for write access first.")
                if proposed.held:
                    raise Refused(f"Step {step_id} is not done yet: {proposed.held}")
                if step.confirm and answer != step.confirm:
                    raise UsageError(f"Step {step_id} is confirmed by typing: {step.confirm}", "Type it in full.")
                given = {
                    name: typed_answer(f"{step_id}.{name}", kind, (asked or {}).get(name))
                    for name, kind in step.ask.items()
                }
                answer = answer or "done"
            await self.append(
                Answered(run=self.run.id, step=step_id, answer=answer, values=given, by=by or self.run.operator)
            )
            return await self.settle()

    async def pick(self, step_id: str, name: str, indexes: Sequence[int]) -> Next:
        """The chosen rows of an offered table."""
        async with self.lock:
            proposed = self.next
            if not isinstance(proposed, NeedsPick) or (proposed.step, proposed.name) != (step_id, name):
                raise UsageError(f"Step {step_id} offers nothing to pick.", "Look at what the run waits for.")
            taken = picked(Offer(columns=proposed.columns, rows=proposed.rows, many=proposed.many), indexes)
            await self.append(
                Captured(run=self.run.id, step=step_id, name=name, columns=taken.columns, rows=taken.rows)
            )
            return await self.settle()

    async def decide(self, step_id: str, choice: str, by: str = "") -> Next:
        """What to do about a failed step, or about what changed: one of the offered choices."""
        async with self.lock:
            proposed = self.next
            if not isinstance(proposed, NeedsDecision) or proposed.step != step_id:
                raise UsageError(f"Step {step_id} waits for no decision.", "Look at what the run waits for.")
            if choice not in proposed.choices:
                raise UsageError(f"{choice!r} is not possible here.", "One of: " + ", ".join(proposed.choices) + ".")
            await self.append(Answered(run=self.run.id, step=step_id, answer=choice, by=by or self.run.operator))
            if choice == "undo":
                await self.mending.begin_undo(f"step {step_id}: {proposed.why}", by)
            elif step_id == RESUME and choice == "stop":
                await self.append(StopAsked(run=self.run.id, why=proposed.why, by=by or self.run.operator))
            elif choice == "skip":
                said = f"after failing: {proposed.why}"
                if self.step_of(step_id).required:
                    said = f"{self._waived(step_id)}; {said}"
                await self.append(StepEnded(run=self.run.id, step=step_id, word="SKIPPED", why=said))
            elif choice == "stop":
                await self.append(StepEnded(run=self.run.id, step=step_id, word="FAILED", why=proposed.why, goto=STAYS))
            return await self.settle()

    async def skip(self, reason: str) -> Next:
        """Leave the current step out, with a reason. A required one only where that was signed, for the reason signed."""
        async with self.lock:
            state = self.run.current
            if state is None or self.run.word is not None or self.run.in_doubt:
                raise UsageError("There is no step to skip.", "")
            step = self.step_of(state.id)
            if step.required:
                reason = self._waived(state.id)
            if len(reason.strip()) < 3:
                raise UsageError("Skipping needs a reason.", "Say why in a few words; it goes into the ledger.")
            if any(a.intended for a in state.acts) and state.mode == "write":
                raise Refused(f"Step {state.id} has begun to write.", "It cannot be skipped any more.")
            await self.append(StepEnded(run=self.run.id, step=state.id, word="SKIPPED", why=reason.strip()))
            return await self.settle()

    def _waived(self, step_id: str) -> str:
        """The signed reason for which a required step is left out. Raises Refused when none was signed."""
        if not waived(self.run, step_id):
            raise Refused(
                f"Step {step_id} is required.", "Do it, stop the run, or ask for write access with a waiver of it."
            )
        from .waived import reason

        return f"waived: {reason(self.run, step_id)}"

    async def note(self, text: str, by: str = "") -> None:
        """A remark for whoever reads the ledger."""
        if text.strip():
            await self.append(Noted(run=self.run.id, text=self._ways.masked(text.strip()), by=by or self.run.operator))

    # -- writing -------------------------------------------------------------------------------------------------

    async def write(self, step_id: str) -> Next:
        """Do the acts of a write step, in order, as long as each goes well, each under a permit of its own."""
        async with self.lock:
            self._stopping.go_on()
            proposed = await self.settle()
            if not isinstance(proposed, ReadyWrite) or proposed.step != step_id:
                raise UsageError(f"Step {step_id} is not the next write.", "Look at what the run waits for.")
            while isinstance(proposed, ReadyWrite) and proposed.step == step_id and not self._stopping.asked:
                if not proposed.granted:
                    await self.append(WriteNeeded(run=self.run.id, step=step_id))
                    raise NeedsWrite(f"Step {step_id} {proposed.why_not}.", "Ask for write access.")
                refuse_held(proposed)
                doing = self._writes.write(proposed, self._permit)
                if not await self._stopping.cuttable(doing, writes=True):
                    return self.next
                proposed = await self.settle()
            return proposed

    async def _permit(self, act: Act, attempt: int, values: Mapping[str, str], undo: bool = False) -> Permit:
        return await self._spend(self, act, attempt, undo, values)

    def step_of(self, step_id: str) -> Step:
        """The book's step of that id."""
        return step_of(self.book, step_id)


def _needs_nobody(proposed: Next) -> bool:
    if isinstance(proposed, ReadyUndo):
        return proposed.granted  # whoever began the undo, or signed the book that does, wanted all of it
    return isinstance(proposed, ReadyRead | Waiting | LookAt | Following)
