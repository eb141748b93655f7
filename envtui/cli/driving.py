"""A run that goes on without a screen: what comes next is done, asked or refused, until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from envtui import cycles
from envtui.core.errors import EnvtuiError, NeedsWrite, Refused
from envtui.engine.accepting import accept, asks
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.rules.proposals import (
    Done,
    Doubt,
    NeedsAnswer,
    NeedsDecision,
    NeedsPick,
    Next,
    ReadyRead,
    ReadyUndo,
    ReadyWrite,
    UndoByHand,
    Waiting,
)

from .lines import Printer
from .replies import Replies
from .signals import Signals, Stopped, say

EXIT = {"OK": 0, "FAILED": 1, "TIMED OUT": 1, "CANCELLED": 1, "REFUSED": 1, "SKIPPED": 0, "UNDONE": 1, "IN DOUBT": 5}

INTERRUPTED = 130


class Drive:
    """One run. `stays`: it was taken up again, so what is missing now leaves it as it is, for the next time."""

    def __init__(
        self, session: EnvironmentSession, task: RunTask, replies: Replies, printer: Printer, *, stays: bool = False
    ) -> None:
        self._session = session
        self._task = task
        self._replies = replies
        self._printer = printer
        self._stays = stays
        self._signals = Signals(task)
        self._looked: set[tuple[str, int]] = set()
        self._listening = False

    async def begin(self) -> None:
        """Listen for signals, and say what the run is. Once."""
        if not self._listening:
            self._listening = True
            cycles.settle()
            self._signals.listen()
            await self._printer.begin()

    async def through(self) -> int:
        """Go on until the run has ended, or nobody answers. Returns the exit code."""
        await self.begin()
        counting = asyncio.create_task(self._count_down())
        try:
            try:
                doubt = await self._on()
            except Stopped:
                doubt = await self._stopped()
                if doubt is None:
                    return INTERRUPTED
            except EnvtuiError as error:
                doubt = await self._gave_up(error)
                if doubt is None:
                    raise
                say(str(error))
        finally:
            counting.cancel()
            self._printer.end()
        if doubt is not None:
            self.say_doubt(doubt, ("envtui", "run", self._session.environment.name, "--resume", self._task.run.id))
            return 5
        return EXIT.get(self._task.run.word or "FAILED", 1)

    async def settle_doubts(self) -> Doubt | None:
        """Find out what became of writes in doubt, and take what a person says of them; one of which nobody says."""
        await self.begin()
        while isinstance(proposed := self._task.next, Doubt):
            if not await self._doubt(proposed):
                return self._task.next if isinstance(self._task.next, Doubt) else proposed
        return None

    def say_doubt(self, doubt: Doubt, command: Sequence[str]) -> None:
        """That nobody knows, and how it goes on, to stderr."""
        from . import verdicts

        say(f"IN DOUBT: {doubt.act}: {verdicts.found(doubt)}")
        say("Nothing is sent again by itself. It goes on with:")
        for line in verdicts.way_on(doubt, command).splitlines():
            say(line)

    async def _on(self) -> Doubt | None:
        task, replies, said = self._task, self._replies, self._signals.said
        await self._waived()
        while True:
            self._signals.check()
            proposed = await self._run_on()
            if isinstance(proposed, Doubt):
                if self._signals.heard or not await self._doubt(proposed):
                    return self._doubtful(proposed)
                continue
            self._signals.check()
            match proposed:
                case ReadyRead() | Waiting():
                    continue
                case NeedsAnswer():
                    answer, values = await said(replies.answer(proposed))
                    await task.answer(proposed.step, answer, values)
                case NeedsPick():
                    await task.pick(proposed.step, proposed.name, await said(replies.pick(proposed)))
                case NeedsDecision():
                    await task.decide(proposed.step, await said(replies.decision(proposed)))
                case UndoByHand():
                    await task.mending.by_hand(proposed.step, await said(replies.by_hand(proposed)))
                case ReadyUndo():
                    raise NeedsWrite(f"{proposed.act.id} {proposed.why_not}.")
                case ReadyWrite():
                    await self._write(proposed)
                case _:
                    return None

    async def _count_down(self) -> None:
        """Say when write access ends soon, and what does not fit into it any more."""
        if not self._task.plan.writes:
            return
        from envtui.rules.countdown import Countdown

        countdown, clock = Countdown(), self._session.ways.clock
        while True:
            for text in countdown.due(self._task.run, self._task.plan, clock.wall_ms()):
                say(text)
            await clock.sleep(1.0)

    async def _waived(self) -> None:
        """What leaves out reads begins before them, not at the first write."""
        run = self._task.run
        if run.requests and run.undo is None:
            from envtui.engine.waived import waivers

            if waivers(run):
                await self._session.arm(self._task)

    async def _write(self, proposed: ReadyWrite) -> None:
        task, replies, said = self._task, self._replies, self._signals.said
        if not proposed.held:
            await said(replies.confirm(proposed.step, task.step_of(proposed.step).confirm))
            await self._session.arm(task)
            for act, values in asks(task, proposed.step):
                await said(replies.late(act, values))
                await accept(task, [(act, values)])
        self._signals.check()
        await self._session.write(task, proposed.step)

    async def _run_on(self) -> Next:
        try:
            return await self._task.run_on()
        except Refused as error:
            if self._task.run.undo is None:
                raise
            raise NeedsWrite(error.message, error.remedy) from error

    def _doubtful(self, proposed: Doubt) -> Doubt:
        """The doubt as it is now: it was looked at since."""
        now = self._task.next
        return now if isinstance(now, Doubt) else proposed

    async def _doubt(self, proposed: Doubt) -> bool:
        """Look, and do what a person says. False when nobody says anything."""
        mending, said = self._task.mending, self._signals.said
        state = self._task.run.act(proposed.act)
        attempt = (proposed.act, state.attempt if state is not None else 0)
        fresh = self._stays and attempt not in self._looked
        if "look" in proposed.choices and (proposed.found is None or fresh):
            self._looked.add(attempt)
            await said(mending.look())
            return True
        verdict = await said(self._replies.doubt(proposed))
        if verdict is None:
            return False
        if verdict.choice in ("look", "halt"):
            self._looked.add(attempt)
            await said(mending.look(halt=verdict.choice == "halt"))
        else:
            await mending.resolve(proposed.act, verdict.choice == "done", verdict.why)
        return True

    # -- ending --------------------------------------------------------------------------------------------------------

    async def _stopped(self) -> Doubt | None:
        """A signal ended it: what must be undone is; a write in doubt stays so."""
        task, run = self._task, self._task.run
        if run.in_doubt:
            return task.next if isinstance(task.next, Doubt) else None
        if run.detached:
            say(f"{run.detached[0].id} goes on at its target. To wait for it again: {self._resume()}")
        elif run.undo is not None and run.word is None:
            say(f"The undo is not over. To go on with it: {self._resume()}")
        elif run.word is None:
            return await self._abandon("stopped by the operator")
        return None

    async def _gave_up(self, error: EnvtuiError) -> Doubt | None:
        """An error ended it: a run that was begun here ends with it, one that was taken up again waits for the next time."""
        task, run, doubt = self._task, self._task.run, None
        if run.word is None and not run.in_doubt and not run.detached and run.undo is None and not self._stays:
            needs = "needs write access: " if isinstance(error, NeedsWrite) else ""
            doubt = await self._abandon(self._session.ways.masked(" ".join((needs + error.message).split())))
        if not isinstance(error, NeedsWrite):
            if task.run.word is None:
                error.remedy = f"{error.remedy}\nThe run stays open: {self._resume()}".strip()
            return doubt
        env = self._session.environment.name
        if task.run.word is None:
            error.remedy = (
                f"{error.remedy}\nAsk for it: envtui request {env} --resume {run.id} --incident ID --reason TEXT\n"
                f"Then go on: {self._resume()} --grant FILE"
            ).strip()
        else:
            error.remedy = f"Ask for it: envtui request {env} {task.plan.book} --incident ID --reason TEXT"
        return doubt

    async def _abandon(self, why: str) -> Doubt | None:
        """End the run, and do what its book undoes then. A further signal, or a person's work, leaves it open."""
        proposed = await self._task.abandon(why)
        heard = self._signals.heard
        while not isinstance(proposed, Done | Doubt | UndoByHand | ReadyUndo) or (
            isinstance(proposed, ReadyUndo) and proposed.granted
        ):
            if self._signals.heard > heard:
                break
            try:
                proposed = await self._run_on()
            except NeedsWrite as error:
                say(str(error))
                break
        if isinstance(proposed, Doubt):
            return proposed
        if not isinstance(proposed, Done):
            say(f"What the book undoes at its end is not undone yet. To go on with it: {self._resume()}")
        return None

    def _resume(self) -> str:
        return f"envtui run {self._session.environment.name} --resume {self._task.run.id}"
