"""The read steps of one run: each act bound, done, judged and captured from; looked at again where the book polls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from envtui.core.act import Act
from envtui.core.errors import EnvtuiError, Failed, UsageError
from envtui.core.events import ActEnded, Captured, Event, PickOffered, StepEnded, WaitStarted
from envtui.core.ports import Reading
from envtui.core.redact import Redactor
from envtui.core.runbook import Poll, Step
from envtui.core.shape import seconds
from envtui.rules.bind import bind
from envtui.rules.capture import Offer, Taken, capture
from envtui.rules.decide import failing, values
from envtui.rules.expect import judge
from envtui.rules.looking import Tally, poll_of
from envtui.rules.proposals import EndStep

from .acting import Acting
from .stopping import Stopping
from .ways import Ways

if TYPE_CHECKING:
    from .runner import RunTask

READS_AT_ONCE = 8
"""Members of one target that are read side by side (sshd allows 10 sessions a connection by default)."""


def ended(run: str, proposed: EndStep) -> StepEnded:
    """The event for the end of a step that `decide` proposed."""
    return StepEnded(run=run, step=proposed.step, word=proposed.word, why=proposed.why, goto=proposed.goto)


class ReadSteps:
    """Does reads for one run."""

    def __init__(self, task: RunTask, acting: Acting, ways: Ways, stopping: Stopping) -> None:
        self._task = task
        self._acting = acting
        self._ways = ways
        self._stopping = stopping

    async def look(self, step: Step, acts: Sequence[Act]) -> None:
        poll = poll_of(step, self._task.book)
        if poll is None:
            await self._all(step, acts)
        else:
            await self._poll(step, acts, poll)

    async def _all(self, step: Step, acts: Sequence[Act], attempt: int = 1) -> bool:
        places = asyncio.Semaphore(READS_AT_ONCE)

        async def one(act: Act) -> tuple[Act, Reading] | None:
            async with places:
                return await self._one(step, act, attempt)

        taken = [await one(acts[0])] if len(acts) == 1 else await asyncio.gather(*map(one, acts))
        results: list[bool] = []
        first = True
        for act, answered in zip(acts, taken, strict=True):
            results.append(answered is not None and await self._capture(step, act, *answered, first))
            first = first and answered is None
        any_host = bool(getattr(getattr(step, "expect", None), "any_host", False))
        return any(results) if any_host else all(results)

    async def _one(self, step: Step, act: Act, attempt: int) -> tuple[Act, Reading] | None:
        """The act as it was done (`host: any` may have gone to another member) and its reading, if that is as expected."""
        try:
            act = bind(act, values(self._task.run, self._task.plan, act.place.member))
        except UsageError as error:
            await self._task.append(
                ActEnded(
                    run=self._task.run.id, step=step.id, act=act.id, word="REFUSED", why=error.message, attempt=attempt
                )
            )
            return None
        verdict = False

        def weigh(there: Act, reading: Reading) -> tuple[bool, str]:
            nonlocal verdict
            verdict, why = judge(step, reading, values(self._task.run, self._task.plan, there.place.member))
            return verdict, why

        others: list[Act] = []
        for other in next(p for p in self._task.plan.steps if p.id == step.id).instead:
            with contextlib.suppress(UsageError):  # a value of another host: not one that this can be done on
                others.append(bind(other, values(self._task.run, self._task.plan, other.place.member)))
        answered = await self._acting.read(act, weigh, attempt, others)
        return answered if verdict else None

    async def _capture(self, step: Step, act: Act, there: Act, reading: Reading, first: bool) -> bool:
        events: list[Event] = []
        for name, spec in step.capture.items():
            if not first and not spec.per_host:
                continue
            member = there.place.member if spec.per_host else ""
            try:
                found = capture(name, spec, reading, values(self._task.run, self._task.plan, there.place.member))
                self._refuse_secrets(name, found)
            except EnvtuiError as error:
                await self._task.append(
                    ActEnded(
                        run=self._task.run.id,
                        step=step.id,
                        act=act.id,
                        word="FAILED",
                        why=self._ways.masked(str(error)),
                    )
                )
                return False
            if isinstance(found, Offer):
                events.append(
                    PickOffered(run=self._task.run.id, step=step.id, name=name, columns=found.columns, rows=found.rows)
                )
            else:
                events.append(
                    Captured(
                        run=self._task.run.id,
                        step=step.id,
                        name=name,
                        value=found.value,
                        columns=found.columns,
                        rows=found.rows,
                        member=member,
                    )
                )
        if events:
            await self._task.append(*events)
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
        state = self._task.run.step(step.id)
        deadline = state.wait_until_ms if state is not None else 0
        if not deadline:  # else it was begun by a process that is gone, and its time goes on
            deadline = self._ways.clock.wall_ms() + round(seconds(poll.for_) * 1000)
            await self._task.append(WaitStarted(run=self._task.run.id, step=step.id, until_ms=deadline))
        tally = Tally(poll)
        while True:
            tally.count(await self._all(step, acts, tally.looks + 1))
            if tally.over:
                return
            if self._ways.clock.wall_ms() + round(seconds(poll.every) * 1000) > deadline:
                if tally.lacks:
                    await self._task.append(
                        ended(self._task.run.id, failing(self._task.run, step, "FAILED", tally.lacks))
                    )
                return
            if self._stopping.asked or await self._stopping.pause(seconds(poll.every)):
                # Looking was stopped by a person: that is how a poll is meant to end, not a cancellation.
                await self._task.append(
                    StepEnded(run=self._task.run.id, step=step.id, word="OK", why="stopped looking")
                )
                return
