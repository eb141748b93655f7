"""A run that goes on: does what `decide` proposes and writes down what happened.

A run belongs to its session, never to a screen. All methods may be called from any task of the loop; one act at a time is
under way. Nobody's answer is waited for here: when a person is needed, the method returns and `next` says what for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

from envtui.core.access import Permit
from envtui.core.act import Act, Plan, Value
from envtui.core.environment import Environment
from envtui.core.errors import EnvtuiError, Failed, NeedsWrite, Refused, UsageError
from envtui.core.events import (
    ActEnded,
    Answered,
    Captured,
    Entry,
    Event,
    Noted,
    PickOffered,
    RunEnded,
    StepEnded,
    WaitStarted,
    WriteNeeded,
)
from envtui.core.ports import Reading, Shown, Transcript
from envtui.core.redact import Redactor
from envtui.core.runbook import ChooseStep, ManualStep, Poll, Runbook, Step
from envtui.core.shape import seconds
from envtui.rules.bind import bind
from envtui.rules.capture import Offer, Taken, capture, picked
from envtui.rules.decide import (
    Done,
    EndStep,
    Finish,
    NeedsAnswer,
    NeedsDecision,
    NeedsPick,
    Next,
    ReadyRead,
    ReadyWrite,
    StartWait,
    Waiting,
    decide,
    failing,
    values,
)
from envtui.rules.expect import judge
from envtui.rules.looking import Tally, poll_of
from envtui.rules.run import RETRY, Run, apply
from envtui.rules.values import typed_answer

from .acting import Acting
from .stopping import Stopping
from .ways import Ways

READS_AT_ONCE = 8
"""Members of one target that are read side by side (sshd allows 10 sessions a connection by default)."""

Spend = Callable[[Act], Awaitable[Permit]]


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
    ) -> None:
        self.run = run
        self.plan = plan
        self.book = book
        self._ways = ways
        self._changed = changed
        self._environment = environment
        self._acting = Acting(run.id, environment, ways, self._append_act, self.recording, connected)
        self.observers: list[Callable[[Entry], None]] = []
        self._lock = asyncio.Lock()
        self._stopping = Stopping(ways.clock)
        self._live: dict[str, Transcript] = {}
        self._decided: tuple[Run, Plan, Next] | None = None

    @property
    def next(self) -> Next:
        """What comes next, as of the last event."""
        if self._decided is None or self._decided[0] is not self.run or self._decided[1] is not self.plan:
            self._decided = (self.run, self.plan, decide(self.run, self.plan, self.book))
        return self._decided[2]

    @property
    def busy(self) -> bool:
        return self._lock.locked()

    @property
    def stopping(self) -> bool:
        return self._stopping.asked

    async def append(self, *events: Event) -> Sequence[Entry]:
        """Write events down, durably and in order; then everyone who looks sees them. Returns their entries."""
        entries = await self._ways.journal.append_all(events)
        for entry in entries:
            self.run = apply(self.run, entry)
            for observe in tuple(self.observers):
                observe(entry)
        self._changed()
        return entries

    async def _append_act(self, *events: Event) -> Sequence[Entry]:
        """As `append`; the end of a step that the last act decides is written with it: one wait for the disk less."""
        return await self.append(*events, *self._end_with(events))

    def _end_with(self, events: Sequence[Event]) -> Sequence[Event]:
        last = events[-1]
        if self._stopping.for_good or not isinstance(last, ActEnded):
            return ()
        step = self.step_of(last.step)
        if step.capture or poll_of(step, self.book) is not None:  # more is written about this step
            return ()
        run = self.run
        for event in events:
            run = apply(run, Entry(seq=0, at_ms=0, event=event, hash=""))
        proposed = decide(run, self.plan, self.book)
        return (self._ended(proposed),) if isinstance(proposed, EndStep) and proposed.step == step.id else ()

    def _ended(self, proposed: EndStep) -> StepEnded:
        return StepEnded(run=self.run.id, step=proposed.step, word=proposed.word, why=proposed.why, goto=proposed.goto)

    def recording(self, act_id: str, transcript: Transcript) -> None:
        """An act's output begins: a screen may follow it."""
        self._live[act_id] = transcript
        self._changed()

    def transcript(self, act_id: str) -> Transcript | None:
        """The output of an act, growing while it runs; None when it has none."""
        live = self._live.get(act_id)
        if live is not None:
            return live
        state = next((a for s in self.run.steps for a in s.acts if a.id == act_id), None)
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
                    await self.append(self._ended(proposed))
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
        """Do the next read, or wait out a wait. Returns what is next; does nothing where a person is needed."""
        async with self._lock:
            self._stopping.go_on()
            return await self._once(await self.settle())

    async def run_on(self) -> Next:
        """Do reads and waits until a person is needed, the run ends, or `stop` is called."""
        async with self._lock:
            self._stopping.go_on()
            proposed = await self.settle()
            while isinstance(proposed, ReadyRead | Waiting) and not self._stopping.asked:
                proposed = await self._once(proposed)
            return proposed

    def stop(self) -> None:
        """Stop after the current act; a poll or a wait stops now."""
        self._stopping.ask()

    def interrupt(self, writes: bool = False) -> None:
        """Stop now and for good: nothing more begins, a read under way is cancelled.

        A write is waited for; with `writes` it is cut off, and in doubt.
        """
        self._stopping.interrupt(writes)

    async def idle(self) -> None:
        """Returns when nothing is under way."""
        async with self._lock:
            pass

    async def abandon(self, why: str) -> None:
        """End the run here, by a person's word."""
        async with self._lock:
            if not isinstance(self.next, Done):
                await self.append(RunEnded(run=self.run.id, word="CANCELLED", why=why))

    async def _once(self, proposed: Next) -> Next:
        if self._stopping.for_good:
            return proposed
        if isinstance(proposed, Waiting):
            await self._stopping.pause((proposed.until_ms - self._ways.clock.wall_ms()) / 1000)
        elif isinstance(proposed, ReadyRead):
            looking = self._look(self.step_of(proposed.step), proposed.acts)
            if not await self._stopping.cuttable(looking, writes=False):
                return self.next  # where a cancelled step would lead is not followed: the run ends here
        return await self.settle()

    async def _look(self, step: Step, acts: Sequence[Act]) -> None:
        poll = poll_of(step, self.book)
        if poll is None:
            await self._reads(step, acts)
        else:
            await self._poll(step, acts, poll)

    async def _reads(self, step: Step, acts: Sequence[Act], attempt: int = 1) -> bool:
        places = asyncio.Semaphore(READS_AT_ONCE)

        async def one(act: Act) -> tuple[Act, Reading] | None:
            async with places:
                return await self._read(step, act, attempt)

        taken = [await one(acts[0])] if len(acts) == 1 else await asyncio.gather(*map(one, acts))
        results: list[bool] = []
        first = True
        for act, answered in zip(acts, taken, strict=True):
            results.append(answered is not None and await self._capture(step, act, *answered, first))
            first = first and answered is None
        any_host = bool(getattr(getattr(step, "expect", None), "any_host", False))
        return any(results) if any_host else all(results)

    async def _read(self, step: Step, act: Act, attempt: int) -> tuple[Act, Reading] | None:
        """The act as it was done (`host: any` may have gone to another member) and its reading, if that is as expected."""
        try:
            act = bind(act, values(self.run, self.plan, act.place.member))
        except UsageError as error:
            await self.append(
                ActEnded(run=self.run.id, step=step.id, act=act.id, word="REFUSED", why=error.message, attempt=attempt)
            )
            return None
        verdict = False

        def weigh(there: Act, reading: Reading) -> tuple[bool, str]:
            nonlocal verdict
            verdict, why = judge(step, reading, values(self.run, self.plan, there.place.member))
            return verdict, why

        others: list[Act] = []
        for other in next(p for p in self.plan.steps if p.id == step.id).instead:
            with contextlib.suppress(UsageError):  # a value of another host: not one that this can be done on
                others.append(bind(other, values(self.run, self.plan, other.place.member)))
        answered = await self._acting.read(act, weigh, attempt, others)
        return answered if verdict else None

    async def _capture(self, step: Step, act: Act, there: Act, reading: Reading, first: bool) -> bool:
        events: list[Event] = []
        for name, spec in step.capture.items():
            if not first and not spec.per_host:
                continue
            member = there.place.member if spec.per_host else ""
            try:
                found = capture(name, spec, reading, values(self.run, self.plan, there.place.member))
                self._refuse_secrets(name, found)
            except EnvtuiError as error:
                await self.append(
                    ActEnded(
                        run=self.run.id, step=step.id, act=act.id, word="FAILED", why=self._ways.masked(str(error))
                    )
                )
                return False
            if isinstance(found, Offer):
                events.append(
                    PickOffered(run=self.run.id, step=step.id, name=name, columns=found.columns, rows=found.rows)
                )
            else:
                events.append(
                    Captured(
                        run=self.run.id,
                        step=step.id,
                        name=name,
                        value=found.value,
                        columns=found.columns,
                        rows=found.rows,
                        member=member,
                    )
                )
        if events:
            await self.append(*events)
        return True

    def _refuse_secrets(self, name: str, found: Offer | Taken) -> None:
        """A captured value is written down as it is and used as it is: what holds a secret can be neither."""
        hidden = Redactor(self._ways.resolved())
        cells = [cell for row in found.rows for cell in row]
        if isinstance(found, Taken) and found.value is not None:
            cells.append(found.value.text)
        if any(hidden.spans(cell.encode("utf-8", "surrogatepass")) for cell in cells):
            raise Failed(f"Capture of {name}: what was found holds a secret.", "Capture a part without it.")

    async def _poll(self, step: Step, acts: Sequence[Act], poll: Poll) -> None:
        deadline = self._ways.clock.wall_ms() + round(seconds(poll.for_) * 1000)
        await self.append(WaitStarted(run=self.run.id, step=step.id, until_ms=deadline))
        tally = Tally(poll)
        while True:
            tally.count(await self._reads(step, acts, tally.looks + 1))
            if tally.over:
                return
            if self._ways.clock.wall_ms() + round(seconds(poll.every) * 1000) > deadline:
                if tally.lacks:
                    await self.append(self._ended(failing(step, "FAILED", tally.lacks)))
                return
            if self._stopping.asked or await self._stopping.pause(seconds(poll.every)):
                # Looking was stopped by a person: that is how a poll is meant to end, not a cancellation.
                await self.append(StepEnded(run=self.run.id, step=step.id, word="OK", why="stopped looking"))
                return

    # -- a person's part -----------------------------------------------------------------------------------------

    async def answer(self, step_id: str, answer: str, asked: Mapping[str, str] | None = None, by: str = "") -> Next:
        """The chosen label of a `choose`, or `done` and the asked values of a `manual` step."""
        async with self._lock:
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
        async with self._lock:
            proposed = self.next
            if not isinstance(proposed, NeedsPick) or (proposed.step, proposed.name) != (step_id, name):
                raise UsageError(f"Step {step_id} offers nothing to pick.", "Look at what the run waits for.")
            taken = picked(Offer(columns=proposed.columns, rows=proposed.rows, many=proposed.many), indexes)
            await self.append(
                Captured(run=self.run.id, step=step_id, name=name, columns=taken.columns, rows=taken.rows)
            )
            return await self.settle()

    async def decide(self, step_id: str, choice: str, by: str = "") -> Next:
        """What to do about a failed step: retry, skip or stop."""
        async with self._lock:
            proposed = self.next
            if not isinstance(proposed, NeedsDecision) or proposed.step != step_id:
                raise UsageError(f"Step {step_id} waits for no decision.", "Look at what the run waits for.")
            if choice not in proposed.choices:
                raise UsageError(f"{choice!r} is not possible here.", "One of: " + ", ".join(proposed.choices) + ".")
            await self.append(
                Answered(run=self.run.id, step=step_id, answer=RETRY if choice == "retry" else choice, by=by)
            )
            if choice == "skip":
                await self.append(
                    StepEnded(run=self.run.id, step=step_id, word="SKIPPED", why=f"after failing: {proposed.why}")
                )
            elif choice == "stop":
                await self.append(RunEnded(run=self.run.id, word="FAILED", why=f"step {step_id}: {proposed.why}"))
            return await self.settle()

    async def skip(self, reason: str) -> Next:
        """Leave the current step out, with a reason. A required one cannot be skipped."""
        async with self._lock:
            state = self.run.current
            if state is None or self.run.word is not None or self.run.in_doubt:
                raise UsageError("There is no step to skip.", "")
            step = self.step_of(state.id)
            if step.required:
                raise Refused(f"Step {state.id} is required.", "Do it, or stop the run.")
            if len(reason.strip()) < 3:
                raise UsageError("Skipping needs a reason.", "Say why in a few words; it goes into the ledger.")
            if any(a.intended for a in state.acts) and state.mode == "write":
                raise Refused(f"Step {state.id} has begun to write.", "It cannot be skipped any more.")
            await self.append(StepEnded(run=self.run.id, step=state.id, word="SKIPPED", why=reason.strip()))
            return await self.settle()

    async def note(self, text: str, by: str = "") -> None:
        """A remark for whoever reads the ledger."""
        if text.strip():
            await self.append(Noted(run=self.run.id, text=self._ways.masked(text.strip()), by=by or self.run.operator))

    # -- writing -------------------------------------------------------------------------------------------------

    async def write(self, step_id: str, spend: Spend) -> Next:
        """Do the acts of a write step, in order, as long as each goes well. `spend` gives a permit for each act."""
        async with self._lock:
            self._stopping.go_on()
            proposed = await self.settle()
            if not isinstance(proposed, ReadyWrite) or proposed.step != step_id:
                raise UsageError(f"Step {step_id} is not the next write.", "Look at what the run waits for.")
            step = self.step_of(step_id)
            while isinstance(proposed, ReadyWrite) and proposed.step == step_id and not self._stopping.asked:
                if not proposed.granted:
                    await self.append(WriteNeeded(run=self.run.id, step=step_id))
                    raise NeedsWrite(f"Step {step_id} {proposed.why_not}.", "Ask for write access.")
                if not await self._stopping.cuttable(self._write(step, proposed.act, spend), writes=True):
                    return self.next
                proposed = await self.settle()
            return proposed

    async def _write(self, step: Step, act: Act, spend: Spend) -> None:
        permit = await spend(act)
        names = values(self.run, self.plan, act.place.member)
        await self._acting.write(act, permit, lambda reading: judge(step, reading, names))

    def step_of(self, step_id: str) -> Step:
        """The book's step of that id."""
        return next(s for s in (*self.book.before, *self.book.steps) if s.id == step_id)
