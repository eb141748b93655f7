"""What a person does about writes that did not go well: looks, says what is there, ends what still runs, takes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from envtui.core.errors import InDoubt, UsageError
from envtui.core.events import Noted, Resolved, UndoStarted
from envtui.rules.outside import ENVTUI, looked
from envtui.rules.proposals import Doubt, Following, Next, UndoByHand
from envtui.rules.undo import final, undoable

from .stopping import Stopping
from .ways import Ways
from .writes import WriteSteps

if TYPE_CHECKING:
    from .runner import RunTask


class Mending:
    """For one run. Each method returns what is next; `RunTask.run_on` does it. `lock` is the run's own."""

    def __init__(self, task: RunTask, writes: WriteSteps, ways: Ways, stopping: Stopping, lock: asyncio.Lock) -> None:
        self._task = task
        self._writes = writes
        self._ways = ways
        self._stopping = stopping
        self._lock = lock

    async def look(self, halt: bool = False) -> Next:
        """Look at the write in doubt, or at the detached one; with `halt` end what still runs of it at its target."""
        async with self._lock:
            proposed = self._task.next
            if isinstance(proposed, Doubt):
                await self._writes.examine(proposed.step, proposed.act, halt)
            elif isinstance(proposed, Following) and halt:
                await self._writes.follow(proposed.step, proposed.act, halt=True)
            else:
                raise UsageError("Nothing is in doubt.", "Look at what the run waits for.")
            return await self._task.settle()

    async def withdraw(self, why: str, cut: bool) -> None:
        """Write access ended. With `cut` what is under way of it, or goes on at its target by itself, is ended there. Each
        write without a known outcome is looked at from outside then, and what is left of the run is written down.

        `why`: a sentence, which the outcome of what was ended begins with.
        """
        if cut and self._stopping.writing:
            self._stopping.cut(True, why)
        elif cut and self._task.run.detached:
            self._stopping.cut(False)  # whoever waits for it here; it is ended below
        async with self._lock:
            if not cut and not self._task.run.in_doubt:
                return  # what was under way ended by itself, and said how
            for act in (*self._task.run.detached, *self._task.run.in_doubt):
                step = act.id.partition("@")[0].partition(".")[0]
                if act.in_doubt:
                    await self._writes.examine(step, act.id, halt=cut)
                elif cut:
                    await self._writes.follow(step, act.id, halt=True, why=why)
            await self._task.append(Noted(run=self._task.run.id, text=looked(self._task.run), by=ENVTUI))
            await self._task.settle()

    async def resolve(self, act_id: str, done: bool, why: str = "", by: str = "") -> Next:
        """A person's word on a write in doubt: it is done, or it is not. Needs a reason where no probe says the same."""
        async with self._lock:
            proposed = self._task.next
            if not isinstance(proposed, Doubt) or proposed.act != act_id:
                raise UsageError(f"{act_id} is not in doubt.", "Look at what the run waits for.")
            choice = "done" if done else "not done"
            if choice not in proposed.choices:
                raise UsageError(f"{choice!r} is not possible here.", "One of: " + ", ".join(proposed.choices) + ".")
            if proposed.found == "unknown" and len(why.strip()) < 3:
                raise UsageError("Nobody could tell, so your word needs a reason.", "Say how you know, in a few words.")
            state = self._task.run.act(act_id)
            dead = state is not None and state.dead
            await self._task.append(
                Resolved(
                    run=self._task.run.id,
                    step=proposed.step,
                    act=act_id,
                    done=done,
                    by=by or self._task.run.operator,
                    why=self._ways.masked(why.strip() or f"it was found {proposed.found}"),
                    attempt=state.attempt if state is not None else 1,
                )
            )
            if dead:
                await self._writes.forget(proposed.step, act_id)
            return await self._task.settle()

    async def undo(self, why: str = "", by: str = "") -> Next:
        """Begin to take back what the run did, also after its end. `run_on` does it, act by act.

        Raises UsageError when there is nothing to take back, InDoubt while a write's outcome is not known.
        """
        async with self._lock:
            if self._task.run.in_doubt:
                raise InDoubt(
                    f"{self._task.run.in_doubt[0].id} is in doubt: what is there must be known before it is taken back.",
                    "Look at it first.",
                )
            await self.begin_undo(why, by)
            return await self._task.settle()

    async def begin_undo(self, why: str, by: str) -> None:
        """As `undo`, by whoever holds the run already."""
        acts = undoable(self._task.run, self._task.plan)
        if not acts:
            lasting = final(self._task.run, self._task.plan)
            raise UsageError(
                "There is nothing to take back" + (f": {', '.join(lasting)} is for good." if lasting else "."),
                "`envtui ledger show` says what the run did.",
            )
        self._task.keep()
        await self._task.append(
            UndoStarted(
                run=self._task.run.id,
                acts=acts,
                cause="person",
                why=self._ways.masked(why.strip()),
                by=by or self._task.run.operator,
            )
        )

    async def by_hand(self, step_id: str, why: str = "", by: str = "") -> Next:
        """A person took this step back, and says so."""
        async with self._lock:
            proposed = self._task.next
            if not isinstance(proposed, UndoByHand) or proposed.step != step_id:
                raise UsageError(f"Step {step_id} is not being taken back.", "Look at what the run waits for.")
            said = self._ways.masked(why.strip() or "taken back by hand")
            await self._task.append(
                Resolved(
                    run=self._task.run.id,
                    step=step_id,
                    act=step_id,
                    done=True,
                    by=by or self._task.run.operator,
                    why=said,
                )
            )
            return await self._task.settle()
