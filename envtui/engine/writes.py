"""The write steps of one run: an act under its permit, what became of one that was lost, and what takes it back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from envtui.core.access import Permit
from envtui.core.act import Act, PlannedStep
from envtui.core.errors import EnvtuiError, InDoubt
from envtui.core.events import Finding, Probed
from envtui.core.ports import Reading, Sink, Started
from envtui.core.runbook import HttpExpect, SqlExpect, SshExpect, SshStep, Step
from envtui.rules.bind import bind
from envtui.rules.decide import values
from envtui.rules.expect import judge, meets
from envtui.rules.late import PREFIX, as_sent, filled, sent_with, used
from envtui.rules.proposals import ReadyUndo, ReadyWrite
from envtui.rules.state import ActState

from .acting import Acting, Conclusion, Judge, Seen
from .ending import Ending
from .stopping import Stopping
from .ways import Ways

if TYPE_CHECKING:
    from .runner import RunTask

Spend = Callable[[Act, int, Mapping[str, str]], Awaitable[Permit]]
"""A permit for an act as it was signed, an attempt, and the late values (slot -> value) that are in what is sent."""
BY_HAND = "Stopped by the operator."
_OPPOSITE: dict[Finding, Finding] = {"applied": "absent", "absent": "applied", "unknown": "unknown"}


class WriteSteps:
    """Writes for one run, undoes them, and finds out about those that nobody knows of."""

    def __init__(self, task: RunTask, acting: Acting, ways: Ways, stopping: Stopping) -> None:
        self._task = task
        self._acting = acting
        self._ways = ways
        self._stopping = stopping

    async def write(self, proposed: ReadyWrite, spend: Spend) -> None:
        """One act of a write step, under a permit of its own."""
        step = self._task.step_of(proposed.step)
        names = values(self._task.run, self._task.plan, proposed.act.place.member)
        late = {each.name: each.value for each in proposed.late}
        await self._act(
            step, proposed.act, late, proposed.attempt, spend, lambda reading: judge(step, reading, names), _exits(step)
        )

    async def undo(self, proposed: ReadyUndo, spend: Spend) -> None:
        """One undo act. It is as expected when it ends without an error; whether it held is looked at afterwards."""
        step = self._task.step_of(proposed.step)
        state = self._task.run.step(proposed.step)
        assert state is not None
        late = {} if proposed.act.complete else sent_with(state, proposed.act)
        await self._act(step, proposed.act, late, proposed.attempt, spend, _ended_well(proposed.act), (0,))

    async def look_at(self, step_id: str, acts: tuple[str, ...]) -> None:
        """What is there of these acts now, written down: before an undo, and after it."""
        step = self._task.step_of(step_id)
        for act_id in acts:
            act = self._planned(step_id, act_id)
            if await self._find(step, act) is None:
                await self._found(act, "applied", "it ended well, and its step has no probe")

    async def examine(self, step_id: str, act_id: str, halt: bool = False) -> None:
        """Look at a write in doubt, written down: first whether it still goes on (with `halt` it is ended), then its probe."""
        step, act = self._task.step_of(step_id), self._planned(step_id, act_id)
        fate = await self._ending(step, act, self._state(act_id)).looked(halt)
        if fate.state == "committed":
            await self._found(act, "applied", "the database says that its transaction committed")
        elif fate.state == "aborted":
            await self._found(act, "absent", "the database says that its transaction was rolled back")
        elif not fate.dead:
            why = fate.why or "it still runs at its target"
            await self._found(act, "unknown", why, dead=False)
        elif await self._find(step, act) is None:
            said = f"the host noted that it ended with {fate.exit}" if fate.exit is not None else fate.why
            await self._found(act, "unknown", f"there is no probe; {said}".rstrip("; "))

    async def follow(self, step_id: str, act_id: str, halt: bool = False, why: str = BY_HAND) -> None:
        """Wait for a detached write until it ends, or end it, for the reason `why`."""
        step, act, state = self._task.step_of(step_id), self._planned(step_id, act_id), self._state(act_id)
        ending = self._ending(step, act, state)

        async def attach(sink: Sink) -> Conclusion:
            if halt:
                return await ending.cut(why, sink, {})
            return await ending.follow(sink, {}, act.timeout)

        conclusion = await self._acting.follow(act, state.attempt, attach)
        if conclusion.word not in (None, "IN DOUBT"):
            await ending.forget()

    async def forget(self, step_id: str, act_id: str) -> None:
        """A person settled it: its target need not keep it any more."""
        act = self._planned(step_id, act_id)
        await self._ending(self._task.step_of(step_id), act, self._state(act_id)).forget()

    async def _act(
        self,
        step: Step,
        planned: Act,
        late: Mapping[str, str],
        attempt: int,
        spend: Spend,
        weigh: Judge,
        exits: tuple[int, ...],
    ) -> None:
        slots = self._step(step.id).late
        act = filled(planned, slots, late)
        late = {slot.name: late[slot.name] for slot in used(planned, slots)}
        permit = await spend(planned, attempt, late)
        began = self._ways.clock.boot_ms()
        asked = False

        def ending() -> Ending:
            state = self._state(act.id)
            started = Started(act=act, permit=permit.id, attempt=attempt, handle=dict(state.handle))
            return Ending(self._ways, started, lambda fate: self._find(step, act), _exit_in(exits))

        async def conclude(error: InDoubt | None, sink: Sink, seen: Seen) -> Conclusion:
            nonlocal asked
            if self._stopping.for_good:
                return Conclusion(word="IN DOUBT", why="cut off: nobody waited for its outcome")
            asked = True
            if error is None:
                return await ending().cut(self._stopping.why or BY_HAND, sink, seen)
            left = act.timeout - (self._ways.clock.boot_ms() - began) / 1000
            return await ending().lost(error, sink, left)

        try:
            await self._acting.write(act, permit, weigh, conclude, late)
        finally:
            if asked and not self._stopping.for_good and not self._state(act.id).in_doubt:
                await ending().forget()

    async def _find(self, step: Step, act: Act) -> tuple[Finding, str] | None:
        """Look by the step's probe and write down what was found of the act. None: there is no probe."""
        probes = self._probes(step.id, act)
        if not probes:
            return None
        from envtui.rules.finding import combined, finding

        found: list[Finding] = []
        why = ""
        one: Finding
        for probe in probes:
            names = {**values(self._task.run, self._task.plan, probe.place.member), **self._sent(step.id, act)}
            try:
                taken = await self._acting.read(bind(probe, names), lambda there, reading: (True, ""))
                one, said = ("unknown", "its probe gave no answer") if taken is None else finding(step, taken[1], names)
            except EnvtuiError as error:
                one, said = "unknown", error.message
            found.append(one)
            why = why if why and one != "unknown" else said
        together = combined(found)
        if act.step.endswith(".undo"):
            together = _OPPOSITE[together]
        why = self._ways.masked(why)
        await self._found(act, together, why)
        return together, why

    def _sent(self, step_id: str, act: Act) -> dict[str, str]:
        """The late values that an act was sent with, by the names of their places: a later capture is another matter."""
        state = self._task.run.step(step_id)
        return {PREFIX + name: value for name, value in sent_with(state, act).items()} if state is not None else {}

    def _probes(self, step_id: str, act: Act) -> tuple[Act, ...]:
        """The probe on the act's member; all of them where the probe happens elsewhere."""
        probes = self._step(step_id).probe
        return tuple(p for p in probes if p.place.member == act.place.member) or probes

    async def _found(self, act: Act, found: Finding, why: str, dead: bool = True) -> None:
        state = self._state(act.id)
        await self._task.append(
            Probed(
                run=self._task.run.id,
                step=act.step.partition(".")[0],
                act=act.id,
                found=found,
                why=self._ways.masked(why),
                attempt=state.attempt,
                dead=dead,
            )
        )

    def _ending(self, step: Step, act: Act, state: ActState) -> Ending:
        started = Started(act=act, permit=state.permit, attempt=state.attempt, handle=dict(state.handle))
        exits = (0,) if act.step.endswith(".undo") else _exits(step)
        return Ending(self._ways, started, lambda fate: self._find(step, act), _exit_in(exits))

    def _state(self, act_id: str) -> ActState:
        state = self._task.run.act(act_id)
        assert state is not None
        return state

    def _step(self, step_id: str) -> PlannedStep:
        return next(planned for planned in self._task.plan.steps if planned.id == step_id)

    def _planned(self, step_id: str, act_id: str) -> Act:
        planned = self._step(step_id)
        act = next(act for act in (*planned.acts, *planned.undo) if act.id == act_id)
        return as_sent(self._task.run, self._task.plan, act)


def _exits(step: Step) -> tuple[int, ...]:
    expected = step.expect.exit if isinstance(step, SshStep) else None
    return (0,) if expected is None else (expected,) if isinstance(expected, int) else expected


def _exit_in(allowed: tuple[int, ...]) -> Judge:
    """All that can be judged of what the host itself noted."""

    def fits(reading: Reading) -> tuple[bool, str]:
        good = reading.exit in allowed
        return good, f"its host noted exit {reading.exit}" + ("" if good else f", expected {allowed[0]}")

    return fits


def _ended_well(act: Act) -> Judge:
    expect: SshExpect | SqlExpect | HttpExpect = SshExpect()
    if act.place.kind != "ssh":
        expect = SqlExpect() if act.place.kind == "sql" else HttpExpect()
    return lambda reading: meets(expect, reading, {})
